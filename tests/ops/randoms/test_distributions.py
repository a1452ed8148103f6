"""Distributions of hybrid.random: goodness of fit, supports, errors, sizes, and one stream traced."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid import random

stats = pytest.importorskip("scipy.stats")
special = pytest.importorskip("scipy.special")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

COUNT = 200_000
LEAST = 1e-4  # of the p-values; seeds are fixed


class Zipf:
    """Sums of 1 / k ** a by Hurwitz's zeta function; SciPy adds up 60 million terms for its quantile
    of 0.9999 at a = 1.5."""

    def __init__(self, a: float) -> None:
        self.a = a

    def support(self) -> tuple[float, float]:
        return 1, np.inf

    def cdf(self, k):
        return 1 - special.zeta(self.a, np.asarray(k) + 1.0) / special.zeta(self.a, 1)

    def ppf(self, p: float) -> float:
        low, high = 0.0, 2.0**60
        while high - low > 1:
            middle = np.floor((low + high) / 2)
            low, high = (low, middle) if self.cdf(middle) >= p else (middle, high)
        return high


CONTINUOUS = {
    "uniform": [((-1.0, 3.0), stats.uniform(-1, 4))],
    "normal": [((1.0, 2.0), stats.norm(1, 2))],
    "exponential": [((2.0,), stats.expon(scale=2))],
    "laplace": [((1.0, 2.0), stats.laplace(1, 2))],
    "logistic": [((1.0, 2.0), stats.logistic(1, 2))],
    "gumbel": [((1.0, 2.0), stats.gumbel_r(1, 2))],
    "cauchy": [((1.0, 2.0), stats.cauchy(1, 2))],
    "lognormal": [((0.5, 0.7), stats.lognorm(0.7, scale=np.exp(0.5)))],
    "rayleigh": [((2.0,), stats.rayleigh(scale=2))],
    "weibull": [((0.5,), stats.weibull_min(0.5)), ((3.0,), stats.weibull_min(3))],
    "pareto": [((3.0,), stats.lomax(3))],
    "power": [((0.5,), stats.powerlaw(0.5)), ((3.0,), stats.powerlaw(3))],
    "triangular": [((0.0, 1.0, 4.0), stats.triang(0.25, 0, 4))],
    "truncated_normal": [
        ((0.0, 1.0, -2.0, 2.0), stats.truncnorm(-2, 2)),
        ((1.0, 2.0, 7.0, 9.0), stats.truncnorm(3, 4, 1, 2)),
        ((0.0, 1.0, -5.0, -4.0), stats.truncnorm(-5, -4)),
    ],
    "standard_gamma": [((a,), stats.gamma(a)) for a in (0.3, 1.0, 1.7, 40.0, 1e5)],
    "gamma": [((3.0, 2.0), stats.gamma(3, scale=2))],
    "beta": [((a, b), stats.beta(a, b)) for a, b in ((0.5, 0.7), (2.0, 5.0))],
    "chisquare": [((3.0,), stats.chi2(3))],
    "noncentral_chisquare": [((3.0, 2.0), stats.ncx2(3, 2)), ((0.5, 0.0), stats.chi2(0.5))],
    "f": [((3.0, 8.0), stats.f(3, 8))],
    "noncentral_f": [((3.0, 8.0, 2.0), stats.ncf(3, 8, 2))],
    "standard_t": [((3.0,), stats.t(3))],
    "vonmises": [((0.0, kappa), stats.vonmises(kappa)) for kappa in (1e-3, 0.5, 4.0, 1000.0)],
    "wald": [
        ((1.0, 2.0), stats.invgauss(0.5, scale=2)),
        ((3.0, 0.5), stats.invgauss(6, scale=0.5)),
    ],
}
COUNTS = {
    "poisson": [((rate,), stats.poisson(rate)) for rate in (0.3, 9.5, 10.0, 60.0, 1e4)],
    "binomial": [
        ((n, p), stats.binom(n, p))
        for n, p in ((1, 0.3), (25, 0.5), (100, 0.02), (200, 0.93), (5000, 0.4))
    ],
    "geometric": [((0.3,), stats.geom(0.3)), ((0.01,), stats.geom(0.01))],
    "logseries": [((0.6,), stats.logser(0.6)), ((0.99,), stats.logser(0.99))],
    "zipf": [((a,), Zipf(a)) for a in (1.5, 2.0, 4.0)],
    "negative_binomial": [((3.5, 0.3), stats.nbinom(3.5, 0.3))],
    "hypergeometric": [
        ((good, bad, sample), stats.hypergeom(good + bad, good, sample))
        for good, bad, sample in (
            (5, 3, 4),
            (30, 20, 10),
            (20, 400, 300),
            (400, 20, 30),
            (300, 500, 200),
            (500, 300, 650),
            (10**6, 3 * 10**6, 10**5),
            (4 * 10**8, 10**9, 20),
        )
    ],
}


def rows(table):
    return [
        pytest.param(name, given, law, id=f"{name}-{'-'.join(map(str, given))}")
        for name, some in table.items()
        for given, law in some
    ]


def drawn(name, *given, **more):
    return np.asarray(getattr(random, name)(*given, generator=random.Generator(3), **more))


@pytest.mark.parametrize("name, given, law", rows(CONTINUOUS))
def test_continuous_fit(name, given, law) -> None:
    for dtype in ("float32", "float64"):
        values = drawn(name, *given, COUNT, dtype=dtype)
        assert values.dtype == dtype and np.isfinite(values).all()
        low, high = law.support()
        slack = 1e-6 * max(1.0, abs(high)) if dtype == "float32" else 1e-12
        assert values.min() >= low - slack and values.max() <= high + slack
        assert stats.kstest(values.astype("f8"), law.cdf).pvalue > LEAST


@pytest.mark.parametrize("name, given, law", rows(COUNTS))
def test_counts_fit(name, given, law) -> None:
    values = drawn(name, *given, COUNT)
    assert values.dtype == np.int64
    low, high = int(law.ppf(1e-4)), int(law.ppf(1 - 1e-4))
    assert law.support()[0] <= values.min() and values.max() <= law.support()[1]
    edges = np.unique(np.linspace(low, high, 60).astype(int))
    want = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]])) * COUNT
    got = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    full = want > 5
    want = np.append(want[full], want[~full].sum() + 1e-9)
    got = np.append(got[full], got[~full].sum())
    assert stats.chisquare(got, want * got.sum() / want.sum()).pvalue > LEAST


def test_tails_are_fine() -> None:
    """Both ends have numbers of their own: no infinite Gumbel number, no flat tail."""
    values = drawn("standard_exponential", 2_000_000)
    assert values.min() < 3e-6 and values.max() > 12 and (values > 0).all()
    assert len(np.unique(np.sort(values)[-1000:])) > 990
    assert len(np.unique(np.sort(values)[:1000])) > 990
    small = drawn("beta", 1e-3, 1e-3, 20000, dtype="float64")
    assert np.isfinite(small).all() and abs(small.mean() - 0.5) < 0.02


BAD = [
    ("normal", (0.0, -1.0)),
    ("exponential", (-1.0,)),
    ("laplace", (0.0, -1.0)),
    ("logistic", (0.0, -1.0)),
    ("gumbel", (0.0, -1.0)),
    ("cauchy", (0.0, -1.0)),
    ("lognormal", (0.0, -1.0)),
    ("rayleigh", (-1.0,)),
    ("weibull", (-1.0,)),
    ("pareto", (0.0,)),
    ("power", (0.0,)),
    ("triangular", (1.0, 0.0, 2.0)),
    ("triangular", (1.0, 1.0, 1.0)),
    ("truncated_normal", (0.0, 0.0)),
    ("gamma", (-1.0,)),
    ("gamma", (1.0, -1.0)),
    ("beta", (0.0, 1.0)),
    ("chisquare", (0.0,)),
    ("noncentral_chisquare", (1.0, -1.0)),
    ("f", (0.0, 1.0)),
    ("standard_t", (0.0,)),
    ("vonmises", (0.0, -1.0)),
    ("wald", (0.0, 1.0)),
    ("poisson", (-1.0,)),
    ("poisson", (float("nan"),)),
    ("binomial", (-1, 0.5)),
    ("binomial", (3, 1.5)),
    ("binomial", (3, float("nan"))),
    ("geometric", (0.0,)),
    ("zipf", (1.0,)),
    ("logseries", (1.0,)),
    ("logseries", (-0.1,)),
    ("negative_binomial", (0, 0.5)),
    ("negative_binomial", (1, 0.0)),
    ("hypergeometric", (-1, 3, 2)),
    ("hypergeometric", (1, 3, 5)),
    ("hypergeometric", (10**10, 3, 5)),
    ("multivariate_hypergeometric", ([1, -1], 0)),
    ("multivariate_hypergeometric", ([1, 3], 5)),
    ("multinomial", (3, [0.7, 0.7, 0.1])),
    ("multinomial", (-1, [0.5, 0.5])),
    ("dirichlet", ([1.0, -1.0],)),
    ("choice", (3, 4, False)),
    ("choice", (0, 1)),
    ("choice", (2, 1, True, [0.5, 0.6])),
    ("choice", (2, 2, False, [0.0, 1.0])),
    ("integers", (3, 3)),
    ("integers", ([3], [3])),
]


@pytest.mark.parametrize("name, given", BAD)
def test_numbers_that_are_refused(name, given) -> None:
    numpy = getattr(np.random.default_rng(0), name, None)
    if numpy is not None and name != "cauchy":
        with pytest.raises(ValueError):
            numpy(*given)
    with pytest.raises(ValueError):
        getattr(random, name)(*given)


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_elements_that_are_refused(name) -> None:
    for bad, given in [row for row in BAD if row[0] == name]:
        tensors = [hybrid.tensor([float(v)]) for v in given]
        values = np.asarray(getattr(random, name)(*tensors))
        expected = values < 0 if name in COUNTS else np.isnan(values)
        assert values.shape == (1,) and expected.all(), (bad, given, values)


@pytest.mark.parametrize(
    "name, given, law", rows({n: r[:1] for n, r in (CONTINUOUS | COUNTS).items()})
)
def test_sizes_and_streams(name, given, law) -> None:
    function = getattr(random, name)
    assert function(*given).shape == () and function(*given, 0).shape == (0,)
    assert function(*given, (0, 3)).shape == (0, 3)
    columns = [hybrid.tensor(np.full((2, 1), v, "f4")) for v in given]
    columns[0] = hybrid.tensor(np.full(3, given[0], "f4"))
    shape = (2, 3) if len(given) > 1 else (3,)
    assert function(*columns).shape == shape
    assert function(*columns, (4, *shape)).shape == (4, *shape)
    with pytest.raises(hybrid.ShapeError):
        function(*columns, (5,))
    first, second, third = [random.Generator(5) for _ in range(3)]
    whole = np.asarray(function(*given, (4, 5), generator=first))
    method = getattr(second, name)(*given, size=(4, 5))
    np.testing.assert_array_equal(np.asarray(method), whole)
    longer = np.asarray(function(*given, 90, generator=third))
    np.testing.assert_array_equal(longer[:20].reshape(4, 5), whole)
    assert first.offset.item() == second.offset.item() == third.offset.item() <= 3
    after = np.asarray(first.random(3))
    np.testing.assert_array_equal(after, np.asarray(third.random(3)))


@pytest.mark.parametrize(
    "name, given, law", rows({n: r[-1:] for n, r in (CONTINUOUS | COUNTS).items()})
)
def test_traced_is_eager(name, given, law) -> None:
    eager, traced = random.Generator(9), random.Generator(9)
    parameters = [hybrid.tensor(np.full(7, v, "f4")) for v in given]

    @hybrid.function
    def call(*values):
        return getattr(random, name)(*values, (5, 7), generator=traced)

    for _ in range(4):
        want = np.asarray(getattr(random, name)(*parameters, (5, 7), generator=eager))
        np.testing.assert_array_equal(np.asarray(call(*parameters)), want)
    assert eager.offset.item() == traced.offset.item()


GRADIENTS = {
    "uniform": (-1.0, 3.0),
    "normal": (1.0, 2.0),
    "exponential": (2.0,),
    "laplace": (1.0, 2.0),
    "logistic": (1.0, 2.0),
    "gumbel": (1.0, 2.0),
    "cauchy": (1.0, 2.0),
    "lognormal": (0.5, 0.7),
    "rayleigh": (2.0,),
    "weibull": (1.5,),
    "pareto": (3.0,),
    "power": (3.0,),
    "triangular": (0.0, 1.0, 4.0),
    "truncated_normal": (0.3, 1.2, -1.0, 2.0),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_flow_to_parameters(name) -> None:
    given, step = GRADIENTS[name], 1e-5

    def total(*values):
        return random_of(name, *values).sum()

    def random_of(name, *values):
        how = {"generator": random.Generator(1), "dtype": "float64"}
        return getattr(random, name)(*values, 20, **how)

    leaves = [hybrid.tensor(v, dtype="float64", requires_grad=True) for v in given]
    total(*leaves).backward()
    for place, leaf in enumerate(leaves):
        moved = [[v + s * (k == place) for k, v in enumerate(given)] for s in (step, -step)]
        slope = (total(*moved[0]).item() - total(*moved[1]).item()) / (2 * step)
        np.testing.assert_allclose(leaf.grad.item(), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["standard_t", "f", "noncentral_f", "beta", "chisquare", "wald"])
def test_no_part_of_a_gradient(name) -> None:
    count = len(CONTINUOUS[name][0][0])
    leaves = [hybrid.tensor(2.0, requires_grad=True) for _ in range(count)]
    assert not getattr(random, name)(*leaves, 3).requires_grad
