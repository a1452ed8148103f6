"""What both protocols share: hybrid's function of a name, results written to `out`, host values.

Invariant: a value leaves for NumPy only where the caller names an array that takes it, or a file or
text; a tensor whose gradient would be lost on the way is refused.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from .. import ops
from ..core import dtypes as dt
from ..core import trees
from ..core.aval import HOST
from ..core.errors import ArgumentError, DTypeError, HybridError, ShapeError, UnsupportedError
from ..core.shapes import broadcast_shapes
from ..core.spelling import FUNCTIONS
from ..ir.door.arguments import described
from ..ir.door.bind import as_tensor, convert, grad_enabled
from ..ir.tensor import RUNTIME, Handle
from .names import NUMPY

__all__ = ["NOT_GIVEN", "copied_to_host", "in_dtype", "on_host", "refuse", "spelled", "written"]

Function = Callable[..., Any]
_WAYS = NUMPY | FUNCTIONS
# what NumPy has in the place of an argument that is not given
NOT_GIVEN: Any = inspect.signature(np.sum).parameters["initial"].default


def spelled(path: str) -> Function | None:
    """The public function `hybrid.<path>`, or None."""
    found: Any = sys.modules[__name__.partition(".")[0]]
    for name in path.split("."):
        found = vars(found).get(name) if found is not None else None
    return found if isinstance(found, FunctionType) else None


def refuse(name: str, what: str = "") -> UnsupportedError:
    """The error for what hybrid has no form of."""
    advice = _WAYS.get(name.partition(".")[0], "")
    way = f"; in hybrid: {advice}" if advice else ""
    return UnsupportedError(
        f"numpy.{name}{what} has no form for tensors{way}; for NumPy's own, whose result is an "
        "array without a gradient, give it x.numpy()"
    )


def copied_to_host(value: Any) -> Any:
    """A tensor as its NumPy value; HybridError where its gradient would be lost without a word."""
    if not isinstance(value, Handle):
        return value
    if value._node is not None and grad_enabled():
        raise HybridError(
            "this tensor requires a gradient, which a NumPy array cannot hold: write into a "
            "tensor, or give x.detach()"
        )
    return np.asarray(value)


def on_host(function: Function, args: Any, kwargs: Any) -> Any:
    """NumPy's own function on the values of tensors."""
    given = trees.map_tree(copied_to_host, (tuple(args), dict(kwargs)))
    return function(*given[0], **given[1])


def written(out: Any, result: Any, casting: str = "same_kind") -> Any:
    """`out`, a tensor or an array, after it took a result, which broadcasts to its shape."""
    if not isinstance(out, (Handle, np.ndarray)):
        raise ArgumentError(f"out is {described(out)}: it has to be a tensor or an array")
    target: Any = out
    made = as_tensor(result, HOST if isinstance(out, np.ndarray) else out._a.device)
    if not dt.casts(made.dtype, target.dtype, casting):
        raise DTypeError(
            f"cannot write a {made.dtype.name} result into {described(out)} of dtype "
            f"{target.dtype.name} with casting {casting!r}"
        )
    if broadcast_shapes("out", made.shape, target.shape) != target.shape:
        raise ShapeError(f"a result of shape {made.shape} does not fit out of {target.shape}")
    if isinstance(out, np.ndarray):
        if not out.flags.writeable:
            raise ArgumentError("out is an array that cannot be written")
        np.copyto(out, copied_to_host(result), casting=casting)  # type: ignore[arg-type]
        return out
    made = convert(made, target.dtype)
    if made.shape != target.shape:
        made = ops.broadcast_to(made, target.shape)
    return target._inplace(ops.clone(made) if made is result else made)


def in_dtype(value: Any, dtype: Any) -> Any:
    """An operand converted to a dtype, if one is asked for."""
    return value if dtype is None else convert(as_tensor(value), dt.canonical(dtype))


RUNTIME.written = written
