"""From what the follower saw to the commit actions of a call, and the facts that they replace.

Invariant: a place or container is an action only if every access to it that the analysis knows of
is one that the follower understood; in every other case it stays a fact.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ...ir.tensor import Handle
from ..bytecode.summary import instructions_of, texts_of
from ..follow.arrays.computed import look_at_shared
from ..follow.follower import Condition, Follower
from ..follow.hosted.decisive import decisive
from ..follow.hosted.notes import Hosted
from ..follow.indices import unread
from ..follow.machine import UNKNOWN, StackSlot
from ..follow.places import Method, Mutation, Physical, PlaceSpot, named
from ..follow.terms import (
    Collection,
    Constant,
    Length,
    Load,
    Made,
    NumberTable,
    Operation,
    Term,
    WrittenArray,
    is_number,
    kind_of,
    may_differ,
    parts,
)
from ..heap.allowlist import MEMBERS, MISSING, instance_dict, is_a, lookup, plain
from ..heap.facts import Key, fetch, same
from .fact_table import Access, Facts
from .pinned.arrays import form_of, is_data, memory_among, states_but
from .pinned.changes import lasting, tables_of
from .pinned.given import looked_inside
from .pinned.made import inside_of, own_attributes
from .pinned.modes import mode_places, switched
from .pinned.starts import Inside, contents_of, is_box, mutations_of, only_read, pin, pins_of

__all__ = ["Followed", "Place", "Change", "settle"]

PLACES = ("item", "attr", "slot", "cell")
NAMES = ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_CLOSURE")


class Place(NamedTuple):
    """A place that the call leaves with a value: its content and the term of it."""

    spot: PlaceSpot
    content: Any
    term: Term | None


class Change(NamedTuple):
    """One change of a built-in container: what it put there, and the terms of that."""

    owner: Any
    method: Method
    values: tuple[Any, ...]
    terms: tuple[Term | None, ...]


class Dropped(NamedTuple):
    """Facts that are none any more: places, and all that is in some containers."""

    keys: frozenset[Key]
    owners: frozenset[int]

    def holds(self, key: Key) -> bool:
        """Whether a fact is one of them."""
        return key in self.keys or key.holder in self.owners


class Followed(NamedTuple):
    """`places` and `changes` are what a replay does at its commit; `loads` and `lists` what it
    computes from; `conditions` what must hold of that; `dropped` facts that are none any more;
    `escaped`: numbers that Python looked at; `paths`: facts about what was inside containers that
    earlier calls made and this one replaces, or looks at and changes (`pins`: of these the facts of
    its start only); `operands`: terms of the numbers that operations took
    and that may differ in the next call, by their position among those; `tried`: terms that are
    computed and may differ, wherever they go; `hosted`: calls of Python's own world;
    `loud`: errors of floating point of which NumPy is to tell; `given`: arguments, by number, whose
    memory is data; `inside`: what attributes of objects that the call made hold, by id and name."""

    places: tuple[Place, ...]
    changes: tuple[Change, ...]
    loads: dict[Physical, tuple[PlaceSpot, type]]
    lists: dict[int, Any]
    conditions: tuple[Condition, ...]
    result: Term | None
    dropped: Dropped
    escaped: frozenset[Any]
    paths: dict[Key, Inside]
    operands: dict[int, Any]
    tried: tuple[Any, ...]
    hosted: tuple[Hosted, ...] = ()
    pins: frozenset[Key] = frozenset()
    loud: frozenset[str] = frozenset()
    given: tuple[int, ...] = ()
    inside: Mapping[tuple[int, str], Term] = MappingProxyType({})


def _physical(key: Key, holder: Any) -> Physical | None:
    """The place in memory behind a fact."""
    if key.kind == "cell":
        return "cell", id(holder)
    if key.kind == "item" and is_a(holder, dict):
        return ("dict", id(holder), key.key) if named(key.key) else None
    if key.kind == "item" and type(holder) is list:
        return "list", id(holder), key.key % len(holder) if len(holder) else key.key
    if key.kind in ("attr", "slot"):
        found = lookup(type(holder), key.key) if type(key.key) is str else MISSING
        if is_a(found, MEMBERS):
            return "member", id(holder), key.key
        entries = instance_dict(holder)
        return None if entries is None else ("dict", id(entries), key.key)
    return None


def _keeps_last(mutation: Mutation) -> bool:
    """Whether a change of a container leaves it with the last item that it had or gets."""
    if mutation.method in ("pop", "delete"):
        return bool(mutation.arguments) and same(mutation.arguments[0].value, 0)
    return mutation.method in ("append", "extend", "popleft")


def _followed(value: Any) -> bool:
    return is_a(value, Handle) or plain(value)


class _Settled:
    """Gives terms in which what is a fact is a constant; notes the places and lists of the rest."""

    def __init__(self, follow: Follower, free: set[Physical], grown: set[int]) -> None:
        self.follow, self.free, self.grown = follow, free, grown
        self.loads: dict[Physical, tuple[PlaceSpot, type]] = {}
        self.lists: dict[int, Any] = {}
        for place in free:
            if is_number(follow.start.get(place)):
                self(Load(place, type(follow.start[place])))

    def __call__(self, term: Any) -> Any:
        follow = self.follow
        if type(term) is Load and not term.of_call:
            if term.place not in self.free:
                return Constant(follow.start[term.place])
            self.loads[term.place] = follow.spots[term.place], term.type
        elif type(term) is Length:
            if term.owner not in self.grown:
                return Constant(follow.lengths[term.owner])
            owners = [m.owner for m in follow.mutations if id(m.owner) == term.owner]
            self.lists[term.owner] = owners[0]
        elif type(term) is WrittenArray and term.stores == 0:
            return term if id(term.value) in follow.begun else NumberTable(term.value)
        elif type(term) is Operation or type(term) is Made:
            return term._replace(operands=tuple(map(self, term.operands)))
        elif type(term) is Collection:
            return term._replace(items=tuple(map(self, term.items)))
        return term


class _Work:
    def __init__(self, follow: Follower, facts: Facts, moved: frozenset[Key]) -> None:
        self.follow, self.facts, self.moved = follow, facts, moved
        self.keys: dict[Physical, list[Key]] = collections.defaultdict(list)
        self.held: dict[int, list[Key]] = collections.defaultdict(list)
        for key, holder in facts.found.items():
            place = _physical(key, holder)
            if place is not None:
                self.keys[place].append(key)
            self.held[key.holder].append(key)
        codes: dict[Any, int] = {}
        self.ids = {i: codes.setdefault(code, i) for i, code in follow.codes.items()}
        self.by_code = codes
        self.touched = {p: self._normal(at) for p, at in follow.touched.items()}
        self.ran, self.blind = self._normal(follow.ran), self._normal(follow.blind)
        self.escaped: set[Any] = set()
        self._look(follow.escaped)
        self.pinned: set[Physical] = set()  # places whose start decides what the call does
        self.whole: dict[int, dict[Key, Inside]] = {}  # containers that are looked at and changed
        self.renewed: dict[Key, Inside] = {}  # what is in containers that others make anew
        self.gone: set[Key] = set()  # the facts that it replaces
        self.own: dict[Physical, StackSlot] = {}  # attributes of objects that the call made
        self.modes = mode_places(facts.watch)  # what these hold is decided by facts
        ran = list(facts.watch.ran.values())
        self.own_names = {n for code, _ in ran for n in (*code.co_names, *texts_of(code))}

    def _normal(self, places: Any) -> set[tuple[int, Any]]:
        """Instructions, with equal code objects taken for one."""
        return {(self.ids.get(code, code), at) for code, at in places}

    # ---- which places and containers
    def understood(self, place: Physical, key: Key, access: Access) -> bool:
        """Whether an access to a place is one that the follower saw, or never happened."""
        if access.blanket:
            return key.key not in self.own_names
        code = self.by_code.get(access.code)
        if access.code is None or code is None:
            return False
        if (code, access.at) in self.blind:
            return False
        if (code, access.at) in self.touched.get(place, ()):
            return True
        instruction = instructions_of(access.code).get(access.at)
        if instruction is None:
            return False
        if instruction.opname in NAMES and key.kind in ("cell", "item"):
            named = instruction.argval == key.key and (code, key.key) not in self.blind
            return named and instruction.opname != "LOAD_CLOSURE"
        return (code, access.at) not in self.ran

    def _clear(self, place: Physical) -> bool:
        """Whether all accesses to a place were understood."""
        accesses = self.facts.accesses or {}
        keys = self.keys.get(place, ())
        first = self.follow.start.get(place, 0)
        loaded = place in self.follow.start
        return (
            bool(keys)
            and place not in self.follow.shared
            and (not loaded or plain(first) or bool(self._inside(place)))
            and all(
                self.understood(place, key, access)
                for key in keys
                for access in accesses.get(key, {}).values()
            )
        )

    def _inside(self, place: Physical) -> dict[Key, Inside]:
        """Facts for all that is in the container which a place held when the call began; none where
        more than what is inside may matter."""
        follow = self.follow
        spot, outer = follow.spots[place], follow.start[place]
        if not is_box(outer) or type(outer) is not type(self._content(place)) or follow.vague:
            return {}
        start = spot.kind, spot.key, ()
        return contents_of(outer, start, spot.holder, self._only_read, _followed)

    def _only_read(self, box: Any) -> bool:
        return only_read(box, self.follow, self.facts)

    def _content(self, place: Physical) -> Any:
        spot = self.follow.spots[place]
        return fetch(spot.kind, spot.holder, spot.key)  # type: ignore[arg-type]

    def _fits(self, place: Physical, slot: StackSlot) -> bool:
        """Whether the last store to a place can be an action."""
        spot, content = self.follow.spots[place], self._content(place)
        if not self._clear(place) or id(spot.holder) in self.follow.mutated:
            return False
        if content is MISSING:
            return False
        if is_a(content, Handle):  # one over a tensor is a fact that is stored to
            return plain(self.follow.start.get(place, MISSING)) and slot.term is None
        known = slot.value is not UNKNOWN and plain(slot.value)
        if slot.term is not None and type(slot.term) is not Collection:
            if slot.value is UNKNOWN:  # known by its type
                return type(content) is kind_of(slot.term)
            return content is slot.value or (known and same(content, slot.value))
        if known and not same(content, slot.value):
            return False
        moves = not same(self.follow.begin.get(place), content)
        if slot.term is None and plain(content):
            return moves or any(key in self.moved for key in self.keys[place])
        return moves and (slot.term is not None or self._fresh(content))

    def _fresh(self, content: Any) -> bool:
        # a dict of scalars is not tracked: whether the call made it is not known
        made = type(content) is tuple or id(content) in self.facts.watch.young
        return is_box(content) and made

    def _grows(self, owner: Any) -> bool:
        """Whether all uses of a container are changes that were understood."""
        follow = self.follow
        if is_a(owner, np.ndarray):
            return is_data(self, owner)
        seen = mutations_of(follow)
        if id(owner) in follow.peeked and not all(
            _keeps_last(m) for m in follow.mutations if m.owner is owner
        ):
            return False
        return (
            id(owner) not in follow.unfit
            and id(owner) not in follow.contents.mixed
            and self.facts.counts(owner)
            and not self.held.get(id(owner))
            and not any(place[1] == id(owner) for place in self.keys)
            and all((*m.at, id(owner)) in seen for m in follow.mutations if m.owner is owner)
        )

    # ---- to a fixpoint: what is no action is looked at by Python
    def run(self) -> Followed:
        follow = self.follow
        left = {p: s for p, s in follow.current.items() if p not in self.modes}
        places = {p: s for p, s in left.items() if self._fits(p, s)}
        owners = {id(m.owner): m.owner for m in follow.mutations}
        grown = {i for i, owner in owners.items() if self._grows(owner)}
        pinned = {i: pins_of(o, follow, self.facts) for i, o in owners.items() if i not in grown}
        self.whole = {i: found for i, found in pinned.items() if found}
        self._renew()
        self._look([*unread(follow, self.facts.counts), *looked_inside(self, _physical)])
        self.own = own_attributes(self)
        while True:
            self.escaped.update(states_but(follow, grown, self.facts.counts))
            for place, terms in follow.stored.items():
                if place not in places and place not in self.own:
                    self._look(terms)
            for mutation in follow.mutations:
                if id(mutation.owner) not in grown:
                    self._look([s.term for s in mutation.arguments])
            looked = {e.place for e in self.escaped if type(e) is Load}
            self.pinned = {p for p in places if self._turns(p, looked)}
            gone = (places.keys() & looked) - self.pinned
            lost = {i for i in grown if Length(i) in self.escaped}
            lost |= {id(e.value) for e in self.escaped if type(e) is WrittenArray} & grown
            if not gone and not lost:
                break
            places = {p: s for p, s in places.items() if p not in gone}
            grown -= lost
        return self._followed(places, grown)

    def _turns(self, place: Physical, looked: set[Physical]) -> bool:
        """Whether what a place held decides what the call does, and the call leaves it with
        something else."""
        first = self.follow.start.get(place, MISSING)
        if first is MISSING or not plain(first):
            return False
        return place in looked or not is_number(first) or is_a(self._content(place), Handle)

    def _look(self, terms: Any) -> None:
        for term in terms:  # a constant may be in other terms, too
            self.escaped.update([leaf for leaf in parts(term) if type(leaf) is not Constant])

    def _free(self, places: dict[Physical, StackSlot]) -> set[Physical]:
        """The places whose numbers a replay reads: those that it stores to, and those that other
        code stores to and this call only computes with."""
        free = set(places) - self.pinned
        for place in self.follow.start.keys() - self.modes:
            if place not in self.follow.current and any(k in self.moved for k in self.keys[place]):
                looked = any(type(e) is Load and e.place == place for e in self.escaped)
                if self._clear(place) and not looked:
                    free.add(place)
        return free

    def _paths(self, places: dict[Physical, StackSlot], grown: set[int]) -> dict[Key, Inside]:
        """What was inside containers that the call replaces, and at the end of those it adds to."""
        paths: dict[Key, Inside] = {}
        for place in places:
            if is_box(self.follow.start.get(place)):
                paths |= self._inside(place)
        for owner, value in self.follow.peeked.values():
            if id(owner) in grown and id(owner) not in self.whole:
                key = Key("path", id(owner), ("", None, (-1,), False))
                paths[key] = Inside(owner, value, None)
        for place in self.pinned:
            spot = self.follow.spots[place]
            paths[pin(spot)] = Inside(spot.holder, self.follow.start[place], None)
        for found in self.whole.values():
            paths |= found
        arrays = [m.owner for m in self.follow.mutations if id(m.owner) in grown]
        paths |= form_of([array for array in arrays if is_a(array, np.ndarray)])
        return paths | self.renewed

    def _renew(self) -> None:
        """Places that other code leaves with a new container for each call, which this one only
        reads: their facts are what is inside."""
        follow = self.follow
        stored = {id(follow.spots[place].holder) for place in follow.current}
        for key, holder in self.facts.found.items():
            if key not in self.moved or key.kind not in PLACES or follow.vague:
                continue
            if key.holder in follow.mutated or key.holder in stored:
                continue
            box = fetch(key.kind, holder, key.key)
            if is_box(box) and id(box) not in self.facts.watch.young:
                start = key.kind, key.key, ()
                found = contents_of(box, start, holder, self._only_read, _followed)
                self.renewed |= found
                self.gone.update([key] if found else ())

    def _followed(self, places: dict[Physical, StackSlot], grown: set[int]) -> Followed:
        follow = self.follow
        ways = decisive(follow.hosted, follow.drawn, self.escaped)
        self.escaped -= ways.keys()
        settled = _Settled(follow, self._free(places), grown)
        grown = grown | self.whole.keys()
        kept = tuple([self._left(place, slot, settled) for place, slot in places.items()])
        changes = tuple(lasting(self._changes(grown, settled)))
        conditions = [Condition(settled(c.term), c.truth) for c in follow.conditions]
        conditions += [Condition(term, True) for term in ways.values()]
        operands = self._operands(settled)
        tried = tuple([t for t in map(settled, follow.tried.values()) if may_differ(t)])
        result, paths = settled(follow.result.term), self._paths(places, grown)
        replaced = {id(i.owner) for i in paths.values() if i.owner is not None}
        dropped = {key for p in {*places, *settled.loads} for key in self.keys.get(p, ())}
        dropped |= self.gone | {pin(follow.spots[place]) for place in places}
        modes = list(switched(self.facts.watch))
        kept += tuple([Place(m.spot, m.module.training, None) for m in modes])
        paths |= {m.key: m.start for m in modes}
        dropped |= {key for key in self.facts.found if any(m.covers(key) for m in modes)}
        pins = {pin(follow.spots[p]) for p in self.pinned}.union(*self.whole.values())
        unnoted = grown | replaced | self._made(kept, changes) | tables_of(self)
        return Followed(
            kept,
            changes,
            settled.loads,
            settled.lists,
            tuple([c for c in conditions if may_differ(c.term) and not _always(c)]),
            result,
            Dropped(frozenset(dropped), frozenset(unnoted)),
            frozenset(self.escaped),
            paths,
            operands,
            tried,
            self._hosted(settled),
            frozenset([*pins, *[m.key for m in modes]]),
            frozenset(follow.loud),
            memory_among(follow.lent),
            inside_of(self, settled),
        )

    def _hosted(self, settled: Callable[[Term], Term]) -> tuple[Hosted, ...]:
        found = self.follow.hosted
        calls = [h._replace(arguments=tuple(map(settled, h.arguments))) for h in found]
        return *calls, *self.follow.touches

    def _operands(self, settled: Callable[[Term], Term]) -> dict[int, Term]:
        """The operands that are computed anew in each call."""
        terms = [settled(taken.term) for taken in self.follow.taken]
        return {
            k: term
            for k, term in enumerate(terms)
            if may_differ(term) and self.escaped.isdisjoint(parts(term))
        }

    def _left(self, place: Physical, slot: StackSlot, settled: Any) -> Place:
        return Place(self.follow.spots[place], self._content(place), settled(slot.term))

    def _made(self, places: tuple[Place, ...], changes: tuple[Change, ...]) -> set[int]:
        """Ids of containers that the call made and left in places: they have no facts."""
        todo, made = [place.content for place in places], set[int]()
        todo += [value for change in changes for value in change.values]
        while todo:
            value = todo.pop()
            young = is_box(value) and id(value) in self.facts.watch.young
            if young and id(value) not in made:
                made.add(id(value))
                todo += dict.values(value) if type(value) is dict else value
        return made

    def _changes(self, grown: set[int], settled: Any) -> Iterator[Change]:
        follow = self.follow
        for number, mutation in enumerate(follow.mutations):
            if id(mutation.owner) in grown:
                values = tuple(follow.changed_to.get(number, ()))
                terms = _terms(mutation, values, settled)
                yield Change(mutation.owner, mutation.method, values, terms)


def _always(condition: Condition) -> bool:
    """Whether a condition is that a list of at least no items has more than fewer ones."""
    term, least = condition.term, 0
    if type(term) is not Operation or term.symbol != ">" or not condition.truth:
        return False
    left, right = term.operands
    if type(left) is Operation and left.symbol == "+" and type(left.operands[1]) is Constant:
        left, least = left.operands[0], left.operands[1].value
    return type(left) is Length and type(right) is Constant and least > right.value


def _terms(mutation: Mutation, values: tuple[Any, ...], settled: Any) -> tuple[Any, ...]:
    """The terms of what a change put into a container."""
    terms = tuple([settled(slot.term) for slot in mutation.arguments])
    if mutation.method == "extend":
        inner = terms[0]
        if type(inner) is not Collection or inner.type is dict:
            return (None,) * len(values)
        return inner.items
    return terms


def settle(follow: Follower | None, facts: Facts, moved: frozenset[Key]) -> Followed | None:
    """The actions of a followed call; None where it could not be followed."""
    if follow is None or follow.failed:
        return None
    follow.end()
    look_at_shared(follow)
    if follow.failed:
        return None
    return _Work(follow, facts, moved).run()
