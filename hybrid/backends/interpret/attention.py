"""Attention and its gradients in NumPy, operation for operation as the numerics contract has them.

Invariant: nothing here is shared with the generators but the weight's program and the two sizes, so
results may be compared with native kernels bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.attend import BLOCK, TILE
from ..plan import AttendKernel
from .program import fma, reduced, run_program

__all__ = ["attention", "attention_grad"]

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def _chain(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left[m, k] @ right[k, n]: one fma chain per element, from +0.0."""
    total = np.zeros((left.shape[0], right.shape[1]), left.dtype)
    for k in range(left.shape[1]):
        x, y = np.broadcast_arrays(left[:, k : k + 1], right[k : k + 1])
        total = fma(x, y, total)
    return total


class _Scores:
    """Scores of one batch position, which pairs take part, and the weights of scores."""

    def __init__(
        self, kernel: AttendKernel, query: np.ndarray, key: np.ndarray, mask: Any, factor: Any
    ) -> None:
        self.program, number = kernel.weight, query.dtype.type
        scores = _chain(query, key.T) * number(kernel.scale)
        if mask is not None and mask.dtype == bool:
            scores = np.where(mask, scores, number(-np.inf))
        elif mask is not None:
            scores = scores + mask
        i, j = np.indices(scores.shape)
        self.paired = np.ones(scores.shape, bool)
        if kernel.causal:
            self.paired = j // TILE <= i // TILE
            scores = np.where(j > i, number(-np.inf), scores)
        self.scores = scores
        self.factor = np.broadcast_to(number(1) if factor is None else factor, scores.shape)

    def weight(self, score: Any, base: Any) -> np.ndarray:
        """exp(score - base), as the record's body says it."""
        operands = np.broadcast_arrays(score, base)
        return run_program(self.program, [np.array(x) for x in operands])[0]


def _base(peak: Any) -> Any:
    """What is subtracted from scores: 0 where there is no key."""
    return np.where(peak == -np.inf, np.zeros_like(peak), peak)


def _blocks(paired: np.ndarray) -> list[np.ndarray]:
    """Numbers of the keys (or queries) that take part, block by block; blocks without one go."""
    found = [
        start + np.flatnonzero(paired[start : start + BLOCK])
        for start in range(0, len(paired), BLOCK)
    ]
    return [block for block in found if len(block)]


def attention(
    kernel: AttendKernel,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: Any,
    factor: Any,
) -> Arrays:
    """out, peak and total of one batch position."""
    rows, number = len(query), query.dtype.type
    pairs = _Scores(kernel, query, key, mask, factor)
    out = np.zeros((rows, value.shape[1]), query.dtype)
    peak, total = np.full(rows, -np.inf, query.dtype), np.zeros(rows, query.dtype)
    for i in range(rows):
        for block in _blocks(pairs.paired[i]):
            scores, before = pairs.scores[i, block], peak[i]
            for score in scores:
                peak[i] = score if score > peak[i] else peak[i]
            base = _base(peak[i])
            weights = pairs.weight(scores, base)
            part = reduced("rsum", weights)[0]
            product = _chain((weights * pairs.factor[i, block])[None], value[block])[0]
            if block[0] == 0:
                total[i], out[i] = part, product
            else:
                decay = pairs.weight(before, base)
                total[i], out[i] = total[i] * decay + part, out[i] * decay + product
    return np.where(total[:, None] == 0, number(0), out / total[:, None]), peak, total


def attention_grad(
    kernel: AttendKernel,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: Any,
    factor: Any,
    grad: np.ndarray,
    peak: np.ndarray,
    total: np.ndarray,
    delta: np.ndarray,
) -> Arrays:
    """Gradients of query, key and value of one batch position, from that of the result."""
    number = query.dtype.type
    pairs = _Scores(kernel, query, key, mask, factor)
    share = np.where(total == 0, number(0), number(1) / total)
    weights = pairs.weight(pairs.scores, _base(peak)[:, None]) * share[:, None]
    slopes = weights * (_chain(grad, value.T) * pairs.factor - delta[:, None])
    kept, scale = weights * pairs.factor, number(kernel.scale)
    to_query = [_summed(slopes[i], pairs.paired[i], key) for i in range(len(query))]
    columns = range(len(key))
    to_key = [_summed(slopes[:, j], pairs.paired[:, j], query) for j in columns]
    to_value = [_summed(kept[:, j], pairs.paired[:, j], grad) for j in columns]
    return (
        np.reshape(to_query, query.shape).astype(query.dtype) * scale,
        np.reshape(to_key, key.shape).astype(key.dtype) * scale,
        np.reshape(to_value, value.shape).astype(value.dtype),
    )


def _summed(weights: np.ndarray, paired: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """sum over j of weights[j] * rows[j]: fma chains in blocks, block sums in order."""
    total = None
    for block in _blocks(paired):
        part = _chain(weights[None, block], rows[block])[0]
        total = part if total is None else total + part
    return np.zeros(rows.shape[1], rows.dtype) if total is None else total
