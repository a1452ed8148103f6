"""Losses as modules: settings, and a function of nn/functional.py that computes the loss.

Invariant: a loss module and its function give the same bits.
"""

from __future__ import annotations

from ..eager.tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "CrossEntropyLoss",
    "MSELoss",
]


class CrossEntropyLoss(Module):
    """`functional.cross_entropy` as a module: logits (N, C, ...), and classes (N, ...) or
    probabilities (N, C, ...) as targets.

    >>> import hybrid
    >>> loss = hybrid.nn.CrossEntropyLoss()(hybrid.zeros((1, 2)), hybrid.tensor([1]))
    >>> round(loss.item(), 4)  # log(2)
    0.6931
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, ...) and targets -> loss."""
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class MSELoss(Module):
    """`functional.mse_loss` as a module: the mean (or "sum", or "none") of squared differences.

    >>> import hybrid
    >>> hybrid.nn.MSELoss()(hybrid.tensor([1.0, 2.0]), hybrid.tensor([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference."""
        return F.mse_loss(input, target, reduction=self.reduction)
