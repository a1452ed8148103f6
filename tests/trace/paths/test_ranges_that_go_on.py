"""Loops over ranges whose turns a tensor ends, and that go on after that."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import function


def two_ways(x: Any, y: Any) -> Any:
    for _ in range(8):
        if x.sum() > 0.0:
            x = x - 0.5
        else:
            y = y * 0.5
            x = x + y.abs()
    return x, y


def one_long_stretch(x: Any, y: Any) -> Any:
    for k in range(6):
        if x.sum() > 0.0:
            x = x - 1.0
        else:
            y = y + k
    return x, y


def left_in_the_middle(x: Any, y: Any) -> Any:
    for _ in range(7):
        if x.sum() <= 0.0:
            break
        x = x - 0.75
    return x, y


@pytest.mark.parametrize("plain", [two_ways, one_long_stretch, left_in_the_middle])
def test_every_number_of_turns_is_right(plain: Callable[..., Any]) -> None:
    f = function(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(40):
            rng = np.random.default_rng(k)
            a = rng.normal(size=3) * [0.3, 1, 3][k % 3] + k % 4
            x, y = hb.tensor(a.astype("f4")), hb.tensor(rng.normal(size=3).astype("f4"))
            for mine, theirs in zip(f(x, y), plain(x, y)):
                assert mine.numpy().tobytes() == theirs.numpy().tobytes(), k


@pytest.mark.parametrize("made", [(), ((),), [], {}, ((), 1)])
def test_empty_containers_are_results(made: Any) -> None:
    def give(x: Any) -> Any:
        x + 1
        return type(made)(made) if made else type(made)()

    f = function(give)
    assert [f(hb.ones(2)) for _ in range(8)] == [made] * 8
    g = function(lambda x: ())
    assert [g(hb.ones(2)) for _ in range(8)] == [()] * 8
