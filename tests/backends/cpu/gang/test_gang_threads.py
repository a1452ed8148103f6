"""Gangs on threads: every item once, failures, state that a failed step leaves, crowds, forks."""

from __future__ import annotations

import ctypes
import os
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gang_harness import groups_of, keen  # noqa: F401  (a fixture)

import hybrid as hb
from hybrid import nn, optim
from hybrid.backends.cpu.executable import PlanRunner
from hybrid.backends.cpu.gang import Unit, gang_step
from hybrid.backends.cpu.machine import pool as P
from hybrid.backends.cpu.machine.jit import compile_ir
from hybrid.backends.cpu.python.caller import NativeStep, step_table
from hybrid.core.errors import IndexOutOfRange

F = nn.functional
# adds 1 to each of its items of slot `word`, or fails with 1 + the first whose value is negative
COUNT = """
define i64 @tally(ptr %bufs, ptr %args, i64 %begin, i64 %end, ptr %scratch) {
entry:
  %slot = load i64, ptr %args
  %place = getelementptr ptr, ptr %bufs, i64 %slot
  %base = load ptr, ptr %place
  br label %head
head:
  %i = phi i64 [%begin, %entry], [%next, %good]
  %more = icmp ult i64 %i, %end
  br i1 %more, label %body, label %out
body:
  %at = getelementptr i64, ptr %base, i64 %i
  %old = load i64, ptr %at
  %bad = icmp slt i64 %old, 0
  br i1 %bad, label %failed, label %good
good:
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  %next = add i64 %i, 1
  br label %head
failed:
  %status = add i64 %i, 1
  ret i64 %status
out:
  ret i64 0
}
"""


def tally() -> Any:
    module = compile_ir(COUNT, ["tally"])
    return SimpleNamespace(address=module.address("tally"), module=module)


def gang_of(sizes: list[tuple[int, int, float]], threads: int) -> list[NativeStep]:
    """A gang and its members of these (items, grain, microseconds), one slot each."""
    code = tally()
    units = [
        Unit(k, NativeStep(code, (k,), items, grain, 0), 0, 1 << k, cost, False)
        for k, (items, grain, cost) in enumerate(sizes)
    ]
    return [gang_step(units, threads), *(unit.step for unit in units if unit.step)]


def run(steps: list[NativeStep], arrays: list[np.ndarray]) -> tuple[int, int]:
    table, owned = step_table(steps)
    bufs = (ctypes.c_uint64 * len(arrays))(*[a.ctypes.data for a in arrays])
    failed, workers = ctypes.c_int64(-1), P.pool()
    status = workers.plan(workers.ctl, table, len(steps), bufs, 0, ctypes.byref(failed))
    assert owned
    return failed.value, status


