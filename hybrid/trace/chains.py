"""Evaluating the expressions of a code summary on the real objects, and noting a fact for each
place read.

Invariant: only places that existed before the call become facts; an expression that cannot be
evaluated is reported as unseen (the second result of `ev`), and what it may read is guarded
wherever it could be.
"""

from __future__ import annotations

import builtins
import collections
import functools
import gc
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..ir.mode import Versioned
from ..ir.tensor import Handle
from .bytecode import summarize
from .facts import Key, fetch, type_items
from .holding import Holding
from .policy import (
    BOXES,
    CMETHODS,
    KNOWN,
    MISSING,
    READABLE,
    SCALARS,
    STATEFUL,
    Wrapped,
    immutable_type,
    lookup,
    site_of,
    trusted,
)
from .raw import own_dict, written_in_python
from .seeing import Watch
from .stack import FRESH, MANY, TOP

__all__ = ["Chains", "MAX_ITEMS", "MAX_ARRAY"]

MAX_ITEMS = 20_000  # items of one container that are worth guarding
MAX_ARRAY = 1 << 16  # bytes of a NumPy array whose content is a fact
GET = "__getattribute__"
Code = types.CodeType
Found = tuple[dict[int, Any], bool]


class Chains(Holding):
    """Facts of one watched call: `found` maps Key -> holder."""

    def __init__(self, watch: Watch, in_signature: set[int]) -> None:
        self.watch, self.in_signature = watch, in_signature
        self.found: dict[Key, Any] = {}
        self.rooted: dict[int, Any] = {}  # objects known to have existed before
        self.reached: set[int] = set()
        self.held: dict[int, Handle] = {}  # tensors that Versioned objects hold
        self.loaded: dict[int, Handle] = {}  # tensors that user code had in hand
        # where they hold them: the place, its holder
        self.places_of: dict[int, dict[Key, Any]] = {}
        self.functions: dict[Code, list[Any]] = collections.defaultdict(list)
        self.returns: dict[tuple[Code, int], list[Any]] = {}
        self.memo: dict[tuple[Code, Any], Found] = {}
        self.unseen_names: set[str] = set()
        self.unseen_items = False
        self.where: dict[Key, str] = {}
        self._at = ""

    # ---- facts
    def why(self, text: str, code: Code | None = None, at: int = 0) -> None:
        self.watch.why(text, site_of(code, at) if code is not None else self._at)

    def existing(self, o: Any) -> bool:
        """Whether o was there before the call (an untracked dict counts only when reached)."""
        return id(o) in self.rooted or gc.is_tracked(o) and id(o) not in self.watch.young

    def root(self, o: Any) -> None:
        self.rooted[id(o)] = o

    def note(self, kind: str, h: Any, key: Any = None) -> None:
        """The place (kind, h, key) was read."""
        if id(h) not in self.in_signature and self.existing(h):
            k = Key(kind, id(h), key)
            if k not in self.found:
                self.found[k] = h
                self.where[k] = self._at

    # ---- objects
    def reach(self, v: Any, frm: Any = None) -> Any:
        """v was read out of frm (None: a root that existed); returns v."""
        if isinstance(v, Handle):
            self.loaded.setdefault(id(v), v)
            return v
        if v is MISSING or isinstance(v, SCALARS) and type(v) is not np.void:
            return v
        if frm is None or self.existing(frm):
            if id(v) in self.reached:
                return v
            self.reached.add(id(v))
            self.root(v)
        if isinstance(v, Versioned):
            self.versioned(v)
        elif isinstance(v, types.MethodType):
            self.reach(v.__func__, frm)
            self.reach(v.__self__, frm)
        elif isinstance(v, types.FunctionType):
            self._function(v)
        elif isinstance(v, (types.BuiltinMethodType, types.MethodWrapperType)):
            if isinstance(v.__self__, BOXES):
                self.reach(v.__self__, frm)
        elif isinstance(v, (staticmethod, classmethod)):
            self.reach(v.__func__, frm)
        elif isinstance(v, functools.partial):
            self.reach(v.func, frm)
        elif isinstance(v, Wrapped):
            self.reach(v.fn, frm)
        self._refuse(v)
        t = v if isinstance(v, type) else type(v)
        if (
            not immutable_type(t)
            and not t.__module__.startswith("hybrid.")
            and t.__module__ != "enum"
        ):
            for k in t.__mro__:
                if not immutable_type(k) and not k.__module__.startswith("hybrid."):
                    self.root(k)
                    self.note("tlen", k)
            if v is not t:
                self.note("type", v)
        return v

    def _function(self, f: types.FunctionType) -> None:
        fs = self.functions[f.__code__]
        if any(f is g for g in fs):
            return
        fs.append(f)
        # a wrapper of ours: what it wraps is reached through it
        if trusted(f.__code__.co_filename):
            for c in f.__closure__ or ():
                v = fetch("cell", c, None)
                if callable(v) or isinstance(v, (Versioned, Handle)):
                    self.hold(v)

    def _refuse(self, v: Any) -> None:
        """Objects with state that no fact describes."""
        if not self.existing(v):
            return
        t = type(v)
        if hasattr(t, "__next__"):
            self.why(f"uses an iterator made before the call: {t.__name__}")
        if isinstance(v, STATEFUL):
            self.why(f"uses a {t.__name__}, which has hidden state")
        if (
            immutable_type(t)
            and not isinstance(v, KNOWN)
            and not hasattr(v, "__dict__")
            and not callable(v)
        ):
            self.why(f"holds a {t.__name__}, whose content cannot be followed")
        if isinstance(v, np.ndarray):
            if t is not np.ndarray:
                self.why(f"reads a {t.__name__}, whose content cannot be followed")
            elif v.nbytes > MAX_ARRAY:
                self.why("reads a large NumPy array; make it a tensor")
            elif v.dtype.hasobject:
                self.why("reads a NumPy array of objects")
            self.note("nd", v)

    # ---- attributes
    def attr(self, o: Any, name: str) -> list[Any]:
        """Objects that `o.name` may be (a property's own code was watched and tells itself)."""
        if isinstance(o, SCALARS + (Handle,)) or o is MISSING:
            return []
        if name == "__dict__" and own_dict(o) is not None:
            return [self.dictionary(o)]
        if isinstance(o, types.ModuleType) and not self._module_class(o, name):
            if name not in o.__dict__ and "__getattr__" not in o.__dict__:
                self.note("attr", o, name)
                return []
            self.root(o.__dict__)
            self.note("item", o.__dict__, name)
            return [self.reach(o.__dict__.get(name, MISSING))]
        if isinstance(o, type):
            return self._class_attr(o, name)
        if isinstance(o, super):
            return self.super_attr(getattr(o, "__self_class__", None) or object, name)
        return self._instance_attr(o, name)

    def dictionary(self, o: Any) -> Any:
        """The dictionary behind an object is a place: another one may be put there."""
        if not isinstance(o, type):
            self.note("dict", o)
        return self.reach(own_dict(o), o)

    def _module_class(self, o: Any, name: str) -> bool:
        """Whether the class of a Python module has its own say about a name."""
        self.note("type", o)
        t = type(o)
        own = lookup(t, name) is not lookup(types.ModuleType, name)
        return own or written_in_python(t, "__getattr__") or written_in_python(t, GET)

    def super_attr(self, t: type, name: str) -> list[Any]:
        return [x for c in t.__mro__[1:] if name in c.__dict__ for x in self._class_attr(c, name)]

    def _class_attr(self, o: type, name: str) -> list[Any]:
        if not immutable_type(o) or not immutable_type(type(o)):
            self.note("tattr", o, name)
        v = lookup(o, name)
        if type(o) is not type and self._by_metaclass(o, name, v is MISSING):
            return []  # its code was watched
        if v is MISSING and type(o) is not type:
            self.note("attr", o, name)
            v = fetch("attr", o, name)
        return [self.reach(v)]

    def _by_metaclass(self, o: type, name: str, missing: bool) -> bool:
        """Whether Python code of the metaclass says what an attribute of a class is."""
        meta = type(o)
        found = lookup(meta, name)
        if isinstance(found, property):
            self.root(meta)
            self.note("tattr", meta, name)
            for f in (found.fget, found.fset, found.fdel):
                if f is not None:
                    self.reach(f)
            return True
        return missing and found is MISSING and written_in_python(meta, "__getattr__")

    def _instance_attr(self, o: Any, name: str) -> list[Any]:
        t = type(o)
        if written_in_python(t, GET) and not isinstance(o, types.ModuleType):
            self.root(t)
            self.note("tattr", t, GET)
            return []  # its code was watched
        c, d = lookup(t, name), own_dict(o) or {}
        if d and not self.existing(o) and self.existing(d):
            self.note("item", d, name)  # a new object on an old dictionary
        if isinstance(c, property):
            self.root(t)
            self.note("tattr", t, name)
            for f in (c.fget, c.fset, c.fdel):
                if f is not None:
                    self.reach(f)
            return []
        if name not in d and isinstance(c, types.FunctionType):
            self.note("meth", o, name)
            return [self.reach(c)]
        if isinstance(o, BOXES) and isinstance(c, CMETHODS) and name not in d:
            return [getattr(o, name)]
        if isinstance(c, (classmethod, staticmethod, Wrapped)) and name not in d:
            self.root(t)
            self.note("tattr", t, name)
            self._not_shadowed(o, name)
            return [self.reach(c), self.reach(t)][:1]
        if name not in d and c is not MISSING and hasattr(type(c), "__get__"):
            if isinstance(lookup(type(c), "__get__"), types.FunctionType):
                self._not_shadowed(o, name)
                return []  # a descriptor in Python: its code was watched
            if isinstance(c, CMETHODS):
                return [getattr(o, name)]
            self.note("attr", o, name)  # slot, getset, C field
            return [self.reach(fetch("attr", o, name), o)]
        if immutable_type(t) and not hasattr(o, "__dict__"):
            return []
        return [self.reach(self._plain_attr(o, name, c, d), o)]

    def _not_shadowed(self, o: Any, name: str) -> None:
        """The instance has no entry of its own, which would come before its class's."""
        if own_dict(o) is not None:
            self.note("slot", o, name)

    def _plain_attr(self, o: Any, name: str, c: Any, d: dict[str, Any]) -> Any:
        """An entry of the instance dict, a class attribute, or what __getattr__ gives."""
        if isinstance(o, Versioned):
            v = d.get(name, MISSING)
            if v is not MISSING and id(v) not in self.held and not isinstance(v, Versioned):
                self.note("slot", o, name)
            elif v is MISSING and c is not MISSING:
                self.note("attr", o, name)  # a class attribute
                v = fetch("attr", o, name)
            return v
        if name not in d and c is MISSING and written_in_python(type(o), "__getattr__"):
            self._not_shadowed(o, name)  # its code was watched
            self.root(type(o))
            self.note("tattr", type(o), name)
            return MISSING
        self.note("attr", o, name)
        return d[name] if name in d else fetch("attr", o, name)

    # ---- items
    def item(self, o: Any, key: Any) -> list[Any]:
        """Objects that `o[key]` may be."""
        if isinstance(o, dict):
            self.note("item", o, key)
            return [self.reach(dict.get(o, key, MISSING), o)]
        if (
            isinstance(o, (list, tuple))
            and isinstance(key, int)
            and -len(type_items(o)) <= key < len(type_items(o))
        ):
            v = type_items(o)[key]
            if isinstance(o, list):
                self.note("len", o)
            if isinstance(o, list) or isinstance(v, Handle):
                self.note("item", o, int(key))
            return [self.reach(v, o)]
        return self.all(o)

    def all(self, o: Any) -> list[Any]:
        """All items of a container, each a fact."""
        if isinstance(o, SCALARS + (Handle,)):
            return []
        if isinstance(o, BOXES):
            return self._items(o)
        if isinstance(o, np.ndarray):
            self.reach(o)
            return []
        if isinstance(o, Versioned):
            return []
        has_dict = own_dict(o) is not None
        if (
            immutable_type(type(o))
            and has_dict
            and not callable(o)
            and not isinstance(o, types.ModuleType)
        ):
            return [v for n in list(o.__dict__) for v in self.attr(o, n)]
        if not (has_dict or not self.existing(o) or callable(o) or isinstance(o, type)):
            self._unknown_inside(o)
        return []

    def _unknown_inside(self, o: Any) -> None:
        if not isinstance(o, READABLE):
            self.why(f"reads inside a {type(o).__name__}")

    def _items(self, o: Any) -> list[Any]:
        items = type_items(o)
        if len(items) > MAX_ITEMS:
            self.why(f"reads a container of more than {MAX_ITEMS} items")
            return []
        if isinstance(o, dict):
            self.note("keys", o)  # which holds tensors among the keys by identity
            self.held.update({id(k): k for k in items if isinstance(k, Handle)})
            return [v for k in items for v in self.item(o, k)] + [self.reach(k, o) for k in items]
        if isinstance(o, (list, collections.deque)):
            self.note("len", o)
        elif isinstance(o, (set, frozenset)):
            self.note("set", o)
        for i, v in enumerate(items):
            if (
                isinstance(o, (list, collections.deque))
                or isinstance(o, tuple)
                and isinstance(v, Handle)
            ):
                self.note("item", o, i)
        return [self.reach(v, o) for v in items]

    def deep(self, o: Any, level: int = 0) -> None:
        """C code (==, format, sum, zip, ...) may walk nested containers."""
        if level > 20:
            self.why("hands a deeply nested container to C code")
            return
        for v in self.all(o):
            if isinstance(v, BOXES):
                self.deep(v, level + 1)

    # ---- expressions
    def ev(self, code: Code, e: Any) -> Found:
        """Objects an expression may be (by id), and whether it may also be something unseen."""
        got = self.memo.get((code, e))
        if got is not None:
            return got
        self.memo[code, e] = ({}, False)  # cuts cycles
        if (
            isinstance(e[-1], int)
            and not isinstance(e[-1], bool)
            and e[0] in ("attr", "item", "elem", "call", "super")
        ):
            self._at = site_of(code, e[-1])
        objs, unseen = self._eval(code, e)
        seen: dict[int, Any] = {}
        for o in objs:
            if isinstance(o, Handle):
                self.loaded.setdefault(id(o), o)
            elif o is not MISSING:
                seen[id(o)] = o
        out = seen, unseen
        self.memo[code, e] = out
        return out

    def _eval(self, code: Code, e: Any) -> tuple[Iterable[Any], bool]:
        kind = e[0]
        if kind == "arg":
            return [f[e[1]] for f in self.watch.frames[code] if e[1] in f], False
        if kind == "const":
            return [e[1]], False
        if kind == "glob":
            return self._global(code, e[1]), False
        if kind == "cell":
            return self._cell(code, e[1]), False
        if kind == "import":
            self.root(sys.modules)
            return self.item(sys.modules, e[1].split(".")[0] if e[2] else e[1]), False
        if kind == "call":
            objs = [*self.returns.get((code, e[1]), ()), *self._types_asked(code, e[1])]
            return objs, not objs and not self._makes_generator(code, e[1])
        if kind == "iter":  # an iterator made by C code gives the items of what it was made from
            return self.returns.get((code, e[1]), ()), False
        if kind == "deep":
            for o in list(self.ev(code, e[1])[0].values()):
                self.deep(o)
            return (), False
        if kind == "box":
            return list(self.ev(code, e[1])[0].values()), False
        if kind in ("attr", "item", "elem", "super"):
            return self._derived(code, kind, e)
        return (), e in (TOP, FRESH, MANY)

    def _types_asked(self, code: Code, at: int) -> list[Any]:
        """Results of `type(o)`."""
        callee, args = summarize(code).calls.get(at, ((), []))
        if len(args) != 1 or not any(
            f is type for e in callee for f in self.ev(code, e)[0].values()
        ):
            return []
        return [self.reach(type(o), o) for e in args[0] for o in list(self.ev(code, e)[0].values())]

    def _makes_generator(self, code: Code, at: int) -> bool:
        """Whether the call gives a new generator (only what it yields is reported)."""
        call = summarize(code).calls.get(at)
        fs = [f for e in call[0] for f in self.ev(code, e)[0].values()] if call is not None else []
        codes = [getattr(getattr(f, "__func__", f), "__code__", None) for f in fs]
        return bool(codes) and all(
            c is not None and c.co_flags & inspect.CO_GENERATOR for c in codes
        )

    def _derived(self, code: Code, kind: str, e: Any) -> tuple[list[Any], bool]:
        base, unseen = self.ev(code, e[1])
        # property, __getattr__, __getitem__, __next__
        objs = list(self.returns.get((code, e[-1]), ()))
        # what `__iter__` returned is no item; a generator's work is seen by itself
        if kind == "elem":
            objs = [o for o in objs if not isinstance(o, types.GeneratorType)]
        for o in list(base.values()):
            if kind == "attr":
                objs += self.attr(o, e[2])
            elif kind == "super":
                objs += self.super_attr(type(o) if not isinstance(o, type) else o, e[2])
            elif kind == "item":
                objs += self.item(o, e[2])
            else:
                objs += self.all(o)
                # what a generator gave is in `returns`
                known = BOXES + SCALARS + (Handle, types.GeneratorType)
                unseen = unseen or not isinstance(o, known)
        if unseen or e[1] == FRESH or e[1] == TOP:
            if kind in ("attr", "super"):
                self.unseen_names.add(e[2])
            else:
                self.unseen_items = True
            return objs, True
        return objs, False

    def _global(self, code: Code, name: str) -> list[Any]:
        out = []
        for g in self.watch.globals[code]:
            self.root(g)
            self.note("item", g, name)
            if name in g:
                out.append(self.reach(g[name]))
            else:
                b = builtins.__dict__
                self.root(b)
                self.note("item", b, name)
                out.append(b.get(name, MISSING))
        return out

    def _cell(self, code: Code, name: str) -> list[Any]:
        out = [f[name] for f in self.watch.frames[code] if name in f]
        for f in self.functions[code]:
            c = dict(zip(f.__code__.co_freevars, f.__closure__ or ())).get(name)
            if c is not None and self.existing(c):
                self.note("cell", c, name)
                out.append(self.reach(fetch("cell", c, None), c))
        return out
