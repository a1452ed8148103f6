"""The match statement in recorded functions: sequences, mappings, values, captures, guards, over
arguments and over state that changes between calls."""

from __future__ import annotations

import collections
import collections.abc
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.trace.bytecode.opcodes import SUPPORTED

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
Point = collections.namedtuple("Point", "x y")
state = SimpleNamespace(items=[1, 2], table={"a": 1})


class Row(collections.abc.Sequence):
    """A sequence of a user."""

    def __init__(self, data: list[Any]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: Any) -> Any:
        return self.data[number]


state.row = Row([1, 2])


def by_command(x: Any, command: Any) -> Any:
    match command:
        case ("scale", factor):
            return x * factor
        case ["many", *rest]:
            return x * len(rest) + sum(rest)
        case "negate":
            return -x
        case {"op": "add", "by": count}:
            return x + count
        case {"op": other, **more}:
            return x * len(more) + len(other)
        case (first, second) | [first, second, _]:
            return x + first - second
        case None:
            return x
        case _:
            return x * 0


def by_list(x: Any, _: Any) -> Any:
    match state.items:
        case []:
            return x
        case [first, second]:
            return x * first + second
        case [first, *rest]:
            return x + first + len(rest)


def by_table(x: Any, _: Any) -> Any:
    match state.table:
        case {"a": first, "b": second} if first > second:
            return x * first
        case {"a": first}:
            return x + first
        case {"c": [first, second]}:
            return x * first * second
        case _:
            return x


def by_row(x: Any, _: Any) -> Any:
    match state.row:
        case [first, second]:
            return x * first + second
        case [first, *_]:
            return x + first
        case _:
            return x


COMMANDS = (
    *(("scale", 2.0), ("scale", 3.0), ["many", 1, 2], ("many",), "negate", None, 7, (1, 2)),
    *({"op": "add", "by": 3}, {"op": "mul", "z": 1}, {"op": "mul"}, [3, 4, 5], Point(1, 2)),
    *(collections.deque([1, 2]), collections.OrderedDict(op="add", by=4), hb.ones(2), Row([5, 6])),
)


def change(rng: random.Random) -> None:
    """Some of the state is another one, or holds something else."""
    if rng.random() < 0.3:
        state.items = [rng.randrange(3) for _ in range(rng.randrange(4))]
    if rng.random() < 0.3:
        state.items.append(rng.randrange(2))
    if rng.random() < 0.3:
        state.table[rng.choice("abc")] = rng.choice([1, 2, [1, 2], [3, 4, 5]])
    if rng.random() < 0.2:
        state.table.pop("a", None)
    if rng.random() < 0.3:
        state.row.data = [rng.randrange(3) for _ in range(rng.randrange(4))]


def outcome(function: Any, x: Any, command: Any) -> Any:
    try:
        return function(x, command).numpy().tobytes()
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("function", [by_command, by_list, by_table, by_row])
def test_a_match_gives_what_plain_python_gives(function: Any, seed: int) -> None:
    rng, traced = random.Random(seed), hb.function(function)
    for number in range(120):
        change(rng)
        x = hb.tensor(np.arange(2, dtype=np.float32) + number % 3)
        command = rng.choice(COMMANDS)
        assert outcome(traced, x, command) == outcome(function, x, command), number


@pytest.mark.skipif(not SUPPORTED, reason="nothing is recorded on this interpreter")
def test_a_match_on_an_argument_is_replayed() -> None:
    traced = hb.function(by_command)
    for number in range(60):
        traced(hb.ones(3), COMMANDS[number % 9])
    info = traced.cache_info()
    assert info.eager == info.deferred == 0 and info.replays >= 40, traced.explain()
