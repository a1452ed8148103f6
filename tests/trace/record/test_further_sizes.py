"""One recording of a further size, where it agrees with one of another size, is enough: programs
that change their shapes and their state, compared with plain Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from hybrid.decorator import RunsEagerly, function
from hybrid.trace.fallback.budget import Budget
from hybrid.trace.fallback.postponed import Postponed
from hybrid.trace.record import recorder

F = nn.functional


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        yield


# ---- one recording of a further size
def both(make: Callable[[Any], Any], arguments: list[tuple[Any, ...]]) -> Any:
    """Run a program plain and decorated, from equal starts; the decorated function."""
    worlds = []
    for jit in (lambda f: f, function):
        hb.manual_seed(0)
        step = make(jit)
        seen = []
        for given in arguments:
            try:
                result = step(*given)
            except Exception as error:
                result = f"{type(error).__name__}: {error}"
            values = result if isinstance(result, tuple) else (result,)
            seen += [v.numpy().tobytes() if isinstance(v, hb.Tensor) else v for v in values]
        worlds.append((seen, step))
    (want, _), (got, traced) = worlds
    assert got == want
    return traced


SIZES = (7, 3, 5, 1, 0, 2, 9, 64, 65, 257)


def rows(*sizes: int) -> list[tuple[Any, ...]]:
    random = np.random.default_rng(0)
    return [(hb.tensor(random.normal(size=(n, 4)).astype("f4")),) for n in sizes]


def repeated(times: int, sizes: tuple[int, ...] = SIZES) -> list[tuple[Any, ...]]:
    return [given for _ in range(times) for given in rows(*sizes)]


def test_one_recording_of_a_further_size(monkeypatch):
    monkeypatch.setattr(Budget, "affords", lambda self, replays: True)
    f = both(lambda jit: jit(lambda x: (x * 2 + 1).sum(axis=0)), repeated(5))
    info = f.cache_info()
    # sizes 0 and 1 are others; most of the rest are filled in without a watch
    assert info.records <= 4 and info.compilations < len(SIZES) and info.deferred >= 6
    assert info.eager < len(SIZES) and info.plans == len(SIZES)


def test_training_on_changing_batches():
    def make(jit: Any) -> Any:
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        rule = optim.Adam(model.parameters(), lr=0.01)

        @jit
        def step(x: Any) -> Any:
            loss = (model(x) ** 2).mean()
            rule.zero_grad()
            loss.backward()
            rule.step()
            return loss

        return step

    sizes = (8, 8, 8, 3, 8, 8, 5, 3, 8, 3, 5, 5)
    f = both(make, rows(*sizes, *sizes))
    assert f.cache_info().records <= 6 and f.cache_info().eager == 0


def test_literals_that_depend_on_the_size():
    f = both(lambda jit: jit(lambda x: x * (1.0 / (1 + len(x)))), repeated(5, (3, 4, 5, 6, 7)))
    assert f.cache_info().records <= 6 and f.cache_info().compilations <= 3


@pytest.mark.parametrize("start", [0.5, 1])
def test_numbers_that_drift_are_no_sizes(start):
    """What changes with the calls, and not with the size, is found where it comes from."""

    def make(jit: Any) -> Any:
        held, rates = {"rate": start}, [0.1, 0.2, 0.3]

        @jit
        def step(x: Any) -> Any:
            held["rate"] = held["rate"] * 0.75
            rates.append(rates[-1] + 0.5)
            return x * held["rate"] + rates[len(x) % 3] - x.mean() / len(rates)

        return step

    both(make, repeated(7, (3, 4, 5, 6)))
    both(make, rows(*range(3, 40), 5, 7, 9))


def test_branches_on_the_size():
    def step(x: Any) -> Any:
        if len(x) % 2:
            return x.exp().sum(), "odd"
        return x.sum().exp(), "even"

    f = both(lambda jit: jit(step), repeated(6))
    assert f.cache_info().plans == len(SIZES) and f.cache_info().deferred == 0


def test_a_cache_that_sizes_fill():
    def make(jit: Any) -> Any:
        cache: dict[int, Any] = {}

        @jit
        def step(x: Any) -> Any:
            if len(x) not in cache:
                cache[len(x)] = hb.ones(len(x)) * (10.0 * (1 + len(cache)))
            return cache[len(x)][:, None] * x

        return step

    both(make, repeated(6))


def test_state_that_changes_between_sizes():
    def make(jit: Any) -> Any:
        box: dict[str, Any] = {"k": 1.0, "n": 0, "bias": hb.ones(4)}

        @jit
        def step(x: Any) -> Any:
            return x * box["k"] + box["bias"] + box["n"]

        def turn(x: Any) -> Any:
            box["n"] += len(x) == 5
            box["k"] = float(len(x))
            if len(x) == 9:
                box["bias"] = box["bias"] * 2
            return step(x)

        turn.step = step
        return turn

    both(make, repeated(5))


def test_numbers_that_drift_with_the_calls():
    """A counter that looks like an extent: every call slices one more row."""

    def make(jit: Any) -> Any:
        box = {"n": 0}

        @jit
        def step(x: Any) -> Any:
            box["n"] += 1
            return x[: box["n"] % 3].sum() + x[box["n"] % 2 :].sum()

        return step

    both(make, repeated(6, (3, 4, 5, 6)))


def test_an_iterator_that_drifts():
    def make(jit: Any) -> Any:
        numbers = iter(range(1000))

        @jit
        def step(x: Any) -> Any:
            return x[: next(numbers) % 3].sum()

        return step

    both(make, repeated(6, (3, 4, 5, 6)))


def test_attributes_that_the_call_changes():
    def make(jit: Any) -> Any:
        class Meter:
            total, last, calls = hb.zeros(4), None, 0

        meter = Meter()

        @jit
        def step(x: Any) -> Any:
            meter.calls += 1
            meter.last = x.sum(axis=0)
            meter.total = meter.total + meter.last
            return meter.total * meter.calls

        return step

    both(make, repeated(6))


def test_results_with_gradients_of_changing_sizes():
    def make(jit: Any) -> Any:
        weight = hb.ones(4, requires_grad=True)
        f = jit(lambda x: (x * weight).exp().sum())

        def step(x: Any) -> Any:
            f(x).backward()
            found, weight.grad = weight.grad, None
            return found

        return step

    both(make, repeated(5))


def test_a_wrong_size_raises_as_eagerly():
    def make(jit: Any) -> Any:
        return jit(lambda x: x.reshape(-1, 3) + hb.ones(4, 3))

    arguments = [(hb.ones(n),) for n in (12, 12, 12, 15, 12, 13, 12, 15, 13)]
    both(make, arguments)


def test_views_and_results_of_arguments():
    both(lambda jit: jit(lambda x: (x[1:], x.T, x.reshape(-1))), repeated(5, (3, 4, 5, 6)))


def test_a_result_on_a_tape_is_computed_by_the_plan(monkeypatch):
    """Its tape becomes that of a replay, also where sweeps have looked at it: nothing that it held
    is computed op by op."""
    monkeypatch.setattr(recorder, "SWEEP_BYTES", 150)
    ended, finish = list[Any](), Postponed.finish
    monkeypatch.setattr(
        Postponed, "finish", lambda self, *a: (finish(self, *a), ended.append(self))
    )
    layer = nn.Linear(4, 3)

    def make(jit: Any) -> Any:
        def step(x: Any) -> Any:
            n = x.shape[0]
            loss = (layer(x).tanh() ** 2).sum() * (1.0 / (n + 1))
            loss.backward()
            layer.zero_grad()
            return loss

        return jit(step)

    both(make, rows(7, 9, 12, 15))
    assert ended and [postponed.strays for postponed in ended] == [0] * len(ended)
