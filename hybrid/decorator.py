"""@hybrid.function: record a call until two recordings agree, then replay it behind a guard.

A call with a new signature runs eagerly and is recorded.  The acceptance rule: a recording is
replayed only if the facts of an earlier one held before it, still hold after it, and both are
equal; then the Python in between changes nothing that is not represented.  Invariant: in every
other case the user's function itself runs.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, overload

from .compiler.failure import reason
from .core import signals
from .core.aval import HOST
from .core.errors import UnsupportedError
from .ir.door import bind as door
from .ir.door.busy import GATE, give_way, is_busy, wait
from .ir.tensor import Alias
from .trace.bytecode.summary import SUPPORTED, UNSUPPORTED
from .trace.heap.facts import Holder, fetch
from .trace.heap.policy import Wrapped
from .trace.heap.signature import signature_of, unchecked, with_defaults
from .trace.record import interrupted
from .trace.record.gradients import spent
from .trace.record.recorder import Recorder
from .trace.record.recording import Recording
from .trace.serve.executor import MISS, Executor
from .trace.serve.prepare import NativeExecutor
from .trace.serve.reports import CacheInfo, Reports, RunsEagerly
from .trace.serve.signatures import Entry, Plan, distinct, dropper
from .trace.watch.analysis import Analysis
from .trace.watch.events import WATCHING, Watch, abandon_watch, foreign_hooks
from .trace.watch.turns import RUNS, TURN, Runs

__all__ = ["function", "Function", "RunsEagerly", "CacheInfo", "set_executor"]

MAX_SIGNATURES, MAX_PLANS, MAX_PENDING = 64, 16, 8
GIVE_UP, EFFECTS = 6, 2  # recordings that never settle; recordings with an effect
RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
RESUMES = "is a generator or asynchronous function, whose body runs after the call has returned"
UNDISTURBED = 6  # misses in a row without another thread in sight, before facts are to blame
EXCUSES = 50  # recordings that others disturbed, before they count
_EXECUTOR: list[Executor] = [NativeExecutor()]


interrupted.register()


def set_executor(executor: Executor) -> Executor:
    """Choose what runs recordings accepted from now on; returns the previous choice."""
    old, _EXECUTOR[0] = _EXECUTOR[0], executor
    return old


class Function(Reports):
    """A function that is recorded and replayed; made by `hybrid.function`."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise TypeError(f"@function needs a callable, not a {type(fn).__name__}")
        self.fn = fn
        self._entries: dict[Any, Entry] = {}
        self._said: set[str] = set()
        self._replays = self._records = self._eager = 0
        self._handles_errors = False
        self._waits, self._runs = True, Runs()  # whether calls wait for each other's recordings
        self._fast: Callable[..., Any] | None = None  # serves the latest plan from bare arguments
        functools.update_wrapper(self, fn)

    def __get__(self, obj: Any, cls: type | None = None) -> Any:
        return self if obj is None else types.MethodType(self, obj)

    def __reduce__(self) -> Any:
        """By name where the name leads here, as for plain functions; else made anew."""
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        path: str = getattr(self, "__qualname__", "")
        for name in path.split("."):
            found = getattr(found, name, None)
        return path if found is self else (function, (self.fn,))

    # ---- calls
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fast = self._fast
        if fast is not None and not kwargs and not door.STATE.special:
            try:
                out = fast(*args)
            except Exception as error:  # nothing has changed, unless a signal's handler raised it
                if not self._handles_errors or signals.from_handler(error):
                    raise
                self._eager += 1  # the user's code has handlers: let them see the error
                return self.fn(*args)
            if out is not NotImplemented:
                self._replays += 1
                return out
        if door.current_mode() is not None:
            return self.fn(*args, **kwargs)  # part of an outer recording
        if kwargs or type(self.fn) is types.FunctionType:
            args, kwargs = with_defaults(self.fn, args, kwargs)
        sig, tensors, objects = signature_of(args, kwargs)
        entry = self._entries.get(sig)
        if entry is None:
            entry = self._entry(sig, objects)
        if entry.state == "EAGER":
            self._eager += 1
            return self.fn(*args, **kwargs)
        for plan in entry.plans:
            try:
                out = self._serve(plan, tensors)
            except Exception as error:
                if not plan.recording.handles_errors or signals.from_handler(error):
                    raise
                self._eager += 1
                return self.fn(*args, **kwargs)
            if out is MISS:
                continue
            self._replays += 1
            entry.fails = 0
            if plan is not entry.plans[0]:
                entry.plans = [plan, *[p for p in entry.plans if p is not plan]]
            return out
        return self._record(entry, args, kwargs, tensors)

    def _serve(self, plan: Plan, tensors: list[Any]) -> Any:
        """One replay, the fast way where possible, or MISS."""
        undisturbed = 0
        while True:
            if plan.served is not None:
                out = plan.served.serve(tensors)
                if out is not MISS:
                    return out
            closed = bool(GATE[0]) and give_way()
            caps = plan.guard(tensors)
            if caps is None or caps and not distinct(tensors, caps):
                return MISS
            taken = [t for t in (*tensors, *caps) if is_busy(t)]
            for t in taken:
                wait(t)  # for another thread's replay, which is updating it
            if not taken and self._unlink(plan.recording, tensors, caps):
                continue
            undisturbed = 0 if taken or GATE[0] else undisturbed + 1
            missing = plan.served is None or plan.served.entry is None
            if closed or undisturbed == UNDISTURBED or (undisturbed and missing):
                break  # it was not for another thread that the fast way did not serve
        served = None if closed else self._connect(plan, caps)
        if served is not None:
            if plan.bare and not door.STATE.special:
                self._fast, self._handles_errors = served.fast, plan.recording.handles_errors
            out = served.serve(tensors)
            if out is not MISS:
                return out
        return self._replay(plan, tensors, caps)

    def _connect(self, plan: Plan, caps: tuple[Any, ...]) -> Any:
        """The fast way of a plan; where making it fails the plan runs without, and says so."""
        if plan.why:
            return None
        try:
            return plan.connect(caps, self._replays)
        except Exception as e:
            if signals.foreign(e):
                raise
            plan.served, plan.why = None, reason(e, "cannot be served by a native entry")
            self._say(plan.why, f"is replayed more slowly because it {plan.why}")
            return None

    def _replay(self, plan: Plan, tensors: list[Any], caps: tuple[Any, ...]) -> Any:
        r = plan.recording
        self._unlink(r, tensors, caps)
        if any(type(getattr(t, "_x", None)) is Alias for t in r.written(tensors, caps)):
            return MISS  # eager code refuses this write; let it say so
        tape = r.history.start(tensors, caps) if r.history is not None else spent
        values = plan.run(tensors, caps)
        if values is MISS:
            return MISS
        return r.commit(values, tensors, caps, tape)

    @staticmethod
    def _unlink(r: Recording, tensors: list[Any], caps: tuple[Any, ...]) -> bool:
        """Forget views that nobody holds any more of the tensors that a replay writes; whether
        there were any."""
        found = False
        for t in r.written(tensors, caps):
            x = getattr(t, "_x", None)
            if type(x) is Alias and x.base is None and not x.live_views():
                del t._x
                found = True
        return found

    def _entry(self, sig: Any, objects: list[Any]) -> Entry:
        entry = Entry()
        unfit = unchecked(sig)
        if unfit:
            entry.state, entry.why = "EAGER", unfit
            self._say("", f"runs eagerly because it {unfit}")
            return entry
        if len(self._entries) >= MAX_SIGNATURES:
            entry.state = "EAGER"
            self._say(
                "",
                f"is called with more than {MAX_SIGNATURES} different signatures (shapes, dtypes, "
                "Python numbers, NumPy arrays or objects as arguments); pass what changes as "
                "tensors (hybrid.asarray makes one)",
            )
            return entry
        table, key = weakref.ref(self), sig

        def dead(_: Any) -> None:
            me = table()
            if me is not None:
                me._entries.pop(key, None)

        entry.objects = [Holder(o, dead) for o in objects]
        self._entries[sig] = entry
        return entry

    # ---- recording
    def _record(
        self, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Any]
    ) -> Any:
        if not SUPPORTED:
            entry.why = UNSUPPORTED
            self._give_up(entry)
            self._eager += 1
            return self.fn(*args, **kwargs)
        stop = foreign_hooks()
        if stop is not None:
            self._say("", f"is not recorded: {stop}")
            self._eager += 1
            return self.fn(*args, **kwargs)
        with signals.held:
            if TURN.take(self):
                try:
                    self._waits = self._waits and self._runs.settle()
                    return self._recorded(entry, args, kwargs, tensors)
                finally:
                    if WATCHING:  # the end of the watch was cut short
                        abandon_watch()
                    self._waits = self._waits and TURN.function is self
                    TURN.function = None
                    TURN.owner = 0
        if TURN.owner != threading.get_ident() and TURN.function is self and self._waits:
            self._waits = TURN.wait(self)
            return self(*args, **kwargs)
        self._eager += 1
        RUNS.begun += 1
        self._runs.begun += 1
        try:
            return self.fn(*args, **kwargs)
        finally:
            self._runs.ended += 1
            RUNS.ended += 1

    @signals.critical
    def _recorded(
        self, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Any]
    ) -> Any:
        self._records += 1
        mark, handled = RUNS.mark(), signals.handled()
        try:  # nothing has run yet
            # loaded now, not while the call is watched
            door.backend_of(tensors[0]._a.device if tensors else HOST)
            missed = bool(entry.plans) and self._missed_again(entry)
            before = None if missed else self._before(entry, args, kwargs)
            rec, watch = Recorder(tensors, getattr(self.fn, "__code__", None)), Watch()
            rec.watch = watch
        except Exception as e:
            if signals.foreign(e):
                raise
            missed = self._broken(entry, e, "cannot be recorded")
        if missed:
            return self.fn(*args, **kwargs)
        out, late = self._watched(entry, rec, args, kwargs)
        if signals.handled() != handled:  # Python ran that is none of the call's
            if not self._excused(entry):
                entry.why = "is interrupted by signal handlers whenever it is recorded"
                self._give_up(entry)
            return out
        try:
            if late is not None:
                raise late
            self._after(entry, rec, watch, before, args, kwargs, out, mark)
        except RunsEagerly:  # the user made errors of warnings
            raise
        except Exception as e:
            if signals.foreign(e):
                raise
            self._broken(entry, e, "cannot be recorded")
        return out

    def _before(self, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a recording is compared with: the Python state before the call."""
        old = entry.pending
        held = [p for p in old if p.broken() is None]  # facts of earlier recordings that hold now
        before = {k: fetch(k.kind, h.get(), k.key) for p in old for k, h in p.holders.items()}
        return held, before, signature_of(args, kwargs), door.grad_enabled()

    def _after(
        self,
        entry: Entry,
        rec: Recorder,
        watch: Watch,
        start: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        mark: Any,
    ) -> None:
        """Look at a call that has run: what it did, and whether that can be replayed."""
        held, before, sig, grad = start
        tensors = sig[1]
        seen = Analysis(watch, [*args, *kwargs.values()])
        seen.run(self.fn)
        self._checks(watch, sig, signature_of(args, kwargs), grad, tensors)
        for p in held:
            key = p.broken()
            if key is not None:
                watch.why(f"changes {p.place(key)} during the call")
        r = Recording(rec, seen, out, before, dropper(entry, self))
        plain = len(args) == len(tensors) and all(a is t for a, t in zip(args, tensors))
        bare = grad and not kwargs and plain
        counts = entry.fails, entry.effects
        excused = RUNS.overlapped(mark) and self._excused(entry)
        if excused:
            entry.fails, entry.effects = counts[0] - 1, counts[1] - 1
        devices = rec.devices()
        # what they kept is not needed again, and replays have memory of their own
        del rec, watch, seen, before, start
        self._decide(entry, r, entry.pending, held, bare)
        if excused and entry.fails + entry.effects:
            entry.fails, entry.effects = counts  # what other threads did is not held against it
        for d in devices:
            door.backend_of(d).trim()

    @signals.critical
    def _watched(
        self, entry: Entry, rec: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run the call under a recorder and its watch: its result, and an error of the watch."""
        watch, handled = rec.watch, signals.handled()
        assert watch is not None
        mode, ran = door.push_mode(rec), False
        try:
            with watch:
                out = self.fn(*args, **kwargs)
                ran = True
            return out, None
        except BaseException as e:
            ours = signals.handled() == handled and not signals.foreign(e)
            if ran and isinstance(e, Exception) and ours:
                return out, e
            if signals.handled() == handled:
                self._blame(entry, "raised an exception")
            raise
        finally:  # as pop_mode does
            door.STATE.special += (door.LOCAL.mode is None) - (mode is None)
            door.LOCAL.mode = mode
            signals.take_back()

    @staticmethod
    def _excused(entry: Entry) -> bool:
        """Note a recording that was disturbed; false when that was often enough."""
        entry.excuses += 1
        return entry.excuses <= EXCUSES

    def _missed_again(self, entry: Entry) -> bool:
        """Note that no plan served a call; true when that is given up."""
        entry.text = entry.plans[0].recording.why_not()
        entry.misses = entry.misses + 1 if entry.mark == self._replays else 0
        entry.mark = self._replays
        if entry.misses >= GIVE_UP:
            entry.why = f"never does the same twice: {entry.text}"
            self._give_up(entry)
        return entry.misses >= GIVE_UP

    @staticmethod
    def _checks(watch: Watch, before: Any, after: Any, grad: bool, tensors: list[Any]) -> None:
        if door.grad_enabled() != grad:
            watch.why("leaves gradient recording switched differently")
        elif before[0] != after[0] or [id(t) for t in before[1]] != [id(t) for t in after[1]]:
            watch.why("changes an argument's container or its shape")

    def _decide(
        self, entry: Entry, r: Recording, old: list[Recording], held: list[Recording], bare: bool
    ) -> None:
        """Accept, keep for comparison, or give up."""
        if r.reasons:
            entry.effects += 1
            entry.why = r.reasons[0]
            if entry.effects >= EFFECTS:
                self._give_up(entry)
            return
        for p in old:
            if r.lost or p.lost or not r.settled:
                continue
            d = r.difference(p)
            if d is None and any(p is h for h in held):
                self._accept(entry, r, bare)
                entry.pending = [q for q in old if q is not p]
                return
            entry.why = d or "Python state it reads was different before the call"
        if r.lost:
            entry.why = "uses a tensor whose place in Python could not be found"
        entry.pending = [*old, r][-MAX_PENDING:]
        self._blame(entry)

    def _accept(self, entry: Entry, r: Recording, bare: bool) -> None:
        """Compile a recording; `bare`: its arguments are distinct tensors and nothing else."""
        try:
            r.prepare()
            plan = Plan(r, _EXECUTOR[0].prepare(r), bare)
        except Exception as e:  # the call has run: its result must reach the user
            if signals.foreign(e):
                raise
            self._broken(entry, e, "cannot be compiled")
            return
        entry.plans = [plan, *entry.plans][:MAX_PLANS]
        entry.state, entry.fails, entry.effects = "REPLAY", 0, 0

    def _broken(self, entry: Entry, error: Exception, doing: str) -> bool:
        """Go on eagerly after an error of hybrid's own work, which is no error of the user's."""
        entry.why = reason(error, doing)
        self._give_up(entry)
        return True

    def _blame(self, entry: Entry, why: str = "") -> None:
        entry.fails += 1
        entry.why = why or entry.why
        if entry.fails >= GIVE_UP:
            entry.why = f"never does the same twice: {entry.why}"
            self._give_up(entry)

    def _give_up(self, entry: Entry) -> None:
        entry.state, entry.pending, entry.plans, self._fast = "EAGER", [], [], None
        self._say(entry.why, f"runs eagerly because it {entry.why}")


def _resumed(fn: Any) -> types.FunctionType | None:
    """The generator, coroutine or asynchronous generator function that a call of fn starts."""
    while isinstance(fn, (functools.partial, types.MethodType, Wrapped)):
        if isinstance(fn, functools.partial):
            fn = fn.func
        else:
            fn = fn.fn if isinstance(fn, Wrapped) else fn.__func__
    if not isinstance(fn, types.FunctionType):
        fn = getattr(type(fn), "__call__", None)  # noqa: B004  (the function, not whether)
    code = getattr(fn, "__code__", None)
    return fn if code is not None and code.co_flags & RESUMED else None


class Resumed(Function):
    """A @function whose body runs after the call has returned: it runs as it is, said once."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__(fn)
        inner = _resumed(fn)
        kinds = (types.FunctionType, types.MethodType, functools.partial)
        if inner is not None and isinstance(fn, kinds):
            # what `inspect` looks at to see which kind of function this is
            self.__name__ = inner.__name__
            self.__code__, self.__defaults__ = inner.__code__, inner.__defaults__
            self.__kwdefaults__ = inner.__kwdefaults__
            if inspect.iscoroutinefunction(inner) and hasattr(inspect, "markcoroutinefunction"):
                inspect.markcoroutinefunction(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if door.current_mode() is None:
            self._say(RESUMES, f"runs eagerly because it {RESUMES}")
            self._eager += 1
        return self.fn(*args, **kwargs)


@overload
def function(fn: Callable[..., Any]) -> Function: ...
@overload
def function(
    fn: None = None, *, warmup: int = 2, fast_math: bool = False
) -> Callable[..., Function]: ...


def function(fn: Any = None, *, warmup: int = 2, fast_math: bool = False) -> Any:
    """Make a function run as one recorded graph: the same bits without the Python in between.

    The first calls with a signature (shapes, dtypes, Python values) run eagerly and are recorded;
    from the third on the graph is replayed while the Python state it depends on stands still.  A
    function that cannot be replayed safely runs as it is and says so once (warning RunsEagerly);
    `.explain()` tells more.

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
    if fn is None:
        return lambda f: function(f)
    if isinstance(fn, Function):
        return fn
    return Function(fn) if _resumed(fn) is None else Resumed(fn)
