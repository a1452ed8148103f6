"""`__array_ufunc__`: NumPy's universal functions and their methods, on tensors.

Invariant: a ufunc is known by identity, NumPy's own and scipy.special's; the public function of its
name computes it, with the dtypes and special values that this has.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import ops
from ..core.errors import ArgumentError
from ..ir.door.bind import as_tensor
from ..ir.tensor import Handle
from ..ops.indexing.index import scatter_add
from .results import NOT_GIVEN, in_dtype, on_host, refuse, spelled, written

__all__ = ["array_ufunc"]

Function = Callable[..., Any]
_NAMES = {value: value.__name__ for value in vars(np).values() if isinstance(value, np.ufunc)}
_IGNORED = ("casting", "order", "subok")  # `out` apart, they ask for nothing that can be seen
# method -> ufunc -> the functions that compute it, the first that hybrid has
_REDUCTIONS = {
    "add": ("sum",),
    "multiply": ("prod",),
    "maximum": ("max",),
    "minimum": ("min",),
    "logical_and": ("all",),
    "logical_or": ("any",),
    "logaddexp": ("logsumexp",),
    "fmax": ("nanmax",),
    "fmin": ("nanmin",),
}
_RUNNING = {
    "add": ("cumulative_sum",),
    "multiply": ("cumulative_prod",),
    "maximum": ("cummax", "maximum_accumulate"),
    "minimum": ("cummin", "minimum_accumulate"),
}


def _ours(value: Any) -> bool:
    """Whether a value may meet tensors here: no type with a protocol of its own."""
    protocol = getattr(type(value), "__array_ufunc__", None)
    return isinstance(value, Handle) or protocol in (None, np.ndarray.__array_ufunc__)


def _name(ufunc: np.ufunc) -> tuple[str, Function | None]:
    """What a ufunc is called, and hybrid's function of that name."""
    name = _NAMES.get(ufunc)
    if name is not None:
        return name, spelled(name)
    name = ufunc.__name__
    if getattr(sys.modules.get("scipy.special"), name, None) is ufunc:
        return name, spelled(f"special.{name}") or spelled(name)
    return name, None


def array_ufunc(self: Any, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy's protocol: what `ufunc(*inputs)`, or its method, is where a tensor is among them."""
    outs = kwargs.pop("out", ())
    if not all(map(_ours, (*inputs, *outs))):
        return NotImplemented
    name, function = _name(ufunc)
    if method == "at":
        return _at(name, ufunc, inputs, kwargs)
    if "signature" in kwargs or function is None:
        raise refuse(name, "" if method == "__call__" else f".{method}")
    rule = _RULES.get(method)
    if rule is None:
        raise refuse(f"{name}.{method}")
    casting = kwargs.get("casting", "same_kind")
    for ignored in _IGNORED:
        kwargs.pop(ignored, None)
    return _stored(rule(name, function, outs, *inputs, **kwargs), outs, casting)


def _stored(result: Any, outs: tuple[Any, ...], casting: str) -> Any:
    if not isinstance(result, tuple):
        return result if not outs or outs[0] is None else written(outs[0], result, casting)
    places = outs or (None,) * len(result)
    return tuple([r if o is None else written(o, r, casting) for r, o in zip(result, places)])


# ---- rules of the methods: (name, function, outs, *inputs, **keywords) -> result
def _called(
    name: str,
    function: Function,
    outs: tuple[Any, ...],
    *inputs: Any,
    dtype: Any = None,
    where: Any = True,
    **more: Any,
) -> Any:
    if more:
        raise refuse(name, f" with {next(iter(more))}=")
    result = function(*[in_dtype(v, dtype) for v in inputs])
    if where is True:
        return result
    if not outs:
        raise ArgumentError(f"numpy.{name}: where= leaves elements undefined; pass out=, too")
    results = result if isinstance(result, tuple) else (result,)
    kept = tuple([ops.where(where, r, o) for r, o in zip(results, outs)])
    return kept if isinstance(result, tuple) else kept[0]


def _folding(name: str, method: str, names: Mapping[str, tuple[str, ...]]) -> Function:
    found = [f for n in names.get(name, ()) if (f := spelled(n)) is not None]
    if not found:
        raise refuse(f"{name}.{method}")
    return found[0]


def _reduced(
    name: str,
    function: Function,
    outs: tuple[Any, ...],
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NOT_GIVEN,
    where: Any = True,
) -> Any:
    fold = _folding(name, "reduce", _REDUCTIONS)
    array, takes = in_dtype(array, dtype), inspect.signature(fold).parameters
    given = initial is not NOT_GIVEN and initial is not None
    more = {"initial": initial} if given and "initial" in takes else {}
    if where is not True and "where" in takes:
        more["where"] = where
    elif where is not True:
        array = ops.where(where, array, getattr(np, name).identity)
    result = fold(array, axis=axis, keepdims=bool(keepdims), **more)
    return function(result, initial) if given and "initial" not in more else result


def _accumulated(
    name: str,
    function: Function,
    outs: tuple[Any, ...],
    array: Any,
    axis: int = 0,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    return _folding(name, "accumulate", _RUNNING)(in_dtype(array, dtype), axis=axis)


def _outer(
    name: str, function: Function, outs: tuple[Any, ...], left: Any, right: Any, **kwargs: Any
) -> Any:
    left, right = as_tensor(left), as_tensor(right)
    table = ops.reshape(left, left.shape + (1,) * right.ndim)
    return _called(name, function, outs, table, right, **kwargs)


_RULES: dict[str, Function] = {
    "__call__": _called,
    "reduce": _reduced,
    "accumulate": _accumulated,
    "outer": _outer,
}


# ---- in place, where positions repeat
def _at(name: str, ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """add.at and subtract.at: every update counts, also of positions that occur twice."""
    target, key, *rest = inputs
    if isinstance(target, np.ndarray):
        on_host(ufunc.at, inputs, kwargs)
        return
    if name not in ("add", "subtract") or ufunc not in _NAMES:
        raise refuse(f"{name}.at")
    numbers = ops.reshape(ops.arange(target.size, device=target.device), target.shape)[key]
    update = ops.broadcast_to(in_dtype(rest[0], target.dtype), numbers.shape)
    rows = ops.reshape(numbers, (numbers.size,))
    total = scatter_add(rows, ops.reshape(update, (update.size, 1)), target.size)
    combine = ops.add if name == "add" else ops.subtract
    target._inplace(combine(target, ops.reshape(total, target.shape)))
