"""Normalisations over channels and lengths, composed of other ops: batch, group, unit length.

Invariant: nothing here makes a record; statistics are computed in the compute type.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ...core import dtypes as dt
from ...core.errors import ShapeError
from ...core.shapes import broadcast_shapes, normalize_axis
from ...ir.door.bind import as_tensor, operands
from ...ir.door.bind import convert as astype
from ..axes.reduce import mean
from ..axes.reduce import sum as sum_
from ..axes.statistics import norm
from ..axes.views import broadcast_to, reshape
from ..base.common import need_float
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, subtract
from ..elementwise.functions import rsqrt
from ..elementwise.selection import maximum
from .batches import by_own_statistics, squares_about
from .normalize import layer_norm

Ints = tuple[int, ...]
Tensor = Any


def _scale_shift(out: Tensor, weight: Any, bias: Any, ndim: int) -> Tensor:
    """out * weight + bias per channel (axis 1)."""
    if weight is not None:
        out = multiply(out, _per_channel(weight, out, ndim))
    return out if bias is None else add(out, _per_channel(bias, out, ndim))


def _per_channel(parameter: Any, operand: Tensor, ndim: int) -> Tensor:
    parameter = as_tensor(parameter, operand.device, operand.dtype)
    return reshape(parameter, (parameter.size,) + (1,) * (ndim - 2))


@public(functional=True)
def batch_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """PyTorch's batch_norm of x[N, C, ...] over all axes but 1; the other tensors are [C].

    In training the running statistics are assigned new values.  Ioffe and Szegedy,
    arXiv:1502.03167.

    >>> mean, var = hybrid.zeros(1), hybrid.ones(1)
    >>> hybrid.batch_norm(hybrid.tensor([[[1.0, 3.0]]]), mean, var, training=True), mean
    (tensor([[[-1.,  1.]]]), tensor([0.2]))
    """
    x = as_tensor(x)
    need_float("batch_norm", x._a)
    if x.ndim < 2:
        raise ShapeError(f"batch_norm takes x[N, C, ...], not shape {x.shape}")
    momentum, eps = float(momentum), float(eps)
    half, widened = x.dtype, astype(x, dt.compute_type(x.dtype))
    if training or running_mean is None or running_var is None:
        moved = (running_mean, running_var, momentum) if training else None
        return astype(_by_batch(widened, weight, bias, eps, moved), half)
    away = subtract(widened, _per_channel(running_mean, widened, x.ndim))
    inverse = rsqrt(add(_per_channel(running_var, widened, x.ndim), eps))
    return astype(_scale_shift(multiply(away, inverse), weight, bias, x.ndim), half)


def _by_batch(
    x: Tensor, weight: Any, bias: Any, eps: float, moved: tuple[Any, Any, float] | None
) -> Tensor:
    """By the statistics of the batch; `moved`: running ones and their momentum."""
    channels = x.shape[1]
    rows = reshape(x, (x.shape[0], channels, prod(x.shape[2:])))
    count = rows.shape[0] * rows.shape[2]
    center = mean(rows, axis=(0, 2), keepdims=True)
    spread = divide(squares_about(rows, center), count)
    if moved is not None:
        _update_running(moved[0], moved[1], center, spread, count, moved[2])
    inverse = reshape(rsqrt(add(spread, eps)), center.shape)
    if weight is not None and bias is not None:
        scale, shift = (as_tensor(given, x.device, x.dtype) for given in (weight, bias))
        scale, shift = (reshape(t, (1, t.size, 1)) for t in (scale, shift))
        if scale._a == shift._a == center._a:
            return reshape(by_own_statistics(rows, center, inverse, scale, shift), x.shape)
    normal = multiply(subtract(rows, center), inverse)
    return reshape(_scale_shift(normal, weight, bias, 3), x.shape)


def _update_running(
    mean_: Tensor | None,
    var_: Tensor | None,
    center: Tensor,
    spread: Tensor,
    count: int,
    momentum: float,
) -> None:
    """Move the running statistics towards those of the batch (the variance unbiased)."""
    if mean_ is None or var_ is None:
        return
    if count <= 1:
        raise ShapeError("batch_norm in training needs more than one value per channel")
    shape = mean_.shape
    mean_.assign(add(multiply(mean_, 1 - momentum), multiply(reshape(center, shape), momentum)))
    var_.assign(
        add(
            multiply(var_, 1 - momentum),
            multiply(reshape(spread, shape), momentum * count / (count - 1)),
        )
    )


@public(functional=True)
def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """PyTorch's group_norm: x[N, C, ...] normalised over groups of channels.

    Wu and He, arXiv:1803.08494.

    weight and bias are [C].  ShapeError unless the groups divide the channels.

    >>> x = hybrid.tensor([[1.0, 3.0, 10.0, 50.0]])
    >>> hybrid.group_norm(x, 2)
    tensor([[-1.,  1., -1.,  1.]])
    """
    x = as_tensor(x)
    if x.ndim < 2 or x.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: {num_groups} groups do not divide a tensor of shape {x.shape}"
        )
    flat = reshape(x, (x.shape[0], num_groups, prod(x.shape[1:]) // num_groups))
    result = reshape(layer_norm(flat, flat.shape[-1], eps=eps), x.shape)
    return _scale_shift(result, weight, bias, x.ndim)


@public(functional=True)
def normalize(x: Tensor, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its norm along an axis (at least eps).

    Same shape and dtype; ShapeError for an axis out of range.

    >>> hybrid.normalize(hybrid.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6, 0.8],
            [0. , 0. ]])
    """
    return divide(x, maximum(norm(x, p, axis, keepdims=True), float(eps)))


@public(functional=True)
def cosine_similarity(a: Tensor, b: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between tensors along an axis of their common shape, as PyTorch has it:
    each norm is taken along the whole axis and is at least eps.

    A zero vector gives 0, with the other tensor's direction divided by eps as its gradient.  Raises
    ShapeError when the shapes do not broadcast.

    >>> a = hybrid.tensor([[1.0, 0.0], [2.0, 2.0]])
    >>> b = hybrid.tensor([[1.0, 1.0], [-3.0, -3.0]])
    >>> hybrid.cosine_similarity(a, b)
    tensor([ 0.7071, -1.    ])
    """
    a, b = operands(a, b, whole=dt.default_float)
    shape = broadcast_shapes("cosine_similarity", a.shape, b.shape)
    along_axis = normalize_axis(axis, len(shape), "cosine_similarity")
    operand, result = (_unit(_along(t, shape, along_axis), along_axis, float(eps)) for t in (a, b))
    return sum_(multiply(operand, result), axis=along_axis)


def _along(operand: Tensor, shape: Ints, axis: int) -> Tensor:
    """x with the rank of a shape, and its size along one axis."""
    own = (1,) * (len(shape) - operand.ndim) + operand.shape
    return broadcast_to(
        reshape(operand, own), own[:axis] + shape[axis : axis + 1] + own[axis + 1 :]
    )


def _unit(operand: Tensor, axis: int, eps: float) -> Tensor:
    return divide(operand, maximum(norm(operand, axis=axis, keepdims=True), eps))
