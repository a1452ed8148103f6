"""Gradients of values used in pieces: slices joined, products of a shared weight merged, fallbacks.

Invariant: the totals agree with NumPy, eager and traced give the same bits, and no chain of zero
boxes is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb


def _values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _slices(x: Any) -> Any:
    return sum(((i + 1) * x[:, i]).sum() for i in range(x.shape[1]))


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "every column": (_slices, lambda x: np.broadcast_to(np.arange(1.0, x.shape[1] + 1), x.shape)),
    "backwards": (
        lambda x: sum((x[:, i] * (i + 1)).sum() for i in reversed(range(x.shape[1]))),
        lambda x: np.broadcast_to(np.arange(1.0, x.shape[1] + 1), x.shape),
    ),
    "gaps": (
        lambda x: (x[:, 1:2] * 3).sum() + (x[:, 4:6] * 5).sum(),
        lambda x: (
            np.where(np.arange(6) == 1, 3.0, np.where(np.arange(6) >= 4, 5.0, 0.0))
            * np.ones_like(x)
        ),
    ),
    "overlap": (
        lambda x: (x[:, 1:] * 2).sum() + (x[:, :-1] * 3).sum(),
        lambda x: (
            np.where(np.arange(6) == 0, 3.0, np.where(np.arange(6) == 5, 2.0, 5.0))
            * np.ones_like(x)
        ),
    ),
    "steps": (
        lambda x: (x[:, ::2] * 2).sum() + (x[:, 1::2] * 3).sum(),
        lambda x: np.where(np.arange(6) % 2 == 0, 2.0, 3.0) * np.ones_like(x),
    ),
    "two axes": (
        lambda x: (x[:2, :3] * 2).sum() + (x[2:, 3:] * 3).sum(),
        lambda x: (
            np.pad(np.full((2, 3), 2.0), ((0, 2), (0, 3)))
            + np.pad(np.full((2, 3), 3.0), ((2, 0), (3, 0)))
        ),
    ),
    "inner box": (
        lambda x: (x[1:3, 1:2] * 2).sum() + (x[1:3, 2:4] * 3).sum(),
        lambda x: np.pad(np.tile([2.0, 3.0, 3.0], (2, 1)), ((1, 1), (1, 2))),
    ),
    "and whole": (
        lambda x: (x * 7).sum() + _slices(x),
        lambda x: 7 + np.arange(1.0, 7) * np.ones_like(x),
    ),
    "empty": (
        lambda x: x[:, 3:3].sum() + x[:, 0].sum(),
        lambda x: (np.arange(6) == 0) * np.ones_like(x),
    ),
    "chunks": (
        lambda x: sum((c * k).sum() for k, c in enumerate(x.chunk(3, 1))),
        lambda x: np.repeat([0.0, 1.0, 2.0], 2) * np.ones_like(x),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_gradient_of_pieces(name: str) -> None:
    function, expected = CASES[name]
    x = _values(4, 6)
    gradient = hb.grad(function)
    eager = gradient(hb.tensor(x)).numpy()
    np.testing.assert_allclose(eager, expected(x), rtol=1e-6)
    traced = hb.function(gradient)
    for _ in range(3):
        got = traced(hb.tensor(x)).numpy()
        assert got.tobytes() == eager.tobytes()


def test_slices_are_joined_and_not_added() -> None:
    traced = hb.function(hb.grad(_slices))
    for _ in range(3):
        traced(hb.tensor(_values(4, 6)))
    prepared, reason = traced.prepared()
    assert prepared is not None, reason
    kinds = [n.op.kind for n in prepared.result.graph.nodes]
    assert kinds.count("place") <= 1


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_shared_weight(rows: int) -> None:
    """Few rows are merged into one product, many are added up; both are the sum over all uses."""
    xs = [_values(rows, 8, seed=i) for i in range(5)]
    weight = _values(16, 8, seed=9)

    def loss(w: Any, *parts: Any) -> Any:
        return sum((hb.nn.functional.linear(p, w) ** 2).sum() for p in parts)

    expected = sum(2 * (x.astype(np.float64) @ weight.T).T @ x for x in xs)
    gradient = hb.grad(loss)
    parts = [hb.tensor(x) for x in xs]
    eager = gradient(hb.tensor(weight), *parts).numpy()
    np.testing.assert_allclose(eager, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
    traced = hb.function(gradient)
    for _ in range(3):
        assert traced(hb.tensor(weight), *parts).numpy().tobytes() == eager.tobytes()


def test_second_derivative_through_pieces() -> None:
    x = hb.tensor(_values(2, 4))

    def cubes(t: Any) -> Any:
        return sum((t[:, i] ** 3).sum() for i in range(4))

    second = hb.grad(lambda t: hb.grad(cubes)(t).sum())(x)
    np.testing.assert_allclose(second.numpy(), 6 * x.numpy(), rtol=1e-6)


def test_slice_of_a_half_tensor_and_of_a_leaf_grad() -> None:
    x = hb.tensor(_values(3, 4)).astype(hb.bfloat16)
    got = hb.grad(lambda t: sum((t[:, i] * (i + 1)).sum() for i in range(4)).astype(hb.float32))(x)
    assert got.dtype == hb.bfloat16
    np.testing.assert_array_equal(
        got.numpy().astype(np.float32), np.tile([1.0, 2.0, 3.0, 4.0], (3, 1))
    )
    p = hb.tensor(_values(3, 4), requires_grad=True)
    for _ in range(2):
        (p[:, 0].sum() + p[:, 2].sum()).backward()
    np.testing.assert_array_equal(p.grad.numpy(), np.tile([2.0, 0.0, 2.0, 0.0], (3, 1)))
