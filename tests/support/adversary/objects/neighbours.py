"""Programs on objects made in the call, on replaced methods and descriptors, on the standard library
working on a user's objects.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import builtins
import collections
import copy
import functools
import heapq
import itertools
import operator
import sys
import types

import hybrid as hb

from ..common import NS, suite
from .callables import steps

CASES, case = suite()


def world(**k):
    """A class, one of its objects and a base, made anew for each program."""

    class Base:
        b = 1.0

        def go(self, x):
            return x * self.k

        def __call__(self, x):
            return x + self.k

    class Cfg(Base):
        k = 2.0

        def __init__(self, **k):
            for n, v in k.items():
                setattr(self, n, v)

    return NS(Base=Base, Cfg=Cfg, o=Cfg(**k))


def simple_in(case, name, read, *changes, make=world):
    """A program that reads objects of a fresh world, with changes to them."""

    def program(jit):
        w = make()
        f = jit(lambda x: read(w, x))
        return steps(f, *[functools.partial(change, w) for change in changes])

    program.__name__ = name
    return case(program)


simple = functools.partial(simple_in, case)


def put(obj, name, value):
    def change(w):
        setattr(operator.attrgetter(obj)(w) if obj else w, name, value)

    return change


K = put("Cfg", "k", 5.0)
GO = put("Base", "go", lambda self, x: x * 7)

# ---- objects made in the call
simple("young_class_attribute", lambda w, x: x * w.Cfg().k, K)
simple("young_method", lambda w, x: w.Cfg().go(x), GO, K)
simple("young_method_overridden", lambda w, x: w.Cfg().go(x), put("Cfg", "go", lambda s, x: x * 9))
simple("young_call", lambda w, x: w.Cfg()(x), put("Base", "__call__", lambda s, x: x * 9))
simple("young_holds_old", lambda w, x: x * w.Cfg(inner=w.o).inner.k, put("o", "k", 6.0))
simple("young_through_dict", lambda w, x: x * {"a": w.o}["a"].k, put("o", "k", 6.0))
simple("young_through_list", lambda w, x: x * [w.o][0].k, put("o", "k", 6.0))
simple("young_through_namespace", lambda w, x: x * NS(a=w.o).a.k, put("o", "k", 6.0))
simple("young_property", lambda w, x: x * w.P().p, put("", "v", 4.0), make=lambda: _with_property())


def _with_property():
    w = NS(v=2.0)

    class P:
        p = property(lambda self: w.v)

    w.P = P
    return w


simple(
    "young_property_replaced",
    lambda w, x: x * w.P().p,
    put("P", "p", property(lambda self: 9.0)),
    make=lambda: _with_property(),
)
simple("copied", lambda w, x: x * copy.copy(w.o).k, put("o", "k", 6.0), K)
simple("deep_copied", lambda w, x: x * copy.deepcopy(w.o).k, put("o", "k", 6.0))
simple("vars_built", lambda w, x: x * w.Cfg(**dict(w.o.__dict__)).k, put("o", "k", 6.0))
simple(
    "type_of_object", lambda w, x: x * type(w.o)().k, K, lambda w: setattr(w.o, "__class__", w.Base)
)
simple(
    "young_static",
    lambda w, x: x * w.Cfg().s(),
    put("Cfg", "s", staticmethod(lambda: 8.0)),
    make=lambda: _static(),
)


def _static():
    w = world()
    w.Cfg.s = staticmethod(lambda: 3.0)
    return w


simple(
    "young_bases",
    lambda w, x: x * w.Cfg().b,
    lambda w: setattr(w.Cfg, "__bases__", (type("N", (w.Base,), {"b": 4.0}),)),
)
simple(
    "old_bases",
    lambda w, x: w.o.go(x),
    lambda w: setattr(w.Cfg, "__bases__", (type("N", (w.Base,), {"go": lambda s, x: x * 4}),)),
)
simple(
    "base_attribute_added",
    lambda w, x: x * getattr(w.o, "z", 1.0),
    lambda w: setattr(w.Base, "z", 3.0),
)
simple("shadowed", lambda w, x: x * w.o.k, put("o", "k", 4.0), lambda w: delattr(w.o, "k"))
simple("method_shadowed", lambda w, x: w.o.go(x), lambda w: setattr(w.o, "go", lambda x: x * 4))
simple("call_replaced", lambda w, x: w.o(x), put("Base", "__call__", lambda s, x: x * 9))
simple(
    "bound_method_kept",
    lambda w, x: w.m(x),
    lambda w: setattr(w.o, "k", 9.0),
    make=lambda: _bound(),
)


def _bound():
    w = world()
    w.m = w.o.go
    return w


simple(
    "min_key_python",
    lambda w, x: x * min([w.o, w.Cfg(k=9.0)], key=lambda o: o.b).k,
    put("o", "k", 6.0),
)
simple(
    "sorted_key_python",
    lambda w, x: x * sorted([w.o, w.o], key=lambda o: o.b)[0].k,
    put("o", "k", 6.0),
)
simple(
    "max_default", lambda w, x: x * max([w.o], key=lambda o: 1, default=None).k, put("o", "k", 6.0)
)
simple("next_generator", lambda w, x: x * next(o for o in [w.o] if o.b).k, put("o", "k", 6.0))
simple("filtered", lambda w, x: x * list(filter(lambda o: o.b, [w.o]))[0].k, put("o", "k", 6.0))
simple(
    "reduced", lambda w, x: x * functools.reduce(lambda a, o: o, [w.o, w.o]).k, put("o", "k", 6.0)
)
simple("zipped", lambda w, x: x * sum(o.k for _, o in zip([1], [w.o])), put("o", "k", 6.0))
simple("enumerated", lambda w, x: x * sum(o.k for _, o in enumerate([w.o])), put("o", "k", 6.0))
simple("popped", lambda w, x: x * [w.o].pop().k, put("o", "k", 6.0))
simple("dict_get", lambda w, x: x * {"a": w.o}.get("a").k, put("o", "k", 6.0))
simple("dict_values", lambda w, x: x * list({"a": w.o}.values())[0].k, put("o", "k", 6.0))
simple("dict_or", lambda w, x: x * ({"a": 1} | {"a": w.o})["a"].k, put("o", "k", 6.0))
simple("list_sum", lambda w, x: x * ([] + [w.o])[0].k, put("o", "k", 6.0))
simple("tuple_times", lambda w, x: x * ((w.o,) * 2)[1].k, put("o", "k", 6.0))
simple("sliced", lambda w, x: x * [w.o, 1][:1][0].k, put("o", "k", 6.0))
simple("starred", lambda w, x: x * [*[w.o]][0].k, put("o", "k", 6.0))
simple("islice", lambda w, x: x * next(itertools.islice([w.o, 1], 1)).k, put("o", "k", 6.0))
simple("product", lambda w, x: x * list(itertools.product([w.o], [1]))[0][0].k, put("o", "k", 6.0))
simple("deque_made", lambda w, x: x * collections.deque([w.o])[0].k, put("o", "k", 6.0))
simple("heap", lambda w, x: x * heapq.nlargest(1, [1.0, w.o.k])[0], put("o", "k", 6.0))
simple("sort_method", lambda w, x: x * _sorted([w.o.k, 2.5])[0], put("o", "k", 6.0))


def _sorted(values):
    values.sort(key=operator.neg)
    return values


# ---- callables found at run time
def acts():
    return NS(d={"act": lambda x: x * 2}, l=[lambda x: x * 3], name="relu", f=None)


simple(
    "from_dict", lambda w, x: w.d["act"](x), lambda w: w.d.update(act=lambda x: x * 5), make=acts
)
simple(
    "from_dict_get",
    lambda w, x: w.d.get("act")(x),
    lambda w: w.d.update(act=lambda x: x * 5),
    make=acts,
)
simple(
    "from_list", lambda w, x: w.l[0](x), lambda w: w.l.__setitem__(0, lambda x: x * 5), make=acts
)
simple("by_name", lambda w, x: getattr(hb, w.name)(x), put("", "name", "exp"), make=acts)
simple(
    "by_text",
    lambda w, x: getattr(hb, "re" + w.name[2:])(x),
    put("", "name", "reciprocal"),
    make=acts,
)
simple("either", lambda w, x: (w.f or hb.relu)(x), put("", "f", hb.exp), make=acts)
simple(
    "composed",
    lambda w, x: functools.reduce(lambda a, g: g(a), w.l, x),
    lambda w: w.l.append(hb.exp),
    make=acts,
)
simple("partial_made", lambda w, x: functools.partial(operator.mul, 2.0)(x), make=acts)
simple(
    "partial_of_op",
    lambda w, x: functools.partial(hb.multiply, x)(w.d["act"](x)),
    lambda w: w.d.update(act=hb.exp),
    make=acts,
)
simple("map_ops", lambda w, x: sum(map(hb.exp, [x, x])), make=acts)
simple("map_bound", lambda w, x: sum(map(w.o.go, [x])), K, GO)
simple("map_str", lambda w, x: x * len("".join(map(str.upper, ["a", "bb"]))), make=acts)
simple("map_types", lambda w, x: x * sum(map(int, ["1", "2"])) * sum(map(float, [1, 2])), make=acts)
simple("sorted_lower", lambda w, x: x * len(sorted(["b", "A"], key=str.lower)[0]), make=acts)
simple("getter_default", lambda w, x, g=operator.attrgetter("k"): x * g(w.o), put("o", "k", 6.0))
simple("getter_global", lambda w, x: x * GETTER(w.o), put("o", "k", 6.0))
GETTER = operator.attrgetter("k")
simple(
    "getter_in_object",
    lambda w, x: x * w.g(w.o),
    put("o", "k", 6.0),
    put("", "g", operator.attrgetter("b")),
    make=lambda: _holds_getter(),
)


def _holds_getter():
    w = world()
    w.g = operator.attrgetter("k")
    return w


simple(
    "builtin_replaced",
    lambda w, x: x * len(hex(255)),
    lambda w: w.push(),
    lambda w: w.pop(),
    make=lambda: _builtins(),
)


def _builtins():
    w = NS()
    old = builtins.hex
    w.push = lambda: setattr(builtins, "hex", lambda a: old(a) + "1")
    w.pop = lambda: setattr(builtins, "hex", old)
    return w


# ---- classes with attribute hooks and descriptors
def hooks():
    w = NS(inner=NS(k=2.0), d={"k": 3.0})

    class Delegate:
        def __getattr__(self, name):
            return getattr(w.inner, name)

    class Table:
        def __getattribute__(self, name):
            return w.d[name]

    class Desc:
        def __init__(self, v):
            self.v = v

        def __get__(self, o, t):
            return self.v

    class Data(Desc):
        def __set__(self, o, v):
            self.v = v

    class User:
        a, b = Desc(2.0), Data(3.0)

    w.Desc, w.User = Desc, User
    w.delegate, w.table, w.user = Delegate(), Table(), User()
    return w


simple("delegated", lambda w, x: x * w.delegate.k, lambda w: setattr(w.inner, "k", 5.0), make=hooks)
simple(
    "delegated_new",
    lambda w, x: x * getattr(w.delegate, "z", 1.0),
    lambda w: setattr(w.inner, "z", 5.0),
    make=hooks,
)
simple("own_getattribute", lambda w, x: x * w.table.k, lambda w: w.d.update(k=5.0), make=hooks)
simple(
    "own_getattribute_reduce",
    lambda w, x: x * functools.reduce(getattr, ["k"], w.table),
    lambda w: w.d.update(k=5.0),
    make=hooks,
)
simple(
    "descriptor_state",
    lambda w, x: x * w.user.a,
    lambda w: setattr(w.User.__dict__["a"], "v", 5.0),
    make=hooks,
)
simple(
    "descriptor_replaced",
    lambda w, x: x * w.user.a,
    lambda w: setattr(w.User, "a", w.Desc(8.0)),
    make=hooks,
)
simple(
    "descriptor_shadowed",
    lambda w, x: x * w.user.a,
    lambda w: w.user.__dict__.update(a=8.0),
    make=hooks,
)
simple(
    "data_descriptor", lambda w, x: x * w.user.b, lambda w: setattr(w.user, "b", 5.0), make=hooks
)
simple(
    "descriptor_on_class",
    lambda w, x: x * w.User.a,
    lambda w: setattr(w.User, "a", w.Desc(8.0)),
    make=hooks,
)
simple(
    "descriptor_get_replaced",
    lambda w, x: x * w.user.a,
    lambda w: setattr(w.Desc, "__get__", lambda s, o, t: 9.0),
    make=hooks,
)


@case
def module_attributes(jit):
    m = types.ModuleType("settings")
    m.k = 2.0
    sys.modules["settings"] = m
    f = jit(lambda x: x * m.k)
    g = jit(lambda x: x * sys.modules["settings"].k)
    h = jit(lambda x: x * functools.reduce(getattr, ["k"], m))

    class Lazy(types.ModuleType):
        k = property(lambda self: 9.0)

    changes = [lambda: setattr(m, "k", 3.0), lambda: setattr(m, "k", 4.0)]
    r = steps(f, *changes) + steps(g, *changes) + steps(h, *changes)
    m.__class__ = Lazy
    del m.__dict__["k"]
    return r + steps(f) + steps(g)


@case
def module_getattr(jit):
    m = types.ModuleType("settings")
    d = {"k": 2.0}
    m.__getattr__ = lambda name: d[name]
    f = jit(lambda x: x * m.k)
    return steps(f, lambda: d.update(k=3.0), lambda: setattr(m, "k", 5.0))
