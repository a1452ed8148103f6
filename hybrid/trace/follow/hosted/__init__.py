"""Calls of Python's own world that user code makes, and what it makes of what they give.

Invariant: as in the follower: what is not understood escapes.
"""
