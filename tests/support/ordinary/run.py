"""Ordinary programs run plainly and decorated, from equal starts, in turns: what differs, how the
calls were served, how long they took.

Invariant: nothing here changes how a decorated call is served; random numbers of both runs are kept
apart.
"""

from __future__ import annotations

import contextlib
import io
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from frozen import difference, frozen

import hybrid as hb
from hybrid import decorator
from hybrid.ir.door import bind as door
from hybrid.ir.mode import Mode
from hybrid.trace.fallback.deferred import CHOICE
from hybrid.trace.fallback.segments import Segments
from hybrid.trace.serve import prepare
from hybrid.trace.split.splitting import PIECES

from . import CALLS, Program

__all__ = ["STATES", "Row", "Turns", "World", "deferring", "measure", "ops_inside", "state_of"]

STATES = ("native", "deferred", "eager", "recording")  # from best to worst
CHUNK = 10
FIRST, LAST = 100, 200  # the calls that are timed
SETTLED = 50  # last calls that say how a program ends


class Counts(NamedTuple):
    """How calls were served, summed over the decorated functions of a program."""

    replays: int = 0
    records: int = 0
    eager: int = 0
    deferred: int = 0
    segments: int = 0
    compilations: int = 0

    def __sub__(self, other: Any) -> Counts:
        return Counts(*(a - b for a, b in zip(self, other)))


class _Counter(Mode):
    """Counts ops that go through the door, that is, outside of plans and segments."""

    __slots__ = ("ops", "collected")
    only_counts = True

    def __init__(self) -> None:
        self.ops = self.collected = 0

    def on_op(self, op: Any, params: Any, xs: Any, outs: Any) -> None:
        self.ops += 1


