"""Commit actions: numbers and values that a call leaves in Python places, and what it adds to
containers, as recipes that a replay carries out after the kernels.

Invariant: every value is computed before anything is stored, and storing runs only C primitives of
exact built-in types, so it runs no user code and is not interrupted half way.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...core.aval import Aval
from ..bytecode.host_reads import HOW
from ..follow.arrays.computed import has_arrays
from ..follow.arrays.scalars import takes_any
from ..follow.hosted.notes import Hosted
from ..follow.hosted.recall import decided
from ..follow.machine import UNKNOWN
from ..follow.places import Method
from ..follow.terms import (
    NEVER_RAISE,
    OPERATORS,
    Collection,
    Constant,
    HostCall,
    HostRead,
    Length,
    Load,
    Made,
    NumberTable,
    Operation,
    WrittenArray,
    argument,
    may_raise,
    parts,
    plain_form,
    positive,
    small,
)
from ..heap.allowlist import is_a, plain
from ..heap.facts import Holder, Key, same
from ..heap.setters import Put, putter
from ..heap.structure import fields_of
from ..host.again import First, Told, told
from ..watch.rules.host_rules import early
from ..watch.settle import Followed
from .kept.leaves import ArrayBehind, Counted, HeldObject, LoadedNumber, NumberOperand
from .kept.stores import Reads, apart, late_store, shape_of, stand_in, tried, unlent
from .outputs import Box, Computed, GivenNumber, HostResult, HostValue, Plain, Spec, Unfit

__all__ = ["Actions", "NONE", "actions_of", "Ready"]
__all__ += ["LoadedNumber", "Counted", "HeldObject", "NumberOperand", "HOW", "OPERATORS"]

# what a change of a container calls, by the container's type and the method
_PRIMITIVES: dict[tuple[type, str], Callable[..., Any]] = {
    **{(list, n): getattr(list, n) for n in ("append", "extend", "clear", "pop")},
    (list, "delete"): list.__delitem__,
    **{(set, n): getattr(set, n) for n in ("add", "clear", "discard")},
    (np.ndarray, "store"): np.ndarray.__setitem__,
    (dict, "clear"): dict.clear,
    (dict, "set"): dict.__setitem__,
    (collections.OrderedDict, "set"): collections.OrderedDict.__setitem__,
    (collections.defaultdict, "set"): dict.__setitem__,
    (collections.Counter, "set"): dict.__setitem__,
    **{
        (collections.deque, n): getattr(collections.deque, n)
        for n in ("append", "appendleft", "extend", "clear", "pop", "popleft")
    },
}


class Number(NamedTuple):
    """A number or value that a call leaves in a place."""

    key: Key
    holder: Holder
    spec: Spec
    put: Put


class Grown(NamedTuple):
    """One change of a container, of this exact type."""

    owner: Holder
    type: type
    method: Method
    specs: tuple[Spec, ...]

    @property
    def primitive(self) -> Callable[..., Any]:
        """What it calls, of the container and the values."""
        return _PRIMITIVES[self.type, self.method]


@dataclass(frozen=True, slots=True, eq=False)
class Actions:
    """`numbers` and `grown` (in program order) happen at the commit; `loads` are read for them;
    `conditions` (term, truth) and `checks` (terms that must not raise) hold before the call;
    `operands` are computed before it; `first` are calls of Python's own world that are made then,
    `clocks` (in program order) and `told` those that come after the operations."""

    numbers: tuple[Number, ...] = ()
    grown: tuple[Grown, ...] = ()
    loads: tuple[LoadedNumber, ...] = ()
    conditions: tuple[tuple[Any, bool], ...] = ()
    checks: tuple[Any, ...] = ()
    operands: tuple[NumberOperand, ...] = ()
    first: tuple[First, ...] = ()
    clocks: tuple[HostResult, ...] = ()
    told: tuple[Told, ...] = ()
    loud: frozenset[str] = frozenset()

    @property
    def guarded(self) -> bool:
        """Whether something has to hold before a replay, or to be computed."""
        return bool(self.loads or self.conditions or self.checks or self.operands or self.first)

    @property
    def draws(self) -> bool:
        """Whether random numbers are drawn before it."""
        return any(call.draws for call in self.first)

    @property
    def commits(self) -> bool:
        """Whether something is left in Python."""
        return bool(self.numbers or self.grown or self.told or self.draws)

    def lists(self) -> list[Counted]:
        """The lists whose lengths are read."""
        terms = [term for term, _ in self.conditions] + [o.term for o in self.operands]
        terms += [spec.term for spec in self.specs() if isinstance(spec, Computed)]
        return [leaf for term in terms for leaf in parts(term) if isinstance(leaf, Counted)]

    def specs(self) -> list[Spec]:
        """All recipes, numbers first."""
        grown = [s for g in self.grown for s in g.specs]
        return [n.spec for n in self.numbers] + grown + [s for t in self.told for s in t.specs]

    def with_specs(self, specs: Sequence[Spec]) -> Actions:
        """The same with other recipes."""
        if not (self.numbers or self.grown or self.told or self.guarded):
            return NONE
        rest = iter(specs)
        numbers = tuple([number._replace(spec=next(rest)) for number in self.numbers])
        grown = tuple([g._replace(specs=tuple([next(rest) for _ in g.specs])) for g in self.grown])
        told = tuple([t._replace(specs=tuple([next(rest) for _ in t.specs])) for t in self.told])
        return dataclasses.replace(self, numbers=numbers, grown=grown, told=told)

    def comparable(self, canonical: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Equal for two recordings whose actions are the same."""
        return (
            [(n.key, n.put.where, canonical(n.spec)) for n in self.numbers],
            [(g.owner.id, g.method, tuple(map(canonical, g.specs))) for g in self.grown],
            [(loaded.key, loaded.type) for loaded in self.loads],
            [(plain_form(term), truth) for term, truth in self.conditions],
            [(plain_form(o.term), o.type, o.aval) for o in self.operands],
            [(f.place(), tuple(map(plain_form, f.operands))) for f in self.first],
            [clock.place() for clock in self.clocks],
            [(t.place(), tuple(map(canonical, t.specs))) for t in self.told],
        )

    def begin(self, build: Callable[[Any], Any]) -> Ready:
        """Compute all values; nothing is stored yet."""
        for call in self.first:
            call.keep()
        for clock in self.clocks:
            build(clock)
        numbers = [(number, build(number.spec)) for number in self.numbers]
        calls = [
            (g.primitive, g.owner.get(), *map(build, g.specs))
            if g.method != "extend"
            else (g.primitive, g.owner.get(), [build(s) for s in g.specs])
            for g in self.grown
        ]
        changes = iter(itertools.starmap(operator.call, calls))
        return Ready(numbers, changes, [told(call, build) for call in self.told])


