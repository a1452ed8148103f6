"""What the special functions give at poles, outside of their domains and for odd arguments, and the
functions that are made of others.

Invariant: the values are scipy.special's but where a comment says why not; eager and traced calls
give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import hybrid
from hybrid import special

INF, NAN = math.inf, math.nan
TINY = 1e-40  # a subnormal number of float32
ROWS: dict[str, list[tuple[float, float]]] = {
    "erfcx": [(INF, 0.0), (-INF, INF), (-30.0, INF), (NAN, NAN)],
    "erfinv": [
        (1.0, INF),
        (-1.0, -INF),
        (-0.0, -0.0),
        (1.5, NAN),
        (-INF, NAN),
        (TINY, 8.8622693e-41),
    ],
    "erfcinv": [(0.0, INF), (2.0, -INF), (-0.5, NAN), (2.5, NAN), (1.0, 0.0)],
    "ndtr": [(INF, 1.0), (-INF, 0.0), (0.0, 0.5), (NAN, NAN)],
    "ndtri": [(0.0, -INF), (1.0, INF), (0.5, 0.0), (-0.1, NAN), (1.1, NAN)],
    "log_ndtr": [(INF, -0.0), (-INF, -INF), (NAN, NAN)],
    "gammaln": [
        (0.0, INF),
        (-0.0, INF),
        (-3.0, INF),
        (INF, INF),
        (-INF, -INF),
        (1.0, 0.0),
        (2.0, 0.0),
    ],
    "gammasgn": [(0.0, 1.0), (-0.0, -1.0), (-0.5, -1.0), (-1.5, 1.0), (-2.0, NAN), (-INF, NAN)],
    "gamma": [
        (0.0, INF),
        (-0.0, -INF),
        (-1.0, NAN),
        (-INF, NAN),
        (INF, INF),
        (200.0, INF),
        (4.0, 6.0),
    ],
    "digamma": [(0.0, -INF), (-0.0, INF), (-1.0, NAN), (-INF, NAN), (INF, INF)],
    # the limits; SciPy gives NaN at infinity
    "i0": [(INF, INF), (-INF, INF), (0.0, 1.0), (800.0, INF), (NAN, NAN)],
    "i1": [(INF, INF), (-INF, -INF), (0.0, 0.0), (-800.0, -INF)],
    "j0": [(INF, 0.0), (-INF, 0.0), (0.0, 1.0)],
    "j1": [(INF, 0.0), (0.0, 0.0), (-0.0, -0.0)],
    "y0": [(INF, 0.0), (0.0, -INF), (-1.0, NAN)],
    "y1": [(INF, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN)],
    "i0e": [(INF, 0.0), (-INF, 0.0), (0.0, 1.0)],
    "i1e": [(INF, 0.0), (-INF, -0.0), (0.0, 0.0)],
    "k0": [(INF, 0.0), (0.0, INF), (-1.0, NAN)],
    "k1": [(INF, 0.0), (0.0, INF), (-1.0, NAN)],
    "k0e": [(INF, 0.0), (0.0, INF), (-1.0, NAN)],
    "k1e": [(INF, 0.0), (0.0, INF), (-1.0, NAN)],
    "dawsn": [(INF, 0.0), (-INF, -0.0), (-0.0, -0.0)],
    "exp1": [(INF, 0.0), (0.0, INF), (-1.0, NAN)],
    "expi": [(INF, INF), (-INF, -0.0), (0.0, -INF)],
    "entr": [(0.0, 0.0), (-1.0, -INF), (INF, -INF), (NAN, NAN)],
    "logit": [(0.0, -INF), (1.0, INF), (0.5, 0.0), (-0.1, NAN), (1.1, NAN), (TINY, -92.10340576)],
    "log_expit": [(INF, -0.0), (-INF, -INF), (-1e30, -1e30)],
    # exactly 0 at whole numbers, where sin of a rounded pi x is not
    "sinc": [(0.0, 1.0), (1.0, 0.0), (-7.0, 0.0), (1e30, 0.0), (INF, NAN)],
    "exprel": [(0.0, 1.0), (INF, INF), (-INF, 0.0)],
    "cosm1": [(0.0, 0.0), (INF, NAN)],
    "factorial": [(0.0, 1.0), (5.0, 120.0), (-1.0, 0.0), (-0.5, 0.0), (INF, INF)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(ROWS))
def test_values_at_the_edges(name: str, dtype: Any) -> None:
    x, want = (np.array(column, dtype) for column in zip(*ROWS[name]))
    got = getattr(special, name)(hybrid.tensor(x)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=f"{name} of {x}")
    zero = want == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


PAIRS = {
    "xlogy": [(0, 0, 0), (0, -1, 0), (0, NAN, NAN), (1, 0, -INF), (1, -1, NAN), (0, INF, 0)],
    "xlog1py": [(0, -1, 0), (0, -5, 0), (0, NAN, NAN), (1, -1, -INF), (1, -2, NAN)],
    "rel_entr": [(0, 0, 0), (0, 1, 0), (1, 0, INF), (-1, 1, INF), (1, -1, INF), (1, INF, -INF)],
    "kl_div": [(0, 0, 0), (0, 1, 1), (1, 0, INF), (-1, 1, INF), (2, 2, 0), (NAN, 1, NAN)],
    "zeta": [(1, 2, INF), (0.5, 1, NAN), (2, 0, INF), (2, -1, INF), (2, INF, 0), (INF, 1, 1)],
    "beta": [(0, 1, INF), (-2, 2.5, INF), (1, 1, 1), (INF, 1, 0), (0.5, -2.5, 0), (NAN, 1, NAN)],
    "betaln": [(0, 1, INF), (1, 1, 0), (INF, 1, -INF), (0.5, -2.5, -INF), (NAN, 1, NAN)],
    "gammainc": [(0, 1, 1), (0, 0, NAN), (1, 0, 0), (1, INF, 1), (INF, 1, 0), (-1, 1, NAN)],
    "gammaincc": [(0, 1, 0), (0, 0, NAN), (1, 0, 1), (1, INF, 0), (INF, INF, NAN), (1, -1, NAN)],
    "chdtr": [(3, 0, 0), (3, 3, 0.6083748237), (3, INF, 1)],
    "chdtrc": [(3, 0, 1), (3, 3, 0.3916251762), (3, INF, 0)],
    "binom": [(5, 2, 10), (5, -1, 0), (-1, 2, NAN), (2.5, 2, 1.875), (5, 6, 0)],
    "comb": [(5, 2, 10), (3, 4, 0), (-1, 1, 0), (3, -1, 0)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(PAIRS))
def test_values_of_pairs(name: str, dtype: Any) -> None:
    x, y, want = (np.array(column, dtype) for column in zip(*PAIRS[name]))
    got = getattr(special, name)(hybrid.tensor(x), hybrid.tensor(y)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_poles_of_polygamma(order: int) -> None:
    x = hybrid.tensor([0.0, -0.0, -1.0, -4.0, -INF, INF])
    sign = INF if order % 2 else -INF
    got = special.polygamma(order, x).numpy()
    np.testing.assert_array_equal(got, [sign] * 5 + [0.0])


def test_ends_of_expn() -> None:
    got = special.expn(3, hybrid.tensor([0.0, -0.0, INF, -1.0, NAN])).numpy()
    np.testing.assert_array_equal(got, [0.5, 0.5, 0.0, NAN, NAN])


def test_edges_of_betainc() -> None:
    rows = [
        (1, 2, 0, 0), (1, 2, 1, 1), (0, 1, 0.5, 1), (1, 0, 0.5, 0), (0, 0, 0.5, NAN),
        (INF, 1, 0.5, 0), (1, INF, 0.5, 1), (INF, INF, 0.5, NAN), (-1, 1, 0.5, NAN),
        (1, 1, 1.5, NAN), (1, 1, -0.5, NAN), (0, 1, 0, 0), (1, 0, 1, 1), (NAN, 1, 0.5, NAN),
    ]  # fmt: skip
    for dtype in (np.float32, np.float64):
        a, b, x, want = (np.array(column, dtype) for column in zip(*rows))
        got = special.betainc(*(hybrid.tensor(v) for v in (a, b, x))).numpy()
        np.testing.assert_array_equal(got, want)


def test_distribution_functions() -> None:
    t = hybrid.tensor([-INF, -3.182446305, 0.0, 3.182446305, INF], dtype="float64")
    np.testing.assert_allclose(special.stdtr(3.0, t).numpy(), [0, 0.025, 0.5, 0.975, 1], rtol=1e-9)
    x = hybrid.tensor([0.0, 1.0, 5.786135043], dtype="float64")
    got = special.fdtr(2.0, 5.0, x).numpy()
    np.testing.assert_allclose(got, [0, 0.5687988496283079, 0.95], rtol=1e-9)
    a, b, x = (hybrid.tensor(v, dtype="float64") for v in (2.0, 3.0, [0.0, 0.25, 1.0]))
    np.testing.assert_allclose(special.betaincc(a, b, x).numpy(), [1, 0.73828125, 0], rtol=1e-14)


def test_names_that_stand_for_others() -> None:
    assert special.psi is special.digamma
    assert special.expit is hybrid.sigmoid is hybrid.expit
    assert special.erf is hybrid.erf and special.erfinv is hybrid.erfinv
    x = hybrid.tensor([0.5, 2.5])
    np.testing.assert_array_equal(special.polygamma(0, x).numpy(), special.digamma(x).numpy())
    np.testing.assert_array_equal(x.sinc().numpy(), hybrid.sinc(x).numpy())


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: special.polygamma(-1, hybrid.tensor([1.0])), "0 or more"),
        (lambda: special.polygamma(1.5, hybrid.tensor([1.0])), "integer"),
        (lambda: special.expn(-1, hybrid.tensor([1.0])), "0 or more"),
        (lambda: special.multigammaln(hybrid.tensor([3.0]), 0), "positive"),
        (lambda: special.comb(hybrid.tensor([3.0]), 1, exact=True), "math.comb"),
        (lambda: special.factorial(hybrid.tensor([3.0]), exact=True), "math.factorial"),
    ],
)
def test_arguments_that_are_refused(call: Any, word: str) -> None:
    with pytest.raises(hybrid.ArgumentError, match=word):
        call()


def test_zeta_and_gammainc_have_a_gradient_by_their_second_argument_alone() -> None:
    s, q = hybrid.tensor([2.0, 3.0], requires_grad=True), hybrid.tensor([1.5], requires_grad=True)
    special.zeta(s.detach(), q).sum().backward()
    assert q.grad is not None
    with pytest.raises(hybrid.UnsupportedError, match="first argument"):
        special.zeta(s, q).sum().backward()
    with pytest.raises(hybrid.UnsupportedError, match="last argument"):
        special.gammainc(s, q).sum().backward()


def test_integers_are_computed_as_float32() -> None:
    x = hybrid.tensor([1, 2, 3])
    for name in ("gammaln", "i0", "xlogy", "softmax", "logsumexp", "factorial"):
        function = getattr(special, name)
        got = function(x, x) if name == "xlogy" else function(x)
        assert got.dtype == np.float32, name


# ---- functions made of others
A = np.random.default_rng(4).uniform(-3, 3, (3, 4, 5))
AXES: list[Any] = [None, 0, -1, (0, 2), (1,), (2, 1)]


def total(x: np.ndarray, axis: Any) -> np.ndarray:
    return x.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_softmax_over_axes(axis: Any) -> None:
    want = np.exp(A) / total(np.exp(A), axis)
    got = special.softmax(hybrid.tensor(A), axis=axis).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-13)
    logs = special.log_softmax(hybrid.tensor(A), axis=axis).numpy()
    np.testing.assert_allclose(logs, np.log(want), rtol=1e-12)


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_with_weights(axis: Any, keepdims: bool) -> None:
    weights = np.random.default_rng(5).uniform(-1, 1, (4, 5))
    weights[0, 0] = 0.0
    sums = (weights * np.exp(A)).sum(axis=axis, keepdims=keepdims)
    a, b = hybrid.tensor(A), hybrid.tensor(weights)
    got, sign = special.logsumexp(a, axis, b, keepdims, return_sign=True)
    with np.errstate(all="ignore"):
        want, sizes = np.log(sums), np.log(np.abs(sums))
    np.testing.assert_allclose(got.numpy(), sizes, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(sign.numpy(), np.sign(sums))
    alone = special.logsumexp(a, axis, b, keepdims).numpy()
    np.testing.assert_allclose(alone, want, rtol=1e-10, atol=1e-12)


def test_logsumexp_of_infinities() -> None:
    for a, b, want, sign in (
        ([-INF, -INF], [1.0, 1.0], -INF, 0.0),
        ([INF, 1.0], [1.0, 1.0], INF, 1.0),
        ([INF, 1.0], [0.0, 2.0], 1.0 + math.log(2), 1.0),
        ([1000.0, 1000.0], [1.0, -1.0], -INF, 0.0),
        ([1000.0, 999.0], [-1.0, 0.0], 1000.0, -1.0),
    ):
        got, signs = special.logsumexp(hybrid.tensor(a), b=hybrid.tensor(b), return_sign=True)
        np.testing.assert_allclose([got.item(), signs.item()], [want, sign], rtol=1e-6)


def test_multigammaln_is_a_sum() -> None:
    got = special.multigammaln(hybrid.tensor([2.0, 10.0, 1.0]), 3).numpy()
    np.testing.assert_allclose(got, [1.5963125911388552, 36.81285863239809, NAN], rtol=1e-6)


COMPOSED = {
    "comb": lambda x: special.comb(x + 5.0, 2.0, repetition=True),
    "factorial": special.factorial,
    "multigammaln": lambda x: special.multigammaln(x + 2.0, 3),
    "softmax": lambda x: special.softmax(x, axis=(0, 1)),
    "log_softmax": lambda x: special.log_softmax(x, axis=0),
    "logsumexp": lambda x: special.logsumexp(x, 1, hybrid.tensor([[1.0, -0.3, 0.5]]), True),
    "polygamma": lambda x: special.polygamma(2, x),
    "expn": lambda x: special.expn(3, x),
    "zeta": lambda x: special.zeta(3.0, x),
    "sinc": hybrid.sinc,
    "exprel": special.exprel,
}


@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_traced_calls_give_the_same_bits(name: str) -> None:
    x = hybrid.tensor(np.random.default_rng(6).uniform(0.3, 2.0, (2, 3)).astype(np.float32))
    assert hybrid.compare(COMPOSED[name], x).same_bits


@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_gradients_of_composed_functions(name: str) -> None:
    function = COMPOSED[name]
    x = np.random.default_rng(7).uniform(0.3, 1.5, (2, 3))
    seeds = hybrid.tensor(np.random.default_rng(8).uniform(0.5, 1.0, (2, 3)))
    handle = hybrid.tensor(x, requires_grad=True)

    def value(operand: Any) -> Any:
        return (function(operand) * seeds).sum()

    (slope,) = hybrid.gradients(value(handle), [handle])
    step = 1e-5
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        want = (value(hybrid.tensor(up)) - value(hybrid.tensor(down))).item() / (2 * step)
        assert abs(slope.numpy()[place] - want) <= 1e-6 * (1 + abs(want))


@pytest.mark.parametrize("x", [0.0, 1e-9, -0.3, 0.399999, 0.400001])
def test_slopes_next_to_removable_singularities(x: float) -> None:
    for function, want in (
        (
            hybrid.sinc,
            (math.cos(math.pi * x) - math.sin(math.pi * x) / (math.pi * x or 1)) / (x or 1),
        ),
        (special.exprel, (math.exp(x) - math.expm1(x) / (x or 1)) / (x or 1)),
    ):
        handle = hybrid.tensor(x, dtype="float64", requires_grad=True)
        (slope,) = hybrid.gradients(function(handle), [handle])
        if abs(x) > 1e-3:
            assert math.isclose(slope.item(), want, rel_tol=1e-12)
        else:
            limit = -(math.pi**2) / 3 * x if function is hybrid.sinc else 0.5 + x / 3
            assert math.isclose(slope.item(), limit, rel_tol=1e-12)


def test_gradient_of_xlogy_at_zero() -> None:
    x = hybrid.tensor([0.0, 0.0, 2.0], requires_grad=True)
    y = hybrid.tensor([0.0, 3.0, 0.5], requires_grad=True)
    hybrid.xlogy(x, y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, math.log(3), math.log(0.5)], rtol=1e-6)
