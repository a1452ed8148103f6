"""Where CPython's containers, classes, functions, instances and frames keep their pointers.

Invariant: `objects()` is None unless a self-test found every place on this interpreter and saw each
kind of change in the words that stand for it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import random
import sys
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

from ...layout import Pairs, Same, Unreadable
from . import abi
from .abi import SIZE, word_at
from .method import counted

__all__ = ["PythonObjects", "objects"]

SUPPORTED = ((3, 11), (3, 12), (3, 13))
DICT_USED, DICT_KEYS, DICT_VALUES = 16, 32, 40
# a table of keys: log2 of the bytes of its index, its kind, entries used, and where the index is
KEYS_INDEX_BITS, KEYS_KIND, KEYS_COUNT, KEYS_TABLE = 9, 10, 24, 32
GENERAL_KIND = 0  # keys of any type: an entry starts with the hash
VALUES = 8 if sys.version_info >= (3, 13) else 0  # of instances: what stands before the pointers
MANAGED_DICT = -24  # before the object: CPython keeps the collector's words there, too
# of a frame object: the interpreter's own frame; of that: variables and cells, then the stack
FRAME, FRAME_SLOTS = 24, 72
RESULT = 48  # of an entry of a bounded cache: its result
HEADER = 16  # count of references and class, before the fields of an object
_TWISTER: Any = random.Random.__base__  # the part of a generator that is written in C
FUNCTION = {"__code__": 48, "__defaults__": 56, "__kwdefaults__": 64}
MEMBER: dict[Any, int] = {  # fields of C objects, by their descriptors
    functools.partial.__dict__["func"]: 16,
    functools.partial.__dict__["args"]: 24,
    functools.partial.__dict__["keywords"]: 32,
    property.__dict__["fget"]: 16,
    property.__dict__["fset"]: 24,
    property.__dict__["fdel"]: 32,
    staticmethod.__dict__["__func__"]: 16,
    classmethod.__dict__["__func__"]: 16,
}


def _byte(address: int) -> int:
    return ctypes.c_uint8.from_address(address).value


def _object_at(address: int) -> Any:
    return ctypes.cast(address, ctypes.py_object).value


class PythonObjects:
    """The ObjectLayout of this interpreter."""

    def __init__(self, known: abi.PythonLayout) -> None:
        self._known = known
        self._order = _order_offset()
        self._class_version = _class_version_offset()

    # ---- frames
    def operand(self, frame: types.FrameType, place: int) -> Any:
        return _slot(frame, _variables(frame.f_code) + place)

    def counted(
        self, function: Any, calls: int, last: Any
    ) -> tuple[Callable[..., Any], Callable[[], int]]:
        return counted(function, calls, last)

    # ---- containers and C objects
    def kind(self, instance: Any) -> int:
        return id(instance) + self._known.type

    def cell(self, cell: Any) -> int:
        return id(cell) + self._known.cell_contents

    def length(self, items: list[Any]) -> Pairs:
        return [(id(items) + SIZE, len(items))]

    def list_item(self, items: list[Any], index: int) -> tuple[Pairs, int]:
        start = word_at(id(items) + self._known.list_items)
        place = start + 8 * (index if index >= 0 else index + len(items))
        return [*self.length(items), (id(items) + self._known.list_items, start)], place

    def tuple_item(self, items: tuple[Any, ...], index: int) -> int:
        place = index if index >= 0 else index + len(items)
        return id(items) + self._known.tuple_items + 8 * place

    def member(self, instance: Any, field: Any) -> int:
        if issubclass(type(instance), types.FunctionType) and field in FUNCTION:
            return id(instance) + FUNCTION[field]
        if field not in MEMBER:
            raise Unreadable
        return id(instance) + MEMBER[field]

    # ---- classes and instances
    def instance_dict(self, instance: Any, names: dict[Any, Any]) -> int:
        offset = type(instance).__dictoffset__
        address = id(instance) + (offset if offset > 0 else MANAGED_DICT)
        if word_at(address) != id(names):
            raise Unreadable
        return address

    def order(self, cls: type) -> Pairs:
        return [(id(cls) + self._order, id(cls.__mro__))]

    def class_dict(self, cls: type) -> dict[Any, Any]:
        # a mappingproxy refers to its dict and to nothing else
        return gc.get_referents(vars(cls))[0]  # type: ignore[no-any-return]

    def class_version(self, cls: type) -> int | None:
        if self._class_version is None:
            return None
        getattr(cls, "__init__", None)  # a lookup makes Python number the class
        address = id(cls) + self._class_version
        return address if word_at(address) & 0xFFFFFFFF else None

    def twister(self, generator: Any) -> memoryview | None:
        return _twister(generator) if _twister_is_found() else None

    def kept(self, entry: Any) -> Any:
        return _object_at(word_at(self.kept_at(entry)))

    def kept_at(self, entry: Any) -> int:
        if not _results_are_found():
            raise Unreadable
        return id(entry) + RESULT

    # ---- dicts
    def dict_size(self, names: dict[Any, Any], size: int) -> Pairs:
        return [(id(names) + DICT_USED, size)]

    def dict_value(
        self, names: dict[Any, Any], wanted: Any, guess: int, same: Same
    ) -> tuple[Pairs, int]:
        found = _entry(names, wanted, guess, same)
        if found is None or type(names).__basicsize__ < DICT_VALUES + 8:
            raise Unreadable
        index, address = found
        return [*_tables(names), (address, word_at(address))], _value_address(names, index, address)

    def dict_absent(self, names: dict[Any, Any], wanted: Any, guess: int, same: Same) -> Pairs:
        found = _entry(names, wanted, guess, same)
        if found is not None:  # a key without a value, in a table that instances share
            index, address = found
            return [
                *_tables(names),
                (address, word_at(address)),
                (_value_address(names, index, address), 0),
            ]
        return [*_tables(names), _count(names)]  # grows with every new key

    def dict_keys(self, names: dict[Any, Any]) -> Pairs:
        return [*_tables(names), _count(names), (id(names) + DICT_USED, len(names))]

    def dict_version(self, names: dict[Any, Any]) -> int | None:
        offset = self._known.dict_version
        return None if offset is None else id(names) + offset


# ---- generators of random numbers
def _twister(generator: random.Random) -> memoryview:
    """Its fields in C: a counter and 624 words."""
    size = _TWISTER.__basicsize__ - HEADER
    fields = (ctypes.c_ubyte * size).from_address(id(generator) + HEADER)
    return memoryview(fields).cast("B")


@lru_cache(1)
def _twister_is_found() -> bool:
    """Whether these fields are all that the state is, and what is stored there is the state."""
    if _TWISTER.__basicsize__ - HEADER not in (2500, 2504):
        return False
    first, second = random.Random(1), random.Random(2)
    for _ in range(700):
        first.random()
    state, fields = first.getstate(), _twister(first)
    kept = bytes(fields)
    first.random()
    moved = first.getstate() != state and bytes(fields) != kept
    _twister(second)[:] = fields[:] = kept
    return moved and first.getstate() == state == second.getstate()


@lru_cache(1)
def _results_are_found() -> bool:
    """Whether an entry of a bounded cache keeps its result there, another one's later, too."""
    made = lru_cache(2)(lambda number: [number])
    first = made(1)
    (results,) = [d for d in gc.get_referents(made) if type(d) is dict and list(d) == [1]]
    entry = results[1]
    if type(entry).__basicsize__ < RESULT + 8 or word_at(id(entry) + RESULT) != id(first):
        return False
    made(2), made(3)
    return 1 not in results and word_at(id(results[3]) + RESULT) == id(made(3))


