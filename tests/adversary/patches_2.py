"""Programs that replace functions of hybrid itself."""

from __future__ import annotations

from unittest import mock

import numpy as np

import hybrid as hb
import hybrid.nn as nn
from hybrid.ops import random as rnd

from .common import X, suite

CASES, case = suite()
ORDINARY: set[str] = set()  # programs that must be replayed


def ordinary(f):
    ORDINARY.add(f.__name__)
    return case(f)


def T(*v):
    return hb.tensor(np.float32(v))


def calls(f, n=4):
    return [f(X(k + 1.0)) for k in range(n)]


def patching(jit, fn, owner, name, new):
    """Calls without, with and again without a replacement."""
    f = jit(fn)
    out = calls(f)
    with mock.patch.object(owner, name, new):
        out += calls(f)
    return out + calls(f)


def lin():
    rnd.manual_seed(3)
    m = nn.Linear(3, 3)
    m.requires_grad_(False)
    return m


@case
def class_replaced(jit):
    m = lin()
    f = jit(lambda x: m(x) if isinstance(m, nn.Linear) else x)
    out = calls(f)
    with mock.patch.object(nn, "Linear", nn.ReLU):
        out += calls(f)
    return out + calls(f)


@case
def layer_made_inside(jit):
    f = jit(lambda x: nn.ReLU()(x))
    out = calls(f)
    with mock.patch.object(nn, "ReLU", nn.Tanh):
        out += calls(f)
    return out + calls(f)


@case
def setattr_of_module_class(jit):
    m = lin()
    f = jit(lambda x: m(x))
    out = calls(f)
    old = nn.Module.__setattr__
    nn.Module.__setattr__ = lambda self, k, v: object.__setattr__(self, k, v)
    try:
        m.weight = hb.zeros((3, 3))
        out += calls(f)
    finally:
        nn.Module.__setattr__ = old
    return out + calls(f)
