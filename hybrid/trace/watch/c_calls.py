"""What C code does with the callables and objects it is handed: `map(getattr, ...)`, `reduce`,
`partial`, `attrgetter`.

Invariant: allowed by list; a C callable on no list gives a reason, and what those on the lists read
of objects are facts.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import math
import operator
import threading
import types
import weakref
from typing import Any

import numpy as np

from ...ir.mode import Versioned
from ...ir.tensor import Handle
from ..heap.allowlist import (
    BOXES,
    MISSING,
    VIEWS,
    class_names,
    finalized,
    immutable_type,
    instance_dict,
    is_a,
    plain,
    pure_type_call,
)
from .classes import Classes, in_python, module_of, walked
from .fact_table import Access, Facts, Reader

__all__ = ["CCalls", "MAKERS_OF_READERS", "QUIET", "TEXTS"]

MAX_OBJECTS = 2_000  # that a name found at run time may be read of
MAX_WAYS = 16  # combinations of arguments that are tried
READERS_BY_NAME = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
MAKERS_OF_READERS = (*READERS_BY_NAME, functools.partial)
# C functions that compute with the content of their arguments, which is a fact
BUILTINS = """abs all any ascii bin callable chr divmod format hash hex isinstance issubclass iter
    len max min next oct ord pow repr round sorted sum"""
OPERATORS = """abs add and_ concat contains countOf eq floordiv ge getitem gt index indexOf inv
    invert is_ is_not le length_hint lshift lt matmul mod mul ne neg not_ or_ pos pow rshift sub
    truediv truth xor"""
PURE = [
    *[getattr(builtins, n) for n in BUILTINS.split()],
    *[getattr(operator, n) for n in OPERATORS.split()],
    *[f for f in vars(math).values() if callable(f)],
    functools.reduce,
]
_PURE = {id(f) for f in PURE}
# C functions that never call what they are given
QUIET = (isinstance, issubclass, callable, len, hash, id, getattr, hasattr, type, super)
# Methods of containers that change nothing
READS = "copy count get index items keys values __contains__ __getitem__ __iter__ __len__"
_READERS: dict[type, frozenset[str]] = {
    t: frozenset(n for n in READS.split() if hasattr(t, n))
    for t in (dict, list, tuple, set, frozenset, *VIEWS)
}
_FORMATS = ("format", "format_map")
TEXTS = (str, repr, ascii, format)


Ways = list[list[Any]]  # for each argument the objects that it may be


def _names(maker: Any) -> tuple[Any, ...]:
    """What an attrgetter, itemgetter or methodcaller was made with."""
    cls, arguments = maker.__reduce__()[:2]
    return tuple(cls.args) + tuple(arguments) if is_a(cls, functools.partial) else tuple(arguments)


def _method(cls: type, name: str) -> list[Any] | None:
    """A method of a C type that only reads."""
    textual = cls in (str, bytes) and name not in _FORMATS
    if textual or cls in (int, float, complex, bool):
        return []
    base = next((b for b in _READERS if issubclass(cls, b)), None)
    return [] if base is not None and name in _READERS[base] else None


class CCalls:
    """The work of C callables on objects."""

    def __init__(self, facts: Facts, reader: Reader, classes: Classes) -> None:
        self.facts, self.reader, self.classes = facts, reader, classes
        self._active: set[int] = set()  # callables whose work is being looked at
        # Callables done with, and what they may get: each of n callables handed to C may call all
        # others, and following every order in which they do would take n! steps.
        self._done: set[tuple[int, frozenset[int]]] = set()
        # made while looking, in place of what the call made, and the arguments (kept alive: the
        # keys are their ids)
        self._made: dict[Any, tuple[Any, tuple[Any, ...]]] = {}

    # ---- one callable
    def applied(
        self, function: Any, arguments: Ways, access: Access, spread: bool = False
    ) -> list[Any] | None:
        """Facts for what a callable reads of its arguments (of anything in them: `spread`); what it
        may give as far as that is seen, or None when its work is not known."""
        watched = function is MISSING or in_python(function) or is_a(function, Handle)
        if watched or id(function) in self._active:
            return []
        mark = id(function), frozenset(id(o) for a in arguments for o in a)
        if spread and mark in self._done:
            return []
        outermost = not self._active
        self._active.add(id(function))
        try:
            found = self._applied(function, arguments, access, spread)
        finally:
            self._active.discard(id(function))
            if outermost:
                self._done.clear()
        if spread and not outermost and found is not None:
            self._done.add(mark)
        return found

    def _applied(
        self, function: Any, arguments: Ways, access: Access, spread: bool
    ) -> list[Any] | None:
        if is_a(function, functools.partial):
            given = [[a] for a in (*function.args, *function.keywords.values())]
            if self.facts.existing(function):
                self.classes.fields(function, access)
                self.reader.contents(function.keywords, access)
            return self.applied(function.func, given + arguments, access, spread)
        if type(function) is types.MethodType:
            bound = [[function.__self__], *arguments]
            return self.applied(function.__func__, bound, access, spread)
        if function is getattr or function is hasattr:
            return self._attributes(arguments, access, spread)
        for value in [o for a in arguments for o in a]:
            self.reader.deep(value, access, any(function is t for t in TEXTS))
            if callable(value) and self.applied(value, arguments, access, True) is None:
                return None
        if is_a(function, READERS_BY_NAME):
            return self._read_by_name(function, arguments, access, spread)
        return self._pure(function, access)

    def _read_by_name(
        self, function: Any, arguments: Ways, access: Access, spread: bool
    ) -> list[Any] | None:
        """attrgetter, itemgetter and methodcaller."""
        names, reader = _names(function), self.reader
        if access.unnamed and not is_a(function, operator.itemgetter):
            for name in [n for text in names if type(text) is str for n in text.split(".")]:
                self.facts.unseen_name(name, access)
        bases = self._bases(arguments, access, spread)
        if type(function) is operator.attrgetter:
            return [v for o in bases for n in names for v in self.path(o, n, access)]
        if type(function) is operator.itemgetter:
            return [v for o in bases for k in names for v in reader.item(o, k, access)]
        name, *rest = names
        found = [m for o in bases for m in reader.attr(o, name, access)]
        results = [self.applied(m, [[a] for a in rest], access) for m in found]
        return None if None in results else [v for r in results for v in r or ()]

    def _pure(self, function: Any, access: Access) -> list[Any] | None:
        if is_a(function, type):
            known = not immutable_type(function) or pure_type_call(function)
            return [] if known and not finalized(function) else None
        if is_a(function, np.ufunc) or type(function).__module__ == "numpy":
            return []
        if is_a(function, types.BuiltinFunctionType):
            owner = function.__self__
            if owner is not None and not is_a(owner, (types.ModuleType, type)):
                self.reader.deep(owner, access)
                if type(owner) in BOXES and not self.facts.existing(owner):
                    return []  # what the call made it may change
                return _method(type(owner), function.__name__)
        if is_a(function, (types.MethodDescriptorType, types.WrapperDescriptorType)):
            return _method(function.__objclass__, function.__name__)
        if is_a(function, types.MethodWrapperType):
            self.reader.deep(function.__self__, access)
            return _method(type(function.__self__), function.__name__)
        return [] if id(function) in _PURE else None

    # ---- attributes by name
    def _bases(self, arguments: Ways, access: Access, spread: bool) -> list[Any]:
        """The objects that a function of one argument may get."""
        if spread:
            return self._everything(arguments, access)
        return list(arguments[0]) if arguments else []

    def _everything(self, arguments: Ways, access: Access) -> list[Any]:
        """All objects in the arguments, however deep in containers."""
        out: dict[int, Any] = {}
        todo = [o for a in arguments for o in a]
        while todo:
            value = todo.pop()
            if id(value) not in out and not is_a(value, Handle) and value is not MISSING:
                out[id(value)] = value
                if walked(value):
                    todo += self.reader.contents(value, access)
                    todo += list(value) if is_a(value, (tuple, list)) else ()
        return list(out.values())

    def path(self, holder: Any, dotted: Any, access: Access) -> list[Any]:
        """Objects that `holder.a.b` may be."""
        found = [holder]
        for name in dotted.split(".") if type(dotted) is str else ():
            found = [v for p in found for v in self.reader.attr(p, name, access)]
        return found

    def _attributes(self, arguments: Ways, access: Access, spread: bool) -> list[Any]:
        """getattr and hasattr, of any object and name among the arguments when spread."""
        unknown = access.unnamed
        if not spread and len(arguments) >= 2:
            names = [n for n in arguments[1] if type(n) is str]
            return self.named(arguments[0], names, access, unknown or not names)
        found = self._everything(arguments, access)
        names = [n for n in found if type(n) is str]
        if unknown:
            self.facts.why("reads attributes by names that could not be followed", access)
        objects: dict[int, Any] = {id(o): o for o in found if not plain(o)}
        todo = list(objects.values())
        while todo:  # what one application gives, the next may get
            for value in self.named([todo.pop()], names, access, unknown):
                new = id(value) not in objects and value is not MISSING
                if new and not plain(value) and not is_a(value, Handle):
                    objects[id(value)] = value
                    todo.append(value)
            if len(objects) > MAX_OBJECTS:
                self.facts.why("reads attributes by names that could not be followed", access)
                return []
        return list(objects.values())

    def named(
        self, objects: list[Any], names: list[str], access: Access, unknown: bool
    ) -> list[Any]:
        """Objects that these names of these objects may be; any name when unknown."""
        out = []
        for holder in objects:
            if plain(holder) or is_a(holder, Handle):
                continue
            for name in [*names, *(self._all_names(holder, access) if unknown else ())]:
                out += self.reader.attr(holder, name, access)
        return out

    def _all_names(self, holder: Any, access: Access) -> list[str]:
        """Every name that an object or its classes have; that there are no others is a fact."""
        names: dict[str, None] = {}
        entries = instance_dict(holder)
        if is_a(holder, threading.local):
            self.facts.why("reads every attribute of a thread's own object", access)
        elif entries is not None and not is_a(holder, Versioned) and self.facts.existing(holder):
            self.facts.root(entries)
            self.facts.note("keys", entries, None, access)
        if entries is not None:
            names |= dict.fromkeys(n for n in entries if type(n) is str)
        cls = holder if is_a(holder, type) else type(holder)
        for base in cls.__mro__:
            if not immutable_type(base) and not module_of(base).startswith("hybrid."):
                names |= dict.fromkeys(n for n in class_names(base) if n[:2] != "__")
        return list(names)

    # ---- results that C code makes
    def _young(self, value: Any) -> None:
        """It stands for an object that the call made."""
        parts: tuple[Any, ...] = ()
        if is_a(value, functools.partial):
            parts = value.args, value.keywords, value.__dict__
        self.facts.watch.young.update(map(id, (value, *parts)))

    def read_by(self, function: Any, arguments: Ways, access: Access, spread: bool) -> list[Any]:
        """What a C callable that reads objects may give, as far as that is seen."""
        if type(function) is weakref.ReferenceType:
            return [self.reader.reach(function(), access, function)]
        if function is vars and arguments and not spread:
            return [self.reader.attr(o, "__dict__", access)[0] for o in arguments[0]]
        if function is getattr or is_a(function, (types.MethodType, *MAKERS_OF_READERS)):
            return self.applied(function, arguments, access, spread) or []
        owner: Any = None
        if is_a(function, types.BuiltinFunctionType):
            owner = self.classes.behind(function.__self__, access)
        if is_a(owner, dict) and function.__name__ in ("get", "pop", "setdefault", "__getitem__"):
            if access.unnamed or spread or not arguments:
                return [self.reader.reach(v, access, owner) for v in dict.values(owner)]
            default = [o for a in arguments[1:] for o in a]
            return [v for k in arguments[0] for v in self.reader.item(owner, k, access)] + default
        return self.reader.contents(owner, access) if is_a(owner, BOXES) else []

    def made(self, function: Any, arguments: Ways, key: tuple[Any, ...]) -> list[Any]:
        """What a pure C callable makes of known arguments: a reader, or a text of a text."""
        if function is range:
            return [range(0)]  # whichever it is, it holds ints
        textual = is_a(function, types.BuiltinFunctionType) and type(function.__self__) is str
        refers = function is weakref.ReferenceType and len(arguments) == 1
        if not textual and not refers and not any(function is m for m in MAKERS_OF_READERS):
            return []
        if textual and function.__name__ in _FORMATS:
            return []
        out = []
        for way in itertools.islice(itertools.product(*arguments), MAX_WAYS):
            if textual and not all(map(plain, way)):
                continue
            mark = (*key, id(function), *map(id, way))
            if mark not in self._made:
                try:
                    self._made[mark] = function(*way), way
                except Exception:  # these arguments never met
                    continue
                self._young(self._made[mark][0])
            out.append(self._made[mark][0])
        return out
