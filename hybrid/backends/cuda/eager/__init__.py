"""Eager calls on a card.

Invariant: a call waits for nothing, and its bits are those that a plan gives.
"""
