"""What the commands do: each phase is a list of steps that are safe to repeat."""
