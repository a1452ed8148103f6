"""Optimizer updates as elementwise records: one kernel writes the parameter and its state.

Invariant: the formulas are PyTorch's, operation by operation; hyper-parameters and the step count
are 0-d tensors of the dtype the parameter is computed in (float32 for half types), so that a
schedule changes a value, never the code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.shapes import broadcast_shapes
from ...ir.door.bind import bind
from ...ir.op import NO_GRAD, Op, map_op
from ...ir.scalar.program import Builder, Val
from .. import formulas as F
from ..base.common import wide

Tensor = Any


def _state_infer(name: str, count: int) -> Any:
    """`count` outputs like the parameter (input 0), to which every input must broadcast."""

    def infer(*avals: Aval, **params: Any) -> tuple[Aval, ...]:
        shape = broadcast_shapes(name, *[a.shape for a in avals])
        return (avals[0].with_(shape),) * count

    return infer


def _samples(states: int, numbers: tuple[float, ...], params: dict[str, Any]) -> Any:
    def samples(rng: np.random.Generator) -> Any:
        for shape in ((3, 5), (), (0,), (17,)):
            arrays = [rng.uniform(-1, 1, shape) for _ in range(2 + states)]
            if states == 2:
                arrays[3] = np.asarray(np.abs(arrays[3]))
            yield [*arrays, *map(np.asarray, numbers)], params

    return samples


# ---- sgd
def _decayed(
    algebra: Builder, parameter: Val, gradient: Val, weight_decay: Val, maximize: bool
) -> Val:
    return algebra.fma(parameter, weight_decay, -gradient if maximize else gradient)


def _sgd_body(
    algebra: Builder, parameter: Val, gradient: Val, rate: Val, weight_decay: Val, *, maximize: bool
) -> Val:
    return algebra.fma(
        -rate, _decayed(algebra, parameter, gradient, weight_decay, maximize), parameter
    )


def _sgd_reference(*operands: np.ndarray, maximize: bool) -> Any:
    parameter, gradient, rate, weight_decay = map(wide, operands)
    return parameter - rate * ((-gradient if maximize else gradient) + weight_decay * parameter)


SGD_UPDATE = map_op(
    "sgd_update",
    4,
    _sgd_body,
    vjp=NO_GRAD,
    reference=_sgd_reference,
    accepts="f",
    params=("maximize",),
    fixed=(2, 3),
    infer=_state_infer("sgd_update", 1),
    samples=_samples(0, (0.1, 0.01), {"maximize": False}),
    ulp=8.0,
    doc="p - lr*(g + weight_decay*p).",
)


def sgd_update(
    parameter: Tensor,
    gradient: Tensor,
    rate: Tensor,
    weight_decay: Tensor,
    *,
    maximize: bool = False,
) -> Tensor:
    """The parameter after a plain SGD step."""
    return bind(SGD_UPDATE, parameter, gradient, rate, weight_decay, maximize=bool(maximize))


def _momentum_body(
    algebra: Builder,
    parameter: Val,
    gradient: Val,
    buffer: Val,
    rate: Val,
    momentum: Val,
    dampening: Val,
    weight_decay: Val,
    *,
    nesterov: bool,
    first: bool,
    maximize: bool,
) -> tuple[Val, Val]:
    gradient = _decayed(algebra, parameter, gradient, weight_decay, maximize)
    new = gradient if first else algebra.fma(buffer, momentum, gradient * (1.0 - dampening))
    step = algebra.fma(new, momentum, gradient) if nesterov else new
    return algebra.fma(-rate, step, parameter), new


def _momentum_reference(*operands: np.ndarray, nesterov: bool, first: bool, maximize: bool) -> Any:
    parameter, gradient, buffer, rate, momentum, dampening, weight_decay = map(wide, operands)
    gradient = (-gradient if maximize else gradient) + weight_decay * parameter
    new = gradient if first else momentum * buffer + (1 - dampening) * gradient
    return parameter - rate * (gradient + momentum * new if nesterov else new), new


MOMENTUM_UPDATE = map_op(
    "momentum_update",
    7,
    _momentum_body,
    vjp=NO_GRAD,
    reference=_momentum_reference,
    accepts="f",
    nout=2,
    ulp=16.0,
    params=("nesterov", "first", "maximize"),
    fixed=(3, 4, 5, 6),
    infer=_state_infer("momentum_update", 2),
    samples=_samples(
        1, (0.1, 0.9, 0.1, 0.01), {"nesterov": True, "first": False, "maximize": False}
    ),
    doc="SGD with momentum: the parameter and the buffer.",
)


def momentum_update(
    parameter: Tensor,
    gradient: Tensor,
    buffer: Tensor,
    rate: Tensor,
    momentum: Tensor,
    dampening: Tensor,
    weight_decay: Tensor,
    *,
    nesterov: bool = False,
    first: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, Tensor]:
    """(parameter, momentum buffer) after an SGD step with momentum;
    `first` starts the buffer with the gradient."""
    result: tuple[Any, Any] = bind(
        MOMENTUM_UPDATE,
        parameter,
        gradient,
        buffer,
        rate,
        momentum,
        dampening,
        weight_decay,
        nesterov=bool(nesterov),
        first=bool(first),
        maximize=bool(maximize),
    )
    return result


# ---- adam
def _one_minus_power(algebra: Builder, beta: Val, step: Val) -> Val:
    """1 - beta^step without cancellation."""
    return -F.expm1(algebra, step * F.log(algebra, beta))


def _adam_body(
    algebra: Builder,
    parameter: Val,
    gradient: Val,
    first_moment: Val,
    second_moment: Val,
    rate: Val,
    beta1: Val,
    beta2: Val,
    eps: Val,
    weight_decay: Val,
    step: Val,
    *,
    decoupled: bool,
    maximize: bool,
) -> tuple[Val, Val, Val]:
    # what depends on 0-d operands only is computed once per kernel
    size = rate / _one_minus_power(algebra, beta1, step)
    scale = 1.0 / algebra.sqrt(_one_minus_power(algebra, beta2, step))
    rest1, rest2 = 1.0 - beta1, 1.0 - beta2
    gradient = -gradient if maximize else gradient
    if decoupled:
        parameter = parameter * (1.0 - rate * weight_decay)
    else:
        gradient = algebra.fma(parameter, weight_decay, gradient)
    first_moment = algebra.fma(gradient - first_moment, rest1, first_moment)
    second_moment = algebra.fma(gradient * rest2, gradient, second_moment * beta2)
    return (
        algebra.fma(
            -size, first_moment / algebra.fma(algebra.sqrt(second_moment), scale, eps), parameter
        ),
        first_moment,
        second_moment,
    )


def _adam_reference(*operands: np.ndarray, decoupled: bool, maximize: bool) -> Any:
    (
        parameter,
        gradient,
        first_moment,
        second_moment,
        rate,
        beta1,
        beta2,
        eps,
        weight_decay,
        step,
    ) = map(wide, operands)
    gradient = -gradient if maximize else gradient
    if decoupled:
        parameter = parameter * (1 - rate * weight_decay)
    else:
        gradient = gradient + weight_decay * parameter
    first_moment = first_moment + (gradient - first_moment) * (1 - beta1)
    second_moment = beta2 * second_moment + (1 - beta2) * gradient * gradient
    denominator = np.sqrt(second_moment) / np.sqrt(1 - beta2**step) + eps
    return (
        parameter - rate / (1 - beta1**step) * first_moment / denominator,
        first_moment,
        second_moment,
    )


ADAM_UPDATE: Op = map_op(
    "adam_update",
    10,
    _adam_body,
    vjp=NO_GRAD,
    reference=_adam_reference,
    accepts="f",
    nout=3,
    ulp=64.0,
    params=("decoupled", "maximize"),
    fixed=tuple(range(4, 10)),
    infer=_state_infer("adam_update", 3),
    samples=_samples(2, (0.01, 0.9, 0.999, 1e-8, 0.1, 3.0), {"decoupled": True, "maximize": False}),
    doc="Adam and AdamW: the parameter and both moments.",
)


def adam_update(
    parameter: Tensor,
    gradient: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    rate: Tensor,
    beta1: Tensor,
    beta2: Tensor,
    eps: Tensor,
    weight_decay: Tensor,
    step: Tensor,
    *,
    decoupled: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(parameter, first moment, second moment) after an Adam step; `step` counts from 1 and
    `decoupled` is AdamW."""
    result: tuple[Any, Any, Any] = bind(
        ADAM_UPDATE,
        parameter,
        gradient,
        first_moment,
        second_moment,
        rate,
        beta1,
        beta2,
        eps,
        weight_decay,
        step,
        decoupled=bool(decoupled),
        maximize=bool(maximize),
    )
    return result


# what each of them is one call of
sgd_update.op = SGD_UPDATE  # type: ignore[attr-defined]
momentum_update.op = MOMENTUM_UPDATE  # type: ignore[attr-defined]
adam_update.op = ADAM_UPDATE  # type: ignore[attr-defined]
