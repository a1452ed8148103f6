"""Branches and loops on tensors with what else a replay computes: numbers that differ from call to
call, taps, tapes of results, Python state, calls that are written in several ways."""

from __future__ import annotations

from typing import Any

from actions.harness import box, suite

import hybrid as hb
from hybrid import nn

from .guards import draw

__all__ = ["PROGRAMS", "LOOPS"]

PROGRAMS, program = suite()
LOOPS, loop = suite()


# ---- numbers
@program
def limit_is_an_argument(jit: Any) -> Any:
    @jit
    def f(x: Any, limit: float) -> Any:
        if x.sum().item() > limit:
            return x * 2
        return x - limit

    return lambda k: f(draw(k, 4), 0.125 * k - 3), None


@program
def arithmetic_on_the_limit(jit: Any) -> Any:
    s = box(limit=0.25)

    @jit
    def f(x: Any) -> Any:
        s.limit += 0.0625
        if x.max().item() < s.limit * 0.5:
            return x + s.limit
        return -x

    return lambda k: f(draw(k, 4)), s


@program
def mean_by_a_number(jit: Any) -> Any:
    @jit
    def f(x: Any, n: int) -> Any:
        return x * 2 if x.sum().item() / n > 0.25 else x / n

    return lambda k: f(draw(k, 4), k + 1 if k % 17 != 16 else 0), None


@program
def whole_numbers(jit: Any) -> Any:
    @jit
    def f(x: Any, n: int) -> Any:
        count = (x > 0).sum()
        return x * 2 if count.item() >= n else -x

    large = (-(1 << 53) - 1, 1 << 53, (1 << 53) + 1, 1 << 64, -(1 << 70))
    return lambda k: f(draw(k, 6), large[k // 8 % 5] if k % 8 == 7 else k % 5), None


@program
def branch_on_what_numbers_made(jit: Any) -> Any:
    @jit
    def f(x: Any, a: float, b: float) -> Any:
        y = x * a
        if y.sum() > b:
            return y + b
        return y - a

    return lambda k: f(draw(k, 4), 1 + k / 8, k / 16 - 2), None


@program
def number_decides_before_the_tensor(jit: Any) -> Any:
    @jit
    def f(x: Any, n: int) -> Any:
        if n > 3 and x.sum() > n - 5:
            return x * n
        return x + n

    return lambda k: f(draw(k, 4), k % 7), None


# ---- taps, tapes and state
@program
def taps_on_both_ways(jit: Any) -> Any:
    seen = box(values=[])

    @jit
    def f(x: Any) -> Any:
        h = hb.tap(x * 3, "always")
        if h.sum() > 0:
            return hb.tap(h.exp(), "up") + 1
        return hb.tap(h - 1, "down") * 2

    probe = getattr(f, "probe", None)

    def call(k: int) -> Any:
        x = draw(k, 4)
        y = f(x)
        up = bool((x * 3).sum() > 0)
        if probe is not None:
            seen.values = [t.numpy() for n in ("always", "up" if up else "down") for t in probe(n)]
        else:
            h = x * 3
            seen.values = [h.numpy(), (h.exp() if up else h - 1).numpy()]
        return y

    return call, seen


@program
def gradient_outside(jit: Any) -> Any:
    w = hb.tensor([0.5, -1.0, 2.0, 0.25], requires_grad=True)

    @jit
    def f(x: Any) -> Any:
        y = (w * x).tanh()
        if y.sum() > 0:
            y = (y * w).exp()
        return y.sum()

    def call(k: int) -> Any:
        w.grad = None
        loss = f(draw(k, 4))
        loss.backward()
        return loss.detach(), w.grad

    return call, w


@program
def gradient_outside_beside_state(jit: Any) -> Any:
    hb.manual_seed(3)
    net, s = nn.Linear(4, 3), box(best=None, count=0)

    @jit
    def f(x: Any, rate: float) -> Any:
        y = net(x) * rate
        loss = (y**2).mean()
        if loss < 0.75:
            s.best = loss.detach()
            s.count += 1
        return loss

    def call(k: int) -> Any:
        net.zero_grad()
        loss = f(draw(k, 2, 4), 1 + k % 5 / 4)
        loss.backward()
        return loss.detach(), [p.grad for p in net.parameters()]

    return call, s


@program
def written_in_several_ways(jit: Any) -> Any:
    @jit
    def f(x: Any, scale: float = 2.0, flag: bool = True) -> Any:
        if x.sum() > 0:
            return x * scale if flag else x
        return x - 1

    calls = (
        lambda x: f(x),
        lambda x: f(x, flag=False),
        lambda x: f(x=x),
        lambda x: f(x, 2.0, True),
    )
    return lambda k: calls[k % 4](draw(k, 4 + k // 4 % 2)), None


# ---- loops that are one node
@loop
def decays_at_a_rate(jit: Any) -> Any:
    @jit
    def f(x: Any, limit: float, rate: float) -> Any:
        while x.norm() > limit:
            x = x * rate
        return x + limit

    return lambda k: f(draw(k, 4, scale=4), 0.5 + k / 32, 0.5 + k % 7 / 16), None


@loop
def turns_are_counted(jit: Any) -> Any:
    @jit
    def f(x: Any, rate: float) -> Any:
        count = 0
        while (x * x).sum().item() > rate + 1.0:
            x = x * 0.75
            count += 1
        return x, count

    return lambda k: f(draw(k, 4, scale=6), k / 64), None


@loop
def bound_by_a_state(jit: Any) -> Any:
    s = box(step=0)

    @jit
    def f(x: Any) -> Any:
        s.step += 1
        while x.abs().max().item() > 1.0 / s.step:
            x = x * 0.5
        return x

    return lambda k: f(draw(k, 4, scale=2)), s
