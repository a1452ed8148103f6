"""The public functions attention (records: attend.py) and einsum (of matmul).

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
from ...ir.door.bind import operands as together
from ...ir.tensor import Handle
from ..axes.reduce import sum as sum_
from ..axes.views import expand_dims, permute_dims, reshape
from ..axes.windows import diagonal
from ..base.surface import public
from ..build.create import ones
from ..elementwise.arithmetic import multiply
from ..indexing.random import Generator, dropout
from .attend import ATTENTION
from .contract import matmul

Tensor = Any


def _number(x: Any, name: str) -> float:
    if not isinstance(x, numbers.Real):
        raise TypeError(f"attention: {name} is a number, not a {type(x).__name__}")
    return float(x)


def _need_heads(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Queries per key head of grouped attention."""
    if min(q.ndim, k.ndim, v.ndim) < 3 or k.shape[-3] != v.shape[-3] or not k.shape[-3]:
        raise ShapeError(
            "attention: enable_gqa takes [..., heads, length, features] with as many value heads "
            f"as key heads, not {q.shape}, {k.shape} and {v.shape}"
        )
    if q.shape[-3] % k.shape[-3]:
        raise ShapeError(
            f"attention: {q.shape[-3]} query heads are no multiple of {k.shape[-3]} key heads"
        )
    return q.shape[-3] // k.shape[-3]


def _grouped(q: Tensor, k: Tensor, v: Tensor, mask: Any, **more: Any) -> Tensor:
    """Attention in which several query heads share a key head: head h reads key head h // group."""
    group, shape = _need_heads(q, k, v), q.shape
    heads = (k.shape[-3], group)
    if mask is not None:
        mask = as_tensor(mask, q.device)
        if mask.ndim > 2:
            split = (1, 1) if mask.shape[-3] == 1 else heads
            mask = reshape(mask, mask.shape[:-3] + split + mask.shape[-2:])
    q = reshape(q, shape[:-3] + heads + shape[-2:])
    out = scaled_dot_product_attention(q, expand_dims(k, -3), expand_dims(v, -3), mask, **more)
    return reshape(out, out.shape[:-4] + (shape[-3],) + out.shape[-2:])


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

    >>> import hybrid
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
    batch, m, n, e, _ = attention_shapes(*[x.shape for x in (q, k, v, *rest)])
    if dropout_p > 0:
        kept = ones(*batch, m, n, dtype=q.dtype, device=q.device)
        rest.append(dropout(kept, dropout_p, generator=generator))
    if scale is None:
        scale = 1.0 / math.sqrt(e) if e else 1.0
    elif isinstance(scale, Handle):  # its gradient is wanted, too
        q, scale = multiply(q, astype(scale, q.dtype)), 1.0
    out = bind(
        ATTENTION,
        *(q, k, v, *rest),
        scale=_number(scale, "scale"),
        causal=bool(is_causal),
        masked=attn_mask is not None,
    )[0]
    return astype(out, result)


# ---- einsum
def _parse(spec: str, xs: list[Tensor]) -> tuple[list[str], str]:
    """Letters of every operand and of the result;
    '...' becomes capital Greek letters, aligned from the right."""
    left, arrow, right = spec.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise ShapeError(f"einsum: {len(terms)} terms for {len(xs)} operands")
    hidden = "".join(chr(0x391 + i) for i in range(16))
    most, out = 0, []
    for term, x in zip(terms, xs):
        extra = x.ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ShapeError(f"einsum: term {term!r} does not fit a tensor of shape {x.shape}")
        most = max(most, extra)
        out.append(term.replace("...", hidden[16 - extra :]))
    dots = hidden[16 - most :]
    if arrow:
        return out, right.replace("...", dots)
    letters = "".join(out)
    once = sorted(c for c in set(letters) if letters.count(c) == 1 and c not in dots)
    return out, dots + "".join(once)


def _no_repeats(x: Tensor, term: str) -> tuple[Tensor, str]:
    """Diagonals taken until no letter repeats."""
    for c in term:
        while term.count(c) > 1:
            i = term.index(c)
            j = term.index(c, i + 1)
            x = diagonal(x, 0, i, j)
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + c
    return x, term


def _reduce_to(x: Tensor, term: str, keep: set[str]) -> tuple[Tensor, str]:
    """Letters that nobody needs summed away."""
    axes = tuple(i for i, c in enumerate(term) if c not in keep)
    return (sum_(x, axis=axes), "".join(c for c in term if c in keep)) if axes else (x, term)


