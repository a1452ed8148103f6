"""NumPy's numerical functions beyond the standard: statistics, sets, calculus, polynomials.

Invariant: the families below know nothing of this room.
"""
