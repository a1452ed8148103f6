"""Rules for what instructions of user code do: calls, stores, and calls of Python's own world.

Invariant: each names facts, or a reason against replaying the call.
"""
