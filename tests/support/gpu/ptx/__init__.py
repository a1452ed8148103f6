"""PTX text, taken apart and turned into Python functions over NumPy arrays."""
