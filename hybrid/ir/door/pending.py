"""Results that are not computed yet: ops that a mode collects, and what stands for their values.

A mode that `defers` gives each op to `collect` in place of its kernel; the handle of a result then
holds a `Pending` where its value would be.  Invariants: a handle holds one only while the mode that
made it is on some thread (so while `STATE.special` is not 0), and is known to that mode; whoever
needs a value asks `value_of`, which gives the bits that the kernels would have given.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from ..mode import Mode
from ..tensor import RUNTIME, Literal

__all__ = ["Pending", "Segment", "Collector", "value_of", "known", "shared", "LITERAL", "OUTPUT", "COLLECTING", "evaluate", "left_behind"]

_new: Any = object.__new__
MISSING: Any = object()
LITERAL = 1 << 40  # a reference from here on is a literal of the segment
OUTPUT = 1 << 20  # output i of node n has the number n + i * OUTPUT
MOST_NODES = 1024  # of a segment
MOST_BYTES = 1 << 28  # of its inputs
COLLECTING: set[Any] = set()  # modes that may have handles which hold pending values
Node = tuple[Any, ...]  # (Resolved, reference of each operand)


class Pending:
    """The value of one result of a segment; `value` once it is known."""

    __slots__ = ("value", "segment", "number", "__weakref__")

    def __init__(self, segment: Segment, number: int) -> None:
        self.value, self.segment, self.number = MISSING, segment, number

    def get(self) -> Any:
        """The value, computed now if need be."""
        value = self.value
        if value is not MISSING:
            return value
        segment: Any = self.segment
        if segment is not None:  # else another thread has just computed it
            mode = segment.mode()
            if mode is not None and mode.segment is segment and mode.thread == _ident():
                mode.flush()
            if self.value is MISSING:  # of another thread, or a flush was cut short
                value = evaluate(segment, [self.number])[self.number]
                if self.value is MISSING:
                    self.value = value
        return self.value

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.get().__array__(*args, **kwargs)


_ident = threading.get_ident


def value_of(handle: Any) -> Any:
    """The value of a handle, computed if it is pending."""
    value = handle._v
    return value if type(value) is not Pending else value.get()


def known(values: Sequence[Any]) -> list[Any]:
    """Values, those computed that are pending."""
    return [value if type(value) is not Pending else value.get() for value in values]


def shared(value: Any) -> Any:
    """What a second handle may hold of the value of a first: a pending value only where this
    thread's mode hears of that handle."""
    if type(value) is not Pending:
        return value
    segment = value.segment
    mode = None if segment is None else segment.mode()
    if mode is None or mode.thread != _ident() or not mode.active:
        return value.get()
    return value


class Segment:
    """Ops collected since the last flush.  References to operands: a number of a result, ~j for
    input j, LITERAL + k for literal k.

    Nodes are only ever appended, each in one step, so a thread that reads them, or a handler of a
    signal that interrupts, sees whole ones."""

    __slots__ = ("mode", "device", "nodes", "results", "inputs", "numbers", "literals", "handles",
                 "nbytes", "__weakref__")  # fmt: skip

    def __init__(self, mode: Any, device: Any) -> None:
        self.mode, self.device = weakref.ref(mode), device
        self.nodes: list[Node] = []
        self.results: list[Pending] = []
        self.inputs: list[tuple[Any, Any]] = []  # (value, record)
        self.numbers: dict[int, int] = {}  # id of an input's value -> reference
        self.literals: list[Any] = []  # tensors
        self.handles: list[Any] = []  # weak references to what may hold a pending value
        self.nbytes = 0

    def operand(self, tensor: Any, value: Any) -> int:
        """The reference of a value that is known, not met before."""
        mark = getattr(tensor, "_x", None)
        if type(mark) is Literal:
            return LITERAL + _place(self.literals, tensor)
        reference = ~_place(self.inputs, (value, tensor._a))
        self.numbers[id(value)] = reference
        self.nbytes += tensor._a.nbytes
        return reference


def _place(items: list[Any], item: Any) -> int:
    """Append an item; its place, also where a handler of a signal appended others meanwhile."""
    place = len(items)
    items.append(item)
    if items[place] is not item:
        place = next(i for i, other in enumerate(items) if other is item)
    return place


