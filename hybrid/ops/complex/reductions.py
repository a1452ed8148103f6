"""Reductions and products of complex tensors.

Invariant: sums of the two parts run in the order of real sums; a matrix product is four real ones,
joined at the end: (ac - bd) + i(ad + bc).
"""

from __future__ import annotations

from math import prod as size_of
from typing import Any

import numpy as np

from ...ir.door.bind import bind
from ...ir.op import extend
from ..axes.cumulative import CUMPROD, CUMSUM
from ..axes.extremes import ALL, ANY
from ..axes.reduce import MEAN, PROD, SUM
from ..axes.slices import narrow
from ..axes.statistics import NORM, VAR
from ..axes.views import reshape
from ..build.create import ones
from ..build.join import concat
from ..build.pairs import complex_of, parts_of
from ..elementwise.arithmetic import add, multiply, subtract
from ..elementwise.powers import hypot
from ..products.contract import LINEAR, MATMUL, dot_of_numbers
from .arithmetic import truth
from .records import each_part

Tensor = Any
Group = tuple[int, int]

for _record in (SUM, MEAN):
    each_part(_record)
each_part(CUMSUM, anywhere=True)  # the pairs are behind every axis

extend(ALL, on_complex=lambda x, axes: bind(ALL, truth(x), axes=axes))
extend(ANY, on_complex=lambda x, axes: bind(ANY, truth(x), axes=axes))


# ---- variance and length
def _var(numbers: Tensor, axes: Group, correction: float) -> Tensor:
    """The mean of |numbers - mean|^2."""
    return add(*[bind(VAR, part, axes=axes, correction=correction) for part in parts_of(numbers)])


def _norm(numbers: Tensor, axes: Group) -> Tensor:
    return bind(NORM, hypot(*parts_of(numbers)), axes=axes)


extend(VAR, on_complex=_var)
extend(NORM, on_complex=_norm)


# ---- products of elements
def _halves(numbers: Tensor, axis: int) -> Tensor:
    """Products of pairs of neighbours along an axis, an odd one out kept."""
    extent = numbers.shape[axis]
    even = multiply(
        narrow(numbers, axis, 0, extent // 2, step=2), narrow(numbers, axis, 1, extent // 2, step=2)
    )
    return concat([even, narrow(numbers, axis, extent - 1, 1)], axis) if extent % 2 else even


def _prod(numbers: Tensor, axes: Group, dtype: np.dtype) -> Tensor:
    """Neighbours are multiplied until one number is left."""
    kept = numbers.shape[: axes[0]] + numbers.shape[axes[1] :]
    extent = size_of(numbers.shape[axes[0] : axes[1]])
    if not extent:
        return ones(kept, dtype=dtype, device=numbers.device)
    rows = reshape(numbers, (*numbers.shape[: axes[0]], extent, *numbers.shape[axes[1] :]))
    while rows.shape[axes[0]] > 1:
        rows = _halves(rows, axes[0])
    return reshape(rows, kept)


def _cumprod(numbers: Tensor, axis: int, dtype: np.dtype) -> Tensor:
    """Doubling: after step k each element holds the product of the last 2^k up to it."""
    extent, reach = numbers.shape[axis], 1
    while reach < extent:
        ahead = narrow(numbers, axis, 0, reach)
        later = multiply(
            narrow(numbers, axis, 0, extent - reach), narrow(numbers, axis, reach, extent - reach)
        )
        numbers, reach = concat([ahead, later], axis), 2 * reach
    return numbers


extend(PROD, on_complex=_prod)
extend(CUMPROD, on_complex=_cumprod)


# ---- matrix products
def _joined(record: Any, left: Tensor, right: Tensor) -> Tensor:
    (a, b), (c, d) = parts_of(left), parts_of(right)
    real = subtract(bind(record, a, c), bind(record, b, d))
    return complex_of(real, add(bind(record, a, d), bind(record, b, c)))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = _joined(LINEAR, x, weight)
    return out if bias is None else add(out, bias)


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    lines = left.ndim == right.ndim == 1 and left.shape == right.shape
    return dot_of_numbers(left, right) if lines else _joined(MATMUL, left, right)


extend(MATMUL, on_complex=_matmul)
extend(LINEAR, on_complex=_linear)
