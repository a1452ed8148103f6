"""Inputs for attention, its exact result, and comparison bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np

import hybrid

attend = hybrid.scaled_dot_product_attention
INF = float("inf")


def bits(x: Any) -> np.ndarray:
    x = np.ascontiguousarray(x)
    x = np.where(np.isnan(x), np.asarray(np.nan, x.dtype), x)
    return x.reshape(-1).view(np.uint8)


def same(got: Any, want: Any, what: str = "") -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_array_equal(bits(got), bits(want), err_msg=what)


def normal(seed: int, *shape: int, d: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(d)


def exact(
    q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: Any = None
) -> np.ndarray:
    """Attention in long double; a row without a key gives 0."""
    q, k, v = (np.asarray(x).astype(np.longdouble) for x in (q, k, v))
    s = q @ np.swapaxes(k, -1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask.astype(np.longdouble)
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    top = s.max(-1, initial=-np.inf, keepdims=True)
    p = np.exp(s - np.where(top == -np.inf, 0, top))
    total = p.sum(-1, keepdims=True)
    with np.errstate(all="ignore"):
        return (p @ v) / np.where(total == 0, 1, total)


def step(*xs: Any, **more: Any) -> tuple[Any, ...]:
    out = attend(*xs[:3], *xs[3:], **more)
    leaves = [x for x in xs if x.requires_grad]
    return (out, *hybrid.gradients((out * out).sum(), leaves))
