"""Convolutions over one, two and three spatial axes, and transposed ones: PyTorch's functions.

Invariant: all ranks are one record (conv_records.py) and one way to read the arguments; padding is
part of the images before the record sees them, and its gradient is not computed.
"""

from __future__ import annotations

import operator
from typing import Any

from ...core.errors import ShapeError
from ...ir.door.bind import as_tensor, bind, operands
from ..axes.views import expand_dims, reshape
from ..base.common import each_axis
from ..base.surface import public
from ..elementwise.arithmetic import add
from .conv_records import CONV, images_grad, padded, unpadded
from .phases import Box

Ints = tuple[int, ...]
Tensor = Any
# spatial axes of images and of weights, as errors name them
AXES = {1: ("L", "K"), 2: ("H, W", "KH, KW"), 3: ("D, H, W", "KD, KH, KW")}


# ---- arguments
def _ranked(name: str, count: int, x: Tensor, weight: Tensor, of_weight: str) -> bool:
    """Whether these are images without a batch; ShapeError where ranks do not fit."""
    if weight.ndim == count + 2 and x.ndim in (count + 1, count + 2):
        alone: bool = x.ndim == count + 1
        return alone
    extents, taps = AXES[count]
    raise ShapeError(
        f"{name} takes x[N, C, {extents}] and weight[{of_weight}, {taps}], not {x.shape} and "
        f"{weight.shape}"
    )


def _prepared(
    count: int,
    tensors: tuple[Tensor, Tensor, Tensor | None],
    settings: tuple[Any, Any, Any],
    groups: int,
) -> tuple[list[Tensor], dict[str, Any], bool]:
    """Operands of the record, its parameters, whether the images came without a batch; `settings`:
    stride, padding, dilation."""
    name, (x, weight), bias = f"conv{count}d", operands(*tensors[:2]), tensors[2]
    padding = settings[1]
    alone = _ranked(name, count, x, weight, "O, C/groups")
    stride = each_axis(settings[0], count, "stride")
    dilation = each_axis(settings[2], count, "dilation")
    if min(stride) < 1 or min(dilation) < 1:
        raise ShapeError(f"{name}: stride {stride} and dilation {dilation} must be positive")
    params = unpadded(stride, dilation, operator.index(groups))
    if padding != "valid":
        border = _border(name, padding, weight.shape[2:], dilation, stride)
        params["border"] = border
        x = padded(expand_dims(x, 0) if alone else x, border)
    elif alone:
        x = expand_dims(x, 0)
    return [x, weight] if bias is None else [x, weight, bias], params, alone


def _border(name: str, padding: Any, kernel: Ints, dilation: Ints, stride: Ints) -> Ints:
    """Zeros before each axis of the images, then behind each."""
    if padding == "same":
        if max(stride) > 1:
            raise ShapeError(f"{name}: padding='same' needs stride 1")
        total = [d * (k - 1) for k, d in zip(kernel, dilation)]
        before = tuple([t // 2 for t in total])
        return (*before, *[t - first for t, first in zip(total, before)])
    if isinstance(padding, str):
        raise ShapeError(
            f"{name}: padding is an int, one for each axis, 'valid' or 'same', not {padding!r}"
        )
    before = each_axis(padding, len(kernel), "padding")
    if min(before) < 0:
        raise ShapeError(f"{name}: padding {padding} is negative")
    return before + before


def _first(images: Tensor, alone: bool) -> Tensor:
    """Images without their first axis, of size 1, where they came without one."""
    return reshape(images, images.shape[1:]) if alone else images


# ---- convolutions
@public(functional=True)
def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """PyTorch's conv1d: x[N, C, L] (or [C, L]), weight[O, C / groups, K]; see `conv2d`.

    >>> signal, weight = hybrid.tensor([[1.0, 2.0, 4.0, 8.0]]), hybrid.tensor([[[-1.0, 1.0]]])
    >>> hybrid.conv1d(signal, weight)
    tensor([[1., 2., 4.]])
    """
    given = (x, weight, bias), (stride, padding, dilation), groups
    tensors, params, alone = _prepared(1, *given)
    return _first(bind(CONV, *tensors, **params), alone)


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
    given = (x, weight, bias), (stride, padding, dilation), groups
    tensors, params, alone = _prepared(2, *given)
    return _first(bind(CONV, *tensors, **params), alone)


@public(functional=True)
def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """PyTorch's conv3d over volumes: x[N, C, D, H, W] (or [C, D, H, W]),
    weight[O, C / groups, KD, KH, KW], bias[O].

    stride, dilation, padding: int or three of them, for depth, height and width; padding also
    'valid' or 'same'.  Extents of the result, dtypes and errors are those of `conv2d`.

    >>> volume = hybrid.arange(8.0).reshape(1, 2, 2, 2)
    >>> hybrid.conv3d(volume, hybrid.ones(1, 1, 2, 1, 2))
    tensor([[[[10.],
              [18.]]]])
    >>> clips, weight = hybrid.zeros(2, 3, 8, 16, 16), hybrid.zeros(4, 3, 3, 3, 3)
    >>> hybrid.conv3d(clips, weight, stride=(1, 2, 2), padding=1).shape
    (2, 4, 8, 8, 8)
    """
    given = (x, weight, bias), (stride, padding, dilation), groups
    tensors, params, alone = _prepared(3, *given)
    return _first(bind(CONV, *tensors, **params), alone)


# ---- transposed convolutions
LOWEST = (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1))


def _check_transposed(
    name: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    settings: dict[str, Ints],
) -> None:
    """Raise ShapeError unless there is a convolution of which this is the adjoint."""
    if x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"{name}: images of {x.shape[1]} channels do not fit a weight of shape {weight.shape}, "
            f"which takes {weight.shape[0]}"
        )
    if groups < 1 or x.shape[1] % groups:
        raise ShapeError(f"{name}: {groups} groups of {x.shape[1]} channels")
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise ShapeError(f"{name}: bias has shape {bias.shape}, not {(weight.shape[1] * groups,)}")
    for what, lowest in LOWEST:
        if min(settings[what]) < lowest:
            raise ShapeError(f"{name}: {what} {settings[what]} must be at least {lowest}")
    steps = zip(settings["output_padding"], settings["stride"], settings["dilation"])
    for extra, stride, gap in steps:
        if extra >= max(stride, gap):
            raise ShapeError(
                f"{name}: output_padding {extra} must be smaller than stride or dilation"
            )


