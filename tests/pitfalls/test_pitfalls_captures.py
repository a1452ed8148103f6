"""Pitfalls of tracing: values the function reads and does not get as arguments (P10 to P23)."""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, check, flat, mlp, t, train_step

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim

SCALE: Any = 1.0
WEIGHT: Any = None


def set_global(**kw: Any) -> None:
    globals().update(kw)


@pytest.mark.parametrize("new", [3.0, 1, True, -0.0, np.float64(1.0), float("nan"), [2.0]])
def test_p10_global_scalar(new: Any) -> None:
    def program(jit: Any) -> Any:
        set_global(SCALE=1.0)
        f = jit(lambda x: x * (SCALE if isinstance(SCALE, (int, float)) else SCALE[0]))
        out = [f(t()) for _ in range(4)]
        set_global(SCALE=new)
        out += [f(t()) for _ in range(4)]
        set_global(SCALE=1.0)
        return out + [f(t()) for _ in range(2)]

    check(program, replays=4)


def test_p10_global_in_a_dict_list_and_attribute_changes() -> None:
    def program(jit: Any) -> Any:
        cfg, items, obj = {"k": 1.0}, [1.0, 2.0], types.SimpleNamespace(k=1.0, deep={"z": [1.0]})
        f, out = jit(lambda x: x * cfg["k"] + items[1] * obj.k + obj.deep["z"][0]), []
        for change in (
            lambda: cfg.update(k=2.0),
            lambda: items.__setitem__(1, 5.0),
            lambda: setattr(obj, "k", 7.0),
            lambda: obj.deep["z"].__setitem__(0, 9.0),
            lambda: items.insert(0, 0.5),
            lambda: cfg.clear() or cfg.update(k=1.5),
            lambda: obj.deep.update(z=[4.0]),
        ):
            out += [f(t()) for _ in range(4)]
            change()
        return out + [f(t())]

    check(program, replays=8)


def test_p11_late_binding_closure_cell() -> None:
    def program(jit: Any) -> Any:
        fs = []
        for k in range(3):
            fs.append(jit(lambda x: x + k))
        out = [f(t()) for f in fs for _ in range(4)]
        k = 7
        return out + [f(t()) for f in fs for _ in range(3)]

    check(program, replays=6)


def test_p11_cell_that_is_deleted_and_set_again() -> None:
    def program(jit: Any) -> Any:
        k = 2.0
        f = jit(lambda x: x * k)
        out: list[Any] = [f(t()) for _ in range(4)]
        del k
        for _ in range(2):
            try:
                f(t())
            except NameError as e:
                out.append(type(e).__name__)
        k = 3.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


def test_p12_attribute_flag_on_a_passed_object() -> None:
    def program(jit: Any) -> Any:
        cfg = types.SimpleNamespace(use_bias=True)
        f = jit(lambda cfg, x: x + 1 if cfg.use_bias else x)
        out = []
        for k in range(12):
            cfg.use_bias = k // 3 % 2 == 0
            out.append(f(cfg, t()))
        return out

    check(program, replays=5)


def test_p13_captured_tensor_rebound_and_updated_in_place() -> None:
    def program(jit: Any) -> Any:
        set_global(WEIGHT=t(np.ones(7)))
        f, out = jit(lambda x: x * WEIGHT), []
        for k in range(12):
            out.append(f(t()))
            if k % 3 == 0:
                WEIGHT.fill_(k + 2.0)
            elif k % 3 == 1:
                set_global(WEIGHT=t(A + k))
            else:
                WEIGHT[1:3] = 9.0
        return out

    check(program, replays=8)


def test_p13_captured_tensor_changes_shape_dtype_and_gradient() -> None:
    def program(jit: Any) -> Any:
        w = t()
        f, out = jit(lambda x: x * w), []
        for new in (
            t(2.0),
            hb.tensor(A.astype(np.float64)),
            hb.tensor(np.arange(7)),
            t(requires_grad=True),
            t(A[None].repeat(2, 0)),
            t(),
        ):
            out += [f(t()) for _ in range(3)]
            w = new
        out += [f(t()) for _ in range(3)]
        return [*out, *[[str(y.dtype), y.requires_grad] for y in out]]

    check(program, replays=7)


