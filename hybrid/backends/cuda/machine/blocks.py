"""Blocks of memory as Python objects that native code takes and gives back.

Invariant: a block is either an address in the list of unused ones of its size or held by one
capsule, whose death puts it back; lists are touched only by whoever has the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ....core.errors import BackendError
from ...cpu.machine.asm import UNLIKELY, Fn
from ...cpu.machine.host import immortal_memory, keep_forever, python_address
from ...cpu.machine.jit import compile_ir
from ...cpu.python import abi, method

__all__ = [
    "BlockSource",
    "Outside",
    "block_address",
    "functions_of",
    "block_bytes",
    "block_device",
    "block_source",
    "is_block",
    "new_array",
    "write_block",
    "write_take",
    "write_give",
    "native_text",
]

# words of a source: the list of addresses of unused blocks; the function that finds another
# address; a list that holds something while each block is noted, and the function that notes that
# one came back; the table of functions; bytes of a block, and the number of its device
FREE, FRESH, WATCHED, NOTE, FUNCTIONS, NBYTES, DEVICE = range(0, 56, 8)
# a capsule's fields, behind the head of every object
POINTER, NAME, CONTEXT, DESTRUCTOR = range(16, 48, 8)
# further words of the table of functions (python/method.py)
_NAMES = (
    "PyCapsule_New",
    "PyLong_AsVoidPtr",
    "PyLong_FromVoidPtr",
    "PyList_Append",
    "PyErr_Fetch",
    "PyErr_Restore",
)
CAPSULE, AS_ADDRESS, FROM_ADDRESS, APPEND, FETCH, RESTORE, GIVE = range(
    method.NONE + 8, method.NONE + 64, 8
)


# ---- native functions
def write_take(writer: Fn, source: str) -> str:
    """The address of an unused block; null with Python's error set where there is none."""
    return writer.call("ptr", "@hy_take", f"ptr {source}")


def write_give(writer: Fn, source: str, address: str) -> None:
    """Put a block back that was taken and that no object holds."""
    writer.call("void", "@hy_put", f"ptr {source}", f"ptr {address}")


def write_block(writer: Fn, source: str, address: str) -> str:
    """The object that holds a block; null with Python's error set."""
    return writer.call("ptr", "@hy_block", f"ptr {source}", f"ptr {address}")


def _watched(writer: Fn, source: str) -> str:
    size = writer.ld(writer.ld(source, WATCHED), abi.SIZE, "i64")
    return writer.cmp("ne", size, 0)


def _call(writer: Fn, functions: str, target: str, arguments: str, count: int) -> str:
    vectorcall = writer.ld(functions, method.VECTORCALL)
    return writer.call(
        "ptr", vectorcall, f"ptr {target}", f"ptr {arguments}", f"i64 {count}", "ptr null"
    )


def _take_text(items: int) -> str:
    """The last address of the list, or what `fresh` finds."""
    writer = Fn("hy_take", "ptr", "nounwind", source="ptr")
    free, functions = writer.ld("%source", FREE), writer.ld("%source", FUNCTIONS)
    count = writer.ld(free, abi.SIZE, "i64")
    writer.go_if(writer.either(writer.cmp("eq", count, 0), _watched(writer, "%source")), "fresh")
    left = writer.add(count, -1)
    last = writer.ld(writer.nth(writer.ld(free, items), left))
    writer.st("i64", left, free, abi.SIZE)
    address = writer.call("ptr", writer.ld(functions, AS_ADDRESS), f"ptr {last}")
    writer.call("void", writer.ld(functions, method.DECREF), f"ptr {last}")
    writer.ret(address)
    writer.label("fresh")
    made = _call(writer, functions, writer.ld("%source", FRESH), "null", 0)
    writer.go_if(writer.op(f"icmp eq ptr {made}, null"), "none")
    address = writer.call("ptr", writer.ld(functions, AS_ADDRESS), f"ptr {made}")
    writer.call("void", writer.ld(functions, method.DECREF), f"ptr {made}")
    writer.ret(address)
    writer.label("none")
    writer.ret("null")
    return writer.text()


