"""Masks on the host: records that count true elements, say where they are, take and replace them.

Invariant: all that the data decide is one number, the last of a mask's counts, which the host
reads; everything else is a record with the size that this number gives.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device
from ...core.errors import ShapeError
from ...core.floating import plainly
from ...ir.algorithm import MASK_BLOCK, TrueCounts, TrueElements, TruePlaces, TrueReplaced
from ...ir.door.bind import as_tensor, bind, current_mode
from ...ir.op import NO_GRAD, HostOp, register
from ..axes.cumulative import cumulative_sum
from ..axes.reduce import sum as sum_
from ..axes.views import reshape
from ..base.common import draw, owned
from ..base.surface import public
from ..build.create import zeros, zeros_like
from ..build.join import concat
from ..elementwise.arithmetic import add
from ..elementwise.logic import not_equal
from ..elementwise.selection import where
from .index import gather_axes, row_numbers, scatter_add, scatter_set

Ints = tuple[int, ...]
Tensor = Any

__all__ = ["Truths", "nonzero", "nonzero_places", "true_elements", "true_rows", "with_elements"]


# ---- records
def _count(mask: np.ndarray) -> np.ndarray:
    blocks = -(-mask.size // MASK_BLOCK)
    padded = np.zeros((blocks, MASK_BLOCK), np.bool_)
    padded.reshape(-1)[: mask.size] = mask.reshape(-1)
    return np.concatenate([[0], np.cumsum(padded.sum(1))]).astype(np.int64)


def _masks(generator: np.random.Generator) -> Any:
    """Masks and their counts."""
    for shape, share in (((7,), 0.5), ((3, 50), 0.1), ((0, 2), 0.5), ((9000,), 0.9)):
        mask = generator.random(shape) < share
        yield mask, _count(mask)


def _count_batch(inputs: Any, flags: Any, size: int) -> Tensor:
    """Sums of blocks of all rows, which are filled up to whole blocks."""
    (mask,) = inputs
    flat = reshape(mask, (size, prod(mask.shape[1:])))
    blocks = -(-flat.shape[1] // MASK_BLOCK)
    rest = zeros(size, blocks * MASK_BLOCK - flat.shape[1], dtype=dt.bool_)
    filled = reshape(concat([flat, rest], 1), (size, blocks, MASK_BLOCK))
    counts = cumulative_sum(sum_(filled, axis=2, dtype=dt.int64), axis=1)
    return concat([zeros(size, 1, dtype=dt.int64), counts], 1)


COUNTS = register(
    HostOp(
        "true_counts",
        1,
        lambda mask: (mask.with_((-(-prod(mask.shape) // MASK_BLOCK) + 1,), dt.int64),),
        body=_count,
        algorithm=TrueCounts,
        vjp=NO_GRAD,
        accepts="b",
        facts=frozenset(["total"]),
        reference=_count,
        samples=lambda generator: [([mask], {}) for mask, _ in _masks(generator)],
        batch=_count_batch,
        ulp=0.0,
        doc="How many elements of a mask are true ahead of each block, and at last how many are.",
    )
)


def _placed(
    mask: np.ndarray, counts: np.ndarray, axes: Ints | None, gaps: bool, count: int
) -> np.ndarray:
    if gaps:
        return np.diff(np.append(np.flatnonzero(mask), mask.size))
    if axes is None:
        return np.flatnonzero(mask)
    columns = nonzero_places(mask)
    found = [columns[axis] for axis in axes]
    return found[0] if len(found) == 1 else np.stack(found, 1)


def _placed_infer(
    mask: Aval, counts: Aval, *, axes: Ints | None, gaps: bool, count: int
) -> tuple[Aval, ...]:
    several = () if axes is None or len(axes) == 1 else (len(axes),)
    return (mask.with_((count, *several), dt.int64),)


def _placed_samples(generator: np.random.Generator) -> Any:
    for mask, counts in _masks(generator):
        every = tuple(range(mask.ndim))
        for axes, gaps in ((None, False), (every, False), (every[-1:], False), (None, True)):
            yield [mask, counts], {"axes": axes, "gaps": gaps, "count": int(counts[-1])}


PLACES = register(
    HostOp(
        "true_places",
        2,
        _placed_infer,
        body=_placed,
        algorithm=lambda axes, gaps, count: TruePlaces(axes, gaps),
        params=("axes", "gaps", "count"),
        vjp=NO_GRAD,
        accepts="bi",
        facts=frozenset(["total"]),
        reference=_placed,
        samples=_placed_samples,
        ulp=0.0,
        doc="Where the true elements of a mask are, as numbers or coordinates, or how far apart.",
    )
)


def _taken_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, mask: Tensor, counts: Tensor, count: int
) -> tuple[Any, ...]:
    return (bind(SPREAD, add(gradient, 0.0), mask, counts), None, None)


def _taken_batch(inputs: Any, flags: Any, size: int, count: int) -> Tensor | None:
    operand, mask, counts = inputs
    if any(flags[1:]):
        return None
    places = bind(PLACES, mask, counts, axes=None, gaps=False, count=count)
    return gather_axes(reshape(operand, (size, mask.size)), [places], 1)


TAKEN = register(
    HostOp(
        "true_elements",
        3,
        lambda operand, mask, counts, count: (operand.with_((count,)),),
        body=lambda operand, mask, counts, count: operand[mask],
        algorithm=lambda count: TrueElements(),
        params=("count",),
        vjp=_taken_vjp,
        keeps=frozenset("12"),
        facts=frozenset(["total"]),
        reference=lambda operand, mask, counts, count: operand[mask],
        samples=lambda generator: [
            ([draw(generator, *mask.shape), mask, counts], {"count": int(counts[-1])})
            for mask, counts in _masks(generator)
        ],
        batch=_taken_batch,
        ulp=0.0,
        doc="The elements of x where a mask of its shape is true.",
    )
)


def _spread(values: np.ndarray, mask: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return _replaced(values, mask, counts, np.zeros(mask.shape, values.dtype))


def _replaced(
    values: np.ndarray, mask: np.ndarray, counts: np.ndarray, base: np.ndarray
) -> np.ndarray:
    made = base.copy()
    made[mask] = values
    return made


def _back(gradient: Tensor, values: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    return bind(TAKEN, gradient, mask, counts, count=values.shape[0])


def _spread_vjp(
    gradient: Tensor, out: Tensor, values: Tensor, mask: Tensor, counts: Tensor
) -> tuple[Any, ...]:
    return (_back(gradient, values, mask, counts), None, None)


def _spread_batch(inputs: Any, flags: Any, size: int) -> Tensor | None:
    values, mask, counts = inputs
    if any(flags[1:]):
        return None
    rows = _rows(values, mask, counts, size)
    made = scatter_add(rows, reshape(values, (rows.size, 1)), size * mask.size)
    return reshape(made, (size, *mask.shape))


def _rows(values: Tensor, mask: Tensor, counts: Tensor, size: int) -> Tensor:
    """The numbers of the true elements in masks of all rows, one behind the other."""
    places = bind(PLACES, mask, counts, axes=None, gaps=False, count=values.shape[1])
    return row_numbers((places,), (mask.size,), size)


def _spread_samples(generator: np.random.Generator) -> Any:
    for mask, counts in _masks(generator):
        yield [draw(generator, int(counts[-1])), mask, counts], {}


SPREAD = register(
    HostOp(
        "true_spread",
        3,
        lambda values, mask, counts: (values.with_(mask.shape),),
        body=_spread,
        algorithm=TrueReplaced,
        vjp=_spread_vjp,
        keeps=frozenset(["0", "1", "2"]),
        facts=frozenset(["total"]),
        reference=_spread,
        samples=_spread_samples,
        batch=_spread_batch,
        ulp=0.0,
        doc="Values one after the other where a mask is true, zeros elsewhere.",
    )
)


def _replaced_vjp(
    gradient: Tensor, out: Tensor, values: Tensor, mask: Tensor, counts: Tensor, base: Tensor
) -> tuple[Any, ...]:
    kept = where(mask, zeros_like(gradient), gradient)
    return (_back(gradient, values, mask, counts), None, None, kept)


def _replaced_batch(inputs: Any, flags: Any, size: int) -> Tensor | None:
    values, mask, counts, base = inputs
    if flags[1] or flags[2] or not (flags[0] and flags[3]):
        return None
    rows = _rows(values, mask, counts, size)
    table = reshape(base, (size * mask.size, 1))
    made = scatter_set(table, rows, reshape(values, (rows.size, 1)))
    return reshape(made, (size, *mask.shape))


REPLACED = register(
    HostOp(
        "true_replaced",
        4,
        lambda values, mask, counts, base: (base,),
        body=_replaced,
        algorithm=TrueReplaced,
        vjp=_replaced_vjp,
        keeps=frozenset(["0", "1", "2"]),
        facts=frozenset(["total"]),
        reference=_replaced,
        samples=lambda generator: [
            ([*arrays, draw(generator, *arrays[1].shape)], {})
            for arrays, _ in _spread_samples(generator)
        ],
        batch=_replaced_batch,
        ulp=0.0,
        doc="x with values one after the other where a mask of its shape is true.",
    )
)


# ---- what is made of them
class Truths(NamedTuple):
    """A mask on the host, its counts, and how many elements are true."""

    mask: Tensor
    counts: Tensor
    total: int

    @classmethod
    def of(cls, mask: Tensor) -> Truths:
        """Reads how many there are."""
        counts = bind(COUNTS, mask)
        return cls(mask, counts, int(counts.numpy()[-1]))

    def places(self, axes: Ints | None = None) -> Tensor:
        """Row-major numbers, or coordinates along axes."""
        return self._found(axes, False)

    def gaps(self) -> Tensor:
        """From each true element to the next one, from the last to the end."""
        return self._found(None, True)

    def _found(self, axes: Ints | None, gaps: bool) -> Tensor:
        return bind(PLACES, self.mask, self.counts, axes=axes, gaps=gaps, count=self.total)

    def taken(self, operand: Tensor) -> Tensor:
        """The elements of a tensor of the mask's shape where it is true."""
        return bind(TAKEN, operand, self.mask, self.counts, count=self.total)

    def columns(self) -> tuple[Tensor, ...]:
        """Coordinates along each axis."""
        return tuple([self.places((axis,)) for axis in range(self.mask.ndim)])


