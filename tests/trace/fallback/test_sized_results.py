"""Further sizes whose results are views, whose Python takes other tensors, and whose native way is
made of that of another size, compared with plain Python to the bit."""

from __future__ import annotations

import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn
from hybrid.backends.cpu.python.entry import HOST, _Builder
from hybrid.backends.cpu.python.entry_table import INPUT, TABLE
from hybrid.decorator import RunsEagerly, function
from hybrid.trace.fallback import sizes
from hybrid.trace.fallback.budget import Budget
from hybrid.trace.serve.plans import ReplayPlan
from hybrid.trace.watch.turns import RUNS

SIZES = (7, 12, 20, 2, 1, 3, 13, 16, 64)


@pytest.fixture(autouse=True)
def rich(monkeypatch):
    """No call is run eagerly because others took long."""
    monkeypatch.setattr(Budget, "affords", lambda self, replays: True)
    monkeypatch.setattr(sizes, "LITTLE", 1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        yield


def rows(size: int, seed: int = 0) -> hb.Tensor:
    return hb.tensor(np.random.default_rng((size, seed)).normal(size=(size, 4)).astype("f4"))


def plans_of(traced: Any) -> list[ReplayPlan]:
    return [plan for state in traced._signatures.everything() for plan in state.plans]


MANY = [
    3,
    5,
    7,
    4,
    1,
    9,
    0,
    2,
    11,
    6,
    13,
    8,
    3,
    5,
    0,
    1,
    17,
    33,
    64,
    65,
    10,
    12,
    100,
    5,
    7,
    1,
    0,
    21,
]
PAIRS = [(first, MANY[(k * 5 + 2) % len(MANY)]) for k, first in enumerate(MANY)]
Pair = namedtuple("Pair", "first second")
VIEWS: dict[str, Callable[[Any], Any]] = {
    "flat": lambda x: x.reshape(-1),
    "halves": lambda x: (x.reshape(-1, 2), x.sum()),
    "of a result": lambda x: (y := x * 2, y.reshape(-1)),
    "with a name": lambda x: Pair(x + 1, x.reshape(-1, 2)),
    "in a dict": lambda x: {"flat": x.reshape(-1), "all": [x * 3]},
    "the rest": lambda x: x[1:],
    "turned": lambda x: x.T,
    "of nobody's": lambda x: (x * 2).reshape(-1),
}


def tensors(value: Any) -> list[hb.Tensor]:
    if isinstance(value, hb.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [tensor for part in parts for tensor in tensors(part)]


@pytest.mark.parametrize("name", VIEWS)
def test_views_have_the_shape_of_their_call(name, still):
    """The base is written after the call: the view of each size shows it."""
    plain, traced = VIEWS[name], function(VIEWS[name])
    for size in SIZES * 3:
        shown = []
        for call in (plain, traced):
            x = rows(size)
            results = tensors(call(x))
            x += 1.0
            if results[0].ndim == 2 and len(results) > 1:
                results[0] *= 2.0
            results[-1] += 3.0
            shown.append([t.numpy().tobytes() for t in (x, *results)])
            shown[-1] += [t.shape for t in results]
        assert shown[0] == shown[1], size
    assert traced.cache_info().replays >= len(SIZES)
    assert traced.cache_info().deferred or traced.cache_info().records > 2 * len(SIZES) - 3


def test_a_tensor_that_is_chosen_by_its_size():
    """Recordings of one family take the one or the other: no plan serves both."""

    def total(a: Any, b: Any) -> Any:
        return max(a, b, key=len).sum(axis=0) * 2

    traced = function(total)
    for _ in range(3):
        for first, second in PAIRS:
            a, b = rows(first), rows(second, 1)
            assert traced(a, b).tolist() == total(a, b).tolist()


def test_a_tensor_that_is_written_by_its_size():
    def double(a: Any, b: Any) -> Any:
        chosen = max(a, b, key=len)
        chosen *= 2.0
        return a.sum() + b.sum()

    traced = function(double)
    for _ in range(3):
        for first, second in PAIRS:
            shown = []
            for call in (double, traced):
                a, b = rows(first), rows(second, 1)
                shown.append((call(a, b).item(), a.tolist(), b.tolist()))
            assert shown[0] == shown[1], (first, second)


def words(made: Any) -> np.ndarray:
    """The words of a table but for addresses of its own memory and of calls."""
    table = made.table.copy()
    first = TABLE["pool0"] // 8
    table[first:] = np.where(
        np.arange(first, len(table)) < min(made.starts.values()), 0, table[first:]
    )
    table[made.inside] -= np.uint64(made.table.ctypes.data)
    for row in range(len(made.rows)):  # of held tensors: in a list of their own
        table[made.starts["inputs"] + row * (INPUT["size"] // 8)] = 0
    return table


def test_the_native_way_of_a_size_is_the_one_that_would_be_built():
    layer, table = nn.Linear(4, 3), nn.Embedding(30, 4)
    total = hb.zeros(3)

    @function
    def step(ids: Any) -> Any:
        made = layer(table(ids)).tanh()
        with hb.no_grad():
            total.assign(total * 0.5 + made.sum(axis=0))
        return made, made.mean(axis=0)

    given = [hb.tensor(np.random.default_rng(k).integers(0, 30, k)) for k in (5, 9, 12, 3, 40, 7)]
    for ids in given * 3:
        step(ids)
    plans = plans_of(step)
    assert len(plans) == len(given) and all(plan.served is not None for plan in plans)
    entries = [plan.served.entry.made for plan in plans if plan.served is not None]
    copied = [
        made
        for made in entries
        if any(made.keep is other.keep for other in entries if other is not made)
    ]
    assert len(copied) >= 3
    for made in entries:
        np.testing.assert_array_equal(words(made), words(_Builder(made.spec, HOST).built()))


@pytest.mark.parametrize("first", range(len(SIZES)))
def test_a_call_that_another_thread_disturbs_tells_nothing_of_the_next_sizes(first, still):
    layer = nn.Linear(4, 2)
    traced = function(lambda x: layer(x).relu().sum(axis=0))
    for place, size in enumerate(SIZES):
        if place in (first, first + 1):
            RUNS.begun += 1
            traced(rows(size))
            RUNS.ended += 1
        else:
            traced(rows(size))
    assert len(plans_of(traced)) >= len(SIZES) - 4, traced.cache_info()
    for size in SIZES:
        assert traced(rows(size)).tolist() == layer(rows(size)).relu().sum(axis=0).tolist()


def test_a_size_that_comes_again_is_served_natively_at_once(still):
    layer = nn.Linear(4, 2)
    traced = function(lambda x: layer(x).relu().sum(axis=0))
    given = [rows(size) for size in SIZES]
    for x in given:
        traced(x)
    made = plans_of(traced)
    served = [plan.served is not None for plan in made]
    assert sum(served) >= len(SIZES) - 3, (served, [p.why for p in made], traced.cache_info())
    before = traced.cache_info()
    for x in given:
        assert traced(x).tolist() == layer(x).relu().sum(axis=0).tolist()
    assert traced.cache_info().records - before.records <= 1
