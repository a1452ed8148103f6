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

__all__ = ["Ref", "Obj", "Facts", "expectation", "agrees", "ELSEWHERE"]


class Ref(NamedTuple):
    """An expected tensor: an input of the recorded graph, or one that the call itself stored (its
    value number, or ELSEWHERE for an input that was put in another place)."""

    kind: Literal["input", "stored"]
    number: int


ELSEWHERE = Ref("stored", -1)


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
    if isinstance(wanted, Ref):
        return is_a(found, Handle) or (type(found) is Ref and found == wanted)
    if isinstance(wanted, Obj):
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
    starts: Mapping[Key, Ref | None]

    def fetch(self, key: Key) -> Any:
        """What a place holds now."""
        return fetch(key.kind, self.holders[key].get(), key.key)

    def at_start(self) -> dict[Key, Any]:
        """What must hold when a call begins: a place that the call stores to has its old tensor
        then, and not what it is left with."""
        before = {key: ref for key, ref in self.starts.items() if ref is not None}
        return {**self.expected, **before}

    def moved(self) -> list[Key]:
        """The facts that do not hold now, of objects that are alive."""
        out = []
        for key, wanted in self.expected.items():
            holder = MISSING if key.kind == "patched" else self.holders[key].get()
            if holder is not MISSING and not agrees(wanted, fetch(key.kind, holder, key.key)):
                out.append(key)
        return out

    def broken(self, but: Callable[[Key], bool] | None = None) -> Key | None:
        """The first fact that does not hold now (versions last: a moved attribute says more)."""
        for key, wanted in sorted(
            self.expected.items(), key=lambda item: item[0].kind == "version"
        ):
            holder = self.holders[key].get()
            if but is not None and but(key):
                continue
            if holder is MISSING or not agrees(wanted, fetch(key.kind, holder, key.key)):
                return key
        return None
