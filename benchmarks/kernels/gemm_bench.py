"""Speed of matrix products and convolutions: `python benchmarks/kernels/gemm_bench.py [name ...]`.

Prints microseconds on one thread and on the pool (minimum over short runs, call overhead
subtracted), the rate in GFLOP/s, the decisions taken, and the milliseconds of generation and
compilation.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from hybrid.backends.cpu.gemm import element_of, generate, host_target
from hybrid.backends.cpu.gemm.geometry import choose
from hybrid.backends.cpu.machine import pool
from hybrid.backends.cpu.machine.jit import compile_many
from hybrid.backends.plan import GemmKernel
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract as layouts
from hybrid.ir.contract import accumulator

GENERATOR = np.random.default_rng(0)
SLICE = 0.002  # seconds of one timed run
Case = tuple[
    str, Callable[..., layouts.Contraction], list[np.ndarray], tuple[int, ...], dict[str, Any]
]


def noise(*shape: int) -> np.ndarray:
    """Normal float32 samples."""
    return GENERATOR.standard_normal(shape).astype(np.float32)


def _linear_cases() -> Iterator[Case]:
    for rows, inner, columns in [
        (32, 64, 64),
        (32, 784, 256),
        (32, 256, 10),
        (16, 128, 512),
        (512, 128, 384),
        (512, 128, 512),
        (512, 512, 128),
        (1, 512, 512),
    ]:
        operands = [noise(rows, inner), noise(columns, inner), noise(columns)]
        name = f"linear {rows}x{inner}->{columns}"
        yield name, layouts.linear_layout, operands, (rows, columns), {}


def _matrix_cases() -> Iterator[Case]:
    matmul = layouts.matmul_layout
    for rows, inner, columns in [
        (64, 64, 64),
        (256, 256, 256),
        (1024, 1024, 1024),
        (784, 32, 256),
        (32, 256, 784),
    ]:
        operands = [noise(rows, inner), noise(inner, columns)]
        yield f"matmul {rows}x{inner}x{columns}", matmul, operands, (rows, columns), {}
    yield "matmul t 784x32x256", matmul, [noise(32, 784).T, noise(32, 256)], (784, 256), {}
    yield from _linear_cases()
    batched = [noise(32, 64, 32), noise(32, 32, 64)]
    yield "batched 32x64x32x64", matmul, batched, (32, 64, 64), {}
    yield "matvec 1024", matmul, [noise(1024, 1024), noise(1024)], (1024,), {}
    yield "matvec t 1024", matmul, [noise(1024, 1024).T, noise(1024)], (1024,), {}
    yield "dot 1M", matmul, [noise(1 << 20), noise(1 << 20)], (), {}


def _convolution_cases() -> Iterator[Case]:
    for channels, size, filters in [(1, 28, 16), (16, 14, 32)]:
        images = noise(32, channels, size + 2, size + 2)
        weight = noise(filters, channels, 3, 3)
        outputs = noise(32, filters, size, size)
        yield (
            f"conv {channels}->{filters} {size}",
            layouts.conv_layout,
            [images, weight, noise(filters)],
            outputs.shape,
            {},
        )
        yield (
            f"conv weight {channels}->{filters}",
            layouts.conv_weight_layout,
            [outputs, images],
            weight.shape,
            {"kernel": (3, 3)},
        )


def _volume_cases() -> Iterator[Case]:
    """Of 8 volumes of 16 x 32 x 32, by the stride and the channels of a filter (1: depthwise)."""
    for stride, channels in ((1, 16), (2, 16), (1, 1)):
        filters, groups = (32, 1) if channels > 1 else (16, 16)
        images, weight = noise(8, 16, 18, 34, 34), noise(filters, channels, 3, 3, 3)
        how: dict[str, Any] = {"stride": (stride,) * 3, "dilation": (1, 1, 1), "groups": groups}
        outputs = noise(*layouts.conv_shape(images.shape, weight.shape, **how))
        name = f"{channels}->{filters} 16x32x32 / {stride}"
        yield f"conv {name}", layouts.conv_layout, [images, weight], outputs.shape, how
        how = how | {"kernel": (3, 3, 3)}
        operands = [outputs, images]
        yield f"conv weight {name}", layouts.conv_weight_layout, operands, weight.shape, how


def cases() -> Iterator[Case]:
    """(name, layout, operands, result shape, parameters)."""
    yield from _matrix_cases()
    yield from _convolution_cases()
    yield from _volume_cases()


def fastest(run: Callable[[], Any], idle: Callable[[], Any], tries: int = 15) -> float:
    """Seconds of one run without the call overhead."""
    run()
    start = time.perf_counter()
    run()
    repeats = max(1, int(SLICE / max(time.perf_counter() - start, 1e-7)))

    def mean(function: Callable[[], Any], count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            function()
        return (time.perf_counter() - start) / count

    busy = min(mean(run, repeats) for _ in range(tries))
    return busy - min(mean(idle, 100) for _ in range(tries))


def decisions(kernel: GemmKernel) -> str:
    """How a product is cut into panels and items."""
    if kernel.order == "lanes":
        return "lanes"
    chosen = choose(kernel, element_of(kernel.acc), host_target())
    return (
        f"{'swapped ' if chosen.swapped else ''}{chosen.rows}x{chosen.tile_vectors} "
        f"a={chosen.a_mode} "
        f"b={chosen.b_mode} panels={chosen.panels_m}x{chosen.panels_n} split={chosen.split} "
        f"items={chosen.items}"
    )


class Prepared:
    """A compiled product with its operands: `steps` for the pool, and `alone` on this thread."""

    def __init__(
        self, generated: Sequence[Any], arrays: Sequence[np.ndarray], shape: Sequence[int]
    ) -> None:
        # held: machine code is freed with its last owner
        self.codes = compile_many([(part.symbol, part.text) for part in generated])
        room = max(part.temp for part in generated) + 64
        self.held = [*arrays, np.zeros(shape, np.float32), np.zeros(room, np.uint8)]
        self.buffers = [array.ctypes.data for array in self.held]
        self.words = [np.array(part.words, np.uint64) for part in generated]
        self.scratch = np.zeros(max(part.scratch for part in generated) + 64, np.uint8)
        self.steps = [
            (code.address, words.ctypes.data, part.items, part.grain, part.scratch, 0)
            for code, words, part in zip(self.codes, self.words, generated)
        ]
        self.empty = [(step[0], step[1], 0, *step[3:]) for step in self.steps]

    def alone(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """(a run on this thread, the same calls without any work)."""
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_int64, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2, ctypes.c_void_p
        )
        table = (ctypes.c_uint64 * len(self.buffers))(*self.buffers)
        aligned = self.scratch.ctypes.data + -self.scratch.ctypes.data % 64

        def calls(steps: Sequence[Any]) -> Callable[[], None]:
            functions = [(prototype(step[0]), step[1], step[2]) for step in steps]

            def run() -> None:
                for function, words, items in functions:
                    function(ctypes.addressof(table), words, 0, items, aligned)

            return run

        return calls(self.steps), calls(self.empty)


def measure(case: Case) -> None:
    """Print the line of one case."""
    name, layout, arrays, shape, params = case
    contraction = layout(
        [aval(array.shape, dt.float32) for array in arrays],
        [tuple(stride // 4 for stride in array.strides) for array in arrays],
        (0,) * len(arrays),
        **params,
    )
    kernel = kernel_of(contraction, [dt.float32] * len(arrays), dt.float32)
    assert kernel.acc is accumulator(dt.float32)
    start = time.perf_counter()
    generated = generate(kernel, len(arrays) + 1)
    made = time.perf_counter()
    prepared = Prepared(generated, arrays, shape)
    done = time.perf_counter()
    single = fastest(*prepared.alone())
    pooled = fastest(
        lambda: pool.run_steps(prepared.steps, prepared.buffers),
        lambda: pool.run_steps(prepared.empty, prepared.buffers),
    )
    flops = 2.0 * contraction.batch * contraction.m * contraction.n * contraction.k
    print(
        f"{name:22s} {single * 1e6:9.2f} us {flops / single / 1e9:5.0f} GF | "
        f"{pool.get_num_threads()} threads {pooled * 1e6:9.2f} us {flops / pooled / 1e9:5.0f} GF | "
        f"{decisions(kernel)} | {(made - start) * 1e3:.1f} + {(done - made) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    for each in cases():
        if not sys.argv[1:] or any(word in each[0] for word in sys.argv[1:]):
            measure(each)
