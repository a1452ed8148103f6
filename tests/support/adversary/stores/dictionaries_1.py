"""Programs that replace the dictionary or the class behind an object."""

from __future__ import annotations

import copy
import dataclasses
import types

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim

from ..common import NS, X
from ..helpers import T, calls, programs, swap
from ..helpers import frozen_lin as lin

CASES, case, ORDINARY, ordinary = programs()


class Obj:
    k = 1.0

    def __init__(self, **kw):
        self.__dict__.update(kw)


@case
def dict_swapped_number(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * o.k, {"k": 3.0})


@case
def dict_swapped_tensor(jit):
    return swap(jit, Obj(t=T(1, 2, 3)), lambda o, x: x * o.t, {"t": T(4, 5, 6)})


@case
def dict_swapped_to_class_value(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * o.k, {})


@case
def dict_swapped_read_by_dict(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * o.__dict__["k"], {"k": 3.0})


@case
def dict_swapped_read_by_vars(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * vars(o)["k"], {"k": 3.0})


@case
def dict_swapped_length(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * len(o.__dict__), {"k": 3.0, "j": 1})


@case
def dict_swapped_items(jit):
    return swap(
        jit, Obj(k=2.0, j=3.0), lambda o, x: x * sum([v for v in o.__dict__.values()]), {"k": 9.0}
    )


@case
def dict_swapped_get(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * o.__dict__.get("z", 4.0), {"z": 3.0})


@case
def dict_swapped_in(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * 2 if "z" in o.__dict__ else x, {"z": 3.0})


@case
def dict_swapped_namespace(jit):
    o, p = NS(k=2.0), Obj(k=2.0)
    f = jit(lambda x: x * len(repr(p.__dict__)) + o.k)
    out = calls(f)
    p.__dict__ = {"k": 2.5, "z": 1}
    return out + calls(f)


@case
def dict_swapped_repr_of_dataclass(jit):
    @dataclasses.dataclass
    class P:
        k: float

    return swap(jit, P(2.0), lambda o, x: x * len(repr(o)), {"k": 3.25})


@case
def dict_swapped_eq_of_dataclass(jit):
    @dataclasses.dataclass
    class P:
        k: float

    q = P(2.0)
    return swap(jit, P(2.0), lambda o, x: x * 2 if o == q else x, {"k": 3.25})


@case
def dict_swapped_asdict(jit):
    @dataclasses.dataclass
    class P:
        k: float

    return swap(jit, P(2.0), lambda o, x: x * dataclasses.asdict(o)["k"], {"k": 3.25})


@case
def dict_swapped_copy(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * copy.copy(o).k, {"k": 3.0})


@case
def dict_swapped_getstate(jit):
    return swap(jit, Obj(k=2.0), lambda o, x: x * o.__getstate__()["k"], {"k": 3.0})


@case
def dict_swapped_repr(jit):
    class R(Obj):
        def __repr__(self):
            return f"R({self.__dict__})"

    return swap(jit, R(k=2.0), lambda o, x: x * len(repr(o)), {"k": 3.25})


@case
def dict_swapped_back_and_forth(jit):
    o = Obj(k=2.0)
    f = jit(lambda x: x * o.k)
    a, b = o.__dict__, {"k": 3.0}
    out = []
    for _ in range(4):
        out += calls(f)
        o.__dict__ = b
        out += calls(f)
        o.__dict__ = a
    return out


@case
def dict_shared_by_two(jit):
    a, b = Obj(k=2.0), Obj(k=5.0)
    f = jit(lambda x: x * a.k + b.k)
    out = calls(f)
    old = a.__dict__
    a.__dict__ = b.__dict__
    out += calls(f)
    b.k = 7.0
    out += calls(f)
    a.__dict__ = old
    return out + calls(f)


@case
def borg(jit):
    class Borg:
        state = {"k": 2.0}

        def __init__(self):
            self.__dict__ = Borg.state

    f = jit(lambda x: x * Borg().k)
    out = calls(f)
    Borg().k = 3.0
    out += calls(f)
    Borg.state = {"k": 4.0}
    return out + calls(f)


