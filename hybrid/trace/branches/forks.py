"""One loop of Python whose turns take different ways, and its node of the graph: the body of the
loop chooses, at each branch that went both ways, between the graphs of what was done then.

Invariant: each way was seen in a turn all of whose own values are none that was there before the
loop, so nothing that others hold is taken for what is carried; ways that begin alike did the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...control.records import BRANCH
from ...control.regions import RecordedOp
from ...core import dtypes as dt
from ...core.aval import HOST
from ...ir.door.bind import converter
from ...ir.graph.graph import Const, Graph, Node, Value, make_node, param_key
from ...ir.graph.region import Region, graph_on
from .turns import Loop, RecordedTurns, as_scalar, as_wanted, put

__all__ = ["ForkedLoop"]

FINE = "fine"  # the name of: all branches went as in some turn


class TurnCheck(NamedTuple):
    """A branch of a turn: the name of its bool, its truth."""

    name: Any
    truth: bool


class TurnStep(NamedTuple):
    """What an operation of a turn does, comparable."""

    record: Any
    params: tuple[Any, ...]
    names: tuple[Any, ...]
    avals: tuple[Any, ...]
    outputs: tuple[Any, ...]


class SeenTurn(NamedTuple):
    """What a turn does in order, the steps of its operations, and the names of what it leaves."""

    items: list[TurnCheck | TurnStep]
    steps: list[RecordedOp | None]
    ends: list[Any]

    @property
    def truths(self) -> tuple[bool, ...]:
        return tuple([item.truth for item in self.items if isinstance(item, TurnCheck)])

    def used(self, start: int) -> set[Any]:
        """Names that the turn uses from an item on."""
        found = set(self.ends)
        for item in self.items[start:]:
            found.update((item.name,) if isinstance(item, TurnCheck) else item.names)
        return found


def _alike_at_first(one: SeenTurn, other: SeenTurn) -> bool:
    """Whether two turns do the same up to a branch that goes different ways."""
    for mine, yours in zip(one.items, other.items):
        if mine != yours:
            checks = isinstance(mine, TurnCheck) and isinstance(yours, TurnCheck)
            return checks and mine[0] == yours[0]
    return False


class ForkedLoop(Loop):
    """Turns that begin with the branches `heads`; `kinds`: one turn of each way, by its truths."""

    def __init__(self, work: RecordedTurns, heads: Sequence[int]) -> None:
        super().__init__(work, heads)
        if len({work.branches[head].truth for head in heads[:-1]}) > 1:
            self.go = None
        self.kinds: list[SeenTurn] = []
        self.checks = True
        self.literals: dict[Any, int] = {}

    def _turn(self, head: int, following: int) -> SeenTurn | None:
        """What a turn does; None where it uses what an earlier one kept to itself."""
        work, names = self.work, dict[int, Any]()
        for place, number in enumerate(self.held(head)):
            names.setdefault(number, ("carried", place))

        def name(number: int) -> Any:
            if number in names:
                return names[number]
            if number in self.made:
                raise LookupError(number)
            literal = work.consts.get(number)
            if literal is None:
                return number
            found = work.avals[number], literal.tobytes()
            self.literals.setdefault(found, number)
            return found

        turn = SeenTurn([], [], [])
        try:
            for branch in range(head, following):
                point = work.branches[branch]
                turn.items.append(TurnCheck(name(point.number), point.truth))
                turn.steps.append(None)
                for step in work.between(branch, branch + 1):
                    given = tuple(map(name, step.inputs))
                    made = [("made", len(turn.items), k) for k in range(len(step.outputs))]
                    names.update(zip(step.outputs, made))
                    params = tuple((key, param_key(value)) for key, value in step.params)
                    turn.items.append(TurnStep(step.op, params, given, step.avals, tuple(made)))
                    turn.steps.append(step)
            turn.ends.extend(map(name, self.held(following)))
        except LookupError:
            return None
        return turn

    def same(self) -> bool:
        found: dict[tuple[bool, ...], SeenTurn] = {}
        seen: set[tuple[bool, ...]] = set()
        moving = [len(set(row)) > 1 for row in self._rows()]
        for head, following in zip(self.heads, self.heads[1:]):
            turn = self._turn(head, following)
            if turn is None:
                return False
            known = found.setdefault(turn.truths, turn)
            if known.items != turn.items or known.ends != turn.ends:
                return False
            held = zip(self.held(head), moving)
            if turn.truths not in seen and all(n in self.made for n, moves in held if moves):
                seen.add(turn.truths)
                found[turn.truths] = turn
        if len(found) < 2 or seen != found.keys():
            return False
        self.kinds = [found[truths] for truths in sorted(found, reverse=True)]
        pairs = [(a, b) for k, a in enumerate(self.kinds) for b in self.kinds[:k]]
        return all(_alike_at_first(one, other) for one, other in pairs)

    # ---- the node
    def outer(self) -> list[int]:
        names = [
            name
            for turn in self.kinds
            for item in turn.items
            for name in ((item.name,) if isinstance(item, TurnCheck) else item.names)
        ]
        names += [name for turn in self.kinds for name in turn.ends]
        return [name for name in dict.fromkeys(names) if type(name) is int]

    def _literals(self) -> list[int]:
        return list(self.literals.values())

    def carried_names(self) -> list[Any]:
        return [("carried", place) for place in range(len(self.held(self.start)))]

    def body(self, outer: Sequence[int]) -> Region:
        inputs, named = self.inputs(outer)
        for name, number in self.literals.items():
            named[name] = Const(self.work.avals[number], self.work.consts[number])
        named[FINE] = Const(self.truth, np.asarray(True))
        nodes: list[Node] = []
        results = self._grow(self.kinds, 0, named, nodes)
        one = Const(self.count, np.asarray(1, np.int64))
        counted = put(nodes, "add", inputs[len(self.carried) + 2], one)
        return Region(graph_on(Graph(inputs, nodes, [*results, counted]), HOST))

    def _grow(
        self, kinds: list[SeenTurn], start: int, named: dict[Any, Value], nodes: list[Node]
    ) -> list[Value]:
        """What turns leave that are alike up to an item: the operations from there on."""
        first = kinds[0]
        for at in range(start, len(first.items)):
            item, step = first.items[at], first.steps[at]
            if isinstance(item, TurnCheck):
                if len({turn.items[at][1] for turn in kinds}) > 1:
                    return self._split(kinds, at, named, nodes)
                if at or self.go is None:
                    usual = as_wanted(nodes, named[item.name], item.truth)
                    named[FINE] = put(nodes, "logical_and", named[FINE], usual)
                continue
            assert step is not None
            given = [named[name] for name in item.names]
            nodes.append(Node(step.op, dict(step.params), given, step.avals, step.site))
            named.update(zip(item.outputs, nodes[-1].outputs))
        return [*[named[name] for name in first.ends], named[FINE]]

    def _split(
        self, kinds: list[SeenTurn], at: int, named: dict[Any, Value], nodes: list[Node]
    ) -> list[Value]:
        """A choice between what was done where a branch went one way and the other."""
        choice = as_scalar(nodes, named[kinds[0].items[at][0]])
        nodes.append(make_node(converter(), {"dtype": dt.int64}, [choice]))
        position = nodes[-1].outputs[0]
        used = set[Any]((FINE,)).union(*[turn.used(at + 1) for turn in kinds])
        kept = {name: value for name, value in named.items() if name in used}
        given = [name for name, value in kept.items() if not isinstance(value, Const)]
        branches = []
        for truth in (False, True):
            inner = {n: Value(v.aval) if n in given else v for n, v in kept.items()}
            ins, own = [inner[name] for name in given], list[Node]()
            results = self._grow(
                [turn for turn in kinds if turn.items[at][1] is truth], at + 1, inner, own
            )
            branches.append(Region(graph_on(Graph(ins, own, results), HOST)))
        operands = [position, *[kept[name] for name in given]]
        nodes.append(make_node(BRANCH, {"branches": tuple(branches)}, operands))
        return list(nodes[-1].outputs)
