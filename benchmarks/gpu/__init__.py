"""Benchmarks on a GPU: `python -m benchmarks.gpu --part PART --out DIR`.

Invariant: every row is measured beside its peers in one process, and kept as soon as it is there.
"""
