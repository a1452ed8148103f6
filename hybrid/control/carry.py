"""Trees that control flow functions take and give: their leaves as tensors, and what must match.

Invariant: a leaf that leaves a function here is a tensor; what a loop carries keeps its structure,
shapes, dtypes and devices from the first step to the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..autograd.tape import PseudoOp
from ..core import dtypes as dt
from ..core import trees
from ..core.aval import HOST, Aval, Device
from ..core.errors import ArgumentError, DTypeError, ShapeError, shape_text
from ..ir.door import bind as door
from ..ir.door.arguments import described
from ..ir.door.foreign import is_number
from ..ir.tensor import Handle, new_handle

__all__ = [
    "Carry",
    "carried",
    "device_of",
    "fitted",
    "fresh",
    "results_of",
    "sealed",
    "truth",
    "position",
    "whole_number",
]

Tensor = Any


class Carry(NamedTuple):
    """The leaves of a tree as tensors, and the structure to rebuild it."""

    leaves: list[Any]
    structure: Any

    def tree(self, leaves: Sequence[Any] | None = None) -> Any:
        """The tree, of other leaves if some are given."""
        return trees.unflatten(self.structure, list(self.leaves if leaves is None else leaves))


def device_of(leaves: Sequence[Any]) -> Device:
    """Where the first tensor among leaves is; numbers beside it go there too."""
    return next((leaf._a.device for leaf in leaves if isinstance(leaf, Handle)), HOST)


def _tensor(where: str, leaf: Any, device: Device, like: np.dtype | None = None) -> Tensor:
    """A leaf as a tensor; numbers take the dtype that they have beside `like`."""
    if isinstance(leaf, Handle):
        return leaf
    if is_number(leaf) or isinstance(leaf, (np.ndarray, np.generic)):
        return door.as_tensor(leaf, device, like)
    raise ArgumentError(f"{where} holds {described(leaf)}: leaves are tensors and numbers")


def carried(where: str, tree: Any, beside: Sequence[Any] = ()) -> Carry:
    """A tree of tensors and numbers as tensors; ArgumentError for anything else.  Where it holds no
    tensor, numbers go to the first one of those beside it."""
    leaves, structure = trees.flatten(tree)
    device = device_of([*leaves, *beside])
    return Carry([_tensor(where, leaf, device) for leaf in leaves], structure)


def fresh(tensor: Tensor, known: bool = True) -> Tensor:
    """A handle of its own on a value and its gradient: what a step does to it stays there.
    `known`: whether a mode has seen how the tensor was made."""
    handle = new_handle(tensor._v, tensor._a, tensor._node)
    mode = door.current_mode()
    if mode is not None and known:
        mode.on_alias(handle, tensor)
    return handle


def sealed(name: str, tensor: Tensor, known: bool = True) -> Tensor:
    """`fresh`, for a result whose gradient is that of steps which only the values decide: a
    recording that asks for it is told so."""
    handle = fresh(tensor, known)
    if tensor._node is None:
        return handle

    def pull(grads: list[Any]) -> list[Any]:
        mode = door.current_mode()
        if mode is not None and mode.whole:
            mode.on_effect(f"asks for the gradient of a {name}, whose steps its values decide")
        return grads

    handle._node = (PseudoOp(name, pull, (tensor._a,)), (tensor._node,), (), None)
    return handle


def results_of(where: str, tree: Any) -> Carry:
    """What a branch or step gave, as tensors."""
    return carried(f"the result of {where}", tree)


def fitted(where: str, carry: Carry, tree: Any) -> list[Any]:
    """The leaves of what a step gave, as tensors of the structure, shapes and dtypes of a carry."""
    leaves, structure = trees.flatten(tree)
    if structure != carry.structure:
        raise ArgumentError(
            f"{where} gave a carry of another structure: {structure}, it began with "
            f"{carry.structure}"
        )
    return [
        _same(where, k, old._a, leaf) for k, (old, leaf) in enumerate(zip(carry.leaves, leaves))
    ]


def _same(where: str, number: int, aval: Aval, leaf: Any) -> Tensor:
    """A leaf of a new carry, which must be like the old one."""
    tensor = _tensor(f"the carry that {where} gave", leaf, aval.device, aval.dtype)
    if tensor._a is aval:
        return tensor
    if tensor._a.shape != aval.shape:
        raise ShapeError(
            f"{where} changes the shape of carry leaf {number}: {shape_text(aval.shape)} became "
            f"{shape_text(tensor._a.shape)}"
        )
    if tensor._a.dtype is not aval.dtype:
        raise DTypeError(
            f"{where} changes the dtype of carry leaf {number}: {aval.dtype.name} became "
            f"{tensor._a.dtype.name}; convert it with .astype({aval.dtype.name!r}), or begin with "
            "that dtype"
        )
    raise ArgumentError(
        f"{where} moves carry leaf {number} from {aval.device} to {tensor._a.device}"
    )


def _scalar(where: str, value: Any, device: Device = HOST) -> Tensor:
    """A value that decides where to go, as a 0-d tensor."""
    if isinstance(value, Handle):
        tensor = value
    elif is_number(value) or isinstance(value, (np.ndarray, np.generic)):
        tensor = door.as_tensor(value, device)
    else:
        raise ArgumentError(f"{where} has to be a scalar, not {described(value)}")
    if tensor._a.shape != ():
        raise ShapeError(
            f"{where} has to be a scalar, not a tensor of shape {shape_text(tensor._a.shape)}; "
            "reduce it with .all() or .any()"
        )
    return tensor


def truth(where: str, value: Any) -> Tensor:
    """A predicate as a 0-d tensor; a number counts as true unless it is 0, a NaN is true."""
    return _scalar(where, value)


def position(where: str, value: Any, device: Device = HOST) -> Tensor:
    """The number of a branch as a 0-d tensor of integers; numbers go to the device."""
    tensor = _scalar(where, value, device)
    if dt.kind(tensor._a.dtype) not in "iu":
        raise DTypeError(f"{where} has to be an integer, not {tensor._a.dtype.name}")
    return tensor


def whole_number(value: Any) -> int | None:
    """A Python or NumPy integer as an int, None for anything else (True is none)."""
    if isinstance(value, (bool, np.bool_)):
        return None
    return int(value) if isinstance(value, (int, np.integer)) else None
