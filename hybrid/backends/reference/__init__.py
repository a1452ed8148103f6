"""The slow evaluator that says what every op means.

Invariant: plain NumPy, one node at a time; native kernels are tested against its bits.
"""
