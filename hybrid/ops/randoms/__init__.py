"""Random numbers of NumPy's distributions: records of samplers, and functions put together of them.

Invariant: element i of a draw is a function of (seed, offset, i) and its own parameters only.
"""
