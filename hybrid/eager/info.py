"""Questions about dtypes: limits, and the dtype that operands meet in.

Invariant: answers are those the operators use, weak Python scalars included.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..core import dtypes as dt
from ..core.errors import DTypeError
from ..ir.tensor import Handle

__all__ = ["finfo", "iinfo", "result_type"]


def _dtype(x: Any) -> np.dtype:
    return x._a.dtype if isinstance(x, Handle) else dt.canonical(getattr(x, "dtype", x))


def finfo(x: Any) -> Any:
    """Limits (`.max`, `.min`, `.eps`, `.bits`, ...) of a floating dtype, or of a tensor's.

    Raises DTypeError for other dtypes.

    >>> float(finfo("bfloat16").eps)
    0.0078125
    """
    d = _dtype(x)
    if not dt.is_float(d):
        raise DTypeError(f"finfo takes a floating dtype, not {d.name}; use iinfo")
    return ml_dtypes.finfo(d)


def iinfo(x: Any) -> Any:
    """Limits (`.max`, `.min`, `.bits`) of an integer dtype, or of a tensor's.

    Raises DTypeError for other dtypes.

    >>> iinfo("int8").max
    127
    """
    d = _dtype(x)
    if not dt.is_int(d):
        raise DTypeError(f"iinfo takes an integer dtype, not {d.name}; use finfo")
    return np.iinfo(d)


def result_type(*xs: Any) -> np.dtype:
    """The dtype an operator would compute tensors, dtypes and Python numbers in.

    >>> result_type("float16", 2.5).name, result_type("int32", 2.5).name
    ('float16', 'float32')
    """
    numbers = [x for x in xs if isinstance(x, (bool, int, float)) and not isinstance(x, np.generic)]
    others = [_dtype(x) for x in xs if not any(x is n for n in numbers)]
    if not others:
        others = [dt.canonical(type(numbers[0]))] if numbers else []
    if not others:
        raise DTypeError("result_type takes at least one tensor, dtype or number")
    d = others[0]
    for o in others[1:]:
        d = dt.promote(d, o)
    for n in numbers:
        d = dt.weak(d, n)
    return d
