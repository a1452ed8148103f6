"""When a backward pass visits the operations of recorded calls, without making nodes of them.

Invariant: the times are those at which `order` would visit the nodes that `unfold` makes, on any
tape; a call that nothing reaches has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ....autograd.tape import PseudoOp
from ....ir.tensor import Leaf
from ...record.result_tape import ResultTape, TemplateInput

__all__ = ["Visited", "Times"]


class Visited:
    """Which nodes of a template have been visited, and when: `places` has the run of nodes that a
    node belongs to, and its place in that run.  A run is visited without a look at another call.
    `plans`: kept by who makes them."""

    __slots__ = ("places", "runs", "after", "plans")

    def __init__(self, places: dict[int, tuple[int, int]], runs: int) -> None:
        self.places, self.runs = places, runs
        self.after: dict[int, tuple[tuple[int, ...], Visited]] = {}
        self.plans: Any = None

    def enter(self, tape: ResultTape, result: int) -> tuple[tuple[int, ...], Visited]:
        """What is visited when a result is reached: the position of an input (which may have been
        visited before), or ~n for a run of n nodes; and the state behind that."""
        found = self.after.get(result)
        if found is None:
            found = self.after[result] = self._entered(tape, tape.roots[result])
        return found

    def _entered(self, tape: ResultTape, root: Any) -> tuple[tuple[int, ...], Visited]:
        steps: list[int] = []
        places, runs, run = dict(self.places), self.runs, 0
        met, stack = set(places), [root]
        while stack:
            item = stack.pop()
            if type(item) is int:
                places[item] = runs, run
                run += 1
            elif type(item) is TemplateInput:
                if run:
                    steps.append(~run)
                    runs, run = runs + 1, 0
                steps.append(item.position)
            elif item is not None and item[0] not in met:
                met.add(item[0])
                stack.append(item[0])
                stack += reversed(tape.nodes[item[0]].parents)
        if run:
            steps.append(~run)
            runs += 1
        return tuple(steps), Visited(places, runs)


def _tape(call: Any) -> ResultTape:
    tape: ResultTape = call[0].inner.tape
    return tape


class _Rest:
    """A call in the middle of being visited."""

    __slots__ = ("call", "steps")

    def __init__(self, call: Any, steps: Iterator[int]) -> None:
        self.call, self.steps = call, steps


class Times:
    """`of`: when an owner that is no call is visited; of each call `states`, and in `begun` when
    each run of its nodes begins; all by id.  `first` has the states that calls begin with."""

    __slots__ = ("of", "states", "begun", "_now")

    def __init__(self, roots: Sequence[Any], first: dict[int, Visited]) -> None:
        self.of: dict[int, int] = {}
        self.states: dict[int, Visited] = {}
        self.begun: dict[int, list[int]] = {}
        self._now = 0
        of, stack = self.of, [root for root in roots if root is not None]
        while stack:
            item = stack.pop()
            if item is None:
                of[id(stack.pop())] = self._tick()
                continue
            if type(item) is _Rest:
                self._go_on(item, stack)
                continue
            result, node = item if type(item) is tuple and type(item[0]) is int else (0, item)
            if type(node) is Leaf:
                if id(node) not in of:
                    of[id(node)] = self._tick()
            elif type(node[0]) is PseudoOp and node[0].inner is not None:
                tape = _tape(node)
                before = self.states.get(id(node))
                if before is None:
                    before, self.begun[id(node)] = first[tape.serial], []
                steps, self.states[id(node)] = before.enter(tape, result)
                self._go_on(_Rest(node, iter(steps)), stack)
            elif id(node) not in of:
                of[id(node)] = -1
                stack += (node, None)
                stack += [parent for parent in reversed(node[1]) if parent is not None]

    def _tick(self) -> int:
        self._now += 1
        return self._now

    def _go_on(self, rest: _Rest, stack: list[Any]) -> None:
        for step in rest.steps:
            if step < 0:
                self.begun[id(rest.call)].append(self._now + 1)
                self._now += ~step
            elif rest.call[1][step] is not None:
                stack += (rest, rest.call[1][step])
                break
