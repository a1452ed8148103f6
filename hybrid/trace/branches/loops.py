"""Loops of Python whose steps repeat until a value of a tensor ends them, as one node of the graph.

Invariant: a loop is rolled only if Python was in the same state at the branch in every turn, up to
what tensors hold, with nothing impure in between, and every turn made the same operations; then
what Python does is the same for every number of turns, and only the last one is seen afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...control.records import WHILE
from ...control.regions import INNER, RecordedOp
from ...core import dtypes as dt
from ...core.aval import HOST, Aval, aval
from ...ir.graph.graph import Const, Graph, Node, Value, make_node, param_key
from ...ir.graph.region import Region, graph_on
from ...ir.op import OPS
from ..follow.snapshots import PythonState, alike

__all__ = ["BranchPoint", "Rolled", "rolled"]

LONGEST = 4  # branches in one turn of a loop
FEWEST = 2  # turns that show what all do


class BranchPoint(NamedTuple):
    """A branch behind so many steps: the number of its bool, its truth, Python's state there."""

    position: int
    number: int
    truth: bool
    state: PythonState | None
    site: Any = None


class Rolled(NamedTuple):
    """Steps and branches with loops in the place of turns, and the number that a value has now, by
    the one it had (INNER: it is none of the last turn's)."""

    steps: list[RecordedOp]
    branches: list[BranchPoint]
    numbers: dict[int, int]


class _Loop:
    """Turns of `period` branches each that end with the branch `end`; the first is `start`."""

    def __init__(self, work: _Work, start: int, end: int, period: int) -> None:
        self.work, self.start, self.end, self.period = work, start, end, period
        self.heads = list(range(start, end + 1, period))
        branches = work.branches
        first, last = branches[start], branches[end]
        self.begin, self.stop = first.position, last.position
        self.go = first.truth  # what the branch was while the loop went on
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

    def fits(self) -> bool:
        """Whether all turns do the same, and only what is carried leaves the last one."""
        turns = [self.turn(head) for head in self.heads[:-1]]
        if turns[0] is None or any(turn != turns[0] for turn in turns) or not self.carried:
            return False
        work, last = self.work, set(self.held(self.end))
        every = (*last, *self.made, *self.outer(), *self._literals())
        if any(work.avals[number].device is not self.device for number in every):
            return False
        starts, ends = (self.held(k) for k in (self.start, self.end))
        if any(work.avals[a] is not work.avals[b] for a, b in zip(starts, ends)):
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
        rows = zip(*[self.held(head) for head in self.heads])
        return all(row[-1] in self.made or len(set(row)) == 1 for row in rows)

    def _walks_on(self) -> bool:
        """Whether an iterator around the loop gave one number for each turn, and none after it: how
        many are left depends on the number of turns."""
        last = self.work.branches[self.end]
        for k in self.walks:
            walk = last.state.walks[k]  # type: ignore[union-attr]
            if walk.asked[0] > walk.taken and last.truth is not self.go:
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

    def inputs(self, outer: Sequence[int]) -> tuple[list[Value], dict[int, Value]]:
        """Arguments of the graphs: what is carried, whether the turn went the usual way, how many
        there were, and older values; and those by number."""
        avals = self.work.avals
        held = self.held(self.start)
        values = [Value(avals[n]) for n in held] + [Value(self.truth), Value(self.count)]
        by_number: dict[int, Value] = {}
        for number, value in zip(held, values):
            by_number.setdefault(number, value)
        for number in outer:
            by_number[number] = Value(avals[number])
            values.append(by_number[number])
        return values, by_number

    def test(self, outer: Sequence[int]) -> Region:
        """Whether there is another turn."""
        inputs, _ = self.inputs(outer)
        count = len(self.carried) + 1
        nodes: list[Node] = []
        going = _agreed(nodes, inputs[count - 1], self.go)
        going = _made(nodes, "logical_and", going, inputs[count])
        if self.walks:
            walk = self.work.branches[self.start].state.walks[self.walks[0]]  # type: ignore[union-attr]
            limit = Const(self.count, np.asarray(len(walk.over) - walk.taken, np.int64))
            more = _made(nodes, "less", inputs[count + 1], limit)
            going = _made(nodes, "logical_and", going, more)
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
            agreed = _agreed(nodes, operand(branch.number), branch.truth)
            fine = _made(nodes, "logical_and", fine, agreed)
        one = Const(self.count, np.asarray(1, np.int64))
        counted = _made(nodes, "add", inputs[len(self.carried) + 2], one)
        ends = [operand(number) for number in self.held(self.start + self.period)]
        return Region(graph_on(Graph(inputs, nodes, [*ends, fine, counted]), HOST))


def _made(nodes: list[Node], name: str, *operands: Value) -> Value:
    nodes.append(make_node(OPS[name], {}, operands))
    return nodes[-1].outputs[0]


def _agreed(nodes: list[Node], value: Value, truth: bool) -> Value:
    """Whether a bool of one element is what is wanted, as a scalar."""
    if value.aval.shape:
        nodes.append(make_node(OPS["reshape"], {"shape": ()}, [value]))
        value = nodes[-1].outputs[0]
    return value if truth else _made(nodes, "logical_not", value)


