"""The parts of floating numbers: mantissa and exponent, fraction and whole part, the last place.

Invariant: every result is exact but for the rounding of `ldexp` to subnormal numbers, which happens
once; the exponent of zeros, infinities and NaN is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError
from ...core.shapes import broadcast_shapes
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, MapOp, map_op
from ...ir.scalar.program import Builder, Val
from ..base.common import draw, ints, real_only
from ..base.surface import public
from ..formulas import tools
from .arithmetic import FLOATS, negative, subtract
from .logic import less
from .selection import nextafter, where

Tensor = Any
Function = Callable[..., Any]


def _floating(x: Any, what: str) -> Tensor:
    """A floating tensor of an operand; integers and bools as float32."""
    x = as_tensor(x)
    real_only(what, x)
    return x if dt.is_float(x.dtype) else astype(x, dt.default_float)


# ---- scaling by powers of two
def _power_of_two(algebra: Builder, exponent: Val) -> Val:
    """2^e in double precision, for e in -1022..1023."""
    layout = tools.FORMAT["f64"]
    return algebra.bitcast((exponent + layout.bias) << layout.nmant, "f64")


def _ldexp_body(algebra: Builder, operand: Val, exponent: Val) -> Val:
    wide = algebra.convert(operand, "f64")
    left = tools.clamp(algebra, algebra.convert(exponent, "i64"), -2200, 2200)
    if operand.type == "f32":  # no product leaves the range of double precision
        left = tools.clamp(algebra, left, -400, 400)
        return algebra.convert(wide * _power_of_two(algebra, left), operand.type)
    # two steps that round nothing unless the result is zero or infinite, then the one that rounds
    for _ in range(2):
        high = algebra.select(left > 1023, 1023, algebra.const("i64", 0))
        step = algebra.select(left < -1022, -969, high)
        wide, left = wide * _power_of_two(algebra, step), left - step
    left = tools.clamp(algebra, left, -1022, 1023)
    return algebra.convert(wide * _power_of_two(algebra, left), operand.type)


def _ldexp_infer(operand: Aval, exponent: Aval) -> tuple[Aval, ...]:
    if dt.is_float(exponent.dtype):
        raise DTypeError(
            f"ldexp takes integer exponents, not {exponent.dtype.name}; convert with .astype"
        )
    return (operand.with_(broadcast_shapes("ldexp", operand.shape, exponent.shape)),)


def _ldexp_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 3, 5), ints(rng, 5, low=-9, high=9)], {}
    yield [draw(rng, 40), ints(rng, 40, low=-170, high=140)], {}
    yield [draw(rng, 60), ints(rng, 60, low=-1090, high=1050)], {}
    yield [draw(rng), ints(rng)], {}
    yield [draw(rng, 0), ints(rng)], {}


def _ldexp_reference(operand: np.ndarray, exponent: np.ndarray) -> Any:
    return np.ldexp(operand.astype(np.longdouble), exponent)


_LDEXP: MapOp = map_op(
    "ldexp",
    2,
    _ldexp_body,
    vjp=lambda gradient, out, operand, exponent: (
        lambda: bind(_LDEXP, gradient, exponent),
        None,
    ),
    result="float",
    accepts="f",
    infer=_ldexp_infer,
    fixed=(1,),
    keeps=frozenset("1"),
    samples=_ldexp_samples,
    ulp=0.51,
    reference=_ldexp_reference,
    doc="x * 2^e for integers e.",
)


@public
def ldexp(x: Tensor, y: Any) -> Tensor:
    """x * 2^y for integers y, rounded once: without the overflow of the power on its own.

    Shapes broadcast; integers x are computed as float32; DTypeError for exponents that are no
    integers.  The gradient goes to x.

    >>> hybrid.ldexp(hybrid.tensor([0.75, 1.0]), hybrid.tensor([3, -130]))
    tensor([6.0000e+00, 7.3468e-40])
    """
    return bind(_LDEXP, x, y)


# ---- mantissa and exponent
def _frexp_body(algebra: Builder, operand: Val) -> tuple[Val, Val]:
    layout = tools.FORMAT[operand.type]
    small = algebra.abs(operand) < layout.tiny
    scale = layout.nmant + 1
    scaled = algebra.select(small, operand * 2.0**scale, operand)
    bits = algebra.bitcast(scaled, layout.unsigned)
    field = (bits >> layout.nmant) & ((1 << (layout.width - 1 - layout.nmant)) - 1)
    exponent = algebra.convert(field, "i32") - (layout.bias - 1)
    exponent = algebra.select(small, exponent - scale, exponent)
    kept = bits & (layout.sign | ((1 << layout.nmant) - 1))
    mantissa = algebra.bitcast(kept | ((layout.bias - 1) << layout.nmant), operand.type)
    plain = (operand != 0) & (algebra.abs(operand) < tools.INF)
    return (
        algebra.select(plain, mantissa, operand),
        algebra.select(plain, exponent, algebra.const("i32", 0)),
    )


def _frexp_reference(operand: np.ndarray) -> Any:
    mantissa, exponent = np.frexp(operand.astype(np.float64))
    return mantissa, np.where(np.isfinite(mantissa), exponent, 0).astype(np.int32)


_FREXP = map_op(
    "frexp",
    1,
    _frexp_body,
    nout=2,
    vjp=lambda gradient, out, operand: (lambda: bind(_LDEXP, gradient[0], negative(out[1])),),
    result="float",
    accepts="f",
    infer=lambda operand: (operand, operand.with_(dtype=dt.int32)),
    reference=_frexp_reference,
    keeps=frozenset(["out"]),
    facts=frozenset(["optional_grads"]),
    ulp=0.0,
    doc="Mantissa and exponent.",
)


@public
def frexp(x: Tensor) -> tuple[Tensor, Tensor]:
    """(mantissa, exponent) with x = mantissa * 2^exponent and a mantissa in [0.5, 1), int32
    exponents; zeros, infinities and NaN are their own mantissa, with exponent 0.

    The gradient of the mantissa takes the exponent as fixed.  Integers are computed as float32.

    >>> hybrid.frexp(hybrid.tensor([6.0, -0.25, 0.0]))
    (tensor([ 0.75, -0.5 ,  0.  ]), tensor([ 3, -1,  0], dtype=int32))
    """
    return bind(_FREXP, _floating(x, "frexp"))  # type: ignore[no-any-return]


# ---- fraction and whole part
def _modf_body(algebra: Builder, operand: Val) -> tuple[Val, Val]:
    whole = algebra.trunc(operand)
    finite = algebra.abs(operand) < tools.INF
    rest = algebra.select(finite, operand - whole, 0.0)
    fraction = algebra.copysign(rest, operand)
    return algebra.select(operand == operand, fraction, operand), whole


_MODF = map_op(
    "modf",
    1,
    _modf_body,
    nout=2,
    vjp=lambda gradient, out, operand: (gradient[0],),
    result="float",
    accepts="f",
    infer=lambda operand: (operand, operand),
    reference=lambda operand: np.modf(operand.astype(np.float64)),
    keeps=frozenset(["shape"]),
    facts=frozenset(["optional_grads"]),
    ulp=0.0,
    doc="Fraction and whole part.",
)


@public
def modf(x: Tensor) -> tuple[Tensor, Tensor]:
    """(fraction, whole part) of x, both with its sign; an infinity has the fraction 0.

    The gradient is that of the fraction.  Integers are computed as float32.

    >>> hybrid.modf(hybrid.tensor([3.5, -0.25, -hybrid.inf]))
    (tensor([ 0.5 , -0.25, -0.  ]), tensor([  3.,  -0., -inf]))
    """
    return bind(_MODF, _floating(x, "modf"))  # type: ignore[no-any-return]


# ---- the last place
@public
def spacing(x: Tensor) -> Tensor:
    """The distance from x to the next number away from zero, with the sign of x (float32 and
    float64); NaN for infinities. Its gradient is zero.

    >>> (hybrid.spacing(hybrid.tensor(1.0)) == hybrid.finfo("float32").eps).item()
    True
    """
    x = _floating(x, "spacing")
    if dt.is_half(x.dtype):
        raise DTypeError(f"spacing takes float32 and float64, not {x.dtype.name}")
    away = where(less(x, 0.0), -tools.INF, tools.INF)
    return subtract(nextafter(x, away), x)


def _infinite(name: str, infinity: float, oracle: Any, doc: str) -> Function:
    def body(algebra: Builder, operand: Val) -> Val:
        return operand == infinity if operand.type in FLOATS else algebra.const("b1", False)

    return public(map_op(name, 1, body, vjp=NO_GRAD, result="bool", reference=oracle, doc=doc))


isposinf = _infinite(
    "isposinf",
    tools.INF,
    np.isposinf,
    """Whether x is positive infinity.

    >>> hybrid.isposinf(hybrid.tensor([hybrid.inf, -hybrid.inf, 1.0]))
    tensor([ True, False, False])
    """,
)
isneginf = _infinite(
    "isneginf",
    -tools.INF,
    np.isneginf,
    """Whether x is negative infinity.

    >>> hybrid.isneginf(hybrid.tensor([hybrid.inf, -hybrid.inf, 1.0]))
    tensor([False,  True, False])
    """,
)
