"""Functions of neural networks under PyTorch's names and argument order.

Invariant: everything here is an op of hybrid.ops or a few of them; layers call these functions.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from ..ops import (
    avg_pool2d,
    batch_norm,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    conv1d,
    conv2d,
    conv_transpose2d,
    cosine_similarity,
    cross_entropy,
    dropout,
    elu,
    group_norm,
    huber_loss,
    kl_div,
    l1_loss,
    layer_norm,
    leaky_relu,
    linear,
    log_sigmoid,
    max_pool2d,
    mse_loss,
    nll_loss,
    normalize,
    one_hot,
    pad,
    relu,
    rms_norm,
    scaled_dot_product_attention,
    sigmoid,
    silu,
    smooth_l1_loss,
    softplus,
    tanh,
)
from ..ops.softmax import softmax as _softmax

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "group_norm",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "logsigmoid",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]

logsigmoid = log_sigmoid


def gelu(x: Any, approximate: str = "none") -> Any:
    """x * Phi(x): exactly ("none"), or Hendrycks and Gimpel's tanh formula ("tanh").

    >>> import hybrid
    >>> round(gelu(hybrid.tensor(1.0)).item(), 4)
    0.8413
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}")
    return ops.gelu(x) if approximate == "none" else ops.gelu_tanh(x)


def softmax(x: Any, dim: int = -1, *, axis: int | None = None) -> Any:
    """exp(x) / sum(exp(x)) along `dim` (or `axis`, its other name)."""
    return _softmax(x, dim if axis is None else axis)


def log_softmax(x: Any, dim: int = -1, *, axis: int | None = None) -> Any:
    """Logarithm of softmax along `dim` (or `axis`, its other name)."""
    return ops.log_softmax(x, dim if axis is None else axis)


def embedding(index: Any, weight: Any) -> Any:
    """Rows of weight (num, dim) at integer `index` (PyTorch's argument order)."""
    return ops.embedding(weight, index)
