"""Followed numbers that an operation on tensors takes as operands.

Invariant: a number is taken only by an operator of tensors, or by a function that does nothing with
its numbers but make operands of them; so another number of its type, in the same dtype, runs the
same operations.  Whatever else looks at the number makes it escape.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...ir.door.bind import constant_of, literal
from ...ir.op import Op
from ...ir.tensor import RUNTIME, Handle, new_handle
from ...ops.base.operands import NUMBER, MadeOperands
from ..heap.allowlist import is_a, lookup
from .machine import UNKNOWN, UNSEEN, StackSlot, Stepper
from .terms import (
    MAX_TERM,
    NUMBERS,
    Constant,
    HostRead,
    Operation,
    Symbol,
    Term,
    is_number,
    kind_of,
    parts,
    plain_form,
    size,
)

__all__ = [
    "NUMBERED",
    "Offer",
    "SharedValues",
    "TakenNumber",
    "assigned",
    "offer_arguments",
    "offer_made",
    "offer_value",
    "operand_of",
    "operate",
]
__all__ += ["of_types", "taken"]

NUMBERED = 1 << 48  # value numbers from here on are operands that numbers became

# operator -> methods of tensors that it may call
_METHODS: dict[str, tuple[str, ...]] = {
    **{
        symbol: (f"__{name}__", f"__r{name}__", f"__i{name}__")
        for symbol, name in (
            *(("+", "add"), ("-", "sub"), ("*", "mul"), ("/", "truediv"), ("//", "floordiv")),
            *(("%", "mod"), ("**", "pow"), ("&", "and"), ("|", "or"), ("^", "xor")),
            *(("<<", "lshift"), (">>", "rshift")),
        )
    },
    **dict.fromkeys(
        ("<", "<=", "==", "!=", ">", ">="),
        ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__"),
    ),
}
_SPECIAL_POWERS = (2, 3, -1, 0.5)  # exponents for which another operation runs
_LARGEST = (1 << 63) - 1


class Offer:
    """Numbers that the instruction under way may make operands of.

    `codes`: of the functions that may, which the instruction calls directly; `taken`: slots whose
    number became an operand; `operands`: the operand that a literal stands for, by its id;
    `broken`: something else happened."""

    __slots__ = ("frame", "slots", "codes", "taken", "broken", "operands")

    def __init__(
        self, frame: types.FrameType, slots: Sequence[StackSlot], codes: Sequence[Any]
    ) -> None:
        self.frame: types.FrameType | None = frame
        self.slots, self.codes = list(slots), codes
        self.taken: set[int] = set()
        self.broken = False
        self.operands: dict[int, int] = {}

    def called(self, frame: types.FrameType | None) -> bool:
        """Whether what runs in a frame was called through one of these functions."""
        while frame is not None and frame.f_back is not self.frame:
            frame = frame.f_back
        return frame is not None and any(frame.f_code is code for code in self.codes)

    def matches(self, tensors: Sequence[Handle]) -> list[int | None] | None:
        """Which slot each of these literals, the only ones of an operation, is the number of (None:
        of none); None where that is not plain."""
        found: list[int | None] = []
        if len({*map(id, tensors)}) < len(tensors):  # equal numbers: by their order
            places = [k for k, slot in enumerate(self.slots) if is_number(slot.value)]
            if len(places) != len(tensors):
                return None
            pairs = list(zip(places, tensors))
            if not all(_becomes(self.slots[place].value, tensor) for place, tensor in pairs):
                return None
            return [place if _may_flow(self.slots[place]) else None for place in places]
        for tensor in tensors:
            fitting = [
                place
                for place, slot in enumerate(self.slots)
                if is_number(slot.value) and _becomes(slot.value, tensor)
            ]
            if len(fitting) > 1:
                return None
            followed = [place for place in fitting if _may_flow(self.slots[place])]
            found.append(followed[0] if followed else None)
        return found

    def asks(self, op: Op) -> bool:
        """Whether literals of an operation may be numbers on offer; one operation takes them."""
        self.broken = self.broken or bool(self.taken)
        return not self.broken

    def left(self) -> list[StackSlot]:
        """At the end: the numbers that may have gone elsewhere."""
        self.frame = None
        if self.broken:
            return self.slots
        return [slot for index, slot in enumerate(self.slots) if index not in self.taken]


class MadeOffer(Offer):
    """What a function makes of one number, for one operation each (`MadeOperands`); the number
    itself, the last slot, goes nowhere else if all of it is taken."""

    __slots__ = ("records", "at")

    def __init__(
        self, frame: types.FrameType, slots: Sequence[StackSlot], code: Any, records: Sequence[Op]
    ) -> None:
        super().__init__(frame, slots, [code])
        self.records, self.at = list(records), 0

    def asks(self, op: Op) -> bool:
        if op not in self.records:
            return False
        self.at = self.records.index(op)
        return not self.broken

    def matches(self, tensors: Sequence[Handle]) -> list[int | None] | None:
        found = self.at not in self.taken and len(tensors) == 1
        found = found and _becomes(self.slots[self.at].value, tensors[0])
        return [self.at] if found else None

    def left(self) -> list[StackSlot]:
        self.frame = None
        whole = not self.broken and len(self.taken) == len(self.records)
        return [] if whole else self.slots[-1:]


def _becomes(value: Any, tensor: Handle) -> bool:
    """Whether a tensor is the literal of a number, in a dtype that does not depend on it."""
    record = tensor._a
    if type(value) is int and record.dtype.kind == "u" and value > _LARGEST:
        return False  # without a partner a larger integer asks for another dtype
    try:
        return literal(value, record.dtype, record.device) is tensor
    except OverflowError:
        return False


def _may_flow(slot: StackSlot) -> bool:
    """Whether a number may be computed before the kernels of a call, or in its graph."""
    return slot.term is not None and is_number(slot.value)


def _is_read(term: Term | None) -> bool:
    """Whether a number depends on what was read from tensors."""
    return term is not None and any(type(leaf) is HostRead for leaf in parts(term))


def operate(
    follow: Any, machine: Stepper, frame: types.FrameType, symbol: Any, pair: list[StackSlot]
) -> StackSlot:
    """An operator on two numbers, or on a tensor and a number."""
    left, right = pair
    number, other = (left, right) if left.term is not None else (right, left)
    tensor = other.term is None and (other.value is UNKNOWN or is_a(other.value, Handle))
    if not tensor or not _may_flow(number) or symbol not in _METHODS:
        return follow.compute(symbol, left, right)  # type: ignore[no-any-return]
    if symbol == "**" and number is right and not _power(follow, number):
        follow.escape([number])
        return UNSEEN
    found = [lookup(RUNTIME.tensor, name) for name in _METHODS[symbol]]
    codes = [f.__code__ for f in found if type(f) is types.FunctionType]
    offer = _open(follow, Offer(frame, [number], codes))

    def finish(follow: Any, offset: int) -> None:
        follow.escape(offer.left())

    machine.finish = finish
    return UNSEEN


def _power(follow: Any, exponent: StackSlot) -> bool:
    """Note that an exponent is none of the special ones; false where it is."""
    value, term = exponent.value, exponent.term
    if _is_read(term):
        return False
    if type(value) is bool or any(value == special for special in _SPECIAL_POWERS):
        return False
    for special in _SPECIAL_POWERS:
        follow.condition(Operation("==", (term, Constant(special))), False)
    follow.condition(Operation("<", (term, Constant(0))), value < 0)
    return True


def offer_arguments(
    follow: Any, frame: types.FrameType, function: Any, given: Sequence[StackSlot]
) -> Offer | None:
    """Offer the numbers among the arguments of a function that only makes operands of them."""
    slots = [slot for slot in given if slot.term is not None or is_number(slot.value)]
    if not any(map(_may_flow, slots)) or type(function) is not types.FunctionType:
        return None
    if not getattr(function, "operands_only", False):
        return None
    return _open(follow, Offer(frame, slots, [function.__code__]))


def offer_made(
    follow: Any,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
    names: tuple[str, ...],
) -> Offer | None:
    """Offer what a function makes of a number among its arguments, which it only looks at to see
    that it is between two others."""
    made: MadeOperands | None = getattr(function, "made_operands", None)
    if made is None or type(function) is not types.FunctionType:
        return None
    plain = len(given) - len(names)
    place = plain + names.index(made.name) if made.name in names else made.position
    if made.name not in names and place >= plain:
        return None
    slot = given[place]
    if type(slot.value) is not float or slot.term is None or _is_read(slot.term):
        return None
    low, high = made.between
    if not low < slot.value < high:
        return None
    follow.condition(Operation("<", (Constant(low), slot.term)), True)
    follow.condition(Operation("<", (slot.term, Constant(high))), True)
    slots = [follow.compute(*_step(follow, expression, slot)) for _, expression in made.operands]
    records = [op for op, _ in made.operands]
    return _open(follow, MadeOffer(frame, [*slots, slot], function.__code__, records))


def _step(follow: Any, expression: Any, number: StackSlot) -> tuple[Any, ...]:
    """The operator of an expression, and its operands for this number."""
    symbol, *operands = expression
    return symbol, *[_operand(follow, operand, number) for operand in operands]


def _operand(follow: Any, operand: Any, number: StackSlot) -> StackSlot:
    if type(operand) is tuple:
        found: StackSlot = follow.compute(*_step(follow, operand, number))
        return found
    return number if operand is NUMBER else StackSlot(operand)


def _open(follow: Any, offer: Offer) -> Offer:
    follow.offer = offer
    follow.offers.append(offer)
    return offer


def of_types(follow: Any, symbol: Symbol, slots: tuple[StackSlot, ...]) -> StackSlot:
    """An operator on what calls of Python's own world gave, which is known by its type only."""
    kinds = [type(s.value) if is_number(s.value) else kind_of(s.term) for s in slots]
    terms = tuple([Constant(s.value) if s.term is None else s.term for s in slots])
    found = Operation(symbol, terms)
    known = all(kind in NUMBERS for kind in kinds)
    if not known or size(found) > MAX_TERM or symbol in ("**", "<<"):
        follow.escape(slots)
        return UNSEEN
    return StackSlot(UNKNOWN, found)


