"""Programs that store tensors in objects, modules, functions and variables."""

from __future__ import annotations

import types
from typing import Any

import hybrid.nn as nn

from ..common import NS, X
from ..helpers import T, attribute, programs
from ..helpers import five_calls as calls

CASES, case, ORDINARY, ordinary = programs()
LAST: Any = None


@case
def dict_of_module_written(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = T(1, 1, 1)

        def forward(self, x):
            self.__dict__["h"] = self.h + x
            return self.h

    m = M()
    f = jit(lambda x: m(x))
    out = []
    for k in range(6):
        out += [f(X(k)), m.h, sorted(m._names)]
    return out


@case
def attribute_deleted_and_made(jit):
    o = NS(h=T(1, 1, 1), g=T(2, 2, 2))

    @jit
    def f(x):
        h = o.h
        del o.h
        o.h = h + x
        return o.g + x

    out = []
    for k in range(6):
        out += [f(X(k)), list(vars(o)), o.h]
    return out


@case
def attribute_moved(jit):
    o = NS(a=T(1, 1, 1), b=T(2, 2, 2))

    @jit
    def f(x):
        o.a, o.b = o.b, o.a
        return o.a + x

    out = []
    for k in range(7):
        out += [f(X(k)), o.a, o.b]
    return out


@case
def attribute_appears(jit):
    o = NS()

    @jit
    def f(x):
        if not hasattr(o, "h"):
            o.h = x * 0
        o.h = o.h + x
        return o.h

    out = []
    for k in range(6):
        out += [f(X(k)), o.h]
        if k == 3:
            del o.h
    return out


@ordinary
def simple_namespace(jit):
    return attribute(lambda: NS(h=T(1, 1, 1)), jit, reads=True)


@ordinary
def global_variable(jit):
    global LAST
    LAST = T(0, 0, 0)

    @jit
    def f(x):
        global LAST
        LAST = LAST + x
        return LAST * 2

    out = []
    for k in range(6):
        out += [f(X(k)), LAST]
    return out


@case
def global_by_globals(jit):
    global LAST
    LAST = T(0, 0, 0)

    @jit
    def f(x):
        globals()["LAST"] = LAST + x
        return LAST * 2

    out = []
    for k in range(6):
        out += [f(X(k)), LAST]
    return out


@ordinary
def nonlocal_variable(jit):
    h = T(0, 0, 0)

    @jit
    def f(x):
        nonlocal h
        h = h + x
        return h * 2

    out = []
    for k in range(6):
        out += [f(X(k)), h]
    return out


@case
def module_attribute(jit):
    m = types.ModuleType("state")
    m.h = T(0, 0, 0)

    @jit
    def f(x):
        m.h = m.h + x
        return m.h

    out = []
    for k in range(6):
        out += [f(X(k)), m.h]
    return out


@case
def module_with_setattr(jit):
    class Loud(types.ModuleType):
        def __setattr__(self, k, v):
            super().__setattr__(k, v * 2)

    m = types.ModuleType("state")
    m.h = T(0, 0, 0)
    m.__class__ = Loud

    @jit
    def f(x):
        m.h = m.h + x
        return m.h

    out = []
    for k in range(6):
        out += [f(X(k)), m.h]
    return out


@case
def module_with_getattr(jit):
    m = types.ModuleType("state")
    m.raw = T(1, 1, 1)
    exec("def __getattr__(name):\n    return raw + 1", m.__dict__)  # noqa: S102

    @jit
    def f(x):
        m.raw = m.h + x
        return m.h

    out = []
    for k in range(6):
        out += [f(X(k)), m.raw]
    return out


@case
def function_attribute(jit):
    def state():
        pass

    state.h = T(0, 0, 0)

    @jit
    def f(x):
        state.h = state.h + x
        return state.h

    out = []
    for k in range(6):
        out += [f(X(k)), state.h]
    return out


@case
def attribute_of_itself(jit):
    def f(x):
        f.h = f.h + x
        return f.h

    f.h = T(0, 0, 0)
    g = jit(f)
    out = []
    for k in range(6):
        out += [g(X(k)), f.h]
    return out


@case
def keyword_defaults(jit):
    def h(x, *, s=T(1, 1, 1)):  # noqa: B008
        return x + s

    @jit
    def f(x):
        h.__kwdefaults__["s"] = x * 2
        return h(x)

    out = []
    for k in range(6):
        out += [f(X(k)), h(X(0))]
    return out


@case
def defaults_tuple(jit):
    def h(x, s=T(1, 1, 1)):  # noqa: B008
        return x + s

    @jit
    def f(x):
        h.__defaults__ = (x * 2,)
        return h(x)

    out = []
    for k in range(6):
        out += [f(X(k)), h(X(0))]
    return out


@case
def mutable_default(jit):
    @jit
    def f(x, cache={}):  # noqa: B006
        cache["h"] = cache["h"] + x if "h" in cache else x * 1
        return cache["h"]

    return calls(f, 6)


@case
def thread_local(jit):
    import threading

    o = threading.local()
    o.h = T(1, 1, 1)
    return attribute(lambda: o, jit, reads=True)


@case
def partial_keywords(jit):
    import functools

    p = functools.partial(lambda x, s: x + s, s=T(1, 1, 1))

    @jit
    def f(x):
        p.keywords["s"] = p.keywords["s"] + x
        return p(x)

    out = []
    for k in range(6):
        out += [f(X(k)), p.keywords["s"]]
    return out


@case
def exception_holds_tensor(jit):
    e = ValueError("a")
    e.h = T(1, 1, 1)
    return attribute(lambda: e, jit, reads=True)


@case
def bound_method_object(jit):
    class C:
        def __init__(self):
            self.h = T(1, 1, 1)

        def put(self, v):
            self.h = v

    c = C()
    put = c.put

    @jit
    def f(x):
        put(c.h + x)
        return c.h

    out = []
    for k in range(6):
        out += [f(X(k)), c.h]
    return out


@case
def setattr_builtin(jit):
    o = NS(h=T(1, 1, 1))

    @jit
    def f(x):
        setattr(o, "h", o.h + x)  # noqa: B010
        return o.h

    out = []
    for k in range(6):
        out += [f(X(k)), o.h]
    return out


@case
def super_setattr(jit):
    class A:
        def __setattr__(self, k, v):
            super().__setattr__(k, v)

    class B(A):
        def __setattr__(self, k, v):
            super().__setattr__(k, v + 1)

    def make():
        b = B()
        b.__dict__["h"] = T(1, 1, 1)
        return b

    return attribute(make, jit) + attribute(make, jit, reads=True)


@case
def mapping_proxy_view(jit):
    d = {"h": T(1, 1, 1)}
    view = types.MappingProxyType(d)

    @jit
    def f(x):
        d["h"] = view["h"] + x
        return view["h"]

    out = []
    for k in range(6):
        out += [f(X(k)), d["h"]]
    return out


@case
def two_places_one_tensor(jit):
    o, d = NS(h=T(1, 1, 1)), {"h": T(0, 0, 0)}

    @jit
    def f(x):
        o.h = d["h"] = o.h + x
        return o.h

    out = []
    for k in range(6):
        out += [f(X(k)), o.h is d["h"], o.h]
        if k == 4:
            d["h"] = T(7, 7, 7)
    return out
