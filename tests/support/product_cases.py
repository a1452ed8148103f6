"""Products for tests of generated kernels: factors in any layout, epilogues, convolutions; with
buffers.

Invariant: buffers start at multiples of 64 bytes and hold exactly what the kernel may touch.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from hybrid.backends.interpret.kernels import run_kernel
from hybrid.backends.plan import Access, Dims, GemmKernel, Operand
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.shapes import contiguous_strides
from hybrid.ir.contract import accumulator, conv_layout, conv_shape, conv_weight_layout
from hybrid.ir.scalar.program import TYPE, Builder, bits_of


class Case(NamedTuple):
    """A kernel and one array for each slot; the first result is in the slot `out`."""

    kernel: GemmKernel
    buffers: list[np.ndarray]

    def expected(self) -> list[np.ndarray]:
        """What the buffers hold after the interpreter has run the kernel."""
        wanted = [buffer.copy() for buffer in self.buffers]
        run_kernel(self.kernel, wanted.__getitem__)
        return wanted


def aligned(array: np.ndarray) -> np.ndarray:
    """A flat copy at a multiple of 64 bytes."""
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + array.nbytes].view(array.dtype)
    copy[...] = array.reshape(-1)
    return copy


def numbers(dtype: np.dtype, count: int, seed: int) -> np.ndarray:
    """Values whose sums depend on their order, with zeros of both signs and tiny ones."""
    rng = np.random.default_rng(seed)
    if dtype.name == "bool":
        return aligned(rng.integers(0, 2, count).astype(bool))
    if dtype.kind in "iu":
        return aligned(rng.integers(0, 100, count).astype(dtype))
    values = rng.standard_normal(count)
    values[rng.integers(0, 12, count) == 0] *= 1e-30 if dtype.itemsize >= 4 else 0.0
    values[rng.integers(0, 12, count) == 0] = -0.0
    return aligned(values.astype(dtype))


def matmul_case(
    batch: int,
    m: int,
    n: int,
    k: int,
    layout: str = "nn",
    *,
    dtype: np.dtype = dt.float32,
    order: Any = "chain",
    epilogue: bool = False,
    odd: int = 0,
    out_turned: bool = False,
) -> Case:
    """`layout`: 'n' (row-major) or 't' of each factor; `odd`: elements before each factor."""
    acc = accumulator(dtype)
    left = (k, 1) if layout[0] == "n" else (1, m)
    right = (n, 1) if layout[1] == "n" else (1, k)
    rows, cols = (1, m) if out_turned else (n, 1)

    def dims(size: int, stride: int) -> Dims:
        return Dims((size,), (stride,))

    a = Operand(0, dtype, odd, dims(batch, m * k), dims(m, left[0]), dims(k, left[1]))
    b = Operand(1, dtype, odd, dims(batch, k * n), dims(k, right[0]), dims(n, right[1]))
    out = Operand(2, dtype, 0, dims(batch, m * n), dims(m, rows), dims(n, cols))
    buffers = [numbers(dtype, batch * m * k + odd, 1), numbers(dtype, batch * n * k + odd, 2)]
    buffers.append(aligned(np.zeros(batch * m * n, dtype)))
    if not epilogue:
        return Case(GemmKernel(batch, m, n, k, a, b, (out,), acc, order), buffers)
    s = Builder()
    total, bias, residual = (s.arg(TYPE[acc]) for _ in range(3))
    scaled = s.mul(residual, s.param(TYPE[acc]))
    result = s.max(s.add(s.add(total, bias), scaled), s.const(TYPE[acc], 0))
    reads = (Access(3, acc, 0, (0, 0, 1)), Access(4, acc, 0, (m * n, rows, cols)))
    buffers += [numbers(acc, n, 3), numbers(acc, batch * m * n, 4)]
    program, params = s.program(result), (bits_of(TYPE[acc], 0.5),)
    return Case(
        GemmKernel(batch, m, n, k, a, b, (out,), acc, order, program, reads, params), buffers
    )


class _Shaped(NamedTuple):
    shape: tuple[int, ...]


def conv_case(
    images: tuple[int, ...],
    filters: tuple[int, ...],
    *,
    stride: tuple[int, ...] | None = None,
    groups: int = 1,
    bias: bool = False,
    weight_gradient: bool = False,
    dtype: np.dtype = dt.float32,
) -> Case:
    """A convolution of padded images, or the gradient of its filters."""
    grown = conv_shape(images, filters, stride=stride, groups=groups)
    more: dict[str, Any] = {"stride": stride, "groups": groups}
    if weight_gradient:
        shapes: list[tuple[int, ...]] = [grown, images]
        made, out = conv_weight_layout, filters
        more["kernel"] = filters[2:]
    else:
        shapes = [images, filters, filters[:1]][: 3 if bias else 2]
        made, out = conv_layout, grown
    strides = [contiguous_strides(shape) for shape in shapes]
    layout: Any = made([_Shaped(s) for s in shapes], strides, (0, 0, 0), **more)  # type: ignore
    buffers = [numbers(dtype, prod(shape), seed) for seed, shape in enumerate(shapes)]
    buffers.append(aligned(np.zeros(prod(out), dtype)))
    return Case(kernel_of(layout, [dtype] * len(shapes), dtype), buffers)
