"""Programs that ask which tensor they have in hand."""

from __future__ import annotations

import numpy as np

import hybrid as hb
import hybrid.nn as nn
from hybrid import random as rnd

from ..common import NS, X
from ..helpers import T, calls, leaf, lin, programs

CASES, case, ORDINARY, ordinary = programs()


@case
def argument_is_the_parameter(jit):
    m = lin()

    @jit
    def f(x):
        return x * 2 if x is m.bias else x * 3

    m.bias.requires_grad_(False)
    return [*calls(f), f(m.bias), f(m.bias), f(m.bias), f(m.bias), *calls(f)]


@case
def argument_in_list_of_parameters(jit):
    m = lin()
    m.requires_grad_(False)

    @jit
    def f(x):
        return x * 2 if any(p is x for p in m.parameters()) else x * 3

    return [*calls(f), *[f(m.bias) for _ in range(4)], *calls(f)]


@case
def argument_is_a_buffer(jit):
    m = nn.Module()
    m.register_buffer("run", T(1, 2, 3))

    @jit
    def f(x):
        return x * 2 if x is m.run else x * 3

    return [*calls(f), *[f(m.run) for _ in range(4)], *calls(f)]


@case
def argument_is_captured(jit):
    o = NS(t=T(1, 2, 3))

    @jit
    def f(x):
        return x * 2 if x is o.t else x * 3

    return [*calls(f), *[f(o.t) for _ in range(4)], *calls(f)]


@case
def argument_is_captured_in_list(jit):
    ts = [T(1, 2, 3), T(3, 4, 5)]

    @jit
    def f(x):
        for i, t in enumerate(ts):
            if t is x:
                return x * i
        return x + 1

    return [*calls(f), *[f(ts[1]) for _ in range(4)], *[f(ts[0]) for _ in range(4)], *calls(f)]


@case
def captured_is_other_captured(jit):
    o = NS(a=T(1, 2, 3), b=T(1, 2, 3))

    @jit
    def f(x):
        return x * 2 if o.a is o.b else x * 3

    out = calls(f)
    o.b = o.a
    out += calls(f)
    o.b = T(1, 2, 3)
    return out + calls(f)


@case
def parameter_is_other_parameter(jit):
    rnd.manual_seed(3)
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)

    @jit
    def f(x):
        return x * 2 if a.weight is b.weight else x * 3

    out = calls(f)
    b.weight = a.weight
    return out + calls(f)


@case
def captured_is_a_parameter(jit):
    m = lin()
    o = NS(t=leaf(1, 2, 3))

    @jit
    def f(x):
        return x * 2 if o.t is m.bias else x * 3

    out = calls(f)
    o.t = m.bias
    out += calls(f)
    o.t = leaf(1, 2, 3)
    return out + calls(f)


@case
def grad_is_captured(jit):
    p = leaf(1, 2, 3)
    (p * p).sum().backward()
    o = NS(g=T(1, 2, 3))

    @jit
    def f(x):
        return x * 2 if p.grad is o.g else x * 3

    out = calls(f)
    o.g = p.grad
    out += calls(f)
    p.grad = T(1, 2, 3)
    return out + calls(f)


@case
def dict_keyed_by_tensor(jit):
    a, b = T(1, 2, 3), T(1, 2, 3)
    d = {a: 2.0}

    @jit
    def f(x):
        return x * d.get(x, 3.0)

    return [*calls(f), *[f(a) for _ in range(4)], *[f(b) for _ in range(4)], *calls(f)]


@case
def set_of_tensors(jit):
    a, b = T(1, 2, 3), T(1, 2, 3)
    s = {a}

    @jit
    def f(x):
        return x * 2 if x in s else x * 3

    return [*calls(f), *[f(a) for _ in range(4)], *[f(b) for _ in range(4)], *calls(f)]


@case
def seen_by_id_table(jit):
    m = lin()
    m.requires_grad_(False)
    o = NS(skip=m.bias)

    @jit
    def f(x):
        y = x
        for p in m.parameters():
            if p is o.skip or p is x:
                continue
            y = y + p.sum()
        return y

    out = [*calls(f), *[f(m.bias) for _ in range(4)]]
    o.skip = m.weight
    return [*out, *calls(f), *[f(m.bias) for _ in range(4)]]


