"""The block pool behind large eager results."""

from __future__ import annotations

import gc
import os
import threading

import ml_dtypes
import numpy as np
import pytest

from hybrid.backends.cpu.machine import alloc
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval

BIG = alloc.LARGE


@pytest.fixture(autouse=True)
def clean():
    gc.collect()
    alloc.trim()
    yield
    gc.collect()
    alloc.trim()


def address(a: np.ndarray) -> int:
    return a.ctypes.data


def test_arrays_look_like_arrays():
    for d in (dt.float32, dt.bool_, dt.bfloat16, dt.int64):
        for shape in ((), (0,), (3, 5), (BIG // d.itemsize,), (2, BIG)):
            a = alloc.empty(aval(shape, d))
            assert type(a) is np.ndarray and a.shape == shape and a.dtype == d
            assert a.flags.c_contiguous and a.flags.writeable and a.flags.aligned
            a.fill(1)
    assert np.dtype(ml_dtypes.bfloat16) == dt.bfloat16


def test_memory_is_used_again_when_the_last_view_dies():
    make = alloc.maker(aval((BIG,), dt.int8))
    a = make()
    assert alloc.is_block(a.base)
    where = address(a)
    view = a[100:200].reshape(10, 10).T
    raw = memoryview(a)
    del a
    b = make()
    assert address(b) != where
    del raw
    c = make()
    assert address(c) != where
    del view
    d = make()
    assert address(d) == where
    del b, c, d
    assert alloc.cached_bytes() == 3 * BIG


def test_blocks_never_overlap():
    arrays = [alloc.empty(aval((BIG + 4096 * (i % 3),), dt.uint8)) for i in range(20)]
    for i, a in enumerate(arrays):
        a.fill(i)
    for i, a in enumerate(arrays):
        assert (a == i).all()


def test_size_classes_waste_at_most_a_quarter():
    for n in [BIG, BIG + 1, 3 * BIG + 17, 10**8 + 1]:
        size = alloc.size_class(n)
        assert n <= size <= n * 1.25 + 4096 and size % 4096 == 0


def test_kept_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alloc, "kept_bytes", lambda: 8 * BIG)
    arrays = [alloc.empty(aval((BIG,), dt.uint8)) for _ in range(256)]
    del arrays
    assert alloc.cached_bytes() <= 8 * BIG + 32 * BIG
    alloc.trim()
    assert alloc.cached_bytes() == 0


def test_as_much_is_kept_as_arrays_hold(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alloc, "kept_bytes", lambda: 4 * BIG)
    held = [alloc.empty(aval((BIG,), dt.uint8)) for _ in range(256)]
    arrays = [alloc.empty(aval((BIG,), dt.uint8)) for _ in range(200)]
    del arrays
    assert alloc.cached_bytes() == 200 * BIG
    del held
    assert alloc.cached_bytes() <= 4 * BIG + 32 * BIG


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_memory_is_not_shared_with_a_child():
    mine, free = alloc.empty(aval((BIG,), dt.uint8)), alloc.empty(aval((BIG,), dt.uint8))
    mine.fill(1)
    del free
    pid = os.fork()
    if not pid:
        mine.fill(2)
        alloc.empty(aval((BIG,), dt.uint8)).fill(2)
        os._exit(0)
    fresh = alloc.empty(aval((BIG,), dt.uint8))
    fresh.fill(3)
    os.waitpid(pid, 0)
    assert (mine == 1).all() and (fresh == 3).all()


def test_threads_share_the_pool():
    wrong = []

    def work(k: int) -> None:
        for i in range(50):
            a = alloc.empty(aval((BIG,), dt.uint8))
            a[::4096] = k
            if (a[::4096] != k).any():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_too_much_memory_is_a_clear_error():
    with pytest.raises(MemoryError, match="bytes"):
        alloc.empty(aval((1 << 60,), dt.uint8))


@pytest.mark.parametrize("memory, kept", [(0, 1 << 30), (4 << 30, 1 << 30), (64 << 30, 8 << 30)])
def test_an_eighth_of_the_memory_is_kept(monkeypatch: pytest.MonkeyPatch, memory: int, kept: int):
    monkeypatch.setattr(type(alloc.system()), "memory", lambda self: memory)
    assert alloc.kept_bytes.__wrapped__() == kept
