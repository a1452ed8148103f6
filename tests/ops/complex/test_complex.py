"""Complex tensors: NumPy's values, eager and traced alike, gradients by both parts, clear errors."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import hybrid as hb

DTYPES = ["complex64", "complex128"]
RENAMED = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
}
FUNCTIONS = (
    "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh "
    "atanh reciprocal square negative positive abs conj real imag angle isnan isinf isfinite"
).split()


def numbers(*shape: int, dtype: str = "complex128", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


def numpy_of(name: str) -> Any:
    if name == "exp2":
        return lambda x: np.exp(x * x.real.dtype.type(np.log(2)))
    return getattr(np, RENAMED.get(name, name))


def as_numpy(result: Any) -> list[np.ndarray]:
    return [np.asarray(r) for r in (result if isinstance(result, (tuple, list)) else (result,))]


def same_bits(first: Any, second: Any) -> None:
    for a, b in zip(as_numpy(first), as_numpy(second), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()


# ---- values
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_numpys(name: str, dtype: str) -> None:
    z = numbers(5, 7, dtype=dtype)
    got, want = getattr(hb, name)(hb.tensor(z)).numpy(), numpy_of(name)(z.astype("complex128"))
    assert got.dtype == numpy_of(name)(z).dtype
    if got.dtype == np.bool_:
        np.testing.assert_array_equal(got, want)
        return
    eps = 20 * np.finfo(z.real.dtype).eps
    np.testing.assert_array_less(np.abs(got - want), eps * np.abs(want) + eps * 1e-3)


def kinds(parts: np.ndarray) -> np.ndarray:
    """What each part is beside a finite number, zeros with their signs."""
    sign = np.copysign(1.0, parts)
    return np.select(
        [np.isnan(parts), np.isinf(parts), parts == 0], [9.0, 5 * sign, 3 * sign], default=0.0
    )


EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e300, 3.5]
UNSURE = {
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "exp",
}  # some signs of theirs are unspecified


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("exp2", "expm1", "reciprocal")])
def test_special_values_are_numpys(name: str) -> None:
    """The array API's special cases, which NumPy has; log2 and log10 of NumPy are scaled logs."""
    if name in ("log2", "log10", "square"):
        pytest.skip("NumPy computes it by another formula, with NaN where products overflow")
    z = np.empty((len(EDGES), len(EDGES)), "complex128")
    z.real, z.imag = np.meshgrid(EDGES, EDGES)
    with np.errstate(all="ignore"):
        want = numpy_of(name)(z)
    got = getattr(hb, name)(hb.tensor(z)).numpy()
    if got.dtype.kind != "c":
        np.testing.assert_allclose(got, want, rtol=1e-15)
        return
    for a, b in ((got.real, want.real), (got.imag, want.imag)):
        a, b = (kinds(part) for part in (a, b))
        if name in UNSURE:
            a, b = np.abs(a), np.abs(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "eq", "ne"])
def test_operators_are_numpys(name: str, dtype: str) -> None:
    z, w = numbers(4, 3, dtype=dtype), numbers(3, dtype=dtype, seed=1)
    op = getattr(operator, name)
    pairs = [(z, w), (z, w.real), (z.real, w), (z, 2.5), (2, z), (z, 1 - 2j), (1j, z), (z, z)]
    for left, right in pairs:
        given = [hb.tensor(x) if isinstance(x, np.ndarray) else x for x in (left, right)]
        got, want = op(*given).numpy(), op(left, right)
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == "complex64" else 1e-13)


def test_promotion() -> None:
    c64, c128 = hb.complex64, hb.complex128
    assert hb.result_type("complex64", "float64") is c128
    assert hb.result_type("complex64", "int64") is c64  # integers beside floats, as everywhere
    assert hb.result_type("float16", 1j) is c64 and hb.result_type("float64", 1j) is c128
    assert hb.result_type("int8", 1j) is c64
    assert hb.tensor(1j).dtype is c64 and hb.tensor(np.array([1j])).dtype is c128
    assert (hb.ones(2) + 1j).dtype is c64 and (hb.ones(2, dtype="float64") * 1j).dtype is c128
    assert hb.tensor([True, False]).astype(c64).tolist() == [1 + 0j, 0j]
    assert hb.tensor([0j, 2j]).astype(bool).tolist() == [False, True]


