"""Elementwise arithmetic: the four operations, negation, absolute value, sign, copies.

Invariant: a record is the only description of its op; semantics are those of the array API standard
2025.12, of NumPy where it is silent, and of PyTorch for gradients at special points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.door.flat import function_of
from ...ir.op import Fact, map_op
from ...ir.scalar.program import Builder, Val
from ..base.common import wide
from ..base.surface import public

Tensor = Any
Function = Callable[..., Any]
FLOATS = ("f32", "f64")
COMMUTATIVE: frozenset[Fact] = frozenset(["commutative"])
IDEMPOTENT: frozenset[Fact] = frozenset(["idempotent"])


def reference_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy oracle from a NumPy function: operands are widened first."""

    def reference(*operands: np.ndarray, **params: Any) -> Any:
        return function(*[wide(x) for x in operands], **params)

    return reference


def is_bool(operand: Val) -> bool:
    """Whether a value of the algebra is a truth value."""
    return operand.type == "b1"


add: Function = public(
    map_op(
        "add",
        2,
        lambda algebra, left, right: left | right if is_bool(left) else left + right,
        vjp=lambda gradient, out, left, right: (gradient, gradient),
        reference=reference_of(np.add),
        facts=COMMUTATIVE,
        unit={0: -0.0, 1: -0.0},
        doc="""x + y; on bool tensors logical or, as in NumPy.

        >>> hybrid.add(hybrid.tensor([[1], [2]]), hybrid.tensor([10, 20]))
        tensor([[11, 21],
                [12, 22]])
        >>> hybrid.add(hybrid.tensor([1, 2]), 0.5).dtype.name
        'float32'
        """,
    ),
    method=True,
    inplace=True,
    operator=True,
)

subtract: Function = public(
    map_op(
        "subtract",
        2,
        lambda algebra, left, right: left - right,
        vjp=lambda gradient, out, left, right: (gradient, lambda: negative(gradient)),
        accepts="iuf",
        reference=reference_of(np.subtract),
        unit={1: 0.0},
        doc="""x - y.

        >>> hybrid.subtract(hybrid.tensor([5.0, 7.0]), 2)
        tensor([3., 5.])
        >>> hybrid.subtract(hybrid.tensor([1, 2], dtype="uint8"), 2)  # unsigned integers wrap
        tensor([255,   0], dtype=uint8)
        """,
    ),
    method=("sub", "subtract"),
    inplace="sub_",
    operator="sub",
)

multiply: Function = public(
    map_op(
        "multiply",
        2,
        lambda algebra, left, right: left & right if is_bool(left) else left * right,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, right),
            lambda: multiply(gradient, left),
        ),
        reference=reference_of(np.multiply),
        facts=COMMUTATIVE,
        unit={0: 1.0, 1: 1.0},
        doc="""x * y; on bool tensors logical and, as in NumPy.

        >>> hybrid.multiply(hybrid.tensor([[1.0], [2.0]]), hybrid.tensor([3.0, 4.0]))
        tensor([[3., 4.],
                [6., 8.]])
        """,
    ),
    method=("mul", "multiply"),
    inplace="mul_",
    operator="mul",
)

divide: Function = public(
    map_op(
        "divide",
        2,
        lambda algebra, left, right: left / right,
        result="float",
        accepts="f",
        vjp=lambda gradient, out, left, right: (
            lambda: divide(gradient, right),
            lambda: negative(multiply(gradient, divide(out, right))),
        ),
        reference=reference_of(np.divide),
        unit={1: 1.0},
        doc="""x / y; a zero divisor gives an infinity, or NaN for 0 / 0.

        >>> hybrid.divide(hybrid.tensor([1, -1, 0, 3]), hybrid.tensor([0, 0, 0, 2]))
        tensor([ inf, -inf,  nan,  1.5])
        """,
    ),
    hybrid=("divide", "true_divide"),
    method=("div", "divide"),
    inplace="div_",
    operator="truediv",
)

negative: Function = public(
    map_op(
        "negative",
        1,
        lambda algebra, operand: -operand,
        vjp=lambda gradient, out, operand: (negative(gradient),),
        accepts="iuf",
        reference=reference_of(np.negative),
        facts=frozenset(["involution"]),
        doc="""-x; unsigned integers wrap.

        >>> hybrid.negative(hybrid.tensor([1.0, -2.0]))
        tensor([-1.,  2.])
        >>> hybrid.negative(hybrid.tensor([1, 2], dtype="uint8"))
        tensor([255, 254], dtype=uint8)
        """,
    ),
    method="neg",
    inplace="neg_",
    operator="neg",
)

