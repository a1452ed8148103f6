"""What a @function says of itself: its one warning, what it compiled, which facts it depends on.

Invariant: nothing here runs the user's function or changes what the next call does.
"""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any, NamedTuple

from ...core.errors import HybridError
from ...ir.graph.draw import Shown
from ..heap.policy import Wrapped, trusted
from ..heap.signature import signature_of, unchecked, with_defaults
from .signatures import Entry

__all__ = ["Reports", "RunsEagerly", "CacheInfo"]


class RunsEagerly(UserWarning):
    """A @function that runs as plain Python, and why; given once per function."""


class CacheInfo(NamedTuple):
    """Counts of one @function: calls that replayed, were recorded or ran eagerly, signatures seen,
    and plans held."""

    replays: int
    records: int
    eager: int
    signatures: int
    plans: int


class Reports(Wrapped):
    """The part of `Function` that people look at."""

    _entries: dict[Any, Entry]
    _said: set[str]
    _replays: int
    _records: int
    _eager: int

    def _say(self, reason: str, text: str) -> None:
        """One message per function."""
        if not self._said:
            level, frame = 2, sys._getframe(1)
            while frame.f_back is not None and trusted(frame.f_code.co_filename):
                level, frame = level + 1, frame.f_back
            warnings.warn(f"{self._name()} {text}", RunsEagerly, stacklevel=level)
        self._said.add(reason or text)

    def _name(self) -> str:
        code = getattr(self.fn, "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
        return f"@function {getattr(self.fn, '__qualname__', type(self.fn).__name__)}{where}"

    # ---- looking inside
    def graph(self, *args: Any, **kwargs: Any) -> Shown:
        """The graph that a call with these arguments replays; HybridError when there is none."""
        if type(self.fn) is types.FunctionType:
            args, kwargs = with_defaults(self.fn, args, kwargs)
        entry = self._entries.get(signature_of(args, kwargs)[0])
        if entry is None or not entry.plans:
            why = (
                f": it {entry.why}"
                if entry is not None and entry.why
                else "; call it at least twice first"
            )
            raise HybridError(f"{self._name()} has no graph for these arguments{why}")
        return Shown.of(entry.plans[0].recording.graph)

    def prepared(self, *args: Any, **kwargs: Any) -> tuple[Any, str]:
        """(what was compiled for a call with these arguments, '') or (None, why there is nothing).

        Without arguments: for the signature that is replayed and was seen last."""
        if type(self.fn) is types.FunctionType:
            args, kwargs = with_defaults(self.fn, args, kwargs)
        sig = signature_of(args, kwargs)[0]
        entry = self._entries.get(sig)
        if entry is None and not args and not kwargs:
            entry = next((e for e in reversed(self._entries.values()) if e.plans), None)
        if entry is None or not entry.plans:
            why = (
                f"it {entry.why}"
                if entry is not None and entry.why
                else f"it {unchecked(sig)}"
                if unchecked(sig)
                else "call it at least twice first"
            )
            return None, f"{self._name()} is not replayed for these arguments: {why}"
        return entry.plans[0].run, ""

    def inputs(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """(what was compiled for a call, the values it would read), or (None, why not)."""
        prepared, why = self.prepared(*args, **kwargs)
        if prepared is None:
            return None, why
        if type(self.fn) is types.FunctionType:
            args, kwargs = with_defaults(self.fn, args, kwargs)
        sig, tensors, _ = signature_of(args, kwargs)
        caps = self._entries[sig].plans[0].guard(tensors)
        if caps is None:
            why = "would be recorded again: Python state that it reads has changed"
            return None, f"{self._name()} {why}"
        return prepared, [t._v for t in (*tensors, *caps)]

    def cache_info(self) -> CacheInfo:
        """How calls were served so far."""
        plans = sum(len(e.plans) for e in self._entries.values())
        return CacheInfo(self._replays, self._records, self._eager, len(self._entries), plans)

    def explain(self) -> str:
        """State per signature: what is replayed behind which facts, or why nothing is."""
        info = self.cache_info()
        lines = [
            f"{self._name()}: {info.replays} replays, {info.records} recorded calls, "
            f"{info.eager} eager calls"
        ]
        for i, e in enumerate(self._entries.values()):
            lines += e.lines(i)
        return "\n".join(lines + [f"note: {t}" for t in self._said if t])

    def __repr__(self) -> str:
        return f"<{self._name()}>"
