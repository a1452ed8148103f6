"""Loops of Python whose steps repeat until a value of a tensor ends them, as one node of the graph.

Invariant: a loop is rolled only if Python was in the same state at the branch in every turn, up to
what tensors hold, with nothing impure in between, and every turn made the same operations; then
what Python does is the same for every number of turns, and only the last one is seen afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...control.records import WHILE
from ...control.regions import INNER, RecordedOp
from ...core.aval import Aval
from ..follow.snapshots import alike
from .forks import ForkedLoop
from .turns import BranchPoint, Loop

__all__ = ["Rolled", "rolled"]

LONGEST = 4  # branches in one turn of a loop
FEWEST = 2  # turns that show what all do
TRIES = 4  # first turns that may be different, before loops whose turns take several ways


class Rolled(NamedTuple):
    """Steps and branches with loops in the place of turns, and the number that a value has now, by
    the one it had (INNER: it is none of the last turn's)."""

    steps: list[RecordedOp]
    branches: list[BranchPoint]
    numbers: dict[int, int]


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
        self.nexts: dict[int, int] = {}  # branch -> the next one in the same state, -1: none
        self.lasts: dict[int, int] = {}  # branch -> the last of those
        self.tried: dict[int, int] = {}  # last branch of turns of several ways -> how often tried

    def slots(self, branch: int) -> list[int]:
        """Numbers of the values in the slots at a branch, -1 for other slots."""
        state = self.branches[branch].state
        assert state is not None
        return [slot.number for slot in state.slots]

    def between(self, first: int, second: int) -> list[RecordedOp]:
        """The steps between two branches."""
        return self.steps[self.branches[first].position : self.branches[second].position]

    def find(self, end: int) -> Loop | None:
        """The loop that ends with a branch, the one of fewest branches a turn."""
        for period in range(1, LONGEST + 1):
            start = end
            while self._repeats(start - period, start, period, end):
                start -= period
            if (end - start) // period >= FEWEST:
                loop = Loop(self, range(start, end + 1, period))
                if loop.fits():
                    return loop
        return None

    # ---- turns that take different ways
    def _next(self, branch: int) -> int:
        """The next branch, at most a turn later, where Python is in the same state; -1: none."""
        if branch not in self.nexts:
            found, states = -1, self.branches
            for after in range(branch + 1, min(branch + LONGEST + 1, len(states))):
                if states[after].state is None:
                    break
                if alike(states[branch].state, states[after].state):
                    found = after
                    break
            self.nexts[branch] = found
        return self.nexts[branch]

    def find_forked(self, start: int) -> Loop | None:
        """The loop whose first turn begins with a branch, where turns take different ways."""
        if self.tried.get(self.lasts.get(start, -1), 0) >= TRIES:
            return None
        heads = [start]
        while (following := self._next(heads[-1])) >= 0:
            heads.append(following)
        last = heads[-1]
        self.lasts.update(dict.fromkeys(heads, last))
        self.tried[last] = self.tried.get(last, 0) + 1
        if len(heads) < 2 or not self._walked(heads[-2], last):
            go = self.branches[start].truth
            ends = [k for k, head in enumerate(heads) if self.branches[head].truth is not go]
            if not ends:
                return None
            heads = heads[: ends[0] + 1]
        turns = list(zip(heads, heads[1:]))
        ways = {tuple([b.truth for b in self.branches[h:n]]) for h, n in turns}
        if len(ways) < 2 or any(self._loops_inside(*turn) for turn in turns):
            return None
        loop = ForkedLoop(self, heads)
        return loop if loop.fits() else None

    def _loops_inside(self, head: int, following: int) -> bool:
        """Whether a turn has a loop of its own, which comes first."""
        loops = [self.find(k) for k in range(head + 3, following)]
        return any(loop is not None and loop.start > head for loop in loops)

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

    def roll(self, loop: Loop) -> None:
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

    def _replace(self, loop: Loop, node: RecordedOp, results: Sequence[int]) -> None:
        moved, cut = self.moved, loop.stop - loop.begin - 1
        after = [
            s._replace(inputs=tuple([moved.get(n, n) for n in s.inputs]))
            for s in self.steps[loop.stop :]
        ]
        self.steps[loop.begin :] = [node, *after]
        end, following = self.branches[loop.end], self.branches[loop.end + 1 :]
        checks = []
        if loop.checks:
            checks.append(BranchPoint(loop.begin + 1, results[-2], True, None, end.site))
        if loop.walks:
            number = moved.get(end.number, end.number)
            checks.append(BranchPoint(loop.begin + 1, number, end.truth, None, end.site))
        later = [
            b._replace(position=b.position - cut, number=moved.get(b.number, b.number))
            for b in following
        ]
        self.branches[loop.start :] = [*checks, *later]
        self.nexts.clear()
        self.lasts.clear()
        self.tried.clear()


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
        loop = None
        if work.branches[end].state is not None:
            loop = work.find_forked(end) or work.find(end)
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
