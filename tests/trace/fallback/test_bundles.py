"""Backward passes and optimizer steps inside deferred calls: replayed whole, or run in Python, they
leave what the undecorated function leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from deferred_harness import Net, batch, deferred, seen, small

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
    pytest.mark.usefixtures("always"),
]
F = nn.functional
PROGRAMS: dict[str, tuple[Callable[[Any], Any], int]] = {}


def program(replays: int) -> Callable[[Any], Any]:
    """A program, given what decorates its function; how many of its calls of hybrid's are replayed
    at least (-1: none is)."""

    def enter(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
        PROGRAMS[body.__name__] = body, replays
        return body

    return enter


# ---- training steps
@program(replays=16)
def reads_its_loss(jit: Any) -> Any:
    net = small()
    opt = optim.Adam(net.parameters(), lr=0.01)

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss.item()

    labels = hb.tensor([0, 1, 2, 0, 1, 2])
    return [step(batch(k), labels) for k in range(10)], list(net.parameters()), opt.state_dict()


@program(replays=12)
def accumulates_and_forgets(jit: Any) -> Any:
    net = small(1)
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)

    @jit
    def step(x: Any, k: int) -> Any:
        loss = (net(x) ** 2).mean() / 2
        loss.backward()
        norm = net[0].weight.grad.abs().max().item()
        if k % 2:
            opt.step()
            opt.zero_grad(set_to_none=k % 3 == 0)
        return loss, norm

    return [step(batch(k), k) for k in range(14)], list(net.parameters()), opt.state_dict()


@program(replays=10)
def schedules(jit: Any) -> Any:
    net = small(1)
    opt = optim.AdamW(net.parameters(), lr=0.1)

    @jit
    def step(x: Any, k: int) -> Any:
        opt.lr = 0.1 / (k + 1)
        opt.param_groups[0]["beta1"] = 0.5 + k / 100
        opt.zero_grad()
        (net(x) ** 2).sum().backward()
        opt.step()
        return float(opt.lr)

    return [step(batch(k), k) for k in range(9)], list(net.parameters()), opt.state_dict()


@program(replays=8)
def dampening(jit: Any) -> Any:
    net = small(1)
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.5, dampening=0.5)

    @jit
    def step(x: Any) -> Any:
        opt.zero_grad()
        (net(x) ** 2).sum().backward()
        opt.step()
        return opt.param_groups[0]["_first"]

    return [step(batch(k)) for k in range(8)], list(net.parameters()), opt.state_dict()


@program(replays=6)
def groups_that_grow_and_freeze(jit: Any) -> Any:
    net, other = small(1), nn.Linear(4, 1)
    opt = optim.Adam(net.parameters(), lr=0.01)

    @jit
    def step(x: Any, k: int) -> Any:
        if k == 5:
            opt.add_param_group({"params": list(other.parameters()), "lr": 0.5})
        if k == 9:
            net[0].requires_grad_(False)
        if k == 12:
            opt.param_groups[1]["maximize"] = True
        if k == 15:
            opt.param_groups[0]["params"].pop()
        opt.zero_grad()
        ((net(x) + other(x)) ** 2).mean().backward()
        opt.step()
        return [p.grad is None for p in net.parameters()]

    everything = [*net.parameters(), *other.parameters()]
    return [step(batch(k), k) for k in range(19)], everything


@program(replays=10)
def views_of_parameters(jit: Any) -> Any:
    net = small(1)
    opt = optim.SGD(net.parameters(), lr=0.1)
    held = [net[0].weight.detach(), net[2].bias.data]

    @jit
    def step(x: Any, k: int) -> Any:
        row = net[0].weight.detach()[k % 3]
        opt.zero_grad()
        (net(x) ** 2).mean().backward()
        opt.step()
        return row.sum().item(), row, [h + 0 for h in held]

    return [step(batch(k), k) for k in range(9)], held, list(net.parameters())


@program(replays=-1)
def parameters_that_are_views(jit: Any) -> Any:
    flat = hb.tensor(np.linspace(-1, 1, 8).astype(np.float32))
    parts = [flat[:4].requires_grad_(), flat[4:].requires_grad_()]
    opt = optim.SGD(parts, lr=0.1)

    @jit
    def step(x: Any) -> Any:
        for part in parts:
            part.grad = None
        loss = ((x * parts[0]) ** 2).sum() + (x * parts[1]).sum()
        opt.zero_grad()
        loss.item()
        for part in parts:
            part.grad = part.detach() * 2
        opt.step()
        return flat.sum().item()

    return [step(batch(k)) for k in range(6)], flat, parts


@program(replays=8)
def half_precision(jit: Any) -> Any:
    net = small(1).to("bfloat16")
    opt = optim.Adam(net.parameters(), lr=0.01)

    @jit
    def step(x: Any) -> Any:
        opt.zero_grad()
        (net(x.astype("bfloat16")) ** 2).mean().backward()
        opt.step()
        return net[0].bias.sum().item()

    return [step(batch(k)) for k in range(8)], list(net.parameters()), opt.state_dict()


@program(replays=10)
def dropout_and_running_mean(jit: Any) -> Any:
    hb.manual_seed(5)
    net = Net(0.4)
    opt = optim.SGD(net.parameters(), lr=0.1)

    @jit
    def step(x: Any, k: int) -> Any:
        net.train(k % 4 != 3)
        opt.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss.item()

    return [step(batch(k), k) for k in range(12)], list(net.parameters()), hb.rand(2)


# ---- tapes
@program(replays=6)
def the_same_value_twice(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def step(a: Any, b: Any) -> Any:
        w.grad = None
        loss = (a * w * (b * w)).sum() + (w * w).sum()
        loss.backward()
        return loss.item(), w.grad

    x, y = batch(1, 3), batch(2, 3)
    pairs = [
        (x, x),
        (x, x),
        (x, x),
        (x, y),
        (y, x),
        (x, y),
        (y, y),
        (x, y),
        (w.detach(), w.detach()),
    ]
    return [step(*pair) for pair in pairs + pairs]


@program(replays=3)
def other_structures(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = hb.tensor([0.5, -1.0, 2.0], requires_grad=True)

    @jit
    def step(x: Any, k: int) -> Any:
        for p in (w, v):
            p.grad = None
        y = x * w + v if k % 3 else x * v + w
        loss = (y * y).sum() if k % 2 else (y * w).sum()
        loss.backward()
        return loss.item(), w.grad, v.grad

    return [step(batch(k, 3), k) for k in range(40)]


@program(replays=6)
def shared_parameters_and_several_outputs(jit: Any) -> Any:
    w = hb.tensor(np.linspace(-1, 1, 16).reshape(4, 4).astype(np.float32), requires_grad=True)

    @jit
    def step(x: Any) -> Any:
        w.grad = None
        top, bottom = (x @ w).chunk(2)
        values, _ = hb.topk(top @ w, 2)
        loss = values.sum() + bottom.softmax(axis=-1)[:, 0].sum() + (w.T @ w).mean()
        loss.backward()
        return loss.item(), w.grad

    return [step(batch(k)) for k in range(9)]


@program(replays=7)
def twice_backward(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def step(x: Any) -> Any:
        w.grad = None
        loss = (w * x).exp().sum()
        loss.backward()
        loss.backward()
        return loss.item(), w.grad

    return [step(batch(k, 3)) for k in range(6)]


@program(replays=6)
def given_gradients(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def step(x: Any, k: int) -> Any:
        w.grad = None
        y = w * x
        y.backward(x if k % 3 else [1.0, 2.0, 3.0])
        w.grad[0] = 7.0  # the user's own
        return x.sum().item(), w.grad

    return [step(batch(k, 3), k) for k in range(14)]


@program(replays=-1)
def the_gradient_is_the_given_one(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def step(x: Any) -> Any:
        w.grad = v.grad = None
        (w + v).backward(x)
        w.grad += 1.0
        return x.sum().item(), w.grad, v.grad, x

    return [step(batch(k, 3)) for k in range(10)]


@program(replays=6)
def functional_gradients(jit: Any) -> Any:
    def cost(x: Any, scale: Any) -> Any:
        return (hb.sin(x) * scale).sum()

    @jit
    def step(x: Any) -> Any:
        value, slope = hb.value_and_grad(cost)(x, x.abs() + 1)
        both = hb.grad(cost, (0, 1))(x, x * x)
        _, pull = hb.vjp(lambda a: a * a, x)
        return value.item(), slope, both, pull(slope)[0], hb.gradients(value, x, allow_unused=True)

    starts = [batch(k, 3) for k in range(9)]
    for start in starts:
        start.requires_grad_()
    return [step(start) for start in starts]


@program(replays=1)
def second_derivatives(jit: Any) -> Any:
    @jit
    def step(x: Any) -> Any:
        return hb.grad(lambda a: (hb.grad(lambda b: (b**3).sum())(a) * a).sum())(x), x.sum().item()

    return [step(batch(k, 3)) for k in range(5)]


@program(replays=-1)
def the_users_own_gradient(jit: Any) -> Any:
    w, log = hb.tensor([1.0, 2.0], requires_grad=True), []

    @hb.custom_gradient
    def half(x: Any) -> Any:
        log.append("forward")

        def pull(g: Any) -> Any:
            log.append(g.shape)
            return g * 0.5 * len(log)

        return x, pull

    @jit
    def step(x: Any) -> Any:
        w.grad = None
        half(w * x).sum().backward()
        return w.grad.sum().item()

    return [step(batch(k, 2)) for k in range(5)], w, log


@program(replays=4)
def a_tape_from_outside(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def finish(y: Any) -> Any:
        w.grad = None
        loss = (y * y).sum()
        loss.backward()
        return loss.item(), w.grad

    return [finish(w * batch(k, 3)) for k in range(8)]


@program(replays=6)
def only_some_leaves(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @jit
    def step(x: Any, k: int) -> Any:
        w.grad = v.grad = None
        loss = (w * v * x).sum()
        loss.backward(inputs=[w] if k % 2 else None)
        return loss.item(), w.grad, v.grad

    return [step(batch(k, 3), k) for k in range(9)]


# ---- what Python may do to hybrid's own calls
@program(replays=-1)
def an_optimizer_of_the_users(jit: Any) -> Any:
    log: list[int] = []

    class Noisy(optim.SGD):
        def update(self, parameter: Any, gradient: Any, state: Any, group: Any) -> None:
            log.append(len(log))
            super().update(parameter, gradient * len(log), state, group)

    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    opt = Noisy([w], lr=0.1)

    @jit
    def step(x: Any) -> Any:
        w.grad = x * w.detach()
        opt.step()
        return w.sum().item()

    return [step(batch(k, 3)) for k in range(6)], w, log


@program(replays=2)
def an_update_in_the_instance(jit: Any) -> Any:
    w, log = hb.tensor([1.0, 2.0, 3.0], requires_grad=True), []
    opt = optim.SGD([w], lr=0.1)

    def update(parameter: Any, gradient: Any, state: Any, group: Any) -> None:
        log.append(1)
        parameter.assign(parameter - gradient)

    @jit
    def step(x: Any, k: int) -> Any:
        w.grad = x * w.detach()
        if k == 5:
            opt.update = update  # type: ignore[method-assign]
        opt.step()
        return w.sum().item()

    return [step(batch(k, 3), k) for k in range(8)], w, log


@program(replays=4)
def a_closure(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    opt = optim.SGD([w], lr=0.1)

    @jit
    def step(x: Any) -> Any:
        def closure() -> Any:
            opt.zero_grad()
            loss = ((w - x) ** 2).sum()
            loss.backward()
            return loss

        return opt.step(closure).item()

    return [step(batch(k, 3)) for k in range(6)], w


@program(replays=4)
def state_that_is_replaced(jit: Any) -> Any:
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    opt = optim.Adam([w], lr=0.1)

    @jit
    def step(x: Any, k: int) -> Any:
        w.grad = x * w.detach()
        if k == 4:
            opt.state[id(w)]["exp_avg"] = hb.ones(3)
        if k == 6:
            w.assign(hb.zeros(3))
            opt.param_groups[0]["lr"].assign(0.5)
        opt.step()
        return w.sum().item(), opt.state[id(w)]["exp_avg"]

    return [step(batch(k, 3), k) for k in range(9)], w


@program(replays=3)
def one_tensor_in_two_places(jit: Any) -> Any:
    w, v = (hb.tensor([1.0, 2.0, 3.0], requires_grad=True) for _ in range(2))
    opt = optim.Adam([w, v], lr=0.1)

    @jit
    def step(x: Any, k: int) -> Any:
        g = x * w.detach()
        w.grad, v.grad = g, g if k % 2 else x * 2
        if k == 9:
            opt.state[id(v)]["exp_avg"] = opt.state[id(w)]["exp_avg"]
        opt.step()
        return w.sum().item()

    return (
        [step(batch(k, 3), k) for k in range(12)],
        w,
        v,
        [list(held.values()) for held in opt.state.values()],
    )


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs_leave_what_plain_ones_leave(name: str) -> None:
    body, replays = PROGRAMS[name]
    made: list[Any] = []

    def jit(fn: Any) -> Any:
        made.append(deferred(fn))
        return made[-1]

    hb.manual_seed(7)
    expected = seen(body(lambda fn: fn))
    hb.manual_seed(7)
    assert seen(body(jit)) == expected
    known = made[0]._segments.bundles
    assert known.replayed >= replays if replays >= 0 else known.replayed == 0
    assert made[0].cache_info().deferred > 0
