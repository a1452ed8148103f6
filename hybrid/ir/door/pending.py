"""Results that are not computed yet: ops that a mode collects, and what stands for their values.

A mode that `defers` is given each op in place of its kernel; the handle of a result then holds a
`Pending` where its value would be.  Invariants: a handle holds one only while the mode that made it
is in COLLECTING (so while `STATE.special` is not 0), and is known to that mode; whoever needs a
value asks `value_of`, which gives the bits that the kernels would have given.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from ..tensor import Literal

__all__ = [
    "Pending",
    "Segment",
    "Bundle",
    "COLLECTING",
    "LITERAL",
    "OUTPUT",
    "value_of",
    "known",
    "shared",
    "evaluate",
]

_ident = threading.get_ident
LITERAL = 1 << 40  # a reference from here on is a literal of the segment
OUTPUT = 1 << 20  # output i of the op at n has the number n + i * OUTPUT
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


class Bundle:
    """Ops that come together, as one word of a segment's code: it takes the place of a Resolved.

    `ins`: records of its operands, of which the last are the `literals`; `ops`: (slot, Resolved,
    references) in order, where a reference is ~j for operand j or the slot of a result, and the
    results of an op have slots from `slot` on; `used`: which of the values of a call are its first
    operands.  Result s of the bundle at place n has the number n + s * OUTPUT."""

    __slots__ = ("device", "ins", "ops", "used", "literals", "size")

    def __init__(
        self,
        device: Any,
        ops: tuple[tuple[int, Any, tuple[int, ...]], ...],
        used: tuple[tuple[int, Any], ...],
        literals: tuple[tuple[Any, Any, Any], ...],
    ) -> None:
        self.device, self.ops, self.used, self.literals = device, ops, used, literals
        self.ins = (*[record for _, record in used], *[record for _, record, _ in literals])
        self.size = sum([1 + len(references) for _, _, references in ops])

    def ops_at(self, place: int, operands: list[int]) -> Iterator[tuple[int, Any, list[int]]]:
        """Its ops as `Segment.ops` gives them."""
        for slot, resolved, references in self.ops:
            named = [operands[~r] if r < 0 else place + r * OUTPUT for r in references]
            yield place + slot * OUTPUT, resolved, named

    def same(self, other: Bundle) -> bool:
        """Whether the other one does the same."""
        mine, theirs = ([(a, d.tobytes()) for _, a, d in b.literals] for b in (self, other))
        return self.ops == other.ops and self.used == other.used and mine == theirs


class Segment:
    """Ops collected since the last flush, in `code`: for each its Resolved and a reference to each
    operand: the number of a result, ~j for input j, LITERAL + k for literal k.  The number of a
    result is the place of its op in the code.  A Bundle may stand where a Resolved does.

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
        "more",
        "learns",
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
        self.nbytes = self.more = 0  # `more`: words that bundles stand for
        self.learns = False  # whether it has ops that are to become a bundle

    def refer(self, tensor: Any, value: Any) -> int:
        """The reference of an operand that is no pending result of this segment."""
        if type(value) is Pending:
            value = value.get()
        reference = self.numbers.get(id(value))
        if reference is not None:
            return reference
        mark = getattr(tensor, "_x", None)
        if type(mark) is Literal:
            return LITERAL + placed(self.literals, (value, tensor._a, mark.value))
        return self.add([(value, tensor._a)])

    def add(self, inputs: list[tuple[Any, Any]]) -> int:
        """Add inputs (value, record); the reference of the first, the others follow downwards."""
        place = len(self.inputs)
        self.inputs += inputs
        if self.inputs[place] is not inputs[0]:  # see `placed`
            place = next(i for i, other in enumerate(self.inputs) if other is inputs[0])
        for number, (value, record) in enumerate(inputs, place):
            self.numbers[id(value)] = ~number
            self.nbytes += record.nbytes
        return ~place

    def ops(self, start: int = 0) -> Iterator[tuple[int, Any, list[int]]]:
        """(number, Resolved, references) of each op from a place on, in order."""
        code, place = self.code, start
        while place < len(code):
            resolved = code[place]
            after = place + 1 + len(resolved.ins)
            if type(resolved) is Bundle:
                yield from resolved.ops_at(place, code[place + 1 : after])
            else:
                yield place, resolved, code[place + 1 : after]
            place = after


def placed(items: list[Any], item: Any) -> int:
    """Append an item; its place, also where a handler of a signal appended others meanwhile."""
    place = len(items)
    items.append(item)
    if items[place] is not item:
        place = next(i for i, other in enumerate(items) if other is item)
    return place


def appended(code: list[Any], op: tuple[Any, ...]) -> int:
    """Append an op; its number.  One that a handler of a signal came between is left unused."""
    while True:
        number = len(code)
        code += op
        if len(code) == number + len(op):
            return number


def computed(segment: Segment, wanted: Sequence[int]) -> list[Any]:
    """Values of results, computed with the kernels of eager mode."""
    code = segment.code
    first = code[0]
    if len(code) == 1 + len(first.ins) and type(first) is not Bundle:  # one op
        operands = [
            segment.inputs[~r][0] if r < 0 else segment.literals[r - LITERAL][0] for r in code[1:]
        ]
        made = first.kernel(*operands)
        return [made] * len(wanted) if first.single else [made[n // OUTPUT] for n in wanted]
    values = evaluate(segment, wanted)
    return [values[number] for number in wanted]


def evaluate(segment: Segment, wanted: Sequence[int]) -> dict[int, Any]:
    """Results by number, computed one op after the other with the kernels of eager mode."""
    ops, makers = {}, {}
    for number, resolved, references in segment.ops():
        ops[number] = resolved, references
        for index in range(len(resolved.outs)):
            makers[number + index * OUTPUT] = number
    needed = _needed(ops, makers, wanted)
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


def _needed(ops: dict[int, Any], makers: dict[int, int], wanted: Sequence[int]) -> list[int]:
    """Numbers of the ops that results come from, in order; `makers`: of each result, its op."""
    needed, stack = set(), [makers[n] for n in wanted]
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            stack += [makers[r] for r in ops[number][1] if 0 <= r < LITERAL]
    return [number for number in ops if number in needed]
