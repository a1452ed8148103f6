"""The gradient of a convolution's images, and transposed convolutions: one convolution of stride 1
for each phase of the stride.

Invariant: every output is one chain over filters and the taps of its phase; no zero that a stride
would insert is multiplied, and nothing outside of the wanted box is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import gcd
from typing import Any, NamedTuple

from ..axes.slices import embed, embeds, flip, slice_
from ..axes.views import reshape
from ..build.create import zeros
from ..build.join import stack

__all__ = ["Box", "images_of"]

Ints = tuple[int, ...]
Tensor = Any
# (images, weight, dilation) -> their convolution with stride 1
Convolve = Callable[[Tensor, Tensor, Ints], Tensor]


class Box(NamedTuple):
    """The wanted part of images along each spatial axis, and where it goes in a result whose rest
    is zero."""

    low: Ints
    size: Ints
    begin: Ints
    shape: Ints


class Phase(NamedTuple):
    """Every stride-th position along an axis: output v is the sum over n of gradient
    [begin + (taps - 1 - n) * apart + v] times tap [first + n * step]."""

    offset: int  # of its first position in the box
    first: int
    step: int
    taps: int
    apart: int
    begin: int
    size: int


def _phases(taps: int, stride: int, dilation: int, low: int, size: int) -> list[Phase]:
    """The phases of an axis which any tap reaches."""
    shared = gcd(stride, dilation)
    step, apart = stride // shared, dilation // shared
    phases = []
    for offset in range(stride):
        for first in range(min(step, taps)):
            distance, rest = divmod(low + offset - dilation * first, stride)
            if rest == 0:
                count = len(range(first, taps, step))
                begin = distance - (count - 1) * apart
                phases.append(Phase(offset, first, step, count, apart, begin, -(-size // stride)))
    return phases


def images_of(
    convolve: Convolve, grad: Tensor, weight: Tensor, box: Box, stride: Ints, dilation: Ints
) -> Tensor:
    """[N, C, *box.shape]: images whose convolution with weight[C, O, *kernel] (channels swapped,
    stride and dilation as given) has gradient grad[N, O, *outputs], within the box."""
    *lines, columns = (
        _phases(*along) for along in zip(weight.shape[2:], stride, dilation, box.low, box.size)
    )
    placements: list[tuple[Tensor, Ints, Ints]] = []
    for line in product(*lines):
        offset, steps = tuple([phase.offset for phase in line]), stride[:-1]
        reached = {
            column.offset: piece
            for column in columns
            if (piece := _phase(convolve, grad, weight, (*line, column))) is not None
        }
        if len(reached) == stride[-1] > 1:  # all of a line: side by side
            woven = stack([reached[offset] for offset in range(stride[-1])], -1)
            *lead, width, turns = woven.shape
            whole_lines = reshape(woven, (*lead, width * turns))
            placements.append((whole_lines, (*offset, 0), (*steps, 1)))
        else:
            placements += [(part, (*offset, at), stride) for at, part in reached.items()]
    return _placed(placements, grad.shape[:1] + weight.shape[:1], box, grad)


def _phase(
    convolve: Convolve, grad: Tensor, weight: Tensor, axes: tuple[Phase, ...]
) -> Tensor | None:
    """The positions of one phase of each axis; None where no gradient reaches them."""
    begin = tuple([axis.begin for axis in axes])
    size = tuple([axis.size + (axis.taps - 1) * axis.apart for axis in axes])
    window = _window(grad, begin, size)
    if window is None:
        return None
    phase_taps = weight
    if any(axis.taps != extent for axis, extent in zip(axes, weight.shape[2:])):
        phase_taps = slice_(
            weight,
            (0, 0, *[axis.first for axis in axes]),
            (*weight.shape[:2], *[axis.taps for axis in axes]),
            (1, 1, *[axis.step for axis in axes]),
        )
    flipped = flip(phase_taps, tuple(range(2, weight.ndim)))
    return convolve(window, flipped, tuple([axis.apart for axis in axes]))


def _window(grad: Tensor, begin: Ints, size: Ints) -> Tensor | None:
    """A box of the images, zero where it leaves them; None where all of it does."""
    whole = grad.shape[2:]
    lowest = [max(b, 0) for b in begin]
    inner = [min(b + n, extent) - first for b, n, extent, first in zip(begin, size, whole, lowest)]
    if min(inner) < 1:
        return None
    if tuple(inner) != tuple(whole):
        grad = slice_(grad, (0, 0, *lowest), (*grad.shape[:2], *inner))
    if tuple(inner) == size:
        return grad
    start = (0, 0, *(first - b for first, b in zip(lowest, begin)))
    return embed(grad, (*grad.shape[:2], *size), start, (1,) * grad.ndim)


def _placed(
    placements: list[tuple[Tensor, Ints, Ints]], lead: Ints, box: Box, like: Tensor
) -> Tensor:
    """Phases, (tensor, offset in the box, steps), in the result."""
    shape = (*lead, *box.shape)
    pieces = []
    for part, offset, steps in placements:
        sizes = [
            len(range(first, extent, step)) for first, extent, step in zip(offset, box.size, steps)
        ]
        if min(sizes) > 0:
            if tuple(sizes) != part.shape[2:]:  # the last of a phase may lie outside
                part = slice_(part, (0,) * len(shape), (*lead, *sizes))
            start = (0, 0, *(b + first for b, first in zip(box.begin, offset)))
            pieces.append((part, start, (1, 1, *steps)))
    if not pieces:
        return zeros(shape, dtype=like.dtype, device=like.device)
    if len(pieces) == 1 and pieces[0][0].shape == shape:
        return pieces[0][0]
    tensors, begins, steps_of = zip(*pieces)
    return embeds(list(tensors), shape, begins, steps_of)