def _put_text() -> str:
    """Back into the list; whoever gives a block may have an error set, which stays."""
    writer = Fn("hy_put", "void", "nounwind", source="ptr", address="ptr")
    functions = writer.ld("%source", FUNCTIONS)
    number = writer.call("ptr", writer.ld(functions, FROM_ADDRESS), "ptr %address")
    writer.go_if(writer.op(f"icmp eq ptr {number}, null"), "done")
    free = writer.ld("%source", FREE)
    writer.call("i32", writer.ld(functions, APPEND), f"ptr {free}", f"ptr {number}")
    with writer.when(_watched(writer, "%source"), unlikely=True):
        error, arguments = writer.var("ptr", 3), writer.var("ptr", 1)
        pointers = [f"ptr {writer.nth(error, i)}" for i in range(3)]
        writer.call("void", writer.ld(functions, FETCH), *pointers)
        writer.st("ptr", number, arguments)
        noted = _call(writer, functions, writer.ld("%source", NOTE), arguments, 1)
        with writer.when(writer.op(f"icmp ne ptr {noted}, null")):
            writer.call("void", writer.ld(functions, method.DECREF), f"ptr {noted}")
        values = [f"ptr {writer.ld(writer.nth(error, i))}" for i in range(3)]
        writer.call("void", writer.ld(functions, RESTORE), *values)
    writer.call("void", writer.ld(functions, method.DECREF), f"ptr {number}")
    writer.label("done")
    writer.ret()
    return writer.text()


def _block_text() -> str:
    writer = Fn("hy_block", "ptr", "nounwind", source="ptr", address="ptr")
    functions = writer.ld("%source", FUNCTIONS)
    give = writer.ld(functions, GIVE)
    made = writer.call(
        "ptr", writer.ld(functions, CAPSULE), "ptr %address", "ptr null", f"ptr {give}"
    )
    with writer.when(writer.op(f"icmp ne ptr {made}, null")):
        writer.st("ptr", "%source", made, CONTEXT)
    writer.ret(made)
    return writer.text()


def native_text() -> str:
    """`hy_take`, `hy_put` and `hy_block`, for modules that take blocks."""
    known = abi.layout()
    if known is None:
        raise BackendError(f"native code must not touch Python's objects here: {abi.why_not()}")
    return "\n".join((_take_text(known.list_items), _put_text(), _block_text()))


def _module_text() -> str:
    give = Fn("hy_give", "void", "nounwind", capsule="ptr")
    source, address = give.ld("%capsule", CONTEXT), give.ld("%capsule", POINTER)
    write_give(give, source, address)
    give.ret()
    new = Fn("hy_new", "ptr", "nounwind", source="ptr")
    address = write_take(new, "%source")
    new.go_if(new.op(f"icmp eq ptr {address}, null"), "none")
    new.ret(write_block(new, "%source", address))
    new.label("none")
    new.ret("null")
    return native_text() + give.text() + new.text() + UNLIKELY


class _Native:
    """The functions, as calls that keep the GIL."""

    def __init__(self) -> None:
        module = compile_ir(_module_text(), ("hy_give", "hy_new"))
        keep_forever(module)  # blocks die until the very end
        self.give = module.address("hy_give")
        kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)
        self.new = kind(module.address("hy_new"))
        capsule = new_capsule()(0x1234560, None, None)
        words = (ctypes.c_uint64 * 4).from_address(id(capsule) + POINTER)
        if list(words) != [0x1234560, 0, 0, 0]:
            raise BackendError("this Python lays out capsules in an unknown way; use CPython")
        self.capsule = type(capsule)


@lru_cache(1)
def new_capsule() -> Any:
    """PyCapsule_New."""
    address = ctypes.c_void_p
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, address, address, address)
    return kind(("PyCapsule_New", ctypes.pythonapi))


@lru_cache(1)
def _native() -> _Native:
    return _Native()


