"""The part of `Function` that runs a function in pieces where whole calls cannot be replayed.

Invariant: which of the ways serves calls is found out by taking turns, as all give the same bits;
where pieces are not faster the function is served as it was before, and costs no more.
"""

from __future__ import annotations

import functools
import os
import types
import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal, TypeAlias

from ..fallback.budget import Budget, Priced
from ..fallback.deferred import CHOICE, MOST_TURNS, TURNS, Choice, Deferral, Deferring, chosen, pays
from ..heap.signature import Regard
from ..record.recording import Refused
from ..watch.ran.seen import WHOLE
from .drive import KEPT, Sites, Split, Standing, splittable

__all__ = ["PIECES", "InPieces", "Splitting"]

# whether functions run in pieces: by the clock, unless deferred calls are asked for or forbidden
PIECES: list[Choice] = [chosen(os.environ.get("HYBRID_PIECES") or "auto", "HYBRID_PIECES")]

FASTER = 0.95  # of the time of an eager call: worth it
EARLY = 256  # more replays than those of plans that are timed
PATIENCE = 64  # calls in which pieces are recorded, before they are given up
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


Verdict: TypeAlias = Literal["", "pieces", "whole"]


class InPieces:
    """How calls of one signature are run: `verdict` is empty while that is being found out;
    `whole`: how they go on if pieces are not faster."""

    __slots__ = ("split", "whole", "verdict", "fresh", "steady", "pieces", "eager")

    def __init__(self, split: Split, whole: Deferral | None) -> None:
        self.split, self.whole = split, whole
        self.verdict: Verdict = ""
        self.fresh = self.steady = 0  # calls in which something was recorded, or nothing
        self.pieces: list[float] = []  # seconds of calls in which nothing was
        self.eager: list[float] = []

    def timed(self, seconds: float, before: int) -> None:
        """A call in pieces took this long; `before`: the news before it."""
        split = self.split
        if split.news == before:
            self.steady += 1
            self.pieces.append(seconds)
        else:
            self.fruitless()
        if split.hopeless or self.verdict:
            self.verdict = "whole"
        elif PIECES[0] == "always" and self.steady >= TURNS:
            if split.native or self.steady >= MOST_TURNS:
                self.verdict = "pieces" if split.native else "whole"

    def fruitless(self) -> None:
        """A call raised, or something was recorded in it: nothing to compare."""
        self.fresh += 1
        if self.fresh > PATIENCE:
            self.verdict = "whole"

    def decide(self) -> None:
        """As many calls of each way have been timed."""
        found = pays(self.pieces, self.eager, FASTER)
        if found is not None:
            self.verdict = "pieces" if found else "whole"

    def found(self) -> Verdict:
        """What is known by now."""
        return self.verdict

    def __str__(self) -> str:
        return "\n".join(self.split.lines())