def _order(x: Tensor, term: str, want: str) -> Tensor:
    """Axes in the order of `want`; letters that x lacks get size 1."""
    x = permute_dims(x, [term.index(c) for c in want if c in term])
    sizes = iter(x.shape)
    return reshape(x, tuple(next(sizes) if c in term else 1 for c in want))


def _pair(a: Tensor, ta: str, b: Tensor, tb: str, keep: set[str]) -> tuple[Tensor, str]:
    """Two operands contracted over the letters they share and nobody else needs."""
    shared = [c for c in ta if c in tb]
    summed = "".join(c for c in shared if c not in keep)
    batch = "".join(c for c in shared if c in keep)
    a, ta = _reduce_to(a, ta, keep | set(summed))
    b, tb = _reduce_to(b, tb, keep | set(summed))
    rows = "".join(c for c in ta if c not in tb)
    cols = "".join(c for c in tb if c not in ta)
    term = batch + rows + cols
    if not summed:
        return multiply(_order(a, ta, term), _order(b, tb, term)), term
    size = {c: n for t, x in ((ta, a), (tb, b)) for c, n in zip(t, x.shape)}
    for t, x in ((ta, a), (tb, b)):
        for c, n in zip(t, x.shape):
            size[c] = max(size[c], n) if n != 1 else size[c]
    x, y = _order(a, ta, batch + rows + summed), _order(b, tb, batch + summed + cols)

    def total(letters: str) -> int:
        return math.prod(size[c] for c in letters)

    nb = len(batch)
    x = reshape(x, x.shape[:nb] + (total(rows), total(summed)))
    y = reshape(y, y.shape[:nb] + (total(summed), total(cols)))
    out = matmul(x, y)
    return reshape(out, out.shape[:nb] + tuple(size[c] for c in rows + cols)), term


def _path(terms: list[str], xs: list[Tensor], out: str) -> list[tuple[int, int]]:
    """Greedy order: the pair whose result is smallest first."""
    live = {i: set(t) for i, t in enumerate(terms)}
    size = {c: n for t, x in zip(terms, xs) for c, n in zip(t, x.shape)}
    path, fresh = [], len(terms)
    while len(live) > 1:
        best: tuple[float, int, int] | None = None
        for i in live:
            for j in live:
                if i < j:
                    others = set(out).union(*(t for k, t in live.items() if k not in (i, j)))
                    cost = math.prod(size[c] for c in (live[i] | live[j]) & others)
                    best = min(best, (cost, i, j)) if best else (cost, i, j)
        assert best is not None
        _, i, j = best
        others = set(out).union(*(t for k, t in live.items() if k not in (i, j)))
        live[fresh] = (live.pop(i) | live.pop(j)) & others
        path.append((i, j))
        fresh += 1
    return path


@public
def einsum(spec: str, *operands: Tensor) -> Tensor:
    """Einstein summation in NumPy's notation, for example ``einsum("bij,bjk->bik", a, b)``.

    Pairs of operands are contracted as matrix products, the pair with the smallest result first.
    """
    xs = together(*operands)
    terms, out = _parse(spec, xs)
    for c in out:
        if out.count(c) > 1 or not any(c in t for t in terms):
            raise ShapeError(f"einsum: {c!r} in the result of {spec!r} repeats or is in no term")
    size: dict[str, int] = {}
    for t, x in zip(terms, xs):
        for c, n in zip(t, x.shape):
            if size.setdefault(c, n) != n and 1 not in (n, size[c]):
                raise ShapeError(f"einsum: {c!r} has sizes {size[c]} and {n} in {spec!r}")
            size[c] = max(size[c], n)
    pool = {i: _no_repeats(x, t) for i, (x, t) in enumerate(zip(xs, terms))}
    fresh = len(pool)
    for i, j in _path([t for _, t in pool.values()], [x for x, _ in pool.values()], out):
        (a, ta), (b, tb) = pool.pop(i), pool.pop(j)
        keep = set(out).union(*(t for _, t in pool.values()))
        pool[fresh] = _pair(a, ta, b, tb, keep)
        fresh += 1
    ((x, term),) = pool.values()
    x, term = _reduce_to(x, term, set(out))
    return permute_dims(x, [term.index(c) for c in out])
