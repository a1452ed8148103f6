"""Normalisation over the last axes: layer_norm and rms_norm, with backward records.

Invariant: statistics of half types are float32 and each result is rounded once; the backward
records read the statistics that the forward saved.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.cache import keep
from ...core.errors import ShapeError
from ...ir.door.bind import FAST, TABLE_LIMIT, Resolved, as_tensor, bind, resolve, run
from ...ir.door.bind import convert as astype
from ...ir.op import RowOp, register
from ...ir.scalar.program import Builder, Val
from ..axes.reduce import keep_shape, mean
from ..axes.reduce import sum as sum_
from ..base.common import draw, need_float, wide
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, subtract
from .affine import AFFINE_GRAD

Ints = tuple[int, ...]
Group = tuple[int, int]
Tensor = Any


def _stats_infer(count: int) -> Any:
    """The result like the operand, then `count` statistics with size 1 along the group,
    in the compute type."""

    def infer(operand: Aval, *affine: Aval, axes: Group, eps: float) -> tuple[Aval, ...]:
        for parameter in affine:
            want = operand.shape[axes[0] :]
            if parameter.shape != want:
                raise ShapeError(
                    f"a normalisation over {want} takes parameters of that shape, not "
                    f"{parameter.shape}"
                )
        row = operand.with_(
            keep_shape(operand.shape, tuple(range(*axes))), dt.compute_type(operand.dtype)
        )
        return (operand, *[row] * count)

    return infer


def _over(axes: Group) -> Ints:
    return tuple(range(*axes))


def _rows_of(values: Tensor, over: Ints) -> Tensor:
    return sum_(values, axis=over, keepdims=True)


# ---- layer_norm
def _layer_body(
    algebra: Builder,
    operand: Val,
    weight: Val | None = None,
    bias: Val | None = None,
    *,
    axes: Group,
    eps: float,
) -> tuple[Val, Val, Val]:
    length = algebra.rlen(operand.type)
    center = algebra.rsum(operand) / length
    distance = operand - center
    inverse = 1.0 / algebra.sqrt(algebra.rsum(distance * distance) / length + eps)
    out = distance * inverse
    out = out if weight is None else out * weight
    return (out if bias is None else out + bias), center, inverse


def _layer_reference(
    operand: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    axes: Group,
    eps: float,
) -> tuple[np.ndarray, ...]:
    widened, over = wide(operand), _over(axes)
    extent = np.array(prod(operand.shape[a] for a in over), widened.dtype)
    with np.errstate(all="ignore"):
        center = widened.sum(over, keepdims=True) / extent
        inverse = 1 / np.sqrt(((widened - center) ** 2).sum(over, keepdims=True) / extent + eps)
        out = (widened - center) * inverse
    out = out if weight is None else out * wide(weight)
    return (out if bias is None else out + wide(bias)), center, inverse


def _layer_vjp(
    all_grads: tuple[Any, ...],
    outs: tuple[Any, ...],
    operand: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    axes: Group,
    eps: float,
) -> tuple[Any, ...]:
    grad, (_, center, inverse) = all_grads[0], outs
    grads: list[Any] = [lambda: _layer_dx(all_grads, operand, weight, center, inverse, axes)]
    if grad is None:
        return (*grads, *[None for parameter in (weight, bias) if parameter is not None])

    lead = (0, axes[0])
    together = axes[0] > 0 and weight is not None and weight._node is not None

    @cache
    def both() -> Any:
        return bind(AFFINE_GRAD, grad, operand, center, inverse, axes=lead)

    def by_weight() -> Tensor:
        if together:
            return both()[0]
        unit = multiply(subtract(operand, center), inverse)
        return sum_(multiply(grad, unit), axis=_over(lead))

    if weight is not None:
        grads.append(by_weight)
    if bias is not None:
        grads.append(lambda: both()[1] if together else sum_(grad, axis=_over(lead)))
    return tuple(grads)


def _layer_dx(
    grads: tuple[Any, ...],
    operand: Tensor,
    weight: Tensor | None,
    center: Tensor,
    inverse: Tensor,
    axes: Group,
) -> Tensor:
    """Gradient of the operand by way of the result, the mean and 1 / sqrt(variance + eps)."""
    grad, grad_center, grad_inverse = grads
    extent = prod(operand.shape[axes[0] : axes[1]])
    parts = []
    if grad is not None:
        parts.append(
            bind(
                LAYER_GRAD,
                grad,
                operand,
                center,
                inverse,
                *([] if weight is None else [weight]),
                axes=axes,
            )
        )
    if grad_center is not None:
        parts.append(divide(grad_center, extent))
    if grad_inverse is not None:
        slope = divide(
            multiply(grad_inverse, multiply(multiply(inverse, multiply(inverse, inverse)), -1)),
            extent,
        )
        parts.append(multiply(slope, subtract(operand, center)))
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


def _affine_samples(bias: bool) -> Any:
    def samples(rng: np.random.Generator) -> Any:
        for shape, first in (((3, 10), 1), ((2, 3, 7), 2), ((70,), 0), ((2, 70), 1)):
            params = {"axes": (first, len(shape)), "eps": 0.01}
            yield [draw(rng, *shape), *[draw(rng, *shape[first:]) for _ in range(1 + bias)]], params
            yield [draw(rng, *shape)], params

    return samples


LAYER_NORM = register(
    RowOp(
        "layer_norm",
        None,
        _stats_infer(2),
        body=_layer_body,
        params=("axes", "eps"),
        nout=3,
        vjp=_layer_vjp,
        reference=_layer_reference,
        samples=_affine_samples(True),
        accepts="f",
        ulp=400.0,
        facts=frozenset(["optional_grads"]),
        keeps=frozenset(["0", "1", "out"]),
        doc="(x - mean) / sqrt(variance + eps) * weight + bias over the last axes; also mean and "
        "1 / sqrt(...).",
    )
)


def _layer_grad_body(
    algebra: Builder,
    grad: Val,
    operand: Val,
    center: Val,
    inverse: Val,
    weight: Val | None = None,
    *,
    axes: Group,
) -> Val:
    # operand and statistics have one type except for half types, which arrive as f32 anyway
    length = algebra.rlen(operand.type)
    outer = (operand - center) * inverse
    scaled = grad if weight is None else grad * weight
    return inverse * (
        (scaled - algebra.rsum(scaled) / length) - outer * (algebra.rsum(scaled * outer) / length)
    )


def _layer_grad_reference(
    grad: np.ndarray,
    operand: np.ndarray,
    center: np.ndarray,
    inverse: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    axes: Group,
) -> np.ndarray:
    over = _over(axes)
    outer = (wide(operand) - wide(center)) * wide(inverse)
    scaled = wide(grad) if weight is None else wide(grad) * wide(weight)
    result: np.ndarray = wide(inverse) * (
        scaled
        - scaled.mean(over, keepdims=True)
        - outer * (scaled * outer).mean(over, keepdims=True)
    )
    return result


def _layer_grad_vjp(
    outer: Tensor,
    out: Tensor,
    grad: Tensor,
    operand: Tensor,
    center: Tensor,
    inverse: Tensor,
    weight: Tensor | None = None,
    *,
    axes: Group,
) -> tuple[Any, ...]:
    # linear in the gradient, by a map that is its own transpose but for the weight
    by_scaled = cache(lambda: bind(LAYER_GRAD, outer, operand, center, inverse, axes=axes))
    rest = cache(lambda: _layer_grad_rest(outer, grad, operand, center, inverse, weight, axes))
    others = (lambda: rest()[0], lambda: rest()[1], lambda: rest()[2])
    if weight is None:
        return (by_scaled, *others)
    return (
        lambda: multiply(by_scaled(), weight),
        *others,
        lambda: multiply(by_scaled(), grad),
    )


def _layer_grad_rest(
    outer: Tensor,
    grad: Tensor,
    operand: Tensor,
    center: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    axes: Group,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of layer_norm_grad's operand, mean and 1 / sqrt(variance + eps)."""
    over = _over(axes)
    away = subtract(operand, center)
    unit = multiply(away, inverse)
    scaled = grad if weight is None else multiply(grad, weight)
    mean_c, mean_ch = (
        mean(scaled, axis=over, keepdims=True),
        mean(multiply(scaled, unit), axis=over, keepdims=True),
    )
    spread = multiply(outer, inverse)
    mean_vh = mean(multiply(spread, unit), axis=over, keepdims=True)
    by_distance = multiply(add(multiply(spread, mean_ch), multiply(scaled, mean_vh)), -1)
    inner = subtract(subtract(scaled, mean_c), multiply(unit, mean_ch))
    by_inverse = add(
        _rows_of(multiply(outer, inner), over), _rows_of(multiply(by_distance, away), over)
    )
    by_operand = multiply(by_distance, inverse)
    return by_operand, multiply(_rows_of(by_operand, over), -1), by_inverse


