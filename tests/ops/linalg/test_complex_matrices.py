"""hybrid.linalg on complex matrices: NumPy's values and dtypes, replays, gradients by both parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ops.linalg.linalg_harness import L, check_gradients, definite, parts, regular, same_bits

import hybrid
from hybrid.ops.linalg import triangles

N = np.linalg


def mixed(*shape: int, seed: int = 0) -> np.ndarray:
    """Complex matrices far from singular."""
    return regular(*shape, seed=seed) + 1j * np.random.default_rng(seed + 9).uniform(-1, 1, shape)


def hermitian(*shape: int, seed: int = 0) -> np.ndarray:
    """Positive definite ones."""
    made = mixed(*shape, seed=seed)
    return made @ np.conj(np.swapaxes(made, -1, -2))


VECTOR = mixed(1, 4, seed=4)[0]
# name -> (function of hybrid, of NumPy or None where it is checked below, operands)
CALLS: dict[str, tuple[Any, ...]] = {
    "inv": (L.inv, N.inv, mixed(2, 4, 4)),
    "inv_of_many": (L.inv, N.inv, mixed(12, 3, 3)),
    "det": (L.det, N.det, mixed(2, 3, 3)),
    "slogdet": (L.slogdet, N.slogdet, mixed(2, 3, 3)),
    "qr": (L.qr, N.qr, mixed(2, 5, 3)),
    "qr_wide": (L.qr, N.qr, mixed(3, 5)),
    "qr_complete": (lambda x: L.qr(x, "complete"), lambda x: N.qr(x, "complete"), mixed(5, 3)),
    "svd": (L.svd, N.svd, mixed(2, 3, 5)),
    "svd_thin": (lambda x: L.svd(x, False), lambda x: N.svd(x, False), mixed(5, 3)),
    "svdvals": (L.svdvals, N.svdvals, mixed(4, 3)),
    "svd_hermitian": (
        lambda x: L.svd(x, hermitian=True)[1],
        lambda x: N.svd(x, hermitian=True)[1],
        hermitian(4, 4),
    ),
    "cholesky": (L.cholesky, N.cholesky, hermitian(2, 4, 4)),
    "cholesky_of_many": (L.cholesky, N.cholesky, hermitian(12, 3, 3)),
    "cholesky_upper": (
        lambda x: L.cholesky(x, upper=True),
        lambda x: N.cholesky(x, upper=True),
        hermitian(4, 4),
    ),
    "eigh": (L.eigh, N.eigh, hermitian(2, 4, 4)),
    "eigh_upper": (lambda x: L.eigh(x, "U"), lambda x: N.eigh(x, "U"), hermitian(4, 4)),
    "eigvalsh": (L.eigvalsh, N.eigvalsh, hermitian(4, 4)),
    "eig": (L.eig, N.eig, mixed(2, 4, 4)),
    "eigvals": (L.eigvals, N.eigvals, mixed(2, 4, 4)),
    "pinv": (L.pinv, lambda x: N.pinv(x, rtol=None), mixed(2, 5, 3)),
    "pinv_hermitian": (
        lambda x: L.pinv(x, hermitian=True),
        lambda x: N.pinv(x, hermitian=True, rtol=None),
        hermitian(4, 4),
    ),
    "matrix_rank": (L.matrix_rank, N.matrix_rank, mixed(4, 3)),
    "solve": (L.solve, N.solve, mixed(2, 4, 4), mixed(4, 2)),
    "solve_vector": (L.solve, N.solve, mixed(4, 4), VECTOR),
    "solve_real": (L.solve, N.solve, regular(4, 4), mixed(4, 2)),
    "solve_many": (L.solve, N.solve, mixed(12, 3, 3), regular(12, 3, 2)),
    "lstsq": (
        lambda a, b: tuple(L.lstsq(a, b)),
        lambda a, b: N.lstsq(a, b, None),
        mixed(5, 3),
        mixed(5, 2),
    ),
    "matrix_power": (lambda x: L.matrix_power(x, -3), lambda x: N.matrix_power(x, -3), mixed(3, 3)),
    "multi_dot": (
        lambda a, b, c: L.multi_dot([a, b, c]),
        lambda a, b, c: N.multi_dot([a, b, c]),
        mixed(2, 3),
        mixed(3, 4),
        VECTOR,
    ),
    "cond": (L.cond, N.cond, mixed(3, 3)),
    "cond_1": (lambda x: L.cond(x, 1), lambda x: N.cond(x, 1), mixed(3, 3)),
    **{
        f"norm_{ord}": (
            lambda x, ord=ord: L.norm(x, ord),
            lambda x, ord=ord: N.norm(x, ord),
            mixed(3, 4),
        )
        for ord in (None, "fro", "nuc", 1, 2, -1, -2, np.inf, -np.inf)
    },
    **{
        f"vector_norm_{ord}": (
            lambda x, ord=ord: L.vector_norm(x, axis=1, ord=ord),
            lambda x, ord=ord: N.vector_norm(x, axis=1, ord=ord),
            mixed(3, 4),
        )
        for ord in (0, 1, 2, 3, np.inf, -np.inf)
    },
    "matrix_norm": (L.matrix_norm, N.matrix_norm, mixed(2, 3, 4)),
    "vecdot": (L.vecdot, N.vecdot, mixed(3, 4), mixed(3, 4, seed=1)),
    "outer": (L.outer, N.outer, VECTOR, VECTOR * 1j),
    "trace": (L.trace, N.trace, mixed(2, 3, 4)),
    "diagonal": (L.diagonal, N.diagonal, mixed(2, 3, 4)),
    "matmul": (L.matmul, N.matmul, mixed(2, 3, 4), mixed(4, 3)),
    "tensordot": (L.tensordot, N.tensordot, mixed(2, 3, 4), mixed(3, 4, 2)),
    "cross": (L.cross, N.cross, mixed(2, 3), mixed(2, 3, seed=2)),
    "tensorsolve": (
        L.tensorsolve,
        N.tensorsolve,
        mixed(4, 4).reshape(2, 2, 2, 2),
        mixed(2, 2, seed=3),
    ),
    "tensorinv": (L.tensorinv, N.tensorinv, mixed(4, 4).reshape(2, 2, 2, 2)),
    "poly": (hybrid.poly, np.poly, mixed(3, 3)),
    "roots": (hybrid.roots, np.roots, VECTOR),
}
# the calls of LAPACK are NumPy's own, complex64 in complex128 and rounded once
SAME_BITS = {"inv", "det", "slogdet", "qr", "svd", "svdvals", "cholesky", "eigh", "eig", "eigvals"}


def narrowed(made: np.ndarray, dtype: str) -> np.ndarray:
    if made.dtype.kind == "c":
        return made.astype(dtype)
    return made.astype("float32" if dtype == "complex64" else "float64")


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", CALLS)
def test_against_numpy(name, dtype):
    ours, theirs, *given = CALLS[name]
    given = [narrowed(made, dtype) for made in given]
    tensors = [hybrid.tensor(made) for made in given]
    found, wanted = ours(*tensors), theirs(*given)
    eps = 3000 * np.finfo(dtype).eps
    for got, want in zip(parts(found), parts(wanted), strict=True):
        got, want = np.asarray(got), np.asarray(want)
        assert got.shape == want.shape
        assert got.dtype == (want.dtype if want.dtype.kind in "fc" else np.int64)
        np.testing.assert_allclose(got, want, rtol=eps, atol=eps)
    if name in SAME_BITS:
        same_bits(found, wanted)


@pytest.mark.parametrize("name", CALLS)
def test_a_strided_operand_and_a_replay_give_the_same_bits(name):
    ours, _, *given = CALLS[name]
    tensors = [hybrid.tensor(made) for made in given]
    turned = [
        hybrid.tensor(np.swapaxes(made, -1, -2).copy()).mT if made.ndim > 1 else hybrid.tensor(made)
        for made in given
    ]
    wanted = ours(*tensors)
    same_bits(ours(*turned), wanted)
    traced = hybrid.function(lambda *xs: ours(*[x * 1 for x in xs]))
    wanted = ours(*[x * 1 for x in tensors])
    for _ in range(4):
        same_bits(traced(*tensors), wanted)
    if name not in ("lstsq", "roots"):  # which read the data
        assert "REPLAY" in traced.explain()


@pytest.mark.parametrize("name", ["eig", "eigvals"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eigenvalues_of_real_matrices_are_complex(name, dtype):
    for made in (regular(2, 4, 4), np.triu(regular(3, 3)), np.zeros((0, 0)), np.ones((2, 0, 0))):
        made = made.astype(dtype)
        found, wanted = parts(getattr(L, name)(hybrid.tensor(made))), parts(getattr(N, name)(made))
        for got, want in zip(found, wanted, strict=True):
            assert np.asarray(got).dtype == ("complex64" if dtype == "float32" else "complex128")
            np.testing.assert_array_equal(np.asarray(got), want)
    assert L.eig(hybrid.eye(2))._fields == ("eigenvalues", "eigenvectors")
    with pytest.raises(hybrid.linalg.LinAlgError):
        getattr(L, name)(hybrid.tensor(np.full((2, 2), np.nan, dtype)))
    with pytest.raises(hybrid.ShapeError):
        getattr(L, name)(hybrid.ones(2, 3))
    with pytest.raises(hybrid.DTypeError, match=name):
        getattr(L, name)(hybrid.eye(2).astype(hybrid.bfloat16))


@pytest.fixture(params=["wheel", "numpy"])
def either_library(request, monkeypatch):
    """With the routines of NumPy's wheel, and without them."""
    if request.param == "numpy":
        monkeypatch.setattr(triangles, "LIBRARY", None)


