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

from ...core.precision import MATMUL
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

    def add(self, value: Any, level: int = 0) -> None:
        """Append the description of x."""
        cls, signature = type(value), self.sig
        if issubclass(cls, Handle):
            self.tensors.append(value)
            signature.append(value._a)
            signature.append(type(value._node))
        elif cls is float:
            signature.append((cls, _pack(value)))
        elif cls is complex:
            signature.append((cls, _pack(value.real), _pack(value.imag)))
        elif id(cls) in _PLAIN:
            signature.append((cls, value))
        elif cls is list or cls is tuple:
            signature.append((cls, len(value)))
            self._items(value, level)
        elif cls is dict:
            self._dict(value, level)
        elif cls is slice or cls is range:
            signature.append(cls)
            self._items((value.start, value.stop, value.step), level)
        elif cls is np.ndarray:
            self._array(value)
        elif is_tuple(value):
            signature.append((_OBJECT, id(cls), tuple.__len__(value)))
            self.objects.append(cls)
            self._items(tuple.__iter__(value), level)
        else:
            self._object(value)

    def _items(self, items: Any, level: int) -> None:
        if level > MAX_LEVEL:
            raise _Unfit(NESTED)
        for item in items:
            self.add(item, level + 1)

    def _dict(self, mapping: dict[Any, Any], level: int = 0) -> None:
        self.sig.append((dict, len(mapping)))
        if level > MAX_LEVEL:
            raise _Unfit(NESTED)
        for key, value in mapping.items():
            self.add(key, level + 1)
            self.add(value, level + 1)

    def _array(self, array: Any) -> None:
        reason = UNCHECKED if array.nbytes > MAX_INLINE else unseen(array)
        if reason:
            raise _Unfit(reason if array.nbytes > MAX_INLINE else f"gets {reason}")
        self.sig.append((np.ndarray, array_key(array)))

    def _object(self, value: Any) -> None:
        cls = type(value)
        if issubclass(cls, np.dtype) and plain(value):
            self.sig.append((np.dtype, dtype_key(value)))
        elif issubclass(cls, np.generic) and (
            plain(value) or (cls is np.void and not unseen(value))
        ):
            self.sig.append((np.generic, scalar_key(value)))
        else:
            self.sig.append((_OBJECT, id(value)))
            self.objects.append(value)


def unchecked(signature: tuple[Any, ...]) -> str:
    """Why no signature describes a call's arguments, or nothing."""
    return signature[1] if len(signature) == 2 and signature[0] is _UNFIT else ""


def signature_of(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], list[Any], list[Any]]:
    """(hashable signature, distinct tensors, objects known by identity) of a call."""
    leaves = Leaves()
    try:
        for value in args:
            leaves.add(value)
        if kwargs:
            leaves._dict(kwargs)
    except _Unfit as error:
        return (_UNFIT, str(error)), [], []
    tensors = leaves.tensors
    distinct = {id(t): t for t in tensors}
    signature = leaves.sig
    signature.append(grad_enabled() + 2 * MATMUL.fast)
    if len(distinct) != len(tensors):  # which arguments are one tensor
        first: dict[int, int] = {}
        signature.append(tuple([first.setdefault(id(t), i) for i, t in enumerate(tensors)]))
        tensors = list(distinct.values())
    return tuple(signature), tensors, leaves.objects


def with_defaults(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call with every parameter spelled out: defaults filled in, keywords in their places.

    A call that does not fit is returned as it is (Python raises its own error)."""
    if not isinstance(function, types.FunctionType):
        return args, kwargs
    code = function.__code__
    count, given = code.co_argcount, len(args)
    if not kwargs and given >= count and not code.co_kwonlyargcount:
        return args, kwargs
    parameters, defaults = code.co_varnames, function.__defaults__ or ()
    positional, keywords = list(args), dict(kwargs)
    for index in range(given, count):
        if index >= code.co_posonlyargcount and parameters[index] in keywords:
            positional.append(keywords.pop(parameters[index]))
        elif index - count + len(defaults) >= 0:
            positional.append(defaults[index - count + len(defaults)])
        else:
            return args, kwargs
    ordered = {}
    for name in parameters[count : count + code.co_kwonlyargcount]:
        if name in keywords:
            ordered[name] = keywords.pop(name)
        elif function.__kwdefaults__ and name in function.__kwdefaults__:
            ordered[name] = function.__kwdefaults__[name]
    return tuple(positional), {**ordered, **keywords}
