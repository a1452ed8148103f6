"""Functions of neural networks under PyTorch's names and argument order.

Invariant: everything here is an op of hybrid.ops or a few of them; layers call these functions.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from .. import ops
from ..core import dtypes as dt
from ..core.errors import HybridError, ShapeError
from ..core.shapes import items_of
from ..eager.tensor import Tensor
from ..ir.door.bind import as_tensor, store
from ..ops.axes.rows import softmax as _softmax
from ..ops.base.surface import SURFACE, public
from ..ops.indexing.index import index_check

if TYPE_CHECKING:
    from .typed import *  # noqa: F403


@public(hybrid=False, functional=True)
def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x * Phi(x): exactly ("none"), or Hendrycks and Gimpel's tanh formula ("tanh").

    >>> import hybrid
    >>> round(hybrid.nn.functional.gelu(hybrid.tensor(1.0)).item(), 4)
    0.8413
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}")
    return ops.gelu(x) if approximate == "none" else ops.gelu_tanh(x)


@public(hybrid=False, functional=True)
def softmax(x: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim` (or `axis`, its other name).

    >>> import hybrid
    >>> hybrid.nn.functional.softmax(hybrid.tensor([[1.0, 1.0], [0.0, 1000.0]]), dim=1).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    return _softmax(x, dim if axis is None else axis)


@public(hybrid=False, functional=True)
def log_softmax(x: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """Logarithm of softmax along `dim` (or `axis`, its other name).

    >>> import hybrid
    >>> hybrid.nn.functional.log_softmax(hybrid.tensor([1000.0, 0.0]))
    tensor([    0., -1000.])
    """
    return ops.log_softmax(x, dim if axis is None else axis)


@public(hybrid=False, functional=True)
def one_hot(index: Any, num_classes: int = -1) -> Tensor:
    """PyTorch's one_hot: int64 [..., num_classes] with 1 where the class is the index, else 0.

    num_classes -1 is one more than the largest index, which is read on the host.  Raises
    IndexOutOfRange for an index outside 0..num_classes-1, DTypeError for indices that are no
    integers, ShapeError where the number of classes cannot be known.

    >>> import hybrid
    >>> hybrid.nn.functional.one_hot(hybrid.tensor([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    index = as_tensor(index)
    classes = operator.index(num_classes)
    if classes == -1:
        if not index.size:
            raise ShapeError("one_hot: no index to infer the number of classes from; pass it")
        classes = int(index.max().item()) + 1
    if classes < 1:
        if not index.size or classes < 0:
            raise ShapeError(f"one_hot: {classes} classes; there must be one at least")
    checked = index_check(index, classes, index.ndim, wrap=False)
    return ops.one_hot(checked, classes, dtype=dt.int64)


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@public(hybrid=False, functional=True)
def pad(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    """PyTorch's pad: `pad` is (before, after) of the last axis, then of the one before it, and so
    on; a negative width removes elements.

    Modes: 'constant' (filled with `value`, 0 by default), 'reflect', 'replicate', 'circular'.
    `hybrid.pad` is NumPy's.  Raises ShapeError for widths that do not fit, HybridError for another
    mode or a value that the mode does not take.

    >>> import hybrid
    >>> hybrid.nn.functional.pad(hybrid.tensor([[1, 2], [3, 4]]), (1, 0)).tolist()
    [[0, 1, 2], [0, 3, 4]]
    """
    x = as_tensor(x)
    if mode not in _MODES:
        raise HybridError(f"pad: mode {mode!r} is not one of {', '.join(map(repr, _MODES))}")
    if mode != "constant" and value:
        raise HybridError(f"pad: mode {mode!r} takes no value")
    widths = tuple(map(operator.index, items_of(pad, "pad: pad")))
    if len(widths) % 2 or len(widths) > 2 * x.ndim:
        raise ShapeError(
            f"pad: {len(widths)} widths for {x.ndim} axes; there are two an axis, the last axis "
            "first (hybrid.pad takes NumPy's pairs)"
        )
    fill = 0 if value is None else store(value, x.dtype, x.device)
    for pair in range(len(widths) // 2):
        x = _pad_axis(x, x.ndim - 1 - pair, widths[2 * pair], widths[2 * pair + 1], mode, fill)
    return x


def _pad_axis(tensor: Any, axis: int, before: int, after: int, mode: str, fill: Any) -> Any:
    """One axis of `pad`; where widths are negative, 'reflect' and 'replicate' extend the whole
    axis, the others what is left of it."""
    least = 0 if mode == "constant" else 1
    extent = tensor.shape[axis]
    if extent + before + after < least:
        raise ShapeError(
            f"pad: {before} and {after} elements leave none of {extent} on axis {axis}"
        )
    whole = mode in ("reflect", "replicate")
    if not whole:
        tensor = _cut(tensor, axis, before, after)
    around = [(0, 0)] * tensor.ndim
    around[axis] = (max(before, 0), max(after, 0))
    most = {"reflect": tensor.shape[axis] - 1, "circular": tensor.shape[axis]}.get(mode)
    if most is not None and max(around[axis]) > most:
        raise ShapeError(
            f"pad: {before} and {after} elements are too many for mode {mode!r} on an axis of "
            f"size {tensor.shape[axis]}; hybrid.pad repeats the axis as often as it takes"
        )
    if any(around[axis]):
        tensor = ops.pad(tensor, around, _MODES[mode], constant_values=fill)
    return _cut(tensor, axis, before, after) if whole else tensor


def _cut(tensor: Any, axis: int, before: int, after: int) -> Any:
    """A tensor without the elements that negative widths remove."""
    first, last = max(-before, 0), tensor.shape[axis] - max(-after, 0)
    if first == 0 and last == tensor.shape[axis]:
        return tensor
    return tensor[(slice(None),) * axis + (slice(first, max(last, first)),)]


@public(hybrid=False, functional=True)
def embedding(index: Any, weight: Any) -> Tensor:
    """Rows of weight (num, dim) at integer `index` (PyTorch's argument order).

    The result is (*index.shape, dim).  Raises IndexOutOfRange for an index outside 0..num-1.

    >>> import hybrid
    >>> weight = hybrid.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> hybrid.nn.functional.embedding(hybrid.tensor([1, 0]), weight).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    return ops.embedding(weight, index)


if not TYPE_CHECKING:
    for _row in SURFACE:
        for _name in _row.functional:
            globals()[_name] = vars(ops)[_row.name] if _row.hybrid else _row.function
    __all__ = sorted({name for row in SURFACE for name in row.functional})

    def __dir__() -> list[str]:
        return __all__
