"""Whether hybrid's own functions are those that ran when a call was recorded.

Anybody may replace `hybrid.Tensor.relu` or a function of a module; a recording depends on the names
that hybrid's code looked up.  Invariant: while `changed()` is None, every name that the code which
ran looks up in its module gives what it gave, its classes have the attributes that they had, and
its functions their code and defaults.  The version numbers that CPython gives dictionaries and
classes say cheaply that nothing was touched; where there are none, the names themselves are looked
at.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Iterable
from typing import Any

from .policy import MISSING, PACKAGE, stdlib, trusted

__all__ = ["Namespaces", "own_code"]

Code = types.CodeType
# entries that Python itself makes in a class, and those that no code looks up
INTERNAL = frozenset(("__dict__", "__weakref__", "__doc__", "__slotnames__", "__annotations__"))
ROOT = __name__.partition(".")[0]
TRACER = (PACKAGE + "trace", PACKAGE + "function.py")
DEPTH = 3  # of modules in modules


def own_code(filename: str) -> bool:
    """Code of hybrid that belongs to a program: not what records it, not what was generated."""
    return filename.startswith(PACKAGE) and not filename.startswith(TRACER)


class Namespaces:
    """What hybrid's code that ran in one call looked up; `names`: (dict, name) -> value."""

    # no weak references: the fact that names it keeps it
    __slots__ = ("ran", "dicts", "names", "classes", "skip", "functions")

    def __init__(self, ran: dict[Code, dict[str, Any]]) -> None:
        self.ran = set(ran)
        self.dicts: dict[int, dict[str, Any]] = {}
        self.names: dict[tuple[int, str], Any] = {}
        self.classes: dict[type, dict[str, Any]] = {}
        self.skip: set[tuple[int, str]] = set()  # class attributes that the call stores to
        self.functions: dict[int, tuple[Any, ...]] = {}
        for code, space in ran.items():
            self._module(space, code.co_names, 0)
            owner = space.get(code.co_qualname.partition(".")[0])
            if isinstance(owner, type):
                self.add_class(owner)
        self.add_functions(self.names.values())

    def _module(self, space: dict[str, Any], names: tuple[str, ...], depth: int) -> None:
        self.dicts[id(space)] = space
        for n in names:
            if n in space:
                v = self.names[id(space), n] = space[n]
                if isinstance(v, types.ModuleType) and depth < DEPTH and _is_own(v.__name__):
                    self._module(v.__dict__, names, depth + 1)
            elif n in builtins.__dict__:
                self.names[id(space), n] = MISSING

    def add_class(self, t: type) -> None:
        """A class of hybrid's, or with one among its bases, whose methods were looked up."""
        for c in t.__mro__:
            if c not in self.classes and _is_own(c.__module__):
                found = {n: v for n, v in list(vars(c).items()) if n not in INTERNAL}
                self.classes[c] = found
                self.add_functions(found.values())

    def add_functions(self, values: Iterable[Any]) -> None:
        """Those of them whose code ran."""
        for v in list(values):
            parts = (v.fget, v.fset) if isinstance(v, property) else (v,)
            for f in parts:
                f = f.__func__ if isinstance(f, (classmethod, staticmethod)) else f
                if isinstance(f, types.FunctionType) and f.__code__ in self.ran:
                    keywords = f.__kwdefaults__
                    self.functions[id(f)] = (
                        f,
                        f.__code__,
                        f.__defaults__,
                        keywords,
                        None if keywords is None else list(keywords.items()),
                    )

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
    def tables(self) -> list[dict[str, Any]]:
        """The dictionaries that names are looked up in."""
        keywords = [f[3] for f in self.functions.values() if f[3] is not None]
        return [*self.dicts.values(), *keywords]

    def lowest(self) -> list[type]:
        """Classes that no other one is made of: a change of a base changes their version."""
        bases = {b for t in self.classes for b in t.__mro__[1:]}
        return [t for t in self.classes if t not in bases]

    def changed(self) -> str | None:
        """The name of something that was replaced, or None."""
        return self._replaced()

    def _replaced(self) -> str | None:
        for (d, n), v in self.names.items():
            if self.dicts[d].get(n, MISSING) is not v:
                return f"{self.dicts[d].get('__name__', '?')}.{n}"
        for c, found in self.classes.items():
            now = vars(c)
            for n, v in found.items():
                if now.get(n, MISSING) is not v and (id(c), n) not in self.skip:
                    return f"{c.__qualname__}.{n}"
            for n in now:
                if n not in found and n not in INTERNAL and (id(c), n) not in self.skip:
                    return f"{c.__qualname__}.{n}"
        for f, *was in self.functions.values():
            if not _as_it_was(f, *was):
                return f"{f.__module__}.{f.__qualname__}"
        return None


def _as_it_was(f: Any, code: Code, defaults: Any, keywords: Any, items: Any) -> bool:
    if f.__code__ is not code or f.__defaults__ is not defaults or f.__kwdefaults__ is not keywords:
        return False
    now = [] if keywords is None else list(keywords.items())
    return items is None or (
        len(now) == len(items) and all(a is c and b is d for (a, b), (c, d) in zip(now, items))
    )


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == ROOT