def test_p14_numpy_array_captured_then_mutated() -> None:
    def program(jit: Any) -> Any:
        mask, deep = np.ones(7, np.float32), [np.ones(7, np.float32)]
        f, out = jit(lambda x: x * mask + deep[0] * hb.tensor(mask)), []
        for k in range(8):
            out += [f(t()), f(t())]
            if k % 2:
                mask[k - 1] = 0.0
            else:
                deep[0][k] = 5.0
        return out

    check(program)


def test_p14_numpy_array_argument_mutated_in_place() -> None:
    def program(jit: Any) -> Any:
        f, out = jit(lambda x, m: x * m), []
        small, big = np.ones(7, np.float32), np.ones((2000, 7), np.float32)
        for k in range(10):
            out += [f(t(), small), f(t(), big), f(t(), small[::-1])]
            if k % 3 == 2:
                small[k % 7] += 1
                big[k] = k
        return out

    check(program)


def test_p15_train_eval_switch() -> None:
    def program(jit: Any) -> Any:
        net = mlp(p=0.5)
        f, out = jit(lambda x: net(x).detach()), []
        for k in range(24):
            if k % 4 == 0:
                net.train(k % 8 == 0)
            out.append(f(t()))
        net.drop.training = True  # one layer only
        return out + [f(t()) for _ in range(4)] + [net.last.training]

    assert check(program, replays=20).records <= 6


def test_p15_dropout_rate_changes() -> None:
    def program(jit: Any) -> Any:
        net = mlp(p=0.5)
        f, out = jit(lambda x: net(x).detach()), []
        for p in (0.5, 0.1, 0.0, 0.9):
            net.drop.p = p
            out += [f(t()) for _ in range(4)]
        return out

    check(program, replays=4)


@pytest.mark.parametrize("how", ["lr", "group", "assign", "tensor", "fill"])
def test_p16_learning_rate_schedule(how: str) -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        step, out = jit(train_step(net, opt)), []
        for k in range(10):
            out.append(step(t(A[:, None].repeat(7, 1) * 0.1 + k)))
            lr = 0.1 * 0.99**k
            if how == "lr":
                opt.lr = lr
            elif how == "group":
                opt.param_groups[0]["lr"] = lr
            elif how == "assign":
                opt.param_groups[0]["lr"].assign(lr)
            elif how == "tensor":
                opt.lr = hb.tensor(lr)
            else:
                opt.lr.fill_(lr)
        return out + flat(net) + [opt.lr]

    assert check(program, replays=7).records <= 3


def test_p16_weight_decay_momentum_and_betas_change() -> None:
    def program(jit: Any) -> Any:
        net, out = mlp(), []
        opt = optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
        step = jit(train_step(net, opt))
        names = [n for n, v in opt.param_groups[0].items() if isinstance(v, hb.Tensor)]
        for k in range(12):
            out.append(step(t(A[:, None].repeat(7, 1) * 0.1 + k)))
            if k % 4 == 3:
                for n in names:
                    opt.param_groups[0][n] = float(opt.param_groups[0][n]) * 0.9
        return out + flat(net) + names

    assert check(program, replays=8).records <= 3


def test_p17_adam_step_count() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        opt = optim.Adam(net.parameters(), lr=0.01)
        step = jit(train_step(net, opt))
        out = [step(t(A[:, None].repeat(7, 1) * 0.1 + k % 5)) for k in range(60)]
        state = opt.state_dict()
        return out + flat(net) + [state[n] for n in sorted(state)]

    check(program, replays=56)


