"""The table of an entry for other sizes: a copy of one that is there, with other words where sizes
are looked at.

Invariant: the copy is what the table would be if it were built; a spec that differs from the other
one in more than sizes gives None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...plan import Slot
from ..machine.alloc import LARGE
from ..machine.control import BLOCK_HEADER, POOL_SLOTS
from . import abi
from .entry_table import INPUT, RESULT, TABLE
from .replay import NativeReplay

__all__ = ["BuiltTable", "resized_table"]


class BuiltTable(NamedTuple):
    """A table of host values, and where things are in it, in words: its sections in `starts`, and
    words that hold addresses in itself in `inside`.

    `rows`: the inputs in order; `outs`: slots of the outputs; `shapes`: where their extents are;
    `arena`: where a block's arena is; `keep`: what it points to, but for what belongs to sizes."""

    table: np.ndarray
    spec: NativeReplay
    starts: dict[str, int]
    inside: np.ndarray
    rows: Sequence[int]
    outs: Sequence[int]
    shapes: int
    arena: int
    keep: Any


def resized_table(spec: NativeReplay, built: BuiltTable) -> BuiltTable | None:
    """The table of a spec that differs in sizes only; None where it is to be built."""
    if not _alike(spec, built.spec):
        return None
    table, starts, slots = built.table.copy(), built.starts, spec.slots
    first = TABLE["pool0"] // 8
    table[first : first + POOL_SLOTS] = 0  # those blocks belong to the other one
    table[built.inside] += np.uint64((table.ctypes.data - built.table.ctypes.data) % (1 << 64))
    words: dict[int, int] = {
        TABLE["need"] // 8: max((s[4] for s in spec.steps), default=0),
        TABLE["block_bytes"] // 8: built.arena + spec.arena_bytes - BLOCK_HEADER,
    }
    at, inputs = starts["inputs"] + INPUT["aval"] // 8, spec.replay.inputs
    for row, number in enumerate(built.rows):
        words[at + row * (INPUT["size"] // 8)] = id(inputs[number].aval)
    at = starts["results"]
    for row, slot in enumerate(spec.results):
        if slot >= 0:
            place = at + row * (RESULT["size"] // 8)
            words[place + RESULT["aval"] // 8] = id(slots[slot].aval)
            if slots[slot].kind == "const":
                words[place + RESULT["const"] // 8] = id(spec.consts[slots[slot].index])
    at = starts["fills"]
    for found in slots:
        if found.kind == "const":
            words[at + 1] = abi.pointer(spec.consts[found.index])
        elif found.kind == "arena":
            if found.index % 64 or found.index + found.aval.nbytes > spec.arena_bytes:
                return None
            words[at + 2] = built.arena + found.index
        else:
            continue
        at += 3
    table[list(words)] = np.array(list(words.values()), np.uint64)
    shape = [extent for slot in built.outs for extent in slots[slot].aval.shape]
    table[built.shapes : built.shapes + len(shape)] = shape
    steps = [word for step in spec.steps for word in step]
    at = starts["steps"]
    table[at : at + len(steps)] = np.array(steps, np.uint64)
    return built._replace(table=table, spec=spec)


def _alike(spec: NativeReplay, other: NativeReplay) -> bool:
    """Whether two specs differ in sizes only; values that NumPy does not allocate itself count as
    a difference, new values of state with other sizes as well."""
    mine, its = spec.replay, other.replay
    return (
        mine[1:-1] == its[1:-1]
        and len(mine.inputs) == len(its.inputs)
        and all(map(_same_input, mine.inputs, its.inputs))
        and (spec.outputs, spec.partial, spec.unread, spec.release_gil)
        == (other.outputs, other.partial, other.unread, other.release_gil)
        and spec.arena_base == other.arena_base == 0
        and len(spec.consts) == len(other.consts)
        and list(map(len, spec.steps)) == list(map(len, other.steps))
        and len(spec.slots) == len(other.slots)
        and all(map(_same_slot, spec.slots, other.slots))
    )


def _same_input(one: Any, other: Any) -> bool:
    source, its = one.source, other.source
    if one.node is not other.node or type(source) is not type(its):
        return False
    return source is None or source[0] is its[0] or (type(its[0]) is int and source[0] == its[0])


def _same_slot(one: Slot, other: Slot) -> bool:
    mine, its = one.aval, other.aval
    if one.kind != other.kind or one.in_place != other.in_place:
        return False
    if one.kind != "arena" and one.index != other.index:
        return False
    if mine is its:
        return True
    known = mine.dtype is its.dtype and mine.ndim == its.ndim
    if one.kind == "output":  # NumPy makes both
        return known and mine.nbytes < LARGE and its.nbytes < LARGE
    return known and one.kind != "state"
