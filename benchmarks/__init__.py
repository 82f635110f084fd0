"""Scripts that print tables, and what they measure on."""
