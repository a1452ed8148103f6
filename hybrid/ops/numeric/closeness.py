"""Comparisons with a tolerance, comparisons of whole tensors, and numbers in the place of NaN.

Invariant: whole tensors compare to a 0-d bool tensor, so that nothing is read that a program does
not branch on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ...core import dtypes as dt
from ...core.errors import ShapeError
from ...core.shapes import broadcast_shapes
from ...ir.door.bind import as_tensor, literal, operands, store
from ...ir.door.bind import convert as astype
from ...ir.door.flat import function_of
from ...ir.op import NO_GRAD, map_op
from ...ir.scalar.program import Builder, Val
from ..axes.extremes import all as all_
from ..base.common import draw
from ..base.surface import public
from ..build.pairs import complex_of, parts_of
from ..elementwise.arithmetic import abs, add, clone, multiply, subtract
from ..elementwise.logic import (
    equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_or,
)
from ..elementwise.selection import where

Function = Callable[..., Any]
Tensor = Any
_finfo: Function = ml_dtypes.finfo
_LARGEST = {dtype: float(_finfo(dtype).max) for dtype in dt.FLOATS}


# ---- isclose
def _close_body(algebra: Builder, left: Val, right: Val, relative: Val, absolute: Val) -> Val:
    distance, size = algebra.abs(left - right), algebra.abs(right)
    near = (distance <= absolute + relative * size) & (size < float("inf"))
    return near | (left == right)


def _close_reference(
    left: np.ndarray, right: np.ndarray, relative: np.ndarray, absolute: np.ndarray
) -> np.ndarray:
    with np.errstate(all="ignore"):
        near = np.abs(left - right) <= absolute + relative * np.abs(right)
    result: np.ndarray = (near & np.isfinite(right)) | (left == right)
    return result


def _close_samples(rng: np.random.Generator) -> Any:
    right = draw(rng, 3, 40)
    left = right + np.where(rng.random(right.shape) < 0.5, 0.25, 4.0)
    yield [left, right, np.array(0.0), np.array(1.0)], {}
    yield [right * 1.5, right, np.array(1.0), np.array(0.0)], {}


_close: Function = function_of(
    map_op(
        "isclose",
        4,
        _close_body,
        vjp=NO_GRAD,
        result="bool",
        accepts="f",
        reference=_close_reference,
        samples=_close_samples,
        ulp=0.0,
        doc="|x - y| <= atol + rtol * |y|, or equal.",
    )
)


def _complex_close(left: Tensor, right: Tensor, relative: Any, absolute: Any) -> Tensor:
    bound = add(absolute, multiply(relative, abs(right)))
    near = logical_and(less_equal(abs(subtract(left, right)), bound), isfinite(right))
    return logical_or(near, equal(left, right))


@public(method=True)
def isclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |a - b| <= atol + rtol * |b|, element by element, or a equals b (infinities too).

    Shapes broadcast.  NaN is close to nothing, to NaN where `equal_nan`.  Integers are compared in
    float64.  The result is bool.

    >>> hybrid.isclose(hybrid.tensor([1.0, 2.0, hybrid.nan]), [1.000001, 2.1, hybrid.nan])
    tensor([ True, False, False])
    """
    left, right = operands(a, b, compares=True, whole=dt.float64)
    mixed = dt.signs_differ(left.dtype, right.dtype)
    wanted = dt.float64 if mixed else dt.promote(left.dtype, right.dtype)
    wanted = wanted if dt.is_inexact(wanted) else dt.float64
    left, right = astype(left, wanted), astype(right, wanted)
    if dt.is_complex(wanted):
        near = _complex_close(left, right, rtol, atol)
    else:
        near = _close(left, right, rtol, atol)
    return logical_or(near, logical_and(isnan(left), isnan(right))) if equal_nan else near


@public(method=True)
def allclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether all elements are close, as `isclose` says; a 0-d bool tensor.

    >>> hybrid.allclose(hybrid.tensor([1.0, 2.0]), hybrid.tensor([1.0, 2.000001]))
    tensor(True)
    """
    return all_(isclose(a, b, rtol, atol, equal_nan))


# ---- whole tensors
@public
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Tensor:
    """Whether two tensors have one shape and equal elements; a 0-d bool tensor.

    NaN equals nothing, NaN where `equal_nan`.

    >>> hybrid.array_equal(hybrid.tensor([1, 2]), [1, 2]), hybrid.array_equal([1, 2], [[1, 2]])
    (tensor(True), tensor(False))
    """
    left, right = operands(a1, a2, compares=True)
    if left.shape != right.shape:
        return literal(False, dt.bool_, left.device)
    same = equal(left, right)
    if equal_nan and dt.is_inexact(left.dtype) and dt.is_inexact(right.dtype):
        same = logical_or(same, logical_and(isnan(left), isnan(right)))
    return all_(same)


@public
def array_equiv(a1: Any, a2: Any) -> Tensor:
    """Whether two tensors broadcast to one shape with equal elements; a 0-d bool tensor.

    >>> hybrid.array_equiv(hybrid.tensor([1, 2]), hybrid.tensor([[1, 2], [1, 2]]))
    tensor(True)
    """
    left, right = operands(a1, a2, compares=True)
    try:
        broadcast_shapes("array_equiv", left.shape, right.shape)
    except ShapeError:
        return literal(False, dt.bool_, left.device)
    return all_(equal(left, right))


# ---- nan_to_num
def _number_body(algebra: Builder, operand: Val, nan: Val, highest: Val, lowest: Val) -> Val:
    infinite = float("inf")
    finite = algebra.select(operand == -infinite, lowest, operand)
    finite = algebra.select(operand == infinite, highest, finite)
    return algebra.select(operand == operand, finite, nan)


def _number_reference(
    operand: np.ndarray, nan: np.ndarray, highest: np.ndarray, lowest: np.ndarray
) -> np.ndarray:
    finite = np.where(operand == -np.inf, lowest, operand)
    finite = np.where(operand == np.inf, highest, finite)
    return np.where(np.isnan(operand), nan, finite)


_number: Function = function_of(
    map_op(
        "nan_to_num",
        4,
        _number_body,
        vjp=lambda gradient, out, operand, nan, highest, lowest: (
            lambda: where(isfinite(operand), gradient, 0.0),
            lambda: where(isnan(operand), gradient, 0.0),
            lambda: where(logical_and(isinf(operand), less(0.0, operand)), gradient, 0.0),
            lambda: where(logical_and(isinf(operand), less(operand, 0.0)), gradient, 0.0),
        ),
        accepts="f",
        reference=_number_reference,
        ulp=0.0,
        doc="x with numbers in the place of NaN and of the infinities.",
    )
)


@public(method=True)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Tensor:
    """x with numbers in the place of NaN and of the infinities: by default 0 and the largest and
    smallest number of the dtype.

    The elements replaced have the gradient 0.  Integers stay as they are; of complex numbers both
    parts are replaced.  `copy` is accepted for NumPy's sake: values never alias.

    >>> hybrid.nan_to_num(hybrid.tensor([1.0, hybrid.nan, hybrid.inf]), posinf=9.0)
    tensor([1., 0., 9.])
    """
    x = as_tensor(x)
    if dt.is_complex(x.dtype):
        return complex_of(*[nan_to_num(part, copy, nan, posinf, neginf) for part in parts_of(x)])
    if not dt.is_float(x.dtype):
        return clone(x)
    largest = _LARGEST[x.dtype]
    numbers = nan, largest if posinf is None else posinf, -largest if neginf is None else neginf
    return _number(x, *[store(number, x.dtype, x.device) for number in numbers])
