"""Handlers, finalisers and many threads that call recorded functions at awkward moments: each
returns, and what can be replayed is replayed in the end."""

from __future__ import annotations

from stress_harness import run, times

CROWD = """
import warnings
warnings.simplefilter('error')
hb.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
opt = optim.Adam(net.parameters(), lr=1e-3)
x = hb.ones((8, 16))
"""


def test_eight_threads_that_start_on_one_long_training_step() -> None:
    run(
        CROWD
        + """
def long(x):
    opt.zero_grad()
    loss = x.sum() * 0
    for _ in range(40):
        loss = loss + (net(x) ** 2).mean()
    loss.backward()
    opt.step()
    return loss.detach()

step, errors = hb.function(long), []
ready = threading.Barrier(8)

def work():
    try:
        ready.wait()
        for _ in range(12):
            assert np.isfinite(float(step(x)))
    except BaseException as e:
        errors.append(repr(e))

crowd = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in crowd]
[t.join() for t in crowd]
assert not errors, errors
before = step.cache_info()
for _ in range(3):
    step(x)
after = step.cache_info()
assert after.replays - before.replays == 3 and before.replays > 8, step.explain()
"""
    )


def test_threads_that_wait_for_each_other_inside_a_recorded_function() -> None:
    run(
        """
import queue, warnings
warnings.simplefilter('ignore')
barrier, box = threading.Barrier(2), queue.Queue()

@hb.function
def meet(x):
    barrier.wait()
    return x * 2

@hb.function
def hand_over(x):
    box.put(1)
    while box.qsize() < 2 and not over:
        time.sleep(1e-3)
    return x + 1

over, out = [], []
for f in (meet, hand_over):
    start = time.monotonic()
    def work():
        for _ in range(4):
            out.append(f(hb.ones(3)).tolist())
    crowd = [threading.Thread(target=work) for _ in range(2)]
    [t.start() for t in crowd]
    crowd[0].join(0.5)
    over.append(f is hand_over)
    [t.join() for t in crowd]
assert len(out) == 16, out
"""
    )


HANDLER = """
COUNT, SLOW = int(sys.argv[1]), 30_000
p = hb.zeros(SLOW)

def plain(x):
    y = x
    for _ in range(30):
        y = (y * 2 + x).tanh()
    p.add_(x)
    return y.sum()

same = hb.function(plain)

@hb.function
def other(x):
    return (x * 3 + p * 0).sum()

x, calls, errors = hb.ones(SLOW), [], []

def handler(*_):
    if len(calls) >= COUNT or active:
        return
    active.append(1)
    try:
        assert float(other(x)) == 3 * SLOW
        same(x)
        calls.append(1)
    except BaseException as e:
        errors.append(repr(e))
    finally:
        active.clear()

active = []
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 1e-3, 3e-3)
rounds = done = 0
while len(calls) < COUNT:
    if rounds % 40 == 0:  # record again
        same = hb.function(plain)
    same(x)
    rounds += 1
signal.setitimer(signal.ITIMER_REAL, 0)
assert not errors, errors
a = p.numpy()  # an eager call that a handler interrupts may overwrite what that has added
assert (a == a[0]).all() and rounds <= a[0] <= rounds + len(calls), (a[0], rounds, len(calls))
same = hb.function(plain)
before = same.cache_info().replays
for _ in range(6):
    same(x)
assert same.cache_info().replays - before >= 4, same.explain()
"""


def test_a_signal_handler_calls_recorded_functions() -> None:
    run(HANDLER, times(60, 1000))


TIMEOUTS = """
COUNT = int(sys.argv[1])

class Timeout(Exception):
    pass

def alarm(*_):
    raise Timeout

signal.signal(signal.SIGALRM, alarm)
x = hb.ones(20_000)
reached = 0
for i in range(COUNT):
    p, q = hb.zeros(20_000), hb.zeros(20_000)
    handles = i % 2

    def plain(x):
        try:
            p.add_(x)
            q.assign(p * 2)
            return (p * 2 - q).sum()
        except ZeroDivisionError:
            return None

    step = hb.function(plain)
    calls = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 5e-3 + 4e-4 * i)
        while True:
            before, replays = p.numpy()[0], step.cache_info().replays
            step(x)
    except Timeout:
        reached += 1
    a, b = p.numpy(), q.numpy()
    assert (a == a[0]).all() and a[0] in (before, before + 1) and b[0] in (2 * a[0], 2 * before)
    if replays:
        assert b[0] == 2 * a[0]
    for k in range(5):
        step(x)
    assert (p.numpy() == a[0] + 5).all() and (q.numpy() == 2 * a[0] + 10).all()
    assert step.cache_info().replays > replays, step.explain()
assert reached == COUNT
"""


def test_timeouts_that_raise() -> None:
    run(TIMEOUTS, times(20, 300))


