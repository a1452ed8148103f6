"""Arrays between libraries: capsules, interfaces, ownership, order of streams; pinned memory."""

import gc
import weakref

import numpy as np
import pytest

import hybrid
from hybrid.backends.cuda import array, exchange
from hybrid.backends.cuda.machine import devices
from hybrid.core import dtypes as dt
from hybrid.core.errors import DeviceError, DTypeError

DTYPES = [np.float32, np.float64, np.float16, dt.bfloat16, np.bool_, np.int8, np.uint64, np.int32]


class Theirs:
    """Another library's array: only DLPack, with the arguments of `__dlpack__` noted."""

    def __init__(self, value, old=False):
        self.value, self.old, self.asked = value, old, None

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **asked):
        if self.old and "max_version" in asked:
            raise TypeError("unexpected keyword")
        self.asked = asked
        return exchange.capsule_of(self.value, **asked)


class Interface:
    """Another library's array with an array interface only."""

    def __init__(self, told):
        self.__cuda_array_interface__ = told


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("old", [False, True])
def test_capsules_carry_arrays(fake, dtype, old):
    given = np.arange(24).astype(dtype).reshape(2, 3, 4)
    theirs = Theirs(array.from_numpy(given), old)
    for made in (hybrid.from_dlpack(theirs), hybrid.asarray(theirs), hybrid.tensor(theirs)):
        assert made.device == "cuda" and made.dtype == given.dtype
        assert made.cpu().numpy().tobytes() == given.tobytes()
    assert theirs.asked["stream"] == 1


def test_strides_and_offsets_survive(fake):
    given = np.arange(24, dtype=np.float32).reshape(4, 6)
    value = array.from_numpy(given)
    shown = array.view(value, (2, 3), (48, -4), 20)
    expected = given[::2, 5:2:-1]
    assert (array.to_numpy(shown) == expected).all()
    shared = hybrid.from_dlpack(Theirs(shown))
    assert shared._v.strides == shown.strides and (shared.numpy() == expected).all()
    copied = hybrid.tensor(Theirs(shown))
    assert copied._v.flags.c_contiguous and (copied.numpy() == expected).all()


def test_memory_is_shared_or_copied(fake):
    value = array.from_numpy(np.zeros(4, np.float32))
    shared = hybrid.from_dlpack(Theirs(value))
    copied = hybrid.asarray(Theirs(value))
    assert array.address(shared._v) == array.address(value) != array.address(copied._v)
    with pytest.raises(ValueError, match="copy"):
        hybrid.asarray(Theirs(value), dtype="float64", copy=False)
    with pytest.raises(ValueError, match="copy"):
        hybrid.from_dlpack(Theirs(value), device="cpu", copy=False)
    assert hybrid.from_dlpack(Theirs(value), device="cpu").device == "cpu"


def test_both_sides_let_go(fake):
    x = hybrid.tensor([1.0, 2.0], device="cuda")
    capsule = x.__dlpack__(max_version=(1, 0))
    assert len(exchange._GIVEN) == 1 and "dltensor_versioned" in repr(capsule)
    del capsule  # nobody took it
    assert not exchange._GIVEN
    y = hybrid.from_dlpack(x)
    assert y is x  # ours already
    y = hybrid.from_dlpack(Theirs(x._v))
    assert len(exchange._GIVEN) == 1 and y.tolist() == [1.0, 2.0]
    where = array.address(x._v)
    del x
    z = y[1:]
    del y
    gc.collect()
    assert not hasattr(z, "missing") and array.address(hybrid.ones(2, device="cuda")._v) != where
    del z
    gc.collect()
    assert not exchange._GIVEN


def test_empty_arrays_and_scalars(fake):
    for given in (np.zeros((0, 3), np.float32), np.float64(3.5).reshape(())):
        made = hybrid.from_dlpack(Theirs(array.from_numpy(given)))
        assert made.shape == given.shape and made.numpy().tobytes() == given.tobytes()


