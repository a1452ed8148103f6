"""Facts: (kind, holder, key) names one place in the heap, `fetch` reads it, `same` compares.

Invariant: neither fetch (on holders that recording accepted) nor same runs a user's comparison;
objects are compared by identity, scalars by type and bits.  A fact keeps its holder alive only
where Python offers no weak reference (dict, list, cell); when a weakly held object dies, the owner
of the fact is told.
"""

from __future__ import annotations

import abc
import collections
import math
import types
import weakref
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ...core.signals import from_handler
from .allowlist import MEMBERS, MISSING, class_names, instance_dict, is_a, lookup, plain
from .arrays import array_form, array_key, dtype_key, scalar_key
from .walks import result_in

__all__ = [
    "FactKind",
    "Key",
    "Holder",
    "fetch",
    "same",
    "describe",
    "expression",
    "called",
    "is_namespace",
    "type_items",
    "KINDS",
]


FactKind: TypeAlias = Literal[
    "cell",
    "item",
    "entry",
    "attr",
    "member",
    "slot",
    "dict",
    "meth",
    "tattr",
    "len",
    "some",
    "abc",
    "tlen",
    "mro",
    "type",
    "keys",
    "set",
    "nd",
    "form",
    "version",
    "grad",
    "path",
    "handled",
    "referent",
    "kept",
    "patched",
]


class Key(NamedTuple):
    """Identity of a fact: kind, id of the holder, key inside it."""

    kind: FactKind
    holder: int
    key: Any


def _grad(holder: Any, key: Any) -> Any:
    leaf = holder._node
    return getattr(leaf, "grad", None)


def type_items(container: Any) -> Any:
    """Items (keys of a dict) of a built-in container, without running a subclass's methods."""
    if type(container) is list or type(container) is tuple:
        return container
    for base in (collections.OrderedDict, dict, list, tuple, set, frozenset, collections.deque):
        if is_a(container, base):
            return list(base.__iter__(container))
    return list(container)


def _attr(holder: Any, key: str) -> Any:
    """An attribute without running a user's code: what only such code could say is MISSING."""
    found, entries = lookup(type(holder), key), instance_dict(holder)
    if is_a(found, MEMBERS):
        return found.__get__(holder)
    if entries is not None and key in entries:
        return entries[key]
    getter = MISSING if found is MISSING else lookup(type(found), "__get__")
    if getter is MISSING:
        return found
    kept = type(getter) is types.WrapperDescriptorType and not is_a(found, property)
    return found.__get__(holder, type(holder)) if kept else MISSING


def _method(holder: Any, key: str) -> Any:
    """The function behind a bound method."""
    entries = instance_dict(holder)
    found = entries[key] if entries is not None and key in entries else lookup(type(holder), key)
    return found.__func__ if type(found) is types.MethodType else found


def _nd(holder: Any, key: Any) -> Any:
    if is_a(holder, np.dtype):
        return dtype_key(holder)
    return array_key(holder) if is_a(holder, np.ndarray) else scalar_key(holder)


def _path(holder: Any, key: Any) -> Any:
    """What is inside the fresh container that a place was left with: kind and key of the place (no
    kind: the container itself is the holder), the steps into it, and whether its structure is asked
    for."""
    kind, name, steps, structure = key
    value = _FETCH[kind](holder, name) if kind else holder
    for step in steps:
        if type(value) is dict:
            value = dict.get(value, step, MISSING)
        else:
            indexed = type(value) is collections.deque  # from its ends, without a copy
            value = value[step] if indexed else type_items(value)[step]
    if not structure:
        return value
    names = tuple(value) if type(value) is dict else len(value)
    return type(value).__name__, names


_FETCH: dict[FactKind, Callable[[Any, Any], Any]] = {
    "cell": lambda holder, key: holder.cell_contents,
    "item": lambda holder, key: (
        dict.get(holder, key, MISSING) if is_a(holder, dict) else type_items(holder)[key]
    ),
    "entry": lambda holder, key: list(dict.values(holder))[
        key
    ],  # by position: no key is hashed or compared
    "attr": _attr,
    "member": lambda holder, key: key.__get__(holder),  # a field of a C object
    "slot": lambda holder, key: instance_dict(holder)[key],  # type: ignore[index]  # an entry, no descriptor runs
    "dict": lambda holder, key: instance_dict(holder),
    "meth": _method,
    "tattr": lookup,
    "len": lambda holder, key: len(type_items(holder)),
    "some": lambda holder, key: len(type_items(holder)) > 0,
    "abc": lambda holder, key: abc.get_cache_token(),
    "tlen": lambda holder, key: len(class_names(holder)),
    "mro": lambda holder, key: type.__dict__["__mro__"].__get__(holder),
    "type": lambda holder, key: type(holder),
    "keys": lambda holder, key: tuple(type_items(holder)),
    "set": lambda holder, key: tuple(type_items(holder)),
    "nd": _nd,
    "form": lambda holder, key: array_form(holder),
    "version": lambda holder, key: (holder._version, getattr(holder, "training", None)),
    "grad": _grad,
    "path": _path,
    "handled": lambda holder, key: holder.exc_info()[0] is not None,
    "referent": lambda holder, key: holder(),
    "kept": lambda holder, key: result_in(dict.__getitem__(holder, key)),
    "patched": lambda holder, key: holder.changed(),
}
KINDS = tuple(_FETCH)


