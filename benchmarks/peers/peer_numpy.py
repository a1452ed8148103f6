"""What the machine allows: a copy of the same bytes and NumPy's own matmul, as bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..sizes import NoSuchWorkload, randn


def build(name: str, compiled: bool, device: str = "cpu") -> Callable[[], Any]:
    """`copy` (4M floats), `add_eager`, `gemm_N`."""
    if name == "copy":
        source = randn(1 << 22)
        target = np.empty_like(source)
        return lambda: np.copyto(target, source)
    if name == "add_eager":
        vector = np.ones(8, np.float32)
        return lambda: vector + vector
    if name.startswith("gemm_"):
        matrix = randn(int(name[5:]), int(name[5:]))
        return lambda: matrix @ matrix
    raise NoSuchWorkload(f"no NumPy version of {name}")
