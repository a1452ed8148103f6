"""The pool's own tests on pools for macOS and Windows, whose calls Linux stands in for."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest
import test_pool
from native_kernels import code
from stand_in_systems import StandInMacOS, StandInWindows, pool_of

from hybrid.backends.cpu.machine import pool as P
from hybrid.backends.cpu.python import runtime

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


@pytest.fixture(params=[StandInMacOS, StandInWindows])
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
