"""Modules called inside deferred calls are replayed on their own: nothing may show but speed."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from deferred_harness import batch, clock, deferred, seen

import hybrid as hb
import hybrid.nn as nn
from hybrid.decorator import RunsEagerly, function

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
    pytest.mark.usefixtures("always"),
]
PROGRAMS: dict[str, tuple[Callable[[Any], Any], bool]] = {}


def program(replays: bool) -> Callable[[Any], Any]:
    """A program, given what decorates its function; whether modules are replayed in it."""

    def enter(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
        PROGRAMS[body.__name__] = body, replays
        return body

    return enter


class Deep(nn.Module):
    """Enough ops to be worth a replay."""

    def __init__(self, width: int = 4, depth: int = 5) -> None:
        super().__init__()
        hb.manual_seed(3)
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(0.3)
        self.scale, self.calls = 1.0, 0

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = x + hb.tanh(layer(x)) * self.scale
        return self.drop(self.norm(x)) * 2.0


def repeated(jit: Any, net: Any, change: Any = None, calls: int = 14) -> Any:
    """Calls of a function that reads a value after each use of a module, with changes between."""

    @jit
    def run(x: Any, k: int) -> Any:
        with hb.no_grad():
            first = net(x)
            clock()
            second = net(first * (1.0 + float(first.sum() > 0)))
        return first, second.sum().item()

    found = []
    for k in range(calls):
        if change is not None:
            change(k)
        found.append(run(batch(k), k))
    return found, list(net.parameters()), net.calls, hb.rand(2)


@program(replays=True)
def a_steady_module(jit: Any) -> Any:
    return repeated(jit, Deep().eval())


@program(replays=True)
def a_module_with_dropout(jit: Any) -> Any:
    net = Deep()
    return repeated(jit, net, lambda k: net.train(k % 5 != 4))


@program(replays=True)
def a_module_that_changes(jit: Any) -> Any:
    net = Deep().eval()

    def change(k: int) -> None:
        if k == 6:
            net.scale = 0.5
        if k == 8:
            net.layers[0] = nn.Linear(4, 4, bias=False)
        if k == 10:
            net.layers[1].weight.assign(hb.ones((4, 4)))
        if k == 12:
            net.register_forward_hook(lambda module, inputs, output: output + 1)
        if k == 13:
            net.forward = lambda x: x * 3.0  # type: ignore[method-assign]

    return repeated(jit, net, change, 16)


@program(replays=True)
def a_module_that_counts(jit: Any) -> Any:
    class Counts(Deep):
        def forward(self, x: Any) -> Any:
            self.calls += 1
            return super().forward(x)

    return repeated(jit, Counts().eval())


@program(replays=True)
def a_module_with_running_statistics(jit: Any) -> Any:
    class Running(Deep):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", hb.zeros(4))

        def forward(self, x: Any) -> Any:
            y = super().forward(x)
            self.mean.assign(self.mean * 0.9 + y.mean(axis=0) * 0.1)
            return y - self.mean

    net = Running().eval()
    return repeated(jit, net), net.mean


@program(replays=False)
def a_module_with_effects(jit: Any) -> Any:
    log = []

    class Noisy(Deep):
        def forward(self, x: Any) -> Any:
            log.append(random.random())
            return super().forward(x) * log[-1]

    random.seed(5)
    return repeated(jit, Noisy().eval()), log


@program(replays=False)
def a_module_on_the_tape(jit: Any) -> Any:
    net = Deep().eval()

    @jit
    def run(x: Any) -> Any:
        y = net(x)
        net.zero_grad()
        y.sum().backward()
        return y, net.norm.weight.grad.sum().item()

    return [run(batch(k)) for k in range(6)], list(net.parameters())


@program(replays=True)
def both_on_the_tape_and_not(jit: Any) -> Any:
    net = Deep().eval()

    @jit
    def run(x: Any) -> Any:
        net.zero_grad()
        net(x).sum().backward()
        norm = net.norm.weight.grad.sum().item()
        with hb.no_grad():
            return norm, net(x).sum().item(), net(x)

    return [run(batch(k)) for k in range(8)], list(net.parameters())


@program(replays=True)
def state_goes_around(jit: Any) -> Any:
    class Cell(Deep):
        def forward(self, x: Any, state: Any, bias: Any = None) -> Any:
            y = super().forward(x + state[0])
            return y, (y if bias is None else y + bias, state[0])

    net = Cell().eval()

    @jit
    def run(x: Any, k: int) -> Any:
        with hb.no_grad():
            state, out = (x * 0.0, x), []
            for step in range(3):
                y, state = net(x, state, bias=x * 2.0) if k % 2 else net(x, state)
                out.append(y.max().item())
                state[0][0] = float(step)  # the result is the caller's
        return out, state

    return [run(batch(k), k) for k in range(12)]


@program(replays=True)
def the_argument_comes_back(jit: Any) -> Any:
    class Same(Deep):
        def forward(self, x: Any) -> Any:
            return x, super().forward(x)

    net = Same().eval()

    @jit
    def run(x: Any) -> Any:
        with hb.no_grad():
            z = x + 1.0
            same, y = net(z)
            same[0, 0] = 9.0
            return same is z, z.sum().item(), y

    return [run(batch(k)) for k in range(9)]


@program(replays=True)
def sizes_that_change(jit: Any) -> Any:
    net = Deep().eval()

    @jit
    def run(x: Any) -> Any:
        with hb.no_grad():
            return net(x).sum().item(), net(x)[0]

    return [run(batch(k, 1 + k % 3, 4)) for k in range(24)]


@program(replays=True)
def errors_of_a_module(jit: Any) -> Any:
    class Picky(Deep):
        def forward(self, x: Any, index: Any) -> Any:
            y = super().forward(x)
            return y[index] + 1.0

    net = Picky().eval()

    @jit
    def run(x: Any, k: int) -> Any:
        with hb.no_grad():
            try:
                return net(x, hb.tensor([k])).sum().item()
            except IndexError as error:
                return str(error).split("(at")[0].strip()

    return [run(batch(k), k % 8) for k in range(17)]


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
    info = made[0]._segments.parts.info
    assert (info is not None and info.replays > 0) == replays


def test_text_that_is_sampled() -> None:
    """The whole of it: a loop over a model, a choice by Python's random numbers."""
    net = Deep().eval()

    def sample(length: int) -> Any:
        tokens = [1]
        with hb.no_grad():
            for _ in range(length):
                chances = net(hb.tensor([tokens[-1] * 0.1] * 4)).softmax(axis=-1).tolist()
                tokens.append(random.choices(range(4), chances)[0])
        return tokens

    decorated = function(sample)
    for seed in range(8):
        random.seed(seed)
        expected = sample(6)
        random.seed(seed)
        assert decorated(6) == expected
    assert decorated._segments.parts.info.replays >= 20
    assert "replays of modules" in str(decorated.explain())


def test_one_message_and_nothing_kept() -> None:
    net = Deep().eval()

    @function
    def run(net: Any, x: Any) -> Any:
        clock()
        with hb.no_grad():
            return net(x).sum().item()

    with pytest.warns(RunsEagerly) as told:
        for k in range(10):
            run(net, batch(k))
    assert len(told) == 1
    dead = weakref.ref(net)
    del net
    gc.collect()
    assert dead() is None


def test_an_error_leaves_the_call_as_it_was() -> None:
    net = Deep().eval()

    @deferred
    def run(x: Any, fails: bool) -> Any:
        y = x * 2.0
        with hb.no_grad():
            z = net(y).sum()
            z.item()
            if fails:
                net(y, 1, 2)
        return y + z

    for k in range(8):
        run(batch(k), False)
    with pytest.raises(TypeError, match="positional argument"):
        run(batch(1), True)
    assert seen(run(batch(1), False)) == seen(run.fn(batch(1), False))
