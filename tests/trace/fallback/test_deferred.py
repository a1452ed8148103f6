"""Deferred mode: Python runs at every call, ops run as fused segments; nothing may show but speed.

The choice, reads, errors, threads, modes and memory; test_deferred_calls.py has programs and costs.
"""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from deferred_harness import A, Net, bits, clock, deferred
from generate import graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hybrid as hb
from hybrid.core import dtypes as dt
from hybrid.decorator import RunsEagerly, function
from hybrid.ir.door import bind as door
from hybrid.ir.door.pending import COLLECTING, Pending
from hybrid.ir.graph.graph import Const
from hybrid.ir.op import OPS
from hybrid.ir.tensor import new_handle
from hybrid.trace.fallback import segments as kept
from hybrid.trace.fallback import value_plans
from hybrid.trace.fallback.deferred import CHOICE
from hybrid.trace.fallback.segments import Segments

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
    pytest.mark.usefixtures("always"),
]


# ---- the choice
def test_never_means_eager() -> None:
    CHOICE[0] = "never"

    @function
    def f(x: Any) -> Any:
        clock()
        return x + 1.0

    for _ in range(5):
        f(hb.ones(3))
    info = f.cache_info()
    assert info.deferred == 0 and info.eager == 3 and "EAGER" in f.explain()


def test_the_message_and_the_report_say_why() -> None:
    @function
    def f(x: Any) -> Any:
        clock()
        return x + 1.0 + x

    with pytest.warns(RunsEagerly, match="times.*fused segments"):
        for _ in range(6):
            f(hb.ones(3))
    text = f.explain()
    assert "DEFERRED" in text and "times" in text and "1 segments known" in text
    assert f.cache_info()[-3:] == (4, 1, 1)


# ---- reading a pending value
READERS: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda t: t.numpy().tolist(),
    "asarray": lambda t: np.asarray(t).tolist(),
    "repr": repr,
    "format": lambda t: f"{t.sum():.3f}",
    "float": lambda t: float(t.sum()),
    "bool": lambda t: bool((t > 1).any()),
    "tolist": lambda t: t.tolist(),
    "deepcopy": lambda t: copy.deepcopy(t).tolist(),
    "pickle": lambda t: pickle.loads(pickle.dumps(t)).tolist(),
    "dlpack": lambda t: np.from_dlpack(t).tolist(),
    "iter": lambda t: [row.tolist() for row in t],
    "mask": lambda t: t[t > 1].tolist(),
    "nonzero": lambda t: bits(hb.nonzero(t)),
    "contains": lambda t: 3.0 in t.tolist(),
    "tensor of it": lambda t: hb.tensor(t).tolist(),
    "list of it": lambda t: hb.tensor([t.sum(), 1.0]).tolist(),
    "stack": lambda t: hb.asarray([t, t]).tolist(),
    "np.sum": lambda t: float(np.sum(t)),
    "is_pinned": lambda t: t.is_pinned(),
    "equal": lambda t: hb.array_equal(t, t + 0.0) if hasattr(hb, "array_equal") else True,
}


@pytest.mark.parametrize("name", READERS)
def test_every_way_to_read_a_pending_value(name: str) -> None:
    def f(x: Any) -> Any:
        y = x * 2.0 + 1.0
        seen = READERS[name](y)
        return repr(seen), y - 1.0

    x = hb.tensor(A[:2])
    made = deferred(f)
    expected = bits(f(x))
    for _ in range(4):
        assert bits(made(x)) == expected


def test_a_state_dict_in_the_middle() -> None:
    def f(net: Any) -> Any:
        with hb.no_grad():
            for p in net.parameters():
                p.assign(p * 2.0 + 1.0)
        state = net.state_dict()
        for p in net.parameters():
            p.assign(p - 1.0)
        return list(state.values()), copy.deepcopy(net).state_dict()

    def run(jit: Any) -> Any:
        hb.manual_seed(1)
        net, g = Net(), jit(f)
        return bits([g(net) for _ in range(4)]), bits(net.state_dict())

    assert run(deferred) == run(lambda fn: fn)


# ---- types
def test_a_pending_tensor_is_a_tensor() -> None:
    @deferred
    def f(x: Any) -> Any:
        y = x * 2.0
        assert type(y) is type(x) and isinstance(y, hb.Tensor) and y.shape == (2, 4)
        assert y.dtype is x.dtype and y.device is x.device and not y.requires_grad
        assert type(y._v) is Pending
        return y + 1.0

    f(hb.tensor(A[:2]))


