"""What `where=` and `initial=` of reductions mean: which elements count, and with what they begin.

Invariant: an element that does not count is replaced by the number that is neutral in its
reduction, so the order of the operations is that of a reduction without a mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import broadcast_shapes
from ...ir.door.bind import as_tensor, store
from ...ir.door.bind import convert as astype
from ..elementwise.selection import where
from .views import broadcast_to

Tensor = Any

__all__ = ["beginning", "counting", "lowest", "masked"]


def _mask(caller: str, condition: Any, operand: Tensor) -> Tensor:
    """A mask as a tensor that broadcasts to the operand."""
    chosen = as_tensor(False if condition is None else condition, operand.device)
    if broadcast_shapes(caller, operand.shape, chosen.shape) != operand.shape:
        raise ShapeError(
            f"{caller}: where of shape {chosen.shape} does not broadcast to shape {operand.shape}"
        )
    return chosen


def masked(caller: str, operand: Tensor, condition: Any, neutral: Any) -> Tensor:
    """The operand with a neutral number in the place of what is not in the condition."""
    return (
        operand if condition is True else where(_mask(caller, condition, operand), operand, neutral)
    )


def counting(caller: str, operand: Tensor, condition: Any) -> Tensor:
    """Which elements of the operand count, as bools of its shape."""
    return broadcast_to(astype(_mask(caller, condition, operand), dt.bool_), operand.shape)


def beginning(caller: str, initial: Any, operand: Tensor, dtype: np.dtype) -> Tensor:
    """`initial` as a 0-d tensor of that dtype, as a write into such a tensor takes it."""
    found = store(initial, dtype, operand.device)
    if found.ndim:
        raise ShapeError(f"{caller}: initial is one number, not a tensor of shape {found.shape}")
    return found


def lowest(caller: str, dtype: np.dtype, initial: Any, largest: bool) -> Any:
    """What is never the largest (or smallest) element beside `initial`."""
    if initial is None:
        raise ArgumentError(
            f"{caller}: where= takes initial=, the result where no element is in the mask"
        )
    if dt.is_float(dtype):
        return float("-inf") if largest else float("inf")
    if dt.is_int(dtype):
        limits = np.iinfo(dtype)
        return int(limits.min if largest else limits.max)
    return not largest
