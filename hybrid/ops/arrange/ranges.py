"""Numbers evenly spaced between two ends, or on a logarithmic scale.

Invariant: ranges between Python numbers are computed in double precision and rounded once; those
between tensors are ordinary operations, with their gradients.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import DTypeError, HybridError, ShapeError
from ...core.floating import in_plain_floats
from ...ir.door.bind import convert as astype
from ...ir.door.bind import is_complex, operands, store
from ...ir.door.foreign import data_of, holds_tensors, is_number
from ..axes.views import broadcast_to, expand_dims, moveaxis, reshape
from ..base.surface import public
from ..build.create import arange, finish, real_linspace
from ..build.join import concat
from ..build.pairs import complex_of
from ..elementwise.arithmetic import add, divide, multiply, subtract
from ..elementwise.powers import power

Tensor = Any


def _count(num: Any, what: str) -> int:
    count = operator.index(num)
    if count < 0:
        raise ShapeError(f"{what}: {count} samples")
    return count


def _ends(*values: Any) -> list[Tensor]:
    """Tensors of the ends, floats where all are integers: differences of these may wrap."""
    tensors = operands(*values, whole=dt.default_float)
    if any(dt.is_inexact(tensor.dtype) for tensor in tensors):
        return tensors
    return [astype(tensor, dt.default_float) for tensor in tensors]


def _placed(made: Tensor, axis: int, dtype: Any) -> Tensor:
    """A range along its first axis, moved to `axis`, in the dtype that was asked for."""
    made = moveaxis(made, 0, axis) if made.ndim > 1 else made
    return made if dtype is None else astype(made, dt.canonical(dtype))


@in_plain_floats
def _on_host(function: Callable[..., Any], ends: tuple[Any, ...], dtype: Any) -> Any:
    """What NumPy makes of numbers and arrays, rounded to the dtype once."""
    arrays = [data_of(v).array for v in ends]
    weak = not any(isinstance(v, (np.ndarray, np.generic)) for v in ends)
    made = function(*arrays)
    wanted = dt.canonical(made.dtype)
    if weak:
        wanted = dt.complex64 if dt.is_complex(wanted) else dt.default_float
    return store(made, wanted if dtype is None else dt.canonical(dtype))


@public
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    axis: int = 0,
    retstep: bool = False,
) -> Any:
    """`num` evenly spaced numbers from start to stop, along a new axis where these are no single
    numbers; the end is exact.

    float32 by default (complex64 where an end is complex; of tensors their dtype), and rounded down
    to an integer dtype, as NumPy's; ShapeError for a negative `num`.  With `retstep` the result is
    (numbers, step): a number between numbers, NaN where there is no step.

    >>> hybrid.linspace(0, 1, 5), hybrid.linspace(0, 1, 4, endpoint=False)
    (tensor([0.  , 0.25, 0.5 , 0.75, 1.  ]), tensor([0.  , 0.25, 0.5 , 0.75]))
    >>> hybrid.linspace(0, 1 + 2j, 3)
    tensor([0. +0.j, 0.5+1.j, 1. +2.j], dtype=complex64)
    """
    single = not any(
        getattr(end, "ndim", 0) or isinstance(end, (list, tuple)) for end in (start, stop)
    )
    if not single:
        first, last = _ends(start, stop)
        made = _between(first, last, _count(num, "linspace"), endpoint)
        made = _placed(made, axis, dtype)
    elif is_complex((start, stop)):
        made = _complex_linspace(complex(start), complex(stop), num, endpoint, dtype, device)
    else:
        made = real_linspace(start, stop, num, endpoint, dtype=dtype, device=device)
    made = finish(made, requires_grad)
    return (made, _step(start, stop, int(num), endpoint)) if retstep else made


def _step(start: Any, stop: Any, count: int, endpoint: bool) -> Any:
    parts = count - 1 if endpoint else count
    if is_number(start) and is_number(stop):
        return (stop - start) / parts if parts > 0 else float("nan")
    first, last = _ends(start, stop)
    return divide(subtract(last, first), parts if parts > 0 else float("nan"))


def _complex_linspace(
    start: complex, stop: complex, num: int, endpoint: bool, dtype: Any, device: Any
) -> Tensor:
    wanted = dt.complex64 if dtype is None else dt.canonical(dtype)
    if not dt.is_complex(wanted):
        raise DTypeError(f"linspace: complex ends do not fit {wanted.name}; take a complex dtype")
    given = {"dtype": dt.real_of(wanted), "device": device}
    return complex_of(
        real_linspace(start.real, stop.real, num, endpoint, **given),
        real_linspace(start.imag, stop.imag, num, endpoint, **given),
    )


def _between(first: Tensor, last: Tensor, count: int, endpoint: bool) -> Tensor:
    """Evenly spaced tensors from one to the other, along a new first axis."""
    steps = _steps(count, endpoint, first, last)
    made = add(multiply(steps, subtract(last, first)), first)
    if endpoint and count > 1:
        top = expand_dims(astype(broadcast_to(last, made.shape[1:]), made.dtype), 0)
        made = concat([made[:-1], top], 0)
    return made


@public
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Tensor:
    """`num` numbers from base^start to base^stop whose logarithms are evenly spaced, along a new
    axis where the ends are tensors; float32 (or complex64) for Python numbers.

    ShapeError for a negative `num`.

    >>> hybrid.logspace(0, 3, 4)
    tensor([   1.,   10.,  100., 1000.])
    """
    count = _count(num, "logspace")
    if not holds_tensors([start, stop, base]):
        return _on_host(
            lambda first, last, root: np.logspace(first, last, count, endpoint, root, axis=axis),
            (start, stop, base),
            dtype,
        )
    first, last, root = _ends(start, stop, base)
    steps = _steps(count, endpoint, first, last)
    exponents = add(first, multiply(subtract(last, first), steps))
    return _placed(power(root, exponents), axis, dtype)


def _steps(count: int, endpoint: bool, first: Tensor, last: Tensor) -> Tensor:
    """0 up to 1 in `count` steps, to be multiplied with what the ends broadcast to."""
    dtype = dt.promote(first.dtype, last.dtype)
    dtype = dt.real_of(dtype) if dt.is_inexact(dtype) else dt.default_float
    parts = max(count - 1 if endpoint else count, 1)
    steps = divide(astype(arange(count, device=first.device), dtype), parts)
    return reshape(steps, (count,) + (1,) * max(first.ndim, last.ndim))


@public
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Tensor:
    """`num` numbers from start to stop with a constant ratio, along a new axis where the ends are
    tensors; the ends are exact; float32 (or complex64) for Python numbers.  Complex numbers lie on
    a spiral.

    ShapeError for a negative `num`, HybridError for an end that is 0.

    >>> hybrid.geomspace(1, 1000, 4)
    tensor([   1.,   10.,  100., 1000.])
    """
    count = _count(num, "geomspace")
    if not holds_tensors([start, stop]):
        if not all(data_of(v).array.all() for v in (start, stop)):
            raise HybridError("geomspace: an end is 0, which no ratio leads to")
        return _on_host(
            lambda first, last: np.geomspace(first, last, count, endpoint, axis=axis),
            (start, stop),
            dtype,
        )
    first, last = _ends(start, stop)
    steps = _steps(count, endpoint, first, last)
    made = multiply(first, power(divide(last, first), steps))
    if endpoint and count > 1:
        top = expand_dims(add(last, multiply(first, 0.0)), 0)
        made = concat([made[:-1], top], 0)
    return _placed(made, axis, dtype)
