"""Elementwise predicates, comparisons, logic and bits.

Invariant: none of these has a gradient; a comparison with NaN is false, except `not_equal`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from ...ir.op import NO_GRAD, Op, Said, map_op
from ...ir.scalar.program import Builder, Val
from ..base.surface import public
from ..formulas import tools
from .arithmetic import COMMUTATIVE, FLOATS, is_bool

Function = Callable[..., Any]


# ---- predicates and comparisons
def _predicate(name: str, test: Callable[[Builder, Val], Val], whole: bool, f: Any, doc: str) -> Op:
    def body(s: Builder, x: Val) -> Val:
        return test(s, x) if x.type in FLOATS else s.const("b1", whole)

    return map_op(name, 1, body, vjp=NO_GRAD, result="bool", reference=f, doc=doc)


isnan: Function = public(
    _predicate("isnan", lambda s, x: x != x, False, np.isnan, "Whether x is NaN."), method=True
)
isinf: Function = public(
    _predicate(
        "isinf", lambda s, x: s.abs(x) == tools.INF, False, np.isinf, "Whether x is infinite."
    ),
    method=True,
)
isfinite: Function = public(
    _predicate(
        "isfinite",
        lambda s, x: s.abs(x) < tools.INF,
        True,
        np.isfinite,
        "Whether x is a finite number.",
    ),
    method=True,
)


def _comparison(
    name: str, prim: str, on_bool: Callable[[Any, Any], Any], f: Any, doc: str, **more: Unpack[Said]
) -> Op:
    def body(s: Builder, x: Val, y: Val) -> Val:
        return on_bool(x, y) if is_bool(x) else s.op(prim, x, y)

    return map_op(name, 2, body, vjp=NO_GRAD, result="bool", reference=f, doc=doc, **more)


equal: Function = public(
    _comparison("equal", "eq", lambda x, y: ~(x ^ y), np.equal, "x == y.", facts=COMMUTATIVE),
    method="eq",
    operator="eq",
)
not_equal: Function = public(
    _comparison("not_equal", "ne", lambda x, y: x ^ y, np.not_equal, "x != y.", facts=COMMUTATIVE),
    method="ne",
    operator="ne",
)
less: Function = public(
    _comparison("less", "lt", lambda x, y: ~x & y, np.less, "x < y."), method="lt", operator="lt"
)
less_equal: Function = public(
    _comparison("less_equal", "le", lambda x, y: ~x | y, np.less_equal, "x <= y."),
    method="le",
    operator="le",
)
greater: Function = public(
    _comparison("greater", "gt", lambda x, y: x & ~y, np.greater, "x > y."),
    method="gt",
    operator="gt",
)
greater_equal: Function = public(
    _comparison("greater_equal", "ge", lambda x, y: x | ~y, np.greater_equal, "x >= y."),
    method="ge",
    operator="ge",
)


# ---- logic and bits
def _logical(
    name: str, nin: int, f: Callable[..., Any], oracle: Any, doc: str, **more: Unpack[Said]
) -> Op:
    return map_op(
        name,
        nin,
        lambda s, *xs: f(*[s.convert(x, "b1") for x in xs]),
        vjp=NO_GRAD,
        result="bool",
        reference=oracle,
        doc=doc,
        **more,
    )


logical_and: Function = public(
    _logical("logical_and", 2, lambda x, y: x & y, np.logical_and, "x and y.", facts=COMMUTATIVE)
)
logical_or: Function = public(
    _logical("logical_or", 2, lambda x, y: x | y, np.logical_or, "x or y.", facts=COMMUTATIVE)
)
logical_xor: Function = public(
    _logical(
        "logical_xor", 2, lambda x, y: x ^ y, np.logical_xor, "x exclusive or y.", facts=COMMUTATIVE
    )
)
logical_not: Function = public(
    _logical(
        "logical_not", 1, lambda x: ~x, np.logical_not, "not x.", facts=frozenset(["involution"])
    ),
    method=True,
)


def _bits(
    name: str,
    nin: int,
    f: Callable[..., Any],
    oracle: Any,
    doc: str,
    accepts: str = "biu",
    **more: Unpack[Said],
) -> Op:
    return map_op(
        name,
        nin,
        lambda s, *xs: f(*xs),
        vjp=NO_GRAD,
        reference=oracle,
        accepts=accepts,
        doc=doc,
        **more,
    )


def _oracle_shift(left: bool) -> Callable[..., Any]:
    def reference(x: np.ndarray, n: np.ndarray) -> Any:
        width = 8 * x.dtype.itemsize
        big = (n < 0) | (n >= width)
        safe = np.where(big, np.zeros_like(n), n)
        fill = (
            np.zeros_like(x)
            if left
            else np.where(x < 0, x.dtype.type(0) - x.dtype.type(1), x.dtype.type(0))
        )
        return np.where(big, fill, x << safe if left else x >> safe)

    return reference


bitwise_and: Function = public(
    _bits(
        "bitwise_and", 2, lambda x, y: x & y, np.bitwise_and, "Bits set in both.", facts=COMMUTATIVE
    )
)
bitwise_or: Function = public(
    _bits(
        "bitwise_or",
        2,
        lambda x, y: x | y,
        np.bitwise_or,
        "Bits set in either.",
        facts=COMMUTATIVE,
        unit={0: 0, 1: 0},
    )
)
bitwise_xor: Function = public(
    _bits(
        "bitwise_xor",
        2,
        lambda x, y: x ^ y,
        np.bitwise_xor,
        "Bits set in one only.",
        facts=COMMUTATIVE,
        unit={0: 0, 1: 0},
    )
)
bitwise_invert: Function = public(
    _bits(
        "bitwise_invert",
        1,
        lambda x: ~x,
        np.invert,
        "All bits flipped.",
        facts=frozenset(["involution"]),
    )
)
bitwise_left_shift: Function = public(
    _bits(
        "bitwise_left_shift",
        2,
        lambda x, n: x << n,
        _oracle_shift(True),
        "x * 2^n, wrapping; counts outside 0..width-1 give 0.",
        "iu",
        unit={1: 0},
    ),
    operator="lshift",
)
bitwise_right_shift: Function = public(
    _bits(
        "bitwise_right_shift",
        2,
        lambda x, n: x >> n,
        _oracle_shift(False),
        "floor(x / 2^n); counts outside 0..width-1 give 0 or -1.",
        "iu",
        unit={1: 0},
    ),
    operator="rshift",
)
