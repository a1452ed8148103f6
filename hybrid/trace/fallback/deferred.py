"""Deferred mode: Python runs at each call, its ops are collected and run as fused native segments.

Invariant: a call leaves exactly what the plain function leaves; nothing is pending after it.  Which
of the two ways is faster is found out by taking turns once the segments of a signature repeat, as
both give the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any, Literal, get_args

from ...control.taps import Probes
from ...core.errors import HybridError
from ...ir.door.context import begin_collecting, current_mode, end_collecting, set_aside
from ...ir.door.pending import COLLECTING, Segment
from ..heap.signature import Regard, signature_of
from ..watch.turns import TURN
from .budget import Budget, Priced
from .nap import InnerCalls
from .parts import LARGE
from .segments import Segments
from .whole_calls import BundleCollector

__all__ = [
    "CHOICE",
    "Choice",
    "Deferral",
    "Deferred",
    "Deferring",
    "MOST_TURNS",
    "TURNS",
    "WITHIN",
    "chosen",
    "pays",
]

Choice = Literal["auto", "always", "never"]


def chosen(word: str, setting: str = "HYBRID_DEFERRED") -> Choice:
    """The choice that a setting names, in any case; HybridError for another word."""
    known: tuple[Choice, ...] = get_args(Choice)
    for choice in known:
        if choice == word.strip().lower():
            return choice
    raise HybridError(
        f"{setting}={word!r} is none of {', '.join(known)}; unset it or give one of these"
    )


CHOICE: list[Choice] = [chosen(os.environ.get("HYBRID_DEFERRED") or "auto")]
TURNS = 4  # calls of each way that are compared, where one is clearly faster
MOST_TURNS = 12  # otherwise: a busy machine slows one down
CLEARLY = 1.5  # as much longer is no chance
SLOWER = 1.05  # as much longer a deferred call may take: a lasting choice is not left to chance
PATIENCE = 32  # calls after which segments that never repeat are given up
LASTS, LONGER = 64, 4  # deferred calls until eager ones are timed again, and how many times as many


class Deferred(BundleCollector):
    """The mode of one call."""

    __slots__ = ("segments",)

    def __init__(self, segments: Segments) -> None:
        super().__init__(segments.bundles)
        self.segments = segments

    def serve(self, segment: Segment, held: tuple[int, ...]) -> Sequence[Any]:
        return self.segments.values(segment, held)

    def part(self, call: Any, module: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """See Collector."""
        parts = self.segments.parts
        if parts is None or self.inline is module:
            self.inline = None
            return NotImplemented
        return parts.run(self, call, module, args, kwargs)


def pays(served: list[float], eager: list[float], most: float) -> bool | None:
    """Whether calls that were served in some way take at most so many times what eager ones do, the
    fastest and the usual ones; None: that is not clear yet."""
    ratio = max([of(served) / max(of(eager), 1e-9) for of in (min, median)])
    if ratio <= most:
        return True
    return False if ratio > CLEARLY or len(eager) >= MOST_TURNS else None


class Deferral:
    """How calls of one signature are run: `verdict` is empty while that is being found out.

    The first eager calls also make their kernels, so that deferred ones are faster is found out
    again: after `left` calls, the next time after `lasts`."""

    __slots__ = ("segments", "verdict", "fresh", "deferred", "eager", "left", "lasts")

    def __init__(self, segments: Segments) -> None:
        self.segments = segments
        self.verdict: Literal["", "deferred", "eager"] = "deferred" if CHOICE[0] == "always" else ""
        self.fresh = 0  # calls that met new segments
        self.deferred: list[float] = []  # seconds of calls that did not
        self.eager: list[float] = []  # of eager calls that followed them
        self.left = self.lasts = LASTS

    def turn(self) -> bool:
        """Whether the next call is deferred: in turns, once segments repeat."""
        return bool(self.verdict) or len(self.eager) >= len(self.deferred)

    def run(
        self, function: Callable[..., Any], args: Any, kwargs: Any, deferred: bool = True
    ) -> Any:
        """One call."""
        if self.verdict:
            if CHOICE[0] != "always":
                self._last()
            return self._collected(function, args, kwargs)
        segments = self.segments
        before = segments.news
        start = perf_counter()
        try:
            if deferred:
                result = self._collected(function, args, kwargs)
            else:
                result = function(*args, **kwargs)
        except BaseException:
            self._fruitless()
            raise
        seconds = perf_counter() - start
        if not deferred:
            self.eager.append(seconds)
            if len(self.eager) >= TURNS:
                self._decide()
        elif before == segments.news:
            self.deferred.append(seconds)
        else:
            self._fruitless()
        return result

    def _fruitless(self) -> None:
        """A call raised, or met new segments: nothing to compare."""
        self.fresh += 1
        if self.fresh >= PATIENCE + 2 * len(self.deferred):
            self.verdict = "eager"

    @property
    def is_first(self) -> bool:
        """Whether it was never found out."""
        return not self.verdict and self.lasts == LASTS

    def _decide(self) -> None:
        found = pays(self.deferred, self.eager, SLOWER)
        if found is not None:
            self.verdict = "deferred" if found else "eager"

    def _last(self) -> None:
        """One more call is deferred for what was found out."""
        self.left -= 1
        if not self.left:
            self.lasts *= LONGER
            self.left, self.verdict, self.fresh = self.lasts, "", 0
            self.deferred, self.eager = [], []

    def _collected(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mode = Deferred(self.segments)
        try:
            begin_collecting(mode)
            return function(*args, **kwargs)
        finally:
            try:
                end_collecting(mode)
            finally:
                if mode in COLLECTING:  # a signal's handler cut it short
                    end_collecting(mode)

    def __str__(self) -> str:
        segments = self.segments
        parts = segments.parts if segments.parts and segments.parts.info else None
        return (
            f"Python runs at each call, operations in fused segments: {len(segments.met)} segments "
            f"known, {segments.compilations} compilations, {segments.runs} runs, "
            f"{segments.native} of them native"
            + (f", {parts.info.replays} replays of modules" if parts else "")
        )


class Deferring:
    """The part of `Function` that runs calls whose Python has to run."""

    fn: Callable[..., Any]
    _budget: Budget
    _eager: int
    _replays: int
    _eagerly: Callable[..., Any]
    _inner: int
    _regard: Regard
    _state: Callable[..., Any]
    _arguments: Callable[..., Any]
    _begun: Callable[..., int]
    _checked: Callable[..., Any]
    __call__: Callable[..., Any]
    _nested: InnerCalls

    def __init__(self) -> None:
        self._deferred = 0
        self._inner = 0  # calls inside of recorded and deferred ones
        self._probes = Probes(self.fn, self._begun)
        self._segments = Segments(type(self))
        self._common: Deferral | None = None

    def _deferral(self) -> Deferral | None:
        """How the calls of a signature go on; None: eagerly."""
        return None if CHOICE[0] == "never" else Deferral(self._segments)

    def _of_all(self) -> Deferral | None:
        """The same for signatures that are not kept."""
        if self._common is None:
            self._common = self._deferral()
        settled = self._common is not None and self._common.verdict == "eager"
        return None if settled else self._common

    def _of_others(self) -> Deferral | None:
        """The same for signatures that are not recorded because others like them come as well:
        they have no segments in common, so collecting is not tried without being asked for."""
        return self._of_all() if CHOICE[0] == "always" else None

    @staticmethod
    def _run_python(state: Any, deferral: Deferral | None) -> None:
        """Let calls run the function itself, its ops in segments where there is a deferral."""
        state.deferral = deferral
        state.state = "EAGER" if deferral is None else "DEFERRED"

    def _within(self, args: Any, kwargs: Any) -> Any:
        """A call inside a recorded or deferred call is part of it; but inside a deferred one a
        function that is recorded, or that replays so many ops that this pays, is on its own."""
        mode = current_mode()
        self._inner += 1
        self._nested.met = self._nested.met or TURN.function is self
        if not mode.defers:
            return self._checked(mode, args, kwargs) if mode.checks else self.fn(*args, **kwargs)
        given, named = self._arguments(args, kwargs)
        state = self._state(signature_of(given, named, self._regard)[0])
        recordings = [plan.recording for plan in state.plans[:1]] if state is not None else []
        apart = state is None or state.state == "RECORD"
        if recordings:
            apart = recordings[0].tape is None and len(recordings[0].graph.nodes) >= LARGE
        if not apart:
            return self.fn(*args, **kwargs)
        try:
            set_aside(mode)
            return self(*args, **kwargs)
        finally:
            if current_mode() is not mode:
                begin_collecting(mode)

    def _defer(self, state: Any, args: Any, kwargs: Any) -> Any:
        """A call in the state DEFERRED: its ops in segments, or eagerly in turns."""
        deferral: Deferral = state.deferral
        try:
            return self._in_turns(deferral, args, kwargs)
        finally:
            if deferral.verdict == "eager":
                self._run_python(state, None)

    def _in_turns(self, deferral: Deferral, args: Any, kwargs: Any) -> Any:
        deferred, account = deferral.turn(), self._budget
        if deferred and deferral.is_first and not account.may_try(self._replays):
            return self._eagerly(args, kwargs)
        self._deferred += deferred
        self._eager += not deferred
        if deferral.verdict:
            account.went()
            return deferral.run(self.fn, args, kwargs, deferred)
        with Priced(account, tries=deferred):
            return deferral.run(self.fn, args, kwargs, deferred)


WITHIN = vars(Deferring)["_within"].__code__  # of frames between a call and one that is part of it
