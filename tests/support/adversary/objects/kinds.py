"""Programs on values of many kinds in places and as arguments, on containers that hold themselves, on
keys that are tensors, on exceptions and modules.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import enum
import fractions
import functools
import itertools
import math
import operator
import pathlib
import sys
import types

import numpy as np

import hybrid as hb

from ..common import NS, X, suite
from .callables import steps

CASES, case = suite()


# ---- values
class Axis(int):
    pass


class Flag(enum.IntFlag):
    A = 1
    B = 2


class Name(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 1


class Doubled(np.ndarray):
    def sum(self, *a, **k):
        return 2 * np.asarray(self).sum()


def value(name, read, *values):
    """A value read from a place, then others in its place; and as an argument."""

    def program(jit):
        w = NS(v=values[0])
        f = jit(lambda x: read(w.v, x))
        r = steps(f, *[functools.partial(setattr, w, "v", v) for v in values[1:]])
        g = jit(lambda x, v: read(v, x))
        return r + [g(X(), v) for v in (*values, values[0]) for _ in range(3)]

    program.__name__ = f"value_{name}"
    return case(program)


value("axis", lambda v, x: x.sum(axis=v), Axis(0), 0)
value("level_axis", lambda v, x: x.sum(axis=v), Level.LOW, 0)
value("index", lambda v, x: x[v], Axis(0), 1, Level.HIGH)
value("power", lambda v, x: x**v, Axis(2), 2, 3.0, Level.HIGH)
value("shape", lambda v, x: hb.ones((v, 3)) * x, Axis(2), 2)
value("flag", lambda v, x: x * 2 if Flag.A in v else x, Flag.A | Flag.B, Flag.B, Flag(0))
value("name", lambda v, x: x * {"a": 2.0}.get(v, 1.0), Name.A, "a", "b")
value("name_text", lambda v, x: x * len(f"{v}") * len(str(v)) * len(repr(v)), Name.A, "a")
value("name_equal", lambda v, x: x * 2 if v == "a" else x, Name.A, "a", "b")
value("fraction", lambda v, x: x * float(v), fractions.Fraction(1, 2), fractions.Fraction(1, 3))
value("timedelta", lambda v, x: x * v.total_seconds(), datetime.timedelta(1), datetime.timedelta(2))
value("path", lambda v, x: x * len(str(v)), pathlib.PurePosixPath("a"), pathlib.PurePosixPath("bb"))
value("np_text", lambda v, x: x * len(v) * len(type(v).__name__), np.str_("a"), "a")
value("np_bool", lambda v, x: x * 2 if v else x, np.bool_(True), True, np.False_)
value("negative_zero", lambda v, x: x * math.copysign(1, v), 0.0, -0.0, np.float64(-0.0))
value("nan", lambda v, x: x * 2 if v == v else x, math.nan, np.float64("nan"), 1.0)
value("int_float", lambda v, x: x * len(str(v)), 1, 1.0, True, np.int64(1), np.float32(1))
value("complex", lambda v, x: x * v.real, 1 + 2j, complex(1, -0.0), 2 + 2j)
value("bytes", lambda v, x: x * len(v), b"a", b"ab")
value("range", lambda v, x: x * (v.stop + v.step), range(3), range(0, 3, 2), range(0, 4, 2))
value("tuple", lambda v, x: x * v[0] * v[1][0], (1.0, (2.0,)), (1, (2,)), (True, (2.0,)))
value(
    "frozenset",
    lambda v, x: x * len(v) if 1 in v else x,
    frozenset([1]),
    frozenset([True, 2]),
    frozenset([1.0]),
)
value("dtype", lambda v, x: x.astype(v), np.dtype("f8"), np.float32, hb.float64)
value("none", lambda v, x: x * 2 if v is None else x, None, NotImplemented, ...)
value("class", lambda v, x: x * len(v.__name__), int, float, NS)
value("function", lambda v, x: v(x), hb.exp, hb.relu, lambda x: x + 1)
value("ufunc", lambda v, x: x * float(v(1.0)), np.exp, np.sin)
value(
    "array_in_list",
    lambda v, x: x * float(v[0].sum()),
    [np.ones(2)],
    [np.ones(3)],
    [np.ones(2, "f4")],
)
value("array_in_dict", lambda v, x: x * v["a"].ndim, {"a": np.ones(2)}, {"a": np.ones((2, 1))})
value(
    "date",
    lambda v, x: x * float(v[0].astype(int)),
    np.array(["2001"], "M8[Y]"),
    np.array(["2001"], "M8[D]"),
)
value(
    "nested_struct",
    lambda v, x: x * len(v.dtype["a"].names),
    np.zeros(1, [("a", [("b", "f4")])]),
    np.zeros(1, [("a", [("b", "f4"), ("c", "f4")])]),
)
value(
    "matrix", lambda v, x: x * float((v * v).sum()), np.ones((2, 2)).view(Doubled), np.ones((2, 2))
)
value("strided", lambda v, x: x * v.strides[0], np.arange(4.0)[::2], np.arange(2.0))
value("masked_constant", lambda v, x: x * 2 if v is np.ma.masked else x, np.ma.masked, 1.0)


# ---- containers that hold themselves, depth, keys that are tensors
def nested(depth, leaf=1.0, kind=list):
    a = leaf
    for _ in range(depth):
        a = [a] if kind is list else (a,) if kind is tuple else {"a": a}
    return a


@case
def nested_kinds(jit):
    r = []
    for kind, depth in itertools.product((list, tuple, dict), (3, 30, 70, 300, 2000)):
        a = nested(depth, kind=kind)
        f, g = jit(lambda x, a: x * len(a)), jit(lambda x, a=a: x * len(a))
        r += steps(f, args=lambda a=a: (X(), a)) + steps(g)
    return r


@case
def returns_nested(jit):
    def f(x, n):
        a = x * 2
        for _ in range(n):
            a = [a]
        return a

    def depth(a):
        n = 0
        while isinstance(a, list):
            a, n = a[0], n + 1
        return [n, a]

    k = jit(f)
    return [depth(k(X(), n)) for n in (2, 60, 600, 3000) for _ in range(4)]


@case
def cycles(jit):
    P = collections.namedtuple("P", "a b")
    a = [2.0]
    q = P(1.0, a)
    a.append(q)
    o = NS(k=3.0, l=a)
    a.append(o)
    o.me = o
    f = jit(lambda x, v: x * v[0])
    g = jit(lambda x, o: x * o.me.l[2].k)
    h = jit(lambda x: x * q.b[1].b[0] + o.me.me.k)
    e = jit(lambda x: x * 2 if a == a else x)
    r = steps(f, lambda: a.__setitem__(0, 5.0), args=lambda: (X(), a))
    r += steps(f, args=lambda: (X(), q)) + steps(
        g, lambda: setattr(o, "k", 7.0), args=lambda: (X(), o)
    )
    return r + steps(h, lambda: a.__setitem__(0, 6.0)) + steps(e)


@case
def the_same_container(jit):
    kept, other, d = [1.0], [1.0], {"k": 1.0}
    a = np.ones(2)
    f = jit(lambda x, v: x * 2 if v is kept else x * 3)
    g = jit(lambda x, v: x * 2 if v is a else x * 3)
    h = jit(lambda x, v, w: x * 2 if v is w else x * 3)
    k = jit(lambda x, v: x * 2 if v is None else x * v[0])
    r = [f(X(), v) for v in (kept, other, kept, [1.0]) for _ in range(4)]
    r += [g(X(), v) for v in (a, a.copy(), a) for _ in range(4)]
    r += [h(X(), v, w) for v, w in ((d, d), (d, dict(d)), (d, d)) for _ in range(4)]
    return r + [k(X(), v) for v in (kept, None, other) for _ in range(4)]


@case
def tensors_as_keys(jit):
    w, v = X(), X(2.0)
    d = {w: 2.0, v: {w: 3.0}, 1: w}

    def f(x, *, table=d):
        return x * table[w] + table[v][w] + table[1]

    def g(x):
        seen = {x: 1.0}
        seen[w] = 2.0
        return sum(seen.values()) * x + (x in seen) + (v in seen)

    def h(x):
        return {"a": {x: x * 2}}

    r = steps(jit(f), lambda: d.update({w: 4.0}), lambda: d[v].update({w: 5.0}))
    r += steps(jit(g)) + steps(jit(f), args=lambda: (w,))
    s = {w, v}
    r += steps(jit(lambda x: x * len(s)), lambda: s.add(X()))
    r += steps(jit(lambda x, s: x * len(s)), args=lambda: (X(), {w: v}))
    k = jit(h)
    return r + [list(k(X())["a"].values()) for _ in range(4)]


# ---- functions that make generators, coroutines and contexts
@case
def context_maker(jit):
    w = NS(k=2.0)

    @contextlib.contextmanager
    def scaled(x):
        yield x * w.k

    k = jit(scaled)
    r = []
    for i in range(6):
        w.k = 2.0 + i // 3
        with k(X()) as y:
            r.append(y)
    return r


@case
def exception_kinds(jit):
    e = ExceptionGroup("g", [ValueError("a"), KeyError("b")])
    k = KeyError("x")
    o = NS(l=[k], e=e)
    f = jit(lambda x: x * len(o.e.exceptions) * len(str(o.e)))
    g = jit(lambda x: x * len(repr(o.l)) * len(str(o.l[0])) * len("%s" % o.l[0]))  # noqa: UP031
    h = jit(lambda x: x * (2 if o.l[0].__cause__ is None else 3))
    r = steps(f, lambda: setattr(o, "e", ExceptionGroup("gg", [ValueError()])))
    r += steps(g, lambda: setattr(k, "args", ("longer",)), lambda: setattr(k, "args", ()))
    return r + steps(h, lambda: setattr(k, "__cause__", ValueError()))


@case
def raised_state(jit):
    class Stop(Exception):
        code = 2.0

    def g(x, limit):
        if limit:
            raise Stop(limit, "b")
        return x

    w = NS(limit=3.0)

    def f(x):
        try:
            return g(x, w.limit)
        except Stop as e:
            return x * e.args[0] * e.code * len(e.args)

    return steps(
        jit(f),
        lambda: setattr(w, "limit", 4.0),
        lambda: setattr(Stop, "code", 3.0),
        lambda: setattr(w, "limit", 0),
    )


@case
def modules(jit):
    a = types.ModuleType("first_settings")
    a.inner = types.ModuleType("second_settings")
    a.inner.k = 2.0
    sys.modules["first_settings"] = a
    f = jit(lambda x: x * functools.reduce(getattr, "inner.k".split("."), a))
    g = jit(lambda x: x * operator.attrgetter("inner.k")(a))
    h = jit(lambda x: x * vars(a.inner)["k"])
    r = []
    for k in (f, g, h):
        r += steps(k, lambda: setattr(a.inner, "k", a.inner.k + 1))
    return r
