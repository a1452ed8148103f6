"""Tuples and named tuples among the arguments, with numbers in them that vary, are the objects that
they are: where a call uses one as a whole, no other one takes its place."""

from __future__ import annotations

import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest

import hybrid as hb
from hybrid.decorator import RunsEagerly, function
from hybrid.trace.split.splitting import PIECES

Pair = namedtuple("Pair", "rate step")
KEPT: dict[str, Any] = {}
LOG: list[Any] = []


@pytest.fixture(autouse=True, params=["auto", "always"])
def pieces(request: pytest.FixtureRequest) -> Any:
    before, PIECES[0] = PIECES[0], request.param
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        yield
    PIECES[0] = before


def returned(x: Any, c: Any) -> Any:
    return x * c[0], c


def kept(x: Any, c: Any) -> Any:
    KEPT["c"] = c
    return x * c[0], KEPT["c"]


def appended(x: Any, c: Any) -> Any:
    LOG.append(c)
    return x * c[0], LOG[-1]


def asked(x: Any, c: Any) -> Any:
    LOG.append(c)
    return x * c[0] + (c is LOG[-1]), c


def in_another(x: Any, c: Any) -> Any:
    return x * c[0], {"all": (c, 1)}["all"][0]


def read_before(x: Any, c: Any) -> Any:
    y = (x * 2).tanh()
    n = int(y.argmax())
    return y * c[0] + n, c


WAYS = (returned, kept, appended, asked, in_another, read_before)


@pytest.mark.parametrize("make", [tuple, lambda two: Pair(*two)], ids=["tuple", "named"])
@pytest.mark.parametrize("way", WAYS)
def test_a_record_used_whole_is_the_argument(way: Any, make: Callable[[Any], Any]) -> None:
    traced = function(way)
    for number in range(40):
        LOG.clear()
        given = make((0.5 * number, number))
        x = hb.tensor([1.0, -2.0, number % 3])
        result, same = traced(x, given)
        assert same is given, number
        assert result.tolist() == way(x, given)[0].tolist()


def test_a_record_inside_of_a_dict_is_the_one_that_is_there() -> None:
    traced = function(lambda x, c: (x * c["t"][0], c["t"]))
    for number in range(20):
        given = {"t": (0.5 * number, number)}
        assert traced(hb.ones(2), given)[1] is given["t"]


def test_a_record_of_which_only_fields_are_used_varies_freely() -> None:
    traced = function(lambda x, c: x * c.rate + c.step)
    for number in range(40):
        assert traced(hb.ones(2), Pair(0.5 * number, number)).tolist() == [1.5 * number] * 2
    assert traced.cache_info().replays > 30


def test_a_record_that_a_piece_makes_and_keeps_goes_on_as_that_object() -> None:
    @function
    def noted(x: Any, v: float) -> Any:
        y = (x * 2).tanh()
        n = int(y.argmax())
        e = (v * 2, n)
        LOG.append(e)
        y = y * e[0]
        m = int(y.argmin())
        return y + m, e

    for number in range(60):
        LOG.clear()
        x = hb.tensor([number % 5, 1.0, number % 7, 2.0])
        assert noted(x, 0.5 * number)[1] is LOG[0]
