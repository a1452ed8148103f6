"""Programs that store tensors in objects, modules, functions and variables."""

from __future__ import annotations

import sys
import types
from typing import Any

import hybrid.nn as nn

from ..common import NS, X
from ..helpers import T, programs
from ..helpers import five_calls as calls

CASES, case, ORDINARY, ordinary = programs()
LAST: Any = None


@case
def stored_argument(jit):
    o = NS(h=T(1, 1, 1))

    @jit
    def f(x):
        prev, o.h = o.h, x
        return prev + x

    out = []
    for k in range(6):
        out += [f(X(k)), o.h]
    return out


@case
def class_in_sys_modules(jit):
    m = types.ModuleType("hybrid_test_state")

    class C:
        h = T(0, 0, 0)

    m.C = C
    sys.modules["hybrid_test_state"] = m
    try:

        @jit
        def f(x):
            import hybrid_test_state as s

            s.C.h = s.C.h + x
            return s.C.h

        out = []
        for k in range(6):
            out += [f(X(k)), C.h]
        return out
    finally:
        del sys.modules["hybrid_test_state"]


@case
def module_dict_entry(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.cache = {"h": T(1, 1, 1)}

        def forward(self, x):
            self.cache["h"] = self.cache["h"] + x
            return self.cache["h"]

    m = M()
    f = jit(lambda x: m(x))
    out = []
    for k in range(6):
        out += [f(X(k)), m.cache["h"]]
    return out


@case
def key_with_equality(jit):
    class K:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            return isinstance(other, K)

    a, b = K(), K()
    d = {a: T(1, 1, 1)}

    @jit
    def f(x):
        d[b] = d[a] + x
        return d[b]

    out = []
    for k in range(6):
        out += [f(X(k)), d[a], len(d)]
    return out


@case
def true_and_one(jit):
    d = {1: T(1, 1, 1)}

    @jit
    def f(x):
        d[True] = d[1.0] + x
        return d[1]

    out = []
    for k in range(6):
        out += [f(X(k)), d[1], [type(q).__name__ for q in d]]
    return out


@case
def order_after_deletion(jit):
    d = {"a": T(1, 1, 1), "b": T(2, 2, 2)}

    @jit
    def f(x):
        t = d["a"]
        del d["a"]
        d["a"] = t + x
        return d["b"] * x

    out = []
    for k in range(10):
        out += [f(X(k)), list(d)]
        if k in (4, 6):
            d["b"] = d.pop("b")
    return out


@case
def order_of_attributes_after_deletion(jit):
    o = NS(a=T(1, 1, 1), b=T(2, 2, 2))

    @jit
    def f(x):
        t = o.a
        del o.a
        o.a = t + x
        return o.b * x

    out = []
    for k in range(10):
        out += [f(X(k)), list(vars(o))]
        if k in (4, 6):
            b = o.b
            del o.b
            o.b = b
    return out


@case
def getattr_with_an_effect(jit):
    log = []

    class P:
        def __init__(self):
            self.raw = T(1, 1, 1)

        def __getattr__(self, name):
            log.append(name)
            if name == "h":
                return 3.0
            raise AttributeError(name)

    p = P()
    f = jit(lambda x: x * p.h)
    return [*calls(f), log]


@case
def getattr_fills_a_cache(jit):
    class P:
        def __init__(self):
            self.n = 0

        def __getattr__(self, name):
            if name == "h":
                self.h = T(2, 2, 2)
                return self.h
            raise AttributeError(name)

    p = P()
    f = jit(lambda x: x * p.h)
    out = calls(f, 2)
    del p.h
    out += calls(f, 4)
    p.h = T(3, 3, 3)
    return [*out, *calls(f), list(vars(p))]


@case
def getattribute_plain(jit):
    class P:
        def __getattribute__(self, name):
            return 3.0 if name == "h" else 4.0

    p = P()
    f = jit(lambda x: x * p.h + p.g)
    out = calls(f)
    P.__getattribute__ = lambda self, name: 5.0
    return out + calls(f)


@case
def metaclass_getattr(jit):
    o = NS(k=2.0)

    class Meta(type):
        def __getattr__(cls, name):
            return o.k

    class C(metaclass=Meta):
        pass

    f = jit(lambda x: x * C.h)
    out = calls(f)
    o.k = 3.0
    out += calls(f)
    C.h = 7.0
    out += calls(f)
    del C.h
    return out + calls(f)


@case
def dunder_reads_a_closure(jit):
    o = NS(k=2.0)

    class V:
        def __add__(self, x):
            return x * o.k

        def __len__(self):
            return int(o.k)

        def __getitem__(self, k):
            return o.k + k

    v = V()
    f = jit(lambda x: (v + x) * len(v) + v[1])
    out = calls(f)
    o.k = 3.0
    return out + calls(f)


@case
def dunder_reads_a_cell(jit):
    k = 2.0

    class V:
        def __add__(self, x):
            return x * k

    v = V()
    f = jit(lambda x: v + x)
    out = calls(f)
    k = 3.0
    return out + calls(f)