# ---- frames
@lru_cache(1024)
def _variables(code: types.CodeType) -> int:
    """How many slots of a frame are variables and cells: an argument that is a cell has one."""
    cells = [name for name in code.co_cellvars if name not in code.co_varnames]
    return len(code.co_varnames) + len(cells) + len(code.co_freevars)


def _slot(frame: types.FrameType, index: int) -> Any:
    found = word_at(word_at(id(frame) + FRAME) + FRAME_SLOTS + 8 * index)
    if not found:
        raise Unreadable
    return _object_at(found)


# ---- the tables of a dict
def _tables(names: dict[Any, Any]) -> Pairs:
    """Pairs that keep the dict's tables where they are."""
    return [(id(names) + o, word_at(id(names) + o)) for o in (DICT_KEYS, DICT_VALUES)]


def _count(names: dict[Any, Any]) -> tuple[int, int]:
    """The pair of the number of entries ever made in the dict's table."""
    address = word_at(id(names) + DICT_KEYS) + KEYS_COUNT
    return address, word_at(address)


def _value_address(names: dict[Any, Any], index: int, key_at: int) -> int:
    """Address of the pointer to a value: beside its key, or in the values of an instance."""
    values = word_at(id(names) + DICT_VALUES)
    return values + VALUES + 8 * index if values else key_at + 8


