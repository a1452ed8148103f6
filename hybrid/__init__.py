"""hybrid: eager arrays and deep learning whose functions, under one decorator, run as native code.

Invariant: importing this package compiles nothing and imports no optional dependency.
"""

from __future__ import annotations

from math import e, inf, nan, pi
from typing import TYPE_CHECKING

from .backends import api as _api
from .core.aval import Aval, Device, device
from .core.dtypes import (
    bfloat16,
    bool_,
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
    BackendError,
    DeviceError,
    DTypeError,
    GraphError,
    HybridError,
    IndexOutOfRange,
    ShapeError,
    Site,
    UnsupportedError,
)
from .ir.door import bind as _door

_door.use_backends(_api.backend)

from . import ops  # noqa: E402  (records are made once the door knows its backends)
from .autograd.backward import custom_gradient, grad, gradients, stop_gradient, value_and_grad, vjp  # noqa: E402
from .autograd.scopes import enable_grad, no_grad, set_grad_enabled  # noqa: E402
from .eager import (  # noqa: E402
    Intermediate,
    NanError,
    Tensor,
    asarray,
    debug,
    detect_nan,
    finfo,
    from_dlpack,
    iinfo,
    intermediates,
    result_type,
    tensor,
)
from .ops import *  # noqa: E402, F403

__version__ = "0.1.0"
newaxis = None

from . import cuda, nn, optim  # noqa: E402
from .core.spelling import FUNCTIONS as _FUNCTIONS  # noqa: E402
from .core.spelling import elsewhere as _elsewhere  # noqa: E402
from .decorator import CacheInfo, Function, RunsEagerly, function  # noqa: E402
from .inspection import Comparison, Inspection, compare, describe_system, inspect  # noqa: E402
from .ir.door.guard import guard_all as _guard_all  # noqa: E402
from .ir.door.precision import (  # noqa: E402
    get_float32_matmul_precision,
    get_matmul_precision,
    set_float32_matmul_precision,
    set_matmul_precision,
)
from .profiling import Profile, profile  # noqa: E402
from .random import manual_seed  # noqa: E402  (this import makes hybrid.random the module)
from .threads import get_num_threads, num_threads, set_num_threads  # noqa: E402

_guard_all(globals(), [name for name in globals() if not name.startswith("_")], __name__)

if not TYPE_CHECKING:
    __getattr__ = _elsewhere(__name__, _FUNCTIONS, globals())