# ---- exceptions
def test_exceptions_at_every_point() -> None:
    def body(x: Any, w: Any, log: list[Any], stop: int) -> Any:
        def at(k: int) -> None:
            if k == stop:
                raise ValueError(k)

        y = x * 2.0
        log.append(y)
        at(0)
        w += y
        at(1)
        loss = (w * w).sum()
        at(2)
        log.append(loss.item())
        at(3)
        w.assign(w - 1.0)
        at(4)
        return y + w

    def run(jit: Any) -> Any:
        f, w, log, out = jit(body), hb.zeros(2, 4), [], []  # type: ignore[var-annotated]
        for k in range(24):
            try:
                out.append(bits(f(hb.tensor(A[:2]), w, log, k % 6)))
            except ValueError as error:
                out.append(repr(error))
            out.append(bits(w))
            assert door.current_mode() is None and not COLLECTING
        return out, bits(log)

    assert run(deferred) == run(lambda fn: fn)


def test_errors_of_values_and_shapes_come_on_their_line() -> None:
    def index(x: Any, log: list[Any]) -> Any:
        y = x * 2.0
        log.append(y)
        z = y[hb.tensor([0, 5])]
        log.append("not reached")
        return z

    def shapes(x: Any, log: list[Any]) -> Any:
        log.append(x + 1.0)
        return (x * 2.0) @ x

    for body in (index, shapes):
        for jit in (deferred, lambda fn: fn):
            log: list[Any] = []
            f = jit(body)
            for _ in range(3):
                with pytest.raises((IndexError, ValueError)) as caught:
                    f(hb.tensor(A), log)
                assert body.__name__ in [frame.name for frame in caught.traceback]
            assert len(log) == 3 and bits(log)


