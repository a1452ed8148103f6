"""Positions of the extremes of truth values, for rows of every length a kernel treats in its own
way."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid as hb
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS


@pytest.mark.parametrize("name", ["argmin", "argmax"])
@pytest.mark.parametrize("n", [1, 3, 16, 17, 70, 5000])
def test_records_take_truth_values(name: str, n: int) -> None:
    for dense in (0.0, 0.05, 0.5, 1.0):
        x = np.random.default_rng(n).random((5, n)) < dense
        got = bind(OPS[name], hb.tensor(x), axes=(1, 2))
        assert got.tolist() == getattr(np, name)(x, axis=1).tolist()
