"""Normalisation: layer_norm and rms_norm with backward records; batch, group and vector norms.

Invariant: statistics of half types are float32 and each result is rounded once; the backward
records read the statistics that the forward saved.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ShapeError
from ...core.shapes import broadcast_shapes, normalize_axis
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.door.bind import convert as astype
from ...ir.op import RowOp, register
from ...ir.scalar.program import Builder, Val
from ..axes.reduce import keep_shape, mean
from ..axes.reduce import sum as sum_
from ..axes.statistics import norm
from ..axes.views import broadcast_to, reshape
from ..base.common import draw, need_float, wide
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, square, subtract
from ..elementwise.functions import rsqrt
from ..elementwise.selection import maximum

Ints = tuple[int, ...]
Group = tuple[int, int]
Tensor = Any


def _stats_infer(count: int) -> Any:
    """The result like x, then `count` statistics with size 1 along the group,
    in the compute type."""

    def infer(x: Aval, *affine: Aval, axes: Group, eps: float) -> tuple[Aval, ...]:
        for a in affine:
            want = x.shape[axes[0] :]
            if a.shape != want:
                raise ShapeError(
                    f"a normalisation over {want} takes parameters of that shape, not {a.shape}"
                )
        row = x.with_(keep_shape(x.shape, tuple(range(*axes))), dt.compute_type(x.dtype))
        return (x, *[row] * count)

    return infer


def _over(axes: Group) -> Ints:
    return tuple(range(*axes))


def _rows_of(v: Tensor, over: Ints) -> Tensor:
    return sum_(v, axis=over, keepdims=True)


# ---- layer_norm
def _layer_body(
    s: Builder, x: Val, w: Val | None = None, b: Val | None = None, *, axes: Group, eps: float
) -> tuple[Val, Val, Val]:
    n = s.rlen(x.type)
    m = s.rsum(x) / n
    d = x - m
    r = 1.0 / s.sqrt(s.rsum(d * d) / n + eps)
    out = d * r
    out = out if w is None else out * w
    return (out if b is None else out + b), m, r


def _layer_reference(
    x: np.ndarray,
    w: np.ndarray | None = None,
    b: np.ndarray | None = None,
    *,
    axes: Group,
    eps: float,
) -> tuple[np.ndarray, ...]:
    v, over = wide(x), _over(axes)
    n = np.array(prod(x.shape[a] for a in over), v.dtype)
    with np.errstate(all="ignore"):
        m = v.sum(over, keepdims=True) / n
        r = 1 / np.sqrt(((v - m) ** 2).sum(over, keepdims=True) / n + eps)
        out = (v - m) * r
    out = out if w is None else out * wide(w)
    return (out if b is None else out + wide(b)), m, r


def _layer_vjp(
    gs: tuple[Any, ...],
    outs: tuple[Any, ...],
    x: Tensor,
    w: Tensor | None = None,
    b: Tensor | None = None,
    *,
    axes: Group,
    eps: float,
) -> tuple[Any, ...]:
    g, (_, center, r) = gs[0], outs
    lead = tuple(range(axes[0]))
    grads: list[Any] = [lambda: _layer_dx(gs, x, w, center, r, axes)]
    if w is not None:
        grads.append(
            None
            if g is None
            else lambda: sum_(multiply(g, multiply(subtract(x, center), r)), axis=lead)
        )
    if b is not None:
        grads.append(None if g is None else lambda: sum_(g, axis=lead))
    return tuple(grads)


def _layer_dx(
    gs: tuple[Any, ...], x: Tensor, w: Tensor | None, center: Tensor, r: Tensor, axes: Group
) -> Tensor:
    """Gradient of x by way of the result, the mean and 1 / sqrt(variance + eps)."""
    g, gm, gr = gs
    n = prod(x.shape[axes[0] : axes[1]])
    parts = []
    if g is not None:
        parts.append(bind(LAYER_GRAD, g, x, center, r, *([] if w is None else [w]), axes=axes))
    if gm is not None:
        parts.append(divide(gm, n))
    if gr is not None:
        slope = divide(multiply(gr, multiply(multiply(r, multiply(r, r)), -1)), n)
        parts.append(multiply(slope, subtract(x, center)))
    total = parts[0]
    for p in parts[1:]:
        total = add(total, p)
    return total


def _affine_samples(bias: bool) -> Any:
    def samples(rng: np.random.Generator) -> Any:
        for shape, k in (((3, 10), 1), ((2, 3, 7), 2), ((70,), 0), ((2, 70), 1)):
            p = {"axes": (k, len(shape)), "eps": 0.01}
            yield [draw(rng, *shape), *[draw(rng, *shape[k:]) for _ in range(1 + bias)]], p
            yield [draw(rng, *shape)], p

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
    s: Builder, g: Val, x: Val, m: Val, r: Val, w: Val | None = None, *, axes: Group
) -> Val:
    # x and the statistics have one type except for half types, which arrive as f32 anyway
    n = s.rlen(x.type)
    h = (x - m) * r
    c = g if w is None else g * w
    return r * ((c - s.rsum(c) / n) - h * (s.rsum(c * h) / n))


def _layer_grad_reference(
    g: np.ndarray,
    x: np.ndarray,
    m: np.ndarray,
    r: np.ndarray,
    w: np.ndarray | None = None,
    *,
    axes: Group,
) -> np.ndarray:
    over = _over(axes)
    h = (wide(x) - wide(m)) * wide(r)
    c = wide(g) if w is None else wide(g) * wide(w)
    return wide(r) * (c - c.mean(over, keepdims=True) - h * (c * h).mean(over, keepdims=True))


def _layer_grad_vjp(
    u: Tensor,
    out: Tensor,
    g: Tensor,
    x: Tensor,
    m: Tensor,
    r: Tensor,
    w: Tensor | None = None,
    *,
    axes: Group,
) -> tuple[Any, ...]:
    over = _over(axes)
    away = subtract(x, m)
    h = multiply(away, r)
    c = g if w is None else multiply(g, w)
    mean_c, mean_ch = (
        mean(c, axis=over, keepdims=True),
        mean(multiply(c, h), axis=over, keepdims=True),
    )
    v = multiply(u, r)
    mean_vh = mean(multiply(v, h), axis=over, keepdims=True)
    dc = subtract(subtract(v, mean(v, axis=over, keepdims=True)), multiply(h, mean_vh))
    dh = multiply(add(multiply(v, mean_ch), multiply(c, mean_vh)), -1)
    inner = subtract(subtract(c, mean_c), multiply(h, mean_ch))
    dr = add(_rows_of(multiply(u, inner), over), _rows_of(multiply(dh, away), over))
    dx = multiply(dh, r)
    dm = multiply(_rows_of(dx, over), -1)
    return (dc, dx, dm, dr) if w is None else (multiply(dc, w), dx, dm, dr, multiply(dc, g))


def _layer_grad_samples(rng: np.random.Generator) -> Any:
    for shape, k in (((3, 10), 1), ((2, 3, 7), 2), ((70,), 0)):
        row = shape[:k] + (1,) * (len(shape) - k)
        yield (
            [
                draw(rng, *shape),
                draw(rng, *shape),
                draw(rng, *row),
                draw(rng, *row, low=0.5, high=2.0),
                draw(rng, *shape[k:]),
            ],
            {"axes": (k, len(shape))},
        )


LAYER_GRAD = register(
    RowOp(
        "layer_norm_grad",
        None,
        lambda g, x, *rest, axes: (x,),
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


def _group(x: Tensor, shape: Any) -> Group:
    shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
    k = x.ndim - len(shape)
    if k < 0 or x.shape[k:] != shape or not shape:
        raise ShapeError(f"a normalisation over {shape} does not fit a tensor of shape {x.shape}")
    return k, x.ndim


def _fitting(t: Tensor, x: Tensor) -> Tensor:
    """A parameter in x's dtype; half types also take float32 parameters as they are."""
    t = as_tensor(t, x.device, x.dtype)
    return t if t.dtype is dt.compute_type(x.dtype) else astype(t, x.dtype)


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
    """
    x = as_tensor(x)
    need_float("layer_norm", x._a)
    axes = _group(x, normalized_shape)
    if weight is None and bias is not None:
        return add(layer_norm(x, normalized_shape, eps=eps), bias)
    affine = [_fitting(t, x) for t in (weight, bias) if t is not None]
    return bind(LAYER_NORM, x, *affine, axes=axes, eps=float(eps))[0]


# ---- rms_norm
def _rms_body(
    s: Builder, x: Val, w: Val | None = None, *, axes: Group, eps: float
) -> tuple[Val, Val]:
    r = 1.0 / s.sqrt(s.rsum(x * x) / s.rlen(x.type) + eps)
    out = x * r
    return (out if w is None else out * w), r


def _rms_reference(
    x: np.ndarray, w: np.ndarray | None = None, *, axes: Group, eps: float
) -> tuple[np.ndarray, ...]:
    v = wide(x)
    r = 1 / np.sqrt((v * v).mean(_over(axes), keepdims=True) + eps)
    return (v * r if w is None else v * r * wide(w)), r


def _rms_vjp(
    gs: tuple[Any, ...],
    outs: tuple[Any, ...],
    x: Tensor,
    w: Tensor | None = None,
    *,
    axes: Group,
    eps: float,
) -> tuple[Any, ...]:
    g, gr = gs
    r, over, n = outs[1], _over(axes), prod(x.shape[axes[0] : axes[1]])
    gx, gw = None, None
    total = gr  # gradient of r, by way of the result too
    if g is not None:
        c = g if w is None else multiply(g, w)
        gx = multiply(c, r)
        part = _rows_of(multiply(c, x), over)
        total = part if total is None else add(total, part)
        if w is not None:
            gw = sum_(multiply(g, multiply(x, r)), axis=tuple(range(axes[0])))
    slope = divide(multiply(total, multiply(multiply(r, multiply(r, r)), -1)), n)
    t = multiply(slope, x)
    gx = t if gx is None else add(gx, t)
    return (gx,) if w is None else (gx, gw)


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
    """PyTorch's rms_norm over the last axes; eps defaults to the machine epsilon of x's dtype."""
    x = as_tensor(x)
    need_float("rms_norm", x._a)
    e = float(eps) if eps is not None else float(np.finfo(dt.compute_type(x.dtype)).eps)
    return bind(
        RMS_NORM,
        x,
        *([] if weight is None else [_fitting(weight, x)]),
        axes=_group(x, normalized_shape),
        eps=e,
    )[0]


# ---- composed
def _scale_shift(out: Tensor, weight: Any, bias: Any, ndim: int) -> Tensor:
    """out * weight + bias per channel (axis 1)."""
    if weight is not None:
        out = multiply(out, _per_channel(weight, out, ndim))
    return out if bias is None else add(out, _per_channel(bias, out, ndim))


def _per_channel(t: Any, x: Tensor, ndim: int) -> Tensor:
    t = as_tensor(t, x.device, x.dtype)
    return reshape(t, (t.size,) + (1,) * (ndim - 2))


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

    In training the running statistics are assigned new values.
    """
    x = as_tensor(x)
    need_float("batch_norm", x._a)
    if x.ndim < 2:
        raise ShapeError(f"batch_norm takes x[N, C, ...], not shape {x.shape}")
    momentum, eps = float(momentum), float(eps)
    half, v = x.dtype, astype(x, dt.compute_type(x.dtype))
    if training or running_mean is None or running_var is None:
        over = (0, *range(2, x.ndim))
        m = mean(v, axis=over, keepdims=True)
        away = subtract(v, m)
        spread = mean(square(away), axis=over, keepdims=True)
        if training:
            _update_running(
                running_mean, running_var, m, spread, prod(x.shape) // max(x.shape[1], 1), momentum
            )
    else:
        away = subtract(v, _per_channel(running_mean, v, x.ndim))
        spread = _per_channel(running_var, v, x.ndim)
    out = multiply(away, rsqrt(add(spread, eps)))
    return astype(_scale_shift(out, weight, bias, x.ndim), half)


