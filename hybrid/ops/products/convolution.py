"""Convolutions: conv2d with the gradients of its input and weight, conv1d, conv_transpose2d.

Invariant: the records take padded images; padding is `embed`, and the gradient of what it adds is
not computed.  The gradients are contractions again (of images: by phases of the stride, phases.py),
and a bias is added before the one rounding.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ...core.errors import ShapeError
from ...ir import contract as layouts
from ...ir.door.bind import as_tensor, bind, operands, stands_for
from ...ir.op import ContractOp, TapeOp, register
from ..axes.reduce import sum as sum_
from ..axes.slices import embed, slice_
from ..axes.views import expand_dims, reshape, swapaxes
from ..base.common import draw, inferred, pair, wide
from ..base.surface import public
from ..elementwise.arithmetic import add
from .phases import Box, images_of

Ints = tuple[int, ...]
Pair = tuple[int, int]
Tensor = Any
CONV = ("stride", "dilation", "groups")


def _images(operand: np.ndarray, kernel: Pair, stride: Pair, dilation: Pair) -> np.ndarray:
    """Patches [N, C, OH, OW, KH, KW] of padded images."""
    full = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    windows = np.lib.stride_tricks.sliding_window_view(operand, full, (2, 3))
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _conv_reference(
    operand: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Pair,
    dilation: Pair,
    groups: int,
    border: layouts.Border,
) -> np.ndarray:
    patches = _images(wide(operand), weight.shape[2:], stride, dilation)
    batch, channels, height, width, kernel_height, kernel_width = patches.shape
    patches = patches.reshape(
        batch, groups, channels // groups, height, width, kernel_height, kernel_width
    )
    widened = wide(weight).reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    out = np.einsum("ngchwij,gocij->ngohw", patches, widened).reshape(
        batch, weight.shape[0], height, width
    )
    result: np.ndarray = out if bias is None else out + wide(bias)[:, None, None]
    return result


def _conv_vjp(
    grad: Tensor,
    out: Tensor,
    operand: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair,
    dilation: Pair,
    groups: int,
    border: layouts.Border,
) -> tuple[Any, ...]:
    grads = (
        lambda: _images_grad(
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
    return grads if bias is None else (*grads, lambda: sum_(grad, axis=(0, 2, 3)))


def _inside(shape: Ints, border: layouts.Border) -> Box:
    """Images but for a border, whose gradient is left at zero."""
    height, width = shape
    top, left, bottom, right = border
    size = (height - top - bottom, width - left - right)
    return Box((top, left), size, (top, left), (height, width))


def _swap_channels(weight: Tensor, groups: int) -> Tensor:
    """weight[O, C / groups, KH, KW] -> [C, O / groups, KH, KW], group by group."""
    if groups == 1:
        return swapaxes(weight, 0, 1)
    filters, channels, height, width = weight.shape
    grouped = swapaxes(reshape(weight, (groups, filters // groups, channels, height, width)), 1, 2)
    return reshape(grouped, (groups * channels, filters // groups, height, width))


def _images_grad(
    grad: Tensor, weight: Tensor, box: Box, stride: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Gradient of the padded images within a box."""

    def convolve(images: Tensor, taps: Tensor, apart: Pair) -> Tensor:
        return bind(CONV2D, images, taps, **_whole((1, 1), apart, groups))

    images = images_of(convolve, grad, _swap_channels(weight, groups), box, stride, dilation)
    params = {"stride": stride, "dilation": dilation, "groups": groups, "box": box}
    return stands_for(IMAGES_GRAD, images, grad, weight, **params)


def _images_vjp(
    outer: Tensor,
    out: Tensor,
    grad: Tensor,
    weight: Tensor,
    stride: Pair,
    dilation: Pair,
    groups: int,
    box: Box,
) -> tuple[Any, Any]:
    """Both from the images that `outer` fills within the box, and zeros around it."""
    images, border = _around(outer, grad.shape[2:], weight.shape[2:], (stride, dilation), box)
    params = {"stride": stride, "dilation": dilation, "groups": groups}
    return (
        lambda: bind(CONV2D, images, weight, **params, border=border),
        lambda: bind(CONV_WEIGHT, grad, images, kernel=weight.shape[2:], **params),
    )


def _around(
    outer: Tensor, count: Ints, kernel: Ints, steps: tuple[Pair, Pair], box: Box
) -> tuple[Tensor, layouts.Border]:
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
    top, left = map(min, box.low, whole)
    border = (top, left, whole[0] - top - inside[0], whole[1] - left - inside[1])
    return _padded(outer, border), border


IMAGES_GRAD = TapeOp(
    "conv2d_images_grad",
    2,
    lambda grad, weight, groups, box, **_: (
        grad.with_((grad.shape[0], weight.shape[1] * groups, *box.shape)),
    ),
    vjp=_images_vjp,
    params=("stride", "dilation", "groups", "box"),
    doc="Gradient of conv2d's padded images within a box, from that of its output and the weight.",
)


