"""Programs made to break the mechanism that sees Python: containers, numbers, classes.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import array
import collections
import contextlib
import contextvars
import functools
import itertools
import math
import threading
import weakref

import numpy as np

import hybrid as hb

from ..common import NS, X, suite, two
from .attributes import Cfg

CASES, case = suite()
COUNT = 0


@case
def deque_read(jit):
    c = collections.deque([1.0, 2.0])
    f = jit(lambda x: x * c[-1])
    return two(f, lambda: c.append(5.0))


@case
def defaultdict_count(jit):
    c = collections.defaultdict(int)

    @jit
    def f(x):
        c["n"] += 1
        return x * c["n"]

    return [f(X()) for _ in range(9)] + [c["n"]]


@case
def counter_obj(jit):
    c = collections.Counter()

    @jit
    def f(x):
        c.update("ab")
        return x * c["a"]

    return [f(X()) for _ in range(9)] + [c["a"]]


@case
def set_membership(jit):
    c = {1, 2}
    f = jit(lambda x: x * 2 if 3 in c else x)
    return two(f, lambda: c.add(3))


@case
def context_var(jit):
    v = contextvars.ContextVar("v", default=1.0)
    f = jit(lambda x: x * v.get())
    return two(f, lambda: v.set(4.0))


@case
def thread_local(jit):
    t = threading.local()
    t.k = 2.0
    f = jit(lambda x: x * t.k)
    return two(f, lambda: setattr(t, "k", 5.0))


@case
def weakref_deref(jit):
    c = Cfg()
    w = weakref.ref(c)
    f = jit(lambda x: x * w().a)
    return two(f, lambda: setattr(c, "a", 5.0))


@case
def custom_iterator(jit):
    class It:
        n = 0

        def __iter__(s):
            return s

        def __next__(s):
            s.n += 1
            return float(s.n)

    it = It()
    f = jit(lambda x: x * next(it))
    return [f(X()) for _ in range(9)]


@case
def itertools_count(jit):
    it = itertools.count(1)
    f = jit(lambda x: x * next(it))
    return [f(X()) for _ in range(6)]


@case
def global_counter(jit):
    global COUNT
    COUNT = 0

    @jit
    def f(x):
        global COUNT
        COUNT += 1
        return x * COUNT

    return [f(X()) for _ in range(9)] + [COUNT]


@case
def nonlocal_helper(jit):
    n = 0

    def tick():
        nonlocal n
        n += 1
        return n

    f = jit(lambda x: x * tick())
    return [f(X()) for _ in range(9)] + [n]


@case
def local_nonlocal(jit):
    @jit
    def f(x):
        n = 0

        def tick():
            nonlocal n
            n += 1
            return n

        return x * tick() * tick()

    return [f(X()) for _ in range(6)]


@case
def list_iadd(jit):
    log = []

    @jit
    def f(x):
        nonlocal log
        log += [1]
        return x * len(log)

    return [f(X()) for _ in range(9)] + [len(log)]


@case
def dict_del(jit):
    d = {i: i for i in range(20)}

    @jit
    def f(x):
        del d[min(d)]
        return x * 2

    return [f(X()) for _ in range(9)] + [len(d)]


@case
def numpy_inplace(jit):
    b = np.zeros(3, "f4")

    @jit
    def f(x):
        nonlocal b
        b += 1
        return x * b

    return [f(X()) for _ in range(9)] + [b.copy()]


@case
def numpy_ufunc_out(jit):
    b = np.zeros(3, "f4")

    @jit
    def f(x):
        np.add(b, 1, out=b)
        return x * 2

    return [f(X()) for _ in range(9)] + [b.copy()]


@case
def numpy_host_math(jit):
    b = np.ones(3, "f4")
    f = jit(lambda x: x * float(np.sum(b * 2)))
    return two(f, lambda: b.__setitem__(0, 9))


@case
def class_counter(jit):
    class M:
        n = 0

    m = M()

    @jit
    def f(x):
        type(m).n += 1
        return x * m.n

    return [f(X()) for _ in range(9)] + [M.n]


@case
def setattr_builtin(jit):
    m = NS(n=0)

    @jit
    def f(x):
        setattr(m, "n", m.n + 1)
        return x * 2

    return [f(X()) for _ in range(9)] + [m.n]


@case
def dunder_dict_store(jit):
    m = NS(n=0)

    @jit
    def f(x):
        m.__dict__["n"] += 1
        return x * 2

    return [f(X()) for _ in range(9)] + [m.n]


@case
def object_setattr(jit):
    m = NS(n=0)

    @jit
    def f(x):
        object.__setattr__(m, "n", m.n + 1)
        return x * 2

    return [f(X()) for _ in range(9)] + [m.n]


@case
def array_array(jit):
    a = array.array("f", [1, 2])
    f = jit(lambda x: x * a[0])
    return two(f, lambda: a.__setitem__(0, 5))


@case
def bytearray_read(jit):
    a = bytearray(b"\x01\x02")
    f = jit(lambda x: x * a[0])
    return two(f, lambda: a.__setitem__(0, 5))


@case
def cm_restores(jit):
    c = NS(k=1.0)

    @contextlib.contextmanager
    def sc(k):
        old = c.k
        c.k = k
        try:
            yield
        finally:
            c.k = old

    @jit
    def f(x):
        with sc(3.0):
            return x * c.k

    return two(f, lambda: setattr(c, "k", 2.0))


@case
def user_getitem(jit):
    class D:
        def __init__(s):
            s.d = {"a": 1.0}

        def __getitem__(s, k):
            return s.d[k]

    d = D()
    f = jit(lambda x: x * d["a"])
    return two(f, lambda: d.d.update(a=5.0))


@case
def int_to_true(jit):
    c = NS(k=1)
    f = jit(lambda x: x * 10 if c.k is True else x * c.k)
    return two(f, lambda: setattr(c, "k", True))


@case
def minus_zero(jit):
    c = NS(k=0.0)
    f = jit(lambda x: 1.0 / (x * 0 + c.k))
    return two(f, lambda: setattr(c, "k", -0.0), args=lambda: (hb.tensor(np.float32([1.0])),))


@case
def int_to_float_dtype(jit):
    c = NS(k=2)
    f = jit(lambda x: x * c.k)
    return two(f, lambda: setattr(c, "k", 2.0), args=lambda: (hb.tensor(np.int32([1, 2])),))


@case
def code_swap(jit):
    def g(v):
        return v * 2

    def h(v):
        return v * 5

    f = jit(lambda x: g(x))
    return two(f, lambda: setattr(g, "__code__", h.__code__))


@case
def defaults_swap(jit):
    def g(v, k=2.0):
        return v * k

    f = jit(lambda x: g(x))
    return two(f, lambda: setattr(g, "__defaults__", (5.0,)))


@case
def own_code_swap(jit):
    def g(x):
        return x * 2

    def h(x):
        return x * 5

    f = jit(g)
    return two(f, lambda: setattr(g, "__code__", h.__code__))


@case
def inner_closure(jit):
    def make():
        k = 2.0

        def get():
            return k

        def put(v):
            nonlocal k
            k = v

        return get, put

    get, put = make()
    f = jit(lambda x: x * get())
    return two(f, lambda: put(7.0))


@case
def decorated_helper(jit):
    c = NS(k=2.0)

    def deco(fn):
        @functools.wraps(fn)
        def w(*a, **k):
            return fn(*a, **k) * c.k

        return w

    @deco
    def g(x):
        return x + 1

    f = jit(lambda x: g(x))
    return two(f, lambda: setattr(c, "k", 5.0))


@case
def patched_math(jit):
    old = math.sqrt
    f = jit(lambda x: x * math.sqrt(4.0))
    r = two(f, lambda: setattr(math, "sqrt", lambda v: 9.0))
    math.sqrt = old
    return r
