"""Rules of views and placings whose parameters are shapes and boxes: one axis more, taken whole.

Invariant: no element changes; the batch axis is the first of operand and result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.door.bind import bind
from ...ir.op import extend
from ..axes.slices import EMBED, EMBEDS, SLICE
from ..axes.views import BROADCAST, PERMUTE, RESHAPE
from ..axes.windows import DIAGONAL, EMBED_DIAGONAL, UNFOLD
from ..build.join import SLICE_SET
from .tools import Flags, aligned, every, over_last_axes

Ints = tuple[int, ...]
Tensor = Any
Inputs = Sequence[Tensor]


def _reshape(inputs: Inputs, flags: Flags, size: int, shape: Ints) -> Tensor:
    return bind(RESHAPE, inputs[0], shape=(size, *shape))


def _permute(inputs: Inputs, flags: Flags, size: int, axes: Ints) -> Tensor:
    return bind(PERMUTE, inputs[0], axes=(0, *[axis + 1 for axis in axes]))


def _broadcast(inputs: Inputs, flags: Flags, size: int, shape: Ints) -> Tensor:
    return bind(BROADCAST, aligned(inputs[0], True, len(shape)), shape=(size, *shape))


def _further(drop: Ints) -> Ints:
    return tuple([axis + 1 for axis in drop])


def _slice(
    inputs: Inputs, flags: Flags, size: int, begin: Ints, sizes: Ints, step: Ints, drop: Ints
) -> Tensor:
    box = {"begin": (0, *begin), "sizes": (size, *sizes), "step": (1, *step)}
    return bind(SLICE, inputs[0], **box, drop=_further(drop))


def _embed(
    inputs: Inputs, flags: Flags, size: int, shape: Ints, begin: Ints, step: Ints, drop: Ints
) -> Tensor:
    box = {"shape": (size, *shape), "begin": (0, *begin), "step": (1, *step)}
    return bind(EMBED, inputs[0], **box, drop=_further(drop))


def _embeds(
    inputs: Inputs,
    flags: Flags,
    size: int,
    shape: Ints,
    begins: Sequence[Ints],
    steps: Sequence[Ints],
) -> Tensor:
    boxes = {
        "begins": tuple([(0, *begin) for begin in begins]),
        "steps": tuple([(1, *step) for step in steps]),
    }
    return bind(EMBEDS, *every(inputs, flags, size), shape=(size, *shape), **boxes)


def _slice_set(
    inputs: Inputs, flags: Flags, size: int, begin: Ints, step: Ints, drop: Ints
) -> Tensor:
    box = {"begin": (0, *begin), "step": (1, *step), "drop": _further(drop)}
    return bind(SLICE_SET, *every(inputs, flags, size), **box)


extend(RESHAPE, batch=_reshape)
extend(PERMUTE, batch=_permute)
extend(BROADCAST, batch=_broadcast)
extend(SLICE, batch=_slice)
extend(EMBED, batch=_embed)
extend(EMBEDS, batch=_embeds)
extend(SLICE_SET, batch=_slice_set)
for _op in (UNFOLD, DIAGONAL, EMBED_DIAGONAL):
    extend(_op, batch=over_last_axes(_op))