class Ready(NamedTuple):
    """Values that have been computed, and the calls to make after all else.  `changes` carries out
    what is left of the changes of containers; it is consumed in C, where no handler of a signal
    runs, so each happens once."""

    numbers: list[tuple[Number, Any]]
    changes: Iterator[Any]
    told: list[tuple[Any, ...]]

    def finish(self) -> None:
        """Store everything; may be repeated."""
        for number, value in self.numbers:
            number.put(number.holder.get(), number.key.key, value)
        collections.deque(self.changes, maxlen=0)


NONE = Actions()


class _Builder:
    def __init__(
        self,
        followed: Followed,
        dead: Callable[[Any], None],
        spec: Callable[..., Spec],
        reads: Reads,
    ) -> None:
        self.followed, self.dead = followed, dead
        self.host: Callable[[HostRead], HostValue] = reads.followed
        self.record = reads.record
        self.states: dict[WrittenArray, HeldObject | ArrayBehind] = {}
        self._spec = spec
        self.loads: dict[Any, LoadedNumber] = {}
        self.lists: dict[int, Counted] = {}
        self.checks: dict[Any, Any] = {}
        self.existed: Callable[[Any], bool | None] = lambda value: None
        self.told: list[Told] = []
        self.first: dict[HostCall, First] = {}
        self.clocks: dict[HostCall, HostResult] = {}

    def resolve(self, term: Any) -> Any:
        """A term whose leaves a replay can read."""
        if type(term) is Operation or type(term) is Made:
            return term._replace(operands=tuple(map(self.resolve, term.operands)))
        if type(term) is Collection:
            return term._replace(items=tuple(map(self.resolve, term.items)))
        if type(term) is HostCall:
            found = self.first.get(term) or self.clocks.get(term)
            if found is None:
                raise Unfit("goes on with what a call that only has effects gives")
            return found
        if type(term) is Load and term.of_call:
            return GivenNumber(term.place[1], term.type)
        if type(term) is Load:
            spot, kind = self.followed.loads[term.place]
            key = Key(spot.kind, id(spot.holder), spot.key)  # type: ignore[arg-type]
            if term.place not in self.loads:
                self.loads[term.place] = LoadedNumber(key, Holder(spot.holder, self.dead), kind)
            return self.loads[term.place]
        if type(term) is Length:
            owner = self.followed.lists[term.owner]
            return self.lists.setdefault(term.owner, Counted(Holder(owner, self.dead)))
        if type(term) is HostRead:
            return self.host(term)
        if type(term) is WrittenArray:
            return self.state(term)
        if type(term) is NumberTable:
            return HeldObject(Holder(term.value, self.dead))
        return term

    def state(self, term: WrittenArray) -> Any:
        """What a replay has for a written array: a copy where stores to it came before."""
        found = self.states.get(term)
        if found is None and not term.stores:
            found = HeldObject(Holder(term.value, self.dead))
        elif found is None and term.stores is not None:
            changes = [c for c in self.followed.changes if c.owner is term.value]
            if len(changes) < term.stores:
                raise Unfit("writes to a NumPy array in a way that could not be followed")
            terms = changes[term.stores - 1].terms
            if any(type(leaf) in (HostRead, HostCall) for t in terms for leaf in parts(t)):
                raise Unfit("uses a NumPy array behind a store of what is known late")
            before = self.state(WrittenArray(term.value, term.stores - 1))
            operands = before, *map(self.resolve, terms)
            found = ArrayBehind(id(term.value), term.stores, operands)
        self.states[term] = found  # type: ignore[assignment]
        return found

    def stored(self, owner: Any, values: Sequence[Any], terms: Sequence[Any]) -> tuple[Spec, Spec]:
        """The recipes of key and value of a store into an array, which is tried before."""
        (key, value), (where, what) = values, terms
        if any(leaf in self.clocks for term in terms for leaf in parts(term)):
            raise Unfit("stores into a NumPy array what is known late")
        shown = what
        if any(map(self._late, parts(what))):
            kind = late_store(owner.dtype, value, what, self.record)
            if kind is None:
                raise Unfit(f"stores what it reads into a NumPy array of {owner.dtype.name}")
            shown = Constant(shape_of(kind))
        else:
            self.check(what)
        self.check(where)
        alone = Made(unlent, (WrittenArray(owner, 0),), bool)
        self.checks[unlent, id(owner)] = self.resolve(alone)
        for number in self.followed.given:
            pair = WrittenArray(owner, 0), argument(number, np.ndarray)
            self.checks[apart, id(owner), number] = self.resolve(Made(apart, pair, bool))
        first = self.resolve(tried(owner, key, stand_in(where), value, shown))
        self.checks[plain_form(first)] = first
        return self._part(where), self._part(what)

    def _part(self, term: Any) -> Spec:
        if type(term) is HostRead:
            return self.host(term)
        self.check(term)
        resolved = self.resolve(term)
        alone = type(resolved) is Constant and plain(resolved.value)
        return Plain(resolved.value) if alone else Computed(resolved)

    def spec(self, value: Any, term: Any) -> Spec:
        """The recipe of a value, which this term stands for."""
        if term is None or type(term) is Constant:
            return self._spec(value, self._inside)
        if type(term) is HostRead:
            return self.host(term)
        if type(term) is Collection:
            return self._box(value, term)
        if type(term) is WrittenArray and term.stores is None:
            return self._spec(value, self._inside)
        resolved = self.resolve(term)
        if type(resolved) is Constant:
            return self.spec(value, None)
        self.check(term)
        return Computed(resolved)

    def _inside(self, owner: Any, name: str, value: Any) -> Spec | None:
        """The recipe of what an attribute of a new object holds; None: it is not followed."""
        term = self.followed.inside.get((id(owner), name))
        return None if term is None else self.spec(value, term)

    def _box(self, value: Any, term: Collection) -> Spec:
        kind: Any = type(value)
        fields = fields_of(value) if kind is term.type and term.keys and kind is not dict else None
        if fields is not None and self.existed(value) is False and fields[0] == term.keys:
            specs = tuple([self.spec(v, t) for v, t in zip(fields[1], term.items)])
            return Box(kind, id(value), specs, fields[0])
        other = fields is not None or (term.keys and not all(map(same, value, term.keys)))
        if kind is not term.type or len(value) != len(term.items) or other:
            raise Unfit("makes a container in a way that could not be followed")
        items = tuple(value.values() if term.type is dict else value)
        specs = tuple([self.spec(v, t) for v, t in zip(items, term.items)])
        return Box(term.type, id(value), specs, tuple(value) if term.type is dict else ())

    def actions(
        self,
        numbers: tuple[Number, ...],
        grown: tuple[Grown, ...],
        operands: Sequence[tuple[Any, type, Aval]],
    ) -> Actions:
        """What was built, with what must hold before the call."""
        conditions = [(self.resolve(c.term), c.truth) for c in self.followed.conditions]
        for place, (_, kind) in self.followed.loads.items():
            self.resolve(Load(place, kind))  # no fact is left of it: its type is what must hold
        for term in self.followed.tried:
            self.check(term)
        taken = [NumberOperand(self.resolve(term), kind, aval) for term, kind, aval in operands]
        return Actions(
            numbers,
            grown,
            tuple(self.loads.values()),
            tuple(conditions),
            tuple(self.checks.values()),
            tuple(taken),
            tuple(self.first.values()),
            tuple(self.clocks.values()),
            tuple(self.told),
            self.followed.loud,
        )

    def host_calls(self) -> None:
        """The calls of Python's own world, in program order."""
        for number, hosted in enumerate(calls := self.followed.hosted):
            holder = None
            if hosted.owner is not UNKNOWN:
                if not self.existed(hosted.owner):
                    raise Unfit(f"makes a {type(hosted.owner).__name__} to write to or draw from")
                holder = Holder(hosted.owner, self.dead)
            kind, use = hosted.call.type, hosted.entry.use
            if early(hosted) and kind is not None:
                terms = tuple(map(self.resolve, hosted.arguments))
                self.first[hosted.call] = First(
                    hosted.function,
                    holder,
                    terms,
                    hosted.names,
                    kind,
                    (number, hosted.entry.name, hosted.site.file, hosted.site.line),
                    use == "draw",
                )
            elif use == "clock":
                self.clocks[hosted.call] = HostResult(hosted.function, number, kind)
        self.told = [self._told(hosted) for hosted in calls if hosted.entry.use == "output"]

    def _told(self, hosted: Hosted) -> Told:
        placed, holder = hosted.entry.placed, None
        if hosted.owner is not UNKNOWN:
            holder = Holder(hosted.owner, self.dead)
        function = hosted.function if placed is None else placed(hosted.site)
        specs = tuple(map(self.argument, hosted.arguments))
        mark = id(hosted.function), hosted.entry.name, *hosted.site[:2]
        return Told(function, holder, specs, hosted.names, mark)

    def argument(self, term: Any) -> Spec:
        """The recipe of an argument of such a call."""
        self.check(term)
        if type(term) is HostRead:
            return self.host(term)
        if type(term) is Constant and not decided(term.value) and not is_a(term.value, type):
            if not self.existed(term.value):
                raise Unfit(f"makes a {type(term.value).__name__} to write to")
            return Computed(HeldObject(Holder(term.value, self.dead)))
        resolved = self.resolve(term)
        whole = type(resolved) is Constant and type(resolved.value) is not tuple
        return Plain(resolved.value) if whole else Computed(resolved)

    def check(self, term: Any) -> None:
        """What must not raise when a replay computes a term is tried before it; what depends on
        values that are known after the operations only must not be able to."""
        inside = term.operands if type(term) is Made else ()
        for inner in term.items if type(term) is Collection else inside:
            self.check(inner)
        if has_arrays(term) and not any(map(self._late, parts(term))):
            given = self.resolve(term)
            self.checks[plain_form(given)] = given
        if type(term) is not Operation:
            return
        if not any(map(self._late, parts(term))):
            self._check_given(self.resolve(term))
        elif term.symbol in NEVER_RAISE:
            for operand in term.operands:
                self.check(operand)
        elif takes_any(term):
            self.check(term.operands[0])
        else:
            self._check_arithmetic(term)

    def _late(self, leaf: Any) -> bool:
        """Whether a leaf is known after the operations only."""
        return type(leaf) is HostRead or leaf in self.clocks

    def _check_arithmetic(self, term: Operation) -> None:
        timed = not any(type(leaf) is HostRead for leaf in parts(term))
        if term.symbol not in ("+", "-", "*", "/", "neg"):
            what = f"{term.symbol} of a time that it measures"
            read = "with a value read from a tensor in Python"
            raise Unfit(f"computes {what if timed else read}")
        for index, operand in enumerate(term.operands):
            if any(map(self._late, parts(operand))):
                divides = term.symbol == "/" and index == 1
                if divides and not (timed and positive(operand)):
                    what = "a time that it measures" if timed else "a value read from a tensor"
                    raise Unfit(f"divides by {what} in Python")
                self.check(operand)
            else:
                given = self.resolve(operand)
                self.checks[plain_form(given), "small"] = small(given, term.symbol == "/")

    def _check_given(self, term: Any) -> None:
        if type(term) is Operation:
            if may_raise(term):
                self.checks[plain_form(term)] = term
            for operand in term.operands:
                self._check_given(operand)


