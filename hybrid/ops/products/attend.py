"""The records of attention and of its gradients, and the order of their sums, which is an ABI.

All in the operands' dtype (float32 or float64; half types are converted before and after), every
operation rounded, `fma` where a chain is named.  With b = 0, 1, ... the blocks of 256 keys:

* score[i, j]: one fma chain over the features, increasing, from +0.0; times scale; plus a floating
  mask, or -inf where a bool mask is false.  `causal`: the pairs with j // 32 > i // 32 take part in
  nothing below; of the others those with j > i have the score -inf.
* Of block b: top = before (-inf at b = 0), then for every key in order the score if it is greater;
  a NaN never is.  base = 0 where top is -inf, else top.  p[i, j] = exp(score - base).
  part = sum of p in "lanes" order.  w = p, times the factor (dropout) where there is one.
  product[i] = one fma chain over the keys of the block, increasing, from +0.0, of w[i, j] * v[j].
* b = 0: total = part, out = product.  Then, with decay = exp(before - base): total = total * decay
  + part, out = out * decay + product; product and sum are rounded each.  A block of which no key
  takes part is not there.
* At the end out = out / total; where total is 0 (no key, or all scores -inf) it is +0.0, whatever
  the values are.  peak = the last top.  A score that is NaN or +inf makes its row NaN; a NaN or
  infinite value meets the weight 0 of an excluded key that takes part as 0 * NaN does.

Gradients: base as above from the saved peak; r = 1 / total, 0 where total is 0;
p = exp(score - base) * r; dp = one fma chain over the values' features of g[i] and v[j], times the
factor; ds = p * (dp - delta), with delta = sum(g * out) of the row; w = p, times the factor.

* dq[i]: per block of keys one fma chain over j, from +0.0, of ds[i, j] * k[j]; the blocks' chains
  are added in order, then times scale.
* dk[j], dv[j]: per block of 256 queries one fma chain over i, from +0.0, of ds[i, j] * q[i] and
  w[i, j] * g[i]; the blocks' chains are added in order; dk times scale.
* Without a pair that takes part a gradient is +0.0 (dq, dk: times scale).

Where operands are `narrow`, values of a half type, or float32 products may be fast, a device may
use tensor cores: their factors are rounded and their sums are in another order.

Second derivatives, and the gradients of a floating mask, of the factor, peak and total, are written
with public ops over [..., queries, keys].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError, ShapeError
from ...ir import attend as layouts
from ...ir.door.bind import bind
from ...ir.door.bind import convert as astype
from ...ir.op import AttendOp, register
from ...ir.scalar.program import Builder, Val
from ..axes.reduce import sum as sum_
from ..axes.reduce import sum_like
from ..axes.views import expand_dims, matrix_transpose
from ..base.common import draw, wide
from ..build.create import ones
from ..build.matrices import tril
from ..elementwise.arithmetic import add, divide, multiply, subtract
from ..elementwise.functions import exp
from ..elementwise.logic import equal
from ..elementwise.selection import where
from ..formulas.exponential import exp_limits, exp_parts
from ..formulas.tools import clamp, vanishing
from .contract import matmul

__all__ = ["ATTENTION", "ATTENTION_GRAD"]

Tensor = Any
NAMES = ("scale", "causal", "masked", "narrow")


def _weight(algebra: Builder, score: Val, base: Val) -> Val:
    """exp(score - base), whose argument is not positive."""
    distance, lowest = score - base, exp_limits(score.type)[0]
    excess, power, _ = exp_parts(algebra, clamp(algebra, distance, lowest, None))
    power = vanishing(algebra, power, distance < lowest)
    return (excess + 1.0) * power * power


def _same_float(*avals: Aval, loose: int | None = None) -> None:
    """One floating dtype with an arithmetic of its own for all but input `loose`, which may be
    bool."""
    kinds = {a.dtype for i, a in enumerate(avals) if i != loose or a.dtype is not dt.bool_}
    if len(kinds) != 1 or not kinds <= {dt.float32, dt.float64}:
        names = ", ".join(a.dtype.name for a in avals)
        raise DTypeError(f"attention takes float32 or float64 tensors of one dtype, not {names}")


# ---- over all pairs, in public ops
def _sum_all(parts: Iterable[Tensor | None]) -> Tensor | None:
    total: Tensor | None = None
    for part in parts:
        if part is not None:
            total = part if total is None else add(total, part)
    return total


class _Pairs:
    """Scores, weights and their gradients as tensors [..., queries, keys]."""

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        values: Tensor,
        peak: Tensor,
        total: Tensor,
        rest: Any,
        params: Any,
    ) -> None:
        self.q, self.k, self.v = query, key, values
        self.scale = params["scale"]
        self.mask = rest[0] if params["masked"] else None
        self.factor = rest[-1] if len(rest) > params["masked"] else None
        self.peak, self.total = expand_dims(peak, -1), expand_dims(total, -1)
        scores = multiply(matmul(query, matrix_transpose(key)), self.scale)
        if self.mask is not None:
            bool_ = self.mask.dtype is dt.bool_
            scores = where(self.mask, scores, float("-inf")) if bool_ else add(scores, self.mask)
        if params["causal"]:
            keep = tril(ones(query.shape[-2], key.shape[-2], dtype=dt.bool_, device=query.device))
            scores = where(keep, scores, float("-inf"))
        self.none = equal(self.peak, float("-inf"))
        self.scores = scores
        self.e = exp(subtract(scores, where(self.none, 0, self.peak)))
        self.r = where(equal(self.total, 0), 0, divide(1, self.total))
        self.p = multiply(self.e, self.r)

    def times_factor(self, operand: Tensor) -> Tensor:
        return operand if self.factor is None else multiply(operand, self.factor)

    def by_value(self, gradient: Tensor) -> Tensor:
        """Gradient of the weights that multiply the values."""
        return matmul(gradient, matrix_transpose(self.v))

    def score_grad(self, gradient: Tensor, delta: Tensor) -> Tensor:
        inner = subtract(self.times_factor(self.by_value(gradient)), expand_dims(delta, -1))
        return multiply(self.p, inner)

    def by_statistics(self, grad_peak: Tensor | None, grad_total: Tensor | None) -> Tensor:
        """Gradient of the scores by way of peak and total; equal maxima share."""
        hit = astype(equal(self.scores, self.peak), self.q.dtype)
        count = sum_(hit, axis=-1, keepdims=True)
        share = multiply(divide(hit, where(self.none, 1, count)), where(self.none, 0.0, 1.0))
        parts = []
        if grad_peak is not None:
            parts.append(multiply(share, expand_dims(grad_peak, -1)))
        if grad_total is not None:
            grad_total = expand_dims(grad_total, -1)
            parts.append(
                subtract(
                    multiply(self.e, grad_total), multiply(share, multiply(grad_total, self.total))
                )
            )
        return _sum_all(parts)


def _to_q(grad_scores: Tensor, query: Tensor, key: Tensor, scale: float) -> Tensor:
    return sum_like(multiply(matmul(grad_scores, key), scale), query.shape)


def _to_k(grad_scores: Tensor, query: Tensor, key: Tensor, scale: float) -> Tensor:
    return sum_like(multiply(matmul(matrix_transpose(grad_scores), query), scale), key.shape)


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    made: list[Any] = []

    def call() -> Any:
        if not made:
            made.append(make())
        return made[0]

    return call


# ---- forward
def _infer(
    *avals: Aval, scale: float, causal: bool, masked: bool, narrow: str = ""
) -> tuple[Aval, ...]:
    if not 3 + masked <= len(avals) <= 4 + masked:
        raise ShapeError(f"attention: {len(avals)} inputs with masked={masked}")
    _same_float(*avals, loose=3 if masked else None)
    batch, queries, _, _, features = layouts.attention_shapes(*[a.shape for a in avals])
    query = avals[0]
    return (
        query.with_((*batch, queries, features)),
        query.with_((*batch, queries)),
        query.with_((*batch, queries)),
    )


def _vjp(
    all_gradients: Any,
    outs: Any,
    query: Tensor,
    key: Tensor,
    values: Tensor,
    *rest: Tensor,
    **params: Any,
) -> Any:
    gradient, grad_peak, grad_total = all_gradients
    result, peak, total = outs
    scale = params["scale"]
    delta = _once(lambda: sum_(multiply(gradient, result), axis=-1))
    direct = _once(
        lambda: bind(
            ATTENTION_GRAD, gradient, query, key, values, peak, total, delta(), *rest, **params
        )
    )
    pairs = _once(lambda: _Pairs(query, key, values, peak, total, rest, params))
    through = _once(lambda: pairs().by_statistics(grad_peak, grad_total))
    stats = grad_peak is not None or grad_total is not None

    def by(index: int, operand: Tensor, more: Any) -> Any:
        parts = [] if gradient is None else [sum_like(direct()[index], operand.shape)]
        return _sum_all([*parts, *([more(through(), query, key, scale)] if stats and more else [])])

    def of_mask() -> Tensor:
        parts = [] if gradient is None else [pairs().score_grad(gradient, delta())]
        return sum_like(_sum_all([*parts, *([through()] if stats else [])]), rest[0].shape)

    def of_factor() -> Tensor:
        return sum_like(multiply(pairs().p, pairs().by_value(gradient)), rest[-1].shape)

    gradients: list[Any] = [lambda: by(0, query, _to_q), lambda: by(1, key, _to_k)]
    gradients.append(None if gradient is None else lambda: by(2, values, None))
    if params["masked"]:
        gradients.append(of_mask if dt.is_float(rest[0].dtype) else None)
    if len(rest) > params["masked"]:
        gradients.append(None if gradient is None else of_factor)
    return tuple(gradients)


def _wide_pairs(query: Any, key: Any, rest: Any, params: Any) -> tuple[Any, Any]:
    """Scores and factor in the reference's precision."""
    scores = np.matmul(wide(query), np.swapaxes(wide(key), -1, -2)) * params["scale"]
    if params["masked"]:
        mask = rest[0]
        scores = np.where(mask, scores, -np.inf) if mask.dtype == np.bool_ else scores + wide(mask)
    if params["causal"]:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=np.bool_), scores, -np.inf)
    return scores, wide(rest[-1]) if len(rest) > params["masked"] else np.ones((), scores.dtype)


def _reference(query: Any, key: Any, values: Any, *rest: Any, **params: Any) -> tuple[Any, ...]:
    scores, factor = _wide_pairs(query, key, rest, params)
    batch, queries, _, _, features = layouts.attention_shapes(
        *[x.shape for x in (query, key, values, *rest)]
    )
    scores = np.broadcast_to(scores, (*batch, *scores.shape[-2:]))
    with np.errstate(all="ignore"):
        peak = scores.max(-1, initial=-np.inf)
        weights = np.exp(scores - np.where(peak == -np.inf, 0, peak)[..., None])
        total = weights.sum(-1)
        result = np.matmul(weights * factor, wide(values)) / total[..., None]
    return np.where(total[..., None] == 0, 0, result), peak, total


def _samples(rng: np.random.Generator) -> Any:
    def params(causal: bool = False, masked: bool = False) -> dict[str, Any]:
        return {"scale": 0.5, "causal": causal, "masked": masked, "narrow": ""}

    def one(*shape: int) -> np.ndarray:
        return draw(rng, *shape, low=-1.0, high=1.0)

    yield [one(3, 4), one(5, 4), one(5, 6)], params()
    yield (
        [one(2, 1, 3, 4), one(5, 4), one(3, 5, 2)] + [one(3, 5), one(1, 5)],
        params(masked=True),
    )
    yield [one(2, 6, 3), one(2, 6, 3), one(2, 6, 2)], params(causal=True)
    yield (
        [one(2, 3, 4), one(2, 5, 4), one(2, 5, 3), rng.random((1, 5)) > 0.4],
        params(masked=True),
    )
    yield [one(40, 7), one(70, 7), one(70, 17), one(70)], params(True, True)
    yield [one(3, 2), one(0, 2), one(0, 2)], params()


