"""Layers without parameters that compute one function of each element or along an axis.

Invariant: what a layer computes is a function of nn/functional.py, so both give the same bits.
"""

from __future__ import annotations

from typing import Any

from ..eager.tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "Softplus",
    "Identity",
    "GELU",
    "Softmax",
    "LogSoftmax",
]


class _Pointwise(Module):
    function: Any = None

    def forward(self, input: Tensor) -> Tensor:
        """Same shape as x."""
        return type(self).function(input)


class _Inplace(_Pointwise):
    """A pointwise layer that can give its input the result as its new value (PyTorch's flag)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Same shape as x; with `inplace`, x itself with its new value."""
        output = type(self).function(input)
        return input._inplace(output) if self.inplace else output

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Inplace):
    """max(x, 0)."""

    function = staticmethod(F.relu)


class SiLU(_Inplace):
    """x * sigmoid(x)."""

    function = staticmethod(F.silu)


class Sigmoid(_Pointwise):
    """1 / (1 + exp(-x))."""

    function = staticmethod(F.sigmoid)


class Tanh(_Pointwise):
    """Hyperbolic tangent."""

    function = staticmethod(F.tanh)


class Softplus(_Pointwise):
    """log(1 + exp(x))."""

    function = staticmethod(F.softplus)


class Identity(_Pointwise):
    """The input itself."""

    function = staticmethod(lambda input: input)


class GELU(Module):
    """x * Phi(x), exactly (approximate="none") or by the tanh formula ("tanh")."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Same shape as x."""
        return F.gelu(input, self.approximate)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along an axis."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Same shape as x."""
        return F.softmax(input, self.dim)


class LogSoftmax(Softmax):
    """Logarithm of softmax."""

    def forward(self, input: Tensor) -> Tensor:
        """Same shape as x."""
        return F.log_softmax(input, self.dim)
