"""Elementwise records of neural-network activations, with backward records where one kernel pays.

Invariant: values and gradients are PyTorch's, special points included (relu'(0) = 0); tails keep
relative accuracy where PyTorch's formulas cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from ...ir.door.bind import bind
from ...ir.door.flat import function_of
from ...ir.op import Op, Said, map_op
from ...ir.scalar.program import Builder, Val
from .. import formulas as F
from ..base.common import wide
from ..base.surface import public
from ..formulas.tools import clamp
from .arithmetic import abs, add, divide, multiply, reference_of, square, subtract
from .functions import DENSITY, by_element, normal_pdf, sigmoid, tanh
from .logic import greater, less, logical_and
from .selection import where

Tensor = Any
Function = Callable[..., Any]
ROOT_HALF = math.sqrt(0.5)


def _float_map(
    name: str, nin: int, body: Any, *, vjp: Any, reference: Any, doc: str, **more: Unpack[Said]
) -> Op:
    return map_op(
        name,
        nin,
        body,
        vjp=vjp,
        reference=reference,
        result="float",
        accepts="f",
        doc=doc,
        **more,
    )


# ---- relu and its kin
relu: Function = public(
    map_op(
        "relu",
        1,
        lambda s, x: s.select(x < 0, s.const(x.type, 0), x) if x.type[0] != "u" else x,
        accepts="iuf",
        vjp=lambda g, out, x: (relu_grad(g, out),),
        facts=frozenset(["idempotent"]),
        reference=lambda x: np.where(x < 0, np.zeros_like(x), x),
        doc="x, or 0 where x is negative: -0 and NaN stay. The gradient is 0 at both zeros, as in "
        "PyTorch.",
    ),
    functional=True,
    method=True,
    inplace=True,
)

relu_grad: Function = function_of(
    _float_map(
        "relu_grad",
        2,
        lambda s, g, y: s.select(y <= 0, 0.0, g),
        vjp=lambda h, out, g, y: (lambda: relu_grad(h, y), None),
        reference=lambda g, y: np.where(y <= 0, np.zeros_like(g), g),
        doc="g where y > 0, else 0.",
    )
)

_LEAKY = _float_map(
    "leaky_relu",
    1,
    lambda s, x, *, slope: s.select(x > 0, x, x * slope),
    params=("slope",),
    vjp=lambda g, out, x, *, slope: (where(greater(x, 0.0), g, multiply(g, slope)),),
    reference=lambda x, *, slope: np.where(x > 0, wide(x), wide(x) * slope),
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"slope": 0.01})],
    doc="x, or slope*x below 0.",
)

_ELU = _float_map(
    "elu",
    1,
    lambda s, x, *, alpha: s.select(x > 0, x, F.expm1(s, s.select(x > 0, 0.0, x)) * alpha),
    params=("alpha",),
    vjp=lambda g, out, x, *, alpha: (where(greater(x, 0.0), g, multiply(g, add(out, alpha))),),
    reference=lambda x, *, alpha: np.where(
        x > 0, wide(x), alpha * np.expm1(np.minimum(wide(x), 0))
    ),
    ulp=3.0,
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"alpha": 1.5})],
    doc="x, or alpha*(e^x - 1) below 0.",
)


_HARDTANH = _float_map(
    "hardtanh",
    1,
    lambda s, x, *, low, high: clamp(s, x, low, high),
    params=("low", "high"),
    vjp=lambda g, out, x, *, low, high: (
        where(logical_and(greater(x, low), less(x, high)), g, 0.0),
    ),
    reference=lambda x, *, low, high: np.clip(wide(x), low, high),
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"low": -1.0, "high": 1.5})],
    doc="x limited to [low, high].",
)


@public(functional=True)
def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where positive, negative_slope * x elsewhere."""
    return bind(_LEAKY, x, slope=float(negative_slope))


@public(functional=True)
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, alpha * (e^x - 1) elsewhere."""
    return bind(_ELU, x, alpha=float(alpha))


@public
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, alpha * (e^(x/alpha) - 1) elsewhere."""
    alpha = float(alpha)
    return where(greater(x, 0.0), x, multiply(elu(divide(x, alpha)), alpha))


@public
def selu(x: Tensor) -> Tensor:
    """The self-normalising elu of Klambauer et al."""
    return multiply(elu(x, 1.6732632423543772), 1.0507009873554805)


@public
def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [min_val, max_val]; its gradient is 0 at the borders, unlike clip's."""
    return bind(_HARDTANH, x, low=float(min_val), high=float(max_val))


@public
def relu6(x: Tensor) -> Tensor:
    """x limited to [0, 6]."""
    return hardtanh(x, 0.0, 6.0)


@public
def hardsigmoid(x: Tensor) -> Tensor:
    """x + 3 limited to [0, 6], divided by 6."""
    return divide(relu6(add(x, 3.0)), 6.0)


@public
def hardswish(x: Tensor) -> Tensor:
    """x * hardsigmoid(x)."""
    return multiply(x, hardsigmoid(x))


