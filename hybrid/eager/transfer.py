"""Methods of Tensor that take its value elsewhere: to Python, to NumPy, to another device.

Invariant: the value that arrives is the one the tensor holds; a recording hears of each move.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import HOST, Device, is_device
from ..core.aval import device as named
from ..core.errors import DeviceError, ShapeError
from ..core.floating import plainly, sees_subnormals
from ..core.shapes import whole
from ..core.spelling import ACCELERATOR
from ..ir.door import bind as door
from ..ir.door.pending import value_of
from ..ir.tensor import Handle, new_handle
from ..ops.base.surface import public
from .making import move, named_device
from .tensor import Tensor
from .writing.handles import read, read_only

__all__: list[str] = []


@public(hybrid=False, method=True)
def numpy(self: Tensor) -> np.ndarray:
    """A NumPy view of the value (on a GPU: a copy), of the same shape and dtype, that cannot be
    made writable.

    >>> import hybrid
    >>> hybrid.arange(3).numpy()
    array([0, 1, 2])
    """
    return read_only(read(self, ".numpy()"))


@public(hybrid=False, method=True)
def item(self: Tensor, *args: Any) -> Any:
    """The only element as a Python number, or the one at a place: its number in the flattened
    tensor, or an integer for each axis (also as a tuple).

    ShapeError when there is not exactly one element and no place, or not one integer for each axis;
    IndexOutOfRange for a place that there is not.

    >>> import hybrid
    >>> x = hybrid.tensor([[2.5, 3.5]])
    >>> hybrid.tensor([[2.5]]).item(), x.item(1), x.item(0, -1)
    (2.5, 3.5, 3.5)
    """
    if args:
        return _element(self, args).item()
    value = read(self, ".item()")
    if value.size != 1:
        raise ShapeError(
            f".item() needs one element, the shape is {self._a.shape}; .item(i, ...) takes one of "
            "many"
        )
    return _number(value) if sees_subnormals() else plainly(_number, value)


def _element(tensor: Tensor, places: tuple[Any, ...]) -> Tensor:
    """The element at NumPy's arguments of `item`, as a tensor."""
    if len(places) == 1:
        places = places[0] if isinstance(places[0], tuple) else places
    where = tuple(whole(place, "item: a place") for place in places)
    shape = tensor._a.shape
    if len(where) == 1 and len(shape) != 1:
        return tensor.reshape(-1)[where]
    if len(where) != len(shape):
        raise ShapeError(f".item{where} has {len(where)} integers for shape {shape}")
    return tensor[where]


@public(hybrid=False, method=True)
def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers; of a scalar the number.

    >>> import hybrid
    >>> hybrid.tensor([[1, 2], [3, 4]]).tolist()
    [[1, 2], [3, 4]]
    """
    value = read(self, ".tolist()")
    return _numbers(value) if sees_subnormals() else plainly(_numbers, value)


@public(hybrid=False, method=True)
def to(
    self: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False
) -> Tensor:
    """This tensor with another dtype and/or on another device: `t.to("float16")`,
    `t.to(other.device)`, `t.to(other)` (both of another tensor).

    A text is the name of a device where it is that of a kind of device, else a dtype.  Raises
    DeviceError where there is no such device.  `non_blocking`: a copy from pinned memory goes
    on beside the work of the device; what uses the result waits for it by itself.

    >>> import hybrid
    >>> hybrid.tensor([1.5, -2.5]).to("int64")
    tensor([ 1, -2])
    """
    for argument in args:
        if isinstance(argument, (Device, int)) or is_device(argument):
            device = argument
        elif isinstance(argument, Handle):
            dtype, device = argument._a.dtype, argument._a.device
        else:
            dtype = argument
    moved = self if dtype is None else door.convert(self, dt.canonical(dtype))
    if device is not None and named(device) is not moved._a.device:
        moved = move(moved, named(device), not non_blocking)
    return moved


@public(hybrid=False, method=True)
def cpu(self: Tensor) -> Tensor:
    """This tensor on the default device, the CPU; itself where it is there.

    >>> import hybrid
    >>> hybrid.ones(2).cpu().device
    cpu
    """
    return self.to(HOST)


@public(hybrid=False, method=True)
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """This tensor on a CUDA device, given by its number or name (None: the current one).

    Raises DeviceError where there is no such device.

    >>> import hybrid
    >>> x = hybrid.ones(2)
    >>> (x.cuda() if hybrid.cuda.is_available() else x).tolist()
    [1.0, 1.0]
    """
    target = named_device(named("cuda"), device)
    return self.to(device=target, non_blocking=non_blocking)


@public(hybrid=False, method=True)
def to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """This tensor on another device (array API).

    >>> import hybrid
    >>> hybrid.ones(2).to_device("cpu").device
    cpu
    """
    return self.to(device=device)


@public(hybrid=False, method=True)
def pin_memory(self: Tensor) -> Tensor:
    """This tensor of the host in memory that a CUDA device reads directly, so that
    `.to("cuda", non_blocking=True)` does not wait for the copy.

    Raises DeviceError for a tensor of a device, and where there is no CUDA device.

    >>> import hybrid
    >>> x = hybrid.ones(2)
    >>> (x.pin_memory() if hybrid.cuda.is_available() else x).tolist()
    [1.0, 1.0]
    """
    if self._a.device is not HOST:
        raise DeviceError(f"only tensors of {HOST} can be pinned, not one of {self._a.device}")
    if self.is_pinned():
        return self
    value = read(self, ".pin_memory()")
    return new_handle(door.backend_of(named(ACCELERATOR)).pinned(value), self._a)


@public(hybrid=False, method=True)
def is_pinned(self: Tensor) -> bool:
    """Whether `pin_memory` made this tensor's memory.

    >>> import hybrid
    >>> hybrid.ones(2).is_pinned()
    False
    """
    value = value_of(self)
    pinned = getattr(value, "base", None) is not None and self._a.device is HOST
    return pinned and door.backend_of(named(ACCELERATOR)).is_pinned(value)


def _number(value: np.ndarray) -> Any:
    """The element of an array of one."""
    return float(value.reshape(())) if value.dtype == dt.bfloat16 else value.item()


def _numbers(value: np.ndarray) -> Any:
    return value.astype(np.float32).tolist() if value.dtype == dt.bfloat16 else value.tolist()
