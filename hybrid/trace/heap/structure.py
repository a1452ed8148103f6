"""Arguments that a signature describes by what they are made of, though they are no containers:
dataclasses and their like, functions by code and cells, bound methods, partial objects; objects of
other classes once fresh ones keep coming (`FreshObjects`).

Invariant: two objects with equal structures do the same wherever a program asks neither which one
it is nor its hash; looking runs no code of a user (no property, `__getattr__`, `__eq__`).
"""

from __future__ import annotations

import array
import collections
import dis
import functools
import types
import weakref
from typing import Any, NamedTuple

import numpy as np
import optree

from ...core.cache import keep
from ...ir.mode import Versioned
from .allowlist import (
    MISSING,
    class_names,
    finalized,
    immutable_type,
    instance_dict,
    is_a,
    lookup,
    plain,
    trusted,
)

__all__ = [
    "Structure",
    "structure_of",
    "stands_alone",
    "EMPTY",
    "fields_of",
    "built",
    "steps_of",
    "may_open",
    "FreshObjects",
    "has_twins",
    "holds_nan",
]

_MOST_SOUGHT = 10_000  # values that are looked through for a NaN


class Structure(NamedTuple):
    """`header`: what two of them must have in common beside their parts, as exact plain values;
    `kept`: objects that the header names by id; `own`: objects whose content is in the parts."""

    header: tuple[Any, ...]
    parts: list[Any]
    kept: tuple[Any, ...]
    own: tuple[Any, ...]


class Fields(NamedTuple):
    """The slots of the objects of a class, beside the dictionary that they may have; `valued`:
    whether signatures take its objects by what they hold."""

    slots: tuple[Any, ...]
    valued: bool = True


_FIELDS: dict[int, tuple[weakref.ref[type], Fields | None]] = {}
_COMPARED = (types.SimpleNamespace, bytearray, memoryview, array.array)  # by what they hold
EMPTY = object()  # a cell or slot that holds nothing
_TREES = ("", "hybrid")  # where classes may be registered as trees
ENOUGH = 2  # objects of a class that served no second call before the class is opened
_MOST = 128  # classes of which such objects are counted


def structure_of(value: Any) -> Structure | None:
    """What a value is made of; None for objects that a signature knows by identity."""
    cls = type(value)
    if cls is types.FunctionType:
        return _function(value)
    if cls is types.MethodType:
        function, owner = value.__func__, value.__self__
        return Structure(("method", id(function)), [owner], (function,), (value,))
    if cls is functools.partial:
        return _partial(value)
    if cls is collections.OrderedDict or cls is collections.defaultdict:
        return _mapping(value)
    if cls is types.SimpleNamespace:
        return _object(value, cls, Fields(()))
    if immutable_type(cls):
        return None
    fields = _fields_of(cls)
    return None if fields is None or not fields.valued else _object(value, cls, fields)


def may_open(cls: type) -> bool:
    """Whether signatures could take the objects of a class by what they hold, and do not yet."""
    if immutable_type(cls):
        return False
    fields = _fields_of(cls)
    return fields is not None and not fields.valued


def open_class(cls: type) -> None:
    """Have signatures take the objects of a class by what they hold from now on: those that come
    are ever new ones, of which no recording by identity would serve a second call."""
    fields = _fields_of(cls)
    if fields is not None:
        _FIELDS[id(cls)] = weakref.ref(cls), fields._replace(valued=True)


def stands_alone(value: Any, text: bool) -> bool:
    """Whether C code that compares or hashes an object with a structure may tell it from an equal
    one, or that makes a `text` of it."""
    cls = type(value)
    if cls in _COMPARED or is_a(value, (dict, list, tuple, np.ndarray, np.void)):
        return False
    if text and lookup(cls, "__repr__") is object.__dict__["__repr__"]:
        return True
    fields = _fields_of(cls)
    return lookup(cls, "__eq__") is object.__dict__["__eq__"] or not (fields and fields.valued)