def truth_of(operand: Tensor) -> Tensor:
    """Which elements are not zero."""
    return operand if operand._a.dtype is dt.bool_ else not_equal(operand, 0)


@public(method=True)
def nonzero(x: Tensor) -> tuple[Tensor, ...]:
    """Index tensors (int64, one per axis) of the nonzero elements; reads on the host how many there
    are.

    >>> rows, columns = hybrid.nonzero(hybrid.tensor([[0, 7], [8, 9]]))
    >>> rows, columns
    (tensor([0, 1, 1]), tensor([1, 0, 1]))
    """
    x = as_tensor(x)
    if x.ndim == 0:
        raise ShapeError("nonzero takes at least one dimension")
    if x.device is HOST:
        return Truths.of(truth_of(x)).columns()
    return tuple([owned(places, x.device) for places in nonzero_places(x.numpy())])


def nonzero_places(array: np.ndarray) -> list[np.ndarray]:
    """What `np.nonzero` gives: NumPy finds truths along one axis many times as fast."""
    truths = array if array.dtype == np.bool_ else plainly(np.not_equal, array, 0)
    rest, columns = np.flatnonzero(truths), []
    for extent in array.shape[:0:-1]:
        outer = rest // extent
        rest -= outer * extent
        columns.append(rest)
        rest = outer
    return [rest, *columns[::-1]]


