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
def _decayed(s: Builder, p: Val, g: Val, weight_decay: Val, maximize: bool) -> Val:
    return s.fma(p, weight_decay, -g if maximize else g)


def _sgd_body(s: Builder, p: Val, g: Val, lr: Val, weight_decay: Val, *, maximize: bool) -> Val:
    return s.fma(-lr, _decayed(s, p, g, weight_decay, maximize), p)


def _sgd_reference(*xs: np.ndarray, maximize: bool) -> Any:
    p, g, lr, weight_decay = map(wide, xs)
    return p - lr * ((-g if maximize else g) + weight_decay * p)


_SGD = map_op(
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
    p: Tensor, g: Tensor, lr: Tensor, weight_decay: Tensor, *, maximize: bool = False
) -> Tensor:
    """The parameter after a plain SGD step."""
    return bind(_SGD, p, g, lr, weight_decay, maximize=bool(maximize))


def _momentum_body(
    s: Builder,
    p: Val,
    g: Val,
    buf: Val,
    lr: Val,
    momentum: Val,
    dampening: Val,
    weight_decay: Val,
    *,
    nesterov: bool,
    first: bool,
    maximize: bool,
) -> tuple[Val, Val]:
    g = _decayed(s, p, g, weight_decay, maximize)
    new = g if first else s.fma(buf, momentum, g * (1.0 - dampening))
    step = s.fma(new, momentum, g) if nesterov else new
    return s.fma(-lr, step, p), new


def _momentum_reference(*xs: np.ndarray, nesterov: bool, first: bool, maximize: bool) -> Any:
    p, g, buf, lr, momentum, dampening, weight_decay = map(wide, xs)
    g = (-g if maximize else g) + weight_decay * p
    new = g if first else momentum * buf + (1 - dampening) * g
    return p - lr * (g + momentum * new if nesterov else new), new


_MOMENTUM = map_op(
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
    p: Tensor,
    g: Tensor,
    buf: Tensor,
    lr: Tensor,
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
    return bind(
        _MOMENTUM,
        p,
        g,
        buf,
        lr,
        momentum,
        dampening,
        weight_decay,
        nesterov=bool(nesterov),
        first=bool(first),
        maximize=bool(maximize),
    )


# ---- adam
def _one_minus_power(s: Builder, beta: Val, step: Val) -> Val:
    """1 - beta^step without cancellation."""
    return -F.expm1(s, step * F.log(s, beta))


def _adam_body(
    s: Builder,
    p: Val,
    g: Val,
    m: Val,
    v: Val,
    lr: Val,
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
    size = lr / _one_minus_power(s, beta1, step)
    scale = 1.0 / s.sqrt(_one_minus_power(s, beta2, step))
    rest1, rest2 = 1.0 - beta1, 1.0 - beta2
    g = -g if maximize else g
    if decoupled:
        p = p * (1.0 - lr * weight_decay)
    else:
        g = s.fma(p, weight_decay, g)
    m = s.fma(g - m, rest1, m)
    v = s.fma(g * rest2, g, v * beta2)
    return s.fma(-size, m / s.fma(s.sqrt(v), scale, eps), p), m, v


def _adam_reference(*xs: np.ndarray, decoupled: bool, maximize: bool) -> Any:
    p, g, m, v, lr, beta1, beta2, eps, weight_decay, step = map(wide, xs)
    g = -g if maximize else g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = m + (g - m) * (1 - beta1)
    v = beta2 * v + (1 - beta2) * g * g
    denominator = np.sqrt(v) / np.sqrt(1 - beta2**step) + eps
    return p - lr / (1 - beta1**step) * m / denominator, m, v


_ADAM: Op = map_op(
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
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    lr: Tensor,
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
    return bind(
        _ADAM,
        p,
        g,
        m,
        v,
        lr,
        beta1,
        beta2,
        eps,
        weight_decay,
        step,
        decoupled=bool(decoupled),
        maximize=bool(maximize),
    )
