"""Programs on C objects with state, NumPy data, and calls that only recording refused.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import array
import collections
import contextvars
import decimal
import functools
import re
import types
import weakref

import numpy as np

from ..common import NS, X, suite
from .callables import steps

CASES, case = suite()


# ---- objects whose state lives in C
def held(name, make, read, *changes):
    def program(jit):
        c = NS(e=make())
        f = jit(lambda x: x * read(c.e))
        return steps(f, *[functools.partial(change, c.e) for change in changes])

    program.__name__ = f"held_{name}"
    return case(program)


class MyError(ValueError):
    pass


def _args(e):
    e.args = ("longer text",)


def text(e):
    return len(str(e))


for _n, _m in (("value", lambda: ValueError("a")), ("mine", lambda: MyError("a"))):
    held(f"{_n}_str", _m, text, _args)
    held(f"{_n}_repr", _m, lambda e: len(repr(e)), _args)
    held(f"{_n}_format", _m, lambda e: len(f"{e}"), _args)
    held(f"{_n}_args", _m, lambda e: len(e.args[0]), _args)
    held(f"{_n}_map", _m, lambda e: sum(map(len, map(str, [e]))), _args)
held(
    "notes",
    lambda: ValueError("a"),
    lambda e: len(getattr(e, "__notes__", ())),
    lambda e: e.add_note("n"),
    lambda e: e.__notes__.append(1),
)
held(
    "cause",
    lambda: ValueError("a"),
    lambda e: 2.0 if e.__cause__ is None else 3.0,
    lambda e: setattr(e, "__cause__", KeyError()),
)
held(
    "oserror",
    lambda: OSError(1, "aa"),
    lambda e: e.errno + len(e.strerror),
    lambda e: setattr(e, "errno", 5),
    lambda e: setattr(e, "strerror", "b"),
)
held("oserror_str", lambda: OSError(1, "aa"), text, lambda e: setattr(e, "strerror", "longer"))
held("stop", lambda: StopIteration(2.0), lambda e: e.value, lambda e: setattr(e, "value", 4.0))
held(
    "import_error",
    lambda: ImportError("a", name="b"),
    lambda e: len(e.name),
    lambda e: setattr(e, "name", "cc"),
)
held("exit", lambda: SystemExit(2), lambda e: e.code, lambda e: setattr(e, "code", 4))
held(
    "unicode",
    lambda: UnicodeDecodeError("u", b"ab", 0, 1, "r"),
    lambda e: len(e.reason),
    lambda e: setattr(e, "reason", "rr"),
)


@case
def raised_again(jit):
    e = ValueError("a")

    def f(x):
        try:
            raise e
        except ValueError as err:
            return x * len(err.args[0])

    return steps(jit(f), lambda: setattr(e, "args", ("abc",)))


@case
def raised_fresh(jit):
    def f(x):
        try:
            raise ValueError("abc")
        except ValueError as err:
            return x * len(str(err))

    return steps(jit(f))


def _proxy_make():
    d = {"k": 2.0}
    return NS(d=d, p=types.MappingProxyType(d), v=d.values(), i=d.items(), ks=d.keys())


def _put(e):
    e.d["k"] = 5.0


def _more(e):
    e.d["z"] = 5.0


held("proxy", _proxy_make, lambda e: e.p["k"], _put)
held("proxy_get", _proxy_make, lambda e: e.p.get("k", 1.0), _put)
held("proxy_len", _proxy_make, lambda e: len(e.p), _more)
held("proxy_in", _proxy_make, lambda e: 2.0 if "z" in e.p else 3.0, _more)
held("proxy_iter", _proxy_make, lambda e: sum(e.p[k] for k in e.p), _put, _more)
held("view_values", _proxy_make, lambda e: sum(e.v), _put, _more)
held("view_items", _proxy_make, lambda e: sum(v for _, v in e.i), _put, _more)
held("view_len", _proxy_make, lambda e: len(e.ks), _more)
held("view_in", _proxy_make, lambda e: 2.0 if "z" in e.ks else 3.0, _more)
held("view_mapping", _proxy_make, lambda e: e.ks.mapping["k"], _put)
held("bytearray", lambda: bytearray(b"ab"), lambda e: e[0], lambda e: e.__setitem__(0, 3))
held(
    "memoryview",
    lambda: memoryview(bytearray(b"ab")),
    lambda e: e[0],
    lambda e: e.__setitem__(0, 3),
)
held("array", lambda: array.array("d", [1.0]), lambda e: e[0], lambda e: e.__setitem__(0, 3.0))
held(
    "contextvar",
    lambda: contextvars.ContextVar("v", default=2.0),
    lambda e: e.get(),
    lambda e: e.set(5.0),
)
held(
    "deque",
    lambda: collections.deque([1.0, 2.0], 4),
    lambda e: e[0] * e.maxlen,
    lambda e: e.rotate(1),
    lambda e: e.__init__([5.0], 3),
)
held(
    "counter",
    lambda: collections.Counter("aab"),
    lambda e: e["a"] + e.total(),
    lambda e: e.update("a"),
)
held(
    "ordered",
    lambda: collections.OrderedDict(a=1.0, b=2.0),
    lambda e: next(iter(e.values())),
    lambda e: e.move_to_end("a"),
)
held(
    "defaultdict_factory",
    lambda: collections.defaultdict(lambda: 2.0),
    lambda e: e.default_factory(),
    lambda e: setattr(e, "default_factory", lambda: 3.0),
)
held("regex", lambda: re.compile("a+"), lambda e: len(e.match("aab").group()) + len(e.pattern))
held("decimal", lambda: decimal.Decimal("1.5"), lambda e: float(e))
held(
    "dtype_names",
    lambda: np.dtype([("a", "f4")]),
    lambda e: len(e.names[0]),
    lambda e: setattr(e, "names", ("bbb",)),
)
held(
    "dtype_fields",
    lambda: np.dtype([("a", "f4")]),
    lambda e: 2.0 if "a" in e.fields else 3.0,
    lambda e: setattr(e, "names", ("bbb",)),
)
held(
    "dtype_str",
    lambda: np.dtype([("a", "f4")]),
    lambda e: len(str(e)),
    lambda e: setattr(e, "names", ("bbb",)),
)


@case
def weak_proxy(jit):
    class C:
        k = 2.0

    o = C()
    p, r = weakref.proxy(o), weakref.ref(o)
    f = jit(lambda x: x * p.k)
    g = jit(lambda x: x * r().k)
    return steps(f, lambda: setattr(o, "k", 3.0)) + steps(g, lambda: setattr(o, "k", 4.0))


@case
def weak_dead(jit):
    class C:
        k = 2.0

    box = [C()]
    r = weakref.ref(box[0])
    f = jit(lambda x: x * 2 if r() is None else x * 3)
    return steps(f, box.clear)


@case
def cached(jit):
    c = NS(k=2.0)

    @functools.lru_cache
    def g(a):
        return c.k

    f = jit(lambda x: x * g(1))
    return steps(f, lambda: setattr(c, "k", 3.0), g.cache_clear)


@case
def dispatch(jit):
    @functools.singledispatch
    def g(a):
        return 2.0

    f = jit(lambda x: x * g(1))
    return steps(f, lambda: g.register(int, lambda a: 5.0))


@case
def proxy_argument(jit):
    d = {"k": 2.0}
    p = types.MappingProxyType(d)
    f = jit(lambda x, p: x * p["k"])
    return steps(f, lambda: d.update(k=3.0), args=lambda: (X(), p))


@case
def bytearray_argument(jit):
    b = bytearray(b"ab")
    f = jit(lambda x, b: x * b[0])
    return steps(f, lambda: b.__setitem__(0, 3), args=lambda: (X(), b))


# ---- C objects that are made anew in place
def _scaled(a, b=1.0, *, c=0.0):
    return a * b + c


def remade(name, make, read, *changes):
    held(f"remade_{name}", make, read, *changes)


def _new_state(*parts):
    return lambda p: p.__setstate__(parts)


P = functools.partial
remade("partial", lambda: P(_scaled, 2.0), lambda p: p(), _new_state(_scaled, (3.0,), {}, None))
remade(
    "partial_func",
    lambda: P(_scaled, 2.0),
    lambda p: p(),
    _new_state(lambda *a: 7.0, (3.0,), {}, None),
)
remade(
    "partial_kw", lambda: P(_scaled, 2.0, c=1.0), lambda p: p(), lambda p: p.keywords.update(c=5.0)
)
remade("partial_new_kw", lambda: P(_scaled, 2.0), lambda p: p(), lambda p: p.keywords.update(c=5.0))
remade(
    "partial_args",
    lambda: P(_scaled, 2.0),
    lambda p: p.args[0],
    _new_state(_scaled, (3.0,), {}, None),
)
remade(
    "partial_map",
    lambda: P(_scaled, 2.0),
    lambda p: sum(map(p, [1.0])),
    _new_state(_scaled, (3.0,), {}, None),
)
remade(
    "partial_attr",
    lambda: P(_scaled, 2.0),
    lambda p: getattr(p, "k", 1.0),
    lambda p: setattr(p, "k", 4.0),
)
remade(
    "partial_inner",
    lambda: P(P(_scaled, 2.0)),
    lambda p: p(),
    _new_state(P(_scaled, 9.0), (), {}, None),
)


def _my_partial():
    class MyPartial(functools.partial):
        k = 1.0

    return MyPartial(_scaled, 2.0)


remade(
    "partial_class",
    _my_partial,
    lambda p: p() + p.k,
    _new_state(_scaled, (3.0,), {}, None),
    lambda p: setattr(type(p), "k", p.k + 1),
)


@case
def remade_property(jit):
    class C:
        p = property(lambda s: 2.0)

    o = C()
    f = jit(lambda x: x * o.p)
    return steps(f, lambda: C.__dict__["p"].__init__(lambda s: 3.0))


@case
def remade_static(jit):
    class C:
        p = staticmethod(lambda: 2.0)
        q = classmethod(lambda cls: 2.0)

    o = C()
    f = jit(lambda x: x * o.p() + C.q())
    return steps(
        f,
        lambda: C.__dict__["p"].__init__(lambda: 3.0),
        lambda: C.__dict__["q"].__init__(lambda cls: 5.0),
    )


@case
def remade_array(jit):
    a = np.float32([1, 2, 3])
    f = jit(lambda x: x * float(a[0]))
    return steps(
        f, lambda: a.__setstate__((1, (3,), np.dtype("f4"), False, np.float32([4, 5, 6]).tobytes()))
    )


@case
def cell_filled(jit):
    k = 2.0

    def g():
        return k

    cell = g.__closure__[0]
    f = jit(lambda x: x * cell.cell_contents)
    return steps(f, lambda: setattr(cell, "cell_contents", 3.0))
