"""Eager kernels of the CPU: one callable per op, parameters and input avals.

Invariant: the bits of a result are those that a plan gives.
"""
