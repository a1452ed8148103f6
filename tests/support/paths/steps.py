"""Steps that write state: gradients, optimizers, counters, accept and reject, around branches."""

from __future__ import annotations

import math
from typing import Any

from actions.harness import box, suite

import hybrid as hb
from hybrid import nn, optim

from .guards import draw

__all__ = ["PROGRAMS"]

PROGRAMS, program = suite()
F = nn.functional


def _model() -> tuple[Any, Any]:
    hb.manual_seed(0)
    model = nn.Linear(3, 1)
    return model, optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


@program
def skip_what_is_not_finite(jit: Any) -> Any:
    model, optimizer = _model()
    held = box(skipped=0)

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        total = sum((p.grad**2).sum() for p in model.parameters())
        if not hb.isfinite(total):
            held.skipped += 1
            return None
        optimizer.step()
        return loss

    def call(k: int) -> Any:
        return step(draw(k, 4, 3) * (math.nan if k % 5 == 4 else 1.0), draw(k + 1, 4, 1))

    return call, [list(model.parameters()), held]


@program
def skip_before_backward(jit: Any) -> Any:
    model, optimizer = _model()

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = F.mse_loss(model(x), y)
        if loss.item() > 3.0:
            return loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return lambda k: step(draw(k, 4, 3), draw(k + 1, 4, 1, scale=1 + k % 3)), list(
        model.parameters()
    )


@program
def clipped(jit: Any) -> Any:
    model, optimizer = _model()

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        total = sum((p.grad**2).sum() for p in model.parameters()).sqrt()
        if total > 1.0:
            for p in model.parameters():
                p.grad = p.grad / total
        optimizer.step()
        return loss

    return lambda k: step(draw(k, 4, 3), draw(k + 1, 4, 1)), list(model.parameters())


@program
def accept_or_reject(jit: Any) -> Any:
    held = {"x": hb.zeros(2), "accepted": 0}

    def energy(x: Any) -> Any:
        return (x**2).sum() / 2

    @jit
    def propose(noise: Any, level: Any) -> Any:
        candidate = held["x"] + noise
        if energy(held["x"]) - energy(candidate) > level:
            held["x"] = candidate
            held["accepted"] += 1
        return held["x"]

    return lambda k: propose(draw(k, 2), -draw(k + 1).abs()), held


@program
def in_place_on_one_way(jit: Any) -> Any:
    state = hb.zeros(3)

    @jit
    def f(x: Any) -> Any:
        if x.sum() > 0:
            state.add_(x) if hasattr(state, "add_") else state.assign(state + x)
        return state.sum() + x[0]

    return lambda k: f(draw(k, 3)), state


@program
def log_on_one_way(jit: Any) -> Any:
    log: list[Any] = []
    held = box(calls=0, last=None)

    @jit
    def f(x: Any) -> Any:
        held.calls += 1
        if x.sum() > 0:
            log.append(x.sum().item())
            held.last = x * 2
        return x + 1

    return lambda k: f(draw(k, 3)), [log, held]


@program
def random_numbers_on_one_way(jit: Any) -> Any:
    drop = nn.Dropout(0.5)
    hb.manual_seed(3)

    @jit
    def f(x: Any) -> Any:
        if x.mean() > 0:
            return drop(x)
        return x

    return lambda k: f(draw(k, 6)), None


@program
def buffer_in_a_module(jit: Any) -> Any:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", hb.zeros(3))

        def forward(self, x: Any) -> Any:
            self.mean.assign(0.9 * self.mean + 0.1 * x.mean(axis=0))
            return x - self.mean

    norm = Norm()

    @jit
    def f(x: Any) -> Any:
        if x.mean() > 0:
            return norm(x)
        return x * 2

    return lambda k: f(draw(k, 4, 3)), norm.mean


@program
def raises_after_a_write(jit: Any) -> Any:
    state = hb.zeros(3)

    @jit
    def f(x: Any) -> Any:
        state.assign(state + 1)
        if x.sum() > 2:
            raise ValueError("large")
        return state * x

    return lambda k: f(draw(k, 3)), state
