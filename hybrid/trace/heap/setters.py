"""Reading and writing Python places with C primitives only.

Invariant: nothing here runs code of a user's class: a `__setattr__`, `__setitem__`, `__hash__`,
property or descriptor has already had its say when a recording is made, and what a replay puts in a
place is the content that it left.  A place that has no primitive is None.
"""

from __future__ import annotations

import collections
import functools
import threading
import types
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

from .allowlist import MISSING, immutable_type, instance_dict, lookup, tame_key
from .facts import FactKind

__all__ = ["Put", "written_in_python", "putter"]

_SET_ITEM: dict[type, Callable[..., None]] = {
    collections.OrderedDict: collections.OrderedDict.__setitem__,
    dict: dict.__setitem__,
    list: list.__setitem__,
    collections.deque: collections.deque.__setitem__,
}
# C classes whose attributes are stored by the generic code, or by code that is as plain
_SET_ATTRIBUTE = frozenset(
    (
        object,
        types.ModuleType,
        types.FunctionType,
        types.SimpleNamespace,
        functools.partial,
        BaseException,
    )
)


Where: TypeAlias = Literal["cell", "item", "slot", "dict", "class", "path"]


class Put(NamedTuple):
    """How a tensor is put in a place: `write(target or the holder of the place, key, tensor)`.

    `where` is equal for two recordings that write the same place."""

    where: tuple[Any, ...]
    write: Callable[[Any, Any, Any], None]
    target: Any = None

    @property
    def kind(self) -> Where:
        """What kind of place it is."""
        kind: Where = self.where[0]
        return kind

    def __call__(self, holder: Any, key: Any, tensor: Any) -> None:
        self.write(holder if self.target is None else self.target, key, tensor)


def written_in_python(cls: type, name: str) -> bool:
    """Whether this special method of a class is a Python function."""
    return isinstance(lookup(cls, name), types.FunctionType)


def putter(kind: FactKind, holder: Any, key: Any, value: Any) -> Put | None:
    """The primitive for a place that holds `value` now; None where there is none."""
    if kind == "cell":
        return Put(("cell",), _set_cell)
    if kind == "item":
        base = next((c for c in type(holder).__mro__ if c in _SET_ITEM), None)
        return Put(("item",), _SET_ITEM[base]) if base is not None and tame_key(key) else None
    if kind in ("attr", "slot"):
        return _attribute(kind, holder, key, value)
    return _class_attribute(holder, key, value) if kind == "tattr" else None


def _set_cell(cell: Any, _: Any, tensor: Any) -> None:
    cell.cell_contents = tensor


def _into_dict(holder: Any, name: str, tensor: Any) -> None:
    dict.__setitem__(instance_dict(holder), name, tensor)  # type: ignore[index]


def _attribute(kind: FactKind, holder: Any, name: str, value: Any) -> Put | None:
    cls = type(holder)
    found = lookup(cls, name)
    if isinstance(found, types.MemberDescriptorType) and kind == "attr":
        mine = not immutable_type(found.__objclass__) and _slot(found, holder) is value
        return Put(("slot",), _set_slot(found)) if mine else None
    entries = instance_dict(holder)
    if isinstance(entries, dict) and dict.get(entries, name, MISSING) is value:
        if found is not MISSING and hasattr(type(found), "__set__"):
            return Put(("dict",), _into_dict)
        write = _set_attribute(cls)
        return None if write is None else Put(("dict",), write)
    return _class_attribute(cls, name, value) if found is value else None


def _slot(member: Any, holder: Any) -> Any:
    try:
        return member.__get__(holder)
    except AttributeError:
        return MISSING


def _set_slot(member: Any) -> Callable[[Any, Any, Any], None]:
    def write(holder: Any, _: Any, tensor: Any) -> None:
        member.__set__(holder, tensor)

    return write


def _set_attribute(cls: type) -> Any:
    """The C function that stores attributes of instances of t, past methods of its classes."""
    if cls is threading.local:
        return threading.local.__setattr__
    for base in cls.__mro__:
        if immutable_type(base) and "__setattr__" in base.__dict__:
            return base.__dict__["__setattr__"] if base in _SET_ATTRIBUTE else None
    return None


def _class_attribute(cls: type, name: str, value: Any) -> Put | None:
    """The class that holds the value is the one that was stored to."""
    for base in cls.__mro__:
        if name in base.__dict__:
            if base.__dict__[name] is not value or immutable_type(base):
                return None
            return Put(("class", id(base)), type.__setattr__, base)
    return None
