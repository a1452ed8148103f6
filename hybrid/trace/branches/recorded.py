"""Branches of Python on values of tensors and numbers that operations take, as a recording meets
them and settles them when the call has ended.

Invariant: after `check` every step uses values that have a number of their own, and no check
follows a value that a replay does not compute.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...control.regions import OpenRegions, RecordedOp
from ...control.taps import Probes
from ...core.aval import HOST, Aval
from ...core.sites import user_site
from ...ir.op import Op
from ...ir.tensor import Handle
from ..follow.indices import moved
from ..follow.machine import StackSlot
from ..follow.operands import NUMBERED, TakenNumber
from ..follow.snapshots import PythonState, changed_numbers, snapshot
from ..follow.terms import Term
from ..watch.events import Watch
from ..watch.settle import Followed
from .decided import (
    MAX_BRANCHES,
    MAX_DECISIONS,
    Decision,
    Inexpressible,
    checked,
    device_of,
    fits,
    placed,
    with_operands,
)
from .loops import rolled
from .numbers import ComputedNumbers, Counter
from .turns import BranchPoint

__all__ = ["BRANCHES", "Branches"]

BRANCHES = "branches on the value of a tensor"


class Branches(ComputedNumbers):
    """The part of a recorder that meets branches on tensors."""

    handles: dict[int, int]
    consts: dict[int, np.ndarray]
    avals: list[Any]
    captures: list[Handle]
    start: dict[int, tuple[int, Any, Any]]
    followed: dict[int, tuple[Handle, int, Any, Any]]
    regions: list[OpenRegions]
    watch: Watch | None
    varying: dict[int, int]
    args: list[Handle]
    why: Callable[[str], None]
    ref: Callable[[Any], int]
    _begin: Callable[[Handle], None]

    def __init__(self) -> None:
        self.steps: list[RecordedOp] = []
        self.decisions: list[Decision] = []  # branches on values of tensors
        self.decided_on = HOST  # where the latest was read
        self.branches: list[BranchPoint] = []  # what is left of them where loops are one node
        self.checked: list[RecordedOp] | None = None  # the steps with checks of these
        self.numbers: dict[int, int] = {}  # of values that have other numbers now
        self.rolled = False  # whether a loop of its Python is one node
        self.changes = 0  # of tensors and gradients, so far
        self.passed: list[int] = []  # values that a backward pass began at
        self.taps: list[tuple[str, int, list[Probes]]] = []  # name, value, who sees it
        self.taken: list[TakenNumber] = []  # numbers that operations took
        # steps whose box begins at such numbers -> the axes along which, and those; views of these
        self.moving: dict[int, tuple[tuple[int, int], ...]] = {}
        self.boxes: dict[int, tuple[tuple[int, int], ...]] = {}
        # the same of a view that is written or shown again; None: of what code indexes
        self.shown: tuple[tuple[int, int], ...] | None = None

    def decide(self, term: Term, truth: bool) -> bool:
        """Python goes the way that the truth of a term of values says; false where no replay can
        check that."""
        if self.regions or len(self.decisions) >= MAX_DECISIONS:
            return False
        device = device_of(term, self.aval_of)
        try:
            term = with_operands(term, functools.partial(self._operand, device))
        except Inexpressible:
            return False
        if not fits(term, self.aval_of):
            return False
        state, self.decided_on = self._state(), device
        self.decisions.append(Decision(len(self.steps), term, truth, user_site(), state))
        return True

    def _state(self) -> PythonState | None:
        """What Python holds, where the call is followed."""
        follow = None if self.watch is None else self.watch.follow
        if follow is None or follow.failed:
            return None
        marks = follow.impure, self.changes

        def made(tensor: Handle) -> bool:
            return id(tensor) not in self.start

        return snapshot(
            sys._getframe(1),
            follow.machines,
            lambda t: self.handles.get(id(t)),
            made,
            marks,
            follow.first,
        )

    def counters(self) -> dict[tuple[int, str], Counter]:
        """The variables that are numbers and differ from turn to turn of a loop."""
        follow = None if self.watch is None else self.watch.follow
        found: dict[tuple[int, str], Counter] = {}
        states = [decision.state for decision in self.decisions if decision.state is not None]
        for before, after in zip(states, states[1:]):
            for code, name in changed_numbers(before, after):
                if follow is not None and code in follow.codes:
                    found[code, name] = Counter(follow.codes[code], self.decided_on)
        return found

    @property
    def loops(self) -> bool:
        """Whether one line branches again and again."""
        sites = [decision.site for decision in self.decisions]
        return len(sites) > 2 * len(set(sites))

    def check(self, followed: Followed | None, rolls: bool) -> None:
        """The call has ended: settle which numbers are operands of it, put checks of its branches
        between the steps, and, where it `rolls`, one node in the place of a loop's turns."""
        self.settle_numbers([] if followed is None else list(followed.operands))
        decisions = [decision.renumbered(self.numbered) for decision in self.decisions]
        try:
            steps, branches = placed(self.steps, decisions, self.avals, self.consts)
        except Inexpressible as error:
            self.why(f"{BRANCHES}, compared with {error}")
            return
        found = rolled(steps, branches, self.avals, self.consts) if rolls else None
        if found is not None:
            steps, branches, renumbered = found
            moved = {old: renumbered[new] for old, new in self.numbers.items()}
            self.numbers, self.rolled = renumbered | moved, True
            self._renumber(renumbered)
        if len(branches) > MAX_BRANCHES:
            self.why(f"{BRANCHES} more than {MAX_BRANCHES} times in one call")
        self.steps, self.branches = steps, branches
        self.checked = checked(steps, branches, self.avals)

    def _renumber(self, numbers: dict[int, int]) -> None:
        """Values have got other numbers."""

        def now(number: int) -> int:
            return numbers.get(number, number)

        for ident, number in list(self.handles.items()):
            self.handles[ident] = now(number)
        for ident, (number, record, node) in list(self.start.items()):
            self.start[ident] = now(number), record, node
        for ident, (view, number, record, node) in list(self.followed.items()):
            self.followed[ident] = view, now(number), record, node
        self.passed = list(map(now, self.passed))
        self.taps = [(name, now(number), probes) for name, number, probes in self.taps]

    def numbered(self, number: int) -> int:
        """The number that a value has now."""
        return self.numbers.get(number, number)

    @property
    def path(self) -> tuple[bool, ...]:
        """The ways that branches on values of tensors went."""
        return tuple([branch.truth for branch in self.branches])

    def starts_of(self, handle: Any) -> tuple[tuple[int, Handle], ...]:
        """Along which axes a view begins at operands, and these."""
        taken = [
            (axis, self.taken[k - NUMBERED].handle) for axis, k in self.boxes.get(id(handle), ())
        ]
        return tuple([(axis, operand) for axis, operand in taken if id(operand) in self.varying])

    def settle_numbers(self, varying: Sequence[int]) -> None:
        """Operands that numbers became are captures where they vary, else literals."""
        follow = None if self.watch is None else self.watch.follow
        if follow is None or not follow.taken:
            return
        self.taken = follow.taken
        numbers = {NUMBERED + k: taken.literal for k, taken in enumerate(self.taken)}
        for position, k in enumerate(varying):
            handle = self.taken[k].handle
            self.varying[id(handle)] = position
            self.captures.append(handle)
            self._begin(handle)
            numbers[NUMBERED + k] = self.handles[id(handle)]
        for at, step in enumerate(self.steps):
            if any(number in numbers for number in step.inputs):
                settled = tuple([numbers.get(number, number) for number in step.inputs])
                self.steps[at] = step._replace(inputs=settled)
        for at, axes in self.moving.items():
            self._move(at, {axis: numbers[k] for axis, k in axes if k - NUMBERED in varying})
        self.numbers = numbers
        self._renumber(numbers)

    def note_moved(
        self, op: Op, params: Sequence[tuple[str, Any]], inputs: Sequence[Any], outputs: Any
    ) -> None:
        """An operation reads or writes a box that begins where followed numbers say."""
        assert self.watch is not None and self.watch.follow is not None
        follow, axes, self.shown = self.watch.follow, self.shown, None
        if axes and (follow.regions or any(tensor._node is not None for tensor in inputs)):
            terms = [follow.taken[k - NUMBERED].term for _, k in axes]
            follow.escape([StackSlot(term=term) for term in terms])
            return
        if axes is None:
            axes = moved(follow, op, dict(params), inputs, self.args)
        if axes:
            self.moving[len(self.steps)] = axes
            if op.kind == "view":
                self.boxes[id(outputs[0])] = axes

    def _move(self, at: int, starts: dict[int, int]) -> None:
        """A step takes operands for where its box begins along some axes."""
        step = self.steps[at]
        if starts:
            axes = tuple(sorted(starts))
            avals = tuple(map(self.aval_of, step.inputs))
            found = step.op.moved(avals, axes, **dict(step.params)) if step.op.moved else None
            assert found is not None
            inputs = (*step.inputs, *[starts[axis] for axis in axes])
            self.steps[at] = step._replace(
                op=found[0], params=tuple(found[1].items()), inputs=inputs
            )

    def aval_of(self, number: int) -> Aval:
        """What the value with a number is, an operand that a number became included."""
        if number < NUMBERED:
            known: Aval = self.avals[number]
            return known
        assert self.watch is not None and self.watch.follow is not None
        return self.watch.follow.taken[number - NUMBERED].handle._a
