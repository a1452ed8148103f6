"""hybrid.cuda: devices, streams, events, figures of memory, the timeline; without a card, too."""

import numpy as np
import pytest

import hybrid
from hybrid.backends.cuda.machine import driver
from hybrid.core.errors import ArgumentError, DeviceError, HybridError

MEGABYTE = 1 << 20


@pytest.fixture
def no_driver(monkeypatch):
    """A machine without NVIDIA's library."""
    monkeypatch.setattr(driver.ctypes, "CDLL", _missing)
    before = driver.use(None)
    driver._library.cache_clear()
    yield
    driver.use(before)
    driver._library.cache_clear()


LOAD = driver.ctypes.CDLL


def _missing(name, *more, **named):
    if "cuda" in str(name):
        raise OSError(f"{name}: cannot open shared object file")
    return LOAD(name, *more, **named)


NEEDY = {
    "ones": lambda: hybrid.ones(2, device="cuda"),
    "to": lambda: hybrid.ones(2).to("cuda"),
    "cuda": lambda: hybrid.ones(2).cuda(),
    "pin": lambda: hybrid.ones(2).pin_memory(),
    "synchronize": hybrid.cuda.synchronize,
    "name": hybrid.cuda.get_device_name,
    "stream": hybrid.cuda.Stream,
    "memory": hybrid.cuda.memory_allocated,
    "snapshot": hybrid.cuda.memory_snapshot,
    "manual_seed": lambda: hybrid.cuda.manual_seed(0),
}


@pytest.mark.parametrize("call", NEEDY.values(), ids=NEEDY)
def test_without_a_driver_errors_say_so(no_driver, call):
    with pytest.raises(DeviceError, match="no NVIDIA driver is installed.*device='cpu'"):
        call()


def test_asking_needs_no_driver(no_driver):
    assert hybrid.cuda.device_count() == 0 and not hybrid.cuda.is_available()
    hybrid.cuda.empty_cache()
    hybrid.cuda.manual_seed_all(3)
    hybrid.cuda.Event()
    assert not hybrid.ones(2).is_pinned()
    assert "cuda" in hybrid.describe_system() and "no NVIDIA driver" in hybrid.describe_system()


def test_too_old_a_driver(monkeypatch):
    class Library:
        def cuInit(self, flags):
            return 0

        def cuDriverGetVersion(self, place):
            place._obj.value = 11080
            return 0

    monkeypatch.setattr(driver, "_library", Library)
    with pytest.raises(DeviceError, match=r"serves CUDA 11\.8, hybrid needs 12\.0"):
        driver.CudaDriver()


def test_devices(faked):
    faked(cards=2)
    cuda = hybrid.cuda
    assert cuda.is_available() and cuda.device_count() == 2
    assert cuda.get_device_name() == "Fake 0" and cuda.get_device_name("cuda:1") == "Fake 1"
    assert cuda.get_device_capability(1) == (9, 0)
    found = cuda.get_device_properties()
    assert (found.name, found.multi_processor_count) == ("Fake 0", 132)
    assert found.total_memory == 1 << 28 and found.max_threads_per_multi_processor == 2048
    assert cuda.current_device() == 0
    with cuda.device(1):
        assert cuda.current_device() == 1 and cuda.get_device_name() == "Fake 1"
        assert hybrid.ones(2).cuda().device == "cuda:1"
        assert hybrid.ones(2, device="cuda").device == "cuda"  # what is named is what is meant
        with cuda.device("cuda"):
            assert cuda.current_device() == 0
        assert cuda.current_device() == 1
    assert cuda.current_device() == 0
    cuda.set_device("cuda:1")
    try:
        assert cuda.current_device() == 1 and cuda.current_stream().device == "cuda:1"
    finally:
        cuda.set_device(0)


def test_modules_move(faked):
    faked(cards=2)
    model = hybrid.nn.Linear(2, 3)
    weight = model.weight.tolist()
    assert model.cuda() is model and model.weight.device == "cuda"
    assert model.weight.requires_grad and model.weight.tolist() == weight
    with hybrid.cuda.device(1):
        assert model.cuda().bias.device == "cuda:1"
    assert model.cuda(0).bias.device == model.cuda("cuda:0").bias.device == "cuda"
    assert model.cpu().weight.device == "cpu" and model.weight.tolist() == weight


def test_a_forked_process_is_told(fake, monkeypatch):
    x = hybrid.ones(2, device="cuda")
    monkeypatch.setattr(driver, "CudaDriver", type(fake))
    driver._in_child()
    for call in (lambda: hybrid.ones(2, device="cuda"), x.item, x.numpy, lambda: x + 1):
        with pytest.raises(DeviceError, match="forked process.*spawn"):
            call()
    assert not hybrid.cuda.is_available()


@pytest.mark.parametrize(
    ("device", "kind", "text"),
    [
        (5, DeviceError, "no CUDA device 5"),
        (-1, DeviceError, "no CUDA device -1"),
        ("cpu", DeviceError, "cpu is no CUDA device"),
        ("cuda:9", DeviceError, "no CUDA device 9"),
        (1.5, ArgumentError, "a number or a name"),
        (True, ArgumentError, "a number or a name"),
    ],
)
def test_wrong_devices(fake, device, kind, text):
    with pytest.raises(kind, match=text):
        hybrid.cuda.synchronize(device)


