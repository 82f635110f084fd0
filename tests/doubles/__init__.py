"""Stand-ins for what a test machine cannot have. What they show is never a measurement of the real thing."""
