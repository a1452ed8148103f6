"""Results that are not computed yet: ops that a mode collects, and what stands for their values.

A mode that `defers` is given each op in place of its kernel; the handle of a result then holds a
`Pending` where its value would be.  Invariants: a handle holds one only while the mode that made it
is in COLLECTING (so while `STATE.special` is not 0), and is known to that mode; whoever needs a
value asks `value_of`, which gives the bits that the kernels would have given.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from ...core import signals
from ..mode import Mode
from ..tensor import RUNTIME, Handle, Literal

__all__ = [
    "Pending",
    "Segment",
    "Collector",
    "COLLECTING",
    "LITERAL",
    "OUTPUT",
    "value_of",
    "known",
    "shared",
    "evaluate",
]

_new: Any = object.__new__
_ident = threading.get_ident
LITERAL = 1 << 40  # a reference from here on is a literal of the segment
OUTPUT = 1 << 20  # output i of the op at n has the number n + i * OUTPUT
MOST_WORDS = 1 << 12  # of the code of a segment: some thousand ops
MOST_BYTES = 1 << 28  # of its inputs
COLLECTING: set[Any] = set()  # modes that may have handles which hold pending values


class Pending(weakref.ref[Any]):
    """The value of one result of a segment, `value` once it is known; also a weak reference to the
    first handle on it."""

    __slots__ = ("value", "segment", "number")
    value: Any
    segment: Segment | None
    number: int

    def get(self) -> Any:
        """The value, computed now if need be."""
        try:
            return self.value
        except AttributeError:
            segment = self.segment
        if segment is not None:  # else another thread has just computed it
            mode = segment.mode()
            if mode is not None and mode.segment is segment and mode.thread == _ident():
                mode.flush()
            if not hasattr(self, "value"):  # of another thread, or a flush was cut short
                self.value = evaluate(segment, [self.number])[self.number]
        return self.value


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
    if mode is None or mode.thread != _ident() or not mode.defers:
        return value.get()
    return value


class Segment:
    """Ops collected since the last flush, in `code`: for each its Resolved and a reference to each
    operand: the number of a result, ~j for input j, LITERAL + k for literal k.  The number of a
    result is the place of its op in the code.

    The code only grows, by a whole op in each step, so a thread that reads it, or a handler of a
    signal that interrupts, sees whole ones."""

    __slots__ = (
        "mode",
        "device",
        "previous",
        "code",
        "results",
        "inputs",
        "numbers",
        "literals",
        "handles",
        "nbytes",
    )

    def __init__(self, mode: Any, device: Any, previous: Segment | None = None) -> None:
        self.mode, self.device = weakref.ref(mode), device
        self.previous = previous  # until its handles have their values
        self.code: list[Any] = []
        self.results: list[Pending] = []
        self.inputs: list[tuple[Any, Any]] = []  # (value, record)
        self.numbers: dict[int, int] = {}  # id of an input's value -> reference
        self.literals: list[tuple[Any, Any, Any]] = []  # (value, record, number on the host)
        self.handles: list[weakref.ref[Any]] = []  # further ones that may hold a pending value
        self.nbytes = 0

    def refer(self, tensor: Any, value: Any) -> int:
        """The reference of an operand that is no pending result of this segment."""
        if type(value) is Pending:
            value = value.get()
        reference = self.numbers.get(id(value))
        if reference is not None:
            return reference
        mark = getattr(tensor, "_x", None)
        if type(mark) is Literal:
            return LITERAL + _place(self.literals, (value, tensor._a, mark.value))
        reference = ~_place(self.inputs, (value, tensor._a))
        self.numbers[id(value)] = reference
        self.nbytes += tensor._a.nbytes
        return reference

    def ops(self) -> Iterator[tuple[int, Any, list[int]]]:
        """(number, Resolved, references) of each op, in order."""
        code, place = self.code, 0
        while place < len(code):
            resolved = code[place]
            after = place + 1 + len(resolved.ins)
            yield place, resolved, code[place + 1 : after]
            place = after


def _place(items: list[Any], item: Any) -> int:
    """Append an item; its place, also where a handler of a signal appended others meanwhile."""
    place = len(items)
    items.append(item)
    if items[place] is not item:
        place = next(i for i, other in enumerate(items) if other is item)
    return place


def _appended(code: list[Any], op: tuple[Any, ...]) -> int:
    """Append an op; its number.  One that a handler of a signal came between is left unused."""
    while True:
        number = len(code)
        code += op
        if len(code) == number + len(op):
            return number


class Collector(Mode):
    """A mode whose ops are collected; `serve` computes what is asked of a segment."""

    __slots__ = ("segment", "thread", "defers", "__weakref__")

    def __init__(self) -> None:
        self.thread, self.defers = _ident(), True
        self.segment = Segment(self, None)

    # ---- collecting
    def collect(self, resolved: Any, tensors: Sequence[Any]) -> Any:
        """The handle of the result of an op, or a tuple of several."""
        segment = self.segment
        out = resolved.out
        if out.device is not segment.device or len(segment.code) > MOST_WORDS:
            segment = self._begin(out.device)
        op = [resolved]
        for tensor in tensors:
            value = tensor._v
            if type(value) is Pending and value.segment is segment:
                op.append(value.number)
            else:
                op.append(segment.refer(tensor, value))
        code = segment.code
        number = len(code)
        code += op
        if len(code) != number + len(op):
            number = _appended(code, tuple(op))
        if resolved.single:
            # as in `_result`
            result = _new(RUNTIME.tensor)
            pending = Pending(result)
            pending.segment, pending.number = segment, number
            result._v, result._a, result._node = pending, out, None
            segment.results.append(pending)
            if self.segment is not segment or segment.nbytes > MOST_BYTES:
                self._late(result)
            return result
        return tuple(
            [self._result(segment, number + i * OUTPUT, out) for i, out in enumerate(resolved.outs)]
        )

    def one(self, resolved: Any, x: Any) -> Any:
        """`collect` for one result of one operand that has no place on the tape."""
        segment = self.segment
        out = resolved.out
        if out.device is not segment.device or len(segment.code) > MOST_WORDS:
            segment = self._begin(out.device)
        value = x._v
        if type(value) is Pending and value.segment is segment:
            operand = value.number
        else:
            operand = segment.refer(x, value)
        number = _appended(segment.code, (resolved, operand))
        return self._result(segment, number, out)

    def two(self, resolved: Any, x: Any, y: Any) -> Any:
        """`collect` for one result of two operands that has no place on the tape."""
        segment = self.segment
        out = resolved.out
        code = segment.code
        if out.device is not segment.device or len(code) > MOST_WORDS:
            segment = self._begin(out.device)
            code = segment.code
        value = x._v
        if type(value) is Pending and value.segment is segment:
            first = value.number
        else:
            first = segment.refer(x, value)
        value = y._v
        if type(value) is Pending and value.segment is segment:
            second = value.number
        else:
            second = segment.refer(y, value)
        number = len(code)
        code += (resolved, first, second)
        if len(code) != number + 3:
            number = _appended(code, (resolved, first, second))
        # as in `_result`
        result = _new(RUNTIME.tensor)
        pending = Pending(result)
        pending.segment, pending.number = segment, number
        result._v, result._a, result._node = pending, out, None
        segment.results.append(pending)
        if self.segment is not segment or segment.nbytes > MOST_BYTES:
            self._late(result)
        return result

    def _result(self, segment: Segment, number: int, out: Any) -> Any:
        result = _new(RUNTIME.tensor)
        pending = Pending(result)
        pending.segment, pending.number = segment, number
        result._v, result._a, result._node = pending, out, None
        segment.results.append(pending)
        if self.segment is not segment or segment.nbytes > MOST_BYTES:
            self._late(result)
        return result

    def _late(self, result: Any) -> None:
        """Know a handle on a result of a segment that is over, or ends now."""
        self.segment.handles.append(weakref.ref(result))
        self.flush()

    def _begin(self, device: Any) -> Segment:
        self.flush()
        self.segment = segment = Segment(self, device, self.segment.previous)
        return segment

    # ---- other handles on the same values
    def on_alias(self, new: Any, old: Any) -> None:
        if type(new._v) is Pending:
            self.segment.handles.append(weakref.ref(new))

    def on_assign(self, handle: Any, value: Any) -> None:
        # an exception of a signal's handler may come right after the write, so it is known before
        if type(value._v) is Pending:
            self.segment.handles.append(weakref.ref(handle))

    def on_pending(self, handle: Any) -> None:
        self.on_alias(handle, handle)

    # ---- computing
    @property
    def idle(self) -> bool:
        """Whether no handle waits for anything.  A signal's handler may collect more at the next
        call or jump back, not between this and what the caller does in the same step."""
        segment = self.segment
        return not segment.code and not segment.handles and segment.previous is None

    def flush(self, compiles: bool = True) -> None:
        """Compute what somebody still holds of the segment, and give it to its handles."""
        segment = self.segment
        before = segment.previous
        if before is not None:  # what a signal's handler raised cut a flush short
            self._settle(segment, before.results)
        if not segment.code and not segment.handles:
            return
        self.segment = following = Segment(self, segment.device, segment)
        held: list[Pending] = []
        waiting = segment.results
        try:
            if segment.code:
                held = _held(segment.results)
                serve = self.serve if compiles else evaluate
                values = serve(segment, tuple([pending.number for pending in held]))
                for pending in held:
                    pending.value = value = values[pending.number]
                    handle = pending()
                    if handle is not None and handle._v is pending:
                        handle._v = value
            waiting = []
        finally:
            self._settle(following, waiting)
        for pending in held:
            pending.segment = None
        segment.results.clear()

    def serve(self, segment: Segment, held: tuple[int, ...]) -> dict[int, Any]:
        """Values of the held results of a segment, by number (others may be among them)."""
        return evaluate(segment, held)

    def _settle(self, segment: Segment, results: list[Pending]) -> None:
        """Give handles the values of what they wait for, results of the segment before this one.
        One whose value cannot be computed now (there is no memory) is tried again at the next
        flush."""
        error: BaseException | None = None
        previous = segment.previous
        if previous is None:  # a signal's handler has done it
            return
        for reference in (*results, *previous.handles):
            handle: Any = reference()
            pending = getattr(handle, "_v", None)
            if type(pending) is not Pending or pending.segment is self.segment:
                continue
            try:
                value = pending.get()
                if handle._v is pending:  # nobody has written it meanwhile
                    handle._v = value
            except BaseException as caught:
                error = error or caught
                segment.handles.append(weakref.ref(handle))
        segment.previous = None
        if error is not None:
            raise error

    def close(self) -> None:
        """The end: no handle waits for anything afterwards, or an error that comes again and again
        (there is no memory) is raised, and using what it left is an error from now on."""
        error: BaseException | None = None
        rounds = signals.ROUNDS
        while rounds:
            try:
                self.flush()
                if self.idle:
                    self.defers = False
                    break
            except BaseException as caught:
                error = error or caught
                rounds -= 1
        self.defers = False  # nothing waits from now on but what is in these lists
        for reference in (*_waiting(self.segment.previous), *_waiting(self.segment)):
            handle = reference()
            if handle is not None and type(getattr(handle, "_v", None)) is Pending:
                del handle._v
        if error is not None:
            raise error


def _waiting(segment: Segment | None) -> list[weakref.ref[Any]]:
    """References to handles that may wait for results of a segment."""
    return [] if segment is None else [*segment.results, *segment.handles]


# ---- what is still held
def _counts(results: list[Pending]) -> list[int]:
    return list(map(sys.getrefcount, results))


# the count of a result that only its segment holds
_ALONE = _counts([Pending(Handle())])[0]


def _held(results: list[Pending]) -> list[Pending]:
    """The results that a handle or the tape holds."""
    return [p for p, n in zip(results, _counts(results)) if n > _ALONE]


def evaluate(segment: Segment, wanted: Sequence[int]) -> dict[int, Any]:
    """Results by number, computed one op after the other with the kernels of eager mode."""
    ops = {number: (resolved, references) for number, resolved, references in segment.ops()}
    needed = _needed(ops, wanted)
    last = {r: n for n in needed for r in ops[n][1] if 0 <= r < LITERAL}
    over: dict[int, list[int]] = {}
    for reference, number in last.items():
        over.setdefault(number, []).append(reference)
    values: dict[int, Any] = {~j: value for j, (value, _) in enumerate(segment.inputs)}
    values |= {LITERAL + k: value for k, (value, _, _) in enumerate(segment.literals)}
    kept = set(wanted)
    for number in needed:
        resolved, references = ops[number]
        computed = resolved.kernel(*[values[reference] for reference in references])
        for index, value in enumerate((computed,) if resolved.single else computed):
            values[number + index * OUTPUT] = value
        for reference in over.get(number, ()):
            if reference not in kept:
                values.pop(reference, None)
    return {number: values[number] for number in kept}


def _needed(ops: dict[int, Any], wanted: Sequence[int]) -> list[int]:
    """Numbers of the ops that results come from, in order."""
    needed, stack = set(), [n % OUTPUT for n in wanted]
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            stack += [r % OUTPUT for r in ops[number][1] if 0 <= r < LITERAL]
    return sorted(needed)
