"""Whether two recordings of one function are the same.

Invariant: `difference` is None only if operations, literals, facts, locations of inputs, and all
that the calls leave behind agree; only then may one of them be replayed.
"""

from __future__ import annotations

from typing import Any

from ..heap.facts import Key
from .actions import NONE
from .expected import Facts, agrees
from .inputs import ByIdentity, Input
from .recording import Recording
from .wording import Wording, change

__all__ = ["difference", "alike", "same_kinds"]


def difference(current: Recording, earlier: Recording) -> str | None:
    """None, or the first thing in which two recordings of one function differ, in words."""
    if current.path != earlier.path:
        return "a branch on the value of a tensor goes another way"
    return (
        _facts(current.facts, earlier.facts)
        or _operations(current, earlier)
        or _outcome(current, earlier)
        or _inputs(current, earlier)
    )


def alike(current: Recording, other: Recording) -> bool:
    """Whether a recording differs from one of a call with other extents in nothing but extents:
    then they are two recordings of one path through the program."""
    if current.lost or not current.settled or current.outcome.actions is not NONE:
        return False
    if current.path != other.path:
        return False
    return (
        len(current.graph.nodes) == len(other.graph.nodes)
        and all(map(_same_kind, current.fingerprint.operations, other.fingerprint.operations))
        and current.fingerprint[1:] == other.fingerprint[1:]
        and _inputs(current, other) is None
        and _facts(current.facts, other.facts) is None
    )


def same_kinds(current: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    """Whether operations differ in extents only, and in literals, which may come from extents where
    nothing else can differ."""
    return len(current) == len(other) and all(
        [_same_kind(_unsaid(one), _unsaid(another)) for one, another in zip(current, other)]
    )


def _unsaid(operation: tuple[Any, ...]) -> tuple[Any, ...]:
    """An operation without the values of its literals."""
    op, params, operands, avals = operation
    return op, params, [x if type(x) is int else x[0] for x in operands], avals


def _same_kind(current: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two operations are one on other extents: every literal is the same, every parameter
    but whole numbers."""
    (op, params, operands, avals), (its, its_params, its_operands, its_avals) = current, other
    return (
        op is its
        and operands == its_operands
        and _resembles(params, its_params)
        and [(a.dtype, a.ndim, a.device) for a in avals]
        == [(a.dtype, a.ndim, a.device) for a in its_avals]
    )


def _resembles(value: Any, other: Any) -> bool:
    if type(value) is int and type(other) is int:
        return True
    if isinstance(value, tuple) and type(value) is type(other) and len(value) == len(other):
        return all(map(_resembles, value, other))
    return bool(value == other)


def _facts(current: Facts, earlier: Facts) -> str | None:
    for key in {**current.expected, **earlier.expected}:
        if key.kind == "patched":
            continue  # held during both calls
        if key not in current.expected or key not in earlier.expected:
            return f"{_place(key, current, earlier)} is read by one call and not by the next"
        present, former = current.expected[key], earlier.expected[key]
        if not agrees(present, former):
            return f"{_place(key, current, earlier)} changes: {change(former, present)}"
    return None


def _place(key: Key, current: Facts, earlier: Facts) -> str:
    """A place that one of two calls read, with the line that reads it."""
    source = current if key in current.holders else earlier
    return Wording(source).place(key, current.lines.get(key) or earlier.lines.get(key, ""))


def _operations(current: Recording, earlier: Recording) -> str | None:
    for node, other in zip(current.graph.nodes, earlier.graph.nodes):
        if node.op is not other.op:
            return f"operation {other.op.name} becomes {node.op.name} at {node.site}"
    present, former = current.fingerprint.operations, earlier.fingerprint.operations
    for node, mine, theirs in zip(current.graph.nodes, present, former):
        if mine != theirs:
            return f"a literal or operand of {node.op.name} changes at {node.site}"
    if len(present) != len(former):
        return f"the number of operations changes from {len(former)} to {len(present)}"
    return None


def _outcome(current: Recording, earlier: Recording) -> str | None:
    same = current.fingerprint[1:] == earlier.fingerprint[1:]
    return None if same else "what it returns or writes changes"


def _inputs(current: Recording, earlier: Recording) -> str | None:
    if len(current.inputs) != len(earlier.inputs):
        return "the tensors it uses change"
    count = current.arguments
    if not all(map(_same_location, current.inputs[count:], earlier.inputs[count:])):
        return "a tensor it uses is found in another place"
    if not all(map(_same_location, current.inputs[:count], earlier.inputs[:count])):
        return "an argument is a tensor that is also found elsewhere"
    return None


def _same_location(current: Input, earlier: Input) -> bool:
    here, there = current.location, earlier.location
    if isinstance(here, ByIdentity) and isinstance(there, ByIdentity):
        return here.holder.get() is there.holder.get()
    return type(here) is type(there) and here == there
