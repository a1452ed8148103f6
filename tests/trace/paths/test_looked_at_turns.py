"""Loops that a tensor ends, whose Python looks at the number of the turn in some turns only: what
happens in a turn that no recorded call reached must not be left out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.decorator import RunsEagerly

RATES = [0.9] * 12 + [0.5] * 18
BY_TURN = dict(enumerate(RATES))
BODIES = """
x = x * rates[i]
x = x * tuple(rates)[i]
x = x * RATES[i]
x = x * BY_TURN[i]
x = x * (lambda j: 0.9 if j < 12 else 0.5)(i)
x = x * {True: 0.9, False: 0.5}[i < 12]
x = x * [0.9, 0.5][i >= 12]
x = x * (0.9 if len("x" * i) < 12 else 0.5)
x = x * float(f"0.{9 if i < 12 else 5}")
x = x * max(0.9 - 0.4 * (i // 12), 0.5)
x = x * (0.9 if divmod(i, 12)[0] == 0 else 0.5)
x = x * 0.9 + (1.0 if i in (12, 13) else 0.0)
x = (x + 1.0 if i == 12 else x) * 0.9
x = x * 0.9; seen.append(i) if i == 12 else None
x = x * pick(i)
x = x * (0.9 if not i % 13 or i < 12 else 0.5)
""".strip().splitlines()


@pytest.mark.parametrize("body", BODIES)
def test_turns_that_were_not_reached_are_as_in_python(body: str) -> None:
    text = f"""
def f(x):
    rates, seen = list(RATES), []
    for i in range(30):
        {body}
        if x.norm() < 1.0:
            break
    return x, seen
"""
    space: dict[str, Any] = {"RATES": RATES, "BY_TURN": BY_TURN}
    space["pick"] = lambda number: RATES[number]
    exec(compile(text, "<turns>", "exec"), space)
    rng = np.random.default_rng(5)
    for _ in range(2):
        plain, traced = space["f"], hb.function(space["f"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunsEagerly)
            for k in range(28):  # few turns first
                turns = rng.integers(0, 13 if k < 12 else 29)
                drawn = rng.normal(size=3)
                drawn *= 0.95 * 0.9**-turns / np.linalg.norm(drawn)
                x = hb.tensor(drawn.astype(np.float32))
                (result, seen), (expected, noted) = traced(x), plain(x)
                assert result.numpy().tobytes() == expected.numpy().tobytes(), (k, turns)
                assert seen == noted, (k, turns)
