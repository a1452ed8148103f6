"""The changes of containers that a call makes: what the follower understood of them needs no facts
at first.

Invariant: what is put off is noted after all, unless the container's changes become actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...bytecode.summary import instructions_of
from ...follow.places import Method
from ...follow.terms import parts
from ...heap.allowlist import BOXES, is_a
from ..fact_table import Access, Facts, Reader
from .starts import mutations_of

__all__ = ["Changes", "lasting", "tables_of"]

# methods of built-in containers that change them
CHANGING = frozenset(
    (
        *("append", "extend", "clear", "pop", "add", "discard", "appendleft", "popleft"),
        *("extendleft", "insert", "remove", "sort", "reverse", "rotate", "update", "setdefault"),
        *("popitem", "__setitem__", "__delitem__", "__iadd__", "__ior__"),
    )
)
SUBSCRIPTS = ("BINARY_SUBSCR", "STORE_SUBSCR")


class Changes:
    """Changes of containers that the follower understood, which note no facts at first."""

    def __init__(self, facts: Facts, reader: Reader) -> None:
        self.facts, self.reader = facts, reader
        follow = facts.watch.follow
        self.understood = mutations_of(follow)
        if follow is not None and not follow.failed:
            changed = {key[2] for key in self.understood}
            measured = {key for key in follow.measured if key[:2] not in follow.called}
            self.understood |= {key for key in measured if key[2] in changed}
        self.ids = {} if follow is None else follow.codes
        self.owners: dict[int, tuple[Any, Access]] = {}
        self.seen = False  # a container that was there before was changed

    def put_off(self, owner: Any, access: Access, name: str = "") -> bool:
        """Whether the facts about a container that is used here can wait."""
        if name in CHANGING and is_a(owner, BOXES) and self.facts.existing(owner):
            self.seen = True
        if not self.understood or access.code is None:
            return False
        codes = [i for i, code in self.ids.items() if code == access.code]
        found = [i for i in codes if (i, access.at, id(owner)) in self.understood]
        if not found:
            return False
        self.owners[id(owner)] = owner, access
        return True

    def keys_at(self, owner: Any, access: Access) -> list[Any] | None:
        """The keys of a container at which an instruction that takes one looked or stored, each
        time that it ran; None where that is not known."""
        follow = self.facts.watch.follow
        if follow is None or follow.failed or access.code is None:
            return None
        instruction = instructions_of(access.code).get(access.at)
        if instruction is None or instruction.opname not in SUBSCRIPTS:
            return None
        marks = [(i, access.at) for i, code in self.ids.items() if code == access.code]
        if any(mark in follow.blind for mark in marks):
            return None
        if any(m.owner is owner and m.at in marks for m in follow.mutations):
            return None

        def touched(place: tuple[Any, ...]) -> bool:
            return not follow.touched.get(place, set()).isdisjoint(marks)

        if touched(("table", id(owner))):
            return None
        spots = list(follow.spots.items())
        return [s.key for place, s in spots if s.holder is owner and touched(place)] or None

    def looked_up(self, code: Any, offset: int) -> list[tuple[Any, Any]]:
        """The dicts and keys of a call that took what is there, each time that it ran; none where
        it did anything else."""
        follow = self.facts.watch.follow
        if follow is None or follow.failed or not follow.looked_up:
            return []
        marks = [(ident, offset) for ident, own in self.ids.items() if own == code]
        if not follow.called.isdisjoint(marks):
            return []
        found = [pair for mark in marks for pair in follow.looked_up.get(mark, ())]
        return found if len(found) == sum([follow.calls[mark] for mark in marks]) else []

    def note_but(self, grown: set[int]) -> None:
        """The facts that were put off, of containers whose changes are no actions."""
        for ident, (owner, access) in self.owners.items():
            if ident not in grown:
                self.reader.deep(owner, access)


def tables_of(work: Any) -> set[int]:
    """The tables without facts, by id: each instruction that looks at one reads it at a followed
    index whenever it runs.  `work` settles what a followed call did."""
    accesses, found = work.facts.accesses or {}, set()
    for ident, (_, indices) in work.follow.tables.items():
        place, plain = ("table", ident), ("plain", ident)
        leaves = [leaf for term in indices for leaf in parts(term)]
        looked = not work.escaped.isdisjoint(leaves)
        if looked or not work.touched[place].isdisjoint(work.touched.get(plain, ())):
            continue
        seen = [
            (key, access) for key in work.held[ident] for access in accesses.get(key, {}).values()
        ]
        if all(work.understood(place, key, access) for key, access in seen):
            found.add(ident)
    return found


def lasting(changes: Iterator[Any]) -> list[Any]:
    """The changes without those of a list that the next one of that list takes back."""
    found: list[Any] = []
    for change in changes:
        latest = [k for k, other in enumerate(found) if other.owner is change.owner]
        method: Method = change.method
        before: Method | None = found[latest[-1]].method if latest else None
        back = type(change.owner) is list and method == "pop" and not change.terms
        if back and before == "append":
            del found[latest[-1]]
        else:
            found.append(change)
    return found