@public
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return divide(x, add(abs(x), 1.0))


# ---- silu, softplus
def _sigmoid_wide(x: np.ndarray) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _limited(x: Any) -> Any:
    """x without its infinities: in a product with a tail that is 0 there,
    they count as large numbers."""
    return np.clip(x, -1e4, 1e4)


def _silu_body(s: Builder, x: Val) -> Val:
    q, scale = F.sigmoid_parts(s, x)
    limit = -112.0 if x.type == "f32" else -760.0  # the product is 0 there
    return clamp(s, x, limit, None) * q * scale * scale


silu: Function = public(
    _float_map(
        "silu",
        1,
        _silu_body,
        vjp=lambda g, out, x: (silu_grad(g, x),),
        ulp=4.0,
        reference=reference_of(lambda x: np.where(x > 0, x, _limited(x)) * _sigmoid_wide(x)),
        doc="x * sigmoid(x); -0 at minus infinity.",
    ),
    functional=True,
    method=True,
)


def _silu_grad_body(s: Builder, g: Val, x: Val) -> Val:
    y = F.sigmoid(s, x)
    return g * (y * s.fma(clamp(s, x, -1e4, 1e4), 1.0 - y, 1.0))


def _silu_second(h: Tensor, g: Tensor, x: Tensor) -> Tensor:
    y = sigmoid(x)
    bent = add(multiply(x, subtract(1.0, multiply(y, 2.0))), 2.0)
    return multiply(multiply(h, g), multiply(multiply(y, subtract(1.0, y)), bent))


silu_grad: Function = function_of(
    _float_map(
        "silu_grad",
        2,
        _silu_grad_body,
        ulp=64.0,
        vjp=lambda h, out, g, x: (lambda: silu_grad(h, x), lambda: _silu_second(h, g, x)),
        reference=reference_of(
            lambda g, x: g * (_sigmoid_wide(x) * (1 + _limited(x) * (1 - _sigmoid_wide(x))))
        ),
        doc="The gradient of silu(x).",
    )
)


def _log_of_sum(s: Builder, x: Val) -> Val:
    """log(1 + e^x)."""
    return s.select(x < 0, s.const(x.type, 0.0), x) + F.log1p_unit(s, F.exp(s, -s.abs(x)))


def _softplus_body(s: Builder, x: Val, *, beta: float, threshold: float) -> Val:
    y = x if beta == 1.0 else x * beta
    out = _log_of_sum(s, y)
    return s.select(y > threshold, x, out if beta == 1.0 else out / beta)


def _softplus_reference(x: np.ndarray, *, beta: float, threshold: float) -> Any:
    y = wide(x) * beta
    return np.where(y > threshold, wide(x), np.logaddexp(y, 0) / beta)


_SOFTPLUS = _float_map(
    "softplus",
    1,
    _softplus_body,
    params=("beta", "threshold"),
    ulp=4.0,
    vjp=lambda g, out, x, *, beta, threshold: (softplus_grad(g, x, beta, threshold),),
    reference=_softplus_reference,
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"beta": 1.5, "threshold": 20.0})],
    doc="log(1 + e^(beta x)) / beta, x beyond the threshold.",
)
_SOFTPLUS_GRAD = _float_map(
    "softplus_grad",
    2,
    lambda s, g, x, *, beta, threshold: s.select(
        x * beta > threshold, g, g * F.sigmoid(s, x * beta)
    ),
    params=("beta", "threshold"),
    ulp=4.0,
    vjp=lambda h, out, g, x, *, beta, threshold: (
        lambda: softplus_grad(h, x, beta, threshold),
        lambda: _softplus_second(h, g, x, beta, threshold),
    ),
    reference=lambda g, x, *, beta, threshold: np.where(
        wide(x) * beta > threshold, wide(g), wide(g) * _sigmoid_wide(wide(x) * beta)
    ),
    samples=lambda rng: [
        ([rng.uniform(-3, 3, (3, 5)), rng.uniform(-3, 3, (3, 5))], {"beta": 1.5, "threshold": 20.0})
    ],
    doc="The gradient of softplus(x).",
)


