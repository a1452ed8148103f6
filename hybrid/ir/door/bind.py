"""The one door: every op call, eager or recorded, goes through `bind` (or its flat form, flat.py).

Here are the values that a call takes, and the call; its mode and backends are in context.py, the
signatures that were seen in resolved.py.

Invariant: an op is computed by the kernel that the device's backend gave for exactly these avals
and parameters; the tape node and the mode hook see the same inputs and outputs as the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, reduce
from operator import is_
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Device, aval
from ...core.cache import keep
from ...core.errors import DTypeError
from ..op import OPS, MapOp, Op, common_dtype
from ..tensor import RUNTIME, Handle, link_view, new_handle
from .context import (
    LOCAL,
    READERS,
    STATE,
    aside,
    backend_of,
    current_mode,
    fetched,
    grad_enabled,
    host_array,
    on_device,
    pop_mode,
    push_mode,
    renew,
    set_grad,
    use_backends,
)
from .exchange import exchanged, take_over
from .foreign import (
    LITERALS,
    NUMBER_LITERALS,
    Data,
    constant_of,
    data_of,
    dtype_of,
    holds_tensors,
    is_number,
    leaves,
    listed,
    literal,
    literal_of,
    number_dtype,
    rounded,
    scalar_maker,
    stored,
    tell_widened,
)
from .pending import COLLECTING, value_of
from .resolved import (
    FAST,
    TABLE_LIMIT,
    TABLES,
    Resolved,
    has_zero,
    put_on_tape,
    resolved_for,
    signature_beside_numbers,
)

__all__ = [
    "bind",
    "of_parts",
    "is_complex",
    "run",
    "resolve",
    "STATE",
    "LOCAL",
    "Resolved",
    "FAST",
    "TABLE_LIMIT",
    "backend_of",
    "aside",
    "on_device",
    "fetched",
    "host_array",
    "use_backends",
    "literal",
    "scalar_maker",
    "as_tensor",
    "foreign",
    "forget",
    "operands",
    "store",
    "tensor_of",
    "use_joiner",
    "grad_enabled",
    "set_grad",
    "renew",
    "current_mode",
    "push_mode",
    "pop_mode",
    "resolved_for",
    "constant_of",
    "convert",
    "converter",
    "view_again",
    "stands_for",
]

_new: Any = object.__new__
FAST.append(READERS)


# ---- conversion
def use_joiner(join: Callable[[Any, np.dtype | None, bool], Any]) -> None:
    """Tell bind how a nested sequence with tensors in it becomes one tensor beside a dtype, with
    the gradient of its tensors or cut from the tape."""
    RUNTIME.join = join


def forget(kind: str) -> None:
    """Drop kernels and literals of devices of a kind: the devices are no longer the same."""
    for fast in FAST:
        fast.clear()
    for table in list(TABLES.values()):
        for signature, resolved in list(table.items()):
            if any(a.device.kind == kind for a in (*resolved.ins, *resolved.outs)):
                table.pop(signature, None)
    NUMBER_LITERALS.clear()
    for signature, tensor in list(LITERALS.items()):
        if tensor._a.device.kind == kind:
            LITERALS.pop(signature, None)


def as_tensor(value: Any, device: Device = HOST, like: np.dtype | None = None) -> Any:
    """A tensor from a tensor, number, NumPy array or scalar, buffer, or nested sequence.

    Python numbers, and sequences of them, take the dtype that they have beside tensors of dtype
    `like` (None: float32, int64 or bool) and are rounded to it once; everything else keeps its own.
    """
    if isinstance(value, Handle):
        return value
    if is_number(value):
        return literal(value, number_dtype(value) if like is None else dt.weak(like, value), device)
    data = foreign(value, like)
    return data if isinstance(data, Handle) else tensor_of(data, dtype_of(data, like), device)


def foreign(value: Any, like: np.dtype | None = None, cut: bool = False) -> Any:
    """What `data_of` makes of a value, or a tensor of a sequence that holds tensors."""
    value = listed(value)
    if holds_tensors(value):
        return RUNTIME.join(value, like, cut)
    kind = exchanged(value)
    return data_of(value) if kind is None else take_over(value, kind, copy=True)


def tensor_of(data: Data, dtype: np.dtype, device: Device = HOST) -> Any:
    """A constant with a copy of the data in a dtype."""
    if data.huge:
        dtype_of(data, dtype)
    array = stored(data.array, dtype) if data.weak else rounded(data.array, dtype)
    tensor = new_handle(on_device(array, device), aval(array.shape, dtype, device))
    if LOCAL.mode is not None:
        LOCAL.mode.on_data(tensor, data.given)
    return tensor


def store(value: Any, dtype: np.dtype, device: Device = HOST) -> Any:
    """The value in a dtype, as a write into a tensor of that dtype takes it: Python numbers and
    sequences are rounded to it once, floats truncate and saturate to integers; OverflowError for a
    Python integer that it cannot hold."""
    if isinstance(value, Handle):
        return convert(value, dtype)
    if is_number(value):
        return literal(value, dtype, device)
    data = foreign(value, dtype)
    return convert(data, dtype) if isinstance(data, Handle) else tensor_of(data, dtype, device)


def operands(
    *values: Any,
    fixed: tuple[int, ...] = (),
    compares: bool = False,
    whole: np.dtype | None = None,
    device: Device = HOST,
) -> list[Any]:
    """Tensors for all values; Python numbers and sequences of them take the dtype that the others
    (but those in `fixed`) ask for.  An integer that does not fit it raises OverflowError, unless
    the values are compared.  `whole`: the dtype that Python integers take beside integers, where
    these are not computed in their own."""
    for value in values:
        if not isinstance(value, Handle):
            break
    else:
        return list(values)
    tensors: list[Any] = [_read(x) for x in values]
    beside = next((t._a.device for t in tensors if isinstance(t, Handle)), device)
    tensors = [tensor_of(t, dtype_of(t), beside) if _is_strong(t) else t for t in tensors]
    dtype = _common(tensors, fixed, compares)
    if any(isinstance(t, list) for t in tensors):
        tensors = [RUNTIME.join(t, dtype, False) if isinstance(t, list) else t for t in tensors]
        dtype = _common(tensors, fixed, compares)
    beside = next((t._a.device for t in tensors if isinstance(t, Handle)), beside)
    for index, tensor in enumerate(tensors):
        if not isinstance(tensor, Handle):
            alone = index in fixed
            wanted = None if alone or not _is_whole(tensor, dtype) else whole
            wanted = wanted or (None if alone else dtype)
            tensors[index] = _beside(tensor, wanted, beside, compares)
    tell_widened(values, fixed, None if compares else dtype)
    return tensors


def _read(value: Any) -> Any:
    """A tensor or Python number as it is, a sequence with tensors as a list, other data as Data."""
    if isinstance(value, Handle) or is_number(value):
        return value
    value = listed(value)
    return list(value) if holds_tensors(value) else foreign(value)


def _common(tensors: list[Any], fixed: tuple[int, ...], compares: bool) -> np.dtype | None:
    promoting = [
        t._a.dtype for i, t in enumerate(tensors) if isinstance(t, Handle) and i not in fixed
    ]
    if compares and _signs_differ(promoting):
        return None
    return reduce(dt.promote, promoting) if promoting else None


def _signs_differ(dtypes: list[np.dtype]) -> bool:
    return any(dt.signs_differ(dtypes[0], other) for other in dtypes[1:])


def _is_strong(tensor: Any) -> bool:
    return isinstance(tensor, Data) and not tensor.weak


def _is_whole(value: Any, dtype: np.dtype | None) -> bool:
    """Whether a Python number, or data of them, is of integers beside integers or nothing."""
    if dtype is not None and dt.is_inexact(dtype):
        return False
    if isinstance(value, Data):
        return value.huge or value.array.dtype.kind in "iu"
    return isinstance(value, int) and not isinstance(value, bool)


def _beside(value: Any, dtype: np.dtype | None, device: Device, compares: bool) -> Any:
    """A Python number, or data of them, as a tensor beside a dtype."""
    try:
        if isinstance(value, Data):
            return tensor_of(value, dtype_of(value, dtype), device)
        return as_tensor(value, device, dtype)
    except OverflowError:
        if not compares or (dtype is None and isinstance(value, Data)):
            raise
    if dtype is not None:
        return _beside(value, None, device, compares)
    return literal(math.copysign(math.inf, value), dt.default_float, device)  # beyond all


def lifted(op: Op, inputs: tuple[Any, ...]) -> list[Any]:
    """Tensors for all inputs of an op."""
    result = op.result if isinstance(op, MapOp) else "same"
    whole = dt.default_float if result == "float" else None
    return operands(*inputs, fixed=op.fixed, compares=result == "bool", whole=whole)


@lru_cache(1)
def converter() -> Op:
    """The op that gives a tensor in another dtype."""
    for op in list(OPS.values()):
        if op.has("convert"):
            return op
    raise DTypeError("no conversion op is registered")


def convert(tensor: Any, dtype: np.dtype) -> Any:
    """The tensor in a dtype (itself when it has it)."""
    if tensor._a.dtype is dtype:
        return tensor
    if dt.is_complex(dtype) or dt.is_complex(tensor._a.dtype):
        return _on_complex(converter())(tensor, dtype=dtype)
    constant = constant_of(tensor)
    if constant is not None and LOCAL.mode is None and isinstance(constant, np.ndarray):
        return literal_of(rounded(constant, dtype), dtype, tensor._a.device)
    return bind(converter(), tensor, dtype=dtype)


def promoted(op: Op, tensors: list[Any]) -> list[Any]:
    if op.gathers or len(op.fixed) >= len(tensors) or op.kind not in ("map", "contract", "place"):
        return tensors
    if op.has("convert"):
        return tensors
    if op.has("signs_apart") and _signs_differ([t._a.dtype for t in tensors]):
        return tensors
    dtype = common_dtype(op, tuple(t._a for t in tensors))
    return [t if i in op.fixed else convert(t, dtype) for i, t in enumerate(tensors)]


# ---- complex numbers
def is_complex(given: Any) -> bool:
    """Whether something holds complex numbers."""
    if isinstance(given, Handle):
        return dt.is_complex(given._a.dtype)
    if isinstance(given, (list, tuple)):
        holds_tensors(given)  # which refuses what is nested without an end
        return any(map(is_complex, leaves(given)))
    kind = getattr(getattr(given, "dtype", None), "kind", "")
    return kind == "c" or isinstance(given, complex)


def _on_complex(op: Op) -> Callable[..., Any]:
    """The rule of a record for complex tensors."""
    if op.on_complex is None:
        raise DTypeError(
            f"{op.name} does not take complex numbers; take their real and imaginary parts"
        )
    return op.on_complex


def of_parts(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """A call some of whose inputs are complex."""
    alike = tuple(lifted(op, inputs))
    if op.kind in ("map", "contract", "place") and not op.gathers:
        promoting = [t._a.dtype for i, t in enumerate(alike) if i not in op.fixed]
        dtype = reduce(dt.promote, promoting)
        alike = tuple([t if i in op.fixed else convert(t, dtype) for i, t in enumerate(alike)])
    if op.kind in ("view", "place"):
        ordered = tuple([(name, params[name]) for name in op.params])
        return run(resolved_for(op, tuple([t._a for t in alike]), ordered), alike)
    return _on_complex(op)(*alike, **params)


# ---- the door
def view_again(step: tuple[Op, tuple[tuple[str, Any], ...]], parent: Any) -> Any:
    """What a view shows of its parent now, as a tensor that is not linked to it."""
    return run(resolved_for(step[0], (parent._a,), step[1]), (parent,), link=False)


def run(resolved: Resolved, tensors: tuple[Any, ...], link: bool = True) -> Any:
    """Kernel, mode, tape."""
    if STATE.special and COLLECTING:
        return _among_pending(resolved, tensors, link)
    count = len(tensors)
    if count == 1:
        computed = resolved.kernel(tensors[0]._v)
    elif count == 2:
        computed = resolved.kernel(tensors[0]._v, tensors[1]._v)
    else:
        computed = resolved.kernel(*[t._v for t in tensors])
    if resolved.single:
        result = _new(RUNTIME.tensor)
        result._v, result._a, result._node = computed, resolved.out, None
        results: tuple[Any, ...] = (result,)
    else:
        results = tuple(map(new_handle, computed, resolved.outs))
    mode = None
    if STATE.special:
        mode = LOCAL.mode
        if mode is not None:
            mode.on_op(resolved.op, resolved.key, tensors, results)
    if resolved.differentiable:
        for tensor in tensors:
            if tensor._node is not None:
                if LOCAL.grad:
                    put_on_tape(resolved, tensors, results, mode)
                break
    if resolved.view and link:
        link_view(results[0], tensors[0], resolved.op.name, (resolved.op, resolved.key))
    return results[0] if resolved.single else results


def _among_pending(resolved: Resolved, tensors: tuple[Any, ...], link: bool) -> Any:
    """The same while some thread collects ops: this one may, and values may be pending."""
    results: tuple[Any, ...]
    mode = LOCAL.mode
    if mode is not None and mode.late and mode.postpones(resolved, tensors):
        results = mode.several(resolved, tensors)
        returned = results[0] if resolved.single else results
    elif mode is not None and mode.defers and resolved.pure:
        if resolved.single:
            result = mode.collect(resolved, tensors)
            if resolved.view and link:
                link_view(result, tensors[0], resolved.op.name, (resolved.op, resolved.key))
            return result
        results = returned = mode.several(resolved, tensors)
    else:
        computed = resolved.kernel(*[value_of(t) for t in tensors])
        if resolved.single:
            computed = (computed,)
        results = tuple(map(new_handle, computed, resolved.outs))
        returned = results[0] if resolved.single else results
        if mode is not None:
            mode.on_op(resolved.op, resolved.key, tensors, results)
    if resolved.differentiable and LOCAL.grad:
        for tensor in tensors:
            if tensor._node is not None:
                put_on_tape(resolved, tensors, results, mode)
                break
    if resolved.view and link:
        link_view(results[0], tensors[0], resolved.op.name, (resolved.op, resolved.key))
    return returned


def stands_for(op: Op, result: Any, *tensors: Any, **params: Any) -> Any:
    """A fresh result that other records made of these tensors, with the gradient that `op`, a
    record of kind tape, says: one for all of them may be much cheaper than theirs.  A result in
    which none of them took part (zeros) has it, too."""
    if LOCAL.grad and any([t._node is not None for t in tensors]):
        ordered = tuple([(name, params[name]) for name in op.params])
        resolved = resolved_for(op, tuple([t._a for t in tensors]), ordered)
        put_on_tape(resolved, tensors, (result,), LOCAL.mode)
    return result


def bind(op: Op, *inputs: Any, **params: Any) -> Any:
    """Apply an op to tensors (Python and NumPy values are converted); returns a tensor or a tuple.

    Raises ShapeError, DTypeError, DeviceError or IndexOutOfRange with the op's name in the message.
    """
    signature: Any = None
    try:
        if len(inputs) == 1:
            signature = op, *params.values(), inputs[0]._a
        elif len(inputs) == 2:
            signature = op, *params.values(), inputs[0]._a, inputs[1]._a
        else:
            signature = op, *params.values(), *[x._a for x in inputs]
        resolved = _READY[signature]
    except (AttributeError, KeyError, TypeError):
        resolved = None
    if resolved is None:
        return _general(op, inputs, params, signature)
    return run(resolved, inputs)


# calls that need no conversion: op, parameters in their order, input records
_READY: dict[Any, Resolved] = {}
# those with Python numbers among their inputs, and the numbers as tensors (None: no number)
_NUMBERED: dict[Any, tuple[Resolved, tuple[Any, ...]]] = {}
FAST.extend((_READY, _NUMBERED))
_READY_LIMIT = 1 << 14


def _general(op: Op, inputs: tuple[Any, ...], params: dict[str, Any], signature: Any) -> Any:
    """A call that may need conversions; one that does not is found by its signature from now on."""
    numbered = signature_beside_numbers(op, inputs, params) if signature is None else None
    known = None if numbered is None else _NUMBERED.get(numbered)
    if known is not None:
        return run(known[0], tuple([x if n is None else n for n, x in zip(known[1], inputs)]))
    if inputs and any(map(is_complex, inputs)) and op.kind not in ("view", "control"):
        return of_parts(op, inputs, params)
    if not inputs and params.get("dtype") in dt.COMPLEX:
        return _on_complex(op)(**params)
    resolved, tensors = resolve(op, inputs, params)
    if (
        signature is not None
        and len(tensors) == len(inputs)
        and tuple(params) == op.params
        and all(map(is_, tensors, inputs))
        and not has_zero(tuple(params.values()))
    ):
        keep(_READY, signature, resolved, _READY_LIMIT)
    elif numbered is not None:
        _learn_numbers(numbered, resolved, inputs, tensors)
    return run(resolved, tensors)


def _learn_numbers(
    signature: Any, resolved: Resolved, inputs: tuple[Any, ...], tensors: tuple[Any, ...]
) -> None:
    """Keep what a call with numbers meant, if it converted no tensor."""
    numbers = [None if tensor is given else tensor for tensor, given in zip(tensors, inputs)]
    for number, given in zip(numbers, inputs):
        if number is not None and (isinstance(given, Handle) or constant_of(number) is None):
            return
    keep(_NUMBERED, signature, (resolved, tuple(numbers)), _READY_LIMIT)


def resolve(
    op: Op, inputs: tuple[Any, ...], params: dict[str, Any] | None = None
) -> tuple[Resolved, tuple[Any, ...]]:
    """What an op call means: what its signature resolves to, and its inputs as tensors of the
    right dtypes.

    The answer to every call that no fast table knows; those tables keep what it gave."""
    ordered = tuple([(name, params[name]) for name in op.params]) if params else ()
    for value in inputs:
        if not isinstance(value, Handle):
            inputs = tuple(lifted(op, inputs))
            break
    tensors = tuple(promoted(op, list(inputs)))
    return resolved_for(op, tuple([t._a for t in tensors]), ordered), tensors
