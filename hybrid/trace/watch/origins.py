"""Where the code came from that was entered without a call in the bytecode: special methods,
properties, hooks.

Invariant: each belongs to a class that was seen, or was made by code that ran, or there is a
reason.
"""

from __future__ import annotations

import types
from types import CodeType
from typing import Any, NamedTuple

from ..bytecode.expressions import nested
from ..heap.allowlist import class_names, is_a, trusted
from .fact_table import Access, Facts
from .objects import Objects

__all__ = ["Origins"]


class Owner(NamedTuple):
    """A class, and the name under which it holds a function."""

    cls: type
    name: str
    function: Any


class Origins:
    """The classes that functions belong to whose code was entered."""

    def __init__(self, facts: Facts, objects: Objects) -> None:
        self.facts, self.objects, self.watch = facts, objects, facts.watch
        self._owners: dict[CodeType, list[Owner]] = {}
        self._scanned: set[int] = set()
        self._names = {code.co_name for code in facts.watch.frames}

    def find(self) -> None:
        """Find the functions of entered code on the classes seen."""
        arguments = [v for fs in self.watch.frames.values() for f in fs for v in f.values()]
        for value in list(self.facts.rooted.values()) + arguments:
            for cls in type(value), value:
                if is_a(cls, type) and id(cls) not in self._scanned:
                    for base in cls.__mro__:
                        self._scan(base)
        for code, owners in self._owners.items():
            if not self.objects.functions[code] or code.co_freevars:
                access = Access(code)
                for owner in owners:
                    self.facts.root_class(owner.cls)
                    self.facts.note("tattr", owner.cls, owner.name, access)
                    self.objects.reach(owner.function, access, owner.cls)

    def _scan(self, cls: type) -> None:
        """Note the functions of a class whose code was entered."""
        if id(cls) in self._scanned:
            return
        self._scanned.add(id(cls))
        for name, value in list(class_names(cls).items()):
            parts: tuple[Any, ...] = ()
            if type(value) is types.FunctionType:  # most are
                if value.__code__.co_name not in self._names:
                    continue
                parts = (value,)
            elif is_a(value, property):
                parts = value.fget, value.fset, value.fdel
            elif is_a(value, (classmethod, staticmethod)):
                parts = (value.__func__,)
            for part in parts:
                if not is_a(part, types.FunctionType) or part.__code__.co_name not in self._names:
                    continue  # without hashing its code
                if part.__code__ in self.watch.frames:
                    self._owners.setdefault(part.__code__, []).append(Owner(cls, name, part))

    def check(self) -> None:
        """Code entered implicitly must belong to a class seen, or be made by code that ran."""
        ran = [*self.watch.frames, *self.own_codes()]
        inner = {c for code in ran for c in nested(code)}
        for code in list(self.watch.frames):
            if code not in self._owners and not self.objects.functions[code] and code not in inner:
                self.facts.why(f"enters {code.co_name}, whose origin was not seen", Access(code))

    def own_codes(self) -> list[CodeType]:
        """Code of hybrid's functions that the call may have entered."""
        return [
            f.__code__
            for fs in list(self.objects.functions.values())
            for f in fs
            if trusted(f.__code__.co_filename)
        ]
