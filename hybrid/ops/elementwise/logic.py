"""Elementwise predicates, comparisons, logic and bits.

Invariant: none of these has a gradient; a comparison with NaN is false, except `not_equal`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from ...ir.op import NO_GRAD, Fact, Op, Said, map_op
from ...ir.scalar.program import Builder, Val
from ..base.surface import public
from ..formulas import tools
from .arithmetic import COMMUTATIVE, FLOATS, is_bool

Function = Callable[..., Any]
SIGNS_APART: frozenset[Fact] = frozenset(["signs_apart"])


# ---- predicates and comparisons
def _predicate(
    name: str, test: Callable[[Builder, Val], Val], whole: bool, oracle: Any, doc: str
) -> Op:
    def body(algebra: Builder, operand: Val) -> Val:
        return test(algebra, operand) if operand.type in FLOATS else algebra.const("b1", whole)

    return map_op(name, 1, body, vjp=NO_GRAD, result="bool", reference=oracle, doc=doc)


isnan: Function = public(
    _predicate(
        "isnan",
        lambda algebra, operand: operand != operand,
        False,
        np.isnan,
        """Whether x is NaN.

        >>> hybrid.isnan(hybrid.tensor([1.0, hybrid.nan, hybrid.inf]))
        tensor([False,  True, False])
        """,
    ),
    method=True,
)
isinf: Function = public(
    _predicate(
        "isinf",
        lambda algebra, operand: algebra.abs(operand) == tools.INF,
        False,
        np.isinf,
        """Whether x is infinite.

        >>> hybrid.isinf(hybrid.tensor([1.0, hybrid.nan, -hybrid.inf]))
        tensor([False, False,  True])
        """,
    ),
    method=True,
)
isfinite: Function = public(
    _predicate(
        "isfinite",
        lambda algebra, operand: algebra.abs(operand) < tools.INF,
        True,
        np.isfinite,
        """Whether x is a finite number.

        >>> hybrid.isfinite(hybrid.tensor([1.0, hybrid.nan, hybrid.inf]))
        tensor([ True, False, False])
        """,
    ),
    method=True,
)


def _comparison(
    name: str,
    prim: str,
    on_bool: Callable[[Any, Any], Any],
    oracle: Any,
    doc: str,
    **more: Unpack[Said],
) -> Op:
    def body(algebra: Builder, left: Val, right: Val) -> Val:
        alike = _in_one_type(algebra, left, right)
        return on_bool(*alike) if is_bool(left) else algebra.op(prim, *alike)

    more["facts"] = more.get("facts", frozenset()) | SIGNS_APART
    return map_op(name, 2, body, vjp=NO_GRAD, result="bool", reference=oracle, doc=doc, **more)


def _in_one_type(algebra: Builder, left: Val, right: Val) -> tuple[Val, Val]:
    """Numbers of one type; uint64 beside a signed integer as two of uint64 in the same order: 0 and
    1 where that is negative."""
    if left.type == right.type:
        return left, right
    negative: Val = (right if left.type == "u64" else left) < 0
    pair = []
    for operand in (left, right):
        instead = 1 if operand.type == "u64" else 0
        wide = algebra.convert(operand, "u64")
        pair.append(algebra.select(negative, algebra.const("u64", instead), wide))
    return pair[0], pair[1]


equal: Function = public(
    _comparison(
        "equal",
        "eq",
        lambda left, right: ~(left ^ right),
        np.equal,
        """x == y.

        >>> x = hybrid.tensor([1.0, 2.0, hybrid.nan])
        >>> hybrid.equal(x, 1.0), hybrid.equal(x, x)
        (tensor([ True, False, False]), tensor([ True,  True, False]))
        """,
        facts=COMMUTATIVE,
    ),
    method="eq",
    operator="eq",
)
not_equal: Function = public(
    _comparison(
        "not_equal",
        "ne",
        lambda left, right: left ^ right,
        np.not_equal,
        """x != y.

        >>> x = hybrid.tensor([0.0, 1.0, hybrid.nan])
        >>> hybrid.not_equal(x, -0.0), hybrid.not_equal(x, x)
        (tensor([False,  True,  True]), tensor([False, False,  True]))
        """,
        facts=COMMUTATIVE,
    ),
    method="ne",
    operator="ne",
)
less: Function = public(
    _comparison(
        "less",
        "lt",
        lambda left, right: ~left & right,
        np.less,
        """x < y.

    >>> hybrid.less(hybrid.tensor([1, 2, 3]), 2)
    tensor([ True, False, False])
    """,
    ),
    method="lt",
    operator="lt",
)
less_equal: Function = public(
    _comparison(
        "less_equal",
        "le",
        lambda left, right: ~left | right,
        np.less_equal,
        """x <= y.

    >>> hybrid.less_equal(hybrid.tensor([1, 2, 3]), 2)
    tensor([ True,  True, False])
    """,
    ),
    method="le",
    operator="le",
)
greater: Function = public(
    _comparison(
        "greater",
        "gt",
        lambda left, right: left & ~right,
        np.greater,
        """x > y.

    >>> hybrid.greater(hybrid.tensor([[1], [4]]), hybrid.tensor([0, 2, 4]))
    tensor([[ True, False, False],
            [ True,  True, False]])
    """,
    ),
    method="gt",
    operator="gt",
)
greater_equal: Function = public(
    _comparison(
        "greater_equal",
        "ge",
        lambda left, right: left | ~right,
        np.greater_equal,
        """x >= y.

        >>> hybrid.greater_equal(hybrid.tensor([1.0, 2.0, hybrid.nan]), 2)
        tensor([False,  True, False])
        """,
    ),
    method="ge",
    operator="ge",
)


# ---- logic and bits
def _logical(
    name: str, nin: int, function: Callable[..., Any], oracle: Any, doc: str, **more: Unpack[Said]
) -> Op:
    more["facts"] = more.get("facts", frozenset()) | SIGNS_APART
    return map_op(
        name,
        nin,
        lambda algebra, *operands: function(*[algebra.convert(x, "b1") for x in operands]),
        vjp=NO_GRAD,
        result="bool",
        reference=oracle,
        doc=doc,
        **more,
    )


logical_and: Function = public(
    _logical(
        "logical_and",
        2,
        lambda left, right: left & right,
        np.logical_and,
        """x and y.

        >>> hybrid.logical_and(hybrid.tensor([0, 1, 2]), hybrid.tensor([1, 1, 0]))
        tensor([False,  True, False])
        """,
        facts=COMMUTATIVE,
    )
)
logical_or: Function = public(
    _logical(
        "logical_or",
        2,
        lambda left, right: left | right,
        np.logical_or,
        """x or y.

        >>> hybrid.logical_or(hybrid.tensor([0.0, 0.5, hybrid.nan]), False)
        tensor([False,  True,  True])
        """,
        facts=COMMUTATIVE,
    )
)
logical_xor: Function = public(
    _logical(
        "logical_xor",
        2,
        lambda left, right: left ^ right,
        np.logical_xor,
        """x exclusive or y.

        >>> hybrid.logical_xor(hybrid.tensor([0, 1, 2]), hybrid.tensor([0, 0, 3]))
        tensor([False,  True, False])
        """,
        facts=COMMUTATIVE,
    )
)
logical_not: Function = public(
    _logical(
        "logical_not",
        1,
        lambda operand: ~operand,
        np.logical_not,
        """not x.

        >>> hybrid.logical_not(hybrid.tensor([0.0, -0.0, 0.5]))
        tensor([ True,  True, False])
        """,
        facts=frozenset(["involution"]),
    ),
    method=True,
)


def _bits(
    name: str,
    nin: int,
    function: Callable[..., Any],
    oracle: Any,
    doc: str,
    accepts: str = "biu",
    **more: Unpack[Said],
) -> Op:
    return map_op(
        name,
        nin,
        lambda algebra, *operands: function(*operands),
        vjp=NO_GRAD,
        reference=oracle,
        accepts=accepts,
        doc=doc,
        **more,
    )


def _oracle_shift(left: bool) -> Callable[..., Any]:
    def reference(operand: np.ndarray, steps: np.ndarray) -> Any:
        width = 8 * operand.dtype.itemsize
        big = (steps < 0) | (steps >= width)
        safe = np.where(big, np.zeros_like(steps), steps)
        fill = (
            np.zeros_like(operand)
            if left
            else np.where(
                operand < 0, operand.dtype.type(0) - operand.dtype.type(1), operand.dtype.type(0)
            )
        )
        return np.where(big, fill, operand << safe if left else operand >> safe)

    return reference


bitwise_and: Function = public(
    _bits(
        "bitwise_and",
        2,
        lambda left, right: left & right,
        np.bitwise_and,
        """Bits set in both.

        >>> hybrid.bitwise_and(hybrid.tensor([12, 10]), 6)
        tensor([4, 2])
        """,
        facts=COMMUTATIVE,
    ),
    operator="and",
)
bitwise_or: Function = public(
    _bits(
        "bitwise_or",
        2,
        lambda left, right: left | right,
        np.bitwise_or,
        """Bits set in either.

        >>> hybrid.bitwise_or(hybrid.tensor([12, 10]), 6)
        tensor([14, 14])
        """,
        facts=COMMUTATIVE,
        unit={0: 0, 1: 0},
    ),
    operator="or",
)
bitwise_xor: Function = public(
    _bits(
        "bitwise_xor",
        2,
        lambda left, right: left ^ right,
        np.bitwise_xor,
        """Bits set in one only.

        >>> hybrid.bitwise_xor(hybrid.tensor([12, 10]), 6)
        tensor([10, 12])
        """,
        facts=COMMUTATIVE,
        unit={0: 0, 1: 0},
    ),
    operator="xor",
)
bitwise_invert: Function = public(
    _bits(
        "bitwise_invert",
        1,
        lambda operand: ~operand,
        np.invert,
        """All bits flipped.

        >>> hybrid.bitwise_invert(hybrid.tensor([0, 5]))
        tensor([-1, -6])
        >>> hybrid.bitwise_invert(hybrid.tensor([True, False]))
        tensor([False,  True])
        """,
        facts=frozenset(["involution"]),
    ),
    hybrid=("bitwise_invert", "bitwise_not", "invert"),
)
bitwise_left_shift: Function = public(
    _bits(
        "bitwise_left_shift",
        2,
        lambda operand, steps: operand << steps,
        _oracle_shift(True),
        """x * 2^n, wrapping; counts outside 0..width-1 give 0.

        >>> hybrid.bitwise_left_shift(hybrid.tensor([1, 3, 1]), hybrid.tensor([4, 1, 64]))
        tensor([16,  6,  0])
        """,
        "iu",
        unit={1: 0},
    ),
    hybrid=("bitwise_left_shift", "left_shift"),
    operator="lshift",
)
bitwise_right_shift: Function = public(
    _bits(
        "bitwise_right_shift",
        2,
        lambda operand, steps: operand >> steps,
        _oracle_shift(False),
        """floor(x / 2^n); counts outside 0..width-1 give 0 or -1.

        >>> hybrid.bitwise_right_shift(hybrid.tensor([16, -17, -1]), hybrid.tensor([2, 2, 99]))
        tensor([ 4, -5, -1])
        """,
        "iu",
        unit={1: 0},
    ),
    hybrid=("bitwise_right_shift", "right_shift"),
    operator="rshift",
)
