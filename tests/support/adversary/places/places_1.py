"""Programs about places of every kind: hybrid's own objects, deques, tensors that move, patches."""

from __future__ import annotations

import collections
from unittest import mock

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.nn.functional as F
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import NS, X
from ..helpers import T, calls, leaf, lin, programs

CASES, case, ORDINARY, ordinary = programs()


@case
def attribute_of_optimizer(jit):
    p = leaf(1, 2, 3)
    opt = optim.SGD([p], lr=0.1)
    opt.last = T(0, 0, 0)

    @jit
    def f(x):
        opt.last = opt.last + x
        return opt.last * 2

    out = []
    for k in range(6):
        out += [f(X(k)), opt.last]
    return out


@case
def attribute_of_optimizer_written_only(jit):
    p = leaf(1, 2, 3)
    opt = optim.SGD([p], lr=0.1)
    opt.last = T(0, 0, 0)

    @jit
    def f(x):
        opt.last = x * 2
        return x * 3

    out = []
    for k in range(6):
        out += [f(X(k)), opt.last]
    return out


@case
def attribute_of_generator(jit):
    g = hb.random.Generator(3) if hasattr(hb.random, "Generator") else NS()
    try:
        g.last = T(0, 0, 0)
    except AttributeError:
        g = NS(last=T(0, 0, 0))

    @jit
    def f(x):
        g.last = x * 2
        return x * 3

    out = []
    for k in range(6):
        out += [f(X(k)), g.last]
    return out


@case
def state_of_optimizer_by_hand(jit):
    p = leaf(1, 2, 3)
    opt = optim.Adam([p], lr=0.1)
    state = next(iter(opt.state.values()))
    name = next(iter(state))

    @jit
    def f(x):
        state[name] = state[name] + x
        return state[name] * 1

    out = []
    for k in range(6):
        out += [f(X(k)), state[name]]
    return out


@case
def group_entry_by_hand(jit):
    p = leaf(1, 2, 3)
    opt = optim.SGD([p], lr=0.1)

    @jit
    def f(x):
        opt.param_groups[0]["note"] = x * 2
        return x * opt.lr

    out = []
    for k in range(5):
        out += [f(X(k)), opt.param_groups[0]["note"]]
    return out


@case
def learning_rate_in_the_call(jit):
    p = leaf(1, 2, 3)
    opt = optim.SGD([p], lr=0.1)

    @jit
    def f(x):
        opt.lr = opt.lr * 0.5
        return x * opt.lr

    return calls(f, 6)


@case
def deque_with_maxlen(jit):
    d = collections.deque([T(1, 1, 1), T(2, 2, 2)], maxlen=2)

    @jit
    def f(x):
        d.append(x * 2)
        return d[0] + d[1]

    out = []
    for k in range(7):
        out += [f(X(k)), list(d)]
    return out


@case
def deque_turns(jit):
    d = collections.deque([T(1, 1, 1), T(2, 2, 2), T(3, 3, 3)])

    @jit
    def f(x):
        d.rotate(1)
        d[0] = d[0] + x
        return d[1] * 1

    out = []
    for k in range(8):
        out += [f(X(k)), list(d)]
    return out


@case
def deque_appendleft(jit):
    d = collections.deque([T(1, 1, 1), T(2, 2, 2)], 2)

    @jit
    def f(x):
        d.appendleft(d.pop() + x)
        return d[0] * 1

    out = []
    for k in range(7):
        out += [f(X(k)), list(d)]
    return out


@case
def moves_between_places(jit):
    o = NS(new=T(1, 1, 1), old=T(2, 2, 2), older=T(3, 3, 3))

    @jit
    def f(x):
        o.older, o.old, o.new = o.old, o.new, x
        return o.older + o.new

    out = []
    for k in range(8):
        out += [f(X(k)), o.new, o.old, o.older]
    return out


@case
def is_what_was_stored(jit):
    o = NS(h=T(1, 1, 1))

    @jit
    def f(x):
        y = x * 2 if x is o.h else x * 3
        o.h = y
        return y

    x = X(1)
    out = [f(x) for _ in range(5)]
    for _ in range(4):
        out.append(f(o.h))
    return out + [f(x) for _ in range(4)]


@case
def stored_argument_comes_back(jit):
    o = NS(h=T(1, 1, 1))

    @jit
    def f(x):
        same = x is o.h
        o.h = x
        return x * (2 if same else 3)

    a, b = X(1), X(2)
    return [f(v) for v in (a, b, a, b, a, b, b, b, b, a, a, b, a, b)]