# ---- programs, eager and traced
Z, W, V, M = numbers(4, 6), numbers(4, 6, seed=1), numbers(6, seed=2), numbers(6, 6, seed=3)
PROGRAMS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "arithmetic": (lambda z, w: z * w + z / w - 1j, lambda z, w: z * w + z / w - 1j, (Z, W)),
    "views": (lambda z: z.T.reshape(-1)[::3], lambda z: z.T.reshape(-1)[::3], (Z,)),
    "inputs": (lambda z: (z, z.real, z.T), lambda z: (z, z.real, z.T), (Z,)),
    "cumulative": (
        lambda z: (hb.cumulative_sum(z, 1), hb.cumulative_prod(z, 0)),
        lambda z: (np.cumsum(z, 1), np.cumprod(z, 0)),
        (Z,),
    ),
    "where": (
        lambda z, w: hb.where(z.real > 0, z, w),
        lambda z, w: np.where(z.real > 0, z, w),
        (Z, W),
    ),
    "take": (lambda z: z[[2, 0, 1]], lambda z: z[[2, 0, 1]], (Z,)),
    "concat": (
        lambda z, w: hb.concat([z, w.real], 0),
        lambda z, w: np.concatenate([z, w.real], 0),
        (Z, W),
    ),
    "stack": (lambda z, w: hb.stack([z, w]), lambda z, w: np.stack([z, w]), (Z, W)),
    "pad": (lambda z: hb.pad(z, 1), lambda z: np.pad(z, 1), (Z,)),
    "products": (
        lambda m, v: (m @ m, m @ v, v @ m, v @ v, hb.outer(v, v), hb.einsum("ij,j->i", m, v)),
        lambda m, v: (m @ m, m @ v, v @ m, v @ v, np.outer(v, v), np.einsum("ij,j->i", m, v)),
        (M, V),
    ),
    "reductions": (
        lambda z: (z.mean(0), z.sum(1), z.var(0), z.var(1), z.std(), z.prod(1), z.prod((0, 1))),
        lambda z: (z.mean(0), z.sum(1), z.var(0), z.var(1), z.std(), z.prod(1), z.prod((0, 1))),
        (Z,),
    ),
    "truth": (
        lambda v: (hb.any(v == 0), hb.all(v), hb.count_nonzero(v), hb.logical_not(v)),
        lambda v: (np.any(v == 0), np.all(v), np.count_nonzero(v), np.logical_not(v)),
        (np.array([0j, 1j, 2]),),
    ),
    "norms": (
        lambda v: (hb.norm(v), hb.norm(v, ord=1), abs(v)),
        lambda v: (np.linalg.norm(v), np.linalg.norm(v, 1), abs(v)),
        (V,),
    ),
    "powers": (
        lambda z: (z**2, z**3, z**-1, z**0.5, z ** (1 + 1j), 2**z),
        lambda z: (z**2, z**3, z**-1.0, z**0.5, z ** (1 + 1j), 2**z),
        (Z,),
    ),
    "triangles": (
        lambda m: (hb.tril(m), hb.triu(m, 1), hb.flip(m, 0), hb.roll(m, 1, 0)),
        lambda m: (np.tril(m), np.triu(m, 1), np.flip(m, 0), np.roll(m, 1, 0)),
        (M,),
    ),
    "made": (
        lambda z: (hb.zeros_like(z), hb.full_like(z, 1 + 2j), hb.eye(3, dtype="complex128")),
        lambda z: (np.zeros_like(z), np.full_like(z, 1 + 2j), np.eye(3, dtype="complex128")),
        (Z,),
    ),
    "sorted": (
        lambda v: (hb.argsort(v), hb.sort(v)),
        lambda v: (np.argsort(v, kind="stable"), np.sort(v)),
        (np.array([2 + 1j, 1 - 1j, complex(np.nan, 1), 1 - 2j, complex(0, np.nan), 2 + 1j]),),
    ),
    "conversion": (
        lambda z: (z.astype("complex64"), z.real.astype("complex64"), z.astype(bool)),
        lambda z: (z.astype("complex64"), z.real.astype("complex64"), z.astype(bool)),
        (Z,),
    ),
    "loop": (
        lambda z: hb.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * c[1]), (0, z))[1],
        lambda z: z**8,
        (V,),
    ),
    "branch": (
        lambda z: hb.cond(z.real.sum() > 0, lambda a: a * 2j, lambda a: a + 1, z),
        lambda z: z * 2j if z.real.sum() > 0 else z + 1,
        (V,),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    ours, numpys, arrays = PROGRAMS[name]
    eager = ours(*map(hb.tensor, arrays))
    for got, want in zip(as_numpy(eager), as_numpy(numpys(*arrays)), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    traced = hb.function(ours)
    for _ in range(4):
        same_bits(traced(*map(hb.tensor, arrays)), eager)
    assert "REPLAY" in traced.explain()


def test_state_in_a_recorded_step() -> None:
    def run(wrap: Callable[..., Any]) -> tuple[list[complex], list[Any]]:
        p = hb.zeros(3, dtype="complex64")

        def step(x: Any) -> Any:
            p.assign(p * 0.5 + x)
            p[0] = 1j
            p.real.add_(1.0)
            return p.sum()

        step = wrap(step)
        got = [step(hb.tensor([1j, 2, 3])).item() for _ in range(5)]
        return got, p.tolist()

    assert run(hb.function) == run(lambda f: f)


def test_one_value_as_pairs_and_as_numbers() -> None:
    """An input that comes back under both of its records, and a literal."""
    z = hb.tensor(V)

    @hb.function
    def f(z: Any) -> Any:
        return z.real, z, hb.conj(hb.conj(z)), hb.full((2,), 1j)

    for _ in range(4):
        same_bits(f(z), (V.real, V, V, np.full(2, 1j, "complex64")))


# ---- views and writes
def test_parts_are_views() -> None:
    z = hb.tensor([1 + 2j, 3 + 4j])
    real, row = z.real, z[1:]
    z.imag[0] = 7.0
    real.add_(1.0)
    assert z.tolist() == [2 + 7j, 4 + 4j] and row.tolist() == [4 + 4j]
    z.real = [0.0, 1.0]
    z.imag = 0.5
    assert z.tolist() == [0.5j, 1 + 0.5j] and real.tolist() == [0.0, 1.0]
    z += 1j
    z *= 2
    z[hb.tensor([True, False])] = 5
    assert z.tolist() == [5 + 0j, 2 + 3j]


def test_strided_and_empty() -> None:
    z = numbers(6, 4)
    t = hb.tensor(z)
    same_bits(t[::-2, 1:] * 1j + t[::-2, 1:], (hb.tensor(z[::-2, 1:].copy()) * 1j + z[::-2, 1:]))
    assert (hb.zeros(0, dtype="complex64") * 2).shape == (0,)
    assert hb.zeros((0, 3), dtype="complex64").prod(0).tolist() == [1 + 0j] * 3
    assert hb.sum(hb.zeros((0,), dtype="complex128")).item() == 0j


# ---- gradients
def slope(f: Callable[..., Any], z: np.ndarray) -> np.ndarray:
    """dL/dRe + i dL/dIm by central differences."""
    out, h = np.zeros_like(z), 1e-6
    for i in range(z.size):
        for unit in (1.0, 1j):
            step = np.zeros_like(z)
            step.flat[i] = unit * h
            up, down = (float(f(hb.tensor(z + s)).item()) for s in (step, -step))
            out.flat[i] += unit * (up - down) / (2 * h)
    return out


LOSSES = {
    "modulus": lambda z: (abs(z) ** 2).sum(),
    "functions": lambda z: (hb.exp(z) * hb.sin(z) / (z + 3)).real.sum(),
    "roots": lambda z: hb.imag(hb.sqrt(z) * hb.log(z) ** 2).sum(),
    "product": lambda z: abs(hb.reshape(z, (2, 3)) @ hb.reshape(z, (3, 2))).sum(),
    "view": lambda z: (z[::2].imag * z[1::2].real).sum(),
    "scatter": lambda z: abs(z[[0, 0, 2]] * hb.conj(z[[1, 3, 5]])).sum(),
    "prod": lambda z: z.prod().real + z.cumsum(0)[3].imag,
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_hold_both_parts(name: str) -> None:
    loss = LOSSES[name]
    gradient = hb.grad(loss)
    found = gradient(hb.tensor(V)).numpy()
    assert found.dtype == np.complex128
    np.testing.assert_allclose(found, slope(loss, V), rtol=1e-6, atol=1e-6)
    traced = hb.function(gradient)
    for _ in range(4):
        same_bits(traced(hb.tensor(V)), found)

    def second(z: Any) -> Any:
        return (gradient(z).real ** 2).sum()

    np.testing.assert_allclose(
        hb.grad(second)(hb.tensor(V)).numpy(), slope(second, V), rtol=1e-5, atol=1e-5
    )


def test_gradients_of_pytorchs_convention() -> None:
    z = hb.tensor([1 + 2j], requires_grad=True)
    (z * hb.tensor([3 - 1j])).real.sum().backward()
    assert z.grad.tolist() == [3 + 1j]  # the conjugate of the factor
    with pytest.raises(hb.HybridError, match="explicit gradient"):
        (z * z).sum().backward()
    (z * z).backward(hb.tensor([1 + 0j]))
    assert z.grad.tolist() == [3 + 1j + 2 - 4j]
    x = hb.tensor([2.0], requires_grad=True)
    (x * 1j).imag.sum().backward()
    assert x.grad.dtype is hb.float32 and x.grad.tolist() == [1.0]


# ---- to and from Python, errors
def test_to_and_from_python() -> None:
    z = hb.tensor([[1 + 2j, -0.5j]])
    assert z.tolist() == [[1 + 2j, -0.5j]] and z[0, 0].item() == complex(z[0, 0]) == 1 + 2j
    assert repr(z) == "tensor([[ 1.+2.j , -0.-0.5j]], dtype=complex64)"
    assert "complex64" in z._repr_html_() and "1+2j" in z._repr_html_()
    for other in (pickle.loads(pickle.dumps(z)), copy.deepcopy(z), hb.asarray(z.numpy())):
        same_bits(other, z)
    assert z.itemsize == 8 and z.nbytes == 16 and not hb.tensor(0j)


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda z: float(z[0]), "no float"),
        (lambda z: int(z[0]), "no int"),
        (lambda z: z.astype("float32"), "do not fit float32"),
        (lambda z: hb.tensor([1j], dtype="float32"), "do not fit float32"),
        (lambda z: hb.zeros(2).add_(z), "cannot store a complex64 result"),
        (lambda z: z < z, "less does not take complex numbers"),
        (lambda z: hb.floor(z), "floor does not take complex numbers"),
        (lambda z: hb.max(z), "max does not take complex numbers"),
        (lambda z: setattr(z.real, "imag", 1.0), "no imaginary part"),
    ],
)
def test_errors(call: Callable[..., Any], error: str) -> None:
    with pytest.raises(TypeError, match=error):
        call(hb.tensor([1 + 2j, 3j]))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_whole_powers_are_numpys_products(dtype: str) -> None:
    rng = np.random.default_rng(0)
    z = (rng.normal(size=40) + 1j * rng.normal(size=40)).astype(dtype)
    z[:9] = [-2, 1j, -1, complex(-0.0, 2), complex(3, -0.0), 0, np.inf, complex(np.inf, 1), np.nan]
    for n in (*range(13), 31, 64, 99):
        with np.errstate(all="ignore"):
            want = np.power(z, np.array(n, dtype))
        got = hb.power(hb.tensor(z), hb.full(z.shape, n, dtype=dtype)).numpy()
        np.testing.assert_array_equal(got, want)
        known = ~np.isnan(want.real)
        assert (np.signbit(got.real) == np.signbit(want.real))[known].all()
        assert hb.compare(lambda x, n=n: x**n, hb.tensor(z)).same_bits
    for n in (1, 4, 9):
        back = hb.power(hb.tensor(z[9:]), -n).numpy()
        np.testing.assert_allclose(back, 1 / z[9:].astype("complex128") ** n, rtol=1e-5)
    assert hb.power(hb.tensor([complex(np.inf, 0)]), 1.0).tolist() == [complex(np.inf, 0)]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_general_powers_are_as_precise_as_their_exponent(dtype: str) -> None:
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=200) * np.exp(rng.uniform(-2, 2, 200)) for _ in range(4)]
    z, w = ((a + 1j * b).astype(dtype) for a, b in zip(parts[::2], parts[1::2]))
    eps = float(np.finfo(dtype).eps)
    for got, *given in zip(hb.power(hb.tensor(z), hb.tensor(w)).tolist(), z.tolist(), w.tolist()):
        with mp.workprec(120):
            exponent = mp.mpc(given[1]) * mp.log(mp.mpc(given[0]))
            error = abs(mp.mpc(got) / mp.exp(exponent) - 1)
        assert error <= eps * (2 + 2 * abs(exponent))


def test_derivatives_of_whole_powers() -> None:
    z = hb.tensor([1 + 2j, -0.5j, -2 + 0j], dtype="complex128")
    for n in (1, 5, -4):
        slope = hb.grad(lambda x, n=n: hb.real(hb.power(x, float(n))).sum())(z).numpy()
        np.testing.assert_allclose(slope, np.conj(n * z.numpy() ** (n - 1)), rtol=1e-13)
