"""@function on training steps: optimizers, schedules, hooks, accumulation, gradients taken later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training_harness import DATA, Net, both, state, trainer

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid import random as rnd
from hybrid.core.errors import HybridError
from hybrid.decorator import function


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


def test_a_gradient_may_be_an_argument_too() -> None:
    """A captured tensor is not looked for in the gradient that an argument is."""
    leaf, box = hb.ones(2, requires_grad=True), hb.zeros(2)
    leaf.grad = hb.tensor([1.0, 2.0])
    held = {"sum": box}

    @function
    def step(gradient: Any) -> Any:
        scaled = leaf.grad * 1.0
        held["sum"] = held["sum"] + scaled
        return scaled + gradient

    assert [step(leaf.grad).tolist() for _ in range(6)] == [[2.0, 4.0]] * 6
    assert held["sum"].tolist() == [6.0, 12.0] and step.cache_info().replays == 3
