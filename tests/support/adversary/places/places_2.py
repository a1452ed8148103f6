"""Programs about places of every kind: hybrid's own objects, deques, tensors that move, patches."""

from __future__ import annotations

import collections
import functools
import types
from unittest import mock

import hybrid as hb
import hybrid.nn as nn
import hybrid.nn.functional as F
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import NS, X
from ..helpers import T, calls, leaf, lin, programs

CASES, case, ORDINARY, ordinary = programs()


@case
def patched_on_handle(jit):
    base = hb.Tensor.__mro__[1]
    f = jit(lambda x: x * getattr(x, "weight_of", 2.0))
    out = calls(f)
    base.weight_of = 5.0
    try:
        out += calls(f)
    finally:
        del base.weight_of
    return out + calls(f)


@case
def patched_instance(jit):
    m = lin()
    m.requires_grad_(False)
    f = jit(lambda x: m(x))
    out = calls(f)
    m.forward = lambda x: x * 2
    out += calls(f)
    del m.forward
    return out + calls(f)


@case
def patched_user_layer_of_hybrid(jit):
    class Mine(nn.Linear):
        pass

    rnd.manual_seed(1)
    m = Mine(3, 3)
    m.requires_grad_(False)
    f = jit(lambda x: m(x))
    out = calls(f)
    with mock.patch.object(Mine, "forward", lambda self, x: x * 2):
        out += calls(f)
    Mine.forward = lambda self, x: x * 3
    out += calls(f)
    del Mine.forward
    return out + calls(f)


@case
def patched_init_used_inside(jit):
    def fn(x):
        return nn.Sequential(nn.ReLU(), nn.Tanh())(x)

    f = jit(fn)
    out = calls(f)
    with mock.patch.object(nn.Tanh, "forward", lambda self, x: x * 2):
        out += calls(f)
    return out + calls(f)


@case
def patched_by_dict(jit):
    f = jit(lambda x: F.relu(x) + hb.exp(x))
    out = calls(f)
    with mock.patch.dict(F.__dict__, relu=lambda v: v * 2):
        out += calls(f)
    with mock.patch.dict(hb.__dict__, exp=lambda v: v * 2):
        out += calls(f)
    return out + calls(f)


@case
def patched_lr_property(jit):
    p = leaf(1, 2, 3)
    opt = optim.SGD([p], lr=0.1)
    f = jit(lambda x: x * opt.lr)
    out = calls(f)
    with mock.patch.object(optim.Optimizer, "lr", 3.0):
        out += calls(f)
    return out + calls(f)


@case
def keyword_default_dict_of_hybrid(jit):
    fn = next(
        g for g in vars(F).values() if isinstance(g, types.FunctionType) and g is F.leaky_relu
    )
    f = jit(lambda x: fn(x))
    out = calls(f)
    old = fn.__defaults__, fn.__kwdefaults__
    if old[1]:
        name = next(iter(old[1]))
        keep = old[1][name]
        fn.__kwdefaults__[name] = 0.7
        out += calls(f)
        fn.__kwdefaults__[name] = keep
    return out + calls(f)


@case
def cached_property_of_tensor(jit):
    class C:
        def __init__(self):
            self.k = T(2, 2, 2)

        @functools.cached_property
        def h(self):
            return self.k * 3

    c = C()
    f = jit(lambda x: x + c.h)
    out = calls(f)
    del c.h
    c.k = T(5, 5, 5)
    out += calls(f)
    c.h = T(1, 1, 1)
    return out + calls(f)


@case
def slot_under_another_name(jit):
    class S:
        __slots__ = ("h",)

    S.g = S.h
    s = S()
    s.h = T(1, 1, 1)

    @jit
    def f(x):
        s.g = s.h + x
        return s.g * 2

    out = []
    for k in range(6):
        out += [f(X(k)), s.h]
    return out


@case
def slots_and_dict(jit):
    class S:
        __slots__ = ("h", "__dict__")

    s = S()
    s.h, s.g = T(1, 1, 1), T(2, 2, 2)

    @jit
    def f(x):
        s.h, s.g = s.g + x, s.h
        return s.h * 2

    out = []
    for k in range(7):
        out += [f(X(k)), s.h, s.g]
        if k == 4:
            s.__dict__ = {"g": T(9, 9, 9)}
    return out


