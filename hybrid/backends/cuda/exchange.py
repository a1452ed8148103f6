"""Device arrays for other libraries and theirs for us: DLPack capsules and array interfaces.

Invariant: memory lives as long as the last side that was given it; whoever is given an array works
after all that was started on it, in the order of streams, without a wait of the host.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...core.aval import Device
from ...core.aval import device as to_device
from ...core.dtypes import bfloat16
from ...core.errors import DeviceError, DTypeError, ExchangeError
from ..cpu.machine.asm import UNLIKELY, Fn
from ..cpu.machine.host import keep_forever, python_address
from ..cpu.machine.jit import compile_ir
from .array import DeviceArray, address, device_of, on_block
from .machine.blocks import CONTEXT, Outside
from .machine.devices import DeviceState, current_state, device_state

__all__ = ["capsule_of", "interface_of", "take_over", "CUDA"]

CUDA = 2  # kDLCUDA
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # kDLInt, kDLUInt, kDLFloat, kDLBool
_BFLOAT = 4  # kDLBfloat
_READ_ONLY, _COPIED = 1, 2
_LEGACY_STREAM = 1  # what DLPack and the array interface call the default stream


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_KINDS = {b"dltensor": _Managed, b"dltensor_versioned": _Versioned}
_USED = {b"dltensor": b"used_dltensor", b"dltensor_versioned": b"used_dltensor_versioned"}

_API = ctypes.pythonapi
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", _API))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _API)
)
_is_capsule = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _API)
)
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_SetName", _API)
)
_set_context = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(
    ("PyCapsule_SetContext", _API)
)
_set_destructor = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(
    ("PyCapsule_SetDestructor", _API)
)

_GIVEN: dict[int, Any] = {}  # address of what a capsule holds -> what it is about


def _gone(pointer: int) -> None:
    _GIVEN.pop(pointer, None)


_let_go = _Deleter(_gone)

# the destructor of a capsule that nobody took gets the object itself, which is dying: it is passed
# as a plain address, as a reference taken to it would be one too many
_raw_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _API)
)
_raw_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _API)
)


def _dropped(capsule: int) -> None:
    for name in _KINDS:
        if _raw_valid(capsule, name):
            _GIVEN.pop(_raw_pointer(capsule, name), None)


_never_taken = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_dropped)


def _destructor_text() -> str:
    """A library that refuses a capsule lets it go while its error is set, in which state no Python
    may run: the error is put aside.  The capsule's context holds the functions."""
    writer = Fn("hy_capsule_dropped", "void", "nounwind", capsule="ptr")
    functions, error = writer.ld("%capsule", CONTEXT), writer.var("ptr", 3)
    pointers = [f"ptr {writer.nth(error, i)}" for i in range(3)]
    writer.call("void", writer.ld(functions), *pointers)
    writer.call("void", writer.ld(functions, 8), "ptr %capsule")
    values = [f"ptr {writer.ld(writer.nth(error, i))}" for i in range(3)]
    writer.call("void", writer.ld(functions, 16), *values)
    writer.ret()
    return writer.text() + UNLIKELY


@lru_cache(1)
def _destructor() -> tuple[int, Any]:
    """(the function, the words that it finds through the context of a capsule)"""
    module = compile_ir(_destructor_text(), ["hy_capsule_dropped"])
    keep_forever(module)
    keep_forever(_never_taken)  # capsules may die when modules are torn down
    called = ctypes.cast(_never_taken, ctypes.c_void_p).value or 0
    words = python_address("PyErr_Fetch"), called, python_address("PyErr_Restore")
    table = (ctypes.c_uint64 * 3)(*words)
    keep_forever(table)
    return module.address("hy_capsule_dropped"), table


# ---- giving
def _order(state: DeviceState, consumer: int | None) -> None:
    """Let a consumer's stream wait for ours; -1: it asks for no order, None: for the default."""
    if consumer == -1:
        return
    target = 0 if consumer in (None, 0, _LEGACY_STREAM) else consumer
    if target != state.stream:
        state.order(state.stream, target or 0)


