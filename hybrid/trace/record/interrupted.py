"""What a signal's handler and the child of a fork find of a call that is under way: nothing.

Invariant: a handler's work is no part of the recorded call, and a child records, collects garbage
and runs ops as a process that was never in the middle of anything.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from ...core import signals
from ...ir.door import bind as door
from ...ir.door.context import end_collecting
from ...ir.door.pending import COLLECTING
from ..watch.events import abandon_watch
from ..watch.turns import RUNS, TURN
from .recorder import Recorder

__all__ = ["register"]


def _aside() -> Callable[[], None]:
    """Take the recorder and the hooks away; the result puts them back."""
    mode = door.push_mode(None)
    resume = mode.pause() if mode is not None else None

    def back() -> None:
        if resume is not None:
            resume()
        door.pop_mode(mode)

    return back


def _before() -> None:
    """Leave nothing pending in a call whose thread forks."""
    for mode in list(COLLECTING):
        if mode.thread == threading.get_ident():
            mode.flush(compiles=False)  # other things that wait for the fork may have the compiler


def _renew() -> None:
    mode = door.current_mode()
    if isinstance(mode, Recorder):
        mode.why("forks")
        door.pop_mode(None)
    elif mode is not None and mode.defers:
        end_collecting(mode)
    door.renew()
    abandon_watch()
    TURN.renew()
    RUNS.renew()


def register() -> None:
    """Called once, at import."""
    signals.ASIDE.append(_aside)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_child=_renew)
