"""What is kept for each shape, number or kernel stays within bounds, and goes when nobody uses it."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import hybrid
from hybrid import function
from hybrid.backends.cpu import kernels
from hybrid.backends.cpu.machine import jit
from hybrid.backends.emit import loops as emitted
from hybrid.core import aval as avals
from hybrid.core.aval import _AVALS, HOST, aval
from hybrid.core.cache import NATIVE, Bounded
from hybrid.ir.door import resolved as known
from hybrid.trace.serve.signatures import MAX_SIGNATURES


@pytest.fixture
def small(monkeypatch):
    """Generations of 150 signatures, and half a megabyte of text."""
    monkeypatch.setattr(known.Signatures, "most", 150)
    monkeypatch.setattr(kernels._GENERATED, "nbytes", 1 << 19)
    known.SIGNATURES.sweep()
    known.SIGNATURES.sweep()
    yield
    known.SIGNATURES.sweep()


STEADY = 60  # signatures that every call uses, whatever its shape


def entries() -> int:
    return sum(map(len, known.TABLES.values()))


def training_step():
    model = hybrid.nn.Linear(8, 4)
    opt = hybrid.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        y = hybrid.nn.functional.relu(model(x))
        loss = (y * y).mean() + y[:, 1:].sum() * 0.1
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss.detach()

    return step


# ---- the cache itself
def test_bounded_in_entries_and_bytes():
    kept = Bounded[str](3, 100, len)
    for k in range(10):
        kept.of(k, lambda: "x" * 10)
    assert len(kept) == 3 and kept.held == 30 and 9 in kept and 6 not in kept
    kept.of(7, lambda: "never")
    kept.of(10, lambda: "y")
    assert 7 in kept and 8 not in kept
    kept.of(11, lambda: "z" * 95)
    assert kept.held <= 100 and 11 in kept
    kept.of(12, lambda: "z" * 500)  # larger than everything: not kept
    assert kept.held <= 100 and kept.of(12, lambda: "again") == "again"


def test_bounded_from_many_threads():
    kept = Bounded[int](50)

    def work():
        for k in range(2000):
            assert kept.of(k % 120, lambda k=k: k % 120) == k % 120

    threads = [threading.Thread(target=work) for _ in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(kept) <= 50


# ---- signatures
def test_signatures_of_many_shapes_are_bounded(small):
    step = training_step()
    most = 0
    for n in range(1, 60):
        step(hybrid.ones((n, 8)))
        most = max(most, entries())
    assert most <= 2 * known.Signatures.most + STEADY


def test_what_is_used_stays(small):
    x, rare = hybrid.ones((3, 5)), hybrid.ones((4, 5))
    op = (x + x)._node, hybrid.add.op
    rare + rare
    kept = known.TABLES[op[1]][(), (x._a, x._a)]
    for n in range(1, 400):
        y = hybrid.ones((n + 10,))
        y + y
        x + x
    assert known.SIGNATURES.generation > 2
    table = known.TABLES[op[1]]
    assert table[(), (x._a, x._a)] is kept
    assert ((), (rare._a, rare._a)) not in table
    assert (rare + rare).tolist() == [[2.0] * 5] * 4


def test_native_code_counts_and_goes(small, monkeypatch):
    """Products are compiled per shape: their code goes with their signatures."""
    monkeypatch.setattr(known.Signatures, "most", 10**6)
    monkeypatch.setattr(known.Signatures, "nbytes", 1 << 20)
    alive = []
    for n in range(1, 40):
        a, b = hybrid.ones((n + 20, 40)), hybrid.ones((40, n + 20))
        got = a @ b
        assert got[0, 0].item() == 40.0
        alive.append(len(jit._CODES))
    gc.collect()
    assert NATIVE.made > 2 << 20
    engine = max(alive[20:]) - min(alive[:2])
    assert engine <= 2 * ((1 << 20) // jit.ENGINE_BYTES) + 10


def test_memory_stops_growing(small):
    step = training_step()

    def run(first, last):
        for n in range(first, last):
            step(hybrid.ones((n, 8)))

    tracemalloc.start()
    try:
        run(1, 60)
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        run(60, 160)
        gc.collect()
        later = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # one shape of this step takes more than 40 KB: 100 of them more than 4 MB
    assert later - first < 1_500_000


def test_replays_of_many_shapes_are_bounded(small):
    step = function(training_step())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(1, 320):
            for _ in range(2):
                step(hybrid.ones((n, 8)))
    info = step.cache_info()
    assert info.signatures <= 2 * MAX_SIGNATURES and info.plans <= 2 * MAX_SIGNATURES
    assert entries() <= 2 * known.Signatures.most + STEADY


def test_sweeps_beside_callers(small):
    """Entries go while other threads are inside their kernels."""
    stop, errors = threading.Event(), []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            while not stop.is_set():
                n = int(rng.integers(1, 300))
                x = hybrid.ones((n, 17))
                got = (x @ x.T).sum() + (x * 2).sum()
                assert got.item() == 17.0 * n * n + 34.0 * n
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    [t.start() for t in threads]
    for _ in range(30):
        known.SIGNATURES.sweep()
        gc.collect()
        stop.wait(0.01)
    stop.set()
    [t.join() for t in threads]
    assert not errors


# ---- texts
def test_texts_of_generated_code_are_bounded():
    for kept in (kernels._GENERATED, emitted._TEXTS):
        assert kept.nbytes and kept.held <= kept.nbytes and len(kept) <= kept.entries


# ---- interned records
def test_records_go_with_their_last_holder():
    a = aval((7, 11, 13, 17), np.dtype("float32"))
    assert aval((7, 11, 13, 17), np.dtype("float32")) is a
    assert _AVALS[(7, 11, 13, 17), np.dtype("float32"), HOST]() is a
    del a
    gc.collect()
    assert ((7, 11, 13, 17), np.dtype("float32"), HOST) not in _AVALS
    before = len(avals._AVALS)
    for n in range(3000):
        aval((n, 3, 1, 4), np.dtype("float32"))
    assert len(avals._AVALS) <= before + 1


def test_records_are_one_object_in_all_threads():
    """Threads that make, drop and make the same records again never see two of them at once."""
    errors = []
    barrier = threading.Barrier(6)
    found = [None] * 6

    def work(k):
        for n in range(300):
            barrier.wait()
            found[k] = aval((n, 2, 9), np.dtype("float32"))
            barrier.wait()
            if any(f is not found[0] for f in found):
                errors.append(n)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors
