"""Functions in pieces, run by plain Python: they do what they did whole, wherever they are cut."""

from __future__ import annotations

import collections
import contextlib
import difflib
import dis
import doctest
import io
import os
import random
import traceback
import types
from http import cookies

import pytest
from pieces_harness import Mark, cut, places_of

from hybrid.trace.split.cut import pieces_of

SEEDS = range(int(os.environ.get("HYBRID_PROGRAMS", "0")) // 100 + 1)


def functions_of(module):
    """(holder, name, function) of the functions and methods of a module that may be cut."""
    holders = [module, *[v for v in vars(module).values() if isinstance(v, type)]]
    for holder in holders:
        for name, value in list(vars(holder).items()):
            if type(value) is not types.FunctionType or value.__module__ != module.__name__:
                continue
            if "_getframe" in value.__code__.co_names or not getattr(holder, name, None):
                continue
            if places_of(value):
                yield holder, name, value


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("module", [difflib, collections, cookies], ids=lambda m: m.__name__)
def test_modules_of_the_standard_library_do_as_their_examples_say(module, seed, monkeypatch):
    numbers = random.Random(seed)
    for holder, name, fn in functions_of(module):
        places = places_of(fn)
        count = min(len(places), numbers.choice((1, 3, 8, 64)))
        monkeypatch.setattr(holder, name, cut(fn, numbers.sample(places, count)))
    with contextlib.redirect_stdout(io.StringIO()) as text:
        failed, tried = doctest.testmod(module)
    assert tried and not failed, text.getvalue()


SHARED = 10


def sample(a, b=2, *rest, c=3, **named):
    total, seen = 0, []
    for number in range(a):
        if number % 3 == 1:
            continue
        seen.append([k + SHARED for k in (number * b, number * c)])
        total += seen[-1][0] if number else len(rest)
        while total > 50:
            total -= 17
    text = f"{total:>4}|{rest!r}|{sorted(named)}"
    return {"text": text.upper(), "seen": tuple(seen), "last": (lambda x: x + 1)(total)}


CALLS = [((7,), {}), ((5, 4, "x"), {"c": 9, "d": 1}), ((0,), {"b": 1}), ((3, 1), {"c": 2})]


def test_every_place_alone_and_all_together():
    expected = [sample(*args, **kwargs) for args, kwargs in CALLS]
    places = places_of(sample)
    assert len(places) > 60
    for chosen in [*[[place] for place in places], places]:
        pieces = cut(sample, chosen)
        assert [pieces(*args, **kwargs) for args, kwargs in CALLS] == expected, chosen


def test_wrong_arguments_raise_what_the_function_raises():
    pieces = cut(sample, places_of(sample)[10:12])
    for args, kwargs in [((), {}), ((1,), {"a": 2})]:
        with pytest.raises(TypeError) as plain:
            sample(*args, **kwargs)
        with pytest.raises(TypeError) as other:
            pieces(*args, **kwargs)
        assert str(plain.value) == str(other.value)


def raises(x):
    y = x + 1
    z = [y, y]
    return z[x]  # the line of the error


def test_tracebacks_name_the_lines_of_the_function():
    line = raises.__code__.co_firstlineno + 3
    for place in places_of(raises):
        with pytest.raises(IndexError) as caught:
            cut(raises, [place])(5)
        last = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert (last.lineno, last.name, last.filename) == (line, "raises", __file__)


def test_what_a_local_variable_holds_lives_until_the_end():
    ends = []

    class Guard:
        def __del__(self):
            ends.append(len(ends))

    def guarded(x):
        guard = Guard()  # noqa: F841  (nobody reads it)
        first = len(ends)
        second = len(ends) + x
        return first, second

    for places in [[place] for place in places_of(guarded)]:
        del ends[:]
        assert cut(guarded, places)(0) == (0, 0), places
        assert ends == [0]


def test_where_no_cut_is():
    def inside(x):
        with open(x) as file:
            return file.read()

    def handled(x):
        try:
            return int(x)
        except ValueError:
            return 0

    def shared(x):
        def inner():
            return x

        return inner()

    def generator(x):
        yield x

    def unbound(x):
        if x:
            y = 1
        return y

    assert not places_of(generator)
    for fn in (inside, handled):
        every = frozenset(i.offset for i in dis.get_instructions(fn))
        assert isinstance(pieces_of(fn.__code__, every, Mark), str)
        assert len(places_of(fn)) < len(every) - 1
    assert cut(shared, places_of(shared))(3) == 3
    for place in places_of(unbound):
        assert cut(unbound, [place])(2) == 1
        with pytest.raises(UnboundLocalError, match="local variable 'y'"):
            cut(unbound, [place])(0)
