"""The public function of attention (records: attend.py).

Invariant: nothing here makes a record.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

from ...core import dtypes as dt
from ...core.errors import DTypeError, HybridError, ShapeError
from ...ir.attend import attention_shapes
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.tensor import Handle
from ..axes.views import expand_dims, reshape
from ..base.surface import public
from ..build.create import ones
from ..elementwise.arithmetic import multiply
from ..indexing.generators import Generator
from ..indexing.random import dropout
from .attend import ATTENTION

Tensor = Any


def _number(operand: Any, name: str) -> float:
    if not isinstance(operand, numbers.Real):
        raise TypeError(f"attention: {name} is a number, not a {type(operand).__name__}")
    return float(operand)


def _need_heads(query: Tensor, key: Tensor, values: Tensor) -> int:
    """Queries per key head of grouped attention."""
    if (
        min(query.ndim, key.ndim, values.ndim) < 3
        or key.shape[-3] != values.shape[-3]
        or not key.shape[-3]
    ):
        raise ShapeError(
            "attention: enable_gqa takes [..., heads, length, features] with as many value heads "
            f"as key heads, not {query.shape}, {key.shape} and {values.shape}"
        )
    if query.shape[-3] % key.shape[-3]:
        raise ShapeError(
            f"attention: {query.shape[-3]} query heads are no multiple of {key.shape[-3]} key heads"
        )
    result: int = query.shape[-3] // key.shape[-3]
    return result


def _grouped(query: Tensor, key: Tensor, values: Tensor, mask: Any, **more: Any) -> Tensor:
    """Attention in which several query heads share a key head: head h reads key head h // group."""
    group, shape = _need_heads(query, key, values), query.shape
    heads = (key.shape[-3], group)
    if mask is not None:
        mask = as_tensor(mask, query.device)
        if mask.ndim > 2:
            split = (1, 1) if mask.shape[-3] == 1 else heads
            mask = reshape(mask, mask.shape[:-3] + split + mask.shape[-2:])
    query = reshape(query, shape[:-3] + heads + shape[-2:])
    result = scaled_dot_product_attention(
        query, expand_dims(key, -3), expand_dims(values, -3), mask, **more
    )
    return reshape(result, result.shape[:-4] + (shape[-3],) + result.shape[-2:])


def _mask_of(mask: Any, like: Tensor) -> Tensor:
    mask = as_tensor(mask, like.device, like.dtype)
    if mask.dtype is dt.bool_:
        return mask
    if not dt.is_float(mask.dtype):
        raise DTypeError(
            f"attention takes a bool mask (true: take part) or a floating one (added to the "
            f"scores), not {mask.dtype.name}; convert with .astype"
        )
    return astype(mask, like.dtype)


@public(functional=True)
def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """PyTorch's attention: softmax(q @ k.T * scale + mask) @ v.

    q[..., queries, features], k[..., keys, features], v[..., keys, values]; leading axes broadcast;
    the result is [..., queries, values] in the promoted dtype, which must be floating.  A bool mask
    keeps where it is true, a floating one is added; both broadcast to [..., queries, keys].
    `is_causal`: query i sees keys 0..i.  `scale` defaults to 1 / sqrt(features); a tensor
    multiplies the queries.  `dropout_p`: weights are dropped with that probability and the others
    scaled by 1 / (1 - p), always, as in PyTorch.  `enable_gqa`: groups of query heads (third last
    axis) share a key head.

    A query without a key (no keys, or all masked) gives 0.  Half types are computed in float32 and
    rounded once.  Nothing as large as queries x keys is stored, unless a mask or dropout asks for
    it.  Raises ShapeError when shapes do not fit and DTypeError for other dtypes.

    >>> q = hybrid.ones(2, 5, 8)
    >>> hybrid.scaled_dot_product_attention(q, q, q, is_causal=True).shape
    (2, 5, 8)
    """
    q, k, v = as_tensor(q), as_tensor(k), as_tensor(v)
    if is_causal and attn_mask is not None:
        raise ShapeError("attention takes a mask or is_causal, not both")
    more = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "generator": generator}
    if enable_gqa:
        return _grouped(q, k, v, attn_mask, **more)
    result = dt.promote(dt.promote(q.dtype, k.dtype), v.dtype)
    if not dt.is_float(result):
        raise DTypeError(
            f"attention takes floating tensors, not {result.name}; convert with .astype"
        )
    if not 0.0 <= _number(dropout_p, "dropout_p") <= 1.0:
        raise HybridError(f"attention: dropout_p = {dropout_p} is no probability")
    q, k, v = (astype(x, dt.compute_type(result)) for x in (q, k, v))
    rest = [] if attn_mask is None else [_mask_of(attn_mask, q)]
    batch, queries, keys, features, _ = attention_shapes(*[x.shape for x in (q, k, v, *rest)])
    if dropout_p > 0:
        kept = ones(*batch, queries, keys, dtype=q.dtype, device=q.device)
        rest.append(dropout(kept, dropout_p, generator=generator))
    if scale is None:
        scale = 1.0 / math.sqrt(features) if features else 1.0
    elif isinstance(scale, Handle):  # its gradient is wanted, too
        q, scale = multiply(q, astype(scale, q.dtype)), 1.0
    out = bind(
        ATTENTION,
        *(q, k, v, *rest),
        scale=_number(scale, "scale"),
        causal=bool(is_causal),
        masked=attn_mask is not None,
        narrow=result.name if dt.is_half(result) else "",
    )[0]
    return astype(out, result)
