"""Matrices for tests, and gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid

L = hybrid.linalg


def regular(*shape: int, seed: int = 0) -> np.ndarray:
    """Matrices far from singular, with singular values far from each other; float64."""
    rng = np.random.default_rng(seed)
    made = rng.uniform(-0.5, 0.5, shape)
    for place in range(min(shape[-2:])):
        made[..., place, place] += 3 + 2 * place
    return made


def definite(*shape: int, seed: int = 0) -> np.ndarray:
    """Symmetric, positive definite ones."""
    made = regular(*shape, seed=seed)
    return made + np.swapaxes(made, -1, -2)


def parts(found: Any) -> tuple[Any, ...]:
    """The results of a call, one or several."""
    return found if isinstance(found, tuple) else (found,)


def same_bits(one: Any, other: Any) -> None:
    """Two results of calls agree in dtype, shape and bits."""
    for left, right in zip(parts(one), parts(other), strict=True):
        left, right = np.asarray(left), np.asarray(right)
        assert left.dtype == right.dtype and left.shape == right.shape
        assert left.tobytes() == right.tobytes()


def weighed(fn: Callable[..., Any], seed: int = 5) -> Callable[..., Any]:
    """A scalar of all floating results of `fn`, and of their squares."""

    def loss(*tensors: Any) -> Any:
        rng, total = np.random.default_rng(seed), 0.0
        for out in parts(fn(*tensors)):
            if str(out.dtype).startswith("float"):
                total = total + (out * hybrid.tensor(rng.uniform(0.5, 1.5, out.shape))).sum()
                total = total + (out * out).sum() * 0.1
        return total

    return loss


def slope(value: Callable[..., float], xs: list[np.ndarray], steps: list[np.ndarray]) -> float:
    """Central difference of fourth order."""
    h = 1e-4

    def at(t: float) -> float:
        return value(*[x + t * d for x, d in zip(xs, steps)])

    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


def check_gradients(fn: Callable[..., Any], *xs: np.ndarray, second: bool = True) -> None:
    """First and second derivatives of `fn` along random directions."""
    loss, rng = weighed(fn), np.random.default_rng(7)
    given = list(xs)
    steps, others = ([rng.uniform(-1, 1, x.shape) for x in xs] for _ in range(2))

    def leaves(arrays: Any) -> list[Any]:
        return [hybrid.tensor(x, requires_grad=True) for x in arrays]

    def along(*arrays: np.ndarray) -> float:
        tensors = leaves(arrays)
        found = hybrid.gradients(loss(*tensors), tensors)
        return float(sum((np.asarray(g) * d).sum() for g, d in zip(found, steps)))

    want = slope(lambda *a: float(loss(*map(hybrid.tensor, a)).item()), given, steps)
    np.testing.assert_allclose(along(*given), want, rtol=2e-6, atol=2e-6)
    if not second:
        return
    tensors = leaves(given)
    first = hybrid.gradients(loss(*tensors), tensors, create_graph=True)
    total = sum((g * hybrid.tensor(d)).sum() for g, d in zip(first, steps))
    found = hybrid.gradients(total, tensors)
    got = float(sum((np.asarray(g) * d).sum() for g, d in zip(found, others)))
    np.testing.assert_allclose(got, slope(along, given, others), rtol=2e-5, atol=2e-5)
