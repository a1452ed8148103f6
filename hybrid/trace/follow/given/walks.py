"""What code takes out of containers among the arguments as a whole: all items of a list, one after
the other, and all entries of a dict that goes into a fresh one.

Invariant: each item is read as its place, so the numbers in it are followed from there.
"""

from __future__ import annotations

import types
from typing import Any

from ..fresh.model import BoxWalk, Fresh, item_of
from ..machine import StackSlot, Stepper
from ..places import PlaceSpot, item

__all__ = ["dict_of", "list_walk_of"]

MAX_ITEMS = 256


def dict_of(follow: Any, machine: Stepper, frame: types.FrameType, value: Any) -> Fresh | None:
    """What is in a dict among the arguments that holds followed numbers; None for anything else."""
    if id(value) not in follow.owners or type(value) is not dict:
        return None
    read = _read(follow, machine, frame, value, list(value))
    if read is None:
        return None
    box = Fresh(dict, read[1], list(value))
    box.spots = read[0]
    return box


def list_walk_of(
    follow: Any, machine: Stepper, frame: types.FrameType, value: Any
) -> BoxWalk | None:
    """An iterator over such a list."""
    if id(value) not in follow.owners or type(value) is not list or follow.regions:
        return None
    read = _read(follow, machine, frame, value, list(range(len(value))))
    if read is None:
        return None
    walk = BoxWalk(iter(read[1]), read[1], opened=True)
    walk.spots = read[0]
    return walk


def _read(
    follow: Any, machine: Stepper, frame: types.FrameType, value: Any, keys: list[Any]
) -> tuple[list[PlaceSpot], list[StackSlot]] | None:
    found = [item(value, key) for key in keys]
    if len(keys) > MAX_ITEMS or any(spot is None for spot, _ in found):
        return None
    slots = [follow.load(machine, spot, held) for spot, held in found]
    slots = [item_of(machine, frame, slot, -1) for slot in slots]
    return [spot for spot, _ in found if spot is not None], slots
