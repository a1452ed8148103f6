"""The simulated driver: memory, launches, capture and graphs as NVIDIA's driver has them."""

import ctypes

import numpy as np
import pytest
from gpu import MemoryFault, Race, SimulatedDriver

from hybrid.backends.cuda.machine.driver import CudaDriver, Driver, OutOfMemory
from hybrid.core.errors import DeviceError

ADD = """.version 7.8
.target sm_90
.address_size 64
.visible .global .align 4 .b32 step = 1;
.visible .entry add(.param .u64 .ptr .align 1 place, .param .b64 amount)
.maxntid 64
{
    .reg .b32 %r<4>; .reg .b64 %rd<6>;
    ld.param.b64 %rd1, [place]; ld.param.b32 %r3, [amount];
    mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    ld.global.b32 %r2, [%rd3]; mad.lo.s32 %r2, %r2, 2, %r3;
    mov.b64 %rd4, step; ld.global.b32 %r3, [%rd4]; add.s32 %r2, %r2, %r3;
    st.global.b32 [%rd3], %r2; ret;
}
"""


def words(place, amount):
    return (ctypes.c_uint64 * 2)(place, amount)


@pytest.fixture
def card():
    return SimulatedDriver(8 << 20)


def read(card, address, count=64):
    out = np.zeros(count, "u4")
    card.to_host(out.ctypes.data, address, out.nbytes)
    return out


def test_it_has_every_method_of_a_driver():
    for name in [n for n in vars(Driver) if not n.startswith("_")]:
        assert callable(getattr(SimulatedDriver, name)), name
        assert callable(getattr(CudaDriver, name)), name
    _: Driver = SimulatedDriver(1 << 20)


def test_memory(card):
    place = card.allocate(256)
    assert (read(card, place) == 0xFFFFFFFF).all()  # poisoned while it is fresh
    card.fill(place, 7, 256)
    other = card.allocate(100)
    card.on_device(other, place, 100)
    assert (read(card, other, 25) == 0x07070707).all()
    assert (card.arena.live, card.arena.peak, card.arena.count) == (356, 356, 2)
    card.free(place)
    assert card.arena.live == 100
    for act in (lambda: read(card, place), lambda: card.fill(other, 0, 101)):
        with pytest.raises(MemoryFault):
            act()
    with pytest.raises(MemoryFault):
        card.free(place)
    with pytest.raises(OutOfMemory, match="OUT_OF_MEMORY"):
        card.allocate(9 << 20)
    assert card.allocate(6 << 20)


def test_facts(card):
    assert (card.attribute(0, 75), card.attribute(0, 76), card.attribute(0, 16)) == (9, 0, 132)
    assert card.device_count() == 1 and card.memory_info()[1] == 8 << 20
    with pytest.raises(DeviceError):
        card.use_device(1)


def test_launches_and_refusals(card):
    place = card.allocate(256)
    card.fill(place, 0, 256)
    module = card.load(ADD.encode() + b"\0")
    function = card.function(module, "add")
    card.launch(function, 1, 64, 0, 0, words(place, 5))
    assert (read(card, place) == 6).all() and card.launches == 1
    for blocks, threads, shared in ((1, 65, 0), (0, 64, 0), (1, 64, 60 << 10)):
        with pytest.raises(DeviceError, match="INVALID_VALUE"):
            card.launch(function, blocks, threads, shared, 0, words(place, 5))
    with pytest.raises(DeviceError, match="NOT_FOUND"):
        card.function(module, "subtract")
    with pytest.raises(DeviceError, match="INVALID_HANDLE"):
        card.launch(function, 1, 64, 0, 99, words(place, 5))
    card.unload(module)
    with pytest.raises(DeviceError, match="INVALID_HANDLE"):
        card.launch(function, 1, 64, 0, 0, words(place, 5))


def test_events(card):
    start, stop, plain = card.new_event(True), card.new_event(True), card.new_event()
    stream = card.new_stream()
    card.record(start, stream)
    card.record(stop, stream)
    assert card.elapsed(start, stop) > 0 and card.event_done(stop)
    with pytest.raises(DeviceError, match="timing"):
        card.elapsed(plain, stop)
    card.wait_event(0, stop)
    assert [entry[0] for entry in card.log] == ["record", "record", "wait_event"]


