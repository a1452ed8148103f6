"""The sign of a NaN is unspecified, so no operation makes a value of it: what reads bits gives the
same eagerly and replayed, whichever operand's NaN an addition has passed on."""

from __future__ import annotations

import random

import numpy as np
import pytest

import hybrid as hb

STEPS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: -a,
    lambda a, b: hb.maximum(a, b),
    lambda a, b: hb.where(a < b, a, b),
    lambda a, b: hb.exp(a) * b,
    lambda a, b: a.sum() + b,
]


def numbers(rng: random.Random, n: int) -> hb.Tensor:
    x = np.array([rng.choice([np.nan, 0.0, 1.0, np.inf, 2.5]) for _ in range(n)], np.float32)
    return hb.tensor(np.copysign(x, [rng.choice([-1.0, 1.0]) for _ in range(n)]))


@pytest.mark.parametrize("seed", range(30))
def test_reading_bits_of_nan(seed: int) -> None:
    rng = random.Random(seed)
    program = [(rng.choice(STEPS), rng.random(), rng.random()) for _ in range(6)]

    def read(x: hb.Tensor, y: hb.Tensor) -> list[hb.Tensor]:
        values = [x, y]
        for step, i, j in program:
            values.append(step(values[int(i * len(values))], values[int(j * len(values))]))
        signs = [hb.signbit(v) for v in values]
        return signs + [hb.copysign(hb.ones_like(v), v) for v in values]

    args = numbers(rng, 19), numbers(rng, 19)
    want, traced = [v.tolist() for v in read(*args)], hb.function(read)
    for _ in range(4):
        assert [v.tolist() for v in traced(*args)] == want
    assert traced.cache_info().replays == 2
