"""Functions cut inside of `with` and `try`: what is raised at any moment is handled as in the whole
function, by the same handlers, with the same lines, once."""

from __future__ import annotations

import contextlib
import sys
import traceback

import pytest
from pieces_harness import cut, places_of

from hybrid.trace.split.places import flow_of, landings


class Ticks:
    """Counts calls; the one of a number raises.  `seen`: what happened, in order."""

    def __init__(self, last):
        self.count, self.last, self.seen = 0, last, []

    def __call__(self, *what):
        self.count += 1
        self.seen.append((self.count, what, type(sys.exc_info()[1])))
        if self.count == self.last:
            raise (ValueError, KeyError, KeyboardInterrupt)[self.count % 3](f"tick {self.count}")
        return self.count


class Scope:
    """A context manager that tells what it meets, and may let nothing pass."""

    def __init__(self, tick, name, quiet=False):
        self.tick, self.name, self.quiet = tick, name, quiet

    def __enter__(self):
        self.tick("enter", self.name)
        return self.name

    def __exit__(self, kind, error, trace):
        self.tick("exit", self.name, kind, None if trace is None else trace.tb_lineno)
        return self.quiet


def one_with(tick):
    with Scope(tick, "a") as name:
        x = tick(name)
        y = tick(x) + 1
    return x, y


def quiet_with(tick):
    x = 0
    with Scope(tick, "a", True):
        x = tick(1)
        y = tick(x) + 1
        x += y
    tick("behind")
    return x, y


def with_in_a_loop(tick):
    out = []
    for k in range(3):
        with Scope(tick, k, k != 1) as name:
            if k == 1:
                continue
            out.append(tick(name))
            if len(out) == 4:
                break
            last = tick(k)
        out.append(last)
    return out


def loop_in_a_with(tick):
    out = []
    with Scope(tick, "a"), Scope(tick, "b") as name:
        for k in range(3):
            token = tick(name, k)
            out.append(token)
            if token > 4:
                return [tick(t) for t in out if t != token]
    return out


def all_of_a_try(tick):
    try:
        x = tick("try")
        y = tick(x) * 2
    except ValueError as error:
        x = tick(str(error))
        y = error.args
    except KeyError:
        raise TypeError("from") from None
    else:
        y = tick(y)
    finally:
        tick("finally")
    return x, y


def nested_tries(tick):
    total = 0
    for k in range(2):
        try:
            try:
                total += tick(k)
                total += tick(total)
            finally:
                total += tick("inner")
        except (ValueError, KeyError) as error:
            total += tick(type(error).__name__)
            if k:
                raise
        total += 1
    return total


def maybe_bound(tick):
    try:
        first = tick(1)
        second = tick(2)
    except ValueError:
        pass
    return first + second


def raised_again(tick):
    lock = []
    lock.append(tick("taken"))
    try:
        x = tick("work")
        while x < 6:
            x = tick(x)
    except BaseException as error:
        lock.clear()
        raise RuntimeError("broken") from error
    lock.pop()
    return x, lock


def functions_inside(tick):
    scale = tick(1)
    with Scope(tick, "a", True):
        rows = [scale * k for k in range(tick(2))]
        table = {k: scale + len(rows) for k in rows}
        return (lambda x: x + scale)(tick(len(table)))
    return scale


def finally_that_returns(tick):
    x = 1
    while True:
        try:
            x = tick(x)
            if x > 3:
                break
        finally:
            if tick("end") > 7:
                return x
    return -x


def suppressed(tick):
    with contextlib.suppress(ValueError), contextlib.ExitStack() as stack:
        stack.callback(tick, "callback")
        x = tick(0)
        stack.enter_context(Scope(tick, "late"))
        x += tick(x)
    tick("out")
    return x


CASES = [
    *(
        one_with,
        quiet_with,
        with_in_a_loop,
        loop_in_a_with,
        all_of_a_try,
        nested_tries,
        maybe_bound,
    ),
    *(raised_again, functions_inside, finally_that_returns, suppressed),
]


def lines(error):
    """The lines of an exception in the function and what it calls."""
    frames = traceback.extract_tb(error.__traceback__)
    return [(f.name, f.lineno) for f in frames if f.filename == __file__ and f.name != "outcome"]


def shown(error):
    if error is None:
        return None
    return type(error), str(error), lines(error), shown(error.__context__), shown(error.__cause__)


def outcome(function, last):
    tick = Ticks(last)
    try:
        result = function(tick)
    except BaseException as error:
        result = shown(error)
    assert sys.exc_info() == (None, None, None)
    return result, tick.seen


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__)
def test_cuts_keep_what_is_raised_and_handled(function):
    places = places_of(function)
    flow = flow_of(function.__code__)
    inside = [s.offset for s in flow.steps if s.offset in places and landings(flow, s)]
    assert len(inside) > 8
    expected = {last: outcome(function, last) for last in range(18)}
    for chosen in [*[[place] for place in places], places[::2], places[1::2], places]:
        pieces = cut(function, chosen)
        for last, whole in expected.items():
            assert outcome(pieces, last) == whole, (chosen, last)
