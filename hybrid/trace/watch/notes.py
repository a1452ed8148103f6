"""The facts of one watched call, as they are found.

Invariant: only places that existed before the call, and that its signature does not describe,
become facts.
"""

from __future__ import annotations

import gc
import types
from typing import Any

from ..heap.facts import Key
from ..heap.policy import site_of
from .events import Watch

__all__ = ["Notes"]


class Notes:
    """`found` maps Key -> holder, `where` Key -> the line that reads it."""

    def __init__(self, watch: Watch, in_signature: set[int]) -> None:
        self.watch, self.in_signature = watch, in_signature
        self.found: dict[Key, Any] = {}
        self.read: set[Key] = set()  # of those, what is not only written
        self.storing = False  # what is noted now is written
        self.rooted: dict[int, Any] = {}  # objects known to have existed before
        self.where: dict[Key, str] = {}
        self._at = ""

    def why(self, text: str, code: types.CodeType | None = None, at: int = 0) -> None:
        self.watch.why(text, site_of(code, at) if code is not None else self._at)

    def existing(self, o: Any) -> bool:
        """Whether o was there before the call (an untracked dict counts only when reached)."""
        return id(o) in self.rooted or gc.is_tracked(o) and id(o) not in self.watch.young

    def counts(self, o: Any) -> bool:
        """Whether what o holds is a fact."""
        return id(o) not in self.in_signature and self.existing(o)

    def root(self, o: Any) -> None:
        self.rooted[id(o)] = o

    def root_class(self, t: type) -> None:
        """t is the class of something; one that the call made has no facts."""
        if self.existing(t):
            self.root(t)

    def note(self, kind: str, h: Any, key: Any = None) -> None:
        """The place (kind, h, key) was read."""
        if self.counts(h):
            k = Key(kind, id(h), key)
            if not self.storing:
                self.read.add(k)
            if k not in self.found:
                self.found[k] = h
                self.where[k] = self._at
