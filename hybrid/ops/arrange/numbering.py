"""Positions as one number or one per axis, and bits as bytes.

Invariant: positions are checked by `index_check` and int64.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.shapes import as_shape, contiguous_strides, normalize_axis, whole
from ...ir.algorithm import BitsSpread, BitsTogether
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, HostOp, MapOp, Op, register
from ...ir.scalar.program import Builder, Val
from ..axes.slices import narrow
from ..axes.views import in_columns, moveaxis, reshape
from ..base.common import ints
from ..base.surface import public
from ..build.create import arange, zeros
from ..build.join import concat
from ..elementwise.arithmetic import add, multiply
from ..elementwise.logic import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    not_equal,
)
from ..indexing.index import index_check, positions
from .shapes import ravel

Ints = tuple[int, ...]
Tensor = Any


# ---- positions
def _places_body(algebra: Builder, number: Val, *, extent: int, wide: bool) -> tuple[Val, Val]:
    """Quotient and rest; in double precision, whose quotient is exact below 2^52 and which vectors
    divide, unless numbers are `wide`."""
    if wide or not extent:
        quotient = number // extent
    else:
        ratio = algebra.convert(number, "f64") / float(extent)
        quotient = algebra.convert(algebra.trunc(ratio), "i64")
    return quotient, number - quotient * extent


def _places_samples(rng: np.random.Generator) -> Any:
    yield [ints(rng, 4, 5, high=10**6)], {"extent": 7, "wide": False}
    yield [ints(rng, 9, high=2**51)], {"extent": 1000, "wide": False}
    yield [ints(rng, 9, high=2**62)], {"extent": 12345, "wide": True}
    yield [ints(rng, 0)], {"extent": 3, "wide": False}


PLACES = register(
    MapOp(
        "places",
        1,
        lambda number, extent, wide: (number, number),
        body=_places_body,
        nout=2,
        params=("extent", "wide"),
        vjp=NO_GRAD,
        accepts="i",
        reference=lambda number, extent, wide: np.divmod(number, extent),
        samples=_places_samples,
        ulp=0.0,
        doc="Numbers that are not negative divided by an extent: quotient and rest.",
    )
)


@public
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Tensor, ...]:
    """The position on each axis of a shape that row-major numbers (order 'F': column-major) mean.

    IndexOutOfRange for a number outside 0..n-1, DTypeError for floats.

    >>> hybrid.unravel_index(hybrid.tensor([5, 0]), (2, 3))
    (tensor([1, 0]), tensor([2, 0]))
    """
    sizes = as_shape(shape)
    columns = in_columns(order, "unravel_index")
    numbers = as_tensor(indices)
    left = index_check(numbers, prod(sizes), 0, wrap=False, device=numbers.device)
    found = []
    order_of = sizes if columns else sizes[::-1]
    for extent in order_of[:-1]:
        left, place = bind(PLACES, left, extent=extent, wide=prod(sizes) >= 1 << 52)
        found.append(place)
    found += [left] if sizes else []
    return tuple(found if columns else found[::-1])


@public
def ravel_multi_index(
    multi_index: Any, dims: Any, mode: str | Sequence[str] = "raise", order: str = "C"
) -> Tensor:
    """Row-major numbers (order 'F': column-major) of positions given axis by axis.

    mode, for all axes or one for each: 'raise' raises IndexOutOfRange for a position outside,
    'wrap' takes it modulo the size, 'clip' the nearest one.

    >>> hybrid.ravel_multi_index((hybrid.tensor([1, 0]), hybrid.tensor([2, 0])), (2, 3))
    tensor([5, 0])
    """
    sizes = as_shape(dims)
    given = [as_tensor(i) for i in multi_index]
    modes = (mode,) * len(sizes) if isinstance(mode, str) else tuple(mode)
    if not len(given) == len(sizes) == len(modes):
        raise ShapeError(f"ravel_multi_index: {len(given)} positions for {len(sizes)} axes")
    if in_columns(order, "ravel_multi_index"):
        steps = contiguous_strides(sizes[::-1])[::-1]
    else:
        steps = contiguous_strides(sizes)
    total = None
    for index, extent, step, how in zip(given, sizes, steps, modes):
        place = positions(index, extent, how, "ravel_multi_index", device=index.device, wrap=False)
        part = multiply(place, step) if step != 1 else place
        total = part if total is None else add(total, part)
    if total is None:
        raise ShapeError("ravel_multi_index takes at least one axis")
    return total


# ---- bits and bytes
def _lines(x: Any, axis: int | None, what: str) -> tuple[Tensor, int]:
    """The tensor with the axis of bits as its last one, and where that belongs."""
    x = as_tensor(x)
    if axis is None:
        return ravel(x), 0
    along = normalize_axis(axis, x.ndim, what)
    return moveaxis(x, along, -1), along


def _shifts(bitorder: str, what: str) -> range:
    """By how much the bits of a byte are shifted, first bit first."""
    if bitorder not in ("big", "little"):
        raise ArgumentError(f"{what}: bitorder is 'big' or 'little', not {bitorder!r}")
    return range(7, -1, -1) if bitorder == "big" else range(8)


def _bits_record(
    name: str, function: Any, algorithm: type[BitsTogether | BitsSpread], sizes: Any, doc: str
) -> Op:
    """NumPy's own on the last axis, where a tensor is on the host."""

    def infer(operand: Aval, bitorder: str) -> tuple[Aval, ...]:
        return (operand.with_((*operand.shape[:-1], sizes(operand.shape[-1])), dt.uint8),)

    def body(operand: np.ndarray, bitorder: str) -> Any:
        return function(operand, axis=-1, bitorder=bitorder)

    def samples(rng: np.random.Generator) -> Any:
        for shape in ((3, 17), (8,), (2, 0), (150,)):
            for order in ("little", "big"):
                yield [ints(rng, *shape, high=200).astype(np.uint8)], {"bitorder": order}

    return register(
        HostOp(
            name,
            1,
            infer,
            body=body,
            algorithm=lambda bitorder: algorithm(bitorder == "big"),
            params=("bitorder",),
            vjp=NO_GRAD,
            accepts="biu",
            facts=frozenset(["total"]),
            reference=body,
            samples=samples,
            ulp=0.0,
            doc=doc,
        )
    )