def actions_of(
    followed: Followed | None,
    operands: Sequence[tuple[Any, type, Aval]],
    dead: Callable[[Any], None],
    spec: Callable[..., Spec],
    reads: Reads,
    returned: Any,
    existed: Callable[[Any], bool | None],
) -> tuple[Actions, Spec | None]:
    """The actions of a call, and the recipe of its result where that holds followed numbers.

    `operands`: terms, types and records of the numbers that are inputs; `spec`: the recipe of a
    value that depends on nothing but facts and tensors."""
    if followed is None:
        return NONE, None
    builder = _Builder(followed, dead, spec, reads)
    builder.existed = existed
    builder.host_calls()
    plainly = followed.result is None and not followed.inside
    result = None if plainly else builder.spec(returned, followed.result)
    numbers = []
    for spot, content, term in followed.places:
        key = Key(spot.kind, id(spot.holder), spot.key)  # type: ignore[arg-type]
        put = putter(key.kind, spot.holder, spot.key, content)
        if put is None:
            raise Unfit(f"stores into a {type(spot.holder).__name__}, where no replay can")
        holder = Holder(spot.holder, dead)
        numbers.append(Number(key, holder, builder.spec(content, term), put))
    grown = []
    for owner, method, values, terms in followed.changes:
        if (type(owner), method) not in _PRIMITIVES or len(values) != len(terms):
            raise Unfit(f"calls {method} of a {type(owner).__name__}")
        if method == "store":
            specs: tuple[Spec, ...] = builder.stored(owner, values, terms)
        else:
            specs = tuple(map(builder.spec, values, terms))
        grown.append(Grown(Holder(owner, dead), type(owner), method, specs))
    return builder.actions(tuple(numbers), tuple(grown), operands), result
