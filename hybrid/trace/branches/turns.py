"""One loop of Python whose turns do the same, and its node of the graph.

Invariant: the graphs of the node name values as a turn does: what is carried by its place, what the
turn makes by order, older values by number; so they do not depend on which turn they are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...control.regions import RecordedOp
from ...core import dtypes as dt
from ...core.aval import HOST, Aval, aval
from ...ir.graph.graph import Const, Graph, Node, Value, make_node, param_key
from ...ir.graph.region import Region, graph_on
from ...ir.op import OPS
from ..follow.snapshots import PythonState

__all__ = ["BranchPoint", "Loop", "RecordedTurns", "as_scalar", "as_wanted", "put"]


class BranchPoint(NamedTuple):
    """A branch behind so many steps: the number of its bool, its truth, Python's state there."""

    position: int
    number: int
    truth: bool
    state: PythonState | None
    site: Any = None


class RecordedTurns(Protocol):
    """Steps, branches and numbers of a call."""

    steps: list[RecordedOp]
    branches: list[BranchPoint]
    avals: list[Aval]
    consts: dict[int, np.ndarray]

    def slots(self, branch: int) -> list[int]: ...

    def between(self, first: int, second: int) -> list[RecordedOp]: ...


class Loop:
    """Turns that begin with the branches `heads`, of `period` branches each; the last head ends
    them."""

    def __init__(self, work: RecordedTurns, heads: Sequence[int]) -> None:
        self.work, self.heads = work, heads
        self.start, self.end, self.period = heads[0], heads[-1], heads[1] - heads[0]
        branches = work.branches
        first, last = branches[self.start], branches[self.end]
        self.begin, self.stop = first.position, last.position
        # what the branch was while the loop went on; None: either
        self.go: bool | None = first.truth
        self.checks = self.period > 1  # whether turns may go another way inside
        self.device = work.avals[first.number].device
        self.truth, self.count = aval((), dt.bool_, self.device), aval((), dt.int64, self.device)
        self.carried = self._carried()
        made = work.steps[self.begin : self.stop]
        self.made = {number for step in made for number in step.outputs}
        walks = [branches[k].state.walks for k in self.heads[:2]]  # type: ignore[union-attr]
        self.walks = [k for k, (one, other) in enumerate(zip(*walks)) if one != other]

    def _carried(self) -> list[int]:
        """Slots whose values differ from turn to turn, one for each value."""
        listed = [self.work.slots(k) for k in self.heads]
        found: list[int] = []
        seen: set[int] = set()
        for place, numbers in enumerate(zip(*listed)):
            if len(set(numbers)) > 1 and numbers[0] not in seen:
                seen.add(numbers[0])
                found.append(place)
        return found

    def held(self, head: int) -> list[int]:
        """Numbers of what is carried, as a turn begins; the branch's own bool is the last."""
        slots = self.work.slots(head)
        return [*[slots[place] for place in self.carried], self.work.branches[head].number]

    def turn(self, head: int) -> Any:
        """What a turn does, comparable; None where it uses what an earlier one kept to itself."""
        work, names = self.work, dict[int, Any]()
        for place, number in enumerate(self.held(head)):
            names.setdefault(number, ("carried", place))
        inside = self._inside(head)

        def operand(number: int) -> Any:
            if number in names:
                return names[number]
            if number in self.made:
                raise LookupError(number)
            literal = work.consts.get(number)
            return number if literal is None else (work.avals[number], literal.tobytes())

        operations = []
        try:
            for step in work.between(head, head + self.period):
                params = tuple((name, param_key(value)) for name, value in step.params)
                operations.append((step.op, params, tuple(map(operand, step.inputs)), step.avals))
                for output in step.outputs:
                    names[output] = ("made", len(names))
            checks = [(operand(b.number), b.truth) for b in inside]
            ends = list(map(operand, self.held(head + self.period)))
        except LookupError:
            return None
        return operations, checks, ends

    def _inside(self, head: int) -> Sequence[BranchPoint]:
        return self.work.branches[head + 1 : head + self.period]

    def same(self) -> bool:
        """Whether all turns do the same."""
        turns = [self.turn(head) for head in self.heads[:-1]]
        return turns[0] is not None and all(turn == turns[0] for turn in turns)

    def _rows(self) -> list[tuple[int, ...]]:
        """Numbers of each value that is carried, in each turn."""
        return list(zip(*[self.held(head) for head in self.heads]))

    def fits(self) -> bool:
        """Whether all turns do the same, and only what is carried leaves the last one."""
        if not self.carried or not self.same():
            return False
        work, last = self.work, set(self.held(self.end))
        every = (*last, *self.made, *self.outer(), *self._literals())
        if any(work.avals[number].device is not self.device for number in every):
            return False
        if any(len({work.avals[n] for n in row}) > 1 for row in self._rows()):
            return False
        if len(self.walks) > 1 or not self._walks_on() or not self._fresh():
            return False
        inner = self.made - last
        used = {n for step in work.steps[self.stop :] for n in step.inputs}
        used.update(branch.number for branch in work.branches[self.end :])
        return not used & inner

    def _fresh(self) -> bool:
        """Whether what the loop leaves is made by it, or the same in every turn: what was there
        before may have other holders, for whom it stays what it is (`x, y = y, x`)."""
        return all(row[-1] in self.made or len(set(row)) == 1 for row in self._rows())

    def _walks_on(self) -> bool:
        """Whether an iterator around the loop gave one number for each turn, and none after it: how
        many are left depends on the number of turns."""
        last = self.work.branches[self.end]
        for k in self.walks:
            walk = last.state.walks[k]  # type: ignore[union-attr]
            ended = self.go is None or last.truth is self.go  # by the range
            if walk.asked[0] > walk.taken and not ended:
                return False
        states = [self.work.branches[k].state for k in self.heads]
        for before, after in zip(states, states[1:]):
            assert before is not None and after is not None
            given = [after.walks[k].taken - before.walks[k].taken for k in range(len(after.walks))]
            if any(count != (k in self.walks) for k, count in enumerate(given)):
                return False
        return True

    # ---- the node
    def outer(self) -> list[int]:
        """Older values that a turn uses."""
        own = {*self.held(self.start), *self.made}
        steps = self.work.between(self.start, self.start + self.period)
        used = [number for step in steps for number in step.inputs]
        used += [branch.number for branch in self._inside(self.start)]
        used += self.held(self.start + self.period)
        kept = [n for n in used if n not in own and n not in self.work.consts]
        return list(dict.fromkeys(kept))

    def _literals(self) -> list[int]:
        """Constants that a turn uses."""
        steps = self.work.between(self.start, self.start + self.period)
        return [n for step in steps for n in step.inputs if n in self.work.consts]

    def carried_names(self) -> list[Any]:
        """What the body of the loop calls the values that it carries."""
        return list(self.held(self.start))

    def inputs(self, outer: Sequence[int]) -> tuple[list[Value], dict[Any, Value]]:
        """Arguments of the graphs: what is carried, whether the turn went the usual way, how many
        there were, and older values; and those by name."""
        avals = self.work.avals
        values = [Value(avals[number]) for number in self.held(self.start)]
        named: dict[Any, Value] = {}
        for name, value in zip(self.carried_names(), values):
            named.setdefault(name, value)
        values += [Value(self.truth), Value(self.count)]
        for number in outer:
            named[number] = Value(avals[number])
            values.append(named[number])
        return values, named

    def test(self, outer: Sequence[int]) -> Region:
        """Whether there is another turn."""
        inputs, _ = self.inputs(outer)
        count = len(self.carried) + 1
        nodes: list[Node] = []
        going = inputs[count]
        if self.go is not None:
            usual = as_wanted(nodes, inputs[count - 1], self.go)
            going = put(nodes, "logical_and", usual, going)
        if self.walks:
            walk = self.work.branches[self.start].state.walks[self.walks[0]]  # type: ignore[union-attr]
            limit = Const(self.count, np.asarray(len(walk.over) - walk.taken, np.int64))
            more = put(nodes, "less", inputs[count + 1], limit)
            going = put(nodes, "logical_and", going, more)
        return Region(graph_on(Graph(inputs, nodes, [going]), HOST))

    def body(self, outer: Sequence[int]) -> Region:
        """One turn."""
        work = self.work
        inputs, values = self.inputs(outer)

        def operand(number: int) -> Value:
            if number not in values and number in work.consts:
                values[number] = Const(work.avals[number], work.consts[number])
            return values[number]

        nodes: list[Node] = []
        for step in work.between(self.start, self.start + self.period):
            given = [operand(number) for number in step.inputs]
            nodes.append(Node(step.op, dict(step.params), given, step.avals, step.site))
            values.update(zip(step.outputs, nodes[-1].outputs))
        fine: Value = Const(self.truth, np.asarray(True))
        for branch in self._inside(self.start):
            usual = as_wanted(nodes, operand(branch.number), branch.truth)
            fine = put(nodes, "logical_and", fine, usual)
        one = Const(self.count, np.asarray(1, np.int64))
        counted = put(nodes, "add", inputs[len(self.carried) + 2], one)
        ends = [operand(number) for number in self.held(self.start + self.period)]
        return Region(graph_on(Graph(inputs, nodes, [*ends, fine, counted]), HOST))


def put(nodes: list[Node], name: str, *operands: Value) -> Value:
    nodes.append(make_node(OPS[name], {}, operands))
    return nodes[-1].outputs[0]


def as_scalar(nodes: list[Node], value: Value) -> Value:
    """A bool of one element as a scalar."""
    if not value.aval.shape:
        return value
    nodes.append(make_node(OPS["reshape"], {"shape": ()}, [value]))
    return nodes[-1].outputs[0]


def as_wanted(nodes: list[Node], value: Value, truth: bool) -> Value:
    """Whether a bool of one element is what is wanted, as a scalar."""
    value = as_scalar(nodes, value)
    return value if truth else put(nodes, "logical_not", value)
