"""Gradients of a value that was used in pieces, added up in one go.

Invariant: the total depends on the parts and their order only, so a backward pass gives the same
bits however it is run.  How parts of one record join (slices that do not overlap side by side,
small products over their rows) is said by that record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.common import Part
from ..elementwise.arithmetic import add

Tensor = Any


def total(parts: Sequence[Part]) -> Tensor:
    """The sum of the gradients that the parts stand for."""
    result: Tensor = None
    for op in dict.fromkeys(p.op for p in sorted(parts, key=lambda part: part.rank)):
        same: list[Any] = [p for p in parts if p.op is op]
        got = None if len(same) < 2 or op.join is None else op.join(same)
        sums = [p() for p in same] if got is None else [got]
        for share in sums:
            result = share if result is None else add(result, share)
    return result
