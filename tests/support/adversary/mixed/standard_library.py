"""Programs made to break the mechanism that sees Python: places of tensors, containers that lie, the
standard library.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import functools
import itertools
import logging
import operator
import re
import time
import types
import typing
import warnings

import numpy as np

import hybrid as hb

from ..common import NS, X, suite, two
from ..helpers import T

CASES, case = suite()


@case
def tuple_of_tensors(jit):
    c = NS(p=(T(1, 2, 3), (T(4, 5, 6), 2.0)))
    f = jit(lambda x: x * c.p[0] + c.p[1][0] * c.p[1][1])
    r = two(f, lambda: c.p[0].assign(T(0, 1, 0)))
    return r + two(f, lambda: setattr(c, "p", (T(1, 1, 1), (T(2, 2, 2), 3.0))))


@case
def tuple_unpacked(jit):
    p = (T(1, 2, 3), T(4, 5, 6))

    def g(x, w, b):
        return x * w + b

    f = jit(lambda x: g(x, *p))

    @jit
    def h(x):
        w, b = p
        return x * w + b

    return two(f, lambda: p[1].assign(p[0])) + two(h, lambda: p[0].assign(T(0, 0, 0)))


@case
def tensor_default(jit):
    w = T(1, 2, 3)

    def g(x, w=w, *, b=T(1, 1, 1)):
        return x * w + b

    f = jit(lambda x: g(x))
    h = jit(g)
    r = two(f, lambda: w.assign(T(3, 2, 1)))
    r += two(f, lambda: setattr(g, "__defaults__", (T(0, 1, 0),)))
    r += two(f, lambda: g.__kwdefaults__.update(b=T(5, 5, 5)))
    return r + two(h, lambda: setattr(g, "__defaults__", (T(2, 2, 2),)))


@case
def partial_with_tensor(jit):
    w = T(1, 2, 3)
    p = functools.partial(lambda w, x: x * w, w)
    f = jit(lambda x: p(x))
    return two(f, lambda: w.assign(T(3, 3, 3)))


@case
def class_attribute_tensor(jit):
    class M:
        w = T(1, 2, 3)

        def go(self, x):
            return x * self.w + type(self).w

    m = M()
    f = jit(lambda x: m.go(x))
    r = two(f, lambda: setattr(M, "w", T(4, 4, 4)))
    return r + two(f, lambda: setattr(m, "w", T(9, 9, 9)))


@case
def dict_values_and_items(jit):
    d = {"a": T(1, 2, 3), "b": T(4, 5, 6)}

    @jit
    def f(x):
        for v in d.values():
            x = x * v
        return x + sum(v.sum() * len(k) for k, v in d.items())

    r = two(f, lambda: d.update(a=T(0, 1, 2)))
    return r + two(f, lambda: d.update(ccc=T(7, 7, 7))) + two(f, lambda: d.pop("b"))


@case
def ordered_dict_moves(jit):
    d = collections.OrderedDict(a=1.0, b=2.0, c=3.0)

    @jit
    def f(x):
        for v in d.values():
            x = x * v + 1
        return x

    return two(f, lambda: d.move_to_end("a")) + two(f, lambda: d.move_to_end("b", last=False))


@case
def list_that_lies(jit):
    class L(list):
        extra = 1.0

        def __iter__(self):
            self.n = getattr(self, "n", 0) + 1
            return (v * self.extra for v in list.__iter__(self))

        def __len__(self):
            return 7

        def __getitem__(self, i):
            return list.__getitem__(self, i) + self.extra

    v = L([1.0, 2.0])
    f = jit(lambda x: x * sum(v) + len(v) * v[0])
    return two(f, lambda: setattr(L, "extra", 2.0)) + two(f, lambda: v.append(3.0)) + [v.n]


@case
def dict_with_missing(jit):
    class D(dict):
        k = 2.0

        def __missing__(self, key):
            return self.k

    d = D(a=1.0)
    f = jit(lambda x: x * d["a"] + d["b"])
    return two(f, lambda: setattr(D, "k", 3.0)) + two(f, lambda: d.update(b=9.0))


@case
def user_array_object(jit):
    class A:
        v = [1.0, 2.0, 3.0]

        def __array__(self, dtype=None, copy=None):
            return np.array(self.v, "f4")

    a = A()
    f = jit(lambda x: x + hb.tensor(a))
    return two(f, lambda: setattr(a, "v", [3.0, 2.0, 1.0]))


@case
def masked_array(jit):
    a = np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])
    f = jit(lambda x: x * float(a.sum()))
    return two(f, lambda: a.mask.__setitem__(0, True))


@case
def array_scalar_updates(jit):
    a = np.float32([1, 2, 3])
    f = jit(lambda x: x * a[1] + a.sum() + a.max())
    return two(f, lambda: a.__setitem__(1, 7)) + two(f, lambda: a.sort())


@case
def disabled_logging(jit):
    log = logging.getLogger("hybrid.test.disabled")
    log.setLevel(logging.ERROR)

    @jit
    def f(x):
        log.debug("step %s", 1)
        return x * 2

    return two(f, lambda: None)


@case
def warning_inside(jit):
    @jit
    def f(x):
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter("always")
            warnings.warn("careful", stacklevel=1)
        return x * len(w)

    return [f(X()) for _ in range(5)]


@case
def time_inside(jit):
    f = jit(lambda x: x * (time.perf_counter() > 0))
    return [f(X()) for _ in range(5)]


@case
def flags_and_unions(jit):
    class Mode(enum.IntFlag):
        A = 1
        B = 2

    c = NS(m=Mode.A | Mode.B, v=1)

    @jit
    def f(x):
        if c.m & Mode.B:
            x = x + 1
        return x * (2 if isinstance(c.v, int | float) else 3) * typing.cast(int, c.v if c.v else 1)

    return two(f, lambda: setattr(c, "m", Mode.A)) + two(f, lambda: setattr(c, "v", 2.5))


@case
def copies_inside(jit):
    c = NS(cfg=NS(k=2.0, sub=[1.0]))

    @jit
    def f(x):
        d = copy.deepcopy(c.cfg)
        d.k += 1
        e = dataclasses.replace(Cfg(1.0), k=d.k)
        return x * d.k * e.k + copy.copy(c.cfg).sub[0]

    return two(f, lambda: setattr(c.cfg, "k", 5.0))


@dataclasses.dataclass(frozen=True)
class Cfg:
    k: float


@case
def strings_and_regex(jit):
    c = NS(names=["a1", "b2"], pat=re.compile(r"\d"))
    f = jit(lambda x: x * len("-".join(c.names)) + len([n for n in c.names if n.startswith("a")]))
    g = jit(lambda x: x * int(c.pat.search(c.names[0]).group()))
    return two(f, lambda: c.names.append("a3")) + two(g, lambda: c.names.__setitem__(0, "z9"))


@case
def itertools_and_operator(jit):
    c = [1.0, 2.0, 3.0]

    @jit
    def f(x):
        for a, b in itertools.product(c, repeat=2):
            x = x + a * b
        for a in itertools.chain(c, [operator.add(c[0], 1)]):
            x = x * a
        return x

    return two(f, lambda: c.append(4.0)) + two(f, lambda: c.__setitem__(0, 9.0))


@case
def class_made_inside(jit):
    base = NS(k=2.0)

    @jit
    def f(x):
        class Inner:
            k = base.k

            def go(self, y):
                return y * self.k

        return Inner().go(x)

    return two(f, lambda: setattr(base, "k", 3.0))


@case
def bases_replaced(jit):
    class A:
        k = 2.0

        def go(self, x):
            return x * self.k

    class B:
        k = 5.0

        def go(self, x):
            return x - self.k

    class C(A):
        pass

    c = C()
    f = jit(lambda x: c.go(x))
    return two(f, lambda: setattr(C, "__bases__", (B,)))


@case
def dict_replaced(jit):
    c = NS(k=2.0)
    f = jit(lambda x: x * c.k)

    def change():
        c.__dict__ = {"k": 7.0}

    class P:
        pass

    p = P()
    p.k = 3.0
    g = jit(lambda x: x * p.k)
    return (
        two(f, lambda: c.__dict__.update(k=4.0))
        + two(g, lambda: setattr(p, "__dict__", {"k": 7.0}))
        + [change is None]
    )


@case
def dict_grows_and_shrinks(jit):
    d = {f"k{i}": float(i) for i in range(4)}
    f = jit(lambda x: x * d["k1"] + (5.0 if "late" in d else 0.0))
    out = []
    for i in range(30):
        d[f"n{i}"] = i
        if i % 7 == 3:
            d.pop(f"n{i - 1}")
        if i == 20:
            d["late"] = 1
        if i == 25:
            d.pop("k1")
            d["k1"] = 9.0
        out.append(f(X()))
    return out


@case
def list_reallocates(jit):
    v = [T(1, 2, 3)]
    f = jit(lambda x: x * v[0])
    out = []
    for i in range(20):
        out.append(f(X()))
        if i == 6:
            v.extend([T(0, 0, 0)] * 100)
        if i == 11:
            v[:] = [T(4, 4, 4)]
        if i == 15:
            v.insert(0, T(5, 5, 5))
    return out


@case
def equal_numbers_stored_again(jit):
    c = NS(k=1234.5)
    f = jit(lambda x: x * c.k)
    out = []
    for i in range(12):
        c.k = float("1234.5") if i < 9 else 2.0
        out.append(f(X()))
    return out


@case
def module_state(jit):
    m = types.ModuleType("part7_state")
    m.w, m.k = T(1, 2, 3), 2.0

    @jit
    def f(x):
        m.w = m.w * 0.5 + x
        return m.w * m.k

    r = [f(X(k)) for k in range(6)]
    m.k = 3.0
    r += [f(X(k)) for k in range(4)]
    del m.k
    try:
        f(X())
    except AttributeError:
        r.append("gone")
    m.k = 1.0
    return r + [f(X()), m.w]


@case
def swap_places(jit):
    s = NS(a=T(1, 2, 3), b=T(4, 5, 6))

    @jit
    def f(x):
        s.a, s.b = s.b, s.a
        return s.a * x

    out = []
    for k in range(8):
        out += [f(X(k)), s.a, s.b]
    return out


@case
def rotate_list(jit):
    v = [T(1, 1, 1), T(2, 2, 2), T(3, 3, 3)]

    @jit
    def f(x):
        v[0], v[1], v[2] = v[1] * 2, v[2] + x, v[0]
        return v[0]

    out = []
    for k in range(8):
        out += [f(X(k)), *v]
    return out


@case
def aliases_made_inside(jit):
    s = NS(a=T(1, 2, 3), b=T(4, 5, 6))

    @jit
    def f(x):
        s.b = s.a
        s.a = s.a + x
        return s.b

    out = []
    for k in range(8):
        r = f(X(k))
        out += [r, s.a, s.b, r is s.b, s.a is s.b]
    return out


@case
def deleted_inside(jit):
    s = NS(a=T(1, 2, 3))

    @jit
    def f(x):
        if hasattr(s, "tmp"):
            del s.tmp
        s.tmp = x * 2
        y = s.tmp + s.a
        del s.tmp
        return y

    return [f(X(k)) for k in range(6)] + [hasattr(s, "tmp")]
