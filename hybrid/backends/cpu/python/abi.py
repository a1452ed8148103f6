"""What native code knows of CPython and NumPy: offsets in objects, flags, C functions by number.

Invariant: an offset is published only after a self-test saw the right word there on several
objects; where any test fails, or threads run without the GIL, `layout()` is None and `why_not()`
says why.  With objects.py the only file to open for a new release of either.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ....core.errors import BackendError

__all__ = [
    "PythonLayout",
    "available",
    "layout",
    "why_not",
    "slot_offset",
    "slot_address",
    "list_item_address",
    "word_at",
    "pointer",
    "array_data",
    "array_flags",
    "array_strides",
    "new_method",
    "MethodDef",
    "numpy_api",
    "new_ufunc",
    "register_loop",
    "MAX_OPERANDS",
    "ARRAY_TYPE",
    "NEW_COPY",
    "NEW_FROM_DESCR",
    "SET_BASE_OBJECT",
    "C_CONTIGUOUS",
    "OWNS_DATA",
    "ALIGNED",
    "WRITEABLE",
    "BYTES_DATA",
    "TUPLE_ITEMS",
    "SIZE",
]

# NumPy's flags of an array, and places in its table of C functions (stable since NumPy 1.7)
C_CONTIGUOUS, OWNS_DATA, ALIGNED, WRITEABLE = 0x0001, 0x0004, 0x0100, 0x0400
ARRAY_TYPE, NEW_COPY, NEW_FROM_DESCR, SET_BASE_OBJECT = 2, 85, 94, 282
NEW_UFUNC, REGISTER_LOOP = 1, 2  # in the table of ufuncs
MAX_OPERANDS = 32  # NPY_MAXARGS of every release
METH_FASTCALL = 0x80  # a C function of (self, arguments, count)
SIZE = 16  # ob_size: the number of items of a list or tuple
# items and bytes are the last field of their struct; a bytes object counts its final zero
TUPLE_ITEMS, BYTES_DATA = tuple.__basicsize__, bytes.__basicsize__ - 1


class PythonLayout(NamedTuple):
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


class _Mismatch(BackendError):
    pass


def word_at(address: int) -> int:
    """The 8-byte word at an address."""
    return ctypes.c_uint64.from_address(address).value


def _half_at(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value


def _only(what: str, offsets: Iterable[int]) -> int:
    found = list(offsets)
    if len(found) != 1:
        raise _Mismatch(f"{what} found at {found}")
    return found[0]


def _find(what: str, samples: list[tuple[int, int, int]]) -> int:
    """The one offset at which every sample (address, size, expected word) holds its word."""
    size = min(n for _, n, _ in samples)
    return _only(
        what,
        (o for o in range(0, size - 7, 8) if all(word_at(at + o) == w for at, _, w in samples)),
    )


def _size(obj: Any) -> int:
    return type(obj).__basicsize__


# ---- arrays
@lru_cache(1)
def _samples() -> list[np.ndarray]:
    """Arrays that differ in everything looked for; the first three own their data."""
    made: list[np.ndarray] = [np.arange(n, dtype=d) for n, d in ((3, "f4"), (70, "i8"), (5, "u1"))]
    frozen = np.ones(4)
    frozen.flags.writeable = False
    shapes = (np.ones((3, 4)).T, np.ones((3, 4), order="F"), np.ones((4, 4))[::2, ::2])
    return [*made, *[a[1:] for a in made], frozen, *shapes, np.zeros(())]


def _known(offset: Callable[[], int]) -> int:
    try:
        return offset()
    except _Mismatch as error:
        raise BackendError(
            f"NumPy {np.__version__} lays out its arrays in an unknown way ({error}); "
            "use another release"
        ) from None


@lru_cache(1)
def array_data() -> int:
    """Where ndarray objects keep the pointer to their data; BackendError where that is unknown."""
    arrays = _samples()
    return _known(lambda: _find("array data", [(id(a), _size(a), a.ctypes.data) for a in arrays]))


@lru_cache(1)
def array_flags() -> int:
    """Where ndarray objects keep their flags, 4 bytes; BackendError where that is unknown."""
    arrays = _samples()
    offsets = range(16, _size(arrays[0]) - 3, 4)
    return _known(
        lambda: _only(
            "array flags",
            (o for o in offsets if all(_half_at(id(a) + o) == a.flags.num for a in arrays)),
        )
    )


@lru_cache(1)
def array_strides() -> int:
    """Where ndarray objects keep the pointer to their strides; BackendError where that is
    unknown."""

    def right(array: np.ndarray) -> bool:
        sizes, steps = (word_at(id(array) + array_data() + offset) for offset in (16, 24))
        if array.ndim == 0 or steps != sizes + 8 * array.ndim:  # one piece of memory
            return array.ndim == 0
        words = (ctypes.c_int64 * (2 * array.ndim)).from_address(sizes)
        return tuple(words) == array.shape + array.strides

    if not all(map(right, _samples())):
        raise BackendError(f"NumPy {np.__version__} keeps strides in an unknown way; use another")
    return array_data() + 24


def _array_base() -> int:
    arrays = _samples()
    base = _find("array base", [(id(a), _size(a), id(a.base)) for a in arrays[3:6]])
    if any(word_at(id(a) + base) for a in arrays[:3]):
        raise _Mismatch("array base is not null on an array that owns its data")
    return base


def pointer(
    array: np.ndarray, _word: Any = ctypes.c_size_t.from_address, _offset: int = array_data()
) -> int:
    """The data pointer of an array (at an eighth of the cost of array.ctypes.data)."""
    return _word(id(array) + _offset).value  # type: ignore[no-any-return]


# ---- objects
def _refcount_offset() -> int:
    """Values are written in place while their count is 1: what does not count its references
    would see its value change, so every kind of holder has to be seen here."""

    class Holder:
        __slots__ = ("array",)
        array: np.ndarray

    owner = Holder()
    owner.array = np.ones(3)
    address = word_at(id(owner) + slot_offset(Holder, "array"))
    if address != id(owner.array) or _half_at(address) != 1:  # only the slot holds it
        raise _Mismatch("an object with one holder does not count one reference")
    makers: list[Callable[[Any], Any]] = [
        lambda array: array,
        lambda array: [array],
        lambda array: array[1:],
        lambda array: memoryview(array),
        lambda array: lambda: array,
        lambda array: np.asarray(array),
        lambda array: iter(array),
        lambda array: array.reshape(3, 1),
        lambda array: array.flat,
    ]
    for make in makers:
        holder = make(owner.array)
        if _half_at(address) < 2:
            raise _Mismatch(f"a holder of type {type(holder).__name__} is not counted")
        del holder
        if _half_at(address) != 1:
            raise _Mismatch("a reference that ended is still counted")
    return 0


def _items_offsets() -> tuple[int, int, int]:
    first, second = object(), object()
    lists = [[first], [first, second]]
    items = _only(
        "list items",
        (
            o
            for o in range(16, list.__basicsize__, 8)
            # sizes are small: what is neither may be followed as a pointer
            if all(
                word_at(id(x) + o) not in (0, 1, 2) and word_at(word_at(id(x) + o)) == id(first)
                for x in lists
            )
        ),
    )
    tuples = [(first, second), (first, second, first)]
    start = _find("tuple items", [(id(t), tuple.__basicsize__ + 16, id(first)) for t in tuples])
    if any(word_at(id(t) + start + 8) != id(second) for t in tuples):
        raise _Mismatch("tuple items are not adjacent")
    cells = [(lambda: x).__closure__[0] for x in (first, second)]  # type: ignore[index]
    cell = _find("cell contents", [(id(c), _size(c), id(c.cell_contents)) for c in cells])
    return items, start, cell


def _dict_version_offset() -> int | None:
    """Offset of a word that grows with every change of a dict and moves with nothing else."""
    if sys.version_info >= (3, 13):  # the word is still there, but nothing promises what moves it
        return None
    good = [o for o in range(16, dict.__basicsize__ - 7, 8) if _is_version(o)]
    return good[0] if len(good) == 1 else None


def _is_version(offset: int) -> bool:
    names: dict[str, Any] = {"a": 1, "b": 2}
    changes: list[Callable[[], Any]] = [
        lambda: names.__setitem__("a", 5.5),
        lambda: names.__setitem__("a", "x"),
        lambda: names.pop("b"),
        lambda: names.__setitem__("c", 3),
        lambda: names.update(q=4),
        lambda: names.clear(),
    ]
    reads: list[Callable[[], Any]] = [
        lambda: names.get("a"),
        lambda: len(names),
        lambda: list(names),
        lambda: "z" in names,
    ]
    seen = [word_at(id(names) + offset)]
    for step in (*changes, *reads):
        step()
        seen.append(word_at(id(names) + offset))
    moved, still = seen[: len(changes) + 1], seen[len(changes) :]
    return len(set(moved)) == len(moved) and moved == sorted(moved) and len(set(still)) == 1


def _probe() -> PythonLayout:
    if (
        sys.implementation.name != "cpython"
        or ctypes.sizeof(ctypes.c_void_p) != 8
        or sys.byteorder != "little"
    ):
        raise _Mismatch("this is not 64-bit little-endian CPython")
    # not asked of sysconfig: its lock (CPython 3.12) stays held in a child that is forked meanwhile
    if "t" in getattr(sys, "abiflags", "") or "free-threading" in sys.version:
        raise _Mismatch("this Python runs without the GIL")
    if hasattr(sys, "gettotalrefcount") or hasattr(sys, "getobjects"):
        raise _Mismatch("this is a debug build of Python")
    things = [object(), np.ones(2), [1], (1, 2), {}]
    return PythonLayout(
        _refcount_offset(),
        _find("object type", [(id(o), 16, id(type(o))) for o in things]),
        array_data(),
        _array_base(),
        array_flags(),
        *_items_offsets(),
        _dict_version_offset(),
    )


@lru_cache(None)
def _result() -> tuple[PythonLayout | None, str]:
    try:
        return _probe(), ""
    except (BackendError, ValueError, AttributeError, TypeError) as error:
        return None, str(error) or type(error).__name__


def layout() -> PythonLayout | None:
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
        made: Any = object.__new__(cls)
        getattr(cls, name).__set__(made, marker)
        found.append((made, cls.__basicsize__, id(marker), marker))
    return _find(f"slot {name} of {cls.__name__}", [(id(o), n, w) for o, n, w, _ in found])


def slot_address(owner: Any, name: str) -> int:
    """Address of the PyObject* of a slot of an object."""
    return id(owner) + slot_offset(type(owner), name)  # type: ignore[arg-type]


def list_item_address(items: list[Any], index: int) -> int:
    """Address of a list item's PyObject*, valid until a resize (guard `id(list) + list_items`)."""
    known = layout()
    if known is None:
        raise AttributeError(f"object layouts are not available: {why_not()}")
    return word_at(id(items) + known.list_items) + 8 * range(len(items))[index]


