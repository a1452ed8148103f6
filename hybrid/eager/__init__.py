"""Eager mode: Tensor with its operators and methods, and tools to look inside."""

from . import methods
from .create import array, asarray, asarray_chkfinite, from_dlpack, frombuffer, fromiter, tensor
from .debug import Intermediate, NanError, debug, detect_nan, intermediates
from .info import (
    NamespaceInfo,
    broadcast_shapes,
    can_cast,
    finfo,
    iinfo,
    isdtype,
    namespace_info,
    promote_types,
    result_type,
)
from .steps import Step, Steps, step_through
from .tensor import Tensor

__all__ = [
    "Tensor",
    "tensor",
    "array",
    "asarray",
    "asarray_chkfinite",
    "from_dlpack",
    "frombuffer",
    "fromiter",
    "methods",
    "debug",
    "detect_nan",
    "intermediates",
    "Intermediate",
    "NanError",
    "Step",
    "Steps",
    "step_through",
    "finfo",
    "iinfo",
    "promote_types",
    "result_type",
    "NamespaceInfo",
    "broadcast_shapes",
    "can_cast",
    "isdtype",
    "namespace_info",
]
