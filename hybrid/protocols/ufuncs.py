"""`__array_ufunc__`: NumPy's universal functions and their methods, on tensors.

Invariant: a ufunc is known by identity, NumPy's own and scipy.special's; the public function of its
name computes it, with the dtypes and special values that this has.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..core import dtypes as dt
from ..core.errors import ArgumentError, DTypeError
from ..ir.door.arguments import described
from ..ir.door.bind import as_tensor
from ..ir.tensor import RUNTIME, Handle
from ..ops.axes.views import in_columns
from ..ops.indexing.index import scatter_add
from .results import NOT_GIVEN, in_dtype, on_host, refuse, spelled, written

__all__ = ["array_ufunc"]

Function = Callable[..., Any]
_NAMES = {value: value.__name__ for value in vars(np).values() if isinstance(value, np.ufunc)}
_IGNORED = ("order", "subok")  # `out` apart, they ask for nothing that can be seen
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
    casting = kwargs.pop("casting", "same_kind")
    for ignored in _IGNORED:
        kwargs.pop(ignored, None)
    call = _Call(name, ufunc, function, outs, casting)
    return _stored(rule(call, *inputs, **kwargs), outs, casting)


def looped(
    ufunc: np.ufunc, function: Function, inputs: Sequence[Any], out: Any = None, **more: Any
) -> Any:
    """What the ufunc with its own arguments (`where`, `dtype`, `casting`; `order` and `subok` ask
    for nothing that can be seen) is, by hybrid's function: the result, or the places of `out` that
    took it."""
    outs = out if isinstance(out, tuple) else (out,) * (out is not None)
    if outs and len(outs) != ufunc.nout:
        raise ArgumentError(f"out has {len(outs)} parts for {ufunc.nout} results")
    casting = more.pop("casting", "same_kind")
    in_columns(more.pop("order", "K"), ufunc.__name__)  # is there such an order
    more.pop("subok", None)
    call = _Call(ufunc.__name__, ufunc, function, outs, casting)
    return _stored(_called(call, *inputs, **more), outs, casting)


RUNTIME.looped = looped


def _stored(result: Any, outs: tuple[Any, ...], casting: str) -> Any:
    if not isinstance(result, tuple):
        return result if not outs or outs[0] is None else written(outs[0], result, casting)
    places = outs or (None,) * len(result)
    return tuple([r if o is None else written(o, r, casting) for r, o in zip(result, places)])


class _Call(NamedTuple):
    """One call of a ufunc, apart from its operands."""

    name: str
    ufunc: np.ufunc
    function: Function
    outs: tuple[Any, ...]
    casting: str


# ---- rules of the methods: (call, *inputs, **keywords) -> result
def _called(call: _Call, *inputs: Any, dtype: Any = None, where: Any = True, **more: Any) -> Any:
    if more:
        raise refuse(call.name, f" with {next(iter(more))}=")
    made: tuple[Any, ...] = (None,) * call.ufunc.nout
    if dtype is not None:
        inputs, made = _loop(call, inputs, dt.canonical(dtype))
    if where is not True:
        if not call.outs or any(out is None for out in call.outs):
            raise ArgumentError(f"{call.name}: where= leaves elements undefined; pass out=, too")
        where = as_tensor(where)
        if where.dtype is not dt.bool_:
            raise DTypeError(f"{call.name}: where is {described(where)}: a mask is bool")
        inputs = tuple([_masked(where, value) for value in inputs])
    result = call.function(*inputs)
    several = isinstance(result, tuple)
    results = [in_dtype(r, d) for r, d in zip(result if several else (result,), made)]
    if where is not True:
        results = [ops.where(where, r, o) for r, o in zip(results, call.outs)]
    return tuple(results) if several else results[0]


def _masked(where: Any, value: Any) -> Any:
    """An operand that has no gradient where the mask is false: there it may be infinite."""
    if not isinstance(value, Handle) or not dt.is_inexact(value._a.dtype):
        return value
    tensor: Any = value
    return ops.where(where, tensor, tensor.detach())


def _loop(
    call: _Call, inputs: Sequence[Any], dtype: np.dtype
) -> tuple[tuple[Any, ...], tuple[np.dtype, ...]]:
    """The operands as NumPy's loop for a dtype of results takes them, and what it gives."""
    ufunc: Any = call.ufunc
    weak = [type(v) if type(v) in (int, float, complex) else None for v in inputs]
    told = [kind or as_tensor(v).dtype for kind, v in zip(weak, inputs)]
    dt.casts(dtype, dtype, call.casting)  # is there such a rule
    signature = (*(None,) * ufunc.nin, *(dtype,) * ufunc.nout)
    try:
        found = ufunc.resolve_dtypes(
            (*told, *(None,) * ufunc.nout), signature=signature, casting=call.casting
        )
    except TypeError:
        if dt.bfloat16 not in (dtype, *told) or not dt.is_float(
            dtype
        ):  # that NumPy has no loops of
            given = " and ".join([getattr(kind, "name", "") or kind.__name__ for kind in told])
            raise DTypeError(
                f"{call.name} does not give {dtype.name} of {given} with casting={call.casting!r}; "
                "convert the operands or the result with .astype"
            ) from None
        found = (dtype,) * len(signature)
    operands = [in_dtype(value, d) for value, d in zip(inputs, found)]
    return tuple(operands), found[ufunc.nin :]


def _folding(name: str, method: str, names: Mapping[str, tuple[str, ...]]) -> Function:
    found = [f for n in names.get(name, ()) if (f := spelled(n)) is not None]
    if not found:
        raise refuse(f"{name}.{method}")
    return found[0]


def _reduced(
    call: _Call,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NOT_GIVEN,
    where: Any = True,
) -> Any:
    fold = _folding(call.name, "reduce", _REDUCTIONS)
    array, takes = in_dtype(array, dtype), inspect.signature(fold).parameters
    given = initial is not NOT_GIVEN and initial is not None
    more = {"initial": initial} if given and "initial" in takes else {}
    if where is not True and "where" in takes:
        more["where"] = where
    elif where is not True:
        array = ops.where(where, array, getattr(np, call.name).identity)
    result = fold(array, axis=axis, keepdims=bool(keepdims), **more)
    return call.function(result, initial) if given and "initial" not in more else result


def _accumulated(
    call: _Call,
    array: Any,
    axis: int = 0,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    return _folding(call.name, "accumulate", _RUNNING)(in_dtype(array, dtype), axis=axis)


def _outer(call: _Call, left: Any, right: Any, **kwargs: Any) -> Any:
    left, right = as_tensor(left), as_tensor(right)
    table = ops.reshape(left, left.shape + (1,) * right.ndim)
    return _called(call, table, right, **kwargs)


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
