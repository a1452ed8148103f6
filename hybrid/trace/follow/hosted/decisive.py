"""Random numbers that Python looks at: positions, sizes, counts of turns, choices.

Invariant: a plan that was recorded with one serves only calls that draw the same, so what Python
does with it is the same; such numbers are whole, and there are few that may be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...heap.allowlist import is_a
from ..terms import Constant, HostCall, Made
from .notes import Hosted

__all__ = ["decisive"]

MAX_WAYS = 32  # numbers of all such draws of one call together: each is a plan
_Whole = int | np.integer | np.bool_


def _told(drawn: Any) -> tuple[Any, ...]:
    """What tells a drawn value from others, by type and content."""
    if is_a(drawn, np.ndarray):
        return drawn.dtype.str, drawn.shape, tuple(drawn.ravel().tolist())
    return type(drawn).__name__, int(drawn)


def drawn_again(drawn: Any, told: tuple[Any, ...]) -> bool:
    """Whether a draw gives what it gave in the recorded call."""
    return _told(drawn) == told


# draws whose bounds are those of a range
_RANGES = ("Random.randrange", "RandomState.randint", "Generator.integers")


def _range(name: str, given: Sequence[Any]) -> int:
    """How many numbers a draw may give; 0: that is not known."""
    bounds = given[:3] if name == "Random.randrange" else given[:2]
    if name.endswith(".choice"):
        bounds = given[:1]
    if not given or not all(type(bound) is int for bound in bounds):
        return 0
    if name == "Random.randint":
        return len(range(given[0], given[1] + 1)) if len(given) > 1 else 0
    if name == "Random.getrandbits":
        return int(2 ** min(given[0], 16))
    if name in _RANGES:
        return len(range(*bounds))
    return int(given[0]) if name.endswith(".choice") else 0


def _ways(hosted: Hosted, value: Any) -> int:
    """How many values a draw may give; 0: too many, or that is not known."""
    array = is_a(value, np.ndarray)
    kind = value.dtype.type if array else type(value)
    if not issubclass(kind, _Whole):
        return 0
    terms = hosted.arguments
    if not all(type(term) is Constant for term in terms):
        return 0
    split = len(terms) - len(hosted.names)
    named = {n: t.value for n, t in zip(hosted.names, terms[split:])}  # type: ignore[union-attr]
    given = [term.value for term in terms[:split]]  # type: ignore[union-attr]
    given += [named[name] for name in ("low", "high") if name in named]
    if "endpoint" in named or len(given) > 3:
        return 0
    count = _range(hosted.entry.name, given)
    if count > MAX_WAYS:
        return 0
    return int(count**value.size) if array else count


def decisive(
    calls: Sequence[Hosted], drawn: Mapping[HostCall, Any], looked_at: Container[Any]
) -> dict[HostCall, Made]:
    """What must hold of draws that Python looks at; none where there are too many ways."""
    found = [h for h in calls if h.entry.use == "draw" and h.call in looked_at]
    ways = [_ways(hosted, drawn[hosted.call]) for hosted in found]
    if not found or 0 in ways or math.prod(ways) > MAX_WAYS:
        return {}
    return {
        h.call: Made(drawn_again, (h.call, Constant(_told(drawn[h.call]))), bool) for h in found
    }
