"""Programs that replace functions of hybrid itself, and programs that replace the dictionary or the
class behind an object."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import types
from unittest import mock

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.nn.functional as F
import hybrid.ops as ops
import hybrid.optim as optim
from hybrid.ops import random as rnd

from .common import NS, X, suite

CASES, case = suite()
ORDINARY: set[str] = set()  # programs that must be replayed


def ordinary(f):
    ORDINARY.add(f.__name__)
    return case(f)


def T(*v):
    return hb.tensor(np.float32(v))


def calls(f, n=4):
    return [f(X(k + 1.0)) for k in range(n)]


def patching(jit, fn, owner, name, new):
    """Calls without, with and again without a replacement."""
    f = jit(fn)
    out = calls(f)
    with mock.patch.object(owner, name, new):
        out += calls(f)
    return out + calls(f)


def lin():
    rnd.manual_seed(3)
    m = nn.Linear(3, 3)
    m.requires_grad_(False)
    return m


# ---- hybrid's own functions
@case
def tensor_relu(jit):
    return patching(jit, lambda x: x.relu(), hb.Tensor, "relu", lambda x: x * 5)


@case
def tensor_sum(jit):
    return patching(jit, lambda x: x.sum() * x, hb.Tensor, "sum", lambda x: 7.0)


@case
def tensor_add(jit):
    return patching(jit, lambda x: x + x, hb.Tensor, "__add__", lambda x, y: x * 5)


@case
def tensor_property(jit):
    return patching(jit, lambda x: x * x.ndim, hb.Tensor, "ndim", 9)


@case
def tensor_new_method(jit):
    def fn(x):
        return x.twice() if hasattr(x, "twice") else x

    f = jit(fn)
    out = calls(f)
    hb.Tensor.twice = lambda x: x * 2
    out += calls(f)
    del hb.Tensor.twice
    return out + calls(f)


@case
def functional_linear(jit):
    m = lin()
    return patching(jit, lambda x: F.linear(x, m.weight), F, "linear", lambda x, w: x * 5)


@case
def functional_relu(jit):
    return patching(jit, lambda x: F.relu(x), F, "relu", lambda x: x * 5)


@case
def linear_forward(jit):
    m = lin()
    return patching(jit, lambda x: m(x), nn.Linear, "forward", lambda self, x: x * 5)


@case
def module_call(jit):
    m = lin()
    return patching(jit, lambda x: m(x), nn.Module, "__call__", lambda self, x: x * 5)


@case
def functional_inside_layer(jit):
    m = lin()
    import hybrid.nn.layers as layers

    names = [n for n in ("linear", "F") if hasattr(layers, n)]
    f = jit(lambda x: m(x))
    out = calls(f)
    with contextlib.ExitStack() as st:
        if names and names[0] == "linear":
            st.enter_context(mock.patch.object(layers, "linear", lambda x, w, b=None: x * 5))
        else:
            st.enter_context(mock.patch.object(F, "linear", lambda x, w, b=None: x * 5))
        out += calls(f)
    return out + calls(f)


@case
def sgd_step(jit):
    p = hb.tensor(np.float32([1, 2, 3]), requires_grad=True)
    opt = optim.SGD([p], lr=0.1)

    def fn(x):
        p.grad = None
        (p * x).sum().backward()
        opt.step()
        return p * 1

    f = jit(fn)
    out = [v.detach() for v in calls(f)]
    with mock.patch.object(optim.SGD, "step", lambda self, c=None: None):
        out += [v.detach() for v in calls(f)]
    return out + [v.detach() for v in calls(f)] + [p.detach()]


@case
def sgd_update(jit):
    p = hb.tensor(np.float32([1, 2, 3]), requires_grad=True)
    opt = optim.SGD([p], lr=0.1)

    def fn(x):
        p.grad = None
        (p * x).sum().backward()
        opt.step()
        return p * 1

    f = jit(fn)
    out = [v.detach() for v in calls(f)]
    with mock.patch.object(optim.SGD, "update", lambda self, p, g, s, group: p.assign(p - g)):
        out += [v.detach() for v in calls(f)]
    return out + [v.detach() for v in calls(f)] + [p.detach()]


@case
def optimizer_zero_grad(jit):
    p = hb.tensor(np.float32([1, 2, 3]), requires_grad=True)
    opt = optim.SGD([p], lr=0.1)

    def fn(x):
        opt.zero_grad()
        (p * x).sum().backward()
        opt.step()
        return p * 1

    f = jit(fn)
    out = [v.detach() for v in calls(f)]
    with mock.patch.object(optim.Optimizer, "zero_grad", lambda self, set_to_none=True: None):
        out += [v.detach() for v in calls(f)]
    return out + [v.detach() for v in calls(f)] + [p.detach()]


@case
def hybrid_exp(jit):
    return patching(jit, lambda x: hb.exp(x), hb, "exp", lambda x: x * 5)


@case
def ops_exp(jit):
    return patching(jit, lambda x: ops.exp(x), ops, "exp", lambda x: x * 5)


@case
def ops_inner(jit):
    import sys

    sm = sys.modules["hybrid.ops.softmax"]

    return patching(jit, lambda x: hb.logsumexp(x, axis=0) + x, sm, "exp", lambda x: x * 5)


@case
def inner_name_of_module(jit):
    import hybrid.ops.loss as loss

    name = next(n for n in ("mean", "abs", "square", "subtract") if hasattr(loss, n))
    return patching(
        jit,
        lambda x: F.smooth_l1_loss(x, x * 2) + F.mse_loss(x, x * 2) + F.l1_loss(x, x * 3),
        loss,
        name,
        lambda x, *a, **k: x * 5,
    )


@case
def original_kept(jit):
    plain = F.relu
    f = jit(lambda x: F.relu(x) + plain(x))
    out = calls(f)
    F.relu = lambda x: plain(x) * 2
    try:
        out += calls(f)
    finally:
        F.relu = plain
    return out + calls(f)


@case
def patch_in_dict(jit):
    plain = F.relu
    f = jit(lambda x: F.relu(x))
    out = calls(f)
    F.__dict__["relu"] = lambda x: x * 2
    try:
        out += calls(f)
    finally:
        F.__dict__["relu"] = plain
    return out + calls(f)


@case
def patched_when_recorded(jit):
    f = jit(lambda x: x.relu())
    with mock.patch.object(hb.Tensor, "relu", lambda x: x * 5):
        out = calls(f)
    out += calls(f)
    with mock.patch.object(hb.Tensor, "relu", lambda x: x * 6):
        out += calls(f)
    return out


@case
def patched_with_state(jit):
    o = NS(k=2.0)
    f = jit(lambda x: F.relu(x))
    with mock.patch.object(F, "relu", lambda x: x * o.k):
        out = calls(f)
        o.k = 3.0
        out += calls(f)
    return out + calls(f)


@case
def patched_code(jit):
    def double(x):
        return x * 2

    m = lin()
    forward = nn.Linear.forward
    old = forward.__code__

    def other(self, x):
        return x * 5

    f = jit(lambda x: m(x))
    out = calls(f)
    forward.__code__ = other.__code__
    try:
        out += calls(f)
    finally:
        forward.__code__ = old
    return out + calls(f)


@case
def patched_defaults(jit):
    fn = next(g for g in (F.leaky_relu, F.elu) if getattr(g, "__defaults__", None))
    old = fn.__defaults__
    f = jit(lambda x: fn(x))
    out = calls(f)
    fn.__defaults__ = (0.5,) * len(old)
    try:
        out += calls(f)
    finally:
        fn.__defaults__ = old
    return out + calls(f)


@case
def patch_base_class(jit):
    m = nn.Sequential(nn.ReLU())
    f = jit(lambda x: m(x))
    out = calls(f)
    with mock.patch.object(nn.Sequential, "forward", lambda self, x: x * 4):
        out += calls(f)
    with mock.patch.object(nn.ReLU, "forward", lambda self, x: x * 3):
        out += calls(f)
    return out + calls(f)


@case
def patched_backward(jit):
    p = hb.tensor(np.float32([1, 2, 3]), requires_grad=True)

    def fn(x):
        p.grad = None
        (p * x).sum().backward()
        return p.grad * 1

    f = jit(fn)
    out = calls(f)

    def back(self, *a, **k):
        p.grad = self.detach() * hb.ones(3)

    with mock.patch.object(hb.Tensor, "backward", back):
        out += calls(f)
    return out + calls(f)


@case
def patched_train_flag(jit):
    m = nn.Dropout(0.0)
    f = jit(lambda x: m(x))
    out = calls(f)
    with mock.patch.object(nn.Dropout, "forward", lambda self, x: x * 7):
        out += calls(f)
    return out + calls(f)


@case
def patched_random(jit):
    rnd.manual_seed(1)
    f = jit(lambda x: x + rnd.randn(3))
    out = calls(f)
    with mock.patch.object(rnd, "randn", lambda *a: 1.0):
        out += calls(f)
    return out + calls(f)


@case
def patched_no_grad(jit):
    p = hb.tensor(np.float32([1, 2, 3]), requires_grad=True)

    def fn(x):
        with hb.no_grad():
            y = p * x
        return y.detach() * (2 if y.requires_grad else 1)

    f = jit(fn)
    out = calls(f)
    with mock.patch.object(hb, "no_grad", contextlib.nullcontext):
        out += calls(f)
    return out + calls(f)


@case
def replaced_for_good(jit):
    f = jit(lambda x: x.tanh())
    out = calls(f)
    old = hb.Tensor.tanh
    hb.Tensor.tanh = lambda x: x + 1
    try:
        out += calls(f, 6)
    finally:
        hb.Tensor.tanh = old
    return out


@case
def wrapped_function(jit):
    import functools

    f = jit(lambda x: F.relu(x))
    out = calls(f)
    old = F.relu

    @functools.wraps(old)
    def loud(x):
        return old(x) + 1

    with mock.patch.object(F, "relu", loud):
        out += calls(f)
    return out + calls(f)


@case
def from_import_is_not_patched(jit):
    from hybrid.nn.functional import relu

    f = jit(lambda x: relu(x))
    out = calls(f)
    with mock.patch.object(F, "relu", lambda x: x * 5):
        out += calls(f)
    return out


@case
def unrelated_patch(jit):
    f = jit(lambda x: x.relu())
    out = calls(f)
    with mock.patch.object(
        nn.BatchNorm2d if hasattr(nn, "BatchNorm2d") else nn.Linear, "extra_repr", lambda self: "n"
    ):
        out += calls(f)
    return out + calls(f)


@case
def class_replaced(jit):
    m = lin()
    f = jit(lambda x: m(x) if isinstance(m, nn.Linear) else x)
    out = calls(f)
    with mock.patch.object(nn, "Linear", nn.ReLU):
        out += calls(f)
    return out + calls(f)


@case
def layer_made_inside(jit):
    f = jit(lambda x: nn.ReLU()(x))
    out = calls(f)
    with mock.patch.object(nn, "ReLU", nn.Tanh):
        out += calls(f)
    return out + calls(f)


@case
def setattr_of_module_class(jit):
    m = lin()
    f = jit(lambda x: m(x))
    out = calls(f)
    old = nn.Module.__setattr__
    nn.Module.__setattr__ = lambda self, k, v: object.__setattr__(self, k, v)
    try:
        m.weight = hb.zeros((3, 3))
        out += calls(f)
    finally:
        nn.Module.__setattr__ = old
    return out + calls(f)


# ---- the dictionary or the class behind an object
def swap(jit, o, look, other, name="__dict__"):
    f = jit(lambda x: look(o, x))
    out = calls(f)
    saved = getattr(o, name)
    setattr(o, name, other)
    out += calls(f)
    setattr(o, name, saved)
    return out + calls(f)


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


@case
def getattr_with_dict_swapped(jit):
    class A(Obj):
        def __getattr__(self, name):
            return self.__dict__["data"][name]

    return swap(jit, A(data={"z": 2.0}), lambda o, x: x * o.z, {"data": {"z": 3.0}})


@case
def setstate_swaps(jit):
    class A(Obj):
        def __setstate__(self, s):
            self.__dict__ = s

    a = A(k=2.0)
    f = jit(lambda x: x * a.k)
    out = calls(f)
    a.__setstate__({"k": 3.0})
    return out + calls(f)


@case
def dict_subclass_instance(jit):
    class D(dict):
        pass

    class A(Obj):
        pass

    return swap(jit, A(k=2.0), lambda o, x: x * o.k, D(k=3.0))


@case
def dict_swapped_same_content(jit):
    o = Obj(k=2.0)
    f = jit(lambda x: x * o.__dict__["k"])
    out = calls(f)
    old = o.__dict__
    o.__dict__ = dict(old)
    out += calls(f)
    old["k"] = 9.0
    out += calls(f)
    o.__dict__["k"] = 4.0
    return out + calls(f)


@case
def dict_kept_in_a_variable(jit):
    o = Obj(k=2.0)
    d = o.__dict__
    f = jit(lambda x: x * 2 if o.__dict__ is d else x)
    out = calls(f)
    o.__dict__ = dict(d)
    return out + calls(f)


@case
def items_of_optimizer_state(jit):
    m = lin()
    f = jit(lambda x: x * len(m.__dict__["_names"]))
    out = calls(f)
    m.__dict__ = {**m.__dict__, "_names": {}}
    return out + calls(f)


@case
def bases_swapped(jit):
    class A:
        k = 2.0

    class B:
        k = 3.0

    class C(A):
        pass

    return swap(jit, C, lambda o, x: x * o.k, (B,), "__bases__")
