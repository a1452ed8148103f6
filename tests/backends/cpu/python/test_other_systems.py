"""The pool's own tests on pools for macOS and Windows, whose calls Linux stands in for, and on one
for several nodes of memory."""

from __future__ import annotations

import ctypes
import os
import sys
import time

import numpy as np
import pytest
import test_pool
from native_kernels import code
from stand_in_systems import EVERY, StandInMacOS, StandInNodes, StandInWindows, pool_of

from hybrid.backends.cpu.gemm import Target, generate
from hybrid.backends.cpu.machine import host
from hybrid.backends.cpu.machine import pool as P
from hybrid.backends.cpu.machine.control import CTL, W_MASK, WORKER_BYTES
from hybrid.backends.cpu.machine.jit import compile_many
from hybrid.backends.cpu.machine.systems.base import MASK_BYTES
from hybrid.backends.cpu.machine.systems.linux import Linux
from hybrid.backends.cpu.python import runtime
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir.contract import matmul_layout

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux stands in")
TESTS = (
    "test_chunk_numbers_beyond_their_field",
    "test_smallest_failure_wins",
    "test_steps_see_the_results_of_earlier_steps",
    "test_scratch_belongs_to_one_thread_and_grows",
    "test_chunks_of_late_threads_are_taken",
    "test_no_memory_for_scratch_is_a_status",
    "test_many_python_threads_at_once",
    "test_resizing_while_others_launch",
    "test_sleeping_workers_wake_up_and_a_busy_neighbour_does_no_harm",
    "test_floating_point_mode_is_ours_inside_and_the_callers_after",
    "test_fork_in_the_middle_of_work",
)


@pytest.fixture(params=[StandInMacOS, StandInWindows, StandInNodes])
def pool(request, monkeypatch):
    made = pool_of(request.param)
    monkeypatch.setattr(P, "_POOL", made)
    monkeypatch.setattr(runtime, "native", lambda: None)  # its entries know the other pool
    before = made.threads()
    yield made
    made.resize(before)


@pytest.mark.parametrize("name", TESTS)
def test_of_the_pool(pool, name):
    getattr(test_pool, name)()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_item_once(pool, threads):
    for grain in (1, 64, 10**9):
        test_pool.test_every_item_once(threads, grain)
    assert pool.word("started") >= threads - 1


@pytest.mark.parametrize(
    "kind, name, refusal",
    [(StandInMacOS, "pthread_create", 11), (StandInWindows, "_beginthreadex", 0)],
)
def test_a_system_without_more_threads(monkeypatch, kind, name, refusal):
    """The number goes down to the threads that there are."""
    made, calls = P.Pool(kind()), []
    refuse = ctypes.CFUNCTYPE(ctypes.c_int64)(lambda: calls.append(name) or refusal)
    made._put(name, ctypes.cast(refuse, ctypes.c_void_p).value)
    made.resize(4)
    monkeypatch.setattr(P, "_POOL", made)
    monkeypatch.setattr(runtime, "native", lambda: None)
    numbers = np.zeros(1000, np.int64)
    for _ in range(3):
        assert runtime.launch(code("count"), test_pool.ONE, 1000, 10, 0, (numbers,)) == 0
    assert (numbers == 3).all() and len(calls) == 1 and made.threads() == 1


# ---- nodes of memory
def masks_of(made, workers):
    """The CPUs that each worker is to be bound to, by its record."""
    found = []
    for worker in range(workers):
        record = made.ctl + CTL["workers"] + WORKER_BYTES * worker
        mask = ctypes.c_uint64.from_address(record + W_MASK).value
        bits = int.from_bytes(ctypes.string_at(mask, MASK_BYTES), "little") if mask else 0
        found.append({cpu for cpu in range(8 * MASK_BYTES) if bits >> cpu & 1})
    return found


