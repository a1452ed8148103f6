"""Device arrays: copies both ways, views, refusals; ops, gradients and traces through them."""

import copy
import pickle

import numpy as np
import pytest

import hybrid
from hybrid.backends.cuda import array
from hybrid.backends.cuda.machine import devices
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval, device
from hybrid.core.errors import DeviceError

SHAPES = [(), (0,), (5,), (3, 4), (2, 0, 3), (300, 301)]
DTYPES = [np.float32, np.float64, np.float16, dt.bfloat16, np.bool_, np.int8, np.uint64]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_there_and_back(fake, shape, dtype):
    given = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    value = array.from_numpy(given)
    assert (value.shape, value.dtype) == (given.shape, given.dtype)
    assert fake.arena.base <= array.address(value) < fake.arena.base + fake.arena.size
    back = array.to_numpy(value)
    assert type(back) is np.ndarray and back.dtype == given.dtype and back.flags.writeable
    assert back.tobytes() == given.tobytes() and back.shape == given.shape


def test_strided_host_arrays_are_copied_whole(fake):
    given = np.arange(24.0).reshape(4, 6)[::2, ::-3]
    assert (array.to_numpy(array.from_numpy(given)) == given).all()


@pytest.mark.parametrize(
    "index", [np.s_[1:, ::2], np.s_[::-1], np.s_[..., 1], np.s_[2:2], np.s_[None, 3]], ids=str
)
def test_views_come_back_as_they_are(fake, index):
    given = np.arange(20, dtype=np.float32).reshape(4, 5)
    value = array.from_numpy(given)
    there = given[index]
    offset = there.__array_interface__["data"][0] - given.__array_interface__["data"][0]
    shown = array.view(value, there.shape, there.strides, offset)
    assert array.block_of(shown) is array.block_of(value)
    assert (array.to_numpy(shown) == there).all()
    again = array.view(shown, shown.shape, shown.strides)
    assert array.address(again) == array.address(shown)


def test_sparse_views_are_gathered_on_the_device(simulated):
    x = hybrid.tensor(np.arange(400_000, dtype=np.float32).reshape(4000, 100), device="cuda")
    column = x[:, 3]
    simulated.log.clear()
    assert (column.numpy() == np.arange(4000) * 100 + 3).all()
    copied = [entry[-1] for entry in simulated.log if entry[0] == "to_host"]
    assert copied == [16000] and any(entry[0] == "kernel" for entry in simulated.log)


READS = {
    "array": lambda x: x.__array__(),
    "add": lambda x: x + 1,
    "sum": lambda x: np.sum(x),
    "method": lambda x: x.sum(),
    "item": lambda x: x.item(),
    "list": lambda x: x.tolist(),
    "index": lambda x: x[0],
    "write": lambda x: x.__setitem__(0, 1),
    "iter": lambda x: list(x),
    "copy": lambda x: copy.copy(x),
    "deepcopy": lambda x: copy.deepcopy(x),
    "pickle": lambda x: pickle.dumps(x),
    "astype": lambda x: x.astype(int),
    "bytes": lambda x: x.tobytes(),
    "float": lambda x: float(x),
    "bool": lambda x: bool(x),
    "contains": lambda x: 1 in x,
    "compare": lambda x: x == 1,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_host_does_not_read_it(fake, read):
    value = array.from_numpy(np.ones(1))
    with pytest.raises(DeviceError, match=r"\.cpu\(\)"):
        read(value)
    assert "on a CUDA device" in repr(value) and "on a CUDA device" in str(value)


def test_memory_goes_back(fake):
    record = aval((1000,), dt.float32, device("cuda"))
    first = array.empty(record)
    where = array.address(first)
    shown = array.view(first, (10,), (8,))
    del first
    assert array.address(array.empty(record)) != where  # the view holds it
    del shown
    assert array.address(array.maker(record)()) == where


def test_tensors_work(simulated):
    x = hybrid.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda", requires_grad=True)
    loss = (hybrid.exp(x) @ x).sum()
    loss.backward()
    on_host = hybrid.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    expected = (hybrid.exp(on_host) @ on_host).sum()
    expected.backward()
    assert x.device == "cuda" and loss.item() == expected.item()
    assert (x.grad.numpy() == on_host.grad.numpy()).all()
    assert x.cpu().device == "cpu" and (x.cpu().numpy() == on_host.numpy()).all()
    assert "cuda" in repr(x) and x[0, 1].item() == 2.0
    assert copy.deepcopy(x).device == "cuda"
    assert pickle.loads(pickle.dumps(x)).device == "cuda"


def test_traced_functions_work(simulated):
    @hybrid.function
    def step(x, y):
        return (x * y + 1).sum(axis=0)

    x = hybrid.ones((3, 4), device="cuda")
    for _ in range(4):
        result = step(x, x)
    assert result.device == "cuda" and result.tolist() == [6.0] * 4


def test_wrong_indices_raise(simulated):
    x = hybrid.zeros((3, 4), device="cuda")
    with pytest.raises(IndexError):
        hybrid.take(x, hybrid.tensor([0, 3], device="cuda"), axis=0).numpy()


def test_mixed_devices_are_both_named(faked):
    faked(cards=2)
    x, y = hybrid.ones(2, device="cuda"), hybrid.ones(2, device="cuda:1")
    assert (x + x).device == "cuda" and (y + y).device == "cuda:1"
    with pytest.raises(DeviceError, match="cuda.*cuda:1"):
        x + y
    with pytest.raises(DeviceError, match="cpu.*cuda:1|cuda:1.*cpu"):
        y + hybrid.ones(2)
    assert (x + y.to("cuda")).tolist() == [2.0, 2.0]


def test_devices_that_are_not_there(faked):
    faked(cards=1)
    with pytest.raises(DeviceError, match="no CUDA device 1.*there are 1"):
        hybrid.ones(2, device="cuda:1")


def test_a_card_may_be_too_old(faked):
    faked(capability=75)
    with pytest.raises(DeviceError, match=r"Fake 0.*7\.5.*too old"):
        hybrid.ones(2, device="cuda")


def test_cards_that_read_the_hosts_memory_are_waited_for(fake):
    array.from_numpy(np.ones(5))
    assert fake.calls[-1][0] == "to_device"
    devices.device_state(0).reads_host = True
    array.from_numpy(np.ones(5))
    assert fake.calls[-1][0] == "wait_stream"
