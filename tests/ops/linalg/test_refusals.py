"""What hybrid.linalg refuses: dtypes, shapes, matrices that have no answer; in both modes."""

from __future__ import annotations

import numpy as np
import pytest
from backend_kinds import KINDS, tensor
from ops.linalg.linalg_harness import L, definite

import hybrid
from hybrid.ops.linalg import host, solving

FAILING = {
    "inv": (L.inv, np.zeros((2, 2)), "singular"),
    "inv_of_a_stack": (L.inv, np.stack([np.eye(2), np.ones((2, 2))]), "singular"),
    "solve": (lambda x: L.solve(x, hybrid.ones(2, dtype=x.dtype)), np.ones((2, 2)), "singular"),
    "solve_nothing": (
        lambda x: L.solve(x, hybrid.ones(2, 0, dtype=x.dtype)),
        np.ones((2, 2)),
        "singular",
    ),
    "triangular": (
        lambda x: L.solve_triangular(x, hybrid.ones(2, dtype=x.dtype), upper=False),
        np.zeros((2, 2)),
        "zero on the diagonal",
    ),
    "power": (lambda x: L.matrix_power(x, -1), np.zeros((2, 2)), "singular"),
    "inv_of_many": (L.inv, np.stack([np.eye(2)] * 20 + [np.ones((2, 2))]), "inv: a singular"),
    "solve_many": (
        lambda x: L.solve(x, hybrid.ones(2, 1, dtype=x.dtype)),
        np.stack([np.eye(2)] * 20 + [np.ones((2, 2))]),
        "solve: a singular",
    ),
    "cholesky_of_many": (L.cholesky, np.stack([np.eye(2)] * 20 + [-np.eye(2)]), "cholesky: .* not"),
    "cholesky": (L.cholesky, -np.eye(2), "positive definite"),
    "eigh": (L.eigh, np.full((3, 3), np.nan), "converge"),
    "eigvalsh": (L.eigvalsh, np.full((3, 3), np.nan), "converge"),
    "svd": (L.svd, np.full((2, 2), np.nan), "converge"),
    "svdvals": (L.svdvals, np.full((2, 2), np.nan), "converge"),
    "pinv": (L.pinv, np.full((2, 2), np.nan), "converge"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAILING)
def test_what_has_no_answer(name, dtype):
    fn, wrong, text = FAILING[name]
    with pytest.raises(hybrid.linalg.LinAlgError, match=text):
        fn(hybrid.tensor(wrong.astype(dtype)))


def test_the_error_is_numpys_and_hybrids():
    for kind in (np.linalg.LinAlgError, hybrid.HybridError, ValueError):
        with pytest.raises(kind):
            L.inv(hybrid.zeros(2, 2))


@pytest.mark.parametrize("name", FAILING)
def test_a_replay_fails_alike_and_names_the_line(name):
    fn, wrong, text = FAILING[name]
    given = (definite(*wrong.shape) * np.eye(wrong.shape[-1])).astype("float32")
    kept = hybrid.zeros(1)

    @hybrid.function
    def step(x):
        kept.add_(1)
        return fn(x * 1)

    for _ in range(3):
        step(hybrid.tensor(given))
    assert "REPLAY" in step.explain()
    with pytest.raises(hybrid.linalg.LinAlgError, match=rf"(?s){text}.*test_refusals.py:"):
        step(hybrid.tensor(wrong.astype("float32")))
    assert kept.item() == 3
    step(hybrid.tensor(given))


@pytest.mark.parametrize("kind", KINDS)
def test_every_backend_names_the_line(kind):
    step = hybrid.function(lambda x: L.cholesky(x + 1) * 2)
    good, bad = (tensor(np.eye(2, dtype="float32") * k, kind) for k in (3, -9))
    for _ in range(4):
        found = np.asarray(step(good))
        np.testing.assert_allclose(found @ found.T, 4 * (3 * np.eye(2) + 1), 1e-6)
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        step(bad)


@pytest.mark.parametrize("kind", KINDS)
def test_small_matrices_on_every_backend(kind):
    made = np.stack([definite(3, 3, seed=k) for k in range(9)])
    x = tensor(made, kind)
    np.testing.assert_allclose(np.asarray(L.inv(x)), np.linalg.inv(made), 1e-10)
    np.testing.assert_allclose(np.asarray(L.det(x)), np.linalg.det(made), 1e-10)
    np.testing.assert_allclose(np.asarray(L.cholesky(x)), np.linalg.cholesky(made), 1e-9, 1e-12)
    np.testing.assert_allclose(np.asarray(L.solve(x, x)), np.stack([np.eye(3)] * 9), 1e-9, 1e-9)


def test_names_of_other_libraries_say_the_way():
    for name, said in (("expm", "linalg.matrix_exp"), ("cho_solve", "linalg.cholesky_solve")):
        with pytest.raises(AttributeError, match=said):
            getattr(L, name)
    with pytest.raises(AttributeError, match="linalg.det"):
        _ = hybrid.ones(2, 2).det
    with pytest.raises(AttributeError, match="linalg.inv"):
        _ = hybrid.inverse


def test_an_unused_result_fails_too():
    step = hybrid.function(lambda x: (L.inv(x), x + 1)[1])
    for _ in range(3):
        step(hybrid.eye(2))
    with pytest.raises(hybrid.linalg.LinAlgError):
        step(hybrid.zeros(2, 2))


ONE = [
    L.inv,
    L.det,
    L.slogdet,
    L.cholesky,
    L.eigh,
    L.eigvalsh,
    L.qr,
    L.svd,
    L.svdvals,
    L.pinv,
    L.lu,
]
ONE += [L.lu_factor, L.matrix_exp, L.cond, L.matrix_rank, L.tensorinv]


@pytest.mark.parametrize("fn", ONE, ids=lambda fn: fn.__name__)
def test_half_types_are_refused_with_the_way_out(fn):
    for dtype in (hybrid.float16, hybrid.bfloat16):
        with pytest.raises(hybrid.DTypeError, match=rf"{dtype.name}.*astype\(hybrid.float32\)"):
            fn(hybrid.eye(2).astype(dtype))


def test_integers_are_float32_and_float64_wins():
    assert L.inv(hybrid.tensor([[2, 0], [0, 4]])).tolist() == [[0.5, 0.0], [0.0, 0.25]]
    assert L.det(hybrid.tensor([[True, False], [False, True]])).dtype is hybrid.float32
    one, other = hybrid.eye(2), hybrid.ones(2, dtype=hybrid.float64)
    assert L.solve(one, other).dtype is hybrid.float64
    assert L.solve(one, [1.0, 2.0]).tolist() == [1.0, 2.0]
    half = hybrid.eye(2, dtype=hybrid.float64) * 2
    assert L.solve(half, [0.2, 0.4]).tolist() == [0.1, 0.2]  # numbers are not float32 first
    assert L.solve([[2.0, 0.0], [0.0, 2.0]], [1, 2]).dtype is hybrid.float32


WRONG = {
    "inv": lambda: L.inv(hybrid.ones(2, 3)),
    "inv_vector": lambda: L.inv(hybrid.ones(3)),
    "det": lambda: L.det(hybrid.ones(2, 3)),
    "cholesky": lambda: L.cholesky(hybrid.ones(2, 3)),
    "eigh": lambda: L.eigh(hybrid.ones(2, 3)),
    "svd": lambda: L.svd(hybrid.ones(3)),
    "qr": lambda: L.qr(hybrid.ones(3)),
    "pinv": lambda: L.pinv(hybrid.ones(3)),
    "solve": lambda: L.solve(hybrid.eye(3), hybrid.ones(2)),
    "solve_stack": lambda: L.solve(hybrid.ones(2, 3, 3), hybrid.ones(4, 3, 1)),
    "lstsq": lambda: L.lstsq(hybrid.eye(3), hybrid.ones(2)),
    "matrix_power": lambda: L.matrix_power(hybrid.ones(2, 3), 2),
    "multi_dot": lambda: L.multi_dot([hybrid.ones(2, 3)]),
    "multi_dot_rank": lambda: L.multi_dot([hybrid.ones(2, 3)] * 3),
    "tensorinv": lambda: L.tensorinv(hybrid.ones(2, 2, 3)),
    "tensorsolve": lambda: L.tensorsolve(hybrid.ones(2, 2, 3), hybrid.ones(2, 2)),
    "norm": lambda: L.norm(hybrid.ones(2, 2, 2), 2),
    "norm_axes": lambda: L.norm(hybrid.ones(2, 2, 2), axis=(0, 1, 2)),
    "matrix_norm": lambda: L.matrix_norm(hybrid.ones(2)),
    "cond": lambda: L.cond(hybrid.ones(0, 0)),
}


@pytest.mark.parametrize("name", WRONG)
def test_shapes(name):
    with pytest.raises(hybrid.ShapeError):
        WRONG[name]()


def test_arguments():
    for call in (
        lambda: L.qr(hybrid.eye(2), mode="raw"),
        lambda: L.eigh(hybrid.eye(2), "X"),
        lambda: L.norm(hybrid.eye(2), "nucular"),
        lambda: L.norm(hybrid.eye(2), 3),
        lambda: L.pinv(hybrid.ones(3, 3), 0.1, rtol=0.1),
        lambda: L.norm(hybrid.ones(2), "fro"),
        lambda: L.matrix_norm(hybrid.eye(2), ord=0),
        lambda: L.matrix_power(hybrid.eye(2), 0.5),
    ):
        with pytest.raises(hybrid.ArgumentError):
            call()
    with pytest.raises(hybrid.linalg.LinAlgError, match="pivot"):
        L.lu_solve(hybrid.eye(2), hybrid.tensor([9, 2]), hybrid.ones(2))


def test_a_numpy_without_its_inner_loops_serves_too(monkeypatch):
    """What hybrid asks NumPy for is public; the loops behind it only save time."""
    plain = host.lapack("no such loop", np.linalg.inv, "inv: a singular matrix")
    stack = np.stack([np.eye(2), np.ones((2, 2))])
    np.testing.assert_array_equal(plain(definite(3, 3)), np.linalg.inv(definite(3, 3)))
    with pytest.raises(hybrid.linalg.LinAlgError, match="inv: a singular matrix"):
        plain(stack)
    monkeypatch.setattr(solving, "_unchecked", host.lapack("no such loop", np.linalg.inv))
    assert np.isposinf(np.asarray(L.cond(hybrid.tensor(stack), 1))).tolist() == [False, True]
    found = solving._inv(stack, False)
    assert np.isnan(found).all((-2, -1)).tolist() == [False, True]
