"""Histograms in one and several dimensions.

Invariant: an element is in the bin whose edges it lies between, the upper edge of the last bin
included; edges of equal bins are NumPy's.
"""

from __future__ import annotations

import builtins
import operator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.floating import in_plain_floats
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as astype
from ...ir.tensor import Handle
from ..axes.extremes import max as max_
from ..axes.extremes import min as min_
from ..axes.reduce import sum as sum_
from ..axes.slices import narrow, slice_
from ..axes.views import reshape
from ..base.common import real_only
from ..base.surface import public
from ..build.create import arange
from ..build.join import concat
from ..elementwise.arithmetic import add, divide, multiply, subtract
from ..elementwise.logic import equal, isfinite, logical_and
from ..indexing.sort import diff
from .counting import counted, ordered
from .ranks import bucket

Tensor = Any


# ---- edges
def _edge_type(x: Tensor) -> np.dtype:
    """The dtype in which edges are computed and compared."""
    return dt.compute_type(x.dtype) if dt.is_float(x.dtype) else dt.float64


@in_plain_floats
def _even(what: str, x: Tensor, count: int, range: Any) -> Tensor:
    """The edges of bins of one width, as NumPy's linspace makes them."""
    dtype = _edge_type(x)
    if range is None and x.size:
        return _even_of(what, astype(min_(x), dtype), astype(max_(x), dtype), count)
    low, high = (dtype.type(float(end)) for end in ((0, 1) if range is None else range))
    if low > high:
        raise ArgumentError(f"{what}: range {range} ends before it begins")
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ArgumentError(f"{what}: the range from {low} to {high} is not finite")
    if low == high:
        low, high = low - dtype.type(0.5), high + dtype.type(0.5)
    return as_tensor(np.linspace(low, high, count + 1, dtype=dtype), x.device)


def _even_of(what: str, low: Tensor, high: Tensor, count: int) -> Tensor:
    """The same between ends that are tensors, of which a program reads only what it asks here."""
    if not logical_and(isfinite(low), isfinite(high)):
        ends = f"{float(low)} to {float(high)}"
        raise ArgumentError(f"{what}: the range from {ends} is not finite")
    if equal(low, high):
        low, high = subtract(low, 0.5), add(high, 0.5)
    step = divide(subtract(high, low), count)
    below = add(multiply(arange(count, dtype=low.dtype, device=low.device), step), low)
    return concat([below, reshape(high, (1,))], 0)


@in_plain_floats
def _edges(what: str, x: Tensor, bins: Any, range: Any, weighted: bool) -> Tensor:
    """The edges that `bins` ask for: their number, themselves, or the name of an estimator."""
    real_only(what, x)
    if isinstance(bins, str):
        if weighted:
            raise ArgumentError(f"{what}: bins={bins!r} cannot be estimated of weighted elements")
        host = x.numpy()
        host = host.astype(_edge_type(x)) if dt.is_float(x.dtype) else host
        try:
            found = np.histogram_bin_edges(host, bins, range)
        except ValueError as error:
            raise ArgumentError(f"{what}: {error}") from None
        return as_tensor(found, x.device)
    if isinstance(bins, Handle) or np.ndim(bins) == 1:
        edges = _listed(bins, x)
        if edges.ndim == 1:
            if not ordered(edges)[0]:
                raise ArgumentError(f"{what}: bins have to be sorted")
            return edges
    elif np.ndim(bins) == 0:
        try:
            count = operator.index(bins)
        except TypeError:
            raise ArgumentError(f"{what}: bins has to be a number of bins or edges") from None
        if count < 1:
            raise ArgumentError(f"{what}: bins has to be at least 1, not {count}")
        return _even(what, x, count, range)
    raise ShapeError(f"{what}: bins has to be a number, or edges in one dimension")


def _listed(bins: Any, x: Tensor) -> Tensor:
    """Edges that are given; floats of Python are rounded to the dtype of the edges of x."""
    if not isinstance(bins, (Handle, np.ndarray)) and np.asarray(bins).dtype == np.float64:
        return as_tensor(np.asarray(bins, _edge_type(x)), x.device)
    return as_tensor(bins, x.device)


def _shown(edges: Tensor, x: Tensor) -> Tensor:
    """Edges made of integers are float32, as all floats that integers give."""
    made = edges.dtype is dt.float64 and not dt.is_float(x.dtype)
    return astype(edges, dt.default_float) if made else edges


def _loads(what: str, weights: Any, x: Tensor) -> Tensor | None:
    if weights is None:
        return None
    weights = as_tensor(weights, x.device)
    if weights.shape != x.shape:
        raise ShapeError(f"{what}: weights of shape {weights.shape} for {x.shape}")
    weights = astype(weights, dt.default_int) if weights.dtype is dt.bool_ else weights
    return reshape(weights, (weights.size,))


def _between(edges: Tensor, x: Tensor, loads: Tensor | None, count: int) -> Tensor:
    """How many elements, or what sum of weights, lie in each of the bins."""
    places = bucket(edges, x, right=True, closed=True)
    return narrow(counted(places, loads, edges.shape[0] + 1), 0, min(1, edges.shape[0]), count)


# ---- one dimension
@public
def histogram_bin_edges(
    a: Tensor, bins: Any = 10, range: Any = None, weights: Any = None
) -> Tensor:
    """The edges that `histogram` takes for the same arguments.

    >>> hybrid.histogram_bin_edges(hybrid.tensor([0.0, 1.0, 2.0]), bins=4)
    tensor([0. , 0.5, 1. , 1.5, 2. ])
    """
    x = as_tensor(a)
    given = isinstance(bins, (Handle, np.ndarray))
    edges = _edges("histogram_bin_edges", x, bins, range, weights is not None)
    return edges if given else _shown(edges, x)


