"""The records of convolutions over any number of spatial axes: the convolution, the gradient of its
weight, that of its images.

Invariant: the records take padded images; padding is `embed`, and the gradient of what it adds is
not computed.  The gradients are contractions again (of images: by phases of the stride, phases.py),
and a bias is added before the one rounding.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...ir import contract as layouts
from ...ir.door.bind import bind, stands_for
from ...ir.op import ContractOp, TapeOp, register
from ..axes.reduce import sum as sum_
from ..axes.slices import embed, slice_
from ..axes.views import reshape, swapaxes
from ..base.common import draw, inferred, wide
from .phases import Box, images_of

__all__ = ["CONV", "CONV_WEIGHT", "images_grad", "padded", "unpadded"]

Ints = tuple[int, ...]
Tensor = Any
SHARED = ("stride", "dilation", "groups")


def _images(operand: np.ndarray, kernel: Ints, stride: Ints, dilation: Ints) -> np.ndarray:
    """Patches [N, C, *outputs, *kernel] of padded images."""
    full = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    axes = tuple(range(2, operand.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(operand, full, axes)
    steps = tuple([slice(None, None, step) for step in (*stride, *dilation)])
    return windows[(slice(None), slice(None), *steps)]


def _conv_reference(
    operand: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Ints,
    dilation: Ints,
    groups: int,
    border: Ints,
) -> np.ndarray:
    kernel, filters = weight.shape[2:], weight.shape[0]
    patches = _images(wide(operand), kernel, stride, dilation)
    outputs = patches.shape[2 : operand.ndim]
    patches = patches.reshape(
        len(operand), groups, operand.shape[1] // groups, prod(outputs), prod(kernel)
    )
    taps = wide(weight).reshape(groups, filters // groups, weight.shape[1], prod(kernel))
    out = np.einsum("ngcpt,goct->ngop", patches, taps).reshape(len(operand), filters, *outputs)
    result: np.ndarray = out
    return result if bias is None else result + wide(bias).reshape(-1, *(1,) * len(kernel))


def _conv_vjp(
    grad: Tensor,
    out: Tensor,
    operand: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Ints,
    dilation: Ints,
    groups: int,
    border: Ints,
) -> tuple[Any, ...]:
    grads = (
        lambda: images_grad(
            grad, weight, _inside(operand.shape[2:], border), stride, dilation, groups
        ),
        lambda: bind(
            CONV_WEIGHT,
            grad,
            operand,
            kernel=weight.shape[2:],
            stride=stride,
            dilation=dilation,
            groups=groups,
        ),
    )
    if bias is None:
        return grads
    return (*grads, lambda: sum_(grad, axis=(0, *range(2, grad.ndim))))


def _inside(shape: Ints, border: Ints) -> Box:
    """Images but for a border, whose gradient is left at zero."""
    before, after = border[: len(shape)], border[len(shape) :]
    size = tuple([n - first - last for n, first, last in zip(shape, before, after)])
    return Box(before, size, before, shape)


def _swap_channels(weight: Tensor, groups: int) -> Tensor:
    """weight[O, C / groups, *kernel] -> [C, O / groups, *kernel], group by group."""
    if groups == 1:
        return swapaxes(weight, 0, 1)
    filters, channels, *kernel = weight.shape
    grouped = swapaxes(reshape(weight, (groups, filters // groups, channels, *kernel)), 1, 2)
    return reshape(grouped, (groups * channels, filters // groups, *kernel))


def images_grad(
    grad: Tensor, weight: Tensor, box: Box, stride: Ints, dilation: Ints, groups: int
) -> Tensor:
    """Gradient of the padded images within a box."""

    def convolve(images: Tensor, taps: Tensor, apart: Ints) -> Tensor:
        return bind(CONV, images, taps, **unpadded((1,) * len(apart), apart, groups))

    images = images_of(convolve, grad, _swap_channels(weight, groups), box, stride, dilation)
    params = {"stride": stride, "dilation": dilation, "groups": groups, "box": box}
    return stands_for(IMAGES_GRAD, images, grad, weight, **params)


def _images_vjp(
    outer: Tensor,
    out: Tensor,
    grad: Tensor,
    weight: Tensor,
    stride: Ints,
    dilation: Ints,
    groups: int,
    box: Box,
) -> tuple[Any, Any]:
    """Both from the images that `outer` fills within the box, and zeros around it."""
    images, border = _around(outer, grad.shape[2:], weight.shape[2:], (stride, dilation), box)
    params = {"stride": stride, "dilation": dilation, "groups": groups}
    return (
        lambda: bind(CONV, images, weight, **params, border=border),
        lambda: bind(CONV_WEIGHT, grad, images, kernel=weight.shape[2:], **params),
    )


def _around(
    outer: Tensor, count: Ints, kernel: Ints, steps: tuple[Ints, Ints], box: Box
) -> tuple[Tensor, Ints]:
    """Padded images of which a convolution gives `count` outputs, and their border: zeros but for
    the part of the box that it reads."""
    stride, dilation = steps
    whole = [
        (outputs - 1) * stride_ + dilation_ * (taps - 1) + 1
        for outputs, stride_, dilation_, taps in zip(count, stride, dilation, kernel)
    ]
    inside = [
        max(min(size, extent - low), 0) for size, extent, low in zip(box.size, whole, box.low)
    ]
    sizes = (*outer.shape[:2], *inside)
    if sizes != outer.shape:
        outer = slice_(outer, (0, 0, *box.begin), sizes)
    before = tuple(map(min, box.low, whole))
    after = [extent - first - inner for extent, first, inner in zip(whole, before, inside)]
    border = (*before, *after)
    return padded(outer, border), border


IMAGES_GRAD = TapeOp(
    "conv_images_grad",
    2,
    lambda grad, weight, groups, box, **_: (
        grad.with_((grad.shape[0], weight.shape[1] * groups, *box.shape)),
    ),
    vjp=_images_vjp,
    params=("stride", "dilation", "groups", "box"),
    doc="Gradient of conv's padded images within a box, from that of its output and the weight.",
)


def unpadded(stride: Ints, dilation: Ints, groups: int) -> dict[str, Any]:
    """Parameters of a convolution whose padding, if there is any, is wanted in the gradient."""
    border = (0,) * 2 * len(stride)
    return {"stride": stride, "dilation": dilation, "groups": groups, "border": border}


def padded(operand: Tensor, border: Ints) -> Tensor:
    """Images with zeros before and behind each of their axes."""
    if not any(border):
        return operand
    lead, extents = operand.shape[:2], operand.shape[2:]
    before, after = border[: len(extents)], border[len(extents) :]
    outer = (*lead, *[n + first + last for n, first, last in zip(extents, before, after)])
    return embed(operand, outer, (0, 0, *before), (1,) * operand.ndim)


def _conv_samples(rng: np.random.Generator) -> Any:
    def one(*shape: int) -> np.ndarray:
        return draw(rng, *shape, low=0.5, high=1.5)

    yield (
        [one(2, 3, 5, 6), one(4, 3, 2, 3), one(4)],
        unpadded((1, 1), (1, 1), 1),
    )
    yield [one(1, 4, 7, 6), one(6, 2, 3, 2)], unpadded((2, 1), (1, 2), 2)
    yield [one(2, 2, 3, 4, 5), one(3, 2, 2, 3, 2), one(3)], unpadded((1, 1, 1), (1, 1, 1), 1)
    yield [one(1, 4, 5, 4, 4), one(4, 2, 2, 3, 1)], unpadded((2, 1, 3), (3, 1, 1), 2)
    yield [one(2, 2, 9), one(4, 1, 3), one(4)], unpadded((2,), (2,), 2)
    yield [one(2, 1, 4, 4), one(1, 1, 1, 1), one(1)], unpadded((3, 2), (1, 1), 1)
    yield [one(1, 2, 7, 8), one(2, 2, 4, 3)], unpadded((2, 3), (2, 1), 1)


CONV = register(
    ContractOp(
        "conv",
        None,
        inferred(layouts.conv_shape),
        layout=layouts.conv_layout,
        vjp=_conv_vjp,
        params=(*SHARED, "border"),
        reference=_conv_reference,
        samples=_conv_samples,
        ulp=8.0,
        accepts="f",
        keeps=frozenset("01"),
        doc="Convolution of padded images x[N, C, *extents] with weight[O, C / groups, *kernel], "
        "plus bias[O].",
    )
)


def _weight_reference(
    grad: np.ndarray,
    operand: np.ndarray,
    *,
    kernel: Ints,
    stride: Ints,
    dilation: Ints,
    groups: int,
) -> np.ndarray:
    batch, filters, *outputs = grad.shape
    channels = operand.shape[1] // groups
    patches = _images(wide(operand), kernel, stride, dilation).reshape(
        batch, groups, channels, prod(outputs), prod(kernel)
    )
    widened = wide(grad).reshape(batch, groups, filters // groups, prod(outputs))
    result: np.ndarray = np.einsum("ngcpt,ngop->goct", patches, widened)
    return result.reshape(filters, channels, *kernel)


def _weight_vjp(
    outer: Tensor,
    out: Tensor,
    grad: Tensor,
    operand: Tensor,
    kernel: Ints,
    stride: Ints,
    dilation: Ints,
    groups: int,
) -> tuple[Any, Any]:
    whole = operand.shape[2:]
    return (
        lambda: bind(CONV, operand, outer, **unpadded(stride, dilation, groups)),
        lambda: images_grad(
            grad, outer, _inside(whole, (0,) * 2 * len(whole)), stride, dilation, groups
        ),
    )


def _weight_samples(rng: np.random.Generator) -> Any:
    def one(*shape: int) -> np.ndarray:
        return draw(rng, *shape, low=0.5, high=1.5)

    yield (
        [one(2, 4, 4, 4), one(2, 3, 5, 6)],
        {"kernel": (2, 3), "stride": (1, 1), "dilation": (1, 1), "groups": 1},
    )
    yield (
        [one(1, 6, 3, 4), one(1, 4, 7, 6)],
        {"kernel": (3, 2), "stride": (2, 1), "dilation": (1, 2), "groups": 2},
    )
    yield (
        [one(2, 3, 4), one(2, 2, 9)],
        {"kernel": (3,), "stride": (2,), "dilation": (1,), "groups": 1},
    )
    yield (
        [one(2, 4, 2, 3, 4), one(2, 2, 3, 5, 5)],
        {"kernel": (2, 1, 2), "stride": (1, 2, 1), "dilation": (1, 1, 1), "groups": 2},
    )


CONV_WEIGHT = register(
    ContractOp(
        "conv_weight_grad",
        2,
        inferred(layouts.conv_weight_shape),
        layout=layouts.conv_weight_layout,
        vjp=_weight_vjp,
        params=("kernel", *SHARED),
        reference=_weight_reference,
        samples=_weight_samples,
        ulp=12.0,
        accepts="f",
        doc="Gradient of conv's weight from the output gradient and the padded images.",
    )
)