ATTENTION = register(
    AttendOp(
        "attention",
        None,
        _infer,
        body=_weight,
        layout=layouts.attention_layout,
        vjp=_vjp,
        reference=_reference,
        samples=_samples,
        params=NAMES,
        nout=3,
        accepts="f",
        ulp=100.0,
        facts=frozenset(["optional_grads"]),
        keeps=frozenset(["0", "1", "2", "3", "4", "out"]),
        doc="softmax(q @ k.T * scale + mask) @ v by blocks of keys; each row's maximum and sum.",
    )
)


# ---- gradients
def _grad_infer(
    *avals: Aval, scale: float, causal: bool, masked: bool, narrow: str = ""
) -> tuple[Aval, ...]:
    if not 7 + masked <= len(avals) <= 8 + masked:
        raise ShapeError(f"attention_grad: {len(avals)} inputs with masked={masked}")
    _same_float(*avals, loose=7 if masked else None)
    gradient, query, key, values = (a.shape for a in avals[:4])
    batch, queries, keys, size, features = layouts.attention_shapes(
        query, key, values, *[a.shape for a in avals[7:]]
    )
    if gradient != (*batch, queries, features) or any(
        a.shape != (*batch, queries) for a in avals[4:7]
    ):
        raise ShapeError(
            f"attention_grad: gradient {gradient} does not fit {query}, {key} and {values}"
        )
    first = avals[0]
    return (
        first.with_((*batch, queries, size)),
        first.with_((*batch, keys, size)),
        first.with_((*batch, keys, features)),
    )


