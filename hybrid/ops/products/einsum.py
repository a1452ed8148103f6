"""einsum: sums of products in NumPy's notation, as matrix products of pairs.

Invariant: nothing here makes a record.
"""

from __future__ import annotations

import math
from typing import Any

from ...core.errors import ShapeError
from ...ir.door.bind import operands as together
from ..axes.reduce import sum as sum_
from ..axes.views import permute_dims, reshape
from ..axes.windows import diagonal
from ..base.surface import public
from ..elementwise.arithmetic import multiply
from .contract import matmul

Tensor = Any


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
