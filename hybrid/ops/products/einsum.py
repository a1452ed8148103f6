"""einsum: sums of products in NumPy's notation, as matrix products of pairs.

Invariant: nothing here makes a record.
"""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import items_of
from ...core.shapes import whole as whole_number
from ...ir.door.bind import convert
from ...ir.door.bind import operands as together
from ...ir.tensor import Handle
from ..axes.reduce import sum as sum_
from ..axes.views import permute_dims, reshape
from ..axes.windows import diagonal
from ..base.surface import public
from ..elementwise.arithmetic import multiply
from ..elementwise.logic import not_equal
from .contract import matmul

Tensor = Any


def _parse(spec: str, operands: list[Tensor]) -> tuple[list[str], str]:
    """Letters of every operand and of the result;
    '...' becomes capital Greek letters, aligned from the right."""
    left, arrow, right = spec.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ShapeError(f"einsum: {len(terms)} terms for {len(operands)} operands")
    hidden = "".join(chr(0x391 + i) for i in range(16))
    most, result = 0, []
    for term, operand in zip(terms, operands):
        extra = operand.ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ShapeError(
                f"einsum: term {term!r} does not fit a tensor of shape {operand.shape}"
            )
        most = max(most, extra)
        result.append(term.replace("...", hidden[16 - extra :]))
    dots = hidden[16 - most :]
    if arrow:
        return result, right.replace("...", dots)
    letters = "".join(result)
    once = sorted(c for c in set(letters) if letters.count(c) == 1 and c not in dots)
    return result, dots + "".join(once)


