"""Making tensors of Python and NumPy data.

Invariant: `tensor` copies what it is given; `asarray` shares memory that can change only when told
to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.backward import stop_gradient
from ..core import dtypes as dt
from ..core.aval import CPU, Device, aval, find_aval
from ..core.aval import device as to_device
from ..core.errors import DTypeError, ShapeError
from ..ir import bind as door
from ..ir.tensor import Handle, Leaf, new_handle

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["tensor", "asarray", "move"]


def move(t: Any, dev: Device) -> Any:
    """t on another device."""
    host = t._v if t._a.device is CPU else door.backend_of(t._a.device).to_numpy(t._v)
    mode = door.current_mode()
    if mode is not None:
        mode.on_effect(f"moves a tensor to {dev}")
    value = host if dev is CPU else door.backend_of(dev).from_numpy(host)
    return new_handle(value, aval(t._a.shape, t._a.dtype, dev))


def _to_array(data: Any, dtype: np.dtype | None, copy: bool) -> np.ndarray:
    """NumPy array of a supported dtype; Python floats are float32 unless dtype says otherwise."""
    if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array__"):
        a = np.asarray(data)
        want = dtype if dtype is not None else dt.canonical(a.dtype)
    else:
        a = _from_python(data)
        own = dt.float32 if a.dtype.kind == "f" else dt.canonical(a.dtype)
        want = own if dtype is None else dtype
        if a.size and dt.is_int(want) and a.dtype.kind in "iu":
            _check_range(a, want)
    with np.errstate(all="ignore"):
        return (
            np.array(a, dtype=want, order="C", copy=True)
            if copy
            else np.ascontiguousarray(a, want).reshape(a.shape)
        )


def _from_python(data: Any) -> np.ndarray:
    """NumPy array of nested sequences of numbers."""
    try:
        a = np.array(data)
    except ValueError as e:
        raise ShapeError(
            f"tensor(data): the nested sequences do not have one shape ({e})"
        ) from None
    if a.dtype.kind == "O" and a.size and all(isinstance(v, int) for v in a.flat):
        raise OverflowError(
            "tensor(data): an integer does not fit int64 or uint64; write it as a float"
        )
    if a.dtype.kind not in "biuf" and a.dtype != dt.bfloat16:
        raise DTypeError(
            f"tensor(data): {type(data).__name__} is no array of real numbers (NumPy "
            f"makes {a.dtype} of it); a generator has to be made a list first"
        )
    return a


def _check_range(a: np.ndarray, d: np.dtype) -> None:
    """OverflowError when Python integers do not fit an integer dtype."""
    for v in (int(a.min()), int(a.max())):
        if not dt.can_hold(d, v):
            raise OverflowError(f"Python integer {v} does not fit {d.name}")


def tensor(
    data: Any, dtype: Any = None, *, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data` (nested sequences, NumPy array, tensor, number).

    dtype: default float32 for Python floats, int64 for ints, bool for bools, and the array's own
    dtype for arrays.  Raises DTypeError for data that is no array of numbers.

    >>> import hybrid
    >>> hybrid.tensor([1, 2, 3]).dtype.name, hybrid.tensor(2.5).dtype.name
    ('int64', 'float32')
    """
    if type(data) is np.ndarray and dtype is None and device is None and not door.STATE.special:
        known = find_aval((data.shape, data.dtype, CPU))
        if known is not None and not requires_grad:
            return new_handle(data.copy(), known)
    d = None if dtype is None else dt.canonical(dtype)
    if isinstance(data, Handle):
        t = data.detach().to(d) if d is not None else data.detach()  # type: ignore[attr-defined]
        out = t.clone() if t._v is data._v else t
        out = stop_gradient(out)
        return _finish(out, device, requires_grad)
    mode = door.current_mode()
    a = _to_array(_listed(data), d, True)
    out = new_handle(a, aval(a.shape, dt.canonical(a.dtype)))
    if mode is not None:
        mode.on_constant(out)
    return _finish(out, device, requires_grad)


def _listed(data: Any) -> Any:
    """Nested lists with tensors of one element replaced by numbers."""
    if isinstance(data, (list, tuple)):
        return [_listed(x) for x in data]
    return data.tolist() if isinstance(data, Handle) else data  # type: ignore[attr-defined]


def _finish(out: Any, device: Any, requires_grad: bool) -> Any:
    if device is not None and to_device(device) is not CPU:
        out = move(out, to_device(device))
    if requires_grad:
        if not dt.is_float(out._a.dtype):
            raise DTypeError(
                f"only floating tensors can require a gradient, not {out._a.dtype.name}"
            )
        out._node = Leaf(out)
    return out


def asarray(
    data: Any, dtype: Any = None, *, device: Any = None, copy: bool | None = None
) -> Tensor:
    """`data` as a tensor: a tensor is returned as it is, a NumPy array that is writeable is copied
    unless copy=False says that it may be shared (then it must not be written while the tensor
    lives).

    Raises ValueError when copy=False cannot be kept.
    """
    if isinstance(data, Handle):
        out: Any = data
        out = out if dtype is None else out.to(dtype)
        out = out if device is None else out.to(device=device)
        return out.clone() if copy else out
    if isinstance(data, np.ndarray) and not copy:
        d = dt.canonical(dtype) if dtype is not None else dt.canonical(data.dtype)
        shareable = (
            data.dtype == d and data.dtype.isnative and (copy is False or not data.flags.writeable)
        )
        if shareable and data.flags.aligned:
            v = data.view(np.ndarray)
            v.flags.writeable = False
            out = new_handle(v, aval(v.shape, d))
            mode = door.current_mode()
            if mode is not None:
                mode.on_effect("shares memory with a NumPy array")
            return _finish(out, device, False)
        if copy is False:
            raise ValueError("asarray(copy=False): this array cannot be shared without a copy")
    return tensor(data, dtype, device=device)
