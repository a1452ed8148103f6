"""Products as kernels, by their shapes.

Invariant: float32, everything in buffers of its own (slots 0, 1 and 2).
"""

from __future__ import annotations

from hybrid.backends.plan import Dims, GemmKernel, Operand
from hybrid.core import dtypes as dt

__all__ = ["kernel_of"]


def kernel_of(layout: str, batch: int, m: int, n: int, k: int) -> GemmKernel:
    """float32 row-major factors, transposed where the layout says 't'."""
    left = (k, 1) if layout[0] == "n" else (1, m)
    right = (n, 1) if layout[1] == "n" else (1, k)

    def dims(size: int, stride: int) -> Dims:
        return Dims((size,), (stride,))

    a = Operand(0, dt.float32, 0, dims(batch, m * k), dims(m, left[0]), dims(k, left[1]))
    b = Operand(1, dt.float32, 0, dims(batch, k * n), dims(k, right[0]), dims(n, right[1]))
    out = Operand(2, dt.float32, 0, dims(batch, m * n), dims(m, n), dims(n, 1))
    return GemmKernel(batch, m, n, k, a, b, (out,), dt.float32)
