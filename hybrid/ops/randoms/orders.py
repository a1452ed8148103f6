"""Random orders and choices.

Invariant: an order is the stable order of 64-bit words, one for each element; among more than
a thousand, of the upper bits of these.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import as_shape, normalize_axis
from ...ir.door.bind import convert as astype
from ...ir.tensor import Handle
from ..axes.cumulative import cumulative_sum
from ..axes.views import reshape
from ..base.surface import public
from ..build.create import arange
from ..elementwise.arithmetic import divide, multiply
from ..elementwise.logic import bitwise_and, bitwise_or
from ..elementwise.selection import minimum
from ..indexing.along import take_along_axis
from ..indexing.generators import Generator
from ..indexing.index import take
from ..indexing.random import rand, randint, random_bits, source_of
from ..indexing.search import searchsorted
from ..indexing.sort import argsort, sort
from .parameters import host_numbers, tensor_on
from .standard import standard_exponential

Tensor = Any


def _is_count(given: Any) -> bool:
    return hasattr(given, "__index__") and not isinstance(given, (Handle, np.ndarray))


@public(hybrid=False, random=True)
def permutation(
    x: Any, axis: int = 0, *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """0..x-1 in random order for an int, else x with the slices along an axis in random order.

    ShapeError for a tensor without axes, or an axis out of range.

    >>> hybrid.random.permutation(5, generator=hybrid.Generator(0))
    tensor([2, 1, 3, 4, 0])
    >>> hybrid.random.permutation(hybrid.tensor([[1, 2], [3, 4]]), generator=hybrid.Generator(1))
    tensor([[3, 4],
            [1, 2]])
    """
    if _is_count(x):
        words = random_bits(int(x), dtype=dt.uint64, generator=generator, device=device)
        return _order_of(words, 0)
    x = _placed(x, generator, device)
    if x.ndim == 0:
        raise ShapeError("permutation of a 0-d tensor; pass an int for a random order of 0..n-1")
    axis = normalize_axis(axis, x.ndim, "permutation")
    return take(x, permutation(x.shape[axis], generator=generator, device=x.device), axis)


_FEW, _MANY = 1 << 10, 1 << 24  # that `argsort` orders as fast; that leave too few random bits


def _order_of(words: Tensor, axis: int) -> Tensor:
    """Positions that sort random words along an axis. Of many, positions take the place of the low
    bits, so that one sort of numbers is enough, which is faster than `argsort`. Words alike in the
    other bits stay in order: of a million, one pair in every 35th call."""
    extent = words.shape[axis]
    if not _FEW < extent <= _MANY:
        return argsort(words, axis)
    low = (1 << (extent - 1).bit_length()) - 1
    lines = (extent,) + (1,) * (words.ndim - axis - 1)
    places = reshape(arange(extent, dtype=dt.uint64, device=words.device), lines)
    ordered = sort(bitwise_or(bitwise_and(words, (1 << 64) - 1 - low), places), axis)
    return astype(bitwise_and(ordered, low), dt.int64)


def _placed(x: Any, generator: Generator | None, device: Any) -> Tensor:
    """A tensor as it is, data where the call draws."""
    return x if isinstance(x, Handle) else tensor_on(x, source_of(generator, device))


randperm = public(permutation, hybrid="randperm", random=True)


@public(hybrid=False, random=True)
def shuffle(x: Tensor, axis: int = 0, *, generator: Generator | None = None) -> None:
    """Give x its slices along an axis in random order.

    ShapeError for a tensor without axes, or an axis out of range.

    >>> x = hybrid.arange(5)
    >>> hybrid.random.shuffle(x, generator=hybrid.Generator(0))
    >>> x
    tensor([2, 1, 3, 4, 0])
    """
    if not isinstance(x, Handle):
        raise ArgumentError("shuffle changes a tensor; permutation gives a new one for other data")
    kept: Tensor = x
    kept.assign(permutation(x, axis, generator=generator))


@public(hybrid=False, random=True)
def permuted(
    x: Any, *, axis: int | None = None, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """x with its elements in random order: each line along an axis in an order of its own, or all
    elements where axis is None.

    ShapeError for an axis out of range.

    >>> x = hybrid.arange(6).reshape(2, 3)
    >>> hybrid.random.permuted(x, axis=1, generator=hybrid.Generator(0))
    tensor([[2, 1, 0],
            [5, 3, 4]])
    """
    x = _placed(x, generator, device)
    if axis is None:
        return reshape(permutation(reshape(x, (-1,)), generator=generator), x.shape)
    axis = normalize_axis(axis, x.ndim, "permuted")
    words = random_bits(x.shape, dtype=dt.uint64, generator=generator, device=x.device)
    return take_along_axis(x, _order_of(words, axis), axis)


@public(hybrid=False, random=True)
def choice(
    a: Any,
    size: Any = None,
    replace: bool = True,
    p: Any = None,
    axis: int = 0,
    shuffle: bool = True,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Elements of 0..a-1 for an int, or slices of a along an axis, drawn with or without
    replacement; p: their probabilities, equal where it is None.

    The size takes the place of the axis.  Without replacement the order is random whatever
    `shuffle` says; with p the smallest of standard exponential numbers, each divided by its
    probability, are taken (Efraimidis and Spirakis, Inf. Process. Lett. 97, 2006).

    ShapeError for a 0-d tensor or p of another shape; ArgumentError for a negative probability, a
    sum that is not 1 (a tensor's is divided by its sum), and for more elements than there are.

    >>> hybrid.random.choice(hybrid.tensor([2, 3, 5]), 6, generator=hybrid.Generator(0))
    tensor([5, 3, 2, 3, 5, 2])
    >>> hybrid.random.choice(5, 3, replace=False, generator=hybrid.Generator(0))
    tensor([2, 1, 3])
    >>> hybrid.random.choice(3, 5, p=[0.1, 0.0, 0.9], generator=hybrid.Generator(0))
    tensor([2, 2, 0, 2, 2])
    """
    if not _is_count(a):
        if generator is None and device is None and isinstance(a, Handle):
            device = a._a.device
        a = _placed(a, generator, device)
        if a.ndim == 0:
            raise ShapeError("choice of a 0-d tensor; pass an int to draw from 0..n-1")
        axis = normalize_axis(axis, a.ndim, "choice")
    count = int(a) if _is_count(a) else a.shape[axis]
    shape = () if size is None else as_shape(size)
    _look(count, math.prod(shape), replace, p)
    positions = _positions(count, shape, replace, p, {"generator": generator, "device": device})
    return positions if _is_count(a) else take(a, positions, axis)