@pytest.mark.parametrize("shape", [(4, 4), (40, 6, 6), (2, 5, 3), (3, 5), (70, 70)])
def test_lu(shape, either_library):
    made = np.flip(mixed(*shape), -2).copy()
    p, low, up = (np.asarray(x) for x in L.lu(hybrid.tensor(made)))
    np.testing.assert_allclose(p @ low @ up, made, 1e-10, 1e-10)
    if shape[-1] != shape[-2]:
        return
    packed, pivots = L.lu_factor(hybrid.tensor(made))
    right = mixed(shape[-1], 2)
    for turn in (False, True):
        a = np.conj(np.swapaxes(made, -1, -2)) if turn else made
        found = L.lu_solve(packed, pivots, hybrid.tensor(right), adjoint=turn)
        np.testing.assert_allclose(a @ np.asarray(found), np.broadcast_to(right, found.shape), 1e-9)
        row = hybrid.tensor(right.T.copy())
        found = L.lu_solve(packed, pivots, row, left=False, adjoint=turn)
        wanted = np.broadcast_to(right.T, found.shape)
        np.testing.assert_allclose(np.asarray(found) @ a, wanted, 1e-9)


@pytest.mark.parametrize("size", [1, 5, 65])
@pytest.mark.parametrize("upper", [True, False])
def test_triangles(size, upper, either_library):
    a, b = mixed(2, size, size), mixed(size, 3)
    triangle = (np.triu if upper else np.tril)(a)
    found = L.solve_triangular(hybrid.tensor(a), hybrid.tensor(b), upper=upper)
    np.testing.assert_allclose(triangle @ np.asarray(found), np.broadcast_to(b, found.shape), 1e-9)
    row = hybrid.tensor(b.T.copy())
    found = L.solve_triangular(hybrid.tensor(a), row, upper=upper, left=False)
    wanted = np.broadcast_to(b.T, found.shape)
    np.testing.assert_allclose(np.asarray(found) @ triangle, wanted, 1e-9)
    whole = hermitian(3, 3)
    for up in (False, True):
        factor = L.cholesky(hybrid.tensor(whole), upper=up)
        found = L.cholesky_solve(hybrid.tensor(whole), factor, up)
        np.testing.assert_allclose(np.asarray(found), np.eye(3), atol=1e-9)


