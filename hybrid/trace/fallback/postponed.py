"""A recorded call whose ops are computed together when it has ended, by the plan made of them.

Invariant: what the call leaves has the bits of the eager call, errors come where eager ones would,
and nothing is pending when it is over.  Whoever asks for a value before has all of them computed op
by op, and the call goes on eagerly.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...backends.interpret import checker
from ...core.aval import HOST
from ...core.signals import foreign
from ...ir.collector import Collector
from ...ir.door.context import STATE
from ...ir.door.pending import COLLECTING, Pending, Segment, evaluate, value_of
from ...ir.door.resolved import MAKING
from ...ir.graph.graph import Graph
from ...ir.op import Op
from ...ir.tensor import Handle, new_handle
from ..record.recorder import Recorder
from ..record.recording import Recording

__all__ = ["Postponed", "PostponingRecorder", "alive", "begin"]


class Postponed(Collector):
    """The values of one recorded call.

    `forced`: somebody asked for one, so ops are computed at once from then on; `starts`: what
    inputs held at first, by id; `places`: where the value with a number is in the segment;
    `inputs`, `outputs`: of the graph that was made of the call: handles on what it began with,
    places; `on_tape`: results on a tape, and which outputs they are; `known`: values that a plan
    gave; `strays`: how many were computed beside it; `saved`: seconds that an eager call would
    have taken to make kernels."""

    __slots__ = (
        "forced",
        "starts",
        "places",
        "inputs",
        "outputs",
        "on_tape",
        "known",
        "strays",
        "saved",
    )

    def __init__(self) -> None:
        super().__init__()
        self.forced, self.strays, self.saved = False, 0, 0.0
        self.starts: dict[int, Any] = {}
        self.places: dict[int, int] = {}
        self.inputs: list[Any] = []
        self.outputs: list[int | None] = []
        self.on_tape: list[tuple[weakref.ref[Any], int]] = []
        self.known: dict[int, Any] = {}

    def serve(self, segment: Segment, held: tuple[int, ...]) -> Sequence[Any]:
        self.forced = True
        known = self.known
        missing = [number for number in held if number not in known]
        self.strays += len(missing)
        values = {**known, **evaluate(segment, missing)} if missing else known
        return [values[number] for number in held]

    def force(self) -> None:
        """Compute everything so far; from now on each op at once."""
        self.flush()
        self.forced = True

    def look(self, value: Any) -> Any:
        """A value that decides about an error, while others go on waiting."""
        if type(value) is not Pending:
            return value
        if hasattr(value, "value") or value.segment is not self.segment:
            return value.get()
        return evaluate(self.segment, [value.number])[value.number]

    def finish(self, recording: Recording, run: Callable[[list[Any]], Any]) -> None:
        """Compute what the call left by the plan of its recording."""
        if self.forced or not self.outputs:
            return
        try:
            values = run(self.inputs)
        except Exception as error:  # no memory, say: op by op, then
            if foreign(error):
                raise
            return
        if not isinstance(values, (list, tuple)):
            return
        for place, value in zip(self.outputs, values):
            if place is not None:
                self.known[place] = value
        # results hang on what replays hang them on, not on the tape of the whole call
        node = recording.start(self.inputs, values.__getitem__)
        for reference, output in self.on_tape:
            handle = reference()
            if handle is not None:
                handle._node = node(output)


class PostponingRecorder(Recorder):
    """A recorder whose ops wait for the end of the call."""

    late = True

    def __init__(self, leaves: Sequence[Handle], root: types.CodeType | None = None) -> None:
        self.postponed = Postponed()
        super().__init__(leaves, root)

    def _begin(self, tensor: Handle) -> None:
        super()._begin(tensor)
        self.postponed.starts[id(tensor)] = value_of(tensor)

    # ---- ops
    def postpones(self, resolved: Any, tensors: Any) -> bool:
        if self.postponed.forced or resolved.out.device is not HOST:
            return False
        if resolved.pure:
            return not resolved.view or type(tensors[0]._v) is Pending
        op: Op = resolved.op
        if op.check is None or op.kind in ("host", "control") or op.has("effect"):
            return False
        given = [np.ascontiguousarray(self.postponed.look(t._v)) for t in tensors]
        check = checker(op, resolved.params, resolved.ins)
        assert check is not None
        check([array.reshape(a.shape) for array, a in zip(given, resolved.ins)])
        return True

    def several(self, resolved: Any, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """The results of an op that waits, without their place on the tape."""
        results: tuple[Any, ...] = self.postponed.several(resolved, tensors)
        self.on_op(resolved.op, resolved.key, tuple(tensors), results)
        places = self.postponed.places
        for result in results:
            value = result._v
            if type(value) is Pending:
                places[self.handles.get(id(result), -1)] = value.number
        return results

    # ---- handles
    def on_assign(self, handle: Any, value: Any) -> None:
        super().on_assign(handle, value)
        self.postponed.on_assign(handle, value)

    def on_follow(self, view: Any, value: Any) -> None:
        super().on_follow(view, value)
        self.postponed.on_assign(view, value)

    def on_alias(self, new: Any, old: Any) -> None:
        super().on_alias(new, old)
        self.postponed.on_alias(new, old)

    def on_pending(self, handle: Any) -> None:
        self.postponed.on_alias(handle, handle)

    def on_effect(self, what: str) -> None:
        super().on_effect(what)
        self.postponed.force()

    def on_late(self, kind: str) -> None:
        self.postponed.saved += MAKING.seconds.get(kind, 0.0)

    def control(self, operands: Any) -> Any:
        self.postponed.force()
        return super().control(operands)

    # ---- result
    def graph(self, outputs: Sequence[int]) -> Graph:
        made, postponed = super().graph(outputs), self.postponed
        tensors = [*self.args, *self.captures]
        postponed.inputs = [
            new_handle(postponed.starts[id(t)], self.start[id(t)][1], self.start[id(t)][2])
            for t in tensors
        ]
        postponed.outputs = [postponed.places.get(number) for number in outputs]
        output_of = {number: k for k, number in reversed([*enumerate(outputs)])}
        for handle in alive(self):
            number = self.handles.get(id(handle))
            if number in output_of and type(getattr(handle, "_node", None)) is tuple:
                postponed.on_tape.append((weakref.ref(handle), output_of[number]))
        return made


def alive(recorder: Recorder) -> list[Any]:
    """The handles that a recorded call may still hold."""
    return [*recorder.large, *recorder.keep]


def begin(recorder: Recorder) -> Postponed | None:
    """Let the ops of a recorded call wait until `end_collecting`, if its recorder asks for it."""
    postponed: Postponed | None = recorder.postponed
    if postponed is not None:
        STATE.special += 1
        COLLECTING.add(postponed)
    return postponed
