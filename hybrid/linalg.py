"""hybrid.linalg: linear algebra, by the names of the array API standard and NumPy.

Invariant: what is here is an op or made of ops (`ops/base/surface.py`); axes of matrices are the
last two.
"""

from . import ops as _ops
from .core.errors import LinAlgError as LinAlgError
from .core.spelling import LINALG as _LINALG
from .core.spelling import elsewhere as _elsewhere

_functions = _ops.namespace("linalg")
globals().update(_functions)
__getattr__ = _elsewhere(__name__, _LINALG, _functions)
__all__ = sorted(["LinAlgError", *_functions])
