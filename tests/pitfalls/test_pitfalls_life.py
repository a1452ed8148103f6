"""Pitfalls of tracing: threads, exceptions, interrupts, forks and copies."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, check, flat, mlp, norm, t, train_step

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid.ir.door.bind import current_mode


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run the works in threads that start together; returns what they raised."""
    errors: list[Any] = []
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> None:
        try:
            gate.wait()
            work()
        except Exception as e:
            errors.append(e)

    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        ts = [threading.Thread(target=run, args=(w,)) for w in works]
        for th in ts:
            th.start()
        for th in ts:
            th.join()
    finally:
        sys.setswitchinterval(old)
    return errors


@pytest.mark.parametrize("n", [7, 1 << 18])
def test_two_threads_call_first_at_once(n: int) -> None:
    w = hb.full((n,), 3.0)
    for _ in range(3):
        f = hb.function(lambda x: (x * w + x).sum())
        bad: list[float] = []

        def work(k: float, f: Any = f, bad: list[float] = bad) -> None:
            x = hb.full((n,), k)
            for _ in range(12):
                if float(f(x)) != float((x * w + x).sum()):
                    bad.append(k)

        assert at_once(*[lambda k=k: work(float(k)) for k in range(4)]) == [] and bad == []
        assert f.cache_info().replays > 0


def test_recording_while_another_thread_runs_eagerly() -> None:
    net, done, bad = mlp(), threading.Event(), []
    opt = optim.SGD(net.parameters(), lr=0.0)
    want = net(t()).numpy()

    def eager() -> None:
        mine = mlp(3)
        first = mine(t()).numpy()
        while not done.is_set():
            if not np.array_equal(mine(t()).numpy(), first) or current_mode() is not None:
                bad.append("eager")

    def recording() -> None:
        try:
            for _ in range(6):
                f, step = hb.function(lambda x: net(x).detach()), hb.function(train_step(net, opt))
                for _ in range(4):
                    step(t(A[None]))
                    if not np.array_equal(f(t()).numpy(), want):
                        bad.append("recorded")
                assert f.cache_info().replays == 2 and step.cache_info().replays >= 1, f.explain()
        finally:
            done.set()

    assert at_once(eager, recording) == [] and bad == []


def test_one_training_step_from_two_threads() -> None:
    net = mlp()
    total, ones = hb.zeros((1 << 18,)), hb.ones((1 << 18,))

    @hb.function
    def add(x: Any) -> Any:
        total.add_(x)
        return x.sum()

    for _ in range(4):
        add(ones)
    assert add.cache_info().replays == 2

    def work() -> None:
        for _ in range(10):
            add(ones)

    assert at_once(work, work, work) == []
    assert set(total.numpy().tolist()) == {34.0}
    del net


def test_exception_while_recording_then_again() -> None:
    def program(jit: Any) -> Any:
        net, count, boom = mlp(p=0.5), hb.tensor(0), {"at": -1}
        opt = optim.Adam(net.parameters(), lr=0.1)

        @jit
        def step(x: Any) -> Any:
            count.add_(1)
            loss = (net(x) ** 2).mean()
            loss.backward()
            if boom["at"] >= 0:
                raise KeyError("in the middle")
            opt.step()
            opt.zero_grad()
            return loss.detach()

        out: list[Any] = []
        for k in range(16):
            boom["at"] = 1 if k in (1, 2, 8) else -1
            try:
                out.append(step(t(np.resize(A + k, (3, 7)) * 0.1)))
            except KeyError as e:
                out.append(str(e))
            assert current_mode() is None and gc.isenabled() and sys.getprofile() is None
            out += [norm(flat(net)), norm(count), hb.rand((2,))]
        return out

    check(program, replays=3)


