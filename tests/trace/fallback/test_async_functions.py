"""Generator and asynchronous functions: decorated, they run as they are and say so once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import hybrid as hb
from hybrid.decorator import RunsEagerly


def said(call: Any) -> tuple[Any, list[str]]:
    """The result of a call and the messages it gave."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        out = call()
    return out, [str(w.message) for w in seen if issubclass(w.category, RunsEagerly)]


def numbers(x: Any, n: int = 3) -> Iterator[Any]:
    for i in range(n):
        yield x * i


async def later(x: Any, *, k: float = 2.0) -> Any:
    await asyncio.sleep(0)
    return x * k


async def stream(x: Any) -> AsyncIterator[Any]:
    for i in range(3):
        await asyncio.sleep(0)
        yield x + i


class Steps:
    def __init__(self) -> None:
        self.k = 2.0

    async def __call__(self, x: Any) -> Any:
        return x * self.k

    async def go(self, x: Any) -> Any:
        return x * self.k

    def walk(self, x: Any) -> Iterator[Any]:
        yield x * self.k

    decorated = hb.function(go)


X = hb.ones(2)


def test_generator_function() -> None:
    f = hb.function(numbers)
    assert inspect.isgeneratorfunction(f)
    got, messages = said(lambda: [[t.tolist() for t in f(X)] for _ in range(4)])
    assert got == [[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]] * 4
    assert len(messages) == 1 and "numbers" in messages[0]
    assert f.cache_info().records == 0 and f.cache_info().eager == 4


def test_generator_that_delegates_sends_and_returns() -> None:
    @hb.function
    def inner(x: Any) -> Any:
        got = yield x
        return got * 2

    @hb.function
    def outer(x: Any) -> Any:
        total = yield from inner(x)
        yield total + 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        g = outer(X)
        assert next(g) is X and g.send(X).tolist() == [3.0, 3.0]


def test_coroutine_function() -> None:
    f = hb.function(later)
    assert inspect.iscoroutinefunction(f) and asyncio.iscoroutinefunction(f)
    got, messages = said(lambda: [asyncio.run(f(X, k=3.0)).tolist() for _ in range(4)])
    assert got == [[3.0, 3.0]] * 4 and len(messages) == 1


def test_gathered_coroutines_keep_their_own_results() -> None:
    f = hb.function(later)

    async def main() -> Any:
        return await asyncio.gather(*[f(X, k=float(i)) for i in range(5)])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [t.tolist()[0] for t in asyncio.run(main())] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_asynchronous_generator() -> None:
    f = hb.function(stream)
    assert inspect.isasyncgenfunction(f)

    async def main() -> Any:
        return [t.tolist()[0] async for t in f(X)]

    got, messages = said(lambda: [asyncio.run(main()) for _ in range(3)])
    assert got == [[1.0, 2.0, 3.0]] * 3 and len(messages) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: functools.partial(later, k=2.0),
        lambda: functools.partial(functools.partial(later), k=2.0),
        Steps,
        lambda: Steps().go,
        lambda: hb.function(later),
    ],
)
def test_coroutines_behind_other_callables(make: Any) -> None:
    f = hb.function(make())
    got, messages = said(lambda: [asyncio.run(f(X)).tolist() for _ in range(4)])
    assert got == [[2.0, 2.0]] * 4 and len(messages) == 1
    assert f.cache_info().records == 0
    assert inspect.iscoroutinefunction(f) == inspect.iscoroutinefunction(make())


def test_generators_behind_other_callables() -> None:
    for made in (functools.partial(numbers, n=2), Steps().walk):
        f = hb.function(made)
        got, messages = said(lambda f=f: [len(list(f(X))) for _ in range(4)])
        assert got[0] == got[3] and len(messages) == 1


def test_decorated_method() -> None:
    s = Steps()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert asyncio.run(s.decorated(X)).tolist() == [2.0, 2.0]
        s.k = 5.0
        assert asyncio.run(s.decorated(X)).tolist() == [5.0, 5.0]


def test_ordinary_function_that_makes_a_generator_or_coroutine() -> None:
    f = hb.function(lambda x: numbers(x, 2))
    g = hb.function(lambda x: later(x))
    got, _ = said(lambda: [[t.tolist()[0] for t in f(X)] for _ in range(5)])
    assert got == [[0.0, 1.0]] * 5
    got, _ = said(lambda: [asyncio.run(g(X)).tolist() for _ in range(5)])
    assert got == [[2.0, 2.0]] * 5


def test_generator_used_inside_a_recorded_function() -> None:
    f = hb.function(numbers)
    g = hb.function(lambda x: sum(f(x)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [g(X).tolist() for _ in range(5)] == [[3.0, 3.0]] * 5


def test_recorded_function_inside_a_coroutine() -> None:
    step = hb.function(lambda x: x * 2 + 1)

    @hb.function
    async def run(x: Any) -> Any:
        for _ in range(4):
            x = step(x)
            await asyncio.sleep(0)
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert asyncio.run(run(X)).tolist() == [31.0, 31.0]
    assert step.cache_info().replays > 0
