"""Pitfalls of tracing: random numbers and numerics, errors, NaN origin."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, B, check, mlp, norm, t

import hybrid as hb


def test_random_numbers_are_new_in_every_call() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x: hb.dropout(x, 0.5))
        g = jit(lambda x: x + hb.rand((7,)) * hb.randn((7,)) + hb.randint(0, 9, (7,)))
        out = []
        for k in range(6):
            out += [f(hb.ones((64,))), g(t()), hb.rand((2,))]
        return out

    got = check(program, replays=8)
    a, b = (got.functions[0](hb.ones((64,))).numpy() for _ in range(2))
    assert not np.array_equal(a, b)


def test_a_generator_of_ones_own() -> None:
    def program(jit: Any) -> Any:
        gen = hb.Generator(7)
        f, out = jit(lambda x: x + hb.rand((7,), generator=gen)), []
        for k in range(10):
            out.append(f(t()))
            if k == 5:
                gen.manual_seed(7)
        return out

    check(program, replays=6)


@pytest.mark.parametrize("distribution", ["randn", "rand", "permutation", "integers"])
def test_numpy_and_python_random(distribution: str) -> None:
    import random

    def program(jit: Any) -> Any:
        random.seed(3)
        draw = {
            "randn": lambda: np.random.randn(),
            "rand": lambda: random.random(),
            "permutation": lambda: float(np.random.permutation(5)[0]),
            "integers": lambda: random.randint(0, 9),
        }[distribution]
        f = jit(lambda x: x + draw())
        return [f(t()) for _ in range(6)] + [np.random.randn(), random.random()]

    check(program, replays=2)


def test_eager_and_traced_streams_are_one() -> None:
    net = mlp(p=0.5)

    def body(x: Any) -> Any:
        return net(x).detach() + hb.randn((3,))

    f = hb.function(body)
    for _ in range(4):
        f(t())
    for seed in (0, 1, 12345):
        runs = []
        for fn in (body, f):
            hb.manual_seed(seed)
            runs.append([norm(fn(t())) for _ in range(3)] + [norm(hb.rand((2,)))])
        assert all(np.array_equal(p, q) for p, q in zip(*runs))
    assert f.cache_info().replays >= 10


def test_stream_state_saved_and_restored() -> None:
    def program(jit: Any) -> Any:
        f, out = jit(lambda x: x * hb.rand((7,))), []
        for _ in range(4):
            state = hb.random.get_state()
            first = f(t())
            hb.random.set_state(state)
            out += [first, f(t())]
        return out

    check(program, replays=5)


def test_seed_inside() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            hb.manual_seed(7)
            return x + hb.rand((7,))

        out = []
        for _ in range(6):
            out += [f(t()), hb.rand((2,))]
        return out

    check(program)


@pytest.mark.parametrize("jit", [lambda f: f, hb.function])
@pytest.mark.parametrize("size", [100, 1 << 21])
def test_drawing_from_threads_gives_each_number_once(jit: Any, size: int) -> None:
    f = jit(lambda n: (hb.rand((size,)) + n)[:8])
    n = hb.tensor(0.0)
    for _ in range(3):
        f(n)
    hb.manual_seed(0)
    each = 40 if size == 100 else 4
    want = [hb.rand((size,))[:8].numpy().tobytes() for _ in range(4 * each)]
    hb.manual_seed(0)
    got: list[bytes] = []
    ts = [
        threading.Thread(target=lambda: [got.append(f(n).numpy().tobytes()) for _ in range(each)])
        for _ in range(4)
    ]
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for th in ts:
            th.start()
        for th in ts:
            th.join()
    finally:
        sys.setswitchinterval(old)
    assert sorted(got) == sorted(want)


def test_the_optimiser_changes_no_value() -> None:
    def program(jit: Any) -> Any:
        f = jit(
            lambda x: (
                hb.log(hb.exp(x)),
                hb.exp(hb.log(x)),
                hb.sqrt(x * x),
                x / x,
                x - x,
                x * 0.0,
                x + 0.0,
                -(-x),
                (x + 1e8) - 1e8,
                x * 2 / 2,
                x * 0.1 * 10,
                x**2,
                x**0.5,
                hb.maximum(x, x),
                (x * 3.0 + x * x).sum(),
                x.mean(),
                hb.softmax(x),
                (x == x).sum(),
            )
        )
        half = jit(lambda x: ((x * 3 + 1) / 7).to("float32"))
        out = []
        for v in (A, B, A * 100, A * 1e20, A, B, -B):
            out.append(f(t(v)))
            out.append(half(hb.tensor(np.clip(v, -1e4, 1e4).astype(np.float16))))
        return out

    check(program, replays=8)


def test_out_of_range_index_raises_in_a_replay_and_changes_nothing() -> None:
    table, count = t(np.resize(A, (5, 3))), hb.tensor(0)

    @hb.function
    def f(i: Any) -> Any:
        nonlocal table
        count.add_(1)
        table[0] = table[1] * 2
        noise = hb.rand((3,))
        return hb.take(table, i, axis=0) + noise

    good, bad = hb.tensor(np.array([1, 4])), hb.tensor(np.array([1, 5]))
    for _ in range(4):
        f(good)
    replays = f.cache_info().replays
    assert replays >= 1, f.explain()
    for wrong in (bad, hb.tensor(np.array([-6, 0]))):
        before = [table.numpy().copy(), int(count), norm(hb.random.get_state())]
        with pytest.raises(IndexError, match="test_pitfalls_random.py"):
            f(wrong)
        assert np.array_equal(before[0], table.numpy()) and before[1] == int(count)
        assert str(before[2]) == str(norm(hb.random.get_state()))
    f(good)
    assert f.cache_info().replays == replays + 1 and int(count) == 5


def test_nan_origin_inside_a_decorated_function() -> None:
    f = hb.function(lambda x: (hb.log(x) * 0).sum())
    x = hb.tensor([1.0, -1.0])
    for _ in range(4):
        f(x)
    with pytest.raises(hb.NanError, match=r"log made 1 bad(.|\n)*test_pitfalls_random.py"):
        with hb.detect_nan():
            f(x)
    assert np.isnan(float(f(x)))
    assert [i.op for i in hb.intermediates(f, x)][:2] == ["log", "multiply"]


def test_shape_errors_name_the_line_and_leave_the_function_usable() -> None:
    f = hb.function(lambda x, y: (x @ y).sum())
    for _ in range(4):
        f(hb.ones((2, 3)), hb.ones((3, 2)))
    for _ in range(3):
        with pytest.raises(hb.ShapeError):
            f(hb.ones((2, 3)), hb.ones((2, 3)))
    assert float(f(hb.ones((2, 3)), hb.ones((3, 2)))) == 12.0
