"""Evaluating the expressions of a code summary on the real objects, and noting a fact for each
place read.

Invariant: only places that existed before the call become facts; an expression that cannot be
evaluated is reported as unseen (the second result of `ev`), and what it may read is guarded
wherever it could be.
"""

from __future__ import annotations

import collections
import functools
import types
from typing import Any

import numpy as np

from ...ir.mode import Versioned
from ...ir.tensor import Handle
from ..heap.arrays import ARRAY_FIELDS, unseen
from ..heap.facts import Key, fetch, type_items
from ..heap.policy import (
    BOXES,
    CMETHODS,
    MEMBERS,
    MISSING,
    STATEFUL,
    TUPLE_FIELD,
    VIEWS,
    Wrapped,
    class_names,
    immutable_type,
    instance_dict,
    is_a,
    lookup,
    plain,
    tame_key,
    trusted,
    unfollowed,
)
from ..heap.raw import written_in_python
from .events import Watch
from .handed import Handed
from .holding import Holding
from .members import module_of

__all__ = ["Chains", "MAX_ITEMS", "MAX_ARRAY"]

MAX_ITEMS = 20_000  # items of one container that are worth guarding
MAX_ARRAY = 1 << 16  # bytes of a NumPy array whose content is a fact
GET = "__getattribute__"
Code = types.CodeType


