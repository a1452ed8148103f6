"""The one door: every op call, eager or recorded, goes through `bind` (or its flat form, flat.py).

Invariant: an op is computed by the kernel that the device's backend gave for exactly these avals
and parameters; the tape entry and the mode hook see the same inputs and outputs as the kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import CPU, Aval, Device, aval
from ..core.errors import DeviceError, DTypeError
from .op import NO_GRAD, OPS, Op, common_dtype
from .tensor import LITERAL, TENSOR, Handle, link_view, new_handle

__all__ = [
    "bind",
    "STATE",
    "Entry",
    "backend_of",
    "use_backends",
    "literal",
    "as_tensor",
    "grad_enabled",
    "set_grad",
    "current_mode",
    "push_mode",
    "pop_mode",
    "entry_for",
    "constant_of",
    "convert",
    "view_again",
]


class State:
    """`special` counts threads and scopes in which an op call must take the slow door."""

    __slots__ = ("special",)

    def __init__(self) -> None:
        self.special = 0


class _Local(threading.local):
    mode: Any = None
    grad: bool = True


STATE = State()
_new: Any = object.__new__
LOCAL = _Local()
_LOCK = threading.Lock()
_LOADER: list[Callable[[str], Any]] = []


# ---- modes
def current_mode() -> Any:
    """The mode (recorder, checker) of this thread, or None."""
    return LOCAL.mode


def push_mode(mode: Any) -> Any:
    """Make `mode` the mode of this thread; returns the previous one for pop_mode."""
    old, LOCAL.mode = LOCAL.mode, mode
    with _LOCK:
        STATE.special += 1
    return old


def pop_mode(old: Any) -> None:
    LOCAL.mode = old
    with _LOCK:
        STATE.special -= 1


def grad_enabled() -> bool:
    """Whether ops on this thread are put on the tape."""
    return LOCAL.grad


def set_grad(on: bool) -> bool:
    """Switch the tape of this thread; returns the old setting."""
    old = LOCAL.grad
    if old != on:
        with _LOCK:
            STATE.special += -1 if on else 1
        LOCAL.grad = on
    return old


# ---- backends
def use_backends(loader: Callable[[str], Any]) -> None:
    """Tell bind where backends come from: a function from device kind to Backend."""
    _LOADER[:] = [loader]


def backend_of(device: Device) -> Any:
    """The backend of a device; raises DeviceError when there is none."""
    if not _LOADER:
        raise DeviceError(f"no backend is loaded for device {device}")
    return _LOADER[0](device.kind)


# ---- entries
class Entry:
    """What one op does for one signature: kernel, output records, what the tape keeps."""

    __slots__ = (
        "kernel",
        "out",
        "outs",
        "op",
        "params",
        "key",
        "ins",
        "keep_in",
        "keep_out",
        "differentiable",
        "single",
        "view",
    )

    def __init__(self, op: Op, params: dict[str, Any], ins: tuple[Aval, ...]) -> None:
        self.op, self.params, self.ins = op, params, ins
        self.key = tuple(params.items())
        self.single, self.view = op.nout == 1, op.kind == "view"
        self.outs = tuple(op.infer(*ins, **params))
        self.out = self.outs[0]
        dev = ins[0].device if ins else params.get("device", CPU)
        self.kernel = backend_of(dev).eager(op, params, ins, self.outs)
        every = "*" in op.keeps
        self.keep_in = tuple(every or str(i) in op.keeps for i in range(len(ins)))
        self.keep_out = "out" in op.keeps
        self.differentiable = op.vjp is not NO_GRAD and any(dt.is_float(a.dtype) for a in self.outs)


TABLES: dict[Op, dict[Any, Entry]] = {}
TABLE_LIMIT = 4096


def entry_for(op: Op, ins: tuple[Aval, ...], pkey: tuple[Any, ...]) -> Entry:
    """The entry of a signature; made on first use."""
    table = TABLES.setdefault(op, {})
    key = (pkey, ins)
    e = table.get(key)
    if e is None:
        dev = ins[0].device if ins else None
        for a in ins:
            if a.device is not dev:
                raise DeviceError(
                    f"{op.name}: tensors on {dev} and {a.device}; move one with .to(device)"
                )
        e = Entry(op, dict(pkey), ins)
        if len(table) >= TABLE_LIMIT:
            table.clear()
        table[key] = e
    return e


# ---- literals and conversion
_LITERALS: dict[Any, Any] = {}
_NUMBER_LITERALS: dict[Any, Any] = {}  # the same by (type, number, dtype, device)


def literal(value: Any, d: np.dtype, device: Device = CPU) -> Any:
    """The 0-d tensor of a Python number in dtype d;
    one object per bit pattern while it is cached."""
    quick = (type(value), value, d, device) if value else None  # zeros differ by sign
    if quick is not None and quick in _NUMBER_LITERALS:
        return _NUMBER_LITERALS[quick]
    if not dt.can_hold(d, value):
        raise OverflowError(f"Python integer {value} does not fit {d.name}")
    with np.errstate(all="ignore"):
        v = np.array(value).astype(d)
    key = (d, v.tobytes(), device)
    t = _LITERALS.get(key)
    if t is None:
        v.flags.writeable = False
        t = new_handle(
            v if device is CPU else backend_of(device).from_numpy(v), aval((), d, device)
        )
        t._x = LITERAL
        if len(_LITERALS) > 8192:
            _LITERALS.clear()
            _NUMBER_LITERALS.clear()
        _LITERALS[key] = t
    if quick is not None and len(_NUMBER_LITERALS) < 8192:
        _NUMBER_LITERALS[quick] = t
    return t


def constant_of(t: Handle) -> np.ndarray | None:
    """The NumPy value of a literal tensor, None for any other tensor."""
    return t._v if getattr(t, "_x", None) is LITERAL else None


def as_tensor(x: Any, device: Device = CPU) -> Any:
    """A tensor from a tensor, NumPy array or scalar,
    or nested sequence (weak scalars: see `lifted`)."""
    if isinstance(x, Handle):
        return x
    if isinstance(x, (bool, int, float)):
        return literal(
            x,
            dt.bool_
            if isinstance(x, bool)
            else dt.default_int
            if isinstance(x, int)
            else dt.default_float,
            device,
        )
    a = np.asarray(x)
    if a.dtype == np.float64 and not isinstance(x, (np.ndarray, np.generic)):
        a = a.astype(np.float32)
    if a.dtype.kind in "OUScmM":
        raise DTypeError(
            f"{type(x).__name__} is not supported here: it is no tensor and no array of real "
            f"numbers (NumPy makes {a.dtype} of it)"
        )
    d = dt.canonical(a.dtype)
    a = np.array(a, dtype=d, order="C", copy=True)
    t = new_handle(
        a if device is CPU else backend_of(device).from_numpy(a), aval(a.shape, d, device)
    )
    if LOCAL.mode is not None:
        LOCAL.mode.on_constant(t)
    return t


def lifted(op: Op, xs: tuple[Any, ...]) -> list[Any]:
    """Tensors for all inputs; Python scalars take the dtype that the tensors ask for."""
    ts: list[Any] = [x if isinstance(x, (Handle, bool, int, float)) else as_tensor(x) for x in xs]
    free = [t for i, t in enumerate(ts) if isinstance(t, Handle) and i not in op.fixed]
    any_t = next((t for t in ts if isinstance(t, Handle)), None)
    dev = any_t._a.device if any_t is not None else CPU
    if free:
        d = free[0]._a.dtype
        for t in free[1:]:
            d = dt.promote(d, t._a.dtype)
    for i, t in enumerate(ts):
        if isinstance(t, Handle):
            continue
        ts[i] = literal(t, dt.weak(d, t), dev) if free and i not in op.fixed else as_tensor(t, dev)
    return ts


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
    if c is not None and LOCAL.mode is None:
        with np.errstate(all="ignore"):
            return literal(c.item() if dt.kind(d) != "b" else bool(c), d, t._a.device)
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
    return _run(entry_for(op, tuple([t._a for t in ts]), pkey), ts)


def view_again(step: tuple[Op, tuple[tuple[str, Any], ...]], parent: Any) -> Any:
    """What a view shows of its parent now, as a tensor that is not linked to it."""
    return _run(entry_for(step[0], (parent._a,), step[1]), (parent,), link=False)


def _run(e: Entry, ts: tuple[Any, ...], link: bool = True) -> Any:
    """Kernel, mode, tape."""
    n = len(ts)
    got = (
        e.kernel(ts[0]._v)
        if n == 1
        else e.kernel(ts[0]._v, ts[1]._v)
        if n == 2
        else e.kernel(*[t._v for t in ts])
    )
    if e.single:
        out = _new(TENSOR[0])
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
    return _run(e, xs) if e is not None else _general(op, xs, params, key)


# calls that need no conversion: op, parameters in their order, input records
_READY: dict[Any, Entry] = {}
_READY_LIMIT = 1 << 14


def _general(op: Op, xs: tuple[Any, ...], params: dict[str, Any], key: Any) -> Any:
    """A call that may need conversions; one that does not is found by `key` from now on."""
    pkey = tuple([(k, params[k]) for k in op.params]) if params else ()
    given = xs
    for x in xs:
        if not isinstance(x, Handle):
            xs = tuple(lifted(op, xs))
            break
    ts = tuple(promoted(op, list(xs)))
    e = entry_for(op, tuple([t._a for t in ts]), pkey)
    if (
        key is not None
        and len(ts) == len(given)
        and tuple(params) == op.params
        and all(map(_same, ts, given))
    ):
        if len(_READY) > _READY_LIMIT:
            _READY.clear()
        _READY[key] = e
    return _run(e, ts)


def _same(x: Any, y: Any) -> bool:
    return x is y
