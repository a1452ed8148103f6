"""What PTX instructions compute, over NumPy arrays of all threads at once.

Invariant: every function rounds as the PTX manual says, once; arrays of one element stand for a
value that all threads share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hybrid.backends.interpret.program import fma32 as _fma32_slow
from hybrid.backends.interpret.program import fma64

Array = np.ndarray[Any, Any]
u1, u2, u4, u8 = (np.dtype(f"u{n}") for n in (1, 2, 4, 8))
i1, i2, i4, i8 = (np.dtype(f"i{n}") for n in (1, 2, 4, 8))
f2, f4, f8 = (np.dtype(f"f{n}") for n in (2, 4, 8))
_TIE_MASK, _TIE = np.array([0x1FFFFFFF], u8), np.array([0x10000000], u8)
_SMALL = 2.0**-125


def fma32(x: Array, y: Array, z: Array) -> Array:
    """x*y + z rounded once: the sum in double is only rounded twice wrongly where it lies halfway
    between two floats or is subnormal; such are computed with rounding to odd."""
    total = x.astype(f8)
    total = total * y
    total = total + z
    bits = total.view(u8)
    odd = (bits & _TIE_MASK) == _TIE
    small = np.abs(total) < _SMALL
    out = total.astype(f4)
    if odd.any() or small.any():
        at = np.flatnonzero(odd | (small & (total != 0)))
        if len(at):
            x, y, z = (v[at] if len(v) > 1 else v for v in (x, y, z))
            out[at] = _fma32_slow(x, y, z)
    return out


def minimum(x: Array, y: Array, least: bool, nan: bool) -> Array:
    """min and max of floats: -0 is below +0; a NaN is passed over, or with `nan` taken."""
    if nan:
        plain = np.minimum(x, y) if least else np.maximum(x, y)
    else:
        plain = np.fmin(x, y) if least else np.fmax(x, y)
    zeros = (plain == 0) & (x == y)
    if zeros.any():
        sign = np.signbit(x) | np.signbit(y) if least else np.signbit(x) & np.signbit(y)
        zero = np.where(sign, np.array([-0.0], x.dtype), np.array([0.0], x.dtype))
        plain = np.where(zeros, zero, plain)
    return plain


def div_int(x: Array, y: Array) -> Array:
    """Towards zero; what a division by zero gives is not defined (all ones here)."""
    safe = np.where(y == 0, np.ones_like(y), y)
    if x.dtype.kind == "u":
        return np.where(y == 0, ~np.zeros_like(x), x // safe)
    minus = y == -1
    safe = np.where(minus, np.ones_like(y), safe)
    whole = x // safe
    whole = whole + ((whole * safe != x) & ((x < 0) != (safe < 0))).astype(x.dtype)
    whole = np.where(minus, np.negative(x), whole)
    return np.where(y == 0, ~np.zeros_like(x), whole)


def rem_int(x: Array, y: Array) -> Array:
    return x - y * div_int(x, y)


def shift(x: Array, by: Array, left: bool) -> Array:
    """By 32 bits of count, clamped at the width."""
    width = x.dtype.itemsize * 8
    count = by.astype(u8)
    most = int(count.max())
    small = np.minimum(count, np.array([width - 1], u8)).astype(f"u{x.dtype.itemsize}")
    if left:
        out = x << small.view(x.dtype)
    else:
        out = x >> small.view(x.dtype)
        if x.dtype.kind == "i":
            return out
    if most >= width:
        out = np.where(count >= width, np.zeros_like(out), out)
    return out


def mul_hi(x: Array, y: Array) -> Array:
    size = x.dtype.itemsize
    if size < 8:
        wide = np.dtype(f"{x.dtype.kind}{2 * size}")
        return ((x.astype(wide) * y.astype(wide)) >> (8 * size)).astype(x.dtype)
    a, b = x.view(u8), y.view(u8)
    low = np.array([0xFFFFFFFF], u8)
    bits = np.array([32], u8)
    a0, a1, b0, b1 = a & low, a >> bits, b & low, b >> bits
    middle = a1 * b0 + ((a0 * b0) >> bits)
    other = a0 * b1 + (middle & low)
    high = a1 * b1 + (middle >> bits) + (other >> bits)
    if x.dtype.kind == "i":
        high = high - np.where(x < 0, b, u8.type(0)) - np.where(y < 0, a, u8.type(0))
    return high.view(x.dtype)


def clz(x: Array) -> Array:
    """Leading zeros as 32 bits."""
    width = x.dtype.itemsize * 8
    out = np.full(x.shape, width, u4)
    rest = x.copy()
    position = width
    while position:
        position -= 1
        hit = (rest >> x.dtype.type(position)) != 0
        out = np.where(hit & (out == width), u4.type(width - 1 - position), out)
        if hit.all():
            break
    return out


def brev(x: Array) -> Array:
    width = x.dtype.itemsize * 8
    out = np.zeros_like(x)
    for k in range(width):
        out |= ((x >> x.dtype.type(k)) & x.dtype.type(1)) << x.dtype.type(width - 1 - k)
    return out


def bfind(x: Array, amount: bool) -> Array:
    """Position of the most significant bit that is not the sign; all ones where there is none."""
    bits = np.where(x < 0, ~x, x).view(f"u{x.dtype.itemsize}")
    lead = clz(np.atleast_1d(bits))
    width = x.dtype.itemsize * 8
    out = lead if amount else u4.type(width - 1) - lead
    return np.where(bits == 0, u4.type(0xFFFFFFFF), out).astype(u4)


def bfe(x: Array, start: Array, length: Array) -> Array:
    width = x.dtype.itemsize * 8
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    first = (start & u4.type(255)).astype(np.int64)
    count = (length & u4.type(255)).astype(np.int64)
    taken = np.minimum(count, np.maximum(width - first, 0))
    moved = shift(x.view(unsigned), first.astype(u4), False)
    ones = shift(np.full(moved.shape, ~unsigned.type(0)), (width - taken).astype(u4), False)
    out = np.where(taken > 0, moved & ones, unsigned.type(0))
    if x.dtype.kind == "u":
        return out
    last = np.minimum(first + count - 1, width - 1)
    sign = (shift(x.view(unsigned), np.maximum(last, 0).astype(u4), False) & unsigned.type(1)) != 0
    filled = np.where(sign & (count > 0), ~ones, unsigned.type(0))
    filled = np.where(taken > 0, filled, np.where(sign & (count > 0), ~unsigned.type(0), filled))
    return (out | filled).view(x.dtype)


def bfi(field: Array, into: Array, start: Array, length: Array) -> Array:
    width = field.dtype.itemsize * 8
    first = (start & u4.type(255)).astype(u4)
    count = np.minimum((length & u4.type(255)).astype(u4), u4.type(width))
    full = np.full(np.broadcast(field, into, first, count).shape, ~field.dtype.type(0))
    ones = shift(full, u4.type(width) - count, False)
    ones = np.where(count == 0, field.dtype.type(0), ones)
    mask = shift(ones, first, True)
    return (into & ~mask) | (shift(field, first, True) & mask)


def prmt(x: Array, y: Array, selector: Array) -> Array:
    both = x.astype(u8) | (y.astype(u8) << u8.type(32))
    out = np.zeros(np.broadcast(both, selector).shape, u4)
    for k in range(4):
        pick = (selector >> u4.type(4 * k)) & u4.type(15)
        byte = (both >> (pick & u4.type(7)).astype(u8) * u8.type(8)) & u8.type(255)
        sign = np.where(byte & u8.type(128), u8.type(255), u8.type(0))
        byte = np.where(pick & u4.type(8), sign, byte)
        out = out | (byte.astype(u4) << u4.type(8 * k))
    return out


def funnel(low: Array, high: Array, by: Array, left: bool, wrap: bool) -> Array:
    count = by & u4.type(31) if wrap else np.minimum(by, u4.type(32))
    both = (high.astype(u8) << u8.type(32)) | low.astype(u8)
    wide = count.astype(u8)
    if left:
        return ((both << wide) >> u8.type(32)).astype(u4)
    return ((both >> wide) & u8.type(0xFFFFFFFF)).astype(u4)


def lop3(x: Array, y: Array, z: Array, table: int) -> Array:
    out = np.zeros(np.broadcast(x, y, z).shape, u4)
    for k in range(8):
        if table >> k & 1:
            out = out | ((x if k & 4 else ~x) & (y if k & 2 else ~y) & (z if k & 1 else ~z))
    return out


def testp(x: Array, what: str) -> Array:
    size = x.dtype.itemsize
    tiny = np.finfo(x.dtype).tiny
    if what == "finite":
        return np.isfinite(x)
    if what == "infinite":
        return np.isinf(x)
    if what in ("number", "notanumber"):
        return ~np.isnan(x) if what == "number" else np.isnan(x)
    if what == "normal":
        return np.isfinite(x) & (np.abs(x) >= tiny)
    if what == "subnormal":
        return (x != 0) & (np.abs(x) < tiny)
    raise NotImplementedError(f"testp.{what}.f{8 * size}")


# ---- bfloat16: its bits as uint16
def to_bf16(x: Array, rounding: str) -> Array:
    """float32 (or float64, through rounding to odd) to the bits of a bfloat16."""
    if x.dtype == f8:
        x = _odd32(x)
    bits = x.view(u4)
    if rounding == "rn":
        kept = (bits + u4.type(0x7FFF) + ((bits >> u4.type(16)) & u4.type(1))) >> u4.type(16)
    elif rounding == "rz":
        kept = bits >> u4.type(16)
    else:
        raise NotImplementedError(f"cvt.{rounding}.bf16")
    return np.where(np.isnan(x), u4.type(0x7FFF), kept).astype(u2)


def from_bf16(bits: Array) -> Array:
    return (bits.astype(u4) << u4.type(16)).view(f4)


def _odd32(x: Array) -> Array:
    near = x.astype(f4)
    bits = near.view(i4)
    back = near.astype(f8)
    off = (back != x) & np.isfinite(x)
    down = off & (np.abs(back) > np.abs(x))
    bits = np.where(down, bits - 1, bits)
    return np.where(off, bits | 1, bits).view(f4)


# ---- conversions
def to_int(x: Array, rounding: str, target: np.dtype[Any]) -> Array:
    """Float to integer: rounded, then clamped; NaN is 0, or 1000... where 64 bits take part."""
    wide = x.astype(f8) if x.dtype != f8 else x
    whole = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}[rounding](wide)
    info = np.iinfo(target)
    low, high = whole <= float(info.min), whole >= float(info.max)
    nan = np.isnan(whole)
    inside = np.where(low | high | nan, 0.0, whole).astype(target)
    out = np.where(low, target.type(info.min), np.where(high, target.type(info.max), inside))
    if nan.any():
        top = x.dtype == f8 or target.itemsize == 8
        unsigned = np.dtype(f"u{target.itemsize}")
        special = np.array([1 << (8 * target.itemsize - 1) if top else 0], unsigned).view(target)
        out = np.where(nan, special, out)
    return out


def to_float(x: Array, rounding: str, target: np.dtype[Any]) -> Array:
    """To a narrower (or equal) float or from an integer, in any rounding mode."""
    near = x.astype(target)
    if rounding in ("rn", ""):
        return near
    if x.dtype.kind in "iu":
        raise NotImplementedError(f"integer to float with .{rounding}")
    back = near.astype(x.dtype)
    toward = {"rz": np.zeros_like(near), "rm": -np.inf, "rp": np.inf}[rounding]
    over = (
        (np.abs(back) > np.abs(x))
        if rounding == "rz"
        else (back > x if rounding == "rm" else back < x)
    )
    stepped = np.nextafter(near, np.asarray(toward, target))
    return np.where(over & ~np.isnan(x), stepped, near)


def saturated(x: Array, target: np.dtype[Any]) -> Array:
    info, have = np.iinfo(target), np.iinfo(x.dtype)
    low, high = max(info.min, have.min), min(info.max, have.max)
    return np.clip(x, x.dtype.type(low), x.dtype.type(high)).astype(target)


def integral(x: Array, rounding: str) -> Array:
    return {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}[rounding](x)


def absolute(x: Array) -> Array:
    bits = x.view(f"u{x.dtype.itemsize}")
    top = bits.dtype.type((1 << (8 * x.dtype.itemsize - 1)) - 1)
    return (bits & top).view(x.dtype)


def negated(x: Array) -> Array:
    bits = x.view(f"u{x.dtype.itemsize}")
    return (bits ^ bits.dtype.type(1 << (8 * x.dtype.itemsize - 1))).view(x.dtype)


__all__ = [
    name for name in dir() if not name.startswith("_") and name not in ("annotations", "Any")
]
_ = fma64
