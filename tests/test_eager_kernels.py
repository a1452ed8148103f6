"""The eager CPU backend with small records of its own: every kind, dtype, size and stride gives the
same bits."""

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

from hybrid.backends.api import backend
from hybrid.backends.cpu import eager as cpu_eager
from hybrid.backends.cpu.jit import compile_ir
from hybrid.backends.cpu.pool import num_threads
from hybrid.backends.reference.evaluate import evaluate, round_to
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import BackendError, DeviceError, IndexOutOfRange
from hybrid.core.shapes import contiguous_strides
from hybrid.ir import contract
from hybrid.ir.op import Op, map_infer

CPU = backend("cpu")
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3.4e38, 1.5, -2.25]


def record(name: str, nin: int, body: Any, kind: str = "map", **more: Any) -> Op:
    infer = more.pop("infer", None) or map_infer(name, more.pop("result", "same"))
    return Op(name, kind, nin, infer, body=body, **more)


def kernel(op: Op, *xs: np.ndarray, **params: Any) -> Any:
    ins = [aval(x.shape, dt.canonical(x.dtype)) for x in xs]
    return CPU.eager(op, params, ins, op.infer(*ins, **params))


def run(op: Op, *xs: np.ndarray, **params: Any) -> Any:
    return kernel(op, *xs, **params)(*xs)


def bits(a: np.ndarray) -> np.ndarray:
    """The elements' bit patterns, NaN made one pattern."""
    a = np.ascontiguousarray(a)
    if a.dtype.kind in "fV" or a.dtype == dt.bfloat16:
        wide = a.astype(np.float64)
        a = np.where(np.isnan(wide), wide.dtype.type(np.nan).view(np.uint64), wide.view(np.uint64))
    return a


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert type(a) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(bits(a), bits(b))


def data(shape: tuple[int, ...], d: np.dtype, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) * 3
    if dt.is_float(d) and a.size:
        flat = a.reshape(-1)
        flat[rng.integers(0, a.size, min(a.size, 20))] = rng.choice(SPECIAL, min(a.size, 20))
    with np.errstate(all="ignore"):
        return round_to(a if dt.is_float(d) else np.nan_to_num(a), d).reshape(shape)


ADD = record("t_add", 2, lambda s, x, y: x + y, reference=lambda x, y: x + y)
MIX = record("t_mix", 2, lambda s, x, y: s.fma(x, y, s.sqrt(s.abs(x))) / (y + 1.5))
LESS = record("t_less", 2, lambda s, x, y: x < y, result="bool")
NOT = record("t_not", 1, lambda s, x: ~x)
BOTH = record(
    "t_both",
    2,
    lambda s, x, y: (x + y, x < y),
    nout=2,
    infer=lambda x, y: (map_infer("t", "same")(x, y)[0], map_infer("t", "bool")(x, y)[0]),
)
TO = record(
    "t_to",
    1,
    lambda s, x, dtype: s.convert(x, {dt.int32: "i32", dt.float64: "f64"}.get(dtype, "f32")),
    infer=lambda a, dtype: (a.with_(dtype=dtype),),
    params=("dtype",),
)
IOTA = record(
    "t_iota",
    0,
    lambda s, n: s.convert(s.index(), "f32"),
    params=("n",),
    infer=lambda n: (aval((n, 3), dt.float32),),
)
TAKE = record(
    "t_take",
    2,
    lambda s, x, i: x.at_coords(i, s.coord(1)),
    gathers=(0,),
    infer=lambda x, i: (x.with_((i.shape[0], x.shape[1])),),
)
CHECKED = record(
    "t_checked",
    1,
    lambda s, i, n: i,
    params=("n",),
    infer=lambda i, n: (i,),
    check=lambda s, i, n: (i < 0) | (i >= n),
    check_message=lambda avals, p: f"index must be below {p['n']}",
)

SHAPES = [(), (1,), (7,), (16,), (3, 5), (2, 3, 17), (0,), (3, 0), (1000,)]
FLOATS = [dt.float16, dt.bfloat16, dt.float32, dt.float64]


# ---- map
# ------------------------------------------------------------------------------------------------
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


