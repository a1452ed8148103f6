"""The pool: classes, reuse, segments, pressure, figures, who holds what."""

import ctypes
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import hybrid
from hybrid.backends.cuda import array
from hybrid.backends.cuda.machine import devices, memory
from hybrid.backends.cuda.machine.driver import OutOfMemory
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval, device

MEGABYTE = 1 << 20


def test_classes_waste_little():
    for nbytes in [0, 1, 511, 512, 513, 5000, MEGABYTE + 1, 123456789]:
        size = memory.size_class(nbytes)
        assert size >= nbytes and size % memory.ALIGNMENT == 0
        assert size <= max(nbytes * 9 / 8 + memory.ALIGNMENT, memory.ALIGNMENT)
        assert memory.size_class(size) == size


def test_blocks_are_apart_and_used_again(fake):
    pool = devices.device_state().pool
    sizes = [100, 600, 5000, 300_000, 2 * MEGABYTE, 9 * MEGABYTE]
    blocks = [pool.take(n) for n in sizes for _ in range(5)]
    spans = sorted((memory.block_address(b), memory.block_bytes(b)) for b in blocks)
    assert all(a + n <= b for (a, n), (b, _) in zip(spans, spans[1:]))
    assert all(a % 16 == 0 for a, _ in spans)
    calls = len(fake.calls)
    del blocks
    again = [pool.take(n) for n in sizes for _ in range(5)]
    assert sorted((memory.block_address(b), memory.block_bytes(b)) for b in again) == spans
    assert len(fake.calls) == calls


def test_figures(fake):
    state = devices.device_state()
    pool = state.pool
    assert pool.stats()[:2] == (0, 0)
    first = [pool.take(MEGABYTE) for _ in range(4)]
    assert pool.stats().allocated == pool.stats().peak == 4 * MEGABYTE
    del first[2:]
    assert (pool.stats().allocated, pool.stats().peak) == (2 * MEGABYTE, 4 * MEGABYTE)
    pool.reset_peak()
    assert pool.stats().peak == 2 * MEGABYTE
    first.append(pool.take(MEGABYTE))
    del first[-1]
    assert (pool.stats().allocated, pool.stats().peak) == (2 * MEGABYTE, 3 * MEGABYTE)
    assert pool.trim() > 0
    assert (pool.stats().allocated, pool.stats().peak) == (2 * MEGABYTE, 3 * MEGABYTE)
    del first
    pool.trim()
    assert pool.stats().allocated == pool.stats().reserved == 0


def test_trim_keeps_what_is_used(fake):
    pool = devices.device_state().pool
    small, large = [pool.take(1000) for _ in range(10)], pool.take(50 * MEGABYTE)
    held = fake.held()
    assert pool.trim() == 0 and fake.held() == held
    del large
    assert pool.trim() >= 50 * MEGABYTE
    del small[1:]
    assert pool.trim() == 0
    address = memory.block_address(small[0])
    others = [memory.block_address(pool.take(1000)) for _ in range(3)]
    assert address not in others
    small.clear()
    assert pool.trim() > 0


def test_pressure_gives_memory_back(faked):
    fake = faked(total=100 * MEGABYTE)
    pool = devices.device_state().pool
    for size in (40, 30, 50, 90):  # each fits only when those before went back
        assert memory.block_bytes(pool.take(size * MEGABYTE)) >= size * MEGABYTE
    assert fake.held() <= 100 * MEGABYTE


def test_pressure_collects_cycles(faked):
    faked(total=100 * MEGABYTE)
    pool = devices.device_state().pool
    gc.disable()
    try:
        cycle = [pool.take(60 * MEGABYTE)]
        cycle.append(cycle)
        del cycle
        assert pool.take(60 * MEGABYTE) is not None
    finally:
        gc.enable()


def test_small_blocks_under_pressure(faked):
    """Where a whole segment does not fit any more, a block of its own does."""
    faked(total=3 * MEGABYTE)
    pool = devices.device_state().pool
    blocks = [pool.take(700_000) for _ in range(3)]
    assert len(blocks) == 3


def test_out_of_memory_says_who_holds_what(faked):
    faked(total=150 * MEGABYTE)
    weight = hybrid.zeros((1024, 1024, 5), device="cuda")
    held = {"weight": weight}
    others = [hybrid.zeros((1024, 1024), device="cuda") for _ in range(3)]
    big = hybrid.zeros((60 * MEGABYTE,), dtype="uint8", device="cuda")
    with pytest.raises(OutOfMemory) as caught:
        hybrid.negative(big)
    text = str(caught.value)
    assert text.startswith("negative: Fake 0 has no memory for 60.0 MB at ")
    assert "hybrid.negative(big)" in text and "other programs hold" in text
    assert "3 tensors of float32 (1024, 1024)" in text and "12.0 MB" in text
    assert "1 tensor" in text and "'weight'" in text and "@hybrid.function" in text
    assert isinstance(caught.value, MemoryError) and held and others
    del big, caught  # its traceback holds the argument, too
    assert hybrid.zeros((60 * MEGABYTE,), dtype="uint8", device="cuda").size  # it goes on


def test_who_takes_and_frees_is_noted(fake):
    pool = devices.device_state().pool
    before = array.empty(aval((10,), dt.float32, device("cuda")))
    with pool.watched() as history:
        made = hybrid.ones(300, device="cuda")
        del made, before
    unseen = pool.take(10)
    events = list(history.events)
    assert [e.nbytes > 0 for e in events] == [True, False, False] and unseen
    assert events[0].address == events[1].address and "hybrid.ones(300" in events[0].site.text()


def test_pinned_blocks(fake):
    pool = devices.pinned_pool()
    block = pool.take(1000)
    assert memory.block_device(block) == memory.HOST_MEMORY and pool.stats().allocated
    shown = memory.new_array(np.ndarray, (1000,), np.dtype(np.uint8), block)
    shown[:] = 7
    assert ctypes.string_at(memory.block_address(block), 3) == b"\7\7\7"
    assert devices.pinned_pool() is pool


def test_threads_share_a_pool(fake):
    import threading

    pool, seen, clashes = devices.device_state().pool, set(), []

    def work():
        for i in range(300):
            block = pool.take(1000 + i % 7 * 500)
            where = memory.block_address(block)
            if where in seen:
                clashes.append(where)
            seen.add(where)
            seen.discard(where)
            if not i % 50:
                pool.trim()
            del block

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes
    pool.trim()
    assert pool.stats().allocated == 0


def test_another_driver_has_other_memory(faked):
    faked()
    first = devices.device_state()
    block = first.pool.take(100)
    faked()
    second = devices.device_state()
    assert second is not first
    del block  # comes back to its own pool
    assert first.pool.stats().allocated == second.pool.stats().allocated == 0


def test_every_thread_pins_with_a_context_of_its_own(fake, monkeypatch):
    entered = threading.local()
    use, pin = fake.use_device, fake.allocate_host

    def use_device(device):
        entered.yes = True
        use(device)

    def allocate_host(nbytes):
        assert getattr(entered, "yes", False)
        return pin(nbytes)

    monkeypatch.setattr(fake, "use_device", use_device)
    monkeypatch.setattr(fake, "allocate_host", allocate_host)
    devices.pinned_pool()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: devices.pinned_pool().take(4096)).result() is not None
