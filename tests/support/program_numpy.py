"""A slow NumPy reader of scalar programs that shares no code with the emitters: the oracle of their
tests.

Invariant: every primitive is evaluated exactly as ir/scalar.py defines it (fma with one rounding,
integer corner cases, the fixed order of row reductions), so results are compared with native code
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from hybrid.ir.scalar.program import BITS, Instr, Program

__all__ = ["run_program", "fma32", "fma64", "DTYPE"]

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
LANES, BLOCK = 64, 4096


# ---- fma
def _two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _odd_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b rounded to odd: a later rounding to fewer bits is then the only one."""
    s, e = _two_sum(a, b)
    bits = s.view(np.int64)
    inexact = (e != 0) & (bits & 1 == 0) & np.isfinite(s)
    away = (e > 0) == (s > 0)
    return np.where(inexact, bits + np.where(away, 1, -1), bits).view(np.float64)


def fma32(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x*y + z with one rounding in float32: an exact product, a sum in double rounded to odd."""
    p = x.astype(np.float64) * y.astype(np.float64)
    return np.asarray(_odd_sum(p, z.astype(np.float64))).astype(np.float32)


def _fma_exact(x: float, y: float, z: float) -> float:
    v = Fraction(x) * Fraction(y) + Fraction(z)
    unit = Fraction(2) ** -1074
    if v == 0:
        return 0.0
    n = v / unit
    whole = round(n)  # ties to even; only used where the result is subnormal or just above
    return float(whole * unit) if whole else (0.0 if v > 0 else -0.0)


def _split_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = a * b
    ca, cb = a * 134217729.0, b * 134217729.0
    ah, bh = ca - (ca - a), cb - (cb - b)
    al, bl = a - ah, b - bh
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def fma64(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x*y + z with one rounding in float64 (Boldo and Melquiond's algorithm on scaled operands)."""
    x, y, z = (np.array(a, np.float64) for a in np.broadcast_arrays(x, y, z))
    plain = x * y + z
    easy = ~(np.isfinite(x) & np.isfinite(y) & np.isfinite(z)) | (x == 0) | (y == 0)
    (mx, ex), (my, ey), (mz, ez) = np.frexp(x), np.frexp(y), np.frexp(z)
    shift = ex.astype(np.int64) + ey
    apart = np.where(z == 0, 0, ez.astype(np.int64) - shift)
    zs = np.ldexp(mz, np.clip(apart, -250, 250).astype(np.int32))
    ph, pl = _split_product(mx, my)
    th, tl = _two_sum(zs, pl)
    vh, vl = _two_sum(ph, th)
    scaled = vh + _odd_sum(tl, vl)
    half = (shift // 2).astype(np.int32)
    out = np.ldexp(np.ldexp(scaled, half), (shift - half).astype(np.int32))
    out = np.where(apart > 250, z, out)
    out = np.where(z == 0, x * y, out)
    out = np.where(easy, plain, out)
    tiny = ~easy & (np.abs(out) < 2.0**-1021) & (z != 0)
    for i in zip(*np.nonzero(tiny)) if tiny.ndim else ([()] if tiny else []):
        out[i] = _fma_exact(float(x[i]), float(y[i]), float(z[i]))
    return out


# ---- integers
def _int_div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    safe = np.where(y == 0, np.ones_like(y), y)
    if x.dtype.kind == "u":
        return np.where(y == 0, np.zeros_like(x), x // safe)
    minus = y == -1
    safe = np.where(minus, np.ones_like(y), safe)
    q = x // safe
    q = q + ((q * safe != x) & ((x < 0) != (safe < 0))).astype(x.dtype)
    return np.where(y == 0, np.zeros_like(x), np.where(minus, np.negative(x), q))


def _shift(x: np.ndarray, n: np.ndarray, left: bool) -> np.ndarray:
    width = x.dtype.itemsize * 8
    count = n.view(f"u{x.dtype.itemsize}") if n.dtype.kind == "i" else n
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
    u = x.view(f"u{x.dtype.itemsize}").astype(np.uint64)
    out = np.full(u.shape, width)
    for k in range(width):
        out = np.where(u >> np.uint64(k) & np.uint64(1) != 0, width - 1 - k, out)
    return out.astype(x.dtype)


def _convert(x: np.ndarray, ty: str) -> np.ndarray:
    d = DTYPE[ty]
    if ty == "b1":
        return x != 0
    if x.dtype.kind == "f" and d.kind in "iu":
        info = np.iinfo(d)
        t = np.trunc(x.astype(np.float64))
        low, high = t <= float(info.min), t >= float(info.max)
        inside = np.where(low | high | np.isnan(t), 0.0, t).astype(d)
        out = np.where(low, np.array(info.min, d), np.where(high, np.array(info.max, d), inside))
        return np.where(np.isnan(x), np.array(0, d), out)
    return x.astype(d)


# ---- floats
def _extreme(x: np.ndarray, y: np.ndarray, least: bool) -> np.ndarray:
    if x.dtype.kind != "f":
        return np.minimum(x, y) if least else np.maximum(x, y)
    zeros = (x == 0) & (y == 0)
    sign = np.signbit(x) | np.signbit(y) if least else np.signbit(x) & np.signbit(y)
    zero = np.where(sign, np.array(-0.0, x.dtype), np.array(0.0, x.dtype))
    return np.where(zeros, zero, np.minimum(x, y) if least else np.maximum(x, y))


def _neg(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "f":
        return np.negative(x)
    u = x.view(f"u{x.dtype.itemsize}")
    return (u ^ np.array(1 << (8 * x.dtype.itemsize - 1), u.dtype)).view(x.dtype)


PLAIN: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "rem": lambda x, y: x - y * _int_div(x, y),
    "div": lambda x, y: np.divide(x, y) if x.dtype.kind == "f" else _int_div(x, y),
    "neg": _neg,
    "abs": np.abs,
    "fma": lambda x, y, z: (fma32 if x.dtype == np.float32 else fma64)(x, y, z),
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
}


# ---- rows
def _fold_lanes(x: np.ndarray, f: Callable[..., np.ndarray], neutral: np.ndarray) -> np.ndarray:
    """The contract's order over the last axis: 64 lanes per block of 4096, a fixed tree, blocks."""
    total = None
    for start in range(0, x.shape[-1], BLOCK):
        block = x[..., start : start + BLOCK]
        lanes = np.broadcast_to(neutral, (*x.shape[:-1], LANES)).copy()
        for j in range(0, block.shape[-1], LANES):
            part = block[..., j : j + LANES]
            lanes[..., : part.shape[-1]] = f(lanes[..., : part.shape[-1]], part)
        v = [lanes[..., k : k + 16] for k in range(0, LANES, 16)]
        t = f(f(v[0], v[1]), f(v[2], v[3]))
        while t.shape[-1] > 1:
            h = t.shape[-1] // 2
            t = f(t[..., :h], t[..., h:])
        total = t if total is None else f(total, t)
    assert total is not None
    return total


def _reduce(prim: str, x: np.ndarray) -> np.ndarray:
    d, empty = x.dtype, x.shape[-1] == 0
    if prim == "rsum":
        if empty:
            return np.zeros((*x.shape[:-1], 1), d)
        return _fold_lanes(x, np.add, np.array(-0.0 if d.kind == "f" else 0, d))
    if prim == "rprod":
        return (
            np.ones((*x.shape[:-1], 1), d) if empty else _fold_lanes(x, np.multiply, np.array(1, d))
        )
    if prim in ("rall", "rany"):
        return (np.all if prim == "rall" else np.any)(x, axis=-1, keepdims=True)
    if prim.startswith("rarg"):
        return (np.argmax if prim == "rargmax" else np.argmin)(x, axis=-1, keepdims=True).astype(
            np.int64
        )
    least = prim == "rmin"
    if empty:
        end: Any = np.inf if d.kind == "f" else np.iinfo(d).max if least else np.iinfo(d).min
        return np.full((*x.shape[:-1], 1), end if least or d.kind != "f" else -end, d)
    return _fold_lanes(x, lambda a, b: _extreme(a, b, least), x[..., :1])


# ---- the reader
def _leaf(
    ins: Instr, args: Sequence[np.ndarray], params: Sequence[int], shape: tuple[int, ...]
) -> np.ndarray:
    d = DTYPE[ins.type]
    if ins.prim in ("const", "param"):
        bits = ins.attr if ins.prim == "const" else params[ins.attr]
        if ins.type == "b1":
            return np.array(bool(bits))
        return np.array(int(bits) & ((1 << BITS[ins.type]) - 1), f"u{d.itemsize}").view(d)
    if ins.prim == "arg":
        x = np.asarray(args[ins.attr])
        assert x.dtype == d, f"operand {ins.attr}: {x.dtype} given, {d} wanted"
        return x
    if ins.prim == "index":
        return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)
    if ins.prim == "coord":
        return np.broadcast_to(
            np.arange(shape[ins.attr]).reshape(
                [-1 if k == ins.attr else 1 for k in range(len(shape))]
            ),
            shape,
        )
    assert ins.prim == "rlen", ins.prim
    return _convert(np.array(shape[-1], np.int64), ins.type)


def run_program(
    program: Program,
    args: Sequence[np.ndarray],
    params: Sequence[int] = (),
    shape: tuple[int, ...] | None = None,
) -> list[np.ndarray]:
    """The results of a program.  Operands broadcast to `shape` (default: their own broadcast);
    operands read by `load` are flattened and take no part in it.  Reductions run over the last axis
    and keep it with size 1; row-domain results come back with that axis of size 1.  `params` are
    bit patterns."""
    gathered = {i.attr for i in program.instrs if i.prim == "load"}
    if shape is None:
        shape = np.broadcast_shapes(*[np.shape(a) for k, a in enumerate(args) if k not in gathered])
    env: list[np.ndarray] = []
    with np.errstate(all="ignore"):
        for ins in program.instrs:
            xs = [env[a] for a in ins.args]
            if ins.prim == "load":
                out = np.asarray(args[ins.attr]).reshape(-1)[xs[0]]
            elif ins.prim == "bitcast":
                out = np.ascontiguousarray(xs[0]).reshape(xs[0].shape).view(DTYPE[ins.type])
            elif ins.prim == "convert":
                out = _convert(xs[0], ins.type)
            elif ins.prim in PLAIN:
                out = np.asarray(PLAIN[ins.prim](*xs))
            elif xs:
                out = _reduce(
                    ins.prim, np.broadcast_to(xs[0], np.broadcast_shapes(xs[0].shape, shape))
                )
            else:
                out = _leaf(ins, args, params, shape)
            env.append(np.asarray(out))
    return [env[o] for o in program.outs]
