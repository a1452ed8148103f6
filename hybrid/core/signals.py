"""Signals in the middle of hybrid's own work: handlers run where the state is the user's.

Python runs a signal's handler between two byte codes of the main thread, and the handler may raise
there.  Invariant: inside `held`, a handler is called at once when the signal meets user code, and
after the outermost critical frame otherwise; outside, the handlers are the user's own.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import opcode
import os
import signal
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .sites import INSIDE

__all__ = [
    "critical",
    "held",
    "protected",
    "handled",
    "finish",
    "foreign",
    "from_handler",
    "passing",
    "is_tool",
    "tools",
    "give_back",
    "take_back",
    "PENDING",
    "inside",
    "ROUNDS",
    "TRIP",
    "ARRIVE",
    "ASIDE",
    "SECTION",
    "begins",
]

Call = TypeVar("Call", bound=Callable[..., Any])
ROUNDS = 3  # tries of a commit that meets ordinary exceptions

PENDING: list[int] = []  # signals that wait for the end of a critical frame
# called before a handler that runs inside `held`; each returns what to call after it
ASIDE: list[Callable[[], Callable[[], None]]] = []
_LIBRARIES = sys.stdlib_module_names | {"numpy", "llvmlite", "ml_dtypes", "optree", "hybrid"}
_PASSING = "_hybrid_passing"  # an attribute of exceptions
_CRITICAL: set[types.CodeType] = set()
_SAVED: dict[int, Any] = {}  # signal -> the user's handler, while ours is in its place
_SIGNALS: Any = importlib.import_module("_signal")  # without the enums around it
_get_handler, _set_handler = _SIGNALS.getsignal, _SIGNALS.signal


class _Trip:
    """``TRIP[numbers]`` makes signals arrive (again).  A subscript, because Python does not look
    for signals after one: as the last act of a function they arrive in the caller.  `max` with a
    key calls it for each number, in C: no byte code in between where the first could arrive."""

    __getitem__ = staticmethod(functools.partial(max, key=ctypes.pythonapi.PyErr_SetInterruptEx))


TRIP: Any = _Trip()


def _waiting() -> list[int]:
    """The signals that wait, which then do no longer."""
    numbers = PENDING[:]
    del PENDING[:]
    return numbers


# a C function that has those signals arrive where it is called, and what gives them
ARRIVE: tuple[Any, Any] = (
    functools.partial(max, key=ctypes.pythonapi.PyErr_SetInterruptEx, default=None),
    _waiting,
)
SECTION = "<hybrid pieces>"  # files whose frames are critical
_BEGINS: weakref.WeakKeyDictionary[types.CodeType, int] = weakref.WeakKeyDictionary()


def begins(code: types.CodeType) -> None:
    """Note code at whose first instruction no handler may run: it is in the middle of something
    that it does not know yet."""
    _BEGINS[code] = code.co_code[::2].index(opcode.opmap["RESUME"]) * 2


class _Counts:
    """Sections that are open, and handlers that ran inside them."""

    __slots__ = ("open", "handled")

    def __init__(self) -> None:
        self.open = self.handled = 0


_COUNTS = _Counts()


# ---- where a signal meets the program
_TOOLS = [
    INSIDE,
    os.path.dirname(os.path.abspath(np.__file__)) + os.sep,
    "<hybrid",
    "<frozen ",
]
_DEMO = os.path.join(INSIDE, "demo") + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep


def tools(folder: str) -> None:
    """Note a folder whose code works for hybrid."""
    _TOOLS.append(folder)
    is_tool.cache_clear()


@functools.lru_cache(4096)
def is_tool(filename: str) -> bool:
    """Whether a file is hybrid's or of what it works with: its caller says who the work is for."""
    if filename.startswith(_DEMO):
        return False
    standard = filename.startswith(_STDLIB) and "site-packages" not in filename
    return standard or filename.startswith(tuple(_TOOLS))


def critical(function: Call) -> Call:
    """Mark a function in whose frames, and below until user code, no handler may run."""
    _CRITICAL.add(function.__code__)
    return function


def inside(frame: types.FrameType | None) -> bool:
    """Whether a critical frame is met before user code: user code that hybrid calls is not
    critical, whoever waits below it."""
    while frame is not None:
        if frame.f_code in _CRITICAL or frame.f_code.co_filename == SECTION:
            return True
        if not is_tool(frame.f_code.co_filename):
            return False
        frame = frame.f_back
    return False


def handled() -> int:
    """How many handlers have run inside `held` so far."""
    return _COUNTS.handled