positive: Function = public(
    map_op(
        "positive",
        1,
        lambda algebra, operand: operand,
        vjp=lambda gradient, out, operand: (gradient,),
        reference=lambda operand: operand,
        facts=frozenset(["pure_copy"]),
        doc="""x itself.

        >>> hybrid.positive(hybrid.tensor([-1.5, 2.0]))
        tensor([-1.5,  2. ])
        """,
    ),
    operator="pos",
)

afresh = function_of(
    map_op(
        "afresh",
        1,
        lambda algebra, operand: operand,
        vjp=lambda gradient, out, operand: (gradient,),
        reference=lambda operand: operand,
        facts=frozenset(["effect"]),
        doc="x itself, of which a plan does not know that it is x: what is computed of it is "
        "computed again.",
    )
)

clone: Function = public(
    map_op(
        "clone",
        1,
        lambda algebra, operand: operand,
        vjp=lambda gradient, out, operand: (gradient,),
        reference=lambda operand: operand,
        facts=frozenset(["pure_copy"]),
        doc="""The same elements in a tensor of their own.

        >>> x = hybrid.tensor([1.0, 2.0])
        >>> y = hybrid.clone(x)
        >>> y[0] = 5.0
        >>> x, y
        (tensor([1., 2.]), tensor([5., 2.]))
        """,
    ),
)


def _abs_body(algebra: Builder, operand: Val) -> Val:
    return operand if operand.type[0] in "ub" else algebra.abs(operand)


abs: Function = public(
    map_op(
        "abs",
        1,
        _abs_body,
        vjp=lambda gradient, out, operand: (multiply(gradient, sign(operand)),),
        accepts="biuf",
        reference=reference_of(np.abs),
        facts=IDEMPOTENT,
        doc="""|x|; the most negative integer stays as it is. The gradient at 0 is 0.

        >>> hybrid.abs(hybrid.tensor([-1.5, 0.0, 2.0]))
        tensor([1.5, 0. , 2. ])
        >>> hybrid.abs(hybrid.tensor([-128, 127], dtype="int8"))
        tensor([-128,  127], dtype=int8)
        """,
    ),
    hybrid=("abs", "absolute"),
    method=True,
    operator=True,
)


def _sign_body(algebra: Builder, operand: Val) -> Val:
    if operand.type[0] == "u":
        return algebra.select(operand != 0, 1, algebra.const(operand.type, 0))
    out = algebra.select(
        operand > 0, 1, algebra.select(operand < 0, -1, algebra.const(operand.type, 0))
    )
    return algebra.select(operand == operand, out, operand) if operand.type in FLOATS else out


sign: Function = public(
    map_op(
        "sign",
        1,
        _sign_body,
        vjp=lambda gradient, out, operand: (None,),
        reference=lambda operand: np.sign(operand) + operand.dtype.type(0),
        accepts="iuf",
        facts=IDEMPOTENT,
        doc="""-1, 0 or 1 (0 for both zeros); NaN stays NaN. Its gradient is zero.

        >>> hybrid.sign(hybrid.tensor([-2.5, 0.0, 7.0, hybrid.nan]))
        tensor([-1.,  0.,  1., nan])
        """,
    ),
    method=True,
)

square: Function = public(
    map_op(
        "square",
        1,
        lambda algebra, operand: operand * operand,
        vjp=lambda gradient, out, operand: (multiply(gradient, multiply(operand, 2.0)),),
        accepts="iuf",
        reference=reference_of(np.square),
        doc="""x * x.

        >>> x = hybrid.tensor([-3.0, 4.0], requires_grad=True)
        >>> hybrid.square(x).sum().backward()
        >>> x.grad
        tensor([-6.,  8.])
        """,
    ),
    method=True,
)

reciprocal: Function = public(
    map_op(
        "reciprocal",
        1,
        lambda algebra, operand: 1.0 / operand,
        result="float",
        accepts="f",
        vjp=lambda gradient, out, operand: (negative(multiply(gradient, square(out))),),
        reference=reference_of(lambda operand: 1.0 / operand),
        doc="""1 / x.

        >>> hybrid.reciprocal(hybrid.tensor([2.0, -0.0]))
        tensor([ 0.5, -inf])
        """,
    ),
    method=True,
)
