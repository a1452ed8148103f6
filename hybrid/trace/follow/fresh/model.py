"""Containers that the call makes, and iterators over them, with what is in them slot by slot.

Invariant: until it is lost, all that may reach such a container are slots of the follower that have
it as their term, so what the follower did to it is all that happened to it.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from ....ir.tensor import Handle
from ...heap.allowlist import is_a, plain
from ...heap.facts import same
from ..arrays.computed import is_array
from ..hosted.recall import decided, operand_at
from ..machine import CREATED, TENSOR, UNKNOWN, UNSEEN, Lazy, StackSlot, Stepper, value_of
from ..terms import Collection, Constant, Live, Term, parts
from .cells import home_of

__all__ = [
    "MAX_ITEMS",
    "Shown",
    "Fresh",
    "Produced",
    "DictView",
    "BoxWalk",
    "bind",
    "fresh_in",
    "item_of",
]
__all__ += ["plainly", "real_of", "term_in", "walk_over"]

MAX_ITEMS = 1024  # of one container


class Fresh(Live):
    """A list, tuple or dict that the call made: what is in it, and the keys of a dict; `spots`: the
    places of a dict among the arguments all of which went into it."""

    __slots__ = ("type", "slots", "keys", "spots")

    def __init__(self, kind: type, slots: Sequence[StackSlot], keys: Sequence[Any] = ()) -> None:
        self.type, self.slots, self.keys, self.lost = kind, list(slots), list(keys), False
        self.spots: Sequence[Any] = ()

    def leaves(self) -> Iterator[Any]:
        for slot in self.slots:
            if slot.term is not None:
                yield from parts(slot.term)

    def lose(self) -> None:
        if not self.lost:
            self.lost = True
            for slot in self.slots:
                if isinstance(slot.term, Live):
                    slot.term.lose()

    def whole(self) -> Collection:
        """All that is known of it now."""
        return Collection(self.type, tuple(map(term_in, self.slots)), tuple(self.keys))

    def frozen(self) -> Collection | None:
        differs = any(type(leaf) is not Constant for leaf in self.leaves())
        return self.whole() if differs else None

    def holds(self, other: Any) -> bool:
        """Whether a container is this one, or inside of it."""
        if self is other:
            return True
        inside = [slot.term for slot in self.slots]
        return any(isinstance(term, Fresh) and term.holds(other) for term in inside)

    def at(self, key: Any) -> int | None:
        """The position of what is at a key; None: nothing."""
        if self.type is dict:
            # keys that are equal and of different types are one to a dict
            return next((k for k, own in enumerate(self.keys) if own == key), None)
        whole = type(key) is int and -len(self.slots) <= key < len(self.slots)
        return key % len(self.slots) if whole else None

    def put(self, key: Any, slot: StackSlot) -> None:
        """`dict[key] = value`"""
        place = self.at(key)
        if place is None:
            self.keys.append(key)
            self.slots.append(slot)
        else:
            self.slots[place] = slot

    def like(self, real: Any) -> bool:
        """Whether an object may be this container, as far as that is known."""
        kind: Any = self.type
        if type(real) is not kind or len(real) != len(self.slots):
            return False
        if kind is dict and not all(map(same, real, self.keys)):
            return False
        return all(map(_may_be, real.values() if kind is dict else real, self.slots))


def _may_be(value: Any, slot: StackSlot) -> bool:
    known = slot.value is not UNKNOWN and plain(slot.value)
    return not known or (plain(value) and same(value, slot.value))


class BoxWalk(Live):
    """An iterator; `steps` give the slots that it gives.  `opened`: something takes part of which
    the follower does not know when it ends; `inside`: what it goes over; `spots`: the places of
    these, where an argument holds them."""

    __slots__ = ("steps", "opened", "inside", "spots")

    def __init__(
        self, steps: Iterator[StackSlot], inside: Sequence[StackSlot], opened: bool = False
    ) -> None:
        self.steps, self.inside, self.opened, self.lost = steps, inside, opened, False
        self.spots: Sequence[Any] = ()

    def leaves(self) -> Iterator[Any]:
        for slot in self.inside:
            if slot.term is not None:
                yield from parts(slot.term)

    def frozen(self) -> None:
        return None

    def lose(self) -> None:
        self.lost = True
        for slot in self.inside:
            if isinstance(slot.term, Live):
                slot.term.lose()


Shown: TypeAlias = Literal["keys", "values", "items"]


class DictView(Live):
    """`d.keys()`, `d.values()` or `d.items()`."""

    __slots__ = ("box", "how")

    def __init__(self, box: Fresh, how: Shown) -> None:
        self.box, self.lost = box, False
        self.how: Shown = how

    def leaves(self) -> Iterator[Any]:
        return self.box.leaves()

    def frozen(self) -> None:
        return None

    def lose(self) -> None:
        self.lost = True
        self.box.lose()

    def steps(self) -> Iterator[StackSlot]:
        """What it gives; a dict that gets other keys meanwhile raises."""
        for key in list(self.box.keys):
            place = self.box.at(key)
            if place is None:
                return
            pair = StackSlot(key), self.box.slots[place]
            if self.how == "items":
                yield StackSlot(term=Fresh(tuple, pair))
            else:
                yield pair[self.how == "values"]


class Produced(Live):
    """A generator expression: its code, what it goes over, the frame that made it (None: it has
    begun), and what it has given; `ended`: it gave all; `asks`: it is asked for truths."""

    __slots__ = ("code", "source", "maker", "home", "slots", "ended", "asks")

    def __init__(self, code: types.CodeType, source: StackSlot, maker: Stepper) -> None:
        self.code, self.source = code, source
        self.maker: Stepper | None = maker
        self.home = maker
        self.slots: list[StackSlot] = []
        self.ended = self.asks = self.lost = False

    def _inside(self) -> list[StackSlot]:
        """What it goes over, reads of variables, and has given."""
        homes = [(home_of(self.home, name), name) for name in self.code.co_freevars]
        read = [home.cells[name] for home, name in homes if home is not None]
        return [self.source, *read, *self.slots]

    def leaves(self) -> Iterator[Any]:
        for slot in self._inside():
            if slot.term is not None:
                yield from parts(slot.term)

    def frozen(self) -> None:
        return None

    def lose(self) -> None:
        if self.lost:
            return
        self.lost, home = True, self.home
        while home is not None:
            home.leaks, home = True, home.outer  # type: ignore[assignment]
        for slot in self._inside():
            if isinstance(slot.term, Live):
                slot.term.lose()


def term_in(slot: StackSlot) -> Term | None:
    """What is in a container, as a term; None: nothing that a text could be made of."""
    if isinstance(slot.term, Fresh):
        return slot.term.whole()
    if slot.term is not None or slot.value is UNKNOWN:
        return slot.term
    return Constant(slot.value)


def fresh_in(slot: StackSlot) -> Fresh | None:
    """The container that is in a slot, where all is known that happens to it."""
    return slot.term if type(slot.term) is Fresh and not slot.term.lost else None


def real_of(machine: Stepper, frame: types.FrameType, slot: StackSlot, place: int) -> Any:
    """The object in a slot that the instruction finds at this place of the stack (below zero: it
    does not lie there)."""
    value = value_of(frame, slot)
    return operand_at(machine, frame, place) if value is UNKNOWN and place >= 0 else value


def item_of(machine: Stepper, frame: types.FrameType, slot: StackSlot, place: int) -> StackSlot:
    """A slot as it goes into a container: no object is held that facts do not decide."""
    if slot is TENSOR or slot.method == CREATED or is_array(slot):
        return slot
    if isinstance(slot.term, Live):
        return StackSlot(term=slot.term)
    value = real_of(machine, frame, slot, place)
    if slot.term is not None:
        return StackSlot(value if plain(value) else UNKNOWN, slot.term)
    if is_a(value, Handle):
        return TENSOR
    return StackSlot(value) if value is not UNKNOWN and decided(value) else UNSEEN


def plainly(follow: Any, slot: StackSlot) -> StackSlot:
    """A slot for code that knows no containers that may change yet."""
    live = slot.term
    if not isinstance(live, Live):
        return slot
    if not isinstance(live, Fresh):
        follow.escape([slot])
        return slot._replace(term=None)
    return slot._replace(term=None if live.lost else live.frozen())


def bind(
    code: types.CodeType, given: Sequence[StackSlot], names: Sequence[str]
) -> dict[str, StackSlot] | None:
    """The parameters of a function that arguments go to, the last of them by name."""
    count, only = code.co_argcount, code.co_kwonlyargcount
    given = [s._replace(value=UNKNOWN) if type(s.value) is Lazy else s for s in given]
    split = len(given) - len(names)
    found = dict(zip(code.co_varnames[:count], given[:split]))
    spare, named, last = given[count:split], dict[str, StackSlot](), count + only
    if spare and not code.co_flags & inspect.CO_VARARGS:
        return None
    for name, slot in zip(names, given[split:]):
        fits = name in code.co_varnames[code.co_posonlyargcount : last]
        (found if fits else named)[name] = slot
    if code.co_flags & inspect.CO_VARARGS:
        found[code.co_varnames[last]] = StackSlot(term=Fresh(tuple, spare))
        last += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        found[code.co_varnames[last]] = StackSlot(
            term=Fresh(dict, list(named.values()), list(named))
        )
    elif named:
        return None
    return {
        name: slot._replace(value=Lazy(name)) if slot.value is UNKNOWN and not slot.method else slot
        for name, slot in found.items()
    }


# ---- going over what is known
def walk_over(slot: StackSlot) -> BoxWalk | None:
    """An iterator over what is in a slot; None: that is not known."""
    live: Any = slot.term
    if isinstance(live, Live) and live.lost:
        return None
    if type(live) is BoxWalk:
        return live
    if type(live) is DictView:
        return None if live.box.lost else BoxWalk(live.steps(), [slot])
    if type(live) is Fresh:
        steps = DictView(live, "keys").steps() if live.type is dict else _items(live)
        return BoxWalk(steps, [slot])
    if live is None and type(slot.value) is range:
        return BoxWalk(map(StackSlot, slot.value), [])
    if live is None and type(slot.value) is tuple and decided(slot.value):
        return BoxWalk(map(StackSlot, slot.value), [])
    return None


def _items(live: Fresh) -> Iterator[StackSlot]:
    place = 0
    while place < len(live.slots):  # a list may grow meanwhile
        yield live.slots[place]
        place += 1
