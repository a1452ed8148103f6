"""Making tensors of Python and NumPy data.

Invariant: `tensor` copies what it is given; `asarray` shares memory that can change only when told
to.  What data becomes, and its one rounding, is in ir/foreign.py.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from ..autograd.backward import stop_gradient
from ..core import dtypes as dt
from ..core.aval import HOST, aval
from ..core.aval import device as to_device
from ..core.cache import keep
from ..core.errors import ShapeError
from ..ir.door import bind as door
from ..ir.door.exchange import exchanged, take_over
from ..ir.door.foreign import holds_tensors, lent, listed
from ..ir.tensor import Handle, new_handle
from .making import finished, handle_of
from .tensor import Tensor

__all__ = [
    "array",
    "asarray",
    "asarray_chkfinite",
    "from_dlpack",
    "frombuffer",
    "fromiter",
    "tensor",
]


# records of arrays that were seen: of any equal dtype object, by shape, dtype and device
_RECORDS: dict[tuple[Any, ...], Any] = {}
door.FAST.append(_RECORDS)


def tensor(
    data: Any, dtype: Any = None, *, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data` (nested sequences, NumPy array, tensor, number).

    dtype: default float32 for Python floats, int64 for ints, bool for bools, and the own dtype of
    arrays, NumPy scalars, buffers and tensors, also inside sequences, which promote.  Tensors in a
    sequence are joined and cut from the tape (`asarray` keeps their gradient).  Raises DTypeError
    for data that is no array of numbers, OverflowError for a number that the dtype cannot hold.

    >>> import hybrid
    >>> hybrid.tensor([1, 2, 3]).dtype.name, hybrid.tensor(2.5).dtype.name
    ('int64', 'float32')
    """
    plain = type(data) is np.ndarray and dtype is None and not requires_grad
    if plain and not door.STATE.special:
        where = HOST if device is None else to_device(device)
        known = _RECORDS.get((data.shape, data.dtype, where))
        if known is not None:
            return new_handle(data.copy() if where is HOST else door.on_device(data, where), known)
        made = finished(handle_of(data, None, True, device), device, False)
        if made._a.dtype == data.dtype:
            keep(_RECORDS, (data.shape, data.dtype, where), made._a, door.TABLE_LIMIT)
        return made
    target = None if dtype is None else dt.canonical(dtype)
    if isinstance(data, Handle):
        cut = data.detach().to(target) if target is not None else data.detach()  # type: ignore[attr-defined]
        made = cut.clone() if cut._v is data._v else cut
        made = stop_gradient(made)
        return finished(made, device, requires_grad)
    return finished(handle_of(data, target, True, device), device, requires_grad)


def asarray(
    data: Any, dtype: Any = None, *, device: Any = None, copy: bool | None = None
) -> Tensor:
    """`data` as a tensor: a tensor is returned as it is, and a sequence of tensors is joined along
    new axes, as `stack` does, with its gradient.

    A NumPy array is shared only when nothing can write its memory: it and all arrays that it is a
    view of are read-only, and the memory is NumPy's own or that of a bytes object.  Everything else
    is copied unless copy=False says that it may be shared (then it must not be written while the
    tensor lives).  Raises ValueError when copy=False cannot be kept.

    >>> import hybrid, numpy
    >>> hybrid.asarray([numpy.float64(0.5), 1]).dtype.name
    'float64'
    """
    target = None if dtype is None else dt.canonical(dtype)
    if isinstance(data, Handle):
        made: Any = data
        made = made if target is None else made.to(target)
        made = made if device is None else made.to(device=device)
        if copy is False and made is not data:
            raise ValueError("asarray(copy=False): another dtype or device needs a copy")
        return made.clone() if copy else made
    if copy is False and not isinstance(data, np.ndarray):
        kind = exchanged(data)
        if kind is not None:
            return _taken(take_over(data, kind, copy=False), target, device)
        data = _unboxed(data)
    if isinstance(data, np.ndarray) and not copy:
        target = target if target is not None else dt.canonical(data.dtype)
        shareable = (
            data.dtype == target and data.dtype.isnative and (copy is False or _frozen(data))
        )
        if shareable and data.flags.aligned and not np.ma.is_masked(data):
            return finished(_shared(data, target), device, False)
        if copy is False:
            raise ValueError("asarray(copy=False): this array cannot be shared without a copy")
    if not holds_tensors(listed(data)):
        return tensor(data, target, device=device)
    return finished(handle_of(data, target, False, device), device, False)


