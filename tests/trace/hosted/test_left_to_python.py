"""Prints, streams and clocks that replays do not make again: the program runs as plain Python."""

from __future__ import annotations

import io
import json
import logging
import random
import sys
import time
import warnings
from typing import Any

import numpy as np
import pytest

import hybrid as hb

pytestmark = pytest.mark.skipif(
    not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
)


def data(k: int) -> Any:
    return hb.tensor(np.random.default_rng(k).standard_normal(4).astype("f4"))


def both(make: Any, calls: int = 8) -> None:
    """Plain and decorated calls of fresh functions give the same."""
    plain, decorated = make(), make()
    f = hb.function(decorated[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(calls):
            assert np.array_equal(f(data(k)).numpy(), plain[0](data(k)).numpy()), k
    assert decorated[1]() == plain[1]()


def test_streams_of_users_see_each_write_once() -> None:
    def make() -> Any:
        class Stream:
            def __init__(self) -> None:
                self.parts: list[str] = []

            def write(self, text: str) -> None:
                self.parts.append(text)

        out = Stream()

        def f(x: Any) -> Any:
            print("a", 1, file=out)
            return x * len(out.parts)

        return f, lambda: out.parts

    both(make)


def test_extents_that_drawn_numbers_say() -> None:
    def make() -> Any:
        dice, rng = random.Random(4), np.random.default_rng(4)

        def f(x: Any) -> Any:
            count = dice.randint(1, 3)
            rows = rng.permutation(3 + count)
            return x * len(rows) + rows[:count].size + len(rng.choice(5, size=dice.randint(1, 4)))

        return f, lambda: None

    both(make, calls=60)


def test_handlers_of_users_see_each_record_once() -> None:
    def make() -> Any:
        class Keep(logging.Handler):
            def __init__(self) -> None:
                super().__init__()
                self.seen: list[str] = []

            def emit(self, record: Any) -> None:
                self.seen.append(record.getMessage())

        logger, keep = logging.Logger("mine"), Keep()
        logger.addHandler(keep)

        def f(x: Any) -> Any:
            logger.warning("mean %.3f", x.mean().item())
            return x * (1 + len(keep.seen))

        return f, lambda: keep.seen

    both(make)


def test_a_stream_that_is_read_back() -> None:
    def make() -> Any:
        out = io.StringIO()

        def f(x: Any) -> Any:
            out.write("ab")
            return x * len(out.getvalue())

        return f, out.getvalue

    both(make)


def test_a_stream_that_is_walked() -> None:
    def make() -> Any:
        out = io.StringIO("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n")

        def f(x: Any) -> Any:
            for line in out:
                x = x + ord(line[0])
                break
            out.write("z\n")
            return x

        return f, out.getvalue

    both(make)


def test_what_a_write_gives_is_not_lost() -> None:
    def make() -> Any:
        out, words = io.StringIO(), ["a", "bcd"]
        state = {"k": 0}

        def f(x: Any) -> Any:
            state["k"] += 1
            return x * out.write("x" * (state["k"] % 5))

        return f, lambda: (out.getvalue(), words)

    both(make)


def test_times_that_decide_run_in_python() -> None:
    def make() -> Any:
        state = {"late": 0}

        def f(x: Any) -> Any:
            start = time.perf_counter()
            y = x * 2
            if time.perf_counter() - start > 100.0:
                state["late"] += 1
            return y

        return f, lambda: state

    both(make)


def test_a_deadline_is_a_condition() -> None:
    limits = [time.monotonic() + 1e6]

    def f(x: Any) -> Any:
        if time.monotonic() > limits[0]:
            return x * 0
        return x * 2

    g = hb.function(f)
    for _ in range(6):
        g(hb.ones(2))
    assert g.cache_info().replays, g.explain()
    assert (g(hb.ones(2)).numpy() == 2).all()
    limits[0] = 0.0
    for _ in range(6):
        assert (g(hb.ones(2)).numpy() == 0).all()


# ---- texts
def padded() -> Any:
    out = io.StringIO()

    def f(x: Any) -> Any:
        print(f"{x!r:>60}|{x!s:<50}|{x.sum()!r:^40}", file=out)
        return x * 2

    return f, out.getvalue


def named_arguments() -> Any:
    lines: list[str] = []

    def f(x: Any) -> Any:
        lines.append(json.dumps({"b": x.mean().item(), "a": [1, 2]}, indent=2, sort_keys=True))
        return x * 2

    return f, lambda: lines


def widths_that_change() -> Any:
    lines: list[str] = []
    box = {"width": 3}

    def f(x: Any) -> Any:
        box["width"] += 1
        lines.append(f"{x.shape[0]:{box['width']}}|{x.sum():.{box['width']}f}")
        return x * 2

    return f, lambda: lines


@pytest.mark.parametrize("make", [padded, named_arguments, widths_that_change])
def test_texts_of_other_forms(make: Any) -> None:
    both(make, calls=12)


def whole_in_a_text(state: Any) -> Any:
    lines: list[Any] = []

    def step(x: Any) -> Any:
        lines.append("%d" % x.sum().item())  # noqa: UP031
        state.add_(1.0)
        return x * 2

    return step, lambda: lines


def whole_in_json(state: Any) -> Any:
    lines: list[Any] = []

    def step(x: Any) -> Any:
        lines.append(json.dumps({"n": int(x.sum().item())}))
        state.add_(1.0)
        return x * 2

    return step, lambda: lines


def whole_in_a_list(state: Any) -> Any:
    lines: list[Any] = []

    def step(x: Any) -> Any:
        lines.append([int(x.sum().item() * 10)])
        state.add_(1.0)
        return x * 2

    return step, lambda: lines


def whole_in_a_print(state: Any) -> Any:
    out = io.StringIO()

    def step(x: Any) -> Any:
        print(int(x.sum().item()), file=out)
        state.add_(1.0)
        return x * 2

    return step, out.getvalue


@pytest.mark.parametrize(
    "make", [whole_in_a_text, whole_in_json, whole_in_a_list, whole_in_a_print]
)
def test_what_a_text_raises_ends_the_call_where_it_stands(make: Any) -> None:
    """Nothing behind the line has happened, as in plain Python."""
    ends = []
    for jit in (lambda fn: fn, hb.function):
        state = hb.zeros(4)
        step, shown = make(state)
        f = jit(step)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for k in range(9):
                x = np.full(4, np.nan if k == 7 else k, "f4")
                if k == 7:
                    with pytest.raises(ValueError, match="NaN"):
                        f(hb.tensor(x))
                else:
                    f(hb.tensor(x))
        ends.append((shown(), state.numpy().tolist()))
    assert ends[0] == ends[1]