class _Work:
    """Steps, branches and numbers of a call while its loops are rolled."""

    def __init__(
        self,
        steps: list[RecordedOp],
        branches: list[BranchPoint],
        avals: list[Aval],
        consts: dict[int, np.ndarray],
    ) -> None:
        self.steps, self.branches, self.avals, self.consts = steps, branches, avals, consts
        self.gone: set[int] = set()  # numbers of values of turns
        self.inside: set[int] = set()  # and of what they use
        self.moved: dict[int, int] = {}  # number in the last turn -> of the loop's result

    def slots(self, branch: int) -> list[int]:
        """Numbers of the values in the slots at a branch, -1 for other slots."""
        state = self.branches[branch].state
        assert state is not None
        return [slot.number for slot in state.slots]

    def between(self, first: int, second: int) -> list[RecordedOp]:
        """The steps between two branches."""
        return self.steps[self.branches[first].position : self.branches[second].position]

    def find(self, end: int) -> _Loop | None:
        """The loop that ends with a branch, the one of fewest branches a turn."""
        for period in range(1, LONGEST + 1):
            start = end
            while self._repeats(start - period, start, period, end):
                start -= period
            if (end - start) // period >= FEWEST:
                loop = _Loop(self, start, end, period)
                if loop.fits():
                    return loop
        return None

    def _repeats(self, before: int, after: int, period: int, end: int) -> bool:
        if before < 0 or not alike(self.branches[before].state, self.branches[after].state):
            return False
        truths = [branch.truth for branch in self.branches[before:after]]
        if not all(branch.state is not None for branch in self.branches[before:after]):
            return False
        if truths[0] is self.branches[end].truth and not self._walked(end - period, end):
            return False
        following = [branch.truth for branch in self.branches[after : after + period]]
        return after == end or truths == following

    def _walked(self, before: int, end: int) -> bool:
        """Whether an iterator gave its last number for the turn that a branch is in."""
        one, other = self.branches[before].state, self.branches[end].state
        assert one is not None and other is not None
        walks = [now for then, now in zip(one.walks, other.walks) if then != now]
        return len(walks) == 1 and walks[0].taken == len(walks[0].over)

    def roll(self, loop: _Loop) -> None:
        """Put a node in the place of the turns of a loop."""
        outer, held = loop.outer(), loop.held(loop.start)
        fine = self._literal(np.asarray(True), loop.truth)
        none = self._literal(np.asarray(0, np.int64), loop.count)
        inputs = (*held, fine, none, *outer)
        ends = loop.held(loop.end)
        results = []
        for number in (*ends, fine, none):
            self.avals.append(self.avals[number])
            results.append(len(self.avals) - 1)
        params = {"test": loop.test(outer), "body": loop.body(outer), "carry": len(results)}
        made = tuple([self.avals[number] for number in results])
        site = self.branches[loop.end].site
        node = RecordedOp(WHILE, tuple(params.items()), inputs, tuple(results), made, site)
        for number, result in zip(ends, results):
            if number in loop.made:
                self.moved.setdefault(number, result)
        self.gone |= loop.made
        self.inside.update(n for s in self.steps[loop.begin : loop.stop] for n in s.inputs)
        self._replace(loop, node, results)

    def _literal(self, data: np.ndarray, record: Aval) -> int:
        self.avals.append(record)
        self.consts[len(self.avals) - 1] = data
        return len(self.avals) - 1

    def _replace(self, loop: _Loop, node: RecordedOp, results: Sequence[int]) -> None:
        moved, cut = self.moved, loop.stop - loop.begin - 1
        after = [
            s._replace(inputs=tuple([moved.get(n, n) for n in s.inputs]))
            for s in self.steps[loop.stop :]
        ]
        self.steps[loop.begin :] = [node, *after]
        end, following = self.branches[loop.end], self.branches[loop.end + 1 :]
        checks = []
        if loop.period > 1:
            checks.append(BranchPoint(loop.begin + 1, results[-2], True, None, end.site))
        if loop.walks:
            number = moved.get(end.number, end.number)
            checks.append(BranchPoint(loop.begin + 1, number, end.truth, None, end.site))
        later = [
            b._replace(position=b.position - cut, number=moved.get(b.number, b.number))
            for b in following
        ]
        self.branches[loop.start :] = [*checks, *later]


def rolled(
    steps: list[RecordedOp],
    branches: list[BranchPoint],
    avals: list[Aval],
    consts: dict[int, np.ndarray],
) -> Rolled | None:
    """The call with its loops rolled, numbers anew so that they do not depend on how many turns
    there were; None where it has no such loop.  `avals` and `consts` are changed in place."""
    work = _Work(list(steps), list(branches), avals, consts)
    end = 0
    while end < len(work.branches):
        loop = work.find(end) if work.branches[end].state is not None else None
        if loop is None:
            end += 1
        else:
            work.roll(loop)
            end = loop.start
    if not work.moved:
        return None
    return _renumbered(work)


def _renumbered(work: _Work) -> Rolled:
    """Leave out the numbers of values that only turns of loops had."""
    used = {n for step in work.steps for n in step.inputs}
    dropped = {n for n in work.inside if n in work.consts and n not in used}
    kept = [n for n in range(len(work.avals)) if n not in work.gone and n not in dropped]
    numbers = dict.fromkeys(range(len(work.avals)), INNER) | {n: k for k, n in enumerate(kept)}
    for number, result in work.moved.items():
        while result in work.moved:
            result = work.moved[result]
        numbers[number] = numbers[result]
    steps = [
        s._replace(
            inputs=tuple([numbers[n] for n in s.inputs]),
            outputs=tuple([numbers[n] for n in s.outputs]),
        )
        for s in work.steps
    ]
    branches = [b._replace(number=numbers[b.number]) for b in work.branches]
    avals = [work.avals[n] for n in kept]
    consts = {numbers[n]: data for n, data in work.consts.items() if n in set(kept)}
    work.avals[:] = avals
    work.consts.clear()
    work.consts.update(consts)
    return Rolled(steps, branches, numbers)
