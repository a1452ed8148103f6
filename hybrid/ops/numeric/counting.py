"""Counts of elements by their value: bincount, and places of elements in bins.

Invariant: rows are int64 and in range.  Sums are those of NumPy's bincount: in order, in float64,
rounded once.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...ir.door.bind import as_tensor, operands
from ...ir.door.bind import convert as astype
from ..axes.extremes import all as all_
from ..axes.extremes import max as max_
from ..axes.extremes import min as min_
from ..axes.slices import flip, narrow
from ..axes.views import broadcast_to, reshape
from ..base.common import owned, read, real_only
from ..base.surface import public
from ..build.create import ones, zeros
from ..elementwise.arithmetic import subtract
from ..elementwise.logic import greater_equal, less_equal
from ..indexing.index import scatter_add
from .ranks import bucket

Tensor = Any


def counted(rows: Tensor, weights: Tensor | None, count: int) -> Tensor:
    """How often each of `count` row numbers occurs, or the sums of their weights."""
    if weights is None:
        one = ones((1, 1), dtype=dt.int64, device=rows.device)
        updates = broadcast_to(one, (rows.size, 1))
    else:
        wide = dt.float64 if dt.is_float(weights.dtype) else weights.dtype
        updates = reshape(astype(weights, wide), (rows.size, 1))
    found = reshape(scatter_add(rows, updates, count), (count,))
    return found if weights is None else astype(found, weights.dtype)


_NEGATIVE = "bincount takes integers that are 0 or more"


@public
def bincount(x: Tensor, /, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 to the largest element of x occurs (int64), or the sums of the
    weights there; at least `minlength` numbers.

    x is one-dimensional, of integers or bools, 0 or more; its largest element is read.  Sums have
    the dtype of floating weights, float32 for others, and a gradient for the weights.  ShapeError,
    DTypeError and ArgumentError for other x.

    >>> hybrid.bincount(hybrid.tensor([1, 3, 1, 0]))
    tensor([1, 2, 0, 1])
    >>> hybrid.bincount(hybrid.tensor([1, 3, 1]), weights=[0.5, 2.0, 1.0], minlength=5)
    tensor([0. , 1.5, 0. , 2. , 0. ])
    """
    x, least = as_tensor(x), operator.index(minlength)
    real_only("bincount", x)
    if x.ndim != 1:
        raise ShapeError(f"bincount takes one dimension, not {x.ndim}; flatten x first")
    if least < 0:
        raise ArgumentError(f"bincount: minlength is {least}; it has to be 0 or more")
    if x.size == 0:
        x = astype(x, dt.int64)
    if dt.is_float(x.dtype):
        raise DTypeError(f"bincount takes integers, not {x.dtype.name}; convert with .astype")
    rows = astype(x, dt.int64)
    if weights is not None:
        weights = as_tensor(weights, x.device)
        if weights.shape != x.shape:
            raise ShapeError(f"bincount: weights of shape {weights.shape} for {x.shape}")
        weights = weights if dt.is_float(weights.dtype) else astype(weights, dt.default_float)
    if not x.size:
        dtype = dt.int64 if weights is None else weights.dtype
        return zeros((least,), dtype=dtype, device=x.device)
    if weights is None and rows.device is HOST:
        try:
            return owned(np.bincount(read(rows), minlength=least), HOST)
        except ValueError:
            raise ArgumentError(_NEGATIVE) from None
    if int(min_(rows)) < 0:
        raise ArgumentError(_NEGATIVE)
    return counted(rows, weights, max(int(max_(rows)) + 1, least))


def ordered(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Whether edges never fall, and whether they never rise."""
    size = max(edges.shape[0] - 1, 0)
    low, high = narrow(edges, 0, 0, size), narrow(edges, 0, min(1, edges.shape[0]), size)
    return all_(greater_equal(high, low)), all_(less_equal(high, low))


@public
def digitize(x: Any, bins: Any, right: bool = False) -> Tensor:
    """Which bin each element is in (int64): i where bins[i-1] <= x < bins[i], or with `right`
    bins[i-1] < x <= bins[i]; 0 and len(bins) are below and above all.

    bins are sorted, upwards or downwards (then the inequalities are the other way round); NaN is
    above all.  ShapeError for bins of several dimensions, ArgumentError for unsorted ones.

    >>> hybrid.digitize(hybrid.tensor([0.2, 6.4, 3.0, 1.6]), [0.0, 1.0, 2.5, 4.0, 10.0])
    tensor([1, 4, 3, 2])
    """
    edges, x = operands(bins, x, compares=True)
    real_only("digitize", edges, x)
    if edges.ndim != 1:
        raise ShapeError(f"digitize takes bins of one dimension, not {edges.ndim}")
    rises, falls = ordered(edges)
    if rises:
        return bucket(edges, x, right=not right)
    if not falls:
        raise ArgumentError("digitize: bins have to be sorted, upwards or downwards")
    return subtract(edges.shape[0], bucket(flip(edges), x, right=not right))
