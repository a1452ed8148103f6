"""Small values are read by one native call; what it cannot do is done in the ordinary way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from host_kernels import HostDriver, host_cards

import hybrid
from hybrid.backends.cuda import array
from hybrid.backends.cuda.machine.devices import device_state
from hybrid.backends.cuda.machine.transfer import BUSY, LARGEST, Transfer
from hybrid.core import dtypes as dt
from hybrid.core.errors import DeviceError

DTYPES = [np.float32, np.float64, np.float16, dt.bfloat16, np.bool_, np.int8, np.uint64]


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read in the ordinary way had."""
    noted: list[int] = []
    read = Transfer.read

    def counted(self: Any, shape: Any, dtype: Any, source: int, nbytes: int) -> np.ndarray:
        noted.append(nbytes)
        return read(self, shape, dtype, source, nbytes)

    monkeypatch.setattr(Transfer, "read", counted)
    return noted


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_values_come_back_as_they_are(fake, ordinary, shape, dtype):
    given = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    tensor = hybrid.tensor(given, device="cuda")
    for _ in range(2):
        back = tensor.numpy()
        assert type(back) is np.ndarray and back.dtype == given.dtype and back.shape == shape
        assert back.tobytes() == given.tobytes() and not back.flags.writeable
    assert tensor.tolist() == hybrid.tensor(given).tolist()
    if given.size == 1:
        number = tensor.item()
        assert number == hybrid.tensor(given).item() and bool(tensor) == bool(given)
    assert not ordinary


def test_a_read_is_a_copy(fake):
    tensor = hybrid.tensor([1.0, 2.0], device="cuda")
    first, second = np.asarray(tensor.numpy()), np.asarray(tensor.numpy())
    assert not np.shares_memory(first, second)


def test_what_is_no_small_piece_is_read_in_the_ordinary_way(simulated, ordinary):
    rows = hybrid.tensor(np.arange(12.0).reshape(3, 4), device="cuda")
    assert rows.T.tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert rows[1].tolist() == [4, 5, 6, 7] and not ordinary
    assert hybrid.zeros((0, 3), device="cuda").tolist() == []
    large = np.arange(LARGEST // 8 + 1)
    assert (hybrid.tensor(large, device="cuda").numpy() == large).all()
    whole = large[1:]
    assert (hybrid.tensor(whole, device="cuda").numpy() == whole).all() and not ordinary


def test_another_thread_that_reads_is_not_waited_for(fake, ordinary):
    tensor = hybrid.tensor([1.0, 2.0], device="cuda")
    table = device_state().transfer._table
    tensor.numpy()
    table[BUSY // 8] = 1
    assert tensor.tolist() == [1.0, 2.0] and ordinary == [8]
    table[BUSY // 8] = 0
    assert tensor.tolist() == [1.0, 2.0] and ordinary == [8]


def test_threads_read_their_own_values(fake):
    tensors = [hybrid.full((n + 1,), float(n), device="cuda") for n in range(4)]
    for n, tensor in enumerate(tensors):  # the fake card runs no kernel
        tensor._v = array.from_numpy(np.full(n + 1, float(n), np.float32))
    wrong: list[Any] = []

    def read(n: int) -> None:
        wrong.extend(x for _ in range(200) if (x := tensors[n].tolist()) != [float(n)] * (n + 1))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_card_of_its_own_for_each_driver(faked):
    for _ in range(2):
        faked()
        assert hybrid.tensor([3.0], device="cuda").item() == 3.0
    faked(cards=2)
    there = hybrid.tensor([4.0], device="cuda:1")
    assert (hybrid.tensor([3.0], device="cuda").item(), there.item()) == (3.0, 4.0)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch):
    with host_cards(monkeypatch) as made:
        yield made


@pytest.mark.parametrize("name", ["cuMemcpyDtoHAsync_v2", "cuStreamSynchronize", "cuCtxSetCurrent"])
def test_what_the_driver_refuses_is_told(card: HostDriver, name: str) -> None:
    tensor = hybrid.tensor([1.0, 2.0], device="cuda")
    tensor.numpy()
    card.fail[name] = 700
    with pytest.raises(DeviceError, match="700"):
        tensor.numpy()
    card.fail.clear()
    assert tensor.tolist() == [1.0, 2.0]


def test_recordings_hear_of_reads(card: HostDriver) -> None:
    seen: list[float] = []

    @hybrid.function
    def step(x: Any) -> Any:
        total = (x * 2.0).sum()
        seen.append(total.item())
        return total + 1.0

    for number in range(5):
        x = hybrid.tensor([float(number), 1.0], device="cuda")
        assert step(x).item() == 2.0 * number + 3.0
    assert seen == [2.0 * number + 2.0 for number in range(5)]
