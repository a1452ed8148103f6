"""The slow oracle: one op on NumPy arrays, through the record's own reference function.

Invariant: shares no code with the generators; inexact results are computed in double precision or
better and rounded once to the output dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import aval
from ..core.errors import UnsupportedError
from ..core.floating import in_plain_floats
from .op import Op

__all__ = ["reference", "round_to"]


def _bfloat16(x: np.ndarray) -> np.ndarray:
    """Double -> bfloat16, ties to even, in one rounding: through float32 rounded to odd."""
    near = x.astype(np.float32)
    back = near.astype(np.float64)
    even = (near.view(np.uint32) & 1) == 0
    odd = np.nextafter(near, np.where(x > back, np.float32(np.inf), np.float32(-np.inf)))
    # an infinite `near` steps back to the largest float32, which rounds to infinity all the same
    sticky = np.where((back != x) & even & np.isfinite(x), odd, near).astype(np.float32)
    return sticky.astype(dt.bfloat16)


@in_plain_floats
def round_to(x: Any, d: np.dtype) -> np.ndarray:
    """x rounded (floats: nearest even) or converted to dtype d."""
    a = np.asarray(x)
    if a.dtype == d:
        return a
    if d is dt.bfloat16 and np.issubdtype(a.dtype, np.floating):
        return _bfloat16(np.asarray(a, np.float64))
    return a.astype(d)


@in_plain_floats
def reference(op: Op, params: dict[str, Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of an op by its reference function.

    Floating inputs are passed as float64 (a record may widen further); outputs have the dtypes and
    shapes of `op.infer`.  Raises UnsupportedError when the record has no reference.
    """
    function = op.reference or (op.body if op.kind == "host" else None)
    if function is None:
        raise UnsupportedError(f"{op.name} has no reference function; give the record one")
    ins = [np.asarray(a) for a in arrays]
    avals = [aval(a.shape, dt.canonical(a.dtype)) for a in ins]
    wide = [a.astype(np.float64) if dt.is_float(v.dtype) else a for a, v in zip(ins, avals)]
    got = function(*wide, **params)
    results = got if isinstance(got, (tuple, list)) else (got,)
    outs = op.infer(*avals, **params)
    if len(results) != len(outs):
        raise UnsupportedError(
            f"the reference of {op.name} gives {len(results)} results, not {len(outs)}"
        )
    return [np.broadcast_to(round_to(r, o.dtype), o.shape).copy() for r, o in zip(results, outs)]
