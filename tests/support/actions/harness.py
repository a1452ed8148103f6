"""What the programs about commit actions share: inputs, comparison of results and Python state.

A program `p(jit)` gives a call by number and the state to compare after each call; it runs
decorated and plain, and results, their bits, and all state (identities of shared objects, too)
must agree.
"""

from __future__ import annotations

import collections
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb
from hybrid import Widened
from hybrid.decorator import Function, RunsEagerly, function
from hybrid.ir.tensor import Handle

__all__ = ["Box", "both", "box", "data", "suite"]

Program = Callable[[Any], tuple[Callable[[int], Any], Any]]


def suite() -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """A table of programs and the decorator that fills it."""
    programs: dict[str, Any] = {}

    def program(f: Any) -> Any:
        programs[f.__name__] = f
        return f

    return programs, program


def data(k: int, n: int = 4) -> Any:
    return hb.asarray((np.arange(n, dtype=np.float32) + 1) * (0.5 + k))


def norm(value: Any, seen: dict[int, int] | None = None) -> Any:
    """A value as plain data; objects that are shared have one number."""
    seen = {} if seen is None else seen
    if isinstance(value, Handle):
        new = id(value) not in seen
        number = seen.setdefault(id(value), len(seen))
        array = np.asarray(value.numpy())
        return ("tensor", number, str(array.dtype), array.shape, array.tobytes() if new else "")
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, value.tobytes())
    kind = type(value).__name__
    if isinstance(value, (list, tuple, collections.deque, dict, set)) or hasattr(value, "__dict__"):
        if id(value) in seen:
            return ("again", seen[id(value)])
        seen[id(value)] = len(seen)
    if isinstance(value, (list, tuple, collections.deque)):
        return (kind, [norm(v, seen) for v in value])
    if isinstance(value, dict):
        return (kind, [(norm(k, seen), norm(v, seen)) for k, v in value.items()])
    if isinstance(value, set):
        return (kind, sorted(map(repr, value)))
    if isinstance(value, types.FunctionType):
        return [norm(c.cell_contents, seen) for c in value.__closure__ or ()]
    if hasattr(value, "__dict__"):
        return (kind, norm(vars(value), seen))
    if hasattr(type(value), "__slots__"):
        return (kind, [(n, norm(getattr(value, n, None), seen)) for n in type(value).__slots__])
    return (kind, repr(value))


def trace_of(program: Program, jit: Any, calls: int) -> list[Any]:
    """What each call gives and leaves."""
    call, state = program(jit)
    out = []
    for k in range(calls):
        try:
            result = call(k)
        except Exception as error:
            result = type(error).__name__
        out.append(norm([result, state]))
    return out


def both(program: Program, calls: int = 14) -> list[Function]:
    made: list[Function] = []

    def jit(f: Any) -> Function:
        made.append(function(f))
        return made[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Widened)
        want = trace_of(program, lambda f: f, calls)
        warnings.simplefilter("ignore", RunsEagerly)
        got = trace_of(program, jit, calls)
    for k, (mine, theirs) in enumerate(zip(got, want)):
        assert mine == theirs, (k, made[0].explain())
    return made


class Box:
    pass


def box(**names: Any) -> Box:
    made = Box()
    vars(made).update(names)
    return made
