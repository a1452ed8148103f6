"""Variables that a function shares with nothing but its own comprehensions and generator
expressions.

Invariant: such a variable is bound by its own frame only, and whoever reads it is followed, or what
it holds escapes.
"""

from __future__ import annotations

import functools
import types

from ...bytecode.summary import instructions_of
from ..machine import UNKNOWN, StackSlot, Stepper
from ..terms import is_number

__all__ = ["PARTS", "home_of", "keeps", "seen_from"]

PARTS = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")
_REBINDS = ("STORE_DEREF", "DELETE_DEREF")


@functools.lru_cache(4096)
def _only_read(code: types.CodeType, name: str) -> bool:
    """Whether only comprehensions of a function, and what is inside of them, read a variable."""
    for inner in code.co_consts:
        if type(inner) is not types.CodeType or name not in inner.co_freevars:
            continue
        if inner.co_name not in PARTS or not _only_read(inner, name):
            return False
        bound = (i for i in instructions_of(inner).values() if i.argval == name)
        if any(instruction.opname in _REBINDS for instruction in bound):
            return False
    return True


def keeps(machine: Stepper, name: str) -> bool:
    """Whether a variable of a frame, which others may read, is followed."""
    return not machine.leaks and _only_read(machine.code, name)


def home_of(machine: Stepper, name: str) -> Stepper | None:
    """The frame whose variable this is, where it is followed."""
    home: Stepper | None = machine
    while home is not None and name in home.code.co_freevars:
        home = home.outer if home.code.co_name in PARTS else None
    return home if home is not None and name in home.cells else None


def seen_from(slot: StackSlot) -> StackSlot:
    """A slot without what only one frame knows."""
    known = is_number(slot.value) or type(slot.value) is str
    return slot if known else slot._replace(value=UNKNOWN)
