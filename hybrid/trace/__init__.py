"""Recording calls of Python functions, and replaying what was recorded.

Invariant: a layer above the ops and their backends; it names no backend and no op.
"""
