"""Neural networks: Module, layers and `functional`.

Invariant: names, argument order and default initialisation are PyTorch's.
"""

from typing import TYPE_CHECKING

from ..core.spelling import LAYERS, elsewhere
from ..ir.door.guard import guard_all, guard_methods
from . import activations, containers, functional, images, layers, losses, module
from .activations import (
    GELU,
    Identity,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .containers import ModuleDict, ModuleList, Sequential
from .images import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from .layers import (
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    LSTMCell,
)
from .losses import CrossEntropyLoss, MSELoss
from .module import Module
from .parameter import Parameter

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GELU",
    "Identity",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
]

for _room in (module, containers, layers, images, activations, losses):
    for _class in list(vars(_room).values()):
        if isinstance(_class, type) and issubclass(_class, Module):
            guard_methods(_class)
guard_all(vars(functional), vars(functional)["__all__"], functional.__name__)

if not TYPE_CHECKING:
    __getattr__ = elsewhere(__name__, LAYERS, globals())
    functional.__getattr__ = elsewhere(functional.__name__, LAYERS, vars(functional))
