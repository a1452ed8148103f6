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
from typing import Any

import numpy as np

from ...ir.mode import Versioned
from ...ir.tensor import Handle
from ..heap.policy import (
    BOXES,
    MISSING,
    VIEWS,
    class_names,
    immutable_type,
    instance_dict,
    is_a,
    plain,
    pure_type_call,
)
from .events import Watch
from .members import Members, in_python, module_of

__all__ = ["Handed", "MAKERS_OF_READERS", "QUIET", "TEXTS"]

MAX_OBJECTS = 2_000  # that a name found at run time may be read of
MAX_WAYS = 16  # combinations of arguments that are tried
MAKERS_OF_READERS = (
    operator.attrgetter,
    operator.itemgetter,
    operator.methodcaller,
    functools.partial,
)
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


def _names(f: Any) -> tuple[Any, ...]:
    """What an attrgetter, itemgetter or methodcaller was made with."""
    maker, args = f.__reduce__()[:2]
    return tuple(maker.args) + tuple(args) if is_a(maker, functools.partial) else tuple(args)


class Handed(Members):
    """The work of C callables on objects."""

    def __init__(self, watch: Watch, in_signature: set[int]) -> None:
        super().__init__(watch, in_signature)
        self.unseen_names: set[str] = set()
        self.active: set[int] = set()  # callables whose work is being looked at
        self.unnamed = False  # whether some argument of the call in question was not seen
        self._made: dict[Any, Any] = {}  # made while looking, in place of what the call made

    def attr(self, o: Any, name: str) -> list[Any]:
        raise NotImplementedError

    def item(self, o: Any, key: Any) -> list[Any]:
        raise NotImplementedError

    def deep(self, o: Any, text: bool = False) -> None:
        raise NotImplementedError

    # ---- one callable
    def applied(self, f: Any, args: list[list[Any]], spread: bool = False) -> list[Any] | None:
        """Facts for what f reads of its arguments (of anything in them: `spread`); what it may
        give as far as that is seen, or None when its work is not known."""
        if f is MISSING or in_python(f) or is_a(f, Handle) or id(f) in self.active:
            return []
        self.active.add(id(f))
        try:
            return self._applied(f, args, spread)
        finally:
            self.active.discard(id(f))

    def _applied(self, f: Any, args: list[list[Any]], spread: bool) -> list[Any] | None:
        if is_a(f, functools.partial):
            given = [[a] for a in (*f.args, *f.keywords.values())]
            if self.existing(f):
                self.fields(f)
                self.all(f.keywords)
            return self.applied(f.func, given + args, spread)
        if type(f) is types.MethodType:
            return self.applied(f.__func__, [[f.__self__], *args], spread)
        if f is getattr or f is hasattr:
            return self._attributes(args, spread)
        for o in [o for a in args for o in a]:
            self.deep(o, any(f is t for t in TEXTS))
            if callable(o) and self.applied(o, args, True) is None:
                return None
        if self.unnamed and is_a(f, (operator.attrgetter, operator.methodcaller)):
            self.unseen_names |= {
                n for names in _names(f) if type(names) is str for n in names.split(".")
            }
        if type(f) is operator.attrgetter:
            return [
                v for o in self._bases(args, spread) for n in _names(f) for v in self.path(o, n)
            ]
        if type(f) is operator.itemgetter:
            return [
                v for o in self._bases(args, spread) for k in _names(f) for v in self.item(o, k)
            ]
        if type(f) is operator.methodcaller:
            name, *rest = _names(f)
            found = [m for o in self._bases(args, spread) for m in self.attr(o, name)]
            results = [self.applied(m, [[a] for a in rest]) for m in found]
            return None if None in results else [v for r in results for v in r or ()]
        return self._pure(f, args, spread)

    def _pure(self, f: Any, args: list[list[Any]], spread: bool) -> list[Any] | None:
        if is_a(f, type):
            return [] if not immutable_type(f) or pure_type_call(f) else None
        if is_a(f, np.ufunc) or type(f).__module__ == "numpy":
            return []
        if is_a(f, types.BuiltinFunctionType) and not is_a(f.__self__, (types.ModuleType, type)):
            owner = f.__self__
            if owner is not None:
                self.deep(owner)
                return self._method(type(owner), f.__name__)
        if is_a(f, (types.MethodDescriptorType, types.WrapperDescriptorType)):
            return self._method(f.__objclass__, f.__name__)
        if is_a(f, types.MethodWrapperType):
            self.deep(f.__self__)
            return self._method(type(f.__self__), f.__name__)
        return [] if id(f) in _PURE else None

    def _method(self, t: type, name: str) -> list[Any] | None:
        """A method of a C type that only reads."""
        if t in (str, bytes) and name not in _FORMATS or t in (int, float, complex, bool):
            return []
        base = next((b for b in _READERS if issubclass(t, b)), None)
        return [] if base is not None and name in _READERS[base] else None

    # ---- attributes by name
    def _bases(self, args: list[list[Any]], spread: bool) -> list[Any]:
        """The objects that a function of one argument may get."""
        return self._everything(args) if spread else list(args[0]) if args else []

    def _everything(self, args: list[list[Any]]) -> list[Any]:
        """All objects in the arguments, however deep in containers."""
        out: dict[int, Any] = {}
        todo = [o for a in args for o in a]
        while todo:
            o = todo.pop()
            if id(o) not in out and not is_a(o, Handle) and o is not MISSING:
                out[id(o)] = o
                if self.walked(o):
                    todo += self.all(o)
                    todo += list(o) if is_a(o, (tuple, list)) else ()
        return list(out.values())

    def path(self, o: Any, dotted: Any) -> list[Any]:
        """Objects that `o.a.b` may be."""
        found = [o]
        for name in dotted.split(".") if type(dotted) is str else ():
            found = [v for p in found for v in self.attr(p, name)]
        return found

    def _attributes(self, args: list[list[Any]], spread: bool) -> list[Any]:
        """getattr and hasattr, of any object and name among the arguments when spread."""
        if not spread and len(args) >= 2:
            names = [n for n in args[1] if type(n) is str]
            return self.named(args[0], names, self.unnamed or not names)
        found = self._everything(args)
        names = [n for n in found if type(n) is str]
        if self.unnamed:
            self.why("reads attributes by names that could not be followed")
        objs: dict[int, Any] = {id(o): o for o in found if not plain(o)}
        todo = list(objs.values())
        unknown = self.unnamed
        while todo:  # what one application gives, the next may get
            for v in self.named([todo.pop()], names, unknown):
                if id(v) not in objs and v is not MISSING and not plain(v) and not is_a(v, Handle):
                    objs[id(v)] = v
                    todo.append(v)
            if len(objs) > MAX_OBJECTS:
                self.why("reads attributes by names that could not be followed")
                return []
        return list(objs.values())

    def named(self, objs: list[Any], names: list[Any], unknown: bool) -> list[Any]:
        """Objects that these names of these objects may be; any name when unknown."""
        out = []
        for o in objs:
            if plain(o) or is_a(o, Handle):
                continue
            for n in [*names, *(self._all_names(o) if unknown else ())]:
                out += self.attr(o, n)
        return out

    def _all_names(self, o: Any) -> list[str]:
        """Every name that an object or its classes have; that there are no others is a fact."""
        names: dict[str, None] = {}
        d = instance_dict(o)
        if is_a(o, threading.local):
            self.why("reads every attribute of a thread's own object")
        elif d is not None and not is_a(o, Versioned) and self.existing(o):
            self.root(d)
            self.note("keys", d)
        if d is not None:
            names |= dict.fromkeys(n for n in d if type(n) is str)
        t = o if is_a(o, type) else type(o)
        for c in t.__mro__:
            if not immutable_type(c) and not module_of(c).startswith("hybrid."):
                names |= dict.fromkeys(n for n in class_names(c) if n[:2] != "__")
        return list(names)

    # ---- results that C code makes
    def _young(self, o: Any) -> None:
        """o stands for an object that the call made."""
        parts = (o.args, o.keywords, o.__dict__) if is_a(o, functools.partial) else ()
        self.watch.young.update(map(id, (o, *parts)))

    def read_by(self, f: Any, args: list[list[Any]], spread: bool) -> list[Any]:
        """What a C callable that reads objects may give, as far as that is seen."""
        if f is getattr or is_a(f, (types.MethodType, *MAKERS_OF_READERS)):
            return self.applied(f, args, spread) or []
        owner: Any = self.behind(f.__self__) if is_a(f, types.BuiltinFunctionType) else None
        if is_a(owner, dict) and f.__name__ in ("get", "pop", "setdefault", "__getitem__"):
            if self.unnamed or spread or not args:
                return list(map(self.reach, dict.values(owner)))
            default = [o for a in args[1:] for o in a]
            return [v for k in args[0] for v in self.item(owner, k)] + default
        return self.all(owner) if is_a(owner, BOXES) else []

    def made(self, f: Any, args: list[list[Any]], key: Any) -> list[Any]:
        """What a pure C callable makes of known arguments: a reader, or a text of a text."""
        text = is_a(f, types.BuiltinFunctionType) and type(f.__self__) is str
        if not text and not any(f is m for m in MAKERS_OF_READERS):
            return []
        if text and f.__name__ in _FORMATS:
            return []
        out = []
        for way in itertools.islice(itertools.product(*args), MAX_WAYS):
            if text and not all(map(plain, way)):
                continue
            mark = (*key, id(f), *map(id, way))
            if mark not in self._made:
                try:
                    self._made[mark] = f(*way), way
                except Exception:  # these arguments never met
                    continue
                self._young(self._made[mark][0])
            out.append(self._made[mark][0])
        return out