def test_exponential():
    made = mixed(2, 3, 3) / 3
    values, vectors = N.eig(made)
    wanted = vectors * np.exp(values)[:, None, :] @ N.inv(vectors)
    np.testing.assert_allclose(np.asarray(L.matrix_exp(hybrid.tensor(made))), wanted, 1e-10)


def test_zeros_of_polynomials():
    for p in ([0, 1.0, 2, 3, 0], [0.0, 0], [3.0], [0, 2.0, 0], [1j, 2, 0, 0]):
        found, wanted = np.asarray(hybrid.roots(p)), np.roots(p)
        assert found.dtype == np.complex64
        np.testing.assert_allclose(found, wanted, 1e-5, 1e-6)
    made = regular(3, 3)
    found = hybrid.poly(hybrid.tensor(made))
    assert found.dtype is hybrid.float64
    np.testing.assert_allclose(np.asarray(found), np.poly(made), 1e-10)
    np.testing.assert_allclose(np.asarray(hybrid.poly([1j, 2 - 1j])), np.poly([1j, 2 - 1j]), 1e-6)
    for shape in ((2, 3), (2, 2, 2)):
        with pytest.raises(hybrid.ShapeError, match="poly"):
            hybrid.poly(hybrid.ones(shape))


def test_rules_of_promotion():
    one, other = hybrid.eye(2), hybrid.ones(2, dtype=hybrid.complex64)
    assert L.solve(one, other).dtype is hybrid.complex64
    wide = hybrid.eye(2, dtype=hybrid.float64)
    assert L.solve(wide, other).dtype is hybrid.complex128
    assert L.solve(wide, [1j, 2]).tolist() == [1j, 2]


