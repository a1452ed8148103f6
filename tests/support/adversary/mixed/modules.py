"""Programs made to break the mechanism that sees Python: modules that are shared, overridden and
edited, their gradients and optimizers.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import contextlib

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import NS, X, norm, suite, two
from ..helpers import T, leaf
from .nets import model

CASES, case = suite()


@case
def returns_an_object(jit):
    class R:
        def __init__(self, v):
            self.v = v

    f = jit(lambda x: R(x * 2))
    return [f(X(k)).v for k in range(5)]


@case
def try_finally_state(jit):
    c = NS(k=1.0, busy=False)

    @contextlib.contextmanager
    def busy():
        c.busy = True
        try:
            yield c.k
        finally:
            c.busy = False

    @jit
    def f(x):
        with busy() as k, hb.no_grad():
            return x * k if c.busy else x

    return two(f, lambda: setattr(c, "k", 2.0)) + [c.busy]


@case
def modules_in_a_list(jit):
    rnd.manual_seed(1)
    layers = [nn.Linear(3, 3) for _ in range(3)]

    @jit
    def f(x):
        for layer in layers:
            x = layer(x)
        return x.detach()

    r = two(f, lambda: layers.reverse()) + two(f, lambda: layers.pop())
    return r + two(f, lambda: layers[0].weight.assign(layers[0].weight * 0))


@case
def module_overrides(jit):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()
            self.calls = 0

        def __call__(self, x, times=2):
            for _ in range(times):
                x = super().__call__(x)
            return x

        def forward(self, x):
            return self.inner(x) + x

    net = Odd()
    f = jit(lambda x: net(x, times=3).detach())
    r = two(f, lambda: setattr(net.inner, "k", 0.5))
    return r + two(f, lambda: setattr(Odd, "forward", lambda self, x: x * 2))


@case
def module_counter(jit):
    class Count(nn.Module):
        n = 0

        def forward(self, x):
            self.n += 1
            return x * self.n

    net = Count()
    f = jit(lambda x: net(x))
    return [f(X()) for _ in range(8)] + [net.n]


@case
def ema_of_model(jit):
    net, shadow = model(), {}
    opt = optim.SGD(net.parameters(), lr=0.1)
    for n, p in net.named_parameters():
        shadow[n] = p.detach().clone()

    @jit
    def f(x):
        opt.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        opt.step()
        for n, p in net.named_parameters():
            shadow[n] = shadow[n] * 0.9 + p.detach() * 0.1
        return loss

    r = [f(X(k)) for k in range(6)]
    shadow["a.bias"] = T(1, 1, 1, 1)
    return r + [f(X(k)) for k in range(4)] + list(shadow.values())


@case
def tied_weights(jit):
    net = model()
    net.b.weight = hb.tensor(np.ones((3, 4), "f4"), requires_grad=True)
    other = NS(w=net.b.weight)

    @jit
    def f(x):
        loss = (net(x) @ other.w).sum()
        loss.backward()
        with hb.no_grad():
            other.w -= 0.1 * other.w.grad
        return loss.detach()

    r = [f(X(k)) for k in range(5)]
    other.w = leaf(*[1.0] * 12).detach().reshape((3, 4)).clone().requires_grad_()
    return r + [f(X(k)) for k in range(5)] + [net.b.weight, other.w, net.b.weight.grad]


@case
def detach_shares_then_diverges(jit):
    a = T(1, 2, 3)
    s = NS(a=a, b=a.detach())
    f = jit(lambda x: s.a * x + s.b)
    r = [f(X()) for _ in range(5)]
    s.b = None
    a = s.a
    s.b = T(9, 9, 9)
    r += [f(X()) for _ in range(5)]
    s.b.assign(s.a)
    r += [f(X()) for _ in range(3)]
    s.a.assign(T(5, 5, 5))
    return r + [f(X()) for _ in range(3)]


@case
def frozen_and_unfrozen(jit):
    net = model()

    @jit
    def f(x):
        loss = (net(x) ** 2).sum()
        loss.backward()
        return loss.detach()

    r = [f(X(k)) for k in range(4)] + [net.a.weight.grad]
    net.zero_grad()
    net.a.requires_grad_(False)
    r += [f(X(k)) for k in range(5)] + [net.a.weight.grad is None, net.b.weight.grad]
    net.a.requires_grad_(True)
    return r + [f(X(k)) for k in range(5)] + [net.a.weight.grad]


@case
def grad_reassigned_between_calls(jit):
    w = leaf(1, 2, 3)

    @jit
    def f(x):
        ((w * x) ** 2).sum().backward()
        return w.grad * 2

    r = [f(X(k)) for k in range(6)]
    g = w.grad
    w.grad = T(1, 1, 1)
    r += [f(X(k)) for k in range(4)] + [g]
    w.grad = None
    return r + [f(X(k)) for k in range(4)] + [w.grad]


@case
def held_gradient_is_not_overwritten(jit):
    w, kept = leaf(1, 2, 3), []

    @jit
    def f(x):
        w.grad = None
        ((w * x) ** 2).sum().backward()
        with hb.no_grad():
            w.assign(w - 0.1 * w.grad)
        return w.grad

    for k in range(7):
        kept += [f(X(k)), w.grad, w.detach().clone()]
        if len(kept) > 6:
            del kept[2]
    return kept


@case
def python_scalar_of_numpy(jit):
    c = NS(k=np.float32(2.0), n=np.int64(3))
    f = jit(lambda x: x * c.k + c.n)
    return two(f, lambda: setattr(c, "k", np.float64(2.0))) + two(
        f, lambda: setattr(c, "n", np.int32(4))
    )


@case
def kwargs_dict_mutated(jit):
    @jit
    def f(x, opts):
        opts["seen"] = opts.get("seen", 0) + 1
        return x * opts["k"]

    out = []
    for k in range(6):
        o = {"k": 2.0}
        out += [f(X(k), o), o["seen"]]
    return out


@case
def shape_dependent_python(jit):
    @jit
    def f(x):
        assert x.ndim == 1 and x.dtype is not None
        return x * len(x) + sum(range(x.shape[0])) + float(f"{x.shape[0]}.5")

    return [f(T(*range(n))) for n in (2, 3, 2, 3, 2, 3, 2, 3, 4)]


@case
def boolean_mask_and_where(jit):
    f = jit(lambda x: (hb.where(x > 0, x, 0.0), x[x > 0]))
    return [f(X(k - 2)) for k in range(6)]


@case
def print_of_tensor(jit):
    @jit
    def f(x):
        y = x * 2
        print(y)
        return y

    return [f(X(k)) for k in range(4)]


@case
def optimizer_state_edited(jit):
    net = model()
    opt = optim.Adam(net.parameters(), lr=0.1)

    @jit
    def f(x):
        opt.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    r = [f(X(k)) for k in range(5)]
    saved, weights = opt.state_dict(), net.state_dict()
    r += [f(X(k)) for k in range(5)]
    opt.load_state_dict(saved)
    net.load_state_dict(weights)
    r += [f(X(k)) for k in range(5)]
    opt.param_groups[0]["lr"] = 0.01
    return r + [f(X(k)) for k in range(5)] + list(net.parameters()) + [norm(list(saved.values()))]


@case
def two_functions_share_state(jit):
    net = model()
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @jit
    def train(x):
        opt.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    @jit
    def predict(x):
        with hb.no_grad():
            return net(x)

    return [v for k in range(7) for v in (train(X(k)), predict(X(1)))]


@case
def writes_through_views(jit):
    @jit
    def f(x):
        y = x.reshape((3, 1))
        x += 1
        return y

    out = []
    for _ in range(4):
        try:
            out.append(f(X()))
        except hb.HybridError as e:
            out.append(type(e).__name__)
    g = jit(lambda x: x.assign(x * 2))
    x = X()
    for _ in range(4):
        out.append(g(x))
    view = x.reshape((3, 1))
    try:
        g(x)
    except hb.HybridError as e:
        out += [type(e).__name__, x, view]
    return out
