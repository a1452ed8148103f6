"""Loops that a value of a tensor ends: while, for with break, decoding, nested ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from actions.harness import suite

import hybrid as hb

from .guards import draw

__all__ = ["PROGRAMS", "ROLLED"]

PROGRAMS, program = suite()
ROLLED, rolls = suite()  # whose turns become one node

VOCABULARY = 16
END = VOCABULARY - 1


def _decoder() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "tokens": hb.tensor(rng.normal(size=(VOCABULARY, 8)).astype(np.float32)),
        "hidden": hb.tensor((rng.normal(size=(8, 8)) / 3).astype(np.float32)),
        "out": hb.tensor(rng.normal(size=(8, VOCABULARY)).astype(np.float32)),
    }


@rolls
def shrinks(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.9
        return x

    return lambda k: f(draw(k, 4, scale=2 + k % 7)), None


@rolls
def decodes(jit: Any) -> Any:
    given, end = _decoder(), hb.arange(VOCABULARY) == END

    @jit
    def decode(state: Any, stop: Any) -> Any:
        token, count = hb.tensor(0), hb.tensor(0)
        while token != END:
            state = hb.tanh(state @ given["hidden"] + given["tokens"][token])
            scores = (state @ given["out"])[0]
            count = count + 1
            token = hb.where((count >= stop) == end, scores, -1e9).argmax()
        return count, token, state

    stops = np.random.default_rng(1).permutation(np.arange(1, 51))
    return lambda k: decode(draw(k % 50, 1, 8), hb.tensor(int(stops[k % 50]))), None


@rolls
def breaks(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        for _ in range(60):
            update = x - hb.cos(x)
            x = x - 0.3 * update
            if update.abs().max() < 1e-3:
                break
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 5)), None


@rolls
def helper_decides(jit: Any) -> Any:
    limit = hb.tensor(1.0)

    def done(x: Any) -> bool:
        return bool(x.abs().sum() < limit)

    def smaller(x: Any) -> Any:
        return x * 0.8

    @jit
    def f(x: Any) -> Any:
        y = x + 1
        while not done(x):
            x = smaller(x)
            y = y + x
        return x, y

    return lambda k: f(draw(k, 3, scale=3 + k % 4)), None


@rolls
def state_in_a_tuple(jit: Any) -> Any:
    def cell(x: Any, state: Any) -> Any:
        h, c = state
        c = c + 0.05 * x
        return hb.tanh(h + c), c

    @jit
    def f(x: Any) -> Any:
        state = x * 0, x * 0
        while state[1].sum() < 4:
            state = cell(x, state)
        return state

    return lambda k: f(draw(k, 4).abs() + 0.1 + k % 3), None


@rolls
def numbers_that_are_read(jit: Any) -> Any:
    @jit
    def dominant(matrix: Any, vector: Any) -> Any:
        value = 0.0
        for _ in range(100):
            product = matrix @ vector
            size = product.norm()
            vector = product / size
            if abs(float(size) - value) < 1e-4:
                break
            value = float(size)
        return size, vector

    def call(k: int) -> Any:
        half = draw(k, 4, 4)
        return dominant(half @ half.T, hb.ones(4))

    return call, None


@program
def bounded(jit: Any) -> Any:
    """The range ends some of the loops."""

    @jit
    def f(x: Any) -> Any:
        for _ in range(6):
            x = x * 0.5
            if x.norm() < 0.2:
                break
        return x

    return lambda k: f(draw(k, 3, scale=[1, 1, 100][k % 3])), None


@rolls
def counts_in_python(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        steps = 0
        while (x > 0.1).any() and steps < 90:
            x = hb.where(x > 0.1, x * 0.6, x)
            steps += 1
        return x, steps

    return lambda k: f(draw(k, 5, scale=2).abs()), None


@program
def grows_a_list(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        seen = []
        while x.norm() > 1.0:
            x = x * 0.5
            seen.append(x)
        return seen, len(seen)

    return lambda k: f(draw(k, 3, scale=1 + k % 3)), None


@program
def depends_on_the_turn(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        factor = 1.0
        for turn in range(8):
            x = x * (0.5 if turn % 2 else 0.9) * factor
            factor = factor * 0.99
            if x.norm() < 0.3:
                break
        return x, turn

    return lambda k: f(draw(k, 3)), None


@program
def writes_in_the_loop(jit: Any) -> Any:
    log = hb.zeros(3)

    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.6
            log.assign(log + x)
        return x

    return lambda k: f(draw(k, 3)), log


@program
def mutates_what_it_reads(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        rates = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
        while x.norm() > 1.0 and rates:
            x = x * rates.pop(0)
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 2)), None


@program
def iterator_from_before(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        rates = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
        while x.norm() > 1.0:
            for rate in rates:
                x = x * rate
                break
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 2)), None


@program
def previous_turn(jit: Any) -> Any:
    points = draw(0, 20, 2)

    @jit
    def cluster(centers: Any) -> Any:
        previous = None
        for _ in range(20):
            nearest = ((points[:, None] - centers) ** 2).sum(axis=-1).argmin(axis=1)
            if previous is not None and (nearest == previous).all():
                break
            members = hb.one_hot(nearest, 3)
            centers = (members.T @ points) / (members.sum(axis=0)[:, None] + 1e-6)
            previous = nearest
        return centers

    return lambda k: cluster(draw(k + 1, 3, 2)), None


@program
def gradient_through_the_loop(jit: Any) -> Any:
    weight = hb.tensor([0.5, -0.4, 0.3], requires_grad=True)

    @jit
    def f(x: Any) -> Any:
        y = x
        while (y * y).sum() > 0.1:
            y = y * weight
        y.sum().backward()
        gradient, weight.grad = weight.grad, None
        return y.detach(), gradient

    return lambda k: f(draw(k, 3)) if k % 7 else None, None


@rolls
def length_of_a_text(jit: Any) -> Any:
    given = _decoder()

    @jit
    def length(state: Any) -> Any:
        token, count = hb.tensor(0), 1
        while token != END and count < 200:
            state = hb.tanh(state @ given["hidden"] + given["tokens"][token] * 0.5)
            token = (state @ given["out"])[0].argmax()
            count += 1
        return count + 1, state

    return lambda k: length(draw(k, 1, 8) + 0.1 * draw(k + 1, 1, 8)), None


@program
def count_that_an_op_uses(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        steps = 1
        while x.norm() > 1.0:
            x = x * 0.9 / steps
            steps += 1
        return x, steps

    return lambda k: f(draw(k, 3, scale=1 + k % 9)), None


@program
def count_that_indexes(jit: Any) -> Any:
    rates = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]

    @jit
    def f(x: Any) -> Any:
        steps = 0
        while x.norm() > 1.0:
            x = x * rates[steps % 8]
            steps += 1
        return x, str(steps)

    return lambda k: f(draw(k, 3, scale=1 + k % 9)), None


@program
def count_that_decides_later(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        steps, left = 0, 10
        while x.norm() > 1.0:
            x = x * 0.8
            steps += 2
            left -= 1
        if steps > 8:
            return x, left
        return -x, steps * 2 + left

    return lambda k: f(draw(k, 3, scale=1 + k % 9)), None


@program
def count_that_goes_on(jit: Any) -> Any:
    held = {"steps": 0, "log": []}

    @jit
    def f(x: Any) -> Any:
        steps = 0
        while x.norm() > 1.0:
            x = x * 0.8
            steps += 1
        held["steps"] += steps
        held["log"].append(steps)
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 9)), held


@program
def count_that_starts_anew(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        steps = 0
        while x.norm() > 1.0:
            x = x * 0.8
            steps += 1
            if steps == 4:
                steps = 0
                x = x * 0.9
        return x, steps

    return lambda k: f(draw(k, 3, scale=1 + k % 9)), None
