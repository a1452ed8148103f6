"""What classes and C objects say: names and bases of classes, fields of C objects, C callables in
classes, what is behind a view.

Invariant: nothing here runs a user's code; what C code would read of an object is a fact, or there
is a reason.
"""

from __future__ import annotations

import functools
import gc
import operator
import types
from typing import Any

import numpy as np

from ...ir.tensor import Handle
from ..heap.facts import fetch
from ..heap.policy import (
    BOXES,
    CMETHODS,
    MEMBERS,
    MISSING,
    VIEWS,
    Wrapped,
    class_names,
    immutable_type,
    instance_dict,
    is_a,
    lookup,
    plain,
)
from .notes import Notes

__all__ = ["Members", "module_of"]

Getter = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
# C fields that say nothing or that raising an exception changes
_PASSING = frozenset(("__traceback__", "__context__", "__dict__", "__weakref__"))
# C methods under another name that are modelled, and the names under which they are
_ALIASES: dict[str, tuple[Any, ...]] = {
    "__getattr__": (dict.__getitem__, dict.get),
    "__setattr__": (dict.__setitem__,),
    "__delattr__": (dict.__delitem__,),
}
_TEXT = ("__repr__", "__str__", "__format__")


def module_of(t: type) -> str:
    """The module that a class names."""
    m = class_names(t).get("__module__")
    return m if type(m) is str else ""


def in_python(f: Any) -> bool:
    """Whether calling f runs Python code at once, which is watched."""
    if type(f) is types.MethodType:
        f = f.__func__
    return is_a(f, (types.FunctionType, Wrapped)) or (
        type(lookup(type(f), "__call__")) is types.FunctionType
    )


