"""The layers of rows and tokens: PyTorch's names, argument order and default initialisation.

Invariant: a layer holds parameters and static settings only; what it computes is a function of
nn/functional.py, so modules and functions give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

from ..eager.create import asarray, tensor
from ..eager.tensor import Tensor
from ..ops import flatten, ones, zeros
from ..random import normal, uniform
from . import functional as F
from .module import Module

__all__ = [
    "Linear",
    "Embedding",
    "LayerNorm",
    "Dropout",
    "Flatten",
    "LSTMCell",
    "uniform_parameter",
]


def uniform_parameter(bound: float, shape: tuple[int, ...], dtype: Any, device: Any) -> Tensor:
    """A parameter whose elements start uniform in +-bound."""
    drawn = uniform(-bound, bound, shape, dtype=dtype or "float32", device=device)
    return tensor(drawn, requires_grad=True)


class Linear(Module):
    """y = x W^T + b over the last axis; W has shape (out_features, in_features).

    Both start uniform in +-1/sqrt(in_features) (PyTorch's kaiming_uniform with a = sqrt(5); He et
    al., 2015).  Raises ShapeError for another last extent.

    >>> import hybrid
    >>> layer = hybrid.nn.Linear(3, 2)
    >>> layer(hybrid.ones((5, 3))).shape, layer.weight.shape, layer.bias.shape
    ((5, 2), (2, 3), (2,))
    """

    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = uniform_parameter(bound, (out_features, in_features), dtype, device)
        self.register_parameter(
            "bias", uniform_parameter(bound, (out_features,), dtype, device) if bias else None
        )

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Embedding(Module):
    """Rows of a (num_embeddings, embedding_dim) table by integer index; starts from N(0, 1).

    Raises IndexOutOfRange for an index outside 0..num_embeddings-1.

    >>> import hybrid
    >>> table = hybrid.nn.Embedding(10, 4)
    >>> table(hybrid.tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = tensor(
            normal(
                0.0, 1.0, (num_embeddings, embedding_dim), dtype=dtype or "float32", device=device
            ),
            requires_grad=True,
        )

    def forward(self, index: Tensor) -> Tensor:
        """(...) integers -> (..., embedding_dim); IndexError outside 0..num_embeddings-1."""
        return F.embedding(index, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class LayerNorm(Module):
    """Normalise over the trailing axes `normalized_shape`, then scale and shift: (x - mean) /
    sqrt(variance + eps) * weight + bias (Ba, Kiros and Hinton, 2016).

    Weight starts as ones and bias as zeros, of normalized_shape; None where they are not wanted.

    >>> import hybrid
    >>> hybrid.nn.LayerNorm(2, eps=0.0)(hybrid.tensor([[1.0, 3.0], [10.0, 30.0]])).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.normalized_shape, self.eps = shape, eps
        affine = elementwise_affine
        self.register_parameter(
            "weight",
            ones(shape, dtype=dtype, device=device, requires_grad=True) if affine else None,
        )
        self.register_parameter(
            "bias",
            zeros(shape, dtype=dtype, device=device, requires_grad=True)
            if affine and bias
            else None,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and dtype as the input."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class Dropout(Module):
    """In training, zero each element with probability p and scale the rest by 1/(1-p); in
    evaluation, the input itself (Srivastava et al., 2014).  Raises ValueError for a p outside 0..1.

    >>> import hybrid
    >>> layer = hybrid.nn.Dropout(0.5)
    >>> sorted(set(layer(hybrid.ones(1000)).tolist())), layer.eval()(hybrid.ones(2)).tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p is a probability, not {p}")
        self.p, self.inplace = p, bool(inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and dtype as the input; with `inplace`, the input with its new value."""
        output = F.dropout(input, self.p, self.training)
        return input._inplace(output) if self.inplace else output

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """Merge the axes start_dim..end_dim.

    >>> import hybrid
    >>> hybrid.nn.Flatten()(hybrid.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) -> (N, product) by default."""
        return flatten(input, self.start_dim, self.end_dim)


class LSTMCell(Module):
    """One step of a long short-term memory cell; gates in PyTorch's order i, f, g, o (Hochreiter
    and Schmidhuber, 1997; the forget gate is of Gers et al., 2000).

    weight_ih (4*hidden, input), weight_hh (4*hidden, hidden), biases (4*hidden,); all start uniform
    in +-1/sqrt(hidden).  c = f * c_before + i * g, h = o * tanh(c).

    >>> import hybrid
    >>> cell = hybrid.nn.LSTMCell(3, 5)
    >>> h, c = cell(hybrid.ones((2, 3)))
    >>> h, c = cell(hybrid.ones((2, 3)), (h, c))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        bound = 1 / math.sqrt(hidden_size) if hidden_size else 0.0
        self.weight_ih = uniform_parameter(bound, (4 * hidden_size, input_size), dtype, device)
        self.weight_hh = uniform_parameter(bound, (4 * hidden_size, hidden_size), dtype, device)
        self.register_parameter(
            "bias_ih", uniform_parameter(bound, (4 * hidden_size,), dtype, device) if bias else None
        )
        self.register_parameter(
            "bias_hh", uniform_parameter(bound, (4 * hidden_size,), dtype, device) if bias else None
        )

    def forward(
        self, input: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """x (N, input), state (h, c) of shape (N, hidden) each (zeros by default) -> (h, c)."""
        input = asarray(input)
        if state is None:
            hidden = cell = zeros((input.shape[0], self.hidden_size), dtype=input.dtype)
        else:
            hidden, cell = state
        gates = F.linear(input, self.weight_ih, self.bias_ih) + F.linear(
            hidden, self.weight_hh, self.bias_hh
        )
        admit, forget, candidate, expose = gates.chunk(4, 1)
        cell = F.sigmoid(forget) * cell + F.sigmoid(admit) * F.tanh(candidate)
        return F.sigmoid(expose) * F.tanh(cell), cell

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"
