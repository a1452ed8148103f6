"""Elementwise functions of numbers that NumPy has beside the array API: fmax, gcd, deg2rad...

Invariant: special values are NumPy's; a result whose dtype is floating by rule (fabs, rint,
heaviside, ...) is float32 for integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.errors import DTypeError
from ...core.shapes import broadcast_shapes
from ...ir.algorithm import Divisor
from ...ir.door.bind import as_tensor, bind, is_complex, operands
from ...ir.door.bind import convert as astype
from ...ir.door.flat import function_of
from ...ir.op import NO_GRAD, HostOp, map_op, register
from ...ir.scalar.program import Builder, Val
from .. import formulas as F
from ..base.common import ints
from ..base.surface import public
from .arithmetic import (
    COMMUTATIVE,
    FLOATS,
    abs,
    add,
    is_bool,
    multiply,
    reference_of,
    sign,
    subtract,
)
from .functions import sigmoid, unary
from .logic import equal, greater_equal, isinf, isnan, logical_and, logical_or
from .powers import power
from .rounding import floor_divide, fmod
from .selection import where

Tensor = Any
Function = Callable[..., Any]
_STEPS = {1: 12, 2: 24, 4: 47, 8: 93}  # of Euclid's algorithm, by the bytes of an integer
LN2, LOG2_E = math.log(2.0), 1.0 / math.log(2.0)


# ---- extremes that pass over NaN
def _wins(left: Tensor, right: Tensor, ahead: Function) -> Tensor:
    """Where the first operand has the gradient: it is ahead or tied, or the other is NaN."""
    return logical_or(ahead(left, right), isnan(right))


def _extreme_vjp(ahead: Function) -> Function:
    return lambda gradient, out, left, right: (
        lambda: where(_wins(left, right, ahead), gradient, 0.0),
        lambda: where(_wins(left, right, ahead), 0.0, gradient),
    )


def _extreme_body(prim: str, truth: Function) -> Function:
    def body(algebra: Builder, left: Val, right: Val) -> Val:
        if is_bool(left):
            return truth(left, right)  # type: ignore[no-any-return]
        both = algebra.op(prim, left, right)
        if left.type not in FLOATS:
            return both
        return algebra.select(left != left, right, algebra.select(right != right, left, both))

    return body


def _signed_zeros(function: Function, first: Function) -> Function:
    """NumPy's fmax or fmin, with -0 below +0."""

    def reference(left: np.ndarray, right: np.ndarray) -> Any:
        chosen = np.where(first(np.signbit(left), np.signbit(right)), left, right)
        tied = (left == right) & (left == 0)
        return np.where(tied, chosen, function(left, right))

    return reference


fmax: Function = public(
    map_op(
        "fmax",
        2,
        _extreme_body("max", lambda left, right: left | right),
        vjp=_extreme_vjp(greater_equal),
        reference=reference_of(_signed_zeros(np.fmax, lambda left, right: left < right)),
        doc="""The larger of x and y; of a number and NaN the number; -0 is below +0. Ties give the
        gradient to x, as in PyTorch.

        >>> hybrid.fmax(hybrid.tensor([1.0, hybrid.nan]), 3.0)
        tensor([3., 3.])
        """,
    )
)
fmin: Function = public(
    map_op(
        "fmin",
        2,
        _extreme_body("min", lambda left, right: left & right),
        vjp=_extreme_vjp(lambda left, right: greater_equal(right, left)),
        reference=reference_of(_signed_zeros(np.fmin, lambda left, right: left > right)),
        doc="""The smaller of x and y; of a number and NaN the number; -0 is below +0. Ties give
        the gradient to x, as in PyTorch.

        >>> hybrid.fmin(hybrid.tensor([1.0, hybrid.nan]), 3.0)
        tensor([1., 3.])
        """,
    )
)


# ---- amounts, steps, rounding
fabs: Function = public(
    unary(
        "fabs",
        lambda algebra, operand: algebra.abs(operand),
        lambda gradient, out, operand: (multiply(gradient, sign(operand)),),
        np.fabs,
        """|x| as a floating number. The gradient at 0 is 0.

        >>> hybrid.fabs(hybrid.tensor([-1, 2]))
        tensor([1., 2.])
        """,
    )
)
rint: Function = public(
    unary(
        "rint",
        lambda algebra, operand: algebra.rint(operand),
        lambda gradient, out, operand: (None,),
        np.rint,
        """The nearest integer as a floating number, halves to even. Its gradient is zero.

        >>> hybrid.rint(hybrid.tensor([0.5, 1.5, -2.7]))
        tensor([ 0.,  2., -3.])
        """,
    )
)


