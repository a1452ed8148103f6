"""Elementwise rounding, and the divisions that round: floor_divide, remainder, fmod.

Invariant: remainders are exact for every quotient; integer division by zero gives 0.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...ir.door.bind import as_tensor
from ...ir.door.flat import function_of
from ...ir.op import Op, map_op
from ...ir.scalar.program import Builder, Val
from ..base.common import SHAPE_ONLY, wide
from ..base.surface import public
from ..formulas import tools
from .arithmetic import FLOATS, IDEMPOTENT, divide, multiply, negative
from .selection import astype

Tensor = Any
Function = Callable[..., Any]


# ---- rounding
def _rounding(name: str, prim: str, f: Callable[..., Any], doc: str) -> Op:
    return map_op(
        name,
        1,
        lambda s, x: s.op(prim, x) if x.type in FLOATS else x,
        vjp=lambda g, out, x: (None,),
        reference=lambda x: (
            f(x) if x.dtype.kind in "f" else x if x.dtype.kind in "iu" else f(wide(x))
        ),
        accepts="iuf",
        facts=IDEMPOTENT,
        doc=doc + " Integers stay as they are; the gradient is zero.",
    )


floor: Function = public(
    _rounding("floor", "floor", np.floor, "The largest integer not above x."), method=True
)
ceil: Function = public(
    _rounding("ceil", "ceil", np.ceil, "The smallest integer not below x."), method=True
)
trunc: Function = public(
    _rounding("trunc", "trunc", np.trunc, "x without its fraction."), method=True
)
_round: Function = function_of(
    _rounding("round", "rint", np.rint, "The nearest integer, halves to even.")
)


@public
def round(x: Tensor, decimals: int = 0) -> Tensor:
    """x rounded to the nearest multiple of 10^-decimals, halves to even;
    computed as NumPy does, by scaling."""
    if not decimals:
        return _round(x)
    d, scale = as_tensor(x)._a.dtype, 10.0 ** builtins.abs(decimals)
    if decimals > 0:
        return divide(_round(multiply(x, scale)), scale) if dt.is_float(d) else _round(x)
    return astype(multiply(_round(divide(x, scale)), scale), d)


# ---- divisions
def _fmod_steps(s: Builder, r: Val, y: Val, steps: int) -> Val:
    """r modulo y, up to one y below zero, for a quotient below 2^(53*steps):
    every step is exact."""
    for _ in range(steps):
        r = s.fma(-s.trunc(r / y), y, r)
    return r


def _fmod(s: Builder, x: Val, y: Val) -> Val:
    """C's fmod: exact, with the sign of x."""
    if (
        x.type == "f32"
    ):  # the largest quotient of float32 values is 2^277, which double precision holds
        return s.convert(_fmod_wide(s, s.convert(x, "f64"), s.convert(y, "f64"), ((0, 6),)), "f32")
    return _fmod_wide(s, x, y, ((2, 14), (1, 14), (0, 14)))


def _fmod_wide(s: Builder, x: Val, y: Val, stages: tuple[tuple[int, int], ...]) -> Val:
    ax, ay = s.abs(x), s.abs(y)
    r = ax
    for level, steps in stages:  # modulo y * 2^(700 level) first, so that no quotient overflows
        modulus = ay
        for _ in range(level):
            modulus = modulus * 2.0**700
        part = _fmod_steps(s, r, modulus, steps)
        part = s.select(part < 0, part + modulus, part)
        r = s.select(ay < 2.0 ** (1024 - 700 * level), part, r) if level else part
    r = s.select((ay == tools.INF) & (ax < tools.INF), ax, r)
    return s.copysign(r, x)


def _divmod(s: Builder, x: Val, y: Val) -> tuple[Val, Val]:
    """Quotient and remainder with the sign of the divisor, by NumPy's rules."""
    if x.type not in FLOATS:
        return _divmod_int(s, x, y)
    part = _fmod(s, x, y)
    quotient = (x - part) / y
    wrong = (part != 0) & ((y < 0) ^ (part < 0))
    quotient = s.select(wrong, quotient - 1.0, quotient)
    rest = s.select(wrong, part + y, s.select(part == 0, s.copysign(s.const(x.type, 0.0), y), part))
    whole = s.floor(quotient)
    whole = s.select(quotient - whole > 0.5, whole + 1.0, whole)
    whole = s.select(quotient == 0, s.copysign(s.const(x.type, 0.0), x / y), whole)
    return s.select(y == 0, x / y, whole), rest


def _divmod_int(s: Builder, x: Val, y: Val) -> tuple[Val, Val]:
    zero = s.const(x.type, 0)
    quotient, rest = x // y, x % y
    if x.type[0] == "i":
        wrong = (rest != 0) & ((rest ^ y) < 0)
        quotient, rest = s.select(wrong, quotient - 1, quotient), s.select(wrong, rest + y, rest)
    return s.select(y == 0, zero, quotient), s.select(y == 0, zero, rest)


def _reference_int(f: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy oracle whose integer division by zero is 0."""

    def reference(x: np.ndarray, y: np.ndarray) -> Any:
        if x.dtype.kind in "iu":
            return np.where(y == 0, np.zeros_like(x), f(x, np.where(y == 0, np.ones_like(y), y)))
        return f(x.astype(np.float64), y.astype(np.float64))  # exact for half and single precision

    return reference


floor_divide: Function = public(
    map_op(
        "floor_divide",
        2,
        lambda s, x, y: _divmod(s, x, y)[0],
        vjp=lambda g, out, x, y: (None, None),
        accepts="iuf",
        reference=_reference_int(np.floor_divide),
        keeps=SHAPE_ONLY,
        doc="floor(x / y); integer division by zero gives 0. Not differentiable.",
    ),
    operator="floordiv",
)

remainder: Function = public(
    map_op(
        "remainder",
        2,
        lambda s, x, y: _divmod(s, x, y)[1],
        accepts="iuf",
        vjp=lambda g, out, x, y: (g, lambda: negative(multiply(g, floor_divide(x, y)))),
        reference=_reference_int(np.remainder),
        doc="x - y*floor(x/y), exactly, with the sign of y (Python's %); an integer modulo zero "
        "is 0.",
    ),
    operator="mod",
)

fmod: Function = public(
    map_op(
        "fmod",
        2,
        lambda s, x, y: (
            _fmod(s, x, y) if x.type in FLOATS else s.select(y == 0, s.const(x.type, 0), x % y)
        ),
        accepts="iuf",
        vjp=lambda g, out, x, y: (g, lambda: negative(multiply(g, trunc(divide(x, y))))),
        reference=_reference_int(np.fmod),
        doc="x - y*trunc(x/y), exactly, with the sign of x (C's fmod).",
    )
)
