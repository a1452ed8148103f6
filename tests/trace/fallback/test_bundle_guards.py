"""What stands against replaying a backward pass or an optimizer's step whole: names of hybrid's that
were replaced, listeners, errors, threads; and what bundles keep alive."""

from __future__ import annotations

import gc
import pkgutil
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from deferred_harness import batch, deferred, seen, small

import hybrid as hb
import hybrid.optim as optim
from hybrid.core.errors import ShapeError
from hybrid.decorator import function
from hybrid.ir.door import bind as door
from hybrid.trace.fallback import bundles as kept
from hybrid.trace.fallback import whole_calls

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
    pytest.mark.usefixtures("always"),
]


def trained(jit: Any, calls: int = 8) -> tuple[Any, Any]:
    """A step of a small net that has run, and its net."""
    net = small(1)
    opt = optim.SGD(net.parameters(), lr=0.1)

    @jit
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss.item()

    for k in range(calls):
        step(batch(k))
    return step, net


# ---- what may be replaced, or listens
@pytest.mark.parametrize(
    "place",
    [
        ("hybrid.optim.algorithms", "sgd_update"),
        ("hybrid.optim.SGD", "update"),
        ("hybrid.optim.optimizer.Optimizer", "begin"),
        ("hybrid.autograd.passes", "fit"),
        ("hybrid.ops.elementwise.activations", "where"),
        ("hybrid.Tensor", "assign"),
    ],
)
def test_what_is_replaced_is_seen(place: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for jit in (lambda fn: fn, deferred):
        step, net = trained(jit)
        target: Any = pkgutil.resolve_name(place[0])
        if not hasattr(target, place[1]):
            pytest.skip("no such name")
        before, calls = getattr(target, place[1]), []

        def counted(*args: Any, before: Any = before, calls: Any = calls, **kwargs: Any) -> Any:
            calls.append(1)
            return before(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(target, place[1], counted)
            out = [step(batch(k)) for k in range(3)]
        out += [step(batch(k)) for k in range(5)]
        results.append((seen([out, list(net.parameters())]), len(calls)))
    assert results[0] == results[1]


def test_a_profiler_is_left_alone() -> None:
    heard: list[str] = []

    def listen(frame: Any, event: str, _: Any) -> None:
        heard.append(event)

    plain, _ = trained(lambda fn: fn, 0)
    expected = [plain(batch(k)) for k in range(6)]
    step, _ = trained(deferred, 0)
    sys.setprofile(listen)
    try:
        found = [step(batch(k)) for k in range(6)]
        assert sys.getprofile() is listen
    finally:
        sys.setprofile(None)
    assert found == expected and heard and step._segments.bundles.replayed == 0
    assert sys.getprofile() is None


def test_the_hook_is_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    w = hb.tensor([1.0, 2.0], requires_grad=True)

    @deferred
    def step(x: Any) -> Any:
        y = w * x
        with pytest.raises(ShapeError, match="gradient of shape"):
            y.backward(hb.ones(3))
        y.sum().backward()
        return y.sum().item()

    monkeypatch.setattr(whole_calls, "perform", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        step(batch(1, 2))
    assert sys.getprofile() is None and door.grad_enabled() and w.grad is None
    monkeypatch.undo()
    for k in range(6):
        w.grad = None
        step(batch(k, 2))
        assert np.array_equal(w.grad.numpy(), batch(k, 2).numpy())


def test_errors_come_where_they_come_eagerly() -> None:
    step, _ = trained(deferred)
    w = hb.tensor([1.0, 2.0], requires_grad=True)

    @deferred
    def fails(x: Any, wrong: Any) -> Any:
        w.grad = None
        y = w * x
        y.backward(wrong)
        return y.sum().item()

    for k in range(6):
        fails(batch(k, 2), batch(k, 2))
    with pytest.raises(ShapeError, match=r"gradient of shape \(3,\)"):
        fails(batch(1, 2), batch(1, 3))
    assert w.grad is None
    with pytest.raises(ShapeError, match="needs an explicit"):
        fails(batch(1, 2), None)


# ---- collections
def test_callbacks_of_the_collector_are_no_part_of_a_call() -> None:
    """Whoever is told of collections runs Python in the middle of everything."""
    told = 0

    def callback(phase: str, info: Any) -> None:
        nonlocal told
        told += 1

    made: list[Any] = []

    def jit(fn: Any) -> Any:
        made.append(deferred(fn))
        return made[-1]

    before = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(5)
    try:
        trained(jit, 10)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(callback)
    assert told > 100 and gc.isenabled()
    assert made[0]._segments.bundles.replayed >= 14


# ---- threads and memory
def test_another_thread_reads_gradients_and_parameters() -> None:
    net = small(1)
    opt = optim.SGD(net.parameters(), lr=0.1)
    found: list[Any] = []

    def look() -> None:
        found.append([(p.grad.numpy().copy(), p.numpy().copy()) for p in net.parameters()])

    def step(x: Any) -> Any:
        opt.zero_grad()
        (net(x) ** 2).mean().backward()
        opt.step()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    start = net.state_dict()
    for k in range(6):
        step(batch(k))
    expected, found = found, []
    net.load_state_dict(start)
    jitted = deferred(step)
    for k in range(6):
        jitted(batch(k))
    assert jitted._segments.bundles.replayed == 8
    assert str(found) == str(expected)


def test_nothing_is_kept_alive() -> None:
    @deferred
    def step(net: Any, opt: Any, x: Any) -> Any:
        opt.zero_grad()
        (net(x) ** 2).mean().backward()
        opt.step()
        return net[0].bias.sum().item()

    net = small(1)
    opt = optim.Adam(net.parameters(), lr=0.1)
    for k in range(8):
        step(net, opt, batch(k))
    assert step._segments.bundles.replayed >= 10
    dead = [weakref.ref(o) for o in (net, opt, *net.parameters())]
    grads = [weakref.ref(p.grad) for p in net.parameters()]
    del net, opt
    gc.collect()
    assert [r() for r in dead + grads] == [None] * len(dead + grads)
    for k in range(6):  # other objects of the same structure need no new bundles
        net = small(1)
        before = step._segments.bundles.learnt
        step(net, optim.Adam(net.parameters(), lr=0.1), batch(k))
        assert step._segments.bundles.learnt == before


def test_calls_that_never_repeat_are_given_up() -> None:
    w = hb.tensor([1.0, 2.0], requires_grad=True)

    @deferred
    def step(k: int) -> Any:
        w.grad = None
        y = w
        for _ in range(k % 90):
            y = y * w
        y.sum().backward()
        return y.sum().item()

    for k in range(1, 180):
        step(k)
    known = step._segments.bundles
    assert known.learnt <= kept.MOST_LEARNT + known.replayed // kept.PAYS


def test_results_of_replays_are_differentiated() -> None:
    """A pass through a recorded call: what the replay did not keep is computed in the bundle."""
    results = []
    for jit, decorate in ((lambda fn: fn, lambda fn: fn), (deferred, function)):
        net = small(2)

        def forward(x: Any, net: Any = net) -> Any:
            return hb.tanh(net(x)) * 2.0, net(x + 1.0).exp()

        def finish(one: Any, other: Any, net: Any = net) -> Any:
            net.zero_grad()
            loss = (one * other).mean() + one.sum()
            loss.backward()
            return loss.item(), [p.grad for p in net.parameters()]

        first, last = decorate(forward), jit(finish)
        results.append(seen([last(*first(batch(k))) for k in range(9)]))
    assert results[0] == results[1]
    assert first.cache_info().replays == 7  # type: ignore[attr-defined]
    assert last._segments.bundles.replayed >= 4  # type: ignore[attr-defined]


def test_threads_learn_at_once() -> None:
    """Each thread has a net of its own; what one learns, all replay."""

    @deferred
    def step(net: Any, opt: Any, x: Any) -> Any:
        opt.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss.item()

    def train(run: Any, found: Any) -> None:
        net = small(1)
        opt = optim.SGD(net.parameters(), lr=0.1)
        found.append([run(net, opt, batch(k)) for k in range(30)])

    expected: list[Any] = []
    train(step.fn, expected)
    found: list[Any] = []
    threads = [threading.Thread(target=train, args=(step, found)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected * 4 and step._segments.bundles.replayed > 100
