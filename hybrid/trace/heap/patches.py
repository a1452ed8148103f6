"""Whether hybrid's own functions are those that ran when a call was recorded.

Anybody may replace `hybrid.Tensor.relu` or a function of a module; a recording depends on the names
that hybrid's code looked up.  Invariant: while `changed()` is None, every name that the code which
ran looks up in its module gives what it gave, and its classes have the attributes that they had.
Version numbers that CPython gives dictionaries and classes say cheaply that nothing was touched.
"""

from __future__ import annotations

import builtins
import ctypes
import glob
import os
import types
from typing import Any

from ...backends.api import layout
from .allowlist import MISSING, PACKAGE, stdlib, trusted

__all__ = ["Namespaces", "own_code"]

Code = types.CodeType
# entries that Python itself makes in a class, and those that no code looks up
INTERNAL = frozenset(("__dict__", "__weakref__", "__doc__", "__slotnames__", "__annotations__"))
ROOT = __name__.partition(".")[0]
# what watches calls: the tracer, and native hooks of backends
TRACER = (
    *[PACKAGE + name for name in ("trace", "decorator.py", os.path.join("backends", "events.py"))],
    *glob.glob(os.path.join(PACKAGE, "backends", "*", "watch")),
)
DEPTH = 3  # of modules in modules


def own_code(filename: str) -> bool:
    """Code of hybrid that belongs to a program: not what records it, not what was generated."""
    return filename.startswith(PACKAGE) and not filename.startswith(TRACER)


class Namespaces:
    """What hybrid's code that ran in one call looked up; `names`: (dict, name) -> value."""

    # no weak references: the fact that names it keeps it
    __slots__ = ("dicts", "names", "classes", "skip", "_words", "_seen")

    def __init__(self, ran: list[tuple[Code, dict[str, Any]]]) -> None:
        self.dicts: dict[int, dict[str, Any]] = {}
        self.names: dict[tuple[int, str], Any] = {}
        self.classes: dict[type, dict[str, Any]] = {}
        self.skip: set[tuple[int, str]] = set()  # class attributes that the call stores to
        self._words: list[Any] | None = None  # version numbers, and what they last were
        self._seen: list[int] | None = None
        names: dict[int, dict[str, None]] = {}
        for code, space in ran:
            self.dicts[id(space)] = space
            named = names.setdefault(id(space), {})
            named.update(dict.fromkeys(code.co_names))
            owner = space.get(code.co_qualname.partition(".")[0])
            if isinstance(owner, type):
                self.add_class(owner)
        for space in list(self.dicts.values()):
            self._module(space, tuple(names[id(space)]), 0)

    def _module(self, space: dict[str, Any], names: tuple[str, ...], depth: int) -> None:
        self.dicts[id(space)] = space
        for name in names:
            if name in space:
                value = self.names[id(space), name] = space[name]
                if (
                    isinstance(value, types.ModuleType)
                    and depth < DEPTH
                    and _is_own(value.__name__)
                ):
                    self._module(value.__dict__, names, depth + 1)
            elif name in builtins.__dict__:
                self.names[id(space), name] = MISSING

    def add_class(self, cls: type) -> None:
        """A class of hybrid's, or with one among its bases, whose methods were looked up."""
        for base in cls.__mro__:
            if _is_own(base.__module__) and base not in self.classes:
                self.classes[base] = {
                    n: v for n, v in list(vars(base).items()) if n not in INTERNAL
                }

    def foreign(self) -> list[types.FunctionType]:
        """Functions of the user that stand where hybrid's stood."""
        found = [*self.names.values(), *[v for vs in self.classes.values() for v in vs.values()]]
        return [
            v
            for v in found
            if isinstance(v, types.FunctionType)
            and not trusted(v.__code__.co_filename)
            and not stdlib(v.__code__.co_filename)
        ]

    # ---- checking
    def lowest(self) -> list[type]:
        """Classes that no other one is made of: a change of a base changes their version."""
        bases = {b for t in self.classes for b in t.__mro__[1:]}
        return [t for t in self.classes if t not in bases]

    def settle(self) -> None:
        """What was noted is what is there now."""
        self._seen = self._marks()

    def changed(self) -> str | None:
        """The name of something that was replaced, or None."""
        marks = self._marks()
        if marks is not None and marks == self._seen:
            return None
        name = self._replaced()
        if name is None:
            self._seen = marks
        return name

    def _marks(self) -> list[int] | None:
        """Numbers that move with every change of a name; None where Python gives none."""
        known = layout()
        if known is None:
            return None
        if self._words is None:
            tags = [known.dict_version(d) for d in self.dicts.values()]
            tags += map(known.class_version, self.lowest())
            self._words = [ctypes.c_uint64.from_address(t) for t in tags if t is not None]
            if len(self._words) < len(tags):
                self._words = []
        marks = [w.value for w in self._words]
        if 0 in marks:  # a class that was changed and not used since
            if None in list(map(known.class_version, self.lowest())):
                return None
            marks = [w.value for w in self._words]
        return marks or None

    def _replaced(self) -> str | None:
        for (space, name), value in self.names.items():
            if self.dicts[space].get(name, MISSING) is not value:
                return f"{self.dicts[space].get('__name__', '?')}.{name}"
        for cls, found in self.classes.items():
            names = vars(cls)
            for name, value in found.items():
                if names.get(name, MISSING) is not value and (id(cls), name) not in self.skip:
                    return f"{cls.__qualname__}.{name}"
            for name in names:
                if name not in found and name not in INTERNAL and (id(cls), name) not in self.skip:
                    return f"{cls.__qualname__}.{name}"
        return None


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == ROOT