def _heaviside_body(algebra: Builder, operand: Val, middle: Val) -> Val:
    sides = algebra.select(operand < 0, 0.0, algebra.const(operand.type, 1.0))
    out = algebra.select(operand == 0, middle, sides)
    return algebra.select(operand == operand, out, operand)


heaviside: Function = public(
    map_op(
        "heaviside",
        2,
        _heaviside_body,
        vjp=lambda gradient, out, operand, middle: (
            None,
            lambda: where(equal(operand, 0.0), gradient, 0.0),
        ),
        result="float",
        accepts="f",
        reference=reference_of(np.heaviside),
        doc="""0 below zero, 1 above, y where x is zero, NaN for NaN. The gradient goes to y.

        >>> hybrid.heaviside(hybrid.tensor([-1.5, 0.0, 2.0]), 0.5)
        tensor([0. , 0.5, 1. ])
        """,
    )
)


# ---- angles
def _scaled(names: tuple[str, ...], factor: float, oracle: Any, doc: str) -> Function:
    return public(
        unary(
            names[0],
            lambda algebra, operand: operand * factor,
            lambda gradient, out, operand: (multiply(gradient, factor),),
            oracle,
            doc,
        ),
        hybrid=names,
    )


deg2rad = _scaled(
    ("deg2rad", "radians"),
    math.pi / 180.0,
    np.deg2rad,
    """Degrees as radians: x * (pi / 180).

    >>> hybrid.deg2rad(hybrid.tensor([0.0, 90.0, 180.0]))
    tensor([0.    , 1.5708, 3.1416])
    """,
)
rad2deg = _scaled(
    ("rad2deg", "degrees"),
    180.0 / math.pi,
    np.rad2deg,
    """Radians as degrees: x * (180 / pi).

    >>> hybrid.rad2deg(hybrid.tensor([0.0, hybrid.pi / 2]))
    tensor([ 0., 90.])
    """,
)


# ---- logarithms of sums, powers
def _logaddexp2_body(algebra: Builder, left: Val, right: Val) -> Val:
    top, low = algebra.max(left, right), algebra.min(left, right)
    difference = algebra.select(top == low, 0.0, low - top)  # equal infinities
    return top + F.log1p_unit(algebra, F.exp2(algebra, difference)) * LOG2_E


def _share(left: Tensor, right: Tensor) -> Tensor:
    """2^x / (2^x + 2^y): one half for equal operands, infinities too."""
    same = logical_and(equal(left, right), isinf(left))
    return sigmoid(multiply(where(same, 0.0, subtract(left, right)), LN2))


logaddexp2: Function = public(
    map_op(
        "logaddexp2",
        2,
        _logaddexp2_body,
        result="float",
        accepts="f",
        facts=COMMUTATIVE,
        ulp=4.0,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, _share(left, right)),
            lambda: multiply(gradient, _share(right, left)),
        ),
        reference=reference_of(np.logaddexp2),
        domain=(0.5, 4.0),
        doc="""log2(2^x + 2^y) without overflow. Equal operands share the gradient.  The error is
        that of `logaddexp`.

        >>> hybrid.logaddexp2(hybrid.tensor([0.0, 500.0]), hybrid.tensor([0.0, 500.0]))
        tensor([  1., 501.])
        """,
    )
)


@public
def float_power(x: Tensor, y: Any) -> Tensor:
    """x to the power y in float64 (complex128 where one is complex), whatever the operands are:
    NumPy's float_power, whose result hybrid's default of float32 does not change.

    Shapes broadcast, or ShapeError.

    >>> hybrid.float_power(hybrid.tensor([2, 10]), -2)
    tensor([0.25, 0.01], dtype=float64)
    """
    base, exponent = operands(x, y, whole=dt.float64)
    wanted = dt.complex128 if is_complex((base, exponent)) else dt.float64
    return power(astype(base, wanted), astype(exponent, wanted))


# ---- integers
def _count_body(algebra: Builder, operand: Val) -> Val:
    amount = operand if operand.type[0] == "u" else algebra.abs(operand)
    return algebra.convert(algebra.popcount(amount), "u8")


_count = function_of(
    map_op(
        "bitwise_count",
        1,
        _count_body,
        vjp=NO_GRAD,
        accepts="iu",
        infer=lambda operand: (operand.with_(dtype=dt.uint8),),
        reference=np.bitwise_count,
        doc="The number of ones in the binary form of |x|.",
    )
)


@public
def bitwise_count(x: Tensor) -> Tensor:
    """The number of ones in the binary form of |x|, as uint8.

    DTypeError for floating tensors; bools count as integers.

    >>> hybrid.bitwise_count(hybrid.tensor([0, 7, -8]))
    tensor([0, 3, 1], dtype=uint8)
    """
    return _count(x)


