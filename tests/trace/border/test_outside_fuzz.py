"""Random programs of decorated functions and backward passes outside of them, against plain Python.

A program has one to three functions of random operations (some write buffers, draw random numbers,
run backward inside), calls them in a random script, and differentiates, keeps, updates and clears
at random.  HYBRID_FUZZ sets how many programs.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from frozen import difference, frozen

import hybrid as hb
from hybrid.trace.bytecode.opcodes import SUPPORTED
from hybrid.trace.fallback.backward import calls, whole

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="nothing is recorded on this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
]
COUNT, SIZE = max(24, int(os.environ.get("HYBRID_FUZZ", "0")) // 6), 4
Decorate = Callable[[Any], Any]


class World:
    """What the functions of a program share."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.scales = [self.tensor(SIZE).requires_grad_() for _ in range(3)]
        self.buffers = [self.tensor(SIZE) for _ in range(2)]
        self.weight = self.tensor(SIZE, SIZE).requires_grad_()

    def tensor(self, *shape: int) -> Any:
        return hb.tensor(self.draw.standard_normal(shape).astype("f") * 0.5)

    def parameters(self) -> list[Any]:
        return [*self.scales, self.weight]

    def everything(self) -> list[Any]:
        return [t.detach().clone() for t in (*self.buffers, *self.parameters())]


def running_mean(world: World, a: Any, b: Any, number: int) -> Any:
    buffer = world.buffers[number % 2]
    scaled = a * buffer
    with hb.no_grad():
        buffer.mul_(0.5).add_(a.detach().mean(0) * 0.1)
    return scaled


def written(world: World, a: Any, b: Any, number: int) -> Any:
    with hb.no_grad():
        world.buffers[number % 2].assign(a.detach()[0] * 0.3)
    return a + world.buffers[number % 2]


OPERATIONS: list[Callable[[World, Any, Any, int], Any]] = [
    running_mean,
    written,
    lambda world, a, b, number: a * world.scales[number % 3],
    lambda world, a, b, number: hb.tanh(a) + b,
    lambda world, a, b, number: a @ world.weight,
    lambda world, a, b, number: hb.nn.functional.dropout(a, 0.4),
    lambda world, a, b, number: hb.softmax(a, axis=-1),
    lambda world, a, b, number: hb.exp(hb.clip(a, -3.0, 3.0)) * 0.1,
    lambda world, a, b, number: a.reshape((SIZE, 3)).reshape((3, SIZE))[::-1],
    lambda world, a, b, number: hb.concat([a[:, :2], b[:, 2:]], axis=1),
    lambda world, a, b, number: (a - a.mean(0)) / hb.sqrt((a * a).mean(0) + 1.0),
    lambda world, a, b, number: hb.where(a > 0, a, b * 0.2),
]
# each part of a value is used alone, and a weight by several rows: such shares are joined
JOINED: list[Callable[[World, Any, Any, int], Any]] = [
    lambda world, a, b, number: hb.nn.functional.linear(a, world.weight, world.scales[number % 3]),
    lambda world, a, b, number: a[:, number % 2 : number % 2 + 3].sum(1, keepdims=True) * b,
    lambda world, a, b, number: hb.concat(hb.chunk(a, 2, axis=1)[::-1], axis=1) * b[1],
]


def function_of(choose: random.Random, world: World, more: bool) -> tuple[Any, int]:
    """A random function of tensors, and how many it takes."""
    known = OPERATIONS + JOINED * 2 * more
    steps = [
        (choose.choice(known), choose.randrange(6), choose.random())
        for _ in range(choose.randint(2, 7))
    ]
    results, reduced = choose.choice([1, 1, 1, 2, 3]), choose.random() < 0.4
    inside = choose.random() < 0.12

    def compute(*tensors: Any) -> Any:
        made = list(tensors)
        for operation, number, place in steps:
            made.append(operation(world, made[-1], made[int(place * len(made))], number))
        if inside:
            (made[-1] * world.scales[0]).sum().backward()
            world.scales[0].grad = None
        found = [made[-1 - k % len(made)] for k in range(results)]
        found = [tensor.sum() for tensor in found] if reduced else found
        return found[0] if results == 1 else tuple(found)

    return compute, choose.choice([1, 1, 2])


def listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple) else [result]


