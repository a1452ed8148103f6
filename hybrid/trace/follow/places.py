"""Places in memory that code reads and stores to, found without running any user code.

Invariant: one place has one `physical` key, whichever way leads to it; what is more than a plain
place (properties, hooks, dicts whose keys are a user's) has none.
"""

from __future__ import annotations

import builtins
import collections
import types
from typing import Any, Literal, NamedTuple, TypeAlias

from ...ir.tensor import Handle
from ..heap.allowlist import (
    MEMBERS,
    MISSING,
    immutable_type,
    instance_dict,
    is_a,
    lookup,
    plain,
)
from .machine import UNKNOWN, StackSlot, Stepper

__all__ = ["PlaceSpot", "Physical", "attribute", "entry", "item", "named", "variable", "global_"]
__all__ += ["is_mapping", "Contents", "Method", "Mutation"]

MAX_ITEMS = 128  # of a list whose start is remembered
MAX_KEYS = 64  # of a dict whose items are places
Physical = tuple[Any, ...]


class PlaceSpot(NamedTuple):
    """A place in memory: `physical` is one for all ways to it; holder and key of a fact's kind."""

    physical: Physical
    kind: str
    holder: Any
    key: Any


Method: TypeAlias = Literal[
    "append",
    "appendleft",
    "extend",
    "clear",
    "pop",
    "popleft",
    "add",
    "discard",
    "set",
    "delete",
    "store",
]


class Mutation(NamedTuple):
    """A method of a built-in container, or a store or deletion of one of its items, that ran; or a
    store into an array ("store")."""

    owner: Any
    method: Method
    arguments: tuple[StackSlot, ...]
    at: tuple[int, int]  # code, offset


class Contents:
    """What containers held before the call changed them, by id; `mixed`: those that it also looked
    at.  `kept` counts the references to tensors."""

    def __init__(self, kept: collections.Counter[int]) -> None:
        self.begun: dict[int, list[Any]] = {}
        self.mixed: set[int] = set()
        self.kept = kept

    def begin(self, owner: Any) -> None:
        """A container is about to be changed."""
        sequence = type(owner) is list or type(owner) is collections.deque
        if sequence and id(owner) not in self.begun and len(owner) <= MAX_ITEMS:
            self.begun[id(owner)] = list(owner)
            self.kept.update([id(value) for value in owner if is_a(value, Handle)])


def named(key: Any) -> bool:
    """Whether a key of a dict is a plain name or number."""
    return type(key) is str or type(key) is int


def is_mapping(value: Any) -> bool:
    """A dict or one of its kinds in the standard library, exactly."""
    cls = type(value)
    kinds = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
    return any(cls is kind for kind in kinds)


def entry(names: dict[str, Any], name: str) -> tuple[PlaceSpot, Any]:
    """The place of a name in the dictionary of a module."""
    return PlaceSpot(("dict", id(names), name), "item", names, name), names.get(name, MISSING)


def attribute(base: Any, name: str) -> tuple[PlaceSpot | None, Any]:
    """The plain place behind `base.name` and what it holds; no place where more is involved."""
    cls = type(base)
    if cls is types.ModuleType:
        return entry(base.__dict__, name)
    if is_a(base, (type, Handle, super)) or plain(base):
        return None, UNKNOWN
    if type(lookup(cls, "__getattribute__")) is types.FunctionType:
        return None, UNKNOWN
    found, entries = lookup(cls, name), instance_dict(base)
    if is_a(found, types.MemberDescriptorType) and not immutable_type(found.__objclass__):
        try:
            value = found.__get__(base)
        except AttributeError:
            value = MISSING
        return PlaceSpot(("member", id(base), name), "attr", base, name), value
    if found is not MISSING and lookup(type(found), "__set__") is not MISSING:
        return None, UNKNOWN
    if is_a(found, MEMBERS):
        return None, UNKNOWN
    if type(entries) is dict:
        spot = PlaceSpot(("dict", id(entries), name), "slot", base, name)
        if name in entries:
            return spot, entries[name]
        if found is MISSING or lookup(type(found), "__get__") is MISSING:
            return (spot, MISSING) if found is MISSING else (None, found)
    return None, UNKNOWN


def item(container: Any, key: Any) -> tuple[PlaceSpot | None, Any]:
    """The place behind `container[key]` of a built-in container, and what it holds."""
    if is_mapping(container) and named(key):
        if len(container) > MAX_KEYS or not all(map(named, container)):
            return None, UNKNOWN  # a comparison of a user's key might run
        held = dict.get(container, key, MISSING)
        return PlaceSpot(("dict", id(container), key), "item", container, key), held
    if type(container) is list and type(key) is int and -len(container) <= key < len(container):
        index = key % len(container)
        return PlaceSpot(("list", id(container), index), "item", container, index), container[key]
    return None, UNKNOWN


def variable(machine: Stepper, name: str) -> tuple[PlaceSpot | None, Any]:
    """A variable of an outer function."""
    cell = machine.cell(name)
    if cell is None:
        return None, UNKNOWN
    try:
        value = cell.cell_contents
    except ValueError:
        value = MISSING
    return PlaceSpot(("cell", id(cell)), "cell", cell, name), value


def global_(frame: types.FrameType, name: str) -> tuple[PlaceSpot | None, Any]:
    """A global, or a builtin."""
    space = frame.f_globals
    if name in space:
        return entry(space, name)
    return None, builtins.__dict__.get(name, UNKNOWN)
