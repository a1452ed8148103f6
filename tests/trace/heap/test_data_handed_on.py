"""Data that functions of the program return and yield: still data where the program only moves it,
and never taken for data where somebody reads it."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from data_harness import X, batch, compared

import hybrid


@dataclass
class Pair:
    x: np.ndarray
    y: np.ndarray

    def both(self):
        return self.x, self.y

    @property
    def first(self):
        return self.x

    def __getitem__(self, name):
        return self.x if name == "x" else self.y

    def parts(self):
        for name in ("x", "y"):
            yield self[name]


class Shown:
    """An array of another library."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def first_of(pair):
    return pair.x


def unpacked(t, pair):
    x, y = pair.both()
    return t * hybrid.tensor(x) + hybrid.tensor(y)


def by_function(t, pair):
    return t * hybrid.asarray(first_of(pair))


def through_two(t, pair):
    def inner():
        return first_of(pair)

    return t * hybrid.asarray(inner())


def by_property(t, pair):
    return t + pair.first


def by_item(t, pair):
    return t + pair["x"] * t


def yielded(t, pair):
    total = 0
    for part in pair.parts():
        total = total + (hybrid.tensor(part) * t).sum()
    return total


def in_a_generator_expression(t, pair):
    return sum((hybrid.tensor(part) * t).sum() for part in (pair.x, pair.y))


def in_a_tuple(t, pair):
    for part in (pair.x, pair.y):
        t = t * part
    return t


def spread(t, pair):
    def inner(*args):
        return first_of(*args)

    return t * hybrid.tensor(inner(pair))


MOVED = (unpacked, by_function, through_two, by_property, by_item, yielded)
MOVED += (in_a_generator_expression, in_a_tuple, spread)


def pairs(number):
    return X, Pair(batch(number), batch(number + 1))


@pytest.mark.parametrize("body", MOVED, ids=lambda f: f.__name__)
def test_what_is_only_moved_stays_data(body):
    info = compared(body, pairs, 8).cache_info()
    assert (info.records, info.replays, info.signatures) == (2, 6, 1)


def test_an_array_that_an_object_shows_is_its_own():
    def body(t, shown):
        return t * hybrid.tensor(shown) + hybrid.asarray(shown)

    traced = compared(body, lambda k: (X, Shown(batch(k))), 12)
    assert traced.cache_info().replays >= 6 and traced.versions()[-1].state == "native"


# ---- read after all
def indexed(t, pair):
    return t * float(first_of(pair)[0, 0])


def largest(t, pair):
    return t * float(max(pair.both(), key=lambda a: float(a.sum()))[0, 0])


def sorted_by_content(t, pair):
    first, _ = sorted(pair.both(), key=np.sum)
    return t * hybrid.tensor(first)


def chosen(t, pair):
    def pick():
        x, y = pair.both()
        return x if x.sum() > 12 else y

    return t * hybrid.tensor(pick())


def changed(t, pair):
    x = first_of(pair)
    x += 1
    return t * hybrid.tensor(x)


def by_next(t, pair):
    return t * float(next(pair.parts())[0, 1])


def by_partial(t, pair):
    return t * float(functools.partial(first_of, pair)()[0, 1])


def reduced(t, pair):
    return t * float(functools.reduce(np.add, pair.parts())[0, 1])


def compared_in_c(t, pair):
    return t if [first_of(pair)[0, 0]] == [0.0] else -t


def listed(t, pair):
    return t * hybrid.tensor([first_of(pair).tolist(), pair.first.tolist()])[0]


def by_truth(t, pair):
    return t if first_of(pair)[:1, 1].any() and pair["x"][0, 1] > 2 else -t


def as_keys(t, pair):
    return t * {float(v): k for k, v in enumerate(first_of(pair)[0])}[float(pair.first[0, 1])]


def sent(t, pair):
    def echo():
        got = yield
        while True:
            got = yield got

    echoing = echo()
    next(echoing)
    return t * float(echoing.send(first_of(pair))[0, 1])


READ = (indexed, largest, sorted_by_content, chosen, changed, by_next, by_partial, reduced)
READ += (compared_in_c, listed, by_truth, as_keys, sent)


@pytest.mark.parametrize("body", READ, ids=lambda f: f.__name__)
def test_what_is_read_is_never_taken_for_data(body):
    compared(body, pairs, 14)


def test_an_object_that_shows_another_array_each_time():
    class Growing(Shown):
        def __array__(self, dtype=None, copy=None):
            return self.array if self.array[0, 1] > 2 else self.array * 2

    def body(t, shown):
        return t * hybrid.tensor(shown)

    compared(body, lambda k: (X, Growing(batch(k))), 16)
