"""If, early return, and/or/not, comparisons, try/except, assert, None on one way."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from actions.harness import box, suite

import hybrid as hb

__all__ = ["PROGRAMS", "draw"]

PROGRAMS, program = suite()


@functools.cache
def _drawn(k: int, shape: tuple[int, ...]) -> Any:
    values = np.random.default_rng(7 * k + len(shape)).normal(size=shape)
    return values.astype(np.float32)


def draw(k: int, *shape: int, scale: float = 1.0) -> Any:
    """A tensor of normal numbers that depend on k."""
    return hb.tensor(_drawn(k, shape) * np.float32(scale))


@program
def if_else(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        if x.sum() > 0:
            return x * 2
        return -x

    return lambda k: f(draw(k, 5)), None


@program
def nested_ifs(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        if x[0] > 0:
            if x[1] > 0:
                return x + 1
            x = x * 3
        elif x[2] > 0:
            x = x - 4
        return x.exp()

    return lambda k: f(draw(k, 3)), None


@program
def truth_of_numbers(jit: Any) -> Any:
    @jit
    def f(x: Any, n: Any) -> Any:
        out = x
        if x[0]:
            out = out + 1
        if not n:
            out = out * 2
        return out

    def call(k: int) -> Any:
        first = [0.0, -0.0, float("nan"), 1e-40, 2.0][k % 5]
        return f(hb.tensor([first, 1.0]), hb.tensor(k % 3))

    return call, None


@program
def short_circuits(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any) -> Any:
        both = x.mean() > 0 and y.mean() > 0
        either = x.mean() > 1 or not y.max() < 2
        return (x + y if both else x - y), either

    return lambda k: f(draw(k, 3), draw(k + 100, 3)), None


@program
def item_in_a_branch(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        size = x.norm().item()
        if size > 1.5:
            return x / 2
        if 0.5 * size - 0.25 <= 0.4:
            return x + 1
        return x

    return lambda k: f(draw(k, 3, scale=0.8)), None


@program
def chained_numbers(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        ratio = float(x.mean())
        if -0.2 < ratio < 0.3:
            return x
        return x * 0.25 if ratio <= 0 else x * 2

    return lambda k: f(draw(k, 3)), None


@program
def number_is_returned_too(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        loss = (x**2).mean()
        value = loss.item()
        if value < 0.7:
            return {"loss": value, "small": True}
        return {"loss": value, "x": x * 2}

    return lambda k: f(draw(k, 3)), None


@program
def an_index_that_is_compared(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        best = int(x.argmax())
        if best == 2:
            return x * 2
        if best > 2 or best <= 0:
            return x - 1
        return x

    return lambda k: f(draw(k, 5)), None


@program
def smaller_of_two(jit: Any) -> Any:
    @jit
    def f(a: Any, b: Any) -> Any:
        return max(a.mean(), b.mean()) * min(a, b, key=lambda t: t.sum())

    return lambda k: f(draw(k, 4), draw(k + 50, 4)), None


@program
def none_on_one_way(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        return x.argmax() if x.max() > 1.2 else None

    return lambda k: f(draw(k, 6)), None


@program
def raised_and_caught(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        try:
            if not hb.isfinite(hb.exp(x)).all():
                raise OverflowError("too large")
            return hb.exp(x)
        except OverflowError:
            return x * 0

    return lambda k: f(draw(k, 3, scale=100.0 if k % 4 == 3 else 1.0)), None


@program
def assertion(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        assert x.max() < 1.5, "large"
        return x.softmax(axis=0)

    return lambda k: f(draw(k, 4)), None


@program
def generator_of_truths(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        if any(part > 1 for part in x):
            x = hb.minimum(x, 1.0)
        if all(part > -1 for part in x):
            return x * 2
        return x

    return lambda k: f(draw(k, 3)), None


@program
def chosen_in_a_comprehension(jit: Any) -> Any:
    scales = [hb.tensor(s) for s in (0.5, -1.0, 2.0)]

    @jit
    def f(x: Any) -> Any:
        used = [s for s in scales if (x * s).sum() > 0]
        return sum((x * s for s in used), x), len(used)

    return lambda k: f(draw(k, 3)), None


@program
def index_that_only_one_way_may_use(jit: Any) -> Any:
    table = hb.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))

    @jit
    def f(row: Any) -> Any:
        if row >= 4:
            return table[0] * -1
        return table[row]

    return lambda k: f(hb.tensor((k * 3) % 7)), None


@program
def loop_that_only_one_way_ends(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        if x <= 0:
            return x
        return hb.while_loop(lambda v: (v > 1e-3) | (v <= 0), lambda v: v * 0.5, x)

    return lambda k: f(draw(k)), None


@program
def helpers_decide(jit: Any) -> Any:
    settings = box(limit=hb.tensor(0.1), factor=hb.tensor(3.0))

    def large(x: Any) -> bool:
        return bool(x.mean() > settings.limit)

    def scaled(x: Any) -> Any:
        return x * settings.factor if large(x) else x

    @jit
    def f(x: Any) -> Any:
        return scaled(scaled(x) - 0.2)

    def call(k: int) -> Any:
        settings.limit = hb.tensor(0.1 * (k % 3))
        return f(draw(k, 4))

    return call, settings


@program
def facts_of_one_way(jit: Any) -> Any:
    cfg = box(up=2.0, down=3.0)

    @jit
    def f(x: Any) -> Any:
        if x.sum() > 0:
            return x * cfg.up
        return x * cfg.down

    def call(k: int) -> Any:
        cfg.up = 2.0 if k < 20 else 5.0
        cfg.down = 3.0 if k < 28 else 7.0
        return f(draw(k, 3))

    return call, cfg


@program
def gradient_of_a_result(jit: Any) -> Any:
    weight = hb.tensor([0.5, -1.0, 2.0], requires_grad=True)

    @jit
    def f(x: Any) -> Any:
        y = (x * weight).sum()
        return y * y if y > 0 else -y

    def call(k: int) -> Any:
        loss = f(draw(k, 3))
        loss.backward()
        gradient, weight.grad = weight.grad, None
        return loss.detach(), gradient

    return call, None


@program
def argument_itself(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        size = x.norm()
        if size <= 1.5:
            return x
        return x / size

    def call(k: int) -> Any:
        x = draw(k, 3)
        result = f(x)
        return result, result is x

    return call, None
