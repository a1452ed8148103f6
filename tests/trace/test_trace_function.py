"""@function on the code people write: state, modes, threads, aliases, errors, refusals."""

from __future__ import annotations

import gc
import os
import threading
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
from adversary.common import norm, same
from training_harness import DATA, Net, both, trainer

import hybrid as hb
import hybrid.optim as optim
from hybrid.core.errors import HybridError, UnsupportedError
from hybrid.decorator import RunsEagerly, function

pytestmark = pytest.mark.usefixtures("whole_calls")


def test_results_are_fresh_and_views_stay_views() -> None:
    f = function(lambda x: (x + 1, x.reshape(-1)))
    x = hb.tensor(DATA[0])
    outs = [f(x) for _ in range(5)]
    assert f.cache_info().replays == 3
    assert outs[-1][0] is not outs[-2][0] and outs[-1][0]._v is not outs[-2][0]._v
    outs[-1][1][0] = 1.0
    assert float(x[0, 0]) == 1.0 and all(float(o[1][0]) == 1.0 for o in outs)


def test_exception_in_recording_and_in_replay() -> None:
    table = hb.tensor(DATA[0])

    @function
    def f(i: Any) -> Any:
        nonlocal table
        table += 1
        return hb.take(table, i, axis=0)

    good, bad = hb.tensor(np.array([0, 1])), hb.tensor(np.array([0, 9]))
    with pytest.raises(IndexError):
        f(bad)
    for _ in range(4):
        f(good)
    assert f.cache_info().replays >= 1, f.explain()
    before = table.numpy().copy()
    with pytest.raises(IndexError):
        f(bad)
    assert np.array_equal(table.numpy(), before)
    assert f(good).shape == (2, 8)


def test_defaults_keywords_methods_nesting() -> None:
    class M:
        k = 2.0

        @function
        def go(self, x: Any, scale: float = 3.0, *, bias: Any = 1.0) -> Any:
            return self.inner(x) * scale + bias * self.k

        @function
        def inner(self, x: Any) -> Any:
            return x * x

    m, x = M(), hb.tensor(DATA[0])
    want = (x * x * 3.0 + 2.0).numpy()
    for _ in range(3):
        assert np.array_equal(m.go(x).numpy(), want)
        assert np.array_equal(m.go(x, 3.0, bias=1.0).numpy(), want)
        assert np.array_equal(m.go(x, scale=3.0).numpy(), want)
    assert M.go.cache_info()[:2] == (7, 2)
    assert np.array_equal(m.go(x, bias=2.0).numpy(), (x * x * 3.0 + 4.0).numpy())
    with pytest.raises(TypeError):
        m.go()


def test_mode_and_requires_grad_are_in_the_signature() -> None:
    w = hb.tensor(DATA[0], requires_grad=True)
    f = function(lambda x: x * w)
    x = hb.tensor(DATA[1])
    for _ in range(4):
        assert f(x).requires_grad
        with hb.no_grad():
            assert not f(x).requires_grad
    assert f.cache_info().replays == 4


@pytest.mark.parametrize(
    "body, word",
    [
        (lambda x: x * len(str(float(x.sum()))), "float"),
        (lambda x: (os.times(), x + 1)[1], "times"),
        (lambda x: x * len(str(x.sum().item())), "item"),
    ],
)
def test_what_cannot_be_replayed_runs_and_says_why_once(body: Any, word: str, capsys: Any) -> None:
    f, x = function(body), hb.tensor(DATA[0])
    with pytest.warns(RunsEagerly, match=word) as caught:
        for _ in range(4):
            assert np.array_equal(f(x).numpy(), body(x).numpy())
    assert len(caught) == 1 and "test_trace_function.py" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert f.cache_info().replays == 0 and word in f.explain()