def test_interrupts_leave_what_eager_code_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the flush itself, of any kind, loses nothing."""
    x, w = hb.tensor(A[:2]), hb.zeros(2, 4)

    @deferred
    def f(x: Any) -> Any:
        w.assign(x * 3.0)
        y = x + 1.0
        return y - w

    f(x), f(x)
    for error in (KeyboardInterrupt, MemoryError, ZeroDivisionError):
        raised = []

        def fails(*_: Any, error: Any = error, raised: list[Any] = raised) -> Any:
            if not raised:
                raised.append(1)
                raise error
            return {}

        w.assign(hb.zeros(2, 4))
        monkeypatch.setattr(Segments, "values", fails)
        with pytest.raises(error):
            f(x)
        monkeypatch.undo()
        assert bits(w) == bits(x * 3.0) and not COLLECTING and door.current_mode() is None
        assert bits(f(x)) == bits((x + 1.0) - x * 3.0)


def test_a_segment_that_cannot_be_compiled_runs_its_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(value_plans, "build", broken)
    f = deferred(lambda x: hb.exp(x) * 2.0 + x)
    x = hb.tensor(A)
    for _ in range(4):
        assert bits(f(x)) == bits(hb.exp(x) * 2.0 + x)
    assert f.cache_info().compilations == 0


# ---- threads
def test_another_thread_reads_a_pending_value() -> None:
    seen: list[Any] = []

    @deferred
    def f(x: Any) -> Any:
        y = x * 2.0
        z = hb.exp(y) + 1.0

        def look() -> None:
            seen.append((bits_of(z), (y.detach() + z).numpy().tobytes(), y.T.numpy().tobytes()))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return z - y

    def bits_of(t: Any) -> bytes:
        return bytes(t.numpy().tobytes())

    x = hb.tensor(A[:2])
    y = x * 2.0
    z = hb.exp(y) + 1.0
    for _ in range(4):
        assert bits(f(x)) == bits(z - y)
        assert seen.pop() == (bits_of(z), bits_of(y + z), bits_of(y.T))


def test_threads_defer_at_once() -> None:
    @deferred
    def f(x: Any) -> Any:
        for _ in range(5):
            x = hb.sin(x) + x * 0.5
            x.sum().item()
        return x

    def plain(x: Any) -> Any:
        for _ in range(5):
            x = hb.sin(x) + x * 0.5
        return x

    failures: list[Any] = []

    def work(number: int) -> None:
        x = hb.full((3, 4), 0.1 * number)
        expected = bits(plain(x))
        for _ in range(20):
            if bits(f(x)) != expected:
                failures.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_pending_argument_reaches_a_replay_of_another_thread() -> None:
    g = function(lambda t: t * 3.0 - 1.0)
    for _ in range(4):
        g(hb.ones(2, 4))

    @deferred
    def f(x: Any) -> Any:
        y, got = x + 1.0, []
        thread = threading.Thread(target=lambda: got.append(g(y)))
        thread.start()
        thread.join()
        return got[0] + y

    x = hb.tensor(A[:2])
    for _ in range(4):
        assert bits(f(x)) == bits(((x + 1.0) * 3.0 - 1.0) + (x + 1.0))


# ---- other modes
def test_modes_and_switches_inside() -> None:
    @deferred
    def f(x: Any) -> Any:
        y = x * 2.0
        with hb.detect_nan():
            z = y + 1.0
            with pytest.raises(ArithmeticError):
                hb.log(-hb.abs(z) - 1.0)
        with hb.no_grad():
            return y, z * 2.0

    x = hb.tensor(A[:2])
    for _ in range(4):
        assert bits(f(x)) == bits((x * 2.0, (x * 2.0 + 1.0) * 2.0))


def test_the_precision_of_products_is_that_of_the_line() -> None:
    def body(x: Any) -> Any:
        a = x @ x.T
        hb.set_float32_matmul_precision("high" if False else "medium")
        b = x @ x.T
        hb.set_float32_matmul_precision("highest")
        return a, b, x @ x.T

    x = hb.tensor(np.random.default_rng(0).standard_normal((32, 48)).astype(np.float32))
    try:
        expected = bits(body(x))
        f = deferred(body)
        assert all(bits(f(x)) == expected for _ in range(4))
    finally:
        hb.set_float32_matmul_precision("highest")


# ---- memory
def test_results_die_when_eager_ones_do() -> None:
    @deferred
    def f(x: Any) -> Any:
        y = x * 2.0
        dead = weakref.ref(y)
        z = y + 1.0
        del y
        assert dead() is None
        return z

    for _ in range(3):
        f(hb.tensor(A[:2]))


def test_functions_that_are_dropped_free_their_segments() -> None:
    gone = []
    for k in range(50):
        f = deferred(lambda x, k=k: hb.exp(x) * float(k) + 1.0)
        for _ in range(2):
            f(hb.ones(3))
        gone.append(weakref.ref(f._segments))
        del f
    gc.collect()
    assert all(r() is None for r in gone)


def test_ever_new_shapes_keep_memory_flat() -> None:
    f = deferred(lambda x: hb.exp(x) * 2.0 + 1.0)
    for k in range(1, 600):
        f(hb.zeros(k))
    info = f.cache_info()
    assert info.segments <= kept.MOST_SEGMENTS and info.compilations == 0
    assert f._segments.met.held <= kept.MOST_WORDS


def test_large_inputs_end_a_segment() -> None:
    @deferred
    def f(x: Any) -> Any:
        total = hb.zeros(1)
        for _ in range(20):
            big = hb.tensor(np.ones((1 << 23,), np.float32))
            total = total + big.sum()
            del big
        return total

    before = door.LOCAL.mode
    assert f(hb.ones(1)).item() == 20 * (1 << 23) and before is None
    assert f._segments.runs >= 2


# ---- random programs
SAFE = [op for op in OPS.values() if op.check is None and op.kind not in ("host",)]


def _run(graph: Any, inputs: list[Any], reads: list[int]) -> list[Any]:
    """The ops of a graph one after the other, with host reads in between."""
    values: dict[Any, Any] = dict(zip(graph.inputs, inputs))
    seen: list[Any] = []
    for number, node in enumerate(graph.nodes):
        operands = []
        for value in node.inputs:
            if isinstance(value, Const):
                if value.aval.ndim == 0:
                    tensor = door.literal_of(value.data, value.aval.dtype, value.aval.device)
                else:
                    tensor = new_handle(value.data, value.aval)
                operands.append(tensor)
            else:
                operands.append(values[value])
        ordered = tuple([(k, node.params[k]) for k in node.op.params if k in node.params])
        avals = tuple([tensor._a for tensor in operands])
        made = door.run(door.resolved_for(node.op, avals, ordered), tuple(operands))
        results = (made,) if len(node.outputs) == 1 else made
        values.update(zip(node.outputs, results))
        if number in reads:
            seen.append(bits(results[0]))
    return seen + [values.get(v) for v in graph.outputs if not isinstance(v, Const)]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_programs(data: Any) -> None:
    graph, _ = data.draw(graphs(SAFE, (dt.float32,), 10))
    reads = data.draw(st.lists(st.integers(0, 12), max_size=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))

    def tensor(value: Any) -> Any:
        array = rng.standard_normal(value.aval.shape) * 3
        return new_handle(np.asarray(array, value.aval.dtype), value.aval)

    inputs = [tensor(v) for v in graph.inputs]
    expected = bits(_run(graph, inputs, reads))
    f = deferred(lambda: _run(graph, inputs, reads))
    for _ in range(3):
        assert bits(f()) == expected


# ---- devices
def test_every_kind_of_device(backend_kind: str) -> None:
    def body(x: Any, host: Any) -> Any:
        y = hb.exp(x * 0.5) + 1.0
        z = host * 2.0 + 1.0
        total = y.sum()
        if float(total) < 0:
            return x
        return y * total, z, y.to("cpu") - z

    x, host = hb.tensor(A[:2], device=backend_kind), hb.tensor(A[:2])
    expected = [v.numpy().tobytes() for v in body(x, host)]
    f = deferred(body)
    for _ in range(4):
        results = f(x, host)
        assert [v.numpy().tobytes() for v in results] == expected
        assert results[0].device == backend_kind
