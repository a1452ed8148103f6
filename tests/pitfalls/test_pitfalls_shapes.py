"""Pitfalls of tracing: shapes, dtypes, cache keys, call forms and lifetimes."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections import namedtuple
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from pitfall_harness import A, B, check, mlp, t, train_step

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim

Pair = namedtuple("Pair", "a b")


def test_last_partial_batch() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        step = jit(train_step(net, optim.SGD(net.parameters(), lr=0.1)))
        data = np.resize(A, (37, 7)) * 0.1
        out = []
        for _ in range(4):
            for i in range(0, 37, 8):
                out.append(step(t(data[i : i + 8])))
        return out

    assert check(program, replays=14).records <= 6


def test_many_lengths() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x: (x * 2).sum())
        return [f(t(np.resize(A, n % 40))) for n in range(80)]

    got = check(program)
    assert got.functions[0].cache_info().signatures <= 64


def test_many_lengths_that_python_does_not_see_are_one_plan() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x: (x * 2).sum())
        return [f(t(np.resize(A, n))) for n in range(70)]

    got = check(program)
    assert got.functions[0].cache_info().compilations <= 6


def test_too_many_signatures_say_so() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x, name: (x * len(name)).sum())
        return [f(t(np.resize(A, n)), f"length {n * 3}") for n in range(70)]

    check(program, says="signatures")


@pytest.mark.parametrize(
    "shapes",
    [
        [((1, 4), (3, 4)), ((3, 4), (3, 4)), ((3, 1), (3, 4)), ((3, 4), (1, 1))],
        [((4,), (4,)), ((4,), (1,)), ((0,), (1,)), ((), ()), ((), (4,)), ((0, 4), (4,))],
        [((2, 3), (2, 3)), ((3, 2), (3, 2)), ((6,), (6,)), ((1, 6), (6, 1))],
    ],
)
def test_sizes_zero_and_one_and_equal_sizes(shapes: Any) -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda a, b: (a * b + a, (a - b).sum(), (a + b).mean(axis=-1) if a.ndim else b))
        return [f(t(np.resize(A, p)), t(np.resize(A + 1, q))) for _ in range(5) for p, q in shapes]

    check(program, replays=3 * len(shapes))


def test_python_scalars_as_arguments() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x, k: x * k)
        g = jit(lambda x, n: sum(x * i for i in range(n)))
        out = [f(t(), k * 0.1) for k in range(20)] + [f(t(), k) for k in range(5)]
        return out + [g(t(), 1 + k % 3) for k in range(12)]

    check(program)


@pytest.mark.parametrize(
    "values",
    [
        (1, True, 1.0, 0, False, 0.0, -0.0),
        (float("nan"), float("inf"), -1.5),
        (np.float32(2), np.float64(2), np.int64(2), np.bool_(True), 2),
    ],
)
def test_numbers_that_are_equal_and_not_the_same(values: Any) -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x, k: (x * k, hb.tensor(k).dtype.name, type(k).__name__, x.sum() / (k + 1)))
        return [f(t(B), v) for _ in range(4) for v in values]

    # a recording of each type finds out that the numbers are looked at
    check(program, replays=2 * len(values) - 2)


def test_weak_types_and_first_iteration() -> None:
    def program(jit: Any) -> Any:
        f, out = jit(lambda s, i: s + i * 2), []
        for start in (0, 0.5, hb.tensor(1), hb.tensor(np.float32(1))):
            s: Any = start
            for i in range(6):
                s = f(s, i)
                out += [s, str(getattr(s, "dtype", type(s)))]
        return out

    check(program)


def test_dtype_drift() -> None:
    def program(jit: Any) -> Any:
        f, out = jit(lambda acc, b: acc + b * 2), []
        for dtype in ("int32", "float16", "float32", "float64", "int8", "uint8", "bool"):
            acc = hb.zeros((4,))
            for k in range(4):
                acc = f(acc, hb.tensor(np.array([0, 1, 1, 0]).astype(dtype)))
                out += [acc, acc.dtype.name]
        half = hb.tensor(A.astype(ml_dtypes.bfloat16))
        return out + [f(half, half).to("float32") for _ in range(4)]

    check(program, replays=13)  # a fourth size waits for its second call


def test_strides_views_offsets() -> None:
    def program(jit: Any) -> Any:
        big = t(np.resize(A, (6, 10)))
        f, out = jit(lambda x: (x * 2 + x.sum(axis=0), x.T)), []
        for i in range(9):
            out += [f(big[:, i : i + 2]), f(big[::-2, 1:3]), f(big.T[i % 4 : i % 4 + 2].T)]
        strided = hb.asarray(np.resize(A, (12, 4))[::2, ::-2])
        read_only = np.asfortranarray(np.resize(A, (6, 2)))
        read_only.flags.writeable = False
        return out + [f(strided) for _ in range(4)] + [f(hb.asarray(read_only)) for _ in range(4)]

    check(program, replays=20)


def test_functions_created_in_a_loop_are_freed() -> None:
    net = mlp()
    gone = []
    for k in range(12):

        def local(x: Any, k: int = k) -> Any:
            return net.first(x).detach() * k

        f = hb.function(local)
        for _ in range(3):
            f(t())
        assert f.cache_info().replays == 1
        gone += [
            weakref.ref(f),
            weakref.ref(local),
            weakref.ref(next(iter(f._signatures.values()))),
        ]
        del f, local
    gc.collect()
    assert [r() for r in gone] == [None] * len(gone)


def test_methods_of_instances_share_nothing_and_die() -> None:
    class Own:
        def __init__(self, k: float) -> None:
            self.w = t(A * k)

        @hb.function
        def go(self, x: Any) -> Any:
            return x * self.w

    one, two = Own(1), Own(2)
    for _ in range(5):
        assert np.array_equal(one.go(t()).numpy(), A * A)
        assert np.array_equal(two.go(t()).numpy(), A * (A * 2))
    assert Own.go.cache_info().replays == 6
    ref, weight = weakref.ref(one), weakref.ref(one.w)
    del one
    gc.collect()
    assert ref() is None and weight() is None
    assert np.array_equal(two.go(t()).numpy(), A * (A * 2))
    assert Own.go.cache_info().signatures == 1


def test_same_address_other_instance() -> None:
    class Own:
        def __init__(self, k: float) -> None:
            self.k = k

    f = hb.function(lambda o, x: x * o.k)
    for k in range(30):  # each one lands where the last one was
        o = Own(float(k))
        for _ in range(3):
            assert np.array_equal(f(o, t()).numpy(), A * np.float32(k))
        del o


def test_models_and_optimizers_die_with_their_step() -> None:
    gone = []
    for _ in range(3):
        net = mlp()
        opt = optim.Adam(net.parameters(), lr=0.1)
        step = hb.function(train_step(net, opt))
        for _ in range(4):
            step(t(A * 0.1))
        assert step.cache_info().replays >= 1
        gone += [weakref.ref(o) for o in (net, opt, step, net.first.weight, opt.lr)]
        del net, opt, step
    gc.collect()
    assert [r() for r in gone] == [None] * len(gone)


def test_replaced_model_is_freed_though_the_function_lives() -> None:
    box = {"net": mlp()}
    f = hb.function(lambda x: box["net"](x).detach())
    for k in range(4):
        for _ in range(3):
            f(t())
        old = weakref.ref(box["net"]), weakref.ref(box["net"].first.weight)
        box["net"] = mlp(k)
        gc.collect()
        assert [r() for r in old] == [None, None]
        assert f.cache_info().plans == 0


def test_call_forms() -> None:
    def program(jit: Any) -> Any:
        def f(a: Any, b: Any, flag: Any = True, /, *, scale: float = 1.0) -> Any:
            return (a - b) * (2 if flag is True else 3) * scale

        f = jit(f)
        g = jit(lambda d: d["x"] - d["y"] * len(list(d)[0]))
        h = jit(
            lambda xs: [x * 2 for x in xs] if isinstance(xs, list) else tuple(x + 1 for x in xs)
        )
        p, out = jit(lambda q: Pair(q.b, q.a * 2)), []
        for _ in range(4):
            a, b = t(), t(A * 3)
            out += [
                f(a, b),
                f(a, b, True),
                f(a, b, 1),
                f(a, b, False),
                f(a, b, scale=2.0),
                f(b, a, scale=1.0),
            ]
            out += [g({"x": a, "y": b}), g({"y": b, "x": a}), g({"xx": a, "x": b, "y": a})]
            out += [h([a, b]), h((a, b)), h([a]), h([]), h(())]
            r = p(Pair(a, b))
            out += [type(r) is Pair, r, r.a is b]
        return out

    check(program, replays=20)


def test_wrong_calls_raise_pythons_errors() -> None:
    def program(jit: Any) -> Any:
        def f(a: Any, *, k: int) -> Any:
            return a * k

        f, out = jit(f), []
        for args, kw in (
            ((t(),), {"k": 2}),
            ((), {"k": 2}),
            ((t(),), {}),
            ((t(), 2), {}),
            ((t(),), {"z": 1}),
        ):
            for _ in range(3):
                try:
                    out.append(f(*args, **kw))
                except TypeError as e:
                    out.append(str(e).split(".")[-1])
        return out

    check(program, replays=1)


def test_user_mappings_sets_and_bytes() -> None:
    class D(dict):  # type: ignore[type-arg]
        pass

    def program(jit: Any) -> Any:
        f, out = jit(lambda d, x: x * d["k"]), []
        d = D(k=2.0)
        for k in range(8):
            out += [f(d, t()), f(D(k=float(k)), t())]
            d["k"] += k % 2
        g, s = jit(lambda s, x: x * len(s) + (3 in s)), {1, 2}
        for k in range(8):
            out.append(g(s, t()))
            s.add(k // 3)
        b = bytearray(b"ab")
        h = jit(lambda b, x: x * b[0])
        for k in range(6):
            out.append(h(b, t()))
            b[0] += k % 2
        return out

    check(program)


def test_pickle_and_deepcopy_of_a_model_in_use() -> None:
    import copy

    def program(jit: Any) -> Any:
        net = mlp()
        f, out = jit(lambda m, x: m(x).detach()), []
        for _ in range(4):
            out.append(f(net, t()))
        twin, again = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
        twin.first.weight.assign(twin.first.weight * 2)
        for m in (twin, again, net) * 3:
            out.append(f(m, t()))
        return [*out, isinstance(twin.first, nn.Linear), twin.first.weight.requires_grad]

    check(program, replays=5)
