"""The signature of a call: what decides which recordings may serve it, and the tensors among the
arguments.

Invariant: two calls with equal signatures differ only in the values of their tensors and data
(arrays, buffers) and in Python state that facts describe; containers and structures among the
arguments are part of the signature with their content, other objects by identity.
"""

from __future__ import annotations

import inspect
import struct
import types
from typing import Any, NamedTuple

import numpy as np

from ...core.precision import MATMUL
from ...ir.door.bind import grad_enabled
from ...ir.tensor import Handle
from .allowlist import is_tuple, plain
from .arrays import array_key, dtype_key, scalar_key, unseen
from .data import BUFFERS, Place, passed, passed_number
from .given.paths import tree_of
from .lists import passed_list
from .structure import EMPTY, Structure, steps_of, structure_of

__all__ = [
    "buffer_key",
    "by_identity",
    "float_bits",
    "signature_of",
    "Regard",
    "signed_by",
    "is_scalar",
    "with_defaults",
    "Leaves",
    "unchecked",
    "MAX_DATA_LEVEL",
    "MAX_INLINE",
]

MAX_INLINE = 4096  # bytes of a NumPy argument that are compared by content
MAX_PARTS = 1000  # of structures among the arguments of a call; objects with more are objects
MAX_LEVEL = 64  # containers inside each other
MAX_DATA_LEVEL = 4  # the same around data; `data.carried` looks deeper than that
UNCHECKED = (
    f"gets a NumPy array of more than {MAX_INLINE} bytes that is no array of real numbers, or deep "
    "in containers, whose content no replay can check"
)
NESTED = f"gets a container that holds itself or is nested more than {MAX_LEVEL} deep"
_PLAIN = frozenset(
    map(id, (int, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented)))
)
_UNFIT = object()  # the start of a signature that no call has again
_OBJECT = object()  # the start of an entry by identity: no class of a user is hashed or compared
_STRUCTURE = object()  # the start of an entry by what the object is made of
_DATA = object()  # after the record of an array in the machine's byte order
_NUMBER = object()  # the start of an entry for a number of a type
_NUMBERS = object()  # the start of an entry for a list of numbers
_AGAIN = object()  # the start of an entry for a structure that was met before
float_bits = struct.Struct("d").pack


class _Unfit(Exception):
    """No signature describes the arguments; the text finishes 'the call ...'."""


class _Large(Exception):
    """The structures among the arguments have too many parts to be looked through at each call."""


class Regard(NamedTuple):
    """How a function takes its arguments: small arrays as data or by content, dataclasses and
    functions by structure or as objects, numbers at the positions `free` by type alone and lists of
    numbers in what is there as data; numbers in containers and objects at the paths `inside` by
    type alone; those at `fixed` (positions and paths) are looked at by Python and stay by value;
    where it `prepares` data with NumPy, replays do that again.  Arguments by keyword only come
    behind the others, in their order."""

    content: bool = False
    identity: bool = False
    free: frozenset[int] = frozenset()
    fixed: frozenset[Place] = frozenset()
    prepares: bool = False
    inside: frozenset[tuple[Any, ...]] = frozenset()


