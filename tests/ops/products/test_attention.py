"""scaled_dot_product_attention: values, masks, special values, gradients, dropout, errors."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from attention_harness import INF, attend, exact, normal, same, step

import hybrid
from hybrid.ir.door.bind import bind
from hybrid.ops.products.attend import ATTENTION


# ---- values
@pytest.mark.parametrize("features", [1, 7, 16, 64, 80])
@pytest.mark.parametrize("keys", [1, 63, 64, 65, 255, 256, 257, 513])
def test_values(keys: int, features: int) -> None:
    q, k, v = normal(1, 2, 33, features), normal(2, 2, keys, features), normal(3, 2, keys, 24)
    for causal in (False, True):
        got = np.asarray(attend(*map(hybrid.tensor, (q, k, v)), is_causal=causal))
        want = exact(q, k, v, causal=causal)
        assert np.abs(got - want).max() <= 4e-7 * max(features, 16) ** 0.5


@pytest.mark.parametrize("d", [np.float16, ml_dtypes.bfloat16], ids=str)
def test_half_types_are_rounded_once(d: Any) -> None:
    """The error is that of rounding the exact result, up to a tenth."""
    unit = 2.0**-11 if d is np.float16 else 2.0**-8
    q, k, v = (normal(i, 4, 100, 64).astype(d) for i in range(3))
    q = (q * d(3)).astype(d)
    want = exact(q, k, v)
    got = np.asarray(attend(*map(hybrid.tensor, (q, k, v)))).astype(np.longdouble)
    rounded = want.astype(np.float32).astype(d).astype(np.longdouble)
    own, least = np.abs(got - want), np.abs(rounded - want)
    assert own.max() <= 1.1 * least.max() and own.mean() <= 1.1 * least.mean()
    assert (own <= 1.01 * unit * np.abs(want) + 1e-6).all()


def test_rows_without_a_key_are_zero() -> None:
    q, k, v = normal(1, 2, 5, 8), normal(2, 2, 300, 8), normal(3, 2, 300, 6)
    keep = np.random.default_rng(1).random((2, 5, 300)) > 0.5
    keep[0, 2] = False
    keep[1, 0, 100:] = False  # whole blocks
    keep[1, 1, :290] = False
    v[0, 7, 3], v[0, 8, 2] = np.nan, np.inf  # not even then
    for mask in (keep, np.where(keep, 0, -INF).astype(np.float32)):
        xs = [hybrid.tensor(x) for x in (q, k, v, mask)]
        out = np.asarray(attend(*xs))
        same(out[0, 2], np.zeros(6, np.float32))
        np.testing.assert_allclose(out[1], exact(q, k, v, keep)[1].astype(np.float32), atol=2e-6)
    clean = np.where(np.isfinite(v), v, 0).astype(np.float32)
    xs = [hybrid.tensor(x, requires_grad=True) for x in (q, k, clean)]
    _, dq, dk, dv = step(*xs, hybrid.tensor(keep))
    assert not np.asarray(dq)[0, 2].any()
    for x in (dq, dk, dv):
        assert np.isfinite(np.asarray(x)).all()


def test_no_keys_no_queries_no_features() -> None:
    zeros = hybrid.zeros
    same(attend(zeros(2, 3, 4), zeros(2, 0, 4), zeros(2, 0, 5)), np.zeros((2, 3, 5), np.float32))
    assert attend(zeros(2, 0, 4), zeros(2, 3, 4), zeros(2, 3, 5)).shape == (2, 0, 5)
    assert attend(zeros(0, 3, 4), zeros(0, 3, 4), zeros(0, 3, 5)).shape == (0, 3, 5)
    assert attend(zeros(3, 4), zeros(3, 4), zeros(3, 0)).shape == (3, 0)
    v = hybrid.tensor(normal(1, 4, 2))
    mean = np.asarray(attend(zeros(3, 0), zeros(4, 0), v))
    np.testing.assert_allclose(mean, np.tile(np.asarray(v).mean(0), (3, 1)), rtol=1e-6)
    xs = [zeros(3, 4, requires_grad=True), zeros(0, 4, requires_grad=True)]
    _, dq, dk, dv = step(*xs, zeros(0, 5, requires_grad=True))
    same(dq, np.zeros((3, 4), np.float32))
    assert dk.shape == (0, 4) and dv.shape == (0, 5)


def test_special_scores() -> None:
    """NaN and +inf make a row NaN, -inf is a key that takes no part, huge scores do not overflow."""
    q, k, v = np.ones((4, 1), np.float32), np.zeros((300, 1), np.float32), normal(1, 300, 3)
    mask = np.zeros((4, 300), np.float32)
    mask[0, 280], mask[1, 3] = np.nan, INF
    mask[2, :299] = -INF
    mask[3, 5] = 3e38
    out = np.asarray(attend(*map(hybrid.tensor, (q, k, v, mask))))
    assert np.isnan(out[:2]).all()
    same(out[2], v[299])
    same(out[3], v[5])
    keep = np.ones((4, 300), bool)
    k[7] = np.nan
    keep[0, 7] = False
    out = np.asarray(attend(*map(hybrid.tensor, (q, k, v, keep))))
    assert np.isfinite(out[0]).all() and np.isnan(out[1:]).all()


def test_causal_is_upper_left() -> None:
    for m, n in ((3, 7), (7, 3), (64, 64), (300, 290)):
        q, k, v = normal(1, m, 8), normal(2, n, 8), normal(3, n, 8)
        got = attend(*map(hybrid.tensor, (q, k, v)), is_causal=True)
        np.testing.assert_allclose(np.asarray(got), exact(q, k, v, causal=True), atol=3e-6)
    later = v.copy()
    later[200:] = np.nan  # tiles of keys that a query does not see are not read
    got = np.asarray(
        attend(hybrid.tensor(q), hybrid.tensor(k), hybrid.tensor(later), is_causal=True)
    )
    assert np.isfinite(got[:192]).all()


def test_masks_broadcast() -> None:
    q, k, v = normal(1, 2, 3, 4, 8), normal(2, 2, 3, 6, 8), normal(3, 2, 3, 6, 8)
    rng = np.random.default_rng(0)
    for shape in ((6,), (4, 6), (1, 6), (4, 1), (3, 1, 6), (2, 1, 1, 6), (2, 3, 4, 6), (3, 4, 6)):
        for mask in (rng.random(shape) > 0.3, rng.normal(size=shape).astype(np.float32)):
            got = attend(*map(hybrid.tensor, (q, k, v, mask)))
            np.testing.assert_allclose(np.asarray(got), exact(q, k, v, mask), atol=3e-6)
    mask = rng.normal(size=(5, 1, 1, 4, 6)).astype(np.float32)
    assert attend(*map(hybrid.tensor, (q, k, v, mask))).shape == (5, 2, 3, 4, 8)


def test_broadcast_heads_and_grouped_heads() -> None:
    q, k, v = normal(1, 2, 6, 5, 8), normal(2, 6, 7, 8), normal(3, 7, 3)
    got = attend(*map(hybrid.tensor, (q, k, v)))
    np.testing.assert_allclose(np.asarray(got), exact(q, k, v), atol=3e-6)
    k, v = normal(2, 2, 2, 7, 8), normal(3, 2, 2, 7, 8)
    mask = np.random.default_rng(1).random((2, 6, 5, 7)) > 0.3
    repeated = [np.repeat(x, 3, 1) for x in (k, v)]
    for m in (None, mask, mask[:, :1], mask[0, 0]):
        rest = [] if m is None else [hybrid.tensor(m)]
        got = attend(*map(hybrid.tensor, (q, k, v)), *rest, enable_gqa=True)
        np.testing.assert_allclose(np.asarray(got), exact(q, *repeated, m), atol=3e-6)
    with pytest.raises(hybrid.ShapeError, match="no multiple"):
        attend(hybrid.ones(4, 2, 3), hybrid.ones(3, 2, 3), hybrid.ones(3, 2, 3), enable_gqa=True)


# ---- gradients
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("m", "n"), [(9, 9), (70, 300), (300, 33)])
def test_gradients_are_those_of_the_formula(m: int, n: int, masked: bool) -> None:
    d = np.float64
    xs = [normal(1, 2, m, 8, d=d), normal(2, 2, n, 8, d=d), normal(3, 2, n, 6, d=d)]
    xs += [normal(4, m, n, d=d)] if masked else []

    def formula(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        s = hybrid.matmul(q, hybrid.matrix_transpose(k)) * 0.3
        s = s if mask is None else s + mask
        return hybrid.matmul(hybrid.softmax(s, -1), v)

    def grads(fn: Any) -> list[Any]:
        ts = [hybrid.tensor(x, requires_grad=True) for x in xs]
        out = fn(*ts)
        return [out, *hybrid.gradients((out * out * out).sum(), ts)]

    for a, b in zip(grads(lambda *a: attend(*a, scale=0.3)), grads(formula), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-11, atol=1e-12)


def test_second_derivatives() -> None:
    xs = [hybrid.tensor(normal(i, 5, 4, d=np.float64), requires_grad=True) for i in range(3)]

    def formula(q: Any, k: Any, v: Any) -> Any:
        s = hybrid.matmul(q, hybrid.matrix_transpose(k)) * 0.5
        s = hybrid.where(hybrid.tril(hybrid.ones(5, 5, dtype=bool)), s, -INF)
        return hybrid.matmul(hybrid.softmax(s, -1), v)

    def second(fn: Any) -> list[Any]:
        first = hybrid.gradients((fn(*xs) ** 2).sum(), xs, create_graph=True)
        return hybrid.gradients(sum((g**2).sum() for g in first), xs)

    got, want = second(lambda *a: attend(*a, is_causal=True)), second(formula)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-11)


def test_scale_may_be_a_tensor() -> None:
    xs = [normal(i, 6, 4, d=np.float64) for i in range(3)]
    scale = hybrid.tensor(np.float64(0.3), requires_grad=True)
    out = attend(*map(hybrid.tensor, xs), scale=scale)
    np.testing.assert_allclose(np.asarray(out), exact(*xs, scale=0.3).astype(float), rtol=1e-12)
    (slope,) = hybrid.gradients((out * out).sum(), [scale])
    near = [float((exact(*xs, scale=0.3 + h) ** 2).sum()) for h in (1e-5, -1e-5)]
    assert abs(slope.item() - (near[0] - near[1]) / 2e-5) < 1e-7


def test_only_some_gradients() -> None:
    q, k, v = (normal(i, 6, 4) for i in range(3))
    full = step(*[hybrid.tensor(x, requires_grad=True) for x in (q, k, v)])
    for i in range(3):
        xs = [hybrid.tensor(x, requires_grad=j == i) for j, x in enumerate((q, k, v))]
        same(step(*xs)[1], full[1 + i])


# ---- dropout
def test_dropout_is_one_stream_and_scales() -> None:
    q, k, v = (hybrid.tensor(normal(i, 3, 50, 8)) for i in range(3))
    v = hybrid.ones(3, 50, 8)

    def fn(q: Any, k: Any) -> Any:
        return attend(q, k, v, dropout_p=0.25)

    hybrid.manual_seed(3)
    want = [fn(q, k) for _ in range(4)]
    assert abs(float(np.mean([np.asarray(w) for w in want])) - 1) < 0.05
    assert not np.array_equal(np.asarray(want[0]), np.asarray(want[1]))
    hybrid.manual_seed(3)
    traced = hybrid.function(fn)
    for w in want:
        same(traced(q, k), w)
    assert not np.asarray(attend(q, k, v, dropout_p=1.0)).any()
    with pytest.raises(hybrid.HybridError, match="no probability"):
        attend(q, k, v, dropout_p=1.5)


def test_dropout_gradients_use_the_same_weights() -> None:
    xs = [normal(i, 7, 4, d=np.float64) for i in range(3)]

    def value(ys: list[np.ndarray]) -> Any:
        hybrid.manual_seed(11)
        ts = [hybrid.tensor(y, requires_grad=True) for y in ys]
        return (attend(*ts, dropout_p=0.4) ** 2).sum(), ts

    total, ts = value(xs)
    grads = hybrid.gradients(total, ts)
    for i, g in enumerate(grads):
        direction = normal(20 + i, 7, 4, d=np.float64)
        moved = [
            float(value([x + (h * direction if j == i else 0) for j, x in enumerate(xs)])[0].item())
            for h in (1e-5, -1e-5)
        ]
        slope = (moved[0] - moved[1]) / 2e-5
        assert abs(float((np.asarray(g) * direction).sum()) - slope) < 1e-6 * (1 + abs(slope))


# ---- errors, and a whole step
def test_errors() -> None:
    x = hybrid.ones(4, 3)
    with pytest.raises(hybrid.ShapeError, match="attention"):
        attend(x, hybrid.ones(4, 2), x)
    with pytest.raises(hybrid.ShapeError, match="attention"):
        attend(x, x, hybrid.ones(5, 3))
    with pytest.raises(hybrid.ShapeError, match="does not broadcast"):
        attend(x, x, x, hybrid.ones(3, 4))
    with pytest.raises(hybrid.ShapeError, match="not both"):
        attend(x, x, x, x, is_causal=True)
    with pytest.raises(hybrid.DTypeError, match="bool mask"):
        attend(x, x, x, hybrid.ones(4, 4, dtype="int32"))
    with pytest.raises(hybrid.DTypeError, match="floating"):
        attend(hybrid.arange(4).reshape(2, 2), [[1, 2]], [[1, 2]])
    with pytest.raises(TypeError, match="scale is a number, not a str"):
        attend(x, x, x, scale="large")
    with pytest.raises(TypeError, match="dropout_p is a number, not a NoneType"):
        attend(x, x, x, dropout_p=None)
    with pytest.raises(hybrid.DTypeError, match="one dtype"):
        half = hybrid.ones(4, 3, dtype="float16")
        bind(ATTENTION, half, half, half, scale=1.0, causal=False, masked=False, narrow="bfloat16")


def test_in_a_training_step() -> None:
    """Replays of a step with attention give the bits of eager steps; no queries x keys in memory."""

    class Net(hybrid.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = hybrid.nn.Linear(16, 48), hybrid.nn.Linear(16, 16)

        def forward(self, x: Any) -> Any:
            q, k, v = [a.reshape(2, 40, 2, 8).swapaxes(1, 2) for a in self.qkv(x).chunk(3, -1)]
            y = attend(q, k, v, is_causal=True).swapaxes(1, 2).reshape(2, 40, 16)
            return x + self.out(y)

    x = hybrid.tensor(normal(1, 2, 40, 16))
    losses = []
    for traced in (False, True):
        hybrid.manual_seed(0)
        net = Net()
        adam = hybrid.optim.Adam(net.parameters(), lr=0.01)

        def step(x: Any, net: Any = net, adam: Any = adam) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            adam.step()
            adam.zero_grad()
            return loss

        fn = hybrid.function(step) if traced else step
        losses.append([fn(x).item() for _ in range(6)])
    assert losses[0] == losses[1]
