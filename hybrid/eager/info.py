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

__all__ = ["finfo", "iinfo", "promote_types", "result_type"]


def _dtype(value: Any) -> np.dtype:
    if isinstance(value, Handle):
        return value._a.dtype
    return dt.canonical(value if isinstance(value, type) else getattr(value, "dtype", value))


def finfo(x: Any) -> Any:
    """Limits (`.max`, `.min`, `.eps`, `.bits`, ...) of a floating dtype (IEEE 754; bfloat16:
    float32 with 7 bits of fraction), or of a tensor's.

    Raises DTypeError for other dtypes.

    >>> import hybrid
    >>> float(hybrid.finfo("bfloat16").eps)
    0.0078125
    """
    target = _dtype(x)
    if not dt.is_float(target):
        raise DTypeError(f"finfo takes a floating dtype, not {target.name}; use iinfo")
    return ml_dtypes.finfo(target)


def iinfo(x: Any) -> Any:
    """Limits (`.max`, `.min`, `.bits`) of an integer dtype, or of a tensor's.

    Raises DTypeError for other dtypes.

    >>> import hybrid
    >>> hybrid.iinfo("int8").max
    127
    """
    target = _dtype(x)
    if not dt.is_int(target):
        raise DTypeError(f"iinfo takes an integer dtype, not {target.name}; use finfo")
    return np.iinfo(target)


def result_type(*arrays: Any) -> np.dtype:
    """The dtype an operator would compute tensors, dtypes and Python numbers in (array API's
    promotion, with weak Python numbers).

    Raises DTypeError without an argument, and for integers that have no common dtype (uint64 with a
    signed one).

    >>> import hybrid
    >>> hybrid.result_type("float16", 2.5).name, hybrid.result_type("int32", 2.5).name
    ('float16', 'float32')
    """
    numbers = [
        x for x in arrays if isinstance(x, (bool, int, float)) and not isinstance(x, np.generic)
    ]
    others = [_dtype(x) for x in arrays if not any(x is n for n in numbers)]
    if not others:
        others = [dt.canonical(type(numbers[0]))] if numbers else []
    if not others:
        raise DTypeError("result_type takes at least one tensor, dtype or number")
    promoted = others[0]
    for other in others[1:]:
        promoted = dt.promote(promoted, other)
    for number in numbers:
        promoted = dt.weak(promoted, number)
    return promoted


def promote_types(type1: Any, type2: Any) -> np.dtype:
    """The dtype that tensors of two dtypes are computed in: `result_type` of two dtypes.

    Raises DTypeError for integers that have no common dtype (uint64 with a signed one).

    >>> import hybrid
    >>> hybrid.promote_types("int8", "uint8").name, hybrid.promote_types("int64", "float32").name
    ('int16', 'float32')
    """
    return dt.promote(dt.canonical(type1), dt.canonical(type2))