def test_function_in_a_backward_twice_and_unused_outputs() -> None:
    def program(jit: Any) -> Any:
        f, out = jit(lambda x, w: (x * w, (x * x).sum(), w.exp())), []
        for k in range(6):
            x, w = t(requires_grad=True), t(A * 0.1, requires_grad=True)
            a, b, c = f(x, w)
            b.backward()
            out += [norm(x.grad), w.grad is None]
            (a * a).sum().backward()
            out += [norm(x.grad), norm(w.grad)]
            d, e, _ = f(a.detach(), w)
            (d.sum() * b + e).backward()
            out += [norm(x.grad), norm(w.grad), c.requires_grad]
        return out

    check(program, replays=8)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_keyboard_interrupt_in_a_replay_loop() -> None:
    count, big = hb.tensor(np.int64(0)), hb.zeros((1 << 16,))

    @hb.function
    def f(x: Any) -> Any:
        count.add_(1)
        big.add_(x)
        return big.sum()

    for _ in range(4):
        f(1.0)
    assert f.cache_info().replays == 2, f.explain()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(6):
            calls = before = int(count)
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.004)
                while calls < before + 1_000_000:
                    f(1.0)
                    calls += 1
            assert int(count) - calls in (0, 1) and set(big.numpy().tolist()) == {float(count)}
            assert current_mode() is None and gc.isenabled()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert float(f(1.0)) == float(count) * (1 << 16)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_keyboard_interrupt_while_recording() -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        f = hb.function(lambda x, n: sum(x * i for i in range(n)))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            f(t(), 10_000_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert (
        current_mode() is None
        and gc.isenabled()
        and sys.getprofile() is None
        and sys.gettrace() is None
    )
    for _ in range(4):
        assert np.array_equal(f(t(), 3).numpy(), (t() * 0 + t() * 1 + t() * 2).numpy())
    assert f.cache_info().replays == 1  # a recording found out that the second number is looked at


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_use() -> None:
    net = mlp(p=0.5)
    step = hb.function(train_step(net, optim.Adam(net.parameters(), lr=0.1)))
    big, f = hb.ones((1 << 18,)), hb.function(lambda x: (x * 2 + 1).sum())
    for k in range(4):
        step(t(A[None]))
        f(big)
    want = float(f(big))
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            good = float(f(big)) == want and f.cache_info().replays >= 3
            g = hb.function(lambda x: x + 3)
            good = (
                good
                and all(float(g(big)[5]) == 4.0 for _ in range(4))
                and g.cache_info().replays == 2
            )
            hb.manual_seed(5)
            os.write(write, np.float32(float(step(t(A[None])))).tobytes())
            status = 0 if good else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while (got := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    assert os.waitstatus_to_exitcode(got[1]) == 0
    hb.manual_seed(5)
    assert os.read(read, 4) == np.float32(float(step(t(A[None])))).tobytes()
    os.close(read)
    os.close(write)


def test_large_captured_arrays_are_inputs() -> None:
    def program(jit: Any) -> Any:
        w = hb.ones((1 << 18,))
        host = np.arange(1 << 15, dtype=np.float32)
        f, g = jit(lambda x: (x * w).sum()), jit(lambda x: (hb.tensor(host) * x).sum())
        h, out = jit(lambda x: (host * x).sum()), []
        for k in range(10):
            out += [f(hb.tensor(float(k))), g(hb.tensor(0.5)), h(hb.tensor(0.5))]
            if k == 5:
                w[7] = 100.0
                host[3] = 1e6
        return out

    got = check(program, replays=8)
    nodes = got.functions[0].graph(hb.tensor(0.0))
    assert max((len(str(nodes)), 0)) < 4000


def test_deepcopy_and_pickle_of_a_model_that_holds_its_step() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(7, 3)

        @hb.function
        def step(self, x: Any) -> Any:
            return self.lin(x).detach()

    hb.manual_seed(0)
    net = Own()
    for _ in range(4):
        want = net.step(t()).numpy()
    twin = copy.deepcopy(net)
    twin.lin.bias.assign(twin.lin.bias + 1)
    for _ in range(4):
        assert np.array_equal(net.step(t()).numpy(), want)
        assert np.array_equal(twin.step(t()).numpy(), twin.lin(t()).numpy())
    assert not np.array_equal(twin.step(t()).numpy(), want)


def module_level(x: Any) -> Any:
    """A function that pickle can find."""
    return x * 3


decorated = hb.function(module_level)


def test_copies_of_a_decorated_function() -> None:
    for _ in range(4):
        decorated(t())
    for f in (
        copy.copy(decorated),
        copy.deepcopy(decorated),
        copy.deepcopy({"f": decorated})["f"],
        pickle.loads(pickle.dumps(decorated)),
    ):
        for _ in range(4):
            assert np.array_equal(f(t()).numpy(), A * np.float32(3))
    local = hb.function(lambda x: x + 1)
    assert np.array_equal(copy.deepcopy(local)(t()).numpy(), A + 1)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pickle.dumps(local)


def test_a_model_whose_attribute_is_a_decorated_function() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(7, 3)
            self.go = hb.function(lambda x: self.lin(x).detach())

    net = Own()
    for _ in range(4):
        assert np.array_equal(net.go(t()).numpy(), net.lin(t()).numpy())
    ref = weakref.ref(net)
    del net
    gc.collect()
    assert ref() is None


def test_function_called_while_it_is_recorded() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any, depth: int) -> Any:
            return x if depth == 0 else f(x, depth - 1) * 2 + f(x, 0)

        return [f(t(), k % 4) for k in range(16)]

    check(program, replays=6)


def test_tensors_deleted_and_made_again() -> None:
    def program(jit: Any) -> Any:
        box: dict[str, Any] = {"w": t()}
        f, out = jit(lambda x: x * box["w"]), []
        for k in range(12):
            if k % 3 == 2:
                del box["w"]
                gc.collect()
                box["w"] = t(A + k)
            out.append(f(t()))
        del box["w"]
        try:
            f(t())
        except KeyError:
            out.append("gone")
        return out

    check(program, replays=5)


def test_memory_of_many_replays_is_bounded() -> None:
    import tracemalloc

    net = mlp(p=0.5)
    step = hb.function(train_step(net, optim.Adam(net.parameters(), lr=0.01)))
    for _ in range(20):
        step(t(A[None]))
    tracemalloc.start()
    try:
        for _ in range(50):
            step(t(A[None]))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            step(t(A[None]))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000


def test_functions_that_live_until_exit_end_quietly() -> None:
    program = (
        "import sys, threading, hybrid as hb\n"
        "f = sys.keep = hb.function(lambda x: (x * 2 + 1).sum())\n"
        "for n in (3, 1 << 18):\n"
        "    for _ in range(4): y = f(hb.ones((n,)))\n"
        "sys.modules['kept'] = f\n"
        "threading.Thread(target=lambda: f(hb.ones((3,)))).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