class Members(Notes):
    """Facts about classes and C objects."""

    def reach(self, v: Any, frm: Any = None) -> Any:
        raise NotImplementedError

    def all(self, o: Any) -> list[Any]:
        raise NotImplementedError

    def applied(self, f: Any, args: list[list[Any]], spread: bool = False) -> list[Any] | None:
        raise NotImplementedError

    # ---- C objects
    def fields(self, v: Any) -> None:
        """Facts for what C code reads of a C object that was there before."""
        if is_a(v, BaseException):
            kept = [c for c in type(v).__mro__ if immutable_type(c) and c is not object]
            found = {n: d for c in reversed(kept) for n, d in class_names(c).items()}
            for n, d in found.items():
                if is_a(d, MEMBERS) and n not in _PASSING:
                    self.field(v, d)
            self.all(fetch("member", v, BaseException.__dict__["args"]))
        elif is_a(v, functools.partial):
            for n in ("func", "args", "keywords"):
                self.field(v, functools.partial.__dict__[n])
            self.all(v.args)
        elif is_a(v, property):
            for n in ("fget", "fset", "fdel"):
                self.field(v, property.__dict__[n])
        elif is_a(v, (staticmethod, classmethod)):
            kind = staticmethod if is_a(v, staticmethod) else classmethod
            self.field(v, kind.__dict__["__func__"])
        elif is_a(v, np.dtype):
            self.note("nd", v)
        elif is_a(v, slice):
            for x in (v.start, v.stop, v.step):
                self.reach(x, v)

    def field(self, v: Any, d: Any) -> Any:
        """The C field of v that the descriptor d reads."""
        self.note("member", v, d)
        return self.reach(fetch("member", v, d), v)

    def behind(self, o: Any) -> Any:
        """The container that a view or proxy shows; other objects themselves."""
        if not is_a(o, VIEWS):
            return o
        if type(o) is not types.MappingProxyType:
            o = o.mapping
        inner = gc.get_referents(o)[0]
        if not is_a(inner, dict):
            self.why(f"reads a proxy of a {type(inner).__name__}, which cannot be followed")
        return self.reach(inner)

    # ---- classes
    def c_code(self, k: type) -> None:
        """C callables that Python calls through a class, unless their work is known."""
        for name, v in class_names(k).items():
            special = name[:2] == "__" == name[-2:] and name != "__class_getitem__"
            if special and v is not None and not self._known(k, name, v):
                self.why(f"uses {k.__name__}, whose {name} is a C object ({type(v).__name__})")

    def _known(self, k: type, name: str, v: Any) -> bool:
        t = type(v)
        if is_a(v, (classmethod, staticmethod)):
            return self._known(k, name, v.__func__)
        if is_a(v, property):
            return v.fget is None or in_python(v.fget)
        if is_a(v, CMETHODS):
            owner = getattr(v, "__objclass__", None)
            if owner is None or not issubclass(k, owner):
                return name == "__new__" or not is_a(v, type(object.__new__))
            own = v is lookup(owner, name)
            same_kind = name in _TEXT and v.__name__ in _TEXT
            return own or same_kind or any(v is a for a in _ALIASES.get(name, ()))
        if is_a(v, (*MEMBERS, types.FunctionType, Wrapped, type)):
            return True
        getter = lookup(t, "__get__")
        if type(getter) is types.FunctionType:
            return True
        return not callable(v) and getter is MISSING or in_python(v)

    def class_attr(self, o: type, name: str) -> list[Any]:
        """Objects that `o.name` may be, for a class."""
        t = type(o)
        meta = lookup(t, name)
        fixed = immutable_type(o) and immutable_type(t)
        if name == "__dict__":
            return [self.reach(gc.get_referents(class_names(o))[0])]
        if is_a(meta, MEMBERS):
            return [self.reach(fetch("member", o, meta)) if fixed else self.field(o, meta)]
        if is_a(meta, property):
            self.root_class(t)
            self.note("tattr", t, name)
            self.reach(meta)
            return self.got(meta, o)
        if not fixed:
            self.root_class(o)
            self.note("tattr", o, name)
        v = lookup(o, name)
        if v is not MISSING:
            return self.bound(v, None, o)
        if t is not type and meta is not MISSING:
            self.root_class(t)
            self.note("tattr", t, name)
        if meta is not MISSING:
            return self.bound(meta, o, t)
        return []

    def bound(self, v: Any, o: Any, t: type) -> list[Any]:
        """What reading the class attribute v gives, through the instance o of t or t itself."""
        self.reach(v)
        if is_a(v, staticmethod):
            return [self.reach(v.__func__)]
        if is_a(v, classmethod):
            f = self.reach(v.__func__)
            if is_a(f, property):
                return self.got(f, t)
            return [f] if in_python(f) else [types.MethodType(f, t)]
        if is_a(v, property) and o is not None:
            return self.got(v, o)
        if is_a(v, CMETHODS) and o is not None and lookup(type(v), "__get__") is not MISSING:
            return [v.__get__(o, t)]
        return [v]

    def got(self, p: property, o: Any) -> list[Any]:
        """What a property's getter may give; one in Python was watched and tells itself."""
        if type(lookup(type(p), "__get__")) is types.FunctionType or p.fget is None:
            return []
        self.reach(p.fget)
        got = self.applied(p.fget, [[o]])
        if got is None:
            self.why(f"reads a property whose getter is a C object ({type(p.fget).__name__})")
        return got or []

    # ---- text
    def shown(self, v: Any) -> None:
        """What C code puts into the text of an object beside its content: names."""
        if is_a(v, types.MethodType):
            v = v.__func__
        if is_a(v, types.FunctionType):
            self.field(v, types.FunctionType.__dict__["__qualname__"])
        t = v if is_a(v, type) else type(v)
        if immutable_type(t) or is_a(v, Handle) or plain(v):
            return
        self.root_class(t)
        if v is t or type(lookup(t, "__repr__")) is types.WrapperDescriptorType:
            self.note("tattr", t, "__module__")
            self.field(t, type.__dict__["__qualname__"])
            self.field(t, type.__dict__["__name__"])

    def content(self, o: Any) -> dict[str, Any] | None:
        """The dictionary of a C object all of whose attributes C code may read."""
        if is_a(o, (types.SimpleNamespace, BaseException, functools.partial)):
            return instance_dict(o)
        return None

    @staticmethod
    def walked(o: Any) -> bool:
        """Whether C code that gets o may walk into it."""
        inside = (types.SimpleNamespace, BaseException, functools.partial, slice)
        return is_a(o, BOXES + VIEWS + inside) and not plain(o)