def pool_with(monkeypatch, threads, *nodes):
    """A pool for so many threads on nodes with these CPUs; no thread is started."""
    monkeypatch.setattr(host, "usable_cores", lambda: threads)
    kind = type("OnNodes", (Linux,), {"nodes": lambda self: tuple(map(frozenset, nodes))})
    return P.Pool(kind())


def test_neighbours_share_a_node(monkeypatch):
    """The caller is the first thread of the first node, and is not ours to bind."""
    first, second = {0, 1, 2, 3}, {4, 5, 6, 1023}
    made = pool_with(monkeypatch, 8, first, second)
    assert masks_of(made, 7) == [first] * 3 + [second] * 4
    # more threads than the usual ones: each beside one of these
    assert masks_of(made, 15)[7:] == [first] * 4 + [second] * 4
    made = pool_with(monkeypatch, 4, first, second)
    assert masks_of(made, 3) == [first, second, second]


def test_nodes_have_threads_by_their_cpus(monkeypatch):
    small, large = {9}, {0, 1, 2}
    assert masks_of(pool_with(monkeypatch, 4, small, large), 3) == [large] * 3
    assert masks_of(pool_with(monkeypatch, 8, small, large), 7) == [small] + [large] * 6


@pytest.mark.parametrize("nodes", [(), ({0, 1},)])
def test_nobody_is_bound_on_one_node(monkeypatch, nodes):
    assert masks_of(pool_with(monkeypatch, 8, *nodes), P.MAX_WORKERS) == [set()] * P.MAX_WORKERS


@pytest.mark.skipif(len(EVERY) < 2, reason="needs two CPUs")
def test_workers_are_where_they_belong(monkeypatch):
    """And the caller is where it was; a mask that cannot be is no failure."""
    cpus = sorted(EVERY)
    made = pool_with(monkeypatch, 3, {cpus[0]}, {cpus[1]}, {1023})
    monkeypatch.setattr(P, "_POOL", made)
    monkeypatch.setattr(runtime, "native", lambda: None)
    before, own = set(os.listdir("/proc/self/task")), os.sched_getaffinity(0)
    numbers = np.zeros(1000, np.int64)
    made.resize(3)
    for _ in range(50):
        assert runtime.launch(code("count"), test_pool.ONE, 1000, 10, 0, (numbers,)) == 0
    assert (numbers == 50).all() and os.sched_getaffinity(0) == own
    started = set(os.listdir("/proc/self/task")) - before
    wanted, until = [{cpus[1]}, EVERY], time.monotonic() + 30
    found = []
    while sorted(map(sorted, found)) != sorted(map(sorted, wanted)) and time.monotonic() < until:
        found = [os.sched_getaffinity(int(thread)) for thread in started]
    assert sorted(map(sorted, found)) == sorted(map(sorted, wanted))


def test_products_have_the_same_bits_on_any_nodes(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((130, 700), (700, 90)))
    strides = [(700, 1), (90, 1)]
    contraction = matmul_layout([aval(x.shape, dt.float32) for x in (a, b)], strides, (0, 0))
    made = generate(kernel_of(contraction, [dt.float32] * 2, dt.float32), 3, Target(threads=8))
    codes = compile_many([(part.symbol, part.text) for part in made])
    words = [np.array(part.words, np.uint64) for part in made]
    steps = [
        (code.address, word.ctypes.data, part.items, 1, part.scratch, 0)
        for code, word, part in zip(codes, words, made)
    ]
    out, work = np.zeros((130, 90), np.float32), np.zeros(made[-1].temp + 64, np.uint8)
    results = set()
    for each in (P.pool(), pool_of(StandInNodes)):
        monkeypatch.setattr(P, "_POOL", each)
        for threads in (1, 2, 5):
            out[:] = np.nan
            with P.num_threads(threads):
                assert P.run_steps(steps, [x.ctypes.data for x in (a, b, out, work)]) == (0, 0)
            results.add(out.tobytes())
    np.testing.assert_allclose(out, a @ b, rtol=1e-3, atol=1e-4)
    assert len(results) == 1 and made[-1].items > 5
