"""Watching calls of Python's own world: which instructions of user code make them, and what works
for them.

Invariant: code of a user that such a call enters is a reason against replaying the call that is
watched.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from typing import Any

from ..heap.allowlist import trusted
from ..host.again import state_of
from ..host.table import GLOBALS, code_of, helper, host_function

__all__ = ["HostWatch"]

NAMES = "the module random", "numpy.random"  # of the global generators


def _nothing(text: str, where: str) -> None:
    """No reason is noted when the call is over."""


class HostWatch:
    """`hosted`: (code, offset, name) of the calls, by id of the code and offset; `moved`: by name,
    the global generators of random numbers that gave some (None: more than the follower saw)."""

    def __init__(self, follow: Any, why: Callable[[str, str], None]) -> None:
        self.follow, self.why = follow, why
        self.hosted: dict[tuple[int, int], tuple[types.CodeType, int, str]] = {}
        self.moved: dict[str, Any] = {}
        self._states: list[Any] = []
        # by id, while they run: frames that work for a call, and the frame and offset of it
        self._telling: set[int] = set()
        self._teller: tuple[int, int] | None = None

    def begin(self) -> None:
        """The call that is watched begins."""
        self._states = [state_of(owner) for owner in GLOBALS]
        if self.follow is not None:
            self.follow.states.update(zip(map(id, GLOBALS), self._states))

    def end(self) -> None:
        """It is over."""
        known = {} if self.follow is None else self.follow.states
        for owner, before, name in zip(GLOBALS, self._states, NAMES):
            after = state_of(owner)
            if after != before:
                self.moved[name] = owner if known.get(id(owner)) == after else None
        self._telling.clear()
        self._teller, self.follow, self.why = None, None, _nothing

    def calls(self, frame: types.FrameType, function: Any) -> bool:
        """Whether user code calls a function in C of Python's own world."""
        entry = host_function(function)
        if entry is None:
            return False
        self._teller = id(frame), frame.f_lasti
        self._note(frame, entry.name)
        return True

    def entered(self, frame: types.FrameType, back: types.FrameType, shadow: bool) -> bool:
        """Whether what is entered is such a function in Python, or works for one; `shadow`: the
        caller works for somebody already."""
        code = frame.f_code
        if id(back) in self._telling or self._teller == (id(back), back.f_lasti):
            if helper(code.co_filename):
                self._telling.add(id(frame))
                return True
            where = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
            self.why(f"prints or logs through {code.co_name}, which a program may see", where)
            return False
        entry = None if shadow else code_of(code)
        if entry is None or trusted(back.f_code.co_filename):
            return False
        self._telling.add(id(frame))
        self._note(back, entry.name)
        return True

    def left(self, frame: types.FrameType) -> None:
        """A frame has returned."""
        self._telling.discard(id(frame))
        if self._teller is not None and self._teller[0] == id(frame):
            self._teller = None

    def _note(self, frame: types.FrameType, name: str) -> None:
        at = id(frame.f_code), frame.f_lasti
        self.hosted[at] = frame.f_code, frame.f_lasti, name
        if self.follow is not None:
            self.follow.host_calls[at] += 1
