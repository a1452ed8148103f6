"""What many programs use: tensors, layers, calls before, beside and after a change."""

from __future__ import annotations

from unittest import mock

import numpy as np

import hybrid as hb
from hybrid import nn
from hybrid import random as rnd

from .common import X, suite


def programs():
    """(programs by name, their decorator, names of those that must be replayed, its decorator)."""
    cases, case = suite()
    names = set()

    def ordinary(f):
        names.add(f.__name__)
        return case(f)

    return cases, case, names, ordinary


def T(*v):
    return hb.tensor(np.float32(v))


def leaf(*v):
    return hb.tensor(np.float32(v), requires_grad=True)


def calls(f, n=4, *more):
    return [f(X(k + 1.0), *more) for k in range(n)]


def five_calls(f, n=5):
    return calls(f, n)


def lin():
    rnd.manual_seed(3)
    return nn.Linear(3, 3)


def frozen_lin():
    return lin().requires_grad_(False)


def through(jit, look, change, make=lin, n=4):
    """Calls of a function that looks at a module's tensors, a change, calls."""
    m = make()
    f = jit(lambda x: look(m, x))
    out = calls(f, n)
    for c in change if isinstance(change, tuple) else (change,):
        c(m)
        out += calls(f, n)
    return out


def patching(jit, fn, owner, name, new):
    """Calls without, with and again without a replacement."""
    f = jit(fn)
    out = calls(f)
    with mock.patch.object(owner, name, new):
        out += calls(f)
    return out + calls(f)


def swap(jit, o, look, other, name="__dict__"):
    """Calls with what o has, with another, and again with the first."""
    f = jit(lambda x: look(o, x))
    out = calls(f)
    saved = getattr(o, name)
    setattr(o, name, other)
    out += calls(f)
    setattr(o, name, saved)
    return out + calls(f)


def container(make, jit, key="k", n=6):
    """Stores to an item of a container."""
    d = make()

    @jit
    def f(x):
        d[key] = x + 1
        return x * 2

    out = []
    for k in range(n):
        out += [f(X(k)), d[key]]
    return out


def attribute(make, jit, n=6, reads=False):
    """Stores to an attribute of an object."""
    o = make()

    @jit
    def f(x):
        o.h = (o.h if reads else x) + x
        return x * 2

    out = []
    for k in range(n):
        out += [f(X(k)), o.h]
    return out
