"""One NumPy array at several places among the arguments: served by plans for distinct arrays, and
as in plain Python wherever code asks which array is which.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.decorator import function

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
ARRAYS = [np.full(3, k, "f4") for k in range(9)]
X = hb.tensor(np.arange(3, dtype="f4"))


def bits(value: Any) -> Any:
    if isinstance(value, hb.Tensor):
        return str(value.dtype), value.shape, value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return [bits(v) for v in value]
    return type(value).__name__, repr(value)


def sometimes(k: int) -> tuple[Any, Any]:
    """Two arrays, in one call of three the same."""
    return ARRAYS[k % 9], ARRAYS[k % 9 if k % 3 == 0 else (k + 1) % 9]


def first_the_same(k: int) -> tuple[Any, Any]:
    return ARRAYS[k % 9], ARRAYS[k % 9 if k < 6 else (k + 1) % 9]


def sampled(k: int) -> tuple[Any]:
    pick = random.Random(k)
    return ([ARRAYS[pick.randrange(9)] for _ in range(4)],)


def plus(a: Any, b: Any) -> Any:
    return hb.tensor(a) * 2 + hb.tensor(b) * X


@pytest.mark.parametrize("make", [sometimes, first_the_same])
def test_plans_for_distinct_arrays_serve_one_array_twice(make: Callable[[int], Any]) -> None:
    traced = function(plus)
    for k in range(40):
        assert bits(traced(*make(k))) == bits(plus(*make(k))), k
    assert traced.cache_info().replays >= 30
    assert traced.cache_info().signatures <= 2


def test_batches_that_are_sampled() -> None:
    body = lambda rows: hb.stack([hb.tensor(row) for row in rows]).sum(axis=0)  # noqa: E731
    traced = function(body)
    for k in range(80):
        assert bits(traced(*sampled(k))) == bits(body(*sampled(k))), k
    assert traced.cache_info().replays >= 40
    assert traced.cache_info().signatures <= 6


def changed(a: Any, b: Any) -> Any:
    a[0] += 1
    return hb.tensor(b) * 2


def two_places(a: Any, b: Any) -> Any:
    a[1] = b[0]
    b[2] = a[1] + 1
    return hb.tensor(a) + hb.tensor(b)


LOOKING: dict[str, Callable[..., Any]] = {
    "is": lambda a, b: hb.tensor(a) * (2 if a is b else 3),
    "is not": lambda a, b: hb.tensor(a) * (2 if a is not b else 3),
    "any is": lambda a, b: hb.tensor(a) * (2 if any(b is c for c in [a]) else 3),
    "id": lambda a, b: hb.tensor(a) * (2 if id(a) == id(b) else 3),
    "key": lambda a, b: hb.tensor(a) * len({id(v): 1 for v in (a, b)}),
    "lists equal": lambda a, b: hb.tensor(a) * (2 if [a[:1]] == [b[:1]] else 3),
    "returned": lambda a, b: (a is b, a, hb.tensor(b)),
    "both returned": lambda a, b: [a, b, hb.tensor(a)],
    "shared": lambda a, b: hb.tensor(a) * (2 if np.shares_memory(a, b) else 3),
    "base": lambda a, b: hb.tensor(a) * (2 if a[:2].base is b[:2].base else 3),
    "views returned": lambda a, b: (a[1:], b[:2], hb.tensor(a) + hb.tensor(b)),
    "changed": changed,
    "two places": two_places,
}


@pytest.mark.parametrize("name", list(LOOKING))
@pytest.mark.parametrize("make", [sometimes, first_the_same])
def test_what_asks_for_identity_is_as_in_plain_python(
    name: str, make: Callable[[int], Any]
) -> None:
    body = LOOKING[name]
    traced = function(body)
    for k in range(30):
        one, two = make(k)
        mine = [one.copy(), two.copy()] if one is not two else [one.copy()] * 2
        theirs = [one.copy(), two.copy()] if one is not two else [one.copy()] * 2
        assert bits(traced(*mine)) == bits(body(*theirs)), k
        assert bits(mine) == bits(theirs), k


def test_items_that_are_not_equal_to_themselves() -> None:
    body = lambda a, b, x: x * 2 if [a] == [b] else x  # noqa: E731
    traced = function(body)
    for k in range(30):
        one, two = np.array([np.nan]), np.array([np.nan])
        given = (one, one) if k % 3 == 0 else (one, two)
        assert bits(traced(*given, X)) == bits(body(*given, X)), k


def test_gradients() -> None:
    body = lambda w, a, b: (w * hb.tensor(a) * hb.tensor(b)).sum()  # noqa: E731
    traced = function(body)
    for k in range(30):
        grads = []
        for run in (traced, body):
            w = hb.tensor(np.linspace(0, 1, 3, dtype="f4"), requires_grad=True)
            run(w, *sometimes(k)).backward()
            grads.append(bits(w.grad))
        assert grads[0] == grads[1], k
