"""What records of linear algebra do with complex matrices: the same, as records over pairs.

Invariant: a record's body and gradient take real and complex operands alike; its twin turns pairs
of parts into numbers before, and numbers into pairs behind, and says nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError, ShapeError
from ...ir.door.bind import bind
from ...ir.door.bind import convert as astype
from ...ir.op import HostOp, Op, extend, register
from ..build.pairs import PAIRS, numbers_of
from .determinants import COFACTORS, DET, SLOGDET, SLOPE
from .eigen import EIG, EIGVALS
from .factors import CHOLESKY, LU, QR
from .least import LSTSQ, PINV
from .matrix_powers import MATRIX_EXP
from .solving import INV, SOLVE, TRIANGULAR
from .spectra import EIGH, EIGVALSH, SVD, SVDVALS

Tensor = Any
TWINS: dict[str, HostOp] = {}  # by the name of the record
Samples = Callable[[np.random.Generator], Any]


# ---- between pairs and numbers
def _numbers(pairs: np.ndarray) -> np.ndarray:
    """Pairs as complex numbers."""
    whole = np.ascontiguousarray(pairs)
    kind = np.complex64 if whole.dtype == np.float32 else np.complex128
    made: np.ndarray = whole.view(kind)[..., 0]
    return made


def _pairs(numbers: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs."""
    whole = np.ascontiguousarray(numbers, np.complex128)
    return whole.view(np.float64).reshape(*np.shape(numbers), 2)


def _matrices_of(record: Aval) -> Aval:
    """The record of the numbers that pairs stand for, but for their dtype, which stays real."""
    if not record.ndim or record.shape[-1] != 2:
        raise ShapeError(f"shape {record.shape} has no last axis of pairs")
    if record.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"complex numbers are pairs of float32 or float64, not {record.dtype}")
    return record.with_(record.shape[:-1])


class _Twin:
    """The fields of the record over pairs; `real`: outputs that are no complex numbers."""

    def __init__(self, record: Op, real: tuple[int, ...]) -> None:
        assert record.body is not None
        self.record, self.real, self.compute = record, frozenset(real), record.body

    def each(self, change: Callable[..., Any], inputs: Any) -> list[Any]:
        """The operands that are pairs, changed."""
        fixed = self.record.fixed
        return [x if x is None or k in fixed else change(x) for k, x in enumerate(inputs)]

    def outs(self, change: Callable[..., Any], results: Any) -> list[Any]:
        return [x if x is None or k in self.real else change(x) for k, x in enumerate(results)]

    def _results(self, found: Any) -> Any:
        results = found if isinstance(found, tuple) else (found,)
        made = tuple(self.outs(_pairs, results))
        return made if self.record.nout > 1 else made[0]

    def infer(self, *avals: Aval, **params: Any) -> tuple[Aval, ...]:
        outs = self.record.infer(*self.each(_matrices_of, avals), **params)
        return tuple(self.outs(lambda out: out.with_((*out.shape, 2)), outs))

    def body(self, *arrays: np.ndarray, **params: Any) -> Any:
        return self._results(self.compute(*self.each(_numbers, arrays), **params))

    def reference(self, *arrays: np.ndarray, **params: Any) -> Any:
        function = self.record.reference
        assert function is not None
        return self._results(function(*self.each(_numbers, arrays), **params))

    def vjp(self, grads: Any, outs: Any, *inputs: Tensor, **params: Any) -> tuple[Any, ...]:
        several, keeps = self.record.nout > 1, self.record.keeps
        grads = self.outs(numbers_of, grads if several else (grads,))
        if "out" in keeps:
            outs = self.outs(numbers_of, outs if several else (outs,))
        else:
            outs = [None] * self.record.nout
        kept = [x if str(k) in keeps else None for k, x in enumerate(inputs)]
        operands = self.each(numbers_of, kept)
        if not several:
            grads, outs = grads[0], outs[0]
        pulled = self.record.vjp(grads, outs, *operands, **params)
        return tuple(self.each(_pulled, pulled))

    def samples(self, rng: np.random.Generator) -> Any:
        function = self.record.samples
        assert function is not None
        for arrays, params in function(rng):
            yield self.each(_sample, arrays), params


def _pulled(part: Any) -> Any:
    """A gradient in pairs, or what computes it."""
    if callable(part):
        return lambda: _pulled(part())
    return bind(PAIRS, astype(part, dt.complex_of(part.dtype)))


def _sample(matrix: np.ndarray) -> np.ndarray:
    """A matrix with an imaginary part that leaves a symmetric one Hermitian."""
    turn = matrix - np.flip(matrix, (-1, -2))
    if matrix.shape[-1] == matrix.shape[-2]:
        turn = np.triu(matrix, 1)
        turn = turn - np.swapaxes(turn, -1, -2)
    made: np.ndarray = np.stack([matrix, 0.3 * turn], -1).astype(matrix.dtype)
    return made


def twin(record: Op, real: tuple[int, ...] = (), samples: Samples | None = None) -> HostOp:
    """Enter what a record does with complex matrices: a record over their pairs, which has the
    record's own body, gradient and oracle.

    real     outputs without pairs for numbers: they are real, or pairs already
    samples  of the record over pairs, where the record's own with an imaginary part do not do
    """
    made = _Twin(record, real)
    over_pairs = register(
        HostOp(
            f"complex_{record.name}",
            record.nin,
            made.infer,
            body=made.body,
            vjp=made.vjp,
            reference=made.reference,
            params=record.params,
            nout=record.nout,
            fixed=record.fixed,
            accepts="f",
            facts=record.facts,
            samples=samples or made.samples,
            ulp=2 * record.ulp,
            keeps=record.keeps,
            doc=f"`{record.name}` of complex matrices, over pairs of their parts.",
        )
    )

    def rule(*tensors: Tensor, **params: Any) -> Any:
        given = made.each(lambda x: bind(PAIRS, x), tensors)
        found = bind(over_pairs, *given, **params)
        if record.nout == 1:
            return found if made.real else numbers_of(found)
        return tuple(made.outs(numbers_of, found))

    extend(record, on_complex=rule)
    TWINS[record.name] = over_pairs
    return over_pairs


def _without_gradients(record: Op) -> Samples:
    """Samples in float32, which are not checked for gradients: those of what depends on phases,
    which nobody fixes, are not defined (tests/ops/linalg checks what does not)."""

    def samples(rng: np.random.Generator) -> Any:
        function = record.samples
        assert function is not None
        for arrays, params in function(rng):
            yield [_sample(x).astype(np.float32) for x in arrays], params

    return samples


for _record in (INV, SOLVE, TRIANGULAR, DET, COFACTORS, SLOPE, MATRIX_EXP, CHOLESKY, QR, PINV):
    twin(_record)
twin(SLOGDET, real=(1,))
twin(LU, real=(1, 2))
twin(LSTSQ, real=(1, 2))
twin(EIG, real=(0, 1), samples=_without_gradients(EIG))
twin(EIGVALS, real=(0,), samples=_without_gradients(EIGVALS))
twin(EIGVALSH, real=(0,))
twin(SVDVALS, real=(0,))
twin(EIGH, real=(0,), samples=_without_gradients(EIGH))
twin(SVD, real=(1,), samples=_without_gradients(SVD))