SENT = """
COUNT = int(sys.argv[1])
send = ctypes.pythonapi.PyThreadState_SetAsyncExc

class Sent(Exception):
    pass

for i in range(COUNT):
    p, q, x = hb.zeros(3000 + i), hb.zeros(3000 + i), hb.ones(3000 + i)
    at = []

    @hb.function
    def step(x):
        p.add_(x)
        for _ in range(20):
            y = (p * 2 - x).tanh()
        q.assign(p * 2)

    def work():
        try:
            while True:
                step(x)
        except Sent:
            at.append(1)

    t = threading.Thread(target=work)
    t.start()
    time.sleep(1e-3 * (i % 15) + 1e-3)
    for _ in range(60):  # again where it fell into a finaliser, which swallows it
        send(ctypes.c_ulong(t.ident), ctypes.py_object(Sent))
        t.join(0.5)
        if not t.is_alive():
            break
    assert not t.is_alive()
    assert gc.isenabled() and sys.getprofile() is None
    a = p.numpy()[0]
    for _ in range(5):
        step(x)
    assert (p.numpy() == a + 5).all() and (q.numpy() == 2 * a + 10).all()
    assert step.cache_info().replays >= 1, step.explain()
"""


def test_exceptions_sent_to_a_thread() -> None:
    run(SENT, times(12, 200))


def test_finalisers_call_recorded_functions() -> None:
    run(
        """
p, x, seen, errors = hb.zeros(5), hb.ones(5), [], []

@hb.function
def inner(x):
    return (x * 2).sum()

@hb.function
def outer(x):
    a = Loud()
    p.add_(x)
    b = Loud()
    b.me = b  # a cycle, which the collector finds some time
    return (x + p).sum()

class Loud:
    def __del__(self):
        try:
            seen.append((float(inner(x)), p.tolist()[0]))
            outer_depth.append(1)
            if len(outer_depth) < 50:
                weakref.finalize(self, lambda: None)
        except BaseException as e:
            errors.append(repr(e))

outer_depth = []
import warnings
warnings.simplefilter('ignore')
for i in range(12):
    outer(x)
    gc.collect()
assert not errors, errors
assert p.tolist() == [12.0] * 5 and {v for v, _ in seen} == {10.0} and len(seen) == 24, seen
for _ in range(4):
    inner(x)
assert inner.cache_info().replays >= 1, inner.explain()
"""
    )


HANDLERS_INSIDE = """
import warnings
warnings.simplefilter('ignore')
first = lambda *_: calls.append('first')
second = lambda *_: calls.append('second')
calls = []
signal.signal(signal.SIGUSR1, first)

@hb.function
def changes(x, flip):
    assert signal.getsignal(signal.SIGUSR1) is (second if flip else first)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    old = signal.signal(signal.SIGUSR1, first if flip else second)
    signal.raise_signal(signal.SIGUSR1)
    assert old is (second if flip else first)
    return x + 1

for k in range(6):
    assert changes(hb.ones(2), bool(k % 2)).tolist() == [2, 2]
    assert signal.getsignal(signal.SIGUSR1) is (first if k % 2 else second)
assert calls == ['second', 'first'] * 3, calls

@hb.function
def caught(x):  # the user's own handling of the interrupt
    y = x * 2
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10**6):
            pass
        calls.append('late')
    except KeyboardInterrupt:
        y = y + 1
    return y.sum()

calls.clear()
for _ in range(4):
    assert float(caught(hb.ones(2))) == 6 and not calls
"""


def test_handlers_seen_and_changed_inside_a_recorded_function() -> None:
    run(HANDLERS_INSIDE)


def test_a_timer_that_interrupts_every_recording() -> None:
    run(
        """
import warnings
ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
x, p = hb.ones(30_000), hb.zeros(30_000)

@hb.function
def step(x):
    p.add_(x)
    seen = len(ticks)
    for _ in range(20):
        y = (x * 2).tanh()
    while armed and len(ticks) == seen:
        pass
    return y.sum()

from hybrid.trace.fallback import budget
budget.START = 100  # whatever they cost

armed = True
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter('always')
    signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
    for k in range(60):
        step(x)
    signal.setitimer(signal.ITIMER_REAL, 0)
assert (p.numpy() == 60).all()
assert len(said) == 1 and 'signal handlers' in str(said[0].message), (step.explain(), said)
"""
    )


def test_reading_at_exit_what_a_daemon_thread_was_writing() -> None:
    run(
        """
p, x = hb.zeros(2_000_000), hb.ones(2_000_000)

@hb.function
def step(x):
    p.add_(x)

for _ in range(3):
    step(x)

class Late:
    def __del__(self, p=p):
        try:
            p.numpy()
        except Exception:
            pass

def forever():
    while True:
        step(x)

late = Late()
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
""",
        timeout=60,
    )
