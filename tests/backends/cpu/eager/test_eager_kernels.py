"""The eager CPU backend with small records: every dtype, size and stride, the same bits."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from eager_harness import (
    ADD,
    BOTH,
    CHECKED,
    CPU,
    FLOATS,
    IOTA,
    LESS,
    MATMUL,
    MIX,
    NOT,
    SHAPES,
    TAKE,
    TO,
    bits,
    data,
    kernel,
    record,
    run,
    same,
    variants,
)

from hybrid.backends.api import backend
from hybrid.backends.cpu.eager import eager as cpu_eager
from hybrid.backends.cpu.machine.jit import compile_ir
from hybrid.backends.cpu.machine.pool import num_threads
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import DeviceError, IndexOutOfRange
from hybrid.ir.oracle import reference as evaluate
from hybrid.ir.oracle import round_to


# ---- map
@pytest.mark.parametrize(
    "d", [*FLOATS, dt.int8, dt.int32, dt.int64, dt.uint16, dt.uint64], ids=lambda d: d.name
)
def test_add_every_dtype_and_shape(d: np.dtype):
    for shape in SHAPES:
        x, y = data(shape, d), data(shape, d, 1)
        with np.errstate(all="ignore"):
            want = (x + y).astype(d)
        same(run(ADD, x, y), np.asarray(want))
        with np.errstate(all="ignore"):
            want = evaluate(ADD, {}, [x, y])[0]
        same(run(ADD, x, y), want)


@pytest.mark.parametrize("d", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 17), (40, 500), (3, 0)], ids=str)
def test_strides_do_not_change_bits(d: np.dtype, shape: tuple[int, ...]):
    x, y = data(shape, d), data(shape, d, 1)
    f = kernel(MIX, x, y)
    want = f(x, y)
    for v in variants(x):
        same(f(v, y), want)
        same(f(y, v), f(y, x))
    g = kernel(BOTH, x, y)
    for v in variants(x):
        for a, b in zip(g(v, y), g(x, y)):
            same(a, b)


def test_broadcasting_strides_of_inputs():
    x, y = data((30, 40), dt.float32), data((40,), dt.float32, 1)
    full = np.ascontiguousarray(np.broadcast_to(y, x.shape))
    want = run(MIX, x, full)
    same(run(MIX, x, y), want)
    same(kernel(MIX, x, full)(x, np.broadcast_to(y, x.shape)), want)
    s = np.array(2.0, np.float32)
    same(run(MIX, x, s), run(MIX, x, np.full_like(x, 2)))
    same(
        run(MIX, x[:, :1], x[:1]),
        run(MIX, *map(np.ascontiguousarray, np.broadcast_arrays(x[:, :1], x[:1]))),
    )


def test_small_and_large_are_the_same_code():
    n = 3 * cpu_eager.SMALL
    x, y = data((n,), dt.float32), data((n,), dt.float32, 1)
    whole = run(MIX, x, y)
    parts = [run(MIX, x[i : i + 999], y[i : i + 999]) for i in range(0, n, 999)]
    same(whole, np.concatenate(parts))
    for threads in (1, 2, 5):
        with num_threads(threads):
            same(run(MIX, x, y), whole)
    f = kernel(BOTH, x, y)
    for a, b in zip(f(x[::-1], y[::-1]), f(x, y)):
        same(a[::-1], b)


def test_bool_and_conversion_results():
    x, y = data((50,), dt.float32), data((50,), dt.float32, 1)
    same(run(LESS, x, y), x < y)
    same(run(NOT, x < y), ~(x < y))
    same(run(NOT, (x < y)[::3]), ~(x < y)[::3])
    z = np.array([0.5, -0.5, 3e9, -3e9, np.nan, np.inf, 7.9], np.float32)
    same(
        run(TO, z, dtype=dt.int32), np.array([0, 0, 2**31 - 1, -(2**31), 0, 2**31 - 1, 7], np.int32)
    )
    same(run(TO, z[::2], dtype=dt.int32), run(TO, z, dtype=dt.int32)[::2].copy())
    for d in (dt.float16, dt.bfloat16):
        want = round_to(data((50,), dt.float32), d)
        same(run(TO, data((50,), dt.float32), dtype=d), want)
        same(
            run(TO, data((100,), dt.float32)[::2], dtype=d),
            round_to(data((100,), dt.float32)[::2], d),
        )
        same(run(TO, want, dtype=dt.float64), want.astype(np.float64))


def test_creation_and_gathers():
    same(run(IOTA, n=4), np.arange(12, dtype=np.float32).reshape(4, 3))
    assert kernel(IOTA, n=4)() is not kernel(IOTA, n=4)()
    big = 20000
    same(run(IOTA, n=big), np.arange(3 * big, dtype=np.float32).reshape(big, 3))
    x, i = data((6, 5), dt.float32), np.array([[5], [0], [3], [5]])
    same(run(TAKE, x, i), x[i[:, 0]])
    f = kernel(TAKE, x, i)
    same(f(np.asfortranarray(x), i), x[i[:, 0]])
    same(f(x, np.repeat(i, 2, 0)[::2]), x[i[:, 0]])


def test_checks_raise_before_anything_else():
    i = np.array([0, 3, 2], np.int64)
    f = kernel(CHECKED, i, n=4)
    same(f(i), i)
    same(f(np.repeat(i, 2)[::2]), i)
    for bad in ([0, 4, 1], [-1, 0, 0]):
        with pytest.raises(IndexOutOfRange, match="index must be below 4"):
            f(np.array(bad))
        with pytest.raises(IndexError):
            f(np.repeat(np.array(bad), 2)[::2])
    big = np.zeros(3 * cpu_eager.SMALL, np.int64)
    f = kernel(CHECKED, big, n=4)
    same(f(big), big)
    big[-1] = 9
    with pytest.raises(IndexOutOfRange):
        f(big)


def test_results_are_fresh_arrays_never_scalars():
    x = np.array(1.5, np.float32)
    a, b = run(ADD, x, x), run(ADD, x, x)
    assert type(a) is np.ndarray and a.shape == () and a is not b and a.flags.owndata
    assert [type(v) for v in run(BOTH, x, x)] == [np.ndarray] * 2


def test_no_floating_point_warnings_and_flags():
    x = np.array([0.0, 1e38, -1.0, np.nan] * 10, np.float32)
    div = record("t_div", 2, lambda s, x, y: s.sqrt(x / y) * 1e38)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for v in (x, np.repeat(x, 2)[::2]):
            kernel(div, x, x)(v, np.zeros(40, np.float32))
        np.add(np.float32(1), np.float32(2))


def test_wrong_arguments_are_errors():
    f = kernel(ADD, np.ones(3, np.float32), np.ones(3, np.float32))
    with pytest.raises((TypeError, ValueError)):
        f(np.ones(3, np.float32))


# ---- row
def _drop(a: Any, axes: tuple[int, int]) -> Any:
    return (a.with_(a.shape[: axes[0]] + a.shape[axes[1] :]),)


def _norm_infer(x: Any, w: Any, axes: tuple[int, int]) -> Any:
    return (x, x.with_(tuple(1 if axes[0] <= i < axes[1] else d for i, d in enumerate(x.shape))))


SUM = record("t_sum", 1, lambda s, x, axes: s.rsum(x), "row", infer=_drop, params=("axes",))
TOP = record(
    "t_top",
    1,
    lambda s, x, axes: s.rargmax(x),
    "row",
    params=("axes",),
    infer=lambda a, axes: (_drop(a, axes)[0].with_(dtype=dt.int64),),
)
NORM = record(
    "t_norm",
    2,
    lambda s, x, w, axes: ((x / s.rmax(s.abs(x))) * w, s.rmax(s.abs(x))),
    "row",
    nout=2,
    infer=_norm_infer,
    params=("axes",),
)


def lane_sum(row: np.ndarray) -> np.float32:
    """The sum of a row in the order of the numerics contract."""
    total = None
    for at in range(0, row.size, 4096):
        block = row[at : at + 4096]
        lanes = np.full(64, -0.0, np.float32)
        for j in range(0, block.size, 64):
            part = block[j : j + 64]
            lanes[: part.size] += part
        v = (lanes[:16] + lanes[16:32]) + (lanes[32:48] + lanes[48:])
        for half in (8, 4, 2, 1):
            v = v[:half] + v[half : 2 * half]
        total = v[0] if total is None else total + v[0]
    return np.float32(0) if total is None else total


@pytest.mark.parametrize("shape", [(3, 5), (2, 70), (1, 5000), (4, 0), (0, 4), (50, 1000)], ids=str)
def test_row_sums_in_the_fixed_order(shape: tuple[int, ...]):
    x = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    f = kernel(SUM, x, axes=(1, 2))
    want = np.array([lane_sum(r) for r in x], np.float32).reshape(shape[:1])
    for v in [x, *variants(x)]:
        same(f(v), want)
    for threads in (1, 3):
        with num_threads(threads):
            same(f(x), want)


def test_sums_over_leading_and_middle_axes():
    x = np.random.default_rng(4).standard_normal((3, 600, 21)).astype(np.float32)
    for axes in ((0, 1), (0, 2), (1, 2), (1, 3), (0, 3)):
        f = kernel(SUM, x, axes=axes)
        want = f(x)
        np.testing.assert_allclose(
            want, x.astype(np.float64).sum(tuple(range(*axes))), rtol=1e-4, atol=1e-3
        )
        for v in variants(x):
            same(f(v), want)


def test_rows_with_several_outputs():
    for shape, axes in (
        ((4, 9), (1, 2)),
        ((2, 3, 40), (1, 3)),
        ((300, 200), (1, 2)),
        ((1, 1), (1, 2)),
    ):
        x, w = data(shape, dt.float32), data(shape[axes[0] :], dt.float32, 1)
        x[~np.isfinite(x)] = 1
        f = kernel(NORM, x, w, axes=axes)
        top = np.abs(x).max(tuple(range(*axes)), keepdims=True)
        for v in [x, *variants(x)]:
            y, m = f(v, w)
            same(m, top)
            with np.errstate(all="ignore"):
                same(y, x / top * w)
    x = data((5, 33), dt.float32)
    same(run(TOP, x, axes=(1, 2)), np.argmax(x, 1))


# ---- the native door
def test_references_and_memory_balance():
    x, y = data((20,), dt.float32), data((20,), dt.float32, 1)
    i = np.array([9, 9], np.int64)
    f, g, c = kernel(ADD, x, y), kernel(BOTH, x, y), kernel(CHECKED, i, n=4)
    odd = np.repeat(y, 2)[::2]

    def rounds(n: int) -> None:
        for _ in range(n):
            f(x, y), g(x, y), f(x, odd)
            try:
                c(i)
            except IndexOutOfRange:
                pass

    rounds(50)
    gc.collect()
    tracemalloc.start()
    counts = [sys.getrefcount(v) for v in (x, y, odd, i, x.dtype)]
    before = tracemalloc.get_traced_memory()[0]
    rounds(5000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert [sys.getrefcount(v) for v in (x, y, odd, i, x.dtype)] == counts
    assert grown < 20_000


def test_kernels_serve_many_threads():
    n = 3 * cpu_eager.SMALL
    x, y = data((n,), dt.float32), data((n,), dt.float32, 1)
    small, large = kernel(MIX, x[:50], y[:50]), kernel(MIX, x, y)
    want = large(x, y)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(bits(large(x, y)), bits(want)) or not np.array_equal(
                bits(small(x[:50], y[:50])), bits(want[:50])
            ):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


CONTROL = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define void @t_get(ptr %p) {
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  ret void
}
define void @t_set(ptr %p) {
  call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void
}
"""


