"""Neural-network functions against NumPy in double, gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid

RNG = np.random.default_rng(8)


def draw(*shape: int, lo: float = -2.0, hi: float = 2.0) -> np.ndarray:
    return RNG.uniform(lo, hi, shape)


def close(got, want, tol: float = 1e-10) -> None:
    got = np.asarray(got)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def check_gradient(fn, *xs: np.ndarray) -> None:
    """d sum(w * fn) along random directions."""
    ts = [hybrid.tensor(x, requires_grad=True) for x in xs]
    out = fn(*ts)
    w = RNG.normal(size=out.shape)
    (out * hybrid.tensor(w)).sum().backward()
    for k, x in enumerate(xs):
        d = RNG.normal(size=x.shape)

        def at(t: float, k: int = k, d: np.ndarray = d) -> float:
            ys = [hybrid.tensor(y + t * d if i == k else y) for i, y in enumerate(xs)]
            return float((np.asarray(fn(*ys)) * w).sum())

        h = 1e-5
        want = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        got = 0.0 if ts[k].grad is None else float((np.asarray(ts[k].grad) * d).sum())
        assert abs(got - want) <= 1e-6 * (1 + abs(want)), (k, got, want)


# ---- normalisation
def test_layer_norm() -> None:
    x, w, b = draw(2, 3, 4, 5), draw(4, 5), draw(4, 5)
    m, v = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
    want = (x - m) / np.sqrt(v + 1e-5)
    t, tw, tb = map(hybrid.tensor, (x, w, b))
    close(hybrid.layer_norm(t, (4, 5), tw, tb), want * w + b)
    close(hybrid.layer_norm(t, (4, 5), tw), want * w)
    close(hybrid.layer_norm(t, (4, 5), None, tb), want + b)
    close(hybrid.layer_norm(t, (4, 5)), want)
    for n in (1, 2, 3):
        check_gradient(lambda *a: hybrid.layer_norm(a[0], (4, 5), *a[1:]), *(x, w, b)[:n])
    with pytest.raises(ValueError, match="normalisation"):
        hybrid.layer_norm(t, (3, 5))
    with pytest.raises(ValueError):
        hybrid.layer_norm(t, (4, 5), hybrid.ones(5))


def test_layer_norm_of_half_types_keeps_float32_statistics() -> None:
    x = (1000 + draw(4, 64)).astype(np.float16)
    got = np.asarray(hybrid.layer_norm(hybrid.tensor(x), 64)).astype(float)
    y = x.astype(float)
    np.testing.assert_allclose(
        got, (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5), atol=2e-3
    )


def test_parameters_of_another_dtype() -> None:
    x = hybrid.tensor(draw(3, 8)).astype("float16")
    assert hybrid.layer_norm(x, 8, hybrid.ones(8), hybrid.zeros(8)).dtype.name == "float16"
    assert (
        hybrid.layer_norm(hybrid.ones(2, 8), 8, hybrid.ones(8, dtype="float64")).dtype.name
        == "float32"
    )
    assert (
        hybrid.rms_norm(hybrid.ones(2, 8, dtype="float64"), 8, hybrid.ones(8)).dtype.name
        == "float64"
    )


def test_empty_batches() -> None:
    assert hybrid.layer_norm(hybrid.ones(0, 4), 4).shape == (0, 4)
    assert hybrid.max_pool2d(hybrid.ones(0, 2, 4, 4), 2).shape == (0, 2, 2, 2)
    assert hybrid.conv2d(hybrid.ones(0, 2, 4, 4), hybrid.ones(3, 2, 3, 3)).shape == (0, 3, 2, 2)
    assert np.isnan(hybrid.cross_entropy(hybrid.ones(0, 3), hybrid.zeros(0, dtype="int64")).item())


def test_other_norms() -> None:
    x, w, b = draw(4, 6, 3, 2), draw(6), draw(6)
    chan = (1, 6, 1, 1)
    r = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3)
    close(hybrid.rms_norm(hybrid.tensor(x), 2, eps=1e-3), r)
    check_gradient(lambda a, c: hybrid.rms_norm(a, 2, c, 1e-3), x, draw(2))
    grouped = x.reshape(4, 3, -1)
    g = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + 1e-5)
    close(
        hybrid.group_norm(hybrid.tensor(x), 3, hybrid.tensor(w), hybrid.tensor(b)),
        g.reshape(x.shape) * w.reshape(chan) + b.reshape(chan),
    )
    check_gradient(lambda *a: hybrid.group_norm(a[0], 3, *a[1:]), x, w, b)
    m, v = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    rm, rv = hybrid.zeros(6, dtype="float64"), hybrid.ones(6, dtype="float64")
    got = hybrid.batch_norm(hybrid.tensor(x), rm, rv, hybrid.tensor(w), hybrid.tensor(b), True, 0.3)
    close(got, (x - m) / np.sqrt(v + 1e-5) * w.reshape(chan) + b.reshape(chan))
    close(rm, 0.3 * m.ravel())
    close(rv, 0.7 + 0.3 * v.ravel() * 24 / 23)
    check_gradient(lambda *a: hybrid.batch_norm(a[0], None, None, a[1], a[2], True), x, w, b)
    close(
        hybrid.batch_norm(hybrid.tensor(x), rm, rv),
        (x - np.asarray(rm).reshape(chan)) / np.sqrt(np.asarray(rv).reshape(chan) + 1e-5),
    )
    close(hybrid.normalize(hybrid.tensor(x)), x / np.sqrt((x * x).sum(1, keepdims=True)))
    close(
        hybrid.cosine_similarity(hybrid.tensor(x), hybrid.tensor(x[::-1].copy())),
        (x * x[::-1]).sum(1) / np.sqrt((x * x).sum(1) * (x[::-1] ** 2).sum(1)),
    )


@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 5), (4, 3, 2, 3)])
def test_derivatives_of_batch_norm(shape) -> None:
    """One node on the tape says its gradient; derivatives of that are those of differences."""
    x, along = draw(*shape), hybrid.tensor(draw(*shape))
    w, b, k = (hybrid.tensor(draw(*s)) for s in (shape[1:2], shape[1:2], shape))

    def loss(x):
        return (hybrid.batch_norm(x, None, None, w, b, True) * k).tanh().sum()

    gradient, step = hybrid.grad(loss), 1e-5
    up, down = (hybrid.tensor(x) + sign * step * along for sign in (1, -1))
    _, slope = hybrid.jvp(loss, (hybrid.tensor(x),), (along,))
    close(slope, (loss(up) - loss(down)) / (2 * step), 1e-6)
    _, second = hybrid.jvp(gradient, (hybrid.tensor(x),), (along,))
    close(second, (gradient(up) - gradient(down)) / (2 * step), 1e-6)
    each = hybrid.vmap(gradient)(hybrid.stack([hybrid.tensor(x), along]))
    close(each[0], gradient(hybrid.tensor(x)))
    operand = hybrid.tensor(draw(3, 2, 5), requires_grad=True)
    (node, *_) = hybrid.batch_norm(operand, None, None, w[:2], b[:2], True)._node
    assert node.op.name == "batch_norm"


# ---- losses
def log_softmax(x: np.ndarray) -> np.ndarray:
    d = x - x.max(-1, keepdims=True)
    return d - np.log(np.exp(d).sum(-1, keepdims=True))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(reduction, smoothing) -> None:
    x, t, w = draw(6, 5), np.array([0, 4, -100, 2, 2, 1]), draw(5, lo=0.5)
    lp, keep = log_softmax(x), t >= 0
    for weight in (None, w):
        c = np.ones(5) if weight is None else weight
        own = -lp[np.arange(6), np.maximum(t, 0)] * c[np.maximum(t, 0)]
        rows = np.where(keep, (1 - smoothing) * own - smoothing / 5 * (lp * c).sum(1), 0)
        total = (c[np.maximum(t, 0)] * keep).sum()
        want = {"mean": rows.sum() / total, "sum": rows.sum(), "none": rows}[reduction]

        def loss(a, weight=weight):
            return hybrid.cross_entropy(
                a,
                hybrid.tensor(t),
                None if weight is None else hybrid.tensor(weight),
                reduction=reduction,
                label_smoothing=smoothing,
            )

        close(loss(hybrid.tensor(x)), want)
        check_gradient(loss, x)


def test_cross_entropy_forms() -> None:
    x, t = draw(2, 5, 3), np.array([[0, 1, 2], [4, 3, 2]])
    lp = log_softmax(np.moveaxis(x, 1, -1))
    want = -np.take_along_axis(lp, t[..., None], -1).mean()
    close(hybrid.cross_entropy(hybrid.tensor(x), hybrid.tensor(t)), want)
    close(hybrid.nll_loss(hybrid.log_softmax(hybrid.tensor(x), 1), hybrid.tensor(t)), want)
    close(
        hybrid.cross_entropy(hybrid.tensor(x[0, :, 0]), hybrid.tensor(2)),
        -log_softmax(x[0, :, 0])[2],
    )
    p = np.exp(draw(2, 5, 3))
    p /= p.sum(1, keepdims=True)
    close(
        hybrid.cross_entropy(hybrid.tensor(x), hybrid.tensor(p)),
        -(np.moveaxis(p, 1, -1) * lp).sum() / 6,
    )
    check_gradient(hybrid.cross_entropy, x, p)
    close(
        hybrid.cross_entropy(hybrid.tensor(x), hybrid.tensor(t), ignore_index=2),
        -np.take_along_axis(lp, t[..., None], -1)[..., 0][t != 2].mean(),
    )
    for bad in ([[0, 1, 5], [0, 0, 0]], [[0, 1, -1], [0, 0, 0]]):
        with pytest.raises(IndexError, match="size 5"):
            hybrid.cross_entropy(hybrid.tensor(x), hybrid.tensor(bad))
    with pytest.raises(ValueError, match="do not fit"):
        hybrid.cross_entropy(hybrid.tensor(x), hybrid.tensor([0, 1]))
    with pytest.raises(hybrid.HybridError, match="reduction"):
        hybrid.cross_entropy(hybrid.tensor(x), hybrid.tensor(t), reduction="avg")
    assert np.isnan(
        hybrid.cross_entropy(hybrid.tensor(x[:, :, 0]), hybrid.tensor([-100, -100])).item()
    )


def test_cross_entropy_of_extreme_logits() -> None:
    x = hybrid.tensor([[1000.0, 0.0, -1000.0], [-np.inf, 0.0, 0.0]], requires_grad=True)
    loss = hybrid.cross_entropy(x, hybrid.tensor([0, 1]), reduction="none")
    np.testing.assert_allclose(np.asarray(loss), [0, np.log(2)], rtol=1e-6)
    loss.sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), [[0, 0, 0], [0, -0.5, 0.5]], atol=1e-7)


def test_regression_losses() -> None:
    x, t = draw(4, 5), draw(4, 5)
    d = np.abs(x - t)
    for name, want in {
        "mse_loss": d * d,
        "l1_loss": d,
        "smooth_l1_loss": np.where(d < 1, d * d / 2, d - 0.5),
        "huber_loss": np.where(d < 1, d * d / 2, d - 0.5),
    }.items():
        fn = getattr(hybrid, name)
        close(fn(hybrid.tensor(x), hybrid.tensor(t), reduction="none"), want)
        close(fn(hybrid.tensor(x), hybrid.tensor(t)), want.mean())
        check_gradient(fn, x, t)
        with pytest.raises(ValueError, match="one shape"):
            fn(hybrid.tensor(x), hybrid.tensor(t[0]))
    p, y = draw(4, 5, lo=0.05, hi=0.95), draw(4, 5, lo=0.05, hi=0.95)
    bce = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    close(hybrid.binary_cross_entropy(hybrid.tensor(p), hybrid.tensor(y), reduction="none"), bce)
    close(hybrid.binary_cross_entropy(hybrid.tensor([0.0, 1.0]), hybrid.tensor([1.0, 1.0])), 50.0)
    z, of_logits = np.log(p / (1 - p)), hybrid.binary_cross_entropy_with_logits
    close(of_logits(hybrid.tensor(z), hybrid.tensor(y), reduction="none"), bce)
    close(of_logits(hybrid.tensor([200.0, -200.0]), hybrid.tensor([1.0, 1.0])), 100.0)
    check_gradient(lambda a, b: of_logits(a, b, pos_weight=hybrid.tensor(p[0])), z, y)
    check_gradient(hybrid.binary_cross_entropy, p, y)
    close(
        hybrid.kl_div(hybrid.tensor(np.log(p)), hybrid.tensor(y), reduction="batchmean"),
        (y * (np.log(y) - np.log(p))).sum() / 4,
    )


# ---- pooling
POOLS = [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), 0), (2, 3, 1), ((1, 2), None, 0)]


def windows(x, k, s, p, fill):
    k = (k, k) if isinstance(k, int) else k
    s = k if s is None else (s, s) if isinstance(s, int) else s
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, k, (2, 3))[:, :, :: s[0], :: s[1]]


@pytest.mark.parametrize("k, s, p", POOLS)
def test_pooling(k, s, p) -> None:
    x = draw(2, 3, 6, 7)
    close(hybrid.max_pool2d(hybrid.tensor(x), k, s, p), windows(x, k, s, p, -np.inf).max((-1, -2)))
    close(hybrid.avg_pool2d(hybrid.tensor(x), k, s, p), windows(x, k, s, p, 0).mean((-1, -2)))
    count = windows(np.ones_like(x), k, s, p, 0).sum((-1, -2))
    close(
        hybrid.avg_pool2d(hybrid.tensor(x), k, s, p, count_include_pad=False),
        windows(x, k, s, p, 0).sum((-1, -2)) / count,
    )
    check_gradient(lambda a: hybrid.max_pool2d(a, k, s, p), x)
    check_gradient(lambda a: hybrid.avg_pool2d(a, k, s, p, count_include_pad=False), x)


def test_max_pool_ties_go_to_the_first_maximum() -> None:
    x = hybrid.tensor(
        np.array([[1.0, 1, 0, 2], [1, 1, 2, 2]]).reshape(1, 1, 2, 4), requires_grad=True
    )
    hybrid.max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad)[0, 0], [[1, 0, 0, 1], [0, 0, 0, 0]])
    special = hybrid.max_pool2d(
        hybrid.tensor(np.array([[[[np.nan, 1], [2, 3]]], [[[-np.inf] * 2] * 2]])), 2
    )
    np.testing.assert_array_equal(np.asarray(special).ravel(), [np.nan, -np.inf])


def test_max_pool_of_minus_infinity_between_padding_and_image() -> None:
    """The place lies in the window, so that the gradient arrives."""
    x = hybrid.tensor(np.full((1, 1, 4, 3), -np.inf, np.float32), requires_grad=True)
    out, at = hybrid.max_pool2d(x, (2, 1), 1, (1, 0), (2, 1), return_indices=True)
    np.testing.assert_array_equal(
        np.asarray(at)[0, 0], [[3, 4, 5], [0, 1, 2], [3, 4, 5], [6, 7, 8]]
    )
    out.sum().backward()
    assert x.grad.sum().item() == 12


def test_pooling_forms() -> None:
    x = draw(2, 3, 6, 8)
    t = hybrid.tensor(x)
    out, at = hybrid.max_pool2d(t, 2, return_indices=True)
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), np.asarray(at).reshape(2, 3, -1), 2).ravel(),
        np.asarray(out).ravel(),
    )
    close(hybrid.adaptive_avg_pool2d(t, 1), x.mean((2, 3), keepdims=True))
    close(hybrid.adaptive_avg_pool2d(t, (3, 4)), windows(x, 2, None, 0, 0).mean((-1, -2)))
    close(hybrid.max_pool1d(t[0], 2), x[0].reshape(3, 6, 4, 2).max(-1))
    close(hybrid.avg_pool1d(t[0, :, 0:1].reshape(3, 8), 4), x[0, :, 0].reshape(3, 2, 4).mean(-1))
    close(hybrid.max_pool2d(t[0], 3), windows(x[:1], 3, None, 0, 0).max((-1, -2))[0])
    for bad in (
        lambda: hybrid.max_pool2d(t, 9),
        lambda: hybrid.max_pool2d(t, 2, padding=2),
        lambda: hybrid.max_pool2d(t[0, 0], 2),
        lambda: hybrid.adaptive_avg_pool2d(t, (4, 4)),
    ):
        with pytest.raises(ValueError):
            bad()


# ---- attention
def test_attention() -> None:
    q, k, v = draw(2, 3, 4, 5), draw(2, 3, 6, 5), draw(2, 3, 6, 7)

    def oracle(mask=0.0, kk=k, vv=v, scale=1 / np.sqrt(5)):
        s = np.exp(log_softmax(q @ kk.swapaxes(-1, -2) * scale + mask))
        return s @ vv

    t = [hybrid.tensor(a) for a in (q, k, v)]
    attend = hybrid.scaled_dot_product_attention
    close(attend(*t), oracle())
    close(attend(*t, scale=0.3), oracle(scale=0.3))
    mask = RNG.random((4, 6)) > 0.3
    close(attend(*t, hybrid.tensor(mask)), oracle(np.where(mask, 0, -np.inf)))
    close(attend(*t, hybrid.tensor(np.where(mask, 0.5, -1))), oracle(np.where(mask, 0.5, -1)))
    causal = np.where(np.tri(4, dtype=bool), 0, -np.inf)
    close(
        attend(t[0], t[1][:, :, :4], t[2][:, :, :4], is_causal=True),
        oracle(causal, k[:, :, :4], v[:, :, :4]),
    )
    check_gradient(attend, q, k, v)
    with pytest.raises(ValueError, match="attention"):
        attend(t[0], t[2], t[1])


def test_one_hot_and_linear_names() -> None:
    x = hybrid.tensor([[0, 2]])
    np.testing.assert_array_equal(np.asarray(hybrid.one_hot(x, 3)), [[[1, 0, 0], [0, 0, 1]]])
    with pytest.raises(TypeError):
        hybrid.one_hot(hybrid.tensor([0.5]), 2)
