"""Named tuples, and objects of which the call knows all fields: those that it makes in one go
(`State(step + 1, m)`, `state._replace(...)`, `dataclasses.replace(state, ...)`, a SimpleNamespace),
and tuples among the arguments with followed numbers in them.

Invariant: as of model; a record is never changed: whoever may change it loses it.
"""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Sequence
from typing import Any

from ...heap.allowlist import MISSING, instance_dict, lookup
from ..machine import UNSEEN, StackSlot, Stepper, value_of
from ..places import attribute
from ..terms import Collection, Live
from .model import Fresh, item_of

__all__ = [
    "GivenBox",
    "RecordBox",
    "field_of",
    "is_record",
    "item_in",
    "items_of",
    "made_record",
    "record_in",
    "replaced",
]

_PAIR: Any = collections.namedtuple("_PAIR", "a b")
_REPLACE = _PAIR._replace.__code__
_MADE = "__create_fn__.<locals>."  # what dataclasses writes
_OF_TUPLES = ("__getattribute__", "__iter__", "__len__", "__getitem__")


class RecordBox(Fresh):
    """A tuple, a named tuple, or an object with fields (`keys`)."""

    __slots__ = ()

    def at(self, key: Any) -> int | None:
        """The position of an item of a tuple."""
        if not issubclass(self.type, tuple):
            return None
        whole = type(key) is int and -len(self.slots) <= key < len(self.slots)
        return key % len(self.slots) if whole else None


class GivenBox(RecordBox):
    """A tuple among the arguments with followed numbers in it, which are looked at (`escaped`) if
    it is used as the object that it is: no other one may take its place."""

    __slots__ = ("escaped",)

    def __init__(self, kind: type, slots: Sequence[StackSlot], escaped: set[Any]) -> None:
        super().__init__(kind, slots)
        self.escaped = escaped

    def whole(self) -> Collection:
        self.escaped.update(self.leaves())
        return super().whole()

    def frozen(self) -> Collection | None:
        self.escaped.update(self.leaves())
        return super().frozen()


def is_record(cls: Any) -> bool:
    """Whether a class is that of tuples, or of named tuples which are read as such."""
    if cls is tuple or not issubclass(cls, tuple):
        return cls is tuple
    if cls.__base__ is not tuple or cls.__dictoffset__ or lookup(cls, "_fields") is MISSING:
        return False
    return all(lookup(cls, name) is getattr(tuple, name) for name in _OF_TUPLES)


def record_in(slot: StackSlot) -> RecordBox | None:
    """The record in a slot, where all is known of it."""
    return slot.term if isinstance(slot.term, RecordBox) and not slot.term.lost else None


def items_of(slot: StackSlot, count: int) -> list[StackSlot] | None:
    """The items of a tuple of so many."""
    record = record_in(slot)
    if record is None or not issubclass(record.type, tuple) or len(record.slots) != count:
        return None
    return record.slots


def field_of(slot: StackSlot, name: str) -> StackSlot | None:
    """What a field holds; None where that is not known."""
    record = record_in(slot)
    names: Any = () if record is None else record.keys
    if record is not None and record.type is not tuple and issubclass(record.type, tuple):
        names = record.type._fields  # type: ignore[attr-defined]
        plain = lookup(record.type, name)
        if name in names and type(plain).__name__ != "_tuplegetter":
            return None
    if record is None or name not in names:
        return None
    return record.slots[list(names).index(name)]


def item_in(follow: Any, machine: Stepper, slot: StackSlot, key: StackSlot, index: Any) -> bool:
    """Whether an item of a tuple is taken out of a record."""
    record = record_in(slot)
    place = None if record is None or key.term is not None else record.at(index)
    if record is None or place is None:
        return False
    follow.of_others.add((id(machine.code), machine.offset))
    machine.stack.append(record.slots[place])
    return True


def made_record(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
    names: tuple[str, ...],
    first: int,
) -> bool:
    """A call that makes a record in which followed numbers are; false: it is none."""
    replaces = function is dataclasses.replace
    inside = replaces and bool(given) and id(value_of(frame, given[0])) in follow.owners
    if not inside and not any(slot.term is not None for slot in given):
        return False
    if not replaces and not issubclass(type(function), type):
        return False
    slots = [item_of(machine, frame, slot, first + k) for k, slot in enumerate(given)]
    if any(slot.method for slot in slots if slot.term is not None):
        return False
    if replaces:
        found = _replaced(follow, machine, frame, given[0], slots, names)
    elif function is types.SimpleNamespace:
        found = RecordBox(function, slots, names) if len(slots) == len(names) else None
    else:
        found = _constructed(function, slots, names)
    if found is None:
        return False
    follow.impure += 1
    machine.stack.append(StackSlot(term=found))
    return True


