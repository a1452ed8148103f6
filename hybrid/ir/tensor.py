"""The tensor handle: four slots, no behaviour (operators and methods are in eager/tensor.py).

Invariant: `_v` is never written in place while anyone but this handle may hold it; `_a` always describes
`_v`; `_node` is None (no gradient), a Leaf, or a tape entry (see autograd/tape.py).
"""
from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ..core.aval import Aval

__all__ = ["Handle", "Leaf", "Alias", "new_handle", "TENSOR"]


class Handle:
    """Slots of a tensor.  `_x` is rare data: an Alias, or the LITERAL mark; unset on most tensors."""

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
    """Links a view to the tensor it shows, and a base to its live views, so that a write that NumPy would
    propagate is refused instead of passing silently."""

    __slots__ = ("base", "how", "views")

    def __init__(self) -> None:
        self.base: Handle | None = None
        self.how = ""
        self.views: list[weakref.ref[Any]] = []

    def live_views(self) -> bool:
        self.views = [r for r in self.views if r() is not None]
        return bool(self.views)


LITERAL = object()
# The public Tensor class; eager/tensor.py sets it once, at import.
TENSOR: list[type] = [Handle]


def new_handle(value: Any, a: Aval, node: Any = None) -> Any:
    """A tensor around a value that the caller owns."""
    cls = TENSOR[0]
    t = cls.__new__(cls)
    t._v, t._a, t._node = value, a, node
    return t


def link_view(view: Handle, base: Handle, how: str) -> None:
    """Note that `view` shows elements of `base`."""
    x = getattr(base, "_x", None)
    if type(x) is not Alias:
        if x is LITERAL:
            return
        x = base._x = Alias()
    root = x.base if x.base is not None else base
    mine = view._x = Alias()
    mine.base, mine.how = root, how
    of = x if root is base else root._x
    if len(of.views) > 32:
        of.live_views()
    of.views.append(weakref.ref(view))