SIZES = [
    [(1000, 10, 60.0), (1, 1, 3.0), (7, 1, 10.0), (0, 1, 0.0), (4096, 1, 900.0)],
    [(1, 1, 2.0)] * 40,
    [(3, 100, 0.001), (5, 100, 0.001)],
    [(100_000, 1, 5.0), (2, 1, 500.0)],
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("made_for", [2, 3, 16, 256])
def test_every_item_once(sizes, made_for):
    steps = gang_of(sizes, made_for)
    arrays = [np.zeros(items + 1, np.int64) for items, _, _ in sizes]
    for turn, threads in enumerate((1, 2, 5, 16, 3), 1):
        with hb.num_threads(threads):
            assert run(steps, arrays)[1] == 0
        for (items, _, _), array in zip(sizes, arrays):
            assert (array[:items] == turn).all() and array[items] == 0


def test_a_thread_has_its_own_rows_of_every_wide_member():
    gang = gang_of([(64, 1, 300.0), (640, 10, 300.0)], 4)[0]
    count = len(gang.gang) // 4
    for thread in range(4):
        pieces = [p for chunk in gang.gang[thread * count : (thread + 1) * count] for p in chunk]
        for member, items in ((0, 64), (1, 640)):
            own = [p for p in pieces if p.member == member]
            assert min(p.begin for p in own) == items * thread // 4
            assert max(p.end for p in own) == items * (thread + 1) // 4


def test_small_members_go_where_least_is_done():
    gang = gang_of([(1, 1, 10.0), (1, 1, 6.0), (1, 1, 5.0), (1, 1, 1.0)], 2)[0]
    count = len(gang.gang) // 2
    halves = [gang.gang[:count], gang.gang[count:]]
    members = [{p.member for chunk in half for p in chunk} for half in halves]
    assert sorted(map(sorted, members)) == [[0, 3], [1, 2]] or members[0] == {0}


def test_a_failing_member_ends_the_plan():
    steps = gang_of([(1000, 10, 60.0), (500, 10, 60.0)], 4)
    for threads in (1, 4):
        arrays = [np.zeros(1000, np.int64), np.zeros(500, np.int64), np.zeros(9, np.int64)]
        arrays[1][[77, 333]] = -5
        last = NativeStep(tally(), (2,), 9, 1, 0)
        with hb.num_threads(threads):
            _, status = run([*steps, last], arrays)
        assert status == 78 and not arrays[2].any()


# ---- programs
def words_and_labels() -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    return hb.tensor(rng.integers(0, 20, (6, 5))), hb.tensor(rng.integers(0, 4, 6))


def trainer() -> tuple[Any, Any, list[Any]]:
    hb.manual_seed(0)
    net = nn.Sequential(
        nn.Embedding(20, 16), nn.Linear(16, 24), nn.ReLU(), nn.Flatten(), nn.Linear(120, 4)
    )
    optimizer = optim.Adam(net.parameters(), lr=1e-2)

    @hb.function
    def step(words: Any, labels: Any) -> Any:
        loss = F.cross_entropy(net(words), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return net, step, list(net.parameters())


def test_a_failing_check_leaves_state_untouched(keen):  # noqa: F811
    words, labels = words_and_labels()
    with hb.num_threads(4):
        _, step, parameters = trainer()
        for _ in range(4):
            step(words, labels)
        before = [p.numpy().copy() for p in parameters]
        wrong = hb.tensor(np.where(np.arange(30).reshape(6, 5) == 17, 20, words.numpy()))
        for _ in range(3):
            with pytest.raises(IndexOutOfRange):
                step(wrong, labels)
            assert all(p.numpy().tobytes() == b.tobytes() for p, b in zip(parameters, before))
        step(words, labels)
        assert any(p.numpy().tobytes() != b.tobytes() for p, b in zip(parameters, before))


def chains(x: Any) -> Any:
    """Many small kernels that wait for nobody."""
    return tuple([(x[k] @ x[k + 1]).tanh() * (k + 1) for k in range(12)])


def test_a_crowd_of_callers_and_more_threads_than_cores(keen):  # noqa: F811
    x = hb.tensor(np.random.default_rng(0).standard_normal((13, 24, 24)).astype("f4"))
    want = [out.numpy().tobytes() for out in chains(x)]
    with hb.num_threads(24):
        traced = hb.function(chains)
        for _ in range(4):
            traced(x)
        wrong: list[Any] = []

        def call() -> None:
            for _ in range(60):
                if [out.numpy().tobytes() for out in traced(x)] != want:
                    wrong.append(1)

        crowd = [threading.Thread(target=call) for _ in range(5)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_runs_gangs(keen):  # noqa: F811
    x = hb.tensor(np.random.default_rng(0).standard_normal((13, 24, 24)).astype("f4"))
    with hb.num_threads(4):
        traced = hb.function(chains)
        for _ in range(5):
            want = [out.numpy().tobytes() for out in traced(x)]
        for _ in range(3):
            child = os.fork()
            if child == 0:
                right = all([out.numpy().tobytes() for out in traced(x)] == want for _ in range(20))
                os._exit(0 if right else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert [out.numpy().tobytes() for out in traced(x)] == want


def test_a_profile_names_every_kernel(keen, monkeypatch):  # noqa: F811
    made: list[Any] = []
    real = PlanRunner.__init__

    def kept(self: Any, *args: Any) -> None:
        real(self, *args)
        made.append(self)

    monkeypatch.setattr(PlanRunner, "__init__", kept)
    words, labels = words_and_labels()
    with hb.num_threads(4):
        _, step, _ = trainer()
        for _ in range(4):
            step(words, labels)
        rows = hb.profile(step, words, labels, runs=2)
    runner = max(made, key=lambda one: len(one.plan.steps))
    assert [row.kernel for row in rows] == list(range(len(runner.plan.steps)))
    assert all(row.seconds > 0 and row.site is not None for row in rows)
    for group in groups_of(runner):
        numbers = {rows[kernel].gang for kernel, piece, _ in group if piece == 0}
        assert len(numbers) <= 1 and (len(group) > 1 or numbers <= {0})
    assert any(f"in gang {row.gang}" in str(row) for row in rows if row.gang)
