"""Copies of small values between the host and a device, each one native call.

Invariant: a read returns after all that was started on the device; whoever reads holds the pinned
memory that it goes through alone: that of this file's functions, or that of other native code.
"""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache
from typing import Any

import numpy as np

from ....core.errors import DeviceError
from ...cpu.machine.asm import UNLIKELY, Fn
from ...cpu.machine.host import libc_address
from ...cpu.machine.jit import compile_ir
from .lane import DeviceStreams
from .status import Status

__all__ = [
    "Transfer",
    "LARGEST",
    "USE",
    "CONTEXT",
    "READ",
    "WAIT",
    "STREAM",
    "OWN",
    "BUSY",
    "FAILED",
    "MEMCPY",
]

LARGEST = 1 << 16  # bytes that are read through pinned memory
# words of a table: functions of the driver and what they are given; for other native code its own
# pinned memory, whether a thread uses it, the word of the host that a failed check writes, memcpy
USE, CONTEXT, READ, WAIT, _WRITE, STREAM, _STAGED, OWN, BUSY, FAILED, MEMCPY = range(0, 88, 8)
_NAMES = ("cuMemcpyDtoHAsync_v2", "cuStreamSynchronize", "cuMemcpyHtoDAsync_v2")


def _text() -> str:
    """`hy_read(table, source, bytes)` and `hy_write(table, target, source, bytes)`: 0 or the first
    status of the driver that is not 0."""
    read = Fn("hy_read", "i32", "nounwind", table="ptr", source="i64", bytes="i64")
    stream = _entered(read)
    staged = read.ld("%table", _STAGED, "i64")
    _step(read, READ, f"i64 {staged}", "i64 %source", "i64 %bytes", f"ptr {stream}")
    _step(read, WAIT, f"ptr {stream}")
    read.ret(0)
    write = Fn("hy_write", "i32", "nounwind", table="ptr", target="i64", source="i64", bytes="i64")
    stream = _entered(write)
    _step(write, _WRITE, "i64 %target", "i64 %source", "i64 %bytes", f"ptr {stream}")
    write.ret(0)
    return read.text() + write.text() + UNLIKELY


def _step(writer: Fn, offset: int, *arguments: str) -> None:
    """Call the function of the driver at this byte of the table; its status is the result if it is
    not 0."""
    status = writer.call("i32", writer.ld("%table", offset), *arguments)
    with writer.when(writer.cmp("ne", status, 0, "i32"), unlikely=True):
        writer.ret(status)
    writer.label(writer.fresh())


def _entered(writer: Fn) -> str:
    """Make the device's context the thread's; the current stream."""
    _step(writer, USE, f"ptr {writer.ld('%table', CONTEXT)}")
    return writer.ld(writer.ld("%table", STREAM))


@lru_cache(1)
def _functions() -> tuple[Any, Any, Any]:
    module = compile_ir(_text(), ("hy_read", "hy_write"))
    pointer, size, status = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    read = ctypes.CFUNCTYPE(status, pointer, pointer, size)(module.address("hy_read"))
    write = ctypes.CFUNCTYPE(status, pointer, pointer, pointer, size)(module.address("hy_write"))
    return read, write, module


class Transfer:
    """Reads and writes of one device."""

    def __init__(self, state: DeviceStreams, status: Status) -> None:
        self._state, self._status, driver = state, status, state.driver
        self._lock = threading.Lock()
        self._staged = driver.allocate_host(2 * LARGEST)
        self._bytes = (ctypes.c_char * LARGEST).from_address(self._staged)
        read, wait, write = map(driver.address, _NAMES)
        stream = ctypes.addressof(state.stream_word)
        words = (
            *(driver.address("cuCtxSetCurrent"), driver.context(state.index)),
            *(read, wait, write, stream, self._staged, self._staged + LARGEST, 0),
            *(status.host_address, libc_address("memcpy")),
        )
        self._table: Any = (ctypes.c_uint64 * len(words))(*words)
        self.table_address = ctypes.addressof(self._table)
        self._read, self._write, self._module = _functions()

    def read(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        source: int,
        nbytes: int,
        _array: Any = np.ndarray,
    ) -> np.ndarray:
        """A contiguous array of the device on the host, of at most LARGEST bytes."""
        with self._lock:
            status = self._read(self.table_address, source, nbytes)
            if status:
                self._fail(status)
            made: np.ndarray = _array(shape, dtype, self._bytes).copy()
        self._status.check()
        return made

    def write(self, target: int, source: int, nbytes: int) -> None:
        """Copy memory of the host to the device."""
        status = self._write(self.table_address, target, source, nbytes)
        if status:
            self._fail(status)

    def _fail(self, status: int) -> None:
        """Raise what the driver says when it is asked in the ordinary way."""
        self._state.enter()
        self._state.driver.wait_stream(self._state.stream)
        raise DeviceError(f"the CUDA driver refused a copy (error {status})")
