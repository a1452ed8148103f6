"""What the records of linear algebra share: rules for their inputs, and calls of NumPy's LAPACK.

Invariant: a body computes in float64 or complex128, on contiguous copies in one layout, and results
are rounded once, as NumPy's; so eager calls and replays have the same bits.  Whatever fails raises
LinAlgError.  Gradients are written with the conjugate transpose, which real matrices have, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import reduce
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError, LinAlgError, ShapeError
from ...ir.door.bind import as_tensor, operands
from ...ir.door.bind import convert as astype
from ..axes.slices import narrow
from ..axes.views import matrix_transpose
from ..base.common import draw
from ..complex.arithmetic import conj

Tensor = Any
Ints = tuple[int, ...]
Arrays = Any  # an array, or a tuple of them

NATIVE = (dt.float32, dt.float64, dt.complex64, dt.complex128)  # the dtypes that LAPACK has


# ---- what functions and records take
def floating(value: Any, name: str) -> Tensor:
    """A tensor of a dtype that LAPACK has: integers and bools become float32, half types are
    refused, as NumPy and PyTorch do."""
    tensor = as_tensor(value)
    if tensor.dtype in NATIVE:
        return tensor
    if dt.kind(tensor.dtype) not in "biu":
        raise _no_half(name, tensor.dtype)
    return astype(tensor, dt.default_float)


def _no_half(name: str, dtype: np.dtype) -> DTypeError:
    return DTypeError(
        f"{name} takes float32, float64 or complex tensors, not {dtype.name}; "
        "convert with .astype(hybrid.float32)"
    )


def together(*values: Any, name: str) -> list[Tensor]:
    """Tensors of one such dtype; Python numbers take that of the tensors beside them."""
    tensors = [floating(value, name) for value in operands(*values, whole=dt.default_float)]
    if len({tensor.dtype for tensor in tensors}) == 1:
        return tensors
    dtype = reduce(dt.promote, [tensor.dtype for tensor in tensors])
    return [astype(tensor, dtype) for tensor in tensors]


def matrices(name: str, *avals: Aval, square: bool = False) -> None:
    """Raise unless all are stacks of matrices of dtypes that LAPACK has, the first one `square`."""
    for aval in avals:
        if aval.dtype not in NATIVE:
            raise _no_half(name, aval.dtype)
        if aval.ndim < 2:
            raise ShapeError(f"{name} takes matrices in the last two axes, not shape {aval.shape}")
    rows, columns = avals[0].shape[-2:]
    if square and rows != columns:
        raise ShapeError(f"{name} takes square matrices, not shape {avals[0].shape}")


def square_infer(name: str) -> Callable[..., tuple[Aval, ...]]:
    """One output like the first input, which is square."""

    def infer(operand: Aval, **params: Any) -> tuple[Aval, ...]:
        matrices(name, operand, square=True)
        return (operand,)

    return infer


def adjoint(operand: Tensor) -> Tensor:
    """The conjugate of each matrix, transposed."""
    return matrix_transpose(conj(operand))


def rows_of(operand: Tensor, start: int, count: int) -> Tensor:
    """So many rows of each matrix."""
    return narrow(operand, operand.ndim - 2, start, count)


def columns_of(operand: Tensor, start: int, count: int) -> Tensor:
    """So many columns of each matrix."""
    return narrow(operand, operand.ndim - 1, start, count)


# ---- calls of LAPACK
def plain(operand: np.ndarray) -> np.ndarray:
    """What a body works on."""
    wide = np.complex128 if operand.dtype.kind == "c" else np.float64
    return np.ascontiguousarray(operand, wide)


def _gufunc(name: str) -> Callable[..., Any] | None:
    """NumPy's own loop over a LAPACK routine, where this NumPy has it under that name."""
    found = getattr(getattr(np.linalg, "_umath_linalg", None), name, None)
    return found if isinstance(found, np.ufunc) else None


def lapack(
    name: str, public: Callable[..., Any], failure: str = "", *, axes: int = 2
) -> Callable[..., Arrays]:
    """A function of arrays that is NumPy's `public` and costs a third of its call on
    small matrices: the loop behind it leaves NaN where it fails, and only then `public` is asked
    whether that is an error.  `axes`: of the first result, beside those of the stack."""
    loop = _gufunc(name)
    corner = (Ellipsis, *[0] * axes)

    def checked(*arrays: np.ndarray) -> Arrays:
        with suppress(np.linalg.LinAlgError):
            return public(*arrays)
        raise LinAlgError(failure)

    def call(*arrays: np.ndarray) -> Arrays:
        arrays = tuple(map(plain, arrays))
        if loop is None:
            return checked(*arrays)
        got = loop(*arrays)
        if not failure:
            return got
        first = got[0] if isinstance(got, tuple) else got
        if not first.size:
            return checked(*arrays)
        if first.ndim == axes:
            value = first.item(0)
            return checked(*arrays) if value != value else got
        return checked(*arrays) if np.isnan(first[corner]).any() else got

    return call


# ---- samples
def well_posed(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Matrices far from singular ones, with singular values far from each other."""
    size = min(shape[-2:])
    ladder = np.zeros(shape[-2:])
    np.fill_diagonal(ladder, 3.0 + 2.0 * np.arange(size))
    made: np.ndarray = ladder + draw(rng, *shape, low=-0.5, high=0.5)
    return made


def of_matrices(
    *cases: tuple[Any, ...], make: Callable[..., np.ndarray] = well_posed
) -> Callable[[np.random.Generator], Iterator[Any]]:
    """A `samples` function from rows (shape, ..., params) of well posed operands."""

    def samples(rng: np.random.Generator) -> Iterator[Any]:
        for *shapes, params in cases:
            yield [make(rng, *shape) for shape in shapes], dict(params)

    return samples


def symmetric(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Positive definite matrices.  They are float32: gradients are those of symmetric matrices,
    which differences along other directions do not show (tests/ops/linalg has those)."""
    made = well_posed(rng, *shape)
    both: np.ndarray = (made + np.swapaxes(made, -1, -2)).astype(np.float32)
    return both
