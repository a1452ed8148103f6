"""The incomplete gamma functions, and distribution functions that are made of them.

Invariant: the smaller of a lower and an upper function keeps its digits; the derivative by x is a
density, that by the parameter is none that is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ...core.errors import UnsupportedError
from ...ir.op import Op, map_op
from ..base.common import draw, ints
from ..base.surface import public
from ..elementwise.arithmetic import multiply, negative, subtract
from ..elementwise.functions import exp
from ..formulas import special as F
from .entropies import xlogy
from .gammas import gammaln
from .oracles import incomplete, oracle

Tensor = Any
Function = Callable[..., Any]


def _no_slope(*_: Any) -> NoReturn:
    raise UnsupportedError(
        "the incomplete gamma functions have no gradient by their first argument; detach it: "
        "gammainc(a.detach(), x)"
    )


def _density(a: Tensor, x: Tensor) -> Tensor:
    """x^(a - 1) e^-x / gamma(a)."""
    return exp(subtract(subtract(xlogy(subtract(a, 1.0), x), x), gammaln(a)))


def _samples(rng: np.random.Generator) -> Any:
    """Whole a, by which there is no gradient."""
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        yield [ints(rng, *first, low=1, high=25), draw(rng, *second, low=0.5, high=24.0)], {}


def _record(name: str, formula: Callable[..., Any], place: int, sign: int, doc: str) -> Op:
    def vjp(gradient: Tensor, out: Tensor, left: Tensor, right: Tensor) -> tuple[Any, Any]:
        def by_x() -> Tensor:
            slope = multiply(gradient, _density(left, right))
            return slope if sign > 0 else negative(slope)

        return _no_slope, by_x

    return map_op(
        name,
        2,
        formula,
        vjp=vjp,
        reference=oracle(lambda a, x: incomplete(a, x)[place]),
        result="float",
        accepts="f",
        samples=_samples,
        ulp=24.0,
        keeps=frozenset(["0", "1"]),
        doc=doc,
    )


gammainc: Function = public(
    _record(
        "gammainc",
        F.gammainc,
        0,
        1,
        """The regularised lower incomplete gamma function: the integral of t^(a-1) e^-t from 0 to
        x, over gamma(a).  NaN for negative a or x.  The gradient is that by x; by a it raises
        UnsupportedError.

        >>> a, x = hybrid.tensor([0.5, 2.0, 100.0]), hybrid.tensor([1.0, 1.0, 90.0])
        >>> hybrid.special.gammainc(a, x)
        tensor([0.8427, 0.2642, 0.1582])
        """,
    ),
    hybrid=False,
    special=True,
)
gammaincc: Function = public(
    _record(
        "gammaincc",
        F.gammaincc,
        1,
        -1,
        """The regularised upper incomplete gamma function, 1 - gammainc(a, x), with all digits
        where it is small.  Domain and gradient are those of gammainc.

        >>> hybrid.special.gammaincc(hybrid.tensor([0.5, 2.0]), hybrid.tensor([50.0, 1.0]))
        tensor([1.5240e-23, 7.3576e-01])
        """,
    ),
    hybrid=False,
    special=True,
)


@public(hybrid=False, special=True)
def chdtr(v: Tensor, x: Tensor) -> Tensor:
    """The distribution function of the chi-squared distribution with v degrees of freedom.

    >>> hybrid.special.chdtr(3.0, hybrid.tensor([0.0, 3.0, 7.815]))
    tensor([0.    , 0.6084, 0.95  ])
    """
    return gammainc(multiply(v, 0.5), multiply(x, 0.5))


@public(hybrid=False, special=True)
def chdtrc(v: Tensor, x: Tensor) -> Tensor:
    """The tail of the chi-squared distribution: 1 - chdtr(v, x), with all digits where it is small.

    >>> hybrid.special.chdtrc(3.0, hybrid.tensor([0.0, 7.815, 100.0]))
    tensor([1.0000e+00, 4.9994e-02, 1.5542e-21])
    """
    return gammaincc(multiply(v, 0.5), multiply(x, 0.5))
