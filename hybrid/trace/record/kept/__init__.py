"""What a replay reads of Python when it computes what it leaves there.

Invariant: as in actions.py: all is computed before anything is stored.
"""
