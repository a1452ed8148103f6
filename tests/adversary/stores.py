"""Programs that store tensors in Python places: classes, containers and objects with code of their
own, bookkeeping that has to stay right beside the tensors."""

from __future__ import annotations

import collections
import dataclasses
import enum
import sys
import types
import weakref
from typing import Any

import numpy as np

import hybrid as hb
import hybrid.nn as nn

from .common import NS, X, suite

CASES, case = suite()
ORDINARY: set[str] = set()  # programs that must be replayed
LAST: Any = None


def ordinary(f):
    ORDINARY.add(f.__name__)
    return case(f)


def T(*v):
    return hb.tensor(np.float32(v))


def calls(f, n=5):
    return [f(X(k + 1.0)) for k in range(n)]


# ---- class attributes
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


# ---- containers with code of their own
def container(make, jit, key="k", n=6):
    d = make()

    @jit
    def f(x):
        d[key] = x + 1
        return x * 2

    out = []
    for k in range(n):
        out += [f(X(k)), d[key]]
    return out


@case
def dict_doubles(jit):
    class B(dict):
        def __setitem__(s, k, v):
            dict.__setitem__(s, k, v * 2)

    return container(lambda: B(k=T(0, 0, 0)), jit)


@case
def dict_doubles_reads_itself(jit):
    class B(dict):
        def __setitem__(s, k, v):
            dict.__setitem__(s, k, v * 2)

    d = B(k=T(1, 1, 1))

    @jit
    def f(x):
        d["k"] = d["k"] + x
        return d["k"]

    out = []
    for k in range(6):
        out += [f(X(k)), d["k"]]
    return out


@case
def list_doubles(jit):
    class B(list):
        def __setitem__(s, k, v):
            list.__setitem__(s, k, v * 2)

    return container(lambda: B([T(0, 0, 0), 1]), jit, 0)


@case
def deque_doubles(jit):
    class B(collections.deque):
        def __setitem__(s, k, v):
            collections.deque.__setitem__(s, k, v * 2)

    return container(lambda: B([T(0, 0, 0), 1]), jit, 0)


@case
def ordered_dict_doubles(jit):
    class B(collections.OrderedDict):
        def __setitem__(s, k, v):
            super().__setitem__(k, v * 2)

    return container(lambda: B(k=T(0, 0, 0)), jit)


@case
def defaultdict_doubles(jit):
    class B(collections.defaultdict):
        def __setitem__(s, k, v):
            super().__setitem__(k, v * 2)

    return container(lambda: B(int, k=T(0, 0, 0)), jit)


@case
def counter_subclass(jit):
    class B(collections.Counter):
        def __setitem__(s, k, v):
            dict.__setitem__(s, k, v - 1)

    b = B()
    dict.__setitem__(b, "k", T(0, 0, 0))
    return container(lambda: b, jit)


@case
def userdict_doubles(jit):
    class B(collections.UserDict):
        def __setitem__(s, k, v):
            s.data[k] = v * 2

    return container(lambda: B(k=T(0, 0, 0)), jit)


@case
def userlist_doubles(jit):
    class B(collections.UserList):
        def __setitem__(s, k, v):
            s.data[k] = v * 2

    return container(lambda: B([T(0, 0, 0)]), jit, 0)


@case
def userdict_plain(jit):
    return container(lambda: collections.UserDict(k=T(0, 0, 0)), jit)


@case
def chainmap(jit):
    low = {"k": T(9, 9, 9)}
    m = collections.ChainMap({"k": T(0, 0, 0)}, low)

    @jit
    def f(x):
        m["k"] = m["k"] + x
        return m["k"]

    out = []
    for k in range(5):
        out += [f(X(k)), m["k"], low["k"]]
    m.maps[0].pop("k")
    for k in range(3):
        out += [f(X(k)), m["k"], low["k"]]
    return out


@ordinary
def defaultdict_plain(jit):
    return container(lambda: collections.defaultdict(int, k=T(0, 0, 0)), jit)


@ordinary
def ordered_dict_plain(jit):
    return container(lambda: collections.OrderedDict(k=T(0, 0, 0)), jit)


@ordinary
def plain_dict(jit):
    return container(lambda: {"k": T(0, 0, 0)}, jit)


@ordinary
def plain_list(jit):
    return container(lambda: [T(0, 0, 0), 5], jit, 0)


@case
def deque_plain(jit):
    return container(lambda: collections.deque([T(0, 0, 0), 5]), jit, 0)


@case
def negative_index(jit):
    return container(lambda: [T(0, 0, 0), T(1, 1, 1)], jit, -1)


