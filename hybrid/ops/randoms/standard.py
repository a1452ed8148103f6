"""Standard numbers of a size, under NumPy's names, and integers.

Invariant: one draw each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import as_shape, broadcast_shapes
from ...ir.door.bind import convert as astype
from ...ir.tensor import Handle
from ..axes.views import broadcast_to
from ..base.surface import public
from ..elementwise.arithmetic import add, subtract
from ..elementwise.logic import greater
from ..elementwise.selection import where
from ..indexing.draws import INTEGER
from ..indexing.generators import Generator
from ..indexing.random import float_dtype, rand, randint, randn, source_of
from .parameters import host_numbers, tensor_on
from .samplers import CAUCHY, EXPONENTIAL

Tensor = Any


def _size(size: Any) -> tuple[int, ...]:
    return () if size is None else as_shape(size)


@public(hybrid=False, random=True)
def random(
    size: Any = None, *, dtype: Any = None, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Uniform numbers in [0, 1), one where no size is given; float32 by default.

    >>> hybrid.random.random(3, generator=hybrid.Generator(0))
    tensor([0.399 , 0.9722, 0.0194])
    """
    return rand(_size(size), dtype=dtype, generator=generator, device=device)


@public(hybrid=False, random=True)
def standard_normal(
    size: Any = None, *, dtype: Any = None, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Standard normal numbers, one where no size is given; float32 by default.

    >>> hybrid.random.standard_normal(3, generator=hybrid.Generator(0))
    tensor([ 0.9911, -0.1536, -1.1864])
    """
    return randn(_size(size), dtype=dtype, generator=generator, device=device)


@public(hybrid=False, random=True)
def standard_exponential(
    size: Any = None, *, dtype: Any = None, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Exponential numbers of mean 1, one where no size is given; float32 by default.

    >>> hybrid.random.standard_exponential(3, generator=hybrid.Generator(0))
    tensor([0.9187, 0.0282, 3.9399])
    """
    source = source_of(generator, device)
    return source.draw(EXPONENTIAL, shape=_size(size), dtype=float_dtype(dtype))


@public(hybrid=False, random=True)
def standard_cauchy(
    size: Any = None, *, dtype: Any = None, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Cauchy numbers around 0 of half width 1, one where no size is given; float32 by default.

    >>> hybrid.random.standard_cauchy(3, generator=hybrid.Generator(0))
    tensor([-1.3807,  0.0436, 32.7219])
    """
    source = source_of(generator, device)
    return source.draw(CAUCHY, shape=_size(size), dtype=float_dtype(dtype))


@public(hybrid=False, random=True)
def integers(
    low: Any,
    high: Any = None,
    size: Any = None,
    dtype: Any = None,
    endpoint: bool = False,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Integers low..high-1 (low..high with `endpoint`; 0..low-1 where one bound is given), int64 by
    default; bounds are ints, or sequences and tensors of ints that broadcast.

    ArgumentError where there is no such integer (in tensors: the lower bound), or where the dtype
    cannot hold it; ShapeError where bounds do not broadcast to the size.

    >>> hybrid.random.integers(1, 6, 5, endpoint=True, generator=hybrid.Generator(0))
    tensor([6, 3, 2, 3, 5])
    >>> hybrid.random.integers([1, 10], [5, 20], generator=hybrid.Generator(0))
    tensor([ 4, 13])
    """
    if high is None:
        low, high = 0, low
    if hasattr(low, "__index__") and hasattr(high, "__index__") and not _tensors(low, high):
        last = int(high) + bool(endpoint)
        how = {"dtype": dtype, "generator": generator, "device": device}
        return randint(int(low), last, _size(size), **how)
    source = source_of(generator, _beside(generator, device, low, high))
    first, last = _bounds(low, high, bool(endpoint), source)
    both = broadcast_shapes("integers", first.shape, last.shape)
    shape = both if size is None else as_shape(size)
    if broadcast_shapes("integers", both, shape) != shape:
        raise ShapeError(f"integers: bounds of shape {both} do not broadcast to {size}")
    width = where(greater(last, first), subtract(last, first), 1)
    words = [broadcast_to(astype(v, dt.uint64), shape) for v in (first, width)]
    wanted = dt.default_int if dtype is None else dt.canonical(dtype)
    return source.draw(INTEGER, *words, shape=shape, dtype=wanted)


def _beside(generator: Generator | None, device: Any, *bounds: Any) -> Any:
    """Where to draw: where a tensor among the bounds is, if nothing else is said."""
    if generator is None and device is None:
        return next((v._a.device for v in bounds if isinstance(v, Handle)), None)
    return device


def _bounds(low: Any, high: Any, endpoint: bool, source: Generator) -> tuple[Tensor, Tensor]:
    """Tensors of the first integers and of those behind the last ones."""
    numbers = host_numbers(low), host_numbers(high)
    if numbers[0] is not None and numbers[1] is not None:
        if not np.all(numbers[0] < numbers[1] + endpoint):
            raise ArgumentError("integers: low is not below high")
    first, last = [tensor_on(v, source) for v in (low, high)]
    if not dt.is_int(first.dtype) or not dt.is_int(last.dtype):
        raise ArgumentError(f"integers: bounds are {first.dtype.name} and {last.dtype.name}")
    return first, add(last, 1) if endpoint else last


def _tensors(*values: Any) -> bool:
    return any(isinstance(v, (Handle, np.ndarray)) for v in values)
