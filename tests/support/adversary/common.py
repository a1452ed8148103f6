"""What the adversarial programs share: inputs, comparison to the bit, and the harness."""

from __future__ import annotations

import contextlib
import io
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb
from hybrid import Widened
from hybrid.decorator import Function, RunsEagerly, function

__all__ = ["NS", "X", "check", "norm", "run", "same", "suite", "two"]

NS = types.SimpleNamespace


def X(k: float = 1.0) -> Any:
    """A small input."""
    return hb.tensor(np.float32([k, 2 * k, -3 * k]))


def suite() -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """A table of cases and the decorator that fills it."""
    cases: dict[str, Any] = {}

    def case(f: Any) -> Any:
        cases[f.__name__] = f
        return f

    return cases, case


def two(f: Any, change: Any, n: int = 4, m: int = 3, args: Any = lambda: (X(),)) -> list[Any]:
    """n calls, a change of Python state, m calls."""
    r = [f(*args()) for _ in range(n)]
    change()
    return r + [f(*args()) for _ in range(m)]


def norm(v: Any) -> Any:
    """Results as plain data."""
    if isinstance(v, hb.Tensor):
        return v.numpy().copy()
    return [norm(a) for a in v] if isinstance(v, (list, tuple)) else v


def same(a: Any, b: Any) -> bool:
    """Equal to the bit."""
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        if not isinstance(b, np.ndarray):
            return False
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def run(program: Any, jit: Any) -> tuple[Any, str]:
    """What a program returned and printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = norm(program(jit))
    return result, out.getvalue()


def check(program: Any) -> list[Function]:
    """A program gives and prints the same plain and decorated; the functions that it decorated."""
    made: list[Function] = []

    def jit(f: Any) -> Function:
        made.append(function(f))
        return made[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Widened)
        want = run(program, lambda f: f)
        warnings.simplefilter("ignore", RunsEagerly)
        got = run(program, jit)
    assert same(want[0], got[0])
    assert want[1] == got[1]
    return made
