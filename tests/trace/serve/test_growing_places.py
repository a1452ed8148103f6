"""Tensors that a call finds in Python and leaves there with another size: caches of keys and values,
memories that fill up.  One recording a size, one compilation for many; plain Python beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from frozen import frozen

import hybrid as hb
from hybrid import function

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
LENGTH = 12  # of a sequence


class Cache:
    def __init__(self) -> None:
        self.keys: Any = None
        self.values: Any = None
        self.pair: Any = ()
        self.scale, self.count = 2.0, 0


def both(cache: Any, x: Any) -> Any:
    if cache.keys is None:
        cache.keys, cache.values = x, x * 2
    else:
        cache.keys = hb.concat([cache.keys, x], axis=0)
        cache.values = hb.concat([cache.values, x * 2], axis=0)
    return (x @ cache.keys.T).softmax(axis=-1) @ cache.values * cache.scale


def by_length(cache: Any, x: Any) -> Any:
    cache.keys = x if cache.keys is None else hb.concat([cache.keys, x])
    total = cache.keys.sum(axis=0) / cache.keys.shape[0]
    return total * 2 if len(cache.keys) > 5 else total


def window(cache: Any, x: Any) -> Any:
    cache.keys = x if cache.keys is None else hb.concat([cache.keys, x])[-7:]
    return cache.keys.mean(axis=0)


def halves(cache: Any, x: Any) -> Any:
    cache.keys = x if cache.keys is None else hb.concat([cache.keys, x])
    return cache.keys[: cache.keys.shape[0] // 2].sum()


def counted(cache: Any, x: Any) -> Any:
    cache.keys = x if cache.keys is None else hb.concat([cache.keys, x])
    cache.count += 1
    return cache.keys.sum() * cache.count


def in_a_tuple(cache: Any, x: Any) -> Any:
    cache.pair = (x, x) if not cache.pair else tuple([hb.concat([t, x]) for t in cache.pair])
    return cache.pair[0].sum(axis=0) + cache.pair[1].mean(axis=0)


PROGRAMS = {"both": both, "window": window, "halves": halves}
OTHERS = {"counted": counted, "in a tuple": in_a_tuple, "by length": by_length}


def run(body: Any, jit: Any, calls: int, changes: bool = False) -> tuple[list[Any], Any]:
    cache, found = Cache(), []
    step = jit(lambda x: body(cache, x))
    for number in range(calls):
        if number % LENGTH == 0:
            cache.keys, cache.values, cache.pair = None, None, ()
        if changes and number == calls - 2 * LENGTH:
            cache.scale = 3.0
        x = hb.tensor(np.arange(3.0, dtype=np.float32)[None] * (number + 1) % 5)
        with hb.no_grad():
            found.append(frozen(step(x)))
        found.append(frozen((cache.keys, cache.values, cache.pair, cache.count)))
    return found, step


@pytest.mark.parametrize("name", [*PROGRAMS, *OTHERS])
def test_a_sequence_after_the_other(name: str) -> None:
    body = (PROGRAMS | OTHERS)[name]
    plain, _ = run(body, lambda f: f, 8 * LENGTH, True)
    traced, _ = run(body, function, 8 * LENGTH, True)
    assert plain == traced


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_length_takes_one_recording(name: str) -> None:
    _, step = run(PROGRAMS[name], function, 5 * LENGTH)
    before = step.cache_info()
    assert before.records <= 2 * LENGTH and not before.eager, step.explain()
    _, step = run(PROGRAMS[name], function, 12 * LENGTH)
    info = step.cache_info()
    assert info.replays >= 7 * LENGTH and not info.eager, step.explain()
    assert info.compilations <= 8 + LENGTH


def test_longer_sequences_than_are_kept_are_right() -> None:
    cache = Cache()
    step = function(lambda x: both(cache, x))
    with hb.no_grad():
        for number in range(300):
            if number % 150 == 0:
                cache.keys = None
            x = hb.full((1, 3), float(number % 7))
            result = step(x)
            assert cache.keys.shape[0] == number % 150 + 1
            want = (x @ cache.keys.T).softmax(axis=-1) @ cache.values * 2
            assert result.tolist() == want.tolist()


def test_another_kind_of_tensor_in_the_place_is_no_size_of_it() -> None:
    cache = Cache()
    step = function(lambda x: cache.keys.sum() + x)
    x = hb.zeros(1)
    for number in range(40):
        size = 1 + number % 6
        cache.keys = hb.ones(size, dtype=("float64" if number % 11 == 10 else "float32"))
        cache.keys = hb.ones(size, size) if number % 13 == 12 else cache.keys
        result = step(x)
        assert result.item() == cache.keys.numel() and result.dtype == cache.keys.dtype