def _taken(made: Any, target: np.dtype | None, device: Any) -> Any:
    """A tensor over foreign memory; ValueError where something else than it was asked for."""
    other = target is not None and made._a.dtype is not target
    if other or (device is not None and to_device(device) is not made._a.device):
        raise ValueError("asarray(copy=False): another dtype or device needs a copy")
    return made


def array(
    object: Any, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0, device: Any = None
) -> Tensor:
    """`object` as a tensor of its own, NumPy's name: with leading axes of size 1 up to `ndmin`.

    A tensor, or a sequence with tensors in it, keeps its gradient (`hybrid.tensor` cuts it).  With
    copy=False nothing is copied, or ValueError is raised; with None only where that is needed.

    >>> import hybrid
    >>> hybrid.array([1, 2], ndmin=2)
    tensor([[1, 2]])
    """
    made: Any = asarray(object, dtype, device=device, copy=copy)
    missing = ndmin - made._a.ndim
    return made.reshape((1,) * missing + made._a.shape) if missing > 0 else made


def fromiter(iter: Any, dtype: Any, count: int = -1) -> Tensor:
    """The numbers that an iterable gives (the first `count` of them) as a tensor of one axis.

    ShapeError where it gives fewer.

    >>> import hybrid
    >>> hybrid.fromiter((n * n for n in range(4)), "int64")
    tensor([0, 1, 4, 9])
    """
    given = list(iter if count < 0 else islice(iter, count))
    if len(given) < count:
        raise ShapeError(f"fromiter: the iterable gives {len(given)} numbers, not {count}")
    return tensor(given, dtype)


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Tensor:
    """A copy of the memory of a buffer as a tensor of one axis: `count` elements (-1: all) of a
    dtype (NumPy's float64 by default), `offset` bytes behind its start.

    >>> import hybrid
    >>> hybrid.frombuffer(b"\\x01\\x02\\x03", dtype="uint8", offset=1)
    tensor([2, 3], dtype=uint8)
    """
    return tensor(np.frombuffer(buffer, dtype, count, offset))


def asarray_chkfinite(a: Any, dtype: Any = None) -> Tensor:
    """`asarray`, or ValueError where an element is infinite or NaN; reads the data on the host.

    >>> import hybrid
    >>> hybrid.asarray_chkfinite([1.0, 2.0])
    tensor([1., 2.])
    """
    made = asarray(a, dtype)
    host = door.host_array(made)
    if not np.isfinite(host.astype(np.float32) if dt.is_half(made.dtype) else host).all():
        raise ValueError("asarray_chkfinite: an element is infinite or NaN")
    return made


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """The array of another library as a tensor where it is, through DLPack (`__dlpack__`).

    Its memory is shared unless `copy` is true (then it must not be written while the tensor lives),
    or unless it is on another device than the one asked for.  Raises DeviceError where there is no
    such device, ValueError where copy=False cannot be kept.

    >>> import hybrid, numpy
    >>> hybrid.from_dlpack(numpy.arange(3.0)).tolist()
    [0.0, 1.0, 2.0]
    """
    if copy is not None:
        return asarray(x, device=device, copy=copy)
    return finished(asarray(x, copy=None if isinstance(x, Handle) else False), device, False)


def _unboxed(data: Any) -> np.ndarray:
    """The array that shows the memory of a foreign object; ValueError where there is none."""
    if not isinstance(data, (list, tuple, bool, int, float, np.generic)):
        if not hasattr(data, "__array__") and hasattr(data, "__dlpack__"):
            return np.from_dlpack(data)
        try:
            return np.asarray(memoryview(data))
        except TypeError:
            pass
    raise ValueError(f"asarray(copy=False): a {type(data).__name__} cannot be shared")


def _shared(data: np.ndarray, target: np.dtype) -> Any:
    value = lent(data)
    made = new_handle(value, aval(value.shape, target))
    mode = door.current_mode()
    if mode is not None and _frozen(data):
        mode.on_data(made, data)
    elif mode is not None:
        mode.on_effect("shares memory with a NumPy array")
    return made


def _frozen(array: np.ndarray) -> bool:
    """Whether nobody is known to write an array's memory: no array it is a view of is writable,
    and the memory belongs to NumPy or to a bytes object."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        if owner.base is None:
            return bool(owner.flags.owndata)
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj if owner.readonly else None
    return type(owner) is bytes


# they do nothing with a list of numbers but make an array of it (trace/watch/passed/reads.py)
tensor.makes_tensors = asarray.makes_tensors = True  # type: ignore[attr-defined]
array.makes_tensors = True  # type: ignore[attr-defined]
