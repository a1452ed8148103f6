"""Programs on what C code reads of Python objects: getters, C callables in classes, C that calls C,
names and bases of classes, objects whose state lives in C.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
import operator
import types

from ..common import NS, X, suite

CASES, case = suite()


def steps(f, *changes, args=lambda: (X(),), n=4, m=3):
    """n calls, then m calls after each change; errors are results, too."""

    def call():
        try:
            return f(*args())
        except Exception as e:
            return type(e).__name__

    r = [call() for _ in range(n)]
    for change in changes:
        change()
        r += [call() for _ in range(m)]
    return r


# ---- C callables as getters and in classes
def getter(make, change, name):
    def program(jit):
        class C:
            pass

        C.scale = make(C)
        o = C()
        o._scale, o.d, o.l = 2.0, {"k": 3.0}, [4.0]
        f = jit(lambda x: x * o.scale)
        return steps(f, lambda: change(o))

    program.__name__ = f"getter_{name}"
    return case(program)


class _Inner:
    def __init__(self):
        self.k = 5.0

    def val(self, n=1):
        return self.k * n


getter(
    lambda C: property(operator.attrgetter("_scale")), lambda o: setattr(o, "_scale", 7.0), "attr"
)
getter(
    lambda C: property(functools.partial(getattr, _Inner(), "k")),
    lambda o: setattr(type(o), "scale", property(lambda s: 9.0)),
    "replaced",
)


def _deep(C):
    return property(operator.attrgetter("inner.k"))


@case
def getter_dotted(jit):
    class C:
        scale = property(operator.attrgetter("inner.k"))

    o = C()
    o.inner = _Inner()
    f = jit(lambda x: x * o.scale)
    return steps(f, lambda: setattr(o.inner, "k", 6.0), lambda: setattr(o, "inner", _Inner()))


@case
def getter_partial(jit):
    cfg = _Inner()

    def read(c, self):
        return c.k + self.b

    class C:
        scale = property(functools.partial(read, cfg))

    o = C()
    o.b = 1.0
    f = jit(lambda x: x * o.scale)
    return steps(f, lambda: setattr(cfg, "k", 6.0), lambda: setattr(o, "b", 2.0))


@case
def getter_item(jit):
    class C(dict):
        scale = property(operator.itemgetter("k"))

    o = C(k=2.0)
    f = jit(lambda x: x * o.scale)
    return steps(f, lambda: o.__setitem__("k", 5.0))


@case
def getter_len(jit):
    class C(list):
        size = property(len)

    o = C([1, 2])
    f = jit(lambda x: x * o.size)
    return steps(f, lambda: o.append(5.0))


@case
def getter_vars(jit):
    class C:
        all = property(vars)

    o = C()
    o.k = 2.0
    f = jit(lambda x: x * o.all["k"])
    return steps(f, lambda: setattr(o, "k", 5.0))


@case
def getter_methodcaller(jit):
    class C(_Inner):
        scale = property(operator.methodcaller("val", 3))

    o = C()
    f = jit(lambda x: x * o.scale)
    return steps(f, lambda: setattr(o, "k", 6.0))


@case
def getter_bound_builtin(jit):
    d = {"k": 2.0}

    class C:
        scale = property(functools.partial(d.get, "k"))
        other = property(lambda self: d["k"])

    class D:
        key = "k"
        scale = property(lambda self, get=d.get: get(self.key))

    o, p = C(), D()
    f = jit(lambda x: x * p.scale if o is not None else x)
    return steps(f, lambda: d.update(k=6.0), lambda: setattr(D, "key", "z"))


@case
def getter_cached_property(jit):
    class C:
        scale = functools.cached_property(operator.attrgetter("_s"))

    o = C()
    o._s = 2.0
    f = jit(lambda x: x * o.scale)
    return steps(f, lambda: setattr(o, "_s", 5.0), lambda: o.__dict__.pop("scale"))


@case
def getter_class_property(jit):
    class M(type):
        scale = property(operator.attrgetter("_s"))

    class C(metaclass=M):
        _s = 2.0

    f = jit(lambda x: x * C.scale)
    return steps(f, lambda: setattr(C, "_s", 5.0))


@case
def setter_in_c(jit):
    class C:
        def __init__(self):
            self.log = []

        k = property(operator.attrgetter("_k"), functools.partial(setattr))

    class D:
        put = property(lambda s: 1.0, operator.methodcaller("append", 1))

    o = C()
    o._k = 1.0

    def f(x):
        o._k = 2.0
        return x * o.k

    return [*steps(jit(f)), o._k]


@case
def getter_super(jit):
    class A:
        scale = property(operator.attrgetter("_s"))

    class B(A):
        @property
        def scale(self):
            return super().scale * 2

    o = B()
    o._s = 2.0
    f = jit(lambda x: x * o.scale)
    return steps(f, lambda: setattr(o, "_s", 5.0))


@case
def attr_dict(jit):
    class AttrDict(dict):
        __getattr__ = dict.__getitem__
        __setattr__ = dict.__setitem__
        __delattr__ = dict.__delitem__

    c = AttrDict(k=2.0, sub=AttrDict(z=1.0))
    f = jit(lambda x: x * c.k + c.sub.z)
    return steps(f, lambda: c.update(k=3.0), lambda: setattr(c.sub, "z", 5.0))


@case
def attr_dict_get(jit):
    class AttrDict(dict):
        __getattr__ = dict.get

    c = AttrDict(k=2.0)
    f = jit(lambda x: x * c.k if c.missing is None else x)
    return steps(f, lambda: c.update(k=3.0), lambda: c.update(missing=1))


@case
def getattr_partial(jit):
    base = _Inner()

    class C:
        __getattr__ = functools.partial(getattr, base)

    o = C()
    f = jit(lambda x: x * o.k)
    return steps(f, lambda: setattr(base, "k", 6.0))


@case
def getitem_attrgetter(jit):
    cfg = _Inner()

    class C:
        __getitem__ = operator.attrgetter("real")
        __call__ = operator.attrgetter("k")
        __len__ = functools.partial(getattr, cfg, "n")

    cfg.n = 2
    o = C()
    f = jit(lambda x: x * len(o))
    return steps(f, lambda: setattr(cfg, "n", 4))


@case
def call_attrgetter(jit):
    class C:
        __call__ = staticmethod(operator.attrgetter("k"))

    cfg, o = _Inner(), C()
    f = jit(lambda x: x * o(cfg))
    return steps(f, lambda: setattr(cfg, "k", 4))


@case
def bool_in_c(jit):
    cfg = _Inner()

    class C:
        __bool__ = functools.partial(getattr, cfg, "on")

    cfg.on = True
    o = C()
    f = jit(lambda x: x * 2 if o else x * 3)
    return steps(f, lambda: setattr(cfg, "on", False))


@case
def iter_in_c(jit):
    cfg = NS(v=[1.0, 2.0])

    class C:
        __iter__ = functools.partial(map, float, cfg.v)
        __contains__ = functools.partial(operator.contains, cfg.v)

    o = C()
    f = jit(lambda x: x * 2 if 1.0 in o else x * 3)
    return steps(f, lambda: cfg.v.pop(0))


@case
def eq_in_c(jit):
    cfg = NS(r=True)

    class C:
        __eq__ = functools.partial(getattr, cfg)
        __hash__ = object.__hash__

    o = C()
    f = jit(lambda x: x * 2 if o == "r" else x * 3)
    return steps(f, lambda: setattr(cfg, "r", False))


@case
def enter_in_c(jit):
    class C:
        __enter__ = operator.attrgetter("k")

        def __exit__(self, *a):
            return None

    o = C()
    o.k = 2.0

    def f(x):
        with o as k:
            return x * k

    return steps(jit(f), lambda: setattr(o, "k", 3.0))


@case
def method_in_c(jit):
    class C:
        read = classmethod(getattr)
        k = 2.0

    f = jit(lambda x: x * C.read("k"))
    return steps(f, lambda: setattr(C, "k", 3.0))


@case
def static_attrgetter(jit):
    class C:
        read = staticmethod(operator.attrgetter("k"))

    cfg = _Inner()
    f = jit(lambda x: x * C.read(cfg))
    return steps(f, lambda: setattr(cfg, "k", 3.0))


@case
def partialmethod_getattr(jit):
    class C:
        read = functools.partialmethod(getattr, "k")

    o = C()
    o.k = 2.0
    f = jit(lambda x: x * o.read())
    return steps(f, lambda: setattr(o, "k", 3.0))


@case
def c_descriptor(jit):
    base = _Inner()

    class D:
        __get__ = functools.partial(getattr, base, "k")

    class C:
        @functools.singledispatchmethod
        def go(self, a):
            return base.k

    o = C()
    f = jit(lambda x: x * o.go(1))
    return steps(f, lambda: setattr(base, "k", 3.0))


@case
def add_in_c(jit):
    cfg = NS(r=2.0)

    class C:
        __add__ = functools.partial(getattr, cfg)

    o = C()
    f = jit(lambda x: x * (o + "r"))
    return steps(f, lambda: setattr(cfg, "r", 3.0))


# ---- C code that calls C code
class Thing:
    def __init__(self, **k):
        vars(self).update(k)

    def __eq__(self, o):
        return vars(self) == vars(o)

    def __repr__(self):
        return f"Thing(k={self.k})"


def c_to_c(name, read, k=(2.0, 3.0)):
    for make in (NS, Thing):
        _c_to_c(f"{name}_{make.__name__}", read, k, make)


def _c_to_c(name, read, k, make):
    def program(jit):
        o = make(a=make(k=k[0]), d={"k": k[0]}, k=k[0], on=True)
        f = jit(lambda x: x * read(o))

        def change():
            o.a.k = o.k = k[1]
            o.d["k"] = k[1]

        return steps(f, change, lambda: delattr(o, "on"))

    program.__name__ = f"c_{name}"
    return case(program)


c_to_c("reduce_getattr", lambda o: functools.reduce(getattr, ("a", "k"), o))
c_to_c("reduce_split", lambda o: functools.reduce(getattr, "a.k".split("."), o))
c_to_c("partial_getattr", lambda o: functools.partial(getattr, o, "k")())
c_to_c("partial_nested", lambda o: functools.partial(functools.partial(getattr, o), "k")())
c_to_c("starmap_getattr", lambda o: list(itertools.starmap(getattr, [(o, "k")]))[0])
c_to_c("map_getattr", lambda o: sum(map(getattr, [o, o.a], ["k", "k"])))
c_to_c("any_hasattr", lambda o: 2.0 if any(map(hasattr, [o], ["on"])) else 3.0)
c_to_c("map_attrgetter", lambda o: sum(map(operator.attrgetter("k"), [o, o.a])))
c_to_c("attrgetter", lambda o: operator.attrgetter("a.k")(o))
c_to_c("attrgetter_two", lambda o: sum(operator.attrgetter("a.k", "k")(o)))
c_to_c("itemgetter", lambda o: operator.itemgetter("k")(o.d))
c_to_c("map_itemgetter", lambda o: sum(map(operator.itemgetter("k"), [o.d])))
c_to_c("map_getitem", lambda o: sum(map(operator.getitem, [o.d], ["k"])))
c_to_c("methodcaller", lambda o: operator.methodcaller("get", "k")(o.d))
c_to_c("map_vars", lambda o: sum(v["k"] for v in map(vars, [o, o.a])))
c_to_c("vars", lambda o: vars(o)["k"])
c_to_c("object_getattribute", lambda o: object.__getattribute__(o, "k"))
c_to_c("map_getattribute", lambda o: sum(map(object.__getattribute__, [o], ["k"])))
c_to_c("dict_get", lambda o: dict.get(o.d, "k"))
c_to_c("map_dict_get", lambda o: sum(map(dict.get, [o.d], ["k"])))
c_to_c("map_bound_get", lambda o: sum(map(o.d.get, ["k"])))
c_to_c("sorted_key", lambda o: sorted([o, o.a], key=operator.attrgetter("k"))[0].k)
c_to_c("min_key", lambda o: min([o, type(o)(k=2.5)], key=operator.attrgetter("k")).k)
c_to_c("min_key_python", lambda o: min([o, type(o)(k=2.5)], key=lambda p: p.k).k)
c_to_c("max_item_key", lambda o: max([o.d, {"k": 2.5}], key=operator.itemgetter("k"))["k"])
c_to_c("accumulate", lambda o: list(itertools.accumulate(["a", "k"], getattr, initial=o))[-1])
c_to_c(
    "takewhile",
    lambda o: 2.0 + len(list(itertools.takewhile(functools.partial(hasattr, o), ["on"]))),
)
c_to_c(
    "groupby", lambda o: [float(k) for k, _ in itertools.groupby([o], operator.attrgetter("k"))][0]
)
c_to_c(
    "filter_hasattr", lambda o: 2.0 + len(list(filter(functools.partial(hasattr, o), ["on", "z"])))
)
c_to_c("format_attr", lambda o: float(f"{o.k}"))
c_to_c("format_map", lambda o: float("{k}".format_map(o.d)))
c_to_c("format_map_vars", lambda o: float("{k}".format_map(vars(o))))
c_to_c("percent", lambda o: float("%(k)s" % o.d))  # noqa: UP031
c_to_c("percent_vars", lambda o: float("%(k)s" % vars(o)))  # noqa: UP031
c_to_c("repr_ns", lambda o: 2.0 if "k=2.0" in repr(o) else 3.0)
c_to_c("str_map", lambda o: 2.0 if "k=2.0" in "".join(map(str, [o])) else 3.0)
c_to_c("eq_ns", lambda o: 2.0 if o.a == type(o)(k=2.0) else 3.0)
c_to_c("default_get", lambda o: getattr(o, "on", 3.0) + o.k)
c_to_c("setdefault", lambda o: o.d.setdefault("k", 9.0))
c_to_c("defaultdict", lambda o: collections.defaultdict(functools.partial(getattr, o, "k"))["z"])
c_to_c("next_map", lambda o: next(map(operator.attrgetter("k"), [o])))
c_to_c("iter_sentinel", lambda o: next(iter(functools.partial(getattr, o, "k"), 0.0)))
c_to_c("zip_longest", lambda o: sum(a.k for a, b in itertools.zip_longest([o], [o.a])))
c_to_c("chain_from", lambda o: sum(itertools.chain.from_iterable([o.d.values()])))
c_to_c("dict_comp", lambda o: sum({k: v for k, v in o.d.items()}.values()))
c_to_c("sum_values", lambda o: sum(o.d.values()))
c_to_c("chainmap", lambda o: collections.ChainMap({}, o.d)["k"])
c_to_c("proxy", lambda o: types.MappingProxyType(o.d)["k"])
c_to_c("box", lambda o: NS(cfg=o).cfg.k)
c_to_c("tuple_new", lambda o: tuple([o])[0].k)
c_to_c("type_call", lambda o: type(o)(k=o.k).k)
c_to_c("pow_key", lambda o: math.fsum(sorted(map(abs, [o.k]))))
