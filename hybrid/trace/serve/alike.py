"""What a decorated function shows of the one that it wraps: the parts of a function, attributes,
copies and its place in a class.

Invariant: code, defaults and cells are kept by the wrapped function alone, whose facts recordings
guard: a store through the decorated function is a store to them.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable
from typing import Any

from ..fallback.resumed import resumed
from ..heap.allowlist import FUNCTION_PARTS, MISSING, Wrapped, lookup

__all__ = ["Alike", "AlikeObject"]

# What `type` makes of plain functions of these names in the body of a class.
_IMPLICIT: dict[str, Any] = {
    "__new__": staticmethod,
    "__init_subclass__": classmethod,
    "__class_getitem__": classmethod,
}


def _shown(fn: Any) -> Any:
    """The object whose parts are shown: what a partial object starts, as `inspect` asks its code
    for the kind, or else the wrapped one."""
    started = resumed(fn) if isinstance(fn, functools.partial) else None
    return fn if started is None else started


def _part(name: str) -> property:
    """A part of the wrapped function, as an attribute of the decorated one."""

    def get(decorated: Any) -> Any:
        return getattr(_shown(decorated.fn), name)

    def put(decorated: Any, value: Any) -> None:
        setattr(_shown(decorated.fn), name, value)

    def remove(decorated: Any) -> None:
        delattr(_shown(decorated.fn), name)

    return property(get, put, remove)


class Alike(Wrapped):
    """The part of `Function` that is like the function itself.

    >>> import hybrid
    >>> @hybrid.function
    ... def scaled(x, factor=2.0): return x * factor
    >>> scaled.__defaults__ = (3.0,)
    >>> scaled(hybrid.ones(2)).tolist()
    [3.0, 3.0]
    """

    fn: Callable[..., Any]
    _wait: bool | None

    def __init__(self) -> None:
        """The last of all parts: what the user's function brings along replaces none of them."""
        decorated: Any = self
        fn, own = self.fn, dict(vars(self))
        # attributes of other objects are read where they are, as they may change there
        copied = () if isinstance(self, AlikeObject) else functools.WRAPPER_UPDATES
        functools.update_wrapper(decorated, fn, updated=copied)
        vars(self).update(own)
        unbound = isinstance(fn, (staticmethod, types.MethodType))
        self._binds = not unbound and lookup(type(fn), "__get__") is not MISSING

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        """A bound method, where the wrapped object gives one."""
        decorated: Any = self
        bound = instance is not None and self._binds
        if bound and type(self.fn) is not types.FunctionType:
            given = lookup(type(self.fn), "__get__")(self.fn, instance, cls)
            bound = given is not self.fn  # a partial object of CPython 3.13 gives itself
        return types.MethodType(decorated, instance) if bound else decorated

    def __set_name__(self, owner: type, name: str) -> None:
        """What `type` does with the wrapped object in the body of a class."""
        if type(self.fn) is not types.FunctionType:
            hook = lookup(type(self.fn), "__set_name__")
            if hook is not MISSING:
                hook(self.fn, owner, name)
        elif name in _IMPLICIT and vars(owner).get(name) is self:
            type.__setattr__(owner, name, _IMPLICIT[name](self))

    def __copy__(self) -> Any:
        """As the wrapped object is copied: a function is the same one."""
        return self._copied(copy.copy(self.fn))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._copied(copy.deepcopy(self.fn, memo))

    def _copied(self, fn: Any) -> Any:
        if fn is self.fn:
            return self
        kind: Any = type(self)
        return getattr(kind, "awake", getattr(kind, "tried", kind))(fn, self._wait)


for _name in FUNCTION_PARTS:
    setattr(Alike, _name, _part(_name))


class AlikeObject:
    """The same for one around an object that is no function: what only that has is read there.

    Not for all: a class that has `__getattr__` finds each attribute more slowly.

    >>> import functools, hybrid
    >>> hybrid.function(functools.partial(abs, -2)).args
    (-2,)
    """

    fn: Any

    def __getattr__(self, name: str) -> Any:
        if "fn" not in vars(self):  # not made yet
            raise AttributeError(f"a {type(self).__name__} that is not made has no {name}")
        return getattr(self.fn, name)
