"""What a watched call does with the data among its arguments.

Invariant: imports of hybrid modules only, nothing runs.
"""
