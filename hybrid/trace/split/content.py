"""A function whose data is new in each call, cut where Python looks at the data: operations begin
behind that.

Invariant: what is found here are places to try; which ones decides how fast a function is, never
what it does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from ...core import signals
from ..fallback.families import shape_of
from ..heap.signature import Regard, signature_of
from .assemble import CodeStep
from .cut import Piece
from .drive import PieceStep, Sites, Variable
from .flow import StackFlow, names
from .linked_pieces import LinkedSplit
from .places import flow_of, obstacle

__all__ = ["ContentSplit", "content_sites"]

LOOKS = 3  # calls of a piece in which its arguments are compared, before it is decorated
ALONE = Regard(free=frozenset((0,)))  # numbers, and lists of them, are data
STRICT = Regard(content=True)  # nothing is
LOADS = names("LOAD_FAST LOAD_FAST_CHECK LOAD_DEREF LOAD_CLOSURE LOAD_FAST_AND_CLEAR")
STORES = names("STORE_FAST STORE_DEREF")
# what only puts operands of an operation on the stack
QUIET = LOADS | names(
    "LOAD_GLOBAL LOAD_CONST LOAD_ATTR LOAD_METHOD PUSH_NULL KW_NAMES PRECALL NOP BUILD_SLICE"
)
# what hands data on and does not look at it
HANDS_ON = (
    (QUIET - names("LOAD_ATTR LOAD_METHOD"))
    | STORES
    | names(
        "POP_TOP COPY SWAP BUILD_TUPLE BUILD_LIST BUILD_MAP BUILD_CONST_KEY_MAP LIST_APPEND "
        "RETURN_VALUE MAKE_FUNCTION SET_FUNCTION_ATTRIBUTE MAKE_CELL DELETE_FAST"
    )
)


def content_sites(code: CodeType, sites: Sites) -> Sites:
    """The sites of a function, and behind which instruction each branch comes to its first
    operation."""
    flow, found = flow_of(code), dict(sites)
    if isinstance(flow, str):
        return found
    for step in first_operations(flow, sites):
        found |= before(flow, step)
    return found


def first_operations(flow: StackFlow, sites: Sites) -> list[CodeStep]:
    """The steps at which an operation runs and that are reached without another one."""
    found, met, todo = list[CodeStep](), {flow.first}, [flow.first]
    while todo:
        step = todo.pop()
        if sites.get(step.offset) == "operation":
            found.append(step)
            continue
        for other in flow.successors(step):
            if other not in met:
                met.add(other)
                todo.append(other)
    return found


def before(flow: StackFlow, step: CodeStep, last: CodeStep | None = None) -> Sites:
    """The site of a cut before a step, where its operands begin to be loaded, but behind `last`."""
    best, goals = step, {s.goal for s in flow.steps}
    while step not in goals:
        previous = flow.before[step]
        if previous is None or previous is last or previous.name not in QUIET:
            break
        step = previous
        if obstacle(flow, step) is None:
            best = step
    site = flow.before[best]
    return {} if site is None else {site.offset: "read"}


class _Data:
    """Which values of a piece are data, as some of its arguments are: one pass in the order of its
    steps, with a truth for each place of the stack."""

    def __init__(self, flow: StackFlow, piece: Piece, given: set[Variable], running: set[int]):
        self.flow, self.running = flow, running
        self.known = {name for name in given if type(name) is str}
        self.slots = {number for number in given if type(number) is int}
        inside = set(piece.origin.values())
        self.body = [s for s in flow.steps if s.offset in inside and s in flow.states]
        self.stacks: dict[CodeStep, list[bool]] = {}

    def looked_at(self) -> Iterator[tuple[CodeStep, bool]]:
        """The steps of the piece, and whether Python looks at data there."""
        stack: list[bool] = []
        for number, step in enumerate(self.body):
            depth = len(self.flow.states[step].stack)
            if not number:
                stack = [place in self.slots for place in range(depth)]
            stack = self.stacks.get(step, stack)
            stack = (stack + [False] * depth)[:depth]
            low = max(0, min(self.flow.lowest(step), depth))
            data = any(stack[low:])
            yield step, data and step.name not in HANDS_ON and step.offset not in self.running
            stack = self._behind(step, stack, low, data)

    def _behind(self, step: CodeStep, stack: list[bool], low: int, data: bool) -> list[bool]:
        """What the stack holds after a step."""
        flow, name = self.flow, step.name
        if name in LOADS:
            data = step.arg in self.known
        elif name in STORES:
            (self.known.add if data else self.known.discard)(step.arg)
        elif step.offset in self.running:
            data = False
        if name == "COPY":
            return [*stack, stack[-step.arg]]
        if name == "SWAP":
            stack = list(stack)
            stack[-1], stack[-step.arg] = stack[-step.arg], stack[-1]
            return stack
        after = flow.after[step]
        if step.goal is not None and step.goal in flow.states:
            kept = len(flow.states[step.goal].stack) - low
            self.stacks[step.goal] = stack[:low] + [data] * max(kept, 0)
        if after is None or after not in flow.states:
            return []
        return stack[:low] + [data] * max(len(flow.states[after].stack) - low, 0)


def data_cuts(code: CodeType, piece: Piece, given: set[Variable], running: set[int]) -> Sites:
    """The sites of cuts around what looks at data in a piece: behind the operations before it, and
    before the next one."""
    flow, found = flow_of(code), Sites()
    if isinstance(flow, str):
        return found
    ran, last = False, None
    for step, looked_at in _Data(flow, piece, given, running).looked_at():
        if looked_at:
            if ran:
                found |= before(flow, step, last)
            ran, last = False, step
        elif step.offset in running:
            if last is not None:
                found |= before(flow, step, last)
            ran, last = True, None
    return found


class ContentSplit(LinkedSplit):
    """`running`: the instructions at which operations run; `looks`: calls in which arguments of
    pieces were compared; `strictly`: the pieces whose numbers and sizes were compared, too."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.running: set[int] = set()
        self.looks = 0
        self.strictly: weakref.WeakSet[PieceStep] = weakref.WeakSet()

    def cut(self, sites: Sites) -> bool:
        self.running |= {at for at, kind in sites.items() if kind == "operation"}
        return super().cut(sites)

    def _step(self, piece: Piece) -> PieceStep:
        step = super()._step(piece)
        if not step.plain:
            step.function = _looking(weakref.ref(self), weakref.ref(step), ALONE, step.python)
        return step

    def _plainly(self, piece: Piece) -> bool:
        return self.running.isdisjoint(piece.origin.values())

    def _unsettled(self, step: PieceStep) -> None:
        """Most calls of a piece are no replays."""
        if step in self.strictly:
            step.run_plain()
            return
        self.strictly.add(step)
        step.function = _looking(weakref.ref(self), weakref.ref(step), STRICT, step.python)

    def looked(self, step: PieceStep, forms: list[list[Any]]) -> None:
        """Arguments of calls of a piece have been compared."""
        if not step.plain:
            step.function = step.decorated
        given = {
            variable
            for number, variable in enumerate(step.piece.takes)
            if any(form[number] != forms[0][number] for form in forms)
        }
        sites = data_cuts(self.code, step.piece, given, self.running) if given else {}
        new: Sites = {
            at: kind for at, kind in sites.items() if self.sites.get(at, "operation") != kind
        }
        if new:
            self.found, self.stale = {**self.found, **new}, True

    @property
    def news(self) -> int:
        return super().news + self.looks


def _looking(
    owner: Callable[[], ContentSplit | None],
    known: Callable[[], PieceStep | None],
    regard: Regard,
    python: FunctionType,
) -> Callable[..., Any]:
    """What runs some calls of a piece, in Python, and compares their arguments."""
    forms: list[list[Any]] = []

    def look(*args: Any) -> Any:
        split, step = owner(), known()
        if split is None or step is None:
            return python(*args)
        try:
            split.looks += 1
            forms.append([_form(value, regard) for value in args])
            if len(forms) >= LOOKS:
                split.looked(step, forms)
        except Exception as error:  # of hybrid's own work
            if signals.foreign(error):
                raise
            step.run_plain()
        return step.python(*args)

    return look


def _form(value: Any, regard: Regard) -> Any:
    """What an argument has in common with those that a recording of it serves; sizes inside of
    containers make too many kinds of calls."""
    found = signature_of((value,), {}, regard)[0]
    bare = regard is ALONE and type(value) not in (list, tuple, dict)
    return shape_of(found) if bare else found