def _update_running(
    mean_: Tensor | None, var_: Tensor | None, m: Tensor, spread: Tensor, n: int, momentum: float
) -> None:
    """Move the running statistics towards those of the batch (the variance unbiased)."""
    if mean_ is None or var_ is None:
        return
    if n <= 1:
        raise ShapeError("batch_norm in training needs more than one value per channel")
    shape = mean_.shape
    mean_.assign(add(multiply(mean_, 1 - momentum), multiply(reshape(m, shape), momentum)))
    var_.assign(
        add(multiply(var_, 1 - momentum), multiply(reshape(spread, shape), momentum * n / (n - 1)))
    )


@public(functional=True)
def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """PyTorch's group_norm: x[N, C, ...] normalised over groups of channels."""
    x = as_tensor(x)
    if x.ndim < 2 or x.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: {num_groups} groups do not divide a tensor of shape {x.shape}"
        )
    flat = reshape(x, (x.shape[0], num_groups, prod(x.shape[1:]) // num_groups))
    out = reshape(layer_norm(flat, flat.shape[-1], eps=eps), x.shape)
    return _scale_shift(out, weight, bias, x.ndim)


@public(functional=True)
def normalize(x: Tensor, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its norm along an axis (at least eps)."""
    return divide(x, maximum(norm(x, axis, ord=p, keepdims=True), float(eps)))


@public(functional=True)
def cosine_similarity(a: Tensor, b: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between tensors along an axis of their common shape, as PyTorch has it:
    each norm is taken along the whole axis and is at least eps.

    A zero vector gives 0, with the other tensor's direction divided by eps as its gradient.  Raises
    ShapeError when the shapes do not broadcast.
    """
    a, b = operands(a, b)
    shape = broadcast_shapes("cosine_similarity", a.shape, b.shape)
    k = normalize_axis(axis, len(shape), "cosine_similarity")
    x, y = (_unit(_along(t, shape, k), k, float(eps)) for t in (a, b))
    return sum_(multiply(x, y), axis=k)


def _along(x: Tensor, shape: Ints, axis: int) -> Tensor:
    """x with the rank of a shape, and its size along one axis."""
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return broadcast_to(reshape(x, own), own[:axis] + shape[axis : axis + 1] + own[axis + 1 :])


def _unit(x: Tensor, axis: int, eps: float) -> Tensor:
    return divide(x, maximum(norm(x, axis, keepdims=True), eps))
