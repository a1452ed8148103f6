"""Events of user code as `sys.monitoring` tells them (CPython 3.12 and later).

Hooks on a whole thread have later interpreters rewrite every code object that runs; here only code
that is met during a watch is rewritten, and back again at its end.
Invariant: between `begin` and `end` the hooks get of each code object that was met, in the watched
thread, what `sys.setprofile` and `sys.settrace` would give them; nothing of any other.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FrameType, MethodDescriptorType
from typing import Any

from ....core.signals import PENDING, TRIP, critical, inside

__all__ = ["ASIDE", "Monitor"]

ASIDE = 1
TOOLS = 4, 3, 5, 2, 1, 0  # identities for tools, those first that have no common use


class Monitor:
    """Tells hooks of the code objects that it is given.

    `state`: a word that is ASIDE while native code runs a callback for the watched thread, which
    then sets it to 0; it is put back behind it.  `begun`: asked about code that starts without
    having been given, and its global names, whether it is of no interest.  It is asked where
    `starts`: some interpreters enter `__init__` without an evaluation of its frame."""

    def __init__(self, state: Any, begun: Callable[[CodeType, dict[str, Any]], bool]) -> None:
        self._state, self._begun, self.starts = state, begun, False
        self._library: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        events = self._library.events
        told: dict[int, Callable[..., Any]] = {
            events.PY_START: self._started,
            events.PY_RESUME: self._resumed,
            events.PY_THROW: self._resumed,
            events.PY_RETURN: self._returned,
            events.PY_YIELD: self._returned,
            events.PY_UNWIND: self._unwound,
            events.CALL: self._called,
            events.LINE: self._line,
            events.INSTRUCTION: self._instruction,
            events.STOP_ITERATION: self._raised,
            events.RAISE: self._raised,
        }
        self._callbacks = {event: self._callback(tell) for event, tell in told.items()}
        # what cannot be asked for by code object costs nothing until it happens
        self._everywhere = events.PY_THROW | events.PY_UNWIND | events.RAISE
        self._instructions = events.INSTRUCTION
        self._wanted = sum(told) & ~self._everywhere & ~events.INSTRUCTION
        self._missing = self._library.MISSING
        self._codes: dict[int, CodeType] = {}
        self._tool, self._thread = -1, 0
        self._profile: Callable[..., Any] = _nothing
        self._trace: Callable[..., Any] = _nothing

    def hook(self) -> CodeType:
        """The code that the interpreter calls."""
        callback: Any = next(iter(self._callbacks.values()))
        found: CodeType = callback.__code__
        return found

    # ---- one watch
    def begin(self, profile: Callable[..., Any], trace: Callable[..., Any]) -> bool:
        """Tell these from now on; false where other tools hold all identities."""
        library = self._library
        free = [tool for tool in TOOLS if library.get_tool(tool) is None]
        if not free:
            return False
        self._tool, self._thread = free[0], threading.get_ident()
        library.use_tool_id(self._tool, "hybrid")
        self._profile, self._trace = profile, trace
        for event, callback in self._callbacks.items():
            library.register_callback(self._tool, event, callback)
        starts = library.events.PY_START * self.starts
        library.set_events(self._tool, self._everywhere | starts)
        return True

    def end(self) -> None:
        """Leave all code as it was."""
        tool, library, self._thread, self._tool = self._tool, self._library, 0, -1
        self._profile = self._trace = _nothing
        if tool < 0:
            return
        for code in self._codes.values():
            library.set_local_events(tool, code, 0)
        self._codes.clear()
        library.set_events(tool, 0)
        for event in self._callbacks:
            library.register_callback(tool, event, None)
        library.free_tool_id(tool)

    def meet(self, code: CodeType) -> None:
        """Code is about to run that is to be told of."""
        if id(code) not in self._codes:
            self._codes[id(code)] = code
            self._library.set_local_events(self._tool, code, self._wanted)

    def instructions(self, code: CodeType) -> None:
        """Tell of each instruction of code that was met."""
        self._library.set_local_events(self._tool, code, self._wanted | self._instructions)

    # ---- events
    def _callback(self, tell: Callable[..., Any]) -> Callable[..., Any]:
        """What the interpreter calls at an event; `tell` gets the frame, and what is told of it."""
        state = self._state

        @critical
        def callback(code: CodeType, *given: Any) -> Any:
            result = None
            if state[0] == ASIDE and threading.get_ident() == self._thread:
                state[0] = 0  # what hooks do is none of the program
                result = tell(sys._getframe(1), *given)
            # signals that arrived here meet the program, where it is the program that runs
            if PENDING and not inside(sys._getframe(1)):
                numbers = PENDING[:]
                del PENDING[:]
                TRIP[numbers]
            return result

        return callback

    def _started(self, frame: FrameType, offset: int) -> Any:
        if self.starts and self._begun(frame.f_code, frame.f_globals):
            return None if frame.f_code.co_name == "__init__" else self._library.DISABLE
        return self._resumed(frame)

    def _resumed(self, frame: FrameType, *how: Any) -> None:
        if id(frame.f_code) in self._codes:
            self._profile(frame, "call", None)
            self._trace(frame, "call", None)

    def _returned(self, frame: FrameType, offset: int, value: Any) -> None:
        self._profile(frame, "return", value)

    def _unwound(self, frame: FrameType, *how: Any) -> None:
        if id(frame.f_code) in self._codes:
            self._profile(frame, "return", None)

    def _called(self, frame: FrameType, offset: int, function: Any, first: Any) -> None:
        kind = type(function)
        if kind is MethodDescriptorType and first is not self._missing:
            try:
                function = function.__get__(first, type(first))
            except TypeError:  # the call will fail
                return
        elif not issubclass(kind, BuiltinFunctionType):
            return
        self._profile(frame, "c_call", function)

    def _line(self, frame: FrameType, line: int) -> None:
        self._trace(frame, "line", None)

    def _instruction(self, frame: FrameType, offset: int) -> None:
        self._trace(frame, "opcode", None)

    def _raised(self, frame: FrameType, offset: int, error: BaseException) -> None:
        if id(frame.f_code) in self._codes:
            self._trace(frame, "exception", (type(error), error, error.__traceback__))


def _nothing(*event: Any) -> None:
    """The hook of a watch that has ended."""