def test_streams_are_in_order(fake):
    cuda = hybrid.cuda
    side = cuda.Stream()
    assert cuda.current_stream() == cuda.default_stream() != side
    fake.calls.clear()
    with cuda.stream(side) as entered:
        assert entered is side and cuda.current_stream() == side
        hybrid.tensor([1.0], device="cuda")
        with cuda.default_stream(), cuda.stream(None):
            assert cuda.current_stream() == cuda.default_stream()
        assert cuda.current_stream() == side
    assert cuda.current_stream().cuda_stream == 0
    orders = [c for c in fake.calls if c[0] in ("record", "wait_event")]
    streams = [c[2] if c[0] == "record" else c[1] for c in orders]
    assert streams == [0, side.cuda_stream, side.cuda_stream, 0] * 2  # each waits for the other
    assert ("to_device", 4, side.cuda_stream) in fake.calls
    side.synchronize()
    assert side.query() and side.__cuda_stream__() == (0, side.cuda_stream)
    assert ("wait_stream", side.cuda_stream) in fake.calls
    handle = side.cuda_stream
    del side, entered
    assert ("drop_stream", handle) in fake.calls


def test_a_stream_that_dies_is_not_current(fake):
    side = hybrid.cuda.Stream()
    side.__enter__()
    del side
    assert hybrid.cuda.current_stream().cuda_stream == 0


def test_foreign_streams(fake):
    class Protocol:
        def __cuda_stream__(self):
            return (0, 77)

    class Torch:
        cuda_stream = 78

    class CuPy:
        ptr = 79

    handles = [hybrid.cuda.ExternalStream(s).cuda_stream for s in (Protocol(), Torch(), CuPy(), 80)]
    assert handles == [77, 78, 79, 80]
    assert not [c for c in fake.calls if c[0] == "drop_stream"]
    with pytest.raises(ArgumentError, match="str is no CUDA stream"):
        hybrid.cuda.ExternalStream("x")


def test_events(fake):
    cuda = hybrid.cuda
    start, stop = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    assert start.query()
    start.record()
    side = cuda.Stream()
    side.record_event(stop)
    start.wait(side)
    side.wait_stream(cuda.current_stream())
    start.synchronize()
    assert start.elapsed_time(stop) == 1.5 and stop.query()
    plain = side.record_event()
    with pytest.raises(HybridError, match="enable_timing=True"):
        plain.elapsed_time(stop)
    with pytest.raises(HybridError, match="were recorded"):
        cuda.Event(enable_timing=True).elapsed_time(stop)
    assert ("finish_event", start.cuda_event) in fake.calls


def test_figures(fake):
    cuda = hybrid.cuda
    x = hybrid.zeros((MEGABYTE,), dtype="float32", device="cuda")
    assert cuda.memory_allocated() == 4 * MEGABYTE == cuda.max_memory_allocated()
    del x
    assert cuda.memory_allocated() == 0 and cuda.max_memory_allocated() == 4 * MEGABYTE
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == 0
    assert cuda.memory_reserved() == cuda.max_memory_reserved() > 0
    cuda.empty_cache()
    assert cuda.memory_reserved() == 0
    free, total = cuda.mem_get_info()
    assert total == 1 << 28 and 0 < free < total


def test_seeds(simulated):
    hybrid.cuda.manual_seed(5)
    first = hybrid.rand(4, device="cuda").tolist()
    hybrid.cuda.manual_seed(5)
    assert hybrid.rand(4, device="cuda").tolist() == first
    hybrid.cuda.manual_seed_all(5)
    assert hybrid.rand(4, device="cuda").tolist() == first


@pytest.mark.usefixtures("whole_calls")
def test_a_recording_is_told(simulated):
    calls = {
        "synchronize": hybrid.cuda.synchronize,
        "memory": hybrid.cuda.memory_allocated,
        "event": lambda: hybrid.cuda.Event().record(),
        "device": hybrid.cuda.current_device,
    }
    for call in calls.values():

        @hybrid.function
        def step(x, call=call):
            call()
            return x + 1

        x = hybrid.ones(2, device="cuda")
        with pytest.warns(hybrid.RunsEagerly):
            assert [step(x).tolist() for _ in range(3)] == [[2.0, 2.0]] * 3


# ---- snapshots
def test_a_snapshot_says_who_holds_what(fake):
    held = {"weight": hybrid.zeros((256, 1024), device="cuda")}
    snapshot = hybrid.cuda.memory_snapshot()
    assert snapshot.holders == [(MEGABYTE, "1 tensor of float32 (256, 1024), such as 'weight'")]
    assert "Fake 0: 1.0 MB used" in str(snapshot) and held
    with pytest.raises(HybridError, match="nothing was recorded"):
        snapshot.plot()


def test_the_timeline_adds_up(fake, tmp_path):
    pytest.importorskip("matplotlib")
    before = hybrid.zeros((1000,), device="cuda")
    with hybrid.cuda.record_memory():
        kept = [hybrid.zeros((n * 128,), device="cuda") for n in range(1, 6)]
        first = hybrid.ones((MEGABYTE // 4,), device="cuda")
        del first, kept[2:]
        second = hybrid.full((MEGABYTE // 8,), 3.0, device="cuda")
        del before
    snapshot = hybrid.cuda.memory_snapshot()
    shown = snapshot.timeline
    assert (shown.held >= 0).all()
    assert shown.total[-1] == snapshot.allocated == hybrid.cuda.memory_allocated()
    assert shown.total[0] == 4096  # what was there before
    line, nbytes = shown.fullest()[0]
    assert "hybrid.ones((MEGABYTE" in line and nbytes == MEGABYTE
    assert "at the fullest moment" in str(snapshot) and line in str(snapshot)
    figure = snapshot.plot(tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 10_000 and figure.axes
    assert second.size and np.all(np.diff(shown.seconds) >= 0)
