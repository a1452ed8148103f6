"""Deferred calls among interrupts and threads: what they leave is what the plain function leaves."""

from __future__ import annotations

import pytest
from stress_harness import run, times

PROGRAM = """
import os
from hybrid.ir.door.bind import LOCAL, STATE
from hybrid.ir.door.pending import COLLECTING, Pending
COUNT, SEED = int(sys.argv[1]), int(sys.argv[2])
p, q = hb.zeros(7), hb.zeros(7)
view = q[:2]

def plain(x):
    os.times()
    y = hb.sin(x) * 0.0 + 1.0
    p.assign(p + y)
    z = p * 2.0
    if float(z[0]) < 0:
        return z
    q.assign(z)
    return (q - z).sum() + y

f = hb.function(plain)
x = hb.ones(7)
import warnings
warnings.simplefilter('ignore')
for _ in range(5):
    f(x)
assert f.cache_info().deferred == 3, f.explain()

def settled():
    assert STATE.special == 0 and LOCAL.mode is None and not COLLECTING
    a, b = p.numpy(), q.numpy()
    assert type(p._v) is type(q._v) is type(view._v) is np.ndarray
    assert (a == a[0]).all() and (b == b[0]).all() and view.numpy().tolist() == b[:2].tolist()
    return a[0], b[0]
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_interrupts_at_random_moments(seed: int) -> None:
    out = run(
        PROGRAM
        + """
rng = np.random.default_rng(SEED)
class Stop(Exception): pass
def handler(*_):
    raise Stop
signal.signal(signal.SIGALRM, handler)
hits, (a, b) = 0, settled()
before = a, b
for _ in range(COUNT):
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(5e-6, 4e-4))
        while True:
            before = a, b
            f(x)
            a, b = a + 1, 2 * (a + 1)
    except Stop:
        hits += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    a, b = settled()
    assert a in (before[0], before[0] + 1, before[0] + 2), (before, a)
    assert b in (2 * a, 2 * (a - 1)), (a, b)
    with hb.no_grad():
        q.assign(p * 2.0)
    b = 2 * a
assert hits == COUNT
for _ in range(3):
    f(x)
assert settled() == (a + 3, 2 * (a + 3))
print('done')
""",
        times(300, 5000),
        seed,
        HYBRID_DEFERRED="always",
    )
    assert out == ["done"]


def test_handlers_that_compute_in_the_middle() -> None:
    out = run(
        PROGRAM
        + """
r = hb.zeros(3)
def handler(*_):
    if inside:  # a slow machine: the next one has come
        return
    inside.append(1)
    r.assign(r + 1.0)
    assert (r - r).numpy().tolist() == [0.0] * 3
    seen.append((p * 1.0, float((q[:3] + r)[0])))
    inside.clear()
seen, inside = [], []
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 3e-3, 3e-3)
(a, b), calls = settled(), 0
while len(seen) < COUNT:
    f(x)
    calls += 1
signal.setitimer(signal.ITIMER_REAL, 0)
assert settled() == (a + calls, 2 * (a + calls)), (settled(), a, calls)
assert r.numpy().tolist() == [float(len(seen))] * 3, (r, len(seen))
assert all((t.numpy() == t.numpy()[0]).all() for t, _ in seen)
print('done')
""",
        times(40, 2000),
        0,
        HYBRID_DEFERRED="always",
    )
    assert out == ["done"]


def test_readers_and_writers_in_other_threads() -> None:
    out = run(
        PROGRAM
        + """
bad, stop = [], threading.Event()
def reader():
    while not stop.is_set():
        a = p.numpy()
        d = (p.detach() * 1.0 + q - q).numpy()
        c = copy.deepcopy(q).numpy()
        if not (a == a[0]).all() or not (d == d[0]).all() or not (c == c[0]).all():
            bad.append((a, d, c))
def other():
    t = hb.zeros(5)
    g = hb.function(lambda t: (os.times(), t * 2.0 + 1.0)[1])
    while not stop.is_set():
        y = g(t)
        if y.numpy().tolist() != [1.0] * 5:
            bad.append(y)
threads = [threading.Thread(target=w) for w in (reader, reader, other)]
for t in threads:
    t.start()
a, b = p.numpy()[0], 0
for _ in range(COUNT):
    f(x)
stop.set()
for t in threads:
    t.join()
assert not bad, bad[:2]
assert settled() == (a + COUNT, 2 * (a + COUNT))
print('done')
""",
        times(500, 5000),
        0,
        HYBRID_DEFERRED="always",
    )
    assert out == ["done"]


STEPS = """
from hybrid.ir.door.bind import LOCAL, STATE
from hybrid.ir.door.pending import COLLECTING
import hybrid.optim as optim
import warnings
warnings.simplefilter('ignore')
COUNT, SEED = int(sys.argv[1]), int(sys.argv[2])
w, v = (hb.zeros(5, requires_grad=True) for _ in range(2))
opt = optim.SGD([w, v], lr=0.5, momentum=0.0)
view = w.detach()

@hb.function
def step(x):
    os.times()
    opt.zero_grad()
    loss = -(x * (w + v)).sum()
    loss.backward()
    opt.step()
    return loss.item()

x = hb.ones(5) * 2.0
for _ in range(8):
    step(x)
assert step.cache_info().deferred == 6 and step._segments.bundles.replayed >= 6

def settled():
    left = STATE.special, LOCAL.mode, COLLECTING, LOCAL.grad, sys.getprofile()
    assert left == (0, None, set(), True, None), left
    for t in (w, v, view, w.grad, v.grad):
        if t is not None:
            a = t.numpy()
            assert type(t._v) is np.ndarray and (a == a[0]).all(), a
    for t in (w, v):
        assert t.grad is None or t.grad.numpy()[0] == -2.0
    assert view.numpy().tolist() == w.numpy().tolist()
    return w.numpy()[0], v.numpy()[0]
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_interrupts_of_steps_that_are_bundles(seed: int) -> None:
    out = run(
        STEPS
        + """
rng = np.random.default_rng(SEED)
class Stop(Exception): pass
def handler(*_):
    raise Stop
signal.signal(signal.SIGALRM, handler)
hits, at = 0, settled()
for _ in range(COUNT):
    done = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(5e-6, 6e-4))
        while True:
            step(x)
            done += 1
    except Stop:
        hits += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    now = settled()
    for old, new in zip(at, now):
        assert new - old in (done, done + 1, done + 2), (old, new, done)
    if now[0] != now[1]:
        v.assign(w.detach())
    at = settled()
assert hits == COUNT
for _ in range(3):
    step(x)
assert settled() == (at[0] + 3, at[0] + 3)
print('done')
""",
        times(300, 5000),
        seed,
        HYBRID_DEFERRED="always",
    )
    assert out == ["done"]
