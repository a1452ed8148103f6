"""Tensors for tests of orders and masks: many equal elements, and what is special about floats."""

from __future__ import annotations

from typing import Any

import numpy as np

import hybrid as hb
from hybrid.core import dtypes as dt

DTYPES = (
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 bfloat16 float32 float64"
).split()


def given_values(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Any:
    """Many equal ones, and those at the ends."""
    kind: np.dtype = getattr(dt, "bool_" if dtype == "bool" else dtype)
    if kind is dt.bool_:
        return hb.tensor(rng.integers(0, 2, shape).astype(bool))
    if not dt.is_float(kind):
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, shape, kind, endpoint=True)
        few = rng.random(shape) < 0.5
        values[few] = values[few] // (info.max // 3 or 1)
        return hb.tensor(values)
    values = np.round(rng.standard_normal(shape) * 3, 1)
    for special in (0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-40, -1e-40):
        values[rng.random(shape) < 0.06] = special
    return hb.tensor(values, dtype=dtype)
