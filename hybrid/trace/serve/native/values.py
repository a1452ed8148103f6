"""Recipes of values as Python text: what straight code builds of what the entry gives.

Invariant: an expression gives what the recipe gives; what it does not know has no straight code.
"""

from __future__ import annotations

import keyword
import types
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ....core import dtypes as dt
from ....core.aval import HOST
from ....core.floating import sees_subnormals
from ...bytecode.host_reads import HOW
from ...follow.terms import Collection, Constant, Operation
from ...follow.terms import Made as Computation
from ...heap.structure import built
from ...host.again import First
from ...record.guards import Places
from ...record.inputs import AsGradient, AtFact, ByIdentity
from ...record.kept.leaves import ArrayBehind, Counted, HeldObject, LoadedNumber, behind
from ...record.outputs import (
    Box,
    Computed,
    GivenNumber,
    HostResult,
    HostValue,
    Known,
    New,
    Plain,
)
from ...record.recording import Recording
from .needs import Needs

__all__ = ["NoStraightCode", "ValueWriter"]


class NoStraightCode(Exception):
    """Something that has no straight code."""


class ValueWriter(Places):
    """Arguments are `a0`, ...; inputs that the guard loads `t3`, ...; tensors that the entry makes
    `r0`, ..., by output; what is built `x1`, ..."""

    def __init__(self, recording: Recording, needs: Needs, loaded: tuple[int, ...]) -> None:
        loads = {loaded.key: loaded.holder for loaded in recording.outcome.actions.loads}
        super().__init__({**recording.facts.holders, **loads})
        self.recording, self.needs, self.loaded = recording, needs, loaded
        self.arguments = [f"a{number}" for number in range(recording.arguments)]
        self.lines: list[str] = []  # what builds values
        self.count = 0
        self.made: dict[int, str] = {}  # by identity among the results
        self.found: dict[int, str] = {}  # inputs that are looked up
        self.numbers: dict[int, str] = {}  # that were read from results, by output
        self.values: dict[tuple[str, int], str] = {}  # that were read, by the read
        self.states: dict[ArrayBehind, str] = {}  # what holds arrays behind stores
        self.clocks: dict[HostResult, str] = {}  # what holds the times after the operations

    def tensor(self, spec: New) -> str:
        """A name for a tensor that the entry made."""
        raise NotImplementedError

    def name(self, text: str) -> str:
        """A name for the value that an expression has now."""
        self.count += 1
        self.lines.append(f"x{self.count} = {text}")
        return f"x{self.count}"

    def build(self, spec: Any) -> str:
        """A name for the object that a recipe describes."""
        kind = type(spec)
        if kind is New:
            return self.made.get(spec.ident) or self.tensor(spec)
        if kind is Known:
            return self.input(spec.number)
        if kind is Plain:
            return self.const(spec.value)
        if kind is HostValue:
            return self._read(spec)
        if kind is Computed:
            return self.name(self.number(spec.term))
        if kind is not Box:
            raise NoStraightCode
        known = self.made.get(spec.ident)
        if known is None:
            known = self.made[spec.ident] = self.name(self._box(spec))
        return known

    def input(self, number: int) -> str:
        """A name for an input."""
        if number < len(self.arguments):
            return self.arguments[number]
        if number in self.loaded:
            return f"t{number}"
        location, held = self.recording.inputs[number].location, self.needs.held
        if isinstance(location, ByIdentity):
            return self.const(held[number])
        found = self.found.get(number)
        if found is None:
            if isinstance(location, AsGradient):
                text = f"{self.const(held[location.host])}._node.grad"
            elif isinstance(location, AtFact):
                text = self.read(location.key)
            else:
                raise NoStraightCode
            found = self.found[number] = self.name(text)
        return found

    @staticmethod
    def row(names: Sequence[str]) -> str:
        return f"({', '.join(names)}{',' if len(names) == 1 else ''})"

    def _read(self, spec: HostValue) -> str:
        tensor, how = spec.items[0], spec.how
        if type(tensor) is not New or tensor.view is not None or not how.isidentifier():
            raise NoStraightCode
        known = self.values.get(spec.ident)
        if known is None:
            known = self.values[spec.ident] = self._value(tensor, how)
        return known

    def _value(self, tensor: New, how: str) -> str:
        """A name for what is read of a tensor."""
        made = f"r{tensor.output}"
        if how != HOW[".item()"]:
            return self.name(f"{made}.{how}()")
        known = self.numbers.get(tensor.output)
        if known is None:
            aval, text = self.recording.outcome.avals[tensor.output], f"{made}.item()"
            if aval.device is HOST and aval.size == 1 and aval.dtype.kind in "biuf":
                # a number of another width is converted, and that may flush subnormals
                exact = aval.dtype.kind != "f" or aval.dtype is dt.float64
                text = f"{made}._v.item()" + ("" if exact else f" if sees() else {text}")
                self.space["sees"] = sees_subnormals
            known = self.numbers[tensor.output] = self.name(text)
        return known

    def number(self, term: Any) -> str:
        """An expression for the number that a term is now."""
        kind = type(term)
        if kind is Operation:
            return self.operation(term.symbol, list(map(self.number, term.operands)))
        if kind is Constant:
            return self.const(term.value)
        if kind is GivenNumber:
            return f"{self.input(term.number)}._x.source"
        if kind is HostValue:
            return self._read(term)
        if kind is LoadedNumber:
            return self.read(term.key)
        if kind is Counted:
            return f"len({self.holder(term.owner)})"
        return self._hosted(term)

    def _hosted(self, term: Any) -> str:
        """An expression for what a call of Python's own world gave or gets."""
        kind = type(term)
        if kind is Computation:
            given = ", ".join(map(self.number, term.operands))
            return f"{self.const(term.function)}({given})"
        if kind is Collection:
            items = list(map(self.number, term.items))
            if term.type is dict:
                pairs = zip(map(self.const, term.keys), items)
                return f"{{{', '.join([f'{key}: {item}' for key, item in pairs])}}}"
            return self.row(items) if term.type is tuple else f"[{', '.join(items)}]"
        if kind is First:
            return f"{self.const(term.now)}()"
        if kind is ArrayBehind:
            if term not in self.states:
                given = ", ".join(map(self.number, term.operands))
                self.states[term] = self.name(f"{self.const(behind)}({given})")
            return self.states[term]
        if kind is HostResult:
            return self.clocks[term]
        if kind is HeldObject:
            return self.holder(term.owner)
        raise NoStraightCode

    def _box(self, spec: Box) -> str:
        items, cls = list(map(self.build, spec.items)), spec.type
        if cls is list:
            return f"[{', '.join(items)}]"
        if cls is tuple:
            return self.row(items)
        if cls is dict:
            keys = map(self.const, spec.keys)
            return f"{{{', '.join([f'{key}: {item}' for key, item in zip(keys, items)])}}}"
        if cls is OrderedDict:
            pairs = [f"({key}, {item})" for key, item in zip(map(self.const, spec.keys), items)]
            return f"{self.const(cls)}({self.row(pairs)})"
        if issubclass(cls, tuple):
            return f"{self.const(cls)}({', '.join(items)})"
        if cls is types.SimpleNamespace and all(map(str.isidentifier, spec.keys)):
            given = [f"{key}={item}" for key, item in zip(spec.keys, items)]
            if not any(map(keyword.iskeyword, spec.keys)):
                return f"{self.const(cls)}({', '.join(given)})"
        return (
            f"{self.const(built)}({self.const(cls)}, {self.const(spec.keys)}, [{', '.join(items)}])"
        )
