"""Elementwise arithmetic: the four operations, negation, absolute value, sign, copies.

Invariant: a record is the only description of its op; semantics are those of the array API standard
2025.12, of NumPy where it is silent, and of PyTorch for gradients at special points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.op import Fact, map_op
from ...ir.scalar.program import Builder, Val
from ..base.common import wide
from ..base.surface import public

Tensor = Any
Function = Callable[..., Any]
FLOATS = ("f32", "f64")
COMMUTATIVE: frozenset[Fact] = frozenset(["commutative"])
IDEMPOTENT: frozenset[Fact] = frozenset(["idempotent"])


def reference_of(f: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy oracle from a NumPy function: operands are widened first."""

    def reference(*xs: np.ndarray, **params: Any) -> Any:
        return f(*[wide(x) for x in xs], **params)

    return reference


def is_bool(x: Val) -> bool:
    """Whether a value of the algebra is a truth value."""
    return x.type == "b1"


add: Function = public(
    map_op(
        "add",
        2,
        lambda s, x, y: x | y if is_bool(x) else x + y,
        vjp=lambda g, out, x, y: (g, g),
        reference=reference_of(np.add),
        facts=COMMUTATIVE,
        unit={0: -0.0, 1: -0.0},
        doc="x + y; on bool tensors logical or, as in NumPy.",
    ),
    method=True,
    inplace=True,
    operator=True,
)

subtract: Function = public(
    map_op(
        "subtract",
        2,
        lambda s, x, y: x - y,
        vjp=lambda g, out, x, y: (g, lambda: negative(g)),
        accepts="iuf",
        reference=reference_of(np.subtract),
        unit={1: 0.0},
        doc="x - y.",
    ),
    method=("sub", "subtract"),
    inplace="sub_",
    operator="sub",
)

multiply: Function = public(
    map_op(
        "multiply",
        2,
        lambda s, x, y: x & y if is_bool(x) else x * y,
        vjp=lambda g, out, x, y: (lambda: multiply(g, y), lambda: multiply(g, x)),
        reference=reference_of(np.multiply),
        facts=COMMUTATIVE,
        unit={0: 1.0, 1: 1.0},
        doc="x * y; on bool tensors logical and, as in NumPy.",
    ),
    method=("mul", "multiply"),
    inplace="mul_",
    operator="mul",
)

divide: Function = public(
    map_op(
        "divide",
        2,
        lambda s, x, y: x / y,
        result="float",
        accepts="f",
        vjp=lambda g, out, x, y: (
            lambda: divide(g, y),
            lambda: negative(multiply(g, divide(out, y))),
        ),
        reference=reference_of(np.divide),
        unit={1: 1.0},
        doc="x / y; integers are divided as float32.",
    ),
    method=("div", "divide"),
    inplace="div_",
    operator="truediv",
)

negative: Function = public(
    map_op(
        "negative",
        1,
        lambda s, x: -x,
        vjp=lambda g, out, x: (negative(g),),
        accepts="iuf",
        reference=reference_of(np.negative),
        facts=frozenset(["involution"]),
        doc="-x; unsigned integers wrap.",
    ),
    method="neg",
    inplace="neg_",
    operator="neg",
)

positive: Function = public(
    map_op(
        "positive",
        1,
        lambda s, x: x,
        vjp=lambda g, out, x: (g,),
        reference=lambda x: x,
        facts=frozenset(["pure_copy"]),
        doc="x itself.",
    ),
    operator="pos",
)

clone: Function = public(
    map_op(
        "clone",
        1,
        lambda s, x: x,
        vjp=lambda g, out, x: (g,),
        reference=lambda x: x,
        facts=frozenset(["pure_copy"]),
        doc="The same elements in a tensor of their own.",
    )
)

abs: Function = public(
    map_op(
        "abs",
        1,
        lambda s, x: x if x.type[0] == "u" else s.abs(x),
        vjp=lambda g, out, x: (multiply(g, sign(x)),),
        accepts="iuf",
        reference=reference_of(np.abs),
        facts=IDEMPOTENT,
        doc="|x|; the most negative integer stays as it is. The gradient at 0 is 0.",
    ),
    method=True,
    operator=True,
)


def _sign_body(s: Builder, x: Val) -> Val:
    if x.type[0] == "u":
        return s.select(x != 0, 1, s.const(x.type, 0))
    out = s.select(x > 0, 1, s.select(x < 0, -1, s.const(x.type, 0)))
    return s.select(x == x, out, x) if x.type in FLOATS else out


sign: Function = public(
    map_op(
        "sign",
        1,
        _sign_body,
        vjp=lambda g, out, x: (None,),
        reference=lambda x: np.sign(x) + x.dtype.type(0),
        accepts="iuf",
        facts=IDEMPOTENT,
        doc="-1, 0 or 1 (0 for both zeros); NaN stays NaN. Its gradient is zero.",
    ),
    method=True,
)

square: Function = public(
    map_op(
        "square",
        1,
        lambda s, x: x * x,
        vjp=lambda g, out, x: (multiply(g, multiply(x, 2.0)),),
        accepts="iuf",
        reference=reference_of(np.square),
        doc="x * x.",
    ),
    method=True,
)

reciprocal: Function = public(
    map_op(
        "reciprocal",
        1,
        lambda s, x: 1.0 / x,
        result="float",
        accepts="f",
        vjp=lambda g, out, x: (negative(multiply(g, square(out))),),
        reference=reference_of(lambda x: 1.0 / x),
        doc="1 / x.",
    ),
    method=True,
)
