"""Many calls of an elementwise op as few native calls, whose results take the place of old values
that nobody else holds.

Invariant: the results are those of the single calls, bit for bit.  A value is written over only
where reference counts prove that its handle and this call are all that can see it; the proof and
the call are one call in C, which keeps the GIL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress, starmap
from typing import Any, NamedTuple

import numpy as np

from ....core.aval import Aval
from ....core.shapes import contiguous_strides
from ....ir.door.busy import is_busy
from ....ir.op import Op
from ....ir.tensor import LISTED, Handle, counted
from ...op_kernels import LoopKernels, slots_of_calls
from ...plan import LoopKernel
from .. import kernels
from ..machine import alloc
from ..machine.pool import pool
from ..python.caller import MAX_SLOTS, make_caller

__all__ = ["renewed"]

SMALL = 1 << 18  # bytes up to which a call stays on its thread
LARGE = 1 << 14  # bytes of a result from which on a proof costs less than fresh memory
_VALUE = operator.attrgetter("_v")

Avals = tuple[Aval, ...]


class Batch(NamedTuple):
    """Some of the calls as one native function: of their own inputs, of those that all share, then
    of the results."""

    launch: Callable[..., Any]
    first: int  # of its handles
    last: int
    results: list[tuple[Callable[[], np.ndarray], int]]  # how one is made, in whose place it may be


def renewed(
    op: Op,
    params: dict[str, Any],
    calls: Sequence[tuple[Avals, Avals]],
    own: int,
    into: Sequence[int],
) -> Callable[[Sequence[Handle]], list[Any] | None] | None:
    """A function from the handles of the own inputs of all calls, and of those that they share, to
    the values of all results; it gives None, and has done nothing, for values that lie otherwise
    than in order.  Result i of a call may take the place of its input `into[i]` (-1: of none).
    None for ops that do more than to walk over their inputs once."""
    if op.kind != "map" or op.check is not None or op.gathers or op.has("woven"):
        return None
    common, outputs = len(calls[0][0]) - own, len(calls[0][1])
    most = (MAX_SLOTS - 1 - common) // (own + outputs)
    if most < 1:
        return None
    batches = [
        _batch(op, params, calls[start : start + most], (own, start), into)
        for start in range(0, len(calls), most)
    ]
    inputs = len(calls) * own

    def call(handles: Sequence[Handle]) -> list[Any] | None:
        made: list[Any] = []
        for batch in batches:
            values = _called(batch, [*handles[batch.first : batch.last], *handles[inputs:]])
            if values is None:
                return None
            made += values
        return made

    return call


def _batch(
    op: Op,
    params: dict[str, Any],
    calls: Sequence[tuple[Avals, Avals]],
    place: tuple[int, int],
    into: Sequence[int],
) -> Batch:
    own, start = place
    inputs, common = len(calls) * own, len(calls[0][0]) - own
    loops: list[Any] = []
    results: list[tuple[Callable[[], np.ndarray], int]] = []
    for number, (slots, (ins, outs)) in enumerate(zip(slots_of_calls(calls, own), calls)):
        source = LoopKernels(op, params, ins, outs)
        (loop,) = source.kernels([contiguous_strides(a.shape) for a in ins])
        loops.append(_moved(loop, slots))
        for aval, position in zip(outs, into):
            fits = position >= 0 and ins[position] is aval and aval.nbytes >= LARGE
            results.append((alloc.maker(aval), number * own + position if fits else -1))
    width = inputs + common + len(results)
    steps, _ = kernels.steps(loops, width)
    nbytes = sum([aval.nbytes for ins, outs in calls for aval in (*ins[:own], *outs)])
    shared = pool() if nbytes > SMALL else None
    launch = make_caller(steps, width, contiguous=True, shared=shared, gil=True)
    return Batch(launch, start * own, start * own + inputs, results)


def _moved(loop: Any, slots: Sequence[int]) -> LoopKernel:
    """A loop over slots of other numbers."""

    def moved(accesses: Any) -> Any:
        return tuple([access._replace(slot=slots[access.slot]) for access in accesses])

    return loop._replace(reads=moved(loop.reads), writes=moved(loop.writes))  # type: ignore[no-any-return]


def _called(batch: Batch, handles: list[Any]) -> list[Any] | None:
    """The results of a batch; None where an input does not lie in order."""
    values = list(map(_VALUE, handles))
    places = _places(batch, handles, values)
    if places:
        results = [values[place] if place in places else make() for make, place in batch.results]
        arguments = (*values, *results)
        # values, arguments twice, results
        proven = map(all, [_proof(handles, values, places, 4)])
        done = list(starmap(batch.launch, compress([arguments], proven)))
        if done:
            return None if done[0] is None else results
        del arguments
    results = [make() for make, _ in batch.results]
    return None if batch.launch(*values, *results) is None else results


def _places(batch: Batch, handles: list[Any], values: list[Any]) -> list[int]:
    """The inputs that may be written over, as far as can be seen from here."""
    asked = [place for _, place in batch.results if place >= 0]
    return [
        place
        for place in asked
        if not is_busy(handles[place]) and all(_proof(handles, values, [place], 1))
    ]


def _proof(
    handles: list[Any], values: list[Any], places: Sequence[int], held: int
) -> Iterator[bool]:
    """Whether the values at some places are those of their handles, `held` times in containers of
    the caller, and nobody else's; asked when the iterator is read."""
    found = [values[place] for place in places]
    blocks = [array.base for array in found if array.base is not None]
    if not all([array.flags.writeable and _is_own(array) for array in found]):
        return iter([False])
    counts = [LISTED + 1 + held] * len(found) + [LISTED + 1] * len(blocks)
    found += blocks
    known = map(operator.is_, map(_VALUE, [handles[place] for place in places]), found)
    return chain(known, counted(found, counts))


def _is_own(array: Any) -> bool:
    """Whether an array's memory goes with it, or with a block that it alone may hold."""
    return array.flags.owndata if array.base is None else alloc.is_block(array.base)
