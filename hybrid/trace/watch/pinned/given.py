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
    follow, facts = work.follow, work.facts
    found = [follow.inside[place].term for place in follow.current if place in follow.inside]
    for key, accesses in facts.of_given.items():
        holder = follow.owners[key.holder]
        if key.kind in _OUTSIDE:
            continue
        place = physical(key, holder)
        if place is None:
            spots = follow.spots_inside.items()
            own = [p for p, spot in spots if key.holder in (p[1], id(spot.holder))]
            found += [follow.inside[p].term for p in own]
        elif place in follow.inside and not all(
            _understood(work, place, key, access) for access in accesses.values()
        ):
            found.append(follow.inside[place].term)
    return found


def _understood(work: Any, place: Physical, key: Key, access: Access) -> bool:
    if access.stores:
        return False
    if any(access.code == code for code in _REPLACE):
        frames = work.facts.watch.frames.get(_REPLACE[0], ())
        return bool(len(frames) == work.follow.replaced)
    return bool(work.understood(place, key, access))
