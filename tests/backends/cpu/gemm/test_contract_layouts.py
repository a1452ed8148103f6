"""Contraction layouts say what NumPy says: gathered by their views, results are the op's."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import ShapeError
from hybrid.ir import contract as C


def indices(d: C.Dims) -> np.ndarray:
    out = np.zeros(1, np.int64)
    for n, s in zip(d.sizes, d.strides):
        out = (out[:, None] + np.arange(n) * s).ravel()
    return out


def positions(v: C.View) -> np.ndarray:
    return (
        v.offset
        + indices(v.batch)[:, None, None]
        + indices(v.rows)[None, :, None]
        + indices(v.cols)[None, None, :]
    )


def evaluate(
    layout, arrays: list[np.ndarray], shape: tuple[int, ...], **params
) -> tuple[np.ndarray, C.Contraction]:  # type: ignore[no-untyped-def]
    """The result of a layout on views into larger arrays (each operand starts at element 3)."""
    flats = [np.concatenate([np.full(3, 1e9), x.ravel()]) for x in arrays]
    strides = [tuple(s // 8 for s in np.empty(x.shape).strides) for x in arrays]
    c = layout([aval(x.shape, dt.float64) for x in arrays], strides, (3,) * len(arrays), **params)
    a, b = (flats[v.operand][positions(v)] for v in (c.a, c.b))
    assert a.shape == (c.batch, c.m, c.k) and b.shape == (c.batch, c.k, c.n)
    r = a @ b
    if c.bias is not None:
        r = r + flats[c.bias.operand][positions(c.bias)]
    out = np.full(int(np.prod(shape)), np.nan)
    where = positions(c.out)
    assert np.unique(where).size == where.size == out.size
    out[where] = r
    return out.reshape(shape), c


@pytest.mark.parametrize(
    "a, b",
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((6, 1, 2, 3), (4, 3, 7)),
        ((6, 5, 2, 3), (1, 1, 3, 7)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 2)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 4)),
        ((6, 1, 2, 3), (6, 5, 3, 1)),
        ((0, 2, 3), (0, 3, 4)),
        ((1, 1), (1, 1)),
    ],
    ids=str,
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    want = x @ y
    assert C.matmul_shape(a, b) == want.shape
    got, c = evaluate(C.matmul_layout, [x, y], want.shape)
    np.testing.assert_allclose(got, want)
    assert c.order == ("lanes" if len(b) == 1 or b[-1] == 1 else "chain")


def test_the_order_depends_on_shapes_only() -> None:
    x, w = aval((1, 8), dt.float32), aval((4, 8), dt.float32)
    for strides in [((8, 1), (8, 1)), ((1, 1), (1, 4)), ((99, 3), (50, 2))]:
        assert C.linear_layout([x, w], strides).order == "lanes"
        assert C.linear_layout([aval((2, 8), dt.float32), w], strides).order == "chain"


def test_a_batch_only_a_has_becomes_rows() -> None:
    c = C.matmul_layout(
        [aval((4, 5, 2, 3), dt.float32), aval((3, 7), dt.float32)], [(30, 6, 3, 1), (7, 1)]
    )
    assert (c.batch, c.m) == (1, 40) and c.a.rows == C.Dims((40,), (3,))


@pytest.mark.parametrize("shape", [(5, 2, 3), (3,), (0, 3), (1, 3)], ids=str)
def test_linear(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal(shape), rng.standard_normal((7, 3)), rng.standard_normal(7)
    want = x @ w.T + b
    np.testing.assert_allclose(evaluate(C.linear_layout, [x, w, b], want.shape)[0], want)
    np.testing.assert_allclose(evaluate(C.linear_layout, [x, w], want.shape)[0], x @ w.T)


CONVS = [
    ((2, 4, 7, 8), (6, 4, 3, 2), (1, 1), (1, 1), 1),
    ((2, 4, 7, 8), (6, 2, 3, 2), (2, 1), (1, 2), 2),
    ((1, 4, 5, 5), (4, 1, 3, 3), (1, 2), (2, 1), 4),
    ((3, 2, 4, 4), (5, 2, 1, 1), (3, 3), (1, 1), 1),
    ((2, 4, 11), (6, 2, 3), (2,), (3,), 2),
    ((2, 3, 4, 5, 6), (5, 3, 2, 3, 2), (1, 1, 1), (1, 1, 1), 1),
    ((1, 4, 7, 5, 6), (6, 2, 2, 1, 3), (3, 2, 1), (2, 1, 2), 2),
]


@pytest.mark.parametrize("xs, ws, stride, dilation, groups", CONVS, ids=str)
def test_convolution_and_its_weight_gradient(xs, ws, stride, dilation, groups) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    x, w, b = rng.standard_normal(xs), rng.standard_normal(ws), rng.standard_normal(ws[0])
    how = {"stride": stride, "dilation": dilation, "groups": groups}
    shape = C.conv_shape(xs, ws, (ws[0],), **how)
    full = [d * (k - 1) + 1 for k, d in zip(ws[2:], dilation)]
    p = np.lib.stride_tricks.sliding_window_view(x, full, tuple(range(2, x.ndim)))
    p = p[:, :, *(slice(None, None, step) for step in (*stride, *dilation))]
    p = p.reshape(xs[0], groups, xs[1] // groups, np.prod(shape[2:]), -1)
    v = w.reshape(groups, ws[0] // groups, ws[1], -1)
    want = np.einsum("ngcpt,goct->ngop", p, v).reshape(xs[0], ws[0], -1) + b[:, None]
    want = want.reshape(shape)
    np.testing.assert_allclose(evaluate(C.conv_layout, [x, w, b], shape, **how)[0], want)
    g = rng.standard_normal(shape)
    rows = g.reshape(xs[0], groups, ws[0] // groups, -1)
    want = np.einsum("ngcpt,ngop->goct", p, rows).reshape(ws)
    got, _ = evaluate(C.conv_weight_layout, [g, x], ws, kernel=ws[2:], **how)
    np.testing.assert_allclose(got, want)


def test_shapes_that_do_not_fit_are_refused() -> None:
    for call in [
        lambda: C.matmul_shape((2, 3), (4, 5)),
        lambda: C.matmul_shape((), (3,)),
        lambda: C.matmul_shape((2, 2, 3), (5, 3, 1)),
        lambda: C.linear_shape((2, 3), (3, 4)),
        lambda: C.linear_shape((2, 3), (4, 3), (3,)),
        lambda: C.conv_shape((1, 3, 8, 8), (4, 2, 3, 3)),
        lambda: C.conv_shape((1, 3, 2, 8), (4, 3, 3, 3)),
        lambda: C.conv_shape((3, 8, 8), (4, 3, 3, 3)),
        lambda: C.conv_shape((1, 3, 8, 8, 8), (4, 3, 3, 3)),
        lambda: C.conv_shape((1, 3, 8, 2, 8), (4, 3, 3, 3, 3)),
        lambda: C.conv_shape((1, 3), (4, 3)),
        lambda: C.conv_weight_shape((2, 4, 6, 6), (2, 3, 8, 8), kernel=(3,)),
        lambda: C.conv_weight_shape((2, 4, 5, 5), (2, 3, 8, 8), kernel=(3, 3)),
    ]:
        with pytest.raises(ShapeError):
            call()
