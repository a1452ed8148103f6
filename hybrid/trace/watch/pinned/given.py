"""Numbers inside of arguments that more than followed instructions look at.

Invariant: of a number that is not named here every access to the place that holds it, or the tuple
that it is in, is one that the follower saw, and the call stores nothing there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ...follow.places import Physical
from ...heap.facts import Key
from ..fact_table import Access

__all__ = ["looked_inside"]

# kinds of facts that say nothing of what a place holds
_OUTSIDE = ("keys", "len", "type", "dict", "tattr", "meth", "some")
_NAMES = [name for name in ("replace", "_replace") if name in vars(dataclasses)]
_REPLACE = tuple([vars(dataclasses)[name].__code__ for name in _NAMES])


def looked_inside(work: Any, physical: Callable[[Key, Any], Physical | None]) -> list[Any]:
    """The terms of such numbers.  `work` settles what a followed call did."""
    follow, facts, found = work.follow, work.facts, list[Any]()
    whole = {id(follow.spots[place].holder) for place in follow.current} | follow.mutated
    for key, accesses in facts.of_given.items():
        place = physical(key, follow.owners[key.holder])
        if any(access.stores for access in accesses.values()) or (
            key.kind not in _OUTSIDE and place is None
        ):
            whole.add(key.holder)
        elif (
            place is not None
            and place in follow.inside
            and not all(_understood(work, place, key, access) for access in accesses.values())
        ):
            found.append(follow.inside[place].term)
    own = [(p, {id(spot.holder), p[1]}) for p, spot in follow.spots_inside.items()]
    return found + [follow.inside[p].term for p, ids in own if not whole.isdisjoint(ids)]


def _understood(work: Any, place: Physical, key: Key, access: Access) -> bool:
    if any(access.code == code for code in _REPLACE):
        frames = work.facts.watch.frames.get(_REPLACE[0], ())
        return bool(len(frames) == work.follow.replaced)
    return bool(work.understood(place, key, access))
