"""Derivatives of hybrid.linalg to second order, against finite differences in float64."""

from __future__ import annotations

import numpy as np
import pytest
from ops.linalg.linalg_harness import L, check_gradients, definite, regular

import hybrid


def mirrored(x):
    return (x + x.mT) / 2


CASES = {
    "cholesky": (lambda x: L.cholesky(mirrored(x)), definite(4, 4)),
    "cholesky_upper": (lambda x: L.cholesky(mirrored(x), upper=True), definite(2, 3, 3)),
    "eigh": (lambda x: L.eigh(mirrored(x))[1] ** 2, definite(3, 3)),
    "eigh_both": (
        lambda x: (L.eigh(mirrored(x), "U")[0], L.eigh(mirrored(x), "U")[1] ** 2),
        definite(2, 3, 3),
    ),
    "eigvalsh": (lambda x: L.eigvalsh(mirrored(x)), definite(2, 4, 4)),
    "svd": (lambda x: tuple(t**2 for t in L.svd(x, full_matrices=False)), regular(2, 4, 3)),
    "svd_wide": (lambda x: tuple(t**2 for t in L.svd(x, full_matrices=False)), regular(3, 5)),
    "svd_hermitian": (lambda x: L.svd(mirrored(x), hermitian=True)[1], definite(3, 3)),
    "svdvals": (L.svdvals, regular(2, 3, 5)),
    "qr": (L.qr, regular(5, 3)),
    "qr_wide": (L.qr, regular(3, 5)),
    "qr_q": (lambda x: L.qr(x).Q, regular(3, 5)),
    "qr_r": (lambda x: L.qr(x, "r"), regular(3, 5)),
    "lu": (L.lu, regular(4, 4)),
    "lu_exchanged": (L.lu, np.flip(regular(2, 4, 4), -2).copy()),
    "lu_tall": (L.lu, np.flip(regular(5, 3), -2).copy()),
    "lu_wide": (lambda x: L.lu_factor(x).LU, regular(3, 5)),
    "inv": (L.inv, regular(2, 3, 3)),
    "inv_of_many": (L.inv, regular(9, 3, 3)),
    "solve_many": (L.solve, regular(9, 3, 3), regular(3, 2, seed=1)),
    "solve_vectors": (L.solve, regular(9, 2, 2), regular(1, 2, seed=1)[0]),
    "cholesky_of_many": (lambda x: L.cholesky(mirrored(x)), definite(9, 3, 3)),
    "det_large": (L.det, regular(7, 7) / 6),
    "det": (L.det, regular(2, 3, 3) / 3),
    "slogdet": (L.slogdet, regular(2, 3, 3)),
    "solve": (L.solve, regular(2, 3, 3), regular(3, 2, seed=1)),
    "solve_vector": (L.solve, regular(2, 3, 3), regular(1, 3, seed=1)[0]),
    "triangular": (
        lambda a, b: L.solve_triangular(a, b, upper=True),
        regular(3, 3),
        regular(2, 3, 2),
    ),
    "triangular_right": (
        lambda a, b: L.solve_triangular(a, b, upper=False, left=False, unitriangular=True),
        regular(2, 3, 3),
        regular(2, 3),
    ),
    "cholesky_solve": (
        lambda a, b: L.cholesky_solve(b, L.cholesky(mirrored(a))),
        definite(3, 3),
        regular(3, 2),
    ),
    "lu_solve": (
        lambda a, b: L.lu_solve(*L.lu_factor(a), b),
        np.flip(regular(3, 3), -2).copy(),
        regular(3, 2),
    ),
    "lu_solve_adjoint": (
        lambda a, b: L.lu_solve(*L.lu_factor(a), b, adjoint=True),
        np.flip(regular(3, 3), -2).copy(),
        regular(3, 2),
    ),
    "lstsq": (L.lstsq, regular(5, 3), regular(5, 2, seed=1)),
    "lstsq_wide": (L.lstsq, regular(3, 5), regular(1, 3, seed=1)[0]),
    "pinv": (L.pinv, regular(2, 4, 3)),
    "pinv_wide": (L.pinv, regular(3, 5)),
    "matrix_exp": (L.matrix_exp, regular(2, 3, 3) / 4),
    "matrix_power": (lambda x: L.matrix_power(x, 5), regular(3, 3) / 5),
    "inverse_power": (lambda x: L.matrix_power(x, -2), regular(3, 3)),
    "multi_dot": (
        lambda a, b, c: L.multi_dot([a, b, c]),
        regular(2, 3),
        regular(3, 4),
        regular(4, 2),
    ),
    "tensorsolve": (
        lambda a, b: L.tensorsolve(a.reshape(2, 2, 4), b),
        regular(4, 4),
        regular(2, 2),
    ),
    "tensorinv": (lambda a: L.tensorinv(a.reshape(2, 2, 4)), regular(4, 4)),
    "cond": (L.cond, regular(3, 3)),
    "cond_1": (lambda x: L.cond(x, 1), regular(3, 3)),
    **{
        f"norm_{ord}": (lambda x, ord=ord: L.norm(x, ord), regular(3, 4))
        for ord in (None, "fro", "nuc", 1, 2, -1, -2, np.inf, -np.inf)
    },
    "vector_norm": (lambda x: L.vector_norm(x, axis=1, ord=3), regular(3, 4)),
    "outer": (L.outer, regular(1, 3)[0], regular(1, 2)[0]),
}


