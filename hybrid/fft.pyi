"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .eager.tensor import Tensor

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

def fft(
    x: ArrayLike,
    n: builtins.int | None = None,
    axis: builtins.int = -1,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The discrete Fourier transform along an axis, cut or filled with zeros to n samples: complex, sum over k of x[k] e^(-2 pi i j k / n)."""

def fft2(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = ...,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """`fftn` along the last two axes."""

def fftfreq(
    n: builtins.int,
    d: builtins.float = 1.0,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """The frequencies of a transform of n samples at distance d, in cycles per unit: [0, 1, ..., (n - 1) // 2, -(n // 2), ..., -1] / (d * n); float32 by default."""

def fftn(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = None,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """`fft` along several axes: all, or the last len(s); s are their sizes."""

def fftshift(x: ArrayLike, axes: Any = None) -> Tensor:
    """x with the frequency zero, which transforms put first, in the middle of each of the axes (all by default). Any dtype and shape; ShapeError for an axis out of range."""

def hfft(
    x: ArrayLike,
    n: builtins.int | None = None,
    axis: builtins.int = -1,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The transform, which is real, of a signal that is its own conjugate read backwards, given by its first half."""

def ifft(
    x: ArrayLike,
    n: builtins.int | None = None,
    axis: builtins.int = -1,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The inverse of `fft`."""

def ifft2(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = ...,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The inverse of `fft2`."""

def ifftn(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = None,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The inverse of `fftn`."""

def ifftshift(x: ArrayLike, axes: Any = None) -> Tensor:
    """What `fftshift` does, undone (another function where an axis has an odd size)."""

def ihfft(
    x: ArrayLike,
    n: builtins.int | None = None,
    axis: builtins.int = -1,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The inverse of `hfft`."""

def irfft(
    x: ArrayLike,
    n: builtins.int | None = None,
    axis: builtins.int = -1,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The inverse of `rfft`: n real numbers, 2 (m - 1) of m frequencies by default."""

def irfft2(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = ...,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The inverse of `rfft2`."""

def irfftn(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = None,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """The inverse of `rfftn`; the size of the last of the axes is 2 (m - 1) by default."""

def rfft(
    x: ArrayLike,
    n: builtins.int | None = None,
    axis: builtins.int = -1,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """`fft` of real numbers, its frequencies from 0 up to n // 2: the others are their conjugates."""

def rfft2(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = ...,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """`rfftn` along the last two axes."""

def rfftfreq(
    n: builtins.int,
    d: builtins.float = 1.0,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """The frequencies of a transform of n real samples at distance d, none of them negative: [0, 1, ..., n // 2] / (d * n); see `fftfreq`."""

def rfftn(
    x: ArrayLike,
    s: Sequence[builtins.int] | None = None,
    axes: Any = None,
    norm: builtins.str | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """`fftn` of real numbers, with half of the frequencies of the last of the axes."""