@case
def dict_rebound_in_call(jit):
    o = Obj(k=2.0)

    @jit
    def f(x):
        o.__dict__ = {"k": 3.0}
        return x * o.k

    return [*calls(f), o.k]


@case
def dict_rebound_in_call_with_tensor(jit):
    o = Obj(t=T(1, 1, 1))

    @jit
    def f(x):
        o.__dict__ = {"t": o.t + x}
        return o.t * 2

    out = []
    for k in range(6):
        out += [f(X(k)), o.t]
    return out


@case
def versioned_dict_swapped(jit):
    m, n = lin(), lin()
    with hb.no_grad():
        n.weight.assign(n.weight * 2)
    return swap(jit, m, lambda o, x: o(x), n.__dict__)


@case
def versioned_dict_swapped_flag(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.k = 2.0

        def forward(self, x):
            return x * self.k

    m, n = M(), M()
    n.k = 5.0
    return swap(jit, m, lambda o, x: o(x), n.__dict__)


@case
def versioned_dict_swapped_in_place(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.k = 2.0
            self.t = T(1, 2, 3)

        def forward(self, x):
            return x * self.k + self.t

    m = M()
    f = jit(lambda x: m(x))
    out = calls(f)
    saved = dict(m.__dict__)
    m.__dict__.update(k=3.0, t=T(7, 8, 9))
    out += calls(f)
    m.__dict__ = saved
    return out + calls(f)


@case
def optimizer_dict_swapped(jit):
    p = hb.tensor(np.float32([1, 2, 3]), requires_grad=True)
    a, b = optim.SGD([p], lr=0.1), optim.SGD([p], lr=0.5)

    def fn(x):
        p.grad = None
        (p * x).sum().backward()
        a.step()
        return p * 1

    f = jit(fn)
    out = [v.detach() for v in calls(f)]
    saved, a.__dict__ = a.__dict__, b.__dict__
    out += [v.detach() for v in calls(f)]
    a.__dict__ = saved
    return out + [v.detach() for v in calls(f)]


@case
def class_swapped(jit):
    class A:
        def run(self, x):
            return x * 2

    class B:
        def run(self, x):
            return x * 3

    return swap(jit, A(), lambda o, x: o.run(x), B, "__class__")


@case
def class_of_module_swapped(jit):
    class A(nn.Module):
        def forward(self, x):
            return x * 2

    class B(nn.Module):
        def forward(self, x):
            return x * 3

    return swap(jit, A(), lambda o, x: o(x), B, "__class__")


@case
def class_of_layer_swapped(jit):
    return swap(jit, nn.ReLU(), lambda o, x: o(x), nn.Tanh, "__class__")


@case
def class_of_pymodule_swapped(jit):
    m = types.ModuleType("state")
    m.k = 2.0

    class Other(types.ModuleType):
        @property
        def k(self):
            return 5.0

    return swap(jit, m, lambda o, x: x * o.k, Other, "__class__")


@case
def function_dict_swapped(jit):
    def state():
        pass

    state.k = 2.0
    return swap(jit, state, lambda o, x: x * o.k, {"k": 3.0})


@case
def function_dict_of_itself(jit):
    def f(x):
        return x * f.k

    f.k = 2.0
    g = jit(f)
    out = calls(g)
    f.__dict__ = {"k": 3.0}
    return out + calls(g)


@case
def exception_dict_swapped(jit):
    e = ValueError("a")
    e.k = 2.0
    return swap(jit, e, lambda o, x: x * o.k, {"k": 3.0})


@case
def method_holder_dict_swapped(jit):
    class A(Obj):
        def run(self, x):
            return x * self.k

    a = A(k=2.0)
    run = a.run
    f = jit(lambda x: run(x))
    out = calls(f)
    a.__dict__ = {"k": 3.0}
    return out + calls(f)


@case
def shadowing_by_dict_swap(jit):
    class A(Obj):
        def run(self, x):
            return x * 2

    return swap(jit, A(), lambda o, x: o.run(x), {"run": lambda x: x * 9})


@case
def nested_dict_swapped(jit):
    o = Obj(cfg=Obj(k=2.0))
    return swap(jit, o.cfg, lambda c, x: x * o.cfg.k, {"k": 3.0})
