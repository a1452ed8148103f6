"""Places and facts of a recording in words, for messages and `explain`.

Invariant: no code of a user runs; objects are named by their type or by the place that holds them.
"""

from __future__ import annotations

import types
from typing import Any

from ..heap.allowlist import BOXES, MISSING, is_a, plain
from ..heap.facts import Key, called, describe, expression, is_namespace
from .expected import Facts, Obj, Ref

__all__ = ["Wording", "change", "why_not"]

NAMING = frozenset(("cell", "item", "attr", "slot", "tattr", "dict"))  # kinds that hold objects
MAX_NAME = 6  # containers in containers that a message spells out
MOST_SHOWN = 8  # values of a tuple that are shown


class Wording:
    """Names places by way of the places that hold their holders: `config.layers[0].scale`."""

    __slots__ = ("facts", "parents")

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.parents: dict[int, Key] = {}  # id of an object -> the first place that holds it
        for key, expected in facts.expected.items():
            if isinstance(expected, Obj) and key.kind in NAMING:
                self.parents.setdefault(expected.holder.id, key)

    def place(self, key: Key, line: str = "") -> str:
        """A place, with the line that reads it (or `line`)."""
        holder = self.facts.holders.get(key)
        text = describe(key, None if holder is None else holder.get(), self.holder(key.holder))
        line = line or self.facts.lines.get(key, "")
        return f"{text} ({line})" if line else text

    def holder(self, ident: int, level: int = 0) -> str:
        """The place that holds a container, as Python text; '' for what a type's name tells."""
        key = self.parents.get(ident)
        if key is None or level > MAX_NAME:
            return ""
        inside = self.facts.expected[key].holder.get()
        above = self.facts.holders[key].get()
        if type(inside) not in BOXES or is_namespace(inside):
            return ""
        return expression(key, above, self.holder(key.holder, level + 1) or called(above))


def why_not(facts: Facts) -> str:
    """Which fact does not hold now, in words."""
    key = facts.broken()
    if key is None:
        return "a tensor it uses has another shape, dtype, device or place"
    if key.kind == "patched":
        return f"{facts.holders[key].get().changed()} was replaced"
    return f"{Wording(facts).place(key)}: {change(facts.expected[key], facts.fetch(key))}"


def change(before: Any, after: Any) -> str:
    """From which value to which, in a few characters."""
    first, second = show(before), show(after)
    return f"{first} -> {'another' if first == second else second}"


def _few(values: tuple[Any, ...]) -> bool:
    """Whether a tuple holds little, and nothing whose text runs code of a user."""
    return len(values) <= MOST_SHOWN and all(map(plain, values))


def show(expected: Any) -> str:
    """An expected or found value in a few characters; objects by their type (no user code runs)."""
    if isinstance(expected, Ref):
        return "a tensor"
    if isinstance(expected, Obj):
        expected = expected.holder.get()
    if plain(expected) or (type(expected) is tuple and _few(expected)):
        return repr(expected)[:40]
    if expected is MISSING:
        return "nothing"
    if is_a(expected, (type, types.FunctionType, types.BuiltinFunctionType)):
        return str(expected.__qualname__)
    return f"a {type(expected).__name__}"