@pytest.mark.parametrize("name", CASES)
def test_against_differences(name):
    fn, *given = CASES[name]
    check_gradients(fn, *given)


def test_symmetric_matrices_have_symmetric_gradients():
    for fn in (L.cholesky, L.eigvalsh, lambda x: L.eigh(x)[1] ** 3):
        found = np.asarray(
            hybrid.grad(lambda x: (fn(x) ** 2 * 0.3).sum())(hybrid.tensor(definite(4, 4)))
        )
        np.testing.assert_allclose(found, found.T, 1e-12, 1e-13)


def test_equal_values_have_finite_gradients_where_no_vector_is_asked_for():
    x = hybrid.tensor(np.eye(3), requires_grad=True)
    for fn in (
        L.svdvals,
        L.eigvalsh,
        lambda t: L.eigh(t)[0],
        lambda t: L.svd(t)[1],
        lambda t: L.norm(t, "nuc"),
    ):
        np.testing.assert_allclose(
            np.asarray(hybrid.grad(lambda t: fn(t).sum())(x)), np.eye(3), atol=1e-12
        )


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_det_of_singular_matrices(rank):
    rng = np.random.default_rng(0)
    made = rng.normal(size=(4, rank)) @ rng.normal(size=(rank, 4))
    if rank == 3:
        made[3] = made[0]  # exactly
    found = np.asarray(hybrid.grad(lambda x: L.det(x))(hybrid.tensor(made)))
    wanted = [
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(made, i, 0), j, 1)) for j in range(4)]
        for i in range(4)
    ]
    np.testing.assert_allclose(found, wanted, 1e-8, 1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_second_derivatives_of_det_at_singular_matrices(size):
    """det is a polynomial: its second derivatives are minors without two rows and columns."""
    rng = np.random.default_rng(1)
    for rank in range(size + 1):
        made = rng.normal(size=(size, rank)) @ rng.normal(size=(rank, size))
        made[:, -1] = made[:, 0] if rank == size else made[:, -1]
        wanted = np.zeros((size,) * 4)
        for i, j, k, m in np.ndindex(*wanted.shape):
            if i != k and j != m:
                rest = np.delete(np.delete(made, (i, k), 0), (j, m), 1)
                sign = (-1) ** (i + j + k + m) * (1 if (i < k) == (j < m) else -1)
                wanted[i, j, k, m] = sign * np.linalg.det(rest)
        x = hybrid.tensor(made)
        for outer in (hybrid.jacfwd, hybrid.jacrev):
            for inner in (hybrid.jacfwd, hybrid.jacrev):
                found = outer(inner(L.det))(x).numpy()
                np.testing.assert_allclose(found, wanted, 1e-9, 1e-12)
        assert hybrid.compare(hybrid.hessian(L.det), x).same_bits


def test_det_of_two_rows_has_all_derivatives_and_of_more_three():
    third = hybrid.jacrev(hybrid.hessian(L.det))
    assert not third(hybrid.ones(2, 2)).numpy().any()
    made = np.random.default_rng(2).normal(size=(3, 3))
    step = np.zeros((3, 3))
    step[1, 2] = 1e-5
    up, down = (hybrid.hessian(L.det)(hybrid.tensor(made + s)).numpy() for s in (step, -step))
    found = third(hybrid.tensor(made)).numpy()[..., 1, 2]
    np.testing.assert_allclose(found, (up - down) / 2e-5, 1e-7, 1e-8)


def test_stacks_have_the_second_derivatives_of_their_matrices():
    made = hybrid.tensor(np.random.default_rng(3).normal(size=(9, 3, 3)))
    every = hybrid.vmap(hybrid.hessian(L.det))(made).numpy()
    np.testing.assert_allclose(every[4], hybrid.hessian(L.det)(made[4]).numpy(), 1e-12, 1e-13)


def test_zero_norms_have_the_gradient_zero():
    x = hybrid.zeros(3, 3)
    for fn in (L.norm, L.matrix_norm, lambda t: L.vector_norm(t, axis=1).sum()):
        assert not np.asarray(hybrid.grad(fn)(x)).any()


def test_bases_of_nothing_have_no_gradient():
    made = hybrid.tensor(regular(5, 3))
    whole, thin = (
        hybrid.grad(lambda x: (L.svd(x, full_matrices=full)[0][:, :3] ** 3).sum())(made)
        for full in (True, False)
    )
    np.testing.assert_allclose(np.asarray(whole), np.asarray(thin), 1e-10, 1e-12)
    with pytest.raises(hybrid.UnsupportedError, match="reduced"):
        hybrid.grad(lambda x: L.qr(x, "complete")[0].sum())(made)


@pytest.mark.parametrize(
    "name",
    ["cholesky", "eigh", "svd", "qr", "lu", "inv", "det", "solve", "lstsq", "pinv", "matrix_exp"],
)
def test_traced_gradients_have_the_same_bits(name):
    fn, *given = CASES[name]

    def loss(*xs):
        found = fn(*xs)
        found = found if isinstance(found, tuple) else (found,)
        return sum((t**2).sum() for t in found if t.dtype is hybrid.float64)

    gradient = hybrid.grad(loss, argnums=tuple(range(len(given))))
    traced, tensors = hybrid.function(gradient), [hybrid.tensor(x) for x in given]
    wanted = gradient(*tensors)
    for _ in range(4):
        for got, want in zip(traced(*tensors), wanted, strict=True):
            assert np.asarray(got).tobytes() == np.asarray(want).tobytes()
