"""Stores and deletions of the code that ran.

Invariant: what code may store to is a fact that is written, or there is a reason.
"""

from __future__ import annotations

import types
from types import CodeType
from typing import Any

from ....ir.tensor import Handle
from ...bytecode.expressions import NOWHERE, TOP, Expr, Store
from ...bytecode.summary import summarize
from ...follow.arrays.notes import may_be_written
from ...heap.allowlist import BOXES, instance_dict, is_a, lookup, plain
from ..classes import in_python
from ..evaluator import Evaluator
from ..fact_table import Access
from ..pinned.changes import Changes
from .call_rules import name_of

__all__ = ["StoreRules"]


def _allocates(function: Any) -> bool:
    """`object.__new__` and its kind."""
    named = is_a(function, types.BuiltinFunctionType) and function.__name__ == "__new__"
    return named and is_a(function.__self__, type)


class StoreRules:
    """What a store depends on, and whether it can be replayed."""

    def __init__(self, evaluator: Evaluator, changes: Changes) -> None:
        self.evaluator, self.objects = evaluator, evaluator.objects
        self.facts, self.watch, self.changes = evaluator.facts, evaluator.watch, changes

    def store(self, code: CodeType, store: Store) -> None:
        """One store or deletion that ran."""
        kind, base, key, offset = store
        writes = Access(code, offset, stores=True)
        if base is None:
            self._name(code, store, writes)
            return
        objects, unseen = self.evaluator.evaluate(code, base)
        holders = self.facts.holders(code, offset) if unseen and kind == "attr" else None
        if holders is not None:
            objects, unseen = {**objects, **{id(value): value for value in holders}}, False
        if kind == "attr" and key == "__dict__":
            self.facts.why("replaces the dictionary of an object", writes)
        for value in list(objects.values()):
            self._stored(code, value, store, writes)
        if not unseen:
            return
        if kind == "inplace":
            if base.kind not in ("call", "fresh", "top", "many"):
                self.facts.unseen_item(Access(code, offset))
        elif not (
            self._new(code, base)
            or self._only_tensors(code, base)
            or self.facts.of_made(code, offset)
        ):
            self.facts.why("stores into an object that could not be followed", writes)

    def _stored(self, code: CodeType, value: Any, store: Store, writes: Access) -> None:
        """A store into this object, or a deletion from it."""
        kind, _, key, offset = store
        here = writes._replace(stores=False)
        if kind != "attr" and may_be_written(value) and self.facts.counts(value):
            self.facts.writes = True
        if kind != "attr" and self.changes.put_off(value, here, "__setitem__"):
            return
        if offset in summarize(code).deletes:
            self._deleted(value, kind == "attr", here)
        if kind == "attr":
            self.objects.attr(value, key, writes)
            self._setter(value, key, writes)
        elif kind == "item":
            self.objects.item(value, key, writes)
        elif not plain(value):  # an operator in place reads what it writes
            self._items(value, writes._replace(stores=kind != "inplace"))

    def _items(self, value: Any, access: Access) -> None:
        """Items under keys that only the call knows: those that were used, or all."""
        keys = self.changes.keys_at(value, access)
        if keys is None:
            self.objects.contents(value, access)
        for key in keys or ():
            self.objects.item(value, key, access)

    def _name(self, code: CodeType, store: Store, access: Access) -> None:
        """A global or a variable of an outer function."""
        if store.kind == "cell":
            self.evaluator.cell(code, store.key, access)
            return
        for space in self.watch.globals[code]:
            self.facts.root(space)
            self.facts.note("item", space, store.key, access)

    def _deleted(self, value: Any, attribute: bool, access: Access) -> None:
        """What is taken out and put in again changes its place in the order."""
        if not attribute:
            if is_a(value, BOXES):
                self.objects.contents(value, access)
        elif not is_a(value, (type, types.ModuleType)) and instance_dict(value) is not None:
            entries = self.objects.dictionary(value, access)
            if self.facts.existing(value):
                self.facts.note("keys", entries, None, access)

    def _setter(self, value: Any, name: str, access: Access) -> None:
        """A store through a property runs its setter, which must be Python code to be watched."""
        accessor = lookup(type(value), name)
        for setter in (accessor.fset, accessor.fdel) if is_a(accessor, property) else ():
            if setter is not None and not in_python(setter):
                reason = "stores through a property whose setter is a C object"
                self.facts.why(f"{reason} ({name_of(setter)})", access)

    def _new(self, code: CodeType, base: Expr) -> bool:
        """Whether an expression is an object that the call makes."""
        if base.kind == "fresh" or (base.kind == "box" and base.base == TOP):
            return True
        if base.kind != "call" or base.at not in summarize(code).calls:
            return False
        makers = self.evaluator.values(code, summarize(code).call(base.at).callee)
        return bool(makers) and all(is_a(f, type) or _allocates(f) for f in makers)

    def _only_tensors(self, code: CodeType, base: Expr) -> bool:
        """Whether an expression gave tensors only (their stores are reported by themselves)."""
        found = None if base.at == NOWHERE else self.evaluator.returns.get((code, base.at))
        return bool(found) and all(is_a(o, Handle) for o in found or ())
