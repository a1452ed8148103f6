"""Loops that tensors end, whose turns have numbers of Python: sizes that are halved, variables of a
range, numbers read from tensors that operations take; and iterators that are used after the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from actions.harness import box, suite

import hybrid as hb

from .guards import draw

__all__ = ["FEW", "PROGRAMS"]

FEW, few = suite()  # two plans at most: the range, or the tensor, ends the loop
PROGRAMS, program = suite()


@few
def halves_a_step(jit: Any) -> Any:
    target = draw(9, 4)

    def cost(x: Any) -> Any:
        return ((x - target) ** 4).sum()

    @jit
    def f(x: Any, slope: Any) -> Any:
        size, least = 1.0, cost(x)
        while cost(x - size * slope) > least - 0.01 * size * (slope**2).sum():
            size *= 0.5
            if size < 1e-6:
                break
        return x - size * slope, size

    return lambda k: f(draw(k, 4), 4 * (draw(k, 4) - target) ** 3), None


@few
def a_rate_that_decays(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        rate = 0.5
        for _ in range(40):
            x = x - rate * hb.tanh(x)
            rate = rate * 0.9 + 0.01
            if x.norm() < 0.75:
                break
        return x, rate

    return lambda k: f(draw(k, 4, scale=1 + k % 5)), None


@few
def the_turn_is_returned(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        previous = None
        for turn in range(25):
            nearest = hb.round(x * 4)
            if previous is not None and (nearest == previous).all():
                break
            x, previous = x * 0.8, nearest
        return x, turn

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@few
def the_turn_divides(jit: Any) -> Any:
    @jit
    def f(x: Any, stop: Any) -> Any:
        total = x * 0
        for turn in range(3, 60, 2):
            total = total + x / turn
            if total.sum() > stop:
                break
        return total, turn * 2 + 1

    return lambda k: f(hb.abs(draw(k, 3)) + 0.25, hb.tensor(0.1 * (k % 30))), None


@few
def a_number_that_is_read_in_each_turn(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        largest = 1.0
        while x.norm() > 0.5:
            largest = x.abs().max().item()
            x = x * 0.75 - 0.01 * x * hb.tanh(x) * (1.0 + largest) * 0.01
            largest = largest + 0.5
        return x, largest

    return lambda k: f(draw(k, 4, scale=1 + k % 6)), None


@few
def two_numbers_go_on_together(jit: Any) -> Any:
    @jit
    def f(x: Any, end: float) -> Any:
        now, step = 0.0, 0.25
        while now < end and x.norm() > 0.01:
            step = min(step, end - now)
            x = x - step * hb.sin(x)
            now = now + step
            step = step * 0.9
        return x, now

    return lambda k: f(draw(k, 3), 1.0), None


# ---- an iterator that is used when the loop has ended
@program
def another_way_and_on(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any) -> Any:
        for _ in range(8):
            if x.sum() > 0.0:
                x = x - 0.5
            else:
                y = y * 0.5
                x = x + y.abs()
        return x, y

    return lambda k: f(draw(k, 3, scale=0.3 + k % 4) + k % 3, draw(k + 1, 3)), None


@program
def the_rest_of_a_range(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        for _ in range(6):
            if x.sum() > 1.0:
                x = x * 0.75
                continue
            x = x + 0.125
        return x

    return lambda k: f(draw(k, 3, scale=2.0) + (k % 5) * 0.75), None


@program
def a_first_that_fails_in_a_function(jit: Any) -> Any:
    def smaller(x: Any) -> Any:
        return x * 0.75 if x.norm() > 1.0 else x

    @jit
    def f(x: Any) -> Any:
        for _ in range(5):
            x = smaller(x)
        return x * 2

    return lambda k: f(draw(k, 3, scale=1 + k % 3)), None


@program
def two_loops_over_a_range(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        for turn in range(9):
            if x.norm() < 1.0:
                break
            x = x * 0.8
        for other in range(4):
            if x.sum() < 0.1 * other:
                break
            x = x - 0.1
        return x, turn, other

    return lambda k: f(draw(k, 3, scale=1 + k % 3)), None


@program
def the_turn_is_an_index(jit: Any) -> Any:
    scales = draw(5, 12)

    @jit
    def f(x: Any) -> Any:
        for turn in range(12):
            x = x * 0.9 + 0.1 * scales[turn]
            if x.norm() < 0.8:
                break
        return x, turn

    return lambda k: f(draw(k, 3, scale=1 + k % 3)), None


# ---- numbers that operations take
@program
def normed_by_a_number(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        scale = float(x.norm())
        y = x / (scale + 1e-6)
        return y * x.max().item() - scale, scale

    return lambda k: f(draw(k, 4, scale=10.0 ** (k % 30 - 10))), None


@program
def extreme_numbers(jit: Any) -> Any:
    values = [1e300, -1e300, np.inf, np.nan, 0.0, -0.0, 1e-320, 3.5, 1e-46, 16777217.0]

    @jit
    def f(x: Any, wide: Any) -> Any:
        number = wide.item()
        return x * number, x + number, number * 2.0, hb.maximum(x, number)

    return lambda k: f(draw(k, 4), hb.tensor(values[k % 10], dtype=hb.float64)), None


@program
def numbers_in_half_types(jit: Any) -> Any:
    @jit
    def f(x: Any, half: Any) -> Any:
        return half * x.sum().item(), x * half.max().item(), half + float(half.sum())

    def call(k: int) -> Any:
        x = draw(k, 4)
        return f(x, x.astype(hb.float16 if k % 2 else hb.bfloat16))

    return call, None


@program
def whole_numbers_of_tensors(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        place = x.argmax().item()
        small = int((x > 0).sum().astype(hb.int32))
        return x * place, x + small, small * 2, (x > 0) * small

    return lambda k: f(draw(k, 5)), None


@program
def the_loss_scales_the_step(jit: Any) -> Any:
    s = box(w=hb.tensor(draw(1, 4).numpy(), requires_grad=True))

    @jit
    def f(x: Any) -> Any:
        loss = ((s.w * x).sum() - 1) ** 2
        scaled = loss * (1.0 / 8) * loss.item()
        scaled.backward()
        rate = 0.01 * min(loss.item(), 1.0)
        s.w.assign(s.w.detach() - rate * s.w.grad)
        s.w.grad = None
        return loss.item()

    return lambda k: f(draw(k, 4)), s


@program
def the_same_number_twice(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        one, other = x.max().item(), x.max().item()
        return x * one + other, hb.where(x > 0, one, other), one + other

    return lambda k: f(draw(k, 4)), None


@program
def powers_of_numbers(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        number = hb.round(x.abs().max()).item()
        return x.abs() ** number, number ** hb.abs(x)

    return lambda k: f(draw(k, 4)), None


# ---- what others hold of what a loop moves about
@program
def two_that_change_places(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any, c: Any) -> Any:
        x, y = x * 1.5, y * 2.5
        first = [x]
        while c.norm() > 1.0:
            c = c * 0.75
            x, y = y, x
        return first[0] + 0.0, x, y

    return lambda k: f(draw(k, 3), draw(k + 1, 3), draw(k + 2, 3, scale=1 + k % 7)), None


@program
def three_that_change_places(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any, z: Any, c: Any) -> Any:
        x, y, z = x * 1.5, y * 2.5, z * 0.5
        first = {"x": x, "z": z}
        while c.norm() > 1.0:
            c = c * 0.75
            x, y, z = y, z, x
        return first["x"] + first["z"], x, y, z

    given = lambda k: (draw(k, 3), draw(k + 1, 3), draw(k + 2, 3))  # noqa: E731
    return lambda k: f(*given(k), draw(k + 3, 3, scale=1 + k % 7)), None


@program
def a_truth_that_stays(jit: Any) -> Any:
    @jit
    def f(x: Any, flag: Any) -> Any:
        for turn in range(6):
            if flag:
                break
            x = x * 0.75 + 0.125
        return x, flag, turn

    return lambda k: f(draw(k, 3), hb.tensor(k % 3 == 2)), None


@program
def truths_that_change_places(jit: Any) -> Any:
    @jit
    def f(x: Any, flag: Any, other: Any) -> Any:
        flag, other = ~flag, ~other
        both = [flag, other]
        for _ in range(7):
            if not flag:
                break
            x = x * 0.75
            flag, other = other, flag
        return x, flag, both[0], both[1]

    return lambda k: f(draw(k, 3), hb.tensor(k % 3 == 2), hb.tensor(k % 4 > 1)), None