def _look(count: int, wanted: int, replace: bool, p: Any) -> None:
    """Raise the errors of `choice`."""
    most = wanted if replace and count > 0 else count
    if wanted > most:
        without = "" if replace else " without replacement"
        raise ArgumentError(f"choice: {wanted} elements{without} of {count}")
    known = None if p is None else host_numbers(p)
    if p is not None and tuple(np.shape(p) if known is not None else p.shape) != (count,):
        raise ShapeError(f"choice: p has a probability for each of {count} elements")
    if known is None:
        return
    if not (known >= 0).all() or abs(known.astype("f8").sum() - 1.0) > 1e-6:
        raise ArgumentError("choice: p are probabilities, 0 or more, whose sum is 1")
    if not replace and wanted > np.count_nonzero(known):
        raise ArgumentError(f"choice: fewer than {wanted} probabilities are not 0")


def _positions(
    count: int, shape: tuple[int, ...], replace: bool, p: Any, how: dict[str, Any]
) -> Tensor:
    if p is None and replace:
        return randint(0, max(count, 1), shape, **how)
    if p is None:
        return reshape(permutation(count, **how)[: math.prod(shape)], shape)
    source = source_of(how["generator"], how["device"])
    chances = tensor_on(p, source, dt.float64)
    if replace:
        edges = cumulative_sum(chances)
        drawn = multiply(rand(shape, dtype=dt.float64, **how), edges[-1])
        return minimum(searchsorted(edges, drawn, side="right"), count - 1)
    keys = divide(standard_exponential(count, dtype=dt.float64, **how), chances)
    return reshape(argsort(keys)[: math.prod(shape)], shape)