class World:
    """One run of a program, plain or decorated, with random numbers of its own."""

    def __init__(
        self, program: Program, decorated: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.functions: list[Any] = []
        self.asked = self.functions  # for their counts, after each call
        self.decorated = decorated
        self.seconds: list[float] = []
        self.outcomes: list[Any] = []
        self.counts: list[Counts] = []
        self.counter = _Counter()
        self.clock = clock
        hb.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        self.run = program.make(self.decorate)
        self.random = self._random()

    def decorate(self, fn: Any) -> Any:
        """What the program's functions are decorated with."""
        if not self.decorated:
            return fn
        self.functions.append(hb.function(fn))
        return self.functions[-1]

    @staticmethod
    def _random() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state(), hb.random.get_state()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """With this world's random numbers, output kept, and no word of eager functions."""
        random.setstate(self.random[0])
        np.random.set_state(self.random[1])
        hb.random.set_state(self.random[2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        self.random = self._random()

    def served(self) -> Counts:
        """Counts so far."""
        infos = [function.cache_info() for function in self.asked]
        return Counts(*(sum(getattr(i, name, 0) for i in infos) for name in Counts._fields))

    def apart(self) -> int:
        """Ops that replays of modules did inside deferred calls."""
        return sum(f._segments.parts.ops for f in self.functions if f._segments.parts is not None)

    def turn(self, number: int) -> None:
        """One call: its result or error, what it printed, how it was served, how long it took."""
        arguments = self.run.arguments(number)
        out, errors = io.StringIO(), io.StringIO()
        call, clock = self.run.call, self.clock
        self.counter.ops = self.counter.collected = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            start = clock()
            try:
                result = call(*arguments)
            except Exception as error:
                result = error
            self.seconds.append(clock() - start)
        same = [index for index, given in enumerate(arguments) if given is result]
        self.outcomes.append((frozen(result), same, out.getvalue(), errors.getvalue()))
        self.counts.append(self.served())

    def state(self) -> Any:
        """What the program has left behind."""
        return frozen(self.run.state())


class Turns:
    """A program in both worlds, some calls in one, then the same calls in the other."""

    def __init__(self, program: Program, clock: Callable[[], float] = time.perf_counter) -> None:
        self.plain, self.traced = (World(program, on, clock) for on in (False, True))
        # both are asked, as what runs between two calls is in the caches that the next one needs
        self.plain.asked = self.traced.functions
        self.wrong = ""

    def play(self, calls: int, chunk: int = CHUNK) -> str:
        """Run the first calls; the first difference, '' without one."""
        for start in range(0, calls, chunk):
            worlds = (self.plain, self.traced)
            for world in worlds if start // chunk % 2 else reversed(worlds):
                with world.entered():
                    for number in range(start, min(start + chunk, calls)):
                        world.turn(number)
            self._compare(start)
            if self.wrong:
                break
        return self.wrong

    def _compare(self, start: int) -> None:
        pairs = list(zip(self.plain.outcomes, self.traced.outcomes))[start:]
        for number, (plain, traced) in enumerate(pairs, start):
            for what, one, other in zip(("result", "alias", "output", "errors"), plain, traced):
                if found := difference(one, other):
                    self.wrong = f"call {number}, {what} {found}"
                    return
        for what, one, other in (
            ("state", self.plain.state(), self.traced.state()),
            ("random numbers", frozen(self.plain.random), frozen(self.traced.random)),
        ):
            if found := difference(one, other):
                self.wrong = f"after call {len(self.plain.outcomes) - 1}, {what} {found}"
                return


def state_of(counts: list[Counts], last: int = SETTLED) -> str:
    """How a program's last calls were served: the worst of them."""
    done = counts[-1] - counts[-1 - min(last, len(counts) - 1)]
    if done.records:
        return "recording"
    if done.eager:
        return "eager"
    return "deferred" if done.deferred else "native"


def _current_mode() -> Any:  # runs as the door's function of that name
    mode = LOCAL.mode  # type: ignore[name-defined]  # noqa: F821
    return None if getattr(mode, "only_counts", False) else mode


@contextlib.contextmanager
def deferring(choice: str) -> Iterator[None]:
    """Pieces and Deferred mode "always" or "never" where Python must run, or by the clock."""
    before = CHOICE[0], PIECES[0]
    CHOICE[0] = PIECES[0] = choice
    try:
        yield
    finally:
        CHOICE[0], PIECES[0] = before


@contextlib.contextmanager
def _collected(counter: _Counter) -> Iterator[None]:
    """Ops of segments of two and more are counted."""
    before = Segments.values

    def values(self: Segments, segment: Any, held: Any) -> Any:
        size = sum(1 for _ in segment.ops())
        counter.collected += size if size > 1 else 0
        return before(self, segment, held)

    Segments.values = values
    try:
        yield
    finally:
        Segments.values = before


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """Decorated functions do not take a counter for a mode that they are part of.

    The code is exchanged and no name is, because names that hybrid looks up are facts."""
    before = door.current_mode.__code__
    door.current_mode.__code__ = _current_mode.__code__.replace(co_filename=before.co_filename)
    try:
        yield
    finally:
        door.current_mode.__code__ = before


def ops_inside(program: Program, calls: int = LAST, first: int = FIRST) -> float:
    """The share of the tensor ops of calls first..calls that ran inside plans and segments.

    Ops of recorded calls are outside, and so are those of deferred calls that were not collected
    into segments of two and more: both modes stand in the counter's place."""
    plain, traced = World(program, False), World(program, True)
    ops: dict[bool, list[tuple[int, int]]] = {}
    for world in (plain, traced):
        seen = ops[world.decorated] = []
        with _unseen(), world.entered(), _collected(world.counter):
            for number in range(calls):
                before = world.apart()
                special, outer = door.STATE.special, door.push_mode(world.counter)
                try:
                    world.turn(number)
                finally:  # a deferred call takes the counter's place, and leaves none
                    door.LOCAL.mode, door.STATE.special = outer, special
                collected = world.counter.collected + world.apart() - before
                seen.append((world.counter.ops, collected))
    total, left = 0, 0
    for number in range(first, calls):
        needed, (outside, collected) = ops[False][number][0], ops[True][number]
        done = traced.counts[number] - traced.counts[number - 1]
        if done.deferred:
            outside = needed - collected
        total += needed
        left += needed if done.records else max(0, min(needed, outside))
    return 1 - left / total if total else 1.0


class Row(NamedTuple):
    """What is known of one program."""

    name: str
    category: str
    state: str
    settled: int | None  # calls until none is recorded or eager; None: never
    inside: float  # share of its ops inside plans and segments
    ratio: float  # calls 101 to 200 against eager, median over pairs of chunks
    whole: float  # all calls against eager, recording and compiling included
    eager_us: float
    records: int
    compilations: int
    segments: int
    signatures: int
    wrong: str
    why: str

    @property
    def fine(self) -> bool:
        """Whether it counts as native for the bar: settled, most ops inside, right."""
        return not self.wrong and self.settled is not None and self.inside >= 0.8


def _settled(counts: list[Counts]) -> int | None:
    last = 0
    for number, (before, after) in enumerate(zip([Counts(), *counts], counts)):
        done = after - before
        if done.records or done.eager:
            last = number + 1
    return last if last < len(counts) - SETTLED else None


def _why(world: World) -> str:
    """The first reason that its functions give."""
    for function in world.functions:
        for state in getattr(function, "_signatures", {}).values():
            if state.state != "REPLAY" and state.why:
                return state.why
    texts = [s.text for f in world.functions for s in f._signatures.values() if s.text]
    return f"recorded again: {texts[0]}" if texts else ""


class _Prepared:
    """The executor, counting what it prepares."""

    def __init__(self, executor: Any) -> None:
        self.executor, self.count = executor, 0

    def prepare(self, recording: Any) -> Any:
        self.count += 1
        return self.executor.prepare(recording)

    def fill(self, recording: Any, made: Any) -> Any:
        """A plan that was made for many sizes, which compiles nothing."""
        return self.executor.fill(recording, made)


def measure(
    program: Program,
    calls: int = CALLS,
    clock: Callable[[], float] = time.perf_counter,
) -> Row:
    """Compare and time a program."""
    turns = Turns(program, clock)
    executor = _Prepared(prepare.CHOICE.executor)
    previous = decorator.set_executor(executor)
    try:
        wrong = turns.play(calls)
    finally:
        decorator.set_executor(previous)
    plain, traced = turns.plain, turns.traced
    ratios = [  # two chunks, in which each world went first once
        sum(traced.seconds[start : start + 2 * CHUNK])
        / sum(plain.seconds[start : start + 2 * CHUNK])
        for start in range(FIRST, min(LAST, len(plain.seconds)), 2 * CHUNK)
    ]
    done, state = traced.counts[-1], state_of(traced.counts)
    share = 0.0
    if not wrong:  # the counter takes time, so the choice by the clock is the one that was made
        with deferring("never" if state == "eager" else "always"):
            share = ops_inside(program, min(LAST, calls), min(FIRST, calls // 2))
    return Row(
        program.name,
        program.category,
        state,
        _settled(traced.counts),
        share,
        statistics.median(ratios) if ratios else float("nan"),
        sum(traced.seconds) / sum(plain.seconds),
        statistics.median(plain.seconds) * 1e6,
        done.records,
        max(done.compilations, executor.count),
        done.segments,
        sum(function.cache_info().signatures for function in traced.functions),
        wrong,
        _why(traced),
    )
