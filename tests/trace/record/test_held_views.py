"""Views of state that somebody holds outside of a recorded function follow it as they do eagerly."""

from __future__ import annotations

import types
import warnings
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn
from hybrid.decorator import RunsEagerly, function

HOLDS = {
    "detach": lambda w: w.detach(),
    "data": lambda w: w.data,
    "slice of detach": lambda w: w.detach()[1:],
    "shape of detach": lambda w: w.detach().reshape(16),
    "slice": lambda w: w[:],
    "view of a view": lambda w: w[1:].T[0],
    "two": lambda w: (w.data, w.detach()[0]),
}


class Counted(nn.Module):
    """A layer with state that has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", hb.zeros(4))

    def forward(self, x: Any) -> Any:
        with hb.no_grad():
            self.total.assign(self.total + x.sum(0))
        return x * 2


def train_and_hold(jit: Any, hold: Any, when: int, between: Any = None) -> tuple[list[Any], Any]:
    hb.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), Counted())
    rule = hb.optim.SGD(net.parameters(), lr=0.1)

    @jit
    def step(x: Any) -> Any:
        loss = (net(x) ** 2).sum()
        loss.backward()
        rule.step()
        rule.zero_grad()
        return loss

    x, held, seen = hb.ones(2, 4) * hb.asarray([[1.0], [3.0]]), [], []
    for number in range(14):
        if number == when:
            found = hold(net[0].weight)
            held += found if isinstance(found, tuple) else [found]
            held.append(net[1].total[1:])
        seen.append(step(x).item())
        if between is not None and held:
            between(held[0])
        seen += [(view.numpy().tobytes(), view.requires_grad) for view in held]
    seen += [p.numpy().tobytes() for p in net.parameters()]
    return seen, step


@pytest.mark.parametrize("when", [0, 1, 5])
@pytest.mark.parametrize("hold", HOLDS)
def test_views_of_parameters_held_outside(hold, when):
    want, _ = train_and_hold(lambda f: f, HOLDS[hold], when)
    got, step = train_and_hold(function, HOLDS[hold], when)
    assert got == want
    info = step.cache_info()
    assert info.records <= 3 and info.eager == 0 and info.replays >= 11, step.explain()
    plan = next(s.plans[0] for s in step._signatures.values())
    assert plan.served is not None  # the native way


def test_writing_through_a_view_between_calls():
    def halve(view: Any) -> None:
        with hb.no_grad():
            view *= 0.5

    want, _ = train_and_hold(lambda f: f, HOLDS["data"], 3, halve)
    got, step = train_and_hold(function, HOLDS["data"], 3, halve)
    assert got == want and step.cache_info().replays >= 11


def test_a_view_that_the_call_reads_after_the_write():
    def run(jit: Any) -> Any:
        p = hb.ones(4)
        box = {"view": p[:2]}

        @jit
        def step(x: Any) -> Any:
            p.assign(p + x)
            return box["view"].sum()

        return [step(hb.ones(4)).item() for _ in range(8)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        assert run(function) == run(lambda f: f)


def test_an_error_of_a_replay_leaves_held_views_linked():
    p = hb.zeros(4)
    view = p[:2]

    @function
    def step(index: Any) -> Any:
        p.assign(p + 1)
        return p[index]

    good, bad = hb.asarray([1]), hb.asarray([9])
    for _ in range(4):
        step(good)
    with pytest.raises(hb.IndexOutOfRange if hasattr(hb, "IndexOutOfRange") else IndexError):
        step(bad)
    assert view.tolist() == p[:2].tolist()
    step(good)
    assert view.tolist() == p[:2].tolist() == [p[0].item()] * 2


# ---- views that a call writes, and that are views no more
base, state = None, types.SimpleNamespace()


def ramp(k):
    return hb.tensor(np.arange(4, dtype="f4") + k)


def put(tensor, shown):
    global base
    base, state.view = tensor, shown


LOST = {
    "the view is the base now": lambda: put(ramp(3), base),
    "a tensor of its own": lambda: put(base, ramp(3)),
    "a view of another base": lambda: put(made := ramp(3), made[:]),
    "another base": lambda: put(ramp(3), state.view),
}


def shrink(x):
    state.view *= 0.5
    if state.mode != "train":
        base.assign(base * 0.9)
    return x


def written_through(step, view, change, before):
    """What a tensor and a view of it hold while a function writes the view."""
    state.mode = "train"
    put(made := ramp(1), view(made))
    held, found = [base, state.view], []
    for k in range(before + 3):
        if k == before:
            change()
        step(ramp(k))
        found.append([t.tolist() for t in (base, state.view, *held)])
    return found


@pytest.mark.parametrize("before", [2, 3, 4])
@pytest.mark.parametrize("view", [lambda w: w.detach(), lambda w: w[:]], ids=["detach", "slice"])
@pytest.mark.parametrize("change", LOST.values(), ids=LOST)
def test_a_base_is_written_only_while_its_view_is_one(change, view, before):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = written_through(function(shrink), view, change, before)
    assert got == written_through(shrink, view, change, before)


@pytest.mark.parametrize(
    "shown",
    [
        lambda b: b[:4],
        lambda b: b.reshape(2, 4)[0],
        lambda b: b.detach(),
        lambda b: (b[1:], {"row": b.reshape(2, 4)}),
    ],
)
@pytest.mark.parametrize("held", [0, 1])
def test_views_that_replays_returned_follow_later_writes(shown, held):
    """Also while views that somebody held before are kept apart from the replay."""
    seen = []
    for jit in (lambda fn: fn, function):
        base, last = hb.arange(8.0), []
        kept = [base[2:] for _ in range(held)]

        def step(x, base=base):
            base[:4] *= 0.5
            base.add_(x)
            return shown(base)

        call, found = jit(step), []
        for k in range(8):
            last = [call(hb.ones(1) * k), *last][:1]
            base[0] += 3.0
            found += [leaf.tolist() for leaf in hb.core.trees.leaves((last, kept))]
        seen.append(found)
    assert seen[0] == seen[1]
    assert call.cache_info().replays >= 2
