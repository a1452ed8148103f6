"""Programs whose turns look alike although Python changes between them, or whose ways share facts."""

from __future__ import annotations

import itertools
from typing import Any

from actions.harness import box, suite

import hybrid as hb

from .guards import draw

__all__ = ["PROGRAMS"]

PROGRAMS, program = suite()


@program
def counter_in_an_object(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.8
            s.n += 1
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), s


@program
def stops_by_an_object(jit: Any) -> Any:
    """The object ends long loops, which is not seen in short ones."""
    s = box(left=0)

    def budget() -> bool:
        s.left -= 1
        return s.left > 0

    @jit
    def f(x: Any) -> Any:
        s.left = 6
        while x.norm() > 1.0 and budget():
            x = x * 0.8
        return x

    return lambda k: f(draw(k, 3, scale=[1, 1.5, 1, 30][k % 4])), None


@program
def local_int_ends_long_loops(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        left = 7
        while x.norm() > 1.0:
            x = x * 0.8
            left -= 1
            if not left:
                return x * 100
        return x

    return lambda k: f(draw(k, 3, scale=[1, 1.5, 1, 30][k % 4])), None


@program
def range_ends_long_loops(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        for _ in range(9):
            x = x * 0.8
            if x.norm() < 1.0:
                break
        else:
            return x * 100
        return x

    return lambda k: f(draw(k, 3, scale=[1.5, 2, 1.5, 30][k % 4])), None


@program
def list_ends_long_loops(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        for _ in [0] * 9:
            x = x * 0.8
            if x.norm() < 1.0:
                return x
        return x * 100

    return lambda k: f(draw(k, 3, scale=[1.5, 2, 1.5, 30][k % 4])), None


@program
def two_iterators(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        for _, _ in zip(range(50), range(8)):
            x = x * 0.8
            if x.norm() < 1.0:
                return x
        return x * 100

    return lambda k: f(draw(k, 3, scale=[1.5, 2, 1.5, 30][k % 4])), None


@program
def iterator_of_the_module(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        turns = itertools.count()
        while x.norm() > 1.0:
            x = x * 0.8
            if next(turns) > 6:
                return x * 100
        return x

    return lambda k: f(draw(k, 3, scale=[1.5, 2, 1.5, 30][k % 4])), None


@program
def flags_that_flip(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        odd = False
        while x.norm() > 1.0:
            x = x * (0.8 if odd else 0.9)
            odd = not odd
        return x if odd else -x

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def closure_that_changes(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        left = 6

        def more() -> bool:
            nonlocal left
            left -= 1
            return left > 0

        while x.norm() > 1.0 and more():
            x = x * 0.8
        return x

    return lambda k: f(draw(k, 3, scale=[1.5, 2, 1.5, 30][k % 4])), None


@program
def dict_of_tensors(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        held = {"x": x}
        while held["x"].norm() > 1.0:
            held["x"] = held["x"] * 0.8
        return held["x"]

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def in_place(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        y = x + 0
        while y.norm() > 1.0:
            y *= 0.8
        return y

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def the_last_two(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        previous = x
        while x.norm() > 1.0:
            previous, x = x, x * 0.8
        return previous, x

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def one_from_the_middle(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        first = None
        while x.norm() > 1.0:
            x = x * 0.8
            if first is None:
                first = x
        return first, x

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def views_in_turns(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        y = x.reshape(3, 1)
        while y.norm() > 1.0:
            y = (y * 0.8).reshape(3, 1)
        y += 1
        return y

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def aliases(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        y = x + 1
        z = y
        while y.norm() > 1.0:
            y = y * 0.8
            z = y
        z += 1
        return y, z, y is z

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def the_argument_itself(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.8
        return x

    def call(k: int) -> Any:
        x = draw(k, 3, scale=0.3 + k % 4)
        result = f(x)
        return result, result is x

    return call, None


@program
def two_loops(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.8
        while (y * x).norm() > 0.1:
            y = y * 0.7
        return x + y

    return lambda k: f(draw(k, 3, scale=1 + k % 4), draw(k + 1, 3, scale=2 + k % 3)), None


@program
def nested_loops(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.8
            while y.norm() > x.norm():
                y = y * 0.9
        return x + y

    return lambda k: f(draw(k, 3, scale=1 + k % 4), draw(k + 1, 3, scale=2 + k % 3)), None


@program
def two_exits(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.8
            if y.sum() > 2:
                return y
            y = y + 0.3 * x.abs()
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 4), draw(k + 1, 3)), None


@program
def branch_inside_a_loop(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            if x.sum() > 0:
                x = x * 0.8
            else:
                x = x * 0.6 + 0.1
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def index_errors_in_turns(jit: Any) -> Any:
    table = hb.tensor([1.0, 2.0, 3.0, 4.0])

    @jit
    def f(i: Any) -> Any:
        total = table[i] * 0
        while total < 5:
            total = total + table[i]
            i = i + 1
        return total, i

    return lambda k: f(hb.tensor(k % 4)), None


@program
def facts_of_the_loop(jit: Any) -> Any:
    s = box(rate=0.8, limit=1.0)

    @jit
    def f(x: Any) -> Any:
        while x.norm() > s.limit:
            x = x * s.rate
        return x

    def call(k: int) -> Any:
        s.rate = 0.8 if k < 15 else 0.7
        s.limit = 1.0 if k < 25 else 0.5
        return f(draw(k, 3, scale=1 + k % 4))

    return call, s


@program
def captured_tensor_is_replaced(jit: Any) -> Any:
    s = box(rate=hb.tensor(0.8))

    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            x = x * s.rate
        return x

    def call(k: int) -> Any:
        s.rate = hb.tensor(0.5 + 0.05 * (k % 7))
        return f(draw(k, 3, scale=1 + k % 4))

    return call, s


@program
def random_in_the_loop(jit: Any) -> Any:
    hb.manual_seed(5)

    @jit
    def f(x: Any) -> Any:
        while x.norm() > 1.0:
            x = x * hb.random.uniform(size=(3,)) if hasattr(hb.random, "uniform") else x * 0.5
        return x

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def temporary_on_the_stack(jit: Any) -> Any:
    def settled(x: Any) -> Any:
        while x.norm() > 1.0:
            x = x * 0.8
        return x

    @jit
    def f(x: Any) -> Any:
        total = x * 0
        for _ in range(3):
            total = total + settled(x + total)
        return total

    return lambda k: f(draw(k, 3, scale=1 + k % 4)), None


@program
def accumulates_on_the_stack(jit: Any) -> Any:
    def step(x: Any, left: int) -> Any:
        return x if x.norm() < 1.0 or not left else x + step(x * 0.7, left - 1)

    @jit
    def f(x: Any) -> Any:
        return step(x, 6)

    return lambda k: f(draw(k, 3, scale=[1, 1.5, 1, 30][k % 4])), None
