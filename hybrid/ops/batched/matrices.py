"""Rules of linear algebra, of complex numbers' pairs and of what else works on the last axes.

Invariant: the records here take any axes before those that they work on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.door.bind import bind
from ...ir.op import Op, extend
from ..axes.views import broadcast_to
from ..build.pairs import NUMBERS, PAIR, PAIRS
from ..linalg.determinants import COFACTORS, DET, SLOGDET
from ..linalg.factors import CHOLESKY, LU, QR, ROW_ORDER
from ..linalg.least import LSTSQ, PINV
from ..linalg.matrix_powers import MATRIX_EXP
from ..linalg.solving import INV, SOLVE, TRIANGULAR
from ..linalg.spectra import EIGH, EIGVALSH, SVD, SVDVALS
from ..numeric.ranks import ELEMENTS, POSITIONS
from .tools import Flags, aligned, every, filled, over_last_axes

Tensor = Any

_FACTORS = (CHOLESKY, LU, QR, ROW_ORDER, EIGH, EIGVALSH, SVD, SVDVALS)
_SYSTEMS = (COFACTORS, DET, SLOGDET, INV, SOLVE, TRIANGULAR, MATRIX_EXP)
for _record in (*_FACTORS, *_SYSTEMS, ELEMENTS, POSITIONS, NUMBERS, PAIRS):
    extend(_record, batch=over_last_axes(_record))


def _of_every_row(op: Op) -> None:
    """Enter the rule of a record whose inputs have the same axes before."""

    def rule(inputs: Sequence[Tensor], flags: Flags, size: int, **params: Any) -> Any:
        return bind(op, *every(inputs, flags, size), **params)

    extend(op, batch=rule)


for _record in (LSTSQ, PAIR):
    _of_every_row(_record)


def _pinv(inputs: Sequence[Tensor], flags: Flags, size: int, **params: Any) -> Tensor:
    """The cutoffs have the axes before those of matrices."""
    matrix = filled(inputs[0], flags[0], size)
    stack = matrix._a.shape[:-2]
    cutoff = aligned(filled(inputs[1], flags[1], size), True, len(stack) - 1)
    return bind(PINV, matrix, broadcast_to(cutoff, stack), **params)


extend(PINV, batch=_pinv)
