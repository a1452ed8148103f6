"""Whether two recordings of one function are the same.

Invariant: `difference` is None only if operations, literals, facts, locations of inputs, and all
that the calls leave behind agree; only then may one of them be replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...control.decisions import checks_branch
from ...ir.graph.graph import Const, Node, Value, literal_key, param_key
from ..follow.terms import is_number, plain_form
from ..heap.facts import Key
from .actions import NONE
from .expected import Facts, agrees
from .inputs import AsNumber, ByIdentity, Input
from .recording import Recording
from .wording import Wording, change

__all__ = ["difference", "alike", "continues", "resized", "same_kinds"]


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
    mine, theirs = current.fingerprint.operations, other.fingerprint.operations
    if any(a.aval is not b.aval for a, b in zip(current.inputs, other.inputs)):
        mine, theirs = list(map(_sized, mine)), list(map(_sized, theirs))
    return (
        len(current.graph.nodes) == len(other.graph.nodes)
        and all(map(_same_kind, mine, theirs))
        and current.fingerprint[1:] == other.fingerprint[1:]
        and _inputs(current, other) is None
        and _facts(current.facts, other.facts) is None
    )


def resized(current: Recording, other: Recording) -> bool:
    """Whether a tensor that a recording finds in Python has other extents than in another one."""
    count = current.arguments
    mine, theirs = current.inputs[count:], other.inputs[count:]
    return len(mine) == len(theirs) and any(a.aval is not b.aval for a, b in zip(mine, theirs))


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


def _sized(operation: tuple[Any, ...]) -> tuple[Any, ...]:
    """An operation without what its numbers hold: they may come from extents, as parameters may,
    for what else they come from is a fact, or part of the signature."""
    op, params, operands, avals = operation
    return op, params, [x if type(x) is int or x[0].shape else x[0] for x in operands], avals


def continues(current: Recording, other: Recording, places: Mapping[Key, Any]) -> bool:
    """Whether a recording does what another one does up to a branch that went another way, or all
    of it where numbers have become operands, and found nothing in Python but what was there before
    the call as well (`places`: what earlier recordings looked at).  Then all that it adds was
    there, too, and a second recording would be the same."""
    if current.lost or not current.settled:
        return False
    if current.path == other.path and _conditions(current) == _conditions(other):
        if not _widens(current.facts, other.facts):
            return False
    for key, wanted in current.facts.expected.items():
        if key.kind != "patched" and not agrees(wanted, places.get(key, _UNKNOWN)):
            return False
    return current.facts.broken() is None and _Beside(current, other).agree()


def _conditions(recording: Recording) -> Counter[Any]:
    """The truths of numbers of Python that a recording depends on."""
    found = recording.outcome.actions.conditions
    return Counter([(plain_form(term), truth) for term, truth in found])


def _widens(current: Facts, earlier: Facts) -> bool:
    """Whether facts are those of an earlier recording without some numbers, at least one."""
    mine, theirs = _listed(current), _listed(earlier)
    if not all(key in theirs and agrees(mine[key], theirs[key]) for key in mine):
        return False
    left = [value for key, value in theirs.items() if key not in mine]
    return bool(left) and all(map(is_number, left))


def _listed(facts: Facts) -> dict[Key, Any]:
    return {key: value for key, value in facts.expected.items() if key.kind != "patched"}


_UNKNOWN = object()  # what a place held that no earlier recording looked at


class _Beside:
    """Two recordings side by side up to the branch that goes different ways, if one does."""

    def __init__(self, current: Recording, other: Recording) -> None:
        self.current, self.other = current, other
        pairs = list(zip(current.path, other.path))
        ways = [k for k, (one, two) in enumerate(pairs) if one is not two]
        self.branch = ways[0] if ways else -1
        self.places = [{v: k for k, v in enumerate(r.graph.inputs)} for r in (current, other)]
        self.values: dict[Value, Value] = {}  # of one recording -> of the other
        self.taken: set[Value] = set()

    def agree(self) -> bool:
        """Whether both have the same operations until then, on the same inputs; how far they must
        go together where numbers make the difference is not known."""
        nodes, others = self.current.graph.nodes, self.other.graph.nodes
        if self.current.arguments != self.other.arguments:
            return False
        same_path = self.current.path == self.other.path
        for node, beside in zip(nodes, others):
            if not self._same(node, beside):
                return same_path and _conditions(self.current) != _conditions(self.other)
            if checks_branch(node, self.branch):
                return True
        return same_path

    def _same(self, node: Node, beside: Node) -> bool:
        ends = checks_branch(node, self.branch)
        same = node.op is beside.op and len(node.inputs) == len(beside.inputs)
        if not same or not all(map(self._stands_for, node.inputs, beside.inputs)):
            return False
        for value, made in zip(node.outputs, beside.outputs):
            if value.aval is not made.aval:
                return False
            self._note(value, made)
        names = node.params.keys() - ({"truth"} if ends else set())
        return all(
            param_key(node.params[name]) == param_key(beside.params.get(name)) for name in names
        )

    def _note(self, value: Value, beside: Value) -> None:
        self.values[value] = beside
        self.taken.add(beside)

    def _stands_for(self, value: Value, beside: Value) -> bool:
        """Whether an operand is the other's; an input by where it is found."""
        here, there = (known.get(v) for known, v in zip(self.places, (value, beside)))
        location = None if here is None else self.current.inputs[here].location
        if isinstance(location, AsNumber) and value not in self.values:
            number = there is None or self.other.inputs[there].location
            self.values[value] = beside
            literal = isinstance(beside, Const) or isinstance(number, AsNumber)
            return literal and value.aval is beside.aval
        if isinstance(value, Const) or isinstance(beside, Const):
            if value in self.values:  # an operand in the place of a literal
                return self.values[value].aval is beside.aval
            both = isinstance(value, Const) and isinstance(beside, Const)
            return both and literal_key(value) == literal_key(beside)  # type: ignore[arg-type]
        if value in self.values or beside in self.taken:
            return self.values.get(value) is beside
        if here is None or there is None:
            return False
        self._note(value, beside)
        passed = self.current.arguments
        if here < passed or there < passed:
            return here == there
        return _same_location(self.current.inputs[here], self.other.inputs[there])


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
