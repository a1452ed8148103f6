"""Builtins that go over containers that the call made, and generator expressions that they run.

Invariant: as of methods.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any

from ...heap.allowlist import plain
from ..hosted.texts import text_of
from ..machine import TENSOR, UNKNOWN, UNSEEN, StackSlot, Stepper, classes, numeric, value_of
from ..terms import (
    MAX_TERM,
    Collection,
    Constant,
    HostRead,
    Live,
    Made,
    is_number,
    kind_of,
    parts,
    size,
)
from .methods import Answer, drained, fits, fixed, update
from .model import BoxWalk, Fresh, Produced, fresh_in, item_of, term_in, walk_over
from .records import is_record, record_in

__all__ = ["asked", "of_builtin"]

PLAIN_SUMS = sys.version_info < (3, 12)  # whether `sum` of floats is one addition after the other


def kth(values: list[Any], place: int, reverse: bool) -> Any:
    """What comes at a place where values are in order."""
    return sorted(values, reverse=reverse)[place]


def of_builtin(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
    names: tuple[str, ...],
    first: int,
) -> bool:
    """A builtin that goes over containers; false: it is none, or not known what it gives."""
    makes = next((make for known, make in _BUILTINS if known is function), None)
    live = [slot.term for slot in given if isinstance(slot.term, Live)]
    if makes is None or (not live and (function is not dict or not names)):
        return False
    if any(term.lost for term in live):
        return False
    slots = [item_of(machine, frame, slot, first + k) for k, slot in enumerate(given)]
    made = next((term for term in live if type(term) is Produced), None)
    if made is not None:
        return len(live) == 1 and _consumed(follow, machine, frame, made, function, slots, names)
    found = makes(follow, frame, slots, names)
    if found is None:
        return False
    machine.stack.append(found)
    return True


def _consumed(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    made: Produced,
    function: Any,
    slots: list[StackSlot],
    names: tuple[str, ...],
) -> bool:
    """A builtin that runs a generator expression to its end; `any` and `all` stop where the
    answer is known."""
    place = len(slots) - 1 if function is str.join else 0
    runs = any(function is known for known in RUNS) and made.maker is not None
    if not runs or place >= len(slots) or slots[place].term is not made:
        return False
    made.asks = function is any or function is all
    machine.consumes = made
    machine.stack.append(UNSEEN)
    makes = next(make for known, make in _BUILTINS if known is function)

    def finish(follow: Any, offset: int) -> None:
        machine.consumes = None
        found: Answer = None
        if made.asks and not made.lost:
            stopped = made.ended is (function is all)
            found = StackSlot(stopped)
        elif made.ended and not made.lost:
            slots[place] = StackSlot(term=Fresh(list, made.slots))
            found = makes(follow, frame, slots, names)
        if found is None:
            follow.escape([StackSlot(term=made)])
        machine.stack[-1] = found or UNSEEN

    machine.finish = finish
    return True


def _kind(slot: StackSlot) -> Any:
    return type(slot.value) if is_number(slot.value) else kind_of(slot.term)


def _steady(slot: StackSlot) -> bool:
    """Whether a number is no int that is too large for a float."""
    leaves = [] if slot.term is None else parts(slot.term)
    return all(type(leaf) is HostRead or type(leaf) is Constant for leaf in leaves)


def _sum(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    found = drained(given[0]) if len(given) <= 2 and names in ((), ("start",)) else None
    if found is None or not all(map(numeric, [*found, *given[1:]])):
        return None
    start = given[1] if len(given) == 2 else StackSlot(0)
    slots = [start, *found]
    if any(slot.value is UNKNOWN for slot in slots):
        return None
    length = sum(1 + size(slot.term) for slot in slots)
    whole = all(_kind(slot) is not float for slot in slots)
    if length < MAX_TERM and (PLAIN_SUMS or whole):
        result = start
        for slot in found:
            result = follow.compute("+", result, slot)
        return result
    if not (whole or all(map(_steady, slots))):
        return None
    return made_of(sum, [Fresh(list, found), *given[1:]])


def made_of(function: Any, given: Sequence[Any]) -> Answer:
    """The number that a function makes of containers and numbers."""
    terms = [term.whole() if type(term) is Fresh else term_in(term) for term in given]
    values = [[s.value for s in x.slots] if type(x) is Fresh else x.value for x in given]
    if not all(map(_known, terms)):
        return None
    value = function(*values)
    return StackSlot(value, Made(function, tuple(terms), type(value)))


def _known(term: Any) -> bool:
    return None not in term.items if type(term) is Collection else term is not None


def _extreme(symbol: Any) -> Any:
    def found(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
        slots = drained(given[0]) if len(given) == 1 and not names else None
        if not slots or not all(map(numeric, slots)):
            return None
        known: StackSlot = slots[0] if len(slots) == 1 else follow.compute(symbol, *slots)
        return known

    return found


def _truth(slot: StackSlot) -> bool | None:
    """The truth of what is in a slot."""
    box = fresh_in(slot)
    if box is not None:
        return bool(box.slots)
    return bool(slot.value) if is_number(slot.value) or fixed(slot) else None


def asked(follow: Any, slot: StackSlot) -> bool | None:
    """The truth of what is in a slot, which the program asks for; None: that is not known."""
    truth = _truth(slot)
    if truth is None or slot.term is None or fresh_in(slot) is not None:
        return truth
    if not any(type(leaf) is HostRead for leaf in parts(slot.term)):
        follow.condition(slot.term, truth)
    elif not follow.decide(slot.term, truth):
        return None
    return truth


def _any_of(wanted: bool) -> Any:
    def found(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
        slots = drained(given[0]) if len(given) == 1 and not names else None
        if slots is None or any(_truth(slot) is None for slot in slots):
            return None
        for slot in slots:
            truth = asked(follow, slot)
            if truth is None:
                return None
            if truth is wanted:
                return StackSlot(wanted)
        return StackSlot(not wanted)

    return found


def _listed(kind: type) -> Any:
    def found(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
        slots = drained(given[0]) if len(given) == 1 and not names else None
        return None if slots is None else StackSlot(term=Fresh(kind, slots))

    return found


def _dict(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    count = len(given) - len(names)
    if count > 1:
        return None
    box = Fresh(dict, (), ())
    other = fresh_in(given[0]) if count else None
    if other is not None and other.type is dict:
        update(box, given[:1])
    elif count:
        pairs = [_pair(slot) for slot in drained(given[0]) or [UNSEEN]]
        if None in pairs:
            return None
        for key, slot in pairs:  # type: ignore[misc]
            box.put(key, slot)
    for name, slot in zip(names, given[count:]):
        box.put(name, slot)
    return StackSlot(term=box) if all(fits(box, slot) for slot in box.slots) else None


def _pair(slot: StackSlot) -> tuple[Any, StackSlot] | None:
    """A key that facts decide, and what comes with it."""
    box = fresh_in(slot)
    if box is None or box.type is dict or len(box.slots) != 2:
        return None
    key, value = box.slots
    return (key.value, value) if fixed(key) and plain(key.value) else None


def _sorted(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    slots = drained(given[0]) if given and names in ((), ("reverse",)) else None
    if not slots or len(given) != 1 + len(names) or not all(map(fixed, given[1:])):
        return None
    reverse = bool(given[1].value) if names else False
    found = _in_order(slots, reverse)
    return None if found is None else StackSlot(term=Fresh(list, found))


def _in_order(slots: list[StackSlot], reverse: bool) -> list[StackSlot] | None:
    pairs = [_pair(slot) for slot in slots]
    keys = [pair[0] if pair is not None else slot.value for pair, slot in zip(pairs, slots)]
    if all(pair is not None or fixed(slot) for pair, slot in zip(pairs, slots)):
        kinds = set(map(type, keys))
        if len(kinds) > 1 or not kinds <= {str, int} or len(set(keys)) < len(keys):
            return None
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
        return [slots[place] for place in order]
    kind = _kind(slots[0])
    if not all(is_number(slot.value) and _kind(slot) is kind for slot in slots):
        return None
    terms = Collection(list, tuple(map(term_in, slots)))
    ordered = sorted([slot.value for slot in slots], reverse=reverse)
    return [
        StackSlot(value, Made(kth, (terms, Constant(place), Constant(reverse)), kind))
        for place, value in enumerate(ordered)
    ]


def _enumerate(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    walk = walk_over(given[0]) if given else None
    start = given[1] if len(given) == 2 else StackSlot(0)
    if walk is None or len(given) > 2 or names not in ((), ("start",)):
        return None
    if not fixed(start) or type(start.value) is not int:
        return None
    steps = (
        StackSlot(term=Fresh(tuple, (StackSlot(place), slot)))
        for place, slot in enumerate(walk.steps, start.value)
    )
    return StackSlot(term=BoxWalk(steps, walk.inside, walk.opened))


def _zip(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    if names:
        return None
    walks = []
    for slot in given:
        walk = walk_over(slot)
        if walk is None and (slot.term is not None or slot is TENSOR):
            return None
        if walk is None:
            walk = BoxWalk(iter(lambda: UNSEEN, None), [], opened=True)
        walks.append(walk)
    steps = (StackSlot(term=Fresh(tuple, pair)) for pair in zip(*[w.steps for w in walks]))
    inside = [slot for walk in walks for slot in walk.inside]
    return StackSlot(term=BoxWalk(steps, inside, any(walk.opened for walk in walks)))


def _reversed(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    box = fresh_in(given[0]) if len(given) == 1 else None
    if box is None or box.type is dict:
        return None
    return StackSlot(term=BoxWalk(iter(box.slots[::-1]), given))


def _iter(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    walk = walk_over(given[0]) if len(given) == 1 else None
    return None if walk is None else StackSlot(term=walk)


def _len(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    box = fresh_in(given[0]) if len(given) == 1 else None
    record = record_in(given[0])
    if box is None and record is not None and is_record(record.type):
        box = record
    return None if box is None else StackSlot(len(box.slots))


def _bool(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    box = fresh_in(given[0]) if len(given) == 1 else None
    return None if box is None else StackSlot(bool(box.slots))


def _isinstance(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    box = fresh_in(given[0]) or record_in(given[0])
    kinds = classes(value_of(frame, given[1])) if len(given) == 2 else None
    if box is None or kinds is None:
        return None
    return StackSlot(issubclass(box.type, kinds))


def _join(follow: Any, frame: Any, given: list[StackSlot], names: tuple[str, ...]) -> Answer:
    slots = drained(given[1]) if len(given) == 2 and not names else None
    if slots is None or not all(_is_text(slot) for slot in [given[0], *slots]):
        return None
    if all(fixed(slot) for slot in [given[0], *slots]):
        return StackSlot(given[0].value.join([slot.value for slot in slots]))
    return text_of(frame, str.join, [given[0], StackSlot(term=Fresh(list, slots).whole())])


def _is_text(slot: StackSlot) -> bool:
    if slot.term is None:
        return type(slot.value) is str
    return type(slot.term) is Made and slot.term.type is str


_BUILTINS: tuple[tuple[Any, Any], ...] = (
    *((len, _len), (bool, _bool), (isinstance, _isinstance), (sum, _sum), (sorted, _sorted)),
    *((max, _extreme("max")), (min, _extreme("min")), (any, _any_of(True)), (all, _any_of(False))),
    *((list, _listed(list)), (tuple, _listed(tuple)), (dict, _dict), (str.join, _join)),
    *((enumerate, _enumerate), (zip, _zip), (reversed, _reversed), (iter, _iter)),
)
RUNS = (sum, sorted, max, min, any, all, list, tuple, dict, str.join)
