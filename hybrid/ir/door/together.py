"""Many calls of one op at once, where a device does that better than one after the other.

Invariant: the results are those of the single calls, bit for bit; a thread whose mode watches ops
makes the single calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.aval import Aval
from ...core.cache import keep
from ..op import Op
from ..tensor import Handle
from .context import LOCAL, aside, backend_of
from .pending import COLLECTING, value_of
from .resolved import FAST, Resolved, resolved_for

__all__ = ["together"]

Ordered = tuple[tuple[str, Any], ...]
Made = tuple[Callable[[Sequence[Handle]], Sequence[Any] | None], list[Aval]]
_READY: dict[Any, Made | None] = {}
FAST.append(_READY)
_LIMIT = 256
_UNMET: Any = object()


def together(
    op: Op,
    params: Ordered,
    tensors: Sequence[Handle],
    own: int,
    shared: int,
    into: tuple[int, ...] = (),
) -> tuple[Sequence[Any], list[Aval]] | None:
    """Values and records of the results of several calls; None: make the calls one by one.

    The tensors are `own` inputs of the first call, as many of the next, and so on, then `shared`
    further inputs that all calls have behind their own.  Result i of a call is given to its input
    `into[i]` next (-1: to none), so it may be written into the memory of that, where nobody else
    sees it.  Nothing is put on the tape."""
    if LOCAL.mode is not None or (into and COLLECTING):
        return None
    avals = tuple([tensor._a for tensor in tensors])
    key = op, params, avals, own, into
    found = _READY.get(key, _UNMET)
    if found is _UNMET:
        found = keep(_READY, key, _made(op, params, avals, (own, shared), into), _LIMIT)
    if found is None:
        return None
    values = found[0](tensors)
    return None if values is None else (values, found[1])


def _made(
    op: Op,
    params: Ordered,
    avals: tuple[Aval, ...],
    counts: tuple[int, int],
    into: tuple[int, ...],
) -> Made | None:
    own, shared = counts
    device = avals[0].device
    if any(aval.device is not device for aval in avals):
        return None
    count, common = (len(avals) - shared) // own, avals[len(avals) - shared :]
    calls = [(*avals[i * own : (i + 1) * own], *common) for i in range(count)]
    signatures = [resolved_for(op, ins, params) for ins in calls]
    records = [(resolved.ins, resolved.outs) for resolved in signatures]
    outs = [out for resolved in signatures for out in resolved.outs]
    backend = backend_of(device)
    if into:
        call = aside(backend.renewed, op, dict(params), records, own, into)
        if call is not None:
            return call, outs
    one_by_one = _one_by_one(signatures, own)
    made = aside(backend.together, op, dict(params), records, own, one_by_one)
    if made is None:
        return None
    return lambda tensors: made(*map(value_of, tensors)), outs


def _one_by_one(signatures: Sequence[Resolved], own: int) -> Callable[..., Any]:
    """The single calls, for values that the device's function does not take."""

    def call(*values: Any) -> tuple[Any, ...]:
        common = values[len(signatures) * own :]
        results: list[Any] = []
        for number, resolved in enumerate(signatures):
            made = resolved.kernel(*values[number * own : (number + 1) * own], *common)
            results += [made] if resolved.single else made
        return tuple(results)

    return call