PACK = _bits_record(
    "packbits", np.packbits, BitsTogether, lambda n: -(-n // 8), "Eight elements as a byte."
)
UNPACK = _bits_record(
    "unpackbits", np.unpackbits, BitsSpread, lambda n: 8 * n, "The bits of each byte."
)


@public
def packbits(a: Tensor, axis: int | None = None, bitorder: str = "big") -> Tensor:
    """Eight elements along an axis (None: of the flattened tensor) as one uint8, a bit each that
    says whether the element is not 0; zeros fill the last byte up.

    bitorder 'big': the first element is the highest bit.  DTypeError for floats.

    >>> hybrid.packbits(hybrid.tensor([1, 0, 1, 0, 0, 0, 0, 1, 1]))
    tensor([161, 128], dtype=uint8)
    """
    lines, along = _lines(a, axis, "packbits")
    shifts = _shifts(bitorder, "packbits")
    if dt.is_float(lines.dtype):
        raise DTypeError(f"packbits takes integers and bools, not {lines.dtype.name}")
    if lines.device is HOST:
        return moveaxis(bind(PACK, lines, bitorder=bitorder), -1, along)
    ones = astype(not_equal(lines, 0) if lines.dtype is not dt.bool_ else lines, dt.uint8)
    count = -(-lines.shape[-1] // 8)
    if lines.shape[-1] % 8:
        rest = lines.shape[:-1] + (8 * count - lines.shape[-1],)
        ones = concat([ones, zeros(rest, dtype=dt.uint8, device=lines.device)], -1)
    ones = reshape(ones, lines.shape[:-1] + (count, 8))
    packed = None
    for number, shift in enumerate(shifts):
        bit = narrow(ones, ones.ndim - 1, number, 1, drop=True)
        bit = bitwise_left_shift(bit, shift)
        packed = bit if packed is None else bitwise_or(packed, bit)
    return moveaxis(packed, -1, along)


@public
def unpackbits(
    a: Tensor, axis: int | None = None, count: int | None = None, bitorder: str = "big"
) -> Tensor:
    """The bits of uint8 elements along an axis (None: of the flattened tensor), a uint8 each;
    `count` of them, zeros behind the last, or without the last ones where it is negative.

    bitorder 'big': the highest bit comes first.  DTypeError for other dtypes.

    >>> hybrid.unpackbits(hybrid.tensor([161], dtype="uint8"))
    tensor([1, 0, 1, 0, 0, 0, 0, 1], dtype=uint8)
    """
    lines, along = _lines(a, axis, "unpackbits")
    shifts = _shifts(bitorder, "unpackbits")
    if lines.dtype is not dt.uint8:
        raise DTypeError(f"unpackbits takes uint8, not {lines.dtype.name}")
    if lines.device is HOST:
        bits = bind(UNPACK, lines, bitorder=bitorder)
    else:
        bits = _spread_bits(lines, shifts)
    if count is not None:
        bits = _cut(bits, whole(count, "unpackbits: count"))
    return moveaxis(bits, -1, along)


def _spread_bits(lines: Tensor, shifts: range) -> Tensor:
    """The bits of bytes, in the order of the shifts that bring them to the lowest place."""
    steps = arange(shifts.start, shifts.stop, shifts.step, dtype=dt.uint8, device=lines.device)
    bits = bitwise_and(bitwise_right_shift(reshape(lines, (*lines.shape, 1)), steps), 1)
    return reshape(bits, (*lines.shape[:-1], 8 * lines.shape[-1]))


def _cut(bits: Tensor, count: int) -> Tensor:
    """So many of the last axis; a negative count leaves that many away."""
    extent = bits.shape[-1]
    wanted = count if count >= 0 else extent + count
    if wanted < 0:
        raise ShapeError(f"unpackbits: count {count} of {extent} bits")
    if wanted <= extent:
        return narrow(bits, bits.ndim - 1, 0, wanted)
    rest = bits.shape[:-1] + (wanted - extent,)
    return concat([bits, zeros(rest, dtype=dt.uint8, device=bits.device)], -1)
