"""Forks while other threads replay or record: every child computes, records and replays."""

from __future__ import annotations

import pytest
from stress_harness import run, times

PROGRAM = """
import multiprocessing, subprocess
from hybrid.core import signals
from hybrid.ir.door import busy
from hybrid.ir.door.bind import LOCAL, STATE
from hybrid.trace.watch.turns import RUNS, TURN
COUNT, WIDE = int(sys.argv[1]), 120_000
p, q = hb.zeros(WIDE), hb.zeros(WIDE)

def plain(x):
    p.add_(x)
    q.add_(x * 2)
    return (p * 2 - q).sum()

train = hb.function(plain)
x = hb.ones(WIDE)

def works():
    'What a child does: the first step, a recording, a replay.'
    assert STATE.special == 0 and LOCAL.mode is None and gc.isenabled() and not busy.GATE[0]
    assert TURN.owner == 0 and not signals._SAVED and sys.getprofile() is None
    a, b = p.numpy(), q.numpy()
    assert (a == a[0]).all() and (b == b[0]).all() and b[0] in (2 * a[0], 2 * a[0] - 2)
    for k in range(5):
        train(x)
        assert (p.numpy() == a[0] + k + 1).all()
    n = 7 + os.getpid() % 50
    w = hb.ones(n)
    fresh = hb.function(lambda x: (x * w + 1).sum())
    for _ in range(4):
        assert float(fresh(hb.ones(n))) == 2 * n
    assert fresh.cache_info().replays == 2, fresh.explain()
    assert train.cache_info().replays >= 3 or train.cache_info().eager == 0, train.explain()

def child(task=works):
    pid = os.fork()
    if pid == 0:
        faulthandler.register(signal.SIGALRM, chain=True)  # where it hangs, and its end
        signal.alarm(30)
        code = 1
        try:
            task()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid

def join(pid):
    assert os.waitpid(pid, 0)[1] == 0

stop, errors = threading.Event(), []

def beside(work):
    def loop():
        try:
            while not stop.is_set():
                work()
        except BaseException as e:
            errors.append(repr(e))
    t = threading.Thread(target=loop)
    t.start()
    return t

def forks(work):
    t = beside(work)
    time.sleep(0.01)
    for i in range(COUNT):
        join(child())
        time.sleep(1e-3 * (i % 5))
    stop.set()
    t.join()
    assert not errors, errors
"""

BESIDE = {
    "replay": "for _ in range(4): train(x)\nforks(lambda: train(x))",
    "record": """
def record():
    n = 5 + int(time.monotonic() * 1e3) % 997
    f = hb.function(lambda x: (x * p[:n]).sum() + x.sum())
    for _ in range(3):
        f(hb.ones(n))
forks(record)
""",
    "record the same": """
def again():
    train._signatures.clear()
    train._direct = None
    for _ in range(4):
        train(x)
forks(again)
""",
    "eager": "forks(lambda: plain(x))",
}


@pytest.mark.parametrize("what", BESIDE)
def test_forks_beside(what: str) -> None:
    run(PROGRAM + BESIDE[what], times(6, 100))


def test_forks_of_other_kinds() -> None:
    run(
        PROGRAM
        + """
for _ in range(4):
    train(x)
t = beside(lambda: train(x))
context = multiprocessing.get_context('fork')
for _ in range(COUNT):
    child_ = context.Process(target=works)
    child_.start()
    child_.join()
    assert child_.exitcode == 0
    assert subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True).stdout == b'5\\n'
    subprocess.run(['true'], preexec_fn=lambda: None, check=True)
with context.Pool(2) as pool:
    assert pool.map(abs, [-1, 2, -3]) == [1, 2, 3]
    assert [r.get() for r in [pool.apply_async(works) for _ in range(4)]] == [None] * 4
stop.set()
t.join()
assert not errors, errors
""",
        times(2, 20),
    )


FORKING = """
import warnings
from hybrid.trace.split.splitting import PIECES
PIECES[0] = 'never'
def forking(x):
    y = x * 2
    join(child())
    return y + 1
f = hb.function(forking)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter('always')
    for _ in range(4):
        assert float(f(x)[0]) == 3.0
said = [w for w in said if issubclass(w.category, hb.RunsEagerly)]  # not Python's own on forks
assert f.cache_info().replays == 0 and len(said) == 1 and 'fork' in str(said[0].message), f.explain()

def continuing(x):
    pid = os.fork()
    y = (x + p).sum() * 0 + 5
    return pid, y
g = hb.function(continuing)
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    for _ in range(3):
        pid, y = g(x)
        if pid == 0:
            ok = float(y) == 5.0
            try:
                works()
            except BaseException as e:
                print(repr(e), flush=True)
                ok = False
            os._exit(0 if ok else 1)
        join(pid)
        assert float(y) == 5.0
works()
print('done')
"""


def test_a_fork_inside_a_recorded_function() -> None:
    out = run(PROGRAM + FORKING, 1)
    assert out == ["done"]


def test_a_fork_from_another_thread_while_the_main_thread_records() -> None:
    run(
        PROGRAM
        + """
for _ in range(4):
    train(x)
done = []
def forking():
    for _ in range(COUNT):
        join(child())
        done.append(1)
t = threading.Thread(target=forking)
t.start()
k = 0
while len(done) < COUNT:
    k += 1
    w = hb.ones(5 + k % 300)
    f = hb.function(lambda x: (x * w).sum())
    for _ in range(3):
        f(w)
t.join()
works()
""",
        times(5, 100),
    )


def test_the_first_recording_of_a_child_needs_no_lock_of_sysconfig() -> None:
    """CPython 3.12 has one, which a child cannot release when another thread held it at the fork."""
    run(
        """
import sysconfig
lock = getattr(sysconfig, "_CONFIG_VARS_LOCK", threading.RLock())
held, forked = threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        forked.wait()

holder = threading.Thread(target=hold)
holder.start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    double = hb.function(lambda x: (x * 2).sum())
    for _ in range(4):
        assert double(hb.ones(3)).item() == 6
    os._exit(0 if double.cache_info().replays == 2 else 1)
status = os.waitpid(pid, 0)[1]
forked.set()
holder.join()
assert status == 0, status
"""
    )


WRITES = """
rng = np.random.default_rng(0)
sizes = (10, 1000, 1 << 18, 1 << 20)
values = [hb.tensor(rng.random(n).astype(np.float32)) * 2 for n in sizes]
views = [x[1:5] for x in values]
before = [x.numpy().copy() for x in values]
gone = [hb.ones(n) + 1 for n in sizes]  # their memory waits for the next results
del gone
rise = hb.function(lambda x: x.add_(1.0).sum())
for _ in range(4):
    for x in values:
        rise(x)
for x, old in zip(values, before):
    x[...] = old

def writes():
    for _ in range(4):
        for x, view in zip(values, views):
            x[0] = -1.0
            view[...] = 5.0
            rise(x)
    made = [x * 3 for x in values]
    assert all((x.numpy() > 0).sum() for x in made)

for _ in range(COUNT):
    pid = child(writes)
    made = [x + 1 for x in values]
    join(pid)
    for x, fresh, old in zip(values, made, before):
        assert (x.numpy() == old).all() and (fresh.numpy() == old + 1).all()
"""


def test_what_a_child_writes_is_its_own() -> None:
    run(PROGRAM + WRITES, times(3, 100))
