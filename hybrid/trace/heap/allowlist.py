"""Which Python types and C callables recording understands: lists of what is allowed.

Invariant: everything that is on no list here gives a reason not to replay; nothing is allowed by
default.
"""

from __future__ import annotations

import abc
import collections
import enum
import functools
import os
import random
import threading
import types
import weakref
from functools import lru_cache
from typing import Any

import llvmlite
import ml_dtypes
import numpy as np
import optree
import typing_extensions

from ...core.aval import Device
from ...core.sites import INSIDE
from ...ir.tensor import Handle

__all__ = [
    "MISSING",
    "BOXES",
    "CMETHODS",
    "MEMBERS",
    "STATEFUL",
    "TUPLE_FIELD",
    "VIEWS",
    "plain",
    "tame_key",
    "is_a",
    "is_tuple",
    "instance_dict",
    "class_names",
    "unfollowed",
    "immutable_type",
    "trusted",
    "stdlib",
    "lookup",
    "pure_function",
    "pure_type_call",
    "PACKAGE",
    "site_of",
    "Wrapped",
]


class Wrapped:
    """Base of @function objects: `fn`, the user's function, runs as part of an outer recording."""

    fn: Any


class _Missing:
    def __repr__(self) -> str:
        return "<missing>"


MISSING = _Missing()
# The order of bases and the names of a class, whatever its metaclass says.
_MRO: Any = type.__dict__["__mro__"].__get__
class_names: Any = type.__dict__["__dict__"].__get__
# Exact types of immutable values, compared by type and bits; a subclass's instance is an object.
_PLAIN = frozenset(
    (
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        type(Ellipsis),
        type(NotImplemented),
        range,
        Device,
    )
)
_PLAIN_IDS = frozenset(map(id, _PLAIN))  # asking for a class itself runs no hash of its metaclass
_ML_SCALARS = frozenset(
    id(t) for t in vars(ml_dtypes).values() if isinstance(t, type) and issubclass(t, np.generic)
)
BOXES = (dict, list, tuple, set, frozenset, collections.deque)
CMETHODS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.BuiltinFunctionType,
)
TUPLE_FIELD = type(collections.namedtuple("Pair", "a").__dict__["a"])
MEMBERS = (types.MemberDescriptorType, types.GetSetDescriptorType)  # fields of C objects
VIEWS: tuple[type, ...] = (  # what they show is in another container
    type({}.items()),
    type({}.keys()),
    type({}.values()),
    types.MappingProxyType,
)
# C types whose content is a fact of its own or cannot change.
_FOLLOWED = (
    *BOXES,
    *CMETHODS,
    *MEMBERS,
    TUPLE_FIELD,
    threading.local,
    *VIEWS,
    *_PLAIN,
    slice,
    type,
    types.ModuleType,
    types.CodeType,
    types.FunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.SimpleNamespace,
    types.CellType,
    types.GenericAlias,
    types.UnionType,
    np.ndarray,
    np.generic,
    np.dtype,
    property,
    classmethod,
    staticmethod,
    super,
    BaseException,
    functools.partial,
    weakref.ReferenceType,
    type(abc.ABC.__dict__["_abc_impl"]),  # what is registered is a fact of its own
    Handle,
)
STATEFUL = (random.Random, np.random.Generator, np.random.RandomState, types.GeneratorType)

IMPURE_BUILTINS = frozenset(
    (
        "print",
        "open",
        "input",
        "id",
        "exec",
        "eval",
        "globals",
        "locals",
        "vars",
        "setattr",
        "delattr",
        "__import__",
        "breakpoint",
        "compile",
        "dir",
    )
)
IMPURE_NUMPY = frozenset(
    (
        "fromfile",
        "seterrobj",
        "_seterrobj",
        "set_typeDict",
        "set_datetimeparse_function",
        "frombuffer",
        "_set_madvise_hugepage",
        "_reload_guard",
        "set_handler",
        "_extobj_contextvar",
        "memmap",
    )
)
PURE_MODULES = frozenset(
    (
        "builtins",
        "math",
        "cmath",
        "_operator",
        "numpy",
        "numpy._core._multiarray_umath",
        "_collections",
        "_functools",
        "_abc",
        None,
    )
)
# modules of pure C types
MAKERS = frozenset(
    ("builtins", "itertools", "collections", "numpy", "types", "functools", "operator")
)
PURE_CLASS_METHODS = (object, dict, int, float, bytes, str, type, tuple, list)

PACKAGE = INSIDE
DEMO = os.path.join(PACKAGE, "demo") + os.sep
NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
TOOLS = (
    *[
        os.path.dirname(os.path.abspath(str(m.__file__))) + os.sep
        for m in (optree, llvmlite, ml_dtypes)
    ],
    os.path.abspath(str(typing_extensions.__file__)),
)
STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE


@lru_cache(4096)
def stdlib(filename: str) -> bool:
    """Code that hybrid and NumPy use as a tool; it is watched when user code calls it."""
    return (
        filename.startswith((*TOOLS, "<frozen "))
        or filename.startswith(STDLIB)
        and "site-packages" not in filename
    )


@lru_cache(4096)
def trusted(filename: str) -> bool:
    """Code whose reads are covered otherwise: hybrid itself (versions), NumPy, the import system.

    The demonstration is user code that happens to be shipped with the package."""
    if filename.startswith(DEMO):
        return False
    return filename.startswith((PACKAGE, NUMPY, "<frozen importlib", "<hybrid "))


def immutable_type(t: type) -> bool:
    """A type whose attributes cannot be set (C types)."""
    return bool(t.__flags__ & IMMUTABLE)


def is_a(o: Any, kinds: Any) -> bool:
    """isinstance by the real class alone: `__class__` of an object may run its own code."""
    return issubclass(type(o), kinds)


def plain(o: Any) -> bool:
    """An immutable value without identity or attributes of its own."""
    t = type(o)
    if id(t) in _PLAIN_IDS:
        return True
    if t is slice:
        return plain(o.start) and plain(o.stop) and plain(o.step)
    if issubclass(t, np.generic):
        return (immutable_type(t) or id(t) in _ML_SCALARS) and t is not np.void
    return issubclass(t, np.dtype) and o.names is None and o.subdtype is None


def is_tuple(x: Any) -> bool:
    """A tuple or namedtuple that is read as a tuple and has no attributes beside its items."""
    t = type(x)
    if t is tuple or not issubclass(t, tuple):
        return t is tuple
    if t.__base__ is not tuple or t.__dictoffset__ or lookup(t, "_fields") is MISSING:
        return False
    return all(lookup(t, n) is getattr(tuple, n) for n in ("__iter__", "__len__", "__getitem__"))


def tame_key(k: Any) -> bool:
    """Whether hashing and comparing this dictionary key runs no code of a user."""
    t = type(k)
    if plain(k) or issubclass(t, Handle):
        return True
    if t is tuple or t is frozenset:
        return all(map(tame_key, k))
    h, e = lookup(t, "__hash__"), lookup(t, "__eq__")
    return (h is enum.Enum.__hash__ or type(h) is types.WrapperDescriptorType) and (
        type(e) is types.WrapperDescriptorType
    )


def lookup(t: type, name: str) -> Any:
    """What the classes of t say about a name, without descriptors; MISSING when nothing."""
    for c in _MRO(t):
        names = class_names(c)
        if name in names:
            return names[name]
    return MISSING


def instance_dict(o: Any) -> dict[str, Any] | None:
    """The dictionary of an instance, without running a user's `__getattribute__`."""
    if is_a(o, threading.local):
        return threading.local.__getattribute__(o, "__dict__")  # type: ignore[no-any-return]
    g = lookup(type(o), "__dict__")
    if not is_a(g, MEMBERS):
        return None
    d = g.__get__(o)
    return d if issubclass(type(d), dict) else None


def _made_in_c(c: type) -> bool:
    """A class that no class statement made: it has fields beside its slots, or is immutable."""
    if immutable_type(c):
        return True
    base = c.__base__
    own = c.__basicsize__ - (base.__basicsize__ if base is not None else 0)
    return own > 16 and "__slots__" not in c.__dict__


def unfollowed(t: type) -> type | None:
    """The C class of t whose content no fact describes, if any; holding a callable is harmless."""
    for c in t.__mro__:
        if c is not object and not issubclass(c, _FOLLOWED) and _made_in_c(c):
            return None if c is t and lookup(c, "__call__") is not MISSING else c
    return None


def pure_function(f: Any) -> bool:
    """A C function (no object's method) that reads only its arguments and changes nothing."""
    module = getattr(f, "__module__", None)
    if module not in PURE_MODULES:
        return False
    names = IMPURE_BUILTINS if module == "builtins" else IMPURE_NUMPY if module else ()
    return f.__name__ not in names


def pure_type_call(t: type) -> bool:
    """Making an instance of this C type has no effect beyond the new object."""
    return not immutable_type(t) or t.__module__ in MAKERS


def site_of(code: types.CodeType, at: int) -> str:
    """`file:line` of an instruction."""
    line = next((n for a, b, n in code.co_lines() if a <= at < b and n), code.co_firstlineno)
    return f"{os.path.basename(code.co_filename)}:{line}"