class TakenNumber(NamedTuple):
    """An operand that a number became: the term and exact type of the number, a tensor that stands
    for the operand, and the value number of the literal that it is where it does not vary."""

    term: Term
    type: type
    handle: Handle
    literal: int


def taken(follow: Any, op: Op, inputs: Sequence[Any], numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The value numbers of the inputs of an operation, which takes the numbers on offer as operands
    of their own."""
    offer = None if follow is None else follow.offer
    if follow is None or offer is None:
        return numbers
    places = [k for k, tensor in enumerate(inputs) if constant_of(tensor) is not None]
    if not places:
        return numbers
    literals = [inputs[place] for place in places]
    # which of two equal literals a tape has saved is not known
    unclear = len({*map(id, literals)}) < len(literals) and any(t._node is not None for t in inputs)
    if not offer.asks(op):
        return numbers
    if follow.regions or unclear or not offer.called(sys._getframe(1)):
        offer.broken = True
        return numbers
    found = offer.matches(literals)
    if found is None:
        offer.broken = True
        return numbers
    result = list(numbers)
    for place, index in zip(places, found):
        if index is not None:
            result[place] = _take(follow, offer, index, inputs[place], numbers[place])
    return tuple(result)


def assigned(follow: Any, value: Handle, number: int) -> int:
    """The value number of what a tensor is about to hold, which may be a number on offer."""
    offer = None if follow is None else follow.offer
    if offer is None or constant_of(value) is None:
        return number
    if follow.regions or not offer.called(sys._getframe(1)):
        offer.broken = True
        return number
    index = (offer.matches([value]) or [None])[0]
    return number if index is None else _take(follow, offer, index, value, number)


def offer_value(
    follow: Any, machine: Stepper, frame: types.FrameType, function: Any, slot: StackSlot
) -> bool:
    """Offer a number that is stored by a function which may give it to a tensor."""
    offer = offer_arguments(follow, frame, function, [slot])
    if offer is None:
        return False

    def finish(follow: Any, offset: int) -> None:
        follow.escape(offer.left())

    machine.finish = finish
    return True


def _take(follow: Any, offer: Offer, index: int, tensor: Handle, number: int) -> int:
    """The value number of an operand that the number in a slot became."""
    slot = offer.slots[index]
    if _is_read(slot.term):
        computed: int | None = follow.compute_operand(slot.term, slot.value, tensor._a)
        if computed is None:
            return number
        offer.taken.add(index)
        offer.operands[id(tensor)] = computed
        return computed
    offer.taken.add(index)
    taken_before = operand_of(follow, slot.term, slot.value, tensor, number)  # type: ignore[arg-type]
    offer.operands[id(tensor)] = taken_before
    return taken_before


def operand_of(follow: Any, term: Term, value: Any, tensor: Handle, number: int) -> int:
    """The value number of an operand that the number of a term is, which now is this literal."""
    same = plain_form(term), type(value), tensor._a
    known: int | None = follow.known.get(same)
    if known is None:
        known = follow.known[same] = NUMBERED + len(follow.taken)
        shown = new_handle(tensor._v, tensor._a)
        follow.taken.append(TakenNumber(term, type(value), shown, number))
    return known


class SharedValues:
    """What the follower and the recorder of one call tell each other about values."""

    def __init__(self) -> None:
        self.offer: Offer | None = None  # what operations of the instruction under way may take
        self.offers: list[Offer] = []
        self.taken: list[TakenNumber] = []  # what operations took
        self.known: dict[Any, int] = {}  # the same by term, type and record -> value number
        # tables that were read at followed indices, by id, and those
        self.tables: dict[int, tuple[Any, list[Term]]] = {}
        # variables, by code, that are numbers of a loop's turn, and what computes them in the graph
        self.counters: Mapping[tuple[int, str], Any] = {}
        # reads of what only the graph computes, and the variable that each was for
        self.virtual: dict[HostRead, tuple[int, str]] = {}
        self.impure = 0  # instructions and calls that may have changed Python state
        self.regions: list[Any] = []  # branches and loops that are recorded as such right now
        self.progress: Callable[[], int] = lambda: 0  # how many operations have run
        self.compute_number: Callable[[Term, Any], int | None] = lambda term, value: None
        self.record_of: Callable[[int], Any] = lambda number: None  # of a value
        # what an operation takes of a number that was read
        self.compute_operand: Callable[[Term, Any, Any], int | None] = lambda term, value, to: None
        # notes a branch on values of tensors; false where no replay can check it
        self.decide: Callable[[Term, bool], bool] = lambda term, truth: False

    def leave_recorder(self) -> None:
        """The call has ended: what it used is let go at once, and not when cycles are collected,
        for views that are alive follow what is written."""
        nothing = SharedValues()
        self.progress, self.decide = nothing.progress, nothing.decide
        self.compute_number = nothing.compute_number
        self.compute_operand, self.record_of = nothing.compute_operand, nothing.record_of
