"""Rules of contractions: rows become matrices of a batch, images of one convolution, or its groups.

Invariant: every row's sums are its own; which order they have is the contract's for the shape that
a rule makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ...ir.door.bind import bind
from ...ir.op import extend
from ..axes.views import expand_dims, matrix_transpose, moveaxis, reshape
from ..elementwise.arithmetic import add
from ..products.attend import ATTENTION, ATTENTION_GRAD
from ..products.contract import LINEAR, MATMUL, matmul
from ..products.conv_records import CONV, CONV_WEIGHT
from .tools import Flags, aligned, every, filled, folded, inner_rank, merged, unfolded

Ints = tuple[int, ...]
Tensor = Any
Inputs = Sequence[Tensor]


# ---- matrices
def _matmul(inputs: Inputs, flags: Flags, size: int) -> Tensor:
    left, right = inputs
    ranks = [inner_rank(x, flag) for x, flag in zip(inputs, flags)]
    if ranks[1] == 1 and not flags[1]:
        return matmul(left, right)
    if ranks[0] == 1 and not flags[0]:
        return matmul(right, left) if ranks[1] == 1 else matmul(left, right)
    if ranks == [2, 1] and not flags[0]:
        return matmul(right, matrix_transpose(left))
    if not flags[1] and ranks[1] == 2:
        return matmul(left, right)
    row, column = ranks[0] == 1, ranks[1] == 1
    left = expand_dims(left, -2) if row else left
    right = expand_dims(right, -1) if column else right
    rank = max(inner_rank(left, flags[0]), inner_rank(right, flags[1]))
    made = matmul(aligned(left, flags[0], rank), aligned(right, flags[1], rank))
    shape: Ints = made._a.shape
    shape = shape[:-1] if column else shape
    shape = (*shape[: -2 + column], *shape[-1 + column :]) if row and not column else shape
    return reshape(made, shape[:-1] if row and column else shape)


def _linear(inputs: Inputs, flags: Flags, size: int) -> Tensor:
    if not any(flags[1:]):
        return bind(LINEAR, *inputs)
    operand, weight = inputs[:2]
    rows = operand._a.shape[flags[0] : -1]
    lead = (size,) if flags[0] else ()
    flat = reshape(operand, (*lead, prod(rows), operand._a.shape[-1]))
    made = matmul(flat, matrix_transpose(weight))
    if len(inputs) > 2:
        made = add(made, expand_dims(inputs[2], 1) if flags[2] else inputs[2])
    made = filled(made, flags[0] or flags[1] or flags[-1], size)
    return reshape(made, (size, *rows, made._a.shape[-1]))


# ---- images
def _conv(
    inputs: Inputs, flags: Flags, size: int, stride: Any, dilation: Any, groups: int, border: Any
) -> Tensor:
    params = {"stride": stride, "dilation": dilation, "border": border}
    if not any(flags[1:]):
        return unfolded(bind(CONV, folded(inputs[0]), *inputs[1:], **params, groups=groups), size)
    biased = len(inputs) > 2 and flags[2]
    operand, weight = inputs[:2]
    if not any(flags[:2]):
        made = bind(CONV, operand, weight, **params, groups=groups)
    elif not flags[1]:
        made = unfolded(bind(CONV, folded(operand), weight, **params, groups=groups), size)
    elif not flags[0] and groups == 1:
        made = _split(bind(CONV, operand, folded(weight), **params, groups=1), size)
    else:
        images = merged(filled(operand, flags[0], size), 1)
        made = bind(CONV, images, folded(weight), **params, groups=size * groups)
        made = _split(made, size)
    if len(inputs) == 2:
        return made
    further = (1,) * len(stride)
    bias = reshape(inputs[2], (size, 1, -1, *further) if biased else (-1, *further))
    return add(made, bias)


def _split(images: Tensor, size: int) -> Tensor:
    """Images whose channels are those of all rows, apart."""
    count, channels, *rest = images._a.shape
    apart = reshape(images, (count, size, channels // size if size else 0, *rest))
    return moveaxis(apart, 1, 0)


def _weight_grad(inputs: Inputs, flags: Flags, size: int, groups: int, **params: Any) -> Tensor:
    grad, operand = inputs
    if groups == 1 and not flags[1]:
        return unfolded(bind(CONV_WEIGHT, merged(grad, 1), operand, **params, groups=1), size)
    if groups == 1 and not flags[0]:
        return _split(bind(CONV_WEIGHT, grad, merged(operand, 1), **params, groups=1), size)
    grad, operand = [merged(x, 1) for x in every(inputs, flags, size)]
    return unfolded(bind(CONV_WEIGHT, grad, operand, **params, groups=size * groups), size)


# ---- attention
def _attention(inputs: Inputs, flags: Flags, size: int, **params: Any) -> Any:
    return bind(ATTENTION, *_ranked(inputs, flags, size, ()), **params)


def _attention_grad(inputs: Inputs, flags: Flags, size: int, **params: Any) -> Any:
    return bind(ATTENTION_GRAD, *_ranked(inputs, flags, size, (4, 5, 6)), **params)


def _ranked(inputs: Inputs, flags: Flags, size: int, statistics: Ints) -> list[Tensor]:
    """All inputs with the batch axis; those of one number per query have an axis less."""
    rank = max(inner_rank(x, flag) for x, flag in zip(inputs, flags))
    return [
        aligned(x, True, rank - (place in statistics))
        for place, x in enumerate(every(inputs, flags, size))
    ]


extend(MATMUL, batch=_matmul)
extend(LINEAR, batch=_linear)
extend(CONV, batch=_conv)
extend(CONV_WEIGHT, batch=_weight_grad)
extend(ATTENTION, batch=_attention)
extend(ATTENTION_GRAD, batch=_attention_grad)
