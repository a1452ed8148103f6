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

from ..ir.bind import grad_enabled
from ..ir.tensor import Handle

__all__ = [
    "signature_of",
    "with_defaults",
    "Leaves",
    "is_tuple",
    "unchecked",
    "MAX_INLINE",
    "UNCHECKED",
]

MAX_INLINE = 4096  # bytes of a NumPy argument that are compared by content
UNCHECKED = (
    f"gets a NumPy array of more than {MAX_INLINE} bytes, whose content no replay can check; "
    "pass a tensor (hybrid.asarray makes one)"
)
_PLAIN = frozenset((int, bool, str, bytes, type(None), complex, type(Ellipsis)))
_pack = struct.Struct("d").pack


def is_tuple(x: Any) -> bool:
    """A tuple or namedtuple, whose content decides everything about it."""
    return (
        type(x) is tuple
        or isinstance(x, tuple)
        and type(x).__base__ is tuple
        and hasattr(x, "_fields")
    )


class Leaves:
    """Tensors in order of appearance, and objects that the signature knows by identity only."""

    __slots__ = ("tensors", "objects", "sig")

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.objects: list[Any] = []
        self.sig: list[Any] = []

    def add(self, x: Any) -> None:
        """Append the description of x."""
        t, sig = type(x), self.sig
        if isinstance(x, Handle):
            self.tensors.append(x)
            sig.append(x._a)
            sig.append(type(x._node))
        elif t is float:
            sig.append((t, _pack(x)))
        elif t is complex:
            sig.append((t, _pack(x.real), _pack(x.imag)))
        elif t in _PLAIN:
            sig.append((t, x))
        elif t is list or t is tuple:
            sig.append((t, len(x)))
            for v in x:
                self.add(v)
        elif t is dict:
            self._dict(x)
        elif t is np.ndarray:
            sig.append(
                (t, x.shape, x.dtype.str, x.tobytes() if x.nbytes <= MAX_INLINE else object())
            )
        elif isinstance(x, np.generic):
            sig.append((t, x.tobytes()))
        elif is_tuple(x):
            sig.append((t, len(x)))
            for v in x:
                self.add(v)
        elif t is slice:
            sig.append(t)
            for v in (x.start, x.stop, x.step):
                self.add(v)
        else:
            sig.append((t, id(x)))
            self.objects.append(x)

    def _dict(self, x: dict[Any, Any]) -> None:
        self.sig.append((dict, len(x)))
        for k, v in x.items():
            self.add(k)
            self.add(v)


def unchecked(sig: tuple[Any, ...]) -> bool:
    """Whether a signature holds a NumPy array too large to compare: no call has it again."""
    return any(type(s) is tuple and len(s) == 4 and type(s[3]) is object for s in sig)


def signature_of(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], list[Any], list[Any]]:
    """(hashable signature, distinct tensors, objects known by identity) of a call."""
    leaves = Leaves()
    for a in args:
        leaves.add(a)
    if kwargs:
        leaves._dict(kwargs)
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