@critical
def _arrived(number: int, frame: types.FrameType | None) -> Any:
    """Stands in for a user's handler."""
    if frame is not None and frame.f_lasti <= _BEGINS.get(frame.f_code, -1):
        return TRIP[[number]]
    if inside(frame):
        if number not in PENDING:  # as a system that counts no signals: once is enough
            PENDING.append(number)
        return None
    handler = _SAVED.get(number)
    if not _COUNTS.open:  # left behind by a section that was interrupted at its start
        _restore()
    if handler is None:
        return None
    _COUNTS.handled += 1
    restore = [aside() for aside in ASIDE]
    try:
        return handler(number, frame)
    finally:
        for give_aside in restore:
            give_aside()
        if PENDING:
            numbers = PENDING[:]
            del PENDING[:]
            TRIP[numbers]


# ---- sections
@critical
def _install() -> None:
    for number, handler in zip(_numbers(), map(_get_handler, _numbers())):
        if callable(handler) and handler is not _arrived:
            _SAVED[number] = handler
            try:
                _set_handler(number, _arrived)
            except BaseException as error:  # of a handler: Python looks before it acts, and after
                if _get_handler(number) is not _arrived:
                    _SAVED.pop(number, None)
                if not isinstance(error, ValueError):  # Python embedded in a thread of its own
                    raise


@functools.lru_cache(None)
def _numbers() -> tuple[int, ...]:
    """Signals that can have a handler."""
    fixed = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}  # not on Windows
    return tuple(sorted(int(s) for s in signal.valid_signals() if s not in fixed))


@critical
def _restore() -> None:
    raised = None
    while True:
        try:
            for number in list(_SAVED):
                # a handler that is back may open a section of its own, which ends with all back
                saved = _SAVED.get(number)
                if saved is not None and _get_handler(number) is _arrived:
                    _set_handler(number, saved)
                _SAVED.pop(number, None)
            break
        except BaseException as error:  # of a handler that is back in its place
            raised = raised or error
    if raised is not None:
        raise raised


@critical
def take_back() -> None:
    """Replace them again after `give_back`."""
    if _COUNTS.open and _is_main():
        _install()


@critical
def give_back() -> None:
    """Put the user's handlers back in the middle of a section: the user is going to look."""
    if _is_main():
        _restore()


def _is_main() -> bool:
    return threading.get_ident() == threading.main_thread().ident


class _Held:
    """A section of the main thread in which critical frames are respected (nothing elsewhere)."""

    @staticmethod
    @critical
    def __enter__() -> None:
        if not _is_main():
            return
        _COUNTS.open += 1  # before handlers are replaced: one of them may open a section, too
        try:
            if _COUNTS.open == 1:
                _install()
        except BaseException:
            _COUNTS.open = max(_COUNTS.open - 1, 0)
            raise

    @staticmethod
    @critical
    def __exit__(*exception: Any) -> None:
        if not _is_main():
            return
        _COUNTS.open = max(_COUNTS.open - 1, 0)
        try:
            if not _COUNTS.open:
                _restore()
        finally:
            if PENDING:
                numbers = PENDING[:]
                del PENDING[:]
                TRIP[numbers]


held = _Held()


def _renew() -> None:
    """In the child of a fork: signals of the parent are none of ours, and neither is what it was
    in the middle of (a section of this thread that goes on here is one without a stand-in)."""
    del PENDING[:]
    _COUNTS.open = 0
    _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def protected(function: Call) -> Call:
    """A critical function that is a section of its own."""
    critical(function)

    @functools.wraps(function)
    def section(*args: Any, **kwargs: Any) -> Any:
        with held:
            return function(*args, **kwargs)

    return section  # type: ignore[return-value]


# ---- commits that roll forward
def finish(commit: Callable[..., Any], *args: Any) -> Any:
    """Call a commit that may be repeated until it is done; raise what interrupted it afterwards."""
    error: BaseException | None = None
    remaining = ROUNDS
    while True:
        try:
            result = commit(*args)
            break
        except BaseException as caught:
            error = error or caught
            # interrupts come from outside, and any number may; only what the commit itself raises
            # tells that it cannot be done
            remaining -= isinstance(caught, Exception)
            if not remaining:
                raise
    if error is not None:
        raise error
    return result


def foreign(error: BaseException) -> bool:
    """Whether an exception that left hybrid's own work was sent there by another thread: its class
    is of no library that hybrid uses."""
    return type(error).__module__.partition(".")[0] not in _LIBRARIES


def passing(error: BaseException) -> None:
    """Mark an exception that what a program prints or logs has raised: it is the user's, and all
    that the call does has been done."""
    error.__dict__[_PASSING] = True


def from_handler(error: BaseException) -> bool:
    """Whether user code raised an exception that left a call in which no user code runs: a handler
    of a signal did."""
    if _PASSING in getattr(error, "__dict__", ()):
        return True
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and not is_tool(traceback.tb_frame.f_code.co_filename)
