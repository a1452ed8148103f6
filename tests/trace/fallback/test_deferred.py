"""Deferred mode: Python runs at every call, ops run as fused segments; nothing may show but speed."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from generate import graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid.core import dtypes as dt
from hybrid.decorator import Function, RunsEagerly, function
from hybrid.ir.door import bind as door
from hybrid.ir.door.pending import COLLECTING, Pending
from hybrid.ir.graph.graph import Const
from hybrid.ir.op import OPS
from hybrid.ir.tensor import new_handle
from hybrid.trace.fallback import segments as kept
from hybrid.trace.fallback.deferred import CHOICE, Deferral, Deferring
from hybrid.trace.fallback.segments import Segments

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
A = np.float32([[0.5, -1.25, 3.0, -0.0], [1e-40, 7.5, -2.0, 0.0], [np.inf, -np.inf, np.nan, 1.0]])


@pytest.fixture(autouse=True)
def always() -> Iterator[None]:
    """Calls are deferred however long they take, and leave nothing behind."""
    before, CHOICE[0] = CHOICE[0], "always"
    special = door.STATE.special
    yield
    CHOICE[0] = before
    assert not COLLECTING and door.STATE.special == special and door.current_mode() is None


def bits(value: Any) -> Any:
    """What can be seen of a result."""
    if isinstance(value, hb.Tensor):
        seen = str(value._a), value.requires_grad, value.numpy().tobytes()
        assert type(value) in (hb.Tensor, nn.Parameter) and type(value._v) is np.ndarray
        return seen
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    return [bits(v) for v in value] if isinstance(value, (list, tuple)) else repr(value)


def same(program: Callable[[Any], Any], calls: int = 1) -> Function:
    """`program(jit)` gives the same with plain and with decorated functions, which are deferred."""
    made: list[Function] = []

    def jit(fn: Any) -> Any:
        made.append(function(fn))
        return made[-1]

    hb.manual_seed(7)
    expected = bits(program(lambda fn: fn))
    hb.manual_seed(7)
    assert bits(program(jit)) == expected
    info = made[0].cache_info()
    assert info.deferred >= calls and info.replays == 0, made[0].explain()
    return made[0]


def clock() -> None:
    """An effect that no recording represents."""
    time.perf_counter()


def deferred(fn: Callable[..., Any]) -> Any:
    """A decorated function whose calls are deferred from the first."""
    made = function(fn)
    made._new_state = lambda *_: _state()  # type: ignore[method-assign]
    deferral = Deferral(made._segments)

    def _state() -> Any:
        from hybrid.trace.serve.signatures import SignatureState

        state = SignatureState()
        Deferring._run_python(state, deferral)
        return state

    return made


# ---- ordinary programs
def _printing(x: Any, out: Any) -> Any:
    y = hb.exp(x) * 2.0
    print(float(y.sum()), file=out)
    return y + 1.0


def _logging(x: Any, out: Any) -> Any:
    y = x * x
    out.write(f"{y} {time.time() > 0}")
    return (y - x).sum()


def _python_random(x: Any, out: Any) -> Any:
    return x * random.random() + np.random.rand() * x


def _reads_and_branches(x: Any, out: Any) -> Any:
    clock()
    loss = (x * x).sum()
    if float(loss) > 10:
        return loss * 2.0
    return loss - 1.0


def _reads_in_a_loop(x: Any, out: Any) -> Any:
    clock()
    for k in range(5):
        x = x * 1.5 + k
        out.write(str(x.sum().item()))
        if bool(x.sum() > 1e6):
            break
    return x


def _numpy_in_the_middle(x: Any, out: Any) -> Any:
    clock()
    y = np.asarray(hb.sin(x))
    return hb.tensor(y + 1) * x, y.tolist()


def _in_place(x: Any, out: Any) -> Any:
    clock()
    y = x * 2.0
    z = y.detach()
    y += 1.0
    y[0] = 5.0
    y[1, :2] *= x[0, 2:]
    return y, z, x


def _views(x: Any, out: Any) -> Any:
    clock()
    y = x + 0.0
    row, turned = y[1], y.T
    row += 3.0
    turned[0] = 7.0
    y *= 2.0
    return y, row, turned, row[1:]


def _outer_view(x: Any, out: Any) -> Any:
    clock()
    row = x[0]
    row += 1.0
    return row * 2.0


def _several_results(x: Any, out: Any) -> Any:
    clock()
    values, places = hb.sort(x + 1.0), hb.argmax(x, 1)
    return values, places, hb.split(x * 2.0, 2, 1), {"a": x, "b": x.mean(0)}


def _checked_index(x: Any, out: Any) -> Any:
    clock()
    return (x * 2.0)[hb.tensor([2, 0, 1, 1])] + hb.take(x, hb.argmax(x, 0), 0)


def _empty(x: Any, out: Any) -> Any:
    clock()
    return (x[:0] * 2.0 + 1.0).sum(0), (x[0, 0] * 3.0 + 1.0)


def _integers(x: Any, out: Any) -> Any:
    clock()
    k = (x > 0).astype("int32") * 3
    return k // 2, k % 2, -k, (k == 3) & (x < 1)


def _specials(x: Any, out: Any) -> Any:
    clock()
    y = hb.maximum(x, -x) * -0.0
    return y, y + 0.0, 1.0 / y, hb.sqrt(-x), hb.where(x > 0, x, y), hb.copysign(x, -1.0)


PROGRAMS = [value for name, value in list(globals().items()) if name.startswith("_") and
            getattr(value, "__code__", None) is not None and value.__code__.co_varnames[:2] == ("x", "out")]  # fmt: skip


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
@pytest.mark.parametrize("recorded", [False, True])
def test_ordinary_programs(body: Any, recorded: bool) -> None:
    def program(jit: Any) -> Any:
        random.seed(3)
        np.random.seed(3)
        out = io.StringIO()
        f = jit(body)
        results = []
        for k in range(6):
            x = hb.tensor(A + k % 2)
            results.append([f(x, out), x])
        return results, out.getvalue() if "time" not in body.__code__.co_names else ""

    if recorded:
        hb.manual_seed(7)
        expected = bits(program(lambda fn: fn))
        hb.manual_seed(7)
        assert bits(program(function)) == expected
    else:
        made: list[Any] = []
        expected = bits(program(lambda fn: fn))
        assert bits(program(lambda fn: made.append(deferred(fn)) or made[-1])) == expected
        assert made[0].cache_info().deferred == 6


class Net(nn.Module):
    """Two layers, dropout, a running mean."""

    def __init__(self, p: float = 0.3) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(p)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.drop(hb.relu(self.norm(self.first(x)))))


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_training_step_that_logs(kind: Any) -> None:
    def program(jit: Any) -> Any:
        net, log = Net(), io.StringIO()
        opt = kind(net.parameters(), lr=0.05)

        @jit
        def step(x: Any, y: Any) -> Any:
            clock()
            loss = ((net(x) - y) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            print(f"{loss.item():.9g}", file=log)
            return loss

        rng = np.random.default_rng(0)
        for _ in range(30):
            data = rng.standard_normal((6, 4)).astype(np.float32)
            step(hb.tensor(data), hb.tensor(data[:, :2]))
        state = [*net.state_dict().values(), *[p.grad for p in net.parameters()]]
        return state, bits(opt.state_dict()), log.getvalue(), hb.rand(3)

    f = same(program, calls=28)
    info = f.cache_info()
    assert info.compilations <= info.segments + 2 and info.segments <= 6


def test_early_stopping_and_a_generator_made_outside() -> None:
    def program(jit: Any) -> Any:
        batches = (hb.full((3,), float(k)) for k in range(100))

        @jit
        def run(limit: Any) -> Any:
            total = hb.zeros(3)
            for batch in batches:
                total = total + batch * 0.5
                if total.sum().item() > limit:
                    return total
            return None

        return [run(float(limit)) for limit in (5, 5, 5, 5, 50, 500)]

    same(program, calls=0)


def test_gradients_outside_of_a_deferred_forward() -> None:
    def program(jit: Any) -> Any:
        w = hb.tensor(A[:2].copy(), requires_grad=True)

        @jit
        def forward(x: Any) -> Any:
            clock()
            return hb.sin(x * w).sum() * 2.0

        out = []
        for k in range(6):
            loss = forward(hb.full((2, 4), 0.1 * k))
            (loss * loss).backward()
            out += [loss, w.grad.clone()]
            w.grad = None
        return out

    same(program, calls=4)


def test_no_grad_grad_of_a_lambda_and_higher_derivatives() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            clock()
            with hb.no_grad():
                a = x * 2.0
            g = hb.grad(lambda t: (t**3).sum())(x + a)
            gg = hb.grad(lambda t: hb.grad(lambda u: (u**3).sum())(t).sum())(x)
            return a, g, gg

        return [f(hb.tensor(A[:2])) for _ in range(5)]

    same(program, calls=3)


def test_outputs_are_kept_mutated_and_fed_back() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            clock()
            return x * 1.5 + 1.0, x

        x, seen = hb.tensor(A[:2]), []
        for _ in range(6):
            y, given = f(x)
            assert given is x
            seen.append(y)
            z = y.clone()
            y += 1.0
            x = z
        return seen, x

    same(program, calls=4)


def test_nested_functions_run_inside() -> None:
    def program(jit: Any) -> Any:
        inner = jit(lambda x: hb.exp(x) + 1.0)

        @jit
        def outer(x: Any) -> Any:
            clock()
            y = x * 2.0
            return inner(y) - y, hb.sum(inner(x))

        return [outer(hb.tensor(A[:2])) for _ in range(6)]

    hb.manual_seed(7)
    expected = bits(program(lambda fn: fn))
    assert bits(program(function)) == expected


def test_a_large_function_inside_replays_on_its_own() -> None:
    def large(x: Any) -> Any:
        for _ in range(20):
            x = hb.sin(x) * 0.5
        return x

    inner, small = function(large), function(lambda x: x * 2.0 + 1.0)

    def body(large: Any, small: Any, x: Any) -> Any:
        y = small(x + 1.0)
        z = large(y) - y
        if float(z.sum()) > 1e9:
            return y
        return small(z), large(x)

    f, x = deferred(lambda x: body(inner, small, x)), hb.tensor(A[:2])
    for _ in range(6):
        assert bits(f(x)) == bits(body(large, lambda x: x * 2.0 + 1.0, x))
    assert inner.cache_info().replays == 10 and inner.cache_info().records == 2
    assert small.cache_info().replays == 0 and small.cache_info().records == 2
    with pytest.raises(TypeError):
        deferred(lambda x: (x * 2.0, inner(x, 1)))(x)


# ---- numbers and counts
def test_changing_numbers_never_compile_again() -> None:
    @deferred
    def f(x: Any, k: float) -> Any:
        return hb.exp(x * k) + 2.0 * x - k

    def plain(x: Any, k: float) -> Any:
        return hb.exp(x * k) + 2.0 * x - k

    x = hb.tensor(A)
    for k in range(2, 40):
        assert bits(f(x, k / 8)) == bits(plain(x, k / 8))
    info = f.cache_info()
    assert info.deferred == 38 and info.compilations == 1 and info.segments == 1
    for _ in range(4):
        assert bits(f(x, 0.25)) == bits(plain(x, 0.25))
    assert f.cache_info().compilations == 1


def test_numbers_that_stay_are_compiled_in() -> None:
    @deferred
    def f(x: Any, k: float) -> Any:
        return x * 2.0 + k

    x = hb.tensor(A)
    for _ in range(4):
        f(x, 3.0)
    assert f.cache_info().compilations == 1
    for k in (4.0, 5.0, 6.0, -0.0, 0.0, float("nan"), 3.0):
        assert bits(f(x, k)) == bits(x * 2.0 + k)
    assert f.cache_info().compilations == 2


def test_a_steady_loop_compiles_nothing() -> None:
    @deferred
    def f(x: Any) -> Any:
        for _ in range(10):
            x = hb.sin(x) * 0.5 + x
            if x.sum().item() != x.sum().item():
                break
        return x

    for _ in range(3):
        f(hb.tensor(A[:2]))
    before = f.cache_info()
    for _ in range(10):
        f(hb.tensor(A[:2]))
    after = f.cache_info()
    assert after.compilations == before.compilations and after.segments == before.segments


def test_compilations_are_paid_for_by_native_runs() -> None:
    """Segments that come twice and never again do not compile for ever."""
    f = deferred(lambda x: hb.exp(x) * 2.0 + 1.0)
    for k in range(1, 60):
        for _ in range(2):
            assert f(hb.zeros(k)).tolist() == [3.0] * k
    assert f.cache_info().compilations <= kept.MOST_UNPAID + 60 // kept.PAYS
    for _ in range(4):
        f(hb.zeros(59))
    assert f._segments.native >= 1


def test_a_long_loop_is_cut_at_the_same_place() -> None:
    @deferred
    def f(x: Any) -> Any:
        for _ in range(5000):
            x = x * 0.999 + 0.001
        return x

    x = hb.tensor(A[:2])
    expected = x
    for _ in range(5000):
        expected = expected * 0.999 + 0.001
    assert all(bits(f(x)) == bits(expected) for _ in range(3))
    assert f.cache_info().segments <= 4


def test_results_that_are_not_held_are_not_computed_twice() -> None:
    """Other holders than before are served by a plan that computes more."""

    @deferred
    def f(x: Any, keep: list[Any]) -> Any:
        y = x * 2.0
        z = hb.exp(y)
        if keep:
            keep.append(y)
        return z - 1.0

    x = hb.tensor(A[:2])
    for k in range(12):
        kept_here: list[Any] = [0] if k % 3 else []
        assert bits(f(x, kept_here)) == bits(hb.exp(x * 2.0) - 1.0)
        assert not kept_here or bits(kept_here[1]) == bits(x * 2.0)
    assert f.cache_info().compilations <= 2


# ---- the choice
def test_the_faster_way_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    CHOICE[0] = "auto"
    for slow, verdict in ((True, "eager"), (False, "deferred")):
        now = [0.0]
        monkeypatch.setattr("hybrid.trace.fallback.deferred.perf_counter", lambda now=now: now[0])
        deferral = Deferral(Segments())

        def f(x: Any, slow: bool = slow, now: list[float] = now) -> Any:
            now[0] += 1.0 + (slow == (door.current_mode() is not None))
            return hb.exp(x) + 1.0

        turns = []
        for _ in range(20):
            if deferral.verdict:
                break
            turns.append(deferral.turn())
            deferral.run(f, (hb.tensor(A),), {}, turns[-1])
        assert deferral.verdict == verdict and turns.count(False) == 4


def test_segments_that_never_repeat_are_given_up() -> None:
    CHOICE[0] = "auto"
    deferral = Deferral(Segments())
    for k in range(200):
        if deferral.verdict:
            break
        deferral.run(lambda x: x * 2.0 + 1.0, (hb.zeros(k + 1),), {}, deferral.turn())
    assert deferral.verdict == "eager" and deferral.segments.compilations == 0


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

    with pytest.warns(RunsEagerly, match="perf_counter.*fused segments"):
        for _ in range(6):
            f(hb.ones(3))
    text = f.explain()
    assert "DEFERRED" in text and "perf_counter" in text and "1 segments known" in text
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

    monkeypatch.setattr(kept, "build", broken)
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
                    tensor = door._literal_of(value.data, value.aval.dtype, value.aval.device)
                else:
                    tensor = new_handle(value.data, value.aval)
                operands.append(tensor)
            else:
                operands.append(values[value])
        ordered = tuple([(k, node.params[k]) for k in node.op.params if k in node.params])
        made = door._call(node.op, tuple(operands), ordered)
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