@case
def unfrozen_with_a_gradient(jit):
    rnd.manual_seed(3)
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.requires_grad_(False)
    opt = optim.SGD([*a.parameters(), *b.parameters()], lr=0.1)

    @jit
    def f(x):
        (a(x) ** 2).sum().backward()
        opt.step()

    out = []
    for k in range(4):
        f(X(k))
    b.requires_grad_(True)
    (b(X(1)) ** 2).sum().backward()
    for k in range(4):
        f(X(k))
        out += [p.detach().clone() for m in (a, b) for p in m.parameters()]
    return out


@case
def gradient_set_by_hand(jit):
    p, q = leaf(1, 2, 3), leaf(4, 5, 6)
    opt = optim.SGD([p, q], lr=0.1)

    @jit
    def f(x):
        p.grad = x * 2
        opt.step()

    out = []
    for k in range(4):
        f(X(k))
        out += [p.detach().clone(), q.detach().clone()]
    q.grad = T(1, 1, 1)
    for k in range(4):
        f(X(k))
        out += [p.detach().clone(), q.detach().clone()]
    return out


@case
def zero_grad_of_frozen(jit):
    m = lin()
    m.requires_grad_(False)

    @jit
    def f(x):
        m.zero_grad()
        return x * 2

    out = calls(f)
    m.requires_grad_(True)
    m(X()).sum().backward()
    out += calls(f)
    return [*out, m.weight.grad is None, m.bias.grad is None]


@case
def zeros_like_of_unused(jit):
    o = NS(t=T(1, 2, 3))
    f = jit(lambda x: x + hb.zeros_like(o.t).sum() + hb.ones_like(o.t).sum())
    out = calls(f)
    o.t = T(1, 2, 3, 4)
    return out + calls(f)


@case
def sizes_by_state_dict(jit):
    m = lin()
    f = jit(lambda x: x * sum([v.ndim for _, v in m.named_parameters()]))
    out = calls(f)
    m.bias = nn.Parameter(np.zeros((2, 2), np.float32))
    return out + calls(f)


@case
def dtype_promotion_of_unused(jit):
    o = NS(t=T(1, 2, 3))
    f = jit(lambda x: x * (2 if hb.result_type(x, o.t) == np.float32 else 3))
    out = calls(f)
    o.t = o.t.double()
    return out + calls(f)


@case
def attribute_assigned_other_dtype(jit):
    o = NS(t=T(1, 2, 3))
    f = jit(lambda x: x * o.t.itemsize * o.t.nbytes)
    out = calls(f)
    o.t = o.t.double()
    return out + calls(f)


@case
def identity_through_tuple_of_module(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = (T(1, 1, 1), T(2, 2, 2))
            self._names_of = {"a": T(3, 3, 3)}

        def forward(self, x):
            if x is self.pair[0]:
                return x * 10
            if x is self._names_of["a"]:
                return x * 20
            return x * 30

    m = M()
    f = jit(lambda x: m(x))
    out = calls(f)
    out += [f(m.pair[0]) for _ in range(4)] + [f(m._names_of["a"]) for _ in range(4)]
    return out + calls(f)


@case
def identity_of_captured_modules(jit):
    a, b = lin(), lin()
    o = NS(m=a)
    f = jit(lambda x: x * (2 if o.m is a else 3) * (5 if o.m.weight is b.weight else 7))
    out = calls(f)
    o.m = b
    return out + calls(f)


@case
def parameter_as_argument_of_its_layer(jit):
    m = lin()
    m.requires_grad_(False)
    f = jit(lambda w, x: F.linear(x, w) + m(x))
    x = X(1)
    out = [f(m.weight, x) for _ in range(4)]
    other = m.weight * 2
    return out + [f(other, x) for _ in range(4)] + [f(m.weight, x) for _ in range(4)]


@case
def argument_used_and_held(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("h", T(1, 2, 3))

        def forward(self, x):
            return self.h * 2 + x

    m = M()
    f = jit(lambda x: m(x))
    out = [f(m.h) for _ in range(4)]
    return out + calls(f) + [f(m.h) for _ in range(3)]


@case
def patched_inside_the_call(jit):
    def fn(x):
        with mock.patch.object(F, "relu", lambda v: v * 5):
            y = F.relu(x)
        return y + F.relu(x)

    return calls(jit(fn))


@case
def patched_between_first_calls(jit):
    f = jit(lambda x: x.relu() + 1)
    out = calls(f, 1)
    with mock.patch.object(hb.Tensor, "relu", lambda v: v * 5):
        out += calls(f, 1)
    out += calls(f, 2)
    with mock.patch.object(hb.Tensor, "relu", lambda v: v * 6):
        out += calls(f, 1)
    return out + calls(f)
