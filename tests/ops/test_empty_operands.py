"""Contractions, convolutions, pools, reductions and norms of tensors without elements: the values
that NumPy has, and gradients, eagerly and replayed."""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb

SHAPES = [s for n in (1, 2, 3) for s in itertools.product((0, 1, 3), repeat=n)]
PAIRS = [
    (a, b)
    for a, b in itertools.product(SHAPES, repeat=2)
    if 0 in a + b
    and a[-1] == (b[-2] if len(b) > 1 else b[0])
    and (min(len(a), len(b)) < 3 or 1 in (a[0], b[0]) or a[0] == b[0])
]


def ones(shape: Any) -> Any:
    return np.ones(shape, np.float32)


def both(f: Callable[..., Any], *args: Any) -> np.ndarray:
    """f's value, which three decorated calls repeat bit for bit."""
    want, traced = f(*args).numpy(), hb.function(f)
    for _ in range(3):
        got = traced(*args).numpy()
        assert got.shape == want.shape and got.tobytes() == want.tobytes()
    return want


def gradients(f: Callable[..., Any]) -> Callable[..., Any]:
    """All gradients of the sum of f, as one row."""

    def run(*xs: Any) -> Any:
        gs = hb.grad(lambda *xs: f(*xs).sum(), argnums=tuple(range(len(xs))))(*xs)
        return hb.concat([g.reshape(-1) for g in gs])

    return run


@pytest.mark.parametrize("part", range(8))
def test_products_without_elements(part: int) -> None:
    for a, b in PAIRS[part::8]:
        x, y = hb.tensor(ones(a)), hb.tensor(ones(b))
        want = ones(a) @ ones(b)
        got = (x @ y).numpy()
        assert got.shape == want.shape and np.array_equal(got, want)
    for a, b in PAIRS[part::64]:
        x, y = hb.tensor(ones(a)), hb.tensor(ones(b))
        both(lambda x, y: x @ y + 1.0, x, y)
        assert (
            not both(gradients(lambda x, y: x @ y), x, y).any()
            or 0 not in (ones(a) @ ones(b)).shape
        )


@pytest.mark.parametrize(
    "spec, a, b",
    [
        ("bij,jk->bik", (2, 0, 1), (1, 3)),
        ("ij,jk->ik", (2, 0), (0, 3)),
        ("bij,bjk->bik", (0, 2, 0), (0, 0, 3)),
        ("ijk,kl->ijl", (0, 0, 2), (2, 2)),
        ("i,i->", (0,), (0,)),
    ],
)
def test_einsum_without_elements(spec: str, a: Any, b: Any) -> None:
    got = both(lambda x, y: hb.einsum(spec, x, y), hb.tensor(ones(a)), hb.tensor(ones(b)))
    assert np.array_equal(got, np.einsum(spec, ones(a), ones(b)))


@pytest.mark.parametrize(
    "x, w",
    [((0, 4), (3, 4)), ((2, 0), (3, 0)), ((2, 4), (0, 4)), ((2, 0, 1), (3, 1)), ((0,), (3, 0))],
)
def test_linear_without_elements(x: Any, w: Any) -> None:
    def f(x: Any, w: Any, b: Any) -> Any:
        return hb.linear(x, w, b)

    args = [hb.tensor(ones(s)) for s in (x, w, w[:1])]
    assert np.array_equal(both(f, *args), ones(x) @ ones(w).T + 1)
    both(gradients(f), *args)


@pytest.mark.parametrize(
    "f, x, w",
    [
        (hb.conv2d, (0, 2, 4, 4), (3, 2, 2, 2)),
        (hb.conv2d, (1, 2, 4, 4), (0, 2, 2, 2)),
        (hb.conv2d, (1, 0, 4, 4), (3, 0, 2, 2)),
        (hb.conv_transpose2d, (0, 2, 4, 4), (2, 3, 2, 2)),
        (hb.conv_transpose2d, (1, 0, 4, 4), (0, 3, 2, 2)),
        (hb.conv1d, (0, 2, 4), (3, 2, 2)),
        (hb.conv1d, (1, 2, 4), (0, 2, 2)),
        (hb.conv3d, (0, 2, 4, 4, 4), (3, 2, 2, 2, 2)),
        (hb.conv3d, (1, 2, 4, 4, 4), (0, 2, 2, 2, 2)),
        (hb.conv3d, (1, 0, 4, 4, 4), (3, 0, 2, 2, 2)),
        (hb.conv_transpose1d, (0, 2, 4), (2, 3, 2)),
        (hb.conv_transpose3d, (0, 2, 4, 4, 4), (2, 3, 2, 2, 2)),
        (hb.conv_transpose3d, (1, 0, 4, 4, 4), (0, 3, 2, 2, 2)),
    ],
)
def test_convolutions_without_elements(f: Any, x: Any, w: Any) -> None:
    args = hb.tensor(ones(x)), hb.tensor(ones(w))
    assert not both(lambda x, w: f(x, w), *args).any()
    assert not both(gradients(lambda x, w: f(x, w)), *args).any()


@pytest.mark.parametrize("lead", [(0, 2), (1, 0)])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
def test_pools_without_elements(name: str, axes: int, lead: Any) -> None:
    f, shape = getattr(hb, f"{name}{axes}d"), (*lead, *[4] * axes)
    assert both(lambda x: f(x, 2), hb.tensor(ones(shape))).size == 0
    assert both(gradients(lambda x: f(x, 2)), hb.tensor(ones(shape))).size == 0


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (0, 0), (2, 0, 3)])
def test_reductions_without_elements(shape: Any, axis: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("sum", "prod", "mean", "var", "std"):
            f, x = getattr(hb, name), hb.tensor(ones(shape))
            want = getattr(np, name)(ones(shape), axis=axis)
            np.testing.assert_array_equal(both(lambda x, f=f: f(x, axis=axis), x), want)
            both(gradients(lambda x, f=f: f(x, axis=axis)), x)
    for p in (1.0, 2.0, 3.0, 0.5, 0.0):
        got = both(lambda x, p=p: hb.norm(x, p, axis), hb.tensor(ones(shape)))
        assert not got.any()


def test_norms_without_elements() -> None:
    for f, shape in (
        (lambda x: hb.layer_norm(x, 3), (0, 3)),
        (lambda x: hb.layer_norm(x, (0,)), (2, 0)),
        (lambda x: hb.rms_norm(x, (0,)), (2, 0)),
        (lambda x: hb.group_norm(x, 2), (2, 4, 0)),
        (lambda x: hb.group_norm(x, 2), (0, 4, 3)),
        (lambda x: hb.softmax(x, 0), (2, 0)),
        (lambda x: hb.log_softmax(x, 1), (2, 0)),
        (lambda x: hb.cumulative_sum(x, 0), (0, 3)),
        (lambda x: hb.cumulative_prod(x, 1), (2, 0)),
        (lambda x: hb.sort(x, 1), (2, 0)),
    ):
        x = hb.tensor(ones(shape))
        assert both(f, x).shape == shape and both(gradients(f), x).size == 0


@pytest.mark.parametrize("d", ["bool", "int8", "float32"])
@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "argmax"])
def test_no_elements_have_no_extreme(name: str, d: str) -> None:
    for shape, axis in (((0,), None), ((2, 0), 1), ((0, 3), 0)):
        with pytest.raises(hb.ShapeError, match="no elements"):
            getattr(hb, name)(hb.ones(shape, dtype=d), axis)
    assert getattr(hb, name)(hb.ones((0, 3), dtype=d), 1).shape == (0,)