def _whole(stride: Pair, dilation: Pair, groups: int) -> dict[str, Any]:
    """Parameters of a convolution whose padding, if there is any, is wanted in the gradient."""
    return {
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "border": layouts.NO_BORDER,
    }


def _conv_samples(rng: np.random.Generator) -> Any:
    def one(*shape: int) -> np.ndarray:
        return draw(rng, *shape, low=0.5, high=1.5)

    yield (
        [one(2, 3, 5, 6), one(4, 3, 2, 3), one(4)],
        _whole((1, 1), (1, 1), 1),
    )
    yield [one(1, 4, 7, 6), one(6, 2, 3, 2)], _whole((2, 1), (1, 2), 2)
    yield [one(2, 1, 4, 4), one(1, 1, 1, 1), one(1)], _whole((3, 2), (1, 1), 1)
    yield [one(1, 2, 7, 8), one(2, 2, 4, 3)], _whole((2, 3), (2, 1), 1)


CONV2D = register(
    ContractOp(
        "conv2d",
        None,
        inferred(layouts.conv2d_shape),
        layout=layouts.conv2d_layout,
        vjp=_conv_vjp,
        params=(*CONV, "border"),
        reference=_conv_reference,
        samples=_conv_samples,
        ulp=8.0,
        accepts="f",
        keeps=frozenset("01"),
        doc="Convolution of padded images x[N, C, H, W] with weight[O, C / groups, KH, KW], plus "
        "bias[O].",
    )
)


