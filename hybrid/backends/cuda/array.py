"""Values of a CUDA device: NumPy arrays whose data pointer is an address of the device.

Invariant: nothing on the host ever reads or writes what such an array points to; its base is the
block that owns the memory, and shape, strides and dtype are NumPy's own, so that native code makes
and reads these arrays as it does the host's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from ...core.aval import Aval, Device
from ...core.aval import aval as interned
from ...core.aval import device as to_device
from ...core.cache import keep
from ...core.errors import DeviceError
from ..cpu.machine.alloc import is_block as is_host_block
from ..cpu.python import abi
from ..cpu.python.abi import pointer
from .launch.caller import FreshResult, make_caller
from .launch.reader import make_reader
from .machine.blocks import (
    block_address,
    block_device,
    is_block,
    new_array,
)
from .machine.devices import DeviceState, device_state, pinned_pool
from .machine.memory import HOST_MEMORY
from .machine.record import Record
from .machine.transfer import LARGEST

__all__ = [
    "DeviceArray",
    "address",
    "block_of",
    "device_of",
    "empty",
    "from_numpy",
    "is_pinned",
    "maker",
    "on_block",
    "pinned",
    "reader",
    "send",
    "span",
    "to_numpy",
    "to_peer",
    "view",
]

_MAKERS = 1024  # functions kept per device
_NO_RECORD = Record()  # of a call that starts no kernel


def _refuse(self: Any, *given: Any, **named: Any) -> NoReturn:
    raise DeviceError(
        "this array is in the memory of a CUDA device, where the host cannot read it; use the "
        "tensor's .cpu() or .numpy(), which copy it"
    )


class DeviceArray(np.ndarray[Any, Any]):
    """An array in the memory of a CUDA device; see the head of this file."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<array {self.shape} of {self.dtype.name} at {address(self):#x} on a CUDA device>"

    __str__ = __repr__


# what NumPy would do by reading the memory
_READING = """
    __array_ufunc__ __array_function__ __array__ __dlpack__ __getitem__ __setitem__ __iter__
    __contains__ __reduce__ __reduce_ex__ __copy__ __deepcopy__ __format__ __bool__ __int__
    __float__ __index__ __complex__ item tolist tobytes tofile dump dumps copy astype byteswap fill
    put take sort argsort choose compress sum prod mean std var min max any all dot round clip
    cumsum cumprod argmin argmax nonzero searchsorted repeat trace conj conjugate flatten partition
    argpartition resize ravel
"""
for _name in _READING.split():
    setattr(DeviceArray, _name, _refuse)


def address(value: np.ndarray) -> int:
    """Where the first element is on the device."""
    return pointer(value)


def block_of(value: np.ndarray) -> Any:
    """The block that a device array lies in."""
    owner: Any = value
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner


def device_of(value: np.ndarray) -> int:
    """The number of the device that an array's memory belongs to."""
    return block_device(block_of(value))


def on_block(
    shape: Sequence[int],
    dtype: np.dtype,
    block: Any,
    offset: int = 0,
    strides: Sequence[int] | None = None,
) -> DeviceArray:
    """An array over a block, whose strides are in bytes."""
    made: DeviceArray = new_array(DeviceArray, shape, dtype, block, offset, strides)
    return made


def view(
    value: np.ndarray, shape: Sequence[int], strides: Sequence[int], offset: int = 0
) -> DeviceArray:
    """Another array over the memory of one; strides in bytes, the offset from its first element."""
    block = block_of(value)
    start = address(value) - block_address(block) + offset
    made: DeviceArray = new_array(DeviceArray, shape, value.dtype, block, start, strides, value)
    return made


def maker(aval: Aval) -> Callable[[], DeviceArray]:
    """A function that gives a fresh contiguous array of that record, undefined inside."""
    pool = device_state(aval.device.index).pool
    result = FreshResult(aval, pool.source_of(aval.nbytes))
    return make_caller([], 0, [result], _NO_RECORD, DeviceArray, refused=_refuse)


