"""Writing through views: the value of a base after one of its views was given a value.

Invariant: what a view record shows again of the result is the value that was written.
"""

from __future__ import annotations

from typing import Any

from ..ir.bind import bind
from ..ir.op import Op
from .movement import PERMUTE, RESHAPE, SLICE, reshape
from .place import slice_set

__all__ = ["write_back"]

Tensor = Any


def write_back(op: Op, params: dict[str, Any], base: Tensor, value: Tensor) -> Tensor | None:
    """base with `value` in the place that op(base, **params) shows, or None when that place cannot
    be written (a repeated element, a diagonal, overlapping windows).

    >>> import hybrid
    >>> write_back(RESHAPE, {"shape": (4,)}, hybrid.zeros((2, 2)), hybrid.arange(4)).tolist()
    [[0, 1], [2, 3]]
    """
    if op is SLICE:
        return slice_set(base, value, params["begin"], params["step"], params["drop"])
    if op is RESHAPE:
        return reshape(value, base.shape)
    if op is PERMUTE:
        axes = params["axes"]
        return bind(PERMUTE, value, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__)))
    return None
