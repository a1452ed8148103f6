"""Programs on values that look plain and are not: subclasses of numbers and strings, enums, classes
and their names, exceptions, partials, proxies, NumPy data; and on calls that only recording refused.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import collections
import enum

import numpy as np

from ..common import NS, X, suite
from .callables import steps

CASES, case = suite()


# ---- subclasses of plain types
class S(str):
    pass


class F(float):
    pass


class N(int):
    pass


@case
def str_attribute(jit):
    s = S("a")
    s.k = 2.0
    f = jit(lambda x: x * s.k)
    return steps(f, lambda: setattr(s, "k", 3.0))


@case
def str_swapped(jit):
    c = NS(s=S("a"))
    c.s.k = 2.0
    t = S("a")
    t.k = 3.0
    f = jit(lambda x: x * c.s.k)
    return steps(f, lambda: setattr(c, "s", t))


@case
def float_literal(jit):
    c = NS(v=F(2.0))
    f = jit(lambda x: x * c.v)
    return steps(f, lambda: setattr(c, "v", F(3.0)), lambda: setattr(c, "v", 4.0))


@case
def float_argument(jit):
    f = jit(lambda x, v: x * v + getattr(v, "k", 0.0))
    a, b = F(2.0), F(2.0)
    a.k, b.k = 1.0, 2.0
    r = [f(X(), v) for v in [a, a, a, a, b, b, b, 2.0, 2.0, 2.0]]
    a.k = 5.0
    return r + [f(X(), v) for v in [a, a, a, b]]


@case
def int_argument(jit):
    class M(int):
        def __mul__(self, o):
            return 7.0

    f = jit(lambda x, v: x * (v * 2) + v)
    return [f(X(), v) for v in [3, 3, 3, M(3), M(3), M(3), True, True, True, 3]]


@case
def str_argument(jit):
    f = jit(lambda x, s: x * getattr(s, "k", 1.0))
    a, b = S("a"), S("a")
    a.k, b.k = 2.0, 3.0
    return [f(X(), s) for s in [a, a, a, a, b, b, b, "a", "a", "a"]]


@case
def nested_argument(jit):
    a, b = S("a"), S("a")
    a.k, b.k = 2.0, 3.0
    f = jit(lambda x, d: x * getattr(next(iter(d)), "k", 1.0) + len(d))
    g = jit(lambda x, d: x * getattr(d[0], "k", 1.0))
    r = [f(X(), {s: 1}) for s in [a, a, a, a, b, b, b, "a", "a"]]
    return r + [g(X(), [s]) for s in [a, a, a, a, b, b, b, "a", "a"]]


@case
def class_attribute_of_str(jit):
    class Z(str):
        k = 2.0

    z = Z("a")
    f = jit(lambda x, z: x * z.k)
    return steps(f, lambda: setattr(Z, "k", 3.0), args=lambda: (X(), z))


@case
def slots_of_int(jit):
    class Z(float):
        pass

    z = NS(z=Z(1.0))
    z.z.note = [2.0]
    f = jit(lambda x: x * z.z.note[0])
    return steps(f, lambda: z.z.note.__setitem__(0, 4.0))


@case
def user_eq(jit):
    class E(str):
        def __eq__(self, o):
            return True

        __hash__ = str.__hash__

    c = NS(m=E("a"))
    f = jit(lambda x: x * 2 if str.__eq__(c.m, "a") else x * 3)
    return steps(f, lambda: setattr(c, "m", E("b")))


@case
def user_eq_counts(jit):
    log = []

    class E(str):
        def __eq__(self, o):
            log.append(1)
            return str.__eq__(self, o)

        def __hash__(self):
            log.append(2)
            return str.__hash__(self)

    c = NS(m=E("a"), d={E("a"): 2.0})
    f = jit(lambda x: x * len(c.m))
    r = steps(f)
    n = len(log)
    return r + [n]


@case
def key_eq_counts(jit):
    log = []

    class E(str):
        def __eq__(self, o):
            log.append(1)
            return str.__eq__(self, o)

        __hash__ = str.__hash__

    d = {E("a"): 2.0}
    f = jit(lambda x: x * d["a"])
    r = steps(f, lambda: d.__setitem__("a", 5.0), n=6)
    return r + [len(log)]


def enum_case(name, E):
    def program(jit):
        c = NS(m=E.A)
        f = jit(lambda x: x * 2 if c.m is E.A else x * 3 if c.m == E.B else x)
        g = jit(lambda x, m: x * 2 if m is E.A else x * 3)
        h = jit(lambda x: x * len(c.m.name))
        k = jit(lambda x: x * len(str(c.m.value)))
        r = steps(f, lambda: setattr(c, "m", E.B), lambda: setattr(c, "m", E.B.value))
        c.m = E.A
        r += [g(X(), m) for m in [E.A] * 4 + [E.B] * 4 + [E.A.value] * 4]
        r += steps(h, lambda: setattr(c, "m", E.B)) + steps(k, lambda: setattr(c, "m", E.A))
        return r

    program.__name__ = f"enum_{name}"
    return case(program)


enum_case("plain", enum.Enum("P", {"A": 1, "B": 2}))
enum_case("int", enum.IntEnum("I", {"A": 1, "B": 2}))
enum_case("str", enum.StrEnum("T", {"A": "a", "B": "b"}))
enum_case("flag", enum.IntFlag("G", {"A": 1, "B": 2}))


class Mixed(str, enum.Enum):  # noqa: UP042  (not the same)
    A = "a"
    B = "b"


class MixedFloat(float, enum.Enum):
    A = 1.5
    B = 2.5


enum_case("mixed", Mixed)
enum_case("mixed_float", MixedFloat)


@case
def enum_as_scale(jit):
    c = NS(m=MixedFloat.A)
    f = jit(lambda x: x * c.m)
    return steps(f, lambda: setattr(c, "m", MixedFloat.B), lambda: setattr(c, "m", 1.5))


@case
def enum_attribute(jit):
    class E(enum.IntEnum):
        A = 1
        B = 2

    E.A.k = 2.0
    c = NS(m=E.A)
    f = jit(lambda x: x * c.m.k)
    return steps(f, lambda: setattr(E.A, "k", 5.0))


@case
def enum_value_changed(jit):
    class E(enum.Enum):
        A = 1.0

    f = jit(lambda x: x * E.A.value)
    return steps(f, lambda: setattr(E.A, "_value_", 5.0))


@case
def float64_subclass(jit):
    class Q(np.float64):
        pass

    q = Q(2.0)
    q.k = 1.0
    f = jit(lambda x, q: x * float(q) + q.k)
    return steps(f, lambda: setattr(q, "k", 5.0), args=lambda: (X(), q))


@case
def tuple_subclass(jit):
    class P(tuple):
        _fields = ("a",)

        def __getitem__(self, i):
            return self.k

    p = P((1.0,))
    p.k = 2.0
    f = jit(lambda x, p: x * p[0])
    return steps(f, lambda: setattr(p, "k", 5.0), args=lambda: (X(), p))


@case
def tuple_lies(jit):
    class P(tuple):
        def __iter__(self):
            return iter([self.k])

    p = P((1.0, 2.0))
    p.k = 2.0

    def f(x):
        for v in p:
            x = x * v
        return x

    return steps(jit(f), lambda: setattr(p, "k", 5.0))


@case
def namedtuple_argument(jit):
    P = collections.namedtuple("P", "a b")
    f = jit(lambda x, p: x * p.a + p.b)
    r = [f(X(), P(2.0, float(i // 4))) for i in range(8)]
    P.c = 1.0
    g = jit(lambda x, p: x * p.c)
    return r + steps(g, lambda: setattr(P, "c", 3.0), args=lambda: (X(), P(1, 2)))


@case
def returned_subclass(jit):
    v = F(2.0)
    v.k = 1
    f = jit(lambda x: (x * 2, v))
    r = [f(X()) for _ in range(4)]
    return [a for a, _ in r] + [b is v for _, b in r]


@case
def fresh_subclass(jit):
    f = jit(lambda x: (x * 2, F(3.0)))
    r = [f(X()) for _ in range(5)]
    return [type(b) is F for _, b in r] + [a[1] is not b[1] for a, b in zip(r, r[1:])]


@case
def metaclass_hash(jit):
    class M(type):
        __hash__ = None

        def __eq__(self, o):
            raise ValueError

    class C(metaclass=M):
        k = 2.0

    c = C()
    f = jit(lambda x, c: x * c.k)
    return steps(f, lambda: setattr(C, "k", 3.0), args=lambda: (X(), c))


@case
def slice_of_objects(jit):
    class E:
        def __init__(self):
            self.k = 1

        def __index__(self):
            return self.k

        def __eq__(self, o):
            return True

        __hash__ = None

    e = E()
    c = NS(s=slice(e, None))
    f = jit(lambda x: x * len([1, 2, 3, 4][c.s]))
    return steps(f, lambda: setattr(e, "k", 2), lambda: setattr(c, "s", slice(3, None)))


@case
def range_equal(jit):
    c = NS(r=range(0, 3, 2))
    f = jit(lambda x: x * c.r.stop)
    return steps(f, lambda: setattr(c, "r", range(0, 4, 2)))


@case
def range_empty(jit):
    f = jit(lambda x, r: x * (1 + r.start))
    return [f(X(), r) for r in [range(0)] * 4 + [range(5, 5)] * 4]


@case
def equal_constants(jit):
    c = NS(v=1)
    f = jit(lambda x: x * 2 if c.v is True else x * 3 if isinstance(c.v, float) else x)
    return steps(f, lambda: setattr(c, "v", True), lambda: setattr(c, "v", 1.0))
