"""Branches and loops on values of device tensors: the host's bits, eagerly and traced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gpu_device import DEVICE, HOST, SIMULATED, here, same

import hybrid
from hybrid.core.errors import IndexOutOfRange
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = pytest.mark.filterwarnings("ignore:.*runs eagerly")

X = np.linspace(-0.9, 1.3, 96, dtype=np.float32).reshape(48, 2)


def _while_loop(x: Any, n: Any) -> Any:
    def body(state: Any) -> Any:
        return state[0] + 1, hybrid.tanh(state[1]) * 1.01 + state[0]

    return hybrid.while_loop(lambda s: s[0] < n, body, (n * 0, x))[1]


def _scan(x: Any, n: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        carry = hybrid.cond(row.sum() > 0, lambda c: c * 0.9 + row, lambda c: c - row, carry)
        return carry, carry.sum()

    last, sums = hybrid.scan(step, x[0], x)
    return hybrid.switch(n - 2, [lambda v: v + sums[0], lambda v: v * sums[1]], last)


def _branches(x: Any, n: Any) -> Any:
    if n > 3:
        return x[n] if n < 40 else x.sum() * 2
    return -x if x[0, 0].item() < 0 else x


def _python_loop(x: Any, n: Any) -> Any:
    turns, limit = 0, n + 1
    while x.abs().sum() > limit and turns < 60:
        x, turns = x * 0.8, turns + 1
    return x + turns


PROGRAMS = (_while_loop, _scan, _branches, _python_loop)


@pytest.mark.parametrize("program", PROGRAMS)
def test_control_flow_has_the_bits_of_the_host(program: Callable[..., Any]) -> None:
    traced = hybrid.function(program)
    for call in range(16):
        given = X + call % 2, np.array((1, 5, 77, 0)[call % 4])
        wanted = program(*[hybrid.tensor(x, device=HOST) for x in given])
        tensors = [hybrid.tensor(x, device=DEVICE) for x in given]
        same(program(*tensors), wanted, f"eager, call {call}")
        same(traced(*tensors), wanted, f"traced, call {call}")
    if SUPPORTED:
        assert traced.cache_info().replays > 3 and not traced.cache_info().eager, traced.explain()


def test_a_step_that_branches_trains_with_the_bits_of_the_host() -> None:
    def run(device: Any, traced: bool) -> list[np.ndarray]:
        w = hybrid.tensor(X[:8].T.copy(), device=device, requires_grad=True)
        optimizer = hybrid.optim.Adam([w], lr=0.05)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = ((x @ w) ** 2).mean()
            if loss > 0.5:
                loss = loss.sqrt()
            loss.backward()
            if (w.grad**2).sum() > 0.1:
                w.grad *= 0.5
            optimizer.step()
            return loss

        call = hybrid.function(step) if traced else step
        losses = [here(call(hybrid.tensor(X + k % 3, device=device))) for k in range(20)]
        return [*losses, here(w)]

    wanted = run(HOST, False)
    for traced in (False, True):
        for number, (found, value) in enumerate(zip(run(DEVICE, traced), wanted)):
            same(found, value, f"traced {traced}, value {number}")


def test_an_error_of_earlier_work_is_not_taken_for_a_branch() -> None:
    table = hybrid.tensor(X[:3, 0].copy(), device=DEVICE)
    program = hybrid.function(lambda x: x + 1 if x.sum() > 0 else x - 1)
    for k in range(4):
        for x in (X[k + 40], X[k]):
            program(hybrid.tensor(x, device=DEVICE))
    with pytest.raises(IndexOutOfRange):
        table[hybrid.tensor(77, device=DEVICE)]
        here(program(hybrid.tensor(X[40], device=DEVICE)))
    same(program(hybrid.tensor(X[40], device=DEVICE)), X[40] + np.float32(1))


@pytest.mark.skipif(SIMULATED, reason="one thread at a time works with the simulated card")
@pytest.mark.parametrize("program", PROGRAMS)
def test_threads_go_their_own_ways(program: Callable[..., Any]) -> None:
    traced, numbers, wrong = hybrid.function(program), (1, 5, 77, 0), list[str]()
    given = [(X + n % 2, np.array(n)) for n in numbers]
    wanted = [here(program(*map(hybrid.tensor, xs))) for xs in given]

    def work(first: int) -> None:
        for k in range(first, first + 24):
            found = traced(*[hybrid.tensor(x, device=DEVICE) for x in given[k % 4]])
            if here(found).tobytes() != wanted[k % 4].tobytes():
                wrong.append(f"thread {first}, call {k}")

    threads = [threading.Thread(target=work, args=[first]) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
