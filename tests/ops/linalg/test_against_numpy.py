"""hybrid.linalg against numpy.linalg: values, dtypes, shapes, batches, empty matrices, errors."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from ops.linalg.linalg_harness import L, definite, parts, regular, same_bits

import hybrid
from hybrid.ops.linalg import small, triangles

N = np.linalg
# name -> (function of hybrid, of NumPy, operands)
SQUARE = {
    "inv": (L.inv, N.inv),
    "det": (L.det, N.det),
    "slogdet": (L.slogdet, N.slogdet),
    "qr": (L.qr, N.qr),
    "qr_complete": (lambda x: L.qr(x, "complete"), lambda x: N.qr(x, "complete")),
    "qr_r": (lambda x: L.qr(x, mode="r"), lambda x: N.qr(x, mode="r")),
    "svd": (L.svd, N.svd),
    "svd_thin": (lambda x: L.svd(x, full_matrices=False), lambda x: N.svd(x, full_matrices=False)),
    "svd_values": (lambda x: L.svd(x, compute_uv=False), lambda x: N.svd(x, compute_uv=False)),
    "svdvals": (L.svdvals, N.svdvals),
    "pinv": (L.pinv, lambda x: N.pinv(x, rtol=None)),
    "matrix_rank": (L.matrix_rank, N.matrix_rank),
    "matrix_norm": (L.matrix_norm, N.matrix_norm),
    "power_3": (lambda x: L.matrix_power(x, 3), lambda x: N.matrix_power(x, 3)),
    "power_0": (lambda x: L.matrix_power(x, 0), lambda x: N.matrix_power(x, 0)),
    "power_-2": (lambda x: L.matrix_power(x, -2), lambda x: N.matrix_power(x, -2)),
}
DEFINITE = {
    "cholesky": (L.cholesky, N.cholesky),
    "cholesky_upper": (lambda x: L.cholesky(x, upper=True), lambda x: N.cholesky(x, upper=True)),
    "eigh": (L.eigh, N.eigh),
    "eigh_upper": (lambda x: L.eigh(x, "U"), lambda x: N.eigh(x, "U")),
    "eigvalsh": (L.eigvalsh, N.eigvalsh),
    "eigvalsh_upper": (lambda x: L.eigvalsh(x, UPLO="U"), lambda x: N.eigvalsh(x, UPLO="U")),
    "svd_hermitian": (lambda x: L.svd(x, hermitian=True), lambda x: N.svd(x, hermitian=True)),
    "pinv_hermitian": (
        lambda x: L.pinv(x, hermitian=True),
        lambda x: N.pinv(x, hermitian=True, rtol=None),
    ),
    "rank_hermitian": (
        lambda x: L.matrix_rank(x, hermitian=True),
        lambda x: N.matrix_rank(x, hermitian=True),
    ),
}
CALLS = {**SQUARE, **DEFINITE}
# the calls of LAPACK are NumPy's, float32 in float64 and rounded once
SAME_BITS = {"inv", "det", "slogdet", "qr", "svd", "svdvals", "cholesky", "eigh", "eigvalsh"}
SHAPES = [(4, 4), (1, 1), (2, 3, 5, 5), (0, 3, 3), (40, 40)]


def close(found, wanted, dtype):
    eps = np.finfo(dtype).eps
    for got, want in zip(parts(found), parts(wanted), strict=True):
        got, want = np.asarray(got), np.asarray(want)
        assert got.shape == want.shape
        assert got.dtype == (want.dtype if want.dtype.kind == "f" else np.int64)
        np.testing.assert_allclose(got, want, rtol=3000 * eps, atol=3000 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CALLS)
def test_squares(name, dtype):
    ours, theirs = CALLS[name]
    for shape in SHAPES:
        made = (definite if name in DEFINITE else regular)(*shape).astype(dtype)
        with np.errstate(over="ignore"):
            wanted = theirs(made)
        close(ours(hybrid.tensor(made)), wanted, dtype)
        if name in SAME_BITS and not (name == "det" and shape[-1] <= small.SIZE):
            same_bits(ours(hybrid.tensor(made)), wanted)


@pytest.mark.parametrize(
    "name", ["qr", "qr_complete", "qr_r", "svd", "svd_thin", "svdvals", "pinv"]
)
def test_rectangles_and_nothing(name):
    ours, theirs = CALLS[name]
    for shape in [(5, 3), (2, 3, 5), (0, 3), (3, 0), (2, 0, 0)]:
        made = regular(*shape) if 0 not in shape else np.zeros(shape)
        close(ours(hybrid.tensor(made)), theirs(made), "float64")


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "cholesky", "eigh", "eigvalsh"])
def test_empty_squares(name):
    ours, theirs = CALLS[name]
    for shape in [(0, 0), (2, 0, 0)]:
        close(ours(hybrid.zeros(shape)), theirs(np.zeros(shape, np.float32)), "float32")


@pytest.mark.parametrize("name", CALLS)
def test_a_strided_operand_and_a_replay_give_the_same_bits(name):
    made = definite(3, 6, 6) if name in DEFINITE else regular(3, 6, 6)
    turned = hybrid.tensor(np.swapaxes(made, -1, -2).copy()).mT
    ours, plain = CALLS[name][0], hybrid.tensor(made)
    same_bits(ours(turned), ours(plain))
    traced = hybrid.function(lambda x: ours(x * 1))
    for _ in range(4):
        same_bits(traced(plain), ours(plain))
    assert "REPLAY" in traced.explain()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", range(1, small.SIZE + 2))
def test_large_stacks_of_small_matrices(size, dtype):
    """They are computed by kernels, with rows exchanged as LAPACK does."""
    rng = np.random.default_rng(size)
    made = rng.normal(size=(3, 50, size, size)).astype(dtype)
    one, right = np.eye(size, dtype=dtype), rng.normal(size=(50, size, 3)).astype(dtype)
    turned = made @ np.swapaxes(made, -1, -2) + one
    x, y, b = hybrid.tensor(made), hybrid.tensor(turned), hybrid.tensor(right)
    for ours, wanted in (
        (L.inv(x), N.inv(made.astype("f8"))),
        (L.solve(x, b), N.solve(made.astype("f8"), right.astype("f8"))),
        (L.solve(x, b[0, :, 0]), N.solve(made.astype("f8"), right[0, :, 0].astype("f8"))),
        (L.det(x), N.det(made.astype("f8"))),
        (L.cholesky(y), N.cholesky(turned.astype("f8"))),
        (L.cholesky(y, upper=True), N.cholesky(turned.astype("f8"), upper=True)),
    ):
        assert str(ours.dtype) == dtype and ours.shape == wanted.shape
        scale = np.abs(wanted).max(tuple(range(wanted.ndim))[2:], keepdims=True)
        error = np.abs(np.asarray(ours) - wanted) / scale
        assert error.max() < (1e-6 if dtype == "float32" else 1e-9)
    zero = hybrid.tensor(np.where(np.arange(size) == 0, 0, made))  # a column of zeros
    assert not np.asarray(L.det(zero)).any()


def test_what_float32_cannot_hold_is_infinite_without_a_word_in_both_modes():
    x = hybrid.tensor(np.eye(40, dtype="float32") * 1e3)
    traced = hybrid.function(lambda t: L.det(t * 1))
    for _ in range(4):
        assert traced(x).item() == L.det(x).item() == np.inf
    assert "REPLAY" in traced.explain()


def test_results_are_named_as_the_standard_names_them():
    x = hybrid.tensor(definite(3, 3))
    assert L.qr(x)._fields == ("Q", "R")
    assert L.svd(x)._fields == ("U", "S", "Vh")
    assert L.eigh(x)._fields == ("eigenvalues", "eigenvectors")
    assert L.slogdet(x)._fields == ("sign", "logabsdet")


def test_only_one_triangle_is_read():
    made = definite(4, 4)
    noise = np.random.default_rng(1).normal(size=(4, 4)) * 9
    lower, upper = np.tril(made) + np.triu(noise, 1), np.triu(made) + np.tril(noise, -1)
    for fn in (L.cholesky, L.eigh, L.eigvalsh):
        same_bits(fn(hybrid.tensor(lower)), fn(hybrid.tensor(made)))
    same_bits(L.cholesky(hybrid.tensor(upper), upper=True), L.cholesky(hybrid.tensor(made)).mT)
    same_bits(L.eigh(hybrid.tensor(upper), "U"), L.eigh(hybrid.tensor(made), "U"))


@pytest.fixture(params=["wheel", "numpy"])
def either_library(request, monkeypatch):
    """With the routines of NumPy's wheel, and without them."""
    if request.param == "numpy":
        monkeypatch.setattr(triangles, "LIBRARY", None)


