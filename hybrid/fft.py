"""hybrid.fft: discrete Fourier transforms, by the names of the array API standard and NumPy.

Invariant: what is here is an op or made of ops (`ops/base/surface.py`).
"""

from . import ops as _ops

_functions = _ops.namespace("fft")
globals().update(_functions)
__all__ = sorted(_functions)
