"""Elementwise rounding, and the divisions that round: floor_divide, remainder, fmod, divmod.

Invariant: remainders are exact for every quotient; integer division by zero gives 0.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError
from ...core.shapes import broadcast_shapes, whole
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.door.flat import function_of
from ...ir.op import Op, map_op
from ...ir.scalar.program import Builder, Val
from ..base.common import SHAPE_ONLY, wide
from ..base.surface import public
from ..formulas import tools
from .arithmetic import FLOATS, IDEMPOTENT, divide, multiply, negative

Tensor = Any
Function = Callable[..., Any]


# ---- rounding
def _rounding(
    name: str, prim: str, function: Callable[..., Any], doc: str, accepts: str = "biuf"
) -> Op:
    def reference(operand: np.ndarray) -> Any:
        if operand.dtype.kind in "biu":
            return operand
        return function(operand if operand.dtype.kind == "f" else wide(operand))

    return map_op(
        name,
        1,
        lambda algebra, operand: algebra.op(prim, operand) if operand.type in FLOATS else operand,
        vjp=lambda gradient, out, operand: (None,),
        reference=reference,
        accepts=accepts,
        facts=IDEMPOTENT,
        doc=doc,
    )


floor: Function = public(
    _rounding(
        "floor",
        "floor",
        np.floor,
        """The largest integer not above x. Integers and bools stay; the gradient is zero.

        >>> hybrid.floor(hybrid.tensor([-1.5, 0.5, 2.0]))
        tensor([-2.,  0.,  2.])
        """,
    ),
    method=True,
)
ceil: Function = public(
    _rounding(
        "ceil",
        "ceil",
        np.ceil,
        """The smallest integer not below x. Integers and bools stay; the gradient is zero.

        >>> hybrid.ceil(hybrid.tensor([-1.5, 0.5, 2.0]))
        tensor([-1.,  1.,  2.])
        """,
    ),
    method=True,
)
trunc: Function = public(
    _rounding(
        "trunc",
        "trunc",
        np.trunc,
        """x without its fraction. Integers and bools stay; the gradient is zero.

        >>> hybrid.trunc(hybrid.tensor([-1.5, 0.5, 2.9]))
        tensor([-1.,  0.,  2.])
        """,
    ),
    hybrid=("trunc", "fix"),
    method=True,
)
_round: Function = function_of(
    _rounding("round", "rint", np.rint, "The nearest integer, halves to even.", "iuf")
)


ROUND: Op = _round.op  # type: ignore[attr-defined]
_MOST_DECIMALS = 308


@public(hybrid=("round", "around"))
def round(x: Tensor, decimals: int = 0) -> Tensor:
    """x rounded to the nearest multiple of 10^-decimals, halves to even;
    computed as NumPy does, by scaling; both parts of complex numbers.

    ArgumentError for more than 308 decimals.

    >>> hybrid.round(hybrid.tensor([0.5, 1.5, -2.5]))
    tensor([ 0.,  2., -2.])
    >>> hybrid.round(hybrid.tensor([3.14159, 2.71828]), 2)
    tensor([3.14, 2.72])
    """
    decimals = whole(decimals or 0, "round: decimals")
    if not decimals:
        return _round(x)
    if builtins.abs(decimals) > _MOST_DECIMALS:
        raise ArgumentError(
            f"round: decimals is {decimals}; no dtype holds 10 to a power beyond {_MOST_DECIMALS}"
        )
    dtype, scale = as_tensor(x)._a.dtype, 10.0 ** builtins.abs(decimals)
    if decimals > 0:
        return divide(_round(multiply(x, scale)), scale) if dt.is_inexact(dtype) else _round(x)
    return astype(multiply(_round(divide(x, scale)), scale), dtype)


# ---- divisions
def _fmod_steps(algebra: Builder, rest: Val, divisor: Val, steps: int) -> Val:
    """rest modulo divisor, up to one divisor below zero, for a quotient below 2^(53*steps):
    every step is exact."""
    for _ in range(steps):
        rest = algebra.fma(-algebra.trunc(rest / divisor), divisor, rest)
    return rest


def _fmod(algebra: Builder, left: Val, right: Val) -> Val:
    """C's fmod: exact, with the sign of the dividend."""
    if (
        left.type == "f32"
    ):  # the largest quotient of float32 values is 2^277, which double precision holds
        return algebra.convert(
            _fmod_wide(
                algebra, algebra.convert(left, "f64"), algebra.convert(right, "f64"), ((0, 6),)
            ),
            "f32",
        )
    return _fmod_wide(algebra, left, right, ((2, 14), (1, 14), (0, 14)))


def _fmod_wide(algebra: Builder, left: Val, right: Val, stages: tuple[tuple[int, int], ...]) -> Val:
    dividend, divisor = algebra.abs(left), algebra.abs(right)
    rest = dividend
    for (
        level,
        steps,
    ) in stages:  # modulo divisor * 2^(700 level) first, so that no quotient overflows
        modulus = divisor
        for _ in range(level):
            modulus = modulus * 2.0**700
        part = _fmod_steps(algebra, rest, modulus, steps)
        part = algebra.select(part < 0, part + modulus, part)
        rest = algebra.select(divisor < 2.0 ** (1024 - 700 * level), part, rest) if level else part
    rest = algebra.select((divisor == tools.INF) & (dividend < tools.INF), dividend, rest)
    return algebra.copysign(rest, left)


