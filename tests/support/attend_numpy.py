"""Attention and its gradients in NumPy, operation for operation as ops/attend.py defines them: the
oracle of the kernels, bit for bit.

Invariant: nothing here is shared with the generators but the weight's program and the two sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from program_numpy import _reduce, fma32, fma64, run_program

from hybrid.ir.attend import BLOCK, TILE

__all__ = ["attention", "attention_grad"]


def _chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a[m, k] @ b[k, n]: one fma chain per element, from +0.0."""
    fma = fma32 if a.dtype == np.float32 else fma64
    total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for i in range(a.shape[1]):
        x, y = np.broadcast_arrays(a[:, i : i + 1], b[i : i + 1])
        total = fma(x, y, total)
    return total


class _Scores:
    """Scores and weights of one batch position."""

    def __init__(self, k: Any, q: Any, key: Any, mask: Any, factor: Any) -> None:
        self.k, self.d = k, q.dtype.type
        s = _chain(q, key.T) * self.d(k.scale)
        if mask is not None:
            s = np.where(mask, s, self.d(-np.inf)) if mask.dtype == bool else s + mask
        i, j = np.indices(s.shape)
        self.there = (j // TILE <= i // TILE) if k.causal else np.ones(s.shape, bool)
        self.scores = np.where(j > i, self.d(-np.inf), s) if k.causal else s
        self.factor = np.broadcast_to(self.d(1) if factor is None else factor, s.shape)

    def weight(self, score: Any, base: Any) -> np.ndarray:
        x, y = np.broadcast_arrays(score, base)
        return run_program(self.k.weight, [np.array(x), np.array(y)])[0]


def _base(top: Any) -> Any:
    return np.where(top == -np.inf, np.zeros_like(top), top)


def _blocks(n: int) -> list[slice]:
    return [slice(j, min(j + BLOCK, n)) for j in range(0, n, BLOCK)]


def attention(
    k: Any, q: Any, key: Any, value: Any, mask: Any, factor: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """out, peak and total of one batch position."""
    m, n = len(q), len(key)
    x, d = _Scores(k, q, key, mask, factor), q.dtype.type
    out, peak, total = np.zeros((m, value.shape[1]), d), np.full(m, -np.inf, d), np.zeros(m, d)
    for i in range(m):
        for block in _blocks(n):
            js = np.arange(n)[block][x.there[i, block]]
            if not len(js):
                continue
            before, scores = peak[i], x.scores[i, js]
            top = before
            for score in scores:
                top = score if score > top else top
            base = _base(top)
            p = x.weight(scores, base)
            part = _reduce("rsum", p)[0]
            product = _chain((p * x.factor[i, js])[None], value[js])[0]
            if js[0] == 0:
                total[i], out[i] = part, product
            else:
                decay = x.weight(before, base)
                total[i] = total[i] * decay + part
                out[i] = out[i] * decay + product
            peak[i] = top
    out = np.where(total[:, None] == 0, d(0), out / total[:, None])
    return out, peak, total


def attention_grad(
    k: Any, q: Any, key: Any, value: Any, mask: Any, factor: Any, *more: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dq, dk and dv of one batch position; `more`: g, peak, total, delta."""
    g, peak, total, delta = more
    m, n, d = len(q), len(key), q.dtype.type
    x = _Scores(k, q, key, mask, factor)
    share = np.where(total == 0, d(0), d(1) / total)
    p = x.weight(x.scores, _base(peak)[:, None]) * share[:, None]
    ds = p * (_chain(g, value.T) * x.factor - delta[:, None])
    w = p * x.factor
    dq, dk, dv = np.zeros_like(q), np.zeros_like(key), np.zeros_like(value)
    for i in range(m):
        for block in _blocks(n):
            js = np.arange(n)[block][x.there[i, block]]
            if len(js):
                chain = _chain(ds[i : i + 1, js], key[js])[0]
                dq[i] = chain if js[0] == 0 else dq[i] + chain
    for j in range(n):
        begun = False
        for block in _blocks(m):
            rows = np.arange(m)[block][x.there[block, j]]
            if len(rows):
                a, b = _chain(ds[rows, j][None], q[rows])[0], _chain(w[rows, j][None], g[rows])[0]
                dk[j], dv[j] = (dk[j] + a, dv[j] + b) if begun else (a, b)
                begun = True
    scale = d(k.scale)
    return dq * scale, dk * scale, dv
