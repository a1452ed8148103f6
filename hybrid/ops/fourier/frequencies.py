"""The frequencies of discrete Fourier transforms, and their order.

Invariant: frequencies are computed in float64 and rounded once.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes as dt
from ...core.errors import ArgumentError, DTypeError
from ...core.shapes import normalize_axes, whole
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as astype
from ..base.surface import public
from ..build.create import arange
from ..build.join import concat
from ..build.pieces import roll
from ..elementwise.arithmetic import multiply

Tensor = Any


def _scaled(numbers: Tensor, count: int, spacing: float, dtype: Any) -> Tensor:
    wanted = dt.canonical(dtype or dt.default_float)
    if not dt.is_float(wanted):
        raise DTypeError(f"frequencies are floating, not {wanted.name}")
    return astype(multiply(numbers, 1.0 / (count * float(spacing))), wanted)


def _count(number: Any, name: str) -> int:
    count = whole(number, "n")
    if count < 1:
        raise ArgumentError(f"{name}: n = {count} is no length of a transform; it is at least 1")
    return count


@public(hybrid=False, fft=True)
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of a transform of n samples at distance d, in cycles per unit:
    [0, 1, ..., (n - 1) // 2, -(n // 2), ..., -1] / (d * n); float32 by default.

    ArgumentError for n below 1, DTypeError for a dtype that is not floating.

    >>> hybrid.fft.fftfreq(5, 0.1)
    tensor([ 0.,  2.,  4., -4., -2.])
    """
    count = _count(n, "fftfreq")
    half = count // 2
    first = arange(0, count - half, dtype=dt.float64, device=device)
    rest = arange(-half, 0, dtype=dt.float64, device=device)
    return _scaled(concat([first, rest]), count, d, dtype)


@public(hybrid=False, fft=True)
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of a transform of n real samples at distance d, none of them negative:
    [0, 1, ..., n // 2] / (d * n); see `fftfreq`.

    >>> hybrid.fft.rfftfreq(5, 0.1)
    tensor([0., 2., 4.])
    """
    count = _count(n, "rfftfreq")
    numbers = arange(count // 2 + 1, dtype=dt.float64, device=device)
    return _scaled(numbers, count, d, dtype)


def _rolled(operand: Any, axes: Any, name: str, back: bool) -> Tensor:
    tensor = as_tensor(operand)
    along = normalize_axes(axes, tensor.ndim, name)
    if not along:
        return tensor
    half = [tensor.shape[axis] // 2 for axis in along]
    if back:
        half = [-shift for shift in half]
    return roll(tensor, tuple(half), tuple(along))


@public(hybrid=False, fft=True)
def fftshift(x: Tensor, axes: Any = None) -> Tensor:
    """x with the frequency zero, which transforms put first, in the middle of each of the axes (all
    by default).  Any dtype and shape; ShapeError for an axis out of range.

    >>> hybrid.fft.fftshift(hybrid.fft.fftfreq(5, 0.1))
    tensor([-4., -2.,  0.,  2.,  4.])
    """
    return _rolled(x, axes, "fftshift", False)


@public(hybrid=False, fft=True)
def ifftshift(x: Tensor, axes: Any = None) -> Tensor:
    """What `fftshift` does, undone (another function where an axis has an odd size).

    >>> hybrid.fft.ifftshift(hybrid.tensor([-4.0, -2.0, 0.0, 2.0, 4.0]))
    tensor([ 0.,  2.,  4., -4., -2.])
    """
    return _rolled(x, axes, "ifftshift", True)