def has_twins(value: Any) -> bool:
    """Whether a value that is known by what it is may be one object now and an equal one later."""
    if value is None or is_a(value, (bool, np.dtype, type(Ellipsis), type(NotImplemented))):
        return False
    return plain(value) or type(value) in (tuple, frozenset)


def holds_nan(value: Any) -> bool:
    """Whether a value is a NaN, or a builtin container of some."""
    todo, left = [value], _MOST_SOUGHT
    while todo and left:
        one, left = todo.pop(), left - 1
        if type(one) is dict:
            todo += [*one, *one.values()][:left]
        elif type(one) in (list, tuple, set, frozenset, collections.deque):
            todo += list(one)[:left]
        elif (type(one) in (float, complex) or is_a(one, np.inexact)) and one != one:
            return True
    return False


def _fields_of(cls: type) -> Fields | None:
    """The fields of a class whose objects are no more than these; None for other classes."""
    known = _FIELDS.get(id(cls))
    if known is not None and known[0]() is cls:
        return known[1]
    found = _find_fields(cls)
    keep(_FIELDS, id(cls), (weakref.ref(cls), found), 4096)
    return found


def _find_fields(cls: type) -> Fields | None:
    valued = type(lookup(cls, "__dataclass_fields__")) is dict
    valued = valued or lookup(cls, "__attrs_attrs__") is not MISSING or _registered(cls)
    if not valued and _ours(lookup(cls, "__module__")):
        return None  # hybrid's code reads its own objects unwatched
    if issubclass(cls, (Versioned, type, BaseException)):
        return None
    bases = type.__dict__["__mro__"].__get__(cls)
    slots: list[Any] = []
    for base in bases:
        if base is not object and immutable_type(base):
            return None  # it has fields of its own that no class statement made
        slots += [m for m in class_names(base).values() if type(m) is types.MemberDescriptorType]
    return Fields(tuple(slots), valued)


def _ours(module: Any) -> bool:
    return type(module) is str and module.partition(".")[0] == __name__.partition(".")[0]


def _registered(cls: type) -> bool:
    """Whether optree knows a class as a node of trees."""
    for space in _TREES:
        try:
            if optree.register_pytree_node.get(cls, namespace=space) is not None:
                return True
        except Exception:  # no such namespace
            continue
    return False


def _object(value: Any, cls: type, fields: Fields) -> Structure | None:
    entries, names, parts = instance_dict(value), list[str](), list[Any]()
    if entries is not None:
        for name, part in entries.items():
            if type(name) is not str:
                return None
            names.append(name)
            parts.append(part)
    for member in fields.slots:
        try:
            parts.append(member.__get__(value, cls))
        except AttributeError:
            parts.append(EMPTY)
    own = (value,) if entries is None else (value, entries)
    return Structure(("object", id(cls), *names), parts, (cls,), own)


def steps_of(value: Any, structure: Structure) -> list[Any]:
    """How a program gets at each part: a name, or a key; None: in no such way."""
    cls, steps = type(value), list[Any]([None] * len(structure.parts))
    if cls is collections.OrderedDict or cls is collections.defaultdict:
        keys = list(dict.keys(value))
        steps[1 : 2 * len(keys) : 2] = keys
    elif not any(cls is k for k in (types.FunctionType, types.MethodType, functools.partial)):
        fields = None if cls is types.SimpleNamespace else _fields_of(cls)
        slots = () if fields is None else fields.slots
        return [*structure.header[2:], *[member.__name__ for member in slots]]
    return steps


def _mapping(value: Any) -> Structure | None:
    cls = type(value)
    if instance_dict(value):
        return None
    parts: list[Any] = []
    for key, item in dict.items(value):
        parts += key, item
    if cls is collections.defaultdict:
        parts.append(collections.defaultdict.__dict__["default_factory"].__get__(value))
    return Structure(("mapping", id(cls), len(parts)), parts, (cls,), (value,))


