"""A function in pieces: each is a decorated function of its own, or plain Python, and gives control
to the next with a marked tuple.

Invariant: what a piece does is done before the next one begins, so a call in pieces does what the
function does, in its order; pieces change who runs an instruction, never which ones run.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
import time
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from ...core import signals
from ..fallback.budget import EFFECTS
from ..heap.allowlist import MISSING, Mark, site_of
from ..record.guards import run_text
from ..watch.ran.seen import FRAMES, WHOLE, SiteKind
from .cut import Piece, Pieces, Variable, pieces_of
from .places import LOOKS_AROUND
from .where import begins_late, changes, cuts_for

__all__ = ["KEPT", "Sites", "Split", "Standing", "Variable", "splittable"]

MAX_CUTS = 16
ROUNDS = 12  # times that a function is cut
MOST_REFUSALS = 6  # of calls of a piece, whatever their signatures, before it runs plain
SHARE = 0.8  # of the operations that are to run in plans
DEEP = 150  # calls inside of each other that are left for what runs a piece
RESTLESS = 8  # calls of the function, and more of a piece that are no replays than replays
TRIES = 16  # calls without an operation before a piece that branches runs plain
# names by which a function looks at its frame, which is another one in pieces
UNUSUAL = FRAMES | LOOKS_AROUND | {"inspect", "traceback", "tap"}
LOOKING = (inspect, traceback, inspect.stack)  # by other names
Sites = dict[int, SiteKind]


def splittable(fn: Any) -> bool:
    """Whether a function may be cut: one that looks at its own frame would see pieces."""
    if type(fn) is not types.FunctionType or not UNUSUAL.isdisjoint(fn.__code__.co_names):
        return False
    known = [fn.__globals__.get(name) for name in fn.__code__.co_names]
    for cell in fn.__closure__ or ():
        with contextlib.suppress(ValueError):  # it is empty
            known.append(cell.cell_contents)
    return not any(value is other for value in known for other in LOOKING)


class _Kept(threading.local):
    """Frames of pieces whose variables live until the call has ended, behind None; `nothing`: the
    result of a call is NotImplemented; `depth`: calls in pieces of linked functions that are inside
    of each other."""

    def __init__(self) -> None:
        self.frames: list[types.FrameType | None] = []
        self.nothing = False
        self.depth = 0


KEPT = _Kept()


@signals.critical
def keep() -> None:
    """Keep the variables of the piece that calls this as long as those of the function live: until
    the call has ended, or the piece binds them anew."""
    frame, frames = sys._getframe(1), KEPT.frames
    for place in range(len(frames) - 1, -1, -1):
        other = frames[place]
        if other is None:  # here the call began
            break
        if other.f_code is frame.f_code:
            frames[place] = frame
            return
    frames.append(frame)


def deep() -> bool:
    """Whether the stack is so high that hybrid's own work might not end."""
    try:
        sys._getframe(max(sys.getrecursionlimit() - DEEP, 0))
    except ValueError:
        return False
    return True


class Standing(NamedTuple):
    """How a decorated function stands: a number that moves with each call that is no replay or one
    of the first of a plan, calls that replayed and that ran eagerly, sizes of its plans and of
    recordings that wait (for others, or as plain Python is faster), and whether all signatures were
    given up."""

    news: int
    replays: int
    eager: int
    plans: tuple[int, ...]
    waiting: tuple[int, ...]
    refused: bool


class PieceStep:
    """One piece: `function` is what is called, the decorated one or, if it is `plain`, Python's;
    `interrupted`: what is called where a signal waits.
    `operations`: of its latest refused call; `refusals`: how many there were; `settled`: its news
    when it became plain."""

    __slots__ = (
        "piece",
        "python",
        "decorated",
        "function",
        "interrupted",
        "plain",
        "operations",
        "looks",
        "refusals",
        "settled",
        "__weakref__",
    )

    def __init__(self, piece: Piece, python: types.FunctionType, decorated: Any) -> None:
        self.piece, self.python, self.decorated = piece, python, decorated
        self.function: Callable[..., Any] = decorated
        self.interrupted: types.FunctionType | None = None
        self.plain = False
        self.operations = self.looks = self.refusals = self.settled = 0
        if piece.iterates or piece.handles:
            self.run_plain()

    @property
    def standing(self) -> Standing:
        """How its calls are served."""
        found: Standing = self.decorated.standing()
        return found

    @property
    def news(self) -> int:
        """A number that moves with each call that is no replay."""
        return self.settled if self.plain else self.standing.news

    def run_plain(self) -> None:
        """Run Python's own function from now on."""
        self.settled = self.news
        self.plain, self.function = True, self.python

    def look(self) -> None:
        """Run Python's own function where no call has an operation, or none is replayed."""
        if self.plain:
            return
        self.looks += 1
        standing = self.standing
        sizes = (*standing.plans, *standing.waiting)
        settled = self.looks >= TRIES or not self.piece.branches
        if (sizes and not any(sizes) and settled) or standing.refused:
            self.run_plain()

    @property
    def restless(self) -> bool:
        """Whether most of its calls are no replays."""
        standing = self.standing
        late = self.looks > RESTLESS and standing.eager > standing.replays + RESTLESS
        return not self.plain and late

    def sizes(self) -> tuple[int, int]:
        """Operations inside of plans, and outside."""
        standing = self.standing
        inside = 0 if self.plain else max(standing.plans, default=0)
        return inside, 0 if inside else max((self.operations, *standing.waiting))


