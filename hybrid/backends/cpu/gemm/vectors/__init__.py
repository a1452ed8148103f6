"""Products of one vector, or of a few, with a matrix: bound by the bytes of the matrix.

Invariant: the matrix is read once, in the order in which it lies.
"""

from .dots import DotShape, dot_shape, write_dots
from .sweeps import FINISHED, SweepShape, sweep_shape, write_sweep

__all__ = [
    "FINISHED",
    "DotShape",
    "SweepShape",
    "dot_shape",
    "sweep_shape",
    "write_dots",
    "write_sweep",
]