def test_the_host_array_way_is_as_before():
    x = np.arange(3.0)
    assert hybrid.from_dlpack(x).tolist() == [0.0, 1.0, 2.0]
    assert hybrid.from_dlpack(hybrid.ones(2)).tolist() == [1.0, 1.0]
    assert np.from_dlpack(hybrid.ones(2)).tolist() == [1.0, 1.0]
    assert not hasattr(hybrid.ones(2), "__cuda_array_interface__")


def test_interfaces(fake):
    x = hybrid.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda")
    told = x.__cuda_array_interface__
    assert told["shape"] == (2, 2) and told["typestr"] == "<f4" and told["strides"] is None
    assert told["data"] == (array.address(x._v), True) and told["stream"] == 1
    foreign = Interface(told)
    seen = weakref.ref(foreign)
    shared = hybrid.asarray(foreign, copy=False)
    del foreign
    assert shared.tolist() == x.tolist() and array.address(shared._v) == told["data"][0]
    gc.collect()
    assert seen() is not None  # the owner of the memory lives on
    del shared
    gc.collect()
    assert seen() is None
    assert (x + Interface(told)).tolist() == (x + x).tolist()
    with pytest.raises(DTypeError, match="masked"):
        hybrid.asarray(Interface({**told, "mask": foreign_mask()}))
    assert not hasattr(x.astype("bfloat16"), "__cuda_array_interface__")


def foreign_mask():
    return object()


def test_order_of_streams(fake):
    state = devices.device_state()
    x = hybrid.ones(3, device="cuda")
    fake.calls.clear()
    x.__dlpack__(stream=1, max_version=(1, 0))
    x.__dlpack__(max_version=(1, 0))
    x.__dlpack__(stream=-1, max_version=(1, 0))
    assert not fake.calls
    x.__dlpack__(stream=77, max_version=(1, 0))
    (record, event, source), (wait, target, same) = fake.calls
    assert (record, source, wait, target) == ("record", 0, "wait_event", 77) and event == same
    fake.calls.clear()
    theirs = Theirs(x._v)
    state.use_stream(5)
    hybrid.from_dlpack(theirs)
    assert theirs.asked["stream"] == 5
    state.use_stream(0)


def test_another_device_is_refused(fake):
    x = hybrid.ones(3, device="cuda")
    assert x.__dlpack_device__() == (2, 0)
    with pytest.raises(BufferError, match="own device"):
        x.__dlpack__(dl_device=(1, 0))


@pytest.mark.usefixtures("whole_calls")
def test_a_trace_says_what_it_cannot_keep(fake):
    theirs = Theirs(array.from_numpy(np.ones(3, np.float32)))

    @hybrid.function
    def add(x):
        return x + hybrid.asarray(theirs)

    x = hybrid.ones(3, device="cuda")
    with pytest.warns(hybrid.RunsEagerly):
        assert [add(x).tolist() for _ in range(3)] == [[2.0] * 3] * 3


# ---- pinned memory and copies that do not wait
def test_pinned_tensors(fake):
    x = hybrid.tensor([1.0, 2.0, 3.0])
    assert not x.is_pinned()
    pinned = x.pin_memory()
    assert pinned.is_pinned() and pinned.device == "cpu" and pinned.tolist() == x.tolist()
    assert pinned.pin_memory() is pinned and not (pinned + 1).is_pinned()
    assert pinned[1:].is_pinned()
    there = pinned.to("cuda", non_blocking=True)
    assert there.tolist() == x.tolist() and not there.is_pinned()
    with pytest.raises(DeviceError, match="only tensors of cpu"):
        there.pin_memory()