def _transposed(
    count: int,
    tensors: tuple[Tensor, Tensor, Tensor | None],
    settings: tuple[Any, Any, Any, Any],
    groups: int,
) -> Tensor:
    """`settings`: stride, padding, output padding, dilation."""
    name, (x, weight) = f"conv_transpose{count}d", operands(*tensors[:2])
    alone = _ranked(name, count, x, weight, "C, O/groups")
    x = expand_dims(x, 0) if alone else x
    bias = None if tensors[2] is None else as_tensor(tensors[2])
    found = {what: each_axis(value, count, what) for (what, _), value in zip(LOWEST, settings)}
    _check_transposed(name, x, weight, bias, groups, found)
    stride, padding, extra, dilation = found.values()
    image = tuple(
        [
            (x.shape[2 + i] - 1) * stride[i]
            + dilation[i] * (weight.shape[2 + i] - 1)
            + 1
            + extra[i]
            - 2 * padding[i]
            for i in range(count)
        ]
    )
    if min(image) < 1:
        raise ShapeError(f"{name}: padding {padding} leaves an image of {image}")
    box = Box(padding, image, (0,) * count, image)
    out = images_grad(x, weight, box, stride, dilation, groups)
    out = out if bias is None else add(out, reshape(bias, (-1, *(1,) * count)))
    return _first(out, alone)


@public(functional=True)
def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """PyTorch's conv_transpose1d, the input gradient of conv1d: x[N, C, L] (or [C, L]),
    weight[C, O / groups, K]; see `conv_transpose2d`.

    >>> x, weight = hybrid.tensor([[1.0, 2.0]]), hybrid.tensor([[[1.0, 10.0]]])
    >>> hybrid.conv_transpose1d(x, weight, stride=2)
    tensor([[ 1., 10.,  2., 20.]])
    """
    settings = (stride, padding, output_padding, dilation)
    return _transposed(1, (x, weight, bias), settings, groups)


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
    settings = (stride, padding, output_padding, dilation)
    return _transposed(2, (x, weight, bias), settings, groups)


@public(functional=True)
def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """PyTorch's conv_transpose3d, the input gradient of conv3d: x[N, C, D, H, W] (or
    [C, D, H, W]), weight[C, O / groups, KD, KH, KW].

    Extents of the result and errors are those of `conv_transpose2d`.

    >>> x, weight = hybrid.zeros(1, 4, 5, 6, 7), hybrid.zeros(4, 2, 3, 3, 3)
    >>> hybrid.conv_transpose3d(x, weight, stride=2, padding=1, output_padding=1).shape
    (1, 2, 10, 12, 14)
    """
    settings = (stride, padding, output_padding, dilation)
    return _transposed(3, (x, weight, bias), settings, groups)