class Split:
    """How a function runs in pieces; `call` is None while it is not cut, and gives NotImplemented
    for arguments that are not as many as its parameters, and for other code.

    `make` decorates a piece.  `bound` gives arguments in the order of the function's variables.
    `sites`: what was refused so far; `stale`: it is to be cut anew, as pieces were refused."""

    def __init__(self, fn: types.FunctionType, make: Callable[..., Any]) -> None:
        self.fn, self.code, self.make = fn, fn.__code__, make
        self.calls = 0  # that no look at a signature preceded
        self.forget: Callable[[], None] = _nothing  # what is called before it is cut anew
        self.sites: Sites = {}
        self.cuts: frozenset[int] = frozenset()
        self.steps: dict[int, PieceStep] = {}  # by cut; the first one by -1
        self.call: Callable[..., Any] | None = None
        self.rounds = 0
        self.stale, self.found = False, Sites()
        self.bound: Callable[..., tuple[Any, ...]] = functools.partial(_bound, fn, _binder(fn))
        self.run: Callable[..., Any] = fn

    # ---- cutting
    def cut(self, sites: Sites) -> bool:
        """Cut at these instructions, too; whether that makes other pieces."""
        found = dict(self.sites)
        for at, kind in sites.items():
            before = found.get(at, "operation")
            if kind != "operation":
                found[at] = kind if before == "operation" else "call"
            elif before == "operation":
                found[at] = kind
        if found == self.sites or self.rounds >= ROUNDS:
            return False
        self.sites, self.rounds = found, self.rounds + 1
        cuts = cuts_for(self.code, found)
        if cuts == self.cuts or not 0 < len(cuts) <= MAX_CUTS:
            return False
        pieces = pieces_of(self.code, cuts, Mark, keep, signals.ARRIVE)
        if isinstance(pieces, str):
            return False
        self.cuts = cuts
        self._use(pieces)
        return True

    def _use(self, pieces: Pieces) -> None:
        """Make the functions of pieces; those that are as they were stay."""
        known = {step.piece.code: step for step in self.steps.values()}
        self.steps = {
            at: known.get(piece.code) or self._step(piece)
            for at, piece in [(-1, pieces.entry), *pieces.parts.items()]
        }
        if any(step.piece.handles for step in self.steps.values()):
            for step in self.steps.values():
                for function in (step.python, step.interrupted or step.python):
                    signals.begins(function.__code__)
        self.call = self._driver()

    def _step(self, piece: Piece) -> PieceStep:
        python = self._python(piece.code)
        owner, decorated = weakref.ref(self), self.make(python)
        step = PieceStep(piece, python, decorated)
        if piece.interrupted is not None:
            step.interrupted = self._python(piece.interrupted)
        known = weakref.ref(step)

        def refused(sites: Sites, operations: int) -> None:
            split, found = owner(), known()
            if split is not None and found is not None:
                split.refused(found, sites, operations)

        decorated.tell(refused)
        return step

    def _python(self, code: types.CodeType) -> types.FunctionType:
        """The function of a piece, as Python runs it."""
        fn = self.fn
        cells = dict(zip(self.code.co_freevars, fn.__closure__ or ()))
        closure = tuple([cells[name] for name in code.co_freevars])
        python = types.FunctionType(code, fn.__globals__, fn.__name__, None, closure)
        python.__qualname__, python.__module__ = fn.__qualname__, fn.__module__
        return python

    def refused(self, step: PieceStep, sites: Sites, operations: int) -> None:
        """A call of a piece of the function was refused."""
        step.operations, step.refusals = operations, step.refusals + 1
        if WHOLE in sites:
            for each in self.steps.values():
                each.run_plain()
        elif step.refusals > MOST_REFUSALS or not (operations or step.sizes() != (0, 0)):
            step.run_plain()
        elif step.refusals >= EFFECTS:
            origin = step.piece.origin
            found = {origin[at]: kind for at, kind in sites.items()}
            self.found |= self.blamed(step.piece, found)
            self.stale = True
        if self.stale or self.hopeless:
            self.forget()

    def blamed(self, piece: Piece, sites: Sites) -> Sites:
        """The sites to cut at, of those of a refused call of a piece.  Where none is to blame (what
        it gives can not be made again, or it changes what it is given; reads that it is cut behind
        may show, too) those inside of it that may change a container, or else its beginning, so
        that it begins where operations do, or else the last operation, behind which it is cut."""
        known = {at for at, kind in sites.items() if kind == self.sites.get(at) == "read"}
        running = [at for at, kind in sites.items() if kind == "operation"]
        if len(running) + len(known) < len(sites) or not running:
            return sites
        ran: Sites = dict.fromkeys(running, "operation")
        changing = (changes(self.code) & {*piece.origin.values()}).difference(running, self.sites)
        if changing:
            return ran | dict.fromkeys(changing, "call")
        begun = self.sites.get(piece.at) == "call"
        if not begun and begins_late(self.code, piece.at, min(running)):
            return {**ran, piece.at: "call"}
        return sites if known else {**sites, max(running): "read"}

    def settle(self) -> None:
        """A call has ended: cut anew where pieces were refused, and let those run plain that are
        not worth a replay."""
        if self.stale:
            self.stale, found, self.found = False, self.found, {}
            self.cut(found)
        for step in list(self.steps.values()):
            step.look()
            if step.restless:
                self._unsettled(step)

    def _unsettled(self, step: PieceStep) -> None:
        """What a piece is given is new in each call: let it begin where operations do."""
        if not self.cut({step.piece.at: "call"}):
            step.run_plain()

    # ---- what is known
    @property
    def news(self) -> int:
        """A number that moves while pieces are recorded and compiled."""
        return self.rounds + sum([step.news for step in list(self.steps.values())])

    def wait(self, limit: float | None) -> bool:
        """Whether what was recorded of pieces is compiled before that moment."""
        left = None if limit is None else max(limit - time.monotonic(), 0.0)
        return all(s.decorated.wait(left) for s in list(self.steps.values()) if not s.plain)

    @property
    def hopeless(self) -> bool:
        """Whether all of it is Python."""
        return all(step.plain for step in list(self.steps.values()))

    @property
    def native(self) -> bool:
        """Whether the operations run in plans, but for a few."""
        sizes = [step.sizes() for step in list(self.steps.values())]
        inside, outside = (sum(column) for column in zip(*sizes))
        return bool(inside > 0 and inside >= SHARE * (inside + outside))

    def lines(self) -> list[str]:
        """What `explain` says."""
        places = ", ".join([site_of(self.code, at) for at in sorted(self.cuts)])
        out = [f"in {len(self.steps)} pieces, cut at {places}"]
        for step in list(self.steps.values()):
            where = site_of(self.code, step.piece.at)
            inside = step.sizes()[0]
            kind = "Python" if step.plain else f"{inside} operations in a plan"
            out.append(f"  from {where}: {kind}")
        return out

    # ---- calls
    def _driver(self) -> Callable[..., Any]:
        """What runs a call."""
        space: dict[str, Any] = {"fn": self.fn, "code": self.code, "MISSING": MISSING}
        space |= {"Mark": Mark, "kept": KEPT, "NI": NotImplemented, "bound": self.bound}
        names: dict[Any, str] = {}
        for number, step in enumerate(self.steps.values()):
            space[f"s{number}"] = step
            for variable in step.piece.takes:
                names.setdefault(variable, f"v{len(names)}")
        steps = {at: f"s{number}" for number, at in enumerate(self.steps)}
        # what a piece uses up lies in a list of its own, so that it can be taken out of there
        moved = frozenset().union(*[step.piece.moved for step in self.steps.values()])

        def call(at: int) -> str:
            step, given = self.steps[at], []
            for variable in step.piece.takes:
                end = ".pop()" if variable in step.piece.moved else "[0]"
                given.append(names[variable] + (end if variable in moved and at >= 0 else ""))
            every = f"({', '.join(given)})"
            waits = f"{steps[at]}.interrupted{every} if pending else "
            return f"r = {waits * (step.interrupted is not None)}{steps[at]}.function{every}"

        body, exits = [call(-1)], 0
        first = [names[v] for v in self.steps[-1].piece.takes if v in moved]
        body += [f"{name} = [{name}]" for name in first]
        for name in sorted(frozenset().union(*[s.piece.unsure for s in self.steps.values()])):
            body.append(f"{names[name]} = {'[MISSING]' if name in moved else 'MISSING'}")
        body.append("while type(r) is tuple and r and type(r[0]) is Mark:")
        for step in self.steps.values():
            for leaving in step.piece.exits:
                space[f"m{exits}"] = leaving.mark
                body.append(f"  {'elif' if exits else 'if'} r[0] == m{exits}:")
                exits += 1
                for place, variable in enumerate(leaving.gives, 1):
                    name = names.setdefault(variable, f"v{len(names)}")
                    held = f"[r[{place}]]" if variable in moved else f"r[{place}]"
                    body.append(f"   {name} = {held}")
                body += [f"   {names[name]} = None" for name in leaving.done if name in names]
                body += ["   r = None", f"   {call(leaving.at)}"]
        body += ["  else: raise SystemError('a piece ended at a cut that is not known')"] * (
            exits > 0
        )
        body += ["if result and r is NI: kept.nothing = True", "return r"]
        if any(step.piece.keeps for step in self.steps.values()):
            inside = [f" {line}" for line in body]
            body = ["frames = kept.frames", "depth = len(frames)", "frames.append(None)", "try:"]
            body += inside
            body += ["finally: del frames[depth:]"]
        given = [names[name] for name in self.steps[-1].piece.takes]
        if any(step.piece.handles for step in self.steps.values()):
            space |= {"held": signals.held, "pending": signals.PENDING, "deep": deep}
            whole = called_with(self.code, given)
            body = [f"if deep(): return fn({whole})", "with held:", *[f" {b}" for b in body]]
        driver: Callable[..., Any] = self._made(body, given, space)
        return driver

    def _made(self, body: list[str], given: list[str], space: dict[str, Any]) -> Any:
        """The function of bare arguments with this body."""
        plain = not self.code.co_flags & 12 and not self.code.co_kwonlyargcount
        every = ", ".join(given)
        if plain and given:
            head = f"def call({', '.join([f'{name}=MISSING' for name in given])}, *more):"
            wrong = f"more or {given[-1]} is MISSING"
            got = f"[a for a in ({every}, *more) if a is not MISSING]"
            bind = [f"if {wrong}:", f" {every}, = bound({got}, {{}})"]
        elif given:
            head, bind = "def call(*args):", [f"{every}, = bound(args, {{}})"]
        else:
            head, bind = "def call(*args):", ["if args: bound(args, {})"]
        told = [line.replace("result and ", "") for line in body]
        plainly = [line for line in body if "result and " not in line]
        text = [f"def run({every}):", *[f" {line}" for line in plainly], head]
        text += [" if fn.__code__ is not code: return NI"]
        text += [f" {line}" for line in [*bind, *told]]
        text = ["def make():", *[f" {line}" for line in [*text, "return run, call"]]]
        made: Any = run_text("\n".join(text), signals.SECTION, space, "make")()
        self.run = made[0]
        call: Callable[..., Any] = made[1]
        return call


