"""Calls of a @function that run eagerly: while it is compiled, and after it was given up.

Invariant: a call takes what the compiler has finished, or goes on without; only `wait` waits.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...core import signals
from ...core.cache import keep
from ...core.signals import from_handler
from ...ir.door.context import LOCAL, STATE, push_mode
from ...ir.door.pending import COLLECTING
from ...ir.door.resolved import MAKING
from ..fallback.budget import AGAIN, CLOCK, EFFECTS, GIVE_UP, MANY, REFUSED
from ..fallback.families import Families, go_like, shape_of
from ..fallback.nap import UNCOUNTED, InnerCalls, Nap, Napping
from ..heap.data import one_array_twice, told_apart
from ..heap.signature import signature_of, unchecked
from ..record.recorder import Recorder
from ..record.wording import why_not
from ..watch.passed.regards import freed
from .background import Compilation
from .paths import crossing, leads
from .plans import ReplayPlan
from .prepare import MISS
from .signatures import SignatureState
from .told.looked import Looked
from .ways import EACH, FREE, MAX_WAYS, UntapedWays, Way, Ways, way_of

__all__ = ["Unserved"]

WAITS = (
    "calls with other numbers, texts, sizes or objects than before are recorded when the same come "
    "again"
)
NEW_SIGNATURES = (
    "is called with ever new signatures (shapes, dtypes, Python numbers or objects as arguments), "
    "each of which runs eagerly until its calls would have paid for a recording; pass what changes "
    "as tensors or NumPy arrays, pad shapes to a few sizes"
)
EACH_LINKED = 8  # replays that count as one where the other calls run in linked code


class Unserved(Napping, Looked):
    """The part of `Function` that meets eager calls and finished compilations.

    `_learned`: ways that were made."""

    _direct: Callable[..., Any] | None
    _handles_errors: bool
    _wait: bool | None
    _deferred: int
    _run_python: Callable[..., None]
    _of_others: Callable[[], Any]
    _in_turns: Callable[..., Any]
    _replayed: Callable[[ReplayPlan, list[Any]], Any]
    _signed: Callable[..., Any]
    _doubt: Callable[[ReplayPlan, float], None]
    _turn_linked: Callable[[], Any]
    _account: Callable[..., None]
    _freely: Callable[[], bool]
    _running: Callable[[Any], Callable[..., Any]]
    _settled: Callable[[Any, float], Callable[..., Any] | None]
    _install: Callable[[SignatureState, ReplayPlan], None]
    _broken: Callable[[SignatureState, Exception, str], bool]
    _give_up: Callable[[SignatureState], None]

    _turned: str = ""  # why its arguments are part of signatures by value or content
    _waiting: str = ""  # why calls run in Python though nothing stands against a replay

    def __init__(self) -> None:
        Napping.__init__(self)
        self._families, self._nap, self._nested = Families(), Nap(), InnerCalls()
        self._budget.inner = self._nested
        self._learned = 0
        self._untaped: UntapedWays | None = None  # of calls while gradients are not recorded

    def _missed_again(self, state: SignatureState, told: bool = True) -> bool:
        """Note that no plan served a call, and why where that is `told`; true when that is given
        up."""
        plans, aside = state.plans, state.known_paths.aside
        state.known_paths.aside = False
        if not plans or aside:  # what a tensor holds is no fault of the facts
            return False
        if told:
            state.text = why_not(plans[0].recording.facts)
        state.misses = state.misses + 1 if state.mark == self._replays else 0
        state.mark = self._replays
        done = state.misses >= GIVE_UP or state.known_paths.unsettled(self._replays)
        if done:
            state.why = f"never does the same twice: {state.text}"
            self._give_up(state)
        return done

    def _blame(self, state: SignatureState, reason_given: str = "") -> None:
        """Note a recording that agrees with none before."""
        state.fails += 1
        state.why = reason_given or state.why
        if state.fails >= GIVE_UP and not (state.known_paths.several and state.seal()):
            state.why = f"never does the same twice: {state.why}"
            self._give_up(state)

    def _new_state(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[SignatureState, list[Any]]:
        """The state of a call whose signature is not in the table, which it enters if it is
        recorded, and the tensors of the call."""
        self._regard = freed(self.fn, self._signatures.numbers, self._regard, args, kwargs)
        signature, tensors, objects = signature_of(args, kwargs, self._regard)
        known = self._signatures
        state = known.get(signature) or known.again(signature)
        if state is None and objects and known.fresh.opens(objects):
            signature, tensors, objects = signature_of(args, kwargs, self._regard)
            state = known.get(signature) or known.again(signature)
        if state is None and type(signature[-1]) is tuple:
            found = self._with_one_array_twice(signature, tensors)
            if found is not None:
                return found
        return state or self._made(signature, objects), tensors

    def _with_one_array_twice(
        self, signature: Any, tensors: list[Any]
    ) -> tuple[SignatureState, list[Any]] | None:
        """The state of calls with distinct arrays, where it has plans."""
        known, each = self._signatures, told_apart(tensors, signature[-1])
        if each is None:
            return None
        state = known.get(signature[:-1]) or known.again(signature[:-1])
        if state is not None and state.plans:
            return state, each
        return None

    def _made(self, signature: Any, objects: list[Any]) -> SignatureState:
        state, why = SignatureState(), unchecked(signature)
        state.prepares, state.writes = self._regard.prepares, self._signatures.writes
        if why:
            state.why = why
            self._run_python(state, self._of_all())
            self._say("", f"runs eagerly because it {why}{state.how}")
            return state
        family = self._families.of(signature)
        alike = family.alike()
        if alike is not None and not self._signatures.admit(signature, state, objects, self):
            go_like(state, alike)
            return state
        budget, replays, weight = self._budget, self._replays, self._nap.weight
        freely = self._freely()
        if not self._families.admits(family, signature, budget, replays, weight, freely):
            self._run_python(state, self._of_others())
            self._waiting = WAITS + (f": it {self._turned}" if self._turned else "")
            self._nap.hopeful = freely and family.hopeful and budget.allows(replays)
            if family.distinct > MANY and (self._linked is None or self._linked.lost):
                self._say("", NEW_SIGNATURES)
            return state
        why = self._signatures.admit(signature, state, objects, self)
        if why:
            self._run_python(state, self._of_all())
            self._say("", why)
            return state
        state.family, state.shape = family, shape_of(signature)
        family.add(state)
        return state

    def _sealed(self, state: SignatureState) -> bool:
        """Whether a call that no plan serves runs eagerly, as others like it had effects."""
        if not state.plans:
            return False
        state.fruitless += 1
        if state.fruitless > GIVE_UP + AGAIN:
            state.fruitless = GIVE_UP - 2  # what stood against it may be gone
        if not state.sealed and state.fruitless <= GIVE_UP:
            return False
        if not state.known_paths.aside:
            count = state.fruitless  # looking for the reason takes longer than a small call
            self._missed_again(state, count & (count - 1) == 0)
        elif state.known_paths.lost(self._replays):
            self._give_up(state)
        return True

    def _of_all(self) -> Any:
        """The deferral of calls of no signature."""
        raise NotImplementedError

    def _raised(self, state: SignatureState) -> None:
        """A recorded call raised: where others replay, calls that no plan serves are soon not
        recorded any more."""
        state.effects += bool(state.plans)
        if state.effects >= EFFECTS and state.seal():
            state.why = "raised an exception"
        else:
            self._blame(state, "raised an exception")

    @signals.critical
    def _watched(
        self,
        state: SignatureState,
        recorder: Recorder,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run the call under a recorder and its watch: its result, and an error of the watch."""
        watch, handled = recorder.watch, signals.handled()
        assert watch is not None
        outer, finished = push_mode(recorder), False
        try:
            with watch:
                result = self.fn(*args, **kwargs)
                finished = True
            return result, None
        except BaseException as error:
            ours = signals.handled() == handled and not signals.foreign(error)
            if finished and isinstance(error, Exception) and ours:
                return result, error
            if signals.handled() == handled:
                self._raised(state)
            raise
        finally:  # as pop_mode does
            STATE.special += (LOCAL.mode is None) - (outer is None)
            LOCAL.mode = outer
            signals.take_back()

    def _eagerly(self, args: tuple[Any, ...], kwargs: dict[str, Any], sealed: bool = False) -> Any:
        """Run the user's function as it is; its ops in segments where others are replayed."""
        deferral = self._of_all() if sealed else None
        if deferral is not None:
            return self._in_turns(deferral, args, kwargs)
        self._eager += 1
        inside = self._nested
        turn = self._turn_linked() if inside.enter() else None
        run, blind = self._running(turn), False
        if not inside.depth and (inside.unlooked() or turn is not None):
            blind = self._sleep(UNCOUNTED, run)
        counts, inside.depth = (self._eager, self._replays + self._records), inside.depth + 1
        outer, start, made = self._budget.enter(), CLOCK[0](), MAKING.total
        try:
            return run(*args, **kwargs)
        finally:
            seconds = self._budget.leave(outer, CLOCK[0]() - start)
            inside.depth -= 1
            self._account(turn, start, seconds, MAKING.total - made)
            if blind:
                self._wake()
            elif not inside.depth:
                served = self._replays + self._records - counts[1]
                inside.seen(self._eager - counts[0], served)
            others = self._replays + self._records + self._deferred
            ahead: Callable[..., Any] | None = self.fn
            if turn is not None:
                ahead, others = self._settled(turn, seconds), others // EACH_LINKED
                self._nap.settled = ahead is not None
            rest = 0 if self._unseen or ahead is None else self._nap.tire(others, seconds)
            if rest and self._sleep(rest, ahead):
                self._direct = None

    def _serve_directly(self, plan: ReplayPlan) -> None:
        """Let bare arguments go to this plan without a look at their signature."""
        if plan.served is not None and plan.bare and not STATE.special:
            self._attribute(plan)
            self._direct = plan.served.direct or crossing(plan)
            self._handles_errors = plan.recording.handles_errors
        elif plan.untaped and plan.served is not None:
            self._untaped = known = self._untaped or UntapedWays()
            known.handles = known.handles or plan.recording.handles_errors
            if known.plan() is not plan:
                known.plan = weakref.ref(plan)

    def _off_tape(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that ways of calls without gradients may serve as it is."""
        untaped = self._untaped
        if untaped is not None and not kwargs and not LOCAL.grad and not COLLECTING:
            try:
                result = untaped.serve(args)
            except Exception as error:  # as in a call that records gradients
                if not untaped.handles or from_handler(error):
                    raise
                result = MISS
            if result is MISS:
                self._eager += 1
                return self.fn(*args)
            if result is not NotImplemented:
                self._replays, self._looped = self._replays + 1, self._looped + 1
                return result
        return self._signed(args, kwargs)

    def _by_way(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Serve a call with keywords by one of the ways that are known, or NotImplemented."""
        ways = getattr(self._direct, "ways", None)
        if ways is None:
            return NotImplemented
        try:
            result = ways.named(args, kwargs)
        except Exception as error:  # as in a call without keywords
            if not self._handles_errors or from_handler(error):
                raise
            result = MISS
        if result is MISS:
            self._eager += 1
            return self.fn(*args, **kwargs)
        self._replays += result is not NotImplemented
        return result

    def _learn(
        self,
        state: SignatureState,
        plan: ReplayPlan,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Any],
    ) -> None:
        """Note how calls like this one get to the plan without a look at their signature."""
        waits = plan.untimed or self._learned > FREE + self._replays // EACH
        if waits or one_array_twice(tensors):
            return
        form, direct = (len(args), *kwargs), self._direct
        if STATE.special:
            return None if kwargs else self._learn_untaped(state, plan, args, tensors)
        self._learned += 1
        known = getattr(direct, "ways", None)
        ways = list(known.ways) if known is not None else []
        way = None
        if len(ways) < MAX_WAYS:
            owners = state.owners is not None
            way = way_of(self.fn, plan, (args, kwargs), tensors, self._regard, owners)
        if way is None:
            keep(plan.learned, form, id(direct), MAX_WAYS)
            return
        same = way.serve is direct and not way.names
        if same or any(other[1:] == way[1:] for other in ways):  # one that goes from plan to plan
            keep(plan.learned, form, id(direct), MAX_WAYS)
            return
        if known is None and direct is not None:
            first = self._bare(direct)
            ways = [] if first is None else [first]
        ways = [other for other in ways if other[:3] != way[:3]]
        handles = plan.recording.handles_errors
        self._handles_errors = handles or (bool(ways) and self._handles_errors)
        self._attribute(plan)
        self._direct = Ways([*ways, way], self._look_again).caller()
        keep(plan.learned, form, id(self._direct), MAX_WAYS)

    def _learn_untaped(
        self, state: SignatureState, plan: ReplayPlan, args: tuple[Any, ...], tensors: list[Any]
    ) -> None:
        """The same of a call while gradients are not recorded."""
        if LOCAL.grad or COLLECTING:
            return
        self._learned += 1
        keep(plan.learned, (len(args),), id(self._direct), MAX_WAYS)
        if plan.untaped:
            return
        way = way_of(self.fn, plan, (args, {}), tensors, self._regard, state.owners is not None)
        if way is not None:
            self._untaped = self._untaped or UntapedWays()
            self._untaped.handles |= plan.recording.handles_errors
            self._untaped.learn(way)

    def _bare(self, direct: Callable[..., Any]) -> Way | None:
        """The way that is served directly now."""
        for state in self._signatures.everything():
            for plan in state.plans:
                if leads(direct, plan):
                    return Way(plan, plan.recording.arguments, (), direct)
        return None

    def _went(self, plan: ReplayPlan) -> None:
        """Count a call that a plan has served."""
        self._replays, self._looped = self._replays + 1, self._looped + 1
        plan.calls += 1

    def _look_again(self) -> None:
        """Have the next call looked at, whichever plan it goes to."""
        self._direct = self._untaped = None

    def _timed(self, plan: ReplayPlan, tensors: list[Any]) -> Any:
        """One of the first replays of a plan: how long the second takes is what they take."""
        start = CLOCK[0]()
        result = self._replay(plan, tensors)
        seconds = CLOCK[0]() - start
        self._budget.inside += seconds
        plan.untimed = max(0, plan.untimed - (result is not MISS))
        if not plan.untimed and result is not MISS:
            self._budget.served(seconds)
            self._doubt(plan, seconds)
        return result

    def _affordable(self, state: SignatureState) -> bool:
        """Whether a call may be recorded; where many may not, that is said once."""
        if self._budget.allows(self._replays, -1 if state.pending else bool(state.plans)):
            return True
        self._budget.refused += 1
        if self._budget.refused == REFUSED:
            self._say(
                "",
                f"runs calls of new kinds eagerly for now: {self._budget.recordings} of its calls "
                "were recorded, most for signatures (shapes, dtypes, Python numbers, objects) that "
                "do not come again; pass what changes as tensors (hybrid.asarray makes one)",
            )
        return False

    def _ready(self, state: SignatureState) -> bool:
        """Whether a call may be replayed or recorded, now that its plan may have come, or its
        signature has been given up long enough."""
        self._take(state)
        if state.state == "EAGER":
            again = self._again(state)
            # without a reason it waits for its turn, which calls of others may bring
            self._nap.settled = bool(state.why) and not again
            return again
        ready = state.work is None or bool(state.plans)
        state.calls += not ready
        return ready

    def _again(self, state: SignatureState) -> bool:
        """Whether a signature that was given up is to be recorded again."""
        state.idle += 1 + self._nap.credit()
        if not state.patience or state.idle < state.patience:
            return False
        if not self._budget.allows(self._replays):
            return False
        # one more effect, or two recordings that do not agree, and it is given up again
        state.state, state.fails, state.effects = "RECORD", GIVE_UP - 2, EFFECTS - 1
        state.rise()
        state.calls += state.idle
        state.idle = state.misses = state.excuses = 0
        state.deferral = None
        return True

    @staticmethod
    def _postpone(state: SignatureState, forever: bool) -> None:
        """A signature is given up: note when it is tried again."""
        state.calls, state.idle, state.sealed = state.calls + state.idle, 0, False
        state.patience = 0 if forever else max(AGAIN, 2 * state.patience)

    # ---- compiled beside
    def _take(self, state: SignatureState) -> None:
        """Serve calls by what the compiler has finished, if it has."""
        work = state.work
        if work is None or not work.done.is_set() or not work.claim():
            return
        state.work = None
        self._budget.compiled(work.seconds)
        self._settle(state, work)

    def _settle(self, state: SignatureState, work: Compilation) -> None:
        if work.error is not None:
            self._broken(state, work.error, "cannot be compiled")
        elif work.plan is not None and not work.recording.life.dead:
            self._install(state, work.plan)
        else:  # lost: the next recording that agrees with this one is accepted in its place
            state.state = "REPLAY" if state.plans else "RECORD"
            if not work.recording.life.dead:
                state.pending = [*state.pending, work.recording]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Scope in which recorded calls wait for the compiler.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x, wait=False)
        >>> with double.waiting():
        ...     for _ in range(3): _ = double(hybrid.ones(2))
        >>> double.cache_info().replays
        1
        """
        self.wait()
        before, self._wait = self._wait, True
        try:
            yield
        finally:
            self._wait = before

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what was recorded is compiled: true when it is, false after `timeout` seconds.

        Calls go on meanwhile, eagerly; after it the next call with known arguments is replayed.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x, wait=False)
        >>> x = hybrid.ones(2)
        >>> _ = double(x), double(x)
        >>> double.wait(), double.cache_info().plans
        (True, 1)
        """
        limit = None if timeout is None else time.monotonic() + timeout
        for state in list(self._signatures.values()):
            work = state.work
            if work is not None:
                left = None if limit is None else max(limit - time.monotonic(), 0.0)
                if not work.done.wait(left):
                    return False
                self._take(state)
        done = self._split is None or bool(self._split.wait(limit))
        return done and (self._linked is None or bool(self._linked.wait(limit)))
