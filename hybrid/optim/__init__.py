"""Optimizers under PyTorch's names.

Invariant: hyper-parameters and state are tensors, so a schedule never makes a recorded step record
again.
"""

from .algorithms import SGD, Adam, AdamW
from .optimizer import Optimizer, ParamGroup

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "ParamGroup"]
