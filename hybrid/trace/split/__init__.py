"""Functions in pieces: what replays can do of a function before, between and behind the
instructions that Python has to run.

Invariant: imports of hybrid modules only, nothing runs.
"""