def capsule_of(
    value: np.ndarray,
    stream: int | None = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule over an array, by the rules of the Python array API."""
    state = device_state(device_of(value))
    if dl_device is not None and tuple(dl_device) != (CUDA, state.index):
        raise ExchangeError("a tensor goes to its own device only; move it with .to(device) first")
    versioned = max_version is not None and max_version[0] >= 1
    # who asks in the old way is not told that values do not change, and gets a copy to write
    copy = copy or (copy is None and not versioned)
    if copy:
        value = _copied(state, value)
    _order(state, stream)
    shape, strides = _longs(value.shape), _longs([s // value.itemsize for s in value.strides])
    managed: Any = _Versioned() if versioned else _Managed()
    if versioned:
        managed.major, managed.minor = 1, 0
        managed.flags = _COPIED if copy else _READ_ONLY
    tensor = managed.tensor
    tensor.data, tensor.device_type, tensor.device_id = address(value), CUDA, state.index
    tensor.ndim, tensor.lanes, tensor.bits = value.ndim, 1, 8 * value.itemsize
    tensor.code = _BFLOAT if value.dtype == bfloat16 else _CODES[value.dtype.kind]
    tensor.shape, tensor.strides = shape, strides
    managed.deleter = ctypes.cast(_let_go, ctypes.c_void_p)
    where = ctypes.addressof(managed)
    _GIVEN[where] = managed, shape, strides, value
    name = b"dltensor_versioned" if versioned else b"dltensor"
    destructor, words = _destructor()
    capsule = _new_capsule(where, name, None)
    _set_context(capsule, ctypes.addressof(words))
    _set_destructor(capsule, destructor)
    return capsule


def _longs(values: Any) -> Any:
    return (ctypes.c_int64 * max(len(values), 1))(*values)


def interface_of(value: np.ndarray) -> dict[str, Any]:
    """The `__cuda_array_interface__` of an array (version 3)."""
    if value.dtype == bfloat16:
        raise AttributeError("bfloat16 has no type string; exchange it through DLPack")
    state = device_state(device_of(value))
    return {
        "shape": value.shape,
        "typestr": value.dtype.str,
        "data": (address(value), True),
        "strides": None if value.flags.c_contiguous else value.strides,
        "version": 3,
        "stream": state.stream or _LEGACY_STREAM,
    }


# ---- taking
def take_over(foreign: Any, copy: bool) -> tuple[DeviceArray, Device]:
    """The array of another library as one of ours, sharing its memory or copied."""
    if hasattr(type(foreign), "__dlpack_device__"):
        value = _from_dlpack(foreign)
    else:
        value = _from_interface(foreign)
    state = device_state(device_of(value))
    if copy:
        value = _copied(state, value)
        state.wait()  # the other side may write or free its memory from now on
    return value, to_device(f"cuda:{state.index}")


def _copied(state: DeviceState, value: np.ndarray) -> DeviceArray:
    made = on_block(value.shape, value.dtype, state.pool.take(value.nbytes))
    state.enter()
    for target, source, nbytes in _runs(value, address(made)):
        state.driver.on_device(target, source, nbytes, state.stream)
    return made


def _runs(value: np.ndarray, target: int) -> Any:
    """Copies of whole runs of memory that lay a strided array out without gaps from `target` on."""
    axes, run = value.ndim, value.itemsize
    while axes and (value.strides[axes - 1] == run or value.shape[axes - 1] == 1):
        axes -= 1
        run *= value.shape[axes]
    source = address(value)
    for number, index in enumerate(np.ndindex(*value.shape[:axes])):
        yield target + number * run, source + sum(map(int.__mul__, index, value.strides)), run


def _from_dlpack(foreign: Any) -> DeviceArray:
    kind, number = foreign.__dlpack_device__()
    state = device_state(int(number))
    state.enter()
    stream = state.stream or _LEGACY_STREAM
    capsule = None
    with suppress(TypeError):  # made before there were versions
        capsule = foreign.__dlpack__(stream=stream, max_version=(1, 0))
    if capsule is None:
        capsule = foreign.__dlpack__(stream=stream)
    name = next((name for name in _KINDS if _is_capsule(capsule, name)), None)
    if name is None:
        raise DeviceError(f"{type(foreign).__name__}.__dlpack__ gives no DLPack capsule")
    managed: Any = _KINDS[name].from_address(_pointer_of(capsule, name))
    tensor = managed.tensor
    shape = [tensor.shape[axis] for axis in range(tensor.ndim)]
    dtype = _dtype(tensor)
    strides = None
    if tensor.strides and 0 not in shape:
        strides = [tensor.strides[axis] * dtype.itemsize for axis in range(tensor.ndim)]
    where = (tensor.data or 0) + tensor.byte_offset
    _rename(capsule, _USED[name])
    deleter = managed.deleter

    def done(deleter: Any = deleter, managed_address: int = ctypes.addressof(managed)) -> None:
        if deleter:
            _Deleter(deleter)(managed_address)

    return _over(state.index, where, shape, dtype, strides, done)


def _dtype(tensor: Any) -> Any:
    if tensor.lanes == 1 and tensor.code == _BFLOAT and tensor.bits == 16:
        return bfloat16
    for kind, code in _CODES.items():
        if tensor.lanes == 1 and code == tensor.code and tensor.bits in (8, 16, 32, 64):
            return np.dtype(bool if kind == "b" else f"{kind}{tensor.bits // 8}")
    raise DTypeError(
        f"a DLPack array of type code {tensor.code} with {tensor.bits} bits is no array of real "
        "numbers that hybrid knows"
    )


def _from_interface(foreign: Any) -> DeviceArray:
    told = foreign.__cuda_array_interface__
    if told.get("mask") is not None:
        raise DTypeError("a masked array has no value at its masked elements; fill them first")
    where = told["data"][0] or 0
    state = current_state()
    state.enter()
    stream = told.get("stream")
    if stream is not None:
        theirs = 0 if stream == _LEGACY_STREAM else stream
        if theirs != state.stream:
            state.order(theirs, state.stream)
    # the array interface does not say which device; `done` keeps the owner of the memory
    held, dtype = [foreign], np.dtype(told["typestr"])
    return _over(state.index, where, told["shape"], dtype, told.get("strides"), held.clear)


def _over(
    index: int, where: int, shape: Any, dtype: np.dtype, strides: Any, done: Any
) -> DeviceArray:
    """An array over foreign memory from `where` on, with strides in bytes."""
    low = high = 0
    for axis, extent in enumerate(shape):
        if strides is not None:
            step = (extent - 1) * strides[axis]
            low, high = low + min(step, 0), high + max(step, 0)
    count = prod(shape) * dtype.itemsize
    if not count:
        done()
        return on_block(shape, dtype, device_state(index).pool.take(0))
    size = count if strides is None else high - low + dtype.itemsize
    return on_block(shape, dtype, Outside(where + low, size, index, done), -low, strides)
