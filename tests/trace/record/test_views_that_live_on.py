"""Views that a replay returned, or that Python has between two pieces, are views: a write through
one is seen by its base and by all others, as after an eager call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import hybrid as hb
from hybrid import RunsEagerly, function

X = hb.arange(6) * 1.0


def cut(x: Any) -> Any:
    q = (x * 2).reshape(2, 3)
    r = q[0]
    os.times()
    r.add_(1.0)
    return q.sum()


def halves(x: Any) -> Any:
    whole = x * 2
    first, second = whole[:3], whole[3:]
    os.times()
    first += 1
    return first, second


def overlapping(x: Any) -> Any:
    whole = x * 2
    first, second = whole[:4], whole[2:]
    os.times()
    first += 1
    return first, second


def of_views(x: Any) -> Any:
    row = (x * 2).reshape(3, 2).T[1]
    other = row[1:]
    os.times()
    other.mul_(3.0)
    return row


def detached(x: Any) -> Any:
    whole = x * 2
    part = whole.detach()[::2]
    os.times()
    part.sub_(1.0)
    return whole


@pytest.mark.parametrize("program", [cut, halves, overlapping, of_views, detached])
def test_pieces_hand_on_views(program: Callable[..., Any]) -> None:
    expected = str(program(X))
    traced = function(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for _ in range(14):
            assert str(traced(X)) == expected


def state(how: str) -> Any:
    if how == "reshaped":
        return hb.zeros(2, 3).reshape(6)
    if how == "turned":
        return hb.zeros(3, 2).T.reshape(6)
    return hb.zeros(12)[::2] if how == "sliced" else hb.zeros(6)


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize("how", ["plain", "reshaped", "turned", "sliced"])
def test_a_state_that_is_a_view_takes_writes_through_its_views(how: str, effect: bool) -> None:
    def run(wrap: Callable[..., Any]) -> list[Any]:
        p = state(how)

        def step(x: Any) -> Any:
            p.assign(p * 0.5 + x)
            every_other = p[::2]
            if effect:
                os.times()
            every_other.add_(1.0)
            p.reshape(2, 3)[:, 1].mul_(2.0)
            return p.sum()

        step = wrap(step)
        return [step(X).item() for _ in range(12)] + p.tolist()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        assert run(function) == run(lambda f: f)


@pytest.mark.parametrize("how", ["plain", "reshaped", "turned", "sliced"])
@pytest.mark.parametrize(
    "view",
    [
        lambda p: p[::2],
        lambda p: p.reshape(2, 3)[1],
        lambda p: p.reshape(3, 2).T[0],
        lambda p: p.detach()[1:],
    ],
)
def test_a_replay_returns_views_of_what_it_captures_and_is_given(how: str, view: Any) -> None:
    p, q = state(how), state(how)

    @function
    def get(given: Any) -> Any:
        return view(p), view(given)

    for number in range(5):
        captured, given = get(q)
        captured.add_(float(number))
        given.sub_(1.0)
        p.mul_(2.0)
    assert get.cache_info().replays >= 2
    eager, other = state(how), state(how)
    for number in range(5):
        view(eager).add_(float(number))
        view(other).sub_(1.0)
        eager.mul_(2.0)
    assert p.tolist() == eager.tolist() and q.tolist() == other.tolist()


def test_views_of_one_hidden_base_share_it() -> None:
    @function
    def parts(x: Any) -> Any:
        whole = x * 2
        return whole[:4], {"rest": whole[2:], "square": whole.reshape(2, 3).T}

    for _ in range(5):
        first, others = parts(X)
        first.add_(10.0)
        assert others["rest"].tolist() == [14.0, 16.0, 8.0, 10.0]
        others["square"][2, 1] = 0.0
        assert others["rest"].tolist() == [14.0, 16.0, 8.0, 0.0]
    assert parts.cache_info().replays == 3


def test_gradients_go_through_a_hidden_base() -> None:
    weight = hb.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)

    @function
    def parts(x: Any) -> Any:
        whole = weight * x
        return whole[:3], whole[1:]

    for _ in range(5):
        weight.grad = None
        first, second = parts(hb.ones(4))
        second.mul_(2.0)
        (first.sum() + second.sum()).backward()
        assert first.tolist() == [1.0, 4.0, 6.0]
        assert weight.grad.tolist() == [1.0, 4.0, 4.0, 2.0]
    assert parts.cache_info().replays == 3
