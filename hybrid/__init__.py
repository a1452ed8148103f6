"""hybrid: eager arrays and deep learning whose functions, under one decorator, run as native code.

Invariant: importing this package compiles nothing and imports no optional dependency.
"""

from __future__ import annotations

from math import e, inf, nan, pi
from sys import modules as _modules
from types import ModuleType as _Module
from typing import TYPE_CHECKING

from .backends import api as _api  # records are made once the door knows its backends

# isort: split
from . import cuda, fft, linalg, nn, ops, optim, random, special
from .autograd.backward import custom_gradient, grad, gradients, stop_gradient, value_and_grad, vjp
from .autograd.scopes import enable_grad, no_grad, set_grad_enabled
from .comparison import Comparison, compare
from .control.functions import cond, fori_loop, scan, switch, while_loop
from .control.taps import tap
from .core.aval import Aval, Device, device
from .core.dtypes import (
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .core.errors import (
    ArgumentError,
    AxisError,
    BackendError,
    DeviceError,
    DTypeError,
    ExchangeError,
    GraphError,
    HybridError,
    IndexOutOfRange,
    ShapeError,
    Site,
    UnsupportedError,
)
from .core.spelling import FUNCTIONS as _FUNCTIONS
from .core.spelling import elsewhere as _elsewhere
from .decorator import CacheInfo, Function, RunsEagerly, function
from .eager import (
    Intermediate,
    NanError,
    Steps,
    Tensor,
    array,
    asarray,
    asarray_chkfinite,
    broadcast_shapes,
    can_cast,
    debug,
    detect_nan,
    finfo,
    from_dlpack,
    frombuffer,
    fromiter,
    iinfo,
    intermediates,
    isdtype,
    promote_types,
    result_type,
    step_through,
    tensor,
)
from .eager import namespace_info as __array_namespace_info__
from .explanation import Explanation, SourceLine, explain
from .inspection import Inspection, describe_system, inspect
from .ir.door.foreign import Widened
from .ir.door.guard import guard_all as _guard_all
from .ir.door.precision import (
    get_float32_matmul_precision,
    get_matmul_precision,
    set_float32_matmul_precision,
    set_matmul_precision,
)
from .ir.op import seal as _seal
from .ops import *  # noqa: F403
from .profiling import Profile, profile
from .protocols.indexers import c_, mgrid, ogrid, r_
from .protocols.names import NUMPY as _NUMPY
from .protocols.torch_names import torch_way as _torch_way
from .threads import get_num_threads, num_threads, set_num_threads
from .trace.serve.told.versions import Version
from .transforms.checkpoint import checkpoint
from .transforms.custom import custom_jvp, custom_vjp
from .transforms.forward import hvp, jvp, linearize
from .transforms.jacobians import hessian, jacfwd, jacrev
from .transforms.vmap import vmap

__version__ = "0.1.0"
__array_api_version__ = "2025.12"
newaxis = None
euler_gamma = 0.5772156649015329
asanyarray = asarray  # there are no subclasses of tensors

__all__ = [
    "ArgumentError",
    "Aval",
    "AxisError",
    "BackendError",
    "ExchangeError",
    "CacheInfo",
    "Comparison",
    "DTypeError",
    "Device",
    "DeviceError",
    "Explanation",
    "Function",
    "GraphError",
    "HybridError",
    "IndexOutOfRange",
    "Inspection",
    "Intermediate",
    "NanError",
    "Profile",
    "RunsEagerly",
    "ShapeError",
    "Site",
    "SourceLine",
    "Steps",
    "Tensor",
    "UnsupportedError",
    "Version",
    "Widened",
    "array",
    "asanyarray",
    "asarray",
    "asarray_chkfinite",
    "bfloat16",
    "bool_",
    "broadcast_shapes",
    "c_",
    "can_cast",
    "checkpoint",
    "compare",
    "complex128",
    "complex64",
    "cond",
    "cuda",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "debug",
    "describe_system",
    "detect_nan",
    "device",
    "e",
    "enable_grad",
    "euler_gamma",
    "explain",
    "fft",
    "finfo",
    "float16",
    "float32",
    "float64",
    "fori_loop",
    "from_dlpack",
    "frombuffer",
    "fromiter",
    "function",
    "get_float32_matmul_precision",
    "get_matmul_precision",
    "get_num_threads",
    "grad",
    "gradients",
    "hessian",
    "hvp",
    "iinfo",
    "inf",
    "inspect",
    "isdtype",
    "int16",
    "int32",
    "int64",
    "int8",
    "linalg",
    "intermediates",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "mgrid",
    "nan",
    "newaxis",
    "nn",
    "no_grad",
    "num_threads",
    "ogrid",
    "ops",
    "optim",
    "pi",
    "profile",
    "promote_types",
    "r_",
    "random",
    "result_type",
    "scan",
    "set_float32_matmul_precision",
    "set_grad_enabled",
    "set_matmul_precision",
    "set_num_threads",
    "special",
    "step_through",
    "stop_gradient",
    "switch",
    "tap",
    "tensor",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
__all__ += ops.__all__

_guard_all(globals(), __all__, __name__)
_seal()
# the package of that name, which others import from, is found behind the function as well
for _name, _room in vars(_modules[f"{__name__}.trace"]).items():
    if isinstance(_room, _Module):
        setattr(trace, _name, _room)  # noqa: F405
# `from hybrid import *` leaves the builtin of that name alone, as NumPy's does
bool = bool_


def __dir__() -> list[str]:
    return sorted([*__all__, "bool"])


if not TYPE_CHECKING:
    __getattr__ = _elsewhere(
        __name__,
        _NUMPY | _FUNCTIONS,
        globals(),
        lambda name: _torch_way(name, __all__, dir(Tensor)),
    )
