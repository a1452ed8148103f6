"""Pooling over windows of images [N, C, H, W]: one gather forward and one backward, padding too.

Invariant: windows are walked in row-major order; the maximum is the first one (a NaN wins), sums
are added in that order.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ShapeError
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import MapOp, Op, register
from ...ir.scalar.program import TYPE, Builder, Val
from ..axes.reduce import mean
from ..axes.views import reshape
from ..base.common import draw, need_float, pair, wide
from ..base.surface import public
from ..build.create import ones
from ..elementwise.arithmetic import divide
from ..indexing.along import ALONG
from .pool_windows import (
    Ints,
    Pair,
    at,
    both,
    covering,
    index_type,
    numpy_windows,
    pooled,
    window_values,
)

Tensor = Any
PARAMS = ("kernel", "stride", "padding", "dilation")


# ---- maximum
def _max_infer(operand: Aval, **window: Pair) -> tuple[Aval, ...]:
    shape = pooled("max_pool2d", operand.shape, **window)
    return operand.with_(shape), operand.with_(
        shape, dt.int32 if prod(operand.shape[2:]) < 2**31 else dt.int64
    )


def _max_body(algebra: Builder, operand: Any, **window: Pair) -> tuple[Val, Val]:
    place = TYPE[dt.int32 if prod(operand.shape[2:]) < 2**31 else dt.int64]
    best: Any = None
    where: Any = None
    seen: Any = None
    for element, inside, positions in window_values(algebra, operand, **window):
        element = element if inside is None else algebra.select(inside, element, float("-inf"))
        if best is None:
            best, where, seen = element, positions, inside
            continue
        better = (element > best) | ((element != element) & (best == best))
        if inside is not None and max(window["dilation"]) > 1:
            # places of padding may lie between those of the window: take the first one inside
            better = better | algebra.select(seen, False, inside)
            seen = seen | inside
        best, where = (
            algebra.select(better, element, best),
            algebra.select(better, positions, where),
        )
    return best, algebra.convert(where, place)


def _max_reference(operand: np.ndarray, **window: Pair) -> tuple[np.ndarray, np.ndarray]:
    windows = numpy_windows(wide(operand), -np.inf, **window)
    positions = np.broadcast_to(
        np.arange(prod(operand.shape[2:])).reshape(operand.shape[2:]), operand.shape
    )
    sources = numpy_windows(positions, 0, **window)
    flat, places = windows.reshape(*windows.shape[:4], -1), sources.reshape(*sources.shape[:4], -1)
    best = flat.argmax(-1)[..., None]
    return np.take_along_axis(flat, best, -1)[..., 0], np.take_along_axis(places, best, -1)[..., 0]


def _max_vjp(
    gradients: tuple[Any, Any], outs: tuple[Any, Any], operand: Tensor, **window: Pair
) -> tuple[Any]:
    return (
        None
        if gradients[0] is None
        else bind(MAX_GRAD, gradients[0], outs[1], shape=operand.shape, **window),
    )


def _cases(channels: int = 2) -> list[tuple[Ints, dict[str, Pair]]]:
    def row(
        height: int, width: int, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> tuple[Ints, dict[str, Pair]]:
        return (2, channels, height, width), {
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
        }

    return [
        row(4, 6, (2, 2), (2, 2), (0, 0), (1, 1)),
        row(5, 7, (3, 2), (2, 3), (1, 1), (1, 1)),
        row(6, 6, (2, 2), (1, 1), (0, 0), (2, 1)),
        row(3, 3, (3, 3), (3, 3), (1, 1), (1, 1)),
    ]


MAX_POOL = register(
    MapOp(
        "max_pool2d",
        1,
        _max_infer,
        body=_max_body,
        gathers=(0,),
        params=PARAMS,
        nout=2,
        vjp=_max_vjp,
        accepts="f",
        reference=_max_reference,
        ulp=0.0,
        facts=frozenset(["optional_grads"]),
        keeps=frozenset(["out"]),
        samples=lambda rng: (([draw(rng, *s)], p) for s, p in _cases()),
        doc="Maxima over windows, and where they are (numbers in H * W).",
    )
)


def _max_grad_body(
    algebra: Builder, gradient: Any, position: Any, *, shape: Ints, **window: Pair
) -> Val:
    type_name = index_type(shape, gradient.shape)
    image, channel, height, width = (algebra.convert(algebra.coord(a), type_name) for a in range(4))
    own = height * shape[3] + width
    total: Any = None
    for cover in covering(algebra, shape, gradient.shape, type_name, **window):
        place = at(algebra, position, type_name, image, channel, cover)
        mine = algebra.convert(place, type_name) == own
        # without gaps only windows that cover an element name it
        checks = (cover.exists, cover.covers if max(window["dilation"]) > 1 else None)
        for check in checks:
            mine = mine if check is None else mine & check
        element = at(algebra, gradient, type_name, image, channel, cover)
        part = algebra.select(mine, element, 0.0)
        total = part if total is None else total + part
    result: Val = total
    return result


def _max_grad_reference(
    gradient: np.ndarray, position: np.ndarray, *, shape: Ints, **window: Pair
) -> np.ndarray:
    result = np.zeros((prod(shape[:2]), prod(shape[2:])), wide(gradient).dtype)
    rows = np.arange(result.shape[0])[:, None]
    np.add.at(
        result,
        (rows, position.reshape(result.shape[0], -1)),
        wide(gradient).reshape(result.shape[0], -1),
    )
    return result.reshape(shape)


def _max_grad_samples(rng: np.random.Generator) -> Any:
    for shape, window in _cases():
        positions = _max_reference(draw(rng, *shape), **window)[1]
        yield [draw(rng, *positions.shape), positions], {"shape": shape, **window}


def _max_grad_vjp(
    outer: Tensor, out: Tensor, gradient: Tensor, position: Tensor, shape: Ints, **window: Pair
) -> tuple[Any, None]:
    flat = reshape(outer, shape[:2] + (prod(shape[2:]),))
    places = astype(reshape(position, position.shape[:2] + (prod(position.shape[2:]),)), dt.int64)
    return reshape(bind(ALONG, flat, places, axis=2), position.shape), None


MAX_GRAD = register(
    MapOp(
        "max_pool2d_grad",
        2,
        lambda gradient, position, shape, **window: (gradient.with_(shape),),
        body=_max_grad_body,
        gathers=(0, 1),
        params=("shape", *PARAMS),
        vjp=_max_grad_vjp,
        accepts="f",
        reference=_max_grad_reference,
        ulp=4.0,
        samples=_max_grad_samples,
        keeps=frozenset("1"),
        doc="Gradient of max_pool2d from the places of the maxima.",
    )
)


# ---- sums
def _sum_body(algebra: Builder, operand: Any, **window: Pair) -> Val:
    total: Any = None
    for element, inside, _ in window_values(algebra, operand, **window):
        element = element if inside is None else algebra.select(inside, element, 0.0)
        total = element if total is None else total + element
    result: Val = total
    return result


def _sum_grad_body(algebra: Builder, gradient: Any, *, shape: Ints, **window: Pair) -> Val:
    type_name = index_type(shape, gradient.shape)
    image, channel = (
        algebra.convert(algebra.coord(0), type_name),
        algebra.convert(algebra.coord(1), type_name),
    )
    total: Any = None
    for cover in covering(algebra, shape, gradient.shape, type_name, **window):
        element = at(algebra, gradient, type_name, image, channel, cover)
        inside = both(cover.exists, cover.covers)
        element = element if inside is None else algebra.select(inside, element, 0.0)
        total = element if total is None else total + element
    result: Val = total
    return result


def _sum_grad_reference(gradient: np.ndarray, *, shape: Ints, **window: Pair) -> np.ndarray:
    padded = tuple(n + 2 * q for n, q in zip(shape[2:], window["padding"]))
    result = np.zeros(shape[:2] + padded, wide(gradient).dtype)
    for row in range(window["kernel"][0]):
        for column in range(window["kernel"][1]):
            positions = [
                slice(o * d, o * d + (n - 1) * st + 1, st)
                for o, d, n, st in zip(
                    (row, column), window["dilation"], gradient.shape[2:], window["stride"]
                )
            ]
            result[:, :, positions[0], positions[1]] += wide(gradient)
    left, right = window["padding"]
    return result[:, :, left : left + shape[2], right : right + shape[3]]


SUM_POOL = register(
    MapOp(
        "sum_pool2d",
        1,
        lambda operand, **window: (operand.with_(pooled("avg_pool2d", operand.shape, **window)),),
        body=_sum_body,
        gathers=(0,),
        params=PARAMS,
        vjp=lambda gradient, out, operand, **window: (
            bind(SUM_POOL_GRAD, gradient, shape=operand.shape, **window),
        ),
        accepts="f",
        keeps=frozenset(["shape"]),
        reference=lambda operand, **window: numpy_windows(wide(operand), 0, **window).sum((-1, -2)),
        ulp=8.0,
        samples=lambda rng: (([draw(rng, *s, low=0.5, high=1.5)], p) for s, p in _cases()),
        doc="Sums over windows.",
    )
)
SUM_POOL_GRAD: Op = register(
    MapOp(
        "sum_pool2d_grad",
        1,
        lambda gradient, shape, **window: (gradient.with_(shape),),
        body=_sum_grad_body,
        gathers=(0,),
        params=("shape", *PARAMS),
        vjp=lambda outer, out, gradient, shape, **window: (bind(SUM_POOL, outer, **window),),
        accepts="f",
        keeps=frozenset(["shape"]),
        reference=_sum_grad_reference,
        ulp=8.0,
        samples=lambda rng: (
            ([draw(rng, *pooled("", s, **p), low=0.5, high=1.5)], {"shape": s, **p})
            for s, p in _cases()
        ),
        doc="The adjoint of sum_pool2d.",
    )
)


# ---- public
def _settings(kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> dict[str, Pair]:
    size = pair(kernel, "kernel_size")
    return {
        "kernel": size,
        "stride": size if stride is None else pair(stride, "stride"),
        "padding": pair(padding, "padding"),
        "dilation": pair(dilation, "dilation"),
    }


def _images(name: str, operand: Tensor) -> Tensor:
    need_float(name, operand._a)
    if operand.ndim not in (3, 4):
        raise ShapeError(
            f"{name} takes images [N, C, H, W] or [C, H, W], not shape {operand.shape}"
        )
    return reshape(operand, (1, *operand.shape)) if operand.ndim == 3 else operand


@public(functional=True)
def max_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    return_indices: bool = False,
) -> Any:
    """PyTorch's max_pool2d: maxima over windows (padding counts as -inf);
    the gradient goes to the first maximum.

    x[N, C, H, W] (or [C, H, W]); a stride of None is the kernel's size.  `return_indices` gives the
    pair (maxima, positions in the flattened image).

    ShapeError where the window does not fit.

    >>> x = hybrid.arange(16.0).reshape(1, 4, 4)
    >>> hybrid.max_pool2d(x, 2)[0]
    tensor([[ 5.,  7.],
            [13., 15.]])
    """
    x = as_tensor(x)
    images = _images("max_pool2d", x)
    result, positions = bind(MAX_POOL, images, **_settings(kernel_size, stride, padding, dilation))
    if x.ndim == 3:
        result, positions = (
            reshape(result, result.shape[1:]),
            reshape(positions, positions.shape[1:]),
        )
    return (result, astype(positions, dt.int64)) if return_indices else result


@public(functional=True)
def avg_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: bool = True,
) -> Tensor:
    """PyTorch's avg_pool2d: means over windows; padding counts as zeros, or not at all.

    x[N, C, H, W] (or [C, H, W]); a stride of None is the kernel's size.

    ShapeError where the window does not fit.

    >>> x = hybrid.arange(16.0).reshape(1, 4, 4)
    >>> hybrid.avg_pool2d(x, 2)[0]
    tensor([[ 2.5,  4.5],
            [10.5, 12.5]])
    """
    x = as_tensor(x)
    images, settings = _images("avg_pool2d", x), _settings(kernel_size, stride, padding)
    result = bind(SUM_POOL, images, **settings)
    if count_include_pad or settings["padding"] == (0, 0):
        result = divide(result, prod(settings["kernel"]))
    else:
        one = ones((1, 1, *images.shape[2:]), dtype=x.dtype, device=x.device)
        result = divide(result, bind(SUM_POOL, one, **settings))
    return reshape(result, result.shape[1:]) if x.ndim == 3 else result


@public
def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`,
    which must divide the image.

    x[N, C, H, W] (or [C, H, W]); ShapeError where it does not divide.

    >>> hybrid.adaptive_avg_pool2d(hybrid.arange(16.0).reshape(1, 4, 4), (1, 2))
    tensor([[[6.5, 8.5]]])
    """
    size = pair(output_size, "output_size")
    if size == (1, 1):
        return mean(x, axis=(-2, -1), keepdims=True)
    if any(n % k for n, k in zip(x.shape[-2:], size)):
        raise ShapeError(
            f"adaptive_avg_pool2d: {size} does not divide images of {x.shape[-2:]}; use avg_pool2d"
        )
    return avg_pool2d(x, tuple(n // k for n, k in zip(x.shape[-2:], size)))


def _as_images(operand: Tensor) -> Tensor:
    return reshape(operand, operand.shape[:-1] + (1, operand.shape[-1]))


@public
def max_pool1d(
    x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1
) -> Tensor:
    """PyTorch's max_pool1d over [N, C, L] (or [C, L]).

    ShapeError where the window does not fit.

    >>> hybrid.max_pool1d(hybrid.tensor([[3.0, 1.0, 4.0, 1.0, 5.0]]), 3, stride=1)
    tensor([[4., 4., 5.]])
    """
    result = max_pool2d(
        _as_images(x), (1, kernel_size), (1, stride or kernel_size), (0, padding), (1, dilation)
    )
    return reshape(result, result.shape[:-2] + result.shape[-1:])


@public
def avg_pool1d(x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0) -> Tensor:
    """PyTorch's avg_pool1d over [N, C, L] (or [C, L]).

    ShapeError where the window does not fit.

    >>> hybrid.avg_pool1d(hybrid.tensor([[3.0, 1.0, 4.0, 2.0]]), 2)
    tensor([[2., 3.]])
    """
    result = avg_pool2d(_as_images(x), (1, kernel_size), (1, stride or kernel_size), (0, padding))
    return reshape(result, result.shape[:-2] + result.shape[-1:])
