"""What a recording expects of the Python places it read: values by type and bits, objects by
identity, tensors by their role in the call.

Invariant: asking whether a fact holds runs no code of a user; a fact whose holder died holds no
longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ...ir.tensor import Handle
from ..heap.allowlist import MISSING, is_a, plain
from ..heap.facts import Holder, Key, fetch, same

__all__ = [
    "Ref",
    "Obj",
    "Empty",
    "Facts",
    "expectation",
    "agrees",
    "are_captures",
    "are_there",
    "are_without_gradients",
    "ELSEWHERE",
    "GONE",
]


class Ref(NamedTuple):
    """An expected tensor: an input of the recorded graph, or one that the call itself stored (its
    value number, or ELSEWHERE for an input that was put in another place)."""

    kind: Literal["input", "stored"]
    number: int


ELSEWHERE = Ref("stored", -1)
GONE = object()  # agrees with nothing


class Empty(NamedTuple):
    """None, in a place that holds a tensor after the call."""


class Obj(NamedTuple):
    """An expected object, by identity."""

    holder: Holder


def expectation(value: Any, dead: Callable[[Any], None]) -> Any:
    """How a fact's value is kept: scalars and tuples as they are, objects by identity."""
    if value is MISSING or type(value) is tuple or plain(value):
        return value
    return Obj(Holder(value, dead))


def agrees(wanted: Any, found: Any) -> bool:
    """Whether a fetched value (or another expectation) is what was expected."""
    kind = type(wanted)
    if kind is Ref:
        return is_a(found, Handle) or (type(found) is Ref and found == wanted)
    if kind is Obj:
        target = wanted.holder.get()
        if type(found) is Obj:
            return target is not MISSING and target is found.holder.get()
        return target is not MISSING and target is found
    return type(found) is not Obj and type(found) is not Ref and same(wanted, found)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """The places a call read, by key: what holds each, what is expected in it, and the user's line
    that reads it. `starts`: the places it stores to, with what held them before where known."""

    holders: Mapping[Key, Holder]
    expected: Mapping[Key, Any]
    lines: Mapping[Key, str]
    starts: Mapping[Key, Ref | Empty | None]

    def fetch(self, key: Key) -> Any:
        """What a place holds now."""
        return fetch(key.kind, self.holders[key].get(), key.key)

    def at_start(self) -> dict[Key, Any]:
        """What must hold when a call begins: a place that the call stores to has its old tensor
        then, and not what it is left with."""
        before = {key: ref for key, ref in self.starts.items() if ref is not None}
        empty = dict.fromkeys([key for key, ref in before.items() if type(ref) is Empty])
        return {**self.expected, **before, **empty}

    def _begins(self) -> Mapping[Key, Any]:
        """What is expected when a call begins, of the places that it stores to where they are
        empty."""
        empty = [key for key, ref in self.starts.items() if type(ref) is Empty]
        return {**self.expected, **dict.fromkeys(empty)} if empty else self.expected

    def now(self) -> dict[Key, Any]:
        """What all places hold now; GONE where what held them died."""
        found = {}
        for key, ref in self.holders.items():
            holder = ref.get()
            found[key] = GONE if holder is MISSING else fetch(key.kind, holder, key.key)
        return found

    def moved(self, now: Mapping[Key, Any]) -> list[Key]:
        """The facts that do not hold `now`, of objects that are alive."""
        return [
            key
            for key, wanted in self._begins().items()
            if now[key] is not GONE and key.kind != "patched" and not agrees(wanted, now[key])
        ]

    def broken(
        self, but: Callable[[Key], bool] | None = None, now: Mapping[Key, Any] | None = None
    ) -> Key | None:
        """The first fact that does not hold (versions last: a moved attribute says more); `now`:
        what the places hold when a call begins, else it has ended."""
        last = None
        for key, wanted in (self.expected if now is None else self._begins()).items():
            if (but is not None and but(key)) or (last is not None and key.kind == "version"):
                continue
            if now is not None:
                found = now[key]
            else:
                holder = self.holders[key].get()
                found = GONE if holder is MISSING else fetch(key.kind, holder, key.key)
            if not agrees(wanted, found):
                if key.kind != "version":
                    return key
                last = key
        return last


# ---- facts of many tensors at once: the text of a guard is compiled, and equal layers have many
def are_captures(tensors: Any, avals: Any, nodes: Any) -> bool:
    """Whether tensors have these records and tape nodes of these types."""
    for tensor, aval, node in zip(tensors, avals, nodes):
        alike = issubclass(type(tensor), Handle) and tensor._a is aval
        if not alike or type(tensor._node) is not node:
            return False
    return True


def are_there(tensors: Any, places: Any) -> bool:
    """Whether tensors are at these places, each an exact list, tuple or dict and what leads on."""
    return all([box[key] is tensor for tensor, (box, key) in zip(tensors, places)])


def are_without_gradients(tensors: Any) -> bool:
    """Whether leaves have no gradient."""
    return all([tensor._node.grad is None for tensor in tensors])
