"""From data to a handle, and from device to device: what making tensors and Tensor itself share.

Invariant: a handle made here is of the registered tensor class; data are rounded once, in
ir/door/foreign.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.backward import stop_gradient
from ..autograd.tape import PseudoOp
from ..core import dtypes as dt
from ..core.aval import HOST, Device, aval
from ..core.aval import device as to_device
from ..core.errors import DTypeError
from ..ir.door import bind as door
from ..ir.door.foreign import Data, data_of, dtype_of, is_number
from ..ir.door.pending import value_of
from ..ir.tensor import Handle, Leaf, new_handle

__all__ = ["finished", "handle_of", "move", "named_device"]


def named_device(kind: Device, given: Any) -> Device:
    """A device of a kind, given by its number or name (None: the current one)."""
    if given is None:
        return door.backend_of(kind).current_device()
    return to_device(f"{kind}:{given}" if isinstance(given, int) else given)


def move(handle: Any, target: Device, waits: bool = True) -> Any:
    """t on another device, and the gradient back to where t is; `waits` False: a copy from pinned
    memory may go on meanwhile."""
    source, value = handle._a.device, None
    mode = door.current_mode()
    if mode is not None:
        mode.on_effect(f"moves a tensor to {target}")
    if source.kind == target.kind and source is not HOST:
        value = door.aside(door.backend_of(target).moved, value_of(handle), target)
    if value is None:
        host = door.fetched(handle._v, source)
        if waits or target is HOST:
            value = door.on_device(host, target)
        else:
            value = door.aside(door.backend_of(target).send, host, target)
    made = new_handle(value, aval(handle._a.shape, handle._a.dtype, target))
    if handle._node is not None and door.grad_enabled():
        resolved = PseudoOp("move", _moves_to(source), (made._a,))
        made._node = (resolved, (handle._node,), (), None)
    return made


def _moves_to(device: Device) -> Callable[[list[Any]], list[Any]]:
    """The pull of a move: gradients go to the device that the tensor came from."""
    return lambda grads: [None if grad is None else move(grad, device) for grad in grads]


def handle_of(data: Any, target: np.dtype | None, detached: bool, device: Any) -> Any:
    """Data that is no tensor as a tensor of a dtype on a device; tensors in it are joined where
    they are, and cut from the tape if asked."""
    read = data if is_number(data) else door.foreign(data, target, detached)
    if isinstance(read, Handle):
        read = read if target is None else door.convert(read, target)
        return stop_gradient(read) if detached else read
    read = read if isinstance(read, Data) else data_of(read)
    where = HOST if device is None else to_device(device)
    return door.tensor_of(read, dtype_of(read) if target is None else target, where)


def finished(made: Any, device: Any, requires_grad: bool) -> Any:
    """A tensor on the device that was asked for, a leaf if asked; DTypeError for integers."""
    if device is not None and to_device(device) is not made._a.device:
        made = move(made, to_device(device))
    if requires_grad:
        if not dt.is_inexact(made._a.dtype):
            raise DTypeError(
                f"only floating tensors can require a gradient, not {made._a.dtype.name}"
            )
        made._node = Leaf(made)
    return made
