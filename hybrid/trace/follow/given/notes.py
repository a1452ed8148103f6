"""Where the numbers among the arguments of a call are when it begins.

Invariant: a number counts as looked at until it is seen to arrive in a variable, or in a place that
only one path leads to.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ....ir.tensor import Handle
from ...heap.allowlist import MISSING, instance_dict, is_a, is_tuple, plain
from ...heap.data import Place
from ...heap.facts import same
from ...heap.structure import structure_of
from ..fresh.cells import keeps, seen_from
from ..fresh.records import GivenBox, is_record
from ..hosted.recall import decided
from ..machine import CREATED, TENSOR, UNSEEN, Lazy, StackSlot, Stepper
from ..places import Physical, PlaceSpot, attribute, is_mapping, item
from ..terms import Live, Load, parts

__all__ = ["GivenNotes"]

MAX_PARTS = 10_000  # of all arguments that are looked through
Tree = dict[Any, Any]  # what is inside, by step; at None stands the number that is there itself


class GivenNotes:
    """`inside`: what places in arguments hold that numbers are in, or a number; `owners`: whose
    places these are, by id; `above`: the containers that lead to each place."""

    escaped: set[Any]
    escape: Callable[[Iterable[StackSlot]], None]

    def __init__(self) -> None:
        self.given: dict[str, Tree] = {}
        self.inside: dict[Physical, StackSlot] = {}
        self.spots_inside: dict[Physical, PlaceSpot] = {}
        self.owners: dict[int, Any] = {}
        self.above: dict[Physical, tuple[int, ...]] = {}

    def expect(self, names: Sequence[str], given: dict[Place, Load]) -> None:
        """Numbers that the call gets, by position or path, and what its variables are called."""
        for place, term in given.items():
            first, *steps = place if type(place) is tuple else (place,)
            node = self.given.setdefault(names[first], {})
            for step in steps:
                node = node.setdefault(step, {})
            node[None] = term
        self.escaped.update(given.values())

    def take_arguments(self, machine: Stepper, variables: dict[str, Any]) -> None:
        """The function is entered with these arguments."""
        for name, inner in self.given.items():
            if name not in variables:
                continue
            value = variables[name]
            slot = self._arrive(value, inner, ())
            if slot is None:
                continue
            self.escaped.difference_update(parts(slot.term))
            if name in machine.code.co_cellvars:
                self.into_cell(machine, name, slot)
            elif isinstance(slot.term, Live):
                machine.variables[name] = StackSlot(Lazy(name), slot.term)
            else:
                machine.variables[name] = slot
        if self.inside:
            self._apart(list(variables.values()))

    def into_cell(self, machine: Stepper, name: str, slot: StackSlot) -> None:
        """A parameter that is a variable of inner functions, too, gets this."""
        if slot.term is not None and slot.method != CREATED and keeps(machine, name):
            machine.cells[name] = seen_from(slot)
        else:
            self.escape([slot])

    def _arrive(self, value: Any, inner: Tree, above: tuple[int, ...]) -> StackSlot | None:
        """A number, or a tuple with followed numbers in it, as a slot; other containers hold them
        in places."""
        term = inner.get(None)
        if term is not None and type(value) is term.type:
            return StackSlot(value, term)
        above = *above, id(value)
        if not is_record(type(value)):
            self._places(value, inner, above)
            return None
        slots = []
        for step, part in enumerate(tuple.__iter__(value)):
            found = self._arrive(part, inner[step], above) if step in inner else _slot(part)
            slots.append(UNSEEN if found is None else found)
        return StackSlot(term=GivenBox(type(value), slots, self.escaped))

    def _places(self, value: Any, inner: Tree, above: tuple[int, ...]) -> None:
        for step, below in inner.items():
            if step is None:
                continue
            boxed = type(value) is list or is_mapping(value)
            found = item(value, step) if boxed else (None, MISSING)
            if not boxed and type(step) is str:
                found = attribute(value, step)
            spot, held = found
            slot = None if spot is None or held is MISSING else self._arrive(held, below, above)
            if spot is None or slot is None:
                continue
            other = self.inside.setdefault(spot.physical, slot)
            if other is not slot:  # two paths lead here
                self.escaped.update(parts(other.term))
                continue
            entries = instance_dict(spot.holder)
            self.owners[id(spot.holder)] = spot.holder
            self.owners.update({} if entries is None else {id(entries): entries})
            self.above[spot.physical], self.spots_inside[spot.physical] = above, spot
            self.escaped.difference_update(parts(slot.term))

    def _apart(self, values: list[Any]) -> None:
        """Numbers in what is found in two ways are looked at: the next call may have two others."""
        several = _found_twice(values)
        for place, above in self.above.items():
            if several is None or not several.isdisjoint(above):
                self.escaped.update(parts(self.inside[place].term))

    def given_at(self, spot: PlaceSpot, value: Any) -> StackSlot:
        """What a place in an argument holds."""
        slot = self.inside[spot.physical]
        if isinstance(slot.term, Live):
            return StackSlot(value) if slot.term.lost else slot
        if slot.value is not value and not same(slot.value, value):
            raise ValueError("a place in an argument was stored to in a way that was not seen")
        return slot


def _slot(value: Any) -> StackSlot:
    if is_a(value, Handle):
        return TENSOR
    return StackSlot(value) if decided(value) else UNSEEN


def _found_twice(values: list[Any]) -> set[int] | None:
    """Ids of the objects among some and inside of them that more than one way leads to; None where
    there are too many."""
    ways, met = collections.Counter[int](), set[int]()
    todo, count = [v for v in values if not plain(v)], 0
    ways.update(map(id, todo))
    while todo:
        value = todo.pop()
        if id(value) in met or is_a(value, Handle):
            continue
        met.add(id(value))
        found = [part for part in _parts_of(value) if not plain(part)]
        entries = None if is_mapping(value) else instance_dict(value)
        ways.update([] if entries is None else [id(entries)])
        count += len(found)
        if count > MAX_PARTS:
            return None
        ways.update(map(id, found))
        todo += found
    return {ident for ident, number in ways.items() if number > 1}


def _parts_of(value: Any) -> Iterator[Any]:
    if type(value) is list or is_tuple(value) or is_mapping(value):
        yield from dict.values(value) if is_mapping(value) else value
        return
    structure = structure_of(value)
    if structure is not None:
        yield from structure.parts
