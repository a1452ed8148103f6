"""Loops whose turns take different ways: bisection, searches, steps that are taken or not."""

from __future__ import annotations

from typing import Any

from actions.harness import box, suite

import hybrid as hb

from .guards import draw

__all__ = ["FEW", "PROGRAMS"]

FEW, few = suite()  # programs that a handful of plans serve
PROGRAMS, program = suite()


@few
def bisection(jit: Any) -> Any:
    @jit
    def f(c: Any) -> Any:
        low, high = c * 0 - 10, c * 0 + 10
        for _ in range(24):
            mid = (low + high) / 2
            if (mid**3 + mid - c).sum() > 0:
                high = mid
            else:
                low = mid
        return (low + high) / 2

    return lambda k: f(draw(k, 1, scale=5.0)), None


@few
def bisection_until_near(jit: Any) -> Any:
    @jit
    def f(c: Any) -> Any:
        low, high = c * 0 - 10, c * 0 + 10
        while (high - low).max() > 0.001:
            mid = (low + high) / 2
            if (mid**3 + mid - c).sum() > 0:
                high = mid
            else:
                low = mid
        return low, high

    return lambda k: f(draw(k, 1, scale=5.0)), None


@few
def patience(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        best, bad, steps = float("inf"), 0, 0
        while bad < 3:
            x = hb.sin(x * 1.7 + 0.1)
            value = float((x * x).sum())
            if value < best - 0.01:
                best, bad = value, 0
            else:
                bad += 1
            steps += 1
            if steps > 30:
                break
        return x, best, steps

    return lambda k: f(draw(k, 3)), None


@few
def three_ways(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        x = x * 1.0
        for _ in range(60):
            if x.sum() > 1.0:
                x = x * 0.5 - 0.1
            elif x.sum() < -1.0:
                x = x * 0.7 + 0.4
            else:
                x = x * 1.9 + 0.05
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 3)), None


@program
def a_search_that_ends_early(jit: Any) -> Any:
    @jit
    def f(c: Any, near: Any) -> Any:
        low, high = c * 0 - 10, c * 0 + 10
        for turn in range(30):
            mid = (low + high) / 2
            error = (mid**3 + mid - c).sum()
            if error.abs() < near:
                break
            if error > 0:
                high = mid
            else:
                low = mid
        else:
            turn = -1
        return mid, turn

    return lambda k: f(draw(k, 1, scale=5.0), hb.tensor(10.0 ** -(k % 9))), None


@program
def what_others_hold(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any) -> Any:
        x, y = x * 1.5, y * 2.5
        first, state = [x, y], box(start=y)
        for _ in range(20):
            if (x - y).sum() > 0:
                x, y = y, x * 0.875 + first[0] * 0.125
            else:
                x = x * 0.75 + state.start * 0.25
        return first[0] + 0.0, first[1] * 1.0, x, y

    return lambda k: f(draw(k, 3), draw(k + 1, 3)), None


@program
def places_that_ways_exchange(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any, z: Any) -> Any:
        x, y, z = x + 0.5, y * 2.0, z - 0.25
        held = {"x": x, "y": y, "z": z}
        for _ in range(16):
            if x.sum() > y.sum():
                x, y = y, x
            elif y.sum() > z.sum():
                y, z = z, y
            else:
                x = x + 0.375
        return held["x"] - held["z"], held["y"] * 1.0, x, y, z

    return lambda k: f(draw(k, 3), draw(k + 1, 3), draw(k + 2, 3)), None


@program
def a_way_that_comes_late(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        x = x * 1.0
        count = 0
        for _ in range(25):
            if x.norm() > 3.0:
                x = x * 0.25
                count += 1
            elif x[0] > 0 and x[1] > 0:
                x = x + 0.5
            else:
                x = hb.cos(x * 5.0)
        return x, count

    return lambda k: f(draw(k, 2, scale=0.5 + k % 5)), None


@program
def ways_that_go_on_or_break(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        total = x * 0.0
        for _ in range(18):
            x = hb.sin(x * 2.5)
            if x.sum() < 0:
                continue
            total = total + x
            if total.norm() > 4.0:
                break
        return total, x

    return lambda k: f(draw(k, 3)), None


@program
def indices_that_only_one_way_uses(jit: Any) -> Any:
    @jit
    def f(x: Any, at: Any) -> Any:
        x = x * 1.0
        for _ in range(12):
            if x.sum() > 0:
                x = x - hb.take(x, at, axis=0)
            else:
                x = x + 0.75
        return x

    def call(k: int) -> Any:
        return f(draw(k, 3), hb.tensor([k % 3, 9 if k % 11 == 10 else 0, 1]))

    return call, None


@program
def gradients_through_ways(jit: Any) -> Any:
    weight = hb.tensor([0.5, 1.5], requires_grad=True)

    @jit
    def f(x: Any) -> Any:
        x = x * 1.0
        for _ in range(4):
            x = x * weight if x.sum() > 0 else x + weight
        return x.sum()

    def call(k: int) -> Any:
        weight.grad = None
        f(draw(k, 2)).backward()
        return weight.grad

    return call, weight
