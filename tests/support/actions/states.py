"""Places that are bound anew, errors, and what no replay can do."""

from __future__ import annotations

import copy
import types
from typing import Any

import numpy as np

import hybrid as hb
from hybrid.decorator import Function

from .harness import box, data, suite

PROGRAMS, replayed = suite()
REFUSED, refused = suite()


@replayed
def rebind_a_tensor(jit: Any) -> Any:
    s = box(hidden=data(0), ready=False)

    @jit
    def f(x: Any) -> Any:
        s.hidden = s.hidden * 0.5 + x
        s.ready = True
        return s.hidden

    def call(k: int) -> Any:
        s.ready = k % 2 == 0 and None
        return f(data(k))

    return call, s


@replayed
def swap_attributes(jit: Any) -> Any:
    s = box(a=data(0), b=data(1), p=1, q=2.5)

    @jit
    def f(x: Any) -> Any:
        s.a, s.b = s.b, s.a
        s.p, s.q = s.q, s.p
        return s.a + x

    return lambda k: f(data(k)), s


@replayed
def store_a_fresh_tuple(jit: Any) -> Any:
    s = box(n=0, last=None)

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        s.n += 1
        s.last = (s.n, y, [x])
        return y

    return lambda k: f(data(k)), s


@replayed
def nonlocal_state(jit: Any) -> Any:
    state, step = data(0), 0

    @jit
    def f(x: Any) -> Any:
        nonlocal state, step
        state = state * 0.5 + x
        step = step + 1
        return state * 1

    return lambda k: (f(data(k)), state, step), None


@replayed
def error_in_a_kernel(jit: Any) -> Any:
    s = box(n=0, log=[])
    table = hb.asarray(np.arange(6, dtype=np.float32))

    @jit
    def f(i: Any) -> Any:
        s.n += 1
        y = table[i]
        s.log.append(y)
        return y

    def call(k: int) -> Any:
        before = copy.copy((s.n, len(s.log)))
        index = 99 if k == 8 else k % 6
        try:
            return f(hb.asarray(np.array([index, 0])))
        except IndexError:
            if not isinstance(f, Function):
                s.n -= 1  # a replay leaves everything as it was before the call
            assert (s.n, len(s.log)) == before
            raise

    return call, s


@replayed
def counter_in_an_op(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return x * s.n

    return lambda k: f(data(k)), s


@replayed
def counter_in_min(jit: Any) -> Any:
    s = box(n=0, m=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        s.m = min(s.n, 3) + max(abs(-s.n), 2, 1.5) + int(s.n / 2) + round(s.n / 3, 1)
        return x * 2

    return lambda k: f(data(k)), s


@refused
def log_that_is_read(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        log.append(x)
        return sum(log, x)

    return lambda k: f(data(k)), log


@refused
def own_append(jit: Any) -> Any:
    class Log(list):  # type: ignore[type-arg]
        def append(self, value: Any) -> None:
            super().append(value)
            super().append(1)

    log = Log()

    @jit
    def f(x: Any) -> Any:
        log.append(x * 2)
        return x + 1

    return lambda k: f(data(k)), log


@refused
def own_list_class(jit: Any) -> Any:
    class Log(list):  # type: ignore[type-arg]
        pass

    log = Log()

    @jit
    def f(x: Any) -> Any:
        log.append(x * 2)
        return x + 1

    return lambda k: f(data(k)), log


@refused
def own_setattr(jit: Any) -> Any:
    class Odd:
        def __setattr__(self, name: str, value: Any) -> None:
            vars(self)[name] = value + 1

    s = Odd()
    s.n = 0

    @jit
    def f(x: Any) -> Any:
        s.n = s.n + 1
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def property_counter(jit: Any) -> Any:
    class Odd:
        def __init__(self) -> None:
            self._n = 0

        @property
        def n(self) -> int:
            return self._n * 2

        @n.setter
        def n(self, value: int) -> None:
            self._n = min(value, 100)

    s = Odd()

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return x + 1

    return lambda k: f(data(k)), s


@refused
def comprehension_side_effect(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        list(map(log.append, [x, x * 2]))
        return x + 1

    return lambda k: f(data(k)), log


@refused
def argument_list(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any, out: Any) -> Any:
        out.append(x * 2)
        return x + 1

    return lambda k: f(data(k), log), log


@replayed
def counter_as_text(jit: Any) -> Any:
    s = box(n=0, names={})

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        s.names[f"step{s.n}"] = x * 2
        return x + 1

    return lambda k: f(data(k)), s


@refused
def counter_seen_by_c_code(jit: Any) -> Any:
    s = types.SimpleNamespace(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return x * len(repr(s))

    return lambda k: f(data(k)), s


@replayed
def counter_through_a_fresh_dict(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        d = {}
        d["n"] = s.n
        return x * sum(d.values())

    return lambda k: f(data(k)), s
