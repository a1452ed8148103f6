"""Whether a number is finite, infinite, not a number or whole, and NumPy's functions of one number:
of numbers read from tensors, drawn, given, or kept in Python.

Each program runs decorated and plain over many calls; results, types and state must agree.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from actions.harness import both, box

import hybrid as hb
from hybrid.decorator import RunsEagerly, function
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = pytest.mark.skipif(
    not SUPPORTED, reason="no table of instructions for this interpreter"
)
VALUES = [
    1.5,
    2.0,
    -3.25,
    math.nan,
    4.0,
    math.inf,
    0.5,
    -math.inf,
    -0.0,
    7.0,
    1e-42,
    3.0e38,
    math.nan,
    8.5,
]
QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "isnan": math.isnan,
    "isinf": math.isinf,
    "isfinite": math.isfinite,
    "np.isnan": np.isnan,
    "np.isinf": np.isinf,
    "np.isfinite": np.isfinite,
}
READS: dict[str, Callable[[Any], Any]] = {
    "item": lambda t: t.item(),
    "float": lambda t: float(t),
    "scaled": lambda t: t.item() * 0.5 - 1.0,
    "clamped": lambda t: min(t.item(), 5.0),
    "tensor": lambda t: t,
    "count": lambda t: (t > 1.0).sum().item(),
    "whole": lambda t: int((t > 1.0).sum()),
}


def scalar(k: int, dtype: str = "float32") -> Any:
    return hb.tensor(np.asarray([VALUES[k % len(VALUES)]] * 3, dtype))


def branching(asked: Callable[[Any], Any], read: Callable[[Any], Any], dtype: str) -> Any:
    def program(jit: Any) -> Any:
        s = box(bad=0)

        @jit
        def f(x: Any) -> Any:
            if asked(read((x * 2).mean())):
                s.bad += 1
                return x
            return (x * 3).tanh() + 1

        return lambda k: f(scalar(k, dtype)), s

    return program


def kept(asked: Callable[[Any], Any], read: Callable[[Any], Any], dtype: str) -> Any:
    def program(jit: Any) -> Any:
        s = box(bad=0, last=None, whole=0)

        @jit
        def f(x: Any) -> Any:
            value = asked(read((x * 2).mean()))
            s.bad += bool(value)
            s.whole += int(value)
            s.last = value
            return x * 2, not value, [value]

        return lambda k: f(scalar(k, dtype)), s

    return program


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("asked", QUESTIONS)
def test_questions_of_what_is_read_from_a_tensor(asked: str, read: str, dtype: str) -> None:
    if read == "tensor" and asked.startswith("np."):
        return
    for make in branching, kept:
        (f,) = both(make(QUESTIONS[asked], READS[read], dtype), 56)
        if read != "clamped":  # its type is not known to NumPy's functions
            assert f.cache_info().replays > 25, f.explain()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whether_a_float_is_whole(dtype: str) -> None:
    def asked(value: Any) -> Any:
        return value.is_integer()

    for make in branching, kept:
        for read in ("item", "float", "scaled"):
            (f,) = both(make(asked, READS[read], dtype), 56)
            assert f.cache_info().replays > 25, f.explain()


@pytest.mark.parametrize("asked", QUESTIONS)
def test_several_questions_in_one_condition(asked: str) -> None:
    ask = QUESTIONS[asked]

    def program(jit: Any) -> Any:
        s = box(skipped=[])

        @jit
        def f(x: Any) -> Any:
            loss, least = x.sum().item(), x.abs().min().item()
            if not ask(loss) and not (ask(least) or least > 3.0):
                return x * 2
            s.skipped.append(loss)
            return -x

        return lambda k: f(scalar(k)), s

    (f,) = both(program, 56)
    assert f.cache_info().replays > 20, f.explain()


@pytest.mark.parametrize("asked", [*QUESTIONS, "is_integer"])
def test_questions_of_given_and_kept_numbers(asked: str) -> None:
    ask = QUESTIONS.get(asked, lambda v: v.is_integer())
    kinds = [0.5, 1.0, 2.5, 3, math.nan, 10**30, 1e300, 10**400, -4, True, math.inf, 5.0, 6.5]

    def given(jit: Any) -> Any:
        @jit
        def f(x: Any, v: Any) -> Any:
            return x * 2 if ask(v) else -x

        return lambda k: f(scalar(0), kinds[k % len(kinds)]), None

    def held(jit: Any) -> Any:
        s = box(v=0.5)

        @jit
        def f(x: Any) -> Any:
            return (x * 2, ask(s.v)) if ask(s.v) else -x

        def call(k: int) -> Any:
            s.v = kinds[k % len(kinds)] if k % 7 == 6 else k * 0.25
            return f(scalar(0))

        return call, s

    both(given, 60)
    both(held, 60)


def test_an_int_that_may_be_too_large_for_a_float() -> None:
    def program(jit: Any) -> Any:
        huge = 10**400

        @jit
        def f(x: Any) -> Any:
            return (
                -x if math.isnan(max(x.sum().item(), huge) if x[0] > 3 else x.sum().item()) else x
            )

        return lambda k: f(scalar(k)), None

    both(program, 40)


def drawn(read: Callable[[], Any], compare: Callable[[Any, Any], Any]) -> Any:
    def program(jit: Any) -> Any:
        random.seed(3)
        np.random.seed(3)
        s = box(taken=0, last=None)

        @jit
        def f(x: Any) -> Any:
            found = compare(read(), x.mean().item())
            s.last = found
            if found:
                s.taken += 1
                return x * 2
            return x - 1

        return lambda k: f(scalar(k)), s

    return program


SCALARS: dict[str, Callable[[], Any]] = {
    "log of rand": lambda: np.log(np.random.rand()),
    "log of random": lambda: np.log(random.random()),
    "exp of normal": lambda: np.exp(-np.random.normal()),
    "hypot": lambda: np.hypot(np.random.rand(), random.gauss(0, 1)),
    "sqrt of negative": lambda: np.sqrt(np.random.uniform(-1.0, 3.0)),
    "float32": lambda: np.float32(np.random.rand()),
    "int": lambda: np.add(np.random.randint(5), 1),
}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("symbol", ["<", ">=", "mirrored", "=="])
def test_functions_of_drawn_numbers_beside_what_is_read(name: str, symbol: str) -> None:
    compare: Callable[[Any, Any], Any] = {
        "<": lambda a, b: a < b,
        ">=": lambda a, b: a >= b,
        "mirrored": lambda a, b: b < a,
        "==": lambda a, b: a == b,
    }[symbol]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        (f,) = both(drawn(SCALARS[name], compare), 60)
    if name in ("log of rand", "log of random", "exp of normal", "hypot"):
        assert f.cache_info().replays > 30, f.explain()


def test_functions_of_drawn_numbers_as_operands_and_results() -> None:
    def program(jit: Any) -> Any:
        np.random.seed(5)
        s = box(log=[])

        @jit
        def f(x: Any, scale: float) -> Any:
            factor = np.sqrt(np.random.rand())
            s.log.append(np.sin(scale))
            return x * factor, np.exp(scale), np.log1p(np.random.rand()) < -0.5

        return lambda k: f(scalar(0), 0.5 + k), s

    both(program, 40)


def test_warnings_of_numpy_come_where_they_come_plainly() -> None:
    def warned(jit: Any) -> list[Any]:
        s = box(v=1.0)

        @jit
        def f(x: Any) -> Any:
            return x * 2 if np.log(s.v) < 0.5 else -x

        out = []
        for k in range(40):
            s.v = -1.0 if k % 11 == 10 else 0.0 if k % 13 == 12 else 1.0 + k % 3
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                warnings.simplefilter("ignore", RunsEagerly)
                out.append(
                    (f(scalar(0)).numpy().tolist(), [(str(w.message), w.lineno) for w in told])
                )
        return out

    assert warned(function) == warned(lambda f: f)
