"""Plans of one signature that differ in the sizes of tensors which calls find in Python: a cache of
keys and values that grows, a memory that fills up.

Invariant: what the index leaves out would have missed, as those tensors have other sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....ir.tensor import Handle
from ...heap.allowlist import MISSING, is_a
from ...heap.facts import fetch
from ...record.inputs import AtFact
from ...record.recording import Recording

__all__ = ["SizeIndex", "index_of"]

LEAST = 3  # plans, of fewer each is tried


class SizeIndex:
    """`places`: (kind, holder, key) of the tensors whose sizes tell the plans of a group apart;
    `known`: those plans by the records of these tensors, `others`: all other plans."""

    __slots__ = ("places", "known", "others")

    def __init__(
        self, places: list[tuple[Any, ...]], known: dict[Any, Any], others: list[Any]
    ) -> None:
        self.places, self.known, self.others = places, known, others

    def fitting(self) -> list[Any]:
        """The plans that may serve a call now."""
        found = []
        for kind, holder, key in self.places:
            owner = holder.get()
            tensor = MISSING if owner is MISSING else fetch(kind, owner, key)
            found.append(tensor._a if is_a(tensor, Handle) else None)
        plan = self.known.get(tuple(found))
        return self.others if plan is None else [plan, *self.others]


def index_of(plans: Sequence[Any]) -> SizeIndex | None:
    """The index of plans that differ in the sizes of captures; None where they are few."""
    if len(plans) < LEAST:
        return None
    group: list[Any] = []
    for latest in plans[:LEAST]:  # the first of a sequence may find nothing
        if len(group) < LEAST:
            group = [plan for plan in plans if _located_alike(plan.recording, latest.recording)]
    if len(group) < LEAST:
        return None
    first = group[0].recording
    numbers = [
        number
        for number, found in enumerate(first.inputs)
        if type(found.location) is AtFact
        and any(plan.recording.inputs[number].aval is not found.aval for plan in group)
    ]
    if not numbers:
        return None
    keys = [first.inputs[number].location.key for number in numbers]
    places = [(key.kind, first.facts.holders[key], key.key) for key in keys]
    known: dict[Any, Any] = {}
    inside = set(map(id, group))
    others = [plan for plan in plans if id(plan) not in inside]
    for plan in group:
        mark = tuple([plan.recording.inputs[number].aval for number in numbers])
        if mark in known:
            others.append(plan)
        else:
            known[mark] = plan
    return SizeIndex(places, known, others)


def _located_alike(recording: Recording, other: Recording) -> bool:
    """Whether two recordings find their inputs in the same places."""
    mine, theirs = recording.inputs, other.inputs
    return len(mine) == len(theirs) and all(
        type(a.location) is type(b.location)
        and (type(a.location) is not AtFact or a.location == b.location)
        for a, b in zip(mine, theirs)
    )
