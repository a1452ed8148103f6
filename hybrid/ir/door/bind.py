"""The one door: every op call, eager or recorded, goes through `bind` (or its flat form, flat.py).

Here are the values that a call takes, and the call; its mode and backends are in context.py, the
signatures that were seen in entries.py.

Invariant: an op is computed by the kernel that the device's backend gave for exactly these avals
and parameters; the tape entry and the mode hook see the same inputs and outputs as the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import is_
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Device, aval
from ...core.errors import DTypeError
from ..op import OPS, Op, common_dtype
from ..tensor import LITERAL, RUNTIME, Handle, link_view, new_handle
from .context import (
    LOCAL,
    STATE,
    aside,
    backend_of,
    current_mode,
    fetched,
    grad_enabled,
    placed,
    pop_mode,
    push_mode,
    renew,
    set_grad,
    use_backends,
)
from .entries import FAST, TABLE_LIMIT, Entry, entry_for, has_zero
from .foreign import (
    Data,
    data_of,
    dtype_of,
    holds_tensors,
    is_number,
    listed,
    number_dtype,
    rounded,
    shown,
    stored,
)

__all__ = [
    "bind",
    "run",
    "resolve",
    "STATE",
    "LOCAL",
    "Entry",
    "FAST",
    "TABLE_LIMIT",
    "backend_of",
    "aside",
    "placed",
    "fetched",
    "use_backends",
    "literal",
    "as_tensor",
    "foreign",
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
    "entry_for",
    "constant_of",
    "convert",
    "view_again",
]

_new: Any = object.__new__


# ---- literals and conversion
_LITERALS: dict[Any, Any] = {}
_NUMBER_LITERALS: dict[Any, Any] = {}  # the same by (type, number, dtype, device)


def use_joiner(join: Callable[[Any, np.dtype | None, bool], Any]) -> None:
    """Tell bind how a nested sequence with tensors in it becomes one tensor beside a dtype, with
    the gradient of its tensors or cut from the tape."""
    RUNTIME.join = join


def literal(value: Any, d: np.dtype, device: Device = HOST) -> Any:
    """The 0-d tensor of a Python number in dtype d, rounded once;
    one object per bit pattern while it is cached.  Raises OverflowError for an integer that d
    cannot hold."""
    kind = type(value)
    quick = (kind, value if value or kind is not float else repr(value), d, device)  # -0.0 == 0.0
    if quick in _NUMBER_LITERALS:
        return _NUMBER_LITERALS[quick]
    if not dt.can_hold(d, value):
        raise OverflowError(f"{shown(value)} does not fit {d.name}")
    t = _literal_of(_number(value, d), d, device)
    if len(_NUMBER_LITERALS) < 8192 and kind in (bool, int, float):
        _NUMBER_LITERALS[quick] = t
    return t


def _number(value: Any, d: np.dtype) -> np.ndarray:
    try:
        return stored(np.array(float(value) if dt.is_float(d) else value), d)
    except OverflowError:
        raise OverflowError(f"{shown(value)} does not fit {d.name}") from None


def _literal_of(v: np.ndarray, d: np.dtype, device: Device) -> Any:
    key = (d, v.tobytes(), device)
    t = _LITERALS.get(key)
    if t is None:
        v.flags.writeable = False
        t = new_handle(placed(v, device), aval((), d, device))
        t._x = LITERAL
        if len(_LITERALS) > 8192:
            _LITERALS.clear()
            _NUMBER_LITERALS.clear()
        _LITERALS[key] = t
    return t


def constant_of(t: Handle) -> np.ndarray | None:
    """The NumPy value of a literal tensor, None for any other tensor."""
    return fetched(t._v, t._a.device) if getattr(t, "_x", None) is LITERAL else None


def as_tensor(x: Any, device: Device = HOST, like: np.dtype | None = None) -> Any:
    """A tensor from a tensor, number, NumPy array or scalar, buffer, or nested sequence.

    Python numbers, and sequences of them, take the dtype that they have beside tensors of dtype
    `like` (None: float32, int64 or bool) and are rounded to it once; everything else keeps its own.
    """
    if isinstance(x, Handle):
        return x
    if is_number(x):
        return literal(x, number_dtype(x) if like is None else dt.weak(like, x), device)
    data = foreign(x, like)
    return data if isinstance(data, Handle) else tensor_of(data, dtype_of(data, like), device)


def foreign(x: Any, like: np.dtype | None = None, cut: bool = False) -> Any:
    """What `data_of` makes of x, or a tensor when x is a sequence that holds tensors."""
    x = listed(x)
    if holds_tensors(x):
        return RUNTIME.join(x, like, cut)
    return data_of(x)


def tensor_of(data: Data, d: np.dtype, device: Device = HOST) -> Any:
    """A constant with a copy of the data in dtype d."""
    if data.huge:
        dtype_of(data, d)
    a = stored(data.array, d) if data.weak else rounded(data.array, d)
    t = new_handle(placed(a, device), aval(a.shape, d, device))
    if LOCAL.mode is not None:
        LOCAL.mode.on_constant(t)
    return t


def store(x: Any, d: np.dtype, device: Device = HOST) -> Any:
    """x in dtype d, as a write into a tensor of that dtype takes it: Python numbers and sequences
    are rounded to d once, floats truncate and saturate to integers; OverflowError for a Python
    integer that d cannot hold."""
    if isinstance(x, Handle):
        return convert(x, d)
    if is_number(x):
        return literal(x, d, device)
    data = foreign(x, d)
    return convert(data, d) if isinstance(data, Handle) else tensor_of(data, d, device)


def operands(
    *xs: Any, fixed: tuple[int, ...] = (), compares: bool = False, device: Device = HOST
) -> list[Any]:
    """Tensors for all values; Python numbers and sequences of them take the dtype that the others
    (but those in `fixed`) ask for.  An integer that does not fit it raises OverflowError, unless
    the values are compared."""
    for x in xs:
        if not isinstance(x, Handle):
            break
    else:
        return list(xs)
    ts: list[Any] = [_read(x) for x in xs]
    device = next((t._a.device for t in ts if isinstance(t, Handle)), device)
    ts = [tensor_of(t, dtype_of(t), device) if _is_strong(t) else t for t in ts]
    d = _common(ts, fixed)
    if any(isinstance(t, list) for t in ts):
        ts = [RUNTIME.join(t, d, False) if isinstance(t, list) else t for t in ts]
        d = _common(ts, fixed)
    any_t = next((t for t in ts if isinstance(t, Handle)), None)
    dev = any_t._a.device if any_t is not None else device
    for i, t in enumerate(ts):
        if not isinstance(t, Handle):
            ts[i] = _beside(t, None if i in fixed else d, dev, compares)
    return ts


def _read(x: Any) -> Any:
    """A tensor or Python number as it is, a sequence with tensors as a list, other data as Data."""
    if isinstance(x, Handle) or is_number(x):
        return x
    x = listed(x)
    return list(x) if holds_tensors(x) else data_of(x)


def _common(ts: list[Any], fixed: tuple[int, ...]) -> np.dtype | None:
    free = [t._a.dtype for i, t in enumerate(ts) if isinstance(t, Handle) and i not in fixed]
    return reduce(dt.promote, free) if free else None


def _is_strong(t: Any) -> bool:
    return isinstance(t, Data) and not t.weak


def _beside(x: Any, d: np.dtype | None, device: Device, compares: bool) -> Any:
    """A Python number, or data of them, as a tensor beside dtype d."""
    try:
        if isinstance(x, Data):
            return tensor_of(x, dtype_of(x, d), device)
        return as_tensor(x, device, d)
    except OverflowError:
        if d is None or not compares:
            raise
        return _beside(x, None, device, False)


def lifted(op: Op, xs: tuple[Any, ...]) -> list[Any]:
    """Tensors for all inputs of an op."""
    return operands(*xs, fixed=op.fixed, compares=op.result == "bool")


def _converter() -> Op:
    for op in OPS.values():
        if op.has("convert"):
            return op
    raise DTypeError("no conversion op is registered")


def convert(t: Any, d: np.dtype) -> Any:
    """t in dtype d (t itself when it has it)."""
    if t._a.dtype is d:
        return t
    c = constant_of(t)
    if c is not None and LOCAL.mode is None and isinstance(c, np.ndarray):
        return _literal_of(rounded(c, d), d, t._a.device)
    return _call(_converter(), (t,), (("dtype", d),))


def promoted(op: Op, ts: list[Any]) -> list[Any]:
    if op.gathers or len(op.fixed) >= len(ts) or op.kind not in ("map", "contract", "place"):
        return ts
    if op.has("convert"):
        return ts
    d = common_dtype(op, tuple(t._a for t in ts))
    return [t if i in op.fixed else convert(t, d) for i, t in enumerate(ts)]


# ---- the door
def _call(op: Op, ts: tuple[Any, ...], pkey: tuple[Any, ...]) -> Any:
    """Run an op on tensors of the right dtypes."""
    return run(entry_for(op, tuple([t._a for t in ts]), pkey), ts)


def view_again(step: tuple[Op, tuple[tuple[str, Any], ...]], parent: Any) -> Any:
    """What a view shows of its parent now, as a tensor that is not linked to it."""
    return run(entry_for(step[0], (parent._a,), step[1]), (parent,), link=False)


def run(e: Entry, ts: tuple[Any, ...], link: bool = True) -> Any:
    """Kernel, mode, tape."""
    n = len(ts)
    if n == 1:
        got = e.kernel(ts[0]._v)
    elif n == 2:
        got = e.kernel(ts[0]._v, ts[1]._v)
    else:
        got = e.kernel(*[t._v for t in ts])
    if e.single:
        out = _new(RUNTIME.tensor)
        out._v, out._a, out._node = got, e.out, None
        outs: tuple[Any, ...] = (out,)
    else:
        outs = tuple(map(new_handle, got, e.outs))
    mode = None
    if STATE.special:
        mode = LOCAL.mode
        if mode is not None:
            mode.on_op(e.op, e.key, ts, outs)
    if e.differentiable:
        for t in ts:
            if t._node is not None:
                if LOCAL.grad:
                    _record_tape(e, ts, outs, mode)
                break
    if e.view and link:
        link_view(outs[0], ts[0], e.op.name, (e.op, e.key))
    return outs[0] if e.single else outs


def _snapshot(t: Any, mode: Any) -> Any:
    """What the tape saves of a tensor:
    its value, or while a mode watches a handle that the mode knows."""
    if mode is None:
        return t._v
    s = new_handle(t._v, t._a)
    mode.on_alias(s, t)
    return s


def _record_tape(e: Entry, ts: tuple[Any, ...], outs: tuple[Any, ...], mode: Any) -> None:
    """Tape entry: (Entry, parent nodes, saved inputs, saved outputs); several outputs share it
    through (index, entry) pairs."""
    node = (
        e,
        tuple([t._node for t in ts]),
        tuple([_snapshot(t, mode) if k else None for t, k in zip(ts, e.keep_in)]),
        tuple([_snapshot(t, mode) for t in outs]) if e.keep_out else None,
    )
    if len(outs) == 1:
        outs[0]._node = node
        return
    for i, t in enumerate(outs):
        if dt.is_float(t._a.dtype):
            t._node = (i, node)


def bind(op: Op, *xs: Any, **params: Any) -> Any:
    """Apply an op to tensors (Python and NumPy values are converted); returns a tensor or a tuple.

    Raises ShapeError, DTypeError, DeviceError or IndexOutOfRange with the op's name in the message.
    """
    key: Any = None
    try:
        if len(xs) == 1:
            key = op, *params.values(), xs[0]._a
        elif len(xs) == 2:
            key = op, *params.values(), xs[0]._a, xs[1]._a
        else:
            key = op, *params.values(), *[x._a for x in xs]
        e = _READY[key]
    except (AttributeError, KeyError, TypeError):
        e = None
    return run(e, xs) if e is not None else _general(op, xs, params, key)


# calls that need no conversion: op, parameters in their order, input records
_READY: dict[Any, Entry] = {}
FAST.append(_READY)
_READY_LIMIT = 1 << 14


def _general(op: Op, xs: tuple[Any, ...], params: dict[str, Any], key: Any) -> Any:
    """A call that may need conversions; one that does not is found by `key` from now on."""
    entry, tensors = resolve(op, xs, params)
    if (
        key is not None
        and len(tensors) == len(xs)
        and tuple(params) == op.params
        and all(map(is_, tensors, xs))
        and not has_zero(tuple(params.values()))
    ):
        if len(_READY) > _READY_LIMIT:
            _READY.clear()
        _READY[key] = entry
    return run(entry, tensors)


def resolve(
    op: Op, xs: tuple[Any, ...], params: dict[str, Any] | None = None
) -> tuple[Entry, tuple[Any, ...]]:
    """What an op call means: its entry, and its inputs as tensors of the right dtypes.

    The answer to every call that no fast table knows; those tables keep what it gave."""
    ordered = tuple([(name, params[name]) for name in op.params]) if params else ()
    for x in xs:
        if not isinstance(x, Handle):
            xs = tuple(lifted(op, xs))
            break
    tensors = tuple(promoted(op, list(xs)))
    return entry_for(op, tuple([t._a for t in tensors]), ordered), tensors