class Splitting(Deferring):
    """See the head of this file.

    `_sites`: where in its `_code` the latest refused call was refused; `_told`: of a piece, what is
    called when it is given up."""

    _replays: int
    _records: int
    _compiled: int
    _learned: int
    _looped: int = 0
    _direct: Any
    _straight: Any = None
    _handles_errors: bool
    _eagerly: Callable[..., Any]
    _attribute: Callable[..., None]
    _wait: bool | None
    _budget: Budget
    _signatures: Any
    _name: Callable[[], str]
    _split: Split | None = None
    _told: Callable[[Sites, int], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._sites: Sites = {}
        self._code: types.CodeType | None = None

    def _refused(self, state: Any, recording: Refused) -> None:
        """A recorded call can not be replayed."""
        state.effects += 1
        if state.family is not None:  # the code of its other members is the same
            state.family.follows = True
        state.why, state.reasons = recording.reasons[0], recording.reasons
        self._sites, self._code = dict(recording.sites), recording.code
        if self._told is not None:
            self._told(self._sites, recording.operations)

    def _go_on(self, state: Any, deferral: Deferral | None, forever: bool) -> None:
        """Run calls of a signature that was given up; said once, unless they are served."""
        if self._told is not None:
            deferral = None
        elif not forever:
            split = self._cut()
            if split is not None:
                state.state, state.deferral = "PIECES", InPieces(split, deferral)
                return
        self._in_whole(state, deferral)

    def _in_whole(self, state: Any, deferral: Deferral | None) -> None:
        self._run_python(state, deferral)
        self._say(state.why, f"runs eagerly because it {state.why}{state.how}")

    def _cut(self) -> Split | None:
        """The function in pieces, if it can be cut at the latest sites."""
        sites, self._sites = self._sites, {}
        if PIECES[0] == "never" or (PIECES[0] == "auto" and CHOICE[0] != "auto"):
            return None
        if (
            WHOLE in sites
            or not {"read", "call"}.intersection(sites.values())
            or not splittable(self.fn)
            or self.fn.__code__ is not self._code
        ):
            return None
        split = self._split
        if split is None or split.code is not self._code:
            assert type(self.fn) is types.FunctionType
            kind = getattr(type(self), "tried", type(self))  # the class of functions on no trial
            split = Split(self.fn, functools.partial(_piece, kind, self._wait, self._budget))
        split.cut(sites)
        if split.call is None or split.hopeless:
            return None
        self._split, split.forget = split, _forgetting(weakref.ref(self))
        return split

    def _takes(self, regard: Regard) -> bool:
        """Whether calls may go on with arguments taken in this way: content is new in each call of
        a piece, which is rather cut where it looks at it."""
        return self._told is None or not (regard.content or regard.identity or regard.prepares)

    def tell(self, refused: Callable[[Sites, int], None]) -> None:
        """It is a piece: what to call when a call of it is refused; it says nothing itself.

        >>> import hybrid
        >>> piece = hybrid.function(lambda x: x + x)
        >>> piece.tell(lambda sites, operations: print("refused"))
        """
        self._told = refused

    def _say(self, reason: str, text: str) -> None:
        """One message per function; a piece has none, as the function around has its own."""
        if self._told is None:
            super()._say(reason, text)  # type: ignore[misc]

    def standing(self) -> Standing:
        """How its calls are served.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> for _ in range(4): _ = double(hybrid.ones(2))
        >>> double.standing().replays, double.standing().plans
        (2, (1,))
        """
        states = list(self._signatures.everything())
        plans = [plan for state in states for plan in state.plans]
        waiting = [recording for state in states for recording in state.pending]
        waiting += [plan.recording for state in states for plan in state.resting]
        whole = self._eager + self._deferred
        calls = self._records + self._compiled + whole + self._learned
        return Standing(
            calls * EARLY - sum([plan.untimed for plan in plans]),
            self._replays,
            whole,
            tuple([len(plan.recording.graph.nodes) for plan in plans]),
            tuple([len(recording.graph.nodes) for recording in waiting]),
            bool(states) and all(state.state in ("EAGER", "DEFERRED") for state in states),
        )

    def _done(self) -> bool:
        """Whether a call in pieces has given NotImplemented, which is its result."""
        nothing, KEPT.nothing = KEPT.nothing, False
        return nothing

    # ---- calls
    def _by_way(self, args: Args, kwargs: Kwargs) -> Any:
        """A call with keywords, by ways that are known or in pieces; NotImplemented: it is not
        served, or that is its result (`_done`)."""
        split = self._split
        if split is None or self._direct is not split.call or split.code is not self.fn.__code__:
            return super()._by_way(args, kwargs)  # type: ignore[misc]
        result = split.run(*split.bound(args, kwargs))
        KEPT.nothing = result is NotImplemented
        self._replays += 1
        return result

    def _defer(self, state: Any, args: Args, kwargs: Kwargs) -> Any:
        trial = state.deferral
        if type(trial) is InPieces and trial.verdict == "whole":  # found by another signature
            self._in_whole(state, trial.whole)
            trial = trial.whole
            if trial is None:
                return self._eagerly(args, kwargs)
        if type(trial) is not InPieces:
            return super()._defer(state, args, kwargs)
        split = trial.split
        if split.code is not self.fn.__code__:
            self._in_whole(state, trial.whole)
            self._eager += 1
            return self.fn(*args, **kwargs)
        given = split.bound(args, kwargs)
        if trial.verdict == "pieces":
            return self._in_pieces(state, split, given)
        if PIECES[0] != "always" and len(trial.eager) < len(trial.pieces):
            result = self._eager_turn_of(trial, args, kwargs)
        elif PIECES[0] != "always" and not self._budget.may_try(self._replays):
            return self._eagerly(args, kwargs)
        else:
            with Priced(self._budget, tries=True, replay=True):
                result = self._pieces_turn_of(trial, state, given)
        found = trial.found()
        if found == "whole":
            self._in_whole(state, trial.whole)
        elif found == "pieces":
            state.patience = 0
            self._serve_pieces(split)
        return result

    def _eager_turn_of(self, trial: InPieces, args: Args, kwargs: Kwargs) -> Any:
        start = perf_counter()
        self._eager += 1
        with Priced(self._budget, tries=False):
            result = self.fn(*args, **kwargs)
        trial.eager.append(perf_counter() - start)
        if len(trial.eager) >= TURNS:
            trial.decide()
        return result

    def _pieces_turn_of(self, trial: InPieces, state: Any, given: Args) -> Any:
        before, start = trial.split.news, perf_counter()
        try:
            result = self._run_pieces(state, trial.split, given)
        except BaseException:
            trial.fruitless()
            raise
        seconds = perf_counter() - start
        trial.split.settle()
        trial.timed(seconds, before)
        return result

    def _run_pieces(self, state: Any, split: Split, given: Args) -> Any:
        self._replays, self._looped = self._replays + 1, self._looped + 1
        state.calls += 1
        return split.run(*given)

    def _in_pieces(self, state: Any, split: Split, given: Args) -> Any:
        before = split.news
        result = self._run_pieces(state, split, given)
        if split.stale or split.news != before:
            split.settle()
        if split.hopeless:
            self._in_whole(state, state.deferral.whole)
        elif not split.stale:
            self._serve_pieces(split)
        return result

    def _serve_pieces(self, split: Split) -> None:
        """Let bare arguments go to the pieces without a look at their signature."""
        if not any(state.plans for state in self._signatures.everything()):
            self._attribute()
            self._straight = None
            self._direct, self._handles_errors = split.call, False


def _forgetting(function: Callable[[], Any]) -> Callable[[], None]:
    """What has the next call of a function look at its signature, which does not keep it."""

    def forget() -> None:
        found = function()
        if found is not None:
            found._direct = None

    return forget


def _piece(kind: Any, wait: bool | None, around: Budget, python: types.FunctionType) -> Any:
    """A piece as a decorated function of the same kind as the one around it, with its account."""
    made = kind(python, wait)
    vars(made)["_budget"].around = around
    return made
