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
from ...core.shapes import broadcast_shapes
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as convert_to
from ...ir.door.flat import function_of
from ...ir.op import NO_GRAD, map_op
from ...ir.scalar.program import TYPE, Builder, Val
from ...ir.tensor import Handle
from ..base.common import SHAPE_ONLY
from ..base.surface import public
from ..formulas import tools
from .arithmetic import (
    COMMUTATIVE,
    FLOATS,
    clone,
    divide,
    is_bool,
    multiply,
    positive,
    reference_of,
    sign,
)
from .logic import equal, greater, less, less_equal, logical_and, logical_or

Tensor = Any
Function = Callable[..., Any]


# ---- where and conversion
where: Function = function_of(
    map_op(
        "where",
        3,
        lambda algebra, condition, left, right: algebra.select(
            algebra.convert(condition, "b1"), left, right
        ),
        fixed=(0,),
        vjp=lambda gradient, out, condition, left, right: (
            None,
            lambda: where(condition, gradient, 0.0),
            lambda: where(condition, 0.0, gradient),
        ),
        keeps=frozenset(["0"]),
        reference=lambda condition, left, right: np.where(condition != 0, left, right),
        doc="x where the condition holds, else y.",
    )
)


def flat_quotient(dividend: Tensor, length: Tensor) -> Tensor:
    """dividend / length, flat where the length is 0: no quotient by 0 is ever made, as derivatives
    and transposes of it would multiply by its infinity what the selection made 0."""
    none = equal(length, 0)
    return where(none, 0, divide(dividend, where(none, 1, length)))


def _to_odd(algebra: Builder, operand: Val) -> Val:
    """float64 to float32 rounded to odd, so that rounding to a half type afterwards rounds once."""
    result = algebra.convert(operand, "f32")
    back = algebra.convert(result, "f64")
    bits = algebra.bitcast(result, "u32")
    below = algebra.select(algebra.abs(back) > algebra.abs(operand), bits - 1, bits)
    return algebra.select(
        (back == operand) | (operand != operand), result, algebra.bitcast(below | 1, "f32")
    )


def _convert_body(algebra: Builder, operand: Val, *, dtype: np.dtype) -> Val:
    if operand.type == "f64" and dt.is_half(dtype):
        return _to_odd(algebra, operand)
    return algebra.convert(operand, TYPE[dtype])


