"""Further sizes: calls whose ops wait for a plan, with or without a watch, and plans that were made
for many sizes, compared with plain Python to the bit."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from hybrid.decorator import RunsEagerly, function
from hybrid.ir.door.context import STATE
from hybrid.ir.door.pending import COLLECTING, Pending
from hybrid.trace.fallback import sizes
from hybrid.trace.fallback.budget import Budget

F = nn.functional
SIZES = (7, 12, 20, 2, 0, 1, 3, 13, 15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300)
Given = tuple[Any, ...]


@pytest.fixture(autouse=True)
def tidy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        yield
    assert not COLLECTING and not STATE.special


@pytest.fixture
def rich(monkeypatch):
    """No call is run eagerly because others took long."""
    monkeypatch.setattr(Budget, "affords", lambda self, replays: True)
    monkeypatch.setattr(sizes, "LITTLE", 1e9)


def bits(value: Any) -> Any:
    if isinstance(value, hb.Tensor):
        assert type(value._v) is not Pending
        return value.shape, value.requires_grad, value.numpy().tobytes()
    return tuple(map(bits, value)) if isinstance(value, tuple) else value


def both(make: Callable[[Any], Any], arguments: list[Given], left: Any = None) -> Any:
    """Run a program plain and decorated, from equal starts; the decorated function."""
    worlds = []
    for jit in (lambda f: f, function):
        hb.manual_seed(0)
        made = make(jit)
        step, state = made if isinstance(made, tuple) else (made, tuple)
        seen = []
        for given in arguments:
            try:
                seen.append(bits(step(*given)))
            except Exception as error:
                seen.append(f"{type(error).__name__}: {error}")
            seen.append([bits(value) for value in state()])
        worlds.append((seen, step))
    (want, _), (got, traced) = worlds
    for number, (one, other) in enumerate(zip(want, got)):
        assert one == other, number // 2
    return traced


def rows(*sizes: int, width: int = 4) -> list[Given]:
    random = np.random.default_rng(0)
    return [(hb.tensor(random.normal(size=(n, width)).astype("f4")),) for n in sizes]


def twice(sizes: tuple[int, ...] = SIZES) -> list[Given]:
    return rows(*sizes, *sizes)


def ids(*sizes: int, most: int = 30) -> list[Given]:
    random = np.random.default_rng(0)
    return [(hb.tensor(random.integers(0, most, n)),) for n in sizes]


# ---- programs, to the bit
def layered(jit: Any) -> Any:
    layer, out = nn.Linear(4, 8), nn.Linear(8, 3)
    return jit(lambda x: out(layer(x).tanh()).softmax(axis=-1))


def summed(jit: Any) -> Any:
    return jit(lambda x: ((x * x).sum(axis=0), x.mean(), x.max(axis=1), (x.T @ x).sum()))


def products(jit: Any) -> Any:
    weight = hb.tensor(np.random.default_rng(1).normal(size=(4, 5)).astype("f4"))
    return jit(lambda x: (x @ weight, x.T @ x, x @ x.T))


def joined(jit: Any) -> Any:
    return jit(lambda x: hb.concat([x, x.mean(axis=0, keepdims=True), x[:1] * 2], axis=0))


def views(jit: Any) -> Any:
    return jit(lambda x: (x[1:], x.T, x.reshape(-1), x[::2] + 1))


def attended(jit: Any) -> Any:
    return jit(lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True))


def on_tape(jit: Any) -> Any:
    layer = nn.Linear(4, 4)
    f = jit(lambda x: layer(x).exp())

    def step(x: Any) -> Any:
        result = f(x)
        result.sum().backward()
        found = layer.weight.grad, layer.bias.grad
        layer.weight.grad = layer.bias.grad = None
        return result, *found

    return step


def trained(jit: Any) -> Any:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 3))
    rule = optim.Adam(model.parameters(), lr=0.01)

    def step(x: Any) -> Any:
        loss = (model(x) ** 2).sum()
        rule.zero_grad()
        loss.backward()
        rule.step()
        return loss

    return jit(step), lambda: list(model.parameters())


def averaged(jit: Any) -> Any:
    """The gradient of a mean holds a literal of the size."""
    weight = hb.ones(4, requires_grad=True)

    def step(x: Any) -> Any:
        loss = (x * weight).mean()
        loss.backward()
        with hb.no_grad():
            weight.assign(weight - 0.1 * weight.grad)
        weight.grad = None
        return loss

    return jit(step), lambda: [weight]


def seen(jit: Any) -> Any:
    """Python sees the size, and uses it."""

    def step(x: Any) -> Any:
        n, width = x.shape
        halves = x.reshape(n, 2, width // 2).swapaxes(0, 1)
        return halves.reshape(-1, width // 2) * 2.0, x[: n // 2].sum()

    return jit(step)


PROGRAMS = (layered, summed, products, joined, views, attended, on_tape, trained, averaged, seen)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_the_bits_of_every_size(make, rich):
    both(make, twice())


@pytest.mark.parametrize("make", [layered, joined, products], ids=lambda make: make.__name__)
def test_every_small_size(make, rich):
    both(make, twice(tuple(range(40, 0, -1))))


def test_texts(rich):
    def make(jit: Any) -> Any:
        table, out = nn.Embedding(30, 8), nn.Linear(8, 30)
        rule = optim.SGD([*table.parameters(), *out.parameters()], lr=0.1)

        def step(given: Any) -> Any:
            loss = F.cross_entropy(out(table(given[:-1])), given[1:])
            rule.zero_grad()
            loss.backward()
            rule.step()
            return loss

        return jit(step), lambda: [out.weight, table.weight]

    lengths = [5 + (k * 13) % 60 for k in range(60)]
    f = both(make, ids(*lengths, *lengths))
    info = f.cache_info()
    assert info.records <= 4 and info.compilations <= 8 and info.eager <= 3, info
    assert info.plans >= 55


def test_a_hundred_lengths_need_three_compilations(rich):
    def make(jit: Any) -> Any:
        table, out = nn.Embedding(30, 8), nn.Linear(8, 2)
        return jit(lambda given: out(table(given).mean(axis=0)).log_softmax(axis=-1))

    lengths = [1 + (k * 37) % 100 for k in range(100)]
    f = both(make, ids(*lengths, *lengths))
    info = f.cache_info()
    assert info.compilations <= 3 and info.records <= 4 and info.plans == 100, info


# ---- what happens inside of a call whose ops wait
def test_an_index_out_of_range_is_raised_where_it_is():
    def make(jit: Any) -> Any:
        table = nn.Embedding(5, 3)
        log: list[str] = []

        def step(given: Any) -> Any:
            log.append("before")
            found = table(given)
            log.append("after")
            return found.sum(axis=0)

        return jit(step), lambda: [len(log)]

    wrong = (hb.tensor([1, 2, 9, 0, 1, 2, 3, 4, 0]),)
    good = ids(3, 4, 5, 6, most=5)
    both(make, [*good, *good, wrong, *good, wrong])


def test_an_index_that_is_computed_is_checked_where_it_is_used():
    def make(jit: Any) -> Any:
        table = hb.tensor(np.arange(12, dtype="f4").reshape(6, 2))
        return jit(lambda x: table[(x.sum(axis=1) * 2).astype("int64")])

    given = [(hb.ones(n, 2),) for n in (2, 3, 4, 5, 6)]
    far = [(hb.ones(n, 2) * 9,) for n in (7, 8)]
    both(make, [*given, *given, *far, *given, *far])


def test_values_that_are_read_in_the_middle():
    def make(jit: Any) -> Any:
        def step(x: Any) -> Any:
            scale = float(x.sum())
            return x * (2.0 if scale > 0 else 3.0)

        return jit(step)

    both(make, twice((3, 4, 5, 6, 7)))


def test_an_exception_leaves_what_the_call_has_done():
    def make(jit: Any) -> Any:
        total = hb.zeros(4)

        def step(x: Any, fails: bool) -> Any:
            total.assign(total + x.sum(axis=0))
            if fails:
                raise ValueError("enough")
            return total * 2

        return jit(step), lambda: [total]

    sizes = (3, 4, 5, 6, 7, 8)
    given = [(x, n in (5, 7)) for n, (x,) in zip(sizes * 3, rows(*sizes * 3))]
    both(make, given)


def test_writes_views_and_aliases():
    def make(jit: Any) -> Any:
        state = hb.zeros(3, 4)

        def step(x: Any) -> Any:
            view = state[1]
            state[0] = state[0] + x.sum(axis=0)
            view += 1.0
            kept = view
            return state * 1.0, kept + 0.0

        return jit(step), lambda: [state]

    both(make, twice((3, 4, 5, 6, 7)))


def test_functions_inside_and_no_grad():
    def make(jit: Any) -> Any:
        layer = nn.Linear(4, 4)
        inner = jit(lambda x: layer(x).tanh())

        def step(x: Any) -> Any:
            with hb.no_grad():
                first = inner(x)
            return inner(first) + x

        return jit(step)

    both(make, twice((3, 4, 5, 6, 7, 8)))


def test_random_numbers_stay_in_order():
    def make(jit: Any) -> Any:
        drop = nn.Dropout(0.5)
        return jit(lambda x: drop(x) + hb.randn(4))

    both(make, twice((3, 4, 5, 6, 7, 8)))


# ---- what may change between calls
def test_facts_of_a_further_size_are_guarded():
    def make(jit: Any) -> Any:
        box = {"scale": 2.0}

        class Holder:
            bias = hb.ones(4)

        step = jit(lambda x: x * box["scale"] + Holder.bias)

        def turn(k: int, x: Any) -> Any:
            box["scale"] = float(k // 12)
            if k % 17 == 16:
                Holder.bias = Holder.bias * 3
            return step(x)

        return turn

    given = twice((3, 4, 5, 6, 7, 8) * 4)
    both(make, [(k, *x) for k, x in enumerate(given)])


def test_the_mode_of_a_module_changes():
    def make(jit: Any) -> Any:
        model = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5))
        step = jit(lambda x: model(x))

        def turn(k: int, x: Any) -> Any:
            model.train(k % 3 == 0)
            return step(x)

        return turn

    given = twice((3, 4, 5, 6, 7, 8) * 2)
    both(make, [(k, *x) for k, x in enumerate(given)])


LOOKS: dict[str, Callable[[Any], int]] = {
    "shape": lambda x: x.shape[0],
    "len": len,
    "size": lambda x: x.size,
    "turns": lambda x: sum(1 for _ in x),
    "text": lambda x: len(str(x.shape)),
    "same": lambda x: int(x.shape == (4, 4)),
    "parts": lambda x: len(x.chunk(3)),
    "attribute": lambda x: getattr(x, "shape")[0],  # noqa: B009
    "bytes": lambda x: x.nbytes,
}


@pytest.mark.parametrize("look", LOOKS)
def test_python_that_sees_a_size_is_watched(look):
    """Which place is read depends on the size; the places change afterwards."""

    def make(jit: Any) -> Any:
        box = {"few": 2.0, "many": 2.0}
        measure = LOOKS[look]

        def step(x: Any) -> Any:
            name = "many" if measure(x) % 2 else "few"
            return x * box[name]

        traced = jit(step)

        def turn(k: int, x: Any) -> Any:
            if k == 12:
                box["many"] = 5.0
            if k == 18:
                box["few"] = 7.0
            return traced(x)

        return turn

    given = rows(*(3, 4, 5, 6, 7, 8) * 5)
    both(make, [(k, *x) for k, x in enumerate(given)])


def test_blind_functions_are_filled_in_and_others_are_not(rich):
    blind = both(lambda jit: jit(lambda x: x.exp() * 2), twice((3, 4, 5, 6, 7, 8)))
    assert blind.cache_info().deferred >= 4
    sees = both(lambda jit: jit(lambda x: x.exp() * x.ndim), twice((3, 4, 5, 6, 7, 8)))
    assert sees.cache_info().deferred == 0 and sees.cache_info().plans == 6


# ---- memory
def test_many_sizes_stay_bounded(rich):
    f = function(lambda x: x * 2 + 1)
    for size in range(1, 900):
        f(hb.ones(size))
    gc.collect()
    info = f.cache_info()
    assert info.signatures <= 2 * 128 + 2 and info.compilations <= 6
    family = next(iter(f._families.known.values()))
    assert len(family.sizes.plans) <= 12


def test_an_object_of_the_facts_dies_with_all_sizes():
    class Holder:
        def __init__(self) -> None:
            self.bias = hb.ones(4)

    box = [Holder()]
    f = function(lambda x: x + box[0].bias)
    given = rows(3, 4, 5, 6, 7)
    for (x,) in given * 3:
        assert f(x).tolist() == (x + 1.0).tolist()
    gone = weakref.ref(box[0])
    box[0] = Holder()
    box[0].bias = hb.ones(4) * 2
    gc.collect()
    assert gone() is None
    for (x,) in given * 3:
        assert f(x).tolist() == (x + 2.0).tolist()
