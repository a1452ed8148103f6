"""Optimizers under PyTorch's names.

Invariant: hyper-parameters and state are tensors, so a schedule never makes a recorded step record
again.
"""

from typing import TYPE_CHECKING

from ..core.spelling import OPTIMIZERS, elsewhere
from ..ir.door.guard import guard_methods
from .algorithms import SGD, Adam, AdamW
from .optimizer import Optimizer, ParamGroup
from .rules import note_update

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "ParamGroup"]

for _class in (Optimizer, ParamGroup, SGD, Adam, AdamW):
    guard_methods(_class)
    note_update(_class)

if not TYPE_CHECKING:
    __getattr__ = elsewhere(__name__, OPTIMIZERS, globals())
