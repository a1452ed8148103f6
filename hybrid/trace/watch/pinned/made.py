"""Attributes of objects that the call makes: what is stored there is followed until it is read, and
is what another object gets where the call leaves the object behind.

Invariant: such an attribute is only one that every instruction which may read it is seen to read;
of any other what was stored is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...bytecode.summary import instructions_of
from ...follow.machine import UNKNOWN, StackSlot
from ...follow.places import Physical, PlaceSpot
from ...follow.terms import Collection, kind_of
from ...heap.allowlist import MISSING
from ...heap.facts import FactKind, Key, fetch, same
from ..fact_table import Access

__all__ = ["inside_of", "own_attributes"]


def own_attributes(work: Any) -> dict[Physical, StackSlot]:
    """What such attributes hold at the end.  `work` settles what a followed call did."""
    follow = work.follow
    found = {p: slot for p, slot in follow.current.items() if _own(work, p, follow.spots[p])}
    return {p: slot for p, slot in found.items() if _holds(follow.spots[p], slot)}


def inside_of(work: Any, settled: Callable[[Any], Any]) -> dict[tuple[int, str], Any]:
    """The terms of what they hold, by the object's id and the name."""
    spots = work.follow.spots
    left = [(spots[place], slot.term) for place, slot in work.own.items() if slot.term is not None]
    return {(id(spot.holder), spot.key): settled(term) for spot, term in left}


def _own(work: Any, place: Physical, spot: PlaceSpot) -> bool:
    """Whether only instructions that were followed look at an attribute of a new object."""
    facts, ident, follow = work.facts, id(spot.holder), work.follow
    known = facts.existing(spot.holder) or ident in facts.in_signature or place in follow.shared
    kind: FactKind = spot.kind  # type: ignore[assignment]
    if known or kind not in ("slot", "attr") or (ident, None) in facts.of_new:
        return False
    key, unseen = Key("attr", ident, spot.key), facts.unseen_at
    accesses = facts.of_new.get((ident, spot.key), {}).values()
    if "__dict__" in unseen or not all([work.understood(place, key, a) for a in accesses]):
        return False
    return all([_loads(work, access) for access in unseen.get(spot.key, {}).values()])


def _loads(work: Any, access: Access) -> bool:
    """Whether an instruction that reads an attribute of an object which the analysis does not know
    is one of which the follower knew the object each time."""
    code = None if access.code is None else work.by_code.get(access.code)
    if access.code is None or code is None or (code, access.at) in work.blind:
        return False
    instruction = instructions_of(access.code).get(access.at)
    return instruction is not None and instruction.opname in ("LOAD_ATTR", "STORE_ATTR")


def _holds(spot: PlaceSpot, slot: StackSlot) -> bool:
    """Whether an attribute holds what the follower says."""
    content = fetch(spot.kind, spot.holder, spot.key)  # type: ignore[arg-type]
    if slot.term is None or content is MISSING:
        return slot.term is None
    if type(slot.term) is Collection:
        return True  # a recipe compares what is in it
    if slot.value is UNKNOWN:
        return type(content) is kind_of(slot.term)
    return content is slot.value or same(content, slot.value)