def test_p17_own_optimizer_with_a_python_step_count() -> None:
    def program(jit: Any) -> Any:
        class Own:
            t = 0

        own, w, m = Own(), t(), t(np.zeros(7))

        @jit
        def step(g: Any) -> Any:
            nonlocal w, m
            own.t += 1
            m = m * 0.9 + g * 0.1
            w = w - 0.1 * m / (1 - 0.9**own.t)
            return w

        return [step(t(A * 0 + k)) for k in range(14)] + [own.t, w, m]

    check(program, says="t")


def test_p18_lazily_created_state() -> None:
    def program(jit: Any) -> Any:
        state: dict[str, Any] = {}

        @jit
        def step(name: str, g: Any) -> Any:
            if name not in state:
                state[name] = hb.zeros_like(g)
            state[name] = 0.9 * state[name] + g
            return state[name]

        out = [step(n, t(A + k)) for k in range(8) for n in ("a", "b")]
        del state["a"]
        return out + [step(n, t(A + k)) for k in range(6) for n in ("a", "b")] + [state]

    check(program, replays=10)


def test_p18_two_optimizers_through_one_function() -> None:
    def program(jit: Any) -> Any:
        nets = [mlp(0), mlp(1)]
        opts = [optim.Adam(n.parameters(), lr=0.01) for n in nets]
        step = jit(lambda net, opt, x: train_step(net, opt)(x))
        out = [step(nets[k % 2], opts[k % 2], t(A[:, None].repeat(7, 1) + k)) for k in range(12)]
        return out + flat(nets[0]) + flat(nets[1])

    check(program)


def test_p19_mutable_default_argument() -> None:
    def program(jit: Any) -> Any:
        def f(x: Any, cache: dict[str, Any] = {}, *, log: list[int] = []) -> Any:  # noqa: B006
            if "w" not in cache:
                cache["w"] = hb.rand((7,))
            if len(log) < 3:
                log.append(len(log))
            return x * cache["w"] + len(log)

        g = jit(f)
        out = [g(t()) for _ in range(10)]
        f.__defaults__[0]["w"] = t()  # type: ignore[index]
        out += [g(t()) for _ in range(4)]
        f.__defaults__ = ({"w": t(A * 2)},)
        f.__kwdefaults__ = {"log": []}
        return out + [g(t()) for _ in range(8)] + [f.__kwdefaults__["log"]]

    check(program)


def test_p20_object_argument_mutated() -> None:
    def program(jit: Any) -> Any:
        class Cfg:
            def __init__(self, k: float) -> None:
                self.k, self.nested = k, {"z": [k]}

            def __eq__(self, other: Any) -> bool:
                return True

            def __hash__(self) -> int:
                return 1

        f, c, out = jit(lambda cfg, x: x * cfg.k + cfg.nested["z"][0]), Cfg(2.0), []
        for k in range(9):
            out.append(f(c, t()))
            if k == 4:
                c.k = 9.0
            if k == 6:
                c.nested["z"][0] = 3.0
        return out + [f(Cfg(5.0), t()) for _ in range(4)]

    check(program, replays=3)


def test_p21_model_structure_edited() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        f, out = jit(lambda x: net(x)), []

        def rounds() -> None:
            for _ in range(3):
                y = f(t())
                out.extend([y.detach(), y.requires_grad])

        rounds()
        net.last = nn.Linear(5, 2)
        rounds()
        net.first.weight.requires_grad = False
        rounds()
        net.first.bias = None
        rounds()
        net.__dict__["last"] = nn.Linear(5, 4)  # past __setattr__
        rounds()
        object.__setattr__(net.last, "weight", t(np.ones((4, 5))))
        rounds()
        net.extra = nn.Linear(3, 3)
        rounds()
        del net.drop
        net.drop = nn.Tanh()
        rounds()
        net.requires_grad_(False)
        rounds()
        return out

    check(program, replays=6)


