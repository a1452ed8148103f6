"""Vectors, orders and choices; children and state of generators."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid import random


def seeded():
    return random.Generator(4)


def test_dirichlet() -> None:
    alpha = np.array([0.5, 2.0, 4.0])
    values = np.asarray(random.dirichlet(alpha, 50000, generator=seeded()))
    assert values.shape == (50000, 3) and values.dtype == np.float64
    np.testing.assert_allclose(values.sum(-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(values.mean(0), alpha / alpha.sum(), atol=5e-3)
    share = alpha / alpha.sum()
    np.testing.assert_allclose(values.var(0), share * (1 - share) / (1 + alpha.sum()), rtol=0.05)
    tiny = np.asarray(random.dirichlet([1e-4] * 5, 1000, generator=seeded()))
    assert np.isfinite(tiny).all() and tiny.max(-1).min() > 0.4
    assert random.dirichlet(hybrid.ones(2, 3), (4,)).shape == (4, 2, 3)
    with pytest.raises(hybrid.ShapeError):
        random.dirichlet(1.0)


def test_urns_of_many_colours() -> None:
    colours = [3, 50, 20, 0, 7]
    values = np.asarray(
        random.multivariate_hypergeometric(colours, 40, size=(20000,), generator=seeded())
    )
    assert values.dtype == np.int64 and (values.sum(1) == 40).all()
    assert (values >= 0).all() and (values <= colours).all()
    assert np.abs(values.mean(0) - np.array(colours) / 2).max() < 0.1
    assert random.multivariate_hypergeometric([4], 3, size=(2,)).tolist() == [[3], [3]]
    mixed = random.hypergeometric(
        hybrid.tensor([3, -1, 5]), hybrid.tensor([0, 2, 5]), hybrid.tensor([2, 1, 11])
    )
    assert mixed.tolist() == [2, -1, -1]


def test_multinomial() -> None:
    chances = [0.2, 0.0, 0.5, 0.3]
    values = np.asarray(random.multinomial(30, chances, 20000, generator=seeded()))
    assert values.shape == (20000, 4) and values.dtype == np.int64
    assert (values.sum(-1) == 30).all() and (values >= 0).all() and not values[:, 1].any()
    np.testing.assert_allclose(values.mean(0), 30 * np.array(chances), atol=0.1)
    want = 30 * (np.diag(chances) - np.outer(chances, chances))
    np.testing.assert_allclose(np.cov(values.T), want, atol=0.25)
    assert random.multinomial(hybrid.tensor([[3], [5]]), [0.5, 0.5]).shape == (2, 1, 2)
    assert random.multinomial(4, [1.0]).tolist() == [4]


@pytest.mark.parametrize("method", ["cholesky", "eigh", "svd"])
def test_multivariate_normal(method) -> None:
    mean, spread = [1.0, -2.0], [[2.0, 0.8], [0.8, 1.0]]
    values = np.asarray(
        random.multivariate_normal(mean, spread, 60000, method=method, generator=seeded())
    )
    assert values.shape == (60000, 2) and values.dtype == np.float32
    np.testing.assert_allclose(values.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(values.T), spread, atol=0.04)
    assert random.multivariate_normal(mean, spread, method=method).shape == (2,)


def test_multivariate_normal_refuses() -> None:
    with pytest.raises(ValueError):
        random.multivariate_normal([0.0], [[1.0]], method="lu")
    with pytest.raises(hybrid.ShapeError):
        random.multivariate_normal([0.0, 1.0], [[1.0]])
    with pytest.raises(np.linalg.LinAlgError):
        random.multivariate_normal([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])
    leaf = hybrid.tensor([[2.0, 0.5], [0.5, 1.0]], requires_grad=True)
    random.multivariate_normal([0.0, 0.0], leaf, 3).sum().backward()
    assert np.isfinite(np.asarray(leaf.grad)).all()


SINGULAR = [
    [[1.0, 1.0], [1.0, 1.0]],
    [[0.0, 0.0], [0.0, 2.0]],
    [[0.0, 0.0], [0.0, 0.0]],
    [[4.0, 2.0, 2.0], [2.0, 1.0, 1.0], [2.0, 1.0, 5.0]],
    [[1e-20, 1e-10], [1e-10, 1.0]],
]


@pytest.mark.parametrize("method", ["cholesky", "eigh", "svd"])
@pytest.mark.parametrize("spread", SINGULAR, ids=str)
def test_singular_covariances_are_drawn_from(method, spread) -> None:
    size = len(spread)

    def draw(spread, generator):
        given = {"method": method, "generator": generator, "dtype": "float64"}
        return random.multivariate_normal([0.0] * size, spread, 20000, **given)

    values = np.asarray(draw(hybrid.tensor(spread), seeded()))
    np.testing.assert_allclose(np.cov(values.T), spread, atol=0.1)
    traced = hybrid.function(draw)
    for _ in range(3):
        again = np.asarray(traced(hybrid.tensor(spread), seeded()))
        assert again.tobytes() == values.tobytes()


def test_one_recording_draws_from_covariances_of_either_kind() -> None:
    spreads = [np.diag([2.0, 1.0]), np.ones((2, 2)), np.diag([0.0, 3.0])]

    def draw(spread, generator):
        return random.multivariate_normal([1.0, 2.0], spread, 5, generator=generator)

    traced = hybrid.function(draw)
    for spread in spreads * 3:
        want = draw(hybrid.tensor(spread), seeded())
        assert traced(hybrid.tensor(spread), seeded()).tolist() == want.tolist()


def test_low_ranks_of_rounded_numbers_are_taken() -> None:
    low = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    values = random.multivariate_normal(np.zeros(6), low @ low.T, 50000, generator=seeded())
    np.testing.assert_allclose(np.cov(np.asarray(values).T), low @ low.T, atol=0.2)


@pytest.mark.parametrize("method", ["cholesky", "eigh", "svd"])
def test_what_is_done_about_negative_eigenvalues(method) -> None:
    given = {"method": method, "generator": seeded()}
    spread = [[1.0, 2.0], [2.0, 1.0]]
    with pytest.raises(np.linalg.LinAlgError, match="eigenvalue -1"):
        random.multivariate_normal([0.0, 0.0], spread, **given)
    with pytest.warns(RuntimeWarning, match="not positive semidefinite"):
        random.multivariate_normal([0.0, 0.0], spread, check_valid="warn", **given)
    values = random.multivariate_normal([0.0, 0.0], spread, 20000, "ignore", **given)
    np.testing.assert_allclose(np.cov(np.asarray(values).T), [[2.0, 1.0], [1.0, 2.0]], atol=0.1)
    near = [[1.0, 1.0 + 1e-4], [1.0 + 1e-4, 1.0]]
    assert random.multivariate_normal([0.0, 0.0], near, tol=1e-3, **given).shape == (2,)
    with pytest.raises(ValueError, match="check_valid is 'no'"):
        random.multivariate_normal([0.0, 0.0], spread, check_valid="no")
    with pytest.raises(np.linalg.LinAlgError):
        random.multivariate_normal([0.0, 0.0], [[np.nan, 0.0], [0.0, 1.0]], **given)


def test_gradients_at_a_singular_covariance_are_those_at_its_rank() -> None:
    weights = np.arange(6.0).reshape(2, 3)

    def loss(low):
        given = {"generator": seeded(), "dtype": "float64"}
        return (random.multivariate_normal([0.0] * 3, low @ low.mT, 2, **given) * weights).sum()

    low = np.array([[1.0, 0.0], [0.5, 0.0], [0.3, 2.0]])
    slope = hybrid.grad(loss)(hybrid.tensor(low)).numpy()
    for place in ((0, 0), (1, 0), (2, 0), (2, 1)):
        step = np.zeros((3, 2))
        step[place] = 1e-6
        ends = [loss(hybrid.tensor(low + s)).item() for s in (step, -step)]
        assert abs((ends[0] - ends[1]) / 2e-6 - slope[place]) < 1e-5, place


def test_choice() -> None:
    chances = np.array([0.1, 0.0, 0.6, 0.3])
    got = np.asarray(random.choice(4, 40000, p=chances, generator=seeded()))
    np.testing.assert_allclose(np.bincount(got, minlength=4) / 40000, chances, atol=0.01)
    for p in (None, [0.1, 0.2, 0.3, 0.4]):
        some = np.asarray(random.choice(4, (2, 2), False, p, generator=seeded()))
        assert sorted(some.ravel().tolist()) == [0, 1, 2, 3]
    first = [
        random.choice(3, 2, False, [0.5, 0.3, 0.2], generator=random.Generator(k)).tolist()
        for k in range(400)
    ]
    assert abs(np.mean([row[0] == 0 for row in first]) - 0.5) < 0.08
    x = hybrid.arange(12).reshape(3, 4)
    assert random.choice(x, (5, 2), axis=1).shape == (3, 5, 2)
    assert random.choice(x).shape == (4,) and random.choice(5).shape == ()
    assert random.choice([7, 7]).item() == 7
    with pytest.raises(hybrid.ShapeError):
        random.choice(3, 2, p=[0.5, 0.5])


def test_orders() -> None:
    x = hybrid.arange(20).reshape(4, 5)
    columns = np.asarray(random.permutation(x, 1, generator=seeded()))
    assert sorted(columns[0].tolist()) == list(range(5))
    assert (np.diff(columns, axis=0) == 5).all()
    lines = np.asarray(random.permuted(x, axis=1, generator=seeded()))
    assert (np.sort(lines, 1) == np.asarray(x)).all()
    assert len({tuple(row - row.min()) for row in lines}) > 1
    every = np.asarray(random.permuted(x, generator=seeded()))
    assert every.shape == (4, 5) and sorted(every.ravel().tolist()) == list(range(20))
    kept = hybrid.arange(6).reshape(2, 3)
    random.shuffle(kept, 1, generator=seeded())
    assert sorted(kept[0].tolist()) == [0, 1, 2]
    assert random.permutation([3, 3]).tolist() == [3, 3]
    with pytest.raises(TypeError):
        random.shuffle([1, 2])


def test_integers() -> None:
    dice = np.asarray(random.integers(1, 6, 3000, endpoint=True, generator=seeded()))
    assert dice.min() == 1 and dice.max() == 6 and dice.dtype == np.int64
    low, high = hybrid.tensor([[-5], [10]]), hybrid.tensor([-1, 11, 40])
    both = np.asarray(random.integers(low, high.maximum(low + 1), (500, 2, 3), generator=seeded()))
    assert (both >= np.asarray(low)).all() and (both < np.maximum([-1, 11, 40], [[-4], [11]])).all()
    assert both[:, 0, 2].max() > 30
    assert np.asarray(random.integers([3], [4], dtype="uint8")).tolist() == [3]
    wide = random.integers([-(2**63)], [2**63 - 1], 100, generator=seeded())
    assert len(set(wide.tolist())) == 100


def test_children_are_streams_of_their_own() -> None:
    parent = seeded()
    children = parent.spawn(3)
    assert parent.offset.item() == 1 and len(children) == 3
    again = seeded().split(3)
    for one, other in zip(children, again):
        assert one.random(5).tolist() == other.random(5).tolist()
    streams = [np.asarray(g.standard_normal(20000)) for g in (parent, *children, *parent.spawn(2))]
    assert np.abs(np.corrcoef(streams) - np.eye(6)).max() < 0.03
    assert len({g.seed.item() for g in (parent, *children, *parent.spawn(1))}) == 5
    assert parent.spawn(0) == []
    with pytest.raises(ValueError):
        parent.spawn(-1)


def test_state_dict() -> None:
    one = seeded()
    one.gamma(2.0, size=3)
    state = one.state_dict()
    want = one.poisson(5.0, 10).tolist()
    other = random.Generator(0).load_state_dict(state)
    assert other.poisson(5.0, 10).tolist() == want
    assert one.load_state_dict(state).poisson(5.0, 10).tolist() == want
    with pytest.raises(ValueError):
        one.load_state_dict({"seed": 1})


def test_every_function_is_a_method() -> None:
    names = set(random.__all__) - {"Generator", "default_generator", "get_state", "set_state"}
    for name in names - {"manual_seed", "seed"}:
        assert callable(getattr(random.Generator, name)), name
    numpy = {n for n in dir(np.random.Generator) if not n.startswith("_")}
    missing = {"bit_generator", "bytes"}
    assert numpy - set(dir(random.Generator)) == missing


def test_draws_inside_of_vmap_differ() -> None:
    rates = hybrid.full((4,), 5.0)
    many = hybrid.vmap(lambda rate: random.poisson(rate, (50,)))(rates)
    assert many.shape == (4, 50) and len({tuple(row) for row in many.tolist()}) == 4
