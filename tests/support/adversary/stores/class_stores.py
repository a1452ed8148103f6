"""Programs that store tensors on classes."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import hybrid.nn as nn

from ..common import X
from ..helpers import T, programs
from ..helpers import five_calls as calls

CASES, case, ORDINARY, ordinary = programs()
LAST: Any = None


@case
def on_class_by_name(jit):
    class Cell:
        h = T(1, 1, 1)

    @jit
    def f(x):
        Cell.h = Cell.h + x
        return Cell.h * 2

    out = []
    for k in range(6):
        out += [f(X(k)), Cell.h]
    return out


@case
def on_class_by_cls(jit):
    class M:
        last = T(0, 0, 0)

        @classmethod
        def put(cls, v):
            cls.last = v

    @jit
    def f(x):
        M.put(x * 2)
        return x + 1

    out = []
    for k in range(6):
        out += [f(X(k)), M.last]
    return out


@case
def on_type_of_self(jit):
    class M:
        h = T(0, 0, 0)

        def step(self, x):
            type(self).h = type(self).h + x
            return self.h

    m = M()
    f = jit(lambda x: m.step(x))
    out = []
    for k in range(6):
        out += [f(X(k)), M.h]
    return out


@case
def on_dunder_class(jit):
    class M:
        h = T(0, 0, 0)

        def step(self, x):
            self.__class__.h = self.__class__.h + x
            return x * 2

    m = M()
    f = jit(lambda x: m.step(x))
    out = []
    for k in range(6):
        out += [f(X(k)), M.h, m.h]
    return out


@case
def from_base_to_subclass(jit):
    class B:
        h = T(5, 5, 5)

    class D(B):
        pass

    @jit
    def f(x):
        D.h = D.h + x
        return D.h

    out = []
    for k in range(6):
        out += [f(X(k)), B.h, D.h, "h" in vars(D)]
    del D.h
    out += calls(f)
    return [*out, B.h, D.h]


@case
def class_of_a_module(jit):
    class M(nn.Module):
        h = T(0, 0, 0)

        def forward(self, x):
            type(self).h = type(self).h * 0.5 + x
            return x + self.h

    m = M()
    f = jit(lambda x: m(x))
    out = []
    for k in range(6):
        out += [f(X(k)), M.h]
    return out


@case
def metaclass_with_setattr(jit):
    log = []

    class Meta(type):
        def __setattr__(cls, name, v):
            log.append(name)
            type.__setattr__(cls, name, v * 2)

    class C(metaclass=Meta):
        h = T(1, 1, 1)

    @jit
    def f(x):
        C.h = x + 1
        return C.h * 1

    out = []
    for k in range(6):
        out += [f(X(k)), C.h]
    return [*out, log]


@case
def metaclass_doubles(jit):
    class Meta(type):
        def __setattr__(cls, name, v):
            type.__setattr__(cls, name, v * 2)

    class C(metaclass=Meta):
        h = T(1, 1, 1)

    @jit
    def f(x):
        C.h = x + 1
        return x * 3

    out = []
    for k in range(6):
        out += [f(X(k)), C.h]
    return out


@case
def metaclass_property(jit):
    class Meta(type):
        @property
        def h(cls):
            return cls._h

        @h.setter
        def h(cls, v):
            cls._h = v + 1

    class C(metaclass=Meta):
        _h = T(0, 0, 0)

    @jit
    def f(x):
        C.h = C.h + x
        return C.h

    out = []
    for k in range(6):
        out += [f(X(k)), C._h]
    return out


@case
def class_store_then_new_instances(jit):
    class C:
        shared = T(1, 2, 3)

    @jit
    def f(x):
        C.shared = C.shared * x
        return C().shared + 1

    out = []
    for k in range(6):
        out += [f(X(k)), C().shared]
    return out


@case
def class_store_seen_by_slots_default(jit):
    class C:
        __slots__ = ("a",)
        b = T(1, 1, 1)

    c = C()
    c.a = T(2, 2, 2)

    @jit
    def f(x):
        c.a = c.a + x
        C.b = c.a * 2
        return c.b

    out = []
    for k in range(6):
        out += [f(X(k)), c.a, C.b]
    return out


@case
def deleted_class_attribute(jit):
    class C:
        h = T(1, 1, 1)

    def step(x):
        if "h" in vars(C):
            y = C.h + x
            del C.h
            C.h = y
        return C.h

    f = jit(step)
    out = []
    for k in range(6):
        out += [f(X(k)), C.h, list(vars(C))[-1]]
    return out


@case
def dataclass_class_field(jit):
    @dataclasses.dataclass
    class C:
        n: int = 0
        h: Any = None

    C.h = T(1, 1, 1)

    @jit
    def f(x):
        C.h = C.h + x
        return C.h

    out = []
    for k in range(6):
        out += [f(X(k)), C.h, C(3).h is None]
    return out


@case
def enum_class_attribute(jit):
    class E(enum.Enum):
        A = 1

    E.extra = T(1, 1, 1)

    @jit
    def f(x):
        E.extra = E.extra + x
        return x * 2

    out = []
    for k in range(5):
        out += [f(X(k)), E.extra]
    return out