# ---- systems
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((4, 4), (4,)),
        ((2, 4, 4), (4,)),
        ((2, 4, 4), (4, 3)),
        ((4, 4), (2, 4, 3)),
        ((2, 1, 4, 4), (3, 4, 1)),
        ((4, 4), (4, 0)),
        ((0, 0), (0, 2)),
        ((0, 4, 4), (4, 2)),
    ],
)
def test_solve(left, right):
    a, b = regular(*left), np.random.default_rng(0).normal(size=right)
    close(L.solve(hybrid.tensor(a), hybrid.tensor(b)), N.solve(a, b), "float64")


@pytest.mark.parametrize("size", [1, 5, 64, 65, 150])
@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_solve_triangular(size, upper, unit, either_library):
    a, b = regular(2, size, size) + 0.0, np.random.default_rng(0).normal(size=(size, 3))
    if unit:  # such a triangle is near to singular unless the rest is small
        a *= 0.1
    triangle = (np.triu if upper else np.tril)(a)
    if unit:
        triangle[:, range(size), range(size)] = 1
    given = {"upper": upper, "unitriangular": unit}
    found = L.solve_triangular(hybrid.tensor(a), hybrid.tensor(b), **given)
    np.testing.assert_allclose(
        triangle @ np.asarray(found), np.broadcast_to(b, found.shape), 1e-9, 1e-9
    )
    vector = L.solve_triangular(hybrid.tensor(a), hybrid.tensor(b[:, 0]), **given)
    np.testing.assert_allclose(np.asarray(vector), np.asarray(found)[..., 0], 1e-9, 1e-9)
    right = L.solve_triangular(hybrid.tensor(a), hybrid.tensor(b.T.copy()), left=False, **given)
    np.testing.assert_allclose(
        np.asarray(right) @ triangle, np.broadcast_to(b.T, right.shape), 1e-9, 1e-9
    )
    row = L.solve_triangular(hybrid.tensor(a), hybrid.tensor(b[:, 0]), left=False, **given)
    np.testing.assert_allclose(np.asarray(row), np.asarray(right)[..., 0, :], 1e-9, 1e-9)