def _no_repeats(operand: Tensor, term: str) -> tuple[Tensor, str]:
    """Diagonals taken until no letter repeats."""
    for letter in term:
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            operand = diagonal(operand, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    return operand, term


def _reduce_to(operand: Tensor, term: str, keep: set[str]) -> tuple[Tensor, str]:
    """Letters that nobody needs summed away."""
    axes = tuple(i for i, c in enumerate(term) if c not in keep)
    return (
        (sum_(operand, axis=axes), "".join(c for c in term if c in keep))
        if axes
        else (operand, term)
    )


def _order(operand: Tensor, term: str, want: str) -> Tensor:
    """Axes in the order of `want`; letters that the operand lacks get size 1."""
    operand = permute_dims(operand, [term.index(c) for c in want if c in term])
    sizes = iter(operand.shape)
    return reshape(operand, tuple(next(sizes) if c in term else 1 for c in want))


def _pair(
    left: Tensor, left_term: str, right: Tensor, right_term: str, keep: set[str]
) -> tuple[Tensor, str]:
    """Two operands contracted over the letters they share and nobody else needs."""
    shared = [c for c in left_term if c in right_term]
    summed = "".join(c for c in shared if c not in keep)
    batch = "".join(c for c in shared if c in keep)
    left, left_term = _reduce_to(left, left_term, keep | set(summed))
    right, right_term = _reduce_to(right, right_term, keep | set(summed))
    rows = "".join(c for c in left_term if c not in right_term)
    cols = "".join(c for c in right_term if c not in left_term)
    term = batch + rows + cols
    if not summed:
        return multiply(_order(left, left_term, term), _order(right, right_term, term)), term
    size = {c: n for t, x in ((left_term, left), (right_term, right)) for c, n in zip(t, x.shape)}
    for letters_, operand in ((left_term, left), (right_term, right)):
        for letter, extent in zip(letters_, operand.shape):
            size[letter] = max(size[letter], extent) if extent != 1 else size[letter]
    operand, result = (
        _order(left, left_term, batch + rows + summed),
        _order(right, right_term, batch + summed + cols),
    )

    def total(letters: str) -> int:
        return math.prod(size[c] for c in letters)

    batch_rank = len(batch)
    operand = reshape(operand, operand.shape[:batch_rank] + (total(rows), total(summed)))
    result = reshape(result, result.shape[:batch_rank] + (total(summed), total(cols)))
    out = matmul(operand, result)
    return reshape(out, out.shape[:batch_rank] + tuple(size[c] for c in rows + cols)), term


def _path(terms: list[str], operands: list[Tensor], out: str) -> list[tuple[int, int]]:
    """Greedy order: the pair whose result is smallest first."""
    live = {i: set(t) for i, t in enumerate(terms)}
    size = {c: n for t, x in zip(terms, operands) for c, n in zip(t, x.shape)}
    path, fresh = [], len(terms)
    while len(live) > 1:
        best: tuple[float, int, int] | None = None
        for first in live:
            for second in live:
                if first < second:
                    others = set(out).union(
                        *(t for k, t in live.items() if k not in (first, second))
                    )
                    cost = math.prod(size[c] for c in (live[first] | live[second]) & others)
                    best = min(best, (cost, first, second)) if best else (cost, first, second)
        assert best is not None
        _, first, second = best
        others = set(out).union(*(t for k, t in live.items() if k not in (first, second)))
        live[fresh] = (live.pop(first) | live.pop(second)) & others
        path.append((first, second))
        fresh += 1
    return path


def _check(spec: str, terms: list[str], result: str, tensors: list[Tensor]) -> None:
    """ShapeError unless each letter of the result is in a term and has one size."""
    for letter in result:
        if result.count(letter) > 1 or not any(letter in t for t in terms):
            raise ShapeError(
                f"einsum: {letter!r} in the result of {spec!r} repeats or is in no term"
            )
    size: dict[str, int] = {}
    for letters, operand in zip(terms, tensors):
        for letter, extent in zip(letters, operand.shape):
            if size.setdefault(letter, extent) != extent and 1 not in (extent, size[letter]):
                raise ShapeError(
                    f"einsum: {letter!r} has sizes {size[letter]} and {extent} in {spec!r}"
                )
            size[letter] = max(size[letter], extent)


# ---- what it is called with
_LETTERS = string.ascii_uppercase + string.ascii_lowercase  # of the labels 0 to 51, as NumPy's


def _written(spec: Any, operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The text and the operands of a call; tensors, each before its list of labels, get a text."""
    if isinstance(spec, str):
        return spec, operands
    given = (spec, *operands)
    if len(given) < 2:
        raise ArgumentError(
            "einsum takes a text and tensors, or tensors that are each followed by a list of labels"
        )
    whole = len(given) // 2 * 2
    text = ",".join(map(_letters, given[1:whole:2]))
    return text + "".join("->" + _letters(last) for last in given[whole:]), given[:whole:2]


def _letters(labels: Any) -> str:
    if isinstance(labels, Handle):
        raise ArgumentError("einsum: a tensor is in the place of a list of labels")
    return "".join(map(_letter, items_of(labels, "einsum: labels")))


def _letter(label: Any) -> str:
    if label is Ellipsis:
        return "..."
    number = whole_number(label, "einsum: a label")
    if not 0 <= number < len(_LETTERS):
        raise ArgumentError(f"einsum: the label {number} is not in 0..{len(_LETTERS) - 1}")
    return _LETTERS[number]


def _check_path(optimize: Any) -> None:
    """ArgumentError for what NumPy has no meaning for; the path of a call is found here."""
    kind = optimize[0] if isinstance(optimize, (list, tuple)) and optimize else optimize
    if not isinstance(kind, (bool, str, type(None), np.bool_)) or (
        isinstance(kind, str) and kind not in ("greedy", "optimal", "einsum_path")
    ):
        raise ArgumentError(
            f"einsum: optimize is {optimize!r}; it is a bool, 'greedy', 'optimal' or a path "
            "['einsum_path', ...]"
        )


@public
def einsum(spec: Any, *operands: Any, optimize: Any = True) -> Tensor:
    """Einstein summation in NumPy's notation, for example ``einsum("bij,bjk->bik", a, b)``, or with
    lists of labels (integers in 0..51, or ...): ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    Pairs of operands are contracted as matrix products, the pair with the smallest result first,
    whatever path `optimize` names.  Of bools the result is bool: whether some product holds.

    ShapeError where a letter has two sizes or a term does not fit its operand, ArgumentError for a
    label or an `optimize` that there is not.

    >>> a, b = hybrid.tensor([[1, 2], [3, 4]]), hybrid.tensor([[0, 1], [1, 0]])
    >>> hybrid.einsum("ij,jk->ik", a, b)
    tensor([[2, 1],
            [4, 3]])
    """
    _check_path(optimize)
    spec, operands = _written(spec, operands)
    return _contracted(spec, together(*operands))


def _contracted(spec: str, tensors: list[Tensor]) -> Tensor:
    if tensors and all(
        [x._a.dtype is dt.bool_ for x in tensors]
    ):  # a sum of ones is zero only where none is
        return not_equal(_contracted(spec, [convert(x, dt.float32) for x in tensors]), 0)
    terms, result = _parse(spec, tensors)
    _check(spec, terms, result, tensors)
    pool = {i: _no_repeats(x, t) for i, (x, t) in enumerate(zip(tensors, terms))}
    fresh = len(pool)
    for first, second in _path(
        [t for _, t in pool.values()], [x for x, _ in pool.values()], result
    ):
        (left, left_term), (right, right_term) = pool.pop(first), pool.pop(second)
        keep = set(result).union(*(t for _, t in pool.values()))
        pool[fresh] = _pair(left, left_term, right, right_term, keep)
        fresh += 1
    ((operand, term),) = pool.values()
    operand, term = _reduce_to(operand, term, set(result))
    return permute_dims(operand, [term.index(c) for c in result])
