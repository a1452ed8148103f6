"""The device's arrays in the hands of CuPy and PyTorch, and theirs in ours; pinned memory, streams
and events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from gpu_device import DEVICE, IS_CUDA, SIMULATED, here, same, there

import hybrid

pytestmark = [
    pytest.mark.skipif(not IS_CUDA, reason="is about memory of CUDA devices"),
    pytest.mark.filterwarnings("ignore"),  # those of the other libraries
]
DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "bool")


def sample(dtype: str = "float32") -> np.ndarray:
    return (np.arange(24).reshape(4, 6) % 5).astype(dtype)


@pytest.fixture(scope="module")
def torch() -> Any:
    if SIMULATED:
        pytest.skip("the card is simulated")
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    return found


@pytest.fixture(scope="module")
def cupy() -> Any:
    if SIMULATED:
        pytest.skip("the card is simulated")
    return pytest.importorskip("cupy")


def test_what_an_array_says_of_itself() -> None:
    x = there(sample())
    interface = x.__cuda_array_interface__
    assert interface["shape"] == (4, 6) and interface["typestr"] == "<f4"
    assert interface["data"][0] % 16 == 0 and interface["version"] >= 2
    assert x[:, 1].__cuda_array_interface__["data"][0] == interface["data"][0] + 4
    assert x.__dlpack_device__() == (2, 0)
    assert not hasattr(hybrid.ones(2), "__cuda_array_interface__")


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_torch_reads_ours_and_we_read_theirs(torch: Any, dtype: str) -> None:
    x = there(sample("float32")).to(dtype)
    theirs = torch.from_dlpack(x)
    assert theirs.is_cuda and str(theirs.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(theirs.float().cpu().numpy(), here(x.to("float32")))
    if dtype != "bool":
        back = hybrid.asarray(theirs * 2)
        assert back.device.type == "cuda" and back.dtype == x.dtype
        same(back, x * 2)


def test_torch_shares_memory_and_strides(torch: Any) -> None:
    theirs = torch.arange(30.0, device="cuda").reshape(5, 6)
    ours = hybrid.asarray(theirs.T[1:, ::2])
    np.testing.assert_array_equal(here(ours), theirs.T[1:, ::2].cpu().numpy())
    same(ours @ hybrid.ones(3, 2, device=DEVICE), there(here(ours) @ np.ones((3, 2), np.float32)))
    view = torch.from_dlpack(there(sample())[1:, ::2])
    np.testing.assert_array_equal(view.cpu().numpy(), sample()[1:, ::2])
    del theirs
    np.testing.assert_array_equal(here(ours)[0], [1, 13, 25])


def test_work_of_both_is_in_order(torch: Any) -> None:
    """What one library computes last is what the other one reads, on streams of their own too."""
    total = there(np.zeros(1 << 20, np.float32))
    for turn in range(20):
        seen = torch.from_dlpack(total + 1)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            total = hybrid.asarray(seen * 2)
        assert here(total)[0] == 2 ** (turn + 2) - 2 == here(total)[-1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_reads_ours_and_we_read_theirs(cupy: Any, dtype: str) -> None:
    x = there(sample(dtype))
    for theirs in (cupy.from_dlpack(x), cupy.asarray(x)):
        assert theirs.dtype == dtype
        np.testing.assert_array_equal(cupy.asnumpy(theirs), sample(dtype))
    made = cupy.asarray(sample(dtype))[:, ::2]
    same(hybrid.asarray(made), there(sample(dtype)[:, ::2]))


def test_arrays_outlive_their_makers(cupy: Any) -> None:
    theirs = cupy.from_dlpack(there(sample()) * 3)
    ours = hybrid.asarray(cupy.arange(1000, dtype="float32") * 2)
    for _ in range(20):
        hybrid.full((1000,), -1.0, device=DEVICE)
        cupy.full(1000, -1.0, "float32")
    np.testing.assert_array_equal(cupy.asnumpy(theirs), sample() * 3)
    np.testing.assert_array_equal(here(ours), np.arange(1000) * 2)


def test_a_replay_takes_arrays_of_others(torch: Any) -> None:
    traced = hybrid.function(lambda x: hybrid.exp(x) * 2)
    for seed in range(6):
        theirs = torch.randn(33, device="cuda", generator=None) * seed
        found = traced(hybrid.asarray(theirs))
        same(found, hybrid.exp(hybrid.tensor(theirs.cpu().numpy())) * 2)
    assert traced.cache_info().replays


def test_pinned_memory_and_copies_beside_work() -> None:
    array = np.arange(1 << 18, dtype=np.float32)
    pinned = hybrid.tensor(array).pin_memory()
    assert pinned.is_pinned() and not hybrid.tensor(array).is_pinned()
    kept = []
    for turn in range(8):
        kept.append(pinned.to(DEVICE, non_blocking=True) + turn)
    for turn, moved in enumerate(kept):
        np.testing.assert_array_equal(here(moved), array + np.float32(turn))


def test_a_pinned_source_may_go_at_once() -> None:
    moved = []
    for turn in range(10):
        source = hybrid.tensor(np.full(1 << 16, turn, np.float32)).pin_memory()
        moved.append(source.to(DEVICE, non_blocking=True))
        del source
    for turn, tensor in enumerate(moved):
        assert (here(tensor) == turn).all()


def test_streams_and_events() -> None:
    side, start, stop = hybrid.cuda.Stream(), *(hybrid.cuda.Event(enable_timing=True) for _ in "ab")
    x = there(np.ones((256, 256), np.float32))
    with side:
        start.record()
        y = x @ x
        for _ in range(5):
            y = y * 0.5 + 1
        stop.record()
    stop.synchronize()
    assert stop.query() and side.query()
    assert start.elapsed_time(stop) > 0 or SIMULATED
    wanted = np.float32(256)
    for _ in range(5):
        wanted = wanted * np.float32(0.5) + np.float32(1)
    assert (here(y) == wanted).all()
    hybrid.cuda.synchronize()


def test_replays_on_a_stream() -> None:
    traced = hybrid.function(lambda x: (x @ x).sum(0))
    x = there(np.eye(64, dtype=np.float32) * 2)
    wanted = here(traced(x))
    side = hybrid.cuda.Stream()
    for turn in range(8):
        with side if turn % 2 else hybrid.cuda.default_stream():
            found = traced(x)
        np.testing.assert_array_equal(here(found), wanted)


@pytest.mark.parametrize("count", [4, 1 << 12, 1 << 18, 1 << 24])
def test_a_host_array_may_change_at_once(count: int) -> None:
    """Also while the device is busy, so that the copy cannot have happened yet."""
    busy = there(np.ones((64, 64) if SIMULATED else (4096, 4096), np.float32))
    source = np.full(count // 64 if SIMULATED else count, 3, np.float32)
    for _ in range(5):
        busy = busy @ busy * 1e-4
    moved = there(source)
    source[:] = 7
    assert (here(moved) == 3).all()


def test_a_fresh_thread_works_with_what_another_made() -> None:
    x, event = there(np.ones(1000, np.float32)), hybrid.cuda.Event()
    event.record()
    (x + x).sum()

    def work() -> tuple[Any, bool, bool]:
        total = (x + x).sum()
        event.synchronize()
        pinned = hybrid.tensor(np.ones(1 << (12 if SIMULATED else 24), np.float32)).pin_memory()
        return total, event.query(), bool((here(pinned.to(DEVICE)) == 1).all())

    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(work) for _ in range(4)]:
                total, seen, moved = done.result()
                assert total.item() == 2000 and seen and moved