@pytest.mark.parametrize(
    "shape", [(4, 4), (40, 6, 6), (2, 5, 3), (3, 5), (0, 3), (2, 3, 0), (70, 70), (90, 40)]
)
@pytest.mark.parametrize("pivot", [True, False])
def test_lu(shape, pivot, either_library):
    made = regular(*shape) if 0 not in shape else np.zeros(shape)
    if pivot:
        made = np.flip(made, -2).copy()  # rows have to be exchanged
    p, low, up = (np.asarray(x) for x in L.lu(hybrid.tensor(made), pivot=pivot))
    np.testing.assert_allclose(p @ low @ up, made, 1e-10, 1e-10)
    least = min(shape[-2:])
    assert low.shape[-1] == up.shape[-2] == least
    assert (np.triu(low, 1) == 0).all() and (np.tril(up, -1) == 0).all()
    assert (low[..., range(least), range(least)] == 1).all()
    assert (p.sum(-1) == 1).all() and (p.sum(-2) == 1).all()
    if pivot:
        assert np.abs(low).max(initial=0) <= 1
    packed, pivots = L.lu_factor(hybrid.tensor(made), pivot=pivot)
    np.testing.assert_array_equal(np.triu(np.asarray(packed))[..., :least, :], up)
    assert pivots.dtype is hybrid.int32 and pivots.shape == (*shape[:-2], least)