@case
def two_arguments_one_parameter(jit):
    m = lin()
    m.requires_grad_(False)

    @jit
    def f(x, y):
        return x + y * (2 if y is m.bias else 1)

    a, b = X(1), X(2)
    return [
        *[f(a, b) for _ in range(4)],
        *[f(a, m.bias) for _ in range(4)],
        *[f(m.bias, m.bias) for _ in range(4)],
        *[f(m.bias, b) for _ in range(4)],
    ]


@case
def tied_in_optimizer(jit):
    m = lin()
    o = NS(extra=leaf(1, 2, 3))

    @jit
    def f(x):
        n = 0
        for p in [*m.parameters(), o.extra]:
            if p is m.bias:
                n += 1
        return x * n

    out = calls(f)
    o.extra = m.bias
    return out + calls(f)


@case
def data_of_parameter(jit):
    p = leaf(1, 2, 3)

    @jit
    def f(x):
        return x + p.data

    out = calls(f)
    p.data = p.data * 2
    out += calls(f)
    with hb.no_grad():
        p.assign([4.0, 5.0, 6.0])
    return out + calls(f)


@case
def view_of_captured(jit):
    base = T(1, 2, 3, 4)
    o = NS(v=base[1:])

    @jit
    def f(x):
        return x + o.v

    out = calls(f)
    base[2] = 9.0
    out += calls(f)
    o.v = T(5, 5, 5)
    return out + calls(f)


@case
def default_tensor_argument(jit):
    t = leaf(1, 2, 3)

    @jit
    def f(x, w=t):
        return x * 2 if w.requires_grad else x

    out = calls(f)
    t.requires_grad_(False)
    return out + calls(f)


@case
def tensor_in_closure_flag(jit):
    t = leaf(1, 2, 3)

    @jit
    def f(x):
        return x * 2 if t.requires_grad else x

    out = calls(f)
    t.requires_grad_(False)
    out += calls(f)
    t.requires_grad_(True)
    return out + calls(f)


@case
def tensor_in_tuple_flag(jit):
    t = leaf(1, 2, 3)
    ts = (t, T(1, 1, 1))

    @jit
    def f(x):
        return x * sum([1 for t in ts if t.requires_grad])

    out = calls(f)
    t.requires_grad_(False)
    return out + calls(f)


@case
def getattr_of_tensor(jit):
    t = leaf(1, 2, 3)

    @jit
    def f(x):
        return x * 2 if getattr(t, "requires_grad", False) else x

    out = calls(f)
    t.requires_grad_(False)
    return out + calls(f)


@case
def operator_attrgetter(jit):
    import operator

    t = leaf(1, 2, 3)
    get = operator.attrgetter("requires_grad")

    @jit
    def f(x):
        return x * 2 if get(t) else x

    out = calls(f)
    t.requires_grad_(False)
    return out + calls(f)


@case
def mapped_over_parameters(jit):
    m = lin()

    @jit
    def f(x):
        return x * len(list(filter(lambda p: p.requires_grad, m.parameters())))

    out = calls(f)
    m.bias.requires_grad_(False)
    return out + calls(f)


@case
def bias_none_or_not(jit):
    m = lin()

    @jit
    def f(x):
        return m.weight @ x + (0 if m.bias is None else 1)

    out = [v.detach() for v in calls(f)]
    m.bias = None
    return out + [v.detach() for v in calls(f)]


@case
def len_of_parameter(jit):
    m = lin()
    f = jit(lambda x: x * len(m.weight))
    out = calls(f)
    m.weight = nn.Parameter(np.zeros((7, 3), np.float32))
    return out + calls(f)


@case
def isinstance_parameter(jit):
    t = leaf(1, 2, 3)

    @jit
    def f(x):
        return x * 2 if isinstance(t, nn.Parameter) else x

    out = calls(f)
    t.requires_grad_(False)
    return out + calls(f)


@case
def state_dict_size(jit):
    m = lin()

    @jit
    def f(x):
        return x * sum([v.size for v in m.state_dict().values()])

    out = calls(f)
    m.bias = None
    return out + calls(f)
