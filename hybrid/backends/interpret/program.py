"""Scalar programs read with NumPy, a primitive at a time over whole arrays.

Invariant: every primitive is evaluated exactly as its table defines it (fma with one rounding,
integer corner cases, the fixed orders of reductions), and no code is shared with the emitters, so
results may be compared with native code bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from ...core.errors import BackendError
from ...ir.scalar.program import BITS, Instr, PrimName, Program, ScalarType

__all__ = ["run_program", "reduced", "lane_tree", "fma", "fma32", "fma64", "DTYPE"]

DTYPE = {
    "b1": np.dtype(bool),
    "i8": np.dtype("i1"),
    "i16": np.dtype("i2"),
    "i32": np.dtype("i4"),
    "i64": np.dtype("i8"),
    "u8": np.dtype("u1"),
    "u16": np.dtype("u2"),
    "u32": np.dtype("u4"),
    "u64": np.dtype("u8"),
    "f32": np.dtype("f4"),
    "f64": np.dtype("f8"),
}
LANES, BLOCK = 64, 4096  # of a sum along rows: lanes, and elements of a block
ROWS = 256  # of a block of a sum along columns

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


# ---- fma
def _two_sum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x + y and its rounding error, exactly."""
    total = x + y
    taken = total - x
    return total, (x - (total - taken)) + (y - taken)


def _odd_sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + y rounded to odd: a later rounding to fewer bits is then the only one."""
    total, error = _two_sum(x, y)
    bits = total.view(np.int64)
    inexact = (error != 0) & (bits & 1 == 0) & np.isfinite(total)
    away = (error > 0) == (total > 0)
    return np.where(inexact, bits + np.where(away, 1, -1), bits).view(np.float64)


def fma32(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x*y + z with one rounding in float32: an exact product, a sum in double rounded to odd."""
    product = x.astype(np.float64) * y.astype(np.float64)
    return np.asarray(_odd_sum(product, z.astype(np.float64))).astype(np.float32)


def _fma_exact(x: float, y: float, z: float) -> float:
    """x*y + z in whole units of the least subnormal; for results that are subnormal or just
    above."""
    exact, unit = Fraction(x) * Fraction(y) + Fraction(z), Fraction(2) ** -1074
    whole = round(exact / unit)  # ties to even
    if not whole:
        return -0.0 if exact < 0 else 0.0
    return float(whole * unit)


