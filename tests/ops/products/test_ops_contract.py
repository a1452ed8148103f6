"""Contractions against NumPy, for every rank, dtype and convolution setting; einsum."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid.core import dtypes as dt

RNG = np.random.default_rng(6)


def draw(*shape: int, d: str = "float32") -> np.ndarray:
    return RNG.normal(size=shape).astype(d)


def close(got, want, tol: float = 1e-5) -> None:
    got = np.asarray(got)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(
        got.astype(np.float64), want, rtol=tol, atol=tol * (1 + np.abs(want).max(initial=0))
    )


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (4, 5)),
        ((4,), (4,)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 3)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((3, 0), (0, 2)),
        ((0, 3), (3, 2)),
        ((2, 3, 300), (300, 33)),
        ((1, 513), (513, 1)),
    ],
    ids=str,
)
def test_matmul(shapes) -> None:
    a, b = draw(*shapes[0]), draw(*shapes[1])
    close(hybrid.matmul(hybrid.tensor(a), hybrid.tensor(b)), a.astype(float) @ b.astype(float))
    ta = hybrid.tensor(np.ascontiguousarray(np.moveaxis(a, -1, 0)))
    np.testing.assert_array_equal(
        np.asarray(hybrid.moveaxis(ta, 0, -1) @ hybrid.tensor(b)),
        np.asarray(hybrid.tensor(a) @ hybrid.tensor(b)),
    )


def test_matmul_dtypes() -> None:
    a, b = RNG.integers(-5, 5, (3, 4)), RNG.integers(-5, 5, (4, 2))
    for d in ("int8", "int32", "int64", "uint8"):
        got = hybrid.tensor(a.astype(d)) @ hybrid.tensor(b.astype(d))
        assert got.dtype.name == d
        np.testing.assert_array_equal(np.asarray(got), a.astype(d) @ b.astype(d))
    for d in ("float16", "bfloat16", "float64"):
        got = hybrid.tensor(a).astype(d) @ hybrid.tensor(b).astype(d)
        assert got.dtype.name == d
        close(got, a @ b)
    assert (hybrid.tensor(a) @ hybrid.tensor(b.astype("float32"))).dtype is dt.float32
    with pytest.raises(TypeError, match="bool"):
        hybrid.tensor(a > 0) @ hybrid.tensor(b > 0)
    with pytest.raises(ValueError, match="matmul"):
        hybrid.tensor(a) @ hybrid.tensor(a)
    with pytest.raises(ValueError):
        hybrid.tensor(a) @ hybrid.tensor(2)


def test_linear() -> None:
    for rows in ((), (1,), (5,), (2, 3), (0,)):
        x, w, b = draw(*rows, 7), draw(4, 7), draw(4)
        close(
            hybrid.linear(hybrid.tensor(x), hybrid.tensor(w), hybrid.tensor(b)),
            x.astype(float) @ w.T + b,
        )
        close(hybrid.linear(hybrid.tensor(x), hybrid.tensor(w)), x.astype(float) @ w.T)
    half = hybrid.linear(
        hybrid.ones(1, 4096, dtype="float16"), hybrid.ones(1, 4096, dtype="float16")
    )
    assert half.item() == 4096
    with pytest.raises(ValueError, match="linear"):
        hybrid.linear(hybrid.ones(2, 3), hybrid.ones(4, 5))


def conv_oracle(x, w, b, stride, padding, dilation, groups):
    x = np.pad(x.astype(float), ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    n, c, h, width = x.shape
    o, cg, kh, kw = w.shape
    oh = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((n, o, oh, ow))
    for i in range(kh):
        for j in range(kw):
            patch = x[:, :, i * dilation[0] :, j * dilation[1] :][:, :, :: stride[0], :: stride[1]][
                :, :, :oh, :ow
            ]
            for g in range(groups):
                os, cs = slice(g * o // groups, (g + 1) * o // groups), slice(g * cg, (g + 1) * cg)
                out[:, os] += np.einsum("nchw,oc->nohw", patch[:, cs], w[os, :, i, j].astype(float))
    return out + (0 if b is None else b[:, None, None])


@pytest.mark.parametrize(
    "setting",
    [
        ((1, 1), (0, 0), (1, 1), 1),
        ((2, 1), (1, 2), (1, 2), 1),
        ((3, 2), (1, 0), (1, 1), 2),
        ((1, 1), (1, 1), (1, 1), 4),
    ],
    ids=str,
)
def test_conv2d_and_its_gradients(setting) -> None:
    stride, padding, dilation, groups = setting
    x, w, b = draw(2, 4, 7, 8), draw(8, 4 // groups, 3, 2), draw(8)
    ts = [hybrid.tensor(v, dtype="float64", requires_grad=True) for v in (x, w, b)]
    out = hybrid.conv2d(*ts, stride, padding, dilation, groups)
    want = conv_oracle(x, w, b, *setting)
    close(out, want, 1e-12)
    g = RNG.normal(size=want.shape)
    (out * hybrid.tensor(g)).sum().backward()
    # the convolution is linear in every argument: <g, conv(dx, w)> = <dx, grad x>
    for k, v in enumerate((x, w)):
        for _ in range(2):
            d = RNG.normal(size=v.shape)
            moved = conv_oracle(d if k == 0 else x, d if k == 1 else w, None, *setting)
            np.testing.assert_allclose(
                (moved * g).sum(), (np.asarray(ts[k].grad) * d).sum(), rtol=1e-9
            )
    np.testing.assert_allclose(np.asarray(ts[2].grad), g.sum((0, 2, 3)))


def test_conv_forms() -> None:
    x, w = draw(1, 2, 6, 6), draw(3, 2, 3, 3)
    tx, tw = hybrid.tensor(x), hybrid.tensor(w)
    close(hybrid.conv2d(tx, tw, padding="same"), conv_oracle(x, w, None, (1, 1), (1, 1), (1, 1), 1))
    close(hybrid.conv2d(tx[0], tw), conv_oracle(x, w, None, (1, 1), (0, 0), (1, 1), 1)[0])
    close(
        hybrid.conv1d(tx[:, :, 0], tw[:, :, 0], stride=2, padding=1),
        conv_oracle(x[:, :, :1], w[:, :, :1], None, (1, 2), (0, 1), (1, 1), 1)[:, :, 0],
    )
    # conv_transpose2d is the adjoint of conv2d
    y = draw(1, 3, 3, 3)
    ty = hybrid.tensor(y)
    back = hybrid.conv_transpose2d(ty, tw, stride=2, padding=1, output_padding=1)
    assert back.shape == x.shape
    want = (conv_oracle(x, w, None, (2, 2), (1, 1), (1, 1), 1) * y).sum()
    np.testing.assert_allclose((np.asarray(back) * x).sum(), want, rtol=1e-4)
    one = hybrid.conv_transpose2d(ty[0], tw, stride=2, padding=1, output_padding=1)
    np.testing.assert_array_equal(np.asarray(one), np.asarray(back)[0])
    for bad in (
        lambda: hybrid.conv_transpose2d(tx, tw),
        lambda: hybrid.conv_transpose2d(ty[0, 0], tw),
        lambda: hybrid.conv_transpose2d(ty, tw, groups=2),
        lambda: hybrid.conv_transpose2d(ty, tw, hybrid.ones(3)),
        lambda: hybrid.conv_transpose2d(ty, tw, stride=0),
        lambda: hybrid.conv_transpose2d(ty, tw, padding=-1),
        lambda: hybrid.conv_transpose2d(ty, tw, output_padding=-1),
        lambda: hybrid.conv_transpose2d(ty, tw, stride=2, output_padding=2),
    ):
        with pytest.raises(hybrid.ShapeError, match="conv_transpose2d"):
            bad()
    for bad in (
        lambda: hybrid.conv2d(tx, tw, groups=2),
        lambda: hybrid.conv2d(tx, hybrid.ones(3, 2, 9, 9)),
        lambda: hybrid.conv2d(tx, tw, hybrid.ones(2)),
        lambda: hybrid.conv2d(tx, tw, stride=0),
    ):
        with pytest.raises(ValueError):
            bad()


@pytest.mark.parametrize(
    "spec, shapes",
    [
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
        ("ij->ji", ((2, 3),)),
        ("ii->i", ((3, 3),)),
        ("ii", ((3, 3),)),
        ("ij->", ((2, 3),)),
        ("ij,ij->i", ((2, 3), (2, 3))),
        ("i,j", ((2,), (3,))),
        ("...ij,...jk->...ik", ((2, 3, 4), (2, 4, 5))),
        ("...i,i->...", ((2, 3, 4), (4,))),
        ("ij,kj->ikj", ((2, 3), (4, 3))),
        ("bhqd,bhkd->bhqk", ((2, 2, 3, 4), (2, 2, 5, 4))),
        ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5))),
        ("i,i", ((4,), (4,))),
        ("abc,cd,b->ad", ((2, 3, 4), (4, 5), (3,))),
        ("iij->j", ((3, 3, 2),)),
        ("ba", ((2, 3),)),
    ],
)
def test_einsum(spec, shapes) -> None:
    xs = [draw(*s) for s in shapes]
    close(
        hybrid.einsum(spec, *map(hybrid.tensor, xs)),
        np.einsum(spec, *[x.astype(float) for x in xs]),
    )


LABELLED = [
    (((2, 3), [0, 1]), ((3, 4), [1, 2]), [0, 2]),
    (((2, 3), (30, 1)), ((3, 4), (1, 2))),
    (((5, 2, 3), [..., 0, 1]), ((5, 3, 4), [..., 1, 2]), [..., 0, 2]),
    (((5, 2, 3), [..., 1, 0]), [..., 0, 1]),
    (((5, 2, 3), [..., 0, 1]), ((3, 4), [1, 2])),
    (((2, 2), [51, 51]), []),
    (((2, 3), [np.int64(0), 1]), [1]),
]


@pytest.mark.parametrize("terms", LABELLED, ids=str)
def test_einsum_with_lists_of_labels(terms) -> None:
    xs = [draw(*term[0]) for term in terms if isinstance(term, tuple)]

    def call(einsum, xs):
        left = iter(xs)
        flat = [[next(left), t[1]] if isinstance(t, tuple) else [t] for t in terms]
        return einsum(*[one for some in flat for one in some])

    tensors = list(map(hybrid.tensor, xs))
    want, traced = call(hybrid.einsum, tensors), hybrid.function(lambda ts: call(hybrid.einsum, ts))
    close(want, call(np.einsum, [x.astype(float) for x in xs]))
    assert np.asarray(call(np.einsum, tensors)).tolist() == want.tolist()
    for _ in range(3):
        assert traced(tensors).numpy().tobytes() == want.numpy().tobytes()


def test_einsum_takes_paths() -> None:
    a, b = hybrid.ones(2, 3), hybrid.ones(3, 4)
    for path in (True, False, None, "greedy", ("optimal", 100), ["einsum_path", (0, 1)]):
        assert hybrid.einsum("ij,jk", a, b, optimize=path).shape == (2, 4)
        assert hybrid.einsum(a, [0, 1], b, [1, 2], optimize=path).shape == (2, 4)
    for path in (3, "fast", [(0, 1)]):
        with pytest.raises(hybrid.ArgumentError, match="einsum: optimize is"):
            hybrid.einsum("ij,jk", a, b, optimize=path)


def test_einsum_errors() -> None:
    for given in ([], [[0, 52]], [["a", 1]], [[0, -1]], [[0, 1], hybrid.ones(2)], [3]):
        with pytest.raises(hybrid.ArgumentError, match="einsum"):
            hybrid.einsum(hybrid.ones(2, 3), *given)
    with pytest.raises(ValueError, match="no term"):
        hybrid.einsum(hybrid.ones(2, 3), [0, 1], [7])
    a = hybrid.ones(2, 3)
    for spec, xs in (
        ("ij,jk", (a,)),
        ("ij,jk->ik", (a, a)),
        ("ij->ik", (a,)),
        ("ijk", (a,)),
        ("ij->iij", (a,)),
    ):
        with pytest.raises(ValueError, match="einsum"):
            hybrid.einsum(spec, *xs)


def test_other_products() -> None:
    a, b = draw(3, 4, 5), draw(5, 3, 6)
    close(
        hybrid.tensordot(hybrid.tensor(a), hybrid.tensor(b), axes=([2, 0], [0, 1])),
        np.tensordot(a, b, ([2, 0], [0, 1])),
    )
    close(
        hybrid.tensordot(hybrid.tensor(a), hybrid.tensor(b[:, 0]), axes=1),
        np.tensordot(a, b[:, 0], 1),
    )
    close(
        hybrid.tensordot(hybrid.tensor(a[0, 0]), hybrid.tensor(a[1, 1]), axes=0),
        np.multiply.outer(a[0, 0], a[1, 1]),
    )
    close(
        hybrid.vecdot(hybrid.tensor(a), hybrid.tensor(a[1]), axis=-2),
        (a.astype(float) * a[1]).sum(1),
    )
    close(
        hybrid.outer(hybrid.tensor(a[0, 0]), hybrid.tensor(a[0, :, 0])),
        np.outer(a[0, 0], a[0, :, 0]),
    )
    close(hybrid.kron(hybrid.tensor(a[0]), hybrid.tensor(a[1])), np.kron(a[0], a[1]))
    close(hybrid.dot(hybrid.tensor(a[0]), hybrid.tensor(b[:, 0])), a[0] @ b[:, 0])
