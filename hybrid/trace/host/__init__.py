"""Calls of Python's own world that a replay makes again: what may be, and how.

Invariant: nothing here knows of graphs or tensors.
"""