def _split_product(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x * y and its rounding error, exactly (Veltkamp and Dekker: 27 bits in each half)."""
    product = x * y
    wide_x, wide_y = x * 134217729.0, y * 134217729.0
    high_x, high_y = wide_x - (wide_x - x), wide_y - (wide_y - y)
    low_x, low_y = x - high_x, y - high_y
    rest = (high_x * high_y - product) + high_x * low_y + low_x * high_y
    return product, rest + low_x * low_y


def fma64(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x*y + z with one rounding in float64 (Boldo and Melquiond's algorithm on scaled operands)."""
    x, y, z = (np.array(a, np.float64) for a in np.broadcast_arrays(x, y, z))
    easy = ~(np.isfinite(x) & np.isfinite(y) & np.isfinite(z)) | (x == 0) | (y == 0)
    (part_x, power_x), (part_y, power_y), (part_z, power_z) = map(np.frexp, (x, y, z))
    shift = power_x.astype(np.int64) + power_y
    apart = np.where(z == 0, 0, power_z.astype(np.int64) - shift)
    added = np.ldexp(part_z, np.clip(apart, -250, 250).astype(np.int32))
    high, low = _split_product(part_x, part_y)
    top, rest = _two_sum(added, low)
    total, error = _two_sum(high, top)
    scaled = total + _odd_sum(rest, error)
    half = (shift // 2).astype(np.int32)
    out = np.ldexp(np.ldexp(scaled, half), (shift - half).astype(np.int32))
    out = np.where(apart > 250, z, out)
    out = np.where(z == 0, x * y, out)
    out = np.where(easy, x * y + z, out)
    # an infinite z stands, also where the product of finite numbers overflows
    out = np.where(np.isinf(z) & np.isfinite(x) & np.isfinite(y), z, out)
    tiny = ~easy & (np.abs(out) < 2.0**-1021) & (z != 0)
    for at in np.argwhere(tiny).tolist():
        place = tuple(at)
        out[place] = _fma_exact(float(x[place]), float(y[place]), float(z[place]))
    return out


def fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x*y + z as accumulators take it: one rounding for floats, wrapping for integers."""
    if z.dtype.kind != "f":
        return np.asarray(x * y + z)
    return (fma32 if z.dtype == np.float32 else fma64)(x, y, z)


# ---- integers
def _int_div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    safe = np.where(y == 0, np.ones_like(y), y)
    if x.dtype.kind == "u":
        return np.where(y == 0, np.zeros_like(x), x // safe)
    minus = y == -1
    safe = np.where(minus, np.ones_like(y), safe)
    whole = x // safe  # rounded down; towards zero is wanted
    whole = whole + ((whole * safe != x) & ((x < 0) != (safe < 0))).astype(x.dtype)
    return np.where(y == 0, np.zeros_like(x), np.where(minus, np.negative(x), whole))


def _shift(x: np.ndarray, by: np.ndarray, left: bool) -> np.ndarray:
    width = x.dtype.itemsize * 8
    count = by.view(f"u{x.dtype.itemsize}") if by.dtype.kind == "i" else by
    big = count >= width
    count = np.where(big, np.zeros_like(count), count).astype(x.dtype)
    if left:
        return np.where(big, np.zeros_like(x), x << count)
    return np.where(
        big,
        np.where(x < 0, -np.ones_like(x), 0) if x.dtype.kind == "i" else np.zeros_like(x),
        x >> count,
    ).astype(x.dtype)


def _mulhi(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    wide = x.astype(object) * y.astype(object)
    return np.asarray(wide >> (8 * x.dtype.itemsize)).astype(x.dtype)


def _clz(x: np.ndarray) -> np.ndarray:
    width = x.dtype.itemsize * 8
    bits = x.view(f"u{x.dtype.itemsize}").astype(np.uint64)
    out = np.full(bits.shape, width)
    for k in range(width):
        out = np.where(bits >> np.uint64(k) & np.uint64(1) != 0, width - 1 - k, out)
    return out.astype(x.dtype)


def _convert(x: np.ndarray, kind: ScalarType) -> np.ndarray:
    dtype = DTYPE[kind]
    if kind == "b1":
        return np.asarray(x != 0)
    if x.dtype.kind == "f" and dtype.kind in "iu":
        info: Any = np.iinfo(dtype)
        least, most = np.array(info.min, dtype), np.array(info.max, dtype)
        whole = np.trunc(x.astype(np.float64))
        low, high = whole <= float(info.min), whole >= float(info.max)
        inside = np.where(low | high | np.isnan(whole), 0.0, whole).astype(dtype)
        out = np.where(low, least, np.where(high, most, inside))
        return np.where(np.isnan(x), np.array(0, dtype), out)
    return x.astype(dtype)


# ---- floats
def _extreme(x: np.ndarray, y: np.ndarray, least: bool) -> np.ndarray:
    plain = np.asarray(np.minimum(x, y) if least else np.maximum(x, y))
    if x.dtype.kind != "f":
        return plain
    zeros = (x == 0) & (y == 0)
    sign = np.signbit(x) | np.signbit(y) if least else np.signbit(x) & np.signbit(y)
    zero = np.where(sign, np.array(-0.0, x.dtype), np.array(0.0, x.dtype))
    return np.where(zeros, zero, plain)


def _neg(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "f":
        return np.asarray(np.negative(x))
    bits = x.view(f"u{x.dtype.itemsize}")
    sign = np.array(1 << (8 * x.dtype.itemsize - 1), bits.dtype)
    return np.asarray(bits ^ sign).view(x.dtype)


def _div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(x, y)) if x.dtype.kind == "f" else _int_div(x, y)


PLAIN: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "rem": lambda x, y: x - y * _int_div(x, y),
    "div": _div,
    "neg": _neg,
    "abs": np.abs,
    "fma": lambda x, y, z: fma(x, y, z),
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "min": lambda x, y: _extreme(x, y, True),
    "max": lambda x, y: _extreme(x, y, False),
    "copysign": np.copysign,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "select": np.where,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": lambda x, n: _shift(x, n, True),
    "shr": lambda x, n: _shift(x, n, False),
    "mulhi": _mulhi,
    "popcount": lambda x: np.bitwise_count(x.view(f"u{x.dtype.itemsize}")).astype(x.dtype),
    "clz": _clz,
    "unlikely": lambda truth: truth,
}


# ---- rows
def _neutral(prim: PrimName, dtype: np.dtype) -> np.ndarray:
    """What a sum or a product starts from: it changes no bit of the other side."""
    if prim == "rprod":
        return np.array(1, dtype)
    return np.array(-0.0 if dtype.kind == "f" else 0, dtype)


def _lanes(row: np.ndarray, combine: Combine, neutral: np.ndarray) -> np.ndarray:
    """Over the last axis: 64 lanes per block of 4096, a fixed tree, blocks in order."""
    total = None
    for start in range(0, row.shape[-1], BLOCK):
        block = row[..., start : start + BLOCK]
        lanes = np.broadcast_to(neutral, (*row.shape[:-1], LANES)).copy()
        for j in range(0, block.shape[-1], LANES):
            part = block[..., j : j + LANES]
            lanes[..., : part.shape[-1]] = combine(lanes[..., : part.shape[-1]], part)
        whole = lane_tree(np.moveaxis(lanes, -1, 0), combine)[..., None]
        total = whole if total is None else combine(total, whole)
    assert total is not None
    return total


def lane_tree(lanes: np.ndarray, combine: Combine) -> np.ndarray:
    """64 lanes along the first axis joined: four vectors of 16, then halves."""
    first, second, third, fourth = np.split(lanes, 4)
    tree = combine(combine(first, second), combine(third, fourth))
    while len(tree) > 1:
        half = len(tree) // 2
        tree = combine(tree[:half], tree[half:])
    return np.asarray(tree[0])


def _columns(row: np.ndarray, combine: Combine, neutral: np.ndarray) -> np.ndarray:
    """Over rows that lie one above the other: in order inside blocks of 256, blocks in order."""
    total = None
    for start in range(0, row.shape[-1], ROWS):
        block = np.broadcast_to(neutral, row.shape[:-1])
        for j in range(start, min(start + ROWS, row.shape[-1])):
            block = combine(block, row[..., j])
        total = block if total is None else combine(total, block)
    assert total is not None
    return np.asarray(total)[..., None]


def reduced(prim: PrimName, row: np.ndarray, column: bool = False) -> np.ndarray:
    """A reduction over the last axis, which keeps size 1, in "lanes" or in "column" order."""
    dtype, empty, shape = row.dtype, row.shape[-1] == 0, (*row.shape[:-1], 1)
    if prim in ("rall", "rany"):
        return np.asarray((np.all if prim == "rall" else np.any)(row, axis=-1, keepdims=True))
    if prim.startswith("rarg"):
        if empty:
            return np.zeros(shape, np.int64)
        found = (np.argmax if prim == "rargmax" else np.argmin)(row, axis=-1, keepdims=True)
        return np.asarray(found, np.int64)
    fold = _columns if column else _lanes
    if prim in ("rsum", "rprod"):
        if empty:
            return np.full(shape, prim == "rprod", dtype)
        return fold(row, np.add if prim == "rsum" else np.multiply, _neutral(prim, dtype))
    least = prim == "rmin"
    if not empty:
        return fold(
            row, lambda x, y: _extreme(x, y, least), row[..., 0] if column else row[..., :1]
        )
    if dtype.kind == "f":
        return np.full(shape, np.inf if least else -np.inf, dtype)
    return np.full(shape, np.iinfo(dtype).max if least else np.iinfo(dtype).min, dtype)


# ---- the reader
def _leaf(
    instr: Instr, args: Sequence[np.ndarray], params: Sequence[int], shape: tuple[int, ...]
) -> np.ndarray:
    dtype = DTYPE[instr.type]
    if instr.prim in ("const", "param"):
        bits = instr.attr if instr.prim == "const" else params[instr.attr]
        if instr.type == "b1":
            return np.array(bool(bits))
        pattern = int(bits) & ((1 << BITS[instr.type]) - 1)
        return np.array(pattern, f"u{dtype.itemsize}").view(dtype)
    if instr.prim == "arg":
        given = np.asarray(args[instr.attr])
        if given.dtype != dtype:
            raise BackendError(f"operand {instr.attr} has dtype {given.dtype}, not {dtype}")
        return given
    if instr.prim == "index":
        return np.arange(prod(shape), dtype=np.int64).reshape(shape)
    if instr.prim == "coord":
        sizes = [-1 if axis == instr.attr else 1 for axis in range(len(shape))]
        return np.broadcast_to(np.arange(shape[instr.attr]).reshape(sizes), shape)
    if instr.prim == "rlen":
        return _convert(np.array(shape[-1], np.int64), instr.type)
    raise BackendError(f"the interpreter has no primitive {instr.prim!r}")


def run_program(
    program: Program,
    args: Sequence[np.ndarray],
    params: Sequence[int] = (),
    shape: tuple[int, ...] | None = None,
    column: bool = False,
) -> list[np.ndarray]:
    """The results of a program.  Operands broadcast to `shape` (default: their own broadcast);
    operands read by `load` are flattened and take no part in it.  Reductions run over the last axis
    and keep it with size 1; row-domain results come back with that axis of size 1.  `column`: the
    order of reductions over rows that lie one above the other.  `params` are bit patterns."""
    gathered = {i.attr for i in program.instrs if i.prim == "load"}
    if shape is None:
        shape = np.broadcast_shapes(*[np.shape(a) for k, a in enumerate(args) if k not in gathered])
    values: list[np.ndarray] = []
    with np.errstate(all="ignore"):
        for instr in program.instrs:
            took = [values[a] for a in instr.args]
            if instr.prim == "load":
                out = np.asarray(args[instr.attr]).reshape(-1)[took[0]]
            elif instr.prim == "bitcast":
                straight = np.ascontiguousarray(took[0]).reshape(took[0].shape)
                out = straight.view(DTYPE[instr.type])
            elif instr.prim == "convert":
                out = _convert(took[0], instr.type)
            elif instr.prim in PLAIN:
                out = PLAIN[instr.prim](*took)
            elif took:
                whole = np.broadcast_to(took[0], np.broadcast_shapes(took[0].shape, shape))
                out = reduced(instr.prim, whole, column)
            else:
                out = _leaf(instr, args, params, shape)
            values.append(np.asarray(out))
    return [values[o] for o in program.outs]
