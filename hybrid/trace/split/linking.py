"""The part of `Function` that runs calls which are not recorded in linked code, where functions
that they call again and again are replayed.

Invariant: linked code does what the function does; whether it is faster is found out by taking
turns, and where it is not calls run as if nothing had been linked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import sqrt
from statistics import fmean, median, stdev
from types import FunctionType, MethodType
from typing import Any, Literal, TypeAlias

from ...core import signals
from ...ir.door.context import current_mode, pop_mode, push_mode
from ..fallback.budget import EARLY, Budget
from ..fallback.deferred import CHOICE
from ..fallback.families import Families
from ..fallback.nap import InnerCalls, Nap
from .inner import InnerFunctions, Survey
from .splitting import PIECES

__all__ = ["Linking"]

BEGIN = 6  # eager calls, more than replays unless there are some inside of others, before that
FILLED = 8  # calls for which a size stands that a plan for many served: more will come
RENEWED = 0.9  # of these, signatures that were not seen before: their data is new in each call
WORTH = 20e-6  # seconds of an eager call in which there is something to gain
SURVEYS = 2  # calls that are looked at before the turns begin
STEADY = 2  # calls without news before that
PATIENCE, MOST_PATIENCE = 64, 128  # with news, before it is given up; where something calls itself
RESTLESS = 48  # of these, more than those without, after which news seem to have no end
TURNS, MOST_TURNS = 8, 32  # calls of each kind: they are of ever other sizes
FASTER, CLEARLY = 0.95, 1.5  # of the time of eager calls: worth it, evidently not
SURE = 3.0  # standard errors by which that has to be so: it is looked at after each pair
OFTEN = 16  # calls after which functions that are not replayed are looked for
Turn: TypeAlias = Literal["survey", "linked", "eager"]


class Linked:
    """How calls run: `verdict` is empty while that is being found out.

    `calls`: those in linked code; `next`: of these, the one that is looked at again."""

    __slots__ = ("inner", "verdict", "surveys", "steady", "fresh", "calls", "next", "news") + (
        "linked",
        "eager",
    )

    def __init__(self, inner: InnerFunctions) -> None:
        self.inner = inner
        self.verdict: Literal["", "linked", "whole"] = ""
        self.surveys = self.steady = self.fresh = self.calls = 0
        self.next = self.news = 0
        self.linked: list[float] = []  # seconds of calls in which nothing was recorded
        self.eager: list[float] = []

    @property
    def lost(self) -> bool:
        """Whether linked code is not faster."""
        return self.verdict == "whole"

    @property
    def lasts(self) -> bool:
        """Whether calls go on in linked code, or something calls itself, so that data is new."""
        return self.verdict != "whole" or self.inner.recursive

    @property
    def proved(self) -> bool:
        """Whether it was faster once, and is found out again."""
        return self.next > 0

    def turn(self) -> Turn:
        """What the next call is."""
        if self.verdict:
            due = self.calls >= self.next
            return "survey" if due and self.verdict == "linked" else "linked"
        if self.surveys < SURVEYS:
            return "survey"
        ready = self.steady > STEADY and PIECES[0] != "always"
        return "eager" if ready and len(self.eager) < len(self.linked) else "linked"

    def ended(self, turn: Turn, seconds: float) -> bool:
        """A call has ended; whether it is known how the next ones run."""
        try:
            self._note(turn, seconds)
        except Exception as error:  # of hybrid's own work, behind a call that has run
            if signals.foreign(error):
                raise
            self.verdict = "whole"
        return self.lost or (bool(self.verdict) and self.calls < self.next)

    def _note(self, turn: Turn, seconds: float) -> None:
        inner = self.inner
        if turn == "survey":
            self._surveyed()
        elif turn == "eager":
            self.eager.append(seconds)
            if len(self.eager) >= TURNS:
                self._decide()
        elif not self.verdict:
            inner.settle()
            news, before = inner.news, self.news
            self.news = news
            if news == before:
                self.steady += 1
                if self.steady > STEADY:
                    self.linked.append(seconds)
            else:
                self.fresh += 1
            restless = self.fresh > max(RESTLESS, self.steady) and not inner.recursive
            most = MOST_PATIENCE if inner.recursive else PATIENCE
            if restless or self.fresh > most or not inner.hopeful:
                self.verdict = "whole"
            elif PIECES[0] == "always" and self.steady > STEADY:
                self.verdict = "linked"
        elif not self.calls % OFTEN:
            inner.settle()
            if not inner.hopeful:
                self.verdict = "whole"

    def _surveyed(self) -> None:
        self.surveys += 1
        self.inner.relink()
        if self.verdict:  # found out again, too: calls may have become others
            self.next = 4 * max(self.calls, OFTEN)
            if PIECES[0] != "always":
                self.verdict, self.linked, self.eager = "", [], []
        elif self.surveys == SURVEYS and not self.inner.hopeful:
            self.verdict = "whole"

    def _decide(self) -> None:
        """As many calls of each way have been timed; the later half counts, as plans are on trial
        at first."""
        late = [way[-max(TURNS, len(way) // 2) :] for way in (self.linked, self.eager)]
        ways, last = list(map(_counted, late)), len(self.eager) >= MOST_TURNS
        ratio, error = _ratio(*ways)
        usual = median(ways[0]) / max(median(ways[1]), 1e-9)
        spread = error if last else SURE * max(error, _ratio(*late)[1])
        surely, least = ratio + spread <= 1.0, min(ratio, usual)
        if surely and max(ratio, usual) <= FASTER:
            self.verdict = "linked"
        elif last or least > CLEARLY or (least > FASTER and ratio - SURE * error > FASTER):
            self.verdict = "whole"

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """A call in linked code."""
        inner, mode = self.inner, current_mode()
        if mode is not None and type(mode) is not Survey:
            return inner.fn(*args, **kwargs)
        self.calls += 1
        return inner.given(inner.fn)(*args, **kwargs)

    def survey(self, *args: Any, **kwargs: Any) -> Any:
        """A call that is looked at."""
        inner = self.inner
        if current_mode() is not None:  # it is one inside of another
            return self.call(*args, **kwargs)
        return inner.survey(args, kwargs, push_mode, pop_mode)

    def wait(self, limit: float | None) -> bool:
        """Whether what was recorded of inner functions is compiled before that moment."""
        return all(
            f.wait(None if limit is None else max(limit - time.monotonic(), 0.0))
            for f in list(self.inner.decorated())
        )

    @property
    def native(self) -> bool:
        """Whether calls in linked code count as replays: operations run in plans, but for a few."""
        return self.verdict == "linked" and self.inner.native

    def lines(self) -> list[str]:
        """What `explain` says."""
        if self.verdict == "whole" or not self.calls:
            return []
        way = "in turns with plain ones" if not self.verdict else "which is faster"
        head = f"{self.calls} calls with replays of functions that they call, {way}"
        return [head, *self.inner.lines()]


def _counted(seconds: list[float]) -> list[float]:
    """All but the slowest in eight, which something else is likely to have interrupted."""
    return sorted(seconds)[: -(len(seconds) // TURNS) or None]


def _ratio(linked: list[float], eager: list[float]) -> tuple[float, float]:
    """The mean of some seconds over that of others, and its standard error: two samples of calls of
    any sizes."""
    means = [max(fmean(seconds), 1e-9) for seconds in (linked, eager)]
    ratio = means[0] / means[1]
    spread = [
        (stdev(seconds) / mean) ** 2 / len(seconds) for seconds, mean in zip((linked, eager), means)
    ]
    return ratio, ratio * sqrt(sum(spread))


class Linking:
    """See the head of this file."""

    fn: Callable[..., Any]
    _budget: Budget
    _replays: int
    _records: int
    _eager: int
    _wait: bool | None
    _told: Any
    _nested: InnerCalls
    _nap: Nap
    _signatures: Any
    _families: Families
    _links: bool = True  # whether it is no inner function of another one
    _linked: Linked | None = None

    def _turn_linked(self) -> Turn | None:
        """How an outermost call that is not recorded runs; None: eagerly."""
        linked = self._linked
        if linked is None or linked.inner.fn is not self.fn:
            linked = self._begin_linked()
        if linked is None or linked.verdict == "whole":
            return None
        turn = linked.turn()
        # what was found out before is found out again as it goes on
        free = linked.verdict or linked.proved or turn == "eager" or PIECES[0] == "always"
        return turn if free or self._budget.may_try(self._replays) else None

    def _account(self, turn: Turn | None, start: float, seconds: float, making: float) -> None:
        """Note a call that was not recorded, and began then: one that finds out how calls are to
        run costs the look at it, too, as calls that do not are not all looked at."""
        linked = self._linked
        if turn in ("survey", "linked") and linked is not None and not linked.verdict:
            began = self._nap.began or start
            self._budget.tries(seconds + max(start - began, 0.0), making)
        else:
            self._budget.ran(seconds, making)

    def _begin_linked(self) -> Linked | None:
        inside = self._nested
        if inside.outer < BEGIN or not self._links or self._told is not None:
            return None
        served = self._replays + FILLED * self._families.filled
        if inside.outer < served and not inside.met:
            return None
        if PIECES[0] == "never" or (PIECES[0] == "auto" and CHOICE[0] != "auto"):
            return None
        budget, fn = self._budget, self.fn
        python = fn.__func__ if isinstance(fn, MethodType) else fn
        if type(python) is not FunctionType or budget.eager < WORTH * budget.calls:
            return None
        if any([state.work is not None for state in list(self._signatures.values())]):
            return None  # what is being compiled will serve calls
        calls = self._replays + self._records + self._eager
        content = self._families.distinct >= RENEWED * calls
        self._linked = Linked(InnerFunctions(self.fn, self, self._inner_function(), content))
        return self._linked

    def _inner_function(self) -> Callable[[FunctionType], Any]:
        """What decorates a function that this one calls, of the same kind as this one."""
        kind: Any = getattr(type(self), "tried", type(self))
        kind, wait, around = getattr(kind, "awake", kind), self._wait, self._budget

        def make(python: FunctionType) -> Any:
            made = kind(python, wait)
            vars(made).update(_say=_silent, _links=False)
            vars(made)["_budget"].around = around
            return made

        return make

    def _freely(self) -> bool:
        """Whether calls with new signatures are recorded before others like them have paid."""
        linked, recursive = self._linked, self._nested.met
        if linked is not None:
            return not (recursive or linked.lasts)
        return not recursive or self._budget.recordings < EARLY

    def _running(self, turn: Turn | None) -> Callable[..., Any]:
        """What runs a call in a turn."""
        linked = self._linked
        if linked is None or turn is None or turn == "eager":
            return self.fn
        return linked.survey if turn == "survey" else linked.call

    def _settled(self, turn: Turn, seconds: float) -> Callable[..., Any] | None:
        """A call has ended: what runs those that nobody looks at, if that is known."""
        linked = self._linked
        if linked is None or not linked.ended(turn, seconds):
            return None
        return self.fn if linked.lost else linked.call


def _silent(reason: str, text: str) -> None:
    """Says nothing: the function around has its own word."""
