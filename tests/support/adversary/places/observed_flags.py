"""Programs that look at flags and shapes of tensors without computing with them."""

from __future__ import annotations

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import NS, X
from ..helpers import T, calls, leaf, programs, through

CASES, case, ORDINARY, ordinary = programs()


@case
def requires_grad_of_unused(jit):
    return through(
        jit,
        lambda m, x: x * 2 if m.weight.requires_grad else x,
        (lambda m: m.requires_grad_(False), lambda m: m.requires_grad_(True)),
    )


@case
def requires_grad_setter(jit):
    def off(m):
        m.weight.requires_grad = False

    return through(jit, lambda m, x: x * 2 if m.weight.requires_grad else x, off)


@case
def any_trainable(jit):
    return through(
        jit,
        lambda m, x: x * 2 if any(p.requires_grad for p in m.parameters()) else x,
        (lambda m: m.requires_grad_(False), lambda m: m.bias.requires_grad_(True)),
    )


@case
def count_trainable(jit):
    return through(
        jit,
        lambda m, x: x * sum(p.size for p in m.parameters() if p.requires_grad),
        (lambda m: m.weight.requires_grad_(False), lambda m: m.bias.requires_grad_(False)),
    )


@case
def is_leaf_of_attribute(jit):
    o = NS(t=leaf(1, 2, 3))

    @jit
    def f(x):
        return x * 2 if o.t.is_leaf else x

    out = calls(f)
    o.t = o.t * 2
    return out + calls(f)


@case
def shape_of_captured(jit):
    o = NS(t=T(1, 2, 3))

    @jit
    def f(x):
        return x * o.t.shape[0]

    out = calls(f)
    o.t = T(1, 2)
    return out + calls(f)


@case
def shape_of_parameter(jit):
    def change(m):
        m.weight = nn.Parameter(np.zeros((5, 2), np.float32))

    return through(jit, lambda m, x: x * m.weight.shape[0], change)


@case
def shape_after_assignment_of_data(jit):
    o = NS(t=T(1, 2, 3))
    o.u = o.t

    @jit
    def f(x):
        return x * len(o.t)

    out = calls(f)
    o.t = T(1, 2, 3, 4)
    return out + calls(f)


@case
def dtype_of_parameter(jit):
    return through(
        jit,
        lambda m, x: x * (2 if m.weight.dtype == np.float32 else 3),
        lambda m: m.to("float16"),
    )


@case
def size_and_ndim(jit):
    o = NS(t=T(1, 2, 3))

    @jit
    def f(x):
        return x * o.t.size + o.t.ndim

    out = calls(f)
    o.t = hb.ones((2, 3))
    return out + calls(f)


@case
def grad_is_none(jit):
    p = leaf(1, 2, 3)

    @jit
    def f(x):
        return x * 2 if p.grad is None else x

    out = calls(f)
    (p * p).sum().backward()
    out += calls(f)
    p.grad = None
    return out + calls(f)


@case
def grad_of_parameter_is_none(jit):
    def some(m):
        m(X()).sum().backward()

    def none(m):
        m.zero_grad()

    return through(jit, lambda m, x: x * 2 if m.weight.grad is None else x, (some, none))


@case
def optimizer_with_frozen(jit):
    rnd.manual_seed(3)
    m = nn.Linear(3, 3)
    opt = optim.SGD(m.parameters(), lr=0.1)

    @jit
    def f(x):
        opt.zero_grad()
        (m(x) ** 2).sum().backward()
        opt.step()

    out = []
    for k in range(5):
        f(X(k))
        out += [m.weight.detach().clone(), m.bias.detach().clone()]
    m.bias.requires_grad_(False)
    for k in range(5):
        f(X(k))
        out += [m.weight.detach().clone(), m.bias.detach().clone()]
    m.bias.requires_grad_(True)
    for k in range(5):
        f(X(k))
        out += [m.weight.detach().clone(), m.bias.detach().clone()]
    return out


@case
def unused_parameter_in_optimizer(jit):
    rnd.manual_seed(3)
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    opt = optim.Adam([*a.parameters(), *b.parameters()], lr=0.1)

    @jit
    def f(x):
        opt.zero_grad()
        (a(x) ** 2).sum().backward()
        opt.step()

    out = []
    for r in range(3):
        for k in range(4):
            f(X(k))
            out += [p.detach().clone() for m in (a, b) for p in m.parameters()]
        if r == 0:
            b.requires_grad_(False)
        else:
            b.requires_grad_(True)
    return out


@case
def clip_by_hand(jit):
    rnd.manual_seed(3)
    m = nn.Linear(3, 3)

    @jit
    def f(x):
        m.zero_grad()
        m(x).sum().backward()
        return sum([(p.grad * p.grad).sum() for p in m.parameters() if p.grad is not None])

    out = calls(f)
    m.weight.requires_grad_(False)
    out += calls(f)
    m.weight.requires_grad_(True)
    return out + calls(f)


@case
def freeze_in_the_middle(jit):
    rnd.manual_seed(3)
    m = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))

    @jit
    def f(x):
        y = m(x)
        return y * (2 if y.requires_grad else 1)

    out = [v.detach() for v in calls(f)]
    m.requires_grad_(False)
    out += calls(f)
    m[0].requires_grad_(True)
    return out + [v.detach() for v in calls(f)]
