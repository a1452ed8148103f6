"""hybrid.special: special functions, by the names of scipy.special.

Invariant: what is here is an op or made of ops (`ops/base/surface.py`).
"""

from . import ops as _ops

_functions = _ops.namespace("special")
globals().update(_functions)
__all__ = sorted(_functions)