def _nothing() -> None:
    """Does nothing."""


def _bound(
    fn: types.FunctionType, bind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """Arguments in the order of a function's variables; TypeError as its own."""
    bind.__defaults__, bind.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    return tuple(bind(*args, **kwargs))


def called_with(code: types.CodeType, given: list[str]) -> str:
    """How a function is called with what its variables are to be, in their order."""
    count, only = code.co_argcount, code.co_kwonlyargcount
    out, rest = given[:count], given[count + only :]
    named = [f"{name}={v}" for name, v in zip(code.co_varnames[count:], given[count:][:only])]
    stars = [f"*{rest.pop(0)}"] if code.co_flags & 4 else []
    return ", ".join([*out, *stars, *named, *[f"**{name}" for name in rest]])


def _binder(fn: types.FunctionType) -> Any:
    """A function with the parameters of another one, which gives them in order of its variables."""
    code = fn.__code__
    positional, only = code.co_argcount, code.co_posonlyargcount
    names = list(code.co_varnames)
    stars = positional + code.co_kwonlyargcount
    text = names[:positional]
    if only:
        text.insert(only, "/")
    order = names[:stars]
    if code.co_flags & 4:
        text.append(f"*{names[stars]}")
        order.append(names[stars])
        stars += 1
    elif code.co_kwonlyargcount:
        text.append("*")
    text += names[positional : positional + code.co_kwonlyargcount]
    if code.co_flags & 8:
        text.append(f"**{names[stars]}")
        order.append(names[stars])
    made = eval(f"lambda {', '.join(text)}: ({', '.join(order)}{',' if order else ''})", {})
    made.__name__, made.__qualname__ = fn.__name__, fn.__qualname__
    return made
