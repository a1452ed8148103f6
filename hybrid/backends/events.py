"""What a backend may do for whoever watches a thread: tell events apart without Python.

Invariant: what happens in code that was never called quiet always reaches its hook.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple, Protocol

__all__ = ["EventFilter", "Hooks", "PlainHooks"]


class Hooks(NamedTuple):
    """What is told of a watched thread: hooks like those of `sys.setprofile` and `sys.settrace`.

    `returned` is called with what quiet code gave to the frame that calls it; `looked` gets the
    first argument, by id, of quiet code that looks; `met` is asked about code that is about to run
    and its global names: whether it is of no interest (then it has called `quiet`); `deep` is
    called where frames are inside one another too deep to be watched: it ends the watch.  `root` is
    the code that is watched, or the class of an object that is called."""

    profile: Callable[..., Any]
    trace: Callable[..., Any]
    returned: Callable[[Any], None]
    looked: dict[int, Any]
    met: Callable[[CodeType, dict[str, Any]], bool]
    deep: Callable[[], None] = lambda: None
    root: CodeType | type | None = None


class EventFilter(Protocol):
    """Stands between the interpreter and the hooks of a watch.

    They get what those functions would give them, but no `c_return` and no `c_exception`, and of
    quiet code nothing: its calls are only noted, and what it returns to other code is told either
    as an event or by `returned`."""

    def begin(self, hooks: Hooks) -> None:
        """Watch this thread from now on."""

    def pause(self) -> bool:
        """Stop watching for a while; false, and nothing done, unless this thread is watched."""

    def resume(self) -> None:
        """Go on after `pause`."""

    def end(self) -> None:
        """Watch no longer; the thread's own hooks are then to be taken off."""

    def instructions(self, frame: FrameType) -> None:
        """Tell of each instruction of this frame from now on; perhaps of all frames of its code."""

    def quiet(self, code: CodeType, note: Any, looks: bool = False) -> bool:
        """Events of this code are of no interest from now on; false where it cannot be kept.

        `note`: what `entered` gives with it; `looks`: its first argument is of interest."""

    def entered(self) -> Iterator[tuple[CodeType, Any]]:
        """Quiet code that was called since `begin`, with its note."""


class PlainHooks:
    """An EventFilter that filters nothing."""

    def __init__(self) -> None:
        self._thread = 0
        self._hooks: tuple[Any, Any] = (None, None)

    def begin(self, hooks: Hooks) -> None:
        self._hooks = hooks.profile, hooks.trace
        self.resume()

    def pause(self) -> bool:
        if self._thread != threading.get_ident():
            return False
        self._thread = 0
        sys.setprofile(None)
        sys.settrace(None)
        return True

    def resume(self) -> None:
        self._thread = threading.get_ident()
        profile, trace = self._hooks
        sys.settrace(trace)
        sys.setprofile(profile)

    def end(self) -> None:
        self._thread, self._hooks = 0, (None, None)

    def instructions(self, frame: FrameType) -> None:
        frame.f_trace_opcodes = True

    def quiet(self, code: CodeType, note: Any, looks: bool = False) -> bool:
        return False

    def entered(self) -> Iterator[tuple[CodeType, Any]]:
        return iter(())
