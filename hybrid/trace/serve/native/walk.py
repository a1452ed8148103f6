"""The arguments of a call as Python text: what a signature holds of them, as conditions, and where
the tensors among them are.

Invariant: what meets the conditions has the signature of the arguments that were walked through;
checking them runs no code of a user and keeps none of his objects alive.
"""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ....core.signals import from_handler
from ....ir.tensor import Handle
from ...heap.allowlist import instance_dict, is_tuple
from ...heap.data import BUFFERS, lender, passed, passed_number
from ...heap.given.paths import tree_of
from ...heap.lists import passed_list
from ...heap.signature import Regard, buffer_key, by_identity, float_bits
from ...heap.structure import structure_of
from ...record.guards import run_text

__all__ = ["NoWay", "ArgumentWalk"]

MAX_LINES = 200
_SINGLE = frozenset(map(id, (None, True, False, Ellipsis, NotImplemented)))


class NoWay(Exception):
    """Something among the arguments that only a signature describes."""


class ArgumentWalk:
    """`tensors`: (expression, value) of the tensors among the arguments, and of what stands for
    them, in the order of the signature; `plain`: whether nothing else that can change is there."""

    def __init__(self, regard: Regard) -> None:
        self.regard = regard
        self.space: dict[str, Any] = {
            "NI": NotImplemented,
            "MISSING": object(),
            "from_handler": from_handler,
            "number": passed_number,
            "listed": passed_list,
            "ndarray": np.ndarray,
            "items_of": tuple.__iter__,
            "bits": float_bits,
            "entries": instance_dict,
            "partial": functools.partial,
            "Function": types.FunctionType,
            "Method": types.MethodType,
            "Namespace": types.SimpleNamespace,
            "Ordered": collections.OrderedDict,
            "get": dict.get,
        }
        self.lines: list[str] = []
        self.tensors: list[tuple[str, Any]] = []
        self.met: dict[int, str] = {}  # structures and arrays: each has to be another object
        self.plain = True
        self.count = 0
        self.free = -1  # the position of the argument in hand, if it is free
        self.node: Any = None  # what is free inside of the value in hand

    def function(
        self,
        count: int,
        serve: Callable[..., Any],
        failed: Callable[[int], Exception] | None = None,
    ) -> Callable[..., Any]:
        """A function of `count` arguments that hands the tensors on, or gives NotImplemented;
        `failed`: makes an error of an int."""
        names = [f"v{index}" for index in range(count)]
        parameters = ", ".join([*[f"{name}=MISSING" for name in names], "*more"])
        given = ", ".join([place for place, _ in self.tensors])
        last = f"{names[-1]} is MISSING or " if names else ""
        lines, apart = list(self.lines), list(self.met.values())
        if len(apart) > 1:
            ids = ", ".join([f"id({place})" for place in apart])
            lines.append(f"if len({{{ids}}}) != {len(apart)}: return NI")
        if lines:  # an error there is one of looking at something else
            lines = ["try:", *[f" {line}" for line in lines], "except Exception as error:"]
            lines += [" if from_handler(error): raise", " return NI"]
        ends = [f"return serve({given})"]
        if failed is not None:
            self.space["failed"] = failed
            ends = [f"got = serve({given})", "if type(got) is int: raise failed(got)", "return got"]
        body = [f"if {last}more: return NI", *lines, *ends]
        text = "\n".join([f"def way({parameters}):", *[f" {line}" for line in body]])
        self.space["serve"] = serve
        made: Callable[..., Any] = run_text(text, "<hybrid way>", self.space, "way")
        return made

    # ---- text
    def hold(self, value: Any) -> str:
        """A name for a value that has no life of its own."""
        self.count += 1
        self.space[f"c{self.count}"] = value
        return f"c{self.count}"

    def names(self, count: int) -> list[str]:
        first, self.count = self.count + 1, self.count + count
        return [f"p{number}" for number in range(first, self.count + 1)]

    def name(self, text: str) -> str:
        """A name for what an expression gives."""
        (name,) = self.names(1)
        self.lines.append(f"{name} = {text}")
        return name

    def need(self, condition: str) -> None:
        if len(self.lines) > MAX_LINES:
            raise NoWay
        self.lines.append(f"if not ({condition}): return NI")

    def unpack(self, text: str, count: int) -> list[str]:
        """Names for the items of an expression that has as many."""
        names = self.names(count)
        if names:
            self.lines.append(f"{', '.join(names)}, = {text}")
        return names

    # ---- values
    def argument(self, value: Any, place: str, position: int) -> None:
        """An argument at the top, whose number may be free."""
        if position in self.regard.free and type(value) in (int, float):
            kind = type(value).__name__
            self.need(f"type({place}) is {kind}")
            self.tensors.append((f"number({place}, {position})", value))
        else:
            self.free = position if position in self.regard.free else -1
            self.node = tree_of(self.regard.inside).get(position)
            self.add(value, place)
            self.free, self.node = -1, None

    def _step(self, node: Any, step: Any, value: Any, place: str) -> None:
        """What one step leads to, which may be a free number."""
        known = node is not None and (type(step) is str or type(step) is int)
        self.node = inner = node.get(step) if known else None
        path = None if inner is None else inner.get(None)
        if path is None or type(value) not in (int, float):
            self.add(value, place)
            return
        self.need(f"type({place}) is {type(value).__name__}")
        self.tensors.append((f"number({place}, {self.hold(path)})", value))

    def add(self, value: Any, place: str) -> None:
        """Anything, as a signature describes it."""
        cls = type(value)
        if issubclass(cls, Handle):
            self.tensors.append((place, value))
        elif id(value) in _SINGLE or cls is complex:
            self.need(f"{place} is {self.hold(value)}")
        elif cls is int or cls is str or cls is bytes:
            held = self.hold(value)
            same = f"type({place}) is {cls.__name__} and {place} == {held}"
            self.need(f"{place} is {held} or {same}")
        elif cls is float:
            held = self.hold(value)
            same = f"type({place}) is float and bits({place}) == {self.hold(float_bits(value))}"
            self.need(f"{place} is {held} or {same}")
        elif self.free >= 0 and passed_list(value, self.free) is not None:
            self._numbers(value, place)
        elif cls is list or is_tuple(value):
            self._items(value, place)
        elif cls is dict:
            self.plain = False
            self.need(f"type({place}) is dict and len({place}) == {len(value)}")
            self._pairs(list(value.items()), place)
        elif cls is np.ndarray:
            self._array(value, place)
        elif any(cls is kind for kind in BUFFERS):
            self._buffer(value, place)
        else:
            self._object(value, place)

    def _items(self, value: Any, place: str) -> None:
        cls = type(value)
        self.plain = self.plain and cls is not list
        kind = f"type({place}) is {cls.__name__}"
        if cls is not list and cls is not tuple:
            kind = f"id(type({place})) == {id(cls)}"
        self.need(f"{kind} and len({place}) == {len(value)}")
        node = self.node
        names = self.unpack(place if cls is list else f"items_of({place})", len(value))
        for step, (name, item) in enumerate(zip(names, value)):
            self._step(node, step, item, name)

    def _pairs(self, items: list[tuple[Any, Any]], place: str) -> None:
        node = self.node
        names = self.unpack(f"(*{place}.items(),)", len(items))
        for name, (key, value) in zip(names, items):
            first, second = self.unpack(name, 2)
            self.node = None
            self.add(key, first)
            self._step(node, key, value, second)

    def _array(self, value: Any, place: str) -> None:
        tensor = None if self.regard.content else passed(value)
        if tensor is None or value.dtype is not tensor._a.dtype:
            raise NoWay
        dtype, shape = self.hold(value.dtype), self.hold(value.shape)
        self._alone(value, place)
        self.need(f"type({place}) is ndarray and {place}.dtype is {dtype}")
        self.need(f"{place}.shape == {shape}")
        self.tensors.append((self.name(f"{self.hold(lender(tensor._a))}({place})"), value))

    def _buffer(self, value: Any, place: str) -> None:
        tensor = passed(value)
        if tensor is None:
            raise NoWay
        self._alone(value, place)
        self.need(f"id(type({place})) == {id(type(value))}")
        made, key = self.name(f"{self.hold(passed)}({place})"), self.hold(buffer_key(value))
        self.need(f"{made} is not None and {made}._a is {self.hold(tensor._a)}")
        self.need(f"{self.hold(buffer_key)}({place}) == {key}")
        self.tensors.append((made, value))

    def _numbers(self, value: Any, place: str) -> None:
        """A list of numbers, by what stands for it."""
        tensor: Any = passed_list(value, self.free)
        self._alone(value, place)
        self.need(f"type({place}) is {type(value).__name__}")
        found = self.name(f"listed({place}, {self.free})")
        record, form = self.hold(tensor._a), self.hold(tensor._x.form)
        self.need(f"{found} is not None and {found}._a is {record} and {found}._x.form == {form}")
        self.tensors.append((found, value))

    def _alone(self, value: Any, place: str) -> None:
        """Note something that a signature tells from others by identity."""
        if id(value) in self.met or not place.isidentifier():
            raise NoWay
        self.met[id(value)] = place
        self.plain = False

    def _object(self, value: Any, place: str) -> None:
        if by_identity(value, self.regard):
            self.plain = False
            self.need(f"id({place}) == {id(value)}")
            return
        structure = None if self.regard.identity else structure_of(value)
        if structure is None:
            raise NoWay
        place = place if place.isidentifier() else self.name(place)
        self._alone(value, place)
        cls = type(value)
        if cls is types.FunctionType or cls is types.MethodType or cls is functools.partial:
            self.node = None
        if cls is types.FunctionType:
            self._function(value, place)
        elif cls is types.MethodType:
            self.need(f"type({place}) is Method and id({place}.__func__) == {id(value.__func__)}")
            self.add(value.__self__, self.name(f"{place}.__self__"))
        elif cls is functools.partial:
            self.need(f"type({place}) is partial and not {place}.__dict__")
            for name in ("func", "args", "keywords"):
                self.add(getattr(value, name), self.name(f"{place}.{name}"))
        elif cls is collections.OrderedDict:
            self.need(f"type({place}) is Ordered and len({place}) == {len(value)}")
            self.need(f"not {place}.__dict__")
            self._pairs(list(value.items()), place)
        elif cls is collections.defaultdict:
            raise NoWay
        else:
            self._fields(value, place)

    def _fields(self, value: Any, place: str) -> None:
        """An object of which only its fields count."""
        cls, structure, entries = type(value), structure_of(value), instance_dict(value)
        if structure is None or entries is None or len(structure.parts) != len(entries):
            raise NoWay  # it has slots
        namespace = cls is types.SimpleNamespace
        kind = f"type({place}) is Namespace" if namespace else f"id(type({place})) == {id(cls)}"
        self.need(kind)
        found = self.name(f"{place}.__dict__" if namespace else f"entries({place})")
        self.need(f"len({found}) == {len(entries)}")
        self._pairs(list(entries.items()), found)

    def _function(self, value: Any, place: str) -> None:
        """A function by code, globals, what it says of itself, defaults and cells."""
        if value.__dict__:
            raise NoWay
        code, space = id(value.__code__), id(value.__globals__)
        self.need(f"type({place}) is Function and id({place}.__code__) == {code}")
        self.need(f"id({place}.__globals__) == {space} and not {place}.__dict__")
        self.need(f"get({place}.__globals__, {place}.__name__) is not {place}")
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            self.add(getattr(value, name), f"{place}.{name}")
        for name in ("__defaults__", "__kwdefaults__"):
            self.add(getattr(value, name), self.name(f"{place}.{name}"))
        cells = value.__closure__ or ()
        names = self.unpack(f"{place}.__closure__", len(cells))
        for name, cell in zip(names, cells):
            self.add(cell.cell_contents, self.name(f"{name}.cell_contents"))
