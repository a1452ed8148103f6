"""NumPy's objects that are written with brackets: mgrid, ogrid, r_, c_.

Invariant: what stands in the brackets is read as NumPy reads it; ranges between numbers are float32
where one is a float, and tensors among the parts keep their gradient.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from ..core import dtypes as dt
from ..core.errors import ArgumentError
from ..ir.door.bind import as_tensor
from ..ir.tensor import Handle

__all__ = ["c_", "mgrid", "ogrid", "r_"]


def _range(part: slice) -> Any:
    """The numbers of start:stop:step; of an imaginary step so many, with the end."""
    start = 0 if part.start is None else part.start
    step = 1 if part.step is None else part.step
    if isinstance(step, complex):
        return ops.linspace(start, part.stop, int(abs(step)))
    return ops.arange(start, part.stop, step)


class _Grid:
    """Coordinates of a grid: all of them, or one tensor an axis that broadcasts."""

    def __init__(self, name: str, sparse: bool) -> None:
        self.name, self.sparse = name, sparse

    def __repr__(self) -> str:
        return f"hybrid.{self.name}"

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, slice) for part in parts):
            raise ArgumentError(f"{self!r} takes slices: {self!r}[0:2, 0:1:5j]")
        if not isinstance(key, tuple):
            return _range(key)
        lines = [_range(part) for part in parts]
        floating = [line for line in lines if dt.is_float(line.dtype)]
        if floating:
            lines = [ops.astype(line, floating[0].dtype) for line in lines]
        rank = len(lines)
        axes = [
            ops.reshape(line, tuple(line.size if a == i else 1 for a in range(rank)))
            for i, line in enumerate(lines)
        ]
        return tuple(axes) if self.sparse else ops.stack(ops.broadcast_arrays(*axes))


class _Joined:
    """Parts side by side: numbers, ranges start:stop:step, sequences and tensors."""

    def __init__(self, name: str, columns: bool) -> None:
        self.name, self.columns = name, columns

    def __repr__(self) -> str:
        return f"hybrid.{self.name}"

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, str) for part in parts):
            raise ArgumentError(f"{self!r} takes no texts; write hybrid.concat or hybrid.stack")
        made = [_range(p) if isinstance(p, slice) else p for p in parts]
        tensors = [p if isinstance(p, Handle) else as_tensor(p) for p in made]
        if self.columns:
            return ops.concat([_columns(t) for t in tensors], axis=-1)
        return ops.concat([ops.atleast_1d(t) for t in tensors])


def _columns(tensor: Any) -> Any:
    return ops.reshape(tensor, (tensor.size, 1)) if tensor.ndim < 2 else tensor


mgrid, ogrid = _Grid("mgrid", False), _Grid("ogrid", True)
r_, c_ = _Joined("r_", False), _Joined("c_", True)
