"""A function that calls itself, in pieces: between the calls that lead to linked code, operations
are replayed.

Invariant: as that of drive.py; at most DEEPEST calls inside of each other have a driver, so that
recursion reaches as deep as it would.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from ...core import signals
from ..record.guards import run_text
from .cut import Piece
from .drive import PieceStep, Sites, Split
from .flow import names
from .places import flow_of

__all__ = ["LinkedSplit", "data_sites"]

LEAVES = names("RETURN_VALUE RETURN_CONST RAISE_VARARGS")
DEEPEST = 48  # calls in pieces inside of each other: each has a frame more than Python's own


def data_sites(code: CodeType, sites: Sites) -> Sites:
    """The sites of a function that gets other data in each call, which its first piece is to look
    at in Python: operations begin where the branch begins that leads to them."""
    flow, found = flow_of(code), dict(sites)
    if isinstance(flow, str):
        return found
    goals, called, left = {step.goal for step in flow.steps}, False, -1
    for number, step in enumerate(flow.steps):
        kind = sites.get(step.offset)
        # behind a call it is cut anyway, where operations begin
        if kind == "call" and not called and left >= 0:  # in another branch than those before
            found.setdefault(left, "read")
        called = (called or kind == "call") and step.name not in LEAVES
        left = step.offset if step.name in LEAVES else left
        if kind != "operation" or called:
            continue
        while number and step not in goals and flow.steps[number - 1].goal is None:
            number -= 1
            step = flow.steps[number]
        at = flow.steps[number - 1].offset if number else 0
        found.setdefault(at, "read" if number else "call")
    return found


class LinkedSplit(Split):
    """`linked`: the function in linked code; `link_piece` gives the linked code of a piece."""

    def __init__(
        self,
        fn: FunctionType,
        make: Callable[..., Any],
        linked: Callable[..., Any],
        link_piece: Callable[[PieceStep], CodeType],
    ) -> None:
        super().__init__(fn, make)
        self.linked, self.link_piece = linked, link_piece

    def _step(self, piece: Piece) -> PieceStep:
        step = super()._step(piece)
        self._link(step)
        if self._plainly(piece):
            step.run_plain()
        return step

    def _plainly(self, piece: Piece) -> bool:
        """Whether a piece is not decorated."""
        kinds = {self.sites.get(at) for at in piece.origin.values()}
        return "call" in kinds or "operation" not in kinds

    def relink(self) -> None:
        """Other calls are linked from now on."""
        for step in list(self.steps.values()):
            self._link(step)

    def _link(self, step: PieceStep) -> None:
        python, code = step.python, self.link_piece(step)
        if code is not python.__code__:
            space, closure = python.__globals__, python.__closure__
            step.python = FunctionType(code, space, python.__name__, None, closure)
            signals.begins(code)
        if step.plain:
            step.function = step.python

    def _made(self, body: list[str], given: list[str], space: dict[str, Any]) -> Any:
        """The function that stands for the one in pieces, with its own way of being called."""
        plain = [line for line in body if "result and " not in line]
        every = ", ".join(given)
        space |= {"linked": self.linked, "deepest": DEEPEST}
        bound = f"{every}, = bound(args, named)" if every else "bound(args, named)"
        text = ["def make():", " def call(*args, **named):"]
        text += ["  if kept.depth >= deepest: return linked(*args, **named)"]
        if self.code.co_flags & 12 or self.code.co_kwonlyargcount or not given:
            text += [f"  {bound}"]
        else:
            text += [
                f"  if named or len(args) != {len(given)}: {bound}",
                f"  else: {every}, = args",
            ]
        text += ["  args = named = None", "  kept.depth += 1", "  try:"]
        text += [f"   {line}" for line in plain]
        text += ["  finally: kept.depth -= 1", " return call"]
        call: Callable[..., Any] = run_text("\n".join(text), signals.SECTION, space, "make")()
        self.run = call
        return call
