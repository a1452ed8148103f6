"""What the instructions of `match` do to the frame of an abstract run.

Invariant: a pattern reads all of its subject, however little of it decides; classes are not here.
"""

from __future__ import annotations

import dis

from .expressions import NEW
from .frame import Frame

__all__ = ["look_inside", "match_keys"]

Instruction = dis.Instruction


def look_inside(frame: Frame, instruction: Instruction) -> None:
    """Push what the kind or the length of a subject decides."""
    frame.derive("deep", frame.stack[-1], None, instruction.offset)
    frame.stack.append(NEW)


def match_keys(frame: Frame, instruction: Instruction) -> None:
    keys, subject = frame.stack[-1], frame.stack[-2]
    frame.derive("deep", keys | subject, None, instruction.offset)
    values = frame.derive("elem", subject, None, instruction.offset)
    frame.stack.append(frame.boxed(values, instruction.offset) | NEW)
