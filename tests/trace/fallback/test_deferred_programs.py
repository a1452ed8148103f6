"""Ordinary programs whose Python has to run: deferred, they leave what the undecorated ones leave."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from deferred_harness import deferred

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid.decorator import function
from hybrid.ir.door import bind as door
from hybrid.ir.door.pending import COLLECTING

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
PROGRAMS: list[Callable[[Any], Any]] = []


def program(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A program: it is given what decorates its functions, and returns all that can be seen."""
    PROGRAMS.append(body)
    return body


def made(data: Any = X, **kwargs: Any) -> Any:
    """A fresh tensor."""
    return hb.tensor(np.array(data), **kwargs)


def seen(value: Any) -> Any:
    """What can be seen of a result, gradients included."""
    if isinstance(value, hb.Tensor):
        data = value.numpy().tobytes()
        assert type(value._v) is np.ndarray
        gradient = seen(value.grad) if value.is_leaf else None
        return str(value._a), value.requires_grad, value.is_leaf, data, gradient
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    return [seen(item) for item in value] if isinstance(value, (list, tuple)) else repr(value)


@program
def stops_at_its_end_token(jit: Any) -> Any:
    cell = nn.Linear(6, 6)

    @jit
    def decode(x: Any, most: int) -> Any:
        time.time()
        out = []
        for k in range(most):
            x = hb.tanh(cell(x))
            out.append(x)
            if x.mean().item() < -0.05 * k:
                break
        return hb.stack(out), k

    return [decode(made() * scale, 10) for scale in (1, 2, 0.5, 1, 2, 0.5, 3)]


@program
def momentum_by_hand(jit: Any) -> Any:
    w, momentum = made(requires_grad=True), hb.zeros(4, 6)

    @jit
    def step(x: Any) -> Any:
        nonlocal momentum
        time.time()
        loss = ((w * x) ** 2).mean() + abs(w).sum() * 0.01
        loss.backward()
        with hb.no_grad():
            momentum = momentum * 0.9 + w.grad
            w.assign(w - momentum * 0.1)
        w.grad = None
        return float(loss)

    return [step(made()) for _ in range(8)], w, momentum


@program
def two_networks_and_noise(jit: Any) -> Any:
    maker, judge = nn.Linear(3, 6), nn.Linear(6, 1)
    first = optim.Adam(maker.parameters(), lr=0.01)
    second = optim.SGD(judge.parameters(), lr=0.1, momentum=0.9)

    @jit
    def step(x: Any) -> Any:
        time.time()
        fake = maker(hb.randn(4, 3))
        judged = (judge(fake.detach()) ** 2).mean() + ((judge(x) - 1) ** 2).mean()
        second.zero_grad()
        judged.backward()
        second.step()
        fooled = ((judge(fake) - 1) ** 2).mean()
        first.zero_grad()
        fooled.backward()
        first.step()
        return judged, fooled

    out = [step(made()) for _ in range(8)]
    return out, [*maker.parameters(), *judge.parameters()], hb.randn(2)


@program
def accumulated_and_clipped_gradients(jit: Any) -> Any:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    opt, history = optim.AdamW(net.parameters(), lr=0.01), []

    @jit
    def step(batches: Any) -> Any:
        time.time()
        opt.zero_grad()
        for x in batches:
            loss = (net(x) ** 2).mean() / len(batches)
            loss.backward()
            history.append(loss)
        norm = hb.sqrt(sum((p.grad**2).sum() for p in net.parameters()))
        if norm > 0.1:
            for p in net.parameters():
                p.grad = p.grad * (0.1 / norm)
        opt.step()
        return norm

    out = [step([made(), made() * 2, made() - 1]) for _ in range(6)]
    return out, history, list(net.parameters())


@program
def views_of_a_shared_buffer(jit: Any) -> Any:
    buffer = hb.zeros(8, 6)
    outer = buffer[2:4]

    @jit
    def turn(x: Any, k: int) -> Any:
        time.time()
        buffer[k : k + 4] = x
        row = buffer[k]
        row *= 2.0
        turned = buffer.T[1]
        turned += 1.0
        flat = x.reshape(6, 4)
        flat[0] = 9.0
        cut = x.detach()
        cut -= 1.0
        return row.clone(), turned.clone(), flat, cut, x, buffer.sum(0), outer * 1.0

    return [turn(made(), k % 3) for k in range(7)], buffer, outer