def _weight_reference(
    grad: np.ndarray,
    operand: np.ndarray,
    *,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    batch, filters, height, width = grad.shape
    patches = _images(wide(operand), kernel, stride, dilation).reshape(
        batch, groups, operand.shape[1] // groups, height, width, *kernel
    )
    widened = wide(grad).reshape(batch, groups, filters // groups, height, width)
    result: np.ndarray = np.einsum("ngchwij,ngohw->gocij", patches, widened).reshape(
        filters, operand.shape[1] // groups, *kernel
    )
    return result


def _weight_vjp(
    outer: Tensor,
    out: Tensor,
    grad: Tensor,
    operand: Tensor,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Any, Any]:
    return (
        lambda: bind(CONV2D, operand, outer, **_whole(stride, dilation, groups)),
        lambda: _images_grad(
            grad, outer, _inside(operand.shape[2:], layouts.NO_BORDER), stride, dilation, groups
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


CONV_WEIGHT = register(
    ContractOp(
        "conv2d_weight_grad",
        2,
        inferred(layouts.conv2d_weight_shape),
        layout=layouts.conv2d_weight_layout,
        vjp=_weight_vjp,
        params=("kernel", *CONV),
        reference=_weight_reference,
        samples=_weight_samples,
        ulp=12.0,
        accepts="f",
        doc="Gradient of conv2d's weight from the output gradient and the padded images.",
    )
)


def conv2d_weight_grad(
    grad: Tensor,
    operand: Tensor,
    kernel: Any,
    *,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Gradient of the weight of conv2d(x, ...) for padded images and the gradient of its output."""
    return bind(
        CONV_WEIGHT,
        grad,
        operand,
        kernel=pair(kernel, "kernel"),
        stride=pair(stride, "stride"),
        dilation=pair(dilation, "dilation"),
        groups=operator.index(groups),
    )


def _padding(padding: Any, kernel: Ints, dilation: Pair, stride: Pair) -> layouts.Border:
    """Rows and columns of zeros around the images."""
    if padding == "valid":
        return layouts.NO_BORDER
    if isinstance(padding, str) and padding != "same":
        raise ShapeError(f"conv2d: padding is an int, a pair, 'valid' or 'same', not {padding!r}")
    if padding == "same":
        if stride != (1, 1):
            raise ShapeError("conv2d: padding='same' needs stride 1")
        total = [d * (k - 1) for k, d in zip(kernel, dilation)]
        before = [t // 2 for t in total]
    else:
        before = list(pair(padding, "padding"))
        total = [2 * b for b in before]
    if min(before) < 0:
        raise ShapeError(f"conv2d: padding {padding} is negative")
    return (before[0], before[1], total[0] - before[0], total[1] - before[1])


def _padded(operand: Tensor, border: layouts.Border) -> Tensor:
    if not any(border):
        return operand
    batch, channels, height, width = operand.shape
    top, left, bottom, right = border
    outer = (batch, channels, height + top + bottom, width + left + right)
    return embed(operand, outer, (0, 0, top, left), (1, 1, 1, 1))


@public(functional=True)
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """PyTorch's conv2d: x[N, C, H, W] (or [C, H, W]), weight[O, C / groups, KH, KW], bias[O].

    stride, dilation: int or pair.  padding: int, pair, 'valid' or 'same' (stride 1 only).  The
    result is [N, O, OH, OW] with OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1.
    Dtypes promote, to a floating one (else DTypeError).  Raises ShapeError when channels, groups or
    the kernel do not fit.

    >>> image = hybrid.arange(9.0).reshape(1, 3, 3)
    >>> hybrid.conv2d(image, hybrid.ones(1, 1, 2, 2))[0]
    tensor([[ 8., 12.],
            [20., 24.]])
    >>> hybrid.conv2d(hybrid.zeros(8, 3, 32, 32), hybrid.zeros(16, 3, 3, 3), padding=1).shape
    (8, 16, 32, 32)
    """
    x, weight = operands(x, weight)
    if x.ndim == 3:
        return reshape_first(
            conv2d(expand_dims(x, 0), weight, bias, stride, padding, dilation, groups)
        )
    if x.ndim != 4 or weight.ndim != 4:
        raise ShapeError(
            f"conv2d takes x[N, C, H, W] and weight[O, C/groups, KH, KW], not {x.shape} and "
            f"{weight.shape}"
        )
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    if min(stride) < 1 or min(dilation) < 1:
        raise ShapeError(f"conv2d: stride {stride} and dilation {dilation} must be positive")
    params = _whole(stride, dilation, operator.index(groups))
    params["border"] = _padding(padding, weight.shape[2:], dilation, stride)
    x = _padded(x, params["border"])
    return bind(CONV2D, *((x, weight) if bias is None else (x, weight, bias)), **params)


def reshape_first(operand: Tensor) -> Tensor:
    """x without its first axis, which has size 1."""
    return reshape(operand, operand.shape[1:])


@public(functional=True)
def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """PyTorch's conv1d: x[N, C, L] (or [C, L]), weight[O, C / groups, K]; see `conv2d`.

    >>> signal, weight = hybrid.tensor([[1.0, 2.0, 4.0, 8.0]]), hybrid.tensor([[[-1.0, 1.0]]])
    >>> hybrid.conv1d(signal, weight)
    tensor([[1., 2., 4.]])
    """
    x, weight = operands(x, weight)
    pad = padding if isinstance(padding, str) else (0, operator.index(padding))
    out = conv2d(
        expand_dims(x, -2), expand_dims(weight, -2), bias, (1, stride), pad, (1, dilation), groups
    )
    return reshape(out, out.shape[:-2] + out.shape[-1:])


def _check_transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, **pairs: Pair
) -> None:
    """Raise ShapeError unless there is a convolution of which this is the adjoint."""
    name = "conv_transpose2d"
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"{name} takes x[N, C, H, W] and weight[C, O/groups, KH, KW], not {x.shape} and "
            f"{weight.shape}"
        )
    if groups < 1 or x.shape[1] % groups:
        raise ShapeError(f"{name}: {groups} groups of {x.shape[1]} channels")
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise ShapeError(f"{name}: bias has shape {bias.shape}, not {(weight.shape[1] * groups,)}")
    for what, lowest in (("stride", 1), ("dilation", 1), ("padding", 0), ("output_padding", 0)):
        if min(pairs[what]) < lowest:
            raise ShapeError(f"{name}: {what} {pairs[what]} must be at least {lowest}")
    for extra, stride, step in zip(pairs["output_padding"], pairs["stride"], pairs["dilation"]):
        if extra >= max(stride, step):
            raise ShapeError(
                f"{name}: output_padding {extra} must be smaller than stride or dilation"
            )


@public(functional=True)
def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """PyTorch's conv_transpose2d, the input gradient of conv2d: weight[C, O / groups, KH, KW].

    x[N, C, H, W] (or [C, H, W]) gives [N, O, OH, OW], ShapeError where sizes do not fit;
    OH = (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1.

    >>> x, weight = hybrid.tensor([[[1.0, 2.0]]]), hybrid.tensor([[[[1.0, 10.0]]]])
    >>> hybrid.conv_transpose2d(x, weight, stride=(1, 2))
    tensor([[[ 1., 10.,  2., 20.]]])
    """
    x, weight = operands(x, weight)
    if x.ndim == 3:
        given = (bias, stride, padding, output_padding, groups, dilation)
        return reshape_first(conv_transpose2d(expand_dims(x, 0), weight, *given))
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    padding, extra = pair(padding, "padding"), pair(output_padding, "output_padding")
    bias = None if bias is None else as_tensor(bias)
    sizes = {"stride": stride, "dilation": dilation, "padding": padding, "output_padding": extra}
    _check_transposed(x, weight, bias, groups, **sizes)
    full = [
        (x.shape[2 + i] - 1) * stride[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1 + extra[i]
        for i in (0, 1)
    ]
    channels = weight.shape[1] * groups
    image = tuple(full[i] - 2 * padding[i] for i in (0, 1))
    if min(image) < 1:
        raise ShapeError(f"conv_transpose2d: padding {padding} leaves an image of {image}")
    out = _images_grad(x, weight, Box(padding, image, (0, 0), image), stride, dilation, groups)
    return out if bias is None else add(out, reshape(bias, (channels, 1, 1)))
