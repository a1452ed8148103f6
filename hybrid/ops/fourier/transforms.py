"""Discrete Fourier transforms under NumPy's names.

Invariant: an axis is cut, or filled with zeros behind, to the size that is asked for, in public
ops; the transforms are records of kind host.  Integers and float16, bfloat16 are taken as float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import normalize_axis, whole
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ..axes.slices import embed, narrow
from ..base.surface import public
from ..build.pairs import PAIRS, numbers_of
from ..complex.arithmetic import conj
from .records import FULL_FFT, HALF_FFT, HALF_INVERSE, OTHER, Norm

Tensor = Any
Sizes = Sequence[int] | None


# ---- arguments
def _norm(given: str | None) -> Norm:
    norm = given or "backward"
    if norm not in OTHER:
        raise ArgumentError(f"norm is {given!r}; it is 'backward', 'ortho' or 'forward'")
    return OTHER[OTHER[norm]]


def _number(samples: Any, name: str, real: bool = False) -> Tensor:
    """A tensor that can be transformed: real, or complex."""
    samples = as_tensor(samples)
    if samples.ndim == 0:
        raise ShapeError(f"{name} takes at least one dimension")
    if real and dt.is_complex(samples.dtype):
        raise ArgumentError(f"{name} takes real tensors; fft takes complex ones")
    if not dt.is_inexact(samples.dtype) or dt.is_half(samples.dtype):
        samples = astype(samples, dt.float32)
    return samples if real else astype(samples, dt.complex_of(samples.dtype))


def _size(given: Any, name: str) -> int:
    size = whole(given, "n")
    if size < 1:
        raise ArgumentError(f"{name}: {size} is no number of samples; it is at least 1")
    return size


def _fitted(samples: Tensor, axis: int, size: int, name: str) -> Tensor:
    """The axis cut, or filled with zeros behind."""
    extent = samples.shape[axis]
    size = _size(size, name)
    if size == extent:
        return samples
    if size < extent:
        return narrow(samples, axis, 0, size)
    shape = (*samples.shape[:axis], size, *samples.shape[axis + 1 :])
    return embed(samples, shape, (0,) * samples.ndim, (1,) * samples.ndim)


def _axes(samples: Tensor, sizes: Sizes, axes: Any, name: str) -> tuple[int, ...]:
    """The axes of a transform over several, in the order in which they are given."""
    if axes is None:
        count = samples.ndim if sizes is None else len(sizes)
        axes = range(samples.ndim - count, samples.ndim)
    found = tuple(normalize_axis(a, samples.ndim, name) for a in axes)
    if sizes is not None and len(sizes) != len(found):
        raise ArgumentError(f"{name}: {len(sizes)} sizes for {len(found)} axes")
    return found


def _sizes(samples: Tensor, given: Sizes, axes: tuple[int, ...], name: str) -> tuple[int, ...]:
    """How many samples each of the axes is transformed with; -1: with those that it has."""
    if given is None:
        given = (-1,) * len(axes)
    found = [
        samples.shape[axis] if size == -1 else _size(size, name) for axis, size in zip(axes, given)
    ]
    if not all(found):
        raise ArgumentError(f"{name}: an axis of shape {samples.shape} has no samples")
    return tuple(found)


def _along(
    samples: Tensor,
    sizes: tuple[int, ...],
    axes: tuple[int, ...],
    norm: str | None,
    inverse: bool,
    name: str,
) -> Tensor:
    """Transformed with these sizes; axes that are repeated one by one, the last of them first."""
    if len(set(axes)) < len(axes):
        for size, axis in zip(sizes[::-1], axes[::-1]):
            samples = _along(samples, (size,), (axis,), norm, inverse, name)
        return samples
    if not axes:
        return samples
    for size, axis in zip(sizes, axes):
        samples = _fitted(samples, axis, size, name)
    return numbers_of(
        bind(FULL_FFT, bind(PAIRS, samples), axes=axes, inverse=inverse, norm=_norm(norm))
    )


def _full(
    samples: Any, sizes: Sizes, axes: Any, norm: str | None, inverse: bool, name: str
) -> Tensor:
    samples = _number(samples, name)
    over = _axes(samples, sizes, axes, name)
    return _along(samples, _sizes(samples, sizes, over, name), over, norm, inverse, name)


def _one(n: int | None, name: str) -> Sizes:
    """The size of one axis, where -1 is none."""
    return None if n is None else (_size(n, name),)


# ---- one axis
@public(hybrid=False, fft=True)
def fft(x: Tensor, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The discrete Fourier transform along an axis, cut or filled with zeros to n samples: complex,
    sum over k of x[k] e^(-2 pi i j k / n).

    complex64 of float32 and shorter ones, complex128 of float64.  `norm`: 'backward' scales the
    inverse by 1/n, 'forward' this one, 'ortho' both by 1/sqrt(n).  ShapeError for an axis out of
    range, ArgumentError for n below 1.

    >>> hybrid.fft.fft(hybrid.tensor([1.0, 0.0, -1.0, 0.0]))
    tensor([0.+0.j, 2.+0.j, 0.+0.j, 2.+0.j], dtype=complex64)
    """
    return _full(x, _one(n, "fft"), (axis,), norm, False, "fft")


