"""Calls of one kind with ever other extents, numbers or objects: which of them are recorded.

A family is what their signatures have in common.  Invariant: apart from its first versions, and the
members of a set so small that it evidently comes again and again, a call is recorded only when the
calls like it so far would have paid for that, by measured times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import ref

import numpy as np

from ...core.aval import Aval
from ...core.cache import keep
from .budget import EFFECTS, EXCUSES, FAMILIES, FEW, VERSIONS, Budget
from .sizes import Sizes

__all__ = ["Family", "Families", "family_of", "go_like", "shape_of"]

MAX_FAMILIES = 64
MAX_SIGHTS = 4096  # signatures whose calls are counted, in each of two generations
MAX_SHAPES = 8  # of signatures of a family
MAX_VAIN = 3  # recorded calls in a row whose ops waited for nothing
_ABSTRACT = frozenset(map(id, (int, float, complex, str, bytes)))


def family_of(signature: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a signature has in common with those of other extents, numbers, texts and objects."""
    mode = signature[-1]  # of the process, or which arguments are one tensor
    return (*map(_kind, signature[:-1]), mode)


def _kind(entry: Any) -> Any:
    if type(entry) is Aval:
        return entry.dtype, entry.ndim, entry.device
    if type(entry) is tuple and len(entry) >= 2:
        head = entry[0]
        if id(head) in _ABSTRACT or (type(head) is object and type(entry[1]) is int):
            return head
        if head is np.generic or head is np.ndarray:
            return head, entry[1][0]
    return entry


def shape_of(signature: tuple[Any, ...]) -> tuple[Any, ...]:
    """A signature without the extents of its tensors."""
    return tuple([(a.dtype, a.ndim, a.device) if type(a) is Aval else a for a in signature])


class Family:
    """`number`: how many families there were before it; `versions`: signatures of it that were
    recorded; `distinct`: how many there were at all; `states`: of those recorded, weakly; `vain`:
    calls in a row whose ops waited for nothing; `disturbed`: calls that others were beside of;
    `refused`: whether some were given up; `follows`: whether recordings of some were refused, so
    that the next ones look at each instruction."""

    __slots__ = ("number", "versions", "distinct", "states", "vain", "sizes", "shown") + (
        "disturbed",
        "refused",
        "follows",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.versions = self.distinct = self.vain = self.disturbed = 0
        self.states: list[ref[Any]] = []
        self.refused = self.follows = False
        self.sizes = Sizes()
        # signatures without extents -> the latest plan of such a call, weakly
        self.shown: dict[Any, ref[Any]] = {}

    @property
    def hopeful(self) -> bool:
        """Whether its members are taken for a set that comes again and again."""
        return self.number < FAMILIES and self.distinct <= FEW

    def add(self, state: Any) -> None:
        """A member is recorded from now on."""
        self.versions += 1
        self.states = [ref(state), *[known for known in self.states if known() is not None]][:FEW]

    def shows(self, shape: Any, plan: Any) -> None:
        """A plan of such a call was made."""
        keep(self.shown, shape, ref(plan), MAX_SHAPES)

    def alike(self) -> Any:
        """The first member that was given up for what its code does, where there are many, and none
        of them is replayed: the others are run like that; None: there is none."""
        if self.distinct <= VERSIONS or not self.refused:
            return None
        known = [state for state in [known() for known in self.states] if state is not None]
        found = [state for state in known if state.effects >= EFFECTS and _is_gone(state)]
        return found[-1] if found and not any([state.plans for state in known]) else None

    def postpones(self) -> bool:
        """Whether ops of a recorded call are to wait for its plan."""
        return self.vain < MAX_VAIN

    def postponed(self, served: bool, disturbed: bool = False) -> None:
        """Such a call was computed by its plan, or for nothing op by op; `disturbed`: by another
        thread or a signal handler, which tells nothing of the next one, as long as it is rare."""
        if not (disturbed and self._forgives()):
            self.vain = 0 if served else self.vain + 1

    def spoilt(self) -> None:
        """A recording was disturbed: the first version of that member has not been made."""
        if self._forgives():
            self.versions -= 1

    def _forgives(self) -> bool:
        self.disturbed += 1
        return self.disturbed <= EXCUSES

    def fits(self, signature: tuple[Any, ...], affords: bool) -> bool:
        """Whether a call is to be computed by a plan that was made for many sizes, or may give one
        more; `affords`: whether it may take longer than an eager call."""
        sizes = self.sizes
        if self.vain or not (affords or sizes.cost <= 0.0) or not self.shown:
            return False
        if shape_of(signature) not in self.shown:  # it differs in numbers or objects as well
            return False
        avals = [known for known in signature if type(known) is Aval]
        return sizes.holds(avals) or (affords and sizes.trying)

    def relatives(self, state: Any) -> Iterator[Any]:
        """The other members that have recordings, the latest first."""
        for known in self.states:
            other = known()
            if other is not None and other is not state and (other.plans or other.pending):
                yield other


class Families:
    """All families of a function, and how often each signature that is not recorded was seen."""

    __slots__ = ("known", "made", "sights", "older")

    def __init__(self) -> None:
        self.made = 0
        self.known: dict[Any, Family] = {}
        self.sights: dict[int, int] = {}
        self.older: dict[int, int] = {}

    @property
    def distinct(self) -> int:
        """Signatures that were not recorded at once, and recorded ones that came once."""
        return sum([family.distinct for family in list(self.known.values())])

    @property
    def filled(self) -> int:
        """Sizes that plans made for many served."""
        return sum([family.sizes.filled for family in list(self.known.values())])

    def of(self, signature: tuple[Any, ...]) -> Family:
        """The family of a signature."""
        key = family_of(signature)
        family = self.known.get(key)
        if family is None:
            family = Family(self.made)
            self.made += 1
            keep(self.known, key, family, MAX_FAMILIES)
        return family

    def admits(
        self,
        family: Family,
        signature: Any,
        budget: Budget,
        replays: int,
        weight: int = 1,
        freely: bool = True,
    ) -> bool:
        """Note one more call with a signature that is not recorded, which stands for `weight` calls
        if it was there before; whether it is to be: `freely` or only where calls have paid."""
        key = hash(signature)
        count = self.sights.get(key) or self.older.pop(key, 0)
        family.distinct += not count
        count += weight if count else 1
        first = family.versions < VERSIONS and family.number < FAMILIES
        again = count > 1 and family.hopeful
        paid = budget.pays(count)
        admitted = paid or (freely and (first or again))
        admitted = admitted and budget.allows(replays, not paid)
        # a size that costs about as much as an eager call with new kernels
        admitted = admitted or family.fits(signature, budget.affords(replays))
        # once recorded it is counted anew, should it leave the table
        self._note(key, 0 if admitted else count)
        return admitted

    def _note(self, key: int, count: int) -> None:
        if len(self.sights) >= MAX_SIGHTS:
            self.older, self.sights = self.sights, {}
        self.sights[key] = count


def _is_gone(state: Any) -> bool:
    """Whether Python has to run the calls of a signature."""
    return state.deferral is not None or state.state == "EAGER"


def go_like(state: Any, other: Any) -> None:
    """Run calls of a signature as those of another one that was given up, and find out the best way
    together."""
    state.why, state.reasons, state.effects = other.why, other.reasons, other.effects
    state.state, state.deferral = other.state, other.deferral
