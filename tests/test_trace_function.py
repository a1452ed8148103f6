"""@function on the code people write: training steps, state, gradients, random numbers, schedules,
errors."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
from adversary.common import norm, same

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid.core.errors import HybridError, UnsupportedError
from hybrid.function import Function, RunsEagerly, function
from hybrid.ops import random as rnd

RNG = np.random.default_rng(0)
DATA = [RNG.standard_normal((4, 8)).astype("f4") for _ in range(8)]


def both(program: Any, replays: int | None = None) -> Function:
    """Run a program with plain Python and with @function; everything it returns must agree to the
    bit."""
    rnd.manual_seed(0)
    want = norm(program(lambda f: f))
    rnd.manual_seed(0)
    made: list[Function] = []

    def jit(f: Any) -> Function:
        made.append(function(f))
        return made[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        got = norm(program(jit))
    assert same(want, got)
    if replays is not None:
        assert made[0].cache_info().replays >= replays, made[0].explain()
    return made[0]


class Net(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.drop = nn.Dropout(dropout)
        self.scale = 2.0

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = self.drop(layer(x).relu()) * self.scale
        return x


def trainer(jit: Any, opt_class: Any = optim.Adam, **kw: Any) -> tuple[Any, Any, Any]:
    net = Net(kw.pop("dropout", 0.0))
    opt = opt_class(net.parameters(), **kw)

    @jit
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    return net, opt, step


def state(net: Any) -> list[Any]:
    return [p for p in net.parameters()] + [p.grad for p in net.parameters()]


@pytest.mark.parametrize("opt", [optim.SGD, optim.Adam, optim.AdamW])
def test_training_step(opt: Any) -> None:
    def program(jit: Any) -> Any:
        net, o, step = trainer(jit, opt, lr=0.01)
        out = [step(hb.tensor(DATA[k]), hb.tensor(DATA[-k])) for k in range(8)]
        return out + state(net)

    both(program, replays=4)


def test_dropout_draws_the_same_numbers() -> None:
    def program(jit: Any) -> Any:
        net, o, step = trainer(jit, lr=0.01, dropout=0.5)
        out = [step(hb.tensor(DATA[k]), hb.tensor(DATA[-k])) for k in range(8)]
        return out + state(net) + [rnd.rand(3)]

    both(program, replays=4)


def test_learning_rate_schedule_never_records_again() -> None:
    def program(jit: Any) -> Any:
        net, o, step = trainer(jit, lr=0.1)
        out = []
        for k in range(12):
            out.append(step(hb.tensor(DATA[k % 8]), hb.tensor(DATA[-k % 8])))
            o.lr = 0.1 * 0.9**k
        return out + state(net)

    assert both(program, replays=8).cache_info().records <= 4


def test_train_and_eval_keep_their_plans() -> None:
    def program(jit: Any) -> Any:
        net = Net(0.5)
        f = jit(lambda x: net(x).detach())
        out = []
        for k in range(20):
            net.train(k // 5 % 2 == 0)
            out.append(f(hb.tensor(DATA[0])))
        return out

    f = both(program, replays=16)
    assert f.cache_info().records == 4


def test_zero_grad_at_the_end_and_accumulation() -> None:
    def program(jit: Any) -> Any:
        net = Net()
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        @jit
        def end(x: Any) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        @jit
        def accumulate(x: Any) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            return loss

        out = [end(hb.tensor(d)) for d in DATA] + [p.grad is None for p in net.parameters()]
        return out + [accumulate(hb.tensor(d)) for d in DATA] + state(net)

    both(program, replays=4)


def test_structure_change_is_noticed() -> None:
    def program(jit: Any) -> Any:
        net = Net()
        f = jit(lambda x: net(x).detach())
        out = [f(hb.tensor(DATA[0])) for _ in range(4)]
        net.layers[1] = nn.Linear(8, 8)
        out += [f(hb.tensor(DATA[0])) for _ in range(4)]
        net.scale = 3.0
        out += [f(hb.tensor(DATA[0])) for _ in range(4)]
        net.layers[0].weight.assign(net.layers[0].weight * 2)
        out += [f(hb.tensor(DATA[0])) for _ in range(4)]
        net.layers.append(nn.Linear(8, 8))
        return out + [f(hb.tensor(DATA[0])) for _ in range(4)]

    both(program, replays=10)


def test_forward_hook_of_the_user() -> None:
    def program(jit: Any) -> Any:
        net, k = Net(), [2.0]
        net.layers[0].register_forward_hook(lambda m, args, out: out * k[0])
        f = jit(lambda x: net(x).detach())
        out = [f(hb.tensor(DATA[0])) for _ in range(4)]
        k[0] = 3.0
        return out + [f(hb.tensor(DATA[0])) for _ in range(4)]

    both(program, replays=4)


def test_stored_hidden_state_and_time_loop() -> None:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
            self.hidden = hb.zeros((4, 8))

        def forward(self, xs: Any) -> Any:
            h, outs = self.hidden, []
            for t in range(xs.shape[1]):
                h = (self.a(xs[:, t]) + self.b(h)).tanh()
                outs.append(h)
            self.hidden = h.detach()
            return hb.stack(outs, axis=1)

    def program(jit: Any) -> Any:
        cell = Cell()
        opt = optim.SGD(cell.parameters(), lr=0.1)

        @jit
        def step(xs: Any) -> Any:
            opt.zero_grad()
            loss = (cell(xs) ** 2).sum()
            loss.backward()
            opt.step()
            return loss.detach()

        out: list[Any] = []
        for k in range(6):
            out += [step(hb.tensor(np.stack(DATA[k : k + 3], 1))), cell.hidden]
        return out + state(cell)

    both(program, replays=3)


def test_value_and_grad_and_plain_sgd() -> None:
    def program(jit: Any) -> Any:
        params = {"w": hb.tensor(DATA[0][0]), "b": [hb.tensor(DATA[1][0]), hb.tensor(0.5)]}

        def loss(p: Any, x: Any) -> Any:
            return ((x * p["w"] + p["b"][0]) ** 2).mean() * p["b"][1]

        @jit
        def step(x: Any) -> Any:
            value, g = hb.value_and_grad(loss)(params, x)
            params["w"] -= 0.1 * g["w"]
            params["b"][0] = params["b"][0] - 0.1 * g["b"][0]
            return value

        return [step(hb.tensor(d)) for d in DATA] + [params["w"], params["b"]]

    both(program, replays=4)


def test_result_of_a_replay_can_be_differentiated() -> None:
    def program(jit: Any) -> Any:
        net = Net()
        w = hb.tensor(DATA[2][0], requires_grad=True)
        f = jit(lambda x: (net(x) * w, x + 1))
        out: list[Any] = []
        for k in range(5):
            x = hb.tensor(DATA[k], requires_grad=True)
            a, b = f(x)
            loss = (a * b).sum()
            loss.backward()
            out += [loss, x.grad, w.grad, a.requires_grad]
            w.grad = None
        x = hb.tensor(DATA[0], requires_grad=True)
        (g,) = hb.gradients((f(x)[0] ** 2).sum(), x, create_graph=True)
        return out + [g, hb.gradients((g * g).sum(), x)[0]] + state(net)

    both(program, replays=3)


def test_spent_result_says_so() -> None:
    net, opt, step = trainer(function, lr=0.1)
    losses = [step(hb.tensor(DATA[0]), hb.tensor(DATA[1])) for _ in range(5)]
    assert losses[-1].requires_grad
    with pytest.raises(HybridError, match="recorded function"):
        losses[-1].backward()


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
        (lambda x: x * float(x.sum()), "float"),
        (lambda x: x if x.sum() > 0 else -x, "branches"),
        (lambda x: (print("hello"), x + 1)[1], "print"),
        (lambda x: x * x.sum().item(), "item"),
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

    from hybrid.ir.bind import current_mode

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
    f = function(lambda x, n: x * n)
    with pytest.warns(RunsEagerly, match="signatures"):
        for n in range(80):
            assert np.array_equal(f(hb.tensor(DATA[0]), n).numpy(), DATA[0] * np.float32(n))
    assert f.cache_info().signatures == 64


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
    with pytest.raises(UnsupportedError):

        @function
        def gen(x: Any) -> Any:
            yield x


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
            box["k"] = [i] * (
                i // 2
            )  # every second call is new, and the first repeat is only recorded
            assert np.array_equal(f(x).numpy(), DATA[0] * np.float32(i // 2))
    assert f.cache_info().records < 20


def test_patching_a_layer_class_is_noticed(monkeypatch: Any) -> None:
    net = Net()
    f = function(lambda x: net(x).detach())
    x = hb.tensor(DATA[0])
    for _ in range(4):
        f(x)
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x * 3)
    want = net(x).numpy()
    for _ in range(4):
        assert np.array_equal(f(x).numpy(), want)


def test_parameter_list_of_an_optimizer_grows() -> None:
    def program(jit: Any) -> Any:
        net, o, step = trainer(jit, optim.SGD, lr=0.1)
        extra = hb.tensor(DATA[3][0], requires_grad=True)
        out = [step(hb.tensor(DATA[k]), hb.tensor(DATA[-k])) for k in range(4)]
        extra.grad = hb.ones_like(extra).detach()
        o.add_param_group({"params": [extra], "lr": 0.5})
        out += [step(hb.tensor(DATA[k]), hb.tensor(DATA[-k])) for k in range(4)]
        return out + state(net) + [extra]

    both(program, replays=2)


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
        lambda x: x.sum().item() + 1.0,
        lambda x: (x.sum().item(), x * x.mean().item()),
        lambda x: x.sum().item().imag,
        lambda x: 1.0 if x.sum().item() > 0 else 2.0,
        lambda x: f"{x.sum().item()}",
        lambda x: {x.sum().item(): 1},
        lambda x: [float(x[i]) for i in range(3)],
        lambda x: x.sum().item() or 7.0,
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
