"""Programs whose places are shadowed, deleted, or found elsewhere after a recording."""

from __future__ import annotations

import collections
import operator
import types
from unittest import mock

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.nn.functional as F
import hybrid.optim as optim

from ..common import NS, X
from ..helpers import T, calls, leaf, programs
from ..helpers import frozen_lin as lin

CASES, case, ORDINARY, ordinary = programs()


@case
def class_store_shadowed_on_module(jit):
    class M(nn.Module):
        h = T(1, 1, 1)

        def forward(self, x):
            type(self).h = type(self).h * 0.5 + x
            return x + self.h

    m = M()
    f = jit(lambda x: m(x))
    out = [*calls(f, 5), M.h]
    m.h = T(9, 9, 9)
    out += [*calls(f, 5), M.h, m.h]
    del m.h
    return [*out, *calls(f, 5), M.h]


@case
def class_store_shadowed_on_object(jit):
    class C:
        h = T(1, 1, 1)

    o = C()

    @jit
    def f(x):
        C.h = C.h + x
        return o.h * 2

    out = [*calls(f, 5), C.h]
    o.h = T(9, 9, 9)
    out += [*calls(f, 5), C.h, o.h]
    del o.h
    return [*out, *calls(f, 5), C.h]


@case
def class_store_shadowed_by_subclass(jit):
    class B:
        h = T(1, 1, 1)

    class C(B):
        z = 1

    @jit
    def f(x):
        B.h = B.h + x
        return C.h * 2

    out = [*calls(f, 5), B.h]
    del C.z
    C.h = T(9, 9, 9)
    out += [*calls(f, 5), B.h, C.h]
    del C.h
    return [*out, *calls(f, 5), B.h]


@case
def instance_entry_deleted(jit):
    class C:
        h = T(5, 5, 5)

    o = C()
    o.h = T(1, 1, 1)

    @jit
    def f(x):
        o.h = o.h + x
        return o.h * 2

    out = calls(f, 5)
    del o.h
    out += [*calls(f, 5), C.h]
    del o.h
    return [*out, *calls(f, 2), C.h, list(vars(o))]


