"""Eager sums of complex tensors walk pairs, others their parts: equal bits either way."""

import numpy as np
import pytest

import hybrid as hb
from hybrid import function
from hybrid.comparison import same_bits
from hybrid.ir.op import OPS
from hybrid.ir.oracle import reference

SHAPES = [(), (1,), (5,), (3, 4), (0, 2), (2, 3, 4)]
CALLS = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: -x,
    lambda x, y: hb.rint(x),
    lambda x, y: hb.round(x, 1),
    lambda x, y: x.clone(),
    lambda x, y: hb.tril(x) if x.ndim > 1 else x,
    lambda x, y: x.T + y.T,
    lambda x, y: (x + 1j) * (y - 2.5),
]


def numbers(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    made = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    made = np.asarray(made)
    if made.size > 3:
        made.flat[:3] = [complex(np.nan, -0.0), complex(-np.inf, 2), complex(-0.0, 0.0)]
    return hb.tensor(made.astype(dtype))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("call", CALLS)
def test_bits_of_eager_and_traced(call, shape, dtype):
    x, y = numbers(shape, dtype, 0), numbers(shape, dtype, 1)
    if len(shape) > 2:
        x, y = x.transpose(0, 2, 1), y.transpose(0, 2, 1)
    eager, traced = call(x, y), function(call)
    for _ in range(3):
        replayed = traced(x, y)
    a, b = eager.numpy(), replayed.numpy()
    np.testing.assert_array_equal(a, b)
    for part in ("real", "imag"):
        np.testing.assert_array_equal(np.signbit(getattr(a, part)), np.signbit(getattr(b, part)))


def test_gradients_through_pairs():
    x, y = numbers((2,), "complex128", 2), numbers((2,), "complex128", 3)
    x.requires_grad_(), y.requires_grad_()
    hb.abs(x - y * 2).sum().backward()
    unit = (x - y * 2).detach().numpy()
    unit = unit / np.abs(unit)
    np.testing.assert_allclose(x.grad.numpy(), unit)
    np.testing.assert_allclose(y.grad.numpy(), -2 * unit)


def test_products_of_lines():
    x, y = numbers((9,), "complex128", 4)[3:], numbers((9,), "complex128", 5)[3:]
    a, b = x.numpy(), y.numpy()
    np.testing.assert_allclose(hb.vdot(x, y).item(), np.vdot(a, b))
    np.testing.assert_allclose(hb.vecdot(x, y).item(), np.vdot(a, b))
    np.testing.assert_allclose((x @ y).item(), a @ b)
    np.testing.assert_allclose(hb.dot(x, y).item(), a @ b)
    assert hb.vdot(x[:0], y[:0]).item() == 0
    with pytest.raises(hb.ShapeError):
        x @ y[1:]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_compare_takes_complex_numbers(dtype):
    x = numbers((5,), dtype, 6)
    compared = hb.compare(lambda a: (a * a, hb.real(a)), x)
    assert compared.same_bits


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_bits_of_complex_arrays(dtype):
    same = np.array([complex(np.nan, 1), complex(-0.0, 2), 3], dtype)
    other = np.array([complex(-np.nan, 1), complex(-0.0, 2), 3], dtype)
    assert same_bits(same, other) and same_bits(same[:0], other[:0])
    for changed in (complex(0.0, 2), complex(-0.0, np.nan), complex(-0.0, 2.5)):
        other[1] = changed
        assert not same_bits(same, other)


def test_oracles_keep_the_parts_of_all_numbers():
    ends = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, 5e-324, 1e308]
    parts = np.array([[a, b] for a in ends for b in ends])
    (numbers,) = reference(OPS["complex_numbers"], {}, [parts])
    (pairs,) = reference(OPS["complex_pairs"], {}, [numbers])
    assert same_bits(pairs.astype(np.float64), parts)
