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
        """Same shape and dtype as the input."""
        return type(self).function(input)


class _Inplace(_Pointwise):
    """A pointwise layer that can give its input the result as its new value (PyTorch's flag)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = bool(inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and dtype as the input; with `inplace`, the input with its new value."""
        output = type(self).function(input)
        return input._inplace(output) if self.inplace else output

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Inplace):
    """max(x, 0); `inplace`: the input takes the result.

    >>> import hybrid
    >>> hybrid.nn.ReLU()(hybrid.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    function = staticmethod(F.relu)


class SiLU(_Inplace):
    """x * sigmoid(x), also called swish (Elfwing et al., 2017); `inplace`: the input takes the
    result.

    >>> import hybrid
    >>> hybrid.nn.SiLU()(hybrid.tensor([0.0, 100.0]))
    tensor([  0., 100.])
    """

    function = staticmethod(F.silu)


class Sigmoid(_Pointwise):
    """1 / (1 + exp(-x)).

    >>> import hybrid
    >>> hybrid.nn.Sigmoid()(hybrid.tensor([-100.0, 0.0, 100.0])).tolist()[1:]
    [0.5, 1.0]
    """

    function = staticmethod(F.sigmoid)


class Tanh(_Pointwise):
    """Hyperbolic tangent.

    >>> import hybrid
    >>> hybrid.nn.Tanh()(hybrid.tensor([0.0, 100.0]))
    tensor([0., 1.])
    """

    function = staticmethod(F.tanh)


class Softplus(_Pointwise):
    """log(1 + exp(x)), without overflow.

    >>> import hybrid
    >>> hybrid.nn.Softplus()(hybrid.tensor(1000.0)).item()
    1000.0
    """

    function = staticmethod(F.softplus)


class Identity(_Pointwise):
    """The input itself.

    >>> import hybrid
    >>> x = hybrid.ones(2)
    >>> hybrid.nn.Identity()(x) is x
    True
    """

    function = staticmethod(lambda input: input)


class GELU(Module):
    """x * Phi(x), Phi the distribution function of N(0, 1): exactly (approximate="none"), or by a
    tanh formula ("tanh"), both of Hendrycks and Gimpel (2016).  Raises ValueError for another word.

    >>> import hybrid
    >>> x = hybrid.tensor(1.0)
    >>> round(hybrid.nn.GELU()(x).item(), 4), round(hybrid.nn.GELU("tanh")(x).item(), 4)
    (0.8413, 0.8412)
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and dtype as the input."""
        return F.gelu(input, self.approximate)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along an axis.

    >>> import hybrid
    >>> hybrid.nn.Softmax(dim=0)(hybrid.tensor([1.0, 1.0]))
    tensor([0.5, 0.5])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and dtype as the input."""
        return F.softmax(input, self.dim)


class LogSoftmax(Softmax):
    """Logarithm of softmax along an axis.

    >>> import hybrid
    >>> hybrid.nn.LogSoftmax(dim=0)(hybrid.tensor([1000.0, 0.0]))
    tensor([    0., -1000.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and dtype as the input."""
        return F.log_softmax(input, self.dim)