@case
def module_with_getattr_hook(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = {"k": 2.0}

        def __getattr__(self, name):
            if name == "k":
                return self.__dict__["table"]["k"]
            raise AttributeError(name)

        def forward(self, x):
            return x * self.k

    m = M()
    f = jit(lambda x: m(x))
    out = calls(f)
    m.table["k"] = 3.0
    out += calls(f)
    m.__dict__["k"] = 7.0
    out += calls(f)
    del m.__dict__["k"]
    out += calls(f)
    M.k = 8.0
    out += calls(f)
    del M.k
    return out + calls(f)


@case
def patch_present_inside_a_layer(jit):
    m = lin()
    import sys

    layers = sys.modules["hybrid.nn.layers"]
    name = "linear" if hasattr(layers, "linear") else "F"
    new = (lambda x, w, b=None: x * 5) if name == "linear" else NS(linear=lambda x, w, b=None: x)
    f = jit(lambda x: m(x))
    with mock.patch.object(layers, name, new):
        out = calls(f)
    out += calls(f)
    with mock.patch.object(layers, name, new):
        out += calls(f)
    return out + calls(f)


@case
def patch_with_a_closure(jit):
    k = 2.0

    def mine(x):
        return x * k

    f = jit(lambda x: x.relu())
    with mock.patch.object(hb.Tensor, "relu", mine):
        out = calls(f)
        k = 3.0
        out += calls(f)
    return out + calls(f)


@case
def patch_of_a_base_operator(jit):
    f = jit(lambda x: -x + 1)
    out = calls(f)
    with mock.patch.object(hb.Tensor, "__neg__", lambda x: x * 2):
        out += calls(f)
    with mock.patch.object(hb.Tensor, "__radd__", lambda x, y: x * 9):
        out += calls(f)
    return out + calls(f)


@case
def patch_of_c_function(jit):
    f = jit(lambda x: F.relu(x) * 2)
    out = calls(f)
    with mock.patch.object(F, "relu", operator.neg):
        out += calls(f)
    return out + calls(f)


@case
def patch_of_optimizer_begin(jit):
    p = leaf(1, 2, 3)
    opt = optim.Adam([p], lr=0.1)

    def fn(x):
        p.grad = None
        (p * x).sum().backward()
        opt.step()
        return p * 1

    f = jit(fn)
    out = [v.detach() for v in calls(f)]
    with mock.patch.object(optim.Adam, "begin", lambda self, group: None):
        out += [v.detach() for v in calls(f)]
    return out + [v.detach() for v in calls(f)] + [p.detach()]


@case
def patch_of_the_tape(jit):
    import sys

    back = sys.modules["hybrid.autograd.backward"]
    p = leaf(1, 2, 3)
    names = [n for n in vars(back) if "sum" in n and callable(getattr(back, n))]

    def fn(x):
        p.grad = None
        (p * x + p).sum().backward()
        return p.grad * 1

    f = jit(fn)
    out = calls(f)
    for n in names[:2]:
        old = getattr(back, n)
        setattr(back, n, lambda *a, old=old, **k: old(*a, **k))
        out += calls(f)
        setattr(back, n, old)
    return out + calls(f)


@case
def patch_of_vjp_helper(jit):
    import sys

    mod = sys.modules["hybrid.ops.elementwise.activations"]
    p = leaf(1, -2, 3)

    def fn(x):
        p.grad = None
        (F.relu(p) * x).sum().backward()
        return p.grad * 1

    f = jit(fn)
    out = calls(f)
    name = next(n for n in ("where", "greater", "multiply", "square") if hasattr(mod, n))
    old = getattr(mod, name)
    setattr(mod, name, lambda *a, **k: old(*a, **k) * 2)
    try:
        out += calls(f)
    finally:
        setattr(mod, name, old)
    return out + calls(f)


@case
def view_of_values(jit):
    d = {"a": 2.0}
    vals, keys, items = d.values(), d.keys(), d.items()
    f = jit(lambda x: x * sum(vals) + len(keys) + sum([v for _, v in items]))
    out = calls(f)
    d["a"] = 3.0
    out += calls(f)
    d["b"] = 4.0
    return out + calls(f)


@case
def proxy_of_a_class(jit):
    class C:
        k = 2.0

    f = jit(lambda x: x * C.__dict__["k"])
    out = calls(f)
    C.k = 3.0
    return out + calls(f)


@case
def dict_of_a_python_module(jit):
    m = types.ModuleType("state")
    m.k = 2.0
    f = jit(lambda x: x * m.__dict__["k"] * len(m.__dict__))
    out = calls(f)
    m.k = 3.0
    out += calls(f)
    m.j = 1
    return out + calls(f)


@case
def dict_of_a_function(jit):
    def state():
        pass

    state.k = 2.0
    f = jit(lambda x: x * state.__dict__["k"] * len(state.__dict__))
    out = calls(f)
    state.__dict__ = {"k": 3.0, "j": 1}
    return out + calls(f)


@case
def dict_through_super(jit):
    class A:
        def look(self):
            return self.__dict__

    class B(A):
        def look(self):
            return super().look()

    b = B()
    b.k = 2.0
    f = jit(lambda x: x * b.look()["k"])
    out = calls(f)
    b.__dict__ = {"k": 3.0}
    return out + calls(f)


@case
def dict_by_getattr(jit):
    o = NS()
    p = types.SimpleNamespace

    class A:
        pass

    a = A()
    a.k = 2.0
    f = jit(lambda x: x * getattr(a, "__dict__")["k"])  # noqa: B009
    out = calls(f)
    a.__dict__ = {"k": 3.0}
    return [*out, *calls(f), o == p()]


@case
def dict_of_an_optimizer(jit):
    p = leaf(1, 2, 3)
    opt = optim.SGD([p], lr=0.1)
    opt.k = 2.0
    f = jit(lambda x: x * opt.__dict__["k"])
    out = calls(f)
    opt.__dict__ = {**opt.__dict__, "k": 3.0}
    out += calls(f)
    opt.__dict__["k"] = 4.0
    return out + calls(f)


@case
def ordered_dict_order_by_store(jit):
    d = collections.OrderedDict(a=T(1, 1, 1), b=T(2, 2, 2))

    @jit
    def f(x):
        v = d.pop("a")
        d["a"] = v + x
        return next(iter(d.values())) * 1

    out = []
    for k in range(10):
        out += [f(X(k)), list(d)]
        if k in (4, 6):
            d.move_to_end("b")
    return out


@case
def parameter_replaced_past_the_module(jit):
    m = lin()
    f = jit(lambda x: m(x) * (2 if m.weight.requires_grad else 1))
    out = calls(f)
    object.__setattr__(m, "weight", hb.ones((3, 3)))
    out += calls(f)
    m.__dict__["weight"] = hb.tensor(np.ones((3, 3), np.float32), requires_grad=True)
    return out + [v.detach() for v in calls(f)]


@case
def unused_parameter_replaced_past_the_module(jit):
    m = lin()
    f = jit(lambda x: x * m.weight.shape[0] * (2 if m.weight is m.bias else 3))
    out = calls(f)
    m.__dict__["weight"] = hb.ones((5, 3))
    out += calls(f)
    m.__dict__["weight"] = m.bias
    return out + calls(f)


@case
def tensors_in_a_set_of_the_user(jit):
    m = lin()
    frozen = {id(m.weight)}
    chosen = [p for p in m.parameters() if id(p) not in frozen]
    f = jit(lambda x: x * sum([2 if any(p is c for c in chosen) else 1 for p in m.parameters()]))
    out = calls(f)
    chosen.append(m.weight)
    out += calls(f)
    chosen.clear()
    return out + calls(f)


@case
def names_of_tensors(jit):
    m = lin()
    names = {p: n for n, p in m.named_parameters()}
    f = jit(lambda x: x * sum([len(names.get(p, "")) for p in m.parameters()]))
    out = calls(f)
    names.pop(m.bias)
    out += calls(f)
    names[m.bias] = "the bias"
    return out + calls(f)


@case
def argument_looked_up_by_tensor(jit):
    m = lin()
    scale = {m.weight: 2.0, m.bias: 3.0}
    f = jit(lambda p: p * scale.get(p, 5.0))
    out = [f(m.bias) for _ in range(4)]
    out += calls(f)
    return out + [f(m.bias) for _ in range(4)]


@case
def device_methods_of_text(jit):
    f = jit(lambda x: x * (2 if x.device.startswith("cpu") else 3) + len(x.device))
    return calls(f)


@case
def device_sorted_and_joined(jit):
    f = jit(lambda x: x * len(",".join(sorted({x.device, "cpu", hb.device("cuda")}))))
    return calls(f)


@case
def device_as_default(jit):
    def make(n, device=hb.device("cpu")):  # noqa: B008
        return hb.ones(n, device=device)

    f = jit(lambda x: x + make(3))
    out = calls(f)
    make.__defaults__ = ("cpu",)
    return out + calls(f)


@case
def device_attribute_of_module(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.dev = hb.device("cpu")

        def forward(self, x):
            return x.to(self.dev) + hb.zeros(3, device=self.dev)

    m = M()
    f = jit(lambda x: m(x))
    out = calls(f)
    m.dev = "cpu"
    return out + calls(f)
