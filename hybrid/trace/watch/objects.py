"""Reading real objects: what an attribute, an item or a whole container gives, and a fact for each
place read.

Invariant: only places that existed before the call become facts; an object that no fact describes
gives a reason.
"""

from __future__ import annotations

import collections
import functools
import types
from typing import Any

import numpy as np

from ...ir.mode import Versioned
from ...ir.tensor import Handle
from ..heap.allowlist import (
    BOXES,
    CMETHODS,
    FUNCTION_PARTS,
    MEMBERS,
    MISSING,
    STATEFUL,
    TUPLE_FIELD,
    VIEWS,
    Wrapped,
    immutable_type,
    instance_dict,
    is_a,
    lookup,
    plain,
    tame_key,
    trusted,
    unfollowed,
)
from ..heap.arrays import ARRAY_FIELDS, unseen
from ..heap.data import BUFFERS
from ..heap.facts import fetch, type_items
from ..heap.library import FIXED, TRANSIENT
from ..heap.setters import written_in_python
from ..heap.walks import LINK, result_in
from ..host.table import owns_state
from .c_calls import CCalls
from .classes import Classes, content, walked
from .fact_table import Access, Facts
from .versioned import VersionedObjects

__all__ = ["Objects", "MAX_ITEMS", "MAX_ARRAY"]

MAX_ITEMS = 20_000  # items of one container that are worth guarding
MAX_ARRAY = 1 << 16  # bytes of a NumPy array whose content is a fact
GET = "__getattribute__"


