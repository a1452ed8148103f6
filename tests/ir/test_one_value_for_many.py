"""One computed value that becomes the value of several tensors: each of them gets it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from reference_executor import ReferenceExecutor

import hybrid as hb
from hybrid.decorator import set_executor


def both(p, q, r, x):
    p.add_(x)
    q.assign(p)


def three(p, q, r, x):
    p.add_(x)
    q.assign(p)
    r.assign(q)
    return p


def returned(p, q, r, x):
    y = p * x
    q.assign(y)
    r.assign(y)
    return y, y + 1


def swapped(p, q, r, x):
    old = p.clone()
    p.assign(q + x)
    q.assign(old)
    r.assign(old)


def argument(p, q, r, x):
    p.assign(x)
    q.assign(x)
    r.assign(p)


def summed(p, q, r, x):
    y = (p * x).sum() + q
    q.assign(y)
    r.assign(y)


def _programs(n):
    def constant(p, q, r, x):
        z = hb.zeros(n)
        p.assign(z)
        q.assign(z)
        r.add_(x)

    def viewed(p, q, r, x):
        y = (p + x).reshape(n)
        p.assign(y)
        q.assign(y.reshape((1, n)).reshape(n))

    return both, three, returned, swapped, constant, viewed, argument, summed


NAMES = [f.__name__ for f in _programs(1)]


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("n", [1, 5, 300_001])
@pytest.mark.parametrize("name", NAMES)
def test_a_value_given_to_several_tensors(name, n, reference):
    program = _programs(n)[NAMES.index(name)]
    seen = []
    before = set_executor(ReferenceExecutor()) if reference else None
    try:
        for decorate in (lambda f: f, hb.function):
            states = [hb.full((n,), v) for v in (0.5, -1.0, 3.0)]
            f, rows = decorate(program), []
            for k in range(6):
                x = hb.full((n,), 1.0 + k)
                out = f(*states, x)
                made = out if isinstance(out, tuple) else () if out is None else (out,)
                rows += [t.numpy()[[0, -1]].tolist() for t in itertools.chain(states, made)]
            seen.append(rows)
            last = f
    finally:
        if before is not None:
            set_executor(before)
    assert seen[0] == seen[1]
    assert last.cache_info().replays >= 3, last.explain()


def test_values_stay_apart_afterwards():
    p, q = hb.zeros(4), hb.zeros(4)

    @hb.function
    def step(x):
        p.add_(x)
        q.assign(p)

    for _ in range(5):
        step(hb.ones(4))
    p.add_(1.0)
    assert p.tolist() == [6.0] * 4 and q.tolist() == [5.0] * 4
    step(hb.ones(4))
    assert p.tolist() == q.tolist() == [7.0] * 4
    assert np.shares_memory(p.numpy(), q.numpy()) is False