def _layer_grad_samples(rng: np.random.Generator) -> Any:
    for shape, first in (((3, 10), 1), ((2, 3, 7), 2), ((70,), 0)):
        row = shape[:first] + (1,) * (len(shape) - first)
        yield (
            [
                draw(rng, *shape),
                draw(rng, *shape),
                draw(rng, *row),
                draw(rng, *row, low=0.5, high=2.0),
                draw(rng, *shape[first:]),
            ],
            {"axes": (first, len(shape))},
        )


LAYER_GRAD = register(
    RowOp(
        "layer_norm_grad",
        None,
        lambda grad, operand, *rest, axes: (operand,),
        body=_layer_grad_body,
        params=("axes",),
        vjp=_layer_grad_vjp,
        reference=_layer_grad_reference,
        samples=_layer_grad_samples,
        accepts="f",
        ulp=2000.0,
        doc="Gradient of layer_norm's x from the saved mean and 1 / sqrt(variance + eps).",
    )
)


def _group(operand: Tensor, shape: Any) -> Group:
    shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
    first = operand.ndim - len(shape)
    if first < 0 or operand.shape[first:] != shape or not shape:
        raise ShapeError(
            f"a normalisation over {shape} does not fit a tensor of shape {operand.shape}"
        )
    return first, operand.ndim


