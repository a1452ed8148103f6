"""Which objects keep their attributes in one dictionary (`a.__dict__ = b.__dict__`), among those
that a call stores to and those that it reads a place of the same name in.

Invariant: a replay stores through one object what was stored through it, so what shared a
dictionary in the recorded call must share one in each replay, and nothing else may.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .allowlist import MISSING, instance_dict, is_a
from .facts import FactKind, Holder, Key

__all__ = ["SharedNames", "namespaces_of"]

_ATTRIBUTES = ("attr", "slot", "meth")


class SharedNames(NamedTuple):
    """Objects and dictionaries in which a call uses the same name, one of which it stores to;
    `first`: for each of them, which is the first that has the same dictionary."""

    owners: tuple[tuple[FactKind, Holder], ...]
    first: tuple[int, ...]


def _entries(kind: FactKind, holder: Any) -> dict[Any, Any] | None:
    """The dictionary that a place of this kind is in."""
    if kind in _ATTRIBUTES:
        return None if holder is MISSING else instance_dict(holder)
    return holder if kind == "item" and is_a(holder, dict) else None


def namespaces_of(
    places: Mapping[Key, Holder], stored: Iterable[Key], cleared: Iterable[Holder] = ()
) -> tuple[SharedNames, ...]:
    """Those of a call that has just run: `places` it used, those of them that it stored to, and
    dictionaries that it changed under any name."""
    names = {key.key for key in stored if type(key.key) is str}
    found: dict[Any, dict[int, tuple[FactKind, Holder]]] = collections.defaultdict(dict)
    emptied: list[tuple[FactKind, Holder]] = [("item", holder) for holder in cleared]
    for key, holder in places.items():
        if (key.key in names if type(key.key) is str else False) or emptied:
            kind: FactKind = "item" if key.kind == "item" else "attr"
            if _entries(key.kind, holder.get()) is not None:
                found[None if emptied else key.key][holder.id] = kind, holder
    for one in emptied:
        found[None][one[1].id] = one
    groups = {tuple(group): tuple(group.values()) for group in found.values() if len(group) > 1}
    return tuple([SharedNames(group, _first(group)) for group in groups.values()])


def _first(group: tuple[tuple[FactKind, Holder], ...]) -> tuple[int, ...]:
    dicts = [id(_entries(kind, holder.get())) for kind, holder in group]
    return tuple([dicts.index(entries) for entries in dicts])
