"""Objects and functions of the standard library that a step uses, and what changes between calls."""

from __future__ import annotations

import copy
import datetime
import functools
import heapq
import re
import sys
import weakref
from typing import Any

import hybrid as hb
from hybrid import nn

from ..harness import box, data, suite

PROGRAMS, replayed = suite()
REFUSED, refused = suite()


@replayed
def copy_then_change(jit: Any) -> Any:
    p = {"w": data(1), "b": [data(2)]}

    @jit
    def f(x: Any) -> Any:
        q = copy.deepcopy(p)
        q["w"] += x
        return q["w"] * 2, q

    def call(k: int) -> Any:
        if k % 7 == 3:
            p["w"] = data(k)
        if k % 7 == 5:
            p["b"][0] += 1
        return f(data(k))

    return call, p


@replayed
def copy_parameters(jit: Any) -> Any:
    hb.manual_seed(1)
    m = nn.Linear(4, 2)
    s = box(best=None)

    @jit
    def f(x: Any) -> Any:
        s.best = copy.deepcopy(m.weight)
        return m(x).sum()

    def call(k: int) -> Any:
        if k % 5 == 0:
            m.weight.assign(m.weight.detach() * 0.9)
        return f(data(k))

    return call, s


@replayed
def weak_referent(jit: Any) -> Any:
    s = box(o=box(a=2.0), r=None)
    s.r = weakref.ref(s.o)

    @jit
    def f(x: Any) -> Any:
        o = s.r()
        return x if o is None else x * o.a

    def call(k: int) -> Any:
        if k == 10:
            s.o.a = 3.0
        if k == 20:
            s.o = box(a=5.0)
        if k == 25:
            s.r = weakref.ref(s.o)
        return f(data(k))

    return call, None


@replayed
def weak_keys(jit: Any) -> Any:
    d = weakref.WeakKeyDictionary()
    keys = [box(a=1.0), box(a=2.0)]
    for i, o in enumerate(keys):
        d[o] = float(i + 1)

    @jit
    def f(x: Any) -> Any:
        return x * d[keys[0]] + len(d)

    def call(k: int) -> Any:
        if k == 9:
            d[keys[0]] = 7.0
        if k == 20:
            keys.pop()
        return f(data(k))

    return call, None


@replayed
def exc_state(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        return x * 2 if sys.exc_info()[0] is None else x * 3

    def call(k: int) -> Any:
        if k % 4 == 3:
            try:
                raise ValueError
            except ValueError:
                return f(data(k))
        return f(data(k))

    return call, None


@replayed
def dispatch_late(jit: Any) -> Any:
    @functools.singledispatch
    def g(v):
        return 1.0

    @jit
    def f(x: Any) -> Any:
        return x * g(3.0)

    def call(k: int) -> Any:
        if k == 15:
            g.register(float, lambda v: v * 2)
        return f(data(k))

    return call, None


@replayed
def patterns_change(jit: Any) -> Any:
    s = box(p=re.compile("a"), text="abc")

    @jit
    def f(x: Any) -> Any:
        return x * 2 if s.p.search(s.text) else x

    def call(k: int) -> Any:
        if k == 12:
            s.p = re.compile("z")
        if k == 20:
            s.text = "z"
        return f(data(k))

    return call, None


@replayed
def dates_change(jit: Any) -> Any:
    s = box(d=datetime.date(2024, 1, 2))

    @jit
    def f(x: Any) -> Any:
        return x * s.d.day + (s.d - datetime.date(2024, 1, 1)).days

    def call(k: int) -> Any:
        if k == 12:
            s.d = datetime.date(2024, 1, 5)
        return f(data(k))

    return call, None


@replayed
def setattr_known(jit: Any) -> Any:
    s = box(a=1.0, b=None)

    @jit
    def f(x: Any) -> Any:
        setattr(s, "b", x * s.a)
        return getattr(s, "b") + 1

    def call(k: int) -> Any:
        if k == 9:
            s.a = 2.0
        return f(data(k))

    return call, s


@replayed
def setattr_loop(jit: Any) -> Any:
    s = box(a=data(1), b=data(2))

    @jit
    def f(x: Any) -> Any:
        for n in ("a", "b"):
            setattr(s, n, getattr(s, n) * 0.5 + x)
        return s.a + s.b

    return lambda k: f(data(k)), s


@replayed
def setattr_property(jit: Any) -> Any:
    class A:
        def __init__(self):
            self._v = 1.0

        @property
        def v(self):
            return self._v

        @v.setter
        def v(self, w):
            self._v = w * 2

    a = A()

    @jit
    def f(x: Any) -> Any:
        setattr(a, "v", x)
        return a.v + 1

    return lambda k: f(data(k)), a


@replayed
def vars_items(jit: Any) -> Any:
    s = box(a=1.0, b=2.0)

    @jit
    def f(x: Any) -> Any:
        for k, v in vars(s).items():
            x = x * v
        return x

    def call(k: int) -> Any:
        if k == 9:
            s.b = 3.0
        if k == 15:
            s.c = 5.0
        return f(data(k))

    return call, None


@refused
def heap_outside(jit: Any) -> Any:
    h = [3.0, 1.0, 2.0]

    @jit
    def f(x: Any) -> Any:
        heapq.heappush(h, 0.5)
        return x * heapq.heappop(h)

    return lambda k: f(data(k)), h


@refused
def heap_alias(jit: Any) -> Any:
    h = [3.0, 1.0, 2.0]
    s = box(h=h)

    @jit
    def f(x: Any) -> Any:
        g = s.h if x.ndim == 1 else []
        heapq.heapify(g)
        return x * g[0]

    def call(k: int) -> Any:
        if k % 5 == 0:
            h[:] = [3.0 + k, 1.0 + k, 2.0]
        return f(data(k))

    return call, h
