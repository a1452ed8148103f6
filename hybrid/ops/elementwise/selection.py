"""Elementwise selection and conversion: where, minimum, maximum, clip, signs, neighbours, astype.

Invariant: every result is an operand, or a neighbour or a conversion of one, correctly rounded;
tied operands share the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as convert_to
from ...ir.door.flat import function_of
from ...ir.op import NO_GRAD, map_op
from ...ir.scalar.program import TYPE, Builder, Val
from ..base.common import SHAPE_ONLY
from ..base.surface import public
from ..formulas import tools
from .arithmetic import COMMUTATIVE, is_bool, multiply, positive, reference_of, sign
from .logic import equal, greater, less, less_equal, logical_and, logical_or

Tensor = Any
Function = Callable[..., Any]


# ---- where and conversion
where: Function = public(
    map_op(
        "where",
        3,
        lambda s, c, x, y: s.select(s.convert(c, "b1"), x, y),
        fixed=(0,),
        vjp=lambda g, out, c, x, y: (None, lambda: where(c, g, 0.0), lambda: where(c, 0.0, g)),
        keeps=frozenset(["0"]),
        reference=lambda c, x, y: np.where(c != 0, x, y),
        doc="x where the condition holds, else y.",
    ),
    method=True,
)


def _to_odd(s: Builder, x: Val) -> Val:
    """float64 to float32 rounded to odd, so that rounding to a half type afterwards rounds once."""
    y = s.convert(x, "f32")
    back = s.convert(y, "f64")
    bits = s.bitcast(y, "u32")
    below = s.select(s.abs(back) > s.abs(x), bits - 1, bits)
    return s.select((back == x) | (x != x), y, s.bitcast(below | 1, "f32"))


def _convert_body(s: Builder, x: Val, *, dtype: np.dtype) -> Val:
    if x.type == "f64" and dt.is_half(dtype):
        return _to_odd(s, x)
    return s.convert(x, TYPE[dtype])


def _convert_reference(x: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    if x.dtype.kind in "biu" or dtype.kind not in "biu":
        return x.astype(dtype)
    w = x.astype(np.float64)
    if dtype is dt.bool_:
        return w != 0
    info = np.iinfo(dtype)
    below, above = w <= info.min, w >= float(info.max)
    inside = np.where(np.isnan(w) | below | above, 0.0, np.trunc(w)).astype(dtype)
    return np.where(
        below, np.array(info.min, dtype), np.where(above, np.array(info.max, dtype), inside)
    )


map_op(
    "convert",
    1,
    _convert_body,
    vjp=lambda g, out, x, **params: (g,),
    reference=_convert_reference,
    infer=lambda x, *, dtype: (x.with_(dtype=dtype),),
    params=("dtype",),
    facts=frozenset(["convert"]),
    keeps=SHAPE_ONLY,
    samples=lambda rng: [
        ([rng.uniform(-3, 3, (5, 7))], {"dtype": d})
        for d in (dt.float32, dt.float64, dt.int32, dt.bool_)
    ],
    doc="Elements in another dtype: floats round to nearest, float to integer truncates and "
    "saturates (NaN is 0), integers wrap.",
)


@public
def astype(x: Tensor, dtype: Any) -> Tensor:
    """x with its elements converted to `dtype`."""
    return convert_to(as_tensor(x), dt.canonical(dtype))


# ---- minimum, maximum, clip
def _split_ties(g: Tensor, x: Tensor, y: Tensor, lost: Callable[..., Tensor]) -> Tensor:
    """g where x won, g/2 where x equals y, 0 where it lost."""
    return where(equal(x, y), multiply(g, 0.5), where(lost(x, y), 0.0, g))


def _least(x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy's minimum with -0 below +0."""
    return np.where(x == y, np.where(np.signbit(x), x, y), np.minimum(x, y))