class Program:
    """One program, run with one decorator; `out` is all that can be seen of it."""

    def __init__(self, seed: int, decorate: Decorate, more: bool = False) -> None:
        hb.manual_seed(seed)
        self.choose, self.world = random.Random(seed), World(seed)
        self.functions = []
        for _ in range(self.choose.randint(1, 3)):
            compute, count = function_of(self.choose, self.world, more)
            self.functions.append((decorate(compute), count))
        self.script = [
            (self.choose.randrange(len(self.functions)), *[self.choose.random() for _ in range(3)])
            for _ in range(self.choose.randint(2, 5))
        ]
        self.kept: list[Any] = []
        self.out: list[Any] = []
        for _ in range(8):
            self.turn()
        self.out.append(hb.rand(1))

    def turn(self) -> None:
        given = [self.world.tensor(3, SIZE) for _ in range(2)]
        if self.choose.random() < 0.8:
            given = [tensor.requires_grad_() for tensor in given]
        losses = self.calls(given)
        self.differentiate(losses, given)
        if self.choose.random() < 0.5:
            with hb.no_grad():
                for parameter in self.world.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad * 0.01)
        leaves = [t for t in (*self.world.parameters(), *given) if t.requires_grad]
        self.out.append([None if t.grad is None else t.grad.clone() for t in leaves])
        if self.choose.random() < 0.5:
            for parameter in self.world.parameters():
                parameter.grad = None
        self.out.append(self.world.everything())

    def calls(self, given: list[Any]) -> list[Any]:
        """The script; losses."""
        pool, losses = list(given), []
        for number, first, second, kind in self.script:
            function, count = self.functions[number]
            args = [pool[int(place * len(pool))] for place in (first, second)[:count]]
            if kind < 0.15:
                args[0] = args[0] * 1.5
            if kind > 0.9:
                total = lambda *a, f=function: sum([y.sum() for y in listed(f(*a))])  # noqa: E731
                self.out.append(hb.grad(total)(*args))
                continue
            for result in listed(function(*args)):
                self.out.append(result)
                pool += [result] if result.ndim == 2 else []
                losses.append((result * result).mean() if second < 0.5 else result.sum())
        return losses

    def differentiate(self, losses: list[Any], given: list[Any]) -> None:
        kind = self.choose.randrange(6)
        live = [loss for loss in losses if loss.requires_grad]
        total = sum(live) if live else None
        if total is not None and kind <= 2:
            total.backward()
        elif total is not None and kind == 3:
            leaves = [t for t in (*self.world.parameters(), *given) if t.requires_grad]
            self.out += hb.gradients(total, leaves, allow_unused=True)
        elif total is not None and kind == 4:
            self.kept.append(total)
        elif live:
            live[-1].backward()
            live[0].backward()
        if self.kept and self.choose.random() < 0.5:
            self.kept.pop(self.choose.randrange(len(self.kept))).backward()


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_programs(seed: int) -> None:
    plain = frozen(Program(seed, lambda fn: fn).out)
    traced = Program(seed, lambda fn: hb.function(fn, wait=True))
    found = difference(plain, frozen(traced.out))
    assert not found, found


@pytest.fixture
def by_calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """No pass is compiled as a whole; for each that is not done by `perform`, whether its calls
    had plans."""
    done: list[bool] = []
    performed = calls._performed

    def noted(*given: Any) -> Any:
        found = performed(*given)
        done.append(found is not None)
        return found

    monkeypatch.setattr(calls, "_performed", noted)
    monkeypatch.setattr(calls, "STRANGE", 0)
    monkeypatch.setattr(calls, "MOST_UNPAID", 1000)
    monkeypatch.setattr(whole, "AGAIN", 10**6)
    monkeypatch.setattr(whole, "OFTEN", 10**6)
    return done


@pytest.mark.parametrize("seed", range(1000, 1000 + COUNT))
def test_random_programs_call_by_call(seed: int, by_calls: list[bool]) -> None:
    plain = frozen(Program(seed, lambda fn: fn, True).out)
    traced = Program(seed, lambda fn: hb.function(fn, wait=True), True)
    found = difference(plain, frozen(traced.out))
    assert not found, found


def test_most_passes_go_call_by_call(by_calls: list[bool]) -> None:
    for seed in range(8):
        Program(seed, lambda fn: hb.function(fn, wait=True))
    assert len(by_calls) > 30
    assert sum(by_calls) > 0.9 * len(by_calls)


def test_programs_are_replayed() -> None:
    programs = [Program(seed, lambda fn: hb.function(fn, wait=True)) for seed in range(8)]
    replays = [f.cache_info().replays for program in programs for f, _ in program.functions]
    assert sum(replays) > 100


def test_a_pass_that_never_comes_again_is_not_compiled_as_a_whole() -> None:
    f = hb.function(lambda x: (x * x).sum(), wait=True)
    x = hb.ones(3, requires_grad=True)
    total: Any = f(x)
    for k in range(12):
        total = total + f(x)
        total.backward()
        x.grad = None
    (plan,) = [plan for state in f._signatures.everything() for plan in state.plans]
    assert plan.recording.tape is not None
    assert plan.recording.tape.plans[0].compilations == 1  # of one call
