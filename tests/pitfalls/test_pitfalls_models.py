"""Pitfalls of tracing: models, optimizers and classes that are edited between calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, check, flat, mlp, t, train_step

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim


def test_train_eval_switch() -> None:
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


def test_dropout_rate_changes() -> None:
    def program(jit: Any) -> Any:
        net = mlp(p=0.5)
        f, out = jit(lambda x: net(x).detach()), []
        for p in (0.5, 0.1, 0.0, 0.9):
            net.drop.p = p
            out += [f(t()) for _ in range(4)]
        return out

    check(program, replays=4)


@pytest.mark.parametrize("how", ["lr", "group", "assign", "tensor", "fill"])
def test_learning_rate_schedule(how: str) -> None:
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


def test_weight_decay_momentum_and_betas_change() -> None:
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


def test_adam_step_count() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        opt = optim.Adam(net.parameters(), lr=0.01)
        step = jit(train_step(net, opt))
        out = [step(t(A[:, None].repeat(7, 1) * 0.1 + k % 5)) for k in range(60)]
        state = opt.state_dict()
        return out + flat(net) + [state[n] for n in sorted(state)]

    check(program, replays=56)


def test_own_optimizer_with_a_python_step_count() -> None:
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

    check(program, replays=9)


def test_lazily_created_state() -> None:
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


def test_two_optimizers_through_one_function() -> None:
    def program(jit: Any) -> Any:
        nets = [mlp(0), mlp(1)]
        opts = [optim.Adam(n.parameters(), lr=0.01) for n in nets]
        step = jit(lambda net, opt, x: train_step(net, opt)(x))
        out = [step(nets[k % 2], opts[k % 2], t(A[:, None].repeat(7, 1) + k)) for k in range(12)]
        return out + flat(nets[0]) + flat(nets[1])

    check(program)


def test_model_structure_edited() -> None:
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


def test_method_patched_after_recording() -> None:
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
def test_instance_attribute_hides_the_one_of_its_class(name: str) -> None:
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


def test_instance_attribute_hides_a_descriptor_in_python() -> None:
    def program(jit: Any) -> Any:
        o = type("Kind", (), {"k": Lookup()})()
        f = jit(lambda x: x * o.k)
        out = [f(t()) for _ in range(4)]
        o.__dict__["k"] = 5.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


@pytest.mark.parametrize("use", [lambda o, x: o(x), lambda o, x: x * o.factor])
def test_object_gets_another_class(use: Any) -> None:
    def program(jit: Any) -> Any:
        o = Bound()
        f = jit(lambda x: use(o, x))
        out = [f(t()) for _ in range(4)]
        o.__class__ = Rebound
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


@pytest.mark.parametrize("place", ["instance", "class", "base"])
@pytest.mark.parametrize("name", ["zero_grad", "update"])
def test_method_of_an_optimizer_is_replaced(
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


def test_list_and_dict_of_modules_change() -> None:
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
