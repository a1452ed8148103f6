"""The thread pool: every item once, any thread count, failures, forks, foreign modes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from native_kernels import code

from hybrid.backends.cpu.machine import pool as P
from hybrid.backends.cpu.python import runtime
from hybrid.backends.cpu.python.runtime import kernel_caller, launch
from hybrid.core.errors import BackendError

ONE = np.zeros(2, np.uint64)  # operand 0 = slot 0, offset 0
THREE = np.array([0, 0, 1, 0, 2, 0], np.uint64)


@pytest.fixture(autouse=True)
def _threads():
    before = P.get_num_threads()
    yield
    P.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("grain", [1, 7, 64, 1000, 10**9])
def test_every_item_once(threads, grain):
    P.set_num_threads(threads)
    for n in (0, 1, 2, 63, 1001):
        x = np.zeros(n + 1, np.int64)
        for round_ in range(1, 6):
            assert launch(code("count"), ONE, n, grain, 0, (x,)) == 0
            assert (x[:n] == round_).all() and x[n] == 0


def test_chunk_numbers_beyond_their_field():
    n = (1 << 21) + 5
    x = np.zeros(n, np.int64)
    with P.num_threads(3):
        assert launch(code("count"), ONE, n, 1, 0, (x,)) == 0
    assert (x == 1).all()


def test_smallest_failure_wins():
    x = np.zeros(10_000, np.float32)
    for threads in (1, 2, 5):
        with P.num_threads(threads):
            assert launch(code("check"), ONE, x.size, 100, 0, (x,)) == 0
            for bad in ([9_999], [0], [7_777, 1_234, 9_000], [5_000, 5_001]):
                x[bad] = np.nan
                assert launch(code("check"), ONE, x.size, 100, 0, (x,)) == min(bad) + 1
                x[bad] = 0


def test_plan_stops_at_the_failing_step():
    a, n = np.zeros(1000, np.float32), np.zeros(1000, np.int64)
    a[321] = 1
    words = np.array([0, 0], np.uint64), np.array([1, 0], np.uint64)
    count = (code("count"), words[1].ctypes.data, 1000, 10, 0, 0)
    check = (code("check"), words[0].ctypes.data, 1000, 10, 0, 0)
    for threads in (1, 2, 5):
        n[:] = 0
        with P.num_threads(threads):
            assert P.run_steps([count, count, check, count], [a.ctypes.data, n.ctypes.data]) == (
                2,
                322,
            )
        assert (n == 2).all()
        assert P.run_steps([], []) == (0, 0)


def test_steps_see_the_results_of_earlier_steps():
    n = 4096
    a, b = np.zeros(n, np.float32), np.ones(n, np.float32)
    words = np.array([0, 0, 1, 0, 0, 0], np.uint64)
    steps = [
        (code("add"), words.ctypes.data, n, 64, 0, flags)
        for flags in (0, P.SERIAL, 0, 0, P.SERIAL, 0)
    ] * 20
    for threads in (1, 2, 5):
        a[:] = 0
        with P.num_threads(threads):
            assert P.run_steps(steps, [a.ctypes.data, b.ctypes.data]) == (0, 0)
        assert (a == len(steps)).all()


def test_scratch_belongs_to_one_thread_and_grows():
    x = np.zeros(5000, np.int64)
    for scratch in (8192, 1 << 16, 1 << 23, 8192):
        with P.num_threads(4):
            x[:] = -1
            assert launch(code("scratch"), ONE, x.size, 10, scratch, (x,)) == 0
            assert (x == np.arange(x.size)).all()


def test_several_threads_take_part_and_one_when_asked():
    x = np.zeros(400, np.int64)
    seen = set()
    with P.num_threads(3):
        for _ in range(2000):
            assert launch(code("who"), ONE, x.size, 4, 64, (x,)) == 0
            seen.update(x.tolist())
            if len(seen) == 3:
                break
    assert len(seen) == 3
    with P.num_threads(1):
        for _ in range(20):
            launch(code("who"), ONE, x.size, 4, 64, (x,))
            assert len(set(x.tolist())) == 1


def test_threads_have_runs_of_chunks_of_their_own():
    """The same ones in each step, so that what a thread made is in its cache; even ones, whatever
    the grain."""
    for items, grain in ((64, 1), (64, 40), (10, 1)):
        x, changes = np.zeros(items, np.int64), []
        with P.num_threads(2):
            for _ in range(3000):
                assert launch(code("who"), ONE, items, grain, 64, (x,)) == 0
                first = np.count_nonzero(x == x[0])
                if items // 4 < first < items - items // 4:  # both took part
                    changes.append(np.count_nonzero(np.diff(x)))
                if len(changes) == 40:
                    break
        # in turns, threads would change from item to item; beside other work they may not meet, or
        # one takes what the other was kept from
        assert not changes or min(changes) <= 3, (items, grain, changes)


def test_chunks_of_late_threads_are_taken():
    """More threads than cores, most of them asleep or not running: every item once all the same."""
    x = np.zeros(97, np.int64)
    with P.num_threads(4 * P.get_num_threads() + 3):
        for round_ in range(1, 400):
            assert launch(code("count"), ONE, x.size, 1 + round_ % 9, 0, (x,)) == 0
            assert (x == round_).all()
            P.set_num_threads(1 + round_ * 7 % 11)


def test_no_memory_for_scratch_is_a_status():
    x = np.zeros(100, np.int64)
    for threads in (1, 3):
        with P.num_threads(threads):
            assert launch(code("scratch"), ONE, x.size, 10, 1 << 60, (x,)) == P.OUT_OF_MEMORY


def test_many_python_threads_at_once():
    errors, rounds = [], 200

    def work():
        x = np.zeros(777, np.int64)
        for r in range(1, rounds + 1):
            status = launch(code("count"), ONE, x.size, 16, 0, (x,))
            if status or not (x == r).all():
                errors.append((status, r))
                return

    for threads in (1, 2, 5):
        with P.num_threads(threads):
            crowd = [threading.Thread(target=work) for _ in range(8)]
            [t.start() for t in crowd]
            [t.join() for t in crowd]
    assert not errors


def test_resizing_while_others_launch():
    stop, errors = threading.Event(), []

    def work():
        x, r = np.zeros(999, np.int64), 0
        while not stop.is_set():
            r += 1
            if launch(code("count"), ONE, x.size, 8, 0, (x,)) or not (x == r).all():
                errors.append(r)
                return

    crowd = [threading.Thread(target=work) for _ in range(3)]
    [t.start() for t in crowd]
    for n in [1, 4, 2, 6, 1, 3] * 10:
        P.set_num_threads(n)
    stop.set()
    [t.join() for t in crowd]
    assert not errors


def test_sleeping_workers_wake_up_and_a_busy_neighbour_does_no_harm():
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [None for _ in iter(lambda: stop.is_set(), True)])
    busy.start()
    try:
        with P.num_threads(3):
            x = np.zeros(64, np.int64)
            for r in range(1, 30):
                if r % 10 == 0:
                    time.sleep(0.002)  # longer than workers spin
                assert launch(code("slow"), ONE, x.size, 4, 0, (x,)) == 0
                assert (x == r).all()
    finally:
        stop.set()
        busy.join()


def test_floating_point_mode_is_ours_inside_and_the_callers_after():
    control = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code("csr"))
    tiny = np.full(4096, 1e-20, np.float32)
    out = np.zeros_like(tiny)
    tiny2 = np.full_like(tiny, 1e-20)
    expected = (tiny.astype(np.float64) * tiny2).astype(np.float32)
    odd = 0x1F80 | 0x8040 | 0x2000  # flush to zero, denormals are zero, round down
    for threads in (1, 3):
        with P.num_threads(threads):
            before = control(odd)
            status = launch(code("mul"), THREE, tiny.size, 64, 0, (tiny, tiny2, out))
            after = control(before)
            assert status == 0 and after & 0xFFC0 == odd & 0xFFC0
            np.testing.assert_array_equal(out, expected)
    assert (expected > 0).all()


def test_bound_kernels():
    a, b = np.arange(100, dtype=np.float32), np.ones(100, np.float32)
    out = np.zeros_like(a)
    f = kernel_caller(code("add"), THREE.copy(), a.size, 1000, 0, 3)
    assert f(a, b, out) == 0 and (out == a + b).all()
    out[:] = 0
    assert f(a.ctypes.data, b.ctypes.data, out.ctypes.data) == 0 and (out == a + b).all()
    before = sys.getrefcount(a), sys.getrefcount(out)
    for _ in range(1000):
        f(a, b, out)
    assert (sys.getrefcount(a), sys.getrefcount(out)) == before
    for wrong in ((a, b), (a, b, out, out), (a, b, 1.5), (a, b, None)):
        with pytest.raises(TypeError):
            f(*wrong)
    with pytest.raises(OverflowError):
        f(a, b, 1 << 80)


def test_launch_takes_what_it_says():
    x = np.zeros(10, np.int64)
    words = (ctypes.c_uint64 * 2)(0, 0)
    for w in (words, ctypes.addressof(words), ONE):
        for pointers in ((x,), [x], (x.ctypes.data,), [x.ctypes.data]):
            assert launch(code("count"), w, 10, 4, 0, pointers) == 0
    assert (x == 12).all()
    with pytest.raises(TypeError):
        launch(code("count"), ONE, 10, 4, 0, ("x",))
    with pytest.raises(TypeError):
        launch(code("count"), ONE, 10.0, 4, 0, (x,))


@pytest.mark.parametrize("granted, running", [(2.0, 2), (1.5, 2), (0.5, 1), (7.0, 7)])
def test_no_more_threads_run_than_cores_are_granted(monkeypatch, granted, running):
    """The others would wait for one another; spins are short where threads share cores."""
    monkeypatch.setattr(P.m, "granted_cores", lambda: granted)
    pool, x = P.Pool(), np.zeros(1000, np.int64)
    monkeypatch.setattr(P, "_POOL", pool)
    monkeypatch.setattr(runtime, "native", lambda: None)  # its entries know the other pool
    for threads in (7, 1, 7):
        P.set_num_threads(threads)
        assert P.get_num_threads() == threads
        assert pool.running() == min(threads, running)
        assert (pool.word("spin_ns") < 10_000) is (min(threads, running) > granted)
        assert launch(code("count"), ONE, x.size, 1, 0, (x,)) == 0
    assert (x == 3).all() and pool.word("started") == running - 1
    monkeypatch.setattr(P.m, "granted_cores", lambda: 7.0)  # by another mask
    P.set_num_threads(8)
    assert pool.running() == 7


def test_threads_without_work_take_no_time():
    """After a step, workers look for more for a moment only."""
    x = np.zeros(4096, np.int64)
    with P.num_threads(4):
        least = 1.0
        for _ in range(5):  # other threads of this process may be busy for a while
            assert launch(code("slow"), ONE, x.size, 4, 0, (x,)) == 0
            time.sleep(0.005)
            before = time.process_time()
            time.sleep(0.05)
            least = min(least, time.process_time() - before)
            if least < 0.005:
                break
    assert least < 0.01


def test_number_of_threads_is_checked():
    for bad in (0, -1, 2.0, True, "2"):
        with pytest.raises(ValueError):
            P.set_num_threads(bad)
    with pytest.raises(BackendError):
        P.set_num_threads(100_000)
    with pytest.raises(ZeroDivisionError), P.num_threads(3):
        assert P.get_num_threads() == 3
        raise ZeroDivisionError


def test_more_cores_than_the_pool_takes():
    P.pool().resize(10**6)
    assert P.get_num_threads() == 256


def test_a_system_without_more_threads():
    x = np.zeros(1000, np.int64)
    child = os.fork()
    if child == 0:
        pool, calls = P.pool(), []
        refuse = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(
            lambda *a: calls.append(a) or 11
        )
        pool._put("pthread_create", ctypes.cast(refuse, ctypes.c_void_p).value)
        P.set_num_threads(4)
        ok = all(launch(code("count"), ONE, x.size, 10, 0, (x,)) == 0 for _ in range(3))
        os._exit(0 if ok and (x == 3).all() and len(calls) == 1 and P.get_num_threads() == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_fork_in_the_middle_of_work():
    x = np.zeros(2000, np.int64)
    stop = threading.Event()

    def work():
        y = np.zeros(2000, np.int64)
        while not stop.is_set():
            launch(code("count"), ONE, y.size, 10, 0, (y,))

    with P.num_threads(3):
        launch(code("count"), ONE, x.size, 10, 0, (x,))
        other = threading.Thread(target=work)
        other.start()
        try:
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    ok = True
                    for r in range(2, 12):
                        ok = (
                            ok
                            and launch(code("count"), ONE, x.size, 10, 0, (x,)) == 0
                            and bool((x == r).all())
                        )
                    os._exit(0 if ok and P.pool().word("started") == 2 else 1)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
            other.join()
    assert (x == 1).all()


@pytest.mark.parametrize(
    "tail", ["", "sys.exit(3)", "raise RuntimeError('x')", "os.fork() or os._exit(0)"]
)
def test_interpreter_exit_is_clean(tail):
    text = f"""
        import os, sys, threading
        sys.path[:0] = {sys.path!r}
        import numpy as np
        from hybrid.backends.cpu.machine import pool as P
        from hybrid.backends.cpu.python.runtime import launch
        from native_kernels import code
        P.set_num_threads(4)
        one, x = np.zeros(2, np.uint64), np.zeros(100_000, np.int64)
        def forever():
            while True:
                launch(code("slow"), one, 300, 10, 0, (x,))
        for _ in range(3):
            threading.Thread(target=forever, daemon=True).start()
        launch(code("count"), one, x.size, 10, 0, (x,))
        {tail}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, timeout=60
    )
    want = {"sys.exit(3)": 3, "raise RuntimeError('x')": 1}.get(tail, 0)
    assert done.returncode == want, done.stderr.decode()
