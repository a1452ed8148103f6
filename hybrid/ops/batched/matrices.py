"""Rules of stacks of matrices, and of complex numbers as pairs: one axis more before all others.

Invariant: a record and its twin for complex matrices have one rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.door.bind import bind
from ...ir.op import Op, extend
from ..axes.views import broadcast_to
from ..build.pairs import NUMBERS, PAIR, PAIRS
from ..linalg.determinants import COFACTORS, DET, SLOGDET, SLOPE, SMALL_DET
from ..linalg.eigen import EIG, EIGVALS
from ..linalg.factors import CHOLESKY, LU, QR, ROW_ORDER, SMALL_CHOLESKY
from ..linalg.least import LSTSQ, PINV
from ..linalg.matrix_powers import MATRIX_EXP
from ..linalg.small import INVERSES, REFUSE, SYSTEMS
from ..linalg.solving import INV, SOLVE, TRIANGULAR
from ..linalg.spectra import EIGH, EIGVALSH, SVD, SVDVALS
from ..linalg.twins import TWINS
from ..numeric.ranks import ELEMENTS, POSITIONS
from ..randoms.covariances import LOWER_ROOT, SEMIDEFINITE
from .tools import Flags, aligned, every, filled, over_last_axes

Tensor = Any
Inputs = Sequence[Tensor]


def _alike(op: Op) -> Any:
    """Operands whose stacks do not broadcast."""

    def rule(inputs: Inputs, flags: Flags, size: int, **params: Any) -> Any:
        return bind(op, *every(inputs, flags, size), **params)

    return rule


def _with_cutoff(op: Op, inner: int) -> Any:
    """A matrix of that many axes, and a cutoff for each or for all."""

    def rule(inputs: Inputs, flags: Flags, size: int, **params: Any) -> Any:
        operand, cutoff = filled(inputs[0], flags[0], size), inputs[1]
        stack = operand._a.shape[: operand._a.ndim - inner]
        if flags[1] or cutoff._a.ndim:
            cutoff = broadcast_to(aligned(cutoff, flags[1], len(stack) - 1), stack)
        return bind(op, operand, cutoff, **params)

    return rule


_FACTORS: tuple[Op, ...] = (CHOLESKY, QR, LU, EIG, EIGVALS, EIGH, EIGVALSH, SVD, SVDVALS)
for _record in (INV, SOLVE, TRIANGULAR, DET, COFACTORS, SLOGDET, MATRIX_EXP, *_FACTORS):
    for _one in (_record, TWINS[_record.name]):
        extend(_one, batch=over_last_axes(_one))
for _record in (ELEMENTS, POSITIONS, LOWER_ROOT, SEMIDEFINITE):
    extend(_record, batch=over_last_axes(_record))
for _record in (LSTSQ, TWINS[LSTSQ.name], ROW_ORDER, REFUSE, SMALL_DET, PAIR, PAIRS, NUMBERS):
    extend(_record, batch=_alike(_record))
for _record in (SLOPE, TWINS[SLOPE.name]):
    extend(_record, batch=_alike(_record))
for _records in (INVERSES, SYSTEMS, SMALL_CHOLESKY):
    for _record in _records.values():
        extend(_record, batch=_alike(_record))
extend(PINV, batch=_with_cutoff(PINV, 2))
extend(TWINS[PINV.name], batch=_with_cutoff(TWINS[PINV.name], 3))