def test_foreign_control_words_change_nothing():
    """A library that flushes to zero or rounds down leaves that mode on: no result changes."""
    module = compile_ir(CONTROL, ["t_get", "t_set"])
    get, put = (
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(module.address(n)) for n in ("t_get", "t_set")
    )
    word, odd, now = ctypes.c_uint32(), ctypes.c_uint32(0x9FC0 | 0x2000), ctypes.c_uint32()
    for n in (20, 3 * cpu_eager.SMALL):
        x, y = np.full(n, 1e-40, np.float32), np.full(n, 1 / 3, np.float32)
        every = [
            (kernel(ADD, x, x), (x, x)),
            (kernel(MIX, x, y), (x, y)),
            (kernel(MIX, y, y), (y[::-1], y)),
            (kernel(SUM, y[None], axes=(1, 2)), (y[None],)),
            (kernel(MATMUL, y, y), (y, y)),
        ]
        want = [f(*xs) for f, xs in every]
        get(ctypes.addressof(word))
        try:
            for (f, xs), w in zip(every, want):
                put(ctypes.addressof(odd))
                got = f(*xs)
                get(ctypes.addressof(now))
                put(ctypes.addressof(word))
                assert now.value & 0xE040 == odd.value & 0xE040
                np.testing.assert_array_equal(got.view(np.uint32), w.view(np.uint32))
        finally:
            put(ctypes.addressof(word))


def test_unknown_device_is_a_clear_error():
    with pytest.raises(DeviceError, match="no device 'tpu'"):
        backend("tpu")


def test_values_from_numpy_are_copies():
    x = np.arange(6.0).reshape(2, 3).T
    v = CPU.from_numpy(x)
    assert not np.shares_memory(v, x) and v.flags.c_contiguous and CPU.to_numpy(v) is v
    assert CPU.empty(aval((2, 3), dt.float16)).shape == (2, 3)
