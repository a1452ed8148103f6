"""Arrays with special values, dtype names, and comparing a tensor with an array."""

from __future__ import annotations

import numpy as np

X = np.array([[1.0, -2.0, 3.5], [0.0, -0.0, 4.0]], np.float32)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-40, 3e38], np.float32)
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def same(t, want):
    got = np.asarray(t)
    assert got.dtype == np.asarray(want).dtype and got.shape == np.asarray(want).shape
    np.testing.assert_array_equal(got, want)