@public(hybrid=False, fft=True)
def ifft(x: Tensor, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`.

    >>> hybrid.fft.ifft(hybrid.fft.fft(hybrid.tensor([1.0, 2.0, 3.0, 4.0]))).real
    tensor([1., 2., 3., 4.])
    """
    return _full(x, _one(n, "ifft"), (axis,), norm, True, "ifft")


@public(hybrid=False, fft=True)
def rfft(x: Tensor, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """`fft` of real numbers, its frequencies from 0 up to n // 2: the others are their conjugates.

    ArgumentError for complex tensors and for n below 1.

    >>> hybrid.fft.rfft(hybrid.tensor([1.0, 0.0, -1.0, 0.0]))
    tensor([0.+0.j, 2.+0.j, 0.+0.j], dtype=complex64)
    """
    return rfftn(x, _one(n, "rfft"), (axis,), norm)


@public(hybrid=False, fft=True)
def irfft(x: Tensor, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`: n real numbers, 2 (m - 1) of m frequencies by default.

    The imaginary parts of the first frequency, and for an even n of the last one, play no part.

    >>> hybrid.fft.irfft(hybrid.fft.rfft(hybrid.tensor([1.0, 2.0, 3.0])), 3)
    tensor([1., 2., 3.])
    """
    return irfftn(x, _one(n, "irfft"), (axis,), norm)


@public(hybrid=False, fft=True)
def hfft(x: Tensor, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The transform, which is real, of a signal that is its own conjugate read backwards, given by
    its first half.

    >>> hybrid.fft.hfft(hybrid.tensor([1.0, 2.0, 3.0]))
    tensor([ 8., -2.,  0., -2.])
    """
    return irfft(conj(as_tensor(x)), n, axis, OTHER[_norm(norm)])


@public(hybrid=False, fft=True)
def ihfft(x: Tensor, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`.

    >>> hybrid.fft.ihfft(hybrid.tensor([8.0, -2.0, 0.0, -2.0])).real
    tensor([1., 2., 3.])
    """
    return conj(rfft(x, n, axis, OTHER[_norm(norm)]))


# ---- several axes
@public(hybrid=False, fft=True)
def fftn(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = None, norm: str | None = None
) -> Tensor:
    """`fft` along several axes: all, or the last len(s); s are their sizes.

    >>> hybrid.fft.fftn(hybrid.ones((2, 2))).real
    tensor([[4., 0.],
            [0., 0.]])
    """
    return _full(x, s, axes, norm, False, "fftn")


@public(hybrid=False, fft=True)
def ifftn(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = None, norm: str | None = None
) -> Tensor:
    """The inverse of `fftn`.

    >>> hybrid.fft.ifftn(hybrid.ones((2, 2))).real
    tensor([[1., 0.],
            [0., 0.]])
    """
    return _full(x, s, axes, norm, True, "ifftn")


@public(hybrid=False, fft=True)
def rfftn(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = None, norm: str | None = None
) -> Tensor:
    """`fftn` of real numbers, with half of the frequencies of the last of the axes.

    >>> hybrid.fft.rfftn(hybrid.ones((2, 4))).real
    tensor([[8., 0., 0.],
            [0., 0., 0.]])
    """
    x = _number(x, "rfftn", real=True)
    over = _axes(x, s, axes, "rfftn")
    if not over:
        raise ArgumentError("rfftn takes at least one axis")
    sizes = _sizes(x, s, over, "rfftn")
    x = _fitted(x, over[-1], sizes[-1], "rfftn")
    half = numbers_of(bind(HALF_FFT, x, axis=over[-1], norm=_norm(norm)))
    return _along(half, sizes[:-1], over[:-1], norm, False, "rfftn")


@public(hybrid=False, fft=True)
def irfftn(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = None, norm: str | None = None
) -> Tensor:
    """The inverse of `rfftn`; the size of the last of the axes is 2 (m - 1) by default.

    >>> hybrid.fft.irfftn(hybrid.fft.rfftn(hybrid.ones((2, 4)))).tolist()[0]
    [1.0, 1.0, 1.0, 1.0]
    """
    x = _number(x, "irfftn")
    over = _axes(x, s, axes, "irfftn")
    if not over:
        raise ArgumentError("irfftn takes at least one axis")
    last = over[-1]
    if s is None:
        s = (-1,) * (len(over) - 1) + (2 * (x.shape[last] - 1),)
    sizes = _sizes(x, s, over, "irfftn")
    x = _along(x, sizes[-2::-1], over[-2::-1], norm, True, "irfftn")  # the first axis first
    x = _fitted(x, last, sizes[-1] // 2 + 1, "irfftn")
    size = sizes[-1]
    return bind(HALF_INVERSE, bind(PAIRS, x), axis=last, size=size, norm=_norm(norm))


@public(hybrid=False, fft=True)
def fft2(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = (-2, -1), norm: str | None = None
) -> Tensor:
    """`fftn` along the last two axes.

    >>> hybrid.fft.fft2(hybrid.ones((2, 2))).real
    tensor([[4., 0.],
            [0., 0.]])
    """
    return fftn(x, s, axes, norm)


@public(hybrid=False, fft=True)
def ifft2(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = (-2, -1), norm: str | None = None
) -> Tensor:
    """The inverse of `fft2`.

    >>> hybrid.fft.ifft2(hybrid.ones((2, 2))).real
    tensor([[1., 0.],
            [0., 0.]])
    """
    return ifftn(x, s, axes, norm)


@public(hybrid=False, fft=True)
def rfft2(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = (-2, -1), norm: str | None = None
) -> Tensor:
    """`rfftn` along the last two axes.

    >>> hybrid.fft.rfft2(hybrid.ones((2, 2))).real
    tensor([[4., 0.],
            [0., 0.]])
    """
    return rfftn(x, s, axes, norm)


@public(hybrid=False, fft=True)
def irfft2(
    x: Tensor, s: Sequence[int] | None = None, axes: Any = (-2, -1), norm: str | None = None
) -> Tensor:
    """The inverse of `rfft2`.

    >>> hybrid.fft.irfft2(hybrid.ones((2, 2))).shape
    (2, 2)
    """
    return irfftn(x, s, axes, norm)