def _constructed(cls: Any, slots: list[StackSlot], names: tuple[str, ...]) -> RecordBox | None:
    if type(cls) is not type:
        return None
    if cls is not tuple and is_record(cls):
        new = lookup(cls, "__new__")
        new = new.__func__ if type(new) is staticmethod else new
        if type(new) is not types.FunctionType or new.__code__.co_names != ("_tuple_new",):
            return None
        if new.__globals__.get("_tuple_new") is not tuple.__new__:
            return None
        bound = _bound(new, slots, names)
        return None if bound is None else RecordBox(cls, list(bound.values()))
    init = _written_init(cls)
    if init is None or not lookup(cls, "__dataclass_params__").frozen:
        return None  # the stores of other classes are followed
    bound = _bound(init, slots, names)
    return None if bound is None else RecordBox(cls, list(bound.values()), list(bound))


def _written_init(cls: Any) -> types.FunctionType | None:
    """The `__init__` that dataclasses wrote, which does nothing but store its arguments in the
    dictionary of an object, all fields of which they are."""
    init, fields = lookup(cls, "__init__"), lookup(cls, "__dataclass_fields__")
    if type(init) is not types.FunctionType or type(fields) is not dict:
        return None
    code, params = init.__code__, lookup(cls, "__dataclass_params__")
    if not code.co_qualname.startswith(_MADE) or lookup(cls, "__new__") is not object.__new__:
        return None
    if lookup(cls, "__post_init__") is not MISSING or params is MISSING:
        return None
    if code.co_varnames[1 : code.co_argcount] != tuple(fields) or code.co_kwonlyargcount:
        return None
    setter = lookup(cls, "__setattr__")
    written = type(setter) is types.FunctionType and params.frozen
    if setter is not object.__setattr__ and not (
        written and setter.__code__.co_qualname.startswith(_MADE)
    ):
        return None
    if any(lookup(cls, name) is not MISSING and _special(cls, name) for name in fields):
        return None
    return init if cls.__dictoffset__ else None


def _special(cls: Any, name: str) -> bool:
    """Whether a name of a class is more than a default."""
    return lookup(type(lookup(cls, name)), "__get__") is not MISSING


def _bound(
    function: types.FunctionType, slots: list[StackSlot], names: tuple[str, ...]
) -> dict[str, StackSlot] | None:
    """The parameters behind the first, in order, with what they get; None where a call fails."""
    code = function.__code__
    parameters = code.co_varnames[1 : code.co_argcount]
    count = len(slots) - len(names)
    found = dict(zip(parameters, slots[:count]))
    if count > len(parameters) or not found.keys().isdisjoint(names):
        return None
    found.update(zip(names, slots[count:]))
    defaults = function.__defaults__ or ()
    for name in parameters[len(parameters) - len(defaults) :] if defaults else ():
        found.setdefault(name, UNSEEN)
    if found.keys() != set(parameters):
        return None
    return {name: found[name] for name in parameters}


def replaced(slot: StackSlot, slots: list[StackSlot], names: tuple[str, ...]) -> RecordBox | None:
    """What `_replace` of a named tuple gives; None where that is not known."""
    record = record_in(slot)
    if record is None or record.type is tuple or not is_record(record.type):
        return None
    found = lookup(record.type, "_replace")
    fields = list(record.type._fields)  # type: ignore[attr-defined]
    own = type(found) is types.FunctionType and found.__code__ is _REPLACE
    if not own or len(slots) != len(names) or not set(names) <= set(fields):
        return None
    given = dict(zip(names, slots))
    return RecordBox(record.type, [given.get(n, s) for n, s in zip(fields, record.slots)])


def _replaced(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    base: StackSlot,
    slots: list[StackSlot],
    names: tuple[str, ...],
) -> RecordBox | None:
    """What `dataclasses.replace` gives."""
    record, changes = record_in(base), dict(zip(names, slots[1:]))
    if len(slots) != 1 + len(names):
        return None
    value = value_of(frame, base) if record is None else None
    cls: Any = type(value) if record is None else record.type
    if (isinstance(base.term, Live) and record is None) or _written_init(cls) is None:
        return None
    fields = list(lookup(cls, "__dataclass_fields__"))
    if not set(names) <= set(fields):
        return None
    found: dict[str, StackSlot] = {}
    for name in fields:
        if name in changes:
            found[name] = changes[name]
        elif record is not None:
            found[name] = record.slots[record.keys.index(name)]
        elif name not in (instance_dict(value) or ()):
            return None
        else:
            spot, held = attribute(value, name)
            if spot is None:
                return None
            found[name] = item_of(machine, frame, follow.load(machine, spot, held), -1)
    follow.replaced += 1
    return RecordBox(cls, list(found.values()), fields)
