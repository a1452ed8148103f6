"""Objects that come to share the dictionary of their attributes, or no longer do, between calls.

Invariant: what a call stores through one object is found through another exactly if Python says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from frozen import frozen

import hybrid as hb

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.trace.serve.told.reports.RunsEagerly")


class Thing:
    """Two attributes, in the dictionary of the instance."""

    def __init__(self) -> None:
        self.number, self.hidden = 1, hb.ones(3)


def numbers(a: Thing, b: Thing, own: dict[str, Any]) -> Callable[[Any], Any]:
    """Counters of two objects."""

    def step(x: Any) -> Any:
        a.number += 1
        b.number += a.number
        return x * b.number

    return step


def tensors(a: Thing, b: Thing, own: dict[str, Any]) -> Callable[[Any], Any]:
    """A tensor stored through one object and read through another."""

    def step(x: Any) -> Any:
        a.hidden = x * 2
        return b.hidden + 1

    return step


def stores(a: Thing, b: Thing, own: dict[str, Any]) -> Callable[[Any], Any]:
    """A tensor stored through each."""

    def step(x: Any) -> Any:
        a.hidden = a.hidden + x
        b.hidden = b.hidden * x
        return x + 1

    return step


def items(a: Thing, b: Thing, own: dict[str, Any]) -> Callable[[Any], Any]:
    """A counter of an object and one in a dict."""

    def step(x: Any) -> Any:
        a.number += 1
        own["number"] += a.number
        return x * own["number"]

    return step


def many(a: Thing, b: Thing, own: dict[str, Any]) -> Callable[[Any], Any]:
    """A loop over objects."""
    things = [a, Thing(), b]

    def step(x: Any) -> Any:
        for thing in things:
            thing.number += 1
            x = x * thing.number
        return x

    return step


def added(a: Thing, b: Thing, own: dict[str, Any]) -> Callable[[Any], Any]:
    """A key that a call adds to a dict, and a counter of that name."""

    def step(x: Any) -> Any:
        own.pop("late", None)
        own["late"] = x
        a.number += 1
        return x * a.number, getattr(a, "late", None) is None

    return step


def share(a: Thing, b: Thing, own: dict[str, Any]) -> None:
    """One dictionary for both."""
    a.__dict__ = b.__dict__


def part(a: Thing, b: Thing, own: dict[str, Any]) -> None:
    """A dictionary for each."""
    a.__dict__ = dict(b.__dict__)


def adopt(a: Thing, b: Thing, own: dict[str, Any]) -> None:
    """The dict is that of an object."""
    a.__dict__ = own


def played(make: Any, changes: Any, decorate: Any) -> tuple[list[Any], Any]:
    """Results and state after each call; three calls and more before each change."""
    a, b, own = Thing(), Thing(), {"number": 5, "hidden": hb.ones(3)}
    step = decorate(make(a, b, own))
    seen = []
    for change in (lambda *_: None, *changes):
        change(a, b, own)
        for turn in range(5):
            result = step(hb.tensor(np.arange(3, dtype="f4") + turn))
            same = a.__dict__ is b.__dict__, a.__dict__ is own
            seen.append((frozen(result), frozen([vars(a), vars(b), own]), same))
    return seen, step


@pytest.mark.parametrize("changes", [(share,), (share, part), (adopt,), (adopt, share, part)])
@pytest.mark.parametrize("make", [numbers, tensors, stores, items, many, added])
def test_shared_and_parted(make: Any, changes: Any) -> None:
    plain, _ = played(make, changes, lambda fn: fn)
    traced, step = played(make, changes, lambda fn: hb.function(fn, wait=True))
    assert traced == plain
    assert make is added or step.cache_info().replays > 0


def test_shared_from_the_start() -> None:
    plain, _ = played(numbers, (share, share), lambda fn: fn)
    assert plain == played(numbers, (share, share), lambda fn: hb.function(fn, wait=True))[0]