def variants(x: np.ndarray) -> list[np.ndarray]:
    """The same values with other strides."""
    wide = np.zeros(tuple(2 * d for d in x.shape), x.dtype)
    every = tuple(slice(None, None, 2) for _ in x.shape)
    wide[every] = x
    back = tuple(slice(None, None, -1) for _ in x.shape)
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype) if x.ndim == 1 and x.size else None
    out = [np.asfortranarray(x), wide[every], np.ascontiguousarray(x[back])[back]]
    if raw is not None:
        raw[:] = x
        out.append(raw)
    return out


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
# ----------------------------------------------------------------------------------------------------
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


# ---- host, view, place, scatter, contract
# -----------------------------------------------------------------
def test_host():
    op = record(
        "t_sort",
        1,
        lambda x: (np.sort(x), np.argsort(x)),
        "host",
        nout=2,
        infer=lambda a: (a, a.with_(dtype=dt.int64)),
    )
    x = data((9,), dt.int32)
    for a, b in zip(run(op, x), (np.sort(x), np.argsort(x))):
        same(a, b)
    total = record("t_total", 1, lambda x: x.sum(), "host", infer=lambda a: (a.with_(()),))
    same(run(total, x), np.asarray(x.sum(), np.int32))


def view(name: str, layout: Any, infer: Any) -> Op:
    return Op(name, "view", 1, infer, layout=layout, params=("p",))


PERMUTE = view(
    "t_permute",
    lambda a, st, off=0, *, p: (off, tuple(st[i] for i in p)),
    lambda a, p: (a.with_(tuple(a.shape[i] for i in p)),),
)
FLIP = view(
    "t_flip",
    lambda a, st, off=0, *, p: (
        off + (a.shape[0] - 1) * st[0] if a.size else off,
        (-st[0], *st[1:]),
    ),
    lambda a, p: (a,),
)
DIAG = view(
    "t_diag",
    lambda a, st, off=0, *, p: (off, (st[0] + st[1],)),
    lambda a, p: (a.with_((min(a.shape),)),),
)


def _flat(a: Any, st: Any, off: int = 0, *, p: Any) -> Any:
    return (off, contiguous_strides(p)) if tuple(st) == contiguous_strides(a.shape) else None


RESHAPE = view("t_reshape", _flat, lambda a, p: (a.with_(p),))
SPREAD = view(
    "t_spread", lambda a, st, off=0, *, p: (off, (0, *st)), lambda a, p: (a.with_((p, *a.shape)),)
)


@pytest.mark.parametrize("d", [dt.float32, dt.bfloat16, dt.bool_], ids=lambda d: d.name)
def test_views(d: np.dtype):
    x = data((4, 6), dt.int8).astype(d)
    for v in [x, *variants(x), x[:, ::-1], np.broadcast_to(x[0], (4, 6))]:
        same(run(PERMUTE, v, p=(1, 0)), v.T)
        same(run(FLIP, v, p=0), v[::-1])
        same(run(DIAG, v, p=0), np.diagonal(v))
        same(run(RESHAPE, v, p=(3, 8)), v.reshape(3, 8))
        same(run(SPREAD, v, p=2), np.broadcast_to(v, (2, *v.shape)))
        same(run(FLIP, run(PERMUTE, run(FLIP, v, p=0), p=(1, 0)), p=0), v[::-1].T[::-1])
    assert np.shares_memory(run(PERMUTE, x, p=(1, 0)), x)
    assert run(RESHAPE, np.zeros((0, 3), d), p=(3, 0)).shape == (3, 0)
    same(run(RESHAPE, x[0, :1], p=()), x[0, 0].reshape(()))


def test_view_of_readonly_memory_of_somebody_else():
    x = np.frombuffer(bytes(range(24)), np.int8).reshape(4, 6)
    same(run(FLIP, x[:, 1:4], p=0), x[::-1, 1:4])
    assert not run(PERMUTE, x, p=(1, 0)).flags.writeable


def _boxes(*avals: Any, p: Any) -> Any:
    st = contiguous_strides(p)
    out, row = [], 0
    for a in avals:
        out.append((row * st[0] if a.size else 0, a.shape, st))
        row += a.shape[0]
    return out


CONCAT = Op("t_concat", "place", None, lambda *a, p: (a[0].with_(p),), layout=_boxes, params=("p",))
EMBED = Op(
    "t_embed",
    "place",
    1,
    lambda *a, p: (a[0].with_(p),),
    layout=_boxes,
    params=("p",),
    facts=frozenset(["zeros"]),
)
WRITE = Op(
    "t_write",
    "place",
    2,
    lambda b, v, p: (b.with_(p),),
    layout=lambda b, v, p: _boxes(v, p=p),
    params=("p",),
    facts=frozenset(["base"]),
)
LOST = Op(
    "t_lost",
    "place",
    2,
    lambda b, v, p: (b.with_(p),),
    layout=lambda b, v, p: _boxes(v, p=p),
    params=("p",),
)


