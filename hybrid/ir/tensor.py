"""The tensor handle: four slots, no behaviour (operators and methods are in eager/tensor.py).

Invariant: `_v` is never written in place while anyone but this handle may hold it; `_a` always
describes `_v`; `_node` is None (no gradient), a Leaf, or the node of an op (see autograd/tape.py).
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.aval import Aval
from ..core.shapes import contiguous_strides

__all__ = [
    "LISTED",
    "Handle",
    "Leaf",
    "Alias",
    "counted",
    "new_handle",
    "link_view",
    "RUNTIME",
    "Literal",
    "SAME",
]


class Handle:
    """Slots of a tensor.  `_x` is rare data: an Alias, or the mark of a Literal;
    unset on most tensors."""

    __slots__ = ("_v", "_a", "_node", "_x", "__weakref__")
    if TYPE_CHECKING:
        _v: Any
        _a: Aval
        _node: Any
        _x: Any


class Leaf:
    """Tape end of a tensor that asked for a gradient: holds `.grad` (a tensor or None)."""

    __slots__ = ("grad", "handle", "__weakref__")

    def __init__(self, handle: Handle) -> None:
        self.grad: Any = None
        self.handle = weakref.ref(handle)


class Alias:
    """Links a view to the tensor it was made of (`parent`) and to the one that owns the value
    (`base`), and a base to its live views, oldest first.  `step` is how the parent gives the view:
    an (op, params), SAME for the whole value cut from the tape, or None where that is not known;
    then writes are refused.  `strides`: in elements of the base, once somebody asked."""

    __slots__ = ("base", "parent", "step", "how", "views", "limit", "strides")

    def __init__(self) -> None:
        self.base: Handle | None = None
        self.parent: Handle | None = None
        self.step: Any = None
        self.how = ""
        self.strides: tuple[int, ...] | None = None
        self.views: list[weakref.ref[Any]] = []
        self.limit = 32

    def live_views(self) -> list[Any]:
        """The views that somebody holds, oldest first."""
        alive = [(r, r()) for r in self.views]
        self.views = [r for r, v in alive if v is not None]
        self.limit = 2 * len(self.views) + 32
        return [v for _, v in alive if v is not None]


class Literal:
    """Marks the tensor of a Python number; `value` is the number on the host."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray) -> None:
        self.value = value


SAME = object()


class Runtime:
    """What the floors above this one give it, each once, at import: the public class of tensors,
    a function from device kind to backend, how a sequence with tensors in it becomes one, how
    `out` takes a result, and how a call with a universal function's own arguments is served."""

    __slots__ = ("tensor", "backend", "join", "written", "looped")

    def __init__(self) -> None:
        self.tensor: Any = Handle
        self.backend: Callable[[str], Any] | None = None
        self.join: Any = None
        self.written: Any = None
        self.looped: Any = None


RUNTIME = Runtime()


def new_handle(value: Any, aval: Aval, node: Any = None) -> Any:
    """A tensor around a value that the caller owns."""
    tensor_class = RUNTIME.tensor
    tensor = tensor_class.__new__(tensor_class)
    tensor._v, tensor._a, tensor._node = value, aval, node
    return tensor


def _copies(parent: Handle, step: Any) -> bool:
    """Whether a step shows elements of a view that no strides in its base reach."""
    if type(step) is not tuple or not step[0].has("copies"):
        return False
    return step[0].layout(parent._a, _strides(parent), 0, **dict(step[1])) is None


def _strides(view: Any) -> tuple[int, ...]:
    """Where the elements of a view lie in its base, which counts as contiguous."""
    chain, alias = [], getattr(view, "_x", None)
    while type(alias) is Alias and alias.parent is not None and alias.strides is None:
        chain.append((view, alias))
        view = alias.parent
        alias = getattr(view, "_x", None)
    known = alias.strides if type(alias) is Alias else None
    strides = contiguous_strides(view._a.shape) if known is None else known
    for shown, alias in reversed(chain):
        if type(alias.step) is tuple:
            op, params = alias.step
            placed = op.layout(alias.parent._a, strides, 0, **dict(params))
            strides = contiguous_strides(shown._a.shape) if placed is None else placed[1]
        elif alias.step is not SAME:
            strides = contiguous_strides(shown._a.shape)
        alias.strides = strides
    return strides


def link_view(view: Handle, base: Handle, made_by: str, step: Any = None) -> None:
    """Note that `view` shows elements of `base`; see Alias for `step`.  What only a copy of a view
    can show, as in NumPy and PyTorch (`x.T.reshape(-1)`), is no view."""
    alias = getattr(base, "_x", None)
    if type(alias) is Alias and alias.parent is not None and _copies(base, step):
        return
    if type(alias) is not Alias:
        if type(alias) is Literal:
            return
        alias = base._x = Alias()
    root_handle = alias.base if alias.base is not None else base
    own_alias = view._x = Alias()
    own_alias.base, own_alias.parent = root_handle, base
    own_alias.how, own_alias.step = made_by, step
    owner = alias if root_handle is base else root_handle._x
    if len(owner.views) > owner.limit:
        owner.live_views()
    owner.views.append(weakref.ref(view))


# ---- who may write into a value
LISTED = next(map(sys.getrefcount, [object()]))  # the count of what only a list holds


def counted(objects: Sequence[Any], wanted: Sequence[int]) -> Iterator[bool]:
    """Whether each object has so many references, asked when the iterator is read: one call in C
    that reads it and does what depends on it lets no thread in between."""
    return map(operator.eq, map(sys.getrefcount, objects), wanted)
