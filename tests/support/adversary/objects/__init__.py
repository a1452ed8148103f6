"""What Python and C code read of objects."""