def test_copies_on_the_lane_are_in_order(fake):
    state = devices.device_state()
    x = hybrid.tensor(np.arange(1000, dtype=np.float32)).pin_memory()
    fake.calls.clear()
    there = x.cuda(non_blocking=True)
    kinds = [call[0] for call in fake.calls if call[0] != "allocate"]
    assert kinds == ["record", "wait_event", "to_device", "record", "wait_event"]
    copied = next(call for call in fake.calls if call[0] == "to_device")
    lane = copied[2]
    assert lane != 0
    assert [c for c in fake.calls if c[0] == "wait_event"][-1][1] == state.stream
    where = array.address(there._v)
    del there
    again = x.cuda(non_blocking=True)  # its last use may not be done: other memory
    assert array.address(again._v) != where
    third = x.cuda(non_blocking=True)  # the driver says it is done
    assert array.address(third._v) == where
    del again, third
    hybrid.backends.api.backend("cuda").trim()
    assert state.pool.stats().allocated == 0


def test_memory_on_its_way_is_not_freed(fake, monkeypatch):
    monkeypatch.setattr(fake, "event_done", lambda event: False)
    x = hybrid.tensor([1.0, 2.0]).pin_memory()
    where = x._v.__array_interface__["data"][0]
    x.cuda(non_blocking=True)
    del x
    gc.collect()
    assert hybrid.tensor([3.0, 4.0]).pin_memory()._v.__array_interface__["data"][0] != where
    monkeypatch.undo()


def test_unknown_memory_is_waited_for(fake):
    devices.device_state()
    fake.calls.clear()
    array.from_numpy(np.ones(3))
    array.from_numpy(np.ones((4, 4))[1:])
    assert not [call for call in fake.calls if call[0] == "wait_stream"]
    array.from_numpy(np.frombuffer(bytearray(16)))
    assert [call for call in fake.calls if call[0] == "wait_stream"]


def test_between_devices(faked):
    fake = faked(cards=2)
    x = hybrid.tensor(np.arange(6.0).reshape(2, 3), device="cuda:1")
    devices.device_state(0)
    fake.calls.clear()
    y = x.to("cuda")
    assert y.device == "cuda" and not [c for c in fake.calls if c[0] in ("to_host", "to_device")]
    assert y.tolist() == x.tolist() and array.device_of(y._v) == 0
    assert x.cuda(1) is x and x.cuda(0).device == "cuda" and x.cuda("cuda:0").device == "cuda"


# ---- capsules against NumPy's, over memory that the host can read here
class AsHost:
    """A value of the simulated card for a consumer of host memory."""

    def __init__(self, value):
        self.value = value

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return exchange.capsule_of(self.value, None, max_version, None, copy)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64, np.bool_, np.float16])
def test_numpy_reads_our_capsules(fake, monkeypatch, dtype):
    monkeypatch.setattr(exchange, "CUDA", 1)
    given = np.arange(24).reshape(4, 6).astype(dtype)
    value = array.from_numpy(given)
    shown = array.view(value, (2, 3), (value.strides[0] * 2, value.strides[1]), value.itemsize)
    read = np.from_dlpack(AsHost(shown))
    assert read.dtype == given.dtype and (read == given[::2, 1:4]).all()
    assert not read.flags.writeable and read.strides == shown.strides
    assert len(exchange._GIVEN) == 1
    del read
    gc.collect()
    assert not exchange._GIVEN
    written = np.from_dlpack(AsHost(value), copy=True)
    assert written.flags.writeable and (written == given).all()
    del written
    gc.collect()
    assert not exchange._GIVEN


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_we_read_numpy_capsules(fake, version):
    given = np.arange(24.0).reshape(4, 6)[::-2, 1:]
    held, theirs = weakref.ref(given), [given]

    class Foreign:
        def __dlpack_device__(self):
            return (2, 0)

        def __dlpack__(self, stream=None, max_version=None):
            return theirs[0].__dlpack__(max_version=version)

    made = hybrid.from_dlpack(Foreign())._v
    assert (made.shape, made.strides, made.dtype) == (given.shape, given.strides, given.dtype)
    assert array.address(made) == given.__array_interface__["data"][0]
    del given
    theirs.clear()
    gc.collect()
    assert held() is not None
    del made
    gc.collect()
    assert held() is None