def _most(x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy's maximum with -0 below +0."""
    return np.where(x == y, np.where(np.signbit(x), y, x), np.maximum(x, y))


minimum: Function = public(
    map_op(
        "minimum",
        2,
        lambda s, x, y: x & y if is_bool(x) else s.min(x, y),
        vjp=lambda g, out, x, y: (
            lambda: _split_ties(g, x, y, greater),
            lambda: _split_ties(g, y, x, greater),
        ),
        reference=reference_of(_least),
        facts=COMMUTATIVE,
        doc="The smaller of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs "
        "too, share the gradient; with a NaN both have all of it.",
    ),
    method=True,
)

maximum: Function = public(
    map_op(
        "maximum",
        2,
        lambda s, x, y: x | y if is_bool(x) else s.max(x, y),
        vjp=lambda g, out, x, y: (
            lambda: _split_ties(g, x, y, less),
            lambda: _split_ties(g, y, x, less),
        ),
        reference=reference_of(_most),
        facts=COMMUTATIVE,
        doc="The larger of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs "
        "too, share the gradient; with a NaN both have all of it.",
    ),
    method=True,
)


def _inside(g: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return where(logical_and(less_equal(low, x), less_equal(x, high)), g, 0.0)


_CLIP = map_op(
    "clip",
    3,
    lambda s, x, low, high: s.min(s.max(x, low), high),
    accepts="iuf",
    vjp=lambda g, out, x, low, high: (
        lambda: _inside(g, x, low, high),
        lambda: where(logical_and(less(x, low), less(low, high)), g, 0.0),
        lambda: where(logical_or(greater(x, high), greater(low, high)), g, 0.0),
    ),
    reference=reference_of(lambda x, low, high: _least(_most(x, low), high)),
    doc="min(max(x, low), high).",
)
_CLIP_LOW = map_op(
    "clip_low",
    2,
    lambda s, x, low: s.max(x, low),
    accepts="iuf",
    vjp=lambda g, out, x, low: (
        lambda: where(less_equal(low, x), g, 0.0),
        lambda: where(less(x, low), g, 0.0),
    ),
    reference=reference_of(_most),
    doc="max(x, low), whose ties give the gradient to x.",
)
_CLIP_HIGH = map_op(
    "clip_high",
    2,
    lambda s, x, high: s.min(x, high),
    accepts="iuf",
    vjp=lambda g, out, x, high: (
        lambda: where(less_equal(x, high), g, 0.0),
        lambda: where(greater(x, high), g, 0.0),
    ),
    reference=reference_of(_least),
    doc="min(x, high), whose ties give the gradient to x.",
)
_clip, _clip_low, _clip_high = function_of(_CLIP), function_of(_CLIP_LOW), function_of(_CLIP_HIGH)


@public(method=("clip", "clamp"), inplace="clamp_")
def clip(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; either may be None, a number or a tensor that broadcasts.

    NaN stays NaN, without a gradient.  At a border the gradient goes to x, as in PyTorch.
    """
    if min is None:
        return positive(x) if max is None else _clip_high(x, max)
    return _clip_low(x, min) if max is None else _clip(x, min, max)


# ---- sign and neighbours
def _no_nan(s: Builder, x: Val) -> Val:
    """x, or +0 for NaN: the sign of a NaN is unspecified and must not become a value."""
    return s.select(x == x, x, 0.0)


copysign: Function = public(
    map_op(
        "copysign",
        2,
        lambda s, x, y: s.copysign(x, _no_nan(s, y)),
        result="float",
        accepts="f",
        vjp=lambda g, out, x, y: (multiply(g, multiply(sign(x), sign(out))), None),
        reference=lambda x, y: np.copysign(x, np.where(np.isnan(y), np.zeros_like(y), y)),
        doc="|x| with the sign of y, that of zeros and infinities too; a NaN y counts as positive, "
        "whatever its sign bit: the sign of a NaN is unspecified here, and numpy.copysign of "
        ".numpy() reads it. The gradient at x = 0 is zero.",
    )
)

signbit: Function = public(
    map_op(
        "signbit",
        1,
        lambda s, x: s.bitcast(_no_nan(s, x), tools.FORMAT[x.type].signed) < 0,
        vjp=NO_GRAD,
        result="bool",
        accepts="f",
        reference=lambda x: np.signbit(np.where(np.isnan(x), np.zeros_like(x), x)),
        doc="Whether x is negative, -0 and minus infinity included; false for every NaN: the sign "
        "bit of a NaN is unspecified here, and numpy.signbit of .numpy() reads it.",
    )
)


def _nextafter_body(s: Builder, x: Val, y: Val) -> Val:
    f = tools.FORMAT[x.type]
    bits = s.bitcast(x, f.signed)
    away = (x < y) ^ (bits < 0)  # towards larger magnitude
    moved = s.bitcast(s.select(away, bits + 1, bits - 1), x.type)
    smallest = s.copysign(s.bits(x.type, 1), y)
    out = s.select(x == y, y, s.select(x == 0, smallest, moved))
    return s.select((x == x) & (y == y), out, x + y)


def _nextafter_infer(x: Aval, y: Aval) -> tuple[Aval, ...]:
    if dt.is_half(y.dtype):
        raise DTypeError(f"nextafter takes float32 and float64, not {y.dtype.name}")
    from_shapes = np.broadcast_shapes(x.shape, y.shape)
    return (x.with_(tuple(from_shapes), y.dtype),)


nextafter: Function = public(
    map_op(
        "nextafter",
        2,
        _nextafter_body,
        vjp=lambda g, out, x, y: (where(equal(x, y), 0.0, g), None),
        result="float",
        accepts="f",
        infer=_nextafter_infer,
        reference=np.nextafter,
        doc="The next representable number after x towards y (float32 and float64). The gradient "
        "goes to x unless x is y already, as in PyTorch.",
    )
)
