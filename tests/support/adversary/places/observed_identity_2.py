"""Programs that ask which tensor they have in hand."""

from __future__ import annotations

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid import random as rnd

from ..common import X
from ..helpers import calls, lin, programs

CASES, case, ORDINARY, ordinary = programs()


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