def test_place():
    a, b, c = data((2, 3), dt.bfloat16), data((0, 3), dt.bfloat16), data((3, 3), dt.bfloat16, 1)
    same(run(CONCAT, a, b, c, p=(5, 3)), np.concatenate([a, b, c]))
    same(kernel(CONCAT, a, b, c, p=(5, 3))(a, b, np.asfortranarray(c)), np.concatenate([a, b, c]))
    same(run(EMBED, a, p=(4, 3)), np.concatenate([a, np.zeros((2, 3), dt.bfloat16)]))
    base = data((5, 3), dt.bfloat16, 2)
    kept = base.copy()
    same(run(WRITE, base, a, p=(5, 3)), np.concatenate([a, base[2:]]))
    same(base, kept)
    with pytest.raises(BackendError, match="regions"):
        run(LOST, base, a, p=(5, 3))


SCATTER = Op(
    "t_scatter", "scatter", 2, lambda i, u, rows: (u.with_((rows, u.shape[1])),), params=("rows",)
)


@pytest.mark.parametrize("d", [dt.float32, dt.float64, dt.int16, dt.uint64], ids=lambda d: d.name)
def test_scatter_adds_in_order(d: np.dtype):
    rng = np.random.default_rng(3)
    for inner in (1, 15, 16, 300, 700):
        i, u = rng.integers(0, 7, 60), (rng.standard_normal((60, inner)) * 9).astype(d)
        want = np.zeros((7, inner), d)
        np.add.at(want, i, u)
        same(run(SCATTER, i, u, rows=7), want)
        same(kernel(SCATTER, i, u, rows=7)(np.repeat(i, 2)[::2], np.asfortranarray(u)), want)
    same(run(SCATTER, i[:0], u[:0], rows=2), np.zeros((2, 700), d))


def _inferred(shape_of: Any) -> Any:
    return lambda *a: (a[0].with_(shape_of(*[x.shape for x in a])),)


MATMUL = Op(
    "t_matmul", "contract", 2, _inferred(contract.matmul_shape), layout=contract.matmul_layout
)
LINEAR = Op(
    "t_linear", "contract", None, _inferred(contract.linear_shape), layout=contract.linear_layout
)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (4, 5)),
        ((70,), (70,)),
        ((2, 3, 4), (4,)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((3, 0), (0, 2)),
        ((0, 3), (3, 2)),
        ((90, 80), (80, 70)),
    ],
    ids=str,
)
def test_matmul_any_strides(shapes: tuple[tuple[int, ...], tuple[int, ...]]):
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    want = run(MATMUL, a, b)
    np.testing.assert_allclose(
        want, a.astype(np.float64) @ b.astype(np.float64), rtol=1e-5, atol=1e-5
    )
    f = kernel(MATMUL, a, b)
    for v in variants(a):
        same(f(v, b), want)
    for v in variants(b):
        same(f(a, v), want)


def test_long_sums_use_a_workspace():
    rng = np.random.default_rng(7)
    for m, k in ((8, 4000), (16, 20000), (1, 9000)):
        a, b = (
            rng.standard_normal((m, k)).astype(np.float32),
            rng.standard_normal((k, 9)).astype(np.float32),
        )
        f = kernel(MATMUL, a, b)
        want = f(a, b)
        np.testing.assert_allclose(want, a.astype(np.float64) @ b, rtol=1e-3, atol=1e-3)
        for v in variants(a):
            same(f(v, b), want)
        for threads in (1, 4):
            with num_threads(threads):
                same(f(a, b), want)


def test_linear_with_bias():
    rng = np.random.default_rng(6)
    for d, tol in ((dt.float32, 1e-5), (dt.float16, 2e-3), (dt.bfloat16, 1e-2)):
        x, w, b = (rng.standard_normal(s).astype(d) for s in ((5, 20), (33, 20), (33,)))
        want = x.astype(np.float64) @ w.astype(np.float64).T + b.astype(np.float64)
        got = run(LINEAR, x, w, b)
        assert got.dtype == d
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=tol, atol=tol * 3)


# ---- the native door
# -------------------------------------------------------------------------------------
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
    """A library that flushes to zero or rounds down leaves that mode on: results are the same all
    the same."""
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
