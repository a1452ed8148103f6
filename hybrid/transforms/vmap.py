"""vmap: a function of one row as a function of many.

Invariant: the function runs once, whatever the number of rows; see batching.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.scopes import need_callable
from ..core import trees
from ..core.errors import ArgumentError, ShapeError, shape_text
from ..core.shapes import normalize_axis, whole
from ..ir.door import bind as door
from ..ir.door.arguments import described
from ..ir.door.foreign import is_number
from ..ir.tensor import Handle
from ..ops.axes.views import broadcast_to, moveaxis
from .batching import Batching

__all__ = ["vmap"]

Tensor = Any


def vmap(fun: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """fun for all rows at once: a function whose arguments have one axis more, along which fun is
    applied, and whose results are stacked (jax.vmap, torch.func.vmap).

    in_axes: the axis of the rows: an int, None for what all rows share, or a tuple with one of
    these, or a tree of them, for each argument; keyword arguments have theirs first.  out_axes:
    where the results have theirs, likewise; None for a result that is the same for all rows.
    fun returns a tree of tensors and numbers.  Inside, shapes are those of one row.

    Each op runs once for all rows; an op whose record has no rule for that runs row by row, which
    is said once.  Random numbers differ from row to row: row i takes those that follow row i - 1's
    in one draw.  Raises ShapeError for other numbers of rows, ArgumentError for in_axes or out_axes
    that do not fit, HybridError where Python reads or branches on a value that has rows.

    >>> import hybrid
    >>> x, y = hybrid.tensor([[1.0, 2.0], [3.0, 4.0]]), hybrid.tensor([10.0, 1.0])
    >>> hybrid.vmap(lambda row, y: row @ y, in_axes=(0, None))(x, y)
    tensor([12., 34.])
    >>> hybrid.vmap(hybrid.grad(lambda w, x: (w * x).sum() ** 2), in_axes=(None, 0))(y, x)
    tensor([[ 24.,  48.],
            [204., 272.]])
    """
    need_callable("vmap", fun)

    @functools.wraps(fun, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        results, shape, size = _run(fun, args, kwargs, _axes_of(args, kwargs, in_axes))
        places = _prefix("out_axes", shape, out_axes)
        made = [_placed(t, flag, place, size) for (t, flag), place in zip(results, places)]
        return trees.unflatten(shape, made)

    return wrapped


def _run(fun: Any, args: Any, kwargs: Any, axes: list[Any]) -> tuple[list[Any], Any, int]:
    """A call with rows: the leaves of its result and whether they have rows, their structure, and
    the number of rows."""
    leaves, structure = trees.flatten((args, kwargs))
    rows = [_rows(leaf, axis) for leaf, axis in zip(leaves, axes)]
    batching = Batching(_size([tensor for tensor, axis in zip(rows, axes) if axis is not None]))
    with batching.on():
        given = [
            tensor if axis is None else batching.enter(tensor) for tensor, axis in zip(rows, axes)
        ]
        inner_args, inner_kwargs = trees.unflatten(structure, given)
        returned, shape = trees.flatten(fun(*inner_args, **inner_kwargs))
        return [batching.leave(_tensor(leaf)) for leaf in returned], shape, batching.size


def _axes_of(args: tuple[Any, ...], kwargs: dict[str, Any], in_axes: Any) -> list[Any]:
    """The axis of each leaf of the arguments."""
    if isinstance(in_axes, (tuple, list)):
        if len(in_axes) != len(args):
            raise ArgumentError(
                f"vmap: in_axes has {len(in_axes)} parts, the call {len(args)} arguments"
            )
        in_axes = tuple(in_axes)
    found = _prefix("in_axes", trees.flatten(args)[1], in_axes)
    return found + [0] * len(trees.leaves(kwargs))


def _prefix(name: str, structure: Any, axes: Any) -> list[Any]:
    try:
        found = trees.prefix(structure, axes)
    except ValueError:
        raise ArgumentError(
            f"vmap: {name} is {axes!r}, which does not fit the structure {structure}"
        ) from None
    return [axis if axis is None else whole(axis, f"vmap: {name}") for axis in found]


def _rows(leaf: Any, axis: int | None) -> Tensor:
    """A leaf of the arguments with its rows first."""
    if axis is None:
        return leaf
    if not isinstance(leaf, (Handle, np.ndarray)):
        raise ArgumentError(
            f"vmap: {described(leaf)} has no rows; name None as its axis in in_axes"
        )
    tensor = door.as_tensor(leaf)
    place = normalize_axis(axis, tensor._a.ndim, "vmap")
    return moveaxis(tensor, place, 0) if place else tensor


def _size(rows: list[Tensor]) -> int:
    """The number of rows."""
    sizes = {tensor._a.shape[0] for tensor in rows}
    if not sizes:
        raise ArgumentError("vmap: no argument has rows: in_axes names an axis of at least one")
    if len(sizes) > 1:
        shapes = ", ".join(shape_text(t._a.shape) for t in rows)
        raise ShapeError(f"vmap: arguments have different numbers of rows: {shapes} (rows first)")
    found: int = next(iter(sizes))
    return found


def _tensor(leaf: Any) -> Tensor:
    if isinstance(leaf, Handle):
        return leaf
    if is_number(leaf) or isinstance(leaf, (np.ndarray, np.generic)):
        return door.as_tensor(leaf)
    raise ArgumentError(f"vmap: fun returned {described(leaf)}: it returns tensors and numbers")


def _placed(tensor: Tensor, flag: bool, axis: int | None, size: int) -> Tensor:
    """A result with its rows where they are asked for."""
    if axis is None:
        if flag:
            raise ArgumentError("vmap: out_axes is None for a result that is another for each row")
        return tensor
    rows = tensor if flag else broadcast_to(tensor, (size, *tensor._a.shape))
    place = normalize_axis(axis, rows._a.ndim, "vmap")
    return moveaxis(rows, 0, place) if place else rows
