"""Ways through branches that are met late: each is served after one recording where all that it
adds was there before; where Python changes on that way, the change is what the plain call does."""

from __future__ import annotations

from typing import Any

from actions.harness import box, suite

import hybrid as hb
from hybrid import nn, optim

from .guards import draw

__all__ = ["ONCE", "PROGRAMS"]

ONCE, once = suite()  # programs whose ways take one recording each, but for the first
PROGRAMS, program = suite()


def rare(k: int, every: int = 7) -> Any:
    """Mostly small values, now and then large ones."""
    return draw(k, 4, scale=40.0 if k % every == every - 1 else 0.5)


@once
def two_questions(jit: Any) -> Any:
    @jit
    def f(x: Any, y: Any) -> Any:
        if (x.mean() > 0 and y.mean() > 0) or not x.max() < 2:
            return x + y
        return x - y

    return lambda k: f(draw(k, 4), draw(k + 1, 4)), None


@once
def skipped_layers(jit: Any) -> Any:
    hb.manual_seed(3)
    layers = [nn.Linear(4, 4) for _ in range(3)]

    @jit
    def f(x: Any) -> Any:
        used = 0
        for layer in layers:
            y = layer(x)
            if y.mean() < 0:
                continue
            x, used = x + y, used + 1
        return x, used

    return lambda k: f(draw(k, 2, 4)), layers


@once
def steps_of_a_line_search(jit: Any) -> Any:
    target = draw(9, 4)

    def cost(x: Any) -> Any:
        return ((x - target) ** 4).sum() + (x**2).sum()

    @jit
    def f(x: Any) -> Any:
        value, gradient = hb.value_and_grad(cost)(x)
        for size in (1.0, 0.3, 0.1, 0.03, 0.01):
            if cost(x - size * gradient) < value:
                break
        return x - size * gradient

    return lambda k: f(draw(k, 4)), None


@once
def clipped_steps(jit: Any) -> Any:
    hb.manual_seed(3)
    model = nn.Linear(4, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.05)

    @jit
    def step(x: Any, y: Any) -> Any:
        loss = ((model(x) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = sum((p.grad**2).sum() for p in model.parameters()).sqrt()
        if norm > 1.0:
            for p in model.parameters():
                p.grad = p.grad / norm
        optimizer.step()
        return loss

    return lambda k: step(draw(k, 8, 4, scale=1 + k % 3), draw(k + 1, 8, 2)), model


# ---- state that a late way changes
@program
def a_cache_that_a_way_fills(jit: Any) -> Any:
    cache: dict[str, Any] = {}

    @jit
    def f(x: Any) -> Any:
        if x.max() > 5:
            if "seen" not in cache:
                cache["seen"] = x * 2
            return cache["seen"] + x
        return x

    return lambda k: f(rare(k)), cache


@program
def a_flag_that_a_way_turns(jit: Any) -> Any:
    s = box(flip=False)

    @jit
    def f(x: Any) -> Any:
        if x.max() > 5:
            s.flip = not s.flip
            return x * 2 if s.flip else x * 3
        return x + 1 if s.flip else x - 1

    return lambda k: f(rare(k)), s


@program
def numbers_that_only_a_way_reads(jit: Any) -> Any:
    s = box(scale=1.0, offset=[0.5, 1.5, 2.5])

    @jit
    def f(x: Any) -> Any:
        if x.max() > 5:
            return x * s.scale + s.offset[1]
        return x

    def call(k: int) -> Any:
        if k % 10 == 9:
            s.scale += 0.5
            s.offset[1] -= 0.25
        return f(rare(k, 4))

    return call, s


@program
def a_tensor_that_a_way_replaces(jit: Any) -> Any:
    s = box(center=draw(3, 4), previous=None)

    @jit
    def f(x: Any) -> Any:
        if x.max() > 5:
            s.previous = s.center
            s.center = x * 0.125
            return s.center
        return x - s.center

    return lambda k: f(rare(k)), s


@program
def a_scale_that_a_way_halves(jit: Any) -> Any:
    s = box(scale=1024.0, good=0)

    @jit
    def f(x: Any) -> Any:
        loss = (x**2).sum() * s.scale
        if loss > 5000:
            s.scale /= 2
            s.good = 0
        else:
            s.good += 1
            if s.good % 5 == 0:
                s.scale *= 2
        return loss / s.scale

    return lambda k: f(rare(k)), s


@program
def an_item_by_a_counter(jit: Any) -> Any:
    s = box(turn=0, items=[1.0, 2.0, 3.0])

    @jit
    def f(x: Any) -> Any:
        if x.max() > 5:
            s.turn = (s.turn + 1) % 3
            return x * s.items[s.turn]
        return x

    return lambda k: f(rare(k, 3)), s


@program
def a_model_that_a_way_freezes(jit: Any) -> Any:
    hb.manual_seed(3)
    model = nn.Linear(4, 2)

    @jit
    def f(x: Any) -> Any:
        y = model(x)
        if x.max() > 5:
            model.weight.requires_grad = not model.weight.requires_grad
            return y * 2
        return y

    return lambda k: f(rare(k)).sum(), model


@program
def a_method_that_a_way_swaps(jit: Any) -> Any:
    s = box(rule=lambda x: x * 2)
    rules = [lambda x: x * 2, lambda x: x * 3]

    @jit
    def f(x: Any) -> Any:
        if x.max() > 5:
            s.rule = rules[0] if s.rule is rules[1] else rules[1]
        return s.rule(x)

    return lambda k: (f(rare(k)), s.rule is rules[1])[0], None


@program
def a_list_that_a_way_shortens(jit: Any) -> Any:
    scales = [1.5, 2.5, 0.5, 4.0]

    @jit
    def f(x: Any) -> Any:
        for scale in scales:
            x = x * scale
        if x.max() > 80 and len(scales) > 1:
            del scales[0]
        return x

    return lambda k: f(rare(k)), scales
