"""The eager CPU backend: host, view, place, scatter and contract records of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from eager_harness import MATMUL, data, inferred, kernel, record, run, same, variants

from hybrid.backends.cpu.machine.pool import num_threads
from hybrid.core import dtypes as dt
from hybrid.core.errors import BackendError
from hybrid.core.shapes import contiguous_strides
from hybrid.ir import contract
from hybrid.ir.op import ContractOp, Op, PlaceOp, ScatterOp, ViewOp


# ---- host, view, place, scatter, contract
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
    return ViewOp(name, 1, infer, layout=layout, params=("p",))


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


CONCAT = PlaceOp("t_concat", None, lambda *a, p: (a[0].with_(p),), layout=_boxes, params=("p",))
EMBED = PlaceOp(
    "t_embed",
    1,
    lambda *a, p: (a[0].with_(p),),
    layout=_boxes,
    params=("p",),
    facts=frozenset(["zeros"]),
)
WRITE = PlaceOp(
    "t_write",
    2,
    lambda b, v, p: (b.with_(p),),
    layout=lambda b, v, p: _boxes(v, p=p),
    params=("p",),
    facts=frozenset(["base"]),
)
LOST = PlaceOp(
    "t_lost",
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


SCATTER = ScatterOp(
    "t_scatter", 2, lambda i, u, rows: (u.with_((rows, u.shape[1])),), params=("rows",)
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


LINEAR = ContractOp(
    "t_linear", None, inferred(contract.linear_shape), layout=contract.linear_layout
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