def _divmod(algebra: Builder, left: Val, right: Val) -> tuple[Val, Val]:
    """Quotient and remainder with the sign of the divisor, by NumPy's rules."""
    if left.type not in FLOATS:
        return _divmod_int(algebra, left, right)
    part = _fmod(algebra, left, right)
    quotient = (left - part) / right
    wrong = (part != 0) & ((right < 0) ^ (part < 0))
    quotient = algebra.select(wrong, quotient - 1.0, quotient)
    rest = algebra.select(
        wrong,
        part + right,
        algebra.select(part == 0, algebra.copysign(algebra.const(left.type, 0.0), right), part),
    )
    whole = algebra.floor(quotient)
    whole = algebra.select(quotient - whole > 0.5, whole + 1.0, whole)
    whole = algebra.select(
        quotient == 0, algebra.copysign(algebra.const(left.type, 0.0), left / right), whole
    )
    return algebra.select(right == 0, left / right, whole), rest


def _divmod_int(algebra: Builder, left: Val, right: Val) -> tuple[Val, Val]:
    zero = algebra.const(left.type, 0)
    quotient, rest = left // right, left % right
    if left.type[0] == "i":
        wrong = (rest != 0) & ((rest ^ right) < 0)
        quotient, rest = (
            algebra.select(wrong, quotient - 1, quotient),
            algebra.select(wrong, rest + right, rest),
        )
    return algebra.select(right == 0, zero, quotient), algebra.select(right == 0, zero, rest)


def _reference_int(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy oracle whose integer division by zero is 0."""

    def reference(left: np.ndarray, right: np.ndarray) -> Any:
        if left.dtype.kind in "iu":
            return np.where(
                right == 0,
                np.zeros_like(left),
                function(left, np.where(right == 0, np.ones_like(right), right)),
            )
        return function(
            left.astype(np.float64), right.astype(np.float64)
        )  # exact for half and single precision

    return reference


def _floor_divide(algebra: Builder, left: Val, right: Val) -> Val:
    """The array API's floor_divide: with one infinity the quotient is a zero or infinite already,
    where NumPy gives -1 or NaN."""
    whole = _divmod(algebra, left, right)[0]
    if left.type not in FLOATS:
        return whole
    one = (algebra.abs(left) == tools.INF) ^ (algebra.abs(right) == tools.INF)
    return algebra.select(one, left / right, whole)


def _floor_reference(left: np.ndarray, right: np.ndarray) -> Any:
    if left.dtype.kind in "iu":
        return _reference_int(np.floor_divide)(left, right)
    left, right = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(all="ignore"):
        one = np.isinf(left) ^ np.isinf(right)
        return np.where(one, left / right, np.floor_divide(left, right))


floor_divide: Function = public(
    map_op(
        "floor_divide",
        2,
        _floor_divide,
        vjp=lambda gradient, out, left, right: (None, None),
        accepts="iuf",
        reference=_floor_reference,
        keeps=SHAPE_ONLY,
        doc="""floor(x / y); integer division by zero gives 0, and a finite number divided by an
        infinity a zero of either sign, as the array API has it. Not differentiable.

        >>> hybrid.floor_divide(hybrid.tensor([7, -7, 7]), hybrid.tensor([2, 2, 0]))
        tensor([ 3, -4,  0])
        >>> hybrid.floor_divide(hybrid.tensor([7.5, -7.5]), 2)
        tensor([ 3., -4.])
        """,
    ),
    operator="floordiv",
)

remainder: Function = public(
    map_op(
        "remainder",
        2,
        lambda algebra, left, right: _divmod(algebra, left, right)[1],
        accepts="iuf",
        vjp=lambda gradient, out, left, right: (
            gradient,
            lambda: negative(multiply(gradient, floor_divide(left, right))),
        ),
        reference=_reference_int(np.remainder),
        doc="""x - y*floor(x/y), exactly, with the sign of y (Python's %); an integer modulo zero
        is 0.

        >>> hybrid.remainder(hybrid.tensor([7, -7, 7]), hybrid.tensor([3, 3, -3]))
        tensor([ 1,  2, -2])
        """,
    ),
    hybrid=("remainder", "mod"),
    operator="mod",
)

fmod: Function = public(
    map_op(
        "fmod",
        2,
        lambda algebra, left, right: (
            _fmod(algebra, left, right)
            if left.type in FLOATS
            else algebra.select(right == 0, algebra.const(left.type, 0), left % right)
        ),
        accepts="iuf",
        vjp=lambda gradient, out, left, right: (
            gradient,
            lambda: negative(multiply(gradient, trunc(divide(left, right)))),
        ),
        reference=_reference_int(np.fmod),
        doc="""x - y*trunc(x/y), exactly, with the sign of x (C's fmod).

        >>> hybrid.fmod(hybrid.tensor([7, -7, 7]), hybrid.tensor([3, 3, -3]))
        tensor([ 1, -1,  1])
        """,
    )
)

DIVMOD = map_op(
    "divmod",
    2,
    lambda algebra, left, right: _divmod(algebra, left, right),
    nout=2,
    vjp=lambda gradient, out, left, right: (
        gradient[1],
        lambda: negative(multiply(gradient[1], floor_divide(left, right))),
    ),
    infer=lambda left, right: (
        (left.with_(broadcast_shapes("divmod", left.shape, right.shape)),) * 2
    ),
    accepts="iuf",
    reference=lambda left, right: tuple(
        _reference_int(function)(left, right) for function in (np.floor_divide, np.remainder)
    ),
    ulp=2.0,
    doc="Floored quotient and remainder.",
)


@public
def divmod(x: Tensor, y: Any) -> tuple[Tensor, Tensor]:
    """(floor_divide(x, y), remainder(x, y)) in one go, with their special values and gradients.

    >>> hybrid.divmod(hybrid.tensor([7, -7]), 3)
    (tensor([ 2, -3]), tensor([1, 2]))
    """
    return bind(DIVMOD, x, y)  # type: ignore[no-any-return]
