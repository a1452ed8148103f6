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
from .pending import value_of
from .resolved import FAST, Resolved, resolved_for

__all__ = ["together"]

Ordered = tuple[tuple[str, Any], ...]
_READY: dict[Any, tuple[Callable[..., Any], list[Aval]] | None] = {}
FAST.append(_READY)
_LIMIT = 256
_UNMET: Any = object()


def together(
    op: Op, params: Ordered, tensors: Sequence[Handle], own: int, shared: int
) -> tuple[Sequence[Any], list[Aval]] | None:
    """Values and records of the results of several calls; None: make the calls one by one.

    The tensors are `own` inputs of the first call, as many of the next, and so on, then `shared`
    further inputs that all calls have behind their own.  Nothing is put on the tape."""
    if LOCAL.mode is not None:
        return None
    avals = tuple([tensor._a for tensor in tensors])
    key = op, params, avals, own
    found = _READY.get(key, _UNMET)
    if found is _UNMET:
        found = keep(_READY, key, _made(op, params, avals, own, shared), _LIMIT)
    if found is None:
        return None
    call, outs = found
    return call(*map(value_of, tensors)), outs


def _made(
    op: Op, params: Ordered, avals: tuple[Aval, ...], own: int, shared: int
) -> tuple[Callable[..., Any], list[Aval]] | None:
    device = avals[0].device
    if any(aval.device is not device for aval in avals):
        return None
    count, common = (len(avals) - shared) // own, avals[len(avals) - shared :]
    calls = [(*avals[i * own : (i + 1) * own], *common) for i in range(count)]
    signatures = [resolved_for(op, ins, params) for ins in calls]
    made = aside(
        backend_of(device).together,
        op,
        dict(params),
        [(resolved.ins, resolved.outs) for resolved in signatures],
        own,
        _one_by_one(signatures, own),
    )
    return (
        None if made is None else (made, [out for resolved in signatures for out in resolved.outs])
    )


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