def test_foreign_hooks_are_respected() -> None:
    import sys

    f, x, calls = function(lambda x: x + 1), hb.tensor(DATA[0]), []

    def profiler(frame: Any, event: str, arg: Any) -> None:
        calls.append(event)

    sys.setprofile(profiler)
    try:
        with pytest.warns(RunsEagerly, match="profiler"):
            f(x)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert calls and f.cache_info().records == 0
    for _ in range(4):
        f(x)
    assert f.cache_info().replays == 2


def test_hooks_and_modes_are_given_back_after_an_error() -> None:
    import sys

    from hybrid.ir.door.bind import current_mode

    @function
    def f(x: Any) -> Any:
        raise ValueError("mine")

    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            f(hb.tensor(DATA[0]))
        assert (
            sys.getprofile() is None
            and sys.gettrace() is None
            and current_mode() is None
            and gc.isenabled()
        )


@pytest.mark.parametrize("warm", [False, True])
def test_threads(warm: bool) -> None:
    net = Net()
    f = function(lambda x: net(x).detach())
    xs = [hb.tensor(d) for d in DATA]
    want = [net(x).numpy() for x in xs]
    bad: list[Any] = []

    def work(k: int) -> None:
        for i in range(40):
            j = (i + k) % 8
            if not np.array_equal(f(xs[j]).numpy(), want[j]):
                bad.append(j)

    if warm:
        for _ in range(3):
            f(xs[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        ts = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in ts:
            t.start()
        for t in ts:
            t.join()
    assert not bad and f.cache_info().replays >= (160 if warm else 0)


def test_dropped_objects_free_their_plans() -> None:
    class Box:
        pass

    box = Box()
    box.w = hb.tensor(DATA[0])  # type: ignore[attr-defined]
    boxes = {"b": box}
    f = function(lambda x: x * boxes["b"].w)
    x = hb.tensor(DATA[1])
    for _ in range(4):
        f(x)
    assert f.cache_info().plans == 1
    gone = weakref.ref(box)
    boxes["b"] = Box()
    boxes["b"].w = hb.tensor(DATA[2])  # type: ignore[attr-defined]
    del box
    gc.collect()
    assert gone() is None and f.cache_info().plans == 0
    assert np.array_equal(f(x).numpy(), DATA[1] * DATA[2])


def test_object_arguments_do_not_outlive_their_owner() -> None:
    f, x = function(lambda net, x: net(x).detach()), hb.tensor(DATA[0])
    net = Net()
    for _ in range(4):
        f(net, x)
    assert f.cache_info().replays == 2
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None and f.cache_info().signatures == 0


def test_signatures_are_bounded() -> None:
    f = function(lambda x, n: x * float(n["k"]))
    with pytest.warns(RunsEagerly, match="signatures"):
        for n in range(80):
            given = {"k": str(n)}
            assert np.array_equal(f(hb.tensor(DATA[0]), given).numpy(), DATA[0] * np.float32(n))
    assert f.cache_info().signatures <= 64


def test_graph_explain_and_refusals() -> None:
    f, x = function(lambda x: x * 2 + x), hb.tensor(DATA[0])
    with pytest.raises(HybridError, match="at least twice"):
        f.graph(x)
    for _ in range(3):
        f(x)
    assert [n.op.name for n in f.graph(x).nodes] == ["multiply", "add"]
    assert "test_trace_function.py" in str(f.graph(x).nodes[0].site)
    assert "2 operations" in f.explain()
    with pytest.raises(UnsupportedError):
        function(lambda x: x, fast_math=True)


def test_same_tensor_twice_and_aliases() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(a: Any, b: Any) -> Any:
            a += 1
            return a * b, a

        out: list[Any] = []
        for k in range(12):
            x, y = hb.tensor(DATA[0]), hb.tensor(DATA[1])
            r = f(x, x if k % 3 == 0 else y)
            out += [r, r[1] is x, x]
        return out

    both(program, replays=6)


@pytest.mark.parametrize(
    "value", [np.float32(np.nan), np.float32(-0.0), np.float32(np.inf), np.float32(1e-45)]
)
def test_special_values_empty_and_scalars(value: Any) -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x, k: (x * k + x[..., :1].sum()) / x)
        xs = [np.full(s, value, "f4") for s in ((), (1,), (0,), (17,))]
        xs = [x for x in xs if x.ndim] + [np.full((3, 5), value, "f4")[:, ::2]]
        return [f(hb.tensor(x), -0.0) for _ in range(4) for x in xs]

    both(program, replays=6)


def test_errors_that_the_function_handles() -> None:
    table = hb.tensor(DATA[0])

    def program(jit: Any) -> Any:
        @jit
        def f(i: Any) -> Any:
            try:
                return hb.take(table, i, axis=0) * 2
            except IndexError:
                return table

        order = [0, 1, 0, 9, 1, 9, 0, 0, 1]
        return [f(hb.tensor(np.array([k, 0]))) for k in order]

    both(program, replays=2)
    both(
        lambda jit: [
            (lambda f: [f(hb.tensor(np.array([9]))) for _ in range(4)])(
                jit(lambda i: catching(table, i))
            )
        ]
    )


def catching(table: Any, i: Any) -> Any:
    try:
        return hb.take(table, i, axis=0)
    except IndexError:
        return table * 3


def test_argument_stored_in_python_state() -> None:
    def program(jit: Any) -> Any:
        box = {"last": hb.tensor(DATA[0]), "prev": hb.tensor(DATA[1])}

        @jit
        def f(x: Any) -> Any:
            out = x + box["last"] * 2 - box["prev"]
            box["prev"] = box["last"]
            box["last"] = x
            return out

        out: list[Any] = []
        for k in range(12):
            x = hb.tensor(DATA[k % 8])
            out += [f(x), box["last"] is x, box["last"], box["prev"]]
        return out

    both(program, replays=6)


def test_plans_that_never_serve_are_given_up() -> None:
    box: dict[str, Any] = {"k": 0}
    f, x = function(lambda x: x * len(box["k"])), hb.tensor(DATA[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for i in range(40):
            # every second call is new, and the first repeat is only recorded
            box["k"] = [i] * (i // 2)
            assert np.array_equal(f(x).numpy(), DATA[0] * np.float32(i // 2))
    assert f.cache_info().records < 20


def test_numbers_read_on_the_way_out() -> None:
    def program(jit: Any) -> Any:
        net, opt, _ = trainer(jit, optim.SGD, lr=0.1)

        @jit
        def item(x: Any) -> Any:
            opt.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            opt.step()
            return loss.item()

        @jit
        def several(x: Any) -> Any:
            y = net(x).detach()
            top = float(y.max())
            return {"top": top, "low": y.min().item(), "n": 3}, (y.numpy(), y[0].tolist(), y)

        xs = [hb.tensor(d) for d in DATA]
        return [item(x) for x in xs] + [list(a.values()) + list(b) for a, b in map(several, xs)]

    made: list[Any] = []

    def jit(f: Any) -> Any:
        made.append(function(f))
        return made[-1]

    want, got = program(lambda f: f), program(jit)
    assert same(norm(want[8:]), norm(want[8:])) and len(got) == len(want)
    both(lambda jit: program(jit))
    assert [f.cache_info().replays > 0 for f in made[1:]] == [True, True], [
        f.explain() for f in made[1:]
    ]


@pytest.mark.parametrize(
    "body",
    [
        lambda x: (x.sum().item(), x * len(str(x.mean().item()))),
        lambda x: x.sum().item().imag,
        lambda x: {x.sum().item(): 1},
        lambda x: [len(str(float(x[i]))) for i in range(3)],
        lambda x: float(np.float64(x.sum().item())),
    ],
)
def test_numbers_that_python_may_look_at_are_not_replayed(body: Any) -> None:
    f = function(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for k in range(6):
            x = hb.tensor(DATA[k][0] * (-1) ** k)
            a, b = f(x), body(x)
            assert same(
                norm(a if not isinstance(a, dict) else list(a)),
                norm(b if not isinstance(b, dict) else list(b)),
            )
    assert f.cache_info().replays == 0
