"""Which calls of Python's own world a replay may make again, and why not the others.

Invariant: of each such call that the watch saw, the follower has noted as many as there were at its
instruction, and an object whose state they move is used for nothing else; or there is a reason
against replaying the call.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from types import CodeType
from typing import Any

import numpy as np

from ...follow.hosted.notes import Hosted
from ...follow.terms import HostRead, parts
from ...heap.allowlist import MISSING, is_a, lookup
from ..fact_table import Access, Facts
from ..settle import Followed

__all__ = ["HostCalls", "early"]


# what Cython makes of functions: the interpreter reports no calls of these
COMPILED = type(np.random.RandomState.rand), type(np.random.Generator.random)


class HostCalls:
    """The calls of Python's own world in one watched call."""

    def __init__(self, facts: Facts) -> None:
        self.facts, self.watch = facts, facts.watch
        follow = self.follow = facts.watch.follow
        self.ids = {} if follow is None else follow.codes
        self.understood: set[tuple[int, int]] = set()
        if follow is None or follow.failed:
            return
        noted = collections.Counter(hosted.at for hosted in follow.hosted) + follow.texts
        silent = {h.at for h in follow.hosted if _silent(h.function)}
        self.understood = {
            at
            for at, count in noted.items()
            if (follow.host_calls[at] == count or at in silent) and at not in follow.unhosted
        }
        self.understood |= follow.pure_calls - follow.called
        self.understood -= {use.at for use in follow.touches}  # what these give has facts

    def put_off(self, code: CodeType, offset: int) -> bool:
        """Whether the call at an instruction is one that a replay may make again."""
        if not self.understood:
            return False
        return any((i, offset) in self.understood for i, own in self.ids.items() if own == code)

    def boxes(self, code: CodeType, offset: int) -> list[Any]:
        """The lists and dicts among the arguments of the calls at an instruction: what is in them
        is the same in each replay."""
        held = () if self.follow is None else self.follow.boxes
        found = [(box, ident) for box, (ident, at) in held if at == offset]
        return [box for box, ident in found if self.ids[ident] == code]

    def expose(self, values: Iterable[Any]) -> None:
        """Objects are used in other calls."""
        self.facts.exposed.update(map(id, values))

    def check(self, followed: Followed | None) -> None:
        """Reasons for the calls that no replay can make again."""
        for (ident, at), (code, offset, name) in list(self.watch.hosts.hosted.items()):
            if followed is None or (ident, at) not in self.understood:
                self.facts.why(f"calls {name}", Access(code, offset))
        known = () if followed is None else followed.hosted
        for hosted in known:
            why = "" if followed is None else _unfit(hosted, followed)
            if why:
                code = self.ids[hosted.at[0]]
                self.facts.why(f"{why} {hosted.entry.name}", Access(code, hosted.at[1]))
        self._check_objects()
        drawn = [hosted.owner for hosted in known if hosted.entry.use == "draw"]
        for name, owner in self.watch.hosts.moved.items():
            if not any(owner is other for other in drawn):
                self.facts.why(f"uses the global state of {name}", Access())

    def _check_objects(self) -> None:
        """Objects with hidden state that are used for more than such calls."""
        follow = self.follow
        for ident, (value, reasons, access) in list(self.facts.hidden.items()):
            walked = lookup(type(value), "__next__") is not MISSING
            unsure = follow is None or (walked and follow.walks_unknown)
            if ident in self.facts.exposed or unsure:
                for reason in reasons:
                    self.facts.why(reason, access)


def _silent(function: Any) -> bool:
    """Whether the calls of a function make no events: compiled methods that are not the C API's."""
    return is_a(function, COMPILED)


def early(hosted: Hosted) -> bool:
    """Whether a call is made before the operations of a replay."""
    return hosted.entry.use == "draw" or (hosted.entry.use == "clock" and not hosted.ran)


def _unfit(hosted: Hosted, followed: Followed) -> str:
    """Why a call cannot be made again; empty: it can."""
    if hosted.call in followed.escaped:
        return "looks at what it gets from"
    if early(hosted):
        late = {h.call for h in followed.hosted if not early(h)}
        leaves = [leaf for term in hosted.arguments for leaf in parts(term)]
        if any(type(leaf) is HostRead or leaf in late for leaf in leaves):
            return "needs results of operations to call"
        return ""
    used = [*followed.operands.values(), *[c.term for c in followed.conditions]]
    if any(leaf == hosted.call for term in used for leaf in parts(term)):
        return "computes on with the result of"
    return ""
