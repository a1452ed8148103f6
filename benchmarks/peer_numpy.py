"""What the machine allows: a copy of the same bytes and NumPy's own matmul, as bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .sizes import NoSuchWorkload, randn


def build(name: str, compiled: bool) -> Callable[[], Any]:
    """`copy` (4M floats), `add_eager`, `gemm_N`."""
    if name == "copy":
        x = randn(1 << 22)
        y = np.empty_like(x)
        return lambda: np.copyto(y, x)
    if name == "add_eager":
        a = np.ones(8, np.float32)
        return lambda: a + a
    if name.startswith("gemm_"):
        m = randn(int(name[5:]), int(name[5:]))
        return lambda: m @ m
    raise NoSuchWorkload(f"no NumPy version of {name}")
