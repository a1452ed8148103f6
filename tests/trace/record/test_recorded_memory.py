"""A recording lets go of values nobody else holds, and prepares products once."""

from __future__ import annotations

import gc
import weakref

import numpy as np

import hybrid as hb
from hybrid.backends.cpu import kernels
from hybrid.backends.cpu.gemm import generate as generate_gemm
from hybrid.backends.cpu.machine import alloc
from hybrid.backends.plan import Dims, GemmKernel, Operand
from hybrid.ir.door import bind as door
from hybrid.ir.tensor import Handle
from hybrid.trace.record import recorder


def _live_bytes() -> int:
    values = {
        id(v): v.nbytes
        for o in gc.get_objects()
        if isinstance(o, Handle) and isinstance(v := getattr(o, "_v", None), np.ndarray)
    }
    return sum(values.values())


def test_values_that_only_the_recorder_holds_are_let_go(monkeypatch):
    monkeypatch.setattr(recorder, "SWEEP_BYTES", 1 << 16)
    x = hb.ones(64, 64)
    rec = recorder.Recorder([x])
    mode = door.push_mode(rec)
    try:
        y = x
        for _ in range(64):
            y = hb.sin(y) + 1.0
    finally:
        door.pop_mode(mode)
    everything = [*rec.keep, *rec.large]
    kept = [h for h in everything if isinstance(getattr(h, "_v", None), np.ndarray)]
    assert sum(h._v.nbytes for h in kept) < 12 * x._v.nbytes  # of 128 results
    everything += rec._shells
    assert len({*map(id, everything)}) == len(everything) >= 129
    graph = rec.graph([rec.handles[id(y)]])
    assert len(graph.nodes) == 128 and x._v is not None and y._v is not None


def test_views_that_only_the_recorder_holds_are_let_go(monkeypatch):
    """They and what they are made of, but for one that a weak reference leads to."""
    monkeypatch.setattr(recorder, "SWEEP_BYTES", 1 << 16)
    x, refs = hb.ones(64, 64), []
    rec = recorder.Recorder([x])
    mode = door.push_mode(rec)
    try:
        for turn in range(64):
            view = hb.sin(x).reshape(32, 128).T
            if turn == 3:
                refs.append(weakref.ref(view))
            total = view.sum()
    finally:
        door.pop_mode(mode)
    kept = {id(h._v) for h in rec.large if isinstance(getattr(h, "_v", None), np.ndarray)}
    assert len(kept) < 40 and total.item() == view.sum().item()  # of 192
    assert refs[0]() is not None and refs[0]().shape == (128, 32)
    assert refs[0]().sum().item() == total.item()


def test_sweeps_are_seldom_where_much_is_held(monkeypatch):
    """Each looks at all that is held: a model of gigabytes is not looked at every few megabytes."""
    monkeypatch.setattr(recorder, "SWEEP_BYTES", 1 << 14)
    held = [hb.ones(64, 64) * k for k in range(256)]
    rec = recorder.Recorder([])
    mode = door.push_mode(rec)
    try:
        for x in held:
            rec.ref(x)
        sweeps = rec._sweeps
        for x in held:
            y = x + 1.0
    finally:
        door.pop_mode(mode)
    assert y.shape == (64, 64) and 12 <= rec._sweeps - sweeps <= 24
    assert sum(h._v is not None for h in rec.large) < 256 + 32


SWEPT = """
def swept(self):
    sweep(self)
    values = [handle._v for handle in self.large if handle._v is not None]
    values = {id(v): v for v in [v if v.base is None else v.base for v in values]}
    sizes.append(sum(v.nbytes for v in values.values()))
"""


def test_watching_a_call_keeps_nothing_alive(monkeypatch):
    """Arguments and results of user code, what the standard library works on for hybrid, views:
    at each sweep a watched call holds what the recorder alone does."""
    sizes: list[int] = []
    names = {"sweep": recorder.Recorder._sweep, "sizes": sizes}
    exec(compile(SWEPT, recorder.__file__, "exec"), names)  # as hybrid's own code
    monkeypatch.setattr(recorder.Recorder, "_sweep", names["swept"])
    monkeypatch.setattr(recorder, "SWEEP_BYTES", 1 << 20)
    monkeypatch.setattr(recorder, "SWEEP_SHARE", 1 << 40)
    layers = [hb.nn.Linear(64, 192) for _ in range(6)]

    def mixed(layer, x):
        parts = [p.reshape(64, 16, 4, 16).swapaxes(1, 2) for p in layer(x).chunk(3, -1)]
        return x + (parts[0] * parts[1] + parts[2]).swapaxes(1, 2).reshape(64, 16, 64)

    def step(x):
        for layer in layers:
            x = mixed(layer, x)
        loss = (x * x).mean()
        loss.backward()
        for layer in layers:
            for parameter in layer.parameters():
                parameter.assign(parameter - parameter.grad * 0.01)
                parameter.grad = None
        return loss

    x = hb.ones(64, 16, 64)
    mode = door.push_mode(recorder.Recorder([x]))
    try:
        step(x)
    finally:
        door.pop_mode(mode)
    alone = sizes[:]
    sizes.clear()
    traced = hb.function(step)
    traced(x)
    assert len(alone) > 10 and len(sizes) >= len(alone)
    assert max(sizes) <= max(alone) * 1.1, (sizes, alone)


def test_a_recorded_step_keeps_no_activations():
    w = hb.ones(32, 32, requires_grad=True)

    def step(x):
        y = x
        for _ in range(8):
            y = hb.tanh(y @ w)
        loss = y.sum()
        loss.backward()
        w.assign(w - 0.01 * w.grad)
        w.grad = None
        return loss

    traced, x = hb.function(step), hb.ones(512, 32)
    gc.collect()
    before = _live_bytes()
    for k in range(4):
        traced(x)
        gc.collect()
        assert _live_bytes() - before < 2 * x.numpy().nbytes, k
    assert traced.cache_info().replays == 2


def test_handles_with_a_weak_reference_keep_their_value(monkeypatch):
    monkeypatch.setattr(recorder, "SWEEP_BYTES", 1)
    rec = recorder.Recorder([])
    t = hb.ones(3)
    kept, gone = hb.sin(t), hb.cos(t)
    ref = weakref.ref(kept)
    rec.ref(kept), rec.ref(gone)
    rec.captures.clear()
    rec.start.clear()
    del kept
    held = gone
    rec._sweep()
    assert ref() is not None and ref()._v is not None and held._v is not None


def test_products_that_differ_in_slots_only_are_generated_once():
    def kernel(a: int, b: int, out: int) -> GemmKernel:
        def operand(slot: int) -> Operand:
            return Operand(
                slot, np.dtype("float32"), 0, Dims((), ()), Dims((24,), (24,)), Dims((24,), (1,))
            )

        return GemmKernel(
            1, 24, 24, 24, operand(a), operand(b), (operand(out),), np.dtype("float32")
        )

    one, two = kernels._gemm(kernel(0, 1, 2), 3, None), kernels._gemm(kernel(5, 4, 9), 11, None)
    want = generate_gemm(kernel(5, 4, 9), 11)
    assert two == want and one[0].symbol == two[0].symbol
    same = kernels._gemm(kernel(4, 4, 9), 11, None)
    assert same == generate_gemm(kernel(4, 4, 9), 11)


def test_memory_goes_back_to_the_system():
    x = hb.ones(1 << 20)
    y = x + 1.0
    del y
    assert alloc.cached_bytes() > 0
    door.backend_of(x._a.device).trim()
    assert alloc.cached_bytes() == 0
