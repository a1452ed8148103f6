"""Compiling accepted recordings in a thread of their own, while calls go on eagerly.

One thread compiles one recording after the other and ends when there are none.  It runs no code of
a user, holds no lock that an eager call needs, and gives nothing to a function: whoever calls the
function next takes what is ready.

Invariant: work that nobody can take (its function or an object of its facts is gone, the process
ends, a fork's child) is given up at the next kernel; the recording then counts as never accepted.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from ...backends import api
from ...core.aval import HOST
from ...core.cache import Living
from ...core.precision import MATMUL
from ..record.recording import Recording
from .plans import Bare, ReplayPlan

__all__ = ["Compilation", "start", "waits", "use_wait", "WAITS"]

Prepare = Callable[[Recording], Any]
# Whether functions wait for the compiler where they do not say: HYBRID_WAIT.
WAITS = [os.environ.get("HYBRID_WAIT", "1").strip() != "0"]
# Seconds that the compiler's Python may go on when a call wants the interpreter, which is after
# each kernel: Python's own 5 ms would make calls stand still until the compiler is done.
TURN = 5e-4


class Compilation:
    """One recording under way to a plan; `owner` is who wants it (weak)."""

    __slots__ = (
        "recording",
        "bare",
        "owner",
        "prepare",
        "done",
        "plan",
        "error",
        "seconds",
        "_claim",
        "__weakref__",
    )

    def __init__(self, recording: Recording, prepare: Prepare, bare: Bare, owner: Any) -> None:
        self.recording, self.prepare, self.bare = recording, prepare, bare
        self.owner = weakref.ref(owner)
        self.done, self._claim = threading.Event(), threading.Lock()
        self.plan: ReplayPlan | None = None
        self.error: Exception | None = None
        self.seconds = 0.0

    def claim(self) -> bool:
        """True for the one thread that takes the result."""
        return self._claim.acquire(blocking=False)

    def unwanted(self) -> bool:
        """Whether nobody can use the result."""
        return _STOPPED[0] or self.owner() is None or self.recording.life.dead

    def run(self) -> None:
        """Compile; never raises."""
        start, changes = time.perf_counter(), _MODES[0]
        try:
            if not self.unwanted():
                scope = api.backend(HOST.kind).beside(self.unwanted)
                assert scope is not None
                with scope:
                    plan = ReplayPlan(self.recording, self.prepare(self.recording), self.bare)
                if changes == _MODES[0]:  # made under the mode that the recording ran under
                    self.plan = plan
        except Exception as error:
            self.error = None if self.unwanted() else error
        except BaseException:  # sent here from outside, at nothing of the user's
            pass
        self.seconds = time.perf_counter() - start
        self.done.set()

    def lose(self) -> None:
        """In the child of a fork: nobody works on it any longer."""
        self.done, self._claim = threading.Event(), threading.Lock()
        self.done.set()


_QUEUE: deque[Compilation] = deque()
_ALL: Living[Compilation] = Living()  # that were not done when a process forked
_LOCK = threading.Lock()  # around the queue and `_THREAD`, for moments
_THREAD: list[threading.Thread | None] = [None]
_STOPPED = [False]
_INTERVAL = [0.0]  # the interpreter's switch interval before the compiler's, while that holds
_MODES = [0]  # moves with every change of a mode of the process


def waits(wait: bool | None, recording: Recording) -> bool:
    """Whether a recording is to be compiled by the call that made it."""
    if (WAITS[0] if wait is None else wait) or _STOPPED[0]:
        return True
    kinds = {value.aval.device.kind for value in recording.graph.inputs}
    kinds |= {value.aval.device.kind for node in recording.graph.nodes for value in node.outputs}
    if kinds - {HOST.kind}:
        return True
    return api.backend(HOST.kind).beside(lambda: False) is None


def use_wait(wait: bool) -> bool:
    """What functions do that do not say; returns what they did before."""
    previous, WAITS[0] = WAITS[0], bool(wait)
    return previous


def start(recording: Recording, prepare: Prepare, bare: Bare, owner: Any) -> Compilation | None:
    """Hand a recording over; None where no thread can be had."""
    work = Compilation(recording, prepare, bare, owner)
    with _LOCK:
        _QUEUE.append(work)
        _ALL.add(work)
        if _THREAD[0] is None:
            thread = threading.Thread(target=_compile, name="hybrid-compile", daemon=True)
            _THREAD[0] = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads
                _THREAD[0] = None
                _QUEUE.pop()
                return None
    return work


def _compile() -> None:
    """The thread: it ends with the last work."""
    while True:
        with _LOCK:
            if not _QUEUE:
                _THREAD[0] = None
                return
            work = _QUEUE.popleft()
        _take_turns()
        try:
            work.run()
        finally:
            _turns_over()
        del work


def _take_turns() -> None:
    """Let threads change places more often."""
    interval = sys.getswitchinterval()
    if interval > TURN:
        _INTERVAL[0] = interval
        sys.setswitchinterval(TURN)


def _turns_over() -> None:
    """As before, unless somebody else has changed it meanwhile."""
    before, _INTERVAL[0] = _INTERVAL[0], 0.0
    if before and sys.getswitchinterval() == TURN:
        sys.setswitchinterval(before)


def _stop() -> None:
    """The process ends: leave LLVM before it is torn down."""
    _STOPPED[0] = True
    thread = _THREAD[0]
    if thread is not None and thread is not threading.current_thread():
        thread.join()


def _renew() -> None:
    """In the child of a fork."""
    global _LOCK
    _LOCK = threading.Lock()
    _THREAD[0] = None
    _turns_over()
    _QUEUE.clear()
    for work in _ALL:
        if not work.done.is_set():
            work.lose()


def _mode_changed() -> None:
    _MODES[0] += 1


MATMUL.listeners.append(_mode_changed)
atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
