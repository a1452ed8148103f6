"""PTX for the kernels of a plan.

Invariant: importing this package needs no GPU and no optional dependency.
"""
