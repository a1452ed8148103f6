"""The replay entry: references, threads, finalizers, refused specifications, leaving the process."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from entry_harness import A, T, native_replay, ones, spec_of, step_spec, tensor, words
from native_kernels import code

from hybrid.backends.cpu.python import abi, runtime
from hybrid.backends.cpu.python.entry import build_entry
from hybrid.backends.cpu.python.replay import PythonEntry
from hybrid.backends.plan import Slot
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval

pytestmark = pytest.mark.skipif(not abi.available(), reason=abi.why_not())


def test_two_places_with_one_handle():
    p, x = ones(4, 5), ones(4, 5)
    place = [p, ones(4, 5)]
    address = abi.list_item_address(place, 0)
    slots = (
        Slot("input", A, 0),
        Slot("input", A, 1),
        Slot("input", A, 2),
        Slot("state", A, 1, True),
        Slot("state", A, 2, True),
    )
    for states in (((1, 3), (2, 4)), ((1, 3),), ((2, 4),)):
        used = tuple(s for i, s in enumerate(slots) if s.kind == "input" or (s.index, i) in states)
        moved = tuple((k, used.index(slots[i])) for k, i in states)
        s = spec_of(
            [],
            slots=used,
            form="none",
            places=((address, A), (address + 8, A)),
            states=moved,
            keep=place,
        )
        for f in (build_entry(s), PythonEntry(s)):
            place[1] = p
            value = p._v
            assert f(x) is NotImplemented and p._v is value
            place[1] = ones(4, 5)
            assert f(x) is None
    s = spec_of(
        [], slots=slots[:3], form="none", places=((address, A), (address + 8, A)), keep=place
    )
    place[1] = p
    for f in (build_entry(s), PythonEntry(s)):  # the recorded Python may have told the two apart
        assert f(x) is NotImplemented and p._a is A and x._a is A


def test_a_state_replaced_in_its_place_while_running_stays_alive():
    place = [ones(4, 5)]
    s = spec_of(
        [("slow", (3,), 400, 10_000)],
        slots=(
            Slot("input", A, 0),
            Slot("input", A, 1),
            Slot("state", A, 1, True),
            Slot("arena", aval((400,), dt.int64), 0),
        ),
        arena_bytes=3200,
        form="none",
        places=((abi.list_item_address(place, 0), A),),
        states=((1, 2),),
        release_gil=True,
        keep=place,
    )
    f, x = build_entry(s), ones(4, 5)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            place[0] = ones(4, 5)

    t = threading.Thread(target=swap)
    t.start()
    for _ in range(50):
        assert f(x) in (None, NotImplemented)
    stop.set()
    t.join()


def _checked_step(states, const):
    """A step that checks its input, replaces every state and returns each kind of result."""
    n = len(states)
    slots = (
        Slot("input", A, 0),
        *(Slot("input", A, 1 + k) for k in range(n)),
        *(Slot("state", A, 1 + k, k % 2 == 0) for k in range(n)),
        Slot("output", A),
        Slot("const", A, 0),
    )
    out = 2 * n + 1
    s = spec_of(
        [
            ("check", (0,)),
            ("add", (0, 1, out)),
            *(("add", (1 + k, 0, 1 + n + k)) for k in range(n)),
        ],
        slots=slots,
        outputs=(out, 0, out + 1, 1 + n, 2 + n, ~0, ~2),
        captures=tuple((s, A) for s in states),
        consts=(const,),
        states=tuple((1 + k, 1 + n + k) for k in range(n)),
        form="tuple",
    )
    return build_entry(s)


def test_references_are_exact():
    states = [ones(4, 5) for _ in range(4)]
    x, bad = ones(4, 5, value=0.0), ones(4, 5)
    const = np.zeros((4, 5), np.float32)
    f = _checked_step(states, const)
    strided = tensor(np.zeros((5, 4), np.float32).T)
    watched = [x, bad, const, A, T, None, NotImplemented, strided, strided._v, bad._v, x._v, f]
    watched += [np.dtype(np.float32), *states]
    f(x), f(bad), f(), f(strided)
    gc.collect()
    before = [sys.getrefcount(w) for w in watched]
    tracemalloc.start()
    f(x), f(bad), f(), f(strided)
    start = tracemalloc.get_traced_memory()[0]
    for _ in range(25_000):
        f(x)
        f(bad)
        f(1)
        f(strided)
    grown = tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert [sys.getrefcount(w) for w in watched] == before
    assert grown < 10_000


def test_dropping_the_callable_frees_everything():
    p = ones(4, 5)
    s = step_spec([p])
    f = build_entry(s)
    f(ones(4, 5))
    dead = weakref.ref(p)
    kept = weakref.ref(s.keep[0][0])
    p._x = f  # a cycle through the entry
    del p, s, f
    gc.collect()
    assert dead() is None and kept() is None


def test_dropping_the_callable_frees_its_arenas():
    def mapped():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[0]) * 4096

    x, size = ones(4, 5), 1 << 28
    slots = (Slot("input", A, 0), Slot("output", A))
    start = mapped()
    for _ in range(16):
        f = build_entry(spec_of([("add", (0, 0, 1))], slots=slots, outputs=(1,), arena_bytes=size))
        assert type(f(x)) is T
        del f
    assert mapped() - start < 4 * size


def test_two_threads_in_one_entry():
    a = aval((64, 64), dt.float32)
    arena = (Slot("input", a, 0), Slot("arena", a, 0), Slot("output", a))
    s = spec_of(
        [("add", (0, 0, 1)), ("add", (1, 0, 2))] + [("add", (1, 0, 2))] * 5,
        a,
        slots=arena,
        outputs=(2,),
        arena_bytes=a.nbytes,
        release_gil=True,
    )
    f, errors = build_entry(s), []

    def work(value):
        x = ones(64, 64, value=value)
        for _ in range(500):
            if not (f(x)._v == 3 * value).all():
                errors.append(value)

    crowd = [threading.Thread(target=work, args=(float(v),)) for v in range(6)]
    [t.start() for t in crowd]
    [t.join() for t in crowd]
    assert not errors


def test_readers_of_a_busy_state_wait_and_see_nothing_half_written():
    n = 200_000
    a = aval((n,), dt.int64)
    p = tensor(np.zeros(n, np.int64))
    slots = (Slot("input", a, 0), Slot("state", a, 0, True))
    s = spec_of(
        [("count", (0,), n, n)],
        a,
        args=(),
        slots=slots,
        form="none",
        captures=((p, a),),
        states=((0, 1),),
        release_gil=True,
    )
    f, stop, mixed, done = build_entry(s), threading.Event(), [], []

    def look():
        while not stop.is_set():
            v = p._v
            if v[0] != v[-1] or v[0] != v[n // 2]:
                mixed.append((v[0], v[-1]))
            del v

    def step():
        while len(done) < 60:
            if f() is None:
                done.append(1)

    crowd = [threading.Thread(target=t) for t in (look, step, step)]
    [t.start() for t in crowd]
    [t.join() for t in crowd[1:]]
    stop.set()
    crowd[0].join()
    assert not mixed and p._v.min() == p._v.max() == len(done)


def test_finalizers_may_call_back():
    p, x = ones(4, 5), ones(4, 5)
    f = build_entry(step_spec([p]))
    calls = []

    class Loud(np.ndarray):
        def __del__(self):
            calls.append(type(f(x)))

    for _ in range(20):
        base = np.zeros((4, 5), np.float32).view(Loud)
        p._v = np.asarray(base).view(np.ndarray)
        del base
        assert type(f(x)) is T
    assert set(calls) <= {T} and len(calls) >= 20


@pytest.mark.parametrize(
    "change, text",
    [
        (dict(form="what"), "form"),
        (dict(outputs=()), "exactly one output"),
        (dict(outputs=(2,)), "arena slot"),
        (dict(states=((1, 1), (1, 3))), "two new values"),
        (dict(types=(int,)), "classes of tensors"),
        (dict(arena_bytes=10), "outside the arena"),
        (dict(states=()), "not the new value"),
        (dict(outputs=(1,)), "old value"),
        (dict(consts=(np.zeros((3, 4)).T,)), "contiguous"),
    ],
)
def test_invalid_specs_are_refused(change, text):
    good = dict(
        types=(T,),
        args=(A,),
        steps=(),
        outputs=(0,),
        captures=((ones(4, 5), A),),
        slots=(
            Slot("input", A, 0),
            Slot("input", A, 1),
            Slot("arena", A, 0),
            Slot("state", A, 1, True),
        ),
        states=((1, 3),),
        arena_bytes=128,
    )
    assert callable(build_entry(native_replay(**good)))
    with pytest.raises(ValueError, match=text):
        build_entry(native_replay(**{**good, **change}))


def test_without_the_probe_python_serves(monkeypatch):
    monkeypatch.setattr(runtime, "native", lambda: None)
    f = build_entry(step_spec([ones(4, 5)]))
    assert type(f) is PythonEntry and type(f(ones(4, 5))) is T
    x = np.zeros(10, np.int64)
    assert runtime.launch(code("count"), words(0), 10, 4, 0, [x]) == 0
    g = runtime.kernel_caller(code("count"), words(0), 10, 4, 0, 1)
    assert g(x) == 0 and (x == 2).all()
    with pytest.raises(TypeError):
        g(x, x)


def test_exit_while_a_daemon_thread_is_inside():
    text = f"""
        import sys, threading, time
        sys.path[:0] = {sys.path!r}
        import entry_harness as t
        a = t.aval((4000,), t.dt.int64)
        slots = (t.Slot("input", t.A, 0), t.Slot("arena", a, 0))
        f = t.build_entry(t.spec_of([("slow", (1,), 4000, 10)], slots=slots, arena_bytes=32_000, form="none", release_gil=True))
        x, inside = t.ones(4, 5), threading.Event()
        def forever():
            while True:
                inside.set()
                f(x)
        threading.Thread(target=forever, daemon=True).start()
        inside.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