def test_p21_method_patched_after_recording() -> None:
    def program(jit: Any) -> Any:
        class Own(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lin = nn.Linear(7, 3)

            def act(self, x: Any) -> Any:
                return x.relu()

            def forward(self, x: Any) -> Any:
                return self.act(self.lin(x))

        hb.manual_seed(0)
        net = Own()
        f = jit(lambda x: net(x).detach())
        out = [f(t()) for _ in range(4)]
        net.act = lambda x: x.tanh()  # on the instance
        out += [f(t()) for _ in range(4)]
        del net.act
        Own.act = lambda self, x: x.sigmoid()  # type: ignore[method-assign]
        out += [f(t()) for _ in range(4)]
        Own.forward = lambda self, x: x * 2  # type: ignore[method-assign]
        out += [f(t()) for _ in range(4)]
        net.__class__ = type("Other", (Own,), {"forward": lambda self, x: x * 3})
        return out + [f(t()) for _ in range(4)]

    check(program, replays=8)


class Bound:
    """Attributes that Python finds on the class unless the instance has its own."""

    scale = 2.0

    def __call__(self, x: Any) -> Any:
        return x * 2

    @staticmethod
    def act(x: Any) -> Any:
        return x * 3

    @classmethod
    def shift(cls, x: Any) -> Any:
        return x + 1

    @property
    def factor(self) -> float:
        return 4.0


class Rebound(Bound):
    def __call__(self, x: Any) -> Any:
        return x * 5

    @property
    def factor(self) -> float:
        return 7.0


class Lookup:
    def __get__(self, o: Any, kind: Any = None) -> float:
        return 2.0


@pytest.mark.parametrize("name", ["act", "shift", "wrapped"])
def test_p21_instance_attribute_hides_the_one_of_its_class(name: str) -> None:
    def program(jit: Any) -> Any:
        kind = type("Kind", (Bound,), {"wrapped": jit(lambda self, x: x * self.scale)})
        o = kind()
        f = jit(lambda x: getattr(o, name)(x) + 1)
        g = jit(lambda x: o.act(o.shift(o.wrapped(x))))
        out = [(f(t()), g(t())) for _ in range(4)]
        setattr(o, name, lambda x: x - 6)
        out += [(f(t()), g(t())) for _ in range(4)]
        delattr(o, name)
        return out + [(f(t()), g(t())) for _ in range(4)]

    check(program)


def test_p21_instance_attribute_hides_a_descriptor_in_python() -> None:
    def program(jit: Any) -> Any:
        o = type("Kind", (), {"k": Lookup()})()
        f = jit(lambda x: x * o.k)
        out = [f(t()) for _ in range(4)]
        o.__dict__["k"] = 5.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


@pytest.mark.parametrize("use", [lambda o, x: o(x), lambda o, x: x * o.factor])
def test_p21_object_gets_another_class(use: Any) -> None:
    def program(jit: Any) -> Any:
        o = Bound()
        f = jit(lambda x: use(o, x))
        out = [f(t()) for _ in range(4)]
        o.__class__ = Rebound
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


def test_p19_keyword_default_changes_in_place() -> None:
    def program(jit: Any) -> Any:
        def inner(x: Any, *, k: float = 2.0) -> Any:
            return x * k

        f = jit(lambda x: inner(x))
        out = [f(t()) for _ in range(4)]
        inner.__kwdefaults__["k"] = 6.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


def test_p10_dict_behind_a_partial_or_a_bound_method_changes() -> None:
    def program(jit: Any) -> Any:
        scaled = functools.partial(lambda x, k: x * k, k=2.0)
        cfg = {"k": 3.0}
        get, size = cfg.get, cfg.__len__
        f = jit(lambda x: scaled(x) + get("k") * size())
        out = [f(t()) for _ in range(4)]
        scaled.keywords["k"] = 5.0
        out += [f(t()) for _ in range(4)]
        cfg["k"] = 7.0
        out += [f(t()) for _ in range(4)]
        cfg["z"] = 1.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=4)


