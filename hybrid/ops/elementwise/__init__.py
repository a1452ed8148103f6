"""Records whose result at a position is a function of the operands at that position.

Invariant: this package defines nothing; each record lives in one of its modules.
"""
