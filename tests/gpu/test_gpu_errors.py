"""Errors on the device: out-of-range indices with the user's line, mixed devices, no memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpu_device import DEVICE, HOST, IS_CUDA, SIMULATED, here, there

import hybrid
from hybrid.nn import functional as F


def look_up(table: Any, index: Any) -> Any:
    return hybrid.take(table, index, 0) * 2  # the line that errors name


LINE = look_up.__code__.co_firstlineno + 1


def names_the_line(raised: Any) -> bool:
    """The message does, or, where the call itself raised, the traceback."""
    entries = [entry.lineno + 1 for entry in raised.traceback if str(entry.path) == __file__]
    return f":{LINE}" in str(raised.value) or LINE in entries


def wait() -> None:
    """Until the device has done everything: a failed check raises where the host waits."""
    hybrid.backends.api.backend(hybrid.device(DEVICE).kind).synchronize()


def table() -> Any:
    return there(np.arange(12, dtype=np.float32).reshape(4, 3))


def test_an_index_out_of_range_raises_where_the_host_waits() -> None:
    with pytest.raises(IndexError, match="axis 0 has size 4") as raised:
        here(look_up(table(), there(np.array([0, 9]))))
    assert names_the_line(raised), raised.value
    wait()  # told once
    np.testing.assert_array_equal(here(look_up(table(), there(np.array([3])))), [[18, 20, 22]])


@pytest.mark.parametrize("bad", [[4, 0, 1], [0, 1, 4], [0, -5, 0]], ids=str)
def test_an_index_out_of_range_in_a_replay(bad: list[int]) -> None:
    traced = hybrid.function(look_up)
    good = there(np.array([0, 3, -1]))
    for _ in range(4):
        wanted = here(traced(table(), good))
    assert traced.cache_info().replays, traced.explain()
    with pytest.raises(IndexError, match="axis 0 has size 4") as raised:
        here(traced(table(), there(np.array(bad))))
    assert names_the_line(raised), raised.value
    wait()
    np.testing.assert_array_equal(here(traced(table(), good)), wanted)


def test_a_failed_step_leaves_weights_that_are_whole() -> None:
    """A step whose batch has a bad label or token raises; later steps work."""
    weight = there(np.ones((5, 4), np.float32), requires_grad=True)
    optimizer = hybrid.optim.SGD([weight], lr=0.1)

    def step(tokens: Any) -> Any:
        loss = (F.embedding(tokens, weight) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    traced = hybrid.function(step)
    good, bad = there(np.array([0, 1, 1])), there(np.array([0, 1, 7]))
    for _ in range(4):
        assert np.isfinite(traced(good).item())
    with pytest.raises(IndexError):
        traced(bad).item()
    wait()
    assert np.isfinite(here(weight)).all() and np.isfinite(traced(good).item())


def test_a_scatter_out_of_range_writes_nothing_outside() -> None:
    guard = hybrid.zeros(64, device=DEVICE)
    target = hybrid.zeros(8, device=DEVICE)
    behind = hybrid.zeros(64, device=DEVICE)
    table = there(np.ones((8, 3), np.float32), requires_grad=True)
    with pytest.raises(IndexError):
        F.embedding(there(np.array([1, 8000])), table).sum().backward()
        here(table.grad)
    wait()
    with pytest.raises(IndexError):
        target[there(np.array([1, 8000]))] = 5.0
        here(target)
    wait()
    assert not here(guard).any() and not here(behind).any()


def test_labels_out_of_range() -> None:
    with pytest.raises(IndexError):
        F.cross_entropy(there(np.zeros((2, 3), np.float32)), there(np.array([0, 3]))).item()
    wait()


def test_devices_do_not_mix() -> None:
    if hybrid.device(DEVICE) is hybrid.device(HOST):
        pytest.skip("one device only")
    with pytest.raises(hybrid.DeviceError) as raised:
        hybrid.ones(2, device=DEVICE) + hybrid.ones(2)
    assert DEVICE in str(raised.value) and HOST.name in str(raised.value)
    model = hybrid.nn.Linear(3, 2)
    with pytest.raises(hybrid.DeviceError):
        model(hybrid.ones(1, 3, device=DEVICE))


def test_nothing_moves_by_itself() -> None:
    x = hybrid.ones(3, device=DEVICE)
    assert (x + 1).device == x.device and (x * np.float32(2)).device == x.device
    assert x.to(HOST).device == HOST and x.to(DEVICE) is x


@pytest.mark.skipif(not IS_CUDA, reason="fills the memory of a card")
def test_out_of_memory_says_what_to_do() -> None:
    kept = [hybrid.zeros(1 << 20, device=DEVICE)]
    with pytest.raises((MemoryError, hybrid.HybridError)) as raised:
        for _ in range(3):
            kept.append(hybrid.zeros(1 << (30 if SIMULATED else 38), device=DEVICE))
    assert "memory" in str(raised.value).lower()
    del kept[1:]
    assert here(kept[0] + 1).all()


@pytest.mark.skipif(not IS_CUDA, reason="asks for a device by number")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(hybrid.DeviceError, match="99"):
        hybrid.ones(1, device="cuda:99")
