"""One code object that is called again and again: what stands for the functions that have it.

Invariant: what stands for a function does what that does, at any time and wherever it is called.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from ...core import signals
from ..heap.allowlist import site_of, trusted
from .content import ContentSplit, content_sites
from .drive import RESTLESS, PieceStep, Sites
from .linked_pieces import LinkedSplit, data_sites

__all__ = ["CodeKind", "InnerCode"]

# linked: its calls lead to others; decorated: replayed as a whole; part: a comprehension of the
# function around it
CodeKind: TypeAlias = Literal["linked", "decorated", "part"]
OWN = 2  # operations of its own that make it worth to cut a function
MOST_FUNCTIONS = 16  # of one code object that are decorated


class _Standing(NamedTuple):
    """What stands for a function, as long as it has these defaults."""

    given: Any
    defaults: Any
    named: Any
    function: weakref.ref[FunctionType]


class Makes(Protocol):
    """What knows all code objects of a function (inner.py)."""

    fn: Any
    make: Callable[[FunctionType], Any]
    content: bool

    def link_code(self, inner: InnerCode) -> CodeType:
        """Make the linked code of an inner one."""

    def link_piece(self, inner: InnerCode, step: PieceStep) -> CodeType:
        """The linked code of a piece."""


class InnerCode:
    """One code object in which operations run, or in what it calls.

    `calls`: its calls that led there; `sites`: those that lead to linked code, and others at which
    operations run, `direct` those of its own; `made`: what stands for its functions, by id;
    `splits`: these in pieces; `whole`: it is not cut; `last`: the latest function that is no
    constant of a module or class."""

    __slots__ = (
        "code",
        "kind",
        "calls",
        "sites",
        "direct",
        "made",
        "linked",
        "owner",
        "splits",
    ) + (
        "whole",
        "last",
        "__weakref__",
    )

    def __init__(self, code: CodeType, kind: CodeKind, owner: Makes) -> None:
        self.code, self.kind = code, kind
        self.calls: set[int] = set()
        self.sites: Sites = {}
        self.direct: set[int] = set()
        self.made: dict[int, _Standing] = {}
        self.splits: dict[int, LinkedSplit] = {}
        self.linked: CodeType | None = None
        self.owner = weakref.ref(owner)
        self.whole = trusted(code.co_filename)
        self.last: Callable[[], FunctionType | None] = _nothing

    def given(self, function: FunctionType) -> Any:
        """What stands for a function with this code."""
        made = self.made.get(id(function))
        if made is not None and made.defaults is function.__defaults__:
            if made.named is function.__kwdefaults__:
                return made.given
        owner = self.owner()
        if owner is None or (self.linked is self.code and not self.cuts()):
            return function
        try:
            return self._find(function, owner)
        except Exception as error:  # of hybrid's own work: the callee itself does
            if signals.foreign(error):
                raise
            self.kind, self.linked, self.whole = "linked", self.code, True
            return function

    def _find(self, function: FunctionType, owner: Makes) -> Any:
        known = self.made.get(id(function))
        if known is not None:  # its defaults have changed
            _with_defaults(known.given if self.kind == "linked" else known.given.fn, function)
        lasting, room = self._lasts(function, owner), len(self.made) < MOST_FUNCTIONS
        if self.kind == "decorated":
            if known is not None:
                return self._keep(function, known.given)
            fits = lasting and room
            return (
                self._keep(function, owner.make(_copy(function, self.code))) if fits else function
            )
        code = self.linked or owner.link_code(self)
        copy = function if code is self.code else _copy(function, code)
        if lasting and room and self.cuts():
            return self._keep(function, self._in_pieces(function, copy, owner))
        if copy is function:
            return function
        # one with variables of others is not kept: it might keep itself through them
        return copy if function.__closure__ else self._keep(function, copy)

    def _lasts(self, function: FunctionType, owner: Makes) -> bool:
        """Whether a function is not made anew for each call."""
        if not function.__closure__ or owner.fn is function or self.last() is function:
            return True
        self.last = weakref.ref(function)
        return False

    def _keep(self, function: FunctionType, given: Any) -> Any:
        key, made, splits = id(function), self.made, self.splits

        def dead(_: Any) -> None:
            made.pop(key, None)
            splits.pop(key, None)

        reference = weakref.ref(function, dead)
        made[key] = _Standing(given, function.__defaults__, function.__kwdefaults__, reference)
        return given

    # ---- in pieces
    def cuts(self) -> bool:
        """Whether it has operations of its own beside calls that lead to linked code, or beside
        data that is new in each call."""
        owner = self.owner()
        behind = "call" in self.sites.values() or (owner is not None and owner.content)
        return behind and not self.whole and self.kind == "linked" and len(self.direct) >= OWN

    def _in_pieces(self, function: FunctionType, copy: Any, owner: Makes) -> Any:
        split = self.splits.get(id(function))
        if split is None:
            python = _copy(function, self.code)
            kind = LinkedSplit if "call" in self.sites.values() else ContentSplit
            split = kind(python, owner.make, copy, functools.partial(owner.link_piece, self))
            split.cut(self._sites(kind))
            if split.call is None or split.hopeless:
                self.whole = True
                return copy
            self.splits[id(function)] = split
        _with_defaults(split.fn, function)
        split.linked = copy
        return split.call

    def _sites(self, kind: type[LinkedSplit]) -> Sites:
        """Where it is cut: operations begin behind the data that Python looks at."""
        find = content_sites if kind is ContentSplit else data_sites
        return find(self.code, self.sites)

    def relink(self) -> None:
        """Other calls are linked, or cut, from now on."""
        self.linked = None
        if self.kind == "linked":
            self.made.clear()
        for split in list(self.splits.values()):
            split.cut(self._sites(type(split)))
            split.relink()

    def settle(self) -> bool:
        """Let what is not replayed be linked, or run plain; whether that changed anything."""
        if self.kind == "decorated" and self.restless():
            self.kind = "linked"
            self.made.clear()
            return True
        changed = False
        for split in list(self.splits.values()):
            before = split.call
            split.settle()
            changed = changed or split.call is not before or split.hopeless
            self.whole = self.whole or split.hopeless
        if changed:
            self.made.clear()
        if self.whole:
            self.splits.clear()
        return changed

    # ---- what is known
    def decorated(self) -> list[Any]:
        """The decorated functions, and pieces."""
        found = [] if self.kind != "decorated" else [s.given for s in list(self.made.values())]
        for split in list(self.splits.values()):
            found += [step.decorated for step in split.steps.values() if not step.plain]
        return found

    @property
    def news(self) -> int:
        """A number that moves while any of these are recorded."""
        found = sum([split.news for split in list(self.splits.values())])
        if self.kind == "decorated":
            found += sum([function.standing().news for function in self.decorated()])
        return found

    def restless(self) -> bool:
        """Whether it is no use to have its functions decorated."""
        found = [function.standing() for function in self.decorated()]
        eager, replays = sum(s.eager for s in found), sum(s.replays for s in found)
        refused = any(standing.refused for standing in found)
        return refused or eager > replays + RESTLESS or len(found) >= MOST_FUNCTIONS

    def lines(self) -> Iterator[str]:
        """What `explain` says."""
        where = f"{self.code.co_qualname} ({site_of(self.code, 0)})"
        if self.kind == "decorated":
            sizes = [size for f in self.decorated() for size in f.standing().plans]
            if sizes:
                yield f"  {where}: {max(sizes)} operations in a plan"
        for split in list(self.splits.values()):
            yield f"  {where}: " + "\n  ".join(split.lines())


def _nothing() -> None:
    """What a reference gives that leads nowhere."""


def _copy(function: FunctionType, code: CodeType) -> FunctionType:
    space, name = function.__globals__, function.__name__
    copy = FunctionType(code, space, name, function.__defaults__, function.__closure__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    if function.__kwdefaults__ is not None:
        copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _with_defaults(copy: Any, function: FunctionType) -> None:
    if isinstance(copy, FunctionType):
        copy.__defaults__, copy.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