def _entry(names: dict[Any, Any], wanted: Any, guess: int, same: Same) -> tuple[int, int] | None:
    """(index, address of the pointer to the key) of a key in the dict's table."""
    keys = word_at(id(names) + DICT_KEYS)
    table = keys + KEYS_TABLE + (1 << _byte(keys + KEYS_INDEX_BITS))
    general = _byte(keys + KEYS_KIND) == GENERAL_KIND
    size, skip = (24, 8) if general else (16, 0)
    count = word_at(keys + KEYS_COUNT)
    # no entry moves before its place in the order
    for index in chain(range(guess, count), range(min(guess, count))):
        address = table + index * size + skip
        found = word_at(address)
        if found and same(_object_at(found), wanted):
            return index, address
    return None


# ---- found by looking
Change = Callable[[], Any]


class _Base:
    shared = object()

    def __init__(self) -> None:
        self.first, self.second = object(), 1.5

    def method(self) -> int:
        return 1


class _Below(_Base):
    pass


class _Beside:
    pass


def _words(cls: type) -> Iterator[tuple[int, int]]:
    for offset in range(0, type.__dict__["__basicsize__"].__get__(type), 8):
        yield offset, word_at(id(cls) + offset)


def _order_offset() -> int:
    """Where a class keeps its method resolution order."""
    found = [o for o, word in _words(_Below) if word == id(_Below.__mro__)]
    found = [o for o in found if all(word_at(id(t) + o) == id(t.__mro__) for t in (_Base, int))]
    if len(found) != 1:
        raise Unreadable
    return found[0]


def _class_version_offset() -> int | None:
    """The word of a class that a change of it or of a base clears, and a lookup fills anew."""

    class Base:
        def one(self) -> int:
            return 1

    class Below(Base):
        pass

    changes: list[Change] = [
        lambda: setattr(Base, "one", len),
        lambda: setattr(Below, "two", 2),
    ]
    rounds = []
    for change in changes:
        getattr(Below, "one", None)
        before = dict(_words(Below))
        change()
        cleared = dict(_words(Below))
        getattr(Below, "one", None)
        rounds.append((before, cleared, dict(_words(Below))))
    found = [
        o
        for o in rounds[0][0]
        if all(
            old[o] and not none[o] and new[o] and new[o] != old[o] and max(new[o], old[o]) < 1 << 32
            for old, none, new in rounds
        )
        and rounds[1][0][o] == rounds[0][2][o]
    ]
    return found[0] if len(found) == 1 else None


# ---- self-test
def _same(one: Any, other: Any) -> bool:
    return bool(one == other)


def _holds(pairs: Pairs) -> bool:
    return all(word_at(address) == word for address, word in pairs)


def _seen(pairs: Pairs, address: int, value: Any, change: Change) -> bool:
    """The pointer to a value is at its address, and a change of what the place holds is seen."""
    if word_at(address) != (0 if value is None else id(value)):
        return False
    pairs = [*pairs, (address, word_at(address))]
    held = _holds(pairs)
    change()
    return held and not _holds(pairs)


def _entries_are_found(known: PythonObjects) -> bool:
    mixed: dict[Any, Any] = {"a": object(), 3: object(), "c": object()}
    names: dict[str, Any] = {f"n{i}": object() for i in range(40)}
    absent, keys = known.dict_absent(names, "new", 0, _same), known.dict_keys(mixed)

    def seen(table: dict[Any, Any], wanted: Any, change: Change) -> bool:
        guess = list(table).index(wanted)
        return _seen(*known.dict_value(table, wanted, guess, _same), table[wanted], change)

    tests = [
        _holds(absent),
        _holds(keys),
        seen(mixed, 3, lambda: mixed.__setitem__(3, object())),
        seen(mixed, "c", lambda: mixed.pop("c")),
        seen(names, "n7", lambda: names.__setitem__("n7", object())),
        seen(names, "n39", lambda: names.update({f"m{i}": i for i in range(99)})),
    ]
    return all(tests) and not _holds(absent) and not _holds(keys)


def _containers_are_found(known: PythonObjects) -> bool:
    x = object()

    def reader() -> Any:
        return x

    assert reader.__closure__ is not None
    cell, code = reader.__closure__[0], reader.__code__
    items, pair = [object(), object()], (object(), object())
    tests = [
        word_at(known.tuple_item(pair, 1)) == id(pair[1]),
        _seen([], known.cell(cell), x, lambda: setattr(cell, "cell_contents", object())),
        _seen(*known.list_item(items, 1), items[1], lambda: items.__setitem__(1, object())),
        _seen(*known.list_item(items, 0), items[0], lambda: items.append(object())),
        _seen(
            [],
            known.member(reader, "__code__"),
            code,
            lambda: setattr(reader, "__code__", code.replace(co_name="other")),
        ),
        _seen(
            [],
            known.member(reader, "__defaults__"),
            None,
            lambda: setattr(reader, "__defaults__", (1,)),
        ),
    ]
    return all(tests)


