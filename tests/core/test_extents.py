"""Numbers that a computation is followed with: the same steps for other inputs, where what was learnt
of them holds."""

from __future__ import annotations

import random
from math import prod
from typing import Any, NamedTuple

import pytest

from hybrid.compiler.sized import FillWriter
from hybrid.core.extents import Extent, Following, Unsized, apart, is_extent, plain_int
from hybrid.core.shapes import collapse, contiguous_strides, reshape_strides


def followed(compute: Any, *values: int, low: int | None = 2) -> Any:
    """(result, the function of other inputs) of a computation."""
    following = Following()
    inputs = [following.input(value, low) for value in values]
    with following:
        result = compute(*inputs)
    return result, FillWriter(following, result).function()


def test_arithmetic_is_that_of_ints():
    def compute(a: Any, b: Any) -> Any:
        return (
            a + b * 3 - 1,
            -a,
            abs(b - a),
            a // 4,
            a % 8,
            (a * 8) // a,
            (a * b) // b % 7,
            -(-a // 16),
            a & 0xFFFFFFFFFFFFFFFF,
            max(a, 1),
            divmod(a * 6, 4),
            a << 3,
            a >> 1,
            sum([a, b, 2]),
            prod((a, b, 5)),
        )

    result, fill = followed(compute, 20, 33)
    assert is_extent(result[0]) and result[5] == 8
    filled = 0
    for seed in range(300):
        pick = random.Random(seed)
        a, b = pick.randint(2, 90), pick.randint(2, 90)
        got = fill(a, b)
        if got is not None:
            filled += 1
            assert got == compute(a, b)
    assert filled > 100


def test_what_is_learnt_is_a_condition():
    def compute(n: Any) -> Any:
        kind = "few" if n < 10 else "many"
        return kind, n % 2 == 0, [n] * 2

    _, fill = followed(compute, 20)
    assert fill(40) == ("many", True, [40, 40])
    assert fill(8) is None and fill(21) is None


TELLS: dict[str, Any] = {
    "index": lambda n: [0] * 50 and list(range(100))[n],
    "range": lambda n: len(range(n)),
    "repeat": lambda n: len([0] * n),
    "text": lambda n: f"{n}",
    "str": str,
    "int": lambda n: int(n),
    "float": lambda n: n / 2,
    "times": lambda n: n * 0.5,
    "bits": lambda n: n.bit_length(),
    "power": lambda n: 2**n,
    "slice": lambda n: len("x" * 100) and "abcdefghijklmnopqrstuvwxyz"[:n],
}


@pytest.mark.parametrize("tell", TELLS)
def test_everything_that_takes_it_for_an_int_asks(tell):
    result, fill = followed(TELLS[tell], 20)
    assert result == TELLS[tell](20)
    assert fill(20) == result and fill(21) is None


def test_bounds_need_no_condition():
    following = Following()
    n = following.input(20, 2)
    with following:
        assert n != 1 and n > 0 and n * 8 >= 16 and not n == 0 and bool(n)
    assert not following.conditions


def test_shapes_of_other_sizes():
    def compute(n: Any) -> Any:
        shape = (8, n, 64)
        return (
            contiguous_strides(shape),
            collapse(shape, [contiguous_strides(shape)]),
            reshape_strides(shape, contiguous_strides(shape), (8 * n, 4, 16)),
        )

    _, fill = followed(compute, 37)
    for n in (2, 3, 5, 16, 38, 63, 1000):
        assert fill(n) == compute(n)


class Pair(NamedTuple):
    name: str
    size: int


def test_steps_apart_are_done_again():
    calls = []

    @apart
    def choose(n: int, pair: Pair) -> Pair:
        calls.append((n, pair))
        return Pair("best", n * n if n % 2 else n + pair.size)

    result, fill = followed(lambda n: (choose(n, Pair("a", n * 2)).size + 1, n), 20)
    assert [int(calls[0][0]), calls[0][1]] == [20, Pair("a", 40)]
    assert result[0].value == 61
    assert fill(21) == (442, 21) and fill(10) == (31, 10)


def test_a_step_apart_that_gives_something_else():
    @apart
    def choose(n: int) -> Any:
        return ("odd", n) if n % 2 else ("even", n)

    _, fill = followed(lambda n: choose(n)[1] + 1, 20)
    assert fill(22) == 23
    with pytest.raises(Unsized):
        fill(21)


def test_outside_of_its_computation():
    following = Following()
    n = following.input(20, 2)
    assert isinstance(n, int) and type(n) is Extent
    with pytest.raises(Unsized):
        n + 1
    assert n != 20 and n == n and plain_int(7) == 7
    with following, pytest.raises(Unsized), Following():
        pass
