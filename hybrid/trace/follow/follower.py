"""Following numbers and stores through a recorded call, instruction by instruction: where a number
that may differ in the next call goes, and which places and containers the call changes.

Invariant: whatever the follower does not understand makes the numbers that are involved *escaped*,
and an escaped number is no commit action: its place stays a fact.  Nothing here runs user code.
"""

from __future__ import annotations

import collections
import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ...core.signals import foreign
from ...ir.tensor import Handle
from ..heap.allowlist import is_a, plain
from ..heap.data import source_of
from ..heap.facts import same
from .arrays.notes import ArrayNotes
from .fresh.model import bind, plainly
from .fresh.notes import FreshNotes
from .given.notes import GivenNotes
from .hosted.notes import HostNotes
from .machine import CREATED, PURE, TENSOR, UNKNOWN, UNSEEN, StackSlot, Stepper, runs, unwrapped
from .operands import SharedValues, of_types
from .places import Contents, Method, Mutation, Physical, PlaceSpot
from .terms import (
    MAX_TERM,
    Constant,
    HostCall,
    HostRead,
    Length,
    Live,
    Load,
    Made,
    Operation,
    Symbol,
    Term,
    apply,
    is_number,
    operation,
    parts,
    size,
)

__all__ = ["Follower", "Condition"]

MAX_CONDITIONS = 24  # branches of one call: each way is a plan
COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>")  # frames of their own up to 3.11
MAX_TRIED = 500  # operators on numbers in one call
RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Condition(NamedTuple):
    """A branch that was taken because of a number."""

    term: Term
    truth: bool


Effects = Callable[[Any, Stepper, types.FrameType, Any], None]