def _of_integers(name: str, function: Any, multiple: bool, doc: str) -> Any:
    def samples(rng: np.random.Generator) -> Any:
        yield [ints(rng, 4, 5, low=-60, high=60), ints(rng, 4, 5, low=-60, high=60)], {}
        yield [ints(rng), ints(rng)], {}
        yield [ints(rng, 0), ints(rng, 0)], {}

    return register(
        HostOp(
            name,
            2,
            lambda left, right: (left,),
            body=function,
            algorithm=lambda: Divisor(multiple),
            vjp=NO_GRAD,
            accepts="iu",
            facts=frozenset(["total"]),
            reference=function,
            samples=samples,
            ulp=0.0,
            doc=doc,
        )
    )


GCD = _of_integers("gcd", np.gcd, False, "Greatest common divisor.")
LCM = _of_integers("lcm", np.lcm, True, "Least common multiple.")


def _integers(name: str, *values: Any) -> list[Tensor]:
    """Integer tensors of one dtype and shape, or DTypeError."""
    tensors = operands(*values)
    dtype = reduce(dt.promote, [t.dtype for t in tensors])
    if not dt.is_int(dtype):
        raise DTypeError(f"{name} takes integers, not {dtype.name}; convert with .astype")
    left, right = [astype(t, dtype) for t in tensors]
    shape = broadcast_shapes(name, left.shape, right.shape)
    shaped = [
        mine if mine.shape == shape else add(mine, multiply(other, 0))
        for mine, other in ((left, right), (right, left))
    ]
    return shaped


def _euclid(left: Tensor, right: Tensor) -> Tensor:
    """Euclid's steps by operations, as many as a pair of neighbouring Fibonacci numbers takes, for
    devices without a kernel for it."""
    left, right = [abs(v) if v.dtype in dt.SIGNED else v for v in (left, right)]
    for _ in range(_STEPS[left.dtype.itemsize]):
        left, right = where(equal(right, 0), left, right), fmod(left, right)
    return abs(left) if left.dtype in dt.SIGNED else left


@public
def gcd(x: Tensor, y: Any) -> Tensor:
    """The greatest common divisor of |x| and |y|; gcd(0, y) is |y|.

    Shapes broadcast, or ShapeError; dtypes promote, DTypeError unless they are integers.

    >>> hybrid.gcd(hybrid.tensor([12, 18, 0]), hybrid.tensor([8, -27, 5]))
    tensor([4, 9, 5])
    """
    left, right = _integers("gcd", x, y)
    return bind(GCD, left, right) if left.device is HOST else _euclid(left, right)


@public
def lcm(x: Tensor, y: Any) -> Tensor:
    """The least common multiple of |x| and |y|; lcm(0, y) is 0.

    Shapes broadcast, or ShapeError; dtypes promote, DTypeError unless they are integers.

    >>> hybrid.lcm(hybrid.tensor([12, 4, 0]), hybrid.tensor([8, -6, 5]))
    tensor([24, 12,  0])
    """
    left, right = _integers("lcm", x, y)
    if left.device is HOST:
        return bind(LCM, left, right)
    left, right = [abs(v) if v.dtype in dt.SIGNED else v for v in (left, right)]
    return multiply(floor_divide(left, _euclid(left, right)), right)


# ---- real numbers
def _known(name: str, answer: bool, doc: str) -> Function:
    """A predicate with one answer for every real number."""
    return public(
        map_op(
            name,
            1,
            lambda algebra, operand: algebra.const("b1", answer),
            vjp=NO_GRAD,
            result="bool",
            reference=lambda operand: np.full(operand.shape, answer),
            doc=doc,
        )
    )


iscomplex = _known(
    "iscomplex",
    False,
    """Whether x has an imaginary part that is not zero.

    >>> hybrid.iscomplex(hybrid.tensor([1.0, 2.0]))
    tensor([False, False])
    """,
)
isreal = _known(
    "isreal",
    True,
    """Whether x has no imaginary part, or one of zero.

    >>> hybrid.isreal(hybrid.tensor([1.0, 2.0]))
    tensor([ True,  True])
    """,
)


@public
def iscomplexobj(x: Any) -> bool:
    """Whether x has a complex dtype, whatever its elements are.

    >>> hybrid.iscomplexobj(hybrid.tensor([1.0]))
    False
    """
    return np.issubdtype(as_tensor(x).dtype, np.complexfloating)


@public
def isrealobj(x: Any) -> bool:
    """Whether x has a real dtype.

    >>> hybrid.isrealobj(hybrid.tensor([1.0]))
    True
    """
    return not iscomplexobj(x)
