"""Python numbers as run-time scalars: an operand that a number becomes is computed in each call.

Each program runs decorated and plain with the same numbers; results, bits, exceptions and Python
state must agree, and a number that flows to operands never records again once it has settled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from actions.harness import both, box, data, suite

import hybrid as hb
from hybrid import nn, optim
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]

PROGRAMS, program = suite()
FIXED, fixed = suite()
rate = 0.5


@program
def attribute_from_outside(jit: Any) -> Any:
    s = box(rate=0.1)
    f = jit(lambda x: x * s.rate - s.rate / x)

    def call(k: int) -> Any:
        s.rate = 0.1 / (1 + k)
        return f(data(k))

    return call, s


@program
def cell_from_outside(jit: Any) -> Any:
    beta = 0.0
    f = jit(lambda x: (1 - beta) * x + beta * x * x)

    def call(k: int) -> Any:
        nonlocal beta
        beta = k * 0.01
        return f(data(k))

    return call, None


@program
def global_from_outside(jit: Any) -> Any:
    f = jit(lambda x: hb.softmax(x / rate))

    def call(k: int) -> Any:
        global rate
        rate = 0.5 + k
        return f(data(k))

    return call, None


@program
def counter_and_schedule(jit: Any) -> Any:
    s = box(t=0, beta=0.9)

    @jit
    def f(x: Any) -> Any:
        s.t += 1
        return x / (1 - s.beta**s.t) + max(s.t, 3) * x - min(s.t % 4, 2) + abs(-s.t)

    return lambda k: f(data(k)), s


@program
def adam_written_by_hand(jit: Any) -> Any:
    s = box(t=0, m=data(0), v=data(1), p=data(2))

    @jit
    def f(g: Any) -> Any:
        s.t += 1
        s.m = 0.9 * s.m + 0.1 * g
        s.v = 0.99 * s.v + 0.01 * g * g
        mean, square = s.m / (1 - 0.9**s.t), s.v / (1 - 0.99**s.t)
        s.p = s.p - 0.1 * mean / (square.sqrt() + 1e-8)
        return s.p

    return lambda k: f(data(k)), s


@program
def cosine_of_a_counter(jit: Any) -> Any:
    s = box(t=0)

    @jit
    def f(x: Any) -> Any:
        s.t += 1
        return x * (0.05 * (1 + math.cos(math.pi * s.t / 30))) + math.sqrt(s.t) - math.log(s.t)

    return lambda k: f(data(k)), s


@program
def arguments(jit: Any) -> Any:
    f = jit(lambda x, time, step: x + step * hb.sin(x) + math.sin(time) * 0.1)
    return lambda k: f(data(k), 0.1 * k, 1 + k % 3), None


@program
def argument_by_keyword(jit: Any) -> Any:
    f = jit(lambda x, scale=2.0: x * scale)
    return lambda k: f(data(k), scale=0.5 * k), None


@program
def arguments_by_keyword_only(jit: Any) -> Any:
    f = jit(lambda x, n, *, scale=2.0, shift, **more: x * scale * n + shift * more["by"])
    return lambda k: f(data(k), k % 5, shift=k, scale=0.5 * k, by=3), None


@program
def argument_through_a_helper(jit: Any) -> Any:
    def scaled(x: Any, n: Any) -> Any:
        return x * (n * n)

    f = jit(lambda x, n: scaled(x, n) + scaled(x, n + 1))
    return lambda k: f(data(k), k % 7), None


@program
def argument_returned_and_stored(jit: Any) -> Any:
    s = box(last=0, log=[])

    @jit
    def f(x: Any, n: Any) -> Any:
        s.last = n + 1
        s.log.append(n * 2)
        return x * n, n, n % 3 == 0

    return lambda k: f(data(k), k), s


@program
def clamp_by_arguments(jit: Any) -> Any:
    f = jit(lambda x, low, high: x.clip(-low, high) + hb.where(x > low, x, high))
    return lambda k: f(data(k), 0.5 * k, 3.0 + k), None


@program
def maximum_and_comparison(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return hb.maximum(x, s.n), x < s.n, s.n >= x, s.n - x, s.n // x, s.n**x, x // s.n

    return lambda k: f(data(k)), s


@program
def in_place(jit: Any) -> Any:
    s = box(x=data(3), n=0.0)

    @jit
    def f(y: Any) -> Any:
        s.x -= s.n * y
        s.x *= s.n
        return s.x + 1

    def call(k: int) -> Any:
        s.n = 0.25 * k
        return f(data(k))

    return call, s


@program
def items_of_containers(jit: Any) -> Any:
    d, cells = {"momentum": 0.5}, [1.0, 2.0]
    f = jit(lambda x: x * d["momentum"] + cells[1])

    def call(k: int) -> Any:
        d["momentum"], cells[1] = 0.5 + 0.01 * k, 1.0 * k
        return f(data(k))

    return call, (d, cells)


@program
def number_of_a_module(jit: Any) -> Any:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = 1.0

        def forward(self, x: Any) -> Any:
            return x * self.scale

    net = Scaled()
    f = jit(lambda x: net(x))

    def call(k: int) -> Any:
        net.scale = 1.0 + k
        return f(data(k))

    return call, None


@program
def training_with_a_rate(jit: Any) -> Any:
    weight = hb.asarray(np.ones(4, np.float32)).requires_grad_()

    @jit
    def step(x: Any, rate: Any) -> Any:
        loss = ((x * weight * rate) ** 2 / rate).sum()
        loss.backward()
        with hb.no_grad():
            weight.assign(weight - rate * 1e-4 * weight.grad)
        weight.grad = None
        return loss

    return lambda k: step(data(k), 0.5 + 0.1 * k), weight


@program
def power_by_an_argument(jit: Any) -> Any:
    f = jit(lambda x, n: x**n)
    return lambda k: f(data(k), 1.25 + k), None


@program
def branch_on_an_argument(jit: Any) -> Any:
    f = jit(lambda x, n: x * n if n % 5 else x + n)
    return lambda k: f(data(k), k), None


@program
def asked_for_its_type(jit: Any) -> Any:
    f = jit(lambda x, n: x * n if isinstance(n, int) else x - n)
    return lambda k: f(data(k), k), None


def stepping(schedule: Callable[[Any, Any, Any], None]) -> Callable[[Any], Any]:
    """A program that trains, and gives numbers to tensors by `schedule(optimizer, state, rate)`."""

    def program(jit: Any) -> Any:
        weight = hb.asarray(np.full(4, 0.1, np.float32)).requires_grad_()
        optimizer = optim.SGD([weight], lr=0.1, momentum=0.9)
        s = box(n=0, held=hb.zeros(()), row=hb.zeros(3), weight=weight)

        @jit
        def step(x: Any, rate: Any) -> Any:
            s.n += 1
            schedule(optimizer, s, rate)
            loss = ((x * 0.01 * weight) ** 2).mean() + s.held + s.row.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return lambda k: step(data(k % 5), 0.1 / (1 + k)), s

    return program


def warm_up(optimizer: Any, s: Any, rate: Any) -> None:
    optimizer.lr = 0.1 * min(1.0, s.n / 20)


def groups(optimizer: Any, s: Any, rate: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * 0.5
        group["momentum"] = 1 - rate


def assigned(optimizer: Any, s: Any, rate: Any) -> None:
    s.held.assign(s.n)
    s.row.assign(rate)


PROGRAMS["rate_of_an_optimizer"] = stepping(warm_up)
PROGRAMS["entries_of_its_groups"] = stepping(groups)
PROGRAMS["numbers_given_to_tensors"] = stepping(assigned)


@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers_that_flow_never_record_again(name: str) -> None:
    (f,) = both(PROGRAMS[name], 40)
    info = f.cache_info()
    assert info.replays >= 28 and info.eager == info.deferred == 0, f.explain()
    assert info.records <= 10 and info.compilations <= 3, f.explain()


@fixed
def count_of_a_loop(jit: Any) -> Any:
    def f(x: Any, n: Any, r: Any) -> Any:
        for _ in range(n):
            x = x * r
        return x

    f = jit(f)
    return lambda k: f(data(k), k % 4, 0.5 + 0.1 * k), None


@fixed
def position_in_a_list(jit: Any) -> Any:
    table = [data(j) for j in range(4)]
    f = jit(lambda x, n: x + table[n])
    return lambda k: f(data(k), k % 4), None


@fixed
def shape_and_axis(jit: Any) -> Any:
    f = jit(lambda x, n: x.reshape(n, -1).sum(axis=n - 1 if n < 2 else 0))
    return lambda k: f(data(k), 1 + k % 2), None


@fixed
def text_of_a_number(jit: Any) -> Any:
    f = jit(lambda x, n: (x * n, f"{n}"))
    return lambda k: f(data(k), k % 3), None


@fixed
def captured_by_a_closure(jit: Any) -> Any:
    def f(x: Any, n: Any) -> Any:
        def inner() -> Any:
            return x * n

        return inner()

    f = jit(f)
    return lambda k: f(data(k), k % 3), None


@fixed
def in_a_comprehension(jit: Any) -> Any:
    f = jit(lambda x, n: sum([x * j * n for j in (1, 2)], x))
    return lambda k: f(data(k), k % 3), None


@fixed
def looked_at_by_a_function(jit: Any) -> Any:
    f = jit(lambda x, p: nn.functional.leaky_relu(x - 3, p) + hb.full((4,), p))
    return lambda k: f(data(k), (k % 3) / 4), None


@pytest.mark.parametrize("name", FIXED)
def test_numbers_that_python_looks_at_are_part_of_the_signature(name: str) -> None:
    (f,) = both(FIXED[name], 40)
    info = f.cache_info()
    assert info.replays >= 24 and info.eager <= 1, f.explain()  # a fourth number waits once
