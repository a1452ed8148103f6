"""Speed of matrix products and convolutions: `python benchmarks/kernels/gemm_bench.py [name ...]`.

Prints microseconds on one thread and on the pool (minimum over short runs, call overhead
subtracted), the rate in GFLOP/s, the decisions taken, and the milliseconds of generation and
compilation.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hybrid.backends.cpu.gemm import element_of, generate, host_target
from hybrid.backends.cpu.gemm.contract import kernel_of
from hybrid.backends.cpu.gemm.geometry import choose
from hybrid.backends.cpu.machine.jit import compile_many
from hybrid.backends.cpu.python import pool
from hybrid.backends.plan import GemmKernel
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract as layouts
from hybrid.ir.contract import accumulator

RNG = np.random.default_rng(0)
SLICE = 0.002  # seconds of one timed run
Case = tuple[
    str, Callable[..., layouts.Contraction], list[np.ndarray], tuple[int, ...], dict[str, Any]
]


def noise(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def cases() -> Iterator[Case]:
    """(name, layout, operands, result shape, parameters)."""
    for m, k, n in [
        (64, 64, 64),
        (256, 256, 256),
        (1024, 1024, 1024),
        (784, 32, 256),
        (32, 256, 784),
    ]:
        yield f"matmul {m}x{k}x{n}", layouts.matmul_layout, [noise(m, k), noise(k, n)], (m, n), {}
    yield (
        "matmul t 784x32x256",
        layouts.matmul_layout,
        [noise(32, 784).T, noise(32, 256)],
        (784, 256),
        {},
    )
    for m, k, n in [
        (32, 64, 64),
        (32, 784, 256),
        (32, 256, 10),
        (16, 128, 512),
        (512, 128, 384),
        (512, 128, 512),
        (512, 512, 128),
        (1, 512, 512),
    ]:
        yield (
            f"linear {m}x{k}->{n}",
            layouts.linear_layout,
            [noise(m, k), noise(n, k), noise(n)],
            (m, n),
            {},
        )
    yield (
        "batched 32x64x32x64",
        layouts.matmul_layout,
        [noise(32, 64, 32), noise(32, 32, 64)],
        (32, 64, 64),
        {},
    )
    yield "matvec 1024", layouts.matmul_layout, [noise(1024, 1024), noise(1024)], (1024,), {}
    yield "matvec t 1024", layouts.matmul_layout, [noise(1024, 1024).T, noise(1024)], (1024,), {}
    yield "dot 1M", layouts.matmul_layout, [noise(1 << 20), noise(1 << 20)], (), {}
    for c, size, o in [(1, 28, 16), (16, 14, 32)]:
        x, w, g = noise(32, c, size + 2, size + 2), noise(o, c, 3, 3), noise(32, o, size, size)
        yield f"conv {c}->{o} {size}", layouts.conv2d_layout, [x, w, noise(o)], g.shape, {}
        yield (
            f"conv weight {c}->{o}",
            layouts.conv2d_weight_layout,
            [g, x],
            w.shape,
            {"kernel": (3, 3)},
        )


def fastest(run: Callable[[], Any], idle: Callable[[], Any], tries: int = 15) -> float:
    """Seconds of one run without the call overhead."""
    run()
    start = time.perf_counter()
    run()
    repeat = max(1, int(SLICE / max(time.perf_counter() - start, 1e-7)))

    def once(f: Callable[[], Any], n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            f()
        return (time.perf_counter() - start) / n

    return min(once(run, repeat) for _ in range(tries)) - min(once(idle, 100) for _ in range(tries))


def decisions(kernel: GemmKernel) -> str:
    if kernel.order == "lanes":
        return "lanes"
    g = choose(kernel, element_of(kernel.acc), host_target())
    return (
        f"{'swapped ' if g.swap else ''}{g.rows}x{g.vecs} a={g.a_mode} b={g.b_mode} "
        f"panels={g.panels_m}x{g.panels_n} split={g.split} items={g.items}"
    )


def measure(case: Case) -> None:
    name, layout, arrays, shape, params = case
    c = layout(
        [aval(x.shape, dt.float32) for x in arrays],
        [tuple(s // 4 for s in x.strides) for x in arrays],
        (0,) * len(arrays),
        **params,
    )
    kernel = kernel_of(c, [dt.float32] * len(arrays), dt.float32)
    assert kernel.acc is accumulator(dt.float32)
    start = time.perf_counter()
    gens = generate(kernel, len(arrays) + 1)
    made = time.perf_counter()
    codes = compile_many([(g.symbol, g.text) for g in gens])
    done = time.perf_counter()
    keep = [
        *arrays,
        np.zeros(shape, np.float32),
        np.zeros(max(g.temp for g in gens) + 64, np.uint8),
    ]
    bufs = [x.ctypes.data for x in keep]
    words = [np.array(g.words, np.uint64) for g in gens]
    scratch = np.zeros(max(g.scratch for g in gens) + 64, np.uint8)
    table = (ctypes.c_uint64 * len(bufs))(*bufs)
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int64, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2, ctypes.c_void_p
    )
    calls = [
        (prototype(code.address), w.ctypes.data, g.items) for code, w, g in zip(codes, words, gens)
    ]
    aligned = scratch.ctypes.data + -scratch.ctypes.data % 64

    def alone(items: int | None = None) -> None:
        for f, w, n in calls:
            f(ctypes.addressof(table), w, 0, n if items is None else items, aligned)

    steps = [
        (code.address, w.ctypes.data, g.items, g.grain, g.scratch, 0)
        for code, w, g in zip(codes, words, gens)
    ]
    empty = [(s[0], s[1], 0, *s[3:]) for s in steps]
    one = fastest(alone, lambda: alone(0))
    many = fastest(lambda: pool.run_steps(steps, bufs), lambda: pool.run_steps(empty, bufs))
    flops = 2.0 * c.batch * c.m * c.n * c.k
    print(
        f"{name:22s} {one * 1e6:9.2f} us {flops / one / 1e9:5.0f} GF | {pool.get_num_threads()} "
        f"threads {many * 1e6:9.2f} us {flops / many / 1e9:5.0f} GF | {decisions(kernel)} | "
        f"{(made - start) * 1e3:.1f} + {(done - made) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    for each in cases():
        if not sys.argv[1:] or any(word in each[0] for word in sys.argv[1:]):
            measure(each)
