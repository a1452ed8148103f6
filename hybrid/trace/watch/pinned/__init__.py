"""What a call finds in places and containers that it changes itself.

Invariant: imports of hybrid modules only, nothing runs.
"""
