"""Views: reshape, permute_dims and broadcast_to, and the functions over them.

Invariant: a view record's layout is exact affine arithmetic, `layout(aval, strides, offset) ->
(offset, strides)` in elements, or None where the elements have no such form and a copy is made.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.cache import keep
from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import (
    as_shape,
    broadcast_shapes,
    broadcast_strides,
    items_of,
    normalize_axes,
    normalize_axis,
    reshape_strides,
)
from ...ir.door.bind import FAST, TABLE_LIMIT, Resolved, as_tensor, bind, resolve, run
from ...ir.op import Op, ViewOp, register
from ..base.common import SHAPE_ONLY, shapes_of
from ..base.surface import public
from ..elementwise.arithmetic import clone

Ints = tuple[int, ...]
Tensor = Any


# ---- calls that were made before
_VIEWS: dict[Any, Resolved] = {}  # by function, record of the tensor and what it is given, as ints
FAST.append(_VIEWS)


def _ints(given: Any) -> bool:
    """Whether a tuple holds ints only: what equals one (2.0, True) may mean something else."""
    for value in given:  # noqa: SIM110  (which a generator would do in twice the time)
        if type(value) is not int:
            return False
    return True


def _viewed(op: Op, x: Tensor, key: Any, params: dict[str, Any]) -> Tensor:
    """A view, which the next such call finds by its key."""
    resolved = resolve(op, (x,), params)[0]
    if key is not None and key[1] is x._a:
        keep(_VIEWS, key, resolved, TABLE_LIMIT)
    return run(resolved, (x,))


# ---- reshape
def _reshape_infer(operand: Aval, *, shape: Ints) -> tuple[Aval, ...]:
    if prod(shape) != operand.size:
        raise ShapeError(
            f"reshape: {operand.size} elements of shape {operand.shape} do not fill shape {shape}"
        )
    return (operand.with_(shape),)


def _reshape_layout(operand: Aval, strides: Ints, offset: int = 0, *, shape: Ints) -> Any:
    got = reshape_strides(operand.shape, strides, shape)
    return None if got is None else (offset, got)


def _reshape_back(base: Tensor, value: Tensor, shape: Any) -> Tensor:
    return reshape(value, base.shape)


RESHAPE: Op = register(
    ViewOp(
        "reshape",
        1,
        _reshape_infer,
        layout=_reshape_layout,
        facts=frozenset(["copies"]),
        params=("shape",),
        keeps=SHAPE_ONLY,
        vjp=lambda gradient, out, operand, shape: (bind(RESHAPE, gradient, shape=operand.shape),),
        write_back=_reshape_back,
        reference=lambda operand, shape: np.reshape(operand, shape),
        samples=shapes_of(
            [
                ((2, 6), {"shape": (3, 4)}),
                ((3, 0), {"shape": (0, 5)}),
                ((), {"shape": (1, 1)}),
                ((1,), {"shape": ()}),
                ((7,), {"shape": (1, 7, 1)}),
            ]
        ),
        doc="The same elements in row-major order under another shape.",
    )
)


def in_columns(order: str, what: str, orders: str = "CFAK") -> bool:
    """Whether an order is 'F'; how a value lies in memory, which 'A' and 'K' ask for, cannot be
    seen: they are 'C'."""
    if not isinstance(order, str) or order not in tuple(orders):
        named = ", ".join(map(repr, orders[:-1]))
        raise ArgumentError(f"{what}: order is {named} or {orders[-1]!r}, not {order!r}")
    return order == "F"


def reversed_axes(x: Tensor) -> Tensor:
    """x with all axes in reverse order."""
    return permute_dims(x, tuple(range(x.ndim))[::-1])


@public
def reshape(x: Tensor, shape: Any, order: str = "C", *, copy: bool | None = None) -> Tensor:
    """x under another shape; one size may be -1.

    The result shows x's elements, and a write goes through, unless `copy` is true.  With order 'F'
    elements are taken and placed with the first index running fastest; 'A' is 'C'.

    ShapeError where the elements do not fill the shape.

    >>> hybrid.reshape(hybrid.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    >>> hybrid.reshape(hybrid.arange(6), (2, 3), order="F")
    tensor([[0, 2, 4],
            [1, 3, 5]])
    """
    key = None
    if order != "C" and _by_columns(order):
        sizes = (shape,) if hasattr(shape, "__index__") else items_of(shape, "reshape: shape")
        turned = reshape(reversed_axes(as_tensor(x)), tuple(sizes)[::-1], copy=copy)
        return reversed_axes(turned)
    if copy:
        x = clone(x)
    if type(shape) is tuple and _ints(shape):
        key = "reshape", getattr(x, "_a", None), shape
        found = _VIEWS.get(key)
        if found is not None:
            return run(found, (x,))
    x = as_tensor(x)
    shape = (shape,) if hasattr(shape, "__index__") else items_of(shape, "reshape: shape")
    shape = tuple(operator.index(n) for n in shape)
    if -1 in shape:
        shape = _completed(shape, x)
    if shape == x._a.shape:
        return x
    if shape and min(shape) < 0:
        raise ShapeError(f"a shape cannot hold negative sizes: {shape}")
    return _viewed(RESHAPE, x, key, {"shape": shape})


def _by_columns(order: Any) -> bool:
    if hasattr(order, "__index__"):
        raise ArgumentError("reshape: the sizes are one argument: hybrid.reshape(x, (2, 3))")
    return in_columns(order, "reshape", "CFA")


def _completed(shape: Ints, x: Tensor) -> Ints:
    """A shape with the size in the place of -1."""
    known = prod(n for n in shape if n != -1)
    if shape.count(-1) > 1 or known == 0 or x._a.size % known:
        raise ShapeError(
            f"reshape: shape {x.shape} does not fit {shape}; one size may be -1 where the "
            "others divide the number of elements"
        )
    return tuple(x._a.size // known if n == -1 else n for n in shape)


def _reshaped(x: Tensor, key: Any, shape: Ints) -> Tensor:
    return _viewed(RESHAPE, x, key, {"shape": shape})


def apart(op: Op, x: Tensor, **params: Any) -> Tensor:
    """What a view shows, as a tensor of its own: writes to one of them stay in it."""
    resolved, tensors = resolve(op, (x,), params)
    return run(resolved, tensors, link=False)


@public(method=True)
def flatten(x: Tensor, start: Any = 0, stop: int = -1, *, order: str = "C") -> Tensor:
    """Axes start..stop (inclusive) as one axis, as a tensor of its own: as NumPy's, it is no view,
    and writes to it stay in it (`reshape` and `ravel` are views where NumPy's are).

    With order 'F', which may stand in the place of `start`, the first of these axes runs fastest.
    ShapeError for an axis out of range, or where stop comes before start.

    >>> hybrid.flatten(hybrid.zeros(2, 3, 4, 5), 1, 2).shape
    (2, 12, 5)
    >>> hybrid.flatten(hybrid.tensor([[1, 2], [3, 4]]), "F")
    tensor([1, 3, 2, 4])
    """
    x = as_tensor(x)
    if isinstance(start, str):
        order, start = start, 0
    columns = in_columns(order, "flatten")
    shape: Ints = (1,)
    if x.ndim:
        left, right = (normalize_axis(end, x.ndim, "flatten") for end in (start, stop))
        if right < left:
            raise ShapeError(
                f"flatten: axis {stop} comes before axis {start} of {x.ndim} dimensions"
            )
        shape = x.shape[:left] + (prod(x.shape[left : right + 1]),) + x.shape[right + 1 :]
        if columns:
            axes = range(x.ndim)
            x = permute_dims(x, (*axes[:left], *axes[left : right + 1][::-1], *axes[right + 1 :]))
    return apart(RESHAPE, x, shape=shape)


@public(method=True)
def expand_dims(x: Tensor, axis: Any = 0) -> Tensor:
    """x with axes of size 1 inserted at the positions `axis` of the result.

    ShapeError for a position that the result does not have.

    >>> hybrid.expand_dims(hybrid.zeros(2, 3), (0, -1)).shape
    (1, 2, 3, 1)
    """
    key = None
    if type(axis) is int:
        key = "expand_dims", getattr(x, "_a", None), axis
        found = _VIEWS.get(key)
        if found is not None:
            return run(found, (x,))
    x = as_tensor(x)
    rank = x.ndim + (1 if hasattr(axis, "__index__") else len(axis))
    where = set(normalize_axes(axis, rank, "expand_dims"))
    old = iter(x.shape)
    shape = tuple(1 if i in where else next(old) for i in range(rank))
    return reshape(x, shape) if key is None else _reshaped(x, key, shape)


@public(method=True)
def squeeze(x: Tensor, axis: Any = None) -> Tensor:
    """x without axes of size 1: all of them, or those of `axis`, which must have size 1.

    ShapeError for an axis of another size.

    >>> x = hybrid.zeros(1, 3, 1)
    >>> hybrid.squeeze(x).shape, hybrid.squeeze(x, axis=0).shape
    ((3,), (3, 1))
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(x, tuple(d for d in x.shape if d != 1))
    axes = normalize_axes(axis, x.ndim, "squeeze")
    bad = [a for a in axes if x.shape[a] != 1]
    if bad:
        raise ShapeError(f"squeeze: axis {bad[0]} has size {x.shape[bad[0]]}, not 1")
    return reshape(x, tuple(d for i, d in enumerate(x.shape) if i not in axes))


# ---- permute_dims
def _permute_vjp(gradient: Tensor, out: Tensor, operand: Tensor, axes: Ints) -> tuple[Tensor]:
    back = [0] * len(axes)
    for position, axis in enumerate(axes):
        back[axis] = position
    return (bind(PERMUTE, gradient, axes=tuple(back)),)


PERMUTE = register(
    ViewOp(
        "permute_dims",
        1,
        lambda operand, axes: (operand.with_(tuple(operand.shape[i] for i in axes)),),
        layout=lambda operand, strides, offset=0, *, axes: (
            offset,
            tuple(strides[i] for i in axes),
        ),
        params=("axes",),
        keeps=SHAPE_ONLY,
        vjp=_permute_vjp,
        write_back=lambda base, value, axes: _permute_vjp(value, None, base, axes)[0],
        reference=lambda operand, axes: np.transpose(operand, axes),
        samples=shapes_of(
            [((2, 3, 4), {"axes": (2, 0, 1)}), ((0, 3), {"axes": (1, 0)}), ((), {"axes": ()})]
        ),
        doc="Axes in another order.",
    )
)


@public
def permute_dims(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Axis i of the result is axis axes[i] of x.

    ShapeError unless every axis is named once.

    >>> hybrid.permute_dims(hybrid.zeros(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """
    key = None
    if type(axes) is tuple and _ints(axes):
        key = "permute_dims", getattr(x, "_a", None), axes
        found = _VIEWS.get(key)
        if found is not None:
            return run(found, (x,))
    x = as_tensor(x)
    order = tuple(normalize_axis(a, x.ndim, "permute_dims") for a in axes)
    if len(order) != x.ndim or len(set(order)) != x.ndim:
        raise ShapeError(
            f"permute_dims: axes {tuple(axes)} are no permutation of {x.ndim} dimensions"
        )
    return x if order == tuple(range(x.ndim)) else _viewed(PERMUTE, x, key, {"axes": order})


@public(method=True)
def moveaxis(x: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes of x moved to new positions; the others keep their order.

    ShapeError for an axis that is out of range or named twice.

    >>> hybrid.moveaxis(hybrid.zeros(2, 3, 4), 0, -1).shape
    (3, 4, 2)
    """
    x = as_tensor(x)
    one = hasattr(source, "__index__")
    src = [normalize_axis(a, x.ndim, "moveaxis") for a in ((source,) if one else source)]
    dst = [normalize_axis(a, x.ndim, "moveaxis") for a in ((destination,) if one else destination)]
    if len(src) != len(dst) or len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise ShapeError(f"moveaxis: source {source} and destination {destination} do not pair up")
    order = [a for a in range(x.ndim) if a not in src]
    for put, taken in sorted(zip(dst, src)):
        order.insert(put, taken)
    return permute_dims(x, order)


def _swapped(x: Tensor, key: Any, order: Ints) -> Tensor:
    return _viewed(PERMUTE, x, key, {"axes": order})


@public(method=True)
def swapaxes(x: Tensor, axis1: int, axis2: int) -> Tensor:
    """x with two axes exchanged.

    ShapeError for an axis out of range.

    >>> hybrid.swapaxes(hybrid.zeros(2, 3, 4), 0, 2).shape
    (4, 3, 2)
    """
    key = None
    if type(axis1) is int and type(axis2) is int:
        key = "swapaxes", getattr(x, "_a", None), axis1, axis2
        found = _VIEWS.get(key)
        if found is not None:
            return run(found, (x,))
    x = as_tensor(x)
    order = list(range(x.ndim))
    left, right = (
        normalize_axis(axis1, x.ndim, "swapaxes"),
        normalize_axis(axis2, x.ndim, "swapaxes"),
    )
    order[left], order[right] = right, left
    return _swapped(x, key, tuple(order)) if left != right else x


@public(linalg=True)
def matrix_transpose(x: Tensor) -> Tensor:
    """The last two axes exchanged.

    x[..., n, m] gives [..., m, n]; ShapeError below two dimensions.

    >>> hybrid.matrix_transpose(hybrid.tensor([[1, 2, 3], [4, 5, 6]]))
    tensor([[1, 4],
            [2, 5],
            [3, 6]])
    """
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose takes at least two dimensions, not shape {x.shape}")
    return swapaxes(x, -1, -2)


# ---- broadcast_to
def _broadcast_infer(operand: Aval, *, shape: Ints) -> tuple[Aval, ...]:
    if len(shape) < operand.ndim or broadcast_shapes("broadcast_to", operand.shape, shape) != shape:
        raise ShapeError(f"broadcast_to: shape {operand.shape} does not broadcast to {shape}")
    return (operand.with_(shape),)


BROADCAST = register(
    ViewOp(
        "broadcast_to",
        1,
        _broadcast_infer,
        layout=lambda operand, strides, offset=0, *, shape: (
            offset,
            broadcast_strides(operand.shape, strides, shape),
        ),
        params=("shape",),
        keeps=SHAPE_ONLY,
        reference=lambda operand, shape: np.broadcast_to(operand, shape),
        samples=shapes_of(
            [((3, 1), {"shape": (2, 3, 4)}), ((), {"shape": (3,)}), ((1, 2), {"shape": (0, 2)})]
        ),
        doc="Axes of size 1, and new leading axes, repeated.",
    )
)


@public(method=True)
def broadcast_to(x: Tensor, shape: Any) -> Tensor:
    """x repeated along axes of size 1 and new leading axes, as a view.

    ShapeError where the shape does not fit.

    >>> hybrid.broadcast_to(hybrid.tensor([[1], [2]]), (2, 3))
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    x = as_tensor(x)
    shape = as_shape(shape)
    return x if shape == x.shape else bind(BROADCAST, x, shape=shape)


@public
def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """All tensors broadcast to their common shape.

    ShapeError where the shapes do not broadcast; each keeps its dtype.

    >>> a, b = hybrid.broadcast_arrays(hybrid.zeros(3, 1), hybrid.ones(4))
    >>> a.shape, b.shape
    ((3, 4), (3, 4))
    """
    xs = [as_tensor(x) for x in arrays]
    shape = broadcast_shapes("broadcast_arrays", *[x.shape for x in xs])
    return tuple(broadcast_to(x, shape) for x in xs)
