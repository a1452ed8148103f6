"""The facts of one watched call, as they are found, and the accesses that find them.

Invariant: only places that existed before the call, and that its signature does not describe,
become facts; each is blamed on the instruction whose access is passed along with it.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol

from ..heap.allowlist import site_of
from ..heap.facts import FactKind, Key
from .events import Watch

__all__ = ["Access", "Facts", "Reader", "ELSEWHERE"]


class Access(NamedTuple):
    """What looks at a place: an instruction, or nothing in particular.  `stores`: it only writes
    there; `unnamed`: some argument of the call in question was not seen; `blanket`: hybrid's own
    code might look there."""

    code: CodeType | None = None
    at: int = 0
    stores: bool = False
    unnamed: bool = False
    blanket: bool = False

    def site(self) -> str:
        """`file:line`, or nothing."""
        return "" if self.code is None else site_of(self.code, self.at)


_new: Any = tuple.__new__
ELSEWHERE = Access()  # what the call starts from
OF_OBJECTS = frozenset(("attr", "slot", "dict", "keys"))  # what is asked of an object's attributes


class Facts:
    """`found` maps Key -> holder, `where` Key -> the line that reads it, `read` those of `found`
    that are not only written; `rooted` are objects known to have existed before."""

    def __init__(self, watch: Watch, in_signature: set[int]) -> None:
        self.watch, self.in_signature = watch, in_signature
        self.found: dict[Key, Any] = {}
        self.read: set[Key] = set()
        self.stored: set[Key] = set()
        self.rooted: dict[int, Any] = {}
        self.where: dict[Key, str] = {}
        # what was read of objects that were not seen: attributes by name, items
        self.unseen_names: dict[str, Access] = {}
        self.unseen_at: dict[str, dict[tuple[int, int], Access]] = {}  # all that read them
        self.unseen_items: Access | None = None
        # objects with state that no fact describes, why they cannot be followed, and those of them
        # that are used for more than calls which a replay makes again
        self.hidden: dict[int, tuple[Any, list[str], Access]] = {}
        self.exposed: set[int] = set()
        self.writes = False  # whether the call stores into arrays that were there before
        self.large: dict[int, Access] = {}  # of those, the ones that are facts only if they must be
        # who looks at each place, where that is asked for, and what tells two accesses apart (a
        # code object is hashed by content, anew each time)
        self.accesses: dict[Key, dict[tuple[Any, ...], Access]] | None = None
        # who looks at attributes of objects that the call made (no name: at any), by id and name
        self.of_new: dict[tuple[int, Any], dict[tuple[int, int], Access]] = {}
        # who looks at places in arguments that hold followed numbers, and whose these are, by id
        self.of_given: dict[Key, dict[tuple[Any, ...], Access]] = {}
        follow = watch.follow
        self.given: Mapping[int, Any] = {} if follow is None else follow.owners
        self._sites: dict[tuple[int, int], str] = {}  # by id of the code, offset

    def why(self, reason: str, access: Access) -> None:
        """A reason against replaying the call."""
        self.watch.why(reason, access.site())
        self.watch.sites.refuse(access.code, access.at)

    def existing(self, value: Any) -> bool:
        """Whether it was there before the call (an untracked dict counts only when reached).

        The collector's young generation was emptied at the start and not collected since, so what
        is tracked and not in it is older than the call."""
        return id(value) in self.rooted or (
            gc.is_tracked(value) and id(value) not in self.watch.young
        )

    def made_again(self, value: Any) -> bool:
        """Whether an array is one that replays compute again."""
        follow = self.watch.follow
        if follow is None or follow.failed or id(value) in follow.data:
            return False
        return id(value) in follow.fresh

    def written_to(self, array: Any, access: Access) -> bool:
        """Whether an array is one whose stores are followed; who met it is noted."""
        follow = self.watch.follow
        if follow is None or follow.failed or id(array) not in follow.met:
            return False
        self.large.setdefault(id(array), access)
        return True

    def of_made(self, code: CodeType, offset: int) -> bool:
        """Whether a subscript was, each time that it ran, one of a container that the call made."""
        follow = self.watch.follow
        if follow is None or follow.failed:
            return False
        marks = {(ident, offset) for ident, own in follow.codes.items() if own == code}
        return not marks.isdisjoint(follow.of_made) and marks.isdisjoint(follow.of_others)

    def holders(self, code: CodeType, offset: int) -> list[Any] | None:
        """The objects to whose attributes an instruction stored, tensors aside, whose stores are
        reported by themselves; None where that is not known of each of its runs."""
        follow = self.watch.follow
        if follow is None or follow.failed:
            return None
        marks = {(ident, offset) for ident, own in follow.codes.items() if own == code}
        if marks.isdisjoint(follow.holders) or not marks.isdisjoint(follow.unheld):
            return None
        return [holder for mark in marks for holder in follow.holders.get(mark, ())]

    def counts(self, holder: Any) -> bool:
        """Whether what it holds is a fact."""
        return id(holder) not in self.in_signature and self.existing(holder)

    def root(self, value: Any) -> None:
        """It was there before the call."""
        self.rooted[id(value)] = value

    def root_class(self, cls: type) -> None:
        """The class of something; one that the call made has no facts."""
        if self.existing(cls):
            self.root(cls)

    def note(self, kind: FactKind, holder: Any, key: Any, access: Access) -> None:
        """The place (kind, holder, key) was looked at."""
        if self.given and id(holder) in self.given:
            code, *rest = access
            place = _new(Key, (kind, id(holder), key))
            self.of_given.setdefault(place, {})[id(code), *rest] = access
        if self.counts(holder):
            place = _new(Key, (kind, id(holder), key))  # without a Python function: it runs often
            (self.stored if access.stores else self.read).add(place)
            if self.accesses is not None:
                code, *rest = access
                self.accesses.setdefault(place, {})[id(code), *rest] = access
            if place not in self.found:
                self.found[place] = holder
                self.where[place] = self._site(access)
        elif self.accesses is not None and kind in OF_OBJECTS:
            name = key if kind in ("attr", "slot") else None
            self.of_new.setdefault((id(holder), name), {})[id(access.code), access.at] = access

    def _site(self, access: Access) -> str:
        code, at = access.code, access.at
        site = self._sites.get((id(code), at))
        if site is None:
            site = self._sites[id(code), at] = access.site()
        return site

    def unseen_name(self, name: str, access: Access) -> None:
        """An attribute of something unseen was read."""
        self.unseen_names.setdefault(name, Access(access.code, access.at))
        if self.accesses is not None:
            self.unseen_at.setdefault(name, {})[id(access.code), access.at] = access

    def unseen_item(self, access: Access) -> None:
        """Items of something unseen were read."""
        if self.unseen_items is None:
            self.unseen_items = Access(access.code, access.at)


class Reader(Protocol):
    """Reads real objects and notes a fact for each place read; looking never runs code of a user.

    What the parts that follow classes, C code and hybrid's own objects ask of the whole: they call
    each other (an item may be a class, whose property is C code, which reads an item), and
    `objects.Objects` joins them."""

    def reach(self, value: Any, access: Access, source: Any = None) -> Any:
        """A value was read out of source (None: a root that existed); gives it back."""

    def function(self, function: FunctionType, access: Access) -> None:
        """A function is among those that the call may enter."""

    def attr(self, holder: Any, name: str, access: Access) -> list[Any]:
        """Objects that `holder.name` may be."""

    def item(self, holder: Any, key: Any, access: Access) -> list[Any]:
        """Objects that `holder[key]` may be."""

    def contents(self, holder: Any, access: Access) -> list[Any]:
        """All items of a container."""

    def deep(self, holder: Any, access: Access, text: bool = False) -> None:
        """All that C code may find from here."""

    def applied(
        self, function: Any, arguments: list[list[Any]], access: Access, spread: bool = False
    ) -> list[Any] | None:
        """What a C callable reads and may give; None when its work is not known."""