class Collector(Mode):
    """A mode whose ops are collected; `serve` computes what is asked of a segment."""

    __slots__ = ("segment", "thread", "active", "__weakref__")
    defers = True

    def __init__(self) -> None:
        self.thread, self.active = _ident(), True
        self.segment = Segment(self, None)

    # ---- collecting
    def collect(self, resolved: Any, tensors: Sequence[Any]) -> tuple[Any, ...] | None:
        """Handles of the results of an op; None: run it."""
        segment = self.segment
        out = resolved.out
        if out.device is not segment.device or len(segment.nodes) >= MOST_NODES:
            segment = self._begin(out.device)
        numbers, node = segment.numbers, [resolved]
        for tensor in tensors:
            value = tensor._v
            if type(value) is Pending:
                if value.segment is segment:
                    node.append(value.number)
                    continue
                value = value.get()
            reference = numbers.get(id(value))
            node.append(segment.operand(tensor, value) if reference is None else reference)
        number = _place(segment.nodes, tuple(node))
        if resolved.single:
            pending = Pending(segment, number)
            segment.results.append(pending)
            result = _new(RUNTIME.tensor)
            result._v, result._a, result._node = pending, out, None
            self.segment.handles.append(weakref.ref(result))
            results: tuple[Any, ...] = (result,)
        else:
            results = self._several(segment, number, resolved.outs)
        if segment.nbytes > MOST_BYTES:
            self.flush()
        return results

    def _begin(self, device: Any) -> Segment:
        self.flush()
        self.segment = segment = Segment(self, device)
        return segment

    def _several(self, segment: Segment, number: int, outs: Sequence[Any]) -> tuple[Any, ...]:
        results = []
        for index, aval in enumerate(outs):
            pending = Pending(segment, number + index * OUTPUT)
            segment.results.append(pending)
            result = _new(RUNTIME.tensor)
            result._v, result._a, result._node = pending, aval, None
            self.segment.handles.append(weakref.ref(result))
            results.append(result)
        return tuple(results)

    # ---- other handles on the same values
    def on_alias(self, new: Any, old: Any) -> None:
        if type(new._v) is Pending:
            self.segment.handles.append(weakref.ref(new))

    def on_assign(self, handle: Any, value: Any) -> None:
        if type(value._v) is Pending:
            self.segment.handles.append(weakref.ref(handle))

    # ---- computing
    def flush(self) -> None:
        """Compute what somebody still holds of the segment, and give it to its handles."""
        segment = self.segment
        if segment.nodes:
            self.segment = Segment(self, segment.device)
            try:
                held = _held(segment.results)
                values = self.serve(segment, tuple([pending.number for pending in held]))
                for pending in held:
                    pending.value = values[pending.number]
            finally:
                self._settle(segment)
        elif segment.handles:
            self.segment = Segment(self, segment.device)
            self._settle(segment)

    def _settle(self, segment: Segment) -> None:
        """Give handles the values of what they wait for.  One whose value cannot be computed now
        (there is no memory) is tried again at the next flush."""
        error: BaseException | None = None
        for reference in segment.handles:
            handle = reference()
            if handle is None or type(handle._v) is not Pending:
                continue
            try:
                handle._v = handle._v.get()
            except BaseException as caught:
                error = error or caught
                self.segment.handles.append(reference)
        if error is not None:
            raise error
        for pending in segment.results:
            if pending.value is not MISSING:
                pending.segment = None
        segment.results.clear()

    def close(self) -> None:
        """The end: no handle waits for anything afterwards."""
        try:
            self.flush()
        finally:
            for reference in self.segment.handles:
                handle = reference()
                if handle is not None and type(getattr(handle, "_v", None)) is Pending:
                    del handle._v  # of a flush that failed: using it is an error from now on
            self.active = False

    def serve(self, segment: Segment, held: tuple[int, ...]) -> dict[int, Any]:
        """Values of the held results of a segment, by number (others may be among them)."""
        return evaluate(segment, held)


# ---- what is still held
def _counts(results: list[Pending]) -> list[int]:
    return list(map(sys.getrefcount, results))


def _alone() -> int:
    """The count of a result that only its segment holds."""
    return _counts([Pending(_NOTHING, 0)])[0]


_NOTHING: Any = None
_ALONE = _alone()


def _held(results: list[Pending]) -> list[Pending]:
    """The results that a handle or the tape holds."""
    return [p for p, n in zip(results, _counts(results)) if n > _ALONE]


def left_behind() -> int:
    """How many modes may have handles that hold pending values: while there are any, op calls take
    the slow door.  In the child of a fork the threads of some of them are not there."""
    return len(COLLECTING)


def evaluate(segment: Segment, wanted: Sequence[int]) -> dict[int, Any]:
    """Results by number, computed one op after the other with the kernels of eager mode."""
    nodes, inputs, literals = list(segment.nodes), segment.inputs, segment.literals
    needed = _needed(nodes, wanted)
    values: dict[int, Any] = {}
    last = {r: n for n in needed for r in nodes[n][1:] if 0 <= r < LITERAL}
    done = {n: [] for n in needed}
    for reference, number in last.items():
        done[number].append(reference)
    kept = set(wanted)
    for number in needed:
        resolved, *references = nodes[number]
        operands = []
        for reference in references:
            if reference < 0:
                operands.append(inputs[~reference][0])
            elif reference >= LITERAL:
                operands.append(literals[reference - LITERAL]._v)
            else:
                operands.append(values[reference])
        computed = resolved.kernel(*operands)
        if resolved.single:
            values[number] = computed
        else:
            for index, value in enumerate(computed):
                values[number + index * OUTPUT] = value
        for reference in done[number]:
            if reference not in kept:
                values.pop(reference, None)
    return {number: values[number] for number in kept}


def _needed(nodes: list[Node], wanted: Sequence[int]) -> list[int]:
    """Numbers of the nodes that results come from, in order."""
    needed, stack = set(), [n % OUTPUT for n in wanted]
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            stack += [r % OUTPUT for r in nodes[number][1:] if 0 <= r < LITERAL]
    return sorted(needed)