class Follower(SharedValues, HostNotes, ArrayNotes, FreshNotes, GivenNotes):
    """`loads` and `stores`: instructions at each physical place; `blind`: instructions that once
    touched an object that was not known; `escaped`: leaves of terms that Python looked at."""

    def __init__(self, function: Any, effects: Effects) -> None:
        for notes in (SharedValues, HostNotes, ArrayNotes, FreshNotes, GivenNotes):
            notes.__init__(self)
        self.root, self.effects = unwrapped(function), effects
        self.machines: dict[int, Stepper] = {}  # by id of the frame, while it is alive
        self.failed = ""
        self.spots: dict[Physical, PlaceSpot] = {}
        self.shared: set[Physical] = set()  # places to which more than one way led
        self.current: dict[Physical, StackSlot] = {}  # what was stored
        self.start: dict[Physical, Any] = {}  # what was loaded before any store
        self.begin: dict[Physical, Any] = {}  # what was there before the first store
        self.blind: set[tuple[int, Any]] = set()
        self.escaped: set[Any] = set()
        self.mutations, self.mutated = list[Mutation](), set[int]()
        self.changed_to: dict[int, list[Any]] = {}  # number of a mutation -> what it put there
        self.measured: set[tuple[int, int, int]] = set()  # calls of `len`: code, offset, list
        self.called: set[tuple[int, int]] = set()  # other calls
        self.unfit: set[int] = set()  # containers that were used in another way
        self.lengths: dict[int, int] = {}  # id of a list -> how long it was
        self.cleared, self.conditions = set[int](), dict[Condition, None]()
        self.tried: dict[int, Term] = {}  # what was computed, by id
        self.ran: set[tuple[int, int]] = set()  # instructions
        self.stored: dict[Physical, list[Term]] = collections.defaultdict(list)
        self.results: dict[int, StackSlot] = {}  # of frames that have returned, by machine
        self.kept: collections.Counter[int] = collections.Counter()  # tensors held here, by id
        self.contents = Contents(self.kept)
        self.c_calls: collections.Counter[tuple[int, int, int]] = collections.Counter()
        self.result = UNSEEN
        self.peeked: dict[int, tuple[Any, Handle]] = {}  # lists whose last item was read, and it
        self.first: Stepper | None = None
        self.handled: set[int] = set()  # containers whose identity was looked at, or changed
        self.vague, self.serial = False, 0  # something that was not seen was; reads so far
        self.codes: dict[int, types.CodeType] = {}
        self.keep: list[Any] = []  # ids stay unique

    # ---- frames
    def enter(
        self, frame: types.FrameType, back: types.FrameType | None, variables: dict[str, Any]
    ) -> None:
        """User code is entered."""
        code, known = frame.f_code, self.machines.get(id(frame))
        if known is not None and known.code is code and code.co_flags & inspect.CO_GENERATOR:
            # it stands at RESUME, whose operand is 0 at the start of a function only, or an
            # exception is raised where it rests
            if code.co_code[frame.f_lasti + 1] & 3 or frame.f_lasti == known.offset >= 0:
                return
        caller = self.machines.get(id(back)) if back is not None else None
        machine = self.machines[id(frame)] = Stepper(code, None)
        self.codes[id(code)] = code
        machine.variables = {
            name: StackSlot(value) for name, value in variables.items() if is_number(value)
        }
        if self.first is None:
            self.first = machine
            if getattr(self.root, "__code__", None) is code:
                machine.function = self.root
                self.take_arguments(machine, variables)
        if caller is None:
            return
        caller.entered.append(machine)
        made = caller.consumes
        if made is not None and made.code is code and not made.lost and made.maker is not None:
            machine.outer, machine.produces = made.maker, made
            machine.variables[".0"] = made.source
            made.maker = None  # it runs once
        if code.co_name in COMPREHENSIONS and any(code is c for c in caller.code.co_consts):
            machine.outer = caller  # it is made where it is called
            if len(caller.passed) == 2 and isinstance(caller.passed[1].term, Live):
                machine.variables[".0"] = caller.passed.pop()
        self._pass(caller, machine, code)

    def _pass(self, caller: Stepper, machine: Stepper, code: types.CodeType) -> None:
        """Hand arguments over where it is plain which parameter each is."""
        slots = caller.passed
        if not slots or len(caller.entered) > 1:
            return
        callee, *arguments = slots
        function, bound_to = runs(callee.value)
        if is_a(function, types.FunctionType) and function.__code__ is code:
            machine.function = function
        if not any(slot.term is not None for slot in arguments):
            return
        if machine.function is None or bound_to is None or code.co_flags & RESUMED:
            return  # they have escaped
        given = [*([StackSlot()] if bound_to else []), *arguments]
        bound = bind(code, given, caller.names)
        if bound is None:
            return
        caller.passed = []
        for name, slot in bound.items():
            if name in code.co_cellvars:
                self.into_cell(machine, name, slot)
            elif slot.term is not None and slot.method != CREATED:
                machine.variables[name] = slot

    def step(self, frame: types.FrameType, carries: bool) -> None:
        """An instruction is about to run, in a frame that may have got data if it `carries`."""
        self.carries = carries
        machine = self.machines.get(id(frame))
        if machine is None or self.failed:
            return
        offset = frame.f_lasti
        try:
            self._step(machine, frame, offset)
        except Exception as error:
            if foreign(error):
                raise
            self.fail(f"{type(error).__name__}: {error}")

    def _step(self, machine: Stepper, frame: types.FrameType, offset: int) -> None:
        if self.offer is not None:
            self.offer.broken = self.offer.broken or self.offer.frame is not frame
            self.offer = None
        if machine.finish is not None:
            done, machine.finish = machine.finish, None
            done(self, offset)
        self._look(machine)
        self.under = machine
        if offset in machine.handlers:
            if not machine.unwind(offset):
                return self.fail("an exception is handled")
        elif machine.offset >= 0 and offset not in machine.after[machine.offset]:
            return self.fail("an instruction was not seen")
        # one with a long operand is not announced by itself
        while machine.instructions[offset].opname == "EXTENDED_ARG":
            offset += 2
        machine.returned, machine.entered, machine.stopped = [], [], False
        machine.offset, machine.depth = offset, len(machine.stack)
        machine.ticks += 1
        self.impure += machine.instructions[offset].opname not in PURE
        self.ran.add((id(machine.code), offset))
        self.effects(self, machine, frame, machine.instructions[offset])

    def _look(self, machine: Stepper) -> None:
        """What the last instruction read and no row claimed, Python or an operation looked at: a
        mask among indices, say."""
        self.escaped.update([HostRead(*read) for read in machine.reads])
        machine.reads = []

    def fail(self, why: str) -> None:
        """Nothing more can be said."""
        self.failed = self.failed or why or "?"

    def raised(self, frame: types.FrameType, kind: type) -> None:
        """An exception was raised or passes through."""
        machine = self.machines.get(id(frame))
        if machine is None:
            return
        if issubclass(kind, StopIteration):
            machine.stopped = True
            return
        if machine.produces is not None and kind is GeneratorExit:
            del self.machines[id(frame)]  # nobody asks it for more
            return
        self.fail(f"{kind.__name__} is raised")

    def returned(self, back: types.FrameType, value: Any) -> None:
        """Python code returned to an instruction of user code."""
        machine = self.machines.get(id(back))
        if machine is not None:
            machine.returned.append(value)

    def host_read(self, frame: types.FrameType, number: int, how: str) -> HostRead | None:
        """User code reads a tensor's data."""
        machine = self.machines.get(id(frame))
        if machine is None or self.failed or self._inside():
            return None
        self.serial += 1
        machine.reads.append((number, how, self.serial))
        return HostRead(number, how, self.serial)

    def leave(self, frame: types.FrameType) -> None:
        """A frame of user code is left or a generator rests."""
        if not frame.f_code.co_flags & inspect.CO_GENERATOR:
            self.machines.pop(id(frame), None)

    def returns(self, machine: Stepper, slot: StackSlot) -> None:
        """A frame returns this."""
        if machine.produces is not None:
            machine.produces.ended = True
        elif machine.code.co_flags & inspect.CO_GENERATOR:
            self.escape([slot])
        elif machine is self.first:
            self.result = slot
        elif slot.term is not None:
            self.results[id(machine)] = slot
            self.keep.append(machine)

    def end(self) -> None:
        """The call is over: what is still under way was looked at."""
        self.offer = None
        for offer in self.offers:
            if offer.frame is not None:
                self.escape(offer.slots)
        self.escape(self.results.values())
        for machine in self.machines.values():
            self._look(machine)
            self.escape(machine.passed)
            self.escape([*machine.stack, *machine.variables.values()])
        self.machines.clear()
        self.result = plainly(self, self.result)
        self.current = {place: plainly(self, slot) for place, slot in self.current.items()}
        self.mutations = [
            m._replace(arguments=tuple([plainly(self, slot) for slot in m.arguments]))
            for m in self.mutations
        ]

    def _inside(self) -> bool:
        """Whether a branch or loop that is one node runs: no replay repeats its Python."""
        if self.regions:
            self.fail("a branch or loop over tensors changes or asks Python state")
        return bool(self.regions)

    # ---- terms
    def value_of(self, term: Any, given: Sequence[Any]) -> Any:
        """The number that a term without reads of tensors is in this call."""
        if type(term) is Operation:
            return apply(term.symbol, tuple([self.value_of(t, given) for t in term.operands]))
        if type(term) is Made:
            return term.function(*[self.value_of(t, given) for t in term.operands])
        if type(term) is Load:
            return source_of(given[term.place[1]]) if term.of_call else self.start[term.place]
        if type(term) is HostCall:
            return self.drawn[term]
        return self.lengths[term.owner] if type(term) is Length else term.value

    def condition(self, term: Term, truth: bool) -> None:
        """A branch depends on the truth of a number."""
        if self.regions:
            self.escape([StackSlot(term=term)])
            return
        self.conditions[Condition(term, truth)] = None
        if len(self.conditions) > MAX_CONDITIONS:
            self.escape([StackSlot(term=term)])

    def counted(self, slot: StackSlot, variable: tuple[int, str]) -> StackSlot:
        """A number for a variable of a loop's turn, as a value of the graph that is read."""
        term = Constant(slot.value) if slot.term is None else slot.term
        number = self.compute_number(term, slot.value)
        if number is None:
            return slot
        self.serial += 1
        read = HostRead(number, ".item()", self.serial)
        self.virtual[read] = variable
        return StackSlot(slot.value, read)

    def length(self, owner: list[Any]) -> StackSlot:
        """How many items a list has now."""
        self.keep.append(owner)
        start = self.lengths.setdefault(id(owner), len(owner))
        if id(owner) in self.cleared:
            return StackSlot(len(owner))
        grown = len(owner) - start
        return StackSlot(len(owner), Operation("+", (Length(id(owner)), Constant(grown))))

    def escape(self, slots: Iterable[StackSlot]) -> None:
        """Python may look at these."""
        for slot in slots:
            if slot.term is not None:
                self.escaped.update(parts(slot.term))
                self.note_look(slot)
                if isinstance(slot.term, Live):
                    slot.term.lose()

    def peek(self, machine: Stepper, owner: Any) -> None:
        """The last item of a list or deque, a tensor, is read."""
        self.measured.add((id(machine.code), machine.offset, id(owner)))
        if id(owner) not in self.mutated:
            self.keep.append(owner)
            if id(owner) not in self.peeked:
                self.kept[id(owner[-1])] += 1
                self.peeked[id(owner)] = owner, owner[-1]
            return
        latest: Mutation = next(m for m in reversed(self.mutations) if m.owner is owner)
        if latest.method != "append":
            self.contents.mixed.add(id(owner))

    def handle(self, values: Iterable[Any]) -> None:
        """Code asks which objects these are, or changes them in place."""
        for value in values:
            self.vague = self.vague or value is UNKNOWN
            self.handled.add(id(value))

    def compute(self, symbol: Symbol, *slots: StackSlot) -> StackSlot:
        """An operator on slots."""
        known = all(is_number(slot.value) for slot in slots)
        followed = any(slot.term is not None for slot in slots)
        if not known:
            return of_types(self, symbol, slots)
        values = tuple([slot.value for slot in slots])
        try:
            value = apply(symbol, values)
        except (ValueError, ArithmeticError):
            self.escape(slots)
            return UNSEEN
        if not followed:
            return StackSlot(value)
        if not is_number(value):
            self.escape(slots)
            return UNSEEN
        operands = tuple([Constant(s.value) if s.term is None else s.term for s in slots])
        term = operation(symbol, operands, values)
        self.tried[id(term)] = term
        if size(term) > MAX_TERM or len(self.tried) > MAX_TRIED:
            self.escape(slots)
            return StackSlot(value)
        return StackSlot(value, term)

    # ---- places
    def touch(self, machine: Stepper, spot: PlaceSpot) -> None:
        known = self.spots.setdefault(spot.physical, spot)
        if known.holder is not spot.holder or known.kind != spot.kind:
            self.shared.add(spot.physical)
        self.keep.append(spot.holder)
        self.touched[spot.physical].add((id(machine.code), machine.offset))

    def load(self, machine: Stepper, spot: PlaceSpot, value: Any) -> StackSlot:
        """A place that holds this is read."""
        new = spot.physical in self.current
        return self.array_at(machine, self._load(machine, spot, value), value, new)

    def _load(self, machine: Stepper, spot: PlaceSpot, value: Any) -> StackSlot:
        self.touch(machine, spot)
        stored = self.current.get(spot.physical)
        if stored is not None:
            if stored.value is not UNKNOWN and not same(stored.value, value):
                self.fail("a place was stored to in a way that was not seen")
            return stored if stored.value is not UNKNOWN else StackSlot(value, stored.term)
        if id(spot.holder) in self.mutated:
            self.contents.mixed.add(id(spot.holder))
            return UNSEEN if is_a(value, Handle) else StackSlot(value)
        if is_a(value, Handle):
            self.start.setdefault(spot.physical, UNKNOWN)
            return TENSOR
        if spot.physical in self.inside:
            return self.given_at(spot, value)
        first = self.start.setdefault(spot.physical, value)
        if first is not value:
            self.fail("a place was stored to in a way that was not seen")
        if is_number(value):
            return StackSlot(value, Load(spot.physical, type(value)))
        return StackSlot(value)

    def load_result(self, machine: Stepper, kind: str, kept: Any) -> StackSlot:
        """What a cached function keeps is read."""
        physical = "results", id(kept.results), kept.key
        return self.load(machine, PlaceSpot(physical, kind, *kept[:2]), kept.value)

    def store(
        self, machine: Stepper, spot: PlaceSpot | None, slot: StackSlot, held: Any = UNKNOWN
    ) -> None:
        """A place, which held this, is stored to."""
        if self._inside():
            return
        if spot is None:
            self.blind.add((id(machine.code), machine.offset))
            self.escape([slot])
            return
        self.touch(machine, spot)
        self.begin.setdefault(spot.physical, UNKNOWN if is_a(held, Handle) else held)
        if id(spot.holder) in self.mutated:
            self.unfit.add(id(spot.holder))
        slot = self.left(slot)
        if slot.term is not None:
            self.stored[spot.physical].append(slot.term)
        self.current[spot.physical] = slot

    def mutate(
        self, machine: Stepper, owner: Any, method: Method, slots: Sequence[StackSlot]
    ) -> None:
        """A built-in container is changed."""
        if self._inside():
            return
        at = id(machine.code), machine.offset
        self.keep.append(owner)
        self.contents.begin(owner)
        self.mutated.add(id(owner))
        if type(owner) is list or (type(owner) is collections.deque and owner.maxlen is None):
            self._shrinks(owner, method, slots)
        if any(id(spot.holder) == id(owner) for spot in self.spots.values()):
            self.contents.mixed.add(id(owner))
        self.mutations.append(Mutation(owner, method, tuple(slots), at))

    def _shrinks(self, owner: Any, method: Method, slots: Sequence[StackSlot]) -> None:
        """What is taken out of a list must be there."""
        length = self.length(owner)
        if method == "clear":
            self.cleared.add(id(owner))
        if method not in ("pop", "popleft", "delete"):
            return
        index = slots[0].value if slots else -1
        if type(index) is not int or any(slot.term is not None for slot in slots):
            self.unfit.add(id(owner))
        elif length.term is not None:
            least = index if index >= 0 else -index - 1
            term = Operation(">", (length.term, Constant(least)))
            self.condition(term, len(owner) > least)

    def changed(self, mutation: Mutation, before: int) -> None:
        """A container has been changed: what was put there."""
        owner, method, slots, _ = mutation
        found: list[Any] = []
        if method == "append" and len(owner):
            found = [owner[-1]]
        elif method == "appendleft" and len(owner):
            found = [owner[0]]
        elif method == "extend" and getattr(owner, "maxlen", None) is None:
            found = [owner[index] for index in range(before, len(owner))]
        elif method in ("add", "discard"):
            found = [slots[0].value]
        elif method == "set":
            found = [slots[0].value, owner[slots[0].value]]
        elif method in ("pop", "popleft", "delete"):
            found = [slot.value for slot in slots]
        elif method != "clear":
            self.unfit.add(id(owner))
        number = next(n for n, m in enumerate(self.mutations) if m is mutation)
        if method in ("add", "discard") and not plain(found[0]):
            self.unfit.add(id(owner))
        self.changed_to[number] = found
        self.kept.update([id(value) for value in found if is_a(value, Handle)])
