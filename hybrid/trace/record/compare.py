"""Whether two recordings of one function are the same.

Invariant: `difference` is None only if operations, literals, facts, locations of inputs, and all
that the calls leave behind agree; only then may one of them be replayed.
"""

from __future__ import annotations

from ..heap.facts import Key
from .expected import Facts, agrees
from .inputs import ByIdentity, Input
from .recording import Recording
from .wording import Wording, show

__all__ = ["difference"]


def difference(new: Recording, old: Recording) -> str | None:
    """None, or the first thing in which two recordings of one function differ, in words."""
    return (
        _facts(new.facts, old.facts)
        or _operations(new, old)
        or _outcome(new, old)
        or _inputs(new, old)
    )


def _facts(new: Facts, old: Facts) -> str | None:
    for key in {**new.expected, **old.expected}:
        if key.kind == "patched":
            continue  # held during both calls
        if key not in new.expected or key not in old.expected:
            return f"{_place(key, new, old)} is read by one call and not by the next"
        now, then = new.expected[key], old.expected[key]
        if not agrees(now, then):
            return f"{_place(key, new, old)} changes: {show(then)} -> {show(now)}"
    return None


def _place(key: Key, new: Facts, old: Facts) -> str:
    """A place that one of two calls read, with the line that reads it."""
    source = new if key in new.holders else old
    return Wording(source).place(key, new.lines.get(key) or old.lines.get(key, ""))


def _operations(new: Recording, old: Recording) -> str | None:
    for node, other in zip(new.graph.nodes, old.graph.nodes):
        if node.op is not other.op:
            return f"operation {other.op.name} becomes {node.op.name} at {node.site}"
    now, then = new.fingerprint.operations, old.fingerprint.operations
    for node, mine, theirs in zip(new.graph.nodes, now, then):
        if mine != theirs:
            return f"a literal or operand of {node.op.name} changes at {node.site}"
    if len(now) != len(then):
        return f"the number of operations changes from {len(then)} to {len(now)}"
    return None


def _outcome(new: Recording, old: Recording) -> str | None:
    same = new.fingerprint[1:] == old.fingerprint[1:]
    return None if same else "what it returns or writes changes"


def _inputs(new: Recording, old: Recording) -> str | None:
    if len(new.inputs) != len(old.inputs):
        return "the tensors it uses change"
    count = new.arguments
    if not all(map(_same_location, new.inputs[count:], old.inputs[count:])):
        return "a tensor it uses is found in another place"
    if not all(map(_same_location, new.inputs[:count], old.inputs[:count])):
        return "an argument is a tensor that is also found elsewhere"
    return None


def _same_location(new: Input, old: Input) -> bool:
    here, there = new.location, old.location
    if isinstance(here, ByIdentity) and isinstance(there, ByIdentity):
        return here.holder.get() is there.holder.get()
    return type(here) is type(there) and here == there
