"""Programs that hand the flags of tensors to C code."""

from __future__ import annotations

import operator

import numpy as np

import hybrid as hb
import hybrid.nn as nn
from hybrid import random as rnd

from ..common import X
from ..helpers import programs

CASES, case, ORDINARY, ordinary = programs()


def T(*v):
    return hb.tensor(np.float32(v))


def leaf(*v):
    return hb.tensor(np.float32(v), requires_grad=True)


def calls(f, n=4):
    return [f(X(k + 1.0)) for k in range(n)]


def lin():
    rnd.manual_seed(3)
    m = nn.Linear(3, 3)
    return m.requires_grad_(False)


@case
def flags_by_attrgetter(jit):
    m = lin().requires_grad_(True)
    flags = operator.attrgetter("requires_grad")
    f = jit(lambda x: x * sum(map(flags, m.parameters())))
    out = calls(f)
    m.bias.requires_grad_(False)
    return out + calls(f)


@case
def lengths_by_map(jit):
    m = lin()
    f = jit(lambda x: x * sum(map(len, m.parameters())))
    out = calls(f)
    m.weight = hb.ones((5, 3))
    return out + calls(f)


@case
def flags_by_method(jit):
    class Flags:
        def __init__(self):
            self.p = leaf(1, 2, 3)

        @property
        def on(self):
            return self.p.requires_grad

    o = Flags()
    f = jit(lambda x: x * (2 if any(map(operator.attrgetter("on"), [o])) else 3))
    out = calls(f)
    o.p.requires_grad_(False)
    return out + calls(f)


@case
def longest_parameter(jit):
    m = lin()
    f = jit(lambda x: x * max(m.parameters(), key=lambda p: p.size).ndim)
    out = calls(f)
    m.__dict__["bias"] = hb.ones(30)
    return out + calls(f)


@case
def trainable_by_filter(jit):
    m = lin().requires_grad_(True)
    f = jit(lambda x: x * len([*filter(operator.attrgetter("requires_grad"), [m.weight, m.bias])]))
    out = calls(f)
    m.bias.requires_grad_(False)
    return out + calls(f)