class Chains(Handed, Holding):
    """Facts of one watched call: `found` maps Key -> holder."""

    def __init__(self, watch: Watch, in_signature: set[int]) -> None:
        super().__init__(watch, in_signature)
        self.reached: set[int] = set()
        self.checked: set[int] = set()  # classes that were looked through
        self.held: dict[int, Handle] = {}  # tensors that Versioned objects hold
        self.loaded: dict[int, Handle] = {}  # tensors that user code had in hand
        self.places_of: dict[int, dict[Key, Any]] = {}  # where they hold them: place, holder
        self.functions: dict[Code, list[Any]] = collections.defaultdict(list)

    # ---- objects
    def reach(self, v: Any, frm: Any = None) -> Any:
        """v was read out of frm (None: a root that existed); returns v."""
        if is_a(v, Handle):
            self.loaded.setdefault(id(v), v)
            return v
        if v is MISSING or plain(v):
            return v
        if frm is None or self.existing(frm):
            if id(v) in self.reached:
                return v
            self.reached.add(id(v))
            self.root(v)
        if is_a(v, Versioned):
            self.versioned(v)
        elif is_a(v, types.MethodType):
            self.reach(v.__func__, frm)
            self.reach(v.__self__, frm)
        elif is_a(v, types.FunctionType):
            self._function(v)
        elif is_a(v, (types.BuiltinMethodType, types.MethodWrapperType)):
            if not is_a(v.__self__, types.ModuleType):
                self.reach(v.__self__, frm)
        elif is_a(v, (staticmethod, classmethod)):
            self.reach(v.__func__, frm)
        elif is_a(v, functools.partial):
            self.reach(v.func, frm)
        elif is_a(v, Wrapped):
            self.reach(v.fn, frm)
        if self.existing(v):
            self.fields(v)
        self._refuse(v)
        self._class(v)
        return v

    def _class(self, v: Any) -> None:
        """The class of v, or v as a class: its bases, how many names each has, its C code."""
        t = v if is_a(v, type) else type(v)
        if immutable_type(t) or module_of(t) == "enum" or module_of(t).startswith("hybrid."):
            return
        if id(t) not in self.checked:
            self.checked.add(id(t))
            self.root_class(t)
            self.note("mro", t)
            for k in t.__mro__:
                if not immutable_type(k) and not module_of(k).startswith("hybrid."):
                    self.root_class(k)
                    self.note("tlen", k)
                    self.c_code(k)
        if v is not t:
            self.note("type", v)
        elif not immutable_type(type(v)):
            self.reach(type(v))

    def _function(self, f: types.FunctionType) -> None:
        fs = self.functions[f.__code__]
        if any(f is g for g in fs):
            return
        fs.append(f)
        # a wrapper of ours: what it wraps is reached through it
        if trusted(f.__code__.co_filename):
            for c in f.__closure__ or ():
                v = fetch("cell", c, None)
                if callable(v) or is_a(v, (Versioned, Handle)):
                    self.hold(v)

    def _refuse(self, v: Any) -> None:
        """Objects with state that no fact describes."""
        if not self.existing(v):
            return
        t = type(v)
        if lookup(t, "__next__") is not MISSING:
            self.why(f"uses an iterator made before the call: {t.__name__}")
        if issubclass(t, STATEFUL):
            self.why(f"uses a {t.__name__}, which has hidden state")
        unknown = unfollowed(t)
        if unknown is not None:
            self.why(f"holds a {unknown.__name__}, whose content cannot be followed")
        if t is np.void:
            self._why_not(unseen(v))
            self.note("nd", v)
        if is_a(v, np.ndarray):
            if t is not np.ndarray:
                self.why(f"reads a {t.__name__}, whose content cannot be followed")
            elif v.nbytes > MAX_ARRAY:
                self.why("reads a large NumPy array; make it a tensor")
            else:
                self._why_not(unseen(v))
            self.note("nd", v)

    def _why_not(self, text: str) -> None:
        if text:
            self.why(f"reads {text}")

    # ---- attributes
    def attr(self, o: Any, name: str) -> list[Any]:
        """Objects that `o.name` may be (a property's own code was watched and tells itself)."""
        if type(o) is str and is_a(lookup(str, name), CMETHODS):
            return [getattr(o, name)]
        if o is MISSING or is_a(o, Handle) or plain(o):
            return []
        if name == "__dict__" and instance_dict(o) is not None:
            return [self.dictionary(o)]
        if is_a(o, types.ModuleType) and not self._module_class(o, name):
            if name not in o.__dict__ and "__getattr__" not in o.__dict__:
                self.note("attr", o, name)
                return []
            self.root(o.__dict__)
            self.note("item", o.__dict__, name)
            return [self.reach(o.__dict__.get(name, MISSING))]
        if is_a(o, type):
            return self.class_attr(o, name)
        if is_a(o, super):
            return self.super_attr(o.__self_class__ or object, name, o.__self__)
        if type(o) is types.MethodType and lookup(types.MethodType, name) is MISSING:
            return self.attr(o.__func__, name)
        if type(o) is types.FunctionType and name == "__func__":
            return [o]  # of a bound method, which stands here as its function
        if is_a(o, VIEWS) and name == "mapping":
            return [self.behind(o)]
        return self._instance_attr(o, name)

    def dictionary(self, o: Any) -> Any:
        """The dictionary behind an object is a place: another one may be put there."""
        self.note("dict", o)
        return self.reach(instance_dict(o), o)

    def _module_class(self, o: Any, name: str) -> bool:
        """Whether the class of a Python module has its own say about a name."""
        self.note("type", o)
        t = type(o)
        own = lookup(t, name) is not lookup(types.ModuleType, name)
        return own or written_in_python(t, "__getattr__") or written_in_python(t, GET)

    def super_attr(self, t: type, name: str, o: Any) -> list[Any]:
        """Objects that `super().name` may be, in a method of a class of o."""
        found = [c for c in t.__mro__[1:] if name in class_names(c)]
        for c in found:
            if not immutable_type(c):
                self.root_class(c)
                self.note("tattr", c, name)
        return [v for c in found for v in self.bound(class_names(c)[name], o, t)]

    def _on_class(self, o: Any, name: str) -> None:
        """The class of o says what this name is, and no entry of the instance comes before it."""
        if not immutable_type(type(o)):
            self.root_class(type(o))
            self.note("tattr", type(o), name)
        if instance_dict(o) is not None:
            self.note("slot", o, name)

    def _instance_attr(self, o: Any, name: str) -> list[Any]:
        t = type(o)
        if written_in_python(t, GET) and not is_a(o, types.ModuleType):
            self._on_class(o, GET)  # its code was watched
            return []
        c, d = lookup(t, name), instance_dict(o) or {}
        if d and not self.existing(o) and id(d) in self.rooted:
            self.note("item", d, name)  # a new object on an old dictionary
        if is_a(c, property):
            self.root_class(t)
            self.note("tattr", t, name)
            return self.bound(c, o, t)
        if name not in d and type(c) is types.FunctionType:
            if self.counts(o):
                self.note("meth", o, name)
            else:
                self._on_class(o, name)
            return [self.reach(c)]
        if is_a(c, (classmethod, staticmethod, Wrapped)) and name not in d:
            self._on_class(o, name)
            return self.bound(c, o, t)
        getter = MISSING if c is MISSING else lookup(type(c), "__get__")
        if getter is not MISSING and (name not in d or lookup(type(c), "__set__") is not MISSING):
            return self._described(o, name, c, getter)
        if immutable_type(t) and instance_dict(o) is None:
            return []
        return [self.reach(self._plain_attr(o, name, c, d), o)]

    def _described(self, o: Any, name: str, c: Any, getter: Any) -> list[Any]:
        """What the descriptor c of o's class gives."""
        if is_a(c, CMETHODS):
            return [c.__get__(o, type(o))]
        if is_a(c, MEMBERS):
            if is_a(o, (np.ndarray, np.generic, np.dtype)):  # its key says all but these
                if is_a(o, np.ndarray) and name == "base" and self.counts(o):
                    return [self.field(o, c)]
                if is_a(o, np.ndarray) and name not in ARRAY_FIELDS:
                    self.why(f"reads {name} of a NumPy array")
                return []
            if not immutable_type(c.__objclass__):  # a slot
                self.note("attr", o, name)
                return [self.reach(fetch("attr", o, name), o)]
            return [self.field(o, c) if self.counts(o) else fetch("member", o, c)]
        if type(c) is TUPLE_FIELD:
            return self.item(o, c.__reduce__()[1][0])
        self._on_class(o, name)
        self.reach(c)
        return [] if type(getter) is types.FunctionType else self.bound(c, o, type(o))

    def _not_shadowed(self, o: Any, name: str) -> None:
        """The instance has no entry of its own, which would come before its class's."""
        if instance_dict(o) is not None:
            self.note("slot", o, name)

    def _plain_attr(self, o: Any, name: str, c: Any, d: dict[str, Any]) -> Any:
        """An entry of the instance dict, a class attribute, or what __getattr__ gives."""
        if is_a(o, Versioned):
            v = d.get(name, MISSING)
            if is_a(v, Handle):
                if name not in (d.get("_names") or ()):  # no version tells of another tensor
                    self.note("slot", o, name)
            elif v is not MISSING and not is_a(v, Versioned):
                self.note("slot", o, name)
            elif v is MISSING and c is not MISSING:
                self.note("attr", o, name)  # a class attribute
                v = fetch("attr", o, name)
            elif v is MISSING:
                self._on_class(o, name)  # a hook was asked, and its code watched
            return v
        self.note("attr", o, name)
        if name in d:
            return d[name]
        if not self.counts(o) and c is not MISSING:
            self._on_class(o, name)
        hook = lookup(type(o), "__getattr__")
        if c is MISSING and (hook is dict.__getitem__ or hook is dict.get):
            return self.item(o, name)[0]
        return MISSING if c is MISSING else fetch("attr", o, name)

    # ---- items
    def item(self, o: Any, key: Any) -> list[Any]:
        """Objects that `o[key]` may be."""
        o = self.behind(o)
        if is_a(o, dict):
            return self._entry(o, key)
        if (
            is_a(o, (list, tuple))
            and is_a(key, int)
            and -len(type_items(o)) <= key < len(type_items(o))
        ):
            v = type_items(o)[key]
            if is_a(o, list):
                self.note("len", o)
            if is_a(o, list) or is_a(v, Handle):
                self.note("item", o, int(key))
            return [self.reach(v, o)]
        return self.all(o)

    def _entry(self, o: dict[Any, Any], key: Any) -> list[Any]:
        if not tame_key(key) or not self._tame(o):
            return self._items(o)
        self.note("item", o, key)
        v = dict.get(o, key, MISSING)
        if v is MISSING and is_a(o, collections.defaultdict):
            factory = self.field(o, collections.defaultdict.__dict__["default_factory"])
            if factory is not None and self.applied(factory, []) is None:
                self.why(f"calls the factory of a {type(o).__name__}")
        return [self.reach(v, o)]

    def _tame(self, o: dict[Any, Any]) -> bool:
        """Whether looking a key up in this dict runs no code of a user."""
        return len(o) > MAX_ITEMS or all(map(tame_key, type_items(o)))

    def all(self, o: Any) -> list[Any]:
        """All items of a container, each a fact."""
        if plain(o) or is_a(o, Handle):
            return []
        o = self.behind(o)
        if is_a(o, BOXES):
            return self._items(o)
        if is_a(o, np.ndarray):
            self.reach(o)
            return []
        if is_a(o, Versioned):
            return []
        content = self.content(o)
        if content is not None and self.existing(o):
            self.root(self.dictionary(o))
        got = [] if content is None else self._items(content)
        if is_a(o, BaseException):
            return [*got, o.args]
        if is_a(o, functools.partial):
            return [*got, o.func, o.args, o.keywords]
        if is_a(o, slice):
            return [o.start, o.stop, o.step]
        if content is not None or instance_dict(o) is not None or not self.existing(o):
            return got
        if is_a(o, (np.generic, np.dtype)):
            self.reach(o)
        elif immutable_type(type(o)) and not (callable(o) or is_a(o, (type, property))):
            self.why(f"reads inside a {type(o).__name__}")
        return got

    def _items(self, o: Any) -> list[Any]:
        items = type_items(o)
        if len(items) > MAX_ITEMS:
            self.why(f"reads a container of more than {MAX_ITEMS} items")
            return []
        if is_a(o, dict):
            self.note("keys", o)
            self._by_identity(items)
            if self._tame(o):
                values = [v for k in items for v in self.item(o, k)]
            else:
                values = [self.reach(v, o) for v in dict.values(o)]
                for i in range(len(items)):
                    self.note("entry", o, i)
            return values + [self.reach(k, o) for k in items]
        if is_a(o, (list, collections.deque)):
            self.note("len", o)
        elif is_a(o, (set, frozenset)):
            self.note("set", o)
            self._by_identity(items)
        for i, v in enumerate(items):
            if is_a(o, (list, collections.deque)) or is_a(o, tuple) and is_a(v, Handle):
                self.note("item", o, i)
        return [self.reach(v, o) for v in items]

    def _by_identity(self, items: Any) -> None:
        """A fact holds these very tensors, as keys or members: an argument may be one of them."""
        self.held.update({id(k): k for k in items if is_a(k, Handle)})

    def deep(self, o: Any, text: bool = False) -> None:
        """C code (==, format, sum, zip, ...) may walk nested containers; a `text` says names."""
        seen: dict[int, Any] = {}
        todo = [o]
        while todo:
            v = todo.pop()
            if id(v) in seen or is_a(v, Handle) or v is MISSING:
                continue
            seen[id(v)] = v
            if text:
                self.shown(v)
            inner = self.all(v)
            todo += inner if text else [w for w in inner if self.walked(w)]
            if len(seen) > MAX_ITEMS:
                self.why(f"hands more than {MAX_ITEMS} objects to C code")
                return
