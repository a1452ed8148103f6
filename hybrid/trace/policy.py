"""Which Python types and C callables recording understands: lists of what is allowed.

Invariant: everything that is on no list here gives a reason not to replay; nothing is allowed by
default.
"""

from __future__ import annotations

import collections
import os
import random
import types
from functools import lru_cache
from typing import Any

import llvmlite
import ml_dtypes
import numpy as np
import optree
import typing_extensions

from ..ir.tensor import Handle

__all__ = [
    "MISSING",
    "SCALARS",
    "BOXES",
    "CMETHODS",
    "KNOWN",
    "STATEFUL",
    "PURE_TYPES",
    "READABLE",
    "immutable_type",
    "trusted",
    "stdlib",
    "lookup",
    "pure_function",
    "pure_type_call",
    "handed_is_impure",
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
# Immutable values compared by type and bits.
SCALARS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(Ellipsis),
    np.generic,
    np.dtype,
    slice,
    range,
)
BOXES = (dict, list, tuple, set, frozenset, collections.deque)
CMETHODS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.BuiltinFunctionType,
)
# C types whose content is a fact of its own or cannot change.
KNOWN = BOXES + (
    type,
    types.ModuleType,
    types.CodeType,
    np.ndarray,
    property,
    classmethod,
    staticmethod,
    types.CellType,
    super,
    BaseException,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.GenericAlias,
    types.UnionType,
    Handle,
)
READABLE: tuple[type, ...] = (  # all they hold can be walked
    tuple,
    frozenset,
    type({}.items()),
    type({}.keys()),
    type({}.values()),
    types.MappingProxyType,
    property,
)
PURE_TYPES: tuple[type, ...] = SCALARS + READABLE
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
MAKERS = frozenset(("builtins", "itertools", "collections", "numpy", "types", "functools"))
PURE_CLASS_METHODS = (object, dict, int, float, bytes, str, type, tuple, list)

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
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


def lookup(t: type, name: str) -> Any:
    """What the classes of t say about a name, without descriptors; MISSING when nothing."""
    for c in t.__mro__:
        if name in c.__dict__:
            return c.__dict__[name]
    return MISSING


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


def handed_is_impure(o: Any) -> bool:
    """Whether C code that calls `o` could have an effect that no event reports."""
    if isinstance(o, types.BuiltinFunctionType):
        return isinstance(o.__self__, (list, dict, set, collections.deque)) or not pure_function(o)
    seen = (types.FunctionType, types.MethodType, type, types.MethodDescriptorType, Handle)
    return (
        callable(o)
        and immutable_type(type(o))
        and not isinstance(o, seen)
        and type(o).__module__ != "numpy"
    )


def site_of(code: types.CodeType, at: int) -> str:
    """`file:line` of an instruction."""
    line = next((n for a, b, n in code.co_lines() if a <= at < b and n), code.co_firstlineno)
    return f"{os.path.basename(code.co_filename)}:{line}"
