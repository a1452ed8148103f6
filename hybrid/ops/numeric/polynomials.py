"""Polynomials by their coefficients, the highest power first, as NumPy's poly1d has them.

Invariant: functions take and give sequences of coefficients; what is divided or integrated is
floating.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ArgumentError, ShapeError
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.door.bind import convert as astype
from ...ir.op import MapOp, extend, register
from ...ir.scalar.program import Builder, Val
from ..axes.cumulative import cumulative_prod
from ..axes.slices import flip, narrow
from ..axes.views import broadcast_to, reshape
from ..base.common import draw, wide
from ..base.surface import public
from ..build.create import arange, ones, zeros, zeros_like
from ..build.join import concat, stack
from ..build.matrices import eye
from ..build.pairs import check_parts, complex_of, conjugate, joined, parts_of
from ..complex.arithmetic import real
from ..complex.formulas import multiply as multiply_parts
from ..elementwise.arithmetic import abs, add, divide, multiply, negative, subtract
from ..elementwise.logic import less_equal
from ..linalg.eigen import eigvals
from ..products.contract import matmul
from .ranks import floating
from .sequences import convolve

Tensor = Any


def _coefficients(what: str, *given: Any) -> list[Tensor]:
    found = [reshape(t, (1,)) if t.ndim == 0 else t for t in operands(*given)]
    for one in found:
        if one.ndim != 1:
            raise ShapeError(f"{what} takes coefficients in one dimension, not shape {one.shape}")
    return found


def _ahead(coefficients: Tensor, size: int) -> Tensor:
    """Coefficients of higher powers, 0, before them."""
    missing = size - coefficients.shape[0]
    if missing <= 0:
        return coefficients
    nothing = zeros((missing,), dtype=coefficients.dtype, device=coefficients.device)
    return concat([nothing, coefficients], 0)


def _trimmed(coefficients: Tensor) -> Tensor:
    """Coefficients from the first that is not 0, one at least."""
    size = coefficients.shape[0]
    if not size:
        return zeros((1,), dtype=coefficients.dtype, device=coefficients.device)
    places = np.flatnonzero(coefficients.numpy() != 0)
    first = int(places[0]) if places.size else size - 1
    return narrow(coefficients, 0, first, size - first) if first else coefficients


def _order(what: str, m: Any) -> int:
    order = operator.index(m)
    if order < 0:
        raise ArgumentError(f"{what}: m is {order}; it has to be 0 or more")
    return order


# ---- values
_MOST = 64  # coefficients in one kernel


def _values_body(algebra: Builder, coefficients: Any, x: Val) -> Val:
    found = algebra.const(x.type, 0)
    for place in range(coefficients.shape[0]):
        found = found * x + coefficients.at_coords(algebra.const("i64", place))
    return found


def _values_vjp(gradient: Tensor, out: Tensor, coefficients: Tensor, x: Tensor) -> tuple[Any, Any]:
    def by_coefficients() -> Tensor:
        powers = vander(reshape(x, (x.size,)), coefficients.shape[0])
        return matmul(reshape(gradient, (x.size,)), powers)

    return by_coefficients, lambda: multiply(gradient, polyval(polyder(coefficients), x))


def _values_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 4), draw(rng, 3, 5)], {}
    yield [draw(rng, 1), draw(rng, 7)], {}


VALUES = register(
    MapOp(
        "polynomial_values",
        2,
        lambda coefficients, x: (x,),
        body=_values_body,
        gathers=(0,),
        vjp=_values_vjp,
        reference=lambda coefficients, x: np.polyval(wide(coefficients), wide(x)),
        samples=_values_samples,
        ulp=400.0,  # where terms cancel
        doc="A polynomial by Horner's rule; every product and sum is rounded.",
    )
)


def _complex_body(algebra: Builder, p_re: Any, p_im: Any, re: Val, im: Val) -> tuple[Val, Val]:
    zero = algebra.const(re.type, 0)
    found = zero, zero
    for number in range(p_re.shape[0]):
        place = algebra.const("i64", number)
        left, right = multiply_parts(algebra, *found, re, im)
        found = left + p_re.at_coords(place), right + p_im.at_coords(place)
    return found


def _complex_infer(p_re: Aval, p_im: Aval, re: Aval, im: Aval) -> tuple[Aval, ...]:
    check_parts("complex_polynomial_values", p_re, p_im, re, im)
    return re, re


def _complex_vjp(
    gradient: Any, out: Any, p_re: Tensor, p_im: Tensor, re: Tensor, im: Tensor
) -> tuple[Any, ...]:
    given, p, x = complex_of(*gradient), complex_of(p_re, p_im), complex_of(re, im)
    powers = vander(reshape(x, (x.size,)), p.shape[0])
    by_coefficients = matmul(reshape(given, (x.size,)), conjugate(powers))
    by_place = multiply(given, conjugate(polyval(polyder(p), x)))
    return *parts_of(by_coefficients), *parts_of(by_place)


def _complex_reference(*parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = np.polyval(joined(*parts[:2]), joined(*parts[2:]))
    return found.real, found.imag


def _complex_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 4), draw(rng, 4), draw(rng, 3, 5), draw(rng, 3, 5)], {}


COMPLEX_VALUES = register(
    MapOp(
        "complex_polynomial_values",
        4,
        _complex_infer,
        body=_complex_body,
        gathers=(0, 1),
        nout=2,
        vjp=_complex_vjp,
        accepts="f",
        facts=frozenset(["modulus"]),
        reference=_complex_reference,
        samples=_complex_samples,
        ulp=400.0,
        doc="`polynomial_values` of complex numbers, over their parts.",
    )
)
extend(
    VALUES,
    on_complex=lambda p, x: complex_of(*bind(COMPLEX_VALUES, *parts_of(p), *parts_of(x))),
)


@public
def polyval(p: Any, x: Any) -> Tensor:
    """The values at x of the polynomial with the coefficients p, by Horner's rule.

    >>> hybrid.polyval([3.0, 0.0, 1.0], hybrid.tensor([0.0, 1.0, 2.0]))  # 3 x^2 + 1
    tensor([ 1.,  4., 13.])
    """
    p, x = operands(p, x)
    if p.ndim != 1:
        raise ShapeError(f"polyval takes coefficients in one dimension, not shape {p.shape}")
    wanted = dt.promote(p.dtype, x.dtype)
    wanted = dt.default_int if wanted is dt.bool_ else wanted
    p, x = astype(p, wanted), astype(x, wanted)
    if 0 < p.shape[0] <= _MOST:
        return bind(VALUES, p, x)
    result = zeros_like(x)
    for place in range(p.shape[0]):
        result = add(multiply(result, x), narrow(p, 0, place, 1, drop=True))
    return result


# ---- coefficients
@public
def polyadd(a1: Any, a2: Any) -> Tensor:
    """The coefficients of the sum of two polynomials.

    >>> hybrid.polyadd([1, 2], [9, 5, 4])
    tensor([9, 6, 6])
    """
    left, right = _coefficients("polyadd", a1, a2)
    size = max(left.shape[0], right.shape[0])
    return add(_ahead(left, size), _ahead(right, size))


@public
def polysub(a1: Any, a2: Any) -> Tensor:
    """The coefficients of the difference of two polynomials.

    >>> hybrid.polysub([2, 10, -2], [3, 10, -4])
    tensor([-1,  0,  2])
    """
    left, right = _coefficients("polysub", a1, a2)
    size = max(left.shape[0], right.shape[0])
    return subtract(_ahead(left, size), _ahead(right, size))


@public
def polymul(a1: Any, a2: Any) -> Tensor:
    """The coefficients of the product of two polynomials.

    First coefficients that are 0 are left out before, as by NumPy, which reads the data (`convolve`
    does not).

    >>> hybrid.polymul([1, 2, 3], [9, 5, 1])
    tensor([ 9, 23, 38, 17,  3])
    >>> hybrid.polymul([0, 0, 1], [0, 2])
    tensor([2])
    """
    left, right = _coefficients("polymul", a1, a2)
    return convolve(_trimmed(left), _trimmed(right))


@public
def polydiv(u: Any, v: Any) -> tuple[Tensor, Tensor]:
    """The coefficients of quotient and remainder of two polynomials, as floats.

    Zeros at the head of the remainder go, so that its size depends on the data, which is read.
    ShapeError for no coefficients.

    >>> hybrid.polydiv([3.0, 5.0, 2.0], [2.0, 1.0])
    (tensor([1.5 , 1.75]), tensor([0.25]))
    """
    left, right = (floating(t) for t in _coefficients("polydiv", u, v))
    if not left.size or not right.size:
        raise ShapeError(f"polydiv takes coefficients, not shapes {left.shape} and {right.shape}")
    wanted = dt.promote(left.dtype, right.dtype)
    rest, right = astype(left, wanted), astype(right, wanted)
    steps = left.shape[0] - right.shape[0] + 1
    scale = divide(1.0, narrow(right, 0, 0, 1))
    digits = []
    for _ in range(steps):
        digits.append(multiply(scale, narrow(rest, 0, 0, 1)))
        behind = narrow(rest, 0, right.shape[0], rest.shape[0] - right.shape[0])
        ahead = subtract(narrow(rest, 0, 0, right.shape[0]), multiply(digits[-1], right))
        rest = concat([narrow(ahead, 0, 1, ahead.shape[0] - 1), behind], 0)
    quotient = concat(digits, 0) if digits else zeros((1,), dtype=wanted, device=rest.device)
    if not rest.shape[0]:
        rest = zeros((1,), dtype=wanted, device=rest.device)
    while rest.shape[0] > 1 and less_equal(abs(narrow(rest, 0, 0, 1)), 1e-8):
        rest = narrow(rest, 0, 1, rest.shape[0] - 1)
    return quotient, rest


@public
def polyder(p: Any, m: int = 1) -> Tensor:
    """The coefficients of the m-th derivative of a polynomial.

    >>> hybrid.polyder([1, 1, 1, 1])
    tensor([3, 2, 1])
    """
    order = _order("polyder", m)
    (found,) = _coefficients("polyder", p)
    for _ in range(min(order, found.shape[0] + 1)):  # then there are none left
        size = max(found.shape[0] - 1, 0)
        powers = arange(size, 0, -1, device=found.device)
        found = multiply(narrow(found, 0, 0, size), powers)
    return found


@public
def polyint(p: Any, m: int = 1, k: Any = None) -> Tensor:
    """The coefficients of the m-th antiderivative of a polynomial, as floats; k holds the constants
    of integration (0 by default), the first of them first.

    >>> hybrid.polyint([6.0, 2.0], k=3.0)
    tensor([3., 2., 3.])
    """
    order = _order("polyint", m)
    (found,) = _coefficients("polyint", p)
    if not order:
        return found
    found = floating(found)
    constants = zeros((order,), dtype=found.dtype, device=found.device)
    if k is not None:
        constants = astype(operands(found, k)[1], found.dtype)
        constants = reshape(constants, (constants.size,))
        constants = broadcast_to(constants, (order,)) if constants.size == 1 else constants
        if constants.shape[0] < order:
            raise ArgumentError(f"polyint: {constants.shape[0]} constants for m = {order}")
    for step in range(order):
        powers = arange(found.shape[0], 0, -1, device=found.device)
        found = concat([divide(found, powers), narrow(constants, 0, step, 1)], 0)
    return found


@public
def poly(seq_of_zeros: Any) -> Tensor:
    """The coefficients of the polynomial with these zeros, or with the eigenvalues of a square
    matrix, and the leading coefficient 1.

    Those of complex zeros are complex, also where NumPy finds them real; those of a real matrix are
    real.  ShapeError for what is neither a sequence nor a square matrix.

    >>> hybrid.poly([1.0, 2.0])  # (x - 1) (x - 2)
    tensor([ 1., -3.,  2.])
    """
    given = as_tensor(seq_of_zeros)
    if given.ndim > 2 or (given.ndim == 2 and given.shape[0] != given.shape[1]):
        raise ShapeError(f"poly takes zeros or a square matrix, not shape {given.shape}")
    if given.ndim < 2:
        return _of_zeros(floating(reshape(given, (given.size,))))
    found = _of_zeros(eigvals(given))
    return found if dt.is_complex(given.dtype) else real(found)


def _of_zeros(roots: Tensor) -> Tensor:
    if not roots.shape[0]:
        return ones((), dtype=roots.dtype, device=roots.device)
    one = ones((1,), dtype=roots.dtype, device=roots.device)
    found = one
    for place in range(roots.shape[0]):
        found = convolve(found, concat([one, negative(narrow(roots, 0, place, 1))], 0))
    return found


@public
def roots(p: Any) -> Tensor:
    """The zeros of the polynomial with these coefficients, complex numbers always: the eigenvalues
    of its companion matrix (R. Horn, C. Johnson, "Matrix analysis", 1985).

    First coefficients that are 0 are left out, last ones give zeros at 0: that reads the data.
    ShapeError for coefficients that are not in one dimension; the gradient is that of `eigvals`.

    >>> hybrid.roots([1.0, -3.0, 2.0]).real.sort()
    tensor([1., 2.])
    """
    (coefficients,) = _coefficients("roots", p)
    coefficients = floating(coefficients)
    places = np.flatnonzero(coefficients.numpy())
    kind = dt.complex_of(coefficients.dtype)
    if not places.size:
        return zeros((0,), dtype=kind, device=coefficients.device)
    first, last = int(places[0]), int(places[-1])
    nothing = zeros((coefficients.shape[0] - last - 1,), dtype=kind, device=coefficients.device)
    if first == last:
        return nothing
    head = narrow(coefficients, 0, first, 1)
    row = negative(divide(narrow(coefficients, 0, first + 1, last - first), head))
    ones_below = eye(last - first - 1, last - first, dtype=row.dtype, device=row.device)
    return concat([eigvals(concat([reshape(row, (1, last - first)), ones_below], 0)), nothing], 0)


@public
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803
    """The powers of the elements of a sequence, one row each: from N - 1 (len(x) - 1 by default)
    down to 0, or up with `increasing`.

    >>> hybrid.vander(hybrid.tensor([1, 2, 3]), 3)
    tensor([[1, 1, 1],
            [4, 2, 1],
            [9, 3, 1]])
    """
    x = as_tensor(x)
    if x.ndim != 1:
        raise ShapeError(f"vander takes one dimension, not {x.ndim}")
    count = x.shape[0] if N is None else operator.index(N)
    if count < 0:
        raise ArgumentError(f"vander: N is {count}; it has to be 0 or more")
    x = x if dt.is_float(x.dtype) else astype(x, dt.promote(x.dtype, dt.default_int))
    if 0 < count <= _MOST:
        columns = [ones(x.shape, dtype=x.dtype, device=x.device), x][:count]
        while len(columns) < count:
            columns.append(multiply(columns[-1], x))
        return stack(columns if increasing else columns[::-1], 1)
    powers = ones((x.shape[0], min(count, 1)), dtype=x.dtype, device=x.device)
    if count > 1:
        factors = broadcast_to(reshape(x, (x.shape[0], 1)), (x.shape[0], count - 1))
        powers = concat([powers, cumulative_prod(factors, axis=1, dtype=x.dtype)], 1)
    return powers if increasing else flip(powers, 1)
