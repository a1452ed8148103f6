"""Programs made to break the mechanism that sees Python: training steps, gradients and tensors kept
in Python state.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from typing import Any

import numpy as np

import hybrid as hb
import hybrid.nn.functional as F
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import NS, X, suite, two
from ..helpers import T, leaf
from .nets import model

CASES, case = suite()
W = None
Point = collections.namedtuple("Point", "a b")


@case
def weight_decay_by_name(jit):
    net = model()
    c = NS(decay=0.1, skip="bias")

    @jit
    def f(x):
        loss = (net(x) ** 2).sum()
        for n, p in net.named_parameters():
            if c.skip not in n:
                loss = loss + c.decay * (p * p).sum()
        loss.backward()
        with hb.no_grad():
            for p in net.parameters():
                p -= 0.01 * p.grad
                p.grad = None
        return loss.detach()

    r = two(f, lambda: setattr(c, "decay", 0.2)) + two(f, lambda: setattr(c, "skip", "weight"))
    return r + list(net.parameters())


@case
def clip_gradients(jit):
    net = model()
    opt = optim.SGD(net.parameters(), lr=0.1)

    @jit
    def f(x):
        opt.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        total = sum([(p.grad * p.grad).sum() for p in net.parameters()])
        scale = hb.minimum(T(1.0), 1.0 / (hb.sqrt(total) + 1e-6))
        for p in net.parameters():
            p.grad = p.grad * scale
        opt.step()
        return loss

    return [f(X(k)) for k in range(8)] + list(net.parameters()) + [p.grad for p in net.parameters()]


@case
def step_every_second_call(jit):
    net, n = model(), [0]
    opt = optim.Adam(net.parameters(), lr=0.1)

    @jit
    def f(x):
        n[0] += 1
        loss = (net(x) ** 2).sum()
        loss.backward()
        if n[0] % 2 == 0:
            opt.step()
            opt.zero_grad()
        return loss

    return [f(X()) for _ in range(9)] + list(net.parameters()) + n


@case
def accumulate_with_flag(jit):
    net = model()
    opt = optim.Adam(net.parameters(), lr=0.1)

    @jit
    def f(x, last):
        loss = (net(x) ** 2).sum()
        loss.backward()
        if last:
            opt.step()
            opt.zero_grad()
        return loss

    return [f(X(k), k % 3 == 2) for k in range(18)] + list(net.parameters())


@case
def nonlocal_recurrent_state(jit):
    h, net = T(0, 0, 0), model()

    @jit
    def f(x):
        nonlocal h
        h = hb.tanh(net(x) + h).detach()
        return h * 2

    r = [f(X(k)) for k in range(8)]
    h = T(1, 1, 1)
    return r + [f(X(k)) for k in range(4)] + [h]


@case
def global_weight_rebound(jit):
    global W
    W = T(1, 2, 3)

    @jit
    def f(x):
        global W
        W = W - 0.1 * x
        return W.sum()

    r = [f(X(k)) for k in range(7)] + [W]
    W = T(0, 0, 0)
    return r + [f(X()), W]


@case
def list_of_parameters(jit):
    ps = [leaf(1, 2, 3), leaf(4, 5, 6)]

    @jit
    def f(x):
        g = hb.gradients((ps[0] * x * ps[1]).sum(), ps)
        with hb.no_grad():
            for p, d in zip(ps, g):
                p -= 0.1 * d
        return g

    r = [f(X(k)) for k in range(6)]
    ps[0] = leaf(1, 1, 1)
    r += [f(X(k)) for k in range(5)]
    ps.append(ps[0])
    return r + list(ps)


@case
def functional_params_replaced(jit):
    ps = {"w": T(1, 2, 3), "b": T(0, 0, 0)}

    def loss(p, x):
        return ((p["w"] * x + p["b"]) ** 2).mean()

    @jit
    def f(p, x):
        v, g = hb.value_and_grad(loss)(p, x)
        return v, {k: p[k] - 0.1 * g[k] for k in p}

    out = []
    for k in range(7):
        v, ps = f(ps, X(k))
        out += [v, ps["w"], ps["b"], list(ps) == ["w", "b"]]
    return out


@case
def grad_function_made_outside(jit):
    c = NS(k=2.0)
    g = hb.grad(lambda x: (x * x * c.k).sum())
    f = jit(lambda x: g(x) + 1)
    return two(f, lambda: setattr(c, "k", 5.0))


@case
def custom_gradient_with_state(jit):
    c = NS(k=2.0)

    @hb.custom_gradient
    def scale(x):
        return x * 1.0, lambda g: g * c.k

    w = leaf(1, 2, 3)

    @jit
    def f(x):
        (g,) = hb.gradients((scale(w) * x).sum(), [w])
        return g

    return two(f, lambda: setattr(c, "k", 5.0))


@case
def partial_and_map(jit):
    c = NS(s=0.5)
    act = functools.partial(lambda s, x: x * s, 3.0)
    f = jit(lambda x: sum(map(F.relu, [x, act(x) * c.s])))
    return two(f, lambda: setattr(c, "s", 0.25))


@case
def stack_of_growing_list(jit):
    ts = [T(1, 2, 3)]
    f = jit(lambda x: hb.stack(ts).sum(axis=0) * x)
    return two(f, lambda: ts.append(T(4, 5, 6))) + two(f, lambda: ts.__setitem__(0, T(7, 8, 9)))


@case
def index_from_state(jit):
    c = NS(i=1, idx=[0, 2], sl=slice(0, 2))
    f = jit(lambda x: (x[c.i], x[c.idx], x[c.sl], x[np.array(c.idx)]))
    r = two(f, lambda: setattr(c, "i", 2)) + two(f, lambda: c.idx.append(1))
    return r + two(f, lambda: setattr(c, "sl", slice(1, 3)))


@case
def shape_from_state(jit):
    c = NS(shape=[3, 1], axis=0)
    f = jit(lambda x: hb.sum(x.reshape(c.shape), axis=c.axis))
    return two(f, lambda: c.shape.reverse()) + two(f, lambda: setattr(c, "axis", 1))


@case
def setitem_from_state(jit):
    c = NS(i=0, v=[1.0, 2.0])

    @jit
    def f(x):
        x[c.i] = 7.0
        x[1:] = hb.tensor(c.v)
        return x * 2, x

    return two(f, lambda: setattr(c, "i", 1)) + two(f, lambda: c.v.reverse())


@case
def generator_object(jit):
    g = rnd.Generator(3)
    box = NS(g=g)
    f = jit(lambda x: x + rnd.rand(3, generator=box.g))
    r = [f(X()) for _ in range(5)]
    box.g = rnd.Generator(4)
    r += [f(X()) for _ in range(5)]
    g.manual_seed(3)
    box.g = g
    return r + [f(X()) for _ in range(5)] + [g.offset]


@case
def reseed_inside(jit):
    c = NS(seed=5)

    @jit
    def f(x):
        rnd.manual_seed(c.seed)
        return x + rnd.rand(3)

    return two(f, lambda: setattr(c, "seed", 6))


@case
def recursion(jit):
    c = NS(depth=3)

    def rec(x, n):
        return x if n == 0 else rec(x * 1.5, n - 1) + 1

    f = jit(lambda x: rec(x, c.depth))
    return two(f, lambda: setattr(c, "depth", 5))


@case
def slots_and_dataclasses(jit):
    @dataclasses.dataclass
    class State:
        w: Any
        k: float = 2.0

    class Slots:
        __slots__ = ("t", "n")

    s, d = Slots(), State(T(1, 2, 3))
    s.t, s.n = T(4, 5, 6), 2

    @jit
    def f(x, d):
        s.t = s.t * 0.5 + x
        return s.t * d.w * d.k * s.n

    r = [f(X(k), d) for k in range(5)]
    d.w = T(0, 1, 0)
    r += [f(X(k), d) for k in range(4)]
    d.k, s.n = 3.0, 5
    r += [f(X(k), d) for k in range(4)]
    s.t = T(0, 0, 0)
    return r + [f(X(k), d) for k in range(4)] + [s.t]


@case
def namedtuple_arguments_and_results(jit):
    f = jit(lambda p: Point(p.a + p.b, [p.a]))
    out = []
    for k in range(5):
        p = Point(X(k), X(2))
        r = f(p)
        out += [r.a, r.b, r.b[0] is p.a, type(r).__name__]
    return out
