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
from .library import FIXED, TRANSIENT, library_function

__all__ = [
    "MISSING",
    "BOXES",
    "CMETHODS",
    "MEMBERS",
    "Mark",
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
    "finalized",
    "pure_type_call",
    "PACKAGE",
    "site_of",
    "Wrapped",
    "FUNCTION_PARTS",
]

# What a decorated function shows of the one that it wraps.
FUNCTION_PARTS = (
    "__code__",
    "__defaults__",
    "__kwdefaults__",
    "__closure__",
    "__globals__",
    "__builtins__",
)


class Wrapped:
    """Base of @function objects: `fn`, the user's function, runs as part of an outer recording."""

    fn: Any


class Mark(str):
    """What a piece of a function gives first where it did not return but was cut: no program gets
    one in hand, so a result that begins with a mark is none of a program's.

    >>> Mark("cut 3")
    'cut 3'
    """

    __slots__ = ()


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
        Mark,
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
    *FIXED,
    *TRANSIENT,
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
WEAK_WORDS = 16  # bytes that a class statement adds: of the dictionary and of the weak references


@lru_cache(4096)
def stdlib(filename: str) -> bool:
    """Code that hybrid and NumPy use as a tool; it is watched when user code calls it."""
    return filename.startswith((*TOOLS, "<frozen ")) or (
        filename.startswith(STDLIB) and "site-packages" not in filename
    )


@lru_cache(4096)
def trusted(filename: str) -> bool:
    """Code whose reads are covered otherwise: hybrid itself (versions), NumPy, the import system.

    The demonstration is user code that happens to be shipped with the package."""
    if filename.startswith(DEMO):
        return False
    return filename.startswith((PACKAGE, NUMPY, "<frozen importlib", "<hybrid "))


def immutable_type(cls: type) -> bool:
    """A type whose attributes cannot be set (C types)."""
    return bool(cls.__flags__ & IMMUTABLE)


def is_a(value: Any, kinds: Any) -> bool:
    """isinstance by the real class alone: `__class__` of an object may run its own code."""
    return issubclass(type(value), kinds)


def plain(value: Any) -> bool:
    """An immutable value without identity or attributes of its own."""
    cls = type(value)
    if id(cls) in _PLAIN_IDS:
        return True
    if cls is slice:
        return plain(value.start) and plain(value.stop) and plain(value.step)
    if issubclass(cls, np.generic):
        return (immutable_type(cls) or id(cls) in _ML_SCALARS) and cls is not np.void
    return issubclass(cls, np.dtype) and value.names is None and value.subdtype is None


def is_tuple(value: Any) -> bool:
    """A tuple or namedtuple that is read as a tuple and has no attributes beside its items."""
    cls = type(value)
    if cls is tuple or not issubclass(cls, tuple):
        return cls is tuple
    if cls.__base__ is not tuple or cls.__dictoffset__ or lookup(cls, "_fields") is MISSING:
        return False
    return all(lookup(cls, n) is getattr(tuple, n) for n in ("__iter__", "__len__", "__getitem__"))


def tame_key(key: Any) -> bool:
    """Whether hashing and comparing this dictionary key runs no code of a user."""
    cls = type(key)
    if plain(key) or issubclass(cls, Handle):
        return True
    if cls is tuple or cls is frozenset:
        return all(map(tame_key, key))
    if cls is weakref.ReferenceType:  # hashes and compares what it refers to
        return tame_key(key())
    hashes, compares = lookup(cls, "__hash__"), lookup(cls, "__eq__")
    return (hashes is enum.Enum.__hash__ or type(hashes) is types.WrapperDescriptorType) and (
        type(compares) is types.WrapperDescriptorType
    )


def finalized(cls: type) -> bool:
    """Whether Python code runs when an object of this class goes."""
    return lookup(cls, "__del__") is not MISSING


def lookup(cls: type, name: str) -> Any:
    """What the classes of t say about a name, without descriptors; MISSING when nothing."""
    for base in _MRO(cls):
        names = class_names(base)
        if name in names:
            return names[name]
    return MISSING


def instance_dict(holder: Any) -> dict[str, Any] | None:
    """The dictionary of an instance, without running a user's `__getattribute__`."""
    if is_a(holder, threading.local):
        return threading.local.__getattribute__(holder, "__dict__")  # type: ignore[no-any-return]
    getter = lookup(type(holder), "__dict__")
    if not is_a(getter, MEMBERS):
        return None
    entries = getter.__get__(holder)
    return entries if issubclass(type(entries), dict) else None


def _made_in_c(cls: type) -> bool:
    """A class that no class statement made: it has fields beside its slots, or is immutable."""
    if immutable_type(cls):
        return True
    base = cls.__base__
    fields = cls.__basicsize__ - (base.__basicsize__ if base is not None else 0)
    return fields > WEAK_WORDS and "__slots__" not in cls.__dict__


def unfollowed(cls: type) -> type | None:
    """The C class of t whose content no fact describes, if any; holding a callable is harmless."""
    for base in cls.__mro__:
        if base is not object and not issubclass(base, _FOLLOWED) and _made_in_c(base):
            return None if base is cls and lookup(base, "__call__") is not MISSING else base
    return None


def pure_function(function: Any) -> bool:
    """A C function (no object's method) that reads only its arguments and changes nothing."""
    module = getattr(function, "__module__", None)
    if module not in PURE_MODULES:
        return library_function(function)
    if module == "builtins":
        return function.__name__ not in IMPURE_BUILTINS
    return not module or function.__name__ not in IMPURE_NUMPY


def pure_type_call(cls: type) -> bool:
    """Making an instance of this C type has no effect beyond the new object."""
    return not immutable_type(cls) or cls.__module__ in MAKERS or cls in FIXED


def site_of(code: types.CodeType, offset: int) -> str:
    """`file:line` of an instruction."""
    line = next((n for a, b, n in code.co_lines() if a <= offset < b and n), code.co_firstlineno)
    return f"{os.path.basename(code.co_filename)}:{line}"