class Averaged(nn.Module):
    """Keeps a running mean, a count and its last result."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.count, self.last = nn.Linear(6, 6), 0, None
        self.register_buffer("mean", hb.zeros(6))

    def forward(self, x: Any) -> Any:
        y = self.layer(x)
        with hb.no_grad():
            self.mean.assign(self.mean * 0.9 + y.mean(0) * 0.1)
        self.count += 1
        self.last = y
        return y - self.mean


@program
def state_on_a_module(jit: Any) -> Any:
    module, out = Averaged(), []

    @jit
    def forward(x: Any) -> Any:
        time.time()
        return module(x).sum()

    for _ in range(7):
        forward(made()).backward()
        gradients = [p.grad.clone() for p in module.parameters()]
        out.append([module.last, module.mean.clone(), module.count, gradients])
        module.zero_grad()
    return out


@program
def errors_that_are_caught_and_not(jit: Any) -> Any:
    state, log = hb.zeros(6), []

    @jit
    def turn(x: Any, k: int) -> Any:
        time.time()
        state.assign(state + x.sum(0))
        log.append(state * 1.0)
        try:
            if k % 2:
                raise KeyError(k)
            y = x[hb.tensor([k])]
        except (KeyError, IndexError) as error:
            log.append(type(error))
            y = x * 0
        state.assign(state * 0.5)
        if k == 5:
            raise ValueError("five")
        return y

    out = []
    for k in range(8):
        try:
            out.append(turn(made(), k))
        except ValueError as error:
            out.append(repr(error))
    return out, state, log


@program
def results_kept_and_written_later(jit: Any) -> Any:
    kept: list[Any] = []

    @jit
    def turn(x: Any) -> Any:
        time.time()
        a = x * 2
        b = a + 1
        kept.extend([a, b.detach()])
        kept[-1][0] = 0.0
        return b

    out = [turn(made()) for _ in range(6)]
    for tensor in kept:
        tensor += 1.0
    return out, kept


@program
def numpy_in_between(jit: Any) -> Any:
    @jit
    def turn(x: Any) -> Any:
        random.random()
        y = hb.tensor(np.asarray(x * 2) + 1) * x
        z = y - np.mean(y.numpy(), 0)
        return z, np.float32(z.sum().item()), z.numpy().max(), hb.asarray(y.numpy()[0]) + z[0]

    return [turn(made()) for _ in range(6)]


@program
def every_kind_of_number(jit: Any) -> Any:
    @jit
    def turn(x: Any) -> Any:
        time.time()
        half, short = x.astype("float16") * 1.5 + 0.1, x.astype("bfloat16") * 1.5
        double = x.astype("float64") / 3
        total = (half.astype("float32") + double).sum()
        special = -hb.zeros(3), hb.zeros(3) * -1, x * float("nan"), x / 0.0
        return half, short, double, total, x.astype("int8") * 100, special

    return [turn(made()) for _ in range(6)]


@program
def attention_two_ways(jit: Any) -> Any:
    shape = (2, 4, 8)
    q, k, v = [
        made(np.random.default_rng(i).standard_normal(shape).astype(np.float32), requires_grad=True)
        for i in range(3)
    ]

    @jit
    def turn() -> Any:
        time.time()
        fused = nn.functional.scaled_dot_product_attention(q, k, v)
        plain = hb.softmax(q @ k.swapaxes(1, 2) / 8**0.5, -1) @ v
        loss = ((fused - plain) ** 2).sum() + fused.sum()
        loss.backward()
        gradients = [t.grad for t in (q, k, v)]
        for t in (q, k, v):
            t.grad = None
        return fused, plain, loss.item(), gradients

    return [turn() for _ in range(6)]


@program
def embeddings_and_labels(jit: Any) -> Any:
    table, last = nn.Embedding(10, 6), nn.Linear(6, 10)
    opt = optim.Adam([*table.parameters(), *last.parameters()], lr=0.05)

    @jit
    def turn(tokens: Any, labels: Any) -> Any:
        time.time()
        scores = last(table(tokens))
        loss = nn.functional.cross_entropy(scores.reshape(-1, 10), labels.reshape(-1))
        opt.zero_grad()
        loss.backward()
        opt.step()
        right = last(table(tokens)).argmax(-1) == labels
        return loss.item(), right.astype("float32").mean()

    tokens = made(np.arange(8).reshape(2, 4))
    return [turn(tokens, tokens) for _ in range(8)], [*table.parameters(), *last.parameters()]


@program
def derivatives_of_functions(jit: Any) -> Any:
    @hb.custom_gradient
    def clipped(x: Any) -> Any:
        return x * 1.0, lambda g: hb.clip(g, -0.1, 0.1)

    @jit
    def turn(x: Any) -> Any:
        time.time()
        y, pull = hb.vjp(lambda t: hb.sin(t) * t, x)
        inner = hb.grad(lambda u: (hb.exp(u) * u).sum())
        second = hb.grad(lambda t: (inner(t) ** 2).sum())(x)
        value, gradient = hb.value_and_grad(lambda t: (clipped(t) ** 2).sum())(x)
        return y, pull(hb.ones_like(y)), second, value, gradient

    return [turn(made()) for _ in range(6)]


@program
def a_module_changes_its_dtype(jit: Any) -> Any:
    layer = nn.Linear(6, 3)

    @jit
    def turn(x: Any, double: bool) -> Any:
        time.time()
        y = layer(x.astype("float64")).astype("float32") if double else layer(x)
        layer.to("float32" if double else "float64")
        return y

    return [turn(made(), k % 2 == 1) for k in range(6)], list(layer.parameters())


@program
def backward_outside_through_what_was_kept(jit: Any) -> Any:
    w, kept = made(requires_grad=True), []

    @jit
    def turn(x: Any) -> Any:
        time.time()
        y = hb.sin(w * x)
        z = y * y
        kept.append((y, z))
        return y if float(z.sum()) < 0 else (z * w).sum()

    for loss in [turn(made() * scale) for scale in (1, 2, 3, 1, 2, 3)]:
        loss.backward()
    for y, z in kept:
        (y * z).sum().backward()
    return w, kept


def _run(body: Callable[[Any], Any], jit: Any) -> Any:
    random.seed(0)
    np.random.seed(0)
    hb.manual_seed(0)
    return seen(body(jit))


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
def test_programs_leave_what_they_leave_undecorated(
    body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid.trace.fallback.deferred.CHOICE", ["always"])
    expected = _run(body, lambda fn: fn)
    assert _run(body, function) == expected
    used: list[Any] = []

    def jit(fn: Any) -> Any:
        used.append(deferred(fn))
        return used[-1]

    assert _run(body, jit) == expected
    info = used[0].cache_info()
    assert info.deferred >= 6 and info.replays == 0 and info.compilations <= 2 * info.segments
    assert not COLLECTING and door.STATE.special == 0 and door.current_mode() is None
