"""The signature of a call: what decides which recordings may serve it, and the tensors among the
arguments.

Invariant: two calls with equal signatures differ only in the values of their tensors and in Python
state that facts describe; containers among the arguments are part of the signature with their
content, other objects by identity.
"""

from __future__ import annotations

import struct
import types
from typing import Any

import numpy as np

from ...ir.door.bind import grad_enabled
from ...ir.tensor import Handle
from .allowlist import is_tuple, plain
from .arrays import array_key, dtype_key, scalar_key, unseen

__all__ = [
    "signature_of",
    "with_defaults",
    "Leaves",
    "unchecked",
    "MAX_INLINE",
]

MAX_INLINE = 4096  # bytes of a NumPy argument that are compared by content
MAX_LEVEL = 64  # containers inside each other
UNCHECKED = (
    f"gets a NumPy array of more than {MAX_INLINE} bytes, whose content no replay can check; "
    "pass a tensor (hybrid.asarray makes one)"
)
NESTED = f"gets a container that holds itself or is nested more than {MAX_LEVEL} deep"
_PLAIN = frozenset(
    map(id, (int, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented)))
)
_UNFIT = object()  # the start of a signature that no call has again
_OBJECT = object()  # the start of an entry by identity: no class of a user is hashed or compared
_pack = struct.Struct("d").pack


class _Unfit(Exception):
    """No signature describes the arguments; the text finishes 'the call ...'."""


class Leaves:
    """Tensors in order of appearance, and objects that the signature knows by identity only.

    Every entry is made of exact built-in values, so that comparing signatures runs no user code."""

    __slots__ = ("tensors", "objects", "sig")

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.objects: list[Any] = []
        self.sig: list[Any] = []

    def add(self, x: Any, level: int = 0) -> None:
        """Append the description of x."""
        t, sig = type(x), self.sig
        if issubclass(t, Handle):
            self.tensors.append(x)
            sig.append(x._a)
            sig.append(type(x._node))
        elif t is float:
            sig.append((t, _pack(x)))
        elif t is complex:
            sig.append((t, _pack(x.real), _pack(x.imag)))
        elif id(t) in _PLAIN:
            sig.append((t, x))
        elif t is list or t is tuple:
            sig.append((t, len(x)))
            self._items(x, level)
        elif t is dict:
            self._dict(x, level)
        elif t is slice or t is range:
            sig.append(t)
            self._items((x.start, x.stop, x.step), level)
        elif t is np.ndarray:
            self._array(x)
        elif is_tuple(x):
            sig.append((_OBJECT, id(t), tuple.__len__(x)))
            self.objects.append(t)
            self._items(tuple.__iter__(x), level)
        else:
            self._object(x)

    def _items(self, items: Any, level: int) -> None:
        if level > MAX_LEVEL:
            raise _Unfit(NESTED)
        for v in items:
            self.add(v, level + 1)

    def _dict(self, x: dict[Any, Any], level: int = 0) -> None:
        self.sig.append((dict, len(x)))
        if level > MAX_LEVEL:
            raise _Unfit(NESTED)
        for k, v in x.items():
            self.add(k, level + 1)
            self.add(v, level + 1)

    def _array(self, x: Any) -> None:
        why = UNCHECKED if x.nbytes > MAX_INLINE else unseen(x)
        if why:
            raise _Unfit(why if x.nbytes > MAX_INLINE else f"gets {why}")
        self.sig.append((np.ndarray, array_key(x)))

    def _object(self, x: Any) -> None:
        t = type(x)
        if issubclass(t, np.dtype) and plain(x):
            self.sig.append((np.dtype, dtype_key(x)))
        elif issubclass(t, np.generic) and (plain(x) or t is np.void and not unseen(x)):
            self.sig.append((np.generic, scalar_key(x)))
        else:
            self.sig.append((_OBJECT, id(x)))
            self.objects.append(x)


def unchecked(sig: tuple[Any, ...]) -> str:
    """Why no signature describes a call's arguments, or nothing."""
    return sig[1] if len(sig) == 2 and sig[0] is _UNFIT else ""


def signature_of(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], list[Any], list[Any]]:
    """(hashable signature, distinct tensors, objects known by identity) of a call."""
    leaves = Leaves()
    try:
        for a in args:
            leaves.add(a)
        if kwargs:
            leaves._dict(kwargs)
    except _Unfit as e:
        return (_UNFIT, str(e)), [], []
    ts = leaves.tensors
    distinct = {id(t): t for t in ts}
    sig = leaves.sig
    sig.append(grad_enabled())
    if len(distinct) != len(ts):  # which arguments are one tensor
        first: dict[int, int] = {}
        sig.append(tuple([first.setdefault(id(t), i) for i, t in enumerate(ts)]))
        ts = list(distinct.values())
    return tuple(sig), ts, leaves.objects


def with_defaults(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call with every parameter spelled out: defaults filled in, keywords in their places.

    A call that does not fit is returned as it is (Python raises its own error)."""
    if not isinstance(fn, types.FunctionType):
        return args, kwargs
    code = fn.__code__
    n, given = code.co_argcount, len(args)
    if not kwargs and given >= n and not code.co_kwonlyargcount:
        return args, kwargs
    names, defaults = code.co_varnames, fn.__defaults__ or ()
    full, left = list(args), dict(kwargs)
    for i in range(given, n):
        if i >= code.co_posonlyargcount and names[i] in left:
            full.append(left.pop(names[i]))
        elif i - n + len(defaults) >= 0:
            full.append(defaults[i - n + len(defaults)])
        else:
            return args, kwargs
    ordered = {}
    for name in names[n : n + code.co_kwonlyargcount]:
        if name in left:
            ordered[name] = left.pop(name)
        elif fn.__kwdefaults__ and name in fn.__kwdefaults__:
            ordered[name] = fn.__kwdefaults__[name]
    return tuple(full), {**ordered, **left}