def fetch(kind: FactKind, holder: Any, key: Any) -> Any:
    """What the place holds now; MISSING when it is empty or cannot be read."""
    try:
        return _FETCH[kind](holder, key)
    except Exception as error:
        if from_handler(error):  # no user code runs here but that of a signal's handler
            raise
        return MISSING


def same(first: Any, second: Any) -> bool:
    """Equal in type and bits, objects by identity.  NaN equals NaN; 0.0 is neither -0.0 nor 0."""
    if first is second:
        return True
    cls = type(first)
    if cls is not type(second):
        return False
    if cls is float:
        equal: bool = first == second and math.copysign(1, first) == math.copysign(1, second)
        return equal or (first != first and second != second)
    if cls is complex:
        return same(first.real, second.real) and same(first.imag, second.imag)
    if cls is tuple:
        return len(first) == len(second) and all(map(same, first, second))
    if cls is slice or cls is range:
        return all(same(getattr(first, n), getattr(second, n)) for n in ("start", "stop", "step"))
    if not plain(first) or not plain(second):
        return False
    if issubclass(cls, np.generic):
        return scalar_key(first) == scalar_key(second)
    if issubclass(cls, np.dtype):
        return bool(dtype_key(first) == dtype_key(second))
    return bool(first == second)


_STRONG = (types.FunctionType, type, types.ModuleType, types.CodeType, types.BuiltinFunctionType)


class Holder:
    """A reference, weak where the object allows it and has a life of its own."""

    __slots__ = ("ref", "strong", "id")

    def __init__(self, value: Any, dead: Callable[[Any], None] | None = None) -> None:
        self.id, self.strong, self.ref = id(value), value, None
        if not is_a(value, _STRONG) and not plain(value) and type(value).__weakrefoffset__:
            self.ref, self.strong = weakref.ref(value, dead), None

    def get(self) -> Any:
        """The object, or MISSING when it died."""
        if self.ref is None:
            return self.strong
        value = self.ref()
        return MISSING if value is None else value


def describe(key: Key, holder: Any, owner: str = "") -> str:
    """A place in words, for retrace messages; `owner`: what to call the holder, if more is known
    than its type."""
    owner = owner or called(holder)
    if key.kind in ("item", "attr", "slot", "tattr", "dict", "member"):
        return expression(key, holder, owner)
    if key.kind == "path":
        kind, name, steps, structure = key.key
        outer = describe(Key(kind, key.holder, name), holder, owner) if kind else owner
        inner = outer + "".join(f"[{step!r}]" for step in steps)
        return f"the structure of {inner}" if structure else inner
    name = key.key if isinstance(key.key, str) else ""
    return {
        "cell": f"the variable {name}",
        "entry": f"an item of {owner}",
        "meth": f"method {owner}.{name}",
        "len": f"len of {owner}",
        "some": f"whether {owner} is empty",
        "abc": "an abstract base class registration",
        "tlen": f"the attributes of class {owner}",
        "mro": f"the bases of class {owner}",
        "type": f"the class of a {owner}",
        "keys": f"the keys of {owner}",
        "set": f"the items of {owner}",
        "nd": f"the content of a NumPy {type(holder).__name__}",
        "form": f"the shape, dtype or flags of a NumPy {type(holder).__name__}",
        "version": f"the structure of a {owner}",
        "grad": "the gradient of a tensor",
        "handled": "whether an exception is being handled",
        "referent": "what a weak reference refers to",
        "kept": "a cached result",
        "patched": "hybrid's own functions",
    }[key.kind]


def expression(key: Key, holder: Any, owner: str) -> str:
    """A place as Python text; objects are named by their type, no user code runs."""
    name = key.key
    if key.kind == "cell":
        return str(name)
    if key.kind == "member":
        return f"{owner}.{getattr(name, '__name__', name)}"
    if key.kind != "item":
        return f"{owner}.{'__dict__' if key.kind == 'dict' else name}"
    if is_namespace(holder) and isinstance(name, str):
        return f"{owner}.{name}"
    known = plain(name) and not is_a(name, np.generic)
    return f"{owner}[{repr(name) if known else called(name)}]"


def called(value: Any) -> str:
    """What an object is called: its own name where it has one, else its type's."""
    if is_a(value, (type, types.FunctionType)):
        return str(value.__name__)
    if is_a(value, types.ModuleType):
        return str((instance_dict(value) or {}).get("__name__", "?"))
    return str(value["__name__"]) if is_namespace(value) else type(value).__name__


def is_namespace(value: Any) -> bool:
    """Whether a dict holds the names of a module."""
    return type(value) is dict and "__name__" in value and "__spec__" in value