def _grad_vjp(
    outer: Any,
    outs: Any,
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    values: Tensor,
    peak: Tensor,
    total: Tensor,
    delta: Tensor,
    *rest: Tensor,
    **params: Any,
) -> Any:
    by_query, by_key, by_values = outer
    pairs, scale = _Pairs(query, key, values, peak, total, rest, params), params["scale"]
    weights, grad_scores = pairs.times_factor(pairs.p), pairs.score_grad(gradient, delta)
    by_value = pairs.by_value(gradient)
    inner = subtract(pairs.times_factor(by_value), expand_dims(delta, -1))
    to_grad_scores = multiply(
        add(matmul(by_query, matrix_transpose(key)), matmul(query, matrix_transpose(by_key))), scale
    )
    to_product, to_grad_weights = (
        matmul(gradient, matrix_transpose(by_values)),
        multiply(to_grad_scores, pairs.p),
    )
    to_weights = add(multiply(to_grad_scores, inner), pairs.times_factor(to_product))
    to_scores, to_value = multiply(to_weights, pairs.p), pairs.times_factor(to_grad_weights)
    by_row = multiply(sum_(to_scores, axis=-1), -1)
    gradients: list[Any] = [
        lambda: add(matmul(to_value, values), matmul(weights, by_values)),
        lambda: add(_to_q(to_scores, query, key, scale), _to_q(grad_scores, query, by_key, scale)),
        lambda: add(_to_k(to_scores, query, key, scale), _to_k(grad_scores, by_query, key, scale)),
        lambda: sum_like(matmul(matrix_transpose(to_value), gradient), values.shape),
        by_row,
        lambda: multiply(by_row, where(equal(total, 0), 0, divide(1, total))),
        lambda: multiply(sum_(to_grad_weights, axis=-1), -1),
    ]
    if params["masked"]:
        mask = rest[0]
        gradients.append(
            (lambda: sum_like(to_scores, mask.shape)) if dt.is_float(mask.dtype) else None
        )
    if pairs.factor is not None:
        shape = pairs.factor.shape
        both = add(multiply(to_product, pairs.p), multiply(to_grad_weights, by_value))
        gradients.append(lambda: sum_like(both, shape))
    return tuple(gradients)


def _grad_reference(
    gradient: Any,
    query: Any,
    key: Any,
    values: Any,
    peak: Any,
    total: Any,
    delta: Any,
    *rest: Any,
    **params: Any,
) -> tuple[Any, ...]:
    scores, factor = _wide_pairs(query, key, rest, params)
    with np.errstate(all="ignore"):
        base = np.where(peak == -np.inf, 0, wide(peak))[..., None]
        inverse = np.where(total == 0, 0, 1 / wide(total))[..., None]
    weights = np.exp(scores - base) * inverse
    grad_weights = np.matmul(wide(gradient), np.swapaxes(wide(values), -1, -2)) * factor
    grad_scores = weights * (grad_weights - wide(delta)[..., None])
    turned, scale = np.swapaxes(grad_scores, -1, -2), params["scale"]
    grad_values = np.matmul(np.swapaxes(weights * factor, -1, -2), wide(gradient))
    return (
        np.matmul(grad_scores, wide(key)) * scale,
        np.matmul(turned, wide(query)) * scale,
        grad_values,
    )


def _grad_samples(rng: np.random.Generator) -> Any:
    for operands, params in _samples(rng):
        batch, queries, _, _, features = layouts.attention_shapes(*[x.shape for x in operands])
        rows = (*batch, queries)
        ranges = ((0.0, 2.0), (1.0, 3.0), (-1.0, 1.0))  # of peak, total, delta
        stats = [draw(rng, *rows, low=lo, high=hi) for lo, hi in ranges]
        yield (
            [draw(rng, *rows, features, low=-1.0, high=1.0), *operands[:3], *stats, *operands[3:]],
            params,
        )


ATTENTION_GRAD = register(
    AttendOp(
        "attention_grad",
        None,
        _grad_infer,
        body=_weight,
        layout=layouts.attention_grad_layout,
        vjp=_grad_vjp,
        reference=_grad_reference,
        samples=_grad_samples,
        params=NAMES,
        nout=3,
        accepts="f",
        ulp=400.0,
        keeps=frozenset("012345678"),
        doc="Gradients of attention's query, key and value from the saved maximum and sum.",
    )
)
