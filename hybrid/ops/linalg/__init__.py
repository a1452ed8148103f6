"""Linear algebra by the names of the array API standard and NumPy: factors, solutions, norms.

Invariant: matrices are the last two axes; LAPACK runs through NumPy, on contiguous copies.
"""