def _members_are_found() -> bool:
    """The fields of C objects, which a new `__init__` or `__setstate__` replaces."""
    call, other = functools.partial(print, 1.5), functools.partial(str, 2.5)
    readable: Any = property(repr, print, print)
    bare: Any = property()
    wrappers: list[Any] = [staticmethod(repr), classmethod(repr)]
    fields: list[Any] = [(call, m) for m in MEMBER if m.__objclass__ is functools.partial]
    fields += [(readable, m) for m in MEMBER if m.__objclass__ is property]
    fields += [(o, m) for o in wrappers for m in MEMBER if m.__objclass__ is type(o)]
    pairs = [(id(o) + MEMBER[m], id(m.__get__(o))) for o, m in fields]
    found = _holds(pairs) and word_at(id(bare) + MEMBER[property.__dict__["fget"]]) == 0
    call.__setstate__((other.func, other.args, other.keywords, None))  # type: ignore[attr-defined]
    bare.__init__(str)
    readable.__init__(str, repr, repr)
    for o in wrappers:
        o.__init__(str)
    moved = all(word_at(address) != word for address, word in pairs)
    return found and moved and len(pairs) == len(MEMBER)


def _frames_are_found(known: PythonObjects) -> bool:
    """A variable, and what waits on the stack of a frame with cells that makes a call."""
    marks = [object() for _ in range(5)]

    def outer(first: Any, second: Any) -> list[Any]:
        third = second

        def inner() -> list[Any]:
            frame = sys._getframe(1)
            waiting = [known.operand(frame, place) for place in range(3)]
            return [_slot(frame, 0), third, *waiting]

        return [marks[2], marks[3], marks[4], inner()]

    found = outer(marks[0], marks[1])[-1]
    return all(one is other for one, other in zip(found, marks, strict=True))


class _Lookups:
    """Attribute lookups as pairs, for the self-test."""

    def __init__(self, known: PythonObjects) -> None:
        self.known = known

    def value(self, names: dict[Any, Any], name: str) -> tuple[Pairs, int]:
        return self.known.dict_value(names, name, list(names).index(name), _same)

    def instance(self, instance: Any) -> Pairs:
        names, cls = vars(instance), type(instance)
        pairs = [(self.known.kind(instance), id(cls)), *self.known.order(cls)]
        return [*pairs, (self.known.instance_dict(instance, names), id(names))]

    def own(self, instance: Any, name: str, change: Change) -> bool:
        """An attribute in the instance's dict."""
        pairs, address = self.value(vars(instance), name)
        return _seen(self.instance(instance) + pairs, address, vars(instance)[name], change)

    def inherited(self, instance: Any, name: str, change: Change) -> bool:
        """An attribute of the class that the instance does not shadow."""
        shadow = self.known.dict_absent(vars(instance), name, 0, _same)
        pairs, address = self.value(self.known.class_dict(_Base), name)
        return _seen(self.instance(instance) + shadow + pairs, address, vars(_Base)[name], change)


def _objects_are_found(known: PythonObjects) -> bool:
    lookups = _Lookups(known)
    first, second, third, fourth, fifth = (_Base() for _ in range(5))
    below = _Below()
    other = type("Other", (_Base,), {})
    by_class = lookups.value(known.class_dict(_Base), "shared")
    used = known.dict_size(known.class_dict(_Base), len(vars(_Base)))
    tests = [
        lookups.own(first, "first", lambda: setattr(first, "first", object())),
        lookups.own(first, "second", lambda: delattr(first, "second")),
        lookups.own(second, "second", lambda: setattr(second, "__dict__", {"second": 1.5})),
        lookups.inherited(third, "shared", lambda: setattr(third, "shared", 1)),
        _seen(*by_class, _Base.shared, lambda: setattr(_Base, "shared", object())),
        lookups.inherited(second, "method", lambda: setattr(second, "method", None)),
        lookups.inherited(fourth, "method", lambda: setattr(fourth, "__class__", other)),
        _seen([], known.kind(fifth), _Base, lambda: setattr(fifth, "__class__", other)),
        lookups.own(below, "first", lambda: setattr(_Below, "__bases__", (_Base, _Beside))),
    ]
    return all(tests) and _holds(used)


@lru_cache(1)
def objects() -> PythonObjects | None:
    """The places of this interpreter's objects, or None where some were not found."""
    known = abi.layout()
    if known is None or sys.version_info[:2] not in SUPPORTED:
        return None
    try:
        found = PythonObjects(known)
        tests = _entries_are_found(found), _containers_are_found(found), _members_are_found()
        more = all(tests) and _frames_are_found(found) and _objects_are_found(found)
        return found if more else None
    except (Unreadable, ValueError, OSError):
        return None
