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

from .allowlist import MEMBERS, MISSING, class_names, instance_dict, is_a, lookup, plain
from .arrays import array_key, dtype_key, scalar_key

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
    "abc",
    "tlen",
    "mro",
    "type",
    "keys",
    "set",
    "nd",
    "version",
    "grad",
    "patched",
]


class Key(NamedTuple):
    """Identity of a fact: kind, id of the holder, key inside it."""

    kind: FactKind
    holder: int
    key: Any


def _grad(h: Any, key: Any) -> Any:
    leaf = h._node
    return getattr(leaf, "grad", None)


def type_items(o: Any) -> Any:
    """Items (keys of a dict) of a built-in container, without running a subclass's methods."""
    if type(o) is list or type(o) is tuple:
        return o
    for base in (collections.OrderedDict, dict, list, tuple, set, frozenset, collections.deque):
        if is_a(o, base):
            return list(base.__iter__(o))
    return list(o)


def _attr(h: Any, k: str) -> Any:
    """An attribute without running a user's code: what only such code could say is MISSING."""
    c, d = lookup(type(h), k), instance_dict(h)
    if is_a(c, MEMBERS):
        return c.__get__(h)
    if d is not None and k in d:
        return d[k]
    getter = MISSING if c is MISSING else lookup(type(c), "__get__")
    if getter is MISSING:
        return c
    kept = type(getter) is types.WrapperDescriptorType and not is_a(c, property)
    return c.__get__(h, type(h)) if kept else MISSING


def _method(h: Any, k: str) -> Any:
    """The function behind a bound method."""
    d = instance_dict(h)
    v = d[k] if d is not None and k in d else lookup(type(h), k)
    return v.__func__ if type(v) is types.MethodType else v


def _nd(h: Any, key: Any) -> Any:
    if is_a(h, np.dtype):
        return dtype_key(h)
    return array_key(h) if is_a(h, np.ndarray) else scalar_key(h)


_FETCH: dict[FactKind, Callable[[Any, Any], Any]] = {
    "cell": lambda h, k: h.cell_contents,
    "item": lambda h, k: dict.get(h, k, MISSING) if is_a(h, dict) else type_items(h)[k],
    "entry": lambda h, k: list(dict.values(h))[k],  # by position: no key is hashed or compared
    "attr": _attr,
    "member": lambda h, k: k.__get__(h),  # a field of a C object
    "slot": lambda h, k: instance_dict(h)[k],  # type: ignore[index]  # an entry, no descriptor runs
    "dict": lambda h, k: instance_dict(h),
    "meth": _method,
    "tattr": lookup,
    "len": lambda h, k: len(type_items(h)),
    "abc": lambda h, k: abc.get_cache_token(),
    "tlen": lambda h, k: len(class_names(h)),
    "mro": lambda h, k: type.__dict__["__mro__"].__get__(h),
    "type": lambda h, k: type(h),
    "keys": lambda h, k: tuple(type_items(h)),
    "set": lambda h, k: tuple(type_items(h)),
    "nd": _nd,
    "version": lambda h, k: (h._version, getattr(h, "training", None)),
    "grad": _grad,
    "patched": lambda h, k: h.changed(),
}
KINDS = tuple(_FETCH)


def fetch(kind: FactKind, holder: Any, key: Any) -> Any:
    """What the place holds now; MISSING when it is empty or cannot be read."""
    try:
        return _FETCH[kind](holder, key)
    except Exception:
        return MISSING


def same(a: Any, b: Any) -> bool:
    """Equal in type and bits, objects by identity.  NaN equals NaN; 0.0 is neither -0.0 nor 0."""
    if a is b:
        return True
    t = type(a)
    if t is not type(b):
        return False
    if t is float:
        equal: bool = a == b and math.copysign(1, a) == math.copysign(1, b)
        return equal or (a != a and b != b)
    if t is complex:
        return same(a.real, b.real) and same(a.imag, b.imag)
    if t is tuple:
        return len(a) == len(b) and all(map(same, a, b))
    if t is slice or t is range:
        return all(same(getattr(a, n), getattr(b, n)) for n in ("start", "stop", "step"))
    if not plain(a) or not plain(b):
        return False
    if issubclass(t, np.generic):
        return scalar_key(a) == scalar_key(b)
    if issubclass(t, np.dtype):
        return bool(dtype_key(a) == dtype_key(b))
    return bool(a == b)


_STRONG = (types.FunctionType, type, types.ModuleType, types.CodeType, types.BuiltinFunctionType)


class Holder:
    """A reference, weak where the object allows it and has a life of its own."""

    __slots__ = ("ref", "strong", "id")

    def __init__(self, o: Any, dead: Callable[[Any], None] | None = None) -> None:
        self.id, self.strong, self.ref = id(o), o, None
        if not is_a(o, _STRONG) and not plain(o) and type(o).__weakrefoffset__:
            self.ref, self.strong = weakref.ref(o, dead), None

    def get(self) -> Any:
        """The object, or MISSING when it died."""
        if self.ref is None:
            return self.strong
        o = self.ref()
        return MISSING if o is None else o


def describe(key: Key, holder: Any, who: str = "") -> str:
    """A place in words, for retrace messages; `who`: what to call the holder, if more is known
    than its type."""
    who = who or called(holder)
    if key.kind in ("item", "attr", "slot", "tattr", "dict", "member"):
        return expression(key, holder, who)
    name = key.key if isinstance(key.key, str) else ""
    return {
        "cell": f"the variable {name}",
        "entry": f"an item of {who}",
        "meth": f"method {who}.{name}",
        "len": f"len of {who}",
        "abc": "an abstract base class registration",
        "tlen": f"the attributes of class {who}",
        "mro": f"the bases of class {who}",
        "type": f"the class of a {who}",
        "keys": f"the keys of {who}",
        "set": f"the items of {who}",
        "nd": f"the content of a NumPy {type(holder).__name__}",
        "version": f"the structure of a {who}",
        "grad": "the gradient of a tensor",
        "patched": "hybrid's own functions",
    }[key.kind]


def expression(key: Key, holder: Any, who: str) -> str:
    """A place as Python text; objects are named by their type, no user code runs."""
    name = key.key
    if key.kind == "cell":
        return str(name)
    if key.kind == "member":
        return f"{who}.{getattr(name, '__name__', name)}"
    if key.kind != "item":
        return f"{who}.{'__dict__' if key.kind == 'dict' else name}"
    if is_namespace(holder) and isinstance(name, str):
        return f"{who}.{name}"
    known = plain(name) and not is_a(name, np.generic)
    return f"{who}[{repr(name) if known else called(name)}]"


def called(o: Any) -> str:
    """What an object is called: its own name where it has one, else its type's."""
    if is_a(o, (type, types.FunctionType)):
        return str(o.__name__)
    if is_a(o, types.ModuleType):
        return str((instance_dict(o) or {}).get("__name__", "?"))
    return str(o["__name__"]) if is_namespace(o) else type(o).__name__


def is_namespace(o: Any) -> bool:
    """Whether a dict holds the names of a module."""
    return type(o) is dict and "__name__" in o and "__spec__" in o
