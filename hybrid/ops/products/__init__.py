"""Sums of products: contractions, convolutions, attention.

Invariant: the order of every sum is that of the numerics contract (docs/architecture.md).
"""