@case
def weak_values(jit):
    d = weakref.WeakValueDictionary()
    keep = [T(0, 0, 0)]
    d["k"] = keep[0]

    @jit
    def f(x):
        y = x + 1
        d["k"] = y
        return y

    out = []
    for k in range(5):
        r = f(X(k))
        out += [r, d["k"] is r, len(d)]
        del r
    return out


@case
def setdefault_and_update(jit):
    d = {"a": T(0, 0, 0)}

    @jit
    def f(x):
        d.update(a=x + 1)
        return d.setdefault("a", x) * 2

    out = []
    for k in range(6):
        out += [f(X(k)), d["a"], list(d)]
    return out


@case
def ior_and_pop(jit):
    d = {"a": T(0, 0, 0), "b": T(1, 1, 1)}

    @jit
    def f(x):
        t = d.pop("a")
        d["c"] = t + x
        e = d
        e |= {"a": d.pop("c")}
        return d["a"] * 2

    out = []
    for k in range(6):
        out += [f(X(k)), d["a"], list(d)]
    return out


@case
def order_of_keys(jit):
    d = {"a": T(0, 0, 0), "b": T(1, 1, 1)}

    @jit
    def f(x):
        v = d.pop("a")
        d["a"] = v + x
        return d["b"] * 1

    out = []
    for k in range(6):
        out += [f(X(k)), list(d), d["a"]]
    return out


@case
def order_turns(jit):
    d = collections.OrderedDict(a=T(0, 0, 0), b=T(1, 1, 1))

    @jit
    def f(x):
        d["a"] = d["a"] + x
        d.move_to_end("a")
        return d["b"] * 1

    out = []
    for k in range(6):
        out += [f(X(k)), list(d), d["a"]]
        if k == 4:
            d.move_to_end("b")
    return out


@case
def entry_deleted_between(jit):
    d = {"a": T(0, 0, 0), "b": T(1, 1, 1)}

    @jit
    def f(x):
        d["a"] = x + 1
        return d["b"] + x

    out = []
    for k in range(8):
        out += [f(X(k)), list(d), d["a"]]
        if k in (4, 6):
            del d["a"]
    return out


@case
def list_append_and_pop(jit):
    stack = [T(0, 0, 0)]

    @jit
    def f(x):
        stack.append(stack.pop() + x)
        return stack[-1] * 2

    out = []
    for k in range(6):
        out += [f(X(k)), stack[0], len(stack)]
    return out


@case
def list_grows(jit):
    acts = []

    @jit
    def f(x):
        acts.append(x * 2)
        return x + 1

    return calls(f) + [list(acts)]


@case
def list_insert_extend(jit):
    acts = [T(0, 0, 0)]

    @jit
    def f(x):
        acts.insert(0, x * 2)
        acts.extend([x, x + 1])
        del acts[3:]
        return acts[0] + 1

    out = []
    for _k in range(5):
        out += [*calls(f, 2), list(acts)]
    return out


@case
def list_rotates(jit):
    a = [T(1, 1, 1), T(2, 2, 2), T(3, 3, 3)]

    @jit
    def f(x):
        a[0], a[1], a[2] = a[1], a[2], a[0]
        return a[0] * x

    out = []
    for k in range(7):
        out += [f(X(k)), list(a)]
    return out


@case
def list_reverse_sort(jit):
    a = [T(1, 1, 1), T(2, 2, 2)]

    @jit
    def f(x):
        a.reverse()
        return a[0] * x

    out = []
    for k in range(7):
        out += [f(X(k)), list(a)]
    return out


@case
def slice_assignment(jit):
    a = [T(1, 1, 1), T(2, 2, 2)]

    @jit
    def f(x):
        a[:] = [a[1] + x, a[0]]
        return a[0] * x

    out = []
    for k in range(7):
        out += [f(X(k)), list(a)]
    return out


@case
def tensor_in_set(jit):
    s = set()
    t = T(1, 1, 1)

    @jit
    def f(x):
        s.clear()
        s.add(x + t)
        return x * 2

    out = []
    for k in range(5):
        out += [f(X(k)), [v.numpy().copy() for v in s]]
    return out


@case
def tensor_as_key(jit):
    t = T(1, 1, 1)
    d = {t: T(2, 2, 2)}

    @jit
    def f(x):
        d[t] = d[t] + x
        return d[t]

    out = []
    for k in range(5):
        out += [f(X(k)), d[t], len(d)]
    return out


@case
def object_array(jit):
    a = np.empty(2, object)
    a[0] = T(1, 1, 1)

    @jit
    def f(x):
        a[0] = x + 1
        return x * 2

    out = []
    for k in range(5):
        out += [f(X(k)), a[0]]
    return out


# ---- objects with code of their own
def attribute(make, jit, n=6, reads=False):
    o = make()

    @jit
    def f(x):
        o.h = (o.h if reads else x) + x
        return x * 2

    out = []
    for k in range(n):
        out += [f(X(k)), o.h]
    return out


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


