"""Philox against published vectors; streams, state and distributions of the generators."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid import random
from hybrid.backends.interpret import run_program
from hybrid.ir.op import OPS
from hybrid.ir.scalar.program import Builder
from hybrid.ops.indexing.draws import philox

# Random123's known answers for philox4x32-10: counter, key, result
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, want", VECTORS)
def test_philox_known_answers(counter, key, want) -> None:
    s = Builder()
    words = [s.arg("u32") for _ in range(6)]
    program = s.program(*philox(s, tuple(words[:4]), (words[4], words[5])))
    got = run_program(program, [np.array([v], np.uint32) for v in counter + key])
    assert tuple(int(w[0]) for w in got) == want


def test_native_words_are_philox_of_index_offset_and_seed() -> None:
    """Element i of draw n of seed k is the first word of counter (i, n), key k."""
    g = random.Generator(0)
    words = np.asarray(random.random_bits(3, generator=g))
    assert words[0] == VECTORS[0][2][0] and int(g.offset.item()) == 1
    ref = OPS["random_bits"].reference
    again = np.asarray(random.random_bits(7, 11, generator=g))
    np.testing.assert_array_equal(
        again, ref(np.uint64(0), np.uint64(1), shape=(7, 11), dtype=np.dtype("uint32"))
    )


def test_streams() -> None:
    a = random.Generator(7)
    first = [np.asarray(random.randn(50, generator=a)) for _ in range(3)]
    assert not np.array_equal(first[0], first[1])
    a.manual_seed(7)
    np.testing.assert_array_equal(np.asarray(random.randn(50, generator=a)), first[0])
    state = a.get_state()
    second = np.asarray(random.randn(50, generator=a))
    np.testing.assert_array_equal(second, first[1])
    b = random.Generator(1).set_state(state)
    np.testing.assert_array_equal(np.asarray(random.randn(50, generator=b)), second)
    # a longer draw begins with the numbers of a shorter one
    long = np.asarray(random.randn(70, generator=random.Generator(7)))
    np.testing.assert_array_equal(long[:50], first[0])
    with pytest.raises(hybrid.HybridError):
        a.set_state(hybrid.zeros(3))


def test_default_generator() -> None:
    hybrid.manual_seed(3)
    a = np.asarray(hybrid.rand(5))
    b = np.asarray(hybrid.rand(5))
    hybrid.manual_seed(3)
    np.testing.assert_array_equal(np.asarray(hybrid.rand(5)), a)
    state = random.get_state()
    np.testing.assert_array_equal(np.asarray(hybrid.rand(5)), b)
    random.set_state(state)
    np.testing.assert_array_equal(np.asarray(hybrid.rand(5)), b)


@pytest.mark.parametrize("d", ["float32", "float64", "float16", "bfloat16"])
def test_uniform_and_normal(d) -> None:
    g = random.Generator(11)
    u = np.asarray(random.rand(20000, dtype=d, generator=g)).astype(np.float64)
    assert (u >= 0).all() and (u < 1).all()
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.004
    z = np.asarray(random.randn(20000, dtype=d, generator=g)).astype(np.float64)
    assert np.isfinite(z).all() and abs(z.mean()) < 0.03 and abs(z.var() - 1) < 0.05
    assert abs((z**3).mean()) < 0.1 and abs((np.abs(z) < 1).mean() - 0.6827) < 0.015


def test_integers_and_choices() -> None:
    g = random.Generator(5)
    k = np.asarray(random.randint(-3, 4, (7000,), generator=g))
    counts = np.bincount(k + 3, minlength=7)
    assert k.dtype == np.int64 and len(counts) == 7 and counts.min() > 850
    assert np.asarray(random.randint(5, size=(10,), dtype="uint8", generator=g)).max() < 5
    wide = np.asarray(random.randint(-(2**63), 2**63 - 1, (4,), generator=g))
    assert len(set(wide.tolist())) == 4
    for low, d in ((-(2**63), "int64"), (0, "uint64")):  # the whole range of 64 bits
        k = np.asarray(random.randint(low, low + 2**64, (2000,), dtype=d, generator=g))
        part = (k.astype(np.float64) - low) / 2.0**64
        assert len(set(k.tolist())) == 2000 and abs(part.mean() - 0.5) < 0.03
    for p in (-0.5, 1.5, float("nan")):
        with pytest.raises(hybrid.HybridError):
            random.bernoulli(p, (3,))
    for bad in ((3, 3), (0, 300, (1,))):
        with pytest.raises(hybrid.HybridError):
            random.randint(*bad, dtype="uint8")
    p = np.asarray(random.permutation(100, generator=g))
    assert sorted(p.tolist()) == list(range(100)) and p.tolist() != list(range(100))
    x = hybrid.arange(10)
    random.shuffle(x, generator=g)
    assert sorted(x.tolist()) == list(range(10))
    assert np.asarray(random.permutation(hybrid.eye(6), generator=g)).sum() == 6
    b = np.asarray(random.bernoulli(0.25, (8000,), generator=g))
    assert b.dtype == np.bool_ and abs(b.mean() - 0.25) < 0.02
    edge = np.asarray(random.bernoulli(hybrid.tensor([0.0, 1.0]), (50, 2), generator=g))
    assert not edge[:, 0].any() and edge[:, 1].all()
    c = np.asarray(random.categorical(hybrid.log(hybrid.tensor([[0.1, 0.9]] * 2000)), generator=g))
    assert abs(c.mean() - 0.9) < 0.03
    assert set(np.asarray(random.choice(hybrid.tensor([5, 7]), (50,), generator=g)).tolist()) == {
        5,
        7,
    }
    u = np.asarray(random.uniform(-2.0, 6.0, (1000,), generator=g))
    assert (
        u.min() >= -2
        and u.max() < 6
        and random.normal(3.0, 0.0, (2,), generator=g).tolist() == [3, 3]
    )


def test_dropout() -> None:
    g = random.Generator(2)
    x = hybrid.ones(100, 100, requires_grad=True)
    y = hybrid.dropout(x, 0.25, generator=g)
    v = np.asarray(y)
    assert set(np.unique(v)) == {0, np.float32(1 / 0.75)} and abs(v.mean() - 1) < 0.03
    y.sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), v)
    assert hybrid.dropout(x, 0.5, False) is x
    assert np.asarray(hybrid.dropout(x, 1.0)).sum() == 0
    with pytest.raises(hybrid.HybridError):
        hybrid.dropout(x, 1.5)


def test_empty_and_zero_dimensional() -> None:
    assert (
        random.rand(0, 3).shape == (0, 3)
        and random.rand().shape == ()
        and random.randn((2, 3)).shape == (2, 3)
    )
    assert random.rand_like(hybrid.zeros(2, dtype="float16")).dtype.name == "float16"
    with pytest.raises(TypeError):
        random.rand(3, dtype="int32")


@pytest.mark.parametrize("count", [1024, 1025, 2048, 5000])
def test_orders_of_many_are_those_of_their_words(count):
    """Above a thousand, positions take the place of low bits: the upper ones still decide."""
    words = hybrid.random_bits((3, count), dtype="uint64", generator=hybrid.Generator(4)).numpy()
    rows = hybrid.arange(count).reshape(1, count) + hybrid.zeros((3, 1), dtype="int64")
    got = hybrid.random.permuted(rows, axis=1, generator=hybrid.Generator(4)).numpy()
    assert (got == np.argsort(words, axis=1)).all()
    columns = hybrid.random.permuted(rows.T, axis=0, generator=hybrid.Generator(5)).numpy()
    assert (np.sort(columns, axis=0) == np.arange(count)[:, None]).all()
    eager = hybrid.random.permutation(count, generator=hybrid.Generator(6)).numpy()
    generator = hybrid.Generator(6)
    traced = hybrid.function(lambda: hybrid.random.permutation(count, generator=generator))
    assert (traced().numpy() == eager).all()
    assert len({traced().numpy().tobytes() for _ in range(4)}) == 4
