"""The tensors that hybrid's own objects hold, and the places where they hold them.

Invariant: an object is guarded by its version and by what its places hold, and so is everything
that can be reached from it through dicts, lists, tuples and other such objects.
"""

from __future__ import annotations

import types
from typing import Any

from ...ir.mode import Versioned
from ...ir.tensor import Handle
from ..follow.terms import is_number
from ..heap.allowlist import instance_dict, is_a, lookup, plain
from ..heap.facts import FactKind, Key
from .fact_table import ELSEWHERE, Access, Facts, Reader

__all__ = ["VersionedObjects"]

ENTRY_POINTS = ("forward", "__call__", "step", "begin", "update")
MAX_LEVEL = 8  # containers inside each other


class VersionedObjects:
    """`held`: tensors that modules, optimizers and such hold, by id; `places_of`: where they hold
    them: the place, its holder."""

    def __init__(self, facts: Facts, reader: Reader) -> None:
        self.facts, self.reader = facts, reader
        self.held: dict[int, Handle] = {}
        # the latest access, and what is made of it
        self._blanket: tuple[Access, Access] = ELSEWHERE, ELSEWHERE._replace(blanket=True)
        self.places_of: dict[int, dict[Key, Any]] = {}

    def guard(self, root: Any, access: Access) -> None:
        """Guard hybrid's own object, and all it holds, by version; note the tensors in it."""
        facts = self.facts
        facts.note("version", root, None, access)
        for name in ENTRY_POINTS:  # what hybrid's own code calls by name
            found = lookup(type(root), name)
            if is_a(found, types.FunctionType):
                self.reader.function(found, access)
                facts.root(type(root))
                facts.note("tattr", type(root), name, access)
                store: Any = type(root).__setattr__
                unversioned = store is object.__setattr__
                if unversioned and instance_dict(root) is not None:  # no store moves its version
                    facts.note("slot", root, name, access)
        names = getattr(root, "_names", None)
        for name, value in list(vars(root).items()):
            if is_a(value, Handle) and type(names) is dict and name not in names:
                continue  # plain tensor attributes are places of their own
            if is_number(value) and name not in ("training", "_version"):
                self._inside("slot", root, name, value, access)
            elif name == "training" or name[0] == "_":
                self.hold(value, access)
            else:
                self._inside("slot", root, name, value, access)

    def _inside(
        self, kind: FactKind, holder: Any, key: Any, value: Any, access: Access, level: int = 0
    ) -> None:
        """This place in hybrid's own object holds a value: a plain store moves no version."""
        if is_a(value, Handle):
            self.places_of.setdefault(id(value), {})[Key(kind, id(holder), key)] = holder
        else:
            if self._blanket[0] is not access:
                self._blanket = access, access._replace(blanket=True)
            self.facts.note(kind, holder, key, self._blanket[1])
        self.hold(value, access, level)

    def hold(self, value: Any, access: Access, level: int = 0) -> None:
        """A value sits inside a Versioned object."""
        if is_a(value, Handle):
            self.held[id(value)] = value
        elif plain(value):
            return
        elif is_a(value, Versioned) or callable(value):
            self.reader.reach(value, access)
        elif level >= MAX_LEVEL:
            return
        elif is_a(value, list):
            self.facts.note("len", value, None, access)  # it may grow without a new version
            for index, item in enumerate(list(value)):
                self._inside("item", value, index, item, access, level + 1)
        elif is_a(value, dict):
            for key, item in list(value.items()):
                if plain(key):
                    self._inside("item", value, key, item, access, level + 1)
        elif is_a(value, (tuple, set)):
            for item in list(value):
                self.hold(item, access, level + 1)
