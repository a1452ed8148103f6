"""The loops that a calibration runs: what they leave behind, and when a sample is void."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hybrid.backends.cpu.machine.core import Measured, core
from hybrid.backends.cpu.machine.pool import num_threads, pool
from hybrid.backends.cpu.measure import runs, sampler
from hybrid.backends.cpu.measure.sampler import MachineSampler
from hybrid.backends.cpu.measure.texts import NEAR

FIELDS = Measured._fields


def test_a_copy_copies_every_line():
    span = 2 * 64 * runs.LINES * 3
    run = runs.traffic("copy", span, 2, 2)
    region = run.memory
    region[:] = np.arange(2 * span) % 251
    wanted = region.reshape(2, 2, span // 2)[:, 0].copy()
    run()
    assert (region.reshape(2, 2, span // 2) == wanted[:, None]).all()


def test_packing_writes_near_memory_over_and_over():
    span = 3 * NEAR
    run = runs.traffic("pack", span, 1, 1)
    run.memory[:] = np.arange(span + NEAR) % 251
    wanted = run.memory[:span].copy()
    run()
    assert (run.memory[:span] == wanted).all() and (run.memory[span:] == wanted[-NEAR:]).all()


def test_the_clock_leaves_its_ticks():
    run = runs.clock(50)
    assert run.word(8) == 0x0101010101010101
    run()
    assert 0 < run.word(8) < 1 << 40


@pytest.mark.parametrize("lines", [16, 64, 256])
def test_a_chain_of_lines_passes_all_of_them(lines):
    """Each line says which is next: an odd number of lines on, so that all come once."""
    run = runs.handed(lines, follow=True)
    step = int(run.words[2])
    seen = {i * step % lines for i in range(lines)}
    assert len(seen) == lines and 1 < step < lines


def test_lines_are_written_by_one_thread_and_read_by_the_other():
    """What the writer left, where the threads met; nothing is told where one has both items."""
    run = runs.handed(64, follow=True, rounds=3)
    with num_threads(1):
        assert runs.handed_ticks(run) == 0
    with num_threads(2):
        met = next((t for t in (runs.handed_ticks(run) for _ in range(100)) if t), 0)
    if met:  # on a busy machine they may never be there together
        lines = run.memory[4096:].reshape(64, 64)[:, :8].copy().view(np.int64).ravel()
        assert lines.tolist() == [(i + int(run.words[2])) % 64 * 64 for i in range(64)]
        assert met < 1 << 40


def test_samples_are_positive_or_void():
    """Whatever the machine is at."""
    found = MachineSampler(core())
    for name, _ in itertools.product(FIELDS, range(3)):
        sample = found(name)
        assert sample is None or (math.isfinite(sample) and sample > 0), name


def test_a_clock_that_stands_still_shows_nothing():
    found = MachineSampler(core(), timer=lambda: 1.0)
    assert [found(name) for name in ("cycle", "fma", "beyond", "barrier")] == [None] * 4


def test_the_units_are_those_of_the_record(monkeypatch):
    """A clock that moves on by a second at each look."""
    seconds = itertools.count()
    found = MachineSampler(core(), timer=lambda: float(next(seconds)))
    cycle = found("cycle")
    assert cycle == 1e9 / (sampler.TRIPS * runs.CHAIN)
    cycles = 1e9 / cycle  # of each run
    assert found("fma") == pytest.approx(cycles / (sampler.TRIPS * runs.chains(found.width)))
    if found.packing is not None:
        assert found("beyond") == pytest.approx(cycles / found.packing.words[1])
    assert found("barrier") is None  # many steps take as long as one


def test_one_thread_has_nobody_to_wait_for():
    with num_threads(1):
        found = MachineSampler(core())
    assert [found(name) for name in ("barrier", "waited", "streamed")] == [None] * 3


def test_barriers_count_only_where_others_took_part(monkeypatch):
    """The caller does what nobody else has begun with; that is no barrier."""
    monkeypatch.setattr(sampler, "STEPS", 20)
    with num_threads(2):
        looks = iter([0.0, 1.0, 1.0, 1.5] * 2)
        found = MachineSampler(core(), timer=lambda: next(looks))
        found.__dict__["_nanoseconds"] = 1.0
        for took_part, wanted in ((0, None), (1, pytest.approx(0.5e9 / 19))):
            done = iter([0, 21 * took_part])
            monkeypatch.setattr(type(pool()), "finished", lambda self, done=done: next(done))
            assert found("barrier") == wanted
