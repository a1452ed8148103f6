"""Shapes, numbers and objects that keep changing: how much is recorded, by counts at fixed prices,
and that one recording of a further size is enough."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from hybrid.decorator import RunsEagerly, function
from hybrid.trace.fallback import families
from hybrid.trace.fallback.budget import ALLOWANCE, FEW, START, UNTRIED, VERSIONS, Budget
from hybrid.trace.fallback.families import family_of
from hybrid.trace.fallback.nap import LOOKS, MAX_REST, STREAK, Nap
from hybrid.trace.heap.signature import Regard, signature_of
from hybrid.trace.serve import pending

F = nn.functional


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        yield


@pytest.fixture
def prices(monkeypatch):
    """Sets what an eager call, a recording with what is compiled, and a replay take."""
    ran, recorded, served, tire = Budget.ran, Budget.recorded, Budget.served, Nap.tire

    def fixed(eager: float, recording: float, replay: float) -> None:
        monkeypatch.setattr(Budget, "ran", lambda self, _: ran(self, eager))
        monkeypatch.setattr(Budget, "recorded", lambda self, _: recorded(self, recording))
        monkeypatch.setattr(Budget, "served", lambda self, _: served(self, replay))
        monkeypatch.setattr(Nap, "tire", lambda self, others, _: tire(self, others, eager))

    fixed(1.0, 20.0, 0.5)
    return fixed


def ones(size: int) -> Any:
    return hb.ones(size)


# ---- which sizes are recorded
def test_a_hundred_lengths_give_three_versions(prices):
    f = function(lambda x: x * 2)
    for number in range(300):
        f(ones(1 + number * 37 % 100))
    info = f.cache_info()
    assert (info.records, info.compilations) == (VERSIONS + 1, VERSIONS)
    assert info.replays == 3 * VERSIONS - info.records
    assert info.eager == 300 - info.records - info.replays


def test_a_few_sizes_are_all_recorded_when_they_come_again(prices):
    f = function(lambda x: x * 2)
    for number in range(40):
        f(ones(1 + number % 8))
    info = f.cache_info()
    # three at first sight, the first of them twice; five wait for their second call
    assert (info.records, info.eager, info.compilations) == (9, 5, 8)


def test_what_is_seen_often_pays_for_a_version(prices):
    f = function(lambda x: x * 2)
    for number in range(200):
        f(ones(1 + number % 100))
    versions = f.cache_info().compilations
    for _ in range(60):
        f(ones(77))
    info = f.cache_info()
    assert versions == VERSIONS and info.compilations == versions + 1
    # a version takes about 20, a replay saves 0.5: so about 40 calls, two of which have been
    assert 10 <= info.replays <= 35


def test_cheap_versions_pay_soon(prices):
    prices(1.0, 1.0, 0.1)
    f = function(lambda x: x * 2)
    for number in range(400):
        f(ones(1 + number % 100))
    assert f.cache_info().compilations >= 90


def test_what_never_paid_is_tried_when_it_comes_again(prices):
    f = function(lambda x, rate: x * rate[0])
    for number in range(FEW + 20):
        f(ones(2), (0.5 + number,))
    assert f.cache_info().compilations == 0
    for _ in range(UNTRIED + 3):
        f(ones(2), (0.25,))
    assert f.cache_info().replays > 0


def test_ever_new_structures_stop_being_recorded(prices):
    def total(pieces: Any) -> Any:
        return sum(p.sum() for p in pieces[1:]) + pieces[0].sum()

    f = function(total)
    for number in range(60):
        f([ones(2)] * (1 + number))
    assert f.cache_info().records <= START


def test_the_account_bounds_every_recording(prices):
    """Sizes that come twice each, in sets so small that they look like coming again."""
    prices(1e-3, 1.0, 1e-3)
    f = function(lambda x: x * 2)
    for number in range(3000):
        f(ones(1 + number // 2 % 60))
    assert f.cache_info().records <= START + (ALLOWANCE + 3.0) / 1.0 + 1


def test_sixty_four_sizes_are_no_cliff(prices):
    """Versions that were paid for stay, while others come and go."""
    prices(1.0, 1.0, 0.1)
    f = function(lambda x: x * 2)
    for number in range(3000):
        f(ones(5 if number % 2 else 10 + number * 37 % 150))
    info = f.cache_info()
    assert info.replays > 1450 and info.signatures < 100
    assert info.records < 3000 * 0.4


def test_families():
    def family(*args: Any) -> Any:
        return family_of(signature_of(args, {}, Regard())[0])

    x = ones(3)
    assert family(x) == family(ones(4)) != family(hb.ones(4, 1))
    assert family(x) != family(hb.ones(3, dtype="float64"))
    assert family(x, 1) == family(x, 2) != family(x, 2.0)
    assert family(x, True) != family(x, False) and family(x, None) != family(x, 1)
    assert family(x, "a") == family(x, "b") and family([x, x]) != family([x, ones(3)])
    assert family([x]) == family([ones(9)]) != family([x, ones(2)])
    here, there = object(), object()
    assert family(x, here) == family(x, there)


def test_memory_is_flat_with_ever_new_calls():
    f = function(lambda x, k: x + k[0])
    x = ones(2)

    def calls(start: int) -> None:
        for number in range(start, start + 5000):
            f(x, (number,))

    calls(0)
    gc.collect()
    known = len(gc.get_objects())
    calls(5000)
    gc.collect()
    assert len(gc.get_objects()) - known < 500
    table = f._families
    assert len(table.sights) <= families.MAX_SIGHTS and len(table.older) <= families.MAX_SIGHTS


def test_a_family_keeps_nothing_alive(prices):
    class Key:
        pass

    f = function(lambda x, key: x * 2)
    x = ones(2)
    for _ in range(50):
        f(x, Key())
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found) is Key]


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


def test_one_recording_of_a_further_size():
    f = both(lambda jit: jit(lambda x: (x * 2 + 1).sum(axis=0)), repeated(5))
    info = f.cache_info()
    assert info.compilations == len(SIZES) and info.records == len(SIZES) + 1
    assert info.eager == len(SIZES) - VERSIONS


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


def test_literals_that_depend_on_the_size_take_two():
    f = both(lambda jit: jit(lambda x: x * (1.0 / (1 + len(x)))), repeated(5, (3, 4, 5)))
    assert f.cache_info().records == 6 and f.cache_info().compilations == 3


def test_branches_on_the_size():
    def step(x: Any) -> Any:
        if len(x) % 2:
            return x.exp().sum(), "odd"
        return x.sum().exp(), "even"

    f = both(lambda jit: jit(step), repeated(6))
    assert f.cache_info().compilations == len(SIZES)


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


# ---- calls that are not looked at
def test_what_runs_eagerly_whatever_comes_is_seldom_looked_at(prices, monkeypatch):
    prices(1e-6, 1.0, 1e-6)
    looked = []
    monkeypatch.setattr(
        pending.Unserved, "_new_state", counted(pending.Unserved._new_state, looked)
    )
    f = function(lambda x, k: x + k[0])
    x = ones(2)
    for number in range(3000):
        assert f(x, (number,)).tolist() == [number + 1.0] * 2
    info = f.cache_info()
    assert info.replays + info.records + info.eager == 3000
    naps = 3000 / (MAX_REST / 2)
    assert len(looked) <= FEW + STREAK + LOOKS * naps + START


def counted(method: Any, calls: list[Any]) -> Any:
    def counting(*args: Any) -> Any:
        calls.append(args)
        return method(*args)

    return counting


def test_long_calls_are_always_looked_at(prices):
    prices(1e-3, 1.0, 1e-6)
    f = function(lambda x, k: x + k[0])
    for number in range(300):
        f(ones(2), (number,))
    assert f._nap.slept == 0


def test_a_function_wakes_up_when_calls_come_again(prices):
    prices(1e-6, 1e-5, 1e-7)
    f = function(lambda x, k: x + k[0])
    for number in range(500):
        f(ones(2), (number,))
    before = f.cache_info()
    for _ in range(2 * MAX_REST + 20 * STREAK):
        assert f(ones(2), (0.5,)).tolist() == [1.5, 1.5]
    after = f.cache_info()
    assert before.eager > 400 and after.replays - before.replays > 100


def test_a_function_that_returns_not_implemented_runs_once():
    box = hb.zeros(1)

    def step(x: Any) -> Any:
        box.assign(box + x)
        return NotImplemented

    f = function(step)
    for number in range(1, 200):
        assert f(ones(1)) is NotImplemented
        assert box.item() == number


def test_naps_inside_recorded_and_deferred_calls(prices):
    prices(1e-6, 1.0, 1e-6)
    inner = function(lambda x, k: x + k[0])
    for number in range(400):
        inner(ones(2), (number,))
    outer = function(lambda x: inner(x, (7,)) * 2)
    for _ in range(6):
        assert outer(ones(2)).tolist() == [16.0, 16.0]
    assert outer.cache_info().replays == 4


# ---- calls that alternate
def test_alternating_signatures_are_served_without_a_look(monkeypatch):
    f = function(lambda a, b: a * b + a)
    sizes = [ones(n) for n in (2, 3, 4, 5)]
    for _ in range(8):
        for x in sizes:
            f(x, x * 2)
    looked = []
    monkeypatch.setattr(f, "_signed", counted(f._signed, looked))
    for _ in range(50):
        for x in sizes:
            assert f(x, x * 2).tolist() == (x * 3).tolist()
    assert not looked


FORMS = {
    "text": lambda f, x, k: f(x, "ab"[k % 2]),
    "number": lambda f, x, k: f(x, 10**6 + k % 3),
    "flag": lambda f, x, k: f(x, k % 2 == 0),
    "none": lambda f, x, k: f(x, None if k % 2 else 1),
    "keyword": lambda f, x, k: f(x, how=k % 2),
    "both by name": lambda f, x, k: f(how=k % 2, x=x),
    "left out": lambda f, x, k: f(x) if k % 2 else f(x, 3),
    "object": lambda f, x, k: f(x, OBJECTS[k % 2]),
    "float": lambda f, x, k: f(x, FLOATS[k % 2]),
}


class Scale:
    def __init__(self, k: float) -> None:
        self.k = k

    def __deepcopy__(self, memo: Any) -> Any:
        return self


OBJECTS = Scale(2.0), Scale(3.0)
FLOATS = 0.0, -0.0


def described(x: Any, how: Any = 5, *, more: Any = 1) -> Any:
    scale = how.k if type(how) is Scale else 2.0
    return x * scale * more, f"{type(how).__name__} {how if type(how) is not Scale else how.k}"


@pytest.mark.parametrize("form", FORMS)
def test_ways_of_writing_a_call(form, monkeypatch):
    f, x = function(described), ones(3)
    call = FORMS[form]
    for number in range(40):
        call(f, x, number)
    looked = []
    monkeypatch.setattr(f, "_signed", counted(f._signed, looked))
    for number in range(12):
        got, want = call(f, x, number), call(described, x, number)
        assert got[0].numpy().tobytes() == want[0].numpy().tobytes() and got[1] == want[1]
    assert not looked, f.explain()


def test_ways_do_not_mix_up_what_is_equal_and_not_the_same():
    def both_ways(f: Any) -> list[Any]:
        x, seen = ones(2), []
        values = (1, True, 1.0, 0, False, 0.0, -0.0, "1", b"1", None, np.float32(1), np.int64(1))
        for _ in range(9):
            for value in values:
                seen.append(f(x, value)[1])
                seen.append(f(x, how=value)[1])
                seen.append(f(x, value, more=2)[0].tolist())
        return seen

    assert both_ways(function(described)) == both_ways(described)


def test_ways_see_changed_defaults():
    def step(x: Any, how: Any = 2, *, more: Any = 3) -> Any:
        return x * how * more

    f, x = function(step), ones(1)
    for _ in range(8):
        assert f(x).tolist() == [6.0] and f(x, more=1).tolist() == [2.0]
    step.__defaults__ = (5,)
    assert f(x).tolist() == [15.0] and f(x, more=1).tolist() == [5.0]
    for _ in range(8):
        f(x)
    step.__kwdefaults__["more"] = 7
    assert f(x).tolist() == [35.0] and f(x, 1).tolist() == [7.0]
    step.__kwdefaults__ = None
    with pytest.raises(TypeError, match="more"):
        f(x)
    step.__defaults__ = None
    with pytest.raises(TypeError, match="how"):
        f(x, more=1)


def test_ways_check_the_number_and_kind_of_arguments():
    f, x = function(described), ones(3)
    for number in range(20):
        f(x, "ab"[number % 2])
    for wrong in ((), (x, 1, 2, 3)):
        with pytest.raises(TypeError):
            f(*wrong)
    with pytest.raises(TypeError):
        f(x, unknown=1)
    with pytest.raises(TypeError):
        f(x, "a", how="b")
    half = x.to("float64")
    assert f(half, "a")[0].dtype == half.dtype
    leaf = hb.ones(3, requires_grad=True)
    assert f(leaf, "a")[0].requires_grad and not f(x, "a")[0].requires_grad
    with hb.no_grad():
        assert not f(leaf, "a")[0].requires_grad


def test_ways_forget_an_object_that_died():
    f, x = function(described), ones(2)
    for k in range(20):  # each one lands where the last one was
        one, two = Scale(float(k)), Scale(k + 0.5)
        for _ in range(6):
            assert f(x, one)[0].tolist() == [float(k)] * 2
            assert f(x, two)[0].tolist() == [k + 0.5] * 2
        del one, two


def test_ways_follow_facts():
    box = {"k": 2.0}
    f = function(lambda x, mode: x * box["k"] if mode == "a" else x + box["k"])
    x = ones(1)
    for k in (2.0, 3.0, 2.0, 5.0):
        box["k"] = k
        for _ in range(6):
            assert f(x, "a").tolist() == [k] and f(x, "b").tolist() == [1.0 + k]


def test_ways_of_instances_on_the_tape():
    class Block(nn.Module):
        def __init__(self, gain: float) -> None:
            super().__init__()
            self.layer, self.gain = nn.Linear(3, 3), gain

        def plain(self, x: Any) -> Any:
            return self.layer(x) * self.gain

        traced = function(plain)

    hb.manual_seed(0)
    blocks = [Block(0.5), Block(2.0)]

    def run(name: str) -> list[Any]:
        seen = []
        for number in range(12):
            x = ones(6).reshape(2, 3) * number
            first, second = (getattr(block, name) for block in blocks)
            out = second(first(x)) if number % 3 else first(second(x))
            out.sum().backward()
            for p in (*blocks[0].parameters(), *blocks[1].parameters()):
                seen.append(p.grad.numpy().tobytes())
                p.grad = None
            seen.append(out.numpy().tobytes())
        return seen

    assert run("plain") == run("traced")
    assert Block.traced.cache_info().replays >= 10


def test_ways_are_bounded():
    f, x = function(lambda x, k: x + float(str(k))), ones(1)
    for number in range(600):
        f(x, number % 20)
    ways = getattr(f._direct, "ways", None)
    assert ways is None or len(ways.ways) <= 8
    assert f.cache_info().replays > 400


def test_fruitless_recordings_beside_plans_end():
    """Two modes in turns: what one call leaves is not what the next one finds."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))

    @function
    def step(x: Any, phase: str) -> Any:
        model.train(phase == "train")
        return model(x).sum()

    for number in range(120):
        step(hb.ones(2, 3), "train" if number % 3 else "test")
    assert step.cache_info().records <= 24