class Leaves:
    """Tensors in order of appearance, and objects that the signature knows by identity only.

    Every entry is made of exact built-in values, so that comparing signatures runs no user code."""

    __slots__ = ("tensors", "objects", "sig", "regard", "met", "parts", "free")

    def __init__(self, regard: Regard) -> None:
        self.tensors: list[Any] = []
        self.objects: list[Any] = []
        self.sig: list[Any] = []
        self.regard = regard
        # arrays and structures by id: the tensor that stands for it, or how many came before
        self.met: dict[int, Any] = {}
        self.parts = 0
        self.free = -1  # the position of the argument in hand, if it is free

    def add(self, value: Any, level: int = 0) -> None:
        """Append the description of x."""
        cls, signature = type(value), self.sig
        if issubclass(cls, Handle):
            self.tensors.append(value)
            signature.append(value._a)
            signature.append(type(value._node))
        elif cls is float:
            signature.append((cls, float_bits(value)))
        elif cls is complex:
            signature.append((cls, float_bits(value.real), float_bits(value.imag)))
        elif id(cls) in _PLAIN:
            signature.append((cls, value))
        elif cls is list or cls is tuple:
            if self.free >= 0 and level <= MAX_DATA_LEVEL and self._numbers(value):
                return
            signature.append((cls, len(value)))
            self._items(value, level)
        elif cls is dict:
            self._dict(value, level)
        elif cls is slice or cls is range:
            signature.append(cls)
            self._items((value.start, value.stop, value.step), level)
        elif cls is np.ndarray:
            self._array(value, level)
        elif is_tuple(value):
            signature.append((_OBJECT, id(cls), tuple.__len__(value)))
            self.objects.append(cls)
            self._items(tuple.__iter__(value), level)
        else:
            self._object(value, level)

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

    def argument(self, value: Any, position: int, level: int = 0) -> None:
        """Append an argument at a position."""
        if position not in self.regard.free:
            self.add(value, level)
        elif not self.number(value, position):
            self.free = position
            self.add(value, level)
            self.free = -1

    def keywords(self, given: dict[str, Any], first: int) -> None:
        """Append arguments by keyword, the first of which has a position."""
        self.sig.append((dict, len(given)))
        for position, (name, value) in enumerate(given.items(), first):
            self.add(name, 1)
            self.argument(value, position, 1)

    def number(self, value: Any, position: Place) -> bool:
        """A number by its type alone, a NumPy scalar as data; false for what is neither."""
        kind = type(value)
        if kind is int or kind is float:
            self.tensors.append(passed_number(value, position))
            self.sig.append((_NUMBER, kind))
            return True
        return is_scalar(value) and self._data(value)

    def _numbers(self, given: Any) -> bool:
        """A list of numbers by its extents and their type; false for any other list."""
        tensor = self.met.get(id(given))
        if tensor is None:
            tensor = passed_list(given, self.free)
            if tensor is None:
                return False
            self.met[id(given)] = tensor
        self.tensors.append(tensor)
        self.sig += [(_NUMBERS, tensor._x.form), tensor._a]
        return True

    def _array(self, array: Any, level: int) -> None:
        if not self.regard.content or array.nbytes > MAX_INLINE:
            if level <= MAX_DATA_LEVEL and self._data(array):
                return
        reason = UNCHECKED if array.nbytes > MAX_INLINE else unseen(array)
        if reason:
            raise _Unfit(reason if array.nbytes > MAX_INLINE else f"gets {reason}")
        self.sig.append((np.ndarray, array_key(array)))

    def _data(self, given: Any) -> bool:
        """An array or buffer by shape and dtype; false for what is no array of real numbers."""
        tensor = self.met.get(id(given))
        if tensor is None:
            tensor = passed(given)
            if tensor is None:
                return False
            self.met[id(given)] = tensor
        self.tensors.append(tensor)
        self.sig.append(tensor._a)
        if type(given) is not np.ndarray:
            self.sig.append(buffer_key(given))
        else:
            self.sig.append(_DATA if given.dtype is tensor._a.dtype else dtype_key(given.dtype))
        return True

    def _structure(self, value: Any, level: int) -> bool:
        """An object by what it is made of; false for one that is known by identity."""
        structure = structure_of(value)
        if structure is None:
            return False
        number = self.met.get(id(value))
        if number is not None:
            self.sig.append((_AGAIN, number))
            return True
        self.met[id(value)] = len(self.met)
        self.parts += len(structure.parts) + 1
        if self.parts > MAX_PARTS or level > MAX_LEVEL:
            raise _Large
        self.sig.append((_STRUCTURE, structure.header))
        self.objects += structure.kept
        self._parts(value, structure, level + 1)
        return True

    def _parts(self, value: Any, structure: Structure, level: int) -> None:
        for part in structure.parts:
            if part is EMPTY:
                self.sig.append(EMPTY)
            else:
                self.add(part, level)

    def _object(self, value: Any, level: int) -> None:
        cls = type(value)
        if not self.regard.identity and self._structure(value, level):
            return
        buffer = level <= MAX_DATA_LEVEL and any(cls is kind for kind in BUFFERS)
        if buffer and self._data(value):
            return
        if issubclass(cls, np.dtype) and plain(value):
            self.sig.append((np.dtype, dtype_key(value)))
        elif issubclass(cls, np.generic) and (
            plain(value) or (cls is np.void and not unseen(value))
        ):
            self.sig.append((np.generic, scalar_key(value)))
        else:
            self.sig.append((_OBJECT, id(value)))
            self.objects.append(value)


