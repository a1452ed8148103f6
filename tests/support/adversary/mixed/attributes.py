"""Programs made to break the mechanism that sees Python: attributes, dicts, calls.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import functools
import math
import operator

from ..common import NS, X, suite, two

CASES, case = suite()
GV = 1.0


class Cfg:
    k = 2.0

    def __init__(s):
        s.a = 1.0

    @property
    def p(s):
        return s.a * GV

    def meth(s):
        return s.a

    @staticmethod
    def st():
        return 1.0

    @classmethod
    def cm(cls):
        return cls.k

    def __getattr__(s, n):
        if n.startswith("_"):
            raise AttributeError(n)
        return s.__dict__["extra"][n]


@case
def property_and_global(jit):
    global GV
    GV = 1.0
    c = Cfg()
    f = jit(lambda x: x * c.p)

    def ch():
        global GV
        GV = 5.0

    return two(f, ch) + two(f, lambda: setattr(c, "a", 3.0))


@case
def property_patched(jit):
    class P(Cfg):
        pass

    c = P()
    f = jit(lambda x: x * c.p)
    return two(f, lambda: setattr(P, "p", property(lambda s: 9.0)))


@case
def classmethod_attr(jit):
    class P(Cfg):
        k = 2.0

    c = P()
    f = jit(lambda x: x * c.cm())
    return two(f, lambda: setattr(P, "k", 4.0))


@case
def staticmethod_patch(jit):
    class P(Cfg):
        pass

    c = P()
    f = jit(lambda x: x * c.st())
    return two(f, lambda: setattr(P, "st", staticmethod(lambda: 7.0)))


@case
def instance_shadows_class(jit):
    c = Cfg()
    f = jit(lambda x: x * c.k)
    return two(f, lambda: setattr(c, "k", 8.0))


@case
def instance_method_shadow(jit):
    c = Cfg()
    f = jit(lambda x: x * c.meth())
    return two(f, lambda: setattr(c, "meth", lambda: 6.0))


@case
def getattr_delegation(jit):
    c = Cfg()
    c.extra = {"z": 2.0}
    f = jit(lambda x: x * c.z)
    return two(f, lambda: c.extra.update(z=5.0))


@case
def slots_attr(jit):
    class S:
        __slots__ = ("v",)

    s = S()
    s.v = 2.0
    f = jit(lambda x: x * s.v)
    return two(f, lambda: setattr(s, "v", 3.0))


@case
def slots_counter(jit):
    class S:
        __slots__ = ("v",)

    s = S()
    s.v = 0

    @jit
    def f(x):
        s.v += 1
        return x * s.v

    return [f(X()) for _ in range(9)] + [s.v]


@case
def dyn_getattr(jit):
    c = NS(a=1.0, b=2.0)
    names = ["a", "b"]

    @jit
    def f(x):
        for n in names:
            x = x * getattr(c, n)
        return x

    return two(f, lambda: setattr(c, "b", 5.0)) + two(f, lambda: names.append("a"))


@case
def hasattr_later(jit):
    c = NS()
    f = jit(lambda x: x * 2 if hasattr(c, "q") else x)
    return two(f, lambda: setattr(c, "q", 1))


@case
def dict_get_default(jit):
    d = {}
    f = jit(lambda x: x * d.get("k", 1.0))
    return two(f, lambda: d.update(k=4.0))


@case
def dict_computed_key(jit):
    d = {f"l{i}": float(i + 1) for i in range(3)}

    @jit
    def f(x):
        for i in range(3):
            x = x * d[f"l{i}"]
        return x

    return two(f, lambda: d.update(l2=9.0))


@case
def star_kwargs(jit):
    cfg = {"a": 1.0, "b": 2.0}

    def g(x, a, b):
        return x * a + b

    f = jit(lambda x: g(x, **cfg))
    return two(f, lambda: cfg.update(b=7.0))


@case
def star_args_list(jit):
    cfg = [1.0, 2.0]

    def g(x, a, b):
        return x * a + b

    f = jit(lambda x: g(x, *cfg))
    return two(f, lambda: cfg.__setitem__(1, 7.0))


@case
def sorted_items(jit):
    cfg = {"a": 1.0, "b": 2.0}

    @jit
    def f(x):
        for k, v in sorted(cfg.items()):
            x = x * v + 1
        return x

    return two(f, lambda: cfg.update(aa=7.0))


@case
def attrgetter_hidden(jit):
    c = NS(m=NS(b=2.0))
    g = operator.attrgetter("m.b")
    f = jit(lambda x: x * g(c))
    return two(f, lambda: setattr(c.m, "b", 5.0))


@case
def attrgetter_inline(jit):
    c = NS(m=NS(b=2.0))
    f = jit(lambda x: x * operator.attrgetter("m.b")(c))
    return two(f, lambda: setattr(c.m, "b", 5.0))


@case
def sort_key_attrgetter(jit):
    cs = [NS(b=2.0, v=1.0), NS(b=3.0, v=4.0)]
    f = jit(lambda x: x * sorted(cs, key=operator.attrgetter("b"))[0].v)
    return two(f, lambda: setattr(cs[0], "b", 5.0))


@case
def str_format_attr(jit):
    c = NS(k=2.0)
    f = jit(lambda x: x * float(f"{c.k}"))
    return two(f, lambda: setattr(c, "k", 5.0))


@case
def fstring_repr(jit):
    c = NS(k=2.0)
    f = jit(lambda x: x * len(f"{c}"))
    return two(f, lambda: setattr(c, "k", 5.123))


@case
def str_of_list(jit):
    c = [1, 2]
    f = jit(lambda x: x * len(str(c)))
    return two(f, lambda: c.append(3))


@case
def percent_format(jit):
    c = {"k": 2.0}
    f = jit(lambda x: x * float("{k}".format(**c)))
    return two(f, lambda: c.update(k=5.0))


@case
def map_append(jit):
    log = []

    @jit
    def f(x):
        list(map(log.append, [1, 2]))
        return x * 2

    return [f(X()) for _ in range(6)] + [len(log)]


@case
def partial_print(jit):
    p = functools.partial(print, "hi")

    @jit
    def f(x):
        p()
        return x * 2

    return [f(X()) for _ in range(6)]


@case
def partial_inline(jit):
    @jit
    def f(x):
        functools.partial(print, "hi")()
        return x * 2

    return [f(X()) for _ in range(6)]


@case
def partial_python(jit):
    c = NS(k=2.0)
    g = functools.partial(lambda a, x: x * a * c.k, 2.0)
    f = jit(lambda x: g(x))
    return two(f, lambda: setattr(c, "k", 5.0))


@case
def lru_cached(jit):
    c = NS(k=2.0)
    g = functools.lru_cache(None)(lambda: c.k)
    f = jit(lambda x: x * g())

    def ch():
        c.k = 5.0
        g.cache_clear()

    return two(f, ch)


@case
def reduce_lambda(jit):
    c = [1.0, 2.0]
    f = jit(lambda x: x * functools.reduce(lambda a, b: a * b, c))
    return two(f, lambda: c.append(5.0))


@case
def sum_of_list(jit):
    c = [1.0, 2.0]
    f = jit(lambda x: x * sum(c) * math.prod(c))
    return two(f, lambda: c.append(5.0))


@case
def zip_enumerate(jit):
    c = [NS(w=1.0), NS(w=2.0)]
    e = [3.0, 4.0]

    @jit
    def f(x):
        for i, (a, b) in enumerate(zip(c, e)):
            x = x * a.w + b * i
        return x

    return two(f, lambda: setattr(c[1], "w", 9.0)) + two(f, lambda: e.__setitem__(1, 8.0))


@case
def comprehension_attrs(jit):
    c = [NS(w=1.0), NS(w=2.0)]
    f = jit(lambda x: x * sum([o.w for o in c if o.w > 0.5]))
    return two(f, lambda: setattr(c[0], "w", 0.1))


@case
def generator_expr(jit):
    c = {"a": NS(w=1.0), "b": NS(w=2.0)}
    f = jit(lambda x: x * sum(o.w for o in c.values()))
    return two(f, lambda: setattr(c["a"], "w", 0.1))


@case
def max_by_key(jit):
    c = [NS(w=1.0, s=3), NS(w=2.0, s=1)]
    f = jit(lambda x: x * max(c, key=lambda o: o.s).w)
    return two(f, lambda: setattr(c[1], "s", 9))