@public
def histogram(
    a: Tensor, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Tensor, Tensor]:
    """How many elements lie between the edges of each bin, and the edges.

    bins: a number of equal bins from the smallest to the largest element, or over `range`; the
    edges, sorted; or one of NumPy's estimators by name ("auto", "fd", "doane", "scott", "stone",
    "rice", "sturges", "sqrt"), which read the data.  Bins hold their lower edge, the last one both.
    NaN is in none.  weights are summed instead, in their dtype; `density` divides by the sum and
    the width of the bin.  ArgumentError for a range that is not finite or edges that fall.

    >>> counts, edges = hybrid.histogram(hybrid.tensor([1.0, 2.0, 1.0, 4.0]), bins=3)
    >>> counts, edges
    (tensor([2, 1, 1]), tensor([1., 2., 3., 4.]))
    """
    x = as_tensor(a)
    x = astype(x, dt.uint8) if x.dtype is dt.bool_ else x
    loads = _loads("histogram", weights, x)
    given = isinstance(bins, (Handle, np.ndarray))
    edges = _edges("histogram", x, bins, range, loads is not None)
    shown = edges if given else _shown(edges, x)
    count = max(edges.shape[0] - 1, 0)
    found = _between(edges, reshape(x, (x.size,)), loads, count)
    if not density:
        return found, shown
    widths = diff(shown)
    widths = widths if dt.is_float(widths.dtype) else astype(widths, dt.default_float)
    return divide(divide(found, widths), sum_(found)), shown


# ---- several dimensions
def _columns(sample: Any) -> list[Tensor]:
    """The coordinates of points, one tensor each."""
    if isinstance(sample, (list, tuple)):
        return [as_tensor(column) for column in sample]
    points = as_tensor(sample)
    if points.ndim == 1:
        return [points]
    if points.ndim != 2:
        raise ShapeError(f"histogramdd takes points[number, dimension], not shape {points.shape}")
    return [narrow(points, 1, along, 1, drop=True) for along in builtins.range(points.shape[1])]


def _each(what: str, given: Any, count: int) -> list[Any]:
    """An argument for each dimension."""
    if not isinstance(given, (list, tuple, np.ndarray, Handle)):
        return [given] * count
    each: Any = given
    if len(each) != count:
        raise ArgumentError(f"histogramdd: {len(each)} {what} for {count} dimensions")
    return list(each)


@public
def histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: Any = None,
) -> tuple[Tensor, list[Tensor]]:
    """How many points lie in each box of a grid, as floats, and the edges along each dimension.

    sample is [number, dimension], or a list of coordinates.  bins is a number of bins, or a list of
    numbers or edges, one for each dimension; the rest is as for `histogram`.

    >>> points = hybrid.tensor([[0.0, 0.0], [1.0, 3.0], [2.0, 3.0]])
    >>> counts, edges = hybrid.histogramdd(points, bins=2)
    >>> counts, edges[1]
    (tensor([[1., 0.],
            [0., 2.]]), tensor([0. , 1.5, 3. ]))
    """
    columns = _columns(sample)
    loads = _loads("histogramdd", weights, columns[0]) if columns else None
    ranges = [None] * len(columns) if range is None else _each("ranges", range, len(columns))
    rows: Any = None
    shape, shown = [], []
    for x, wanted, span in zip(columns, _each("bins", bins, len(columns)), ranges):
        edges = _edges("histogramdd", x, wanted, span, False)
        shape.append(edges.shape[0] + 1)
        shown.append(_shown(edges, x))
        places = bucket(edges, x, right=True, closed=True)
        rows = places if rows is None else add(multiply(rows, shape[-1]), places)
    total = 1
    for extent in shape:
        total *= extent
    found = reshape(counted(rows, loads, total), tuple(shape))
    inner = tuple(extent - 2 for extent in shape)
    found = slice_(found, (1,) * len(shape), inner)
    dtype = dt.default_float
    for kept in (*columns, *([] if loads is None else [loads])):
        dtype = dt.promote(dtype, kept.dtype)
    found = astype(found, dtype)
    return (_dense(found, shown) if density else found), shown


def _dense(found: Tensor, edges: list[Tensor]) -> Tensor:
    total = sum_(found)
    for along, ends in enumerate(edges):
        shape = tuple(-1 if a == along else 1 for a in builtins.range(found.ndim))
        found = divide(found, reshape(diff(ends), shape))
    return divide(found, total)


@public
def histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`histogramdd` of points with the coordinates x and y: counts, edges of x, edges of y.

    bins is a number, edges for both, or one of them for each.

    >>> counts, across, along = hybrid.histogram2d([0.0, 1.0, 1.0], [2.0, 3.0, 3.0], bins=2)
    >>> counts, across
    (tensor([[1., 0.],
            [0., 2.]]), tensor([0. , 0.5, 1. ]))
    """
    left, right = as_tensor(x), as_tensor(y)
    if left.shape != right.shape or left.ndim != 1:
        raise ShapeError(f"histogram2d: x {left.shape} and y {right.shape} are no rows of one size")
    if not isinstance(bins, (int, np.integer)) and len(bins) not in (1, 2):
        bins = [bins, bins]
    elif not isinstance(bins, (int, np.integer)) and len(bins) == 1:
        bins = [bins[0], bins[0]]
    counts, (across, along) = histogramdd([left, right], bins, range, density, weights)
    return counts, across, along