def test_a_capture(card):
    place, other = card.allocate(256), card.allocate(256)
    card.fill(place, 0, 256)
    function = card.function(card.load(ADD.encode()), "add")
    stream = card.new_stream()
    card.begin_capture(stream)
    card.launch(function, 1, 64, 0, stream, words(place, 5))
    card.on_device(other, place, 256, stream)
    host = np.zeros(4)
    for act in (
        lambda: card.allocate(4),
        lambda: card.wait_stream(stream),
        lambda: card.wait_device(),
        lambda: card.launch(function, 1, 64, 0, 0, words(place, 5)),
        lambda: card.to_device(place, host.ctypes.data, 32, stream),
    ):
        with pytest.raises(DeviceError, match=r"capture|CAPTURE"):
            act()
    graph = card.end_capture(stream)
    assert card.node_types(graph) == [0, 1] and card.launches == 0
    assert not read(card, place).any()
    executable = card.instantiate(graph)
    card.launch_graph(executable, 0)
    card.launch_graph(executable, stream)
    assert (read(card, place) == 18).all() and (read(card, other) == 18).all()
    assert card.launches == 2


@pytest.mark.parametrize("order", [0, 1])
def test_graphs(order):
    card = SimulatedDriver(8 << 20, order=order)
    place = card.allocate(256)
    card.fill(place, 0, 256)
    function = card.function(card.load(ADD.encode()), "add")
    graph, child = card.new_graph(), card.new_graph()
    first = card.add_kernel(graph, (), function, 1, 64, 0, words(place, 0))
    card.add_kernel(child, (), function, 1, 64, 0, words(place, 9))
    inner = card.add_child(graph, (first,), child)
    card.add_copy(graph, (inner,), place, place + 4, 4)
    assert card.node_types(graph) == [0, 4, 1]
    executable = card.instantiate(graph)
    card.update_kernel(executable, first, function, 1, 64, 0, words(place, 2))
    card.launch_graph(executable, 0)
    assert (read(card, place) == 16).all()
    with pytest.raises(DeviceError, match="not a kernel node"):
        card.update_kernel(executable, inner, function, 1, 64, 0, words(place, 2))
    card.drop_executable(executable)
    with pytest.raises(DeviceError, match="INVALID_HANDLE"):
        card.launch_graph(executable, 0)


def test_edges_that_are_missing_show():
    for edge in (True, False):
        card = SimulatedDriver(8 << 20)
        place = card.allocate(512)
        card.fill(place, 0, 512)
        function = card.function(card.load(ADD.encode()), "add")
        graph = card.new_graph()
        first = card.add_kernel(graph, (), function, 1, 64, 0, words(place, 1))
        after = (first,) if edge else ()
        card.add_kernel(graph, after, function, 1, 64, 0, words(place, 7))
        card.add_kernel(graph, (), function, 1, 64, 0, words(place + 256, 7))
        executable = card.instantiate(graph)
        if edge:
            card.launch_graph(executable, 0)
        else:
            with pytest.raises(Race, match="no edge of the graph orders them"):
                card.launch_graph(executable, 0)


def test_lazy_work_is_done_when_it_is_waited_for():
    card = SimulatedDriver(8 << 20, lazy=True)
    place, pinned = card.allocate(256), card.allocate_host(256)
    streams, event = [card.new_stream() for _ in range(2)], card.new_event()
    function = card.function(card.load(ADD.encode()), "add")
    card.fill(place, 0, 256, streams[0])
    card.launch(function, 1, 64, 0, streams[0], words(place, 5))
    card.record(event, streams[0])
    card.wait_event(streams[1], event)
    card.to_host(pinned, place, 256, streams[1])
    assert not card.log and not card.event_done(event) and card.launches == 1
    assert [entry[0] for entry in card.log] == ["fill", "kernel", "record"]
    card.wait_stream(streams[1])
    assert card.arena.host(pinned, 4, "a word")[0] == 6
    card.launch(function, 1, 64, 0, streams[0], words(place, 5))
    card.launch(function, 1, 64, 0, 0, words(place, 0))  # the default stream waits for others
    assert card.launches == 1
    assert (read(card, place) == (6 * 2 + 6) * 2 + 1).all()
    card.launch(function, 1, 64, 0, 0, words(place, 0))
    card.free(place)  # waits
    assert card.launches == 4


def test_native_code_calls_it_by_address():
    card = SimulatedDriver(8 << 20)
    place = card.allocate(256)
    card.fill(place, 0, 256)
    function = card.function(card.load(ADD.encode()), "add")
    unsigned, pointer = ctypes.c_uint, ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(ctypes.c_int, pointer, *[unsigned] * 7, *[pointer] * 3)
    start = kind(card.address("cuLaunchKernel"))
    given = [ctypes.c_uint64(place), ctypes.c_uint64(5)]
    places = (pointer * 2)(*map(ctypes.addressof, given))
    assert start(function, 1, 1, 1, 64, 1, 1, 0, None, places, None) == 0
    assert (read(card, place) == 6).all()
    given[0].value = place + 4
    assert start(function, 1, 1, 1, 64, 1, 1, 0, None, places, None) == 700
    with pytest.raises(MemoryFault, match="past the end"):
        card.wait_device()
    assert start(function, 1, 1, 1, 65, 1, 1, 0, None, places, None) == 1
