"""Watching one call: which user code ran, with which arguments, what returned, which C functions
were called.

Events are those of sys.setprofile and sys.settrace, which a backend's EventFilter may give by
cheaper means. Invariant: hooks are taken only when nobody else holds them, and are always given
back; what hybrid's or NumPy's own frames do is not reported, but user code called from them is.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import gc
import inspect
import os
import queue
import sys
import threading
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from ...backends.api import event_filter
from ...backends.events import Hooks
from ...core.errors import IndexOutOfRange
from ...core.signals import PENDING, TRIP, critical, give_back
from ...ir.tensor import RUNTIME, Handle
from ..bytecode.summary import start_of
from ..follow.calls import ONLY_LOOKING
from ..follow.follower import Follower
from ..heap.allowlist import pure_function, stdlib, trusted
from ..heap.data import carried
from ..heap.library import examined
from ..heap.patches import own_code
from ..heap.walks import walk_of
from .hosts import HostWatch
from .ran.seen import Seen, Sites
from .turns import TURN
from .walks import Handed, Walks

__all__ = ["Watch", "foreign_hooks", "abandon_watch", "WATCHING"]

MAX_EVENTS = 2_000_000
DEEP = "is too deep or too large to be watched"
Code = types.CodeType
Fall: TypeAlias = Literal["content", "identity"]
_WAITING = (type(threading.Lock()), type(threading.RLock()), queue.SimpleQueue)
WATCHING: list[tuple[int, bool]] = []  # the thread that is watched, and whether to collect again


@critical
def abandon_watch() -> None:
    """Nothing is watched any more (in the child of a fork: whoever's watch it was)."""
    if WATCHING:
        event_filter().end()
    for thread, collects in WATCHING:
        if thread == threading.get_ident():
            sys.setprofile(None)
            sys.settrace(None)
        if collects:
            gc.enable()
    del WATCHING[:]


def foreign_hooks() -> str | None:
    """Who already watches this thread (then nothing is recorded), in words."""
    if sys.gettrace() is not None:
        return "a debugger or coverage tool traces this thread (sys.settrace)"
    if sys.getprofile() is not None:
        return "a profiler watches this thread (sys.setprofile)"
    return None


@lru_cache(4)
def _methods(cls: type) -> dict[int, types.CodeType]:
    """Code, by id, of properties and methods of tensors that may read their flags, shape or
    dtype."""
    found = [f.fget if isinstance(f, property) else f for f in vars(cls).values()]
    codes = [inspect.unwrap(f).__code__ for f in found if isinstance(f, types.FunctionType)]
    return {
        id(c): c
        for c in codes
        if trusted(c.co_filename) and c.co_argcount and {"_a", "_node"} & set(c.co_names)
    }


class Watch:
    """Context manager around the recorded call; the collected events are its attributes.

    frames[code]   argument dictionaries of each entry of user code
    globals[code]  the distinct global namespaces it ran in
    returns[code, at]   values returned to the instruction at `at` of user code
    ccalls         (code, at, function, line) of each C call made by user code
    lines[code]    line numbers that ran
    executed[code] instructions that ran, where lines alone do not tell which calls did
    young          ids of objects born during the call that are alive at its end
    ran            hybrid's own code that ran, and its global namespace, by id of the code
    looked         tensors whose properties and methods were used, by id
    switched       modules that were put into training or evaluation, and how they were, by id
    sites          where the decorated function was refused
    cached         whether functions of functools.cache are called that are not followed
    """

    def __init__(
        self, follow: Follower | None = None, root: Code | None = None, called: type | None = None
    ) -> None:
        # `follow` looks at every instruction of user code
        self.follow, self._root = follow, root or called
        self.sites = Sites(root)
        self.frames: dict[Code, list[dict[str, Any]]] = collections.defaultdict(list)
        self.globals: dict[Code, list[dict[str, Any]]] = collections.defaultdict(list)
        self.returns: dict[tuple[Code, int], list[Any]] = collections.defaultdict(list)
        self.ccalls: dict[tuple[Any, ...], tuple[Code, int, Any, int]] = {}
        self.lines: dict[Code, set[int]] = collections.defaultdict(set)
        self.executed: dict[Code, set[int]] = collections.defaultdict(set)
        self._seen: dict[int, Seen] = {}  # what the five above are made of when the call ends
        self.reasons: dict[str, None] = {}
        self.young = set[int]()
        # References in `returns` to tensors.  Their counts tell whether a program holds a tensor:
        # those of the watch are taken off, or a recorded call would do other work than an eager.
        self.kept: dict[int, int] = collections.Counter()
        self.passed: collections.Counter[int] = collections.Counter()  # and those in `frames`
        self.looked, self.switched = dict[int, Any](), dict[int, tuple[Any, bool]]()
        # Arguments that are data, by id (of lists the position of the argument, and such positions
        # that were looked at), code that got some, how often its instructions ran (by id, offset),
        # and how often a tensor was made of one under each (by id, offset, id of the argument).
        self.data, self.traced = dict[int, Any](), dict[int, Code]()
        self.listed, self.walked = dict[int, int](), set[int]()
        self._counted: set[int] = set()  # frames, by id, whose steps are counted
        self.steps: dict[tuple[int, int], int] = collections.defaultdict(int)
        self.made: dict[tuple[int, int, int], int] = collections.defaultdict(int)
        self.falls: set[Fall] = set()  # ways to take arguments in which this call may settle
        self.fixed: set[Any] = set()  # numbers among the arguments that were looked at, by place
        self.ran: dict[int, tuple[Code, dict[str, Any]]] = {}
        # Trusted code of which no event says anything more, by id as in `_methods`.
        self._quiet: dict[int, Code] = {}
        self._hooks = event_filter()  # which may know as much, and for later calls, too
        self._methods = _methods(RUNTIME.tensor)
        # the others by id, while they run: a frame keeps those below it, and all that is in them
        self._resumed, self._shadow = set[types.FrameType](), set[int]()
        self.hosts, self.walks, self.handed = HostWatch(follow, self.why), Walks(), Handed()
        self._events, self._stopped, self.cached = 0, False, False

    # ---- hooks on and off
    @critical
    def __enter__(self) -> Watch:
        self.hosts.begin()
        self._gc = gc.isenabled()
        WATCHING[:] = [(threading.get_ident(), self._gc)]
        try:
            # The young generation is emptied and then only grows: what is in it at the end was
            # born in the call, and whatever else the collector knows existed before.
            gc.disable()
            gc.collect(0)
            hooks = self._profile, self._trace, self._returned, self.looked, self._met, self._deep
            self._hooks.begin(Hooks(*hooks, self._root))
        except BaseException:
            self._off()
            raise
        return self

    def _unhook(self) -> None:
        self._hooks.end()
        sys.setprofile(None)
        sys.settrace(None)

    def _off(self) -> None:
        self._unhook()
        if self._gc:
            gc.enable()
        del WATCHING[:]

    @critical
    def __exit__(self, *exc: Any) -> None:
        self._unhook()
        if not self._stopped:
            self.young = set(map(id, gc.get_objects(0)))
        self._off()
        self._gather()
        self.ran.update([(id(ran[0]), ran) for ran in self._hooks.entered() if ran[1]])
        for key, value in list(self.looked.items()):
            if not isinstance(value, Handle):
                del self.looked[key]
        self._resumed.clear()
        self._shadow.clear()
        self.hosts.end()

    def _gather(self) -> None:
        """Take what was seen by content: equal code made twice is one."""
        for seen in self._seen.values():
            code = seen.code
            if seen.lines:
                self.lines[code] |= seen.lines
            if seen.executed:
                self.executed[code] |= seen.executed
            if seen.frames:
                self.frames[code] += seen.frames
                known = {id(space) for space in self.globals[code]}
                self.globals[code] += [g for g in seen.globals if id(g) not in known]
            for at, values in seen.returns.items():
                self.returns[code, at] += values
        self._seen.clear()

    def _of(self, code: Code) -> Seen:
        """What was seen of a code object so far."""
        seen = self._seen.get(id(code))
        if seen is None:
            seen = self._seen[id(code)] = Seen(code)
        return seen

    def pause(self) -> Callable[[], None]:
        """Take the hooks off for a stretch of hybrid's own work; the result puts them back."""
        if self._stopped or not self._hooks.pause():
            return lambda: None
        return self._hooks.resume

    def holds(self, handle: Handle) -> int:
        """How many references to a tensor the events keep (arguments of user code not counted)."""
        followed = 0 if self.follow is None else self.follow.kept[id(handle)]
        return self.kept.get(id(handle), 0) + (id(handle) in self.looked) + followed

    def only(self, handle: Handle) -> int:
        """How many references to a tensor are the watch's own: not one too many."""
        ident = id(handle)
        return self.kept.get(ident, 0) + self.passed.get(ident, 0) + (ident in self.looked)

    @property
    def unkept(self) -> bool:
        """Whether the call may have put a result into a cache, which the next call finds there."""
        return self.cached if self.follow is None else self.follow.unkept

    def why(self, text: str, where: str = "") -> None:
        """Note why this call cannot be replayed."""
        self.reasons[f"{text} ({where})" if where else text] = None
        self.sites.here()

    def _stop(self, text: str, frame: types.FrameType) -> None:
        """The verdict is clear: run the rest without hooks."""
        # at the end of the stack: no frames for a name without its folders
        _, _, name = frame.f_code.co_filename.rpartition(os.sep)
        self.why(text, f"{name}:{frame.f_lineno}")
        self._stopped = True
        self._unhook()

    def made_of(self, argument: Any, root: Code | None) -> None:
        """A tensor was made of an argument, by the instructions that the program is at."""
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if id(code) in self.traced:
                self.made[id(code), start_of(code, frame.f_lasti), id(argument)] += 1
            frame = None if code is root else frame.f_back

    # ---- events
    # A hook must not raise: Python would drop it, and an exception at the exit of a lock would
    # leave the lock taken.  What arrives meanwhile arrives again when the hook has returned.
    @critical
    def _trace(self, frame: types.FrameType, event: str, value: Any) -> Any:
        late = next_ = None
        try:
            next_ = self._line(frame, event, value)
        except BaseException as error:
            late = self._caught(error, frame)
        if PENDING and not trusted(frame.f_code.co_filename):
            numbers = PENDING[:]
            del PENDING[:]
            TRIP[numbers]
        elif late is not None:
            late[0]
        return next_

    @critical
    def _profile(self, frame: types.FrameType, event: str, value: Any) -> None:
        late, quiet = None, self._quiet
        try:
            if id(frame.f_code) in quiet:
                if event != "return":
                    return
                back = frame.f_back
                if back is not None and id(back.f_code) in quiet:
                    return
            self._event(frame, event, value)
        except BaseException as error:
            late = self._caught(error, frame)
        if PENDING and not trusted(frame.f_code.co_filename):
            numbers = PENDING[:]
            del PENDING[:]
            TRIP[numbers]
        elif late is not None:
            late[0]

    def _caught(self, error: BaseException, frame: types.FrameType) -> Any:
        """Something whose items raise, where the program is: what another thread sent here."""
        if isinstance(error, (RecursionError, MemoryError)):  # ours: the program goes on
            self._stop(DEEP, frame)
            return None
        send = functools.partial(
            ctypes.pythonapi.PyThreadState_SetAsyncExc,
            ctypes.c_ulong(threading.get_ident()),
            ctypes.py_object(type(error)),
        )
        return type("Late", (), {"__getitem__": staticmethod(send)})()

    def _line(self, frame: types.FrameType, event: str, value: Any) -> Any:
        if event == "opcode":
            carries = id(frame.f_code) in self.traced and id(frame) in self._counted
            if carries:
                self.steps[id(frame.f_code), frame.f_lasti] += 1
            self._of(frame.f_code).executed.add(frame.f_lasti)
            if self.follow is not None:
                self.follow.step(frame, carries)
            return self._trace
        if trusted(frame.f_code.co_filename):
            return None
        seen = self._of(frame.f_code)
        if event == "call":
            self._entered(frame, seen)
        elif event == "exception" and self.follow is not None:
            self.follow.raised(frame, value[0])
        seen.lines.add(frame.f_lineno)
        if event == "exception" and issubclass(value[0], IndexOutOfRange):
            self.why(
                "goes on after an index error that depends on data",
                f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}",
            )
        return self._trace

    def _entered(self, frame: types.FrameType, seen: Seen) -> None:
        """Which instructions of a frame of user code are to be told."""
        code, carries = frame.f_code, False
        if self.data:
            carries = bool(carried(frame.f_locals.values(), self.data).levels)
            carries |= self.walks.carries(code, frame.f_locals, self.data)
            if carries:
                self.traced[id(code)] = code
            if carries or seen.uncertain:
                self._counted.add(id(frame))
            elif not code.co_flags & inspect.CO_GENERATOR:  # which got its arguments at the start
                self._counted.discard(id(frame))
        if carries or seen.uncertain or self.follow is not None:
            self._hooks.instructions(frame)

    def _event(self, frame: types.FrameType, event: str, value: Any) -> None:
        if event == "return":
            self._shadow.discard(id(frame))
            if id(frame) in self._counted and self.data:
                self.handed.note(frame, self._counted)
            self.hosts.left(frame)
            if self.follow is not None:
                self.follow.leave(frame)
            if frame.f_back is not None:
                self._gave(frame.f_back, value)
        if event in ("return", "c_return"):
            return
        code = frame.f_code
        if trusted(code.co_filename):
            if event == "call":
                self._trusted_call(frame, code)
            return
        self._events += 1
        if self._events > MAX_EVENTS:
            self._stop(f"makes more than {MAX_EVENTS} Python calls", frame)
        elif event == "call":
            self._call(frame)
        elif event == "c_call" and id(frame) not in self._shadow:
            self._c_call(frame, code, value)

    def _gave(self, back: types.FrameType, value: Any) -> None:
        """A frame is given what it called for."""
        if self.follow is not None:
            self.follow.returned(back, value)
        if not trusted(back.f_code.co_filename) and id(back) not in self._shadow:
            held = self._of(back.f_code).returns.setdefault(back.f_lasti, [])
            if not held or held[-1] is not value:
                held.append(value)
                if isinstance(value, Handle):
                    self.kept[id(value)] += 1

    @critical
    def _returned(self, value: Any) -> None:
        """Quiet code, of which there are no events, gave a value to the frame that calls this."""
        late, back = None, sys._getframe(1)
        try:
            self._gave(back, value)
        except BaseException as error:
            late = self._caught(error, back)
        if late is not None:
            late[0]

    @critical
    def _met(self, code: Code, space: dict[str, Any]) -> bool:
        """Whether code that is about to run is hybrid's or NumPy's; of that, no more is told."""
        late, known = None, False
        try:
            known = trusted(code.co_filename) and self._runs(code, space)
        except BaseException as error:
            late = self._caught(error, sys._getframe(1))
        if late is not None:
            late[0]
        return known

    @critical
    def _deep(self) -> None:
        """Frames are inside one another too deep."""
        self._stop(DEEP, sys._getframe(2))

    def _runs(self, code: Code, space: dict[str, Any]) -> bool:
        """Note that hybrid's or NumPy's code runs; whether it is not told of again."""
        own = space if own_code(code.co_filename) else None
        if own is not None:
            self.ran[id(code)] = code, own
        return self._hooks.quiet(code, own, id(code) in self._methods)

    def _trusted_call(self, frame: types.FrameType, code: Code) -> None:
        """Hybrid's or NumPy's code is entered: note that it ran, or which tensor it looks at."""
        known = self._runs(code, frame.f_globals)
        if id(code) not in self._methods:
            if not known:
                self._quiet[id(code)] = code
            return
        tensor = frame.f_locals[code.co_varnames[0]]
        if isinstance(tensor, Handle):
            self.looked[id(tensor)] = tensor

    def _call(self, frame: types.FrameType) -> None:
        code, back = frame.f_code, frame.f_back
        if frame.f_globals.get("__name__", "").startswith("namedtuple_"):
            if code.co_filename.startswith("<string>"):
                self._hooks.quiet(code, None)  # it puts its arguments into a tuple
            return
        if (
            back is not None
            and stdlib(code.co_filename)
            and (id(back) in self._shadow or trusted(back.f_code.co_filename))
        ):
            self._shadow.add(id(frame))  # the standard library working for hybrid or NumPy
            return
        if back is not None and self.hosts.entered(frame, back, id(back) in self._shadow):
            self._shadow.add(id(frame))
            return
        if (
            back is not None
            and code.co_name != "<module>"
            and back.f_code.co_filename.startswith("<frozen importlib")
        ):
            self._shadow.add(id(frame))  # an import hook of some other package
            return
        # a generator: is this its first start?
        if code.co_flags & inspect.CO_GENERATOR and frame not in self._resumed:
            self._resumed.add(frame)
            # the frame stands at RESUME, whose operand is 0 at the start of a function only
            if code.co_code[frame.f_lasti + 1] & 3:
                self._stop(
                    f"resumes the generator {code.co_name}, which was made before the call", frame
                )
                return
        self.sites.enter(code, back)
        seen = self._of(code)
        if not any(g is frame.f_globals for g in seen.globals):
            seen.globals.append(frame.f_globals)
        variables = self._arguments(frame)
        seen.frames.append(variables)
        if self.follow is not None:
            self.follow.enter(frame, back, variables)

    def _arguments(self, frame: types.FrameType) -> dict[str, Any]:
        """What a frame of user code begins with."""
        variables = dict(frame.f_locals)
        if ".0" in variables:  # a comprehension's list, not its iterator
            variables[".0"] = walk_of(variables[".0"])
        self.passed.update([id(v) for v in variables.values() if issubclass(type(v), Handle)])
        return variables

    def _c_call(self, frame: types.FrameType, code: Code, function: Any) -> None:
        owner = function.__self__
        if self.hosts.calls(frame, function) or self.hosts.computes(frame):
            return
        known = pure_function(function) or examined(function)
        if (owner is None or isinstance(owner, types.ModuleType)) and not known:
            self.falls.update(["content"] if self.data and self.follow is None else [])  # maybe
            self._stop(f"calls {getattr(function, '__module__', '?')}.{function.__name__}", frame)
            TURN.others_go_on()
            if getattr(function, "__module__", None) == "_signal":
                give_back()  # it sees the user's handlers
            return
        if type(owner) in _WAITING:
            TURN.others_go_on()
        if self.follow is not None:
            self.follow.c_calls[id(code), frame.f_lasti, id(owner)] += 1
            self.follow.impure += function not in ONLY_LOOKING
        key = id(code), frame.f_lasti, id(function if owner is None else owner), function.__name__
        self.ccalls[key] = (code, frame.f_lasti, function, frame.f_lineno)