# ---- gradients
def both(fn: Any) -> Any:
    """A function of real and imaginary parts, whose complex results are their parts."""

    def of_parts(*given: Any) -> tuple[Any, ...]:
        numbers = [a + 1j * b for a, b in zip(given[::2], given[1::2])]
        found: list[Any] = []
        for out in parts(fn(*numbers)):
            found += (
                [out.real, out.imag] if hybrid.isdtype(out.dtype, "complex floating") else [out]
            )
        return tuple(found)

    return of_parts


def mirrored(x: Any) -> Any:
    return (x + hybrid.conj(x).mT) / 2


def projectors(vectors: Any) -> Any:
    """What does not depend on the phases of columns."""
    columns = hybrid.moveaxis(vectors, -1, 0)
    weights = hybrid.tensor(np.arange(1.0, columns.shape[0] + 1).reshape(-1, *[1] * columns.ndim))
    return (columns[..., None] * hybrid.conj(columns)[..., None, :] * weights).sum(0)


def free_of_phases(found: Any) -> tuple[Any, ...]:
    left, values, right = found
    crossed = hybrid.moveaxis(left, -1, 0)[..., None] * hybrid.moveaxis(right, -2, 0)[..., None, :]
    weights = hybrid.tensor(np.arange(1.0, crossed.shape[0] + 1).reshape(-1, 1, 1))
    return projectors(left), values, projectors(hybrid.conj(right).mT), (crossed * weights).sum(0)


def thin(x: Any) -> Any:
    return free_of_phases(L.svd(x, full_matrices=False))


SLOPES: dict[str, tuple[Any, ...]] = {
    "inv": (L.inv, mixed(3, 3)),
    "det": (L.det, mixed(2, 3, 3) / 4),
    "slogdet": (L.slogdet, mixed(2, 3, 3)),
    "slogdet_sign": (lambda x: L.slogdet(x)[0], mixed(3, 3)),
    "slogdet_size": (lambda x: L.slogdet(x)[1], mixed(3, 3)),
    "solve": (L.solve, mixed(2, 3, 3), mixed(3, 2)),
    "triangular": (lambda a, b: L.solve_triangular(a, b, upper=True), mixed(3, 3), mixed(2, 3, 2)),
    "triangular_right": (
        lambda a, b: L.solve_triangular(a, b, upper=False, left=False, unitriangular=True),
        mixed(3, 3),
        mixed(2, 3),
    ),
    "cholesky": (lambda x: L.cholesky(mirrored(x)), hermitian(3, 3) / 4),
    "cholesky_upper": (lambda x: L.cholesky(mirrored(x), upper=True), hermitian(3, 3) / 4),
    "qr": (L.qr, mixed(4, 3)),
    "qr_wide": (L.qr, mixed(3, 5)),
    "qr_square_r": (lambda x: L.qr(x, "r"), mixed(3, 3)),
    "qr_q": (lambda x: L.qr(x).Q, mixed(3, 4)),
    "lu": (L.lu, np.flip(mixed(3, 3), -2).copy()),
    "lu_tall": (L.lu, np.flip(mixed(4, 3), -2).copy()),
    "lu_wide": (lambda x: L.lu_factor(x).LU, mixed(3, 4)),
    "lu_solve": (
        lambda a, b: L.lu_solve(*L.lu_factor(a), b, adjoint=True),
        mixed(3, 3),
        mixed(3, 2),
    ),
    "eigh": (lambda x: projectors(L.eigh(mirrored(x))[1]), definite(3, 3) + 0.3j * regular(3, 3)),
    "eigh_values": (lambda x: L.eigh(mirrored(x), "U")[0], definite(2, 3, 3) * (1 + 0j)),
    "eigvalsh": (lambda x: L.eigvalsh(mirrored(x)), definite(3, 3) + 0.3j * regular(3, 3)),
    "svd": (thin, mixed(3, 3)),
    "svd_tall": (thin, mixed(4, 3)),
    "svd_wide": (thin, mixed(2, 4)),
    "svd_left": (lambda x: projectors(L.svd(x, False)[0]), mixed(4, 3)),
    "svd_right": (lambda x: projectors(hybrid.conj(L.svd(x, False)[2]).mT), mixed(3, 4)),
    "svdvals": (L.svdvals, mixed(2, 3, 4)),
    "eig": (lambda x: (L.eig(x)[0], projectors(L.eig(x)[1])), mixed(3, 3)),
    "eig_vectors": (lambda x: projectors(L.eig(x)[1]), mixed(2, 3, 3)),
    "eigvals": (L.eigvals, mixed(2, 3, 3)),
    "pinv": (L.pinv, mixed(2, 4, 3)),
    "pinv_wide": (L.pinv, mixed(3, 4)),
    "lstsq": (L.lstsq, mixed(4, 3), mixed(4, 2)),
    "lstsq_wide": (L.lstsq, mixed(3, 4), mixed(1, 3)[0]),
    "matrix_exp": (L.matrix_exp, mixed(2, 3, 3) / 4),
    "inverse_power": (lambda x: L.matrix_power(x, -2), mixed(3, 3)),
    "nuclear": (lambda x: L.norm(x, "nuc"), mixed(3, 4)),
    "frobenius": (L.norm, mixed(3, 4)),
    "norm_3": (lambda x: L.vector_norm(x, axis=1, ord=3), mixed(3, 4)),
    "cond": (L.cond, mixed(3, 3)),
    "vecdot": (L.vecdot, mixed(3, 4), mixed(3, 4, seed=1)),
    "roots": (hybrid.roots, VECTOR),
}


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_by_both_parts(name):
    fn, *given = SLOPES[name]
    check_gradients(both(fn), *[part.copy() for x in given for part in (x.real, x.imag)])


