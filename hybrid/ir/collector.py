"""A mode that collects ops: its segment, the handles on what is pending, and the flush.

Invariant: a handle that holds a pending value is known to its mode until it has its value, whatever
a signal's handler does in between; a flush computes what somebody still holds, and nothing else.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..core import signals
from .door.context import LOCAL
from .door.pending import LITERAL, OUTPUT, Bundle, Pending, Segment, appended, computed, placed
from .mode import Mode
from .tensor import RUNTIME, Handle

__all__ = ["Collector"]

_new: Any = object.__new__
_ident = threading.get_ident
MOST_WORDS = 1 << 12  # of the code of a segment: some thousand ops
MOST_BYTES = 1 << 28  # of its inputs


class Collector(Mode):
    """A mode whose ops are collected; `serve` computes what is asked of a segment."""

    __slots__ = ("segment", "thread", "defers", "done", "inline", "__weakref__")

    def __init__(self) -> None:
        self.thread, self.defers = _ident(), True
        self.done = 0  # results of segments that were computed
        self.inline: Any = None  # a module that is about to run as part of this call
        self.segment = Segment(self, None)

    # ---- collecting
    def collect(self, resolved: Any, tensors: Sequence[Any]) -> Any:
        """The handle of the one result of an op, with its place on the tape."""
        segment = self.segment
        out = resolved.out
        if out.device is not segment.device or len(segment.code) > MOST_WORDS:
            segment = self._begin(out.device)
        numbers, op, values, taped = segment.numbers, [resolved], [], False
        reference: int | None
        for tensor in tensors:
            value = tensor._v
            if type(value) is Pending:
                if value.segment is segment:
                    reference = value.number
                else:
                    value = value.get()
                    reference = segment.refer(tensor, value)
            else:
                reference = numbers.get(id(value))
                if reference is None:
                    reference = segment.refer(tensor, value)
            op.append(reference)
            values.append(value)
            if tensor._node is not None:
                taped = True
        code = segment.code
        number = len(code)
        code += op
        if len(code) != number + len(op):
            number = appended(code, tuple(op))
        result = self._result(segment, number, out)
        if taped and resolved.differentiable and LOCAL.grad:
            saved = tuple([v if k else None for v, k in zip(values, resolved.keep_in)])
            kept = (result._v,) if resolved.keep_out else None
            result._node = resolved, tuple([t._node for t in tensors]), saved, kept
        return result

    def several(self, resolved: Any, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """The handles of the results of an op, without their place on the tape."""
        segment = self.segment
        if resolved.out.device is not segment.device or len(segment.code) > MOST_WORDS:
            segment = self._begin(resolved.out.device)
        op = [resolved]
        for tensor in tensors:
            value = tensor._v
            if type(value) is Pending and value.segment is segment:
                op.append(value.number)
            else:
                op.append(segment.refer(tensor, value))
        number = appended(segment.code, tuple(op))
        return tuple(
            [self._result(segment, number + i * OUTPUT, out) for i, out in enumerate(resolved.outs)]
        )

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
            number = appended(code, (resolved, first, second))
        return self._result(segment, number, out)

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
        segment = self.segment
        if segment.device is None:
            segment.device = device
            return segment
        self.flush()
        self.segment = segment = Segment(self, device, self.segment.previous)
        return segment

    def place(self, bundle: Bundle, values: Sequence[Any]) -> tuple[Segment, int]:
        """Collect a bundle: the segment that it is in, and its place there."""
        segment = self.segment
        words = len(segment.code) + segment.more + bundle.size
        if bundle.device is not segment.device or words > MOST_WORDS:
            segment = self._begin(bundle.device)
        given = [
            (v.get() if type(v := values[place]) is Pending and v.segment is not segment else v, r)
            for place, r in bundle.used
        ]
        numbers = segment.numbers
        fresh = [p for p in given if type(p[0]) is not Pending and id(p[0]) not in numbers]
        if fresh:
            segment.add(fresh)
        op = [bundle, *[v.number if type(v) is Pending else numbers[id(v)] for v, _ in given]]
        op += [LITERAL + placed(segment.literals, literal) for literal in bundle.literals]
        segment.more += bundle.size
        return segment, appended(segment.code, tuple(op))

    def give(self, segment: Segment, numbers: Sequence[int], handles: Sequence[Any]) -> None:
        """Handles that had values take results of a segment for them."""
        waiting = segment.results
        for number, handle in zip(numbers, handles):
            pending = Pending(handle)
            pending.segment, pending.number = segment, number
            waiting.append(pending)
            handle._v = pending
        if self.segment is not segment or segment.nbytes > MOST_BYTES:
            for handle in handles:
                self._late(handle)

    # ---- calls of hybrid's own that a mode may know
    def gradients(self, task: Any) -> Any:
        """The gradients that a backward pass gives; None: by running it."""
        return None

    def repeat(
        self, key: list[Any], handles: list[Any], run: Callable[[], Any], kind: type
    ) -> None:
        """Have `run`, a method of a `kind`, give some tensors new values; it depends on nothing but
        them and the key."""
        run()

    def part(self, call: Any, module: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """The result of a module that is called; NotImplemented: its Python is to run here."""
        return NotImplemented

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
        waiting = segment.results
        self.done += len(waiting)
        held: list[Pending] = []
        try:
            if segment.code:
                held = [p for p, n in zip(waiting, _counts(waiting)) if n > _ALONE]
                serve = self.serve if compiles else computed
                for pending, value in zip(held, serve(segment, tuple([p.number for p in held]))):
                    pending.value = value
                    handle = pending()
                    if handle is not None and handle._v is pending:
                        handle._v = value
            waiting = []
        finally:
            self._settle(following, waiting)
        for pending in held:
            pending.segment = None
        segment.results.clear()

    def serve(self, segment: Segment, held: tuple[int, ...]) -> Sequence[Any]:
        """Values of the held results of a segment."""
        return computed(segment, held)

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
