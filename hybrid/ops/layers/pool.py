"""Pooling over windows of images with one, two or three spatial axes: PyTorch's functions.

Invariant: all ranks are one record of maxima and one of sums (pool_records.py), and one way to read
the arguments.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ...core import dtypes as dt
from ...core.errors import ShapeError
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ..axes.reduce import mean
from ..axes.views import reshape
from ..base.common import each_axis, need_float
from ..base.surface import public
from ..build.create import ones
from ..elementwise.arithmetic import divide
from .pool_records import MAX_POOL, SUM_POOL

Ints = tuple[int, ...]
Tensor = Any
EXTENTS = {1: "L", 2: "H, W", 3: "D, H, W"}


# ---- arguments
def _settings(
    count: int, kernel: Any, stride: Any, padding: Any, dilation: Any = 1
) -> dict[str, Ints]:
    size = each_axis(kernel, count, "kernel_size")
    return {
        "kernel": size,
        "stride": size if stride is None else each_axis(stride, count, "stride"),
        "padding": each_axis(padding, count, "padding"),
        "dilation": each_axis(dilation, count, "dilation"),
    }


def _images(name: str, count: int, x: Any) -> tuple[Tensor, bool]:
    """Images with a batch, and whether they came without one."""
    operand = as_tensor(x)
    need_float(name, operand._a)
    if operand.ndim not in (count + 1, count + 2):
        extents = EXTENTS[count]
        raise ShapeError(
            f"{name} takes images [N, C, {extents}] or [C, {extents}], not shape {operand.shape}"
        )
    alone = operand.ndim == count + 1
    return reshape(operand, (1, *operand.shape)) if alone else operand, alone


def _first(images: Tensor, alone: bool) -> Tensor:
    """Images without their first axis, of size 1, where they came without one."""
    return reshape(images, images.shape[1:]) if alone else images


# ---- maxima
def _maxima(pooled: tuple[Tensor, Tensor], alone: bool, return_indices: bool) -> Any:
    maxima, places = pooled
    if not return_indices:
        return _first(maxima, alone)
    return _first(maxima, alone), astype(_first(places, alone), dt.int64)


@public(functional=True)
def max_pool1d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    return_indices: bool = False,
) -> Any:
    """PyTorch's max_pool1d over [N, C, L] (or [C, L]); see `max_pool2d`.

    ShapeError where the window does not fit.

    >>> hybrid.max_pool1d(hybrid.tensor([[3.0, 1.0, 4.0, 1.0, 5.0]]), 3, stride=1)
    tensor([[4., 4., 5.]])
    """
    images, alone = _images("max_pool1d", 1, x)
    settings = _settings(1, kernel_size, stride, padding, dilation)
    return _maxima(bind(MAX_POOL, images, **settings), alone, return_indices)


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
    images, alone = _images("max_pool2d", 2, x)
    settings = _settings(2, kernel_size, stride, padding, dilation)
    return _maxima(bind(MAX_POOL, images, **settings), alone, return_indices)


@public(functional=True)
def max_pool3d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    return_indices: bool = False,
) -> Any:
    """PyTorch's max_pool3d over volumes [N, C, D, H, W] (or [C, D, H, W]); see `max_pool2d`.

    Sizes are an int or three of them, for depth, height and width.  ShapeError where the window
    does not fit.

    >>> x = hybrid.arange(16.0).reshape(1, 2, 2, 4)
    >>> hybrid.max_pool3d(x, 2)
    tensor([[[[13., 15.]]]])
    >>> hybrid.max_pool3d(x, (1, 2, 4)).tolist()
    [[[[7.0]], [[15.0]]]]
    """
    images, alone = _images("max_pool3d", 3, x)
    settings = _settings(3, kernel_size, stride, padding, dilation)
    return _maxima(bind(MAX_POOL, images, **settings), alone, return_indices)


# ---- means
def _means(
    count: int, x: Any, kernel_size: Any, stride: Any, padding: Any, count_include_pad: bool
) -> Tensor:
    images, alone = _images(f"avg_pool{count}d", count, x)
    settings = _settings(count, kernel_size, stride, padding)
    result = bind(SUM_POOL, images, **settings)
    if count_include_pad or not any(settings["padding"]):
        result = divide(result, prod(settings["kernel"]))
    else:
        one = ones((1, 1, *images.shape[2:]), dtype=images.dtype, device=images.device)
        result = divide(result, bind(SUM_POOL, one, **settings))
    return _first(result, alone)


@public(functional=True)
def avg_pool1d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: bool = True,
) -> Tensor:
    """PyTorch's avg_pool1d over [N, C, L] (or [C, L]); see `avg_pool2d`.

    ShapeError where the window does not fit.

    >>> hybrid.avg_pool1d(hybrid.tensor([[3.0, 1.0, 4.0, 2.0]]), 2)
    tensor([[2., 3.]])
    """
    return _means(1, x, kernel_size, stride, padding, count_include_pad)


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
    return _means(2, x, kernel_size, stride, padding, count_include_pad)


@public(functional=True)
def avg_pool3d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: bool = True,
) -> Tensor:
    """PyTorch's avg_pool3d over volumes [N, C, D, H, W] (or [C, D, H, W]); see `avg_pool2d`.

    Sizes are an int or three of them.  ShapeError where the window does not fit.

    >>> hybrid.avg_pool3d(hybrid.arange(16.0).reshape(1, 2, 2, 4), 2)
    tensor([[[[6.5, 8.5]]]])
    """
    return _means(3, x, kernel_size, stride, padding, count_include_pad)


def _adapted(count: int, x: Any, output_size: Any) -> Tensor:
    name, x = f"adaptive_avg_pool{count}d", as_tensor(x)
    if x.ndim not in (count + 1, count + 2):
        raise ShapeError(f"{name} takes images [N, C, {EXTENTS[count]}], not shape {x.shape}")
    size, extents = each_axis(output_size, count, "output_size"), x.shape[-count:]
    if max(size) == 1 == min(size):
        return mean(x, axis=tuple(range(-count, 0)), keepdims=True)
    if min(size) < 1 or any(n % k for n, k in zip(extents, size)):
        raise ShapeError(
            f"{name}: {size} does not divide images of {extents}; use avg_pool{count}d"
        )
    return _means(count, x, tuple([n // k for n, k in zip(extents, size)]), None, 0, True)


@public(functional=True)
def adaptive_avg_pool1d(x: Tensor, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`, which must divide the length
    of x[N, C, L] (or [C, L]); ShapeError where it does not.

    >>> hybrid.adaptive_avg_pool1d(hybrid.tensor([[3.0, 1.0, 4.0, 2.0]]), 2)
    tensor([[2., 3.]])
    """
    return _adapted(1, x, output_size)


@public(functional=True)
def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`,
    which must divide the image.

    x[N, C, H, W] (or [C, H, W]); ShapeError where it does not divide.

    >>> hybrid.adaptive_avg_pool2d(hybrid.arange(16.0).reshape(1, 4, 4), (1, 2))
    tensor([[[6.5, 8.5]]])
    """
    return _adapted(2, x, output_size)


@public(functional=True)
def adaptive_avg_pool3d(x: Tensor, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`, which must divide volumes
    x[N, C, D, H, W] (or [C, D, H, W]); ShapeError where it does not.

    >>> hybrid.adaptive_avg_pool3d(hybrid.arange(16.0).reshape(1, 2, 2, 4), (1, 1, 2))
    tensor([[[[6.5, 8.5]]]])
    """
    return _adapted(3, x, output_size)
