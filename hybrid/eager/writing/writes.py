"""New values of handles: of a tensor, of the base it is a view of, and of the views of that.

Invariant: a write happens whole or not at all: what can be refused is refused before the first
handle changes, and handles that change together change at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...autograd.backward import stop_gradient
from ...core.aval import Aval
from ...core.errors import HybridError
from ...ir.door import bind as door
from ...ir.door.busy import put_values
from ...ir.door.pending import shared, value_of
from ...ir.op import ViewOp
from ...ir.tensor import SAME, Alias, Leaf, Literal, new_handle
from .handles import followers
from .overwrite import overwrite_view

__all__ = ["LEAF_WRITTEN", "put_results", "become", "write"]

LEAF_WRITTEN = (
    "a leaf that requires a gradient was changed in place; do it under "
    "hybrid.no_grad(), or give it a value with .assign(...)"
)


def write(handle: Any, written: Any, node: Any, follow: bool = True) -> None:
    """A handle takes the value of `written` and a tape node, and so do its base when it is a view
    and its live views; gradients follow the value into a base if asked."""
    target, alias = handle, getattr(handle, "_x", None)
    if type(alias) is Alias and alias.base is not None and node is None:
        if overwrite_view(handle, written):
            return
    while type(alias) is Alias and alias.base is not None:  # a view of a view of ...
        if door.LOCAL.mode is not None:
            door.LOCAL.mode.on_box(target)
        target, written, node, follow = _through(alias, written, follow)
        alias = getattr(target, "_x", None)
    if type(alias) is Literal:
        raise HybridError(
            "a literal cannot be written; make a tensor of its own with hybrid.tensor"
        )
    views = [] if alias is None else followers(alias)
    for view in views:
        if view._x.step is None:
            raise HybridError(
                f"this tensor has a live view ({view._x.how}) that comes "
                "from a recorded function and cannot follow a write; make it a copy first "
                "(.clone())"
            )
    _give(target, written, node, views)


def put_results(handles: Sequence[Any], values: Sequence[Any], avals: Sequence[Aval]) -> None:
    """Each handle takes a result that has no gradient, as `assign` does."""
    watched = door.current_mode() is not None
    for handle, value, aval in zip(handles, values, avals, strict=True):
        if watched or handle._a is not aval or getattr(handle, "_x", None) is not None:
            handle.assign(new_handle(value, aval))
        else:
            handle._v = value


def _set(handle: Any, written: Any, node: Any) -> None:
    """The one place where a handle changes its value."""
    mode = door.current_mode()
    if mode is not None:
        mode.on_assign(handle, written)
    handle._v, handle._a, handle._node = shared(written._v), written._a, node
    if mode is not None:
        mode.on_pending(handle)


def _through(alias: Alias, written: Any, follow: bool) -> tuple[Any, Any, Any, bool]:
    """How to write a view by writing what it was made of: (that tensor, its new value, tape
    node, whether gradients follow)."""
    parent: Any = alias.parent
    if alias.step is SAME:
        return parent, stop_gradient(written), parent._node, False
    if follow and type(parent._node) is Leaf and door.grad_enabled():
        raise HybridError(LEAF_WRITTEN)
    before = door.set_grad(follow and door.grad_enabled())
    try:
        updated, op = None, None if alias.step is None else alias.step[0]
        if isinstance(op, ViewOp) and op.write_back is not None:
            updated = op.write_back(parent, written, **dict(alias.step[1]))
    finally:
        door.STATE.special += door.LOCAL.grad - before
        door.LOCAL.grad = before
    if updated is None:
        raise HybridError(
            f"this tensor is a view (made by {alias.how}) whose elements cannot be "
            "written in their base; write the base itself, or copy the view first (.clone())"
        )
    keep = parent._node if type(parent._node) is Leaf or not follow else updated._node
    return parent, updated, keep, follow


def _give(handle: Any, written: Any, node: Any, views: list[Any]) -> None:
    """The new value of a base and what its views, oldest first, show of it: all at once."""
    if not views:
        return _set(handle, written, node)
    mode = door.current_mode()
    current: dict[int, Any] = {id(handle): stop_gradient(written)}
    current[id(handle)]._node = node
    handles, values, nodes = [handle], [written], [node]
    for view in views:
        alias: Any = view._x
        parent = current.get(id(alias.parent), alias.parent)
        if mode is not None:
            mode.on_box(view)
        shown = stop_gradient(parent) if alias.step is SAME else door.view_again(alias.step, parent)
        keep = view._node if type(view._node) is Leaf else shown._node
        handles.append(view)
        values.append(shown)
        nodes.append(keep)
        current[id(view)] = stop_gradient(shown)
        current[id(view)]._node = keep
    if mode is not None:
        mode.on_assign(handle, written)
        for view, value in zip(views, values[1:]):
            mode.on_follow(view, value)
    put_values(handles, [shared(t._v) for t in values], [t._a for t in values], nodes)
    if mode is not None:
        for changed in handles:
            mode.on_pending(changed)


def become(handle: Any, made: Any) -> None:
    """A leaf or a tensor without a gradient takes the value of `made`, another dtype or device
    included: who holds it goes along, but for views, which keep what they show."""
    mode = door.current_mode()
    if mode is not None:
        mode.on_effect(f"gives a tensor another dtype or device ({made._a})")
    alias = getattr(handle, "_x", None)
    if type(alias) is Alias:
        for view in [handle, *alias.live_views()]:
            view._x = Alias()
    elif alias is not None:
        del handle._x  # of a literal
    handle._v, handle._a = value_of(made), made._a
