"""What classes and C objects say: names and bases of classes, fields of C objects, C callables in
classes, what is behind a view.

Invariant: nothing here runs a user's code; what C code would read of an object is a fact, or there
is a reason.
"""

from __future__ import annotations

import functools
import gc
import types
from typing import Any

import numpy as np

from ...ir.tensor import Handle
from ..heap.allowlist import (
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
from ..heap.facts import fetch
from .fact_table import Access, Facts, Reader

__all__ = ["Classes", "module_of", "in_python", "content", "walked"]

# C fields that say nothing or that raising an exception changes
_PASSING = frozenset(("__traceback__", "__context__", "__dict__", "__weakref__"))
# C methods under another name that are modelled, and the names under which they are
_ALIASES: dict[str, tuple[Any, ...]] = {
    "__getattr__": (dict.__getitem__, dict.get),
    "__setattr__": (dict.__setitem__,),
    "__delattr__": (dict.__delitem__,),
}
_TEXT = ("__repr__", "__str__", "__format__")


def module_of(cls: type) -> str:
    """The module that a class names."""
    module = class_names(cls).get("__module__")
    return module if type(module) is str else ""


def in_python(function: Any) -> bool:
    """Whether calling it runs Python code at once, which is watched."""
    if type(function) is types.MethodType:
        function = function.__func__
    return is_a(function, (types.FunctionType, Wrapped)) or (
        type(lookup(type(function), "__call__")) is types.FunctionType
    )


def content(holder: Any) -> dict[str, Any] | None:
    """The dictionary of a C object all of whose attributes C code may read."""
    if is_a(holder, (types.SimpleNamespace, BaseException, functools.partial)):
        return instance_dict(holder)
    return None


def walked(value: Any) -> bool:
    """Whether C code that gets this may walk into it."""
    inside = (types.SimpleNamespace, BaseException, functools.partial, slice)
    return is_a(value, BOXES + VIEWS + inside) and not plain(value)


class Classes:
    """Facts about classes and C objects."""

    def __init__(self, facts: Facts, reader: Reader) -> None:
        self.facts, self.reader = facts, reader
        self.checked: set[int] = set()  # classes that were looked through

    # ---- C objects
    def fields(self, value: Any, access: Access) -> None:
        """Facts for what C code reads of a C object that was there before."""
        if is_a(value, BaseException):
            kept = [c for c in type(value).__mro__ if immutable_type(c) and c is not object]
            found = {n: d for c in reversed(kept) for n, d in class_names(c).items()}
            for name, member in found.items():
                if is_a(member, MEMBERS) and name not in _PASSING:
                    self.field(value, member, access)
            arguments = fetch("member", value, BaseException.__dict__["args"])
            self.reader.contents(arguments, access)
        elif is_a(value, functools.partial):
            for name in ("func", "args", "keywords"):
                self.field(value, functools.partial.__dict__[name], access)
            self.reader.contents(value.args, access)
        elif is_a(value, property):
            for name in ("fget", "fset", "fdel"):
                self.field(value, property.__dict__[name], access)
        elif is_a(value, (staticmethod, classmethod)):
            kind = staticmethod if is_a(value, staticmethod) else classmethod
            self.field(value, kind.__dict__["__func__"], access)
        elif is_a(value, np.dtype):
            self.facts.note("nd", value, None, access)
        elif is_a(value, slice):
            for part in (value.start, value.stop, value.step):
                self.reader.reach(part, access, value)

    def field(self, value: Any, member: Any, access: Access) -> Any:
        """The C field of a value that this descriptor reads."""
        self.facts.note("member", value, member, access)
        return self.reader.reach(fetch("member", value, member), access, value)

    def behind(self, holder: Any, access: Access) -> Any:
        """The container that a view or proxy shows; other objects themselves."""
        if not is_a(holder, VIEWS):
            return holder
        if type(holder) is not types.MappingProxyType:
            holder = holder.mapping
        # a proxy tells what it shows to the collector only: asking it may run code of a user
        inner = gc.get_referents(holder)[0]
        if not is_a(inner, dict):
            reason = f"reads a proxy of a {type(inner).__name__}, which cannot be followed"
            self.facts.why(reason, access)
        return self.reader.reach(inner, access)

    # ---- classes
    def class_of(self, value: Any, access: Access) -> None:
        """The class of a value, or a class itself: its bases, how many names each has, its C
        code."""
        cls = value if is_a(value, type) else type(value)
        module = module_of(cls)
        if immutable_type(cls) or module == "enum" or module.startswith("hybrid."):
            return
        if id(cls) not in self.checked:
            self.checked.add(id(cls))
            self.facts.root_class(cls)
            self.facts.note("mro", cls, None, access)
            for base in cls.__mro__:
                if not immutable_type(base) and not module_of(base).startswith("hybrid."):
                    self.facts.root_class(base)
                    self.facts.note("tlen", base, None, access)
                    self._c_code(base, access)
        if value is not cls:
            self.facts.note("type", value, None, access)
        elif not immutable_type(type(value)):
            self.reader.reach(type(value), access)

    def _c_code(self, cls: type, access: Access) -> None:
        """C callables that Python calls through a class, unless their work is known."""
        for name, value in class_names(cls).items():
            special = name[:2] == "__" == name[-2:] and name != "__class_getitem__"
            if special and value is not None and not self._known(cls, name, value):
                kind = type(value).__name__
                self.facts.why(f"uses {cls.__name__}, whose {name} is a C object ({kind})", access)

    def _known(self, cls: type, name: str, value: Any) -> bool:
        if is_a(value, (classmethod, staticmethod)):
            return self._known(cls, name, value.__func__)
        if is_a(value, property):
            return value.fget is None or in_python(value.fget)
        if is_a(value, CMETHODS):
            owner = getattr(value, "__objclass__", None)
            if owner is None or not issubclass(cls, owner):
                return name == "__new__" or not is_a(value, type(object.__new__))
            own = value is lookup(owner, name)
            same_kind = name in _TEXT and value.__name__ in _TEXT
            return own or same_kind or any(value is a for a in _ALIASES.get(name, ()))
        if is_a(value, (*MEMBERS, types.FunctionType, Wrapped, type)):
            return True
        getter = lookup(type(value), "__get__")
        if type(getter) is types.FunctionType:
            return True
        return (not callable(value) and getter is MISSING) or in_python(value)

    def attr(self, cls: type, name: str, access: Access) -> list[Any]:
        """Objects that `cls.name` may be, for a class."""
        facts, meta = self.facts, lookup(type(cls), name)
        fixed = immutable_type(cls) and immutable_type(type(cls))
        if name == "__dict__":
            return [self.reader.reach(gc.get_referents(class_names(cls))[0], access)]
        if is_a(meta, MEMBERS):
            if fixed:
                return [self.reader.reach(fetch("member", cls, meta), access)]
            return [self.field(cls, meta, access)]
        if is_a(meta, property):
            facts.root_class(type(cls))
            facts.note("tattr", type(cls), name, access)
            self.reader.reach(meta, access)
            return self._got(meta, cls, access)
        if not fixed:
            facts.root_class(cls)
            facts.note("tattr", cls, name, access)
        value = lookup(cls, name)
        if value is not MISSING:
            return self.bound(value, None, cls, access)
        if type(cls) is not type and meta is not MISSING:
            facts.root_class(type(cls))
            facts.note("tattr", type(cls), name, access)
        return [] if meta is MISSING else self.bound(meta, cls, type(cls), access)

    def super_attr(self, cls: type, name: str, holder: Any, access: Access) -> list[Any]:
        """Objects that `super().name` may be, in a method of a class of holder."""
        found = [c for c in cls.__mro__[1:] if name in class_names(c)]
        for base in found:
            if not immutable_type(base):
                self.facts.root_class(base)
                self.facts.note("tattr", base, name, access)
        return [v for c in found for v in self.bound(class_names(c)[name], holder, cls, access)]

    def bound(self, value: Any, instance: Any, cls: type, access: Access) -> list[Any]:
        """What reading the class attribute gives, through an instance of cls or cls itself."""
        self.reader.reach(value, access)
        if is_a(value, staticmethod):
            return [self.reader.reach(value.__func__, access)]
        if is_a(value, classmethod):
            inner = self.reader.reach(value.__func__, access)
            if is_a(inner, property):
                return self._got(inner, cls, access)
            return [inner] if in_python(inner) else [types.MethodType(inner, cls)]
        if is_a(value, property) and instance is not None:
            return self._got(value, instance, access)
        method = is_a(value, CMETHODS) and instance is not None
        if method and lookup(type(value), "__get__") is not MISSING:
            return [value.__get__(instance, cls)]
        return [value]

    def _got(self, accessor: property, holder: Any, access: Access) -> list[Any]:
        """What a property's getter may give; one in Python was watched and tells itself."""
        getter = accessor.fget
        if type(lookup(type(accessor), "__get__")) is types.FunctionType or getter is None:
            return []
        self.reader.reach(getter, access)
        found = self.reader.applied(getter, [[holder]], access)
        if found is None:
            kind = type(getter).__name__
            self.facts.why(f"reads a property whose getter is a C object ({kind})", access)
        return found or []

    # ---- text
    def shown(self, value: Any, access: Access) -> None:
        """What C code puts into the text of an object beside its content: names."""
        if is_a(value, types.MethodType):
            value = value.__func__
        if is_a(value, types.FunctionType):
            self.field(value, types.FunctionType.__dict__["__qualname__"], access)
        cls = value if is_a(value, type) else type(value)
        if immutable_type(cls) or is_a(value, Handle) or plain(value):
            return
        self.facts.root_class(cls)
        if value is cls or type(lookup(cls, "__repr__")) is types.WrapperDescriptorType:
            self.facts.note("tattr", cls, "__module__", access)
            self.field(cls, type.__dict__["__qualname__"], access)
            self.field(cls, type.__dict__["__name__"], access)
