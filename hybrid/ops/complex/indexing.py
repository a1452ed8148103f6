"""Gathers, scatters, windows and triangles of complex tensors: those of their parts, one by one.

Invariant: a record that moves elements, or adds them up, does with parts what it does with numbers.
"""

from __future__ import annotations

from typing import Any

from ...ir.door.bind import bind
from ...ir.op import extend
from ..build.matrices import TRIL, TRIU
from ..build.pairs import parts_of
from ..elementwise.arithmetic import add, multiply
from ..elementwise.logic import isnan
from ..elementwise.selection import astype
from ..indexing.along import ALONG, take_along_axis
from ..indexing.index import GATHER, SCATTER_ADD, SCATTER_SET
from ..indexing.sort import ARGSORT
from ..indexing.window import WINDOW, WINDOW_SET
from .records import each_part

__all__: list[str] = []

Tensor = Any


def _argsort(x: Tensor, axis: int, descending: bool) -> Tensor:
    """By real parts, then by imaginary ones; what has a NaN stands last, in NumPy's order: in the
    imaginary part, in the real one, in both."""
    real, imaginary = parts_of(x)
    missing = add(multiply(astype(isnan(real), "int8"), 2), astype(isnan(imaginary), "int8"))
    order = bind(ARGSORT, imaginary, axis=axis, descending=descending)
    for key in (real, missing):
        keys = take_along_axis(key, order, axis)
        order = take_along_axis(order, bind(ARGSORT, keys, axis=axis, descending=descending), axis)
    return order


extend(ARGSORT, on_complex=_argsort)

for _record in (TRIL, TRIU, ALONG, GATHER, SCATTER_ADD, SCATTER_SET, WINDOW, WINDOW_SET):
    each_part(_record)
