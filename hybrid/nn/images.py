"""Layers of images with one, two or three spatial axes: convolutions, transposed ones, pooling.

Invariant: a layer holds parameters and static settings only, sizes as one int for each spatial
axis; what all ranks share is in the first three classes.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..core.errors import ShapeError, UnsupportedError
from ..eager.tensor import Tensor
from ..ops.base.common import each_axis
from . import functional as F
from .layers import uniform_parameter
from .module import Module

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
]

Ints = tuple[int, ...]


class _Convolution(Module):
    """Settings and parameters; `spatial` is the number of axes of a kernel."""

    spatial: ClassVar[int]
    kernel_size: Ints
    stride: Ints
    dilation: Ints
    padding: Any  # ints, or what conv2d takes by name
    output_padding: Ints
    bias: Tensor | None

    def __init__(
        self,
        channels: tuple[int, int, int],
        sizes: dict[str, Any],
        bias: bool,
        padding_mode: str,
        made: dict[str, Any],
    ) -> None:
        """`channels`: those of images, those of the result, groups; `made`: dtype and device."""
        super().__init__()
        self.in_channels, self.out_channels, self.groups = channels
        _check(type(self).__name__, channels, padding_mode)
        for what, given in sizes.items():
            setattr(self, what, each_axis(given, self.spatial, what))
        rows, columns = self._lead()
        taps = columns * math.prod(self.kernel_size)
        bound = 1 / math.sqrt(taps) if taps > 0 else 0.0
        shape = (rows, columns, *self.kernel_size)
        self.weight = uniform_parameter(bound, shape, **made)
        self.register_parameter(
            "bias", uniform_parameter(bound, (self.out_channels,), **made) if bias else None
        )

    def _lead(self) -> tuple[int, int]:
        """The first two extents of the weight."""
        return self.out_channels, self.in_channels // self.groups

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}"
        )


def _check(name: str, channels: tuple[int, int, int], padding_mode: str) -> None:
    *sides, groups = channels
    if padding_mode != "zeros":
        raise UnsupportedError(
            f"{name}: padding_mode={padding_mode!r} is not offered; pad with hybrid.pad(x, widths, "
            "mode) and use padding=0"
        )
    if groups < 1 or any(side % groups for side in sides):
        raise ShapeError(
            f"{name}: {sides[0]} and {sides[1]} channels do not split into {groups} groups"
        )


class _Forward(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        by_name = isinstance(padding, str)  # the function knows which there are
        sizes = {
            "kernel_size": kernel_size,
            "stride": stride,
            "dilation": dilation,
            "padding": 0 if by_name else padding,
        }
        made = {"dtype": dtype, "device": device}
        super().__init__((in_channels, out_channels, groups), sizes, bias, padding_mode, made)
        self.padding = padding if by_name else self.padding


class Conv1d(_Forward):
    """1-D cross-correlation over (N, C, L); weight (out, in/groups, K); see `Conv2d`.

    >>> import hybrid
    >>> layer = hybrid.nn.Conv1d(3, 8, kernel_size=5, padding="same")
    >>> layer(hybrid.ones((1, 3, 100))).shape
    (1, 8, 100)
    """

    spatial = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) -> (N, out_channels, L')."""
        return F.conv1d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv2d(_Forward):
    """2-D cross-correlation over (N, C, H, W); weight (out, in/groups, KH, KW).

    Sizes are an int or (height, width); padding also "same" or "valid".  Weight and bias start
    uniform in +-1/sqrt(in/groups * KH * KW).  Raises ShapeError for channels that do not split into
    groups, UnsupportedError for another padding_mode than "zeros".

    >>> import hybrid
    >>> layer = hybrid.nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
    >>> layer(hybrid.ones((1, 3, 32, 32))).shape
    (1, 8, 16, 16)
    """

    spatial = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H', W')."""
        return F.conv2d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv3d(_Forward):
    """3-D cross-correlation over (N, C, D, H, W); weight (out, in/groups, KD, KH, KW).

    Sizes are an int or (depth, height, width); all else is as in `Conv2d`.

    >>> import hybrid
    >>> layer = hybrid.nn.Conv3d(3, 8, kernel_size=3, stride=(1, 2, 2), padding=1)
    >>> layer(hybrid.ones((1, 3, 4, 16, 16))).shape
    (1, 8, 4, 8, 8)
    """

    spatial = 3

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, out_channels, D', H', W')."""
        return F.conv3d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class _Transposed(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if isinstance(padding, str):
            raise ShapeError(f"{type(self).__name__}: padding takes ints, not {padding!r}")
        sizes = {
            "kernel_size": kernel_size,
            "stride": stride,
            "dilation": dilation,
            "padding": padding,
            "output_padding": output_padding,
        }
        made = {"dtype": dtype, "device": device}
        super().__init__((in_channels, out_channels, groups), sizes, bias, padding_mode, made)

    def _lead(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels // self.groups

    def _settings(self) -> tuple[Any, ...]:
        """The arguments of the function behind the weight."""
        sizes = self.stride, self.padding, self.output_padding
        return self.bias, *sizes, self.groups, self.dilation

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, output_padding={self.output_padding}"


class ConvTranspose1d(_Transposed):
    """The adjoint of a 1-D convolution; weight (in, out/groups, K); see `ConvTranspose2d`.

    >>> import hybrid
    >>> hybrid.nn.ConvTranspose1d(8, 3, 4, stride=2, padding=1)(hybrid.ones((1, 8, 50))).shape
    (1, 3, 100)
    """

    spatial = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) -> (N, out_channels, L')."""
        return F.conv_transpose1d(input, self.weight, *self._settings())


class ConvTranspose2d(_Transposed):
    """The adjoint of a 2-D convolution (a "deconvolution"); weight (in, out/groups, KH, KW).

    Sizes are an int or (height, width); `output_padding` makes the result that much larger at one
    end.  Weight and bias start uniform in +-1/sqrt(out/groups * KH * KW).  Errors as in `Conv2d`.

    >>> import hybrid
    >>> layer = hybrid.nn.ConvTranspose2d(8, 3, kernel_size=4, stride=2, padding=1)
    >>> layer(hybrid.ones((1, 8, 16, 16))).shape
    (1, 3, 32, 32)
    """

    spatial = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H', W')."""
        return F.conv_transpose2d(input, self.weight, *self._settings())


class ConvTranspose3d(_Transposed):
    """The adjoint of a 3-D convolution; weight (in, out/groups, KD, KH, KW); sizes are an int or
    (depth, height, width); see `ConvTranspose2d`.

    >>> import hybrid
    >>> layer = hybrid.nn.ConvTranspose3d(8, 3, kernel_size=2, stride=2)
    >>> layer(hybrid.ones((1, 8, 2, 4, 4))).shape
    (1, 3, 4, 8, 8)
    """

    spatial = 3

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, out_channels, D', H', W')."""
        return F.conv_transpose3d(input, self.weight, *self._settings())


class _Pool(Module):
    spatial: ClassVar[int]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        stride = kernel_size if stride is None else stride
        self.kernel_size = each_axis(kernel_size, self.spatial, "kernel_size")
        self.stride = each_axis(stride, self.spatial, "stride")
        self.padding = each_axis(padding, self.spatial, "padding")

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool1d(_Pool):
    """Maximum over windows of (N, C, L), the stride by default the window's size.

    >>> import hybrid
    >>> hybrid.nn.MaxPool1d(2)(hybrid.arange(4.0).reshape(1, 1, 4)).tolist()
    [[[1.0, 3.0]]]
    """

    spatial = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) -> (N, C, L')."""
        return F.max_pool1d(input, self.kernel_size, self.stride, self.padding)


class MaxPool2d(_Pool):
    """Maximum over windows of (N, C, H, W); sizes are an int or (height, width), the stride by
    default the window's.

    >>> import hybrid
    >>> hybrid.nn.MaxPool2d(2)(hybrid.arange(16.0).reshape(1, 1, 4, 4)).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    spatial = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding)


class MaxPool3d(_Pool):
    """Maximum over windows of (N, C, D, H, W); sizes are an int or (depth, height, width), the
    stride by default the window's.

    >>> import hybrid
    >>> hybrid.nn.MaxPool3d(2)(hybrid.arange(16.0).reshape(1, 1, 2, 2, 4)).tolist()
    [[[[[13.0, 15.0]]]]]
    """

    spatial = 3

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, C, D', H', W')."""
        return F.max_pool3d(input, self.kernel_size, self.stride, self.padding)


class AvgPool1d(_Pool):
    """Mean over windows of (N, C, L), zeros of the padding included.

    >>> import hybrid
    >>> hybrid.nn.AvgPool1d(2)(hybrid.arange(4.0).reshape(1, 1, 4)).tolist()
    [[[0.5, 2.5]]]
    """

    spatial = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) -> (N, C, L')."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool):
    """Mean over windows of (N, C, H, W), zeros of the padding included; sizes as for `MaxPool2d`.

    >>> import hybrid
    >>> hybrid.nn.AvgPool2d(2)(hybrid.arange(16.0).reshape(1, 1, 4, 4)).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """

    spatial = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding)


class AvgPool3d(_Pool):
    """Mean over windows of (N, C, D, H, W), zeros of the padding included; sizes as for
    `MaxPool3d`.

    >>> import hybrid
    >>> hybrid.nn.AvgPool3d(2)(hybrid.arange(16.0).reshape(1, 1, 2, 2, 4)).tolist()
    [[[[[6.5, 8.5]]]]]
    """

    spatial = 3

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, C, D', H', W')."""
        return F.avg_pool3d(input, self.kernel_size, self.stride, self.padding)
