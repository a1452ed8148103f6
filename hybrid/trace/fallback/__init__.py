"""What goes on when no recording serves a call: operations in segments, what recording may cost.

Invariant: the user's Python runs; results and state are what the plain function leaves.
"""
