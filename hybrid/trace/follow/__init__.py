"""Following one call instruction by instruction: where its numbers go, what it changes in Python.

Invariant: what is not understood escapes; an escaped number or container is never an action.
"""