def test_the_wheel_that_tests_run_with_has_the_routines():
    if list(Path(np.__file__).parent.parent.glob("numpy.libs/libscipy_openblas64_*")):
        assert triangles.LIBRARY is not None


def test_lu_is_scipys(either_library):
    scipy = pytest.importorskip("scipy.linalg")
    made = np.random.default_rng(3).normal(size=(50, 50))
    packed, pivots = L.lu_factor(hybrid.tensor(made))
    wanted, exchanged = scipy.lu_factor(made)
    np.testing.assert_allclose(np.asarray(packed), wanted, 1e-8, 1e-10)
    np.testing.assert_array_equal(np.asarray(pivots) - 1, exchanged)


@pytest.mark.parametrize("adjoint", [True, False])
def test_lu_solve(adjoint, either_library):
    made = np.flip(regular(2, 6, 6), -2).copy()
    packed, pivots = L.lu_factor(hybrid.tensor(made))
    a = np.swapaxes(made, -1, -2) if adjoint else made
    b = np.random.default_rng(0).normal(size=(6, 2))
    found = L.lu_solve(packed, pivots, hybrid.tensor(b), adjoint=adjoint)
    close(found, N.solve(a, b), "float64")
    close(
        L.lu_solve(packed, pivots, hybrid.tensor(b[:, 0]), adjoint=adjoint),
        N.solve(a, b[:, 0]),
        "float64",
    )
    right = L.lu_solve(packed, pivots, hybrid.tensor(b.T.copy()), left=False, adjoint=adjoint)
    np.testing.assert_allclose(np.asarray(right) @ a, np.broadcast_to(b.T, right.shape), 1e-9, 1e-9)


def test_cholesky_solve():
    a, b = definite(2, 5, 5), np.random.default_rng(0).normal(size=(5, 3))
    for upper in (False, True):
        factor = L.cholesky(hybrid.tensor(a), upper=upper)
        close(L.cholesky_solve(hybrid.tensor(b), factor, upper), N.solve(a, b), "float64")


def test_tensors_as_maps():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 6)), rng.normal(size=(2, 3))
    close(L.tensorsolve(hybrid.tensor(a), hybrid.tensor(b)), N.tensorsolve(a, b), "float64")
    moved = rng.normal(size=(6, 2, 3))
    ours = L.tensorsolve(hybrid.tensor(moved), hybrid.tensor(b), axes=0)
    close(ours, N.tensorsolve(moved, b, axes=(0,)), "float64")
    close(L.tensorinv(hybrid.tensor(a)), N.tensorinv(a), "float64")
    flat = rng.normal(size=(6, 3, 2))
    close(L.tensorinv(hybrid.tensor(flat), ind=1), N.tensorinv(flat, ind=1), "float64")


@pytest.mark.parametrize(
    ("left", "right"),
    [((5, 3), (5,)), ((5, 3), (5, 2)), ((3, 5), (3,)), ((3, 3), (3, 2)), ((3, 0), (3,))],
)
def test_lstsq(left, right):
    a = regular(*left) if 0 not in left else np.zeros(left)
    b = np.random.default_rng(0).normal(size=right)
    found, wanted = L.lstsq(hybrid.tensor(a), hybrid.tensor(b)), N.lstsq(a, b)
    close(tuple(found), wanted, "float64")


def test_lstsq_of_a_stack_and_of_lower_rank():
    a, b = regular(2, 5, 3), np.random.default_rng(0).normal(size=(2, 5, 2))
    found = L.lstsq(hybrid.tensor(a), hybrid.tensor(b))
    for number in range(2):
        wanted = N.lstsq(a[number], b[number])
        close(tuple(t[number] for t in found), wanted, "float64")
    a[..., 2] = a[..., 1]
    found = L.lstsq(hybrid.tensor(a[0]), hybrid.tensor(b[0]))
    close(tuple(found), N.lstsq(a[0], b[0]), "float64")
    assert found.rank.item() == 2 and found.residuals.shape == (0,)


