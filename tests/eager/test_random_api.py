"""hybrid.random: seeds, state, ranges, moments, dtypes, generators, errors."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid as hb
from hybrid import random


def bits(t):
    return np.asarray(t).tobytes()


def test_the_public_module_is_hybrid_random():
    assert (
        random.__name__ == "hybrid.random"
        and hb.random is random
        and hb.manual_seed is random.manual_seed
    )
    assert all(hasattr(random, n) for n in random.__all__)


DRAWS = [
    lambda: random.rand(5),
    lambda: random.randn(2, 3),
    lambda: random.uniform(-1, 1, (4,)),
    lambda: random.normal(0, 2, (4,)),
    lambda: random.randint(0, 100, (8,)),
    lambda: random.permutation(9),
    lambda: random.bernoulli(0.5, (20,)),
    lambda: random.choice(10, (5,)),
    lambda: random.categorical(hb.zeros((5, 4))),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_seed_and_state_repeat_the_stream(draw):
    hb.manual_seed(7)
    first, second = draw(), draw()
    state = random.get_state()
    third = draw()
    hb.manual_seed(7)
    assert bits(draw()) == bits(first) and bits(draw()) == bits(second)
    random.set_state(state)
    assert bits(draw()) == bits(third)
    hb.manual_seed(8)
    assert bits(hb.stack([draw() for _ in range(3)])) != bits(hb.stack([first, second, third]))


def test_ranges_and_moments():
    hb.manual_seed(0)
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        u = np.asarray(random.rand(20000, dtype=dtype)).astype(np.float64)
        assert 0 <= u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.02
    n = random.randn(50000).numpy().astype(np.float64)
    assert (
        abs(n.mean()) < 0.03
        and abs(n.std() - 1) < 0.02
        and np.isfinite(n).all()
        and abs((n**3).mean()) < 0.1
    )
    i = random.randint(-3, 4, (7000,), dtype="int8").numpy()
    assert i.dtype == np.int8 and set(i.tolist()) == set(range(-3, 4))
    assert np.bincount(i + 3).min() > 800
    assert abs(random.bernoulli(0.2, (20000,)).numpy().mean() - 0.2) < 0.02
    w = random.uniform(5.0, 7.0, (1000,)).numpy()
    assert 5 <= w.min() and w.max() <= 7 and abs(w.mean() - 6) < 0.1
    m = random.normal(3.0, 0.5, (20000,)).numpy()
    assert abs(m.mean() - 3) < 0.03 and abs(m.std() - 0.5) < 0.02


def test_streams_do_not_repeat_within():
    hb.manual_seed(1)
    a, b = random.rand(1000).numpy(), random.rand(1000).numpy()
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.12 and len(set(a.tolist())) > 990


def test_permutation_and_shuffle():
    hb.manual_seed(3)
    assert (
        sorted(random.permutation(50).tolist())
        == list(range(50))
        == sorted(hb.randperm(50).tolist())
    )
    x = hb.arange(12).reshape(6, 2).clone()
    rows = {tuple(r) for r in x.tolist()}
    random.shuffle(x)
    assert {tuple(r) for r in x.tolist()} == rows
    assert random.permutation(0).shape == (0,) and random.permutation(1).tolist() == [0]


def test_categorical_follows_the_logits():
    hb.manual_seed(5)
    p = np.array([0.1, 0.2, 0.7])
    c = random.categorical(hb.tensor(np.tile(np.log(p), (20000, 1)))).numpy()
    np.testing.assert_allclose(np.bincount(c, minlength=3) / 20000, p, atol=0.02)


@pytest.mark.parametrize("masked", [-1000.0, -np.inf])
def test_categorical_never_takes_an_impossible_class(masked):
    u = random.rand(15700, 2, generator=random.Generator(247))
    assert u[-1, 1].item() == 1 - 2**-24  # the largest uniform number is drawn for the masked class
    logits = hb.tensor(np.tile(np.array([0.0, masked], np.float32), (15700, 1)))
    assert not random.categorical(logits, generator=random.Generator(247)).numpy().any()


def test_generators_are_independent():
    g, h = random.Generator(1), random.Generator(1)
    hb.manual_seed(0)
    a = random.rand(3, generator=g)
    assert bits(a) == bits(random.rand(3, generator=h))
    assert bits(random.rand(3)) != bits(a)
    state = g.get_state()
    b = random.rand(3, generator=g)
    assert bits(random.rand(3, generator=g.set_state(state))) == bits(b)
    assert bits(random.rand(3, generator=random.Generator())) != bits(
        random.rand(3, generator=random.Generator())
    )
    with pytest.raises(hb.HybridError, match="uint64"):
        g.set_state(hb.ones(2))


def test_shapes_dtypes_and_gradients():
    assert (
        random.rand(2, 3).shape == (2, 3) == random.rand((2, 3)).shape and random.rand().shape == ()
    )
    assert random.rand(0, 4).shape == (0, 4) and random.randn(3, requires_grad=True).requires_grad
    x = hb.ones((2, 2), dtype="float64")
    assert random.rand_like(x).dtype is hb.float64 and random.randn_like(x).shape == (2, 2)
    assert random.random_bits(3, dtype="uint64").dtype is hb.uint64
    with pytest.raises(hb.DTypeError, match="randint"):
        random.rand(3, dtype="int32")
    for args in ((3, 3), (5, 2), (0, 300)):
        with pytest.raises(hb.HybridError, match="randint"):
            random.randint(*args, (2,), dtype="int8")
    with pytest.raises(hb.ShapeError):
        random.rand(-1)


def test_dropout():
    hb.manual_seed(2)
    x = hb.ones((1000,), requires_grad=True)
    y = random.dropout(x, 0.25)
    kept = y.numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.05
    np.testing.assert_allclose(y.numpy()[kept], np.float32(1 / 0.75))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert random.dropout(x, 0.5, training=False) is x and not random.dropout(x, 1.0).any()
    with pytest.raises(hb.HybridError, match="probability"):
        random.dropout(x, 1.5)
