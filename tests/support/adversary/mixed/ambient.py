"""Programs made to break the mechanism that sees Python: C objects, ambient state.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import abc
import collections
import ctypes
import decimal
import functools
import operator
import threading
import types

import numpy as np

from ..common import NS, X, norm, suite, two

CASES, case = suite()
GV = 1.0
COUNT = 0


@case
def sort_key_outside(jit):
    cs = [NS(b=2.0, v=1.0), NS(b=3.0, v=4.0)]
    key = operator.attrgetter("b")
    f = jit(lambda x: x * sorted(cs, key=key)[0].v)
    return two(f, lambda: setattr(cs[0], "b", 5.0))


@case
def getattribute_custom(jit):
    class C:
        def __getattribute__(s, n):
            return object.__getattribute__(s, "_" + n)

    c = C()
    c._k = 2.0
    f = jit(lambda x: x * c.k)
    return two(f, lambda: setattr(c, "_k", 5.0))


@case
def object_setattr_writeonly(jit):
    m = NS(n=0)

    @jit
    def f(x):
        object.__setattr__(m, "hid", x * 2)
        return x * 2

    r = []
    for k in range(6):
        f(X(k))
        r.append(m.hid)
    return r


@case
def stored_and_returned(jit):
    m = NS(h=None)

    @jit
    def f(x):
        m.h = x * 3
        return m.h

    r = []
    for k in range(6):
        y = f(X(k))
        y.assign(X(7))
        r += [norm(m.h), m.h is y]
    return r


@case
def stored_argument(jit):
    m = NS(h=None)

    @jit
    def f(x):
        m.h = x
        return x * 2

    r = []
    for k in range(9):
        y = X(k)
        f(y)
        r.append(m.h is y)
    return r


@case
def del_finalizer(jit):
    log = []

    class D:
        def __del__(s):
            log.append(1)

    @jit
    def f(x):
        D()
        return x * 2

    return [f(X()) for _ in range(8)] + [len(log)]


@case
def module_attr(jit):
    m = types.ModuleType("q")
    m.cfg = NS(k=2.0)
    f = jit(lambda x: x * m.cfg.k)
    return two(f, lambda: setattr(m.cfg, "k", 5.0)) + two(f, lambda: setattr(m, "cfg", NS(k=9.0)))


@case
def nested_containers(jit):
    c = {"layers": [{"w": [1.0, (2.0, {"q": 3.0})]}]}
    f = jit(lambda x: x * c["layers"][0]["w"][1][1]["q"])
    return two(f, lambda: c["layers"][0]["w"][1][1].update(q=8.0))


@case
def unrelated_churn(jit):
    G = {"scale": 2.0, "steps": 0}
    c = NS(k=1.0, n=0)
    f = jit(lambda x: x * G["scale"] * c.k)
    r = []
    for i in range(9):
        r.append(f(X()))
        G["steps"] += 1
        c.n += 1
        G[f"x{i}"] = i
    return r


@case
def iter_inner_alias(jit):
    c = NS(a=[1.0], b=None)
    c.b = c.a

    @jit
    def f(x):
        for v in c.b:
            x = x * v
        return x

    return two(f, lambda: c.a.append(4.0))


@case
def walrus_lambda_default(jit):
    c = NS(k=2.0)
    f = jit(lambda x, g=(lambda v: v * c.k): g(x))
    return two(f, lambda: setattr(c, "k", 5.0))


@case
def print_on_rare_branch(jit):
    c = NS(v=False)

    @jit
    def f(x):
        if c.v:
            print("verbose")
        return x * 2

    return two(f, lambda: setattr(c, "v", True))


@case
def namedtuple_nested(jit):
    NT = collections.namedtuple("NT", "opt n")
    c = NT(NS(lr=2.0), 1)
    f = jit(lambda x: x * c.opt.lr)
    return two(f, lambda: setattr(c.opt, "lr", 5.0))


@case
def attrdict_nested(jit):
    class AD(dict):
        __getattr__ = dict.__getitem__
        __setattr__ = dict.__setitem__

    c = AD(m=AD(k=2.0))
    f = jit(lambda x: x * c.m.k)
    return two(f, lambda: c.m.update(k=5.0)) + two(f, lambda: setattr(c, "m", AD(k=7.0)))


@case
def attrdict_store(jit):
    class AD(dict):
        __getattr__ = dict.__getitem__
        __setattr__ = dict.__setitem__

    c = AD(n=0)

    @jit
    def f(x):
        c.n = c.n + 1
        return x * 2

    return [f(X()) for _ in range(8)] + [c.n]


@case
def ctypes_field(jit):
    class S(ctypes.Structure):
        _fields_ = [("k", ctypes.c_double)]

    s = S(2.0)
    f = jit(lambda x: x * s.k)
    return two(f, lambda: setattr(s, "k", 5.0))


@case
def decimal_prec(jit):
    c = decimal.Context(prec=5)
    f = jit(lambda x: x * c.prec)
    return two(f, lambda: setattr(c, "prec", 7))


@case
def decimal_ambient(jit):
    D = decimal.Decimal
    old = decimal.getcontext().prec
    f = jit(lambda x: x * float(D(1) / D(3)))
    r = two(f, lambda: setattr(decimal.getcontext(), "prec", 2))
    decimal.getcontext().prec = old
    return r


@case
def abc_register_later(jit):
    class A(abc.ABC):
        pass

    class B:
        pass

    b = B()
    f = jit(lambda x: x * 2 if isinstance(b, A) else x)
    return two(f, lambda: A.register(B))


@case
def singledispatch_later(jit):
    @functools.singledispatch
    def g(o, x):
        return x

    class B:
        pass

    b = B()
    f = jit(lambda x: g(b, x))
    return two(f, lambda: g.register(B, lambda o, x: x * 5))


@case
def match_statement(jit):
    c = NS(k=2.0)
    ns = {}
    exec("def g(c, x):\n match c:\n  case object(k=2.0): return x * 2\n  case _: return x", ns)
    g = ns["g"]
    f = jit(lambda x: g(c, x))
    return two(f, lambda: setattr(c, "k", 5.0))


@case
def metaclass_attr(jit):
    class Meta(type):
        k = 2.0

    class C(metaclass=Meta):
        pass

    f = jit(lambda x: x * C.k)
    return two(f, lambda: setattr(Meta, "k", 5.0))


@case
def cached_property_reset(jit):
    class C:
        b = 2.0

        @functools.cached_property
        def k(s):
            return s.b

    c = C()
    f = jit(lambda x: x * c.k)

    def ch():
        C.b = 5.0
        del c.k

    return two(f, ch)


@case
def function_attribute(jit):
    def g():
        pass

    g.k = 2.0
    f = jit(lambda x: x * g.k)
    return two(f, lambda: setattr(g, "k", 5.0))


@case
def globals_alias(jit):
    global GV
    GV = 1.0
    g = globals_alias.__globals__
    f = jit(lambda x: x * g["GV"])

    def ch():
        global GV
        GV = 5.0

    return two(f, ch)


@case
def tied_output_list(jit):
    @jit
    def f(x):
        l = [x * 2]
        return l, l

    r = []
    for _ in range(4):
        a, b = f(X())
        a.append(1)
        r.append(len(b))
    return r


@case
def thread_changes_during(jit):
    c = NS(k=1.0)

    @jit
    def f(x):
        y = x * c.k
        t = threading.Thread(target=lambda: setattr(c, "k", c.k + 1))
        t.start()
        t.join()
        return y * c.k

    return [f(X()) for _ in range(6)]


@case
def mapping_proxy(jit):
    d = {"k": 2.0}
    c = types.MappingProxyType(d)
    f = jit(lambda x: x * c["k"])
    return two(f, lambda: d.update(k=5.0))


@case
def chainmap(jit):
    d = {"k": 2.0}
    c = collections.ChainMap({}, d)
    f = jit(lambda x: x * c["k"])
    return two(f, lambda: d.update(k=5.0))


@case
def dict_view_kept(jit):
    d = {"k": 2.0}
    v = d.values()
    f = jit(lambda x: x * sum(v))
    return two(f, lambda: d.update(k=5.0))


@case
def np_struct_scalar(jit):
    a = np.zeros(1, [("k", "f4")])
    a["k"] = 2
    s = a[0]
    f = jit(lambda x: x * float(s["k"]))
    return two(f, lambda: a.__setitem__(0, (5.0,)))


@case
def np_zero_d_view(jit):
    a = np.float32([2.0, 3.0])
    v = a[:1]
    f = jit(lambda x: x * v[0])
    return two(f, lambda: a.__setitem__(0, 5.0))


@case
def error_state(jit):
    f = jit(lambda x: x / (x * 0))
    r = two(f, lambda: None)
    with np.errstate(divide="raise"):
        try:
            f(X())
            r.append("ok")
        except FloatingPointError:
            r.append("raised")
    return r
