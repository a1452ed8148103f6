"""Programs that store tensors in objects, modules, functions and variables."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import hybrid as hb
import hybrid.nn as nn

from ..common import NS, X
from ..helpers import T, attribute, programs
from ..helpers import five_calls as calls

CASES, case, ORDINARY, ordinary = programs()
LAST: Any = None


@case
def object_doubles(jit):
    class Doubling:
        def __setattr__(s, k, v):
            object.__setattr__(s, k, v * 2)

    def make():
        o = Doubling()
        object.__setattr__(o, "h", T(0, 0, 0))
        return o

    return attribute(make, jit) + attribute(make, jit, reads=True)


@case
def object_doubles_through_dict(jit):
    class Doubling:
        def __setattr__(s, k, v):
            s.__dict__[k] = v * 2

    def make():
        o = Doubling()
        o.__dict__["h"] = T(0, 0, 0)
        return o

    return attribute(make, jit) + attribute(make, jit, reads=True)


@case
def module_doubles(jit):
    class M(nn.Module):
        def __setattr__(s, k, v):
            super().__setattr__(k, v * 2 if isinstance(v, hb.Tensor) else v)

    def make():
        m = M()
        m.h = T(1, 1, 1)
        return m

    return attribute(make, jit) + attribute(make, jit, reads=True)


@case
def module_keeps_a_log(jit):
    class M(nn.Module):
        def __setattr__(s, k, v):
            super().__setattr__(k, v)
            if isinstance(v, hb.Tensor):
                super().__setattr__("count", s.__dict__.get("count", 0) + 1)

    m = M()
    m.h = T(1, 1, 1)

    @jit
    def f(x):
        m.h = m.h + x
        return m.h * 2

    return calls(f) + [m.h, m.count]


@case
def module_with_buffer(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("run", T(1, 1, 1))
            self.last = None

        def forward(self, x):
            self.run = self.run * 0.9 + x * 0.1
            self.last = self.run * 2
            return x + self.run

    m = M()
    m.last = T(0, 0, 0)
    f = jit(lambda x: m(x))
    out = []
    for k in range(6):
        out += [f(X(k)), m.run, m.last, list(m.state_dict()), sorted(m._names.items())]
    return out


@ordinary
def module_plain_tensor_attribute(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = T(1, 1, 1)

        def forward(self, x):
            self.h = self.h * 0.5 + x
            return self.h + 1

    m = M()
    f = jit(lambda x: m(x))
    out = []
    for k in range(6):
        out += [f(X(k)), m.h]
    return out


@case
def module_child_becomes_tensor(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = T(1, 1, 1)

        def forward(self, x):
            self.h = self.h * 0.5 + x
            return self.h + 1

    m = M()
    f = jit(lambda x: m(x))
    out = calls(f)
    m.h = nn.Linear(3, 3)
    m.h = T(4, 4, 4)
    out += calls(f)
    m.h = hb.tensor(np.float32([1, 2, 3]), requires_grad=True)
    out += [list(m._names)]
    return out


@ordinary
def slots_class(jit):
    class S:
        __slots__ = ("h", "n")

    def make():
        s = S()
        s.h = T(1, 1, 1)
        return s

    return attribute(make, jit) + attribute(make, jit, reads=True)


@case
def slots_class_doubles(jit):
    class S:
        __slots__ = ("h", "n")

        def __setattr__(s, k, v):
            object.__setattr__(s, k, v * 2)

    def make():
        s = S()
        object.__setattr__(s, "h", T(1, 1, 1))
        return s

    return attribute(make, jit) + attribute(make, jit, reads=True)


@case
def property_stores_elsewhere(jit):
    class P:
        def __init__(self):
            self._h = T(1, 1, 1)

        @property
        def h(self):
            return self._h + 1

        @h.setter
        def h(self, v):
            self._h = v * 2

    return attribute(P, jit) + attribute(P, jit, reads=True)


@case
def descriptor_stores_in_dict(jit):
    class D:
        def __get__(self, o, t=None):
            return o.__dict__["h"]

        def __set__(self, o, v):
            o.__dict__["h"] = v * 2

    class P:
        h = D()

        def __init__(self):
            self.__dict__["h"] = T(1, 1, 1)

    return attribute(P, jit) + attribute(P, jit, reads=True)


@case
def descriptor_with_slot_of_its_own(jit):
    class D:
        def __init__(self):
            self.value = T(1, 1, 1)

        def __get__(self, o, t=None):
            return self.value

        def __set__(self, o, v):
            self.value = v * 2

    class P:
        h = D()

    return attribute(P, jit) + attribute(P, jit, reads=True)


@case
def post_init_in_the_call(jit):
    @dataclasses.dataclass
    class P:
        h: Any

        def __post_init__(self):
            self.h = self.h * 2

    box = NS(p=P(T(1, 1, 1)))

    @jit
    def f(x):
        p = box.p
        p.h = p.h + x
        p.__post_init__()
        return p.h

    out = []
    for k in range(5):
        out += [f(X(k)), box.p.h]
    return out


@ordinary
def dataclass_field(jit):
    @dataclasses.dataclass
    class P:
        h: Any = None

    return attribute(lambda: P(T(1, 1, 1)), jit, reads=True)


@case
def frozen_dataclass(jit):
    @dataclasses.dataclass(frozen=True)
    class P:
        h: Any

    p = P(T(1, 1, 1))

    @jit
    def f(x):
        object.__setattr__(p, "h", p.h + x)
        return p.h * 2

    out = []
    for k in range(6):
        out += [f(X(k)), p.h]
    return out


@case
def frozen_dataclass_refuses(jit):
    @dataclasses.dataclass(frozen=True)
    class P:
        h: Any

    p = P(T(1, 1, 1))

    @jit
    def f(x):
        try:
            p.h = x
        except dataclasses.FrozenInstanceError:
            return x + p.h
        return x

    return calls(f)


@case
def setstate(jit):
    class P:
        def __init__(self):
            self.h = T(1, 1, 1)

        def __setstate__(self, s):
            self.__dict__.update(s)

    p = P()

    @jit
    def f(x):
        p.__setstate__({"h": p.h + x})
        return p.h

    out = []
    for k in range(6):
        out += [f(X(k)), p.h]
    return out


@case
def getattr_computes(jit):
    class P:
        def __init__(self):
            self.raw = T(1, 1, 1)

        def __getattr__(self, name):
            if name == "h":
                return self.raw + 1
            raise AttributeError(name)

    p = P()

    @jit
    def f(x):
        p.raw = p.h + x
        return p.h

    out = []
    for k in range(6):
        out += [f(X(k)), p.raw]
    return out


@case
def getattribute_computes(jit):
    class P:
        def __init__(self):
            self.raw = T(1, 1, 1)

        def __getattribute__(self, name):
            if name == "h":
                return object.__getattribute__(self, "raw") * 3
            return object.__getattribute__(self, name)

    p = P()

    @jit
    def f(x):
        p.raw = p.h + x
        return p.h

    out = []
    for k in range(6):
        out += [f(X(k)), p.raw]
    return out


@case
def dict_of_instance_written(jit):
    o = NS(h=T(1, 1, 1))

    @jit
    def f(x):
        o.__dict__["h"] = o.h + x
        return o.h

    out = []
    for k in range(6):
        out += [f(X(k)), o.h]
    return out