def _convert_reference(operand: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    if operand.dtype.kind in "biu" or dtype.kind not in "biu":
        return operand.astype(dtype)
    widened = operand.astype(np.float64)
    if dtype is dt.bool_:
        result: np.ndarray = widened != 0
        return result
    info = np.iinfo(dtype)
    below, above = widened <= info.min, widened >= float(info.max)
    inside = np.where(np.isnan(widened) | below | above, 0.0, np.trunc(widened)).astype(dtype)
    return np.where(
        below, np.array(info.min, dtype), np.where(above, np.array(info.max, dtype), inside)
    )


map_op(
    "convert",
    1,
    _convert_body,
    vjp=lambda gradient, out, operand, **params: (gradient,),
    reference=_convert_reference,
    infer=lambda operand, *, dtype: (operand.with_(dtype=dtype),),
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


@public(method=("astype", "type"))
def astype(x: Tensor, /, dtype: Any, *, copy: bool = True, device: Any = None) -> Tensor:
    """x with its elements converted to `dtype`, in a tensor of its own; with copy=False (and `to`)
    a tensor that has the dtype is returned as it is.

    Floats become integers by dropping the fraction, and saturate; bools are 0 and 1.  Floating
    results have a gradient, in the dtype of x; others have none.  `device`: on that device.

    >>> hybrid.astype(hybrid.tensor([-1.7, 0.0, 300.0]), "int8")
    tensor([ -1,   0, 127], dtype=int8)
    """
    x = as_tensor(x)
    result = convert_to(x, dt.canonical(dtype))
    if device is not None:
        result = result.to(device=device)
    return clone(result) if copy and result is x else result


# ---- minimum, maximum, clip
def _split_ties(
    gradient: Tensor, left: Tensor, right: Tensor, lost: Callable[..., Tensor]
) -> Tensor:
    """The gradient where the left operand won, half of it at ties, 0 where it lost."""
    return where(
        equal(left, right), multiply(gradient, 0.5), where(lost(left, right), 0.0, gradient)
    )


def _least(left: np.ndarray, right: np.ndarray) -> Any:
    """NumPy's minimum with -0 below +0."""
    return np.where(left == right, np.where(np.signbit(left), left, right), np.minimum(left, right))


def _most(left: np.ndarray, right: np.ndarray) -> Any:
    """NumPy's maximum with -0 below +0."""
    return np.where(left == right, np.where(np.signbit(left), right, left), np.maximum(left, right))


minimum: Function = public(
    map_op(
        "minimum",
        2,
        lambda algebra, left, right: left & right if is_bool(left) else algebra.min(left, right),
        vjp=lambda gradient, out, left, right: (
            lambda: _split_ties(gradient, left, right, greater),
            lambda: _split_ties(gradient, right, left, greater),
        ),
        reference=reference_of(_least),
        facts=COMMUTATIVE,
        doc="""The smaller of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs
        too, share the gradient; with a NaN both have all of it.

        >>> hybrid.minimum(hybrid.tensor([1.0, 5.0, hybrid.nan]), 3.0)
        tensor([ 1.,  3., nan])
        """,
    ),
    method=True,
)

maximum: Function = public(
    map_op(
        "maximum",
        2,
        lambda algebra, left, right: left | right if is_bool(left) else algebra.max(left, right),
        vjp=lambda gradient, out, left, right: (
            lambda: _split_ties(gradient, left, right, less),
            lambda: _split_ties(gradient, right, left, less),
        ),
        reference=reference_of(_most),
        facts=COMMUTATIVE,
        doc="""The larger of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs
        too, share the gradient; with a NaN both have all of it.

        >>> hybrid.maximum(hybrid.tensor([1.0, 5.0, hybrid.nan]), 3.0)
        tensor([ 3.,  5., nan])
        """,
    ),
    method=True,
)


def _inside(gradient: Tensor, operand: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return where(logical_and(less_equal(low, operand), less_equal(operand, high)), gradient, 0.0)


_CLIP = map_op(
    "clip",
    3,
    lambda algebra, operand, low, high: algebra.min(algebra.max(operand, low), high),
    accepts="iuf",
    vjp=lambda gradient, out, operand, low, high: (
        lambda: _inside(gradient, operand, low, high),
        lambda: where(logical_and(less(operand, low), less(low, high)), gradient, 0.0),
        lambda: where(logical_or(greater(operand, high), greater(low, high)), gradient, 0.0),
    ),
    reference=reference_of(lambda operand, low, high: _least(_most(operand, low), high)),
    doc="min(max(x, low), high).",
)
_CLIP_LOW = map_op(
    "clip_low",
    2,
    lambda algebra, operand, low: algebra.max(operand, low),
    accepts="iuf",
    vjp=lambda gradient, out, operand, low: (
        lambda: where(less_equal(low, operand), gradient, 0.0),
        lambda: where(less(operand, low), gradient, 0.0),
    ),
    reference=reference_of(_most),
    doc="max(x, low), whose ties give the gradient to x.",
)
_CLIP_HIGH = map_op(
    "clip_high",
    2,
    lambda algebra, operand, high: algebra.min(operand, high),
    accepts="iuf",
    vjp=lambda gradient, out, operand, high: (
        lambda: where(less_equal(operand, high), gradient, 0.0),
        lambda: where(greater(operand, high), gradient, 0.0),
    ),
    reference=reference_of(_least),
    doc="min(x, high), whose ties give the gradient to x.",
)
_clip, _clip_low, _clip_high = function_of(_CLIP), function_of(_CLIP_LOW), function_of(_CLIP_HIGH)


@public(method=("clip", "clamp"), inplace="clamp_")
def clip(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; either may be None, a number or a tensor that broadcasts.

    NaN stays NaN, without a gradient.  At a border the gradient goes to x, as in PyTorch.

    The result has x's dtype, promoted with those of tensor bounds; ShapeError where shapes do not
    broadcast.

    >>> hybrid.clip(hybrid.tensor([-2.0, 0.5, 9.0]), 0, 1)
    tensor([0. , 0.5, 1. ])
    >>> hybrid.clip(hybrid.tensor([-2.0, 0.5, 9.0]), min=hybrid.tensor([0.0, 1.0, 2.0]))
    tensor([0., 1., 9.])
    """
    if (type(min) is int or type(max) is int) and isinstance(x, Handle):
        min, max = _harmless(x._a.dtype, min, max)
    if min is None:
        return positive(x) if max is None else _clip_high(x, max)
    return _clip_low(x, min) if max is None else _clip(x, min, max)


def _harmless(dtype: np.dtype, low: Any, high: Any) -> tuple[Any, Any]:
    """The bounds of integers without those, beyond what the dtype holds, that bound nothing."""
    if not dt.is_int(dtype):
        return low, high
    limits = np.iinfo(dtype)
    below = type(low) is int and low < limits.min
    above = type(high) is int and high > limits.max
    return None if below else low, None if above else high


clip.operands_only = True  # type: ignore[attr-defined]


# ---- sign and neighbours
def _no_nan(algebra: Builder, operand: Val) -> Val:
    """The operand, or +0 for NaN: the sign of a NaN is unspecified and must not become a value."""
    return algebra.select(operand == operand, operand, 0.0)


copysign: Function = public(
    map_op(
        "copysign",
        2,
        lambda algebra, left, right: algebra.copysign(left, _no_nan(algebra, right)),
        result="float",
        accepts="f",
        vjp=lambda gradient, out, left, right: (
            multiply(gradient, multiply(sign(left), sign(out))),
            None,
        ),
        reference=lambda left, right: np.copysign(
            left, np.where(np.isnan(right), np.zeros_like(right), right)
        ),
        doc="""|x| with the sign of y, that of zeros and infinities too; a NaN y counts as
        positive, whatever its sign bit: the sign of a NaN is unspecified here, and numpy.copysign
        of .numpy() reads it. The gradient at x = 0 is zero.

        >>> hybrid.copysign(hybrid.tensor([1.0, -2.0, 3.0]), hybrid.tensor([-0.0, 5.0, -1.0]))
        tensor([-1.,  2., -3.])
        """,
    )
)


def _signbit_body(algebra: Builder, operand: Val) -> Val:
    if operand.type not in FLOATS:
        whole = algebra.convert(operand, "i8") if is_bool(operand) else operand
        return whole < 0
    return algebra.bitcast(_no_nan(algebra, operand), tools.FORMAT[operand.type].signed) < 0


signbit: Function = public(
    map_op(
        "signbit",
        1,
        _signbit_body,
        vjp=NO_GRAD,
        result="bool",
        reference=lambda operand: np.signbit(
            np.where(np.isnan(operand), np.zeros_like(operand), operand).astype(np.longdouble)
        ),
        doc="""Whether x is negative, -0 and minus infinity included; false for every NaN: the
        sign bit of a NaN is unspecified here, and numpy.signbit of .numpy() reads it.

        >>> hybrid.signbit(hybrid.tensor([1.0, -0.0, -hybrid.inf, hybrid.nan]))
        tensor([False,  True,  True, False])
        """,
    )
)


def _nextafter_body(algebra: Builder, left: Val, right: Val) -> Val:
    encoding = tools.FORMAT[left.type]
    bits = algebra.bitcast(left, encoding.signed)
    away = (left < right) ^ (bits < 0)  # towards larger magnitude
    moved = algebra.bitcast(algebra.select(away, bits + 1, bits - 1), left.type)
    smallest = algebra.copysign(algebra.bits(left.type, 1), right)
    out = algebra.select(left == right, right, algebra.select(left == 0, smallest, moved))
    return algebra.select((left == left) & (right == right), out, left + right)


def _nextafter_infer(operand: Aval, result: Aval) -> tuple[Aval, ...]:
    if dt.is_half(result.dtype):
        raise DTypeError(f"nextafter takes float32 and float64, not {result.dtype.name}")
    shape = broadcast_shapes("nextafter", operand.shape, result.shape)
    return (operand.with_(shape, result.dtype),)


nextafter: Function = public(
    map_op(
        "nextafter",
        2,
        _nextafter_body,
        vjp=lambda gradient, out, left, right: (where(equal(left, right), 0.0, gradient), None),
        result="float",
        accepts="f",
        infer=_nextafter_infer,
        reference=np.nextafter,
        doc="""The next representable number after x towards y (float32 and float64). The gradient
        goes to x unless x is y already, as in PyTorch.

        >>> one = hybrid.tensor(1.0)
        >>> (hybrid.nextafter(one, 2.0) - one).item() == 2.0**-23
        True
        """,
    )
)
