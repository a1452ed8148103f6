"""Prints, streams and clocks that replays do not make again: the program runs as plain Python."""

from __future__ import annotations

import io
import logging
import sys
import time
import warnings
from typing import Any

import numpy as np
import pytest

import hybrid as hb

pytestmark = pytest.mark.skipif(
    not sys.modules["hybrid.decorator"].SUPPORTED, reason="nothing is followed"
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