def _fitting(tensor: Tensor, operand: Tensor) -> Tensor:
    """A parameter in x's dtype; half types also take float32 parameters as they are."""
    tensor = as_tensor(tensor, operand.device, operand.dtype)
    return (
        tensor if tensor.dtype is dt.compute_type(operand.dtype) else astype(tensor, operand.dtype)
    )


_NORMS: dict[Any, Resolved] = {}  # by the arguments of a call, records for tensors
FAST.append(_NORMS)


def _norm(op: RowOp, x: Tensor, shape: Any, affine: list[Tensor], eps: float) -> Tensor:
    """layer_norm, whose record is `op`, by `affine` (weight, bias), as far as it is given."""
    given = x, *affine
    key = tuple([getattr(t, "_a", None) for t in given]), shape, eps
    whole = type(eps) is float and (type(shape) is int or type(shape) is tuple)
    try:
        found = _NORMS.get(key) if whole else None
    except TypeError:
        found, whole = None, False
    if found is None:
        x = as_tensor(x)
        need_float("layer_norm", x._a)
        axes = _group(x, shape)
        tensors = x, *[_fitting(t, x) for t in affine]
        found = resolve(op, tensors, {"axes": axes, "eps": float(eps)})[0]
        if whole and eps and all(t is g for t, g in zip(tensors, given)):
            keep(_NORMS, key, found, TABLE_LIMIT)
        given = tensors
    return run(found, given)[0]


