"""The tensors that hybrid's own objects hold, and the places where they hold them.

Invariant: an object is guarded by its version and by what its places hold, and so is everything
that can be reached from it through dicts, lists, tuples and other such objects.
"""

from __future__ import annotations

import types
from typing import Any

from ...ir.mode import Versioned
from ...ir.tensor import Handle
from ..heap.facts import Key
from ..heap.policy import is_a, lookup, plain

__all__ = ["Holding"]

ENTRY_POINTS = ("forward", "__call__", "step", "begin", "update")


class Holding:
    """Part of Chains, which notes facts and follows objects."""

    held: dict[int, Handle]  # tensors that Versioned objects hold
    places_of: dict[int, dict[Key, Any]]  # where they hold them: the place, its holder

    def root(self, o: Any) -> None:
        raise NotImplementedError

    def note(self, kind: str, h: Any, key: Any = None) -> None:
        raise NotImplementedError

    def reach(self, v: Any, frm: Any = None) -> Any:
        raise NotImplementedError

    def _function(self, f: types.FunctionType) -> None:
        raise NotImplementedError

    def _not_shadowed(self, o: Any, name: str) -> None:
        raise NotImplementedError

    def versioned(self, root: Any) -> None:
        """Guard hybrid's own object, and all it holds, by version; note the tensors in it."""
        self.note("version", root)
        for name in ENTRY_POINTS:  # what hybrid's own code calls by name
            f = lookup(type(root), name)
            if is_a(f, types.FunctionType):
                self._function(f)
                self.root(type(root))
                self.note("tattr", type(root), name)
                # without a `__setattr__` of its own no store moves the version
                if type(root).__setattr__ is object.__setattr__:  # type: ignore[comparison-overlap]
                    self._not_shadowed(root, name)
        names = getattr(root, "_names", None)
        for name, v in list(vars(root).items()):
            if is_a(v, Handle) and type(names) is dict and name not in names:
                continue  # plain tensor attributes are places of their own
            if name == "training" or name[0] == "_":
                self.hold(v)
            else:
                self._inside("slot", root, name, v)

    def _inside(self, kind: str, o: Any, key: Any, v: Any, level: int = 0) -> None:
        """v is what this place in hybrid's own object holds: a plain store moves no version."""
        if is_a(v, Handle):
            self.places_of.setdefault(id(v), {})[Key(kind, id(o), key)] = o
        else:
            self.note(kind, o, key)
        self.hold(v, level)

    def hold(self, v: Any, level: int = 0) -> None:
        """v sits inside a Versioned object."""
        if is_a(v, Handle):
            self.held[id(v)] = v
        elif is_a(v, Versioned) or callable(v):
            self.reach(v)
        elif is_a(v, list) and level < 8:
            self.note("len", v)  # such a list may grow without a new version
            for i, x in enumerate(list(v)):
                self._inside("item", v, i, x, level + 1)
        elif is_a(v, dict) and level < 8:
            for k, x in list(v.items()):
                if plain(k):
                    self._inside("item", v, k, x, level + 1)
        elif is_a(v, (tuple, set)) and level < 8:
            for x in list(v):
                self.hold(x, level + 1)
