"""Programs about places of every kind: hybrid's own objects, deques, tensors that move, patches."""

from __future__ import annotations

import dataclasses
from typing import Any

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import NS, X
from ..helpers import T, lin, programs

CASES, case, ORDINARY, ordinary = programs()


@case
def dataclass_replace(jit):
    @dataclasses.dataclass
    class S:
        h: Any
        n: int = 0

    o = NS(s=S(T(1, 1, 1)))

    @jit
    def f(x):
        o.s = dataclasses.replace(o.s, h=o.s.h + x)
        return o.s.h * 1

    out = []
    for k in range(5):
        out += [f(X(k)), o.s.h]
    return out


@case
def object_stored_fresh(jit):
    class S:
        def __init__(self, h):
            self.h = h

    o = NS(s=S(T(1, 1, 1)))

    @jit
    def f(x):
        o.s = S(o.s.h + x)
        return o.s.h * 1

    out = []
    for k in range(5):
        out += [f(X(k)), o.s.h]
    return out


@case
def tuple_stored_fresh(jit):
    o = NS(s=(T(1, 1, 1), 2))

    @jit
    def f(x):
        o.s = (o.s[0] + x, 2)
        return o.s[0] * 1

    out = []
    for k in range(5):
        out += [f(X(k)), o.s[0]]
    return out


@case
def cell_deleted_and_made(jit):
    h = T(1, 1, 1)

    @jit
    def f(x):
        nonlocal h
        t = h + x
        del h
        h = t * 2
        return h * 1

    out = []
    for k in range(6):
        out += [f(X(k)), h]
    return out


@case
def lstm_state_on_module(jit):
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            rnd.manual_seed(3)
            self.lin = nn.Linear(6, 3)
            self.h = T(0, 0, 0)

        def forward(self, x):
            self.h = hb.tanh(self.lin(hb.concat([x, self.h]))).detach()
            return self.h * 2

    m = Cell()
    f = jit(lambda x: m(x))
    out = []
    for k in range(6):
        out += [f(X(k)), m.h]
        if k == 4:
            m.h = T(1, 1, 1)
    return out


@ordinary
def ema_of_weights(jit):
    m = lin()
    ema = {n: p.detach().clone() for n, p in m.named_parameters()}

    @jit
    def f(x):
        for n, p in m.named_parameters():
            ema[n] = ema[n] * 0.9 + p.detach() * 0.1
        return m(x).detach()

    out = []
    for k in range(6):
        out += [f(X(k)), *ema.values()]
    return out


@ordinary
def frozen_backbone(jit):
    rnd.manual_seed(3)
    back, head = nn.Linear(3, 3), nn.Linear(3, 2)
    back.requires_grad_(False)
    params = [p for m in (back, head) for p in m.parameters() if p.requires_grad]
    opt = optim.SGD(params, lr=0.1)

    @jit
    def f(x):
        opt.zero_grad()
        loss = (head(back(x)) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    out = []
    for k in range(5):
        out += [f(X(k)).detach(), *[p.detach().clone() for p in head.parameters()]]
    back.requires_grad_(True)
    for k in range(5):
        out += [f(X(k)).detach(), *[p.detach().clone() for p in head.parameters()]]
        out += [p.grad is None for p in back.parameters()]
    return out


@ordinary
def loss_kept_on_the_trainer(jit):
    class Trainer:
        def __init__(self):
            self.m = lin().requires_grad_(True)
            self.opt = optim.SGD(self.m.parameters(), lr=0.1)
            self.loss = None
            self.out = None

        def step(self, x):
            self.out = self.m(x)
            self.loss = (self.out**2).sum()
            self.opt.zero_grad()
            self.loss.backward()
            self.opt.step()
            return self.loss.detach()

    t = Trainer()
    f = jit(lambda x: t.step(x))
    out = []
    for k in range(8):
        out += [f(X(k)), t.loss.detach(), t.out.detach(), t.m.weight.detach().clone()]
    return out


@ordinary
def activations_kept_by_a_hook(jit):
    m = nn.Sequential(lin(), nn.ReLU())
    acts = {}
    m[0].register_forward_hook(lambda mod, args, out: acts.__setitem__("a", out.detach()))

    @jit
    def f(x):
        y = m(x)
        return y * 2

    out = []
    for k in range(6):
        out += [f(X(k)).detach()]
    return out


@ordinary
def activations_kept_in_a_dict(jit):
    m = nn.Sequential(lin(), nn.ReLU())
    acts = {}

    def hook(mod, args, out):
        acts["a"] = out.detach()

    m[0].register_forward_hook(hook)

    @jit
    def f(x):
        y = m(x)
        return (y * acts["a"]).detach()

    out = []
    for k in range(6):
        out += [f(X(k)), acts["a"]]
    return out


@ordinary
def last_output_of_two_sizes(jit):
    o = NS(last=T(0, 0, 0))

    @jit
    def f(x):
        o.last = x * 2
        return o.last + 1

    out = []
    for k in range(4):
        for n in (3, 3, 2):
            out += [f(hb.ones(n) * k), o.last]
    return out