def places_of(mask: Any, device: Device) -> tuple[Tensor, ...]:
    """Index tensors of a mask; what a recording sees of those of an array are constants."""
    found = host_mask(mask, device)
    if found is not None:
        return Truths.of(found).columns()
    if isinstance(mask, np.ndarray):
        return tuple([as_tensor(i, device) for i in nonzero_places(mask)])
    return nonzero(mask)


def host_mask(mask: Any, device: Device) -> Tensor | None:
    """A mask, a tensor or an array, as a tensor of the host; None for others, and for arrays that
    a mode may know."""
    if isinstance(mask, np.ndarray):
        return as_tensor(mask) if device is HOST and current_mode() is None else None
    return mask if mask.device is HOST else None


def true_rows(operand: Tensor, mask: Any) -> Tensor:
    """operand[mask] for a mask, a tensor or an array, of the axes from the first on."""
    found = host_mask(mask, operand.device)
    if found is not None and found.shape == operand.shape and not dt.is_complex(operand.dtype):
        return true_elements(operand, found)
    table = (
        operand if mask.ndim == 1 else reshape(operand, (mask.size, *operand.shape[mask.ndim :]))
    )
    places = places_of(mask.reshape(-1), operand.device)
    return gather_axes(table, list(places), 0)


def true_elements(operand: Tensor, mask: Tensor) -> Tensor:
    """operand[mask] for a mask of its shape on the host, of real numbers."""
    return Truths.of(mask).taken(operand)


def with_elements(operand: Tensor, mask: Any, values: Any) -> Tensor | None:
    """operand after operand[mask] = values, which `values(count)` gives as one line; None where it
    has to be written in another way."""
    found = host_mask(mask, operand.device)
    if found is None or found.shape != operand.shape or dt.is_complex(operand.dtype):
        return None
    truths = Truths.of(found)
    return bind(REPLACED, values(truths.total), found, truths.counts, operand)