REAL_EIG = np.array([[1.0, -2, 0.5], [1.5, 0.3, -0.2], [0.1, 0.7, 2.5]])


@pytest.mark.parametrize("name", ["eig", "eigvals", "roots", "poly"])
def test_gradients_of_real_matrices(name):
    fn, given = {
        "eig": (lambda x: (L.eig(x)[0], projectors(L.eig(x)[1])), REAL_EIG),
        "eigvals": (L.eigvals, REAL_EIG),
        "roots": (hybrid.roots, np.array([1.0, -2, 3, 0.5])),
        "poly": (hybrid.poly, REAL_EIG),
    }[name]

    def real(x: Any) -> Any:
        found: list[Any] = []
        for out in parts(fn(x)):
            found += [out.real, out.imag] if str(out.dtype).startswith("complex") else [out]
        return tuple(found)

    check_gradients(real, given)


@pytest.mark.parametrize("name", ["inv", "svd", "eigh", "eig", "qr", "slogdet", "lstsq"])
def test_traced_gradients_have_the_same_bits(name):
    fn, *given = SLOPES[name]

    def loss(*xs):
        return sum((abs(t) ** 2).sum() for t in parts(fn(*xs)) if "int" not in str(t.dtype))

    gradient = hybrid.grad(loss, argnums=tuple(range(len(given))))
    traced, tensors = hybrid.function(gradient), [hybrid.tensor(x) for x in given]
    wanted = gradient(*tensors)
    for _ in range(4):
        for got, want in zip(traced(*tensors), wanted, strict=True):
            assert np.asarray(got).dtype == np.complex128
            assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


@pytest.mark.parametrize("name", ["inv", "eig", "svd", "cholesky", "solve"])
def test_vmap(name):
    ours, _, *given = CALLS[name]
    given = [x if x.ndim > 2 else np.stack([x, 2 * x]) for x in given]
    tensors = [hybrid.tensor(x) for x in given]
    found, wanted = hybrid.vmap(ours)(*tensors), ours(*tensors)
    for got, want in zip(parts(found), parts(wanted), strict=True):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), 1e-12)


def test_det_of_a_singular_matrix():
    made = np.outer(VECTOR[:3], VECTOR[1:])
    made[0, 0] += 2
    made[1, 1] += 1j  # of rank 2 at least, and not symmetric
    made[2] = made[0] * 1j
    found = np.asarray(hybrid.grad(lambda x: L.det(x).real)(hybrid.tensor(made)))
    wanted = [
        [(-1) ** (i + j) * N.det(np.delete(np.delete(made, i, 0), j, 1)) for j in range(3)]
        for i in range(3)
    ]
    np.testing.assert_allclose(found, np.conj(wanted), 1e-8, 1e-12)
