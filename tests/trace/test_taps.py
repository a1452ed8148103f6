"""Taps: values in the middle of recorded, replayed, deferred and eager calls."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from hybrid.core.errors import ArgumentError
from hybrid.trace.bytecode.opcodes import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="nothing is recorded on this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
]
DATA = np.random.default_rng(3).standard_normal((12, 5, 6)).astype("f")


def bits(values: Any) -> list[bytes]:
    return [value.numpy().tobytes() for value in values]


@pytest.mark.parametrize("train", [False, True])
def test_a_tap_changes_no_bit_and_shows_the_eager_values(train: bool) -> None:
    def run(tapped: bool, decorate: Any) -> Any:
        hb.manual_seed(2)
        net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3))
        opt = optim.Adam(net.parameters(), lr=0.01)
        eager: list[Any] = []

        def collect(x: Any, name: str) -> Any:
            eager.append(x.detach())
            return x

        look = hb.tap if tapped else collect

        def forward(x: Any) -> Any:
            h = look(net[0](x), "hidden")
            out = x
            for layer in (lambda t: t * 0.5, hb.exp, hb.tanh):
                out = look(layer(out), "loop")
            return (net[2](net[1](h)) ** 2).mean() + out.sum()

        def step(x: Any) -> Any:
            loss = forward(x)
            if train:
                opt.zero_grad()
                loss.backward()
                opt.step()
            return loss.detach()

        fn, results, seen = decorate(step), [], []
        for k in range(8):
            eager.clear()
            results.append(fn(hb.tensor(DATA[k])))
            seen.append(bits(fn.probe("hidden") + fn.probe("loop") if tapped else eager))
        if tapped:
            assert fn.cache_info().replays == 6, fn.explain()
        return bits(results), seen, bits(net.state_dict().values())

    plain = run(False, lambda fn: fn)
    assert run(True, lambda fn: hb.function(fn, wait=True)) == plain


def test_a_tap_is_the_tensor_itself() -> None:
    x = hb.ones(2, requires_grad=True)
    assert hb.tap(x, "x") is x
    f = hb.function(lambda t: hb.tap(t, "in"))
    for _ in range(4):
        assert f(x) is x
    (value,) = f.probe("in")
    assert value is not x and not value.requires_grad
    with hb.no_grad():
        x.mul_(3.0)
    assert value.tolist() == [1.0, 1.0]


def test_gradients_flow_through_taps() -> None:
    f = hb.function(lambda t: hb.tap(t * t, "square").sum())
    for k in range(5):
        x = hb.full((2,), float(k), requires_grad=True)
        f(x).backward()
        assert x.grad.tolist() == [2.0 * k] * 2
        assert f.probe("square")[0].tolist() == [float(k * k)] * 2
    assert f.cache_info().replays == 3


def test_which_calls_are_shown() -> None:
    state = {"on": True}

    @hb.function
    def f(x: Any) -> Any:
        y = x + 1.0
        if state["on"]:
            hb.tap(y, "y")
        return y * 2.0

    for k in range(16):
        state["on"] = k % 4 < 2
        f(hb.ones(1) * k)
        want = [[k + 1.0]] if state["on"] else []
        assert [value.tolist() for value in f.probe("y")] == want
    assert f.cache_info().replays


def test_deferred_and_eager_calls() -> None:
    @hb.function
    def f(x: Any) -> Any:
        y = hb.tap(x * 2.0, "y")
        print(end="")
        return hb.tap(y + 1.0, "z")

    for k in range(12):
        f(hb.ones(1) * k)
        assert [v.tolist() for v in f.probe("y") + f.probe("z")] == [[2.0 * k], [2.0 * k + 1.0]]


def test_functions_inside_functions() -> None:
    inner = hb.function(lambda x: hb.tap(x * 2.0, "inner"))

    @hb.function
    def outer(x: Any) -> Any:
        return hb.tap(inner(inner(x)), "outer")

    for k in range(6):
        outer(hb.ones(1) * k)
        assert [v.item() for v in outer.probe("inner")] == [2.0 * k, 4.0 * k]
        assert [v.item() for v in outer.probe("outer")] == [4.0 * k]
        assert inner.probe("inner")[-1].item() == 4.0 * k
    assert outer.cache_info().replays == 4


def test_literals_and_results_may_be_tapped() -> None:
    @hb.function
    def f(x: Any) -> Any:
        hb.tap(hb.tensor([1.0, 2.0]), "literal")
        y = hb.tap(hb.asarray(x) + 1.0, "result")
        hb.tap(hb.asarray(x), "argument")
        return y

    for k in range(5):
        array = np.full(2, k, np.float32)
        y = f(array)
        assert f.probe("literal")[0].tolist() == [1.0, 2.0]
        assert f.probe("result")[0].tolist() == y.tolist() == [k + 1.0] * 2
        array[:] = 9.0
        assert f.probe("argument")[0].tolist() == [k, k]
    assert f.cache_info().replays == 3


def test_operations_with_graphs_inside() -> None:
    """What is computed inside of one operation cannot be shown; such a function runs eagerly."""

    @hb.function
    def f(x: Any) -> Any:
        def body(carry: Any, item: Any) -> Any:
            hb.tap(carry, "carry")
            return carry + item, item

        return hb.scan(body, x, hb.ones((40, 2)))[0]

    for _ in range(4):
        assert f(hb.ones(2)).tolist() == [41.0, 41.0]
        assert len(f.probe("carry")) == 40
    assert f.cache_info().replays == 0


def test_wrong_taps() -> None:
    with pytest.raises(TypeError, match="a tensor"):
        hb.tap(1.0, "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of a tap"):
        hb.tap(hb.ones(1), 3)  # type: ignore[arg-type]
    f = hb.function(lambda x: hb.tap(x, "seen"))
    f(hb.ones(1))
    with pytest.raises(ArgumentError, match="met: 'seen'"):
        f.probe("sene")


def test_taps_keep_nothing_alive_but_the_latest_values() -> None:
    f = hb.function(lambda x: hb.tap(x * 2.0, "y").sum())
    for _ in range(4):
        f(hb.ones(3))
    (value,) = f.probe("y")
    ref = weakref.ref(value)
    del value
    f(hb.ones(3))
    assert ref() is None
    function = weakref.ref(f)
    del f
    gc.collect()
    assert function() is None


def test_functions_of_one_code_have_taps_of_their_own() -> None:
    def scaled(factor: float) -> Any:
        return hb.function(lambda x: hb.tap(x * factor, "scaled").sum())

    double, triple = scaled(2.0), scaled(3.0)
    outer = hb.function(lambda x: double(x) + triple(x))
    for _ in range(5):
        double(hb.ones(2)), triple(hb.ones(2))
        assert double.probe("scaled")[0].tolist() == [2.0, 2.0]
        assert triple.probe("scaled")[0].tolist() == [3.0, 3.0]
    for _ in range(5):
        outer(hb.full((1,), 2.0))
        assert [value.tolist() for value in outer.probe("scaled")] == [[4.0], [6.0]]
        assert [value.tolist() for value in triple.probe("scaled")] == [[6.0]]