@public(functional=True)
def layer_norm(
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """PyTorch's layer_norm over the last axes: (x - mean) / sqrt(var + eps) * weight + bias.

    `normalized_shape` (an int or a tuple) is the shape of those axes, of weight and of bias; the
    result has x's shape and dtype, statistics of half types are float32.  Raises ShapeError when
    they do not fit, DTypeError for tensors that are not floating.

    Ba, Kiros and Hinton, arXiv:1607.06450.

    >>> hybrid.layer_norm(hybrid.tensor([[1.0, 3.0], [10.0, 50.0]]), 2)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    if weight is None and bias is not None:
        return add(_norm(LAYER_NORM, x, normalized_shape, [], eps), bias)
    affine = [t for t in (weight, bias) if t is not None]
    return _norm(LAYER_NORM, x, normalized_shape, affine, eps)


# ---- rms_norm
def _rms_body(
    algebra: Builder, operand: Val, weight: Val | None = None, *, axes: Group, eps: float
) -> tuple[Val, Val]:
    inverse = 1.0 / algebra.sqrt(algebra.rsum(operand * operand) / algebra.rlen(operand.type) + eps)
    out = operand * inverse
    return (out if weight is None else out * weight), inverse


def _rms_reference(
    operand: np.ndarray, weight: np.ndarray | None = None, *, axes: Group, eps: float
) -> tuple[np.ndarray, ...]:
    widened = wide(operand)
    inverse = 1 / np.sqrt((widened * widened).mean(_over(axes), keepdims=True) + eps)
    return (widened * inverse if weight is None else widened * inverse * wide(weight)), inverse


def _rms_vjp(
    grads: tuple[Any, ...],
    outs: tuple[Any, ...],
    operand: Tensor,
    weight: Tensor | None = None,
    *,
    axes: Group,
    eps: float,
) -> tuple[Any, ...]:
    grad, grad_inverse = grads
    inverse, over, extent = outs[1], _over(axes), prod(operand.shape[axes[0] : axes[1]])
    by_operand, by_weight = None, None
    total = grad_inverse  # gradient of the inverse, by way of the result too
    if grad is not None:
        scaled = grad if weight is None else multiply(grad, weight)
        by_operand = multiply(scaled, inverse)
        part = _rows_of(multiply(scaled, operand), over)
        total = part if total is None else add(total, part)
        if weight is not None:
            by_weight = sum_(multiply(grad, multiply(operand, inverse)), axis=tuple(range(axes[0])))
    slope = divide(
        multiply(total, multiply(multiply(inverse, multiply(inverse, inverse)), -1)), extent
    )
    product = multiply(slope, operand)
    by_operand = product if by_operand is None else add(by_operand, product)
    return (by_operand,) if weight is None else (by_operand, by_weight)


RMS_NORM = register(
    RowOp(
        "rms_norm",
        None,
        _stats_infer(1),
        body=_rms_body,
        params=("axes", "eps"),
        nout=2,
        vjp=_rms_vjp,
        reference=_rms_reference,
        samples=_affine_samples(False),
        accepts="f",
        ulp=12.0,
        facts=frozenset(["optional_grads"]),
        keeps=frozenset(["0", "1", "out"]),
        doc="x / sqrt(mean(x * x) + eps) * weight over the last axes; also 1 / sqrt(...).",
    )
)


@public(functional=True)
def rms_norm(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """PyTorch's rms_norm over the last axes; eps defaults to the machine epsilon of x's
    dtype.

    x / sqrt(mean(x^2) + eps) * weight: Zhang and Sennrich, arXiv:1910.07467.

    Shapes and errors are those of `layer_norm`.

    >>> hybrid.rms_norm(hybrid.tensor([[1.0, 7.0], [10.0, 70.0]]), 2)
    tensor([[0.2, 1.4],
            [0.2, 1.4]])
    """
    x = as_tensor(x)
    need_float("rms_norm", x._a)
    epsilon = float(eps) if eps is not None else float(np.finfo(dt.compute_type(x.dtype)).eps)
    return bind(
        RMS_NORM,
        x,
        *([] if weight is None else [_fitting(weight, x)]),
        axes=_group(x, normalized_shape),
        eps=epsilon,
    )[0]
