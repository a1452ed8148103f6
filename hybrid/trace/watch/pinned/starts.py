"""Facts about the start of a call only: what a container or place held that the call both looks at
and changes.

Invariant: every item that the call may have found in such a container is a fact of its start, and
the changes that were seen lead from these items to what is there after the call.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

from ....ir.door.bind import constant_of
from ....ir.tensor import Handle
from ...follow.follower import Follower
from ...follow.places import Mutation, PlaceSpot, named
from ...heap.allowlist import is_a, plain
from ...heap.facts import Key
from ..c_calls import READS
from ..fact_table import Facts

__all__ = ["Inside", "contents_of", "is_box", "mutations_of", "only_read", "pin", "pins_of"]

MAX_PINNED = 2_000  # items, inner ones included


class Inside(NamedTuple):
    """What was inside a container that an earlier call left: the holder of the place, what was
    there when the call began, and the container where it is not the holder itself."""

    holder: Any
    start: Any
    owner: Any


def mutations_of(follow: Follower | None) -> set[tuple[int, int, int]]:
    """(code, offset, owner) of the changes of containers that were understood, each time."""
    if follow is None or follow.failed:
        return set()
    seen = collections.Counter((*m.at, id(m.owner)) for m in follow.mutations)
    called = follow.c_calls
    return {
        key
        for key, count in seen.items()
        if key[:2] not in follow.blind and called.get(key, count) == count
    }


def is_box(value: Any) -> bool:
    """A container that a replay can make."""
    cls = type(value)
    return cls is dict or cls is list or cls is tuple


def only_read(box: Any, follow: Follower, facts: Facts) -> bool:
    """Whether a container is left as it is, and nobody asks which one it is."""
    if id(box) in follow.mutated or id(box) in follow.handled:
        return False
    if any(spot.holder is box and p in follow.current for p, spot in follow.spots.items()):
        return False
    return all(
        function.__name__ in READS.split()
        for _, _, function, _ in facts.watch.ccalls.values()
        if function.__self__ is box
    )


def contents_of(
    box: Any,
    start: tuple[str, Any, tuple[Any, ...]],
    holder: Any,
    only: Callable[[Any], bool],
    kinds: Callable[[Any], bool],
) -> dict[Key, Inside]:
    """Facts for all that is in a container, found by way of a place (kind and key of it, steps from
    there); none where more than what is inside may matter.  `only`: whether a container is left as
    it is; `kinds`: whether a value inside is followed."""
    facts: dict[Key, Inside] = {}
    kind, name, first = start
    todo: list[tuple[tuple[Any, ...], Any]] = [(first, box)]
    while todo:
        steps, value = todo.pop()
        if not only(value) or len(facts) > MAX_PINNED:
            return {}
        names = tuple(value) if type(value) is dict else range(len(value))
        shape = type(value).__name__, names if type(value) is dict else len(value)
        facts[Key("path", id(holder), (kind, name, steps, True))] = Inside(holder, shape, value)
        for item in names:
            inner = value[item]
            if not named(item) or not (is_box(inner) or kinds(inner)):
                return {}
            if is_box(inner):
                todo.append(((*steps, item), inner))
            else:
                key = Key("path", id(holder), (kind, name, (*steps, item), False))
                facts[key] = Inside(holder, inner, value)
    return facts


def pin(spot: PlaceSpot) -> Key:
    """The fact of the start of what a place holds."""
    return Key("path", id(spot.holder), (spot.kind, spot.key, (), False))


def _leads_there(owner: Any, items: list[Any], follow: Follower) -> bool:
    """Whether the changes that were seen make of these items what a container holds now."""
    made = list(items) if type(owner) is list else collections.deque(items, owner.maxlen)
    for number, mutation in enumerate(follow.mutations):
        if mutation.owner is owner and not _repeat(made, mutation, follow.changed_to.get(number)):
            return False
    return len(made) == len(owner) and all(map(_is, made, owner))


def _is(first: Any, second: Any) -> bool:
    return first is second


def _repeat(made: Any, mutation: Mutation, values: list[Any] | None) -> bool:
    """Change a container as another one was; whether that is known."""
    if values is None:
        return False
    method = mutation.method
    try:
        if method == "extend":
            made.extend(values)
        elif method == "delete":
            del made[values[0]]
        else:
            getattr(made, method)(*values)
    except (IndexError, TypeError, AttributeError):
        return False
    return True


def _calls_understood(owner: Any, follow: Follower, facts: Facts) -> bool:
    """Whether all calls of its methods in C only read it or were followed."""
    seen, reads = mutations_of(follow), READS.split()
    for code, at, function, _ in facts.watch.ccalls.values():
        if function.__self__ is not owner or function.__name__ in reads:
            continue
        codes = [i for i, known in follow.codes.items() if known == code]
        if not any((i, at, id(owner)) in seen for i in codes):
            return False
    return all((*m.at, id(owner)) in seen for m in follow.mutations if m.owner is owner)


def pins_of(owner: Any, follow: Follower, facts: Facts) -> dict[Key, Inside]:
    """Facts of the start of a list or deque that the call changes and looks at; none where not all
    is known of it."""
    items = follow.contents.begun.get(id(owner))
    kind = type(owner)
    if items is None or (kind is not list and kind is not collections.deque):
        return {}
    stored = any(s.holder is owner and p in follow.current for p, s in follow.spots.items())
    asked = id(owner) in follow.unfit or id(owner) in follow.handled or not facts.counts(owner)
    if stored or asked or not _calls_understood(owner, follow, facts):
        return {}
    if not _leads_there(owner, items, follow):
        return {}
    if len(items) == len(owner) and all(map(_is, items, owner)):
        return {}  # it is as it was: what is there is a fact

    def fits(value: Any) -> bool:
        return plain(value) or (is_a(value, Handle) and constant_of(value) is None)

    def left(box: Any) -> bool:
        return box is items or (not follow.vague and only_read(box, follow, facts))

    found = contents_of(items, ("", None, ()), owner, left, fits)
    shape = Key("path", id(owner), ("", None, (), True))
    if shape not in found:
        return {}
    found[shape] = Inside(owner, (kind.__name__, len(items)), None)
    top = {key: i._replace(owner=None) for key, i in found.items() if i.owner is items}
    return found | top
