"""Programs on every way C code gets at a user's objects: protocols, comparisons, conversions, names.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
import operator

import numpy as np

from ..common import NS, suite
from .callables import steps
from .neighbours import put, simple_in, world

CASES, case = suite()
simple = functools.partial(simple_in, case)
SIX = put("o", "k", 6.0)


def many():
    w = world(k=2.0)
    w.l = [w.o, w.Cfg()]
    w.l[1].k = 3.0
    w.o.d = {"k": 2.0, "z": 3.0}
    w.o.names = ["k"]
    w.o.on = True
    w.d = w.o.d
    return w


m = functools.partial(simple, make=many)
DICT = lambda w: w.d.update(k=9.0)  # noqa: E731

# ---- C functions over objects
m("sum_attrgetter", lambda w, x: x * sum(map(operator.attrgetter("k"), w.l)), SIX)
m(
    "sorted_then_read",
    lambda w, x: x * sorted(w.l, key=operator.attrgetter("k"))[0].b,
    SIX,
    put("Base", "b", 4.0),
)
m("repeat", lambda w, x: x * sum(map(getattr, itertools.repeat(w.o), ["k", "b"])), SIX)
m("partial_getattr_late", lambda w, x: x * functools.partial(getattr)(w.o, "k"), SIX)
m(
    "caller_of_python",
    lambda w, x: operator.methodcaller("go", x)(w.o),
    SIX,
    put("Base", "go", lambda s, x: x * 8),
)
m("map_method", lambda w, x: sum(map(w.Cfg.go, w.l, [x, x])), SIX)
m("map_getattribute_bound", lambda w, x: x * sum(map(w.o.__getattribute__, ["k"])), SIX)
m("map_dict_bound", lambda w, x: x * sum(map(w.o.__dict__.get, ["k"])), SIX)
m("map_dict_item", lambda w, x: x * sum(map(w.o.__dict__.__getitem__, ["k"])), SIX)
m("map_inner_dict", lambda w, x: x * sum(map(w.o.d.__getitem__, ["k"])), DICT)
m("getattr_spread", lambda w, x: x * getattr(*(w.o, "k")), SIX)
m("getattr_default", lambda w, x: x * getattr(w.o, "zz", 1.0), put("o", "zz", 4.0))
m(
    "getattr_names",
    lambda w, x: x * sum(getattr(w.o, n) for n in w.o.names),
    SIX,
    lambda w: w.o.names.append("b"),
)
m(
    "getattr_text",
    lambda w, x: x * getattr(w.o, f"{w.o.names[0]}"),
    SIX,
    lambda w: w.o.names.__setitem__(0, "b"),
)
m(
    "hasattr_name",
    lambda w, x: x * 2 if hasattr(w.o, w.o.names[0]) else x,
    lambda w: w.o.names.__setitem__(0, "q"),
    put("o", "q", 1),
)
m("attrgetter_names", lambda w, x: x * sum(operator.attrgetter(*["k", "b"])(w.o)), SIX)
m("reduce_getitem", lambda w, x: x * functools.reduce(operator.getitem, ["k"], w.d), DICT)
m("itemgetter_many", lambda w, x: x * sum(operator.itemgetter("k", "z")(w.d)), DICT)
m(
    "reduce_lambda",
    lambda w, x: x * functools.reduce(lambda a, n: getattr(a, n), ["o", "k"], w),
    SIX,
)
m(
    "filter_getter",
    lambda w, x: x * len(list(filter(operator.attrgetter("on"), [w.o]))) + x,
    put("o", "on", False),
)
m("starmap_mixed", lambda w, x: x * sum(itertools.starmap(getattr, [(w.o, "k"), (w.o, "b")])), SIX)
m("min_dict_get", lambda w, x: x * len(min(w.d, key=w.d.get)) * w.d[min(w.d, key=w.d.get)], DICT)
m("sorted_dict_item", lambda w, x: x * w.d[sorted(w.d, key=w.d.__getitem__)[0]], DICT)
m("max_items", lambda w, x: x * max(w.d.items(), key=operator.itemgetter(1))[1], DICT)
m(
    "counter_types",
    lambda w, x: x * len(collections.Counter(map(type, w.l))),
    lambda w: w.l.append(1),
)
m(
    "compress",
    lambda w, x: (
        x * sum(itertools.compress([1.0, 2.0], map(operator.attrgetter("on"), [w.o, w.o])))
    ),
    put("o", "on", False),
)
m("zip_getters", lambda w, x: x * sum(a for (a,) in zip(map(operator.attrgetter("k"), w.l))), SIX)
m("dict_of_map", lambda w, x: x * dict(zip("ab", map(operator.attrgetter("k"), w.l)))["a"], SIX)
m(
    "nested_map",
    lambda w, x: x * sum(map(abs, map(operator.neg, map(operator.attrgetter("k"), w.l)))),
    SIX,
)
m(
    "all_callable",
    lambda w, x: x * 2 if all(map(callable, [w.o.go])) else x,
    lambda w: setattr(w.o, "go", 1),
)
m("format_method", lambda w, x: x * len("{}".format(w.o.k)), put("o", "k", 444.0))  # noqa: UP032
m("percent_text", lambda w, x: x * len("%s" % w.o.k), put("o", "k", 444.0))  # noqa: UP031
m("join_names", lambda w, x: x * len("".join(w.o.names)), lambda w: w.o.names.append("abc"))
m("partial_in_dict", lambda w, x: {"f": functools.partial(w.o.go)}["f"](x), SIX)
m("getter_of_getter", lambda w, x: x * operator.attrgetter("o.k")(w), SIX)
m("getattr_of_class", lambda w, x: x * getattr(type(w.o), "b"), put("Base", "b", 5.0))  # noqa: B009
m("map_getattr_class", lambda w, x: x * sum(map(getattr, [w.Cfg], ["b"])), put("Base", "b", 5.0))


# ---- protocols that C code calls
def sequence_of(w):
    """Methods of a sequence of the items in w.v."""

    def __len__(self):
        return len(w.v)

    def __getitem__(self, i):
        return w.v[i]

    def __contains__(self, v):
        return v in w.v

    def __reversed__(self):
        return iter(w.v)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(w.v, np.float32)

    return {name: method for name, method in locals().items() if name != "w"}


def number_of(w):
    """Methods of the number w.k."""

    def __float__(self):
        return w.k

    def __index__(self):
        return int(w.k)

    def __round__(self, n=0):
        return w.k

    def __abs__(self):
        return w.k

    def __floor__(self):
        return w.k

    def __bool__(self):
        return w.k > 2

    return {name: method for name, method in locals().items() if name != "w"}


def operators_of(w):
    """What operators, calls and texts make of the number w.k."""

    def __radd__(self, o):
        return o + w.k

    def __matmul__(self, o):
        return w.k

    def __call__(self, x):
        return x * w.k

    def __format__(self, spec):
        return "a" * int(w.k)

    return {name: method for name, method in locals().items() if name != "w"}


def protocol():
    w = NS(k=2.0, v=[1.0, 2.0])
    w.p = type("P", (), {**sequence_of(w), **number_of(w), **operators_of(w)})()
    return w


p = functools.partial(simple, make=protocol)
V = lambda w: w.v.__setitem__(0, 5.0)  # noqa: E731
KK = put("", "k", 3.0)
p("len_of", lambda w, x: x * len(w.p), lambda w: w.v.append(1.0))
p("iterated", lambda w, x: x * sum(v for v in w.p), V)
p("listed", lambda w, x: x * list(w.p)[0], V)
p("float_of", lambda w, x: x * float(w.p), KK)
p("int_of", lambda w, x: x * [1, 2, 3, 4][w.p], KK)
p("round_of", lambda w, x: x * round(w.p), KK)
p("abs_of", lambda w, x: x * abs(w.p), KK)
p("floor_of", lambda w, x: x * math.floor(w.p), KK)
p("sum_of", lambda w, x: x * sum([w.p]), KK)
p("truth_of", lambda w, x: x * 2 if w.p else x, KK)
p("not_of", lambda w, x: x * 2 if not w.p else x, KK)
p("all_of", lambda w, x: x * 2 if all([w.p]) else x, KK)
p("contained", lambda w, x: x * 2 if 5.0 in w.p else x, V)
p("reversed_of", lambda w, x: x * list(reversed(w.p))[0], V)
p("mapped_call", lambda w, x: sum(map(w.p, [x])), KK)
p("array_of", lambda w, x: x * float(np.asarray(w.p)[0]), V)
p("formatted", lambda w, x: x * len(f"{w.p}"), KK)
p("matmul_of", lambda w, x: x * (w.p @ 1), KK)
p("operator_abs", lambda w, x: x * sum(map(operator.abs, [w.p])), KK)
p("map_float", lambda w, x: x * sum(map(float, [w.p])), KK)
p("map_len", lambda w, x: x * sum(map(len, [w.p])), lambda w: w.v.append(1.0))
p("as_axis", lambda w, x: x.sum(axis=int(w.k) - 2) * w.k, lambda w: setattr(w, "k", 2.5))
p(
    "slot_replaced",
    lambda w, x: x * float(w.p),
    lambda w: setattr(type(w.p), "__float__", lambda s: 9.0),
)
p(
    "slot_added",
    lambda w, x: x * 2 if w.p == 3 else x,
    lambda w: setattr(type(w.p), "__eq__", lambda s, o: True),
)


# ---- metaclasses and names
def meta():
    w = NS(k=2.0)

    class M(type):
        def __len__(cls):
            return int(w.k)

        def __getitem__(cls, i):
            return w.k

        def __instancecheck__(cls, o):
            return w.k > 2

        def __iter__(cls):
            return iter([w.k])

        def __call__(cls, *a):
            o = type.__call__(cls)
            o.v = w.k
            return o

        def __getattr__(cls, name):
            return w.k

    class C(metaclass=M):
        "doc"

        def f(self, a: int = 1, *, b: float = 2.0):
            return a

    w.M, w.C = M, C
    return w


c = functools.partial(simple, make=meta)
c("meta_len", lambda w, x: x * len(w.C), KK)
c("meta_item", lambda w, x: x * w.C[0], KK)
c("meta_check", lambda w, x: x * 2 if isinstance(w, w.C) else x, KK)
c("meta_iter", lambda w, x: x * sum(w.C), KK)
c("meta_call", lambda w, x: x * w.C().v, KK)
c("meta_getattr", lambda w, x: x * w.C.anything, KK, put("C", "anything", 9.0))
c(
    "meta_method_replaced",
    lambda w, x: x * len(w.C),
    lambda w: setattr(w.M, "__len__", lambda cls: 7),
)
c(
    "default_of",
    lambda w, x: x * w.C.f.__defaults__[0],
    lambda w: setattr(w.C.f, "__defaults__", (5,)),
)
c(
    "kw_default_of",
    lambda w, x: x * w.C.f.__kwdefaults__["b"],
    lambda w: w.C.f.__kwdefaults__.update(b=5.0),
)
c(
    "code_name",
    lambda w, x: x * len(w.C.f.__code__.co_name),
    lambda w: setattr(w.C.f, "__code__", (lambda self, a=1, *, b=1: a).__code__),
)
c(
    "annotation_of",
    lambda w, x: x * len(w.C.f.__annotations__["a"].__name__),
    lambda w: w.C.f.__annotations__.update(a=complex),
)
c("doc_of_object", lambda w, x: x * len(w.C().__doc__), put("C", "__doc__", "longer"))
c("module_of_object", lambda w, x: x * len(w.C().__module__), put("C", "__module__", "m"))
c(
    "type_is",
    lambda w, x: x * 2 if type(w.C()) is w.C else x,
    lambda w: setattr(w, "C", w.M("D", (), {})),
)
c("repr_list", lambda w, x: x * len(repr([w.C])), put("C", "__qualname__", "Z"))
c("format_class", lambda w, x: x * len(f"{w.C}"), put("C", "__qualname__", "Z"))
c(
    "repr_function",
    lambda w, x: x * len(repr(w.C.f).split(" at ")[0]),
    lambda w: setattr(w.C.f, "__qualname__", "Z"),
)
c("slots_of", lambda w, x: x * len(type(w).__name__), KK)


@case
def closure_content(jit):
    k = 2.0

    def g():
        return k

    f = jit(lambda x: x * g.__closure__[0].cell_contents)
    h = jit(lambda x: x * g.__globals__["GLOBAL"])

    def change():
        nonlocal k
        k = 3.0

    r = steps(f, change)
    return r + steps(h, lambda: globals().update(GLOBAL=4.0), lambda: globals().update(GLOBAL=2.0))


GLOBAL = 2.0
