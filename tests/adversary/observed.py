"""Programs that look at tensors without computing with them: flags, identity, shape; and programs
that use devices as values."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.nn.functional as F
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


def leaf(*v):
    return hb.tensor(np.float32(v), requires_grad=True)


def calls(f, n=4, *more):
    return [f(X(k + 1.0), *more) for k in range(n)]


def lin():
    rnd.manual_seed(3)
    return nn.Linear(3, 3)


def through(jit, look, change, make=lin, n=4):
    """Calls of a function that looks at a module's tensors, a change, calls."""
    m = make()
    f = jit(lambda x: look(m, x))
    out = calls(f, n)
    for c in change if isinstance(change, tuple) else (change,):
        c(m)
        out += calls(f, n)
    return out


# ---- flags of parameters that no op uses
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


# ---- identity
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


@case
def returned_parameter(jit):
    m = lin()
    f = jit(lambda x: (x * 2, m.weight))
    out = []
    for k in range(4):
        a, b = f(X(k))
        out += [a, b is m.weight]
    m.weight = nn.Parameter(np.zeros((3, 3), np.float32))
    for k in range(4):
        a, b = f(X(k))
        out += [a, b is m.weight]
    return out


@case
def requires_grad_inside_module(jit):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(np.ones(3, np.float32))
            self.q = nn.Parameter(np.ones(3, np.float32))

        def forward(self, x):
            return x * 2 if self.q.requires_grad else x * 3

    m = M()
    f = jit(lambda x: m(x))
    out = calls(f)
    m.q.requires_grad_(False)
    out += calls(f)
    m.q.requires_grad_(True)
    return out + calls(f)


@case
def batch_norm_frozen_weight(jit):
    m = nn.BatchNorm1d(3) if hasattr(nn, "BatchNorm1d") else nn.LayerNorm(3)

    @jit
    def f(x):
        y = m(hb.stack([x, x * 2]))
        return y.detach(), y.requires_grad

    out = calls(f)
    m.requires_grad_(False)
    return out + calls(f)


@ordinary
def training_step(jit):
    rnd.manual_seed(3)
    m = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    opt = optim.Adam(m.parameters(), lr=0.01)

    @jit
    def f(x):
        opt.zero_grad()
        loss = (m(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    out = []
    for k in range(6):
        out += [f(X(k)).detach(), *[p.detach().clone() for p in m.parameters()]]
    return out


@ordinary
def weight_decay_on_weights(jit):
    m = lin()

    @jit
    def f(x):
        loss = (m(x) ** 2).sum()
        for name, p in m.named_parameters():
            if p.requires_grad and name.endswith("weight"):
                loss = loss + (p * p).sum()
        return loss

    out = [v.detach() for v in calls(f)]
    m.weight.requires_grad_(False)
    return out + [v.detach() for v in calls(f)]


# ---- devices
@ordinary
def zeros_on_its_device(jit):
    f = jit(lambda x: x + hb.zeros(3, device=x.device))
    return calls(f)


@ordinary
def to_its_device(jit):
    o = NS(t=T(1, 2, 3))
    f = jit(lambda x: o.t.to(x.device) + x)
    return calls(f)


@ordinary
def device_type(jit):
    f = jit(lambda x: x * 2 if x.device.type == "cpu" else x)
    return calls(f)


@ordinary
def device_kind(jit):
    f = jit(lambda x: x * 2 if x.device.kind == "cpu" and x.device.index == 0 else x)
    return calls(f)


@ordinary
def device_equals_text(jit):
    f = jit(lambda x: x * 2 if x.device == "cpu" else x)
    return calls(f)


@ordinary
def device_is_not(jit):
    f = jit(lambda x: x * 2 if x.device != "cuda" and x.device != hb.device("cuda:1") else x)
    return calls(f)


@ordinary
def device_in_tuple(jit):
    f = jit(lambda x: x * 2 if x.device in ("cpu", "cuda") else x)
    return calls(f)


@ordinary
def device_text(jit):
    f = jit(lambda x: x * len(str(x.device)) + len(f"{x.device}") + len(repr(x.device)))
    return calls(f)


@ordinary
def device_as_key(jit):
    d = {hb.device("cpu"): 2.0, hb.device("cuda"): 3.0}
    f = jit(lambda x: x * d[x.device])
    out = calls(f)
    d[hb.device("cpu")] = 5.0
    return out + calls(f)


@ordinary
def device_argument(jit):
    f = jit(lambda x, d: x + hb.ones(3, device=d))
    return calls(f, 4, hb.device("cpu")) + calls(f, 4, "cpu")


@ordinary
def device_captured(jit):
    dev = hb.device("cpu")
    o = NS(dev=dev)
    f = jit(lambda x: x + hb.ones(3, device=o.dev) + hb.ones(3, device=dev))
    out = calls(f)
    o.dev = "cpu"
    return out + calls(f)


@ordinary
def device_of_module(jit):
    m = lin()

    @jit
    def f(x):
        dev = next(iter(m.parameters())).device
        return x + hb.ones(3, device=dev)

    return calls(f)


@ordinary
def device_made_inside(jit):
    f = jit(lambda x: x + hb.ones(3, device=hb.device("cpu")))
    return calls(f)


@ordinary
def device_global(jit):
    o = NS(device=hb.device("cpu"), k=2)

    @jit
    def f(x):
        mask = hb.arange(3, device=o.device).to(x.dtype)
        return x * mask.to(device=o.device) * o.k

    out = calls(f)
    o.k = 3
    return out + calls(f)


@ordinary
def device_returned(jit):
    f = jit(lambda x: (x * 2, x.device))
    return [[a, str(d), d is hb.device("cpu")] for a, d in calls(f)]


@ordinary
def device_hash(jit):
    f = jit(lambda x: x * (2 if hash(x.device) == hash(hb.device("cpu")) else 3))
    return calls(f)


@case
def device_copied(jit):
    d = hb.device("cpu")
    o = NS(d=copy.deepcopy(d), e=pickle.loads(pickle.dumps(d)), c=copy.copy(d))  # noqa: S301
    f = jit(lambda x: x * 2 if o.d is x.device and o.e is x.device and o.c is x.device else x)
    return calls(f)


@case
def device_in_dataclass(jit):
    import dataclasses

    @dataclasses.dataclass
    class Cfg:
        device: Any = hb.device("cpu")  # noqa: RUF009
        n: int = 3

    cfg = Cfg()
    f = jit(lambda x: x + hb.full((cfg.n,), 2.0, device=cfg.device))
    out = calls(f)
    cfg.device = "cpu"
    return out + calls(f)


@case
def same_device_check(jit):
    m = lin()
    f = jit(lambda x: F.relu(m(x.to(m.weight.device))) if m.weight.device is x.device else x)
    return [v.detach() for v in calls(f)]
