"""The functions that a function calls again and again: which of them are decorated, and the linked
copies of those between.

Invariant: what stands for a callee does what the callee does, at any time and wherever it is
called; what is not known about a callee leaves it as it is.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any, NamedTuple

from ...core import signals
from ...ir.mode import Mode, Versioned
from ..bytecode.summary import start_of
from ..fallback.deferred import WITHIN
from ..fallback.nap import Napping
from ..heap.allowlist import trusted
from ..watch.ran.seen import FRAMES, SiteKind
from .drive import SHARE, PieceStep
from .flow import COMPREHENSIONS
from .inner_code import CodeKind, InnerCode
from .linked import linked_code
from .places import GENERATORS

__all__ = ["InnerFunctions", "Survey"]

CALLED, METHODS = "__call__", ("__call__", "forward")  # of hybrid's modules


class Survey(Mode):
    """Notes where the operations of one call run."""

    __slots__ = ("owner", "base")

    def __init__(self, owner: InnerFunctions, base: FrameType) -> None:
        self.owner, self.base = owner, base

    def on_op(self, op: Any, params: Any, xs: Any, outs: Any) -> None:
        try:
            self.owner.ran(sys._getframe(1), self.base)
        except Exception as error:  # of hybrid's own work: it is not known what runs here
            if signals.foreign(error):
                raise


class _CodeCopy(NamedTuple):
    """Code that stands for the one of an inner function, or for a piece of it; `origin`: its
    instructions -> those of that."""

    inner: InnerCode
    code: CodeType
    origin: dict[int, int]
    step: weakref.ref[PieceStep] | None


class _Place(NamedTuple):
    """An activation on the way to an operation: its code, the instruction that it is at, and the
    module that it belongs to, by id."""

    code: CodeType
    at: int
    module: int


class InnerFunctions:
    """What is known of the functions that one function calls; `make` decorates one of them;
    `content`: its arguments are others in almost each call.

    `inside`, `outside`: operations of the latest survey in plans, and others."""

    def __init__(
        self, fn: Any, function: Any, make: Callable[[FunctionType], Any], content: bool = True
    ) -> None:
        self.fn, self.make, self.content = fn, make, content
        self.function = weakref.ref(function)
        self.codes: dict[int, InnerCode] = {}
        self.copies: dict[int, _CodeCopy] = {}
        self.inside = self.outside = 0
        self.recursive = False  # whether any of the functions calls itself
        self.link = _linker(self)
        self.used = 0  # what `moved` was when code was linked
        self.moved = 0  # moves with each change of what is known

    # ---- codes
    def linkable(self, code: CodeType) -> bool:
        """Whether a code may be copied: a program that looks at frames would see it."""
        return not code.co_flags & GENERATORS and FRAMES.isdisjoint(code.co_names)

    def link_code(self, inner: InnerCode) -> CodeType:
        """Make linked code; the code itself where that is not possible."""
        parts, made = self._parts(inner.code), None
        if inner.calls or parts:
            made = linked_code(inner.code, inner.calls, self.link, parts)
        if made is not None:
            self.copies[id(made[0])] = _CodeCopy(inner, *made, None)
        inner.linked = inner.code if made is None else made[0]
        return inner.linked

    def _parts(self, code: CodeType) -> dict[int, CodeType]:
        """What stands for the comprehensions of a code."""
        parts = [self.codes[id(part)] for part in code.co_consts if id(part) in self.codes]
        linked = [(part, part.linked or self.link_code(part)) for part in parts]
        return {id(part.code): code for part, code in linked if code is not part.code}

    def link_piece(self, inner: InnerCode, step: PieceStep) -> CodeType:
        """The linked code of a piece of a function."""
        code, origin = step.piece.code, step.piece.origin
        self.copies[id(code)] = _CodeCopy(inner, code, origin, weakref.ref(step))
        calls = [at for at, before in origin.items() if before in inner.calls]
        made = linked_code(code, calls, self.link, self._parts(code))
        if made is None:
            return code
        whole = {at: origin.get(before, -1) for at, before in made[1].items()}
        self.copies[id(made[0])] = _CodeCopy(inner, made[0], whole, weakref.ref(step))
        return made[0]

    def lines(self) -> Iterator[str]:
        """What `explain` says."""
        for inner in list(self.codes.values()):
            yield from inner.lines()

    def decorated(self) -> Iterator[Any]:
        """The decorated functions and pieces."""
        for inner in list(self.codes.values()):
            yield from inner.decorated()

    @property
    def hopeful(self) -> bool:
        """Whether any are, or are to be."""
        return any(
            inner.kind == "decorated" or inner.splits or inner.cuts()
            for inner in list(self.codes.values())
        )

    @property
    def news(self) -> int:
        """A number that moves while any of them is recorded."""
        return self.moved + sum([inner.news for inner in list(self.codes.values())])

    @property
    def native(self) -> bool:
        """Whether the operations run in plans, but for a few."""
        return self.inside > 0 and self.inside >= SHARE * (self.inside + self.outside)

    def settle(self) -> None:
        """Let those that are not replayed be linked."""
        for inner in list(self.codes.values()):
            self.moved += inner.settle()

    # ---- calls
    def given(self, fn: Any) -> Any:
        """What stands for the function itself."""
        found = fn.__func__ if type(fn) is MethodType else fn
        if type(found) is not FunctionType:
            return fn
        inner = self.codes.get(id(found.__code__))
        if inner is None or inner.kind != "linked":
            return fn
        given = inner.given(found)
        return given if found is fn else MethodType(given, fn.__self__)

    def itself(self, callee: Any) -> Any:
        """What stands for the outermost function, when it is called inside of its own call."""
        return self.given(self.fn) if self.function() is callee else callee

    def other(self, callee: Any, kind: type) -> Any:
        """What stands for another object: one with a method for its calls, or the outermost
        function."""
        if issubclass(kind, Napping):
            return self.itself(callee)
        method = None
        for base in kind.__mro__:
            method = base.__dict__.get(CALLED)
            if method is not None:
                break
        if type(method) is not FunctionType:
            return callee
        inner = self.codes.get(id(method.__code__))
        given = method if inner is None else inner.given(method)
        return callee if given is method else MethodType(given, callee)

    def survey(self, args: tuple[Any, ...], kwargs: dict[str, Any], push: Any, pop: Any) -> Any:
        """A call that says where its operations run; nothing is replayed in it."""
        self.inside = self.outside = 0
        given = self.given(self.fn)
        outer = push(Survey(self, sys._getframe()))
        try:
            return given(*args, **kwargs)
        finally:
            pop(outer)

    def relink(self) -> None:
        """Use what surveys have found."""
        if self.moved != self.used:
            for inner in list(self.codes.values()):
                inner.relink()
            self.used = self.moved

    # ---- what is seen
    def ran(self, frame: FrameType | None, base: FrameType) -> None:
        """An operation runs in a frame, inside of a call that began in another one."""
        chain: list[_Place] = []
        replayed = False
        while frame is not None and frame is not base:
            code, at, back = frame.f_code, frame.f_lasti, frame.f_back
            copy, known = self.copies.get(id(code)), self.codes.get(id(code))
            if back is not None and back.f_code is WITHIN:
                replayed = replayed or _planned(known, copy)
            if copy is not None:
                at, code = copy.origin.get(start_of(code, at), -1), copy.inner.code
            own = trusted(code.co_filename)
            if not own:
                chain.append(_Place(code, at, 0))
            elif code.co_name in METHODS:
                called = code.co_name == CALLED
                owner = _module(frame) if called else 0
                if called and owner and chain and chain[-1].code.co_name in METHODS:
                    chain[-1] = chain[-1]._replace(module=owner)
                if owner or not called:
                    chain.append(_Place(code, at, owner))
            frame = back
        if replayed:
            self.inside += 1
        else:
            self.outside += 1
        self._met(chain)

    def _met(self, chain: list[_Place]) -> None:
        """Note the activations on the way to an operation, the innermost first."""
        recursive: set[int] = set()
        places: dict[tuple[int, int], int] = {}
        for number, place in enumerate(chain):
            if place.code.co_name == CALLED and trusted(place.code.co_filename):
                continue
            first = places.setdefault((id(place.code), place.module), number)
            recursive.update(id(between.code) for between in chain[first:number])
        self.recursive = self.recursive or bool(recursive)
        below, leads = None, False
        for place in chain:
            inner = self._inner(place.code)
            if inner is None:
                below = None
                continue
            if id(place.code) in recursive and inner.kind == "decorated":
                inner.kind = "linked"
                inner.made.clear()
                self.moved += 1
            if place.at >= 0:
                self._note(inner, start_of(place.code, place.at), below, leads)
            own = trusted(place.code.co_filename)
            if inner.kind == "decorated":
                leads = False
            elif inner.kind == "linked" and not own:
                leads = True
            below = inner

    def _note(self, inner: InnerCode, at: int, below: InnerCode | None, leads: bool) -> None:
        """Note an instruction at which an operation ran, by way of other code or in it."""
        if below is not None and at not in inner.calls:
            inner.calls.add(at)
            self.moved += 1
        kind: SiteKind = "call" if leads else "operation"
        if inner.sites.get(at) not in (kind, "call"):
            inner.sites[at] = kind
            self.moved += 1
        if not leads and (below is None or trusted(below.code.co_filename)):
            inner.direct.add(at)

    def _inner(self, code: CodeType) -> InnerCode | None:
        found = self.codes.get(id(code))
        if found is None and self.linkable(code):
            root = getattr(self.fn, "__code__", None)
            kind: CodeKind = "decorated"
            if code is root or (code.co_name == CALLED and trusted(code.co_filename)):
                kind = "linked"
            elif code.co_name in COMPREHENSIONS:
                kind = "part"
            found = self.codes[id(code)] = InnerCode(code, kind, self)
            self.moved += 1
        return found


def _planned(inner: InnerCode | None, copy: _CodeCopy | None) -> bool:
    """Whether the calls of a decorated function, or piece, are replayed."""
    if copy is not None:
        step = None if copy.step is None else copy.step()
        return step is not None and not step.plain and any(step.standing.plans)
    found = [] if inner is None or inner.kind != "decorated" else inner.decorated()
    return any(any(function.standing().plans) for function in found)


def _module(frame: FrameType) -> int:
    """The id of the module whose call a frame is; 0: it is none."""
    module = frame.f_locals.get("self")
    return id(module) if isinstance(module, Versioned) else 0


def _linker(owner: InnerFunctions) -> Callable[[Any], Any]:
    """The function that callees pass through, which does not keep the owner: caches of what is
    known of code hold linked code, and that holds this."""
    known = weakref.ref(owner)

    def link(callee: Any) -> Any:
        found, kind = known(), type(callee)
        if found is None:
            return callee
        if kind is FunctionType:
            inner = found.codes.get(id(callee.__code__))
            return callee if inner is None else inner.given(callee)
        if kind is not MethodType:
            return found.other(callee, kind)
        function = callee.__func__
        if type(function) is FunctionType:
            inner = found.codes.get(id(function.__code__))
            if inner is None:
                return callee
            given = inner.given(function)
        else:
            given = found.itself(function)
        return callee if given is function else MethodType(given, callee.__self__)

    return link