# ---- C functions
@lru_cache(None)
def _numpy_table(name: str) -> int:
    from_capsule = ctypes.pythonapi.PyCapsule_GetPointer
    from_capsule.restype, from_capsule.argtypes = (
        ctypes.c_void_p,
        [ctypes.py_object, ctypes.c_char_p],
    )
    core = (
        sys.modules.get("numpy._core._multiarray_umath")
        or sys.modules["numpy.core._multiarray_umath"]
    )
    table = from_capsule(getattr(core, name), None)
    if not table:
        raise _Mismatch(f"NumPy's C API table {name} is missing")
    return table  # type: ignore[no-any-return]


def numpy_api(number: int) -> int:
    """Address of a function (or type) of NumPy's C API."""
    return word_at(_numpy_table("_ARRAY_API") + 8 * number)


@lru_cache(1)
def new_ufunc() -> Any:
    """PyUFunc_FromFuncAndData: (loops, data, types, count, inputs, outputs, identity, name, doc,
    unused) -> ufunc."""
    address, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    kinds: list[Any] = [*[address] * 3, *[number] * 4, text, text, number]
    made = word_at(_numpy_table("_UFUNC_API") + 8 * NEW_UFUNC)
    return ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(made)


@lru_cache(1)
def register_loop() -> Any:
    """PyUFunc_RegisterLoopForType: (ufunc, type number, loop, types, data) -> status."""
    address, number = ctypes.c_void_p, ctypes.c_int
    kinds: list[Any] = [ctypes.py_object, number, address, address, address]
    made = word_at(_numpy_table("_UFUNC_API") + 8 * REGISTER_LOOP)
    return ctypes.PYFUNCTYPE(number, *kinds)(made)


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef of a function of the METH_FASTCALL kind.

    It must live as long as any method made of it: CPython keeps its address only."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("code", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]

    def __init__(self, name: str, address: int) -> None:
        super().__init__(name.encode(), address, METH_FASTCALL, None)


_NEW_METHOD = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p
)(("PyCFunction_NewEx", ctypes.pythonapi))


def new_method(definition: MethodDef, owner: Any) -> Callable[..., Any]:
    """A callable whose `self` is `owner`."""
    return _NEW_METHOD(  # type: ignore[no-any-return]
        ctypes.addressof(definition), owner, None
    )
