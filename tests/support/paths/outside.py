"""Programs whose loops are turned by generators, layers, the library, or code outside of them."""

from __future__ import annotations

import functools
from typing import Any

from actions.harness import suite

import hybrid as hb

from .guards import draw

__all__ = ["PROGRAMS"]

PROGRAMS, program = suite()


@program
def generator_of_turns(jit: Any) -> Any:
    def turns(x: Any) -> Any:
        for _ in range(6):
            x = x * 0.8
            yield x

    @jit
    def f(x: Any) -> Any:
        for y in turns(x):
            if y.norm() < 1.0:
                return y
        return x * 100

    return lambda k: f(draw(k, 3, scale=[1, 1.5, 1, 30][k % 4])), None


@program
def keyword_and_default(jit: Any) -> Any:
    def scaled(x: Any, by: float = 0.8) -> Any:
        return x * by

    @jit
    def f(x: Any) -> Any:
        y = x + 0
        while y.norm() > 1.0:
            y = scaled(y, by=0.7)
        return y

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def type_of_the_carry_changes(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        y = hb.tensor([3, 2, 1])
        while y.sum() > x.sum():
            y = y - 0.5
        return y

    return lambda k: f(draw(k, 3)), None


@program
def prints_when_long(jit: Any) -> Any:
    said: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        for turn in range(30):
            x = x * 0.9
            if turn == 12:
                said.append(turn)
            if x.norm() < 1.0:
                break
        return x

    return lambda k: f(draw(k, 3, scale=[1.5, 2, 1.5, 30][k % 4])), said


def _layer() -> Any:
    class Halve(hb.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 0.5 if x.norm() > 1.0 else x

    return Halve()


@program
def one_layer_three_times(jit: Any) -> Any:
    layer = _layer()
    model = hb.nn.Sequential(layer, layer, layer)

    @jit
    def f(x: Any) -> Any:
        return model(x)

    return lambda k: f(draw(k, 3, scale=[3, 1, 3, 100, 2][k % 5])), None


@program
def reduced_by_the_library(jit: Any) -> Any:
    def step(x: Any, _: Any) -> Any:
        return x * 0.5 if x.norm() > 1.0 else x

    @jit
    def f(x: Any) -> Any:
        return functools.reduce(step, [1] * 4, x)

    return lambda k: f(draw(k, 3, scale=[3, 1, 3, 100, 2][k % 5])), None


@program
def mapped_by_the_library(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        held = [x]

        def step(_: Any) -> bool:
            held[0] = held[0] * 0.5
            return bool(held[0].norm() > 1.0)

        long = all(map(step, range(5)))
        return held[0], long

    return lambda k: f(draw(k, 3, scale=[3, 1, 3, 100, 2][k % 5])), None


@program
def called_back_in_turns(jit: Any) -> Any:
    def shrink(x: Any, _: Any) -> Any:
        return x * 0.8 if (x > 0.01).any() else x * 0.9

    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            x = functools.reduce(shrink, [1, 1], x)
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 7)), None