def test_cutoffs():
    made = np.stack([np.diag([4.0, 1.0, 1e-3]), np.diag([4.0, 1e-3, 1e-3])])
    x = hybrid.tensor(made)
    for rtol in (1e-1, [1e-1, 1e-5]):
        close(L.pinv(x, rtol=rtol), N.pinv(made, rtol=np.array(rtol)), "float64")
        close(L.matrix_rank(x, rtol=rtol), N.matrix_rank(made, rtol=np.array(rtol)), "float64")
        close(L.matrix_rank(x, rtol), N.matrix_rank(made, np.array(rtol)), "float64")
    close(L.pinv(x, 1e-1), N.pinv(made, 1e-1), "float64")
    assert L.matrix_rank(hybrid.tensor([0.0, 2.0])).item() == 1
    assert L.matrix_rank(hybrid.tensor(0.0)).item() == 0


# ---- norms
def arguments_of_norms():
    for ord in (None, 0, 1, 2, 3, 0.5, -1, -2, np.inf, -np.inf):
        for axis in (0, 1, -1, 2):
            yield (2, 3, 4), ord, axis
        yield (5,), ord, None
    for ord in (None, "fro", "f", "nuc", 1, 2, -1, -2, np.inf, -np.inf):
        for axis in ((0, 1), (1, 0), (-1, 0), (1, 2)):
            yield (2, 3, 4), ord, axis
        yield (3, 4), ord, None
    yield (2, 3, 4), None, None
    yield (), None, None


@pytest.mark.parametrize("keepdims", [False, True])
def test_norm(keepdims):
    for shape, ord, axis in arguments_of_norms():
        made = np.asarray(np.random.default_rng(0).normal(size=shape))
        found = L.norm(hybrid.tensor(made), ord, axis, keepdims)
        np.testing.assert_allclose(
            np.asarray(found),
            N.norm(made, ord, axis, keepdims),
            1e-12,
            err_msg=f"{shape} {ord} {axis}",
        )
        assert found.shape == np.shape(N.norm(made, ord, axis, keepdims)), (shape, ord, axis)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3), (2, 3, 0), (0, 2, 3)])
def test_norms_of_nothing(shape):
    """The largest of none is 0, the smallest is refused, as in NumPy."""
    made = np.zeros(shape)
    axes = [None, *range(len(shape)), *[(0, 1), (-1, -2)][: 2 * (len(shape) > 1)]]
    for ord, axis in itertools.product(
        (None, "fro", "nuc", 2, -2, 1, -1, 0, 3, np.inf, -np.inf), axes
    ):
        call = hybrid.function(lambda x, ord=ord, axis=axis: L.norm(x, ord, axis))
        try:
            with np.errstate(all="ignore"):
                wanted = N.norm(made, ord, axis)
        except ValueError:
            with pytest.raises(hybrid.HybridError):
                L.norm(hybrid.tensor(made), ord, axis)
            continue
        for _ in range(3):
            found = np.asarray(call(hybrid.tensor(made)))
            assert found.shape == np.shape(wanted) and np.array_equal(found, wanted), (ord, axis)


def test_cutoffs_of_nothing():
    for shape in ((0, 0), (0, 2), (2, 0), (2, 0, 2)):
        made = np.zeros(shape)
        for cutoff in (0.1, [0.1, 0.2], [[0.5, 0.1]]):
            for name in ("pinv", "matrix_rank"):
                found = getattr(L, name)(hybrid.tensor(made), rtol=cutoff)
                assert found.shape == getattr(N, name)(made, rtol=np.array(cutoff)).shape
    with pytest.raises(hybrid.ShapeError):
        L.pinv(hybrid.zeros((0, 2, 2)), rtol=[0.1, 0.2])


