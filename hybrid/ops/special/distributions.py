"""The incomplete gamma and beta functions, and distribution functions that are made of them.

Invariant: the smaller of a lower and an upper function keeps its digits; the derivative by x is a
density, that by the parameter is none that is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ...core.errors import UnsupportedError
from ...ir.door.flat import function_of
from ...ir.op import Op, map_op
from ..base.common import draw, ints
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, negative, square, subtract
from ..elementwise.functions import exp, log, log1p, sqrt
from ..formulas import special as F
from .entropies import xlogy
from .gammas import betaln, digamma
from .oracles import beta as log_beta
from .oracles import gammaln as log_gamma
from .oracles import incomplete, incomplete_beta, oracle

Tensor = Any
Function = Callable[..., Any]


def no_slope(*_: Any) -> NoReturn:
    raise UnsupportedError(
        "the incomplete gamma and beta functions have a gradient by their last argument alone; "
        "detach the first ones: gammainc(a.detach(), x)"
    )


def _positive(rng: np.random.Generator) -> Any:
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        yield [draw(rng, *s, low=0.5, high=12.0) for s in (first, second)], {}


def _density_reference(a: np.ndarray, x: np.ndarray) -> Any:
    result = np.exp((a - 1) * np.log(x) - x - log_gamma(a))
    edge = np.where(a < 1, np.inf, np.where(a > 1, 0, 1))
    result = np.where(x == 0, edge, np.where(np.isinf(x), 0, result))
    return np.where((a > 0) & (x >= 0), result, np.nan)


density: Function = function_of(
    map_op(
        "gamma_density",
        2,
        F.gamma_density,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, multiply(out, subtract(log(right), digamma(left)))),
            lambda: multiply(
                gradient, multiply(out, subtract(divide(subtract(left, 1.0), right), 1.0))
            ),
        ),
        reference=oracle(_density_reference),
        result="float",
        accepts="f",
        samples=_positive,
        ulp=8.0,
        doc="x^(a - 1) e^-x / gamma(a): the derivative of gammainc by x.",
    )
)


def _samples(rng: np.random.Generator) -> Any:
    """Whole a, by which there is no gradient."""
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        yield [ints(rng, *first, low=1, high=25), draw(rng, *second, low=0.5, high=24.0)], {}


def _record(name: str, formula: Callable[..., Any], place: int, sign: int, doc: str) -> Op:
    def vjp(gradient: Tensor, out: Tensor, left: Tensor, right: Tensor) -> tuple[Any, Any]:
        def by_x() -> Tensor:
            slope = multiply(gradient, density(left, right))
            return slope if sign > 0 else negative(slope)

        return no_slope, by_x

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


def _beta_positive(rng: np.random.Generator) -> Any:
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        sides = [draw(rng, *first, low=0.5, high=12.0) for _ in range(2)]
        yield [*sides, draw(rng, *second, low=0.1, high=0.9)], {}


def _beta_density_reference(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> Any:
    powers = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x)
    result = np.exp(powers - log_beta(a, b)[1])
    return np.where((a > 0) & (b > 0) & (x > 0) & (x < 1), result, np.nan)


def _beta_density_vjp(
    gradient: Tensor, out: Tensor, left: Tensor, right: Tensor, place: Tensor
) -> tuple[Any, Any, Any]:
    weighted, rest = multiply(gradient, out), subtract(1.0, place)

    def by_x() -> Tensor:
        rise = divide(subtract(left, 1.0), place)
        return multiply(weighted, subtract(rise, divide(subtract(right, 1.0), rest)))

    def by(side: Tensor, logarithm: Tensor) -> Tensor:
        slope = subtract(digamma(add(left, right)), digamma(side))
        return multiply(weighted, add(slope, logarithm))

    return lambda: by(left, log(place)), lambda: by(right, log1p(negative(place))), by_x


beta_density: Function = function_of(
    map_op(
        "beta_density",
        3,
        F.beta_density,
        vjp=_beta_density_vjp,
        reference=oracle(_beta_density_reference),
        result="float",
        accepts="f",
        samples=_beta_positive,
        ulp=12.0,
        doc="x^(a - 1) (1 - x)^(b - 1) / beta(a, b): the derivative of betainc by x.",
    )
)


def _beta_samples(rng: np.random.Generator) -> Any:
    """Whole a and b, by which there is no gradient."""
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        whole = [ints(rng, *first, low=1, high=25) for _ in range(2)]
        yield [*whole, draw(rng, *second, low=0.1, high=0.9)], {}


def _beta_record(name: str, formula: Callable[..., Any], upper: bool, doc: str) -> Op:
    def vjp(gradient: Tensor, out: Tensor, left: Tensor, right: Tensor, place: Tensor) -> Any:
        def by_x() -> Tensor:
            slope = multiply(gradient, beta_density(left, right, place))
            return negative(slope) if upper else slope

        return no_slope, no_slope, by_x

    def exact(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> Any:
        return incomplete_beta(b, a, 1 - x) if upper else incomplete_beta(a, b, x)

    return map_op(
        name,
        3,
        formula,
        vjp=vjp,
        reference=oracle(exact),
        result="float",
        accepts="f",
        samples=_beta_samples,
        ulp=16.0,
        keeps=frozenset(["0", "1", "2"]),
        doc=doc,
    )


betainc: Function = public(
    _beta_record(
        "betainc",
        F.betainc,
        False,
        """The regularised incomplete beta function: the integral of t^(a-1) (1-t)^(b-1) from 0 to
        x, over beta(a, b).  NaN for negative a or b and for x outside of [0, 1].

        Small results keep their digits on both sides of (a + 1) / (a + b + 2).  The gradient is
        that by x; by a and b it raises UnsupportedError.

        >>> hybrid.special.betainc(2.0, 3.0, hybrid.tensor([0.0, 0.25, 0.5, 1.0]))
        tensor([0.    , 0.2617, 0.6875, 1.    ])
        """,
    ),
    hybrid=False,
    special=True,
)
betaincc: Function = public(
    _beta_record(
        "betaincc",
        F.betaincc,
        True,
        """1 - betainc(a, b, x), with all digits where it is small.  Domain and gradient are those
        of betainc.

        >>> hybrid.special.betaincc(2.0, 3.0, hybrid.tensor([0.0, 0.25, 0.5, 1.0]))
        tensor([1.    , 0.7383, 0.3125, 0.    ])
        """,
    ),
    hybrid=False,
    special=True,
)


# ---- made of the incomplete beta function
def _student_samples(rng: np.random.Generator) -> Any:
    """Whole df, by which there is no gradient."""
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        yield [ints(rng, *first, low=1, high=25), draw(rng, *second, low=-4.0, high=4.0)], {}


def _student_reference(df: np.ndarray, t: np.ndarray) -> Any:
    tails = incomplete_beta(df / 2, np.full_like(t, 0.5), df / (df + t * t)) / 2
    return np.where(t > 0, 1 - tails, tails)


def _student_vjp(gradient: Tensor, out: Tensor, df: Tensor, t: Tensor) -> tuple[Any, Any]:
    def by_t() -> Tensor:
        rest = multiply(log1p(square(divide(t, sqrt(df)))), multiply(add(df, 1.0), -0.5))
        height = exp(subtract(rest, betaln(multiply(df, 0.5), 0.5)))
        return multiply(gradient, divide(height, sqrt(df)))

    return no_slope, by_t


stdtr: Function = public(
    map_op(
        "stdtr",
        2,
        F.stdtr,
        vjp=_student_vjp,
        reference=oracle(_student_reference),
        result="float",
        accepts="f",
        samples=_student_samples,
        ulp=16.0,
        keeps=frozenset(["0", "1"]),
        doc="""The distribution function of Student's t distribution with df degrees of freedom;
        NaN unless df > 0, that of the normal distribution for infinite df.  The gradient is that by
        t; by df it raises UnsupportedError.

        >>> hybrid.special.stdtr(3.0, hybrid.tensor([-3.182, 0.0, 3.182]))
        tensor([0.025, 0.5  , 0.975])
        """,
    ),
    hybrid=False,
    special=True,
)


def _f_samples(rng: np.random.Generator) -> Any:
    """Whole dfn and dfd, by which there is no gradient."""
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        whole = [ints(rng, *first, low=1, high=25) for _ in range(2)]
        yield [*whole, draw(rng, *second, low=0.1, high=3.0)], {}


def _f_reference(dfn: np.ndarray, dfd: np.ndarray, x: np.ndarray) -> Any:
    return incomplete_beta(dfn / 2, dfd / 2, dfn * x / (dfn * x + dfd))


def _f_vjp(gradient: Tensor, out: Tensor, dfn: Tensor, dfd: Tensor, x: Tensor) -> Any:
    def by_x() -> Tensor:
        first, second, ratio = multiply(dfn, 0.5), multiply(dfd, 0.5), divide(dfn, dfd)
        rise = add(xlogy(subtract(first, 1.0), x), multiply(first, log(ratio)))
        fall = multiply(add(first, second), log1p(multiply(ratio, x)))
        return multiply(gradient, exp(subtract(subtract(rise, fall), betaln(first, second))))

    return no_slope, no_slope, by_x


fdtr: Function = public(
    map_op(
        "fdtr",
        3,
        F.fdtr,
        vjp=_f_vjp,
        reference=oracle(_f_reference),
        result="float",
        accepts="f",
        samples=_f_samples,
        ulp=16.0,
        keeps=frozenset(["0", "1", "2"]),
        doc="""The distribution function of the F distribution with dfn and dfd degrees of freedom;
        NaN unless both are above 0 and x is not negative.  The gradient is that by x; by the
        degrees of freedom it raises UnsupportedError.

        >>> hybrid.special.fdtr(2.0, 5.0, hybrid.tensor([0.0, 1.0, 5.786]))
        tensor([0.    , 0.5688, 0.95  ])
        """,
    ),
    hybrid=False,
    special=True,
)
