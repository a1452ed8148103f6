"""Elements at computed positions: gather and scatter, indexing syntax, sorting, random draws.

Invariant: every index is checked before it is used.
"""
