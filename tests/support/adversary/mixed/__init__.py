"""Programs of every sort."""