@case
def stored_argument(jit):
    o = NS(h=T(1, 1, 1))

    @jit
    def f(x):
        prev, o.h = o.h, x
        return prev + x

    out = []
    for k in range(6):
        out += [f(X(k)), o.h]
    return out


@case
def class_in_sys_modules(jit):
    m = types.ModuleType("hybrid_test_state")

    class C:
        h = T(0, 0, 0)

    m.C = C
    sys.modules["hybrid_test_state"] = m
    try:

        @jit
        def f(x):
            import hybrid_test_state as s

            s.C.h = s.C.h + x
            return s.C.h

        out = []
        for k in range(6):
            out += [f(X(k)), C.h]
        return out
    finally:
        del sys.modules["hybrid_test_state"]


@case
def module_dict_entry(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.cache = {"h": T(1, 1, 1)}

        def forward(self, x):
            self.cache["h"] = self.cache["h"] + x
            return self.cache["h"]

    m = M()
    f = jit(lambda x: m(x))
    out = []
    for k in range(6):
        out += [f(X(k)), m.cache["h"]]
    return out


@case
def key_with_equality(jit):
    class K:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            return isinstance(other, K)

    a, b = K(), K()
    d = {a: T(1, 1, 1)}

    @jit
    def f(x):
        d[b] = d[a] + x
        return d[b]

    out = []
    for k in range(6):
        out += [f(X(k)), d[a], len(d)]
    return out


@case
def true_and_one(jit):
    d = {1: T(1, 1, 1)}

    @jit
    def f(x):
        d[True] = d[1.0] + x
        return d[1]

    out = []
    for k in range(6):
        out += [f(X(k)), d[1], [type(q).__name__ for q in d]]
    return out


@case
def order_after_deletion(jit):
    d = {"a": T(1, 1, 1), "b": T(2, 2, 2)}

    @jit
    def f(x):
        t = d["a"]
        del d["a"]
        d["a"] = t + x
        return d["b"] * x

    out = []
    for k in range(10):
        out += [f(X(k)), list(d)]
        if k in (4, 6):
            d["b"] = d.pop("b")
    return out


@case
def order_of_attributes_after_deletion(jit):
    o = NS(a=T(1, 1, 1), b=T(2, 2, 2))

    @jit
    def f(x):
        t = o.a
        del o.a
        o.a = t + x
        return o.b * x

    out = []
    for k in range(10):
        out += [f(X(k)), list(vars(o))]
        if k in (4, 6):
            b = o.b
            del o.b
            o.b = b
    return out


@case
def getattr_with_an_effect(jit):
    log = []

    class P:
        def __init__(self):
            self.raw = T(1, 1, 1)

        def __getattr__(self, name):
            log.append(name)
            if name == "h":
                return 3.0
            raise AttributeError(name)

    p = P()
    f = jit(lambda x: x * p.h)
    return [*calls(f), log]


@case
def getattr_fills_a_cache(jit):
    class P:
        def __init__(self):
            self.n = 0

        def __getattr__(self, name):
            if name == "h":
                self.h = T(2, 2, 2)
                return self.h
            raise AttributeError(name)

    p = P()
    f = jit(lambda x: x * p.h)
    out = calls(f, 2)
    del p.h
    out += calls(f, 4)
    p.h = T(3, 3, 3)
    return [*out, *calls(f), list(vars(p))]


@case
def getattribute_plain(jit):
    class P:
        def __getattribute__(self, name):
            return 3.0 if name == "h" else 4.0

    p = P()
    f = jit(lambda x: x * p.h + p.g)
    out = calls(f)
    P.__getattribute__ = lambda self, name: 5.0
    return out + calls(f)


@case
def metaclass_getattr(jit):
    o = NS(k=2.0)

    class Meta(type):
        def __getattr__(cls, name):
            return o.k

    class C(metaclass=Meta):
        pass

    f = jit(lambda x: x * C.h)
    out = calls(f)
    o.k = 3.0
    out += calls(f)
    C.h = 7.0
    out += calls(f)
    del C.h
    return out + calls(f)


@case
def dunder_reads_a_closure(jit):
    o = NS(k=2.0)

    class V:
        def __add__(self, x):
            return x * o.k

        def __len__(self):
            return int(o.k)

        def __getitem__(self, k):
            return o.k + k

    v = V()
    f = jit(lambda x: (v + x) * len(v) + v[1])
    out = calls(f)
    o.k = 3.0
    return out + calls(f)


@case
def dunder_reads_a_cell(jit):
    k = 2.0

    class V:
        def __add__(self, x):
            return x * k

    v = V()
    f = jit(lambda x: v + x)
    out = calls(f)
    k = 3.0
    return out + calls(f)
