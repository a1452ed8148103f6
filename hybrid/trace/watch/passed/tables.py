"""Tables of numbers that a call reads at followed indices, and their facts.

Invariant: a table has no facts only if each instruction that looks at it reads it at a followed
index whenever it runs; replays read what it holds.
"""

from __future__ import annotations

from typing import Any

from ...follow.terms import parts

__all__ = ["tables_of"]


def tables_of(work: Any) -> set[int]:
    """The tables without facts, by id; `work` settles what a followed call did."""
    accesses, found = work.facts.accesses or {}, set()
    for ident, (_, indices) in work.follow.tables.items():
        place, plain = ("table", ident), ("plain", ident)
        leaves = [leaf for term in indices for leaf in parts(term)]
        looked = not work.escaped.isdisjoint(leaves)
        if looked or not work.touched[place].isdisjoint(work.touched.get(plain, ())):
            continue
        seen = [(key, access) for key in work.held[ident] for access in accesses.get(key, ())]
        if all(work.understood(place, key, access) for key, access in seen):
            found.add(ident)
    return found
