"""Gradients where formulas divide by zero: zeros, ties, constants, infinities, NaN.  The expected
values are PyTorch 2.13's, eagerly and replayed, in every floating dtype that holds them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb

INF, NAN = float("inf"), float("nan")
DTYPES = ["float64", "float32", "float16", "bfloat16"]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


def gradients(f: Callable[..., Any], xs: Any, d: str = "float64") -> list[np.ndarray]:
    """Gradients of the sum of f, eagerly; three decorated calls repeat their bits."""
    args = [hb.tensor(np.asarray(x, np.float64), dtype=d) for x in xs]

    def run(*xs: Any) -> Any:
        return hb.grad(lambda *v: f(*v).sum(), argnums=tuple(range(len(xs))))(*xs)

    want, traced = run(*args), hb.function(run)
    for _ in range(3):
        for a, b in zip(traced(*args), want, strict=True):
            assert a.dtype is b.dtype
            np.testing.assert_array_equal(a.astype("float64").numpy(), b.astype("float64").numpy())
    return [g.astype("float64").numpy() for g in want]


def check(f: Callable[..., Any], xs: Any, want: Any, dtypes: Any = DTYPES) -> None:
    for d in dtypes:
        for got, w in zip(gradients(f, xs, d), want, strict=True):
            np.testing.assert_allclose(got, w, rtol=TOLERANCE[d], atol=TOLERANCE[d])


def weighted(f: Callable[[Any], Any], n: int) -> Callable[[Any], Any]:
    return lambda x: f(x) * hb.arange(1, n + 1).astype(x.dtype)


@pytest.mark.parametrize(
    "x, want",
    [
        ([0, 2, 3], [23, 0, 0]),
        ([2, 0, 3], [1, 22, 0]),
        ([0, 2, 0], [5, 0, 0]),
        ([2, 3, 0], [7, 4, 18]),
        ([0, 0, 0], [1, 0, 0]),
        ([-0.0, 2, 3], [23, 0, 0]),
        ([1, 2, 3], [23, 11, 6]),
        ([0], [1]),
        ([], []),
    ],
)
def test_cumulative_prod(x: Any, want: Any) -> None:
    check(weighted(hb.cumulative_prod, len(x)), [x], [want])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumulative_prod_by_finite_differences(axis: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = rng.integers(-2, 3, (4, 5)).astype(np.float64)
        w = rng.normal(size=(4, 5))
        (got,) = gradients(lambda v, w=w: hb.cumulative_prod(v, axis) * hb.tensor(w), [x])
        want = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[at] = 1e-4
            up, down = (np.cumprod(x + s, axis) * w for s in (step, -step))
            want[at] = (up - down).sum() / 2e-4
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "x, t, want",
    [
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),
        (1.0, 0.0, 1e12),
        (0.0, 1.0, -1e12),
        (0.0, 0.5, -5e11),
        (0.5, 0.0, 2.0),
        (0.25, 0.25, 0.0),
    ],
)
def test_binary_cross_entropy(x: float, t: float, want: float) -> None:
    f = lambda x: hb.binary_cross_entropy(x, hb.full_like(x, t), reduction="sum")  # noqa: E731
    check(f, [[x]], [[want]], DTYPES[:2])
    loss = f(hb.tensor([x], dtype="float64")).item()
    parts = [v if v > -100 else -100.0 for v in _logs(x)]
    assert abs(loss + t * parts[0] + (1 - t) * parts[1]) < 1e-12
    (g,) = gradients(
        lambda t: hb.binary_cross_entropy(hb.full_like(t, x), t, reduction="sum"), [[t]]
    )
    np.testing.assert_allclose(g, [parts[1] - parts[0]], rtol=1e-12)


def _logs(x: float) -> list[float]:
    with np.errstate(all="ignore"):
        return [float(np.log(x)), float(np.log1p(-x))]


def test_binary_cross_entropy_in_half_and_twice() -> None:
    for d in ("float16", "bfloat16"):
        (g,) = gradients(
            lambda x: hb.binary_cross_entropy(x, hb.tensor([0.0, 1.0, 1.0, 0.5], dtype=d)),
            [[0.0, 1.0, 0.5, 0.5]],
            d,
        )
        np.testing.assert_allclose(g, [0.0, 0.0, -0.5, 0.0], rtol=1e-2)
    x, t, h = np.array([0.2, 0.7]), np.array([0.9, 0.1]), 1e-5

    def slope(x: Any) -> Any:
        return hb.grad(lambda x: hb.binary_cross_entropy(x, hb.tensor(t), reduction="sum"))(x)

    (second,) = gradients(slope, [x])
    up, down = (slope(hb.tensor(x + s)).numpy() for s in (h, -h))
    np.testing.assert_allclose(second, (up - down) / (2 * h), rtol=1e-6)


def test_binary_cross_entropy_with_logits() -> None:
    t = [0.0, 1.0, 0.0, 1.0, 0.5]
    check(
        lambda x: hb.binary_cross_entropy_with_logits(
            x, hb.tensor(t, dtype=x.dtype), reduction="sum"
        ),
        [[0.0, 0.0, 100.0, -100.0, -0.0]],
        [[0.5, -0.5, 1.0, -1.0, 0.0]],
    )


@pytest.mark.parametrize("x", [[2, 2, 2], [0, -0.0], [1]])
def test_std_and_var_of_a_constant(x: Any) -> None:
    zero = [0.0] * len(x)
    check(lambda x: hb.std(x), [x], [zero])
    check(lambda x: hb.var(x), [x], [zero])
    nothing = [NAN] if len(x) == 1 else zero
    check(lambda x: hb.std(x, correction=1), [x], [nothing])
    check(lambda x: hb.var(x, correction=1), [x], [nothing])
    check(lambda x: hb.std(hb.stack([x, x]), 0), [x], [zero])
    check(lambda x: hb.std(hb.stack([x, x]), (0, 1)), [x], [zero])


@pytest.mark.parametrize("order", [0.5, 1, 1.5, 2, 2.5, 3, INF, -INF, -1])
def test_norms_at_zero(order: float) -> None:
    zero = [0.0, 0.0, 0.0]
    check(lambda x: hb.norm(x, ord=order), [zero], [zero])
    check(lambda x: hb.norm(x, order, 0, keepdims=True), [[-0.0, 0.0]], [[0.0, 0.0]])
    check(
        lambda x: hb.norm(x, order, 1),
        [[[0.0, 0.0], [0.0, 3.0]]],
        [[[0.0, 0.0], [0.0, 1.0 if order > 0 else 0.0]]],
    )
    assert not hb.norm(hb.zeros(3), ord=order).numpy().any()


@pytest.mark.parametrize(
    "order, x, want",
    [
        (0.5, [0, 2, -1], [0, 1.7071067811865475, -2.414213562373095]),
        (1.5, [0, 2, -1], [0, 0.9040134034531215, -0.6392340078652324]),
        (3, [0, 2, -1], [0, 0.9244816991341795, -0.2311204247835449]),
        (INF, [2, 2, -2], [1 / 3, 1 / 3, -1 / 3]),
        (-INF, [2, 2, -2], [1 / 3, 1 / 3, -1 / 3]),
        (-1, [2, 2, -2], [1 / 9, 1 / 9, -1 / 9]),
        (-1, [0, 2, -1], [0, 0, 0]),
        (2, [3, 4, 0], [0.6, 0.8, 0]),
    ],
)
def test_norms(order: float, x: Any, want: Any) -> None:
    check(lambda x: hb.norm(x, ord=order), [x], [want])


@pytest.mark.parametrize("name", ["amax", "amin", "max", "min"])
def test_extremes_of_nan_and_ties(name: str) -> None:
    f = getattr(hb, name)
    check(lambda x: f(x), [[1, NAN, 3, NAN]], [[NAN] * 4])
    check(lambda x: f(x, 1), [[[1, NAN], [2, 2]]], [[[NAN, NAN], [0.5, 0.5]]])
    check(lambda x: f(x), [[-0.0, 0.0]], [[0.5, 0.5]])
    check(lambda x: f(x, (0, 1)), [[[1, 1], [1, 1]]], [[[0.25] * 2] * 2])
    check(lambda x: f(x), [[INF, INF]], [[0.5, 0.5]])
    assert np.isnan(f(hb.tensor([1.0, NAN])).item())


def test_many_ties_in_half() -> None:
    (g,) = gradients(lambda x: x.max(), [np.ones(1000)], "bfloat16")
    np.testing.assert_allclose(g, 0.001, rtol=1e-2)


def test_operands_at_ties_and_zeros() -> None:
    x, y = [1.0, NAN, 0.0, -0.0, 2.0], [1.0, 1.0, -0.0, 0.0, NAN]
    for f in (hb.maximum, hb.minimum):
        check(f, [x, y], [[0.5, 1, 0.5, 0.5, 1]] * 2)
    zeros = [0.0, -0.0]
    for f in (hb.relu, hb.abs, hb.sign):
        check(f, [zeros], [[0.0, 0.0]])
    check(lambda x: hb.clip(x, 0.0, 1.0), [[0, 1, -0.0, NAN, 2, -1]], [[1, 1, 1, 0, 0, 0]])
    check(lambda x: hb.clip(x, 0.0), [[0, 1, NAN, -1]], [[1, 1, 0, 0]])
    check(lambda x: hb.clip(x, None, 1.0), [[0, 1, NAN, 2]], [[1, 1, 0, 0]])
    check(lambda x: hb.clip(x, 1.0, 0.0), [[0.5]], [[0]])
    assert np.signbit(hb.maximum(hb.tensor(-0.0), hb.tensor(0.0)).numpy()) == np.False_
    assert np.signbit(hb.minimum(hb.tensor(0.0), hb.tensor(-0.0)).numpy()) == np.True_


def test_powers_and_roots_at_zero() -> None:
    zeros = [0.0, -0.0]
    for p, want in (
        (0.0, [0, 0]),
        (1.0, [1, 1]),
        (2.0, [0, 0]),
        (3.0, [0, 0]),
        (1.5, [0, 0]),
        (0.5, [INF, -INF]),
        (-1.0, [-INF, -INF]),
    ):
        check(lambda x, p=p: x**p, [zeros], [want])
    check(hb.sqrt, [zeros], [[INF, -INF]])
    check(hb.rsqrt, [zeros], [[-INF, INF]])
    check(
        hb.power,
        [[0, 0, 0, 2, -2], [0, 1, -1, 0, 2]],
        [[0, 1, -INF, 0, -4], [0, 0, -INF, 0.6931471805599453, NAN]],
    )
    check(hb.atan2, [[0, 0, -0.0], [0, -1, -0.0]], [[0, -1, 0], [0, 0, 0]])
    check(hb.hypot, [[0, 3, -0.0], [0, 4, 0.0]], [[0, 0.6, 0], [0, 0.8, 0]])


def test_logarithms_of_sums_with_infinities() -> None:
    check(
        hb.logaddexp,
        [[-INF, INF, -INF, INF, 0], [-INF, INF, 0, -INF, 0]],
        [[0.5, 0.5, 0, 1, 0.5], [0.5, 0.5, 1, 0, 0.5]],
    )
    check(lambda x: hb.logsumexp(x), [[-INF, 0]], [[0, 1]])
    check(lambda x: hb.softmax(x)[0], [[-INF, 0]], [[0, 0]])
    check(lambda x: hb.log_softmax(x)[1], [[-INF, 0]], [[0, 0]])
    for f in (hb.logsumexp, lambda x: hb.softmax(x)[0], lambda x: hb.log_softmax(x)[0]):
        check(f, [[-INF, -INF]], [[NAN, NAN]])


@pytest.mark.parametrize(
    "x, want",
    [([0, 2, 3], [6, 0, 0]), ([0, 0, 3], [0, 0, 0]), ([2, 3], [3, 2]), ([0], [1]), ([], [])],
)
def test_prod(x: Any, want: Any) -> None:
    check(lambda x: hb.prod(x), [x], [want])
    check(lambda x: hb.prod(x, 0), [[[v] for v in x]], [[[v] for v in want]])


def test_losses_at_borders_and_without_targets() -> None:
    x = [1.0, -1.0, 0.0, -0.0, 2.0]
    for f in (hb.smooth_l1_loss, hb.huber_loss):
        check(lambda x, f=f: f(x, hb.zeros_like(x), reduction="sum"), [x], [[1, -1, 0, 0, 1]])
    check(lambda x: hb.l1_loss(x, hb.zeros_like(x), reduction="sum"), [[0.0, 2.0]], [[0, 1]])
    ignored = hb.tensor([-100, -100])
    for f in (hb.cross_entropy, hb.nll_loss):
        for red in ("mean", "sum"):
            g = gradients(lambda x, f=f, r=red: f(x, ignored, reduction=r), [[[1.0, 2], [3, 4]]])[0]
            assert not g.any()
    check(
        lambda x: hb.cross_entropy(x, hb.tensor([1])),
        [[[-INF, 2, 0]]],
        [[[0, -0.11920292202211769, 0.11920292202211753]]],
    )
    check(
        lambda x: hb.kl_div(x, hb.tensor([0.0, 1.0], dtype=x.dtype), reduction="sum"),
        [[0.0, -1.0]],
        [[0, -1]],
    )


def test_neighbours_and_signs() -> None:
    check(hb.nextafter, [[1.0, 0.0, -1.0], [2.0, -1.0, -1.0]], [[1, 1, 0], [0, 0, 0]], DTYPES[:2])
    check(lambda x: hb.nextafter(x, hb.full_like(x, 5.0)) * x, [[2.0]], [[4.0]], DTYPES[:2])
    check(
        hb.copysign,
        [[0, 2, -2, -0.0, INF], [1, -1, -0.0, -1, -1]],
        [[0, -1, 1, 0, -1], [0, 0, 0, 0, 0]],
    )


def test_signs_of_zeros_infinities_and_nan() -> None:
    values = [0.0, -0.0, INF, -INF, NAN, -NAN, 1.0, -1.0]
    for d in DTYPES:
        x, one = hb.tensor(values, dtype=d), hb.ones(8, dtype=d)
        want = [False, True, False, True, False, False, False, True]
        for f in (hb.signbit, lambda x: hb.copysign(hb.ones_like(x), x) < 0):
            traced = hb.function(f)
            for g in (f, traced, traced, traced):
                assert g(x).tolist() == want
        assert hb.copysign(one * 2, -x * 0 - one).tolist()[:2] == [-2.0, -2.0]


# ---- integers to negative powers
@pytest.mark.parametrize("power", [-1, -3, [-1, 2], (-1,), np.array([1, -1]), np.int64(-2)])
def test_integers_to_negative_powers(power: Any) -> None:
    x = hb.tensor([1, 2])
    f = lambda x: x**power  # noqa: E731
    traced = hb.function(f)
    for g in (f, traced, traced, traced, lambda x: hb.power(x, power), lambda x: x.pow(power)):
        with pytest.raises(ValueError, match="negative integer power"):
            g(x)
    with pytest.raises(ValueError, match="negative integer power"):
        hb.power(2, power)
    np.testing.assert_allclose(
        (x.astype("float64") ** power).numpy(), np.array([1.0, 2.0]) ** np.asarray(power)
    )


def test_other_integer_powers() -> None:
    x = hb.tensor([1, 2, -1])
    assert (x**0).tolist() == [1, 1, 1] and (x**3).tolist() == [1, 8, -1]
    assert (x**-1.0).tolist() == [1.0, 0.5, -1.0] and (x**0.5).dtype is hb.float32
    assert (x ** hb.tensor(-1)).tolist() == [1, 0, -1]  # as torch.pow of two tensors
    assert (2 ** hb.tensor([0, 3])).tolist() == [1, 8]


# ---- second derivatives where the first one takes another branch
def hessian(f: Callable[[Any], Any], x: Any) -> np.ndarray:
    """Rows of gradients of the gradient."""
    slope = hb.grad(f)
    rows = [gradients(lambda v, i=i: slope(v)[i : i + 1], [x])[0] for i in range(len(x))]
    return np.stack(rows)


@pytest.mark.parametrize("x", [[0, 2, 3], [0, 0, 3], [1, 2, 3], [0, 0, 0], [2, 0, 3]])
def test_second_derivatives_of_products(x: Any) -> None:
    n = len(x)
    want = np.array(
        [
            [
                0 if i == j else np.prod([x[k] for k in range(n) if k not in (i, j)])
                for j in range(n)
            ]
            for i in range(n)
        ]
    )
    np.testing.assert_allclose(hessian(lambda v: hb.prod(v), x), want)
    weights = np.arange(1.0, n + 1)
    total = np.zeros((n, n))
    for m in range(2, n + 1):  # the m-th running product reads the first m elements
        for i in range(m):
            for j in range(m):
                if i != j:
                    total[i, j] += weights[m - 1] * np.prod(
                        [x[k] for k in range(m) if k not in (i, j)]
                    )
    got = hessian(lambda v: (hb.cumulative_prod(v) * hb.tensor(weights)).sum(), x)
    np.testing.assert_allclose(got, total)


def test_second_derivative_of_logaddexp_at_a_tie() -> None:
    got = hessian(lambda v: hb.logaddexp(v[0], v[1]), [1.0, 1.0])
    np.testing.assert_allclose(got, [[0.25, -0.25], [-0.25, 0.25]])