@public(functional=True, method=True)
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta*x)) / beta, and x itself where beta*x > threshold."""
    return bind(_SOFTPLUS, x, beta=float(beta), threshold=float(threshold))


def softplus_grad(g: Tensor, x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """g * sigmoid(beta*x), and g where beta*x > threshold."""
    return bind(_SOFTPLUS_GRAD, g, x, beta=float(beta), threshold=float(threshold))


def _softplus_second(h: Tensor, g: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    y = sigmoid(multiply(x, beta))
    bend = multiply(multiply(y, subtract(1.0, y)), beta)
    return where(greater(multiply(x, beta), threshold), 0.0, multiply(multiply(h, g), bend))


log_sigmoid: Function = public(
    _float_map(
        "log_sigmoid",
        1,
        lambda s, x: -_log_of_sum(s, -x),
        ulp=4.0,
        vjp=lambda g, out, x: (multiply(g, sigmoid(multiply(x, -1.0))),),
        reference=reference_of(lambda x: -np.logaddexp(-x, 0)),
        doc="log(sigmoid(x)) without overflow.",
    ),
    functional=("log_sigmoid", "logsigmoid"),
)


@public
def mish(x: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    return multiply(x, tanh(softplus(x)))


# ---- gelu
def _gelu_body(s: Builder, x: Val) -> Val:
    """x*P(Z < x): the tail is computed for -|x|, so that nothing cancels."""
    tail, _ = F.normal_tail(s, x)
    part = clamp(s, x, -1e4, 1e4) * tail
    return s.select(x > 0, x - part, part)


def _gelu_grad_body(s: Builder, g: Val, x: Val) -> Val:
    tail, bell = F.normal_tail(s, x)
    below = s.select(x < 0, tail, 1.0 - tail)
    return g * s.fma(clamp(s, x, -1e4, 1e4) * DENSITY, bell, below)


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x * ROOT_HALF)


def _gelu_slope(g: float, x: float) -> float:
    return g * (_phi(x) + (x * DENSITY * math.exp(-0.5 * x * x) if -1e4 < x < 1e4 else 0.0))


gelu: Function = public(
    _float_map(
        "gelu",
        1,
        _gelu_body,
        vjp=lambda g, out, x: (gelu_grad(g, x),),
        ulp=16.0,
        reference=by_element(lambda x: x * _phi(x) if x > -1e4 else -0.0 if x == x else x),
        doc="x * Phi(x), Phi the normal distribution function; -0 at minus infinity.",
    ),
    method=True,
)
gelu_grad: Function = function_of(
    _float_map(
        "gelu_grad",
        2,
        _gelu_grad_body,
        ulp=256.0,
        vjp=lambda h, out, g, x: (
            lambda: gelu_grad(h, x),
            lambda: multiply(multiply(h, g), multiply(normal_pdf(x), subtract(2.0, square(x)))),
        ),
        reference=by_element(_gelu_slope),
        doc="The gradient of gelu(x).",
    )
)

_K, _C = 2.0 * math.sqrt(2.0 / math.pi), 0.044715


def _tanh_form(s: Builder, x: Val) -> Val:
    """1 / (1 + e^-2u) with u = sqrt(2/pi) (x + 0.044715 x^3):
    (1 + tanh u) / 2 without cancellation."""
    z = x * x
    minus = x * s.fma(z, -_K * _C, -_K)
    return 1.0 + F.exp(s, minus)


def _gelu_tanh_body(s: Builder, x: Val) -> Val:
    return clamp(s, x, -32.0, None) / _tanh_form(s, x)  # the result is -0 long before -32


def _gelu_tanh_grad_body(s: Builder, g: Val, x: Val) -> Val:
    x = clamp(s, x, -32.0, 32.0)
    y = 1.0 / _tanh_form(s, x)
    slope = s.fma(x * x, 3.0 * _K * _C, _K)
    return g * s.fma(x * (y * (1.0 - y)), slope, y)


def _gelu_tanh_wide(x: Any) -> Any:
    x = np.maximum(x, -32)
    return x * _sigmoid_wide(x * (_K + _K * _C * x * x))


def _gelu_tanh_slope(g: Any, x: Any) -> Any:
    x = np.clip(x, -32, 32)
    y = _sigmoid_wide((x * (_K + _K * _C * x * x)).astype(np.float64))  # 0 where the record's is
    return g * (y + x * y * (1 - y) * (_K + 3 * _K * _C * x * x))


def _gelu_tanh_second(h: Tensor, g: Tensor, x: Tensor) -> Tensor:
    z = square(x)
    y = sigmoid(multiply(x, add(multiply(z, _K * _C), _K)))
    slope = add(multiply(z, 3.0 * _K * _C), _K)
    bend = multiply(y, subtract(1.0, y))
    inner = add(
        multiply(multiply(slope, slope), multiply(x, subtract(1.0, multiply(y, 2.0)))),
        add(multiply(slope, 2.0), multiply(z, 6.0 * _K * _C)),
    )
    return multiply(multiply(h, g), multiply(bend, inner))


gelu_tanh: Function = public(
    _float_map(
        "gelu_tanh",
        1,
        _gelu_tanh_body,
        vjp=lambda g, out, x: (gelu_tanh_grad(g, x),),
        ulp=64.0,
        reference=reference_of(_gelu_tanh_wide),
        doc="gelu in Hendrycks and Gimpel's tanh form.",
    )
)
gelu_tanh_grad: Function = function_of(
    _float_map(
        "gelu_tanh_grad",
        2,
        _gelu_tanh_grad_body,
        ulp=256.0,
        vjp=lambda h, out, g, x: (lambda: gelu_tanh_grad(h, x), lambda: _gelu_tanh_second(h, g, x)),
        reference=reference_of(_gelu_tanh_slope),
        doc="The gradient of gelu_tanh(x).",
    )
)