def test_norms_of_the_standard():
    made = np.random.default_rng(0).normal(size=(2, 3, 4))
    x = hybrid.tensor(made)
    for ord in ("fro", "nuc", 1, 2, -1, -2, np.inf, -np.inf):
        for keepdims in (False, True):
            close(
                L.matrix_norm(x, ord=ord, keepdims=keepdims),
                N.matrix_norm(made, ord=ord, keepdims=keepdims),
                "float64",
            )
    for axis in (None, 1, (0, 2), (0, 1, 2)):
        close(L.vector_norm(x, axis=axis, ord=3), N.vector_norm(made, axis=axis, ord=3), "float64")
        close(
            L.vector_norm(x, axis=axis, keepdims=True),
            N.vector_norm(made, axis=axis, keepdims=True),
            "float64",
        )


def test_cond():
    made = regular(2, 4, 4)
    made[1, 0] = made[1, 1]  # singular
    for p in (None, 2, -2, 1, -1, "fro", np.inf, -np.inf):
        found, wanted = np.asarray(L.cond(hybrid.tensor(made), p)), N.cond(made, p)
        np.testing.assert_allclose(found[0], wanted[0], 1e-9)
        assert (found[1] > 1e12) == (wanted[1] > 1e12)
    close(L.cond(hybrid.tensor(made[0]), "nuc"), N.cond(made[0], "nuc"), "float64")
    made[0, 0, 0] = np.nan
    assert np.isnan(np.asarray(L.cond(hybrid.tensor(made), 1))[0])
    assert L.cond(hybrid.zeros(2, 2), 1).item() == np.inf


# ---- products
def test_matrix_exp():
    scipy = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(0)
    for size, scale in ((1, 1.0), (3, 0.01), (4, 1.0), (5, 20.0), (12, 3.0)):
        made = rng.normal(size=(2, size, size)) * scale
        made[1] *= 1e-3
        for dtype, tolerance in (("float64", 1e-10), ("float32", 2e-3 if scale > 5 else 3e-5)):
            given = made.astype(dtype)
            found, wanted = (
                np.asarray(L.matrix_exp(hybrid.tensor(given))),
                scipy.expm(given.astype(float)),
            )
            np.testing.assert_allclose(found, wanted, tolerance, tolerance * np.abs(wanted).max())
            assert found.dtype == dtype
    assert np.isnan(np.asarray(L.matrix_exp(hybrid.tensor([[np.inf, 0.0], [0.0, 0.0]])))).all()


def test_powers_of_integers_stay_integers():
    x = hybrid.tensor([[1, 1], [1, 0]])
    assert L.matrix_power(x, 10).tolist() == [[89, 55], [55, 34]]
    assert L.matrix_power(x, 0).dtype is hybrid.int64
    assert L.matrix_power(x, -1).tolist() == [[0.0, 1.0], [1.0, -1.0]]


@pytest.mark.parametrize(
    "sizes", [(2, 3, 4), (10, 100, 5, 50), (3, 1, 6, 2, 7), (4, 30, 30, 30, 1)]
)
def test_multi_dot(sizes):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=pair) for pair in zip(sizes, sizes[1:])]
    close(L.multi_dot([hybrid.tensor(a) for a in arrays]), N.multi_dot(arrays), "float64")
    arrays[0], arrays[-1] = arrays[0][0], arrays[-1][:, 0]
    close(L.multi_dot([hybrid.tensor(a) for a in arrays]), N.multi_dot(arrays), "float64")


def test_products_of_the_standard():
    x, y = hybrid.arange(3), hybrid.arange(3) + 1
    assert L.outer(x, y).tolist() == np.outer([0, 1, 2], [1, 2, 3]).tolist()
    for name in ("matmul", "matrix_transpose", "tensordot", "vecdot", "kron"):
        assert getattr(L, name) is getattr(hybrid, name)
    with pytest.raises(hybrid.ShapeError, match="flattens"):
        L.outer(hybrid.ones(2, 2), y)
