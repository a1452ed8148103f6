"""Complex numbers: their parts, arithmetic, comparisons, conversion.

Invariant: products are (ac - bd) + i(ad + bc), every operation rounded; quotients are Smith's;
absolute values are scaled against overflow.  What has an order (less, max, floor, ...) takes no
complex numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import DTypeError
from ...ir.door.bind import as_tensor, bind, converter
from ...ir.door.bind import convert as astype
from ...ir.op import Op, extend
from ..axes.views import RESHAPE, apart
from ..base.surface import public
from ..build.create import LINSPACE, RANGE, zeros_like
from ..build.matrices import EYE
from ..build.pairs import complex_of, conjugate, part_of, parts_of
from ..elementwise.arithmetic import (
    abs as abs_,
)
from ..elementwise.arithmetic import (
    add,
    clone,
    divide,
    multiply,
    negative,
    positive,
    reciprocal,
    sign,
    square,
    subtract,
)
from ..elementwise.logic import (
    equal,
    isfinite,
    isinf,
    isnan,
    less,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
)
from ..elementwise.numeric import iscomplex, isreal, rint
from ..elementwise.powers import hypot
from ..elementwise.rounding import ROUND
from ..elementwise.selection import where
from ..elementwise.trigonometry import atan2
from . import formulas
from .records import analytic, each_part, enter

Tensor = Any


# ---- arithmetic
for _function in (add, subtract, negative, positive, clone):
    each_part(_function, anywhere=True)

analytic(
    multiply,
    formulas.multiply,
    lambda out, left, right: (right, left),
    np.multiply,
)
analytic(
    divide,
    formulas.divide,
    lambda out, left, right: (reciprocal(right), negative(divide(out, right))),
    np.divide,
    ulp=16.0,
    domain=(0.5, 3.0),
)
analytic(
    reciprocal,
    formulas.reciprocal,
    lambda out, left: (negative(square(out)),),
    lambda left: 1 / left,
    ulp=16.0,
    domain=(0.5, 3.0),
)
analytic(
    square,
    lambda algebra, first, second: formulas.multiply(algebra, first, second, first, second),
    lambda out, left: (multiply(left, 2.0),),
    np.square,
)


def _abs(x: Tensor) -> Tensor:
    return hypot(*parts_of(x))


def _sign(x: Tensor) -> Tensor:
    """z / |z|, 0 for 0; an infinite part leaves nothing of a finite one."""
    parts = parts_of(x)
    endless = logical_or(*map(isinf, parts))
    parts = tuple(
        [where(endless, where(isinf(part), sign(part), multiply(part, 0)), part) for part in parts]
    )
    size = hypot(*parts)
    safe = where(equal(size, 0), 1, size)
    return complex_of(*[add(divide(part, safe), 0.0) for part in parts])


enter(abs_, _abs)
enter(sign, _sign)


# ---- predicates, comparisons, selection
def _some(test: Any) -> Any:
    """Whether a test holds for one of the parts."""
    return lambda x: logical_or(*map(test, parts_of(x)))


enter(isnan, _some(isnan))
enter(isinf, _some(isinf))
enter(isfinite, lambda x: logical_and(*map(isfinite, parts_of(x))))


def _equal(left: Tensor, right: Tensor) -> Tensor:
    return logical_and(*map(equal, parts_of(left), parts_of(right)))


def _not_equal(left: Tensor, right: Tensor) -> Tensor:
    return logical_or(*map(not_equal, parts_of(left), parts_of(right)))


enter(equal, _equal)
enter(not_equal, _not_equal)


def truth(x: Tensor) -> Tensor:
    """Where complex numbers are nonzero."""
    return not_equal(x, 0) if dt.is_complex(x.dtype) else x


for _function in (logical_and, logical_or, logical_xor, logical_not):
    enter(
        _function,
        lambda *xs, _of=_function: _of(*map(truth, xs)),
    )


def _where(condition: Tensor, left: Tensor, right: Tensor) -> Tensor:
    condition = truth(condition)
    if not dt.is_complex(left.dtype):
        return where(condition, left, right)
    parts = zip(parts_of(left), parts_of(right))
    return complex_of(*[where(condition, first, second) for first, second in parts])


enter(where, _where)


def _convert(x: Tensor, dtype: np.dtype) -> Tensor:
    if not dt.is_complex(x.dtype):
        real = astype(x, dt.real_of(dtype))
        return complex_of(real, zeros_like(real))
    if dtype is dt.bool_:
        return truth(x)
    if not dt.is_complex(dtype):
        raise DTypeError(
            f"{x.dtype.name} numbers do not fit {dtype.name}; take hybrid.real(x), hybrid.imag(x) "
            "or hybrid.abs(x) first"
        )
    return complex_of(*[astype(part, dt.real_of(dtype)) for part in parts_of(x)])


extend(converter(), on_complex=_convert)
each_part(rint, anywhere=True)
each_part(ROUND, anywhere=True)
enter(iscomplex, lambda x: not_equal(parts_of(x)[1], 0))
enter(isreal, lambda x: equal(parts_of(x)[1], 0))


def _as_real(record: Op) -> None:
    """Enter that a record without inputs makes complex numbers of the real ones."""

    def rule(dtype: np.dtype, **params: Any) -> Tensor:
        return astype(bind(record, dtype=dt.real_of(dtype), **params), dtype)

    extend(record, on_complex=rule)


for _record in (EYE, LINSPACE, RANGE):
    _as_real(_record)


# ---- parts
@public
def real(x: Tensor) -> Tensor:
    """The real part of each element, as a view of a complex tensor; a real tensor itself.

    The dtype is float32 for complex64, float64 for complex128; others keep theirs.

    >>> hybrid.real(hybrid.tensor([1 + 2j, 3 - 1j]))
    tensor([1., 3.])
    """
    x = as_tensor(x)
    return part_of(x, 0) if dt.is_complex(x.dtype) else x


@public
def imag(x: Tensor) -> Tensor:
    """The imaginary part of each element, as a view of a complex tensor; zeros for a real one.

    The dtype is float32 for complex64, float64 for complex128; others keep theirs.

    >>> hybrid.imag(hybrid.tensor([1 + 2j, 3 - 1j]))
    tensor([ 2., -1.])
    """
    x = as_tensor(x)
    return part_of(x, 1) if dt.is_complex(x.dtype) else zeros_like(x)


@public(hybrid=("conj", "conjugate"), method=("conj", "conjugate"))
def conj(x: Tensor) -> Tensor:
    """The complex conjugate of each element; the elements of a real tensor.

    >>> hybrid.conj(hybrid.tensor([1 + 2j, 3 - 1j]))
    tensor([1.-2.j, 3.+1.j], dtype=complex64)
    """
    x = as_tensor(x)
    return conjugate(x) if dt.is_complex(x.dtype) else apart(RESHAPE, x, shape=x.shape)


@public(method=True)
def angle(x: Tensor, deg: bool = False) -> Tensor:
    """The angle of each element with the positive real axis, in radians from -pi to pi, in degrees
    with `deg`; NaN for NaN.

    >>> hybrid.angle(hybrid.tensor([1j, -1, 1 + 1j]))
    tensor([1.5708, 3.1416, 0.7854])
    """
    x = as_tensor(x)
    if dt.is_complex(x.dtype):
        turned = atan2(*reversed(parts_of(x)))
    else:
        floating = x if dt.is_float(x.dtype) else astype(x, dt.default_float)
        turned = atan2(zeros_like(floating), floating)
    return multiply(turned, 180.0 / np.pi) if deg else turned


@public
def real_if_close(a: Tensor, tol: float = 100) -> Tensor:
    """The real part of a complex tensor whose imaginary parts are all below `tol` times the
    precision of the dtype (below `tol` itself where that is at most 1); else the tensor.

    Reads the data; a real tensor itself.

    >>> hybrid.real_if_close(hybrid.tensor([2.0 + 1e-9j, 3.0]))
    tensor([2., 3.])
    """
    x = as_tensor(a)
    if not dt.is_complex(x.dtype):
        return x
    bound = tol * float(np.finfo(x.dtype).eps) if tol > 1 else tol
    small = less(abs_(part_of(x, 1)), bound)
    return part_of(x, 0) if small.numpy().all() else x
