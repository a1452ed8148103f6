"""The first promise: eager and traced give the same bits, forward and gradient, with one thread and
with two.

HYBRID_PROGRAMS sets how many programs are tried (2,000 for a full run: about ten minutes).
"""

import os
import random
import warnings

import numpy as np
import pytest
from backend_kinds import EVERY, KINDS, tensor
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from programs import make_program

import hybrid
from hybrid.backends.cpu.machine.pool import num_threads
from hybrid.comparison import same_bits
from hybrid.core import dtypes as dt
from hybrid.core.aval import HOST

COUNT = int(os.environ.get("HYBRID_PROGRAMS", "60"))


def arrays(out):
    return [np.array(t.numpy()) for t in out if t is not None]


def with_gradient(fn, diff):
    def both(*xs):
        outs = fn(*xs)
        floats = [o for o in outs if dt.is_float(o.dtype) and o.requires_grad]
        if not floats:
            return outs
        grads = hybrid.gradients(
            floats, [xs[i] for i in diff], [hybrid.ones_like(o) for o in floats], allow_unused=True
        )
        return *outs, *[g for g in grads if g is not None]

    return both


def check(p, gradient, kind=HOST.kind):
    diff = (
        [i for i, a in enumerate(p.inputs) if dt.is_float(dt.canonical(a.dtype))]
        if gradient
        else []
    )
    xs = [tensor(a, kind, requires_grad=i in diff) for i, a in enumerate(p.inputs)]
    fn = with_gradient(p.function(), diff) if diff else p.function()
    fast = hybrid.function(fn)
    try:
        want = arrays(fn(*xs))
    except hybrid.linalg.LinAlgError:  # of a singular matrix
        for _ in range(4):
            with pytest.raises(hybrid.linalg.LinAlgError):
                fast(*xs)
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hybrid.RunsEagerly)
        for _ in range(3):
            fast(*xs)
        runs = {}
        for n in (1, 2):
            with num_threads(n):
                runs[n] = arrays(fast(*xs))
    for n, got in runs.items():
        assert len(got) == len(want)
        for k, (a, b) in enumerate(zip(want, got)):
            assert same_bits(a, b), (
                f"output {k} differs with {n} threads\n{p.source}\n{p.inputs}\n{a}\n{b}"
            )
    return fast.cache_info().replays


@settings(
    max_examples=COUNT,
    deadline=None,
    derandomize=COUNT < 1000,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_generated_programs(data):
    p = make_program(lambda n: data.draw(st.integers(0, n - 1)))
    assume(p is not None)  # an op refused the draws: not a program
    check(p, False)
    check(p, True)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("seed", range(COUNT if EVERY else 12))
def test_generated_programs_on_other_devices(seed, kind):
    p = make_program(random.Random(seed).randrange)
    if p is not None:
        check(p, False, kind)
        check(p, True, kind)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_operands_do_not_depend_on_threads(threads):
    x = hybrid.tensor(np.random.default_rng(0).standard_normal((300, 1111), np.float32))

    def fn(x):
        return hybrid.softmax(x * 2, -1).sum(axis=0), (x @ x.T).mean(), hybrid.gelu(x), x.sum()

    with num_threads(1):
        want = arrays(fn(x))
    fast = hybrid.function(fn)
    with num_threads(threads):
        for _ in range(4):
            got = arrays(fast(x))
    assert fast.cache_info().replays
    assert all(same_bits(a, b) for a, b in zip(want, got))
