"""What Python state functions can reach: whether running them changes it, and how it was before.

Invariant: no user code runs here; whatever is reachable through closures, defaults, globals and
instances is in a snapshot, or the snapshot says that it is not whole.
"""

from __future__ import annotations

import functools
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.sites import users_code
from ..ir.tensor import Handle

__all__ = ["StateSnapshot"]

MOST = 20_000  # objects that one snapshot looks at
_ATOMS: tuple[Any, ...] = (type(None), bool, int, float, complex, str, bytes, type, np.generic)
_ATOMS += (np.dtype, Handle, types.BuiltinFunctionType, types.CodeType, types.ModuleType)
_ATOMS += (range, slice, frozenset)
_LISTS, _DICTS = (list, deque), (dict, OrderedDict, defaultdict)
_EMPTY = object()


class StateSnapshot:
    """Containers, cells and instance dictionaries that functions reach, with what they hold.

    `whole`: whether nothing that may change was left out (an iterator, say, cannot be compared)."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self.functions = tuple(functions)
        self.kept: dict[int, tuple[Any, Any]] = {}
        self.whole = True
        stack = list(self.functions)
        while stack and self.whole:
            self._visit(stack.pop(), stack)
            self.whole = self.whole and len(self.kept) < MOST

    def _visit(self, value: Any, stack: list[Any]) -> None:
        kind = type(value)
        if issubclass(kind, _ATOMS) or id(value) in self.kept:
            return
        held = _content(value)
        if held is None:
            self.whole = False
            return
        self.kept[id(value)] = value, held
        stack += _parts(value, held)

    def changed(self) -> bool:
        """Whether something holds other objects than it did."""
        return any(not _same(_content(value), held) for value, held in self.kept.values())

    def restore(self) -> None:
        """Give everything its content back."""
        for value, held in self.kept.values():
            if not _same(_content(value), held):
                _put(value, held)


def _fields(value: Any) -> dict[str, Any] | None:
    """The dictionary of an instance, without its class being asked."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


def _content(value: Any) -> Any:
    """What an object holds, as a value that does not change with it; None for one that may change
    unseen."""
    kind = type(value)
    if kind in _LISTS or issubclass(kind, (tuple, set)):
        return tuple(value)
    if kind in _DICTS:
        return tuple(value.items())
    if kind is types.CellType:
        try:
            return (value.cell_contents,)
        except ValueError:
            return (_EMPTY,)
    if kind is np.ndarray:
        return (value.tobytes(),) if value.dtype.kind != "O" and value.nbytes < 1 << 16 else None
    if kind is types.FunctionType:
        return _of_function(value)
    if kind is types.MethodType:
        return value.__self__, value.__func__
    if kind is functools.partial:
        return value.func, value.args, value.keywords
    if hasattr(kind, "__next__") or issubclass(kind, (list, dict, deque)):
        return None
    fields = _fields(value)
    if any(vars(base).get("__slots__") for base in kind.__mro__[:-1]) and fields is None:
        return None if users_code(_file_of(kind)) else ()
    return () if fields is None else tuple(fields.items())


def _file_of(kind: type) -> str:
    """A file that holds code of a class."""
    for value in vars(kind).values():
        if isinstance(value, types.FunctionType):
            return value.__code__.co_filename
    return "<unknown>"


def _of_function(function: types.FunctionType) -> tuple[Any, ...]:
    """The cells, defaults and globals that a function's own code uses; nothing of hybrid's own."""
    if not users_code(function.__code__.co_filename):
        return (function.__closure__,)
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    space = function.__globals__
    found = tuple([(name, space[name]) for name in sorted(names) if name in space])
    return function.__closure__, function.__defaults__, function.__kwdefaults__, *found


def _parts(value: Any, held: tuple[Any, ...]) -> list[Any]:
    """The objects in a content."""
    if type(value) is np.ndarray:
        return []
    pairs = type(value) in _DICTS or (type(value) is not types.FunctionType and _fields(value))
    return [part for item in held for part in (item if pairs and type(item) is tuple else (item,))]


def _same(found: Any, held: Any) -> bool:
    """Equal contents: the same objects, or equal bytes, in the same order."""
    if type(found) is not tuple or len(found) != len(held):
        return False
    return all(a is b or _alike(a, b) for a, b in zip(found, held))


def _alike(found: Any, held: Any) -> bool:
    if type(found) is not type(held):
        return False
    if type(held) is tuple:
        return _same(found, held)
    return type(held) in (int, float, str, bytes, bool) and repr(found) == repr(held)


def _put(value: Any, held: tuple[Any, ...]) -> None:
    """Make an object hold what it held."""
    kind = type(value)
    if kind is list:
        value[:] = held
    elif issubclass(kind, (deque, set)):
        value.clear()
        (value.extend if issubclass(kind, deque) else value.update)(held)
    elif kind in _DICTS:
        value.clear()
        value.update(held)
    elif kind is types.CellType:
        if held[0] is _EMPTY:
            del value.cell_contents
        else:
            value.cell_contents = held[0]
    elif kind is types.FunctionType:
        for name, old in held[3:]:
            value.__globals__[name] = old
    elif kind is np.ndarray:
        value[...] = np.frombuffer(held[0], value.dtype).reshape(value.shape)
    else:
        fields = _fields(value)
        if fields is not None:
            fields.clear()
            fields.update(held)