@lru_cache(None)
def functions_of(kind: type = object) -> Any:
    """The table of functions (python/method.py) for results of an array type, and what blocks
    need."""
    words = [word or 0 for word in method.function_table()]
    words[method.ARRAY_TYPE // 8] = id(kind)
    words += [*map(python_address, _NAMES), _native().give]
    table = (ctypes.c_void_p * len(words))(*words)
    keep_forever(table)
    return table


# ---- blocks
class BlockSource:
    """Where blocks of one size come from and go to.

    `free` lists the addresses of unused ones, `fresh` gives another (or raises); while `watched`
    holds something, every block comes from `fresh` and `note` is told the address of one that came
    back.  Blocks may outlive their source, which is needed to take one."""

    def __init__(
        self,
        free: list[int],
        fresh: Callable[[], int],
        watched: list[bool],
        note: Callable[[int], Any],
        nbytes: int,
        device: int = 0,
    ) -> None:
        self._fresh = fresh
        keep_forever((free, watched, note))  # for blocks that die at the very end
        self.address = immortal_memory(64)
        words = (ctypes.c_int64 * 7).from_address(self.address)
        parts = (free, fresh, watched, note, functions_of())
        words[:] = [*map(id, parts[:4]), ctypes.addressof(parts[4]), nbytes, device]

    def new(self) -> Any:
        """An object that holds a block."""
        return _native().new(self.address)


class Outside:
    """Memory that does not come from a source; `done` is called when the last array over it dies.

    An array over it does not own its memory as one over a block does."""

    __slots__ = ("address", "nbytes", "device", "done")

    def __init__(self, address: int, nbytes: int, device: int, done: Callable[[], Any]) -> None:
        self.address, self.nbytes, self.device, self.done = address, nbytes, device, done

    def __del__(self) -> None:
        self.done()


def is_block(base: Any) -> bool:
    """Whether `array.base` is a block, so that the array owns its memory."""
    return type(base) is _native().capsule


def _field(block: Any, offset: int) -> int:
    return ctypes.c_uint64.from_address(id(block) + offset).value


def block_address(block: Any) -> int:
    """Where a block starts."""
    return block.address if type(block) is Outside else _field(block, POINTER)


def block_source(block: Any) -> int:
    """The address of the source of a block."""
    return _field(block, CONTEXT)


def block_bytes(block: Any) -> int:
    """How many bytes a block has."""
    if type(block) is Outside:
        return block.nbytes
    return ctypes.c_int64.from_address(_field(block, CONTEXT) + NBYTES).value


def block_device(block: Any) -> int:
    """The number of a block's device."""
    if type(block) is Outside:
        return block.device
    return ctypes.c_int64.from_address(_field(block, CONTEXT) + DEVICE).value


@lru_cache(1)
def _array_functions() -> tuple[Any, Any]:
    """PyArray_NewFromDescr, which takes over a reference to the dtype, and
    PyArray_SetBaseObject, which takes over one to the base."""
    thing, address, number = ctypes.py_object, ctypes.c_void_p, ctypes.c_int
    make = ctypes.PYFUNCTYPE(
        thing, thing, thing, number, address, address, address, number, address
    )
    base = ctypes.PYFUNCTYPE(number, thing, thing)
    return make(abi.numpy_api(abi.NEW_FROM_DESCR)), base(abi.numpy_api(abi.SET_BASE_OBJECT))


def new_array(
    kind: type,
    shape: Sequence[int],
    dtype: np.dtype,
    block: Any,
    offset: int = 0,
    strides: Sequence[int] | None = None,
    base: Any = None,
) -> Any:
    """An array of some type over a block, whose strides are in bytes (None: contiguous); `base`: an
    array over the block that holds it (None: the block itself)."""
    rank = max(len(shape), 1)
    sizes = (ctypes.c_int64 * rank)(*shape)
    steps = None if strides is None else (ctypes.c_int64 * rank)(*strides)
    make, set_base = _array_functions()
    reference = ctypes.py_object(dtype)
    ctypes.pythonapi.Py_IncRef(reference)
    flags = abi.C_CONTIGUOUS | abi.ALIGNED | abi.WRITEABLE
    address = block_address(block) + offset
    made = make(kind, dtype, len(shape), sizes, steps, address, flags, None)
    holder = block if base is None else base
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(holder))
    set_base(made, holder)
    return made
