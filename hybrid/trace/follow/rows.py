"""Which instruction has which effect, on the interpreter that runs.

Invariant: on an interpreter without a table here no call is followed.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from .calls import Effect, Instruction
from .effects import EFFECTS, other
from .follower import Follower
from .machine import Stepper
from .newer import ROWS_312, ROWS_313

__all__ = ["SUPPORTED", "ROWS", "follower"]

_VERSIONS: dict[tuple[int, int], dict[str, Effect]] = {
    (3, 11): EFFECTS,
    (3, 12): EFFECTS | ROWS_312,
    (3, 13): EFFECTS | ROWS_313,
}
ROWS = _VERSIONS.get(sys.version_info[:2], {})
SUPPORTED = bool(ROWS)


def follower(function: Any) -> Follower | None:
    """A follower of one call; None on an interpreter whose instructions are not known."""
    return Follower(function, _effect) if SUPPORTED else None


def _effect(
    follow: Follower, machine: Stepper, frame: types.FrameType, instruction: Instruction
) -> None:
    effect: Effect = ROWS.get(instruction.opname, other)
    effect(follow, machine, frame, instruction)