class PathLeaves(Leaves):
    """The same where numbers inside of arguments are part of the signature by type alone."""

    __slots__ = ("tree", "node")

    def __init__(self, regard: Regard) -> None:
        super().__init__(regard)
        self.tree = tree_of(regard.inside)
        self.node: Any = None  # what is free below the value in hand

    def argument(self, value: Any, position: int, level: int = 0) -> None:
        self.node = self.tree.get(position)
        super().argument(value, position, level)
        self.node = None

    def _step(self, node: dict[Any, Any], step: Any, value: Any, level: int) -> None:
        """Append what one step leads to."""
        self.node = inner = node.get(step) if type(step) is str or type(step) is int else None
        path = None if inner is None else inner.get(None)
        if path is not None and (type(value) is int or type(value) is float):
            self.number(value, path)
        else:
            self.add(value, level)

    def _items(self, items: Any, level: int) -> None:
        node = self.node
        if node is None:
            return super()._items(items, level)
        if level > MAX_LEVEL:
            raise _Unfit(NESTED)
        for step, item in enumerate(items):
            self._step(node, step, item, level + 1)

    def _dict(self, mapping: dict[Any, Any], level: int = 0) -> None:
        node, self.node = self.node, None
        if node is None:
            return super()._dict(mapping, level)
        self.sig.append((dict, len(mapping)))
        if level > MAX_LEVEL:
            raise _Unfit(NESTED)
        for key, value in mapping.items():
            self.node = None
            self.add(key, level + 1)
            self._step(node, key, value, level + 1)

    def _parts(self, value: Any, structure: Structure, level: int) -> None:
        node, self.node = self.node, None
        if node is None:
            return super()._parts(value, structure, level)
        for step, part in zip(steps_of(value, structure), structure.parts):
            if part is EMPTY:
                self.sig.append(EMPTY)
            else:
                self._step(node, step, part, level)


def is_scalar(value: Any) -> bool:
    """Whether a value is a NumPy scalar that is a real number, exactly."""
    cls = type(value)
    real = issubclass(cls, (np.number, np.bool_)) and not issubclass(cls, np.complexfloating)
    return real and not issubclass(cls, np.timedelta64) and bool(plain(value))


def unchecked(signature: tuple[Any, ...]) -> str:
    """Why no signature describes a call's arguments, or nothing."""
    return signature[1] if len(signature) == 2 and signature[0] is _UNFIT else ""


def buffer_key(given: Any) -> tuple[Any, ...]:
    """What a program sees of a buffer beside the shape and dtype of the array that it is."""
    if type(given) is memoryview:
        return "memoryview", given.format, given.readonly, given.itemsize
    return type(given).__name__, getattr(given, "typecode", "")


def _leaves(args: tuple[Any, ...], kwargs: dict[str, Any], regard: Regard) -> Leaves:
    leaves = PathLeaves(regard) if regard.inside else Leaves(regard)
    free = regard.free or regard.inside
    try:
        for position, value in enumerate(args):
            if free:
                leaves.argument(value, position)
            else:
                leaves.add(value)
        if kwargs and not free:
            leaves._dict(kwargs)
        elif kwargs:
            leaves.keywords(kwargs, len(args))
    except _Large:
        return _leaves(args, kwargs, regard._replace(identity=True))
    return leaves


def signature_of(
    args: tuple[Any, ...], kwargs: dict[str, Any], regard: Regard
) -> tuple[tuple[Any, ...], list[Any], list[Any]]:
    """(hashable signature, distinct tensors, objects known by identity) of a call."""
    try:
        leaves = _leaves(args, kwargs, regard)
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


def by_identity(value: Any, regard: Regard) -> bool:
    """Whether signatures know an argument as the object it is and nothing else."""
    try:
        leaves = _leaves((value,), {}, regard)
    except _Unfit:
        return False
    return leaves.sig == [(_OBJECT, id(value))]


def signed_by(arguments: list[Any], regard: Regard) -> dict[int, Any]:
    """The containers, arrays and structures among the arguments whose content the signature of the
    call holds, by id."""
    try:
        identity = _leaves(tuple(arguments), {}, regard).regard.identity
    except _Unfit:
        identity = True
    signed: dict[int, Any] = {}
    walked: set[int] = set()
    todo = list(arguments)
    while todo:
        value = todo.pop()
        if id(value) in walked:
            continue
        walked.add(id(value))
        cls = type(value)
        if cls is np.ndarray or cls is np.void or any(cls is kind for kind in BUFFERS):
            signed[id(value)] = value
        elif cls is list or cls is dict or is_tuple(value):
            signed[id(value)] = value
            todo += value.values() if cls is dict else value
        elif not identity and not plain(value) and not issubclass(cls, Handle):
            structure = structure_of(value)
            if structure is not None:
                signed.update((id(part), part) for part in structure.own)
                todo += [part for part in structure.parts if part is not EMPTY]
    return signed


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
    if given > count and not code.co_flags & inspect.CO_VARARGS:
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
