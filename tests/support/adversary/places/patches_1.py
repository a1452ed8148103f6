"""Programs that replace functions of hybrid itself."""

from __future__ import annotations

import contextlib
from unittest import mock

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.nn.functional as F
import hybrid.ops as ops
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import NS
from ..helpers import calls, patching, programs
from ..helpers import frozen_lin as lin

CASES, case, ORDINARY, ordinary = programs()


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

    sm = sys.modules["hybrid.ops.axes.rows"]

    return patching(jit, lambda x: hb.logsumexp(x, axis=0) + x, sm, "exp", lambda x: x * 5)


@case
def inner_name_of_module(jit):
    import hybrid.ops.layers.loss as loss

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
