"""Containers that the call makes and fills: what is in them, and what is made of that.

Invariant: as in the follower: what is not understood escapes, and what was in it with it.
"""
