"""What every family of ops uses.

Invariant: nothing here knows a family.
"""
