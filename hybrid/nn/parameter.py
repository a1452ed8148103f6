"""Parameter: what a Module lists as its own.

Invariant: it is no class of tensors; every leaf tensor that requires a gradient is one.
"""

from __future__ import annotations

from typing import Any

from ..eager.create import tensor
from ..eager.tensor import Tensor
from ..ir.door.guard import guarded

__all__ = ["Parameter"]


class _ParameterType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor) and value._node is not None and value.is_leaf


class Parameter(metaclass=_ParameterType):
    """`Parameter(data, requires_grad=True)`: a leaf tensor that a Module lists as its own.

    A tensor that requires a gradient is a parameter wherever it came from; isinstance says so.

    >>> import hybrid
    >>> class Scale(hybrid.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = hybrid.nn.Parameter([1.0, 2.0])
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    def __new__(cls, data: Any, requires_grad: bool = True) -> Tensor:  # type: ignore[misc]
        made: Tensor = _parameter(data, requires_grad)
        return made


def _parameter(data: Any, requires_grad: bool) -> Tensor:
    made: Tensor = tensor(data, requires_grad=requires_grad)
    return made


_parameter = guarded(_parameter, "Parameter", __name__)
