"""Compiling beside the calls: the same results, nothing waits, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from hybrid.backends.cpu.machine import jit
from hybrid.core.errors import BackendError
from hybrid.decorator import RunsEagerly, function, set_executor
from hybrid.trace.serve import background
from hybrid.trace.serve.prepare import NativeExecutor


class Gate(NativeExecutor):
    """Compiles when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun, self.open, self.error = threading.Event(), threading.Event(), error
        self.threads: list[str] = []

    def prepare(self, recording: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        self.begun.set()
        assert self.open.wait(30)
        if self.error is not None:
            raise self.error
        return super().prepare(recording)


@pytest.fixture
def gate():
    made = Gate()
    previous = set_executor(made)
    yield made
    made.open.set()
    set_executor(previous)


def trained(wait: bool, calls: int = 12) -> list[bytes]:
    hb.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    rule = optim.Adam(net.parameters(), lr=0.01)

    @hb.function(wait=wait)
    def step(x: Any) -> Any:
        loss = (net(x) ** 2).sum()
        loss.backward()
        rule.step()
        rule.zero_grad()
        return loss

    x = hb.ones(4, 8)
    bits = []
    for number in range(calls):
        bits.append(step(x).numpy().tobytes())
        if number == calls // 2:
            assert step.wait(60)
    assert step.cache_info().replays >= calls // 2 - 1, step.explain()
    return bits + [p.numpy().tobytes() for p in net.parameters()]


def test_the_same_bits_before_during_and_after():
    assert trained(True) == trained(False)


def test_calls_go_on_eagerly_until_the_plan_is_there(gate):
    double = function(lambda x: x * 2 + 1, wait=False)
    x = hb.ones(3)
    for _ in range(6):
        assert double(x).tolist() == [3.0] * 3
    info = double.cache_info()
    assert (info.records, info.eager, info.replays, info.plans) == (2, 4, 0, 0)
    assert gate.begun.wait(30)
    assert gate.threads == ["hybrid-compile"]
    assert double.wait(0.01) is False
    gate.open.set()
    assert double.wait(60) is True and double.cache_info().plans == 1
    assert double(x).tolist() == [3.0] * 3 and double.cache_info().replays == 1


def test_a_finished_plan_is_taken_without_wait():
    double = function(lambda x: x * 2 + 1, wait=False)
    x, limit = hb.ones(3), time.monotonic() + 60
    while not double.cache_info().replays and time.monotonic() < limit:
        assert double(x).tolist() == [3.0] * 3
    assert double.cache_info().records == 2


def test_waiting_compiles_in_the_call():
    double = function(lambda x: x * 2 + 1, wait=True)
    made = Gate()
    made.open.set()
    previous = set_executor(made)
    try:
        for _ in range(3):
            double(hb.ones(3))
    finally:
        set_executor(previous)
    assert made.threads == [threading.current_thread().name]
    assert double.cache_info().replays == 1


def test_the_environment_chooses(gate):
    previous = background.use_wait(False)
    try:
        double = function(lambda x: x * 2 + 1)
        double(hb.ones(3)), double(hb.ones(3))
        assert gate.begun.wait(30)
        assert gate.threads == ["hybrid-compile"] and double.cache_info().plans == 0
    finally:
        background.use_wait(previous)


@pytest.mark.parametrize("value", ["0", "1", None])
def test_hybrid_wait(value):
    source = "from hybrid.trace.serve.background import WAITS; print(WAITS[0])"
    env = {k: v for k, v in os.environ.items() if k != "HYBRID_WAIT"}
    if value is not None:
        env["HYBRID_WAIT"] = value
    ran = subprocess.run([sys.executable, "-c", source], env=env, capture_output=True, text=True)
    assert ran.stdout.strip() == str(value != "0")


def test_looking_waits():
    double = function(lambda x: (x * 2 + 1).sum(), wait=False)
    x = hb.ones(100)
    double(x), double(x)
    assert "multiply" in str(double.graph(x))
    for look in (
        lambda f: "REPLAY" in f.explain(),
        lambda f: hb.inspect(f, x).forms,
        lambda f: hb.profile(f, x),
    ):
        again = function(lambda x: (x * 2 + 1).sum(), wait=False)
        again(x), again(x)
        assert look(again)
    assert hb.compare(function(lambda x: x * 3, wait=False), x).replays


def test_another_signature_meanwhile(gate):
    double = function(lambda x: x * 2, wait=False)
    for size in (2, 3, 2, 3, 2, 3):
        assert double(hb.ones(size)).tolist() == [2.0] * size
    gate.open.set()
    assert double.wait(60) and double.cache_info().plans == 2


def test_facts_that_moved_while_it_compiled(gate):
    box = {"k": 2}
    scaled = function(lambda x: x * box["k"], wait=False)
    x = hb.ones(2)
    scaled(x), scaled(x)
    box["k"] = 5
    assert scaled(x).tolist() == [5.0, 5.0]
    gate.open.set()
    assert scaled.wait(60)
    assert scaled(x).tolist() == [5.0, 5.0] and scaled.cache_info().replays == 0


def test_a_mode_that_changed_while_it_compiled(gate):
    scaled = function(lambda x: x @ x, wait=False)
    x = hb.ones(2, 2)
    scaled(x), scaled(x)
    assert gate.begun.wait(30)
    before = hb.get_float32_matmul_precision()
    try:
        hb.set_float32_matmul_precision("high" if before == "highest" else "highest")
    finally:
        hb.set_float32_matmul_precision(before)
    gate.open.set()
    assert scaled.wait(60) and scaled.cache_info().plans == 0
    # the recording still counts as the first of two
    scaled(x), scaled.wait(60), scaled(x)
    assert scaled.cache_info().replays == 1


@pytest.mark.parametrize("error", [ValueError("no room"), MemoryError("none left")])
def test_an_error_of_the_compiler_is_the_usual_message(error):
    made = Gate(error)
    made.open.set()
    previous = set_executor(made)
    try:
        double = function(lambda x: x * 2, wait=False)
        x = hb.ones(2)
        double(x), double(x)
        with pytest.warns(RunsEagerly, match="cannot be compiled"):
            assert double.wait(60)
        for _ in range(4):
            assert double(x).tolist() == [2.0, 2.0]
        assert "cannot be compiled" in double.explain() and double.cache_info().records == 2
    finally:
        set_executor(previous)


def test_an_error_comes_at_the_next_call(gate):
    gate.error = ValueError("no room")
    double = function(lambda x: x * 2, wait=False)
    x = hb.ones(2)
    double(x), double(x)
    gate.open.set()
    limit = time.monotonic() + 60
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        while "EAGER" not in [s.state for s in double._signatures.values()]:
            assert double(x).tolist() == [2.0, 2.0] and time.monotonic() < limit
    assert [w.filename for w in told] == [__file__]


def test_a_dropped_function_is_not_compiled(gate):
    double = function(lambda x: x * 2, wait=False)
    double(hb.ones(2)), double(hb.ones(2))
    assert gate.begun.wait(30)  # this one is under way
    second = function(lambda x: x * 3, wait=False)
    second(hb.ones(2)), second(hb.ones(2))
    gone = weakref.ref(double), weakref.ref(second)
    works = [s.work for f in (double, second) for s in f._signatures.values()]
    del double, second
    gc.collect()
    assert [r() for r in gone] == [None, None]
    gate.open.set()
    assert works[1].done.wait(60) and len(gate.threads) == 1  # the second was not begun
    assert works[1].plan is None


def test_what_died_while_it_compiled(gate):
    class Config:
        k = 2.0

    config = Config()
    box = [config]
    scaled = function(lambda x: x * box[0].k, wait=False)
    x = hb.ones(2)
    scaled(x), scaled(x)
    assert gate.begun.wait(30)
    box[0] = Config()
    box[0].k = 3.0
    del config
    gc.collect()
    gate.open.set()
    assert scaled.wait(60) and scaled.cache_info().plans == 0
    for _ in range(3):
        assert scaled(x).tolist() == [3.0, 3.0]
    assert scaled.wait(60)
    assert scaled(x).tolist() == [3.0, 3.0] and scaled.cache_info().replays >= 1


def test_eager_kernels_are_made_meanwhile(monkeypatch, tmp_path):
    """An eager call that needs a kernel waits for none of those that are compiled beside it."""
    inside, leave = threading.Event(), threading.Event()
    emit = jit.Beside.emit

    def slow(self: Any, *args: Any) -> bytes:
        inside.set()
        assert leave.wait(60)
        return emit(self, *args)

    previous = jit.set_cache(None)
    monkeypatch.setattr(jit.Beside, "emit", slow)
    try:
        f = function(lambda x: ((x * 1.375 + 0.625).tanh() * x).exp(), wait=False)
        x = hb.ones(3, 5, 7)
        want = f(x).tolist()
        f(x)
        assert inside.wait(30)
        start = time.monotonic()
        y = hb.ones(2, 3, 2, 5, 3) * 2.5
        assert hb.atan2(y, y + 1).shape == (2, 3, 2, 5, 3)
        assert f(x).tolist() == want and not leave.is_set()
        assert time.monotonic() - start < 30
        leave.set()
        assert f.wait(60) and f(x).tolist() == want and f.cache_info().replays == 1
    finally:
        leave.set()
        jit.set_cache(previous)


def test_private_contexts_make_the_same_code():
    source = "define i64 @answer() { ret i64 42 }"
    target = jit._target()
    beside = jit.Beside(target.machine, lambda: False)
    assert beside.emit(source, target.processor.triple, 2) == target.emit(source, 2)
    with pytest.raises(BackendError, match="not valid LLVM IR"):
        beside.emit("define nonsense", target.processor.triple, 2)


def test_threads_in_one_function():
    f = function(lambda x: (x * 2 + 1).sum(), wait=False)
    x, wrong = hb.ones(50), []

    def work() -> None:
        for _ in range(60):
            if f(x).item() != 150.0:
                wrong.append(1)

    crowd = [threading.Thread(target=work) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert not wrong and f.wait(60)
    assert f(x).item() == 150.0 and f.cache_info().plans == 1


def run_script(source: str, seconds: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | {"HYBRID_WAIT": "0"} | env,
    )


MODEL = """
    import os, sys, time
    import hybrid as hb
    from hybrid import nn, optim
    net = nn.Sequential(*[nn.Linear(16, 16) for _ in range(12)])
    rule = optim.Adam(net.parameters())

    @hb.function
    def step(x):
        loss = (net(x).tanh() ** 2).sum()
        loss.backward()
        rule.step()
        rule.zero_grad()
        return loss

    x = hb.ones(4, 16)
    step(x), step(x)
"""


def test_exit_with_work_pending(tmp_path):
    for _ in range(3):
        ran = run_script(MODEL, HYBRID_CACHE_DIR=str(tmp_path / "cold"))
        assert ran.returncode == 0 and not ran.stderr, ran.stderr


def test_the_compiler_lets_calls_have_the_interpreter(gate):
    """Calls that go on meanwhile wait for it no longer than a kernel takes; then all is as before,
    in a fork's child, too, and a change of the program's own stays."""
    before = sys.getswitchinterval()
    for own in None, 0.25:
        gate.begun.clear(), gate.open.clear()
        f, x = function(lambda x, k=own: x * 2 + (k or 0), wait=False), hb.ones(2)
        f(x), f(x)
        assert gate.begun.wait(30)
        assert sys.getswitchinterval() == background.TURN < before
        child = os.fork()
        if child == 0:
            os._exit(int(sys.getswitchinterval() != before))
        assert os.waitpid(child, 0)[1] == 0
        if own is not None:
            sys.setswitchinterval(own)
        gate.open.set()
        assert f.wait(30)
        while background._THREAD[0] is not None:
            time.sleep(0.001)
        try:
            assert sys.getswitchinterval() == (own or before)
        finally:
            sys.setswitchinterval(before)


def test_a_fork_while_it_compiles(tmp_path):
    source = (
        MODEL
        + """
    print(step.cache_info().plans)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        for _ in range(6):
            step(x)
            step.wait(60)
        os._exit(0 if step.cache_info().replays >= 2 else 7)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert step.wait(60)
    step(x)
    assert step.cache_info().replays == 1, step.explain()
    sys.exit(code)
    """
    )
    ran = run_script(source, HYBRID_CACHE_DIR=str(tmp_path / "cold"))
    assert ran.returncode == 0, ran.stderr


def test_an_interrupt_while_waiting(gate):
    double = function(lambda x: x * 2, wait=False)
    x = hb.ones(2)
    double(x), double(x)
    assert gate.begun.wait(30)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), 2))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        double.wait(60)
    gate.open.set()
    assert double.wait(60) and double(x).tolist() == [2.0, 2.0]
    assert double.cache_info().replays == 1


def test_functions_made_and_dropped_leave_nothing():
    before = len(background._ALL)
    for number in range(30):
        f = function(lambda x, k=float(number): x * k, wait=False)
        f(hb.ones(2)), f(hb.ones(2))
        if number % 3 == 0:
            f.wait(60)
        del f
    gc.collect()
    limit = time.monotonic() + 60
    while background._THREAD[0] is not None and time.monotonic() < limit:
        time.sleep(0.01)
    gc.collect()
    assert len(background._ALL) <= before and background._THREAD[0] is None


def test_no_thread_to_be_had(monkeypatch):
    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    double = function(lambda x: x * 2, wait=False)
    x = hb.ones(2)
    for _ in range(3):
        assert double(x).tolist() == [2.0, 2.0]
    assert double.cache_info().replays == 1


def test_pickled_by_value():
    import pickle

    double = pickle.loads(pickle.dumps(function(abs, wait=False)))
    assert double._wait is False and np.float32(double(hb.ones(1) * -2).item()) == 2