class Objects:
    """The reader (fact_table.py) of one watched call, and what it met: `loaded` are tensors that
    user code had in hand, `functions` those that code objects may belong to."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.classes = Classes(facts, self)
        self.c_calls = CCalls(facts, self, self.classes)
        self.versioned = VersionedObjects(facts, self)
        self.loaded: dict[int, Handle] = {}
        # Code objects are keys by content: two functions made by one `def` share what their code
        # reads, and are told apart by identity in the list.
        self.functions: dict[types.CodeType, list[Any]] = collections.defaultdict(list)
        self._reached: set[int] = set()

    def part(self) -> None:
        """Take the parts from each other, when all is found.

        They refer to each other in a circle, so what the call used would live until the collector
        comes; facts hold it weakly and are dropped when it dies."""
        del self.classes, self.c_calls, self.versioned

    # ---- objects
    def reach(self, value: Any, access: Access, source: Any = None) -> Any:
        """A value was read out of source (None: a root that existed); gives it back."""
        if is_a(value, Handle):
            self.loaded.setdefault(id(value), value)
            return value
        if value is MISSING or plain(value):
            return value
        if source is None or self.facts.existing(source):
            if id(value) in self._reached:
                if type(value) is np.ndarray:  # who finds one matters where it is written to
                    self.facts.note("nd", value, None, access._replace(stores=False))
                return value
            self._reached.add(id(value))
            self.facts.root(value)
        self._reach_parts(value, access, source)
        if self.facts.existing(value):
            self.classes.fields(value, access)
            self._refuse(value, access)
        self.classes.class_of(value, access)
        return value

    def _reach_parts(self, value: Any, access: Access, source: Any) -> None:
        """What is called or held through a value."""
        if is_a(value, Versioned):
            self.versioned.guard(value, access)
        elif is_a(value, types.MethodType):
            self.reach(value.__func__, access, source)
            self.reach(value.__self__, access, source)
        elif is_a(value, types.FunctionType):
            self.function(value, access)
        elif is_a(value, (types.BuiltinMethodType, types.MethodWrapperType)):
            if not is_a(value.__self__, types.ModuleType):
                self.reach(value.__self__, access, source)
        elif is_a(value, (staticmethod, classmethod)):
            self.reach(value.__func__, access, source)
        elif is_a(value, functools.partial):
            self.reach(value.func, access, source)
        elif is_a(value, Wrapped):
            self.reach(value.fn, access, source)

    def function(self, function: types.FunctionType, access: Access) -> None:
        """A function is among those that the call may enter."""
        known = self.functions[function.__code__]
        if any(function is g for g in known):
            return
        known.append(function)
        # a wrapper of ours: what it wraps is reached through it
        if trusted(function.__code__.co_filename):
            for cell in function.__closure__ or ():
                inner = fetch("cell", cell, None)
                if callable(inner) or is_a(inner, (Versioned, Handle)):
                    self.versioned.hold(inner, access)

    def _refuse(self, value: Any, access: Access) -> None:
        """Objects that were there before, with state that no fact describes."""
        cls, reasons = type(value), list[str]()
        if lookup(cls, "__next__") is not MISSING:
            reasons.append(f"uses an iterator made before the call: {cls.__name__}")
        if issubclass(cls, (*STATEFUL, *TRANSIENT)):
            reasons.append(f"uses a {cls.__name__}, which has hidden state")
        unknown = unfollowed(cls)
        if unknown is not None and id(value) not in self.facts.in_signature:
            reasons.append(f"holds a {unknown.__name__}, whose content cannot be followed")
        if reasons and owns_state(cls):
            self.facts.hidden[id(value)] = value, reasons, access
            return
        for reason in reasons:
            self.facts.why(reason, access)
        if cls is np.void or is_a(value, np.ndarray):
            reason = unseen(value) if cls in (np.void, np.ndarray) else ""
            if cls is np.memmap and id(value) in self.facts.in_signature:
                return
            if is_a(value, np.ndarray) and cls is not np.ndarray:
                reason = f"a {cls.__name__}, whose content cannot be followed"
            elif value.nbytes > MAX_ARRAY and self.facts.written_to(value, access):
                reason = ""
            elif value.nbytes > MAX_ARRAY and id(value) not in self.facts.in_signature:
                reason = "a large NumPy array; make it a tensor"
            if reason:
                self.facts.why(f"reads {reason}", access)
            self.facts.note("nd", value, None, access)

    # ---- attributes
    def attr(self, holder: Any, name: str, access: Access) -> list[Any]:
        """Objects that `holder.name` may be (a property's own code was watched)."""
        if type(holder) is str and is_a(lookup(str, name), CMETHODS):
            return [getattr(holder, name)]
        if holder is MISSING or is_a(holder, Handle) or plain(holder):
            return []
        if name == "__dict__" and instance_dict(holder) is not None:
            return [self.dictionary(holder, access)]
        if is_a(holder, types.ModuleType) and not self._module_class(holder, name, access):
            return self._module_attr(holder, name, access)
        if is_a(holder, type):
            return self.classes.attr(holder, name, access)
        if is_a(holder, super):
            cls = holder.__self_class__ or object
            return self.classes.super_attr(cls, name, holder.__self__, access)
        if type(holder) is types.MethodType and lookup(types.MethodType, name) is MISSING:
            return self.attr(holder.__func__, name, access)
        if is_a(holder, Wrapped) and self._of_wrapped(holder, name, access):
            return self.attr(holder.fn, name, access)
        if type(holder) is types.FunctionType and name == "__func__":
            return [holder]  # of a bound method, which stands here as its function
        if is_a(holder, VIEWS) and name == "mapping":
            return [self.classes.behind(holder, access)]
        return self._instance_attr(holder, name, access)

    def _of_wrapped(self, holder: Any, name: str, access: Access) -> bool:
        """Whether an attribute of a decorated function is the one of what it wraps."""
        if name in FUNCTION_PARTS:
            return True
        if access.stores or lookup(type(holder), name) is not MISSING:
            return False
        self.facts.note("attr", holder, name, access)
        return name not in (instance_dict(holder) or {})

    def dictionary(self, holder: Any, access: Access) -> Any:
        """The dictionary behind an object is a place: another one may be put there."""
        self.facts.note("dict", holder, None, access)
        return self.reach(instance_dict(holder), access, holder)

    def _module_class(self, module: Any, name: str, access: Access) -> bool:
        """Whether the class of a Python module has its own say about a name."""
        self.facts.note("type", module, None, access)
        cls = type(module)
        own = lookup(cls, name) is not lookup(types.ModuleType, name)
        return own or written_in_python(cls, "__getattr__") or written_in_python(cls, GET)

    def _module_attr(self, module: Any, name: str, access: Access) -> list[Any]:
        names = module.__dict__
        if name not in names and "__getattr__" not in names:
            self.facts.note("attr", module, name, access)
            return []
        self.facts.root(names)
        self.facts.note("item", names, name, access)
        return [self.reach(names.get(name, MISSING), access)]

    def _on_class(self, holder: Any, name: str, access: Access) -> None:
        """The class says what this name is, and no entry of the instance comes before it."""
        if not immutable_type(type(holder)):
            self.facts.root_class(type(holder))
            self.facts.note("tattr", type(holder), name, access)
        if instance_dict(holder) is not None:
            self.facts.note("slot", holder, name, access)

    def _instance_attr(self, holder: Any, name: str, access: Access) -> list[Any]:
        cls, facts = type(holder), self.facts
        if written_in_python(cls, GET) and not is_a(holder, types.ModuleType):
            self._on_class(holder, GET, access)  # its code was watched
            if not access.stores:  # a store does not run it
                return []
        found, entries = lookup(cls, name), instance_dict(holder) or {}
        if entries and not facts.existing(holder) and id(entries) in facts.rooted:
            facts.note("item", entries, name, access)  # a new object on an old dictionary
        if is_a(found, property):
            facts.root_class(cls)
            facts.note("tattr", cls, name, access)
            return self.classes.bound(found, holder, cls, access)
        if name not in entries and type(found) is types.FunctionType:
            if facts.counts(holder):
                facts.note("meth", holder, name, access)
            else:
                self._on_class(holder, name, access)
            return [self.reach(found, access)]
        if is_a(found, (classmethod, staticmethod, Wrapped)) and name not in entries:
            self._on_class(holder, name, access)
            return self.classes.bound(found, holder, cls, access)
        getter = MISSING if found is MISSING else lookup(type(found), "__get__")
        if getter is not MISSING and (
            name not in entries or lookup(type(found), "__set__") is not MISSING
        ):
            return self._described(holder, name, found, getter, access)
        if immutable_type(cls) and instance_dict(holder) is None:
            return []
        return [self.reach(self._plain_attr(holder, name, found, access), access, holder)]

    def _described(
        self, holder: Any, name: str, found: Any, getter: Any, access: Access
    ) -> list[Any]:
        """What a descriptor of the holder's class gives."""
        if is_a(found, CMETHODS):
            return [found.__get__(holder, type(holder))]
        if is_a(found, MEMBERS):
            return self._member(holder, name, found, access)
        if type(found) is TUPLE_FIELD:
            return self.item(holder, found.__reduce__()[1][0], access)
        self._on_class(holder, name, access)
        self.reach(found, access)
        if type(getter) is types.FunctionType:
            return []
        return self.classes.bound(found, holder, type(holder), access)

    def _member(self, holder: Any, name: str, member: Any, access: Access) -> list[Any]:
        """What a C field or a slot gives."""
        facts = self.facts
        if is_a(holder, (np.ndarray, np.generic, np.dtype)):  # its key says all but these
            if is_a(holder, np.ndarray) and name == "base" and facts.counts(holder):
                return [self.classes.field(holder, member, access)]
            if is_a(holder, np.ndarray) and name not in ARRAY_FIELDS:
                facts.why(f"reads {name} of a NumPy array", access)
            return []
        if not immutable_type(member.__objclass__):  # a slot
            facts.note("attr", holder, name, access)
            return [self.reach(fetch("attr", holder, name), access, holder)]
        if facts.counts(holder):
            return [self.classes.field(holder, member, access)]
        return [fetch("member", holder, member)]

    def _plain_attr(self, holder: Any, name: str, found: Any, access: Access) -> Any:
        """An entry of the instance dict, a class attribute, or what __getattr__ gives."""
        entries = instance_dict(holder) or {}
        if is_a(holder, Versioned):
            return self._versioned_attr(holder, name, found, access)
        self.facts.note("attr", holder, name, access)
        if name in entries:
            return entries[name]
        if not self.facts.counts(holder) and found is not MISSING:
            self._on_class(holder, name, access)
        hook = lookup(type(holder), "__getattr__")
        if found is MISSING and (hook is dict.__getitem__ or hook is dict.get):
            return self.item(holder, name, access)[0]
        return MISSING if found is MISSING else fetch("attr", holder, name)

    def _versioned_attr(self, holder: Any, name: str, found: Any, access: Access) -> Any:
        """An attribute of hybrid's own object, of most of which its version tells."""
        entries = instance_dict(holder) or {}
        value = entries.get(name, MISSING)
        if is_a(value, Handle):
            if name not in (entries.get("_names") or ()):  # no version tells of another tensor
                self.facts.note("slot", holder, name, access)
        elif value is not MISSING and not is_a(value, Versioned):
            self.facts.note("slot", holder, name, access)
        elif value is MISSING and found is not MISSING:
            self.facts.note("attr", holder, name, access)  # a class attribute
            return fetch("attr", holder, name)
        elif value is MISSING:
            self._on_class(holder, name, access)  # a hook was asked, and its code watched
        return value

    # ---- items
    def item(self, holder: Any, key: Any, access: Access) -> list[Any]:
        """Objects that `holder[key]` may be."""
        holder = self.classes.behind(holder, access)
        if is_a(holder, dict):
            return self._entry(holder, key, access)
        if not is_a(holder, (list, tuple)) or not is_a(key, int):
            return self.contents(holder, access)
        items = type_items(holder)
        if not -len(items) <= key < len(items):
            return self.contents(holder, access)
        value = items[key]
        if is_a(holder, list):
            self.facts.note("len", holder, None, access)
        if is_a(holder, list) or is_a(value, Handle):
            self.facts.note("item", holder, int(key), access)
        return [self.reach(value, access, holder)]

    def _entry(self, holder: dict[Any, Any], key: Any, access: Access) -> list[Any]:
        if not tame_key(key) or not self._tame(holder):
            return self._items(holder, access)
        value = dict.get(holder, key, MISSING)
        if type(value) is LINK:  # of a bounded cache
            self.facts.note("kept", holder, key, access)
            return [self.reach(result_in(value), access, holder)]
        self.facts.note("item", holder, key, access)
        if value is MISSING and is_a(holder, collections.defaultdict):
            member = collections.defaultdict.__dict__["default_factory"]
            factory = self.classes.field(holder, member, access)
            if factory is not None and self.applied(factory, [], access) is None:
                self.facts.why(f"calls the factory of a {type(holder).__name__}", access)
        return [self.reach(value, access, holder)]

    @staticmethod
    def _tame(holder: dict[Any, Any]) -> bool:
        """Whether looking a key up in this dict runs no code of a user."""
        return len(holder) > MAX_ITEMS or all(map(tame_key, type_items(holder)))

    def _data(self, holder: Any, access: Access) -> list[Any]:
        """An array or buffer is looked at."""
        if not self.facts.made_again(holder):
            self.reach(holder, access)
        return []

    def contents(self, holder: Any, access: Access) -> list[Any]:
        """All items of a container, each a fact."""
        if plain(holder) or is_a(holder, Handle):
            return []
        holder = self.classes.behind(holder, access)
        if is_a(holder, BOXES):
            return self._items(holder, access)
        if is_a(holder, (np.ndarray, *BUFFERS)):
            return self._data(holder, access)
        if is_a(holder, Versioned):
            return []
        entries, existing = content(holder), self.facts.existing
        if entries is not None and existing(holder):
            self.facts.root(self.dictionary(holder, access))
        found = [] if entries is None else self._items(entries, access)
        if is_a(holder, BaseException):
            return [*found, holder.args]
        if is_a(holder, functools.partial):
            return [*found, holder.func, holder.args, holder.keywords]
        if is_a(holder, slice):
            return [holder.start, holder.stop, holder.step]
        if entries is not None or instance_dict(holder) is not None or not existing(holder):
            return found
        if is_a(holder, (np.generic, np.dtype)):
            self.reach(holder, access)
        elif is_a(holder, FIXED):
            return found
        elif immutable_type(type(holder)):
            if not callable(holder) and not is_a(holder, (type, property)):
                self.facts.why(f"reads inside a {type(holder).__name__}", access)
        return found

    def _items(self, holder: Any, access: Access) -> list[Any]:
        items, note = type_items(holder), self.facts.note
        if len(items) > MAX_ITEMS:
            self.facts.why(f"reads a container of more than {MAX_ITEMS} items", access)
            return []
        if is_a(holder, dict):
            return self._entries(holder, items, access)
        growing = is_a(holder, (list, collections.deque))
        if growing:
            note("len", holder, None, access)
        elif is_a(holder, (set, frozenset)):
            note("set", holder, None, access)
            self._by_identity(items)
        for index, value in enumerate(items):
            if growing or (is_a(holder, tuple) and is_a(value, Handle)):
                note("item", holder, index, access)
        return [self.reach(v, access, holder) for v in items]

    def _entries(self, holder: Any, keys: Any, access: Access) -> list[Any]:
        """All values and keys of a dict."""
        self.facts.note("keys", holder, None, access)
        self._by_identity(keys)
        if self._tame(holder):
            values = [v for k in keys for v in self.item(holder, k, access)]
        else:
            values = [self.reach(v, access, holder) for v in dict.values(holder)]
            for index in range(len(keys)):
                self.facts.note("entry", holder, index, access)
        return values + [self.reach(k, access, holder) for k in keys]

    def _by_identity(self, items: Any) -> None:
        """A fact holds these very tensors, as keys or members: an argument may be one of them."""
        self.versioned.held.update({id(k): k for k in items if is_a(k, Handle)})

    def truth(self, holder: Any, access: Access) -> None:
        """Whether it is empty, which a branch asks of a built-in container."""
        if plain(holder) or is_a(holder, Handle):
            return
        holder = self.classes.behind(holder, access)
        if is_a(holder, BOXES) and not is_a(holder, (tuple, frozenset)):
            self.facts.note("some", holder, None, access)

    # ---- C code
    def deep(self, holder: Any, access: Access, text: bool = False) -> None:
        """C code (==, format, sum, zip, ...) may walk nested containers; a `text` says names."""
        seen: dict[int, Any] = {}
        todo = [holder]
        while todo:
            value = todo.pop()
            if id(value) in seen or is_a(value, Handle) or value is MISSING:
                continue
            seen[id(value)] = value
            if text:
                self.classes.shown(value, access)
            inner = self.contents(value, access)
            todo += inner if text else [v for v in inner if walked(v)]
            if len(seen) > MAX_ITEMS:
                self.facts.why(f"hands more than {MAX_ITEMS} objects to C code", access)
                return

    def applied(
        self, function: Any, arguments: list[list[Any]], access: Access, spread: bool = False
    ) -> list[Any] | None:
        """What a C callable reads and may give; None when its work is not known."""
        return self.c_calls.applied(function, arguments, access, spread)
