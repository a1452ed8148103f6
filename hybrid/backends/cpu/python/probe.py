"""Where CPython and NumPy keep what native code reads: offsets found by experiment, never assumed.

Invariant: an offset is published only after a self-test saw the right word there on several
objects; where any test fails, or threads run without the GIL, `layout()` is None and `why_not()`
says why.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Layout",
    "available",
    "layout",
    "why_not",
    "slot_offset",
    "slot_address",
    "cell_address",
    "list_item_address",
    "word_at",
    "numpy_api",
    "dict_version",
]

WRITABLE_FLAGS = 0x0001 | 0x0004 | 0x0100 | 0x0400  # C-contiguous, owns data, aligned, writeable


class Layout(NamedTuple):
    """Byte offsets inside objects; `dict_version` is None where dicts carry no version."""

    refcount: int
    type: int
    array_data: int
    array_base: int
    array_flags: int
    list_items: int
    tuple_items: int
    cell_contents: int
    dict_version: int | None


class _Mismatch(Exception):
    pass


def word_at(address: int) -> int:
    """The 8-byte word at an address."""
    return ctypes.c_uint64.from_address(address).value


def _half_at(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value


def _find(what: str, samples: list[tuple[int, int, int]]) -> int:
    """The one offset at which every sample (address, size, expected word) holds its word."""
    size = min(n for _, n, _ in samples)
    good = [o for o in range(0, size - 7, 8) if all(word_at(a + o) == w for a, _, w in samples)]
    if len(good) != 1:
        raise _Mismatch(f"{what} found at {good}")
    return good[0]


def _size(obj: Any) -> int:
    return type(obj).__basicsize__


def _array_offsets() -> tuple[int, int, int]:
    arrays: list[Any] = [np.arange(n, dtype=d) for n, d in ((3, "f4"), (70, "i8"), (5, "u1"))]
    arrays += [a[1:] for a in arrays]
    data = _find(
        "array data", [(id(a), _size(a), a.__array_interface__["data"][0]) for a in arrays]
    )
    base = _find("array base", [(id(a), _size(a), id(a.base)) for a in arrays[3:]])
    if any(word_at(id(a) + base) for a in arrays[:3]):
        raise _Mismatch("array base is not null on an array that owns its data")
    frozen = np.ones(4)
    frozen.flags.writeable = False
    samples = [
        *arrays,
        frozen,
        np.ones((3, 4)).T,
        np.ones((3, 4), order="F"),
        np.ones((4, 4))[::2, ::2],
        np.zeros(()),
    ]
    good = [
        o
        for o in range(16, _size(frozen) - 3, 4)
        if all(_half_at(id(a) + o) == a.flags.num for a in samples)
    ]
    if len(good) != 1:
        raise _Mismatch(f"array flags found at {good}")
    return data, base, good[0]


def _refcount_offset() -> int:
    class Holder:
        __slots__ = ("v",)
        v: np.ndarray

    h = Holder()
    h.v = np.ones(3)
    p = word_at(id(h) + slot_offset(Holder, "v"))
    if p != id(h.v) or _half_at(p) != 1:  # only the slot holds it
        raise _Mismatch("an object with one holder does not count one reference")
    makers: list[Callable[[Any], Any]] = [
        lambda a: a,
        lambda a: [a],
        lambda a: a[1:],
        lambda a: memoryview(a),
        lambda a: lambda: a,
        lambda a: np.asarray(a),
        lambda a: iter(a),
        lambda a: a.reshape(3, 1),
        lambda a: a.flat,
    ]
    for make in makers:
        holder = make(h.v)
        if _half_at(p) < 2:
            raise _Mismatch(f"a holder of type {type(holder).__name__} is not counted")
        del holder
        if _half_at(p) != 1:
            raise _Mismatch("a reference that ended is still counted")
    return 0


def _items_offsets() -> tuple[int, int, int]:
    a, b = object(), object()
    lists = [[a], [a, b]]
    items = [
        o
        for o in range(16, list.__basicsize__, 8)
        if all(
            word_at(id(x) + o) not in (0, 1, 2) and word_at(word_at(id(x) + o)) == id(a)
            for x in lists
        )
    ]
    if len(items) != 1:
        raise _Mismatch(f"list items found at {items}")
    tuples = [(a, b), (a, b, a)]
    first = _find("tuple items", [(id(t), tuple.__basicsize__ + 16, id(a)) for t in tuples])
    if any(word_at(id(t) + first + 8) != id(b) for t in tuples):
        raise _Mismatch("tuple items are not adjacent")
    cells = [(lambda: x).__closure__[0] for x in (a, b)]  # type: ignore[index]
    cell = _find("cell contents", [(id(c), _size(c), id(c.cell_contents)) for c in cells])
    return items[0], first, cell


def _dict_version_offset() -> int | None:
    """Offset of a word that changes with every change of a dict and with nothing else."""
    good = []
    for o in range(16, dict.__basicsize__ - 7, 8):
        d: dict[str, Any] = {"a": 1, "b": 2}
        address = id(d) + o

        def step(change: Callable[[], Any]) -> bool:
            before = word_at(address)
            change()
            return word_at(address) != before

        changes = [
            lambda: d.__setitem__("a", 5.5),
            lambda: d.__setitem__("a", "x"),
            lambda: d.pop("b"),
            lambda: d.__setitem__("c", 3),
            lambda: d.update(q=4),
            lambda: d.clear(),
        ]
        reads = [lambda: d.get("a"), lambda: len(d), lambda: list(d), lambda: "z" in d]
        if all(step(c) for c in changes) and not any(step(r) for r in reads):
            good.append(o)
    return good[0] if len(good) == 1 else None


def _probe() -> Layout:
    if (
        sys.implementation.name != "cpython"
        or ctypes.sizeof(ctypes.c_void_p) != 8
        or sys.byteorder != "little"
    ):
        raise _Mismatch("this is not 64-bit little-endian CPython")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise _Mismatch("this Python runs without the GIL")
    if hasattr(sys, "gettotalrefcount") or hasattr(sys, "getobjects"):
        raise _Mismatch("this is a debug build of Python")
    things = [object(), np.ones(2), [1], (1, 2), {}]
    kind = _find("object type", [(id(o), 16, id(type(o))) for o in things])
    data, base, flags = _array_offsets()
    items, first, cell = _items_offsets()
    return Layout(
        _refcount_offset(), kind, data, base, flags, items, first, cell, _dict_version_offset()
    )


@lru_cache(None)
def _result() -> tuple[Layout | None, str]:
    try:
        return _probe(), ""
    except (_Mismatch, ValueError, AttributeError, TypeError) as e:
        return None, str(e) or type(e).__name__


def layout() -> Layout | None:
    """The offsets of this interpreter, or None where native code must not touch Python objects."""
    return _result()[0]


def available() -> bool:
    """Whether native code may read Python objects here."""
    return _result()[0] is not None


def why_not() -> str:
    """The test that failed; '' when the probe succeeded."""
    return _result()[1]


@lru_cache(None)
def slot_offset(cls: type, name: str) -> int:
    """Offset of a `__slots__` member in instances of cls; AttributeError if there is none."""
    if type(getattr(cls, name, None)).__name__ != "member_descriptor":
        raise AttributeError(f"{cls.__name__} has no slot {name!r}")
    found = []
    for marker in (object(), object()):
        obj: Any = object.__new__(cls)
        getattr(cls, name).__set__(obj, marker)
        found.append((obj, cls.__basicsize__, id(marker), marker))
    return _find(f"slot {name} of {cls.__name__}", [(id(o), n, w) for o, n, w, _ in found])


def slot_address(obj: Any, name: str) -> int:
    """Address of the PyObject* of a slot of an object."""
    return id(obj) + slot_offset(type(obj), name)  # type: ignore[arg-type]


def cell_address(cell: Any) -> int:
    """Address of the PyObject* of a closure cell."""
    return id(cell) + _need().cell_contents


def list_item_address(items: list[Any], index: int) -> int:
    """Address of a list item's PyObject*, valid until a resize (guard `id(list) + list_items`)."""
    return word_at(id(items) + _need().list_items) + 8 * range(len(items))[index]


def dict_version(d: dict[Any, Any]) -> tuple[int, int] | None:
    """(address, word) of a dict's version, or None where dicts carry none (Python 3.13)."""
    offset = _need().dict_version
    return None if offset is None else (id(d) + offset, word_at(id(d) + offset))


def _need() -> Layout:
    got = layout()
    if got is None:
        raise AttributeError(f"object layouts are not available: {why_not()}")
    return got


@lru_cache(None)
def numpy_api(index: int) -> int:
    """Address of a function of NumPy's C API table (_ARRAY_API)."""
    from_capsule = ctypes.pythonapi.PyCapsule_GetPointer
    from_capsule.restype, from_capsule.argtypes = (
        ctypes.c_void_p,
        [ctypes.py_object, ctypes.c_char_p],
    )
    core = (
        sys.modules.get("numpy._core._multiarray_umath")
        or sys.modules["numpy.core._multiarray_umath"]
    )
    table = from_capsule(core._ARRAY_API, None)
    if not table:
        raise _Mismatch("NumPy's C API table is missing")
    return word_at(table + 8 * index)
