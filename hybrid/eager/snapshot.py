"""What a state dict, a copy or a pickle sees of many tensors: the values of one moment.

Invariant: while a module or optimizer is being copied or pickled, every tensor below it is read
from one reading, taken when the outermost object began; a replay that commits meanwhile is seen
whole or not at all.
"""

from __future__ import annotations

import copy
import copyreg
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from operator import is_
from types import FrameType
from typing import Any

import numpy as np

from ..core.aval import HOST
from ..core.errors import ArgumentError, value_text
from ..ir.door import bind as door
from ..ir.door.busy import values_of
from ..ir.door.pending import shared
from ..ir.mode import Versioned
from ..ir.tensor import Alias, Handle, Leaf, link_view, new_handle

__all__ = ["Saved", "frozen", "copied", "link_copies", "saved_array", "grad_of", "must_map"]

_ROUNDS = 100  # readings that are tried until no gradient is replaced meanwhile


class _Moment:
    """Values and gradients of all tensors below an object.  It is also the empty list of items in
    what `__reduce_ex__` returns, and so lives until that object is saved, or longer where somebody
    keeps that.  `frame` is that of the call which saves; None: it is over."""

    __slots__ = ("values", "grads", "frame", "ends", "__weakref__")

    def __init__(self, root: Any, caller: FrameType) -> None:
        # the frame itself, for another one may take its place in memory
        self.frame: FrameType | None = caller
        # copies take the items last, when all else is copied; a pickler takes them first
        self.ends = caller.f_globals is copy.__dict__
        handles, leaves = _below(root)
        for _ in range(_ROUNDS):
            grads = list(map(getattr, leaves, repeat("grad")))
            every = handles + [g for g in grads if g is not None]
            values = values_of(every)
            if all(map(is_, grads, map(getattr, leaves, repeat("grad")))):
                break
        self.values = {id(t): (t, v) for t, v in zip(every, values)}
        self.grads = {id(leaf): (leaf, g) for leaf, g in zip(leaves, grads)}

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.ends:
            self.frame = None
        raise StopIteration

    def lasts(self) -> bool:
        """Whether the call that began it still runs."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self.frame:
            frame = frame.f_back
        return frame is not None


class _Local(threading.local):
    moment: Callable[[], _Moment | None] | None = None


_LOCAL = _Local()


def _current() -> _Moment | None:
    """The moment that this thread is saving."""
    moment = _LOCAL.moment() if _LOCAL.moment is not None else None
    return moment if moment is not None and moment.lasts() else None


def _below(root: Any) -> tuple[list[Any], list[Any]]:
    """Tensors and tape ends reached from an object through hybrid's objects and containers."""
    handles: dict[int, Any] = {}
    leaves: dict[int, Any] = {}
    seen, stack = set(), [root]
    while stack:
        value = stack.pop()
        if isinstance(value, Handle):
            handles[id(value)] = value
            if type(value._node) is Leaf:
                leaves[id(value._node)] = value._node
        elif isinstance(value, (Versioned, list, tuple, dict, set)) and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                stack += dict.values(value)
            elif not isinstance(value, Versioned):
                stack += value
            stack += list(getattr(value, "__dict__", {}).values())
    return list(handles.values()), list(leaves.values())


class Saved(Versioned):
    """Base of hybrid's stateful objects that are copied and pickled as of one moment."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # `copyreg` keeps this list in the class when it first copies an object, which would look
        # like a change of the class to the recorded functions that use it
        if "__slotnames__" not in cls.__dict__:
            getattr(copyreg, "_slotnames", id)(cls)

    def __reduce_ex__(self, protocol: Any) -> Any:
        mode = door.current_mode()
        if mode is not None:
            mode.on_effect(f"copies or pickles a {type(self).__name__}")
        reduced = super().__reduce_ex__(protocol)
        if not isinstance(reduced, tuple) or _current() is not None:
            return reduced
        parts = [*reduced, None, None, None][:5]
        if parts[3] is None:
            parts[3] = moment = _Moment(self, sys._getframe(1))
            _LOCAL.moment = weakref.ref(moment)
        return (*parts, *reduced[5:])


def _value(handle: Any) -> Any:
    moment = _current()
    held = moment.values.get(id(handle)) if moment is not None else None
    return held[1] if held is not None else handle._v


def grad_of(leaf: Leaf) -> Any:
    """The gradient of a tape end, as of the moment that is being saved."""
    moment = _current()
    held = moment.grads.get(id(leaf)) if moment is not None else None
    return held[1] if held is not None else leaf.grad


def copied(handle: Any) -> Any:
    """A tensor with a copy of t's value and no history."""
    host = door.fetched(_value(handle), handle._a.device)
    made = new_handle(door.on_device(host.copy(), handle._a.device), handle._a)
    mode = door.current_mode()
    if mode is not None:  # values do not change: to a recording it is the same one
        mode.on_alias(made, handle)
    return made


def link_copies(handle: Any, memo: Mapping[int, Any]) -> None:
    """In a deep copy, the copy of a view is a view of the copy of what it shows, whichever of the
    two was copied first."""
    alias = getattr(handle, "_x", None)
    if type(alias) is not Alias:
        return
    for view in [handle, *alias.live_views()]:
        own, parent = view._x, getattr(view._x, "parent", None)
        made, shown = memo.get(id(view)), memo.get(id(parent))
        if parent is not None and isinstance(made, Handle) and isinstance(shown, Handle):
            if getattr(getattr(made, "_x", None), "parent", None) is None:
                link_view(made, shown, own.how, own.step)


def saved_array(handle: Any) -> np.ndarray:
    """The value to save, as NumPy."""
    mode = door.current_mode()
    if mode is not None:
        mode.on_host_read(handle, "np.asarray")
    value = door.fetched(_value(handle), handle._a.device)
    return value.view() if handle._a.device is HOST else value


def frozen(named: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors with the values that all of them had at one moment, cut from the tape."""
    mode = door.current_mode()
    values = values_of(list(named.values()))
    made = {n: new_handle(shared(v), t._a) for (n, t), v in zip(named.items(), values)}
    if mode is not None:
        for name, handle in named.items():
            mode.on_alias(made[name], handle)
    return made


def must_map(what: str, state: Any) -> None:
    """ArgumentError unless a state dict is a mapping: other things may have no end."""
    if not isinstance(state, Mapping):
        raise ArgumentError(
            f"{what}: state is {value_text(state)}: it takes a dict, as state_dict() gives it"
        )