@pytest.mark.parametrize("place", ["instance", "class", "base"])
@pytest.mark.parametrize("name", ["zero_grad", "update"])
def test_p21_method_of_an_optimizer_is_replaced(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(jit: Any) -> Any:
        hb.manual_seed(0)
        net = nn.Linear(7, 3)
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.5)

        @jit
        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            opt.step()
            return loss

        out = [step(t()) for _ in range(4)]
        where = {"instance": opt, "class": optim.SGD, "base": optim.Optimizer}[place]
        with monkeypatch.context() as m:
            m.setattr(where, name, lambda *a: None, raising=False)
            out += [step(t()) for _ in range(4)]
        return out + [step(t()) for _ in range(4)] + list(net.parameters())

    check(program)


def test_p21_list_and_dict_of_modules_change() -> None:
    def program(jit: Any) -> Any:
        hb.manual_seed(0)
        layers, named = nn.ModuleList([nn.Linear(7, 7) for _ in range(2)]), {"act": nn.Tanh()}
        plain = [nn.Linear(7, 7)]

        @jit
        def f(x: Any) -> Any:
            for layer in [*layers, *plain]:
                x = named["act"](layer(x))
            return x.detach()

        out = []
        for change in (
            lambda: layers.append(nn.Linear(7, 7)),
            lambda: plain.append(layers[0]),
            lambda: named.update(act=nn.ReLU()),
            lambda: plain.pop(0),
            lambda: layers.__setitem__(0, nn.Linear(7, 7)),
            lambda: None,
        ):
            out += [f(t()) for _ in range(3)]
            change()
        return out

    check(program, replays=5)


def test_p22_ambient_modes() -> None:
    def program(jit: Any) -> Any:
        w = t(requires_grad=True)
        f, out = jit(lambda x: x * w), []
        for k in range(16):
            with hb.set_grad_enabled(k % 3 != 0):
                y = f(t())
            out += [y.detach(), y.requires_grad]
        return out

    check(program, replays=8)


def test_p22_no_grad_inside_and_mode_left_changed() -> None:
    def program(jit: Any) -> Any:
        w = t(requires_grad=True)

        @jit
        def f(x: Any) -> Any:
            with hb.no_grad():
                k = (x * w).sum()
            return x * w * k

        @jit
        def leaves(x: Any) -> Any:
            hb.set_grad_enabled(False)
            return x * w

        out: list[Any] = []
        for _ in range(6):
            y = f(t())
            y.sum().backward()
            out += [y.detach(), w.grad]
        for _ in range(5):
            y = leaves(t())
            out += [y.detach(), y.requires_grad, (t() * w).requires_grad]
            hb.set_grad_enabled(True)
        return out

    try:
        check(program)
    finally:
        hb.set_grad_enabled(True)


def test_p23_helper_redefined() -> None:
    space: dict[str, Any] = {"hb": hb}
    exec("def act(x): return hb.relu(x)\ndef f(x): return act(x) + 1", space)

    def program(jit: Any) -> Any:
        exec("def act(x): return hb.relu(x)", space)
        f = jit(space["f"])
        out = [f(t()) for _ in range(4)]
        exec("def act(x): return hb.tanh(x)", space)  # the notebook cell again
        out += [f(t()) for _ in range(4)]
        space["act"].__code__ = (lambda x: x * 3).__code__
        out += [f(t()) for _ in range(4)]
        space["act"] = hb.exp
        return out + [f(t()) for _ in range(4)]

    check(program, replays=5)


def test_p23_decorated_helper_redefined() -> None:
    def program(jit: Any) -> Any:
        inner = jit(lambda x: x * 2)
        outer, out = jit(lambda x: inner(x) + 1), []
        out += [outer(t()) for _ in range(4)]
        inner = jit(lambda x: x * 5)
        return out + [outer(t()) for _ in range(4)] + [inner(t()) for _ in range(4)]

    check(program, replays=4)
