"""Every function that hybrid and NumPy both have, on arrays of a million elements, in turns."""
