"""Pitfalls of tracing: gradients, their accumulation, and optimizer state between calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, check, flat, mlp, norm, t, train_step

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim


def batch(k: int = 0) -> Any:
    """An input of the model."""
    return t(np.resize(np.roll(A, k), (4, 7)) * 0.3)


def test_gradients_accumulate_over_calls() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        opt = optim.SGD(net.parameters(), lr=0.1)

        @jit
        def add(x: Any) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            return loss.detach()

        @jit
        def update() -> None:
            opt.step()
            opt.zero_grad()

        out: list[Any] = []
        for k in range(16):
            out += [add(batch(k)), norm(flat(net))]
            if k % 4 == 3:
                update()
                out += [[p.grad is None for p in net.parameters()], norm(flat(net))]
        return out

    check(program, replays=8)


def test_grads_read_and_edited_between_steps() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        opt = optim.SGD(net.parameters(), lr=0.1)

        @jit
        def backward(x: Any) -> Any:
            opt.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            return loss.detach()

        step, out, kept = jit(lambda: opt.step()), [], []
        for k in range(10):
            out.append(backward(batch(k)))
            kept.append(net.last.weight.grad)
            if k % 3 == 0:
                net.first.weight.grad = net.first.weight.grad * 0.5
            if k % 3 == 1:
                net.first.weight.grad.mul_(2.0)
            if k == 7:
                net.last.bias.grad = None
            step()
            out.append(norm(flat(net)))
        return out + kept

    check(program, replays=4)


def test_unused_parameters_and_set_to_zero() -> None:
    def program(jit: Any) -> Any:
        net, extra = mlp(), t(requires_grad=True)
        opt = optim.Adam([*net.parameters(), extra], lr=0.1)

        @jit
        def step(x: Any, zero: bool) -> Any:
            opt.zero_grad(set_to_none=not zero)
            loss = (net(x) ** 2).mean()
            loss.backward()
            opt.step()
            return loss.detach()

        out = []
        for k in range(14):
            out += [step(batch(k), k >= 7), extra.grad is None, norm(extra), norm(flat(net))]
            if k == 9:
                extra.grad = hb.ones((7,))
        return out

    check(program, replays=5)


def test_requires_grad_flips_between_calls() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        opt = optim.SGD(net.parameters(), lr=0.1)
        step, out = jit(train_step(net, opt)), []
        for k in range(15):
            if k % 5 == 4:
                net.first.weight.requires_grad_(k % 2 == 1)
            out += [step(batch(k)), norm(flat(net))]
        return out

    check(program, replays=5)


@pytest.mark.parametrize(
    "edit", ["update", "setitem", "param", "params_append", "state", "groups", "ior", "lr_group"]
)
def test_optimizer_edited_in_every_way(edit: str) -> None:
    def program(jit: Any) -> Any:
        net, extra = mlp(), t(requires_grad=True)
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        step, out = jit(train_step(net, opt)), []
        group = opt.param_groups[0]
        for k in range(12):
            if k == 5:
                if edit == "update":
                    group.update(lr=0.01)
                elif edit == "setitem":
                    group["lr"] = 0.01
                elif edit == "ior":
                    opt.param_groups[0] |= {"lr": 0.01}
                elif edit == "param":
                    group["params"][0] = extra
                    opt.state[id(extra)] = {
                        n: hb.zeros_like(extra.detach()) for n in opt.state[id(net.first.weight)]
                    }
                elif edit == "params_append":
                    opt.add_param_group({"params": [extra]})
                elif edit == "state":
                    for p in net.parameters():
                        s = opt.state[id(p)]
                        for n in s:
                            s[n] = hb.ones(p.shape)
                elif edit == "groups":
                    opt.param_groups = [type(group)(group)]
                    opt.param_groups[0]["params"] = group["params"][:2]
                else:
                    opt.param_groups[0].setdefault("lr", 3.0)
                    opt.lr = opt.lr * 0.5
            out += [step(batch(k)), norm(flat(net))]
        return out

    check(program, replays=4)


def test_load_state_dict_between_calls() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        opt = optim.Adam(net.parameters(), lr=0.1)
        step, out = jit(train_step(net, opt)), []
        for k in range(14):
            if k == 4:
                saved = net.state_dict(), opt.state_dict()
            if k == 9:
                net.load_state_dict(saved[0])
                opt.load_state_dict(saved[1])
            out += [step(batch(k)), norm(flat(net))]
        return [*out, norm(saved[0]), norm(saved[1])]

    check(program, replays=9)


def test_running_statistics_and_shared_weights() -> None:
    def program(jit: Any) -> Any:
        class Stats(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("mean", hb.zeros((7,)))
                self.lin = nn.Linear(7, 7)
                self.tied = self.lin

            def forward(self, x: Any) -> Any:
                if self.training:
                    with hb.no_grad():
                        self.mean.mul_(0.9).add_(x.mean(axis=0) * 0.1)
                return self.tied(self.lin(x - self.mean))

        hb.manual_seed(0)
        net = Stats()
        step, out = jit(train_step(net, optim.SGD(net.parameters(), lr=0.1))), []
        for k in range(12):
            net.train(k % 6 < 4)
            out += [step(batch(k)), norm(net.mean), norm(flat(net))]
        return [*out, len(list(net.parameters()))]

    check(program, replays=6)


def test_one_backward_through_several_replays() -> None:
    def program(jit: Any) -> Any:
        net, w = mlp(), t(A * 0.5, requires_grad=True)
        f, g = jit(lambda x: net(x)), jit(lambda x: (x * w, (x * w + w).sum()))
        out: list[Any] = []
        for k in range(6):
            (f(t()) * f(t(A * 2)) + net(t(A - k))).sum().backward()  # a weight with three uses
            x = t(A + k, requires_grad=True)
            a, s = g(g(x * w)[0] * w)
            (a.sum() * s + f(a).sum()).backward()
            out += [norm(flat(net)), norm(w.grad), norm(x.grad)]
            net.zero_grad()
            w.grad = None
            middle = g(x)[0]
            top = (f(middle) ** 2).sum() * g(middle)[1]
            first = hb.gradients(top, [middle, x, w], create_graph=True)
            second = hb.gradients(sum((v * v).sum() for v in first), [x, w])
            out += [norm(first), norm(second)]
            out += [norm(hb.value_and_grad(lambda y: (f(y) * g(y)[1]).sum())(t(A - k)))]
        return out

    check(program, replays=30)


def test_backward_inside_of_results_from_outside() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        f, out = jit(lambda x: net(x)), []

        @jit
        def finish(y: Any) -> Any:
            (y * y).sum().backward()
            return y.detach()

        for k in range(6):
            out += [norm(finish(f(t(A + k)))), norm(flat(net))]
            net.zero_grad()
        return out

    check(program, replays=3)


@pytest.mark.parametrize("how", ["capture", "argument", "both"])
def test_a_missing_gradient_that_appears_between_calls(how: str) -> None:
    def program(jit: Any) -> Any:
        w = hb.tensor(np.array([1.0, 2.0], "f4"), requires_grad=True)
        held = w if how != "argument" else hb.ones(2)

        @jit
        def f(x: Any) -> Any:
            y = x.detach() * held.detach()
            for p in (x, held):
                if p.grad is not None:
                    y = y + p.grad
            return y

        out: list[Any] = []
        for k in range(16):
            out.append(f(w if how != "capture" else hb.ones(2)))
            if k % 8 == 3:
                (w * w).sum().backward()
            elif k % 8 == 7:
                w.grad = None
        return out

    check(program, replays=4)


def test_a_gradient_that_two_places_hold_is_replaced_in_one() -> None:
    def program(jit: Any) -> Any:
        a, b = [hb.tensor(np.ones(2, "f4"), requires_grad=True) for _ in range(2)]
        kept = hb.ones(2)
        a.grad = b.grad = kept
        f = jit(lambda x: x * a.grad + b.grad * kept)
        out = [f(hb.ones(2)) for _ in range(4)]
        b.grad = hb.ones(2) * 3
        out += [f(hb.ones(2)) for _ in range(4)]
        a.grad = hb.ones(2) * 5
        return out + [f(hb.ones(2)) for _ in range(4)]

    check(program)
