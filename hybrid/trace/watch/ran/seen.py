"""What happened in the code objects of a watched call, and at which instructions of the decorated
function it was refused.

Invariant: a refusal inside of other code counts at each instruction of the decorated function's own
code that may have led there.
"""

from __future__ import annotations

import sys
import types
from collections import defaultdict
from typing import Any, Literal, TypeAlias

from ....autograd.passes import gathered
from ....ir.mode import Versioned
from ...bytecode.summary import start_of, uncertain
from ...heap.allowlist import trusted

__all__ = ["FRAMES", "Seen", "SiteKind", "Sites", "WHOLE"]

WHOLE = -1  # in the place of an instruction: the function is not to be cut
# names by which code, or a debugger in it, gets at the frames of its callers
FRAMES = frozenset(
    (
        *("_getframe", "_current_frames", "currentframe", "f_back", "f_locals", "getframeinfo"),
        *("set_trace", "settrace", "setprofile", "breakpoint", "extract_stack", "format_stack"),
    )
)

Code = types.CodeType
PASS = gathered.__code__
SiteKind: TypeAlias = Literal["operation", "read", "call"]


class Seen:
    """What happened in one code object.  Events find it by the object's id: a code object is hashed
    by content, anew each time."""

    __slots__ = ("code", "uncertain", "lines", "executed", "frames", "globals", "returns")

    def __init__(self, code: Code) -> None:
        self.code, self.uncertain = code, bool(uncertain(code))
        self.lines: set[int] = set()
        self.executed: set[int] = set()
        self.frames: list[dict[str, Any]] = []
        self.globals: list[dict[str, Any]] = []
        self.returns: dict[int, list[Any]] = {}


def _of_two_modules(frame: types.FrameType, other: types.FrameType) -> bool:
    """Whether two activations of one method belong to two modules, one in the other."""
    names = frame.f_code.co_varnames[:1]
    one, two = (f.f_locals.get(name) for f in (frame, other) for name in names or ("",))
    return one is not two and isinstance(one, Versioned) and isinstance(two, Versioned)


class Sites:
    """Instructions of one code object, `root`, at which a call of it was refused; `recursive`:
    operations ran where a function calls itself, as it does for data; `entered`: from
    where other code was, by its id: the id of the code that called it, and the instruction;
    `reads`: those at which only the value of a tensor was read; `passed`: operations of backward
    passes, which are computed as wholes.  Also those at which operations ran."""

    __slots__ = ("root", "entered", "reads", "whole", "recursive", "passed", "_found", "_ran")

    def __init__(self, root: Code | None) -> None:
        self.root = root
        self.entered: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self.reads: set[int] = set()
        self.whole = False  # the program looks at its frames, which are others in pieces
        self.recursive = False
        self.passed = 0
        self._found: set[int] = set()
        self._ran: set[int] = set()

    def enter(self, code: Code, back: types.FrameType | None) -> None:
        """User code is entered."""
        self.whole = self.whole or not FRAMES.isdisjoint(code.co_names)
        while back is not None and trusted(back.f_code.co_filename):
            back = back.f_back
        if back is not None and code is not self.root:
            caller = back.f_code
            at = back.f_lasti if caller is self.root else 0
            self.entered[id(code)].add((id(caller), at))

    def here(self, reads: bool = False) -> None:
        """The instruction under way is refused, because it `reads` a tensor."""
        at = self.under_way(sys._getframe(1))
        if at is not None:
            (self.reads if reads else self._found).add(at)

    def under_way(self, frame: types.FrameType | None) -> int | None:
        """The instruction that the decorated function is at, inside of which a frame runs."""
        while frame is not None:
            if frame.f_code is self.root:
                return frame.f_lasti
            frame = frame.f_back
        return None

    def _in_pass(self, frame: types.FrameType | None) -> bool:
        """Whether a frame runs inside of a backward pass of the function."""
        while frame is not None and frame.f_code is not self.root:
            if frame.f_code is PASS:
                return True
            frame = frame.f_back
        return False

    def refuse(self, code: Code | None, at: int) -> None:
        """An instruction of any code is refused."""
        todo, met = [(id(code), at)], set[int]()
        while todo:
            ident, offset = todo.pop()
            if ident == id(self.root):
                self._found.add(offset)
            elif ident not in met:
                met.add(ident)
                todo += self.entered[ident]

    def ran(self) -> None:
        """An operation runs."""
        frame: types.FrameType | None = sys._getframe(1)
        at, met = self.under_way(frame), dict[int, types.FrameType]()
        if at is None:
            return
        self._ran.add(at)
        self.passed += self._in_pass(frame)
        while frame is not None and not self.recursive:
            code = frame.f_code
            if not trusted(code.co_filename):
                other = met.setdefault(id(code), frame)
                self.recursive = other is not frame and not _of_two_modules(frame, other)
            frame = frame.f_back if code is not self.root else None

    def found(self) -> dict[int, SiteKind]:
        """The beginnings of the instructions that were refused, or ran operations."""
        if self.root is None:
            return {}
        if self.whole:
            return {WHOLE: "call"}
        kinds: dict[int, SiteKind] = dict.fromkeys(self._ran, "operation")
        kinds |= dict.fromkeys(self.reads, "read")
        kinds |= dict.fromkeys(self._found, "call")
        return {start_of(self.root, at): kind for at, kind in kinds.items()}