def _fresh(state: DeviceState, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    """A fresh contiguous array; the function that makes it is kept."""
    made: Callable[[], DeviceArray] | None = state.makers.get((shape, dtype))
    if made is None:
        device = to_device(f"cuda:{state.index}")
        fresh = maker(interned(shape, dtype, device))
        made = keep(state.makers, (shape, dtype), fresh, _MAKERS)
    return made()


def empty(aval: Aval) -> DeviceArray:
    """One fresh contiguous array."""
    return _fresh(device_state(aval.device.index), aval.shape, aval.dtype)


def from_numpy(array: np.ndarray, device: Device | None = None) -> DeviceArray:
    """A copy of a host array on a device.

    The driver has read pageable memory when it returns, so the host's array may change at once;
    but for cards that read it themselves, later."""
    state = device_state(0 if device is None else device.index)
    plain = isinstance(array, np.ndarray) and array.flags.c_contiguous
    host = array if plain else np.array(array, order="C")
    made = _fresh(state, host.shape, host.dtype)
    if host.nbytes:
        state.transfer.write(pointer(made), pointer(host), host.nbytes)
    if state.reads_host or not _pageable(host):
        state.driver.wait_stream(state.stream)
    return made


def _pageable(host: np.ndarray) -> bool:
    """Whether the driver has read a host array when a copy returns: it reads pinned memory later.
    Whose the memory is of which NumPy does not own is not known."""
    owner = block_of(host)
    return owner is None or is_host_block(owner)


def to_numpy(value: np.ndarray) -> np.ndarray:
    """A copy of a device array on the host, after all that was started; raises the error of a check
    that failed before."""
    state = device_state(device_of(value))
    nbytes = value.nbytes
    if not nbytes:
        state.wait()
        return np.empty(value.shape, value.dtype)
    if nbytes <= LARGEST and value.flags.c_contiguous:
        return state.transfer.read(value.shape, value.dtype, pointer(value), nbytes)
    low, high = span(value)
    host = np.empty(high - low, np.uint8)
    state.enter()
    state.driver.to_host(pointer(host), low, high - low, state.stream)
    state.wait()
    whole: np.ndarray = np.ndarray(
        value.shape, value.dtype, host, pointer(value) - low, value.strides
    )
    return whole if whole.flags.c_contiguous else whole.copy()


def reader(aval: Aval, read: Callable[..., np.ndarray]) -> Callable[[Any], np.ndarray]:
    """A function that reads values of that record; `read` is for what native code cannot."""
    if not 0 < aval.nbytes <= LARGEST or not abi.available():
        return read
    return make_reader(aval, device_state(aval.device.index).transfer, read)


def span(value: np.ndarray) -> tuple[int, int]:
    """The first address of an array's elements and the one behind the last."""
    low = high = address(value)
    for extent, stride in zip(value.shape, value.strides):
        if stride < 0:
            low += (extent - 1) * stride
        else:
            high += (extent - 1) * stride
    return low, high + value.itemsize


def send(host: np.ndarray, device: Device) -> DeviceArray:
    """A copy of a host array that goes on beside the work of a device if the host's memory is
    pinned; as `from_numpy` otherwise."""
    if not host.nbytes or not host.flags.c_contiguous or not is_pinned(host):
        return from_numpy(host, device)
    block = device_state(device.index).lane.send(address(host), host.nbytes, host)
    return on_block(host.shape, host.dtype, block)


def pinned(host: np.ndarray) -> np.ndarray:
    """A copy of a host array in pinned memory."""
    block = pinned_pool().take(host.nbytes)
    made: np.ndarray = new_array(np.ndarray, host.shape, host.dtype, block)
    np.copyto(made, host)
    return made


def is_pinned(host: np.ndarray) -> bool:
    """Whether a host array lies in memory of the pinned pool."""
    block = block_of(host)
    return is_block(block) and block_device(block) == HOST_MEMORY


def to_peer(value: np.ndarray, device: Device) -> DeviceArray:
    """A copy on another device, in the order of both."""
    source, target = device_state(device_of(value)), device_state(device.index)
    low, high = span(value)
    block = target.pool.take(high - low)
    made = on_block(value.shape, value.dtype, block, address(value) - low, value.strides)
    source.follow(target)  # the block may be in use there
    source.driver.on_device(block_address(block), low, high - low, source.stream)
    target.follow(source)
    return made
