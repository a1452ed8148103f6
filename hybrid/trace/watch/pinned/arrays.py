"""Which of the arrays that a call writes to are data: their stores are actions of the commit, and
no fact is left of their content.

Invariant: every instruction that found such an array is one that the follower understood, the
stores that it saw lead from what the array held to what it holds, and no other array that the call
met shares its memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.door.foreign import is_lent
from ...bytecode.summary import instructions_of
from ...follow.arrays.notes import may_be_written
from ...follow.places import Mutation
from ...follow.terms import WrittenArray
from ...heap.allowlist import is_a
from ...heap.data import BUFFERS
from ...heap.facts import Key, fetch
from ..fact_table import Access
from .starts import Inside

__all__ = ["Writes", "content_of", "form_of", "is_data", "memory_among", "states_but"]

NAMES = ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME")


class Writes:
    """Whether calls of a function were seen to write to arrays outside."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = False


def content_of(array: Any) -> Key:
    """The fact of what an array holds."""
    return Key("nd", id(array), None)


def form_of(arrays: list[Any]) -> dict[Key, Inside]:
    """Facts of the shapes, dtypes, layouts and flags of arrays."""
    keys = [(Key("form", id(array), None), array) for array in arrays]
    return {key: Inside(array, fetch("form", array, None), None) for key, array in keys}


def is_data(work: Any, array: Any) -> bool:
    """Whether the content of a written array is data; `work` settles what a followed call did."""
    follow, facts = work.follow, work.facts
    key = content_of(array)
    accesses = (facts.accesses or {}).get(key, {})
    return (
        id(array) in follow.begun
        and id(array) not in follow.unfit
        and may_be_written(array)
        and not is_lent(array)
        and facts.counts(array)
        and bool(accesses)
        and all(_understood(work, array, access) for access in accesses.values())
        and _leads_there(follow, array)
        and not any(np.may_share_memory(array, other) for other in _others(work, array))
        and not any(_by_content(work, other) for other in facts.rooted.values())
    )


def memory_among(lent: dict[int, Any]) -> tuple[int, ...]:
    """The arguments whose memory may be that of an array: arrays and buffers."""
    return tuple([k for k, value in lent.items() if is_a(value, (np.ndarray, *BUFFERS))])


def _by_content(work: Any, value: Any) -> bool:
    """Whether an object is an array among the arguments that the signature knows by content."""
    signed = is_a(value, (np.ndarray, *BUFFERS)) and id(value) in work.facts.in_signature
    return signed and not any(value is known for known in work.follow.lent.values())


def states_but(follow: Any, data: set[int], counts: Any) -> list[WrittenArray]:
    """The states of arrays that the call writes to, or made, and whose content is no data."""
    return [
        WrittenArray(array, stores)
        for ident, array in follow.met.items()
        if ident not in data and (ident in follow.begun or not counts(array))
        for stores in (None, *range(follow.versions[ident] + 1))
    ]


def _understood(work: Any, array: Any, access: Access) -> bool:
    """Whether an access to an array is one that the follower saw, or never happened."""
    code = None if access.code is None else work.by_code.get(access.code)
    if code is None or access.blanket or (code, access.at) in work.blind:
        return False
    if (code, access.at) in work.touched.get(("array", id(array)), ()):
        return True
    instruction = instructions_of(access.code).get(access.at)
    if instruction is None:
        return False
    if instruction.opname in NAMES:  # by any instruction that loads the name
        return (code, instruction.argval) not in work.blind
    return (code, access.at) not in work.ran


def _leads_there(follow: Any, array: Any) -> bool:
    """Whether the stores that were seen make of what an array held what it holds now."""
    made = follow.begun[id(array)].copy()
    mutations: list[Mutation] = follow.mutations
    for number, mutation in enumerate(mutations):
        if mutation.owner is array:
            if mutation.method != "store" or number not in follow.changed_to:
                return False
            key, value = follow.changed_to[number]
            with np.errstate(all="ignore"):
                made[key] = value
    return bool(made.tobytes() == array.tobytes())


def _others(work: Any, array: Any) -> list[Any]:
    """The other arrays that the call met."""
    known = [*work.facts.rooted.values(), *work.follow.lent.values()]
    return [other for other in known if other is not array and is_a(other, np.ndarray)]
