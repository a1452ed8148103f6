"""@hybrid.function: record a call until two recordings agree, then replay it behind a guard.

A call with a new signature runs eagerly and is recorded.  The acceptance rule: a recording is
replayed only if the facts of an earlier one held before it, still hold after it, and both are
equal; then the Python in between changes nothing that is not represented.  Invariant: in every
other case the user's function itself runs.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, overload

from .compiler.failure import reason
from .core import signals
from .core.errors import UnsupportedError
from .ir.door import bind as door
from .ir.door.busy import GATE, give_way, is_busy, wait
from .trace.fallback.anew import made_anew, plain_at_first, started
from .trace.fallback.budget import CLOCK, EFFECTS, Budget
from .trace.fallback.families import go_like
from .trace.fallback.nap import asleep
from .trace.fallback.resumed import RESUMES, resumed, show_kind
from .trace.heap.data import one_array_twice, stands_for
from .trace.heap.signature import Regard, signature_of, with_defaults
from .trace.record import interrupted
from .trace.record.before import Before
from .trace.record.compare import difference
from .trace.record.recorder import Recorder
from .trace.record.recording import Life, Recording, Refused, recording_of
from .trace.serve import background
from .trace.serve.alike import Alike, AlikeObject
from .trace.serve.followers import around, viewed
from .trace.serve.paths import NEW_WAYS, Paths, kept, went
from .trace.serve.pending import Unserved
from .trace.serve.plans import Bare, ReplayPlan, distinct
from .trace.serve.prepare import CHOICE, MISS, set_executor
from .trace.serve.served import Served
from .trace.serve.signatures import (
    SignatureState,
    SignatureTable,
    dropper,
    follow_mode,
)
from .trace.serve.sized.calls import Recorded
from .trace.serve.sized.relatives import plan_of, shows, sized
from .trace.serve.told.reports import CacheInfo, RunsEagerly
from .trace.serve.trial import Trying, tried
from .trace.split.linking import Linking
from .trace.split.splitting import Splitting
from .trace.watch.analysis import analyse
from .trace.watch.events import WATCHING, Watch, abandon_watch
from .trace.watch.passed.regards import other_regard
from .trace.watch.turns import RUNS, TURN, Runs

__all__ = ["function", "Function", "RunsEagerly", "CacheInfo", "set_executor", "unbound"]

UNDISTURBED = 6  # misses in a row without another thread in sight, before facts are to blame
FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


interrupted.register()


@plain_at_first
@tried
@asleep
class Function(Linking, Splitting, Paths, Recorded, Unserved, Trying, Alike):
    """A function that is recorded and replayed; made by `hybrid.function`.

    >>> import hybrid; hybrid.function(abs)
    <@function abs>
    """

    def __init__(self, fn: Callable[..., Any], wait: bool | None = None) -> None:
        if not callable(fn):
            raise TypeError(f"@function needs a callable, not a {type(fn).__name__}")
        self.fn, self._wait, self._budget = fn, wait, Budget()
        self._signatures, self._regard = SignatureTable(), Regard()
        self._said: set[str] = set()
        self._replays = self._records = self._eager = self._compiled = 0
        Splitting.__init__(self)
        Unserved.__init__(self)
        Trying.__init__(self)
        self._handles_errors = False
        self._waits, self._runs = True, Runs()  # whether calls wait for each other's recordings
        # serves the latest plan from bare arguments
        self._direct: Callable[..., Any] | None = None
        follow_mode(self)
        Alike.__init__(self)

    def __reduce__(self) -> Any:
        """By name where the name leads here, as for plain functions; else made anew."""
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        path: str = getattr(self, "__qualname__", "")
        for name in path.split("."):
            found = getattr(found, name, None)
        return path if found is self else (type(self), (self.fn, self._wait))

    # ---- calls
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        direct = self._direct
        if direct is not None and not kwargs and not door.STATE.special:
            try:
                result = direct(*args)
            except Exception as error:  # nothing has changed, unless a signal's handler raised it
                if not self._handles_errors or signals.from_handler(error):
                    raise
                failed = True
            else:
                if result is not NotImplemented or self._done():
                    self._replays += 1
                    return result
                failed = False
            if failed:  # the user's code has handlers: let them see the error, and no other one
                self._eager += 1
                return self.fn(*args)
        elif direct is not None and kwargs and not door.STATE.special:
            result = self._by_way(args, kwargs)
            if result is not NotImplemented or self._done():
                return result
        if door.current_mode() is not None:
            return self._within(args, kwargs)
        if self._passed_by is not None and not kwargs and self._passed_by.takes(args):
            self._eager += 1
            self._budget.unseen += 1
            return self.fn(*args)
        return (self._signed if self._untaped is None else self._off_tape)(args, kwargs)

    def _signed(self, args: Args, kwargs: Kwargs) -> Any:
        """A call by its signature."""
        self._nap.began = CLOCK[0]()
        given, named = args, kwargs
        if kwargs or type(self.fn) is types.FunctionType:
            args, kwargs = with_defaults(self.fn, args, kwargs)
        signature, tensors, _ = signature_of(args, kwargs, self._regard)
        state = self._signatures.get(signature)
        if state is None:
            state, tensors = self._new_state(args, kwargs)
        if (state.work is not None or state.state == "EAGER") and not self._ready(state):
            if self._linked is None and not named:
                self._pass_by(state, given)
            return self._eagerly(args, kwargs)
        plans, ahead = state.serving(args, kwargs), state.known_paths.foresight
        key, plans = (None, plans) if ahead is None else state.known_paths.foreseen(ahead, plans)
        for plan in plans:
            failed: Exception | None = None
            try:
                result = (self._timed if plan.untimed else self._replay)(plan, tensors)
            except Exception as error:
                if not plan.recording.handles_errors or signals.from_handler(error):
                    raise
                failed = error.with_traceback(None)
            if failed is not None:  # behind the handler: the program's Python may run
                return self._otherwise(state, (plans, plan, failed), args, kwargs, tensors)
            if result is MISS:
                continue
            self._replays, self._looped = self._replays + 1, self._looped + 1
            plan.calls, state.fails = plan.calls + 1, 0
            if plan is not plans[0]:
                state.prefer(plan)
            if ahead is not None:
                ahead.note(key, plan)
            if plan.learned.get((len(given), *named)) != id(self._direct):
                self._learn(state, plan, given, named, tensors)
            elif plan.recording.path:
                went(self._direct, plan)
            return result
        return self._record(state, args, kwargs, tensors, None if named else given)

    def _replayed(self, plan: ReplayPlan, tensors: list[Any]) -> Any:
        """One replay, the native way where possible, or MISS."""
        undisturbed = 0
        while True:
            if plan.served is not None:
                result = plan.served.replay(tensors)
                if result is not MISS:
                    if self._direct is None or plan.untaped:
                        self._serve_directly(plan)
                    return result
            closed = bool(GATE[0]) and give_way()
            captures = plan.guard(tensors)
            if captures is None:
                return MISS
            inputs = [*tensors, *captures]
            if captures and not distinct(inputs):
                return MISS
            taken = [tensor for tensor in inputs if is_busy(tensor)]
            for tensor in taken:
                wait(tensor)  # for another thread's replay, which is updating it
            if not taken and plan.forget_views(inputs):
                continue
            bases = viewed(plan.recording, inputs)
            if bases:
                return around(bases, functools.partial(self._replay, plan, tensors))
            undisturbed = 0 if taken or GATE[0] else undisturbed + 1
            if closed or undisturbed == UNDISTURBED or (undisturbed and plan.served is None):
                break  # it was not for another thread that the native way did not serve
        served = None if closed else self._connect(plan, inputs)
        if served is not None:
            if not plan.untimed:
                self._serve_directly(plan)
            result = served.replay(tensors)
            if result is not MISS:
                return result
        return plan.replay(inputs)

    def _connect(self, plan: ReplayPlan, inputs: list[Any]) -> Served | None:
        """The native way of a plan; where making it fails the plan runs without, and says so."""
        if plan.why:
            return None
        try:
            return plan.connect(inputs, self._replays)
        except Exception as error:
            if signals.foreign(error):
                raise
            plan.served, plan.why = None, reason(error, "cannot be served by a native entry")
            self._say(plan.why, f"is replayed more slowly because it {plan.why}")
            return None

    # ---- recording
    def _record(
        self,
        state: SignatureState,
        args: Args,
        kwargs: Kwargs,
        tensors: list[Any],
        given: Args | None = None,
    ) -> Any:
        if state.deferral is not None and not self._again(state):
            return self._defer(state, args, kwargs)
        if self._goes_by(state, given):
            return self._eagerly(args, kwargs, state.sealed)
        if self._unable(state) or one_array_twice(tensors):
            return self._eagerly(args, kwargs)
        with signals.held:
            start, before, outer = CLOCK[0](), self._records, self._budget.enter()
            if TURN.take(self):  # no call up to `try`: a handler may raise at one
                try:
                    self._waits = self._waits and self._runs.settle()
                    return self._recorded(state, args, kwargs, tensors)
                finally:
                    try:
                        if WATCHING:  # the end of the watch was cut short
                            abandon_watch()
                        seconds = self._budget.leave(outer, CLOCK[0]() - start)
                        self._spent(self._records > before, seconds)
                    finally:
                        self._waits = self._waits and TURN.function is self
                        TURN.function = None
                        TURN.owner = 0
        if TURN.owner != threading.get_ident() and TURN.function is self and self._waits:
            self._waits = TURN.wait(self)
            return self(*args, **kwargs)
        return self._beside(args, kwargs)

    def _beside(self, args: Args, kwargs: Kwargs) -> Any:
        """An eager call while another one is recorded."""
        self._eager += 1
        RUNS.begun += 1
        self._runs.begun += 1
        try:
            return self.fn(*args, **kwargs)
        finally:
            self._runs.ended += 1
            RUNS.ended += 1

    def _after(
        self,
        state: SignatureState,
        recorder: Recorder,
        watch: Watch,
        before: Before,
        args: Args,
        kwargs: Kwargs,
        result: Any,
        mark: Any,
    ) -> None:
        """Look at a call that has run: what it did, and whether that can be replayed."""
        tensors, earlier = before.signature[1], before.held
        analysis = analyse(self.fn, watch, [*args, *kwargs.values()], self._regard, before.moved)
        state.ended(recorder, analysis)
        self._nested.met = self._nested.met or watch.sites.recursive
        self._links = self._links and not watch.sites.whole
        before.check(watch, signature_of(args, kwargs, self._regard), recorder, analysis.dropped)
        dead = dropper(state, self, life := Life())
        recording = recording_of(recorder, analysis, result, before.places, life, dead)
        plain = not kwargs and len(args) == len(tensors) and all(map(stands_for, tensors, args))
        taped: Bare = "taped" if before.grad else "untaped"
        overlapped, counts = RUNS.overlapped(mark), (state.fails, state.effects)
        agreed = None if overlapped else state.known_paths.settled(recording, before)
        excused = (overlapped or watch.unkept) and state.excused(watch.unkept)
        if excused:
            state.fails, state.effects = counts[0] - 1, counts[1] - 1
        if isinstance(recording, Refused):
            state.rolls = state.rolls and not recorder.rolled
            regard = other_regard(self._regard, watch, args, kwargs, bool(state.plans))
            if regard is not None and self._takes(regard):
                self._regard, self._turned = regard, recording.reasons[0]
                self._signatures.drop(state)
                return
        postponed = recorder.postponed
        del recorder, watch, analysis, before  # what they kept is not needed again
        self._decide(state, recording, earlier, agreed, taped if plain else "")
        if postponed is not None and not isinstance(recording, Refused):
            shows(state, postponed, recording)
        if excused and state.fails + state.effects:
            state.fails, state.effects = counts  # what other threads did is not held against it

    def _decide(
        self,
        state: SignatureState,
        recording: Recording | Refused,
        earlier: list[Recording],
        agreed: Recording | None,
        bare: Bare,
    ) -> None:
        """Accept, keep for comparison, or give up."""
        if isinstance(recording, Refused):
            self._refused(state, recording)
            if state.effects >= EFFECTS and not state.seal():
                self._give_up(state)
            return
        pending = state.pending
        for candidate in pending:
            if recording.lost or candidate.lost or not recording.settled:
                continue
            changed = difference(recording, candidate)
            if changed is None and any(candidate is other for other in earlier):
                self._accept(state, recording, bare)
                state.pending = [other for other in pending if other is not candidate]
                return
            state.why = changed or "Python state it reads was different before the call"
        if agreed is not None:
            self._accept(state, recording, bare, agreed if agreed is not recording else None)
            return
        if recording.lost:
            state.why = "uses a tensor whose place in Python could not be found"
        state.pending = kept([*pending, recording])
        if state.known_paths.many:
            state.why = NEW_WAYS
            if self._replays < self._records or not state.seal():
                self._give_up(state)
        elif state.known_paths.first(recording):
            state.fruitless -= 1
        else:
            self._blame(state)

    def _accept(
        self,
        state: SignatureState,
        recording: Recording,
        bare: Bare,
        other: Recording | None = None,
    ) -> None:
        """Compile a recording; `bare`: its arguments are distinct tensors and nothing else; `other`
        differs from it in sizes only."""
        prepare = CHOICE.executor.prepare
        state.misses = state.misses if other is None else 0  # it does the same with other sizes
        run = sized(state, recording, other, CHOICE.executor)
        if run is None and not background.waits(self._wait, recording):
            state.work = background.start(recording, prepare, bare, state)
            if state.work is not None:
                state.state = state.state if state.plans else "PENDING"
                return
        try:
            run = run or prepare(recording)
            plan = ReplayPlan(recording, run, bare, plan_of(state, other))
        except Exception as error:  # the call has run: its result must reach the user
            if signals.foreign(error):
                raise
            self._broken(state, error, "cannot be compiled")
            return
        self._install(state, plan)

    def _install(self, state: SignatureState, plan: ReplayPlan) -> None:
        plan.cause, plan.known_paths = state.text, state.known_paths
        state.install(plan)
        state.known_paths.made += 1
        state.known_paths.foresee(state.plans)
        if getattr(plan.run, "filled", False) and state.family is not None:
            self._sized = state.family.sizes
        else:
            self._compiled += 1
            self._budget.accepted()
        state.fruitless = 0
        if state.family is not None:
            state.family.shows(state.shape, plan)
        state.state, state.fails, state.effects = "REPLAY", 0, 0
        if state.owners is not None:
            self._look_again()  # whoever holds what

    def _broken(self, state: SignatureState, error: Exception, doing: str) -> bool:
        """Go on eagerly after an error of hybrid's own work, which is no error of the user's."""
        state.why = reason(error, doing)
        self._give_up(state, forever=True)
        return True

    def _give_up(self, state: SignatureState, forever: bool = False) -> None:
        state.pending, state.plans = [], []
        self._budget.met_again()
        self._look_again()
        self._postpone(state, forever)
        alike = None if forever or state.family is None else state.family.alike()
        if state.family is not None:
            state.family.refused = True
        if alike is not None and alike is not state:
            go_like(state, alike)
        else:
            self._go_on(state, None if forever else self._deferral(), forever)


@tried
@asleep
class OfObject(AlikeObject, Function):
    """A @function of an object that is no function, with the attributes of that."""


class Resumed(Function):
    """A @function whose body runs after the call has returned: it runs as it is, said once."""

    def __init__(self, fn: Callable[..., Any], wait: bool | None = None) -> None:
        super().__init__(fn, wait)
        show_kind(self, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if door.current_mode() is None:
            self._say(RESUMES, f"runs eagerly because it {RESUMES}")
            self._eager += 1
        return self.fn(*args, **kwargs)


def unbound(fn: Any, args: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...]]:
    """(function, arguments) of a call; a decorated method of an object is called with it."""
    method = isinstance(fn, types.MethodType) and isinstance(fn.__func__, Function)
    return (fn.__func__, (fn.__self__, *args)) if method else (fn, args)


@overload
def function(fn: Callable[..., Any], *, wait: bool | None = None) -> Function: ...
@overload
def function(
    fn: None = None, *, wait: bool | None = None, warmup: int = 2, fast_math: bool = False
) -> Callable[..., Function]: ...


def function(
    fn: Any = None, *, wait: bool | None = None, warmup: int = 2, fast_math: bool = False
) -> Any:
    """Make a function run as one recorded graph: the same bits without the Python in between.

    The first calls with a signature (shapes, dtypes, Python values) run eagerly and are recorded;
    from the third on the graph is replayed while the Python state it depends on stands still.  Of a
    function that cannot be replayed safely the Python runs at each call, as it is; its operations
    are collected and run as fused native segments wherever a value is read, or one by one where
    that is faster.  It says so once (warning RunsEagerly); `.explain()` tells more.

    `wait`: whether the second call waits for the compiler (None: as HYBRID_WAIT says, which is 1
    where it is not set).  With False a thread compiles while calls go on eagerly; `.wait()` waits.
    Raises TypeError for what cannot be called, UnsupportedError for another warmup or fast_math.

    >>> import hybrid
    >>> @hybrid.function
    ... def double(x):
    ...     return x + x
    >>> [double(hybrid.ones(2)).tolist() for _ in range(3)][-1]
    [2.0, 2.0]
    """
    if warmup != 2:
        raise UnsupportedError(
            "warmup other than 2 is not offered: one recording cannot prove that nothing drifts"
        )
    if fast_math:
        raise UnsupportedError(
            "fast_math=True is not offered yet; recorded functions give the eager bits"
        )
    decorated = made_anew(Function, fn, wait)
    if decorated is not None:
        return decorated
    if fn is None:
        return lambda undecorated: function(undecorated, wait=wait)
    if isinstance(fn, Function):
        return fn
    if resumed(fn) is not None:
        return Resumed(fn, wait)
    return started((Function if isinstance(fn, FUNCTIONS) else OfObject)(fn, wait))
