"""Modes that collect ops in place of running them.

Invariant: imports of hybrid modules only, nothing runs.
"""