def _partial(value: Any) -> Structure | None:
    if value.__dict__:
        return None
    parts = [value.func, value.args, value.keywords]
    return Structure(("partial",), parts, (), (value, value.args, value.keywords))


def _function(function: Any) -> Structure | None:
    """A function of a user, by code, globals, defaults, cells and attributes."""
    code, names = function.__code__, _texts(function)
    if trusted(code.co_filename) or names is None or _rebinds(code):
        return None
    if dict.get(function.__globals__, names[0]) is function:
        return None  # it stays what it is for as long as its module names it
    defaults, keywords = function.__defaults__, function.__kwdefaults__
    cells, entries = function.__closure__ or (), function.__dict__
    parts = [defaults, keywords]
    for cell in cells:
        try:
            parts.append(cell.cell_contents)
        except ValueError:
            parts.append(EMPTY)
    for name, part in entries.items():
        if type(name) is not str:
            return None
        parts.append(part)
    space = function.__globals__
    header = ("function", id(code), id(space), *names, *entries)
    own = (function, entries, *cells, *[o for o in (defaults, keywords) if o is not None])
    return Structure(header, parts, (code, space), own)


def _texts(function: Any) -> tuple[Any, ...] | None:
    """What a function says of itself; None where that is no plain text."""
    names = (function.__name__, function.__qualname__, function.__module__, function.__doc__)
    return names if all(type(n) is str or n is None for n in names) else None


@functools.lru_cache(4096)
def _rebinds(code: types.CodeType) -> bool:
    """Whether code stores to variables of an outer function: it matters whose they are."""
    stores = ("STORE_DEREF", "DELETE_DEREF")
    return any(
        ins.opname in stores and ins.argval in code.co_freevars
        for ins in dis.get_instructions(code)
    )


# ---- objects made anew
def fields_of(value: Any) -> tuple[tuple[Any, ...], list[Any]] | None:
    """The names (of slots: their descriptors) and values of the fields of an object of which
    another one can be made; None for other objects."""
    cls = type(value)
    fields = Fields(()) if cls is types.SimpleNamespace else None
    if fields is None and not immutable_type(cls) and not finalized(cls):
        fields = _fields_of(cls)
    structure = None if fields is None else _object(value, cls, fields)
    if fields is None or structure is None:
        return None
    keys = (*structure.header[2:], *fields.slots)
    kept = [(key, part) for key, part in zip(keys, structure.parts) if part is not EMPTY]
    return tuple(key for key, _ in kept), [part for _, part in kept]


def built(cls: type, keys: tuple[Any, ...], parts: list[Any]) -> Any:
    """An object of a class with these fields; no `__init__` or `__setattr__` runs."""
    value = types.SimpleNamespace() if cls is types.SimpleNamespace else object.__new__(cls)
    entries = instance_dict(value)
    for key, part in zip(keys, parts):
        if type(key) is types.MemberDescriptorType:
            key.__set__(value, part)
        else:
            assert entries is not None  # the recorded object had one
            entries[key] = part
    return value


# ---- classes of which a function gets ever new objects
class FreshObjects:
    """How many signatures died, or wait, with an object, by the class of the object."""

    def __init__(self) -> None:
        self.unserved: dict[int, int] = {}

    def note(self, cls: type) -> None:
        """A signature that an object of a class belonged to served no call."""
        if may_open(cls):
            keep(self.unserved, id(cls), self.unserved.get(id(cls), 0) + 1, _MOST)

    def opens(self, objects: list[Any]) -> bool:
        """Have objects of such classes taken by structure; whether one of these is."""
        found = [type(v) for v in objects if self.unserved.get(id(type(v)), 0) >= ENOUGH]
        for cls in found:
            self.unserved.pop(id(cls), None)
            open_class(cls)
        return bool(found)