@case
def class_of_class_store(jit):
    class A:
        h = T(1, 1, 1)

        @classmethod
        def add(cls, x):
            cls.h = cls.h + x
            return cls.h

    class B(A):
        pass

    f = jit(lambda x: B.add(x) + A.h)
    out = []
    for k in range(5):
        out += [f(X(k)), A.h, B.h]
    A.h = T(7, 7, 7)
    for k in range(3):
        out += [f(X(k)), A.h, B.h]
    del B.h
    for k in range(5):
        out += [f(X(k)), A.h, B.h]
    return out


@case
def class_store_on_hybrid_class(jit):
    nn.Linear.shared = T(1, 1, 1)
    try:

        @jit
        def f(x):
            nn.Linear.shared = nn.Linear.shared + x
            return nn.Linear.shared * 2

        out = []
        for k in range(6):
            out += [f(X(k)), nn.Linear.shared]
        return out
    finally:
        del nn.Linear.shared


@case
def class_replaced_by_name(jit):
    class A:
        h = T(1, 1, 1)

    class B:
        h = T(5, 5, 5)

    o = NS(cls=A)

    @jit
    def f(x):
        o.cls.h = o.cls.h + x
        return o.cls.h * 1

    out = calls(f)
    o.cls = B
    out += calls(f)
    o.cls = A
    return [*out, *calls(f), A.h, B.h]


@case
def class_gets_a_property(jit):
    class A:
        pass

    a = A()
    a.h = T(1, 1, 1)

    @jit
    def f(x):
        a.h = a.h + x
        return a.h * 1

    out = calls(f)
    A.h = property(lambda s: s.__dict__["h"] * 2, lambda s, v: s.__dict__.update(h=v))
    out += calls(f)
    del A.h
    return [*out, *calls(f), a.h]


@case
def class_gets_a_setattr(jit):
    class A:
        pass

    a = A()
    a.h = T(1, 1, 1)

    @jit
    def f(x):
        a.h = a.h + x
        return a.h * 1

    out = calls(f)
    A.__setattr__ = lambda s, k, v: s.__dict__.update({k: v * 2})
    out += calls(f)
    del A.__setattr__
    return [*out, *calls(f), a.h]


@case
def dict_class_gets_a_setitem(jit):
    class D(dict):
        pass

    d = D(h=T(1, 1, 1))

    @jit
    def f(x):
        d["h"] = d["h"] + x
        return d["h"] * 1

    out = calls(f)
    D.__setitem__ = lambda s, k, v: dict.__setitem__(s, k, v * 2)
    out += calls(f)
    del D.__setitem__
    return [*out, *calls(f), d["h"]]


@case
def setitem_keeps_a_copy(jit):
    class D(dict):
        def __setitem__(s, k, v):
            dict.__setitem__(s, k, v * 2)
            dict.__setitem__(s, "last", v)

    d = D()
    dict.update(d, h=T(1, 1, 1), last=T(0, 0, 0))

    @jit
    def f(x):
        d["h"] = d["h"] + x
        return d["last"] * 1

    out = []
    for k in range(6):
        out += [f(X(k)), d["h"], d["last"]]
    return out


@case
def setitem_turns_the_order(jit):
    class D(collections.OrderedDict):
        def __setitem__(s, k, v):
            super().__setitem__(k, v)
            s.move_to_end(k)

    d = D(a=T(1, 1, 1), b=T(2, 2, 2))

    @jit
    def f(x):
        d["a"] = d["a"] + x
        return d["b"] * 1

    out = []
    for k in range(9):
        out += [f(X(k)), list(d), d["a"]]
        if k in (4, 6):
            d.move_to_end("b")
    return out


@case
def lru_of_tensors(jit):
    class Lru(collections.OrderedDict):
        def get(self, k, default=None):
            if k in self:
                self.move_to_end(k)
                return self[k]
            return default

    d = Lru(a=T(1, 1, 1), b=T(2, 2, 2))
    o = NS(key="a")
    f = jit(lambda x: x * d.get(o.key))
    out = []
    for k in range(10):
        out += [f(X(k)), list(d)]
        if k == 4:
            o.key = "b"
        if k == 7:
            d.move_to_end("a")
    return out


@case
def post_setattr_hook_counts(jit):
    class O2:
        def __init__(self):
            self.__dict__["h"] = T(1, 1, 1)
            self.__dict__["log"] = []

        def __setattr__(self, k, v):
            self.__dict__[k] = v
            self.log.append(k)

    o = O2()

    @jit
    def f(x):
        o.h = o.h + x
        return o.h * 1

    return [*calls(f), o.log, o.h]
