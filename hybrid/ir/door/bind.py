"""The one door: every op call, eager or recorded, goes through `bind` (or its flat form, flat.py).

Invariant: an op is computed by the kernel that the device's backend gave for exactly these avals
and parameters; the tape entry and the mode hook see the same inputs and outputs as the kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device, aval
from ...core.cache import NATIVE
from ...core.errors import DeviceError, DTypeError
from ...core.floating import plain_floats
from ..graph.graph import param_key
from ..op import NO_GRAD, OPS, Op, common_dtype
from ..tensor import LITERAL, TENSOR, Handle, link_view, new_handle
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
    "STATE",
    "Entry",
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
    "LOCAL",
    "renew",
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
_LOADER: list[Callable[[str], Any]] = []


# ---- modes
def current_mode() -> Any:
    """The mode (recorder, checker) of this thread, or None."""
    return LOCAL.mode


# What follows changes two words together: between them is no call and no jump back, so neither
# another thread nor a handler of a signal runs in between.
def push_mode(mode: Any) -> Any:
    """Make `mode` the mode of this thread; returns the previous one for pop_mode."""
    old = LOCAL.mode
    STATE.special += (old is None) - (mode is None)
    LOCAL.mode = mode
    return old


def pop_mode(old: Any) -> None:
    STATE.special += (LOCAL.mode is None) - (old is None)
    LOCAL.mode = old


def grad_enabled() -> bool:
    """Whether ops on this thread are put on the tape."""
    return LOCAL.grad


def set_grad(on: bool) -> bool:
    """Switch the tape of this thread; returns the old setting.

    What has to be switched back in a `finally` writes the two lines out: the start of a function
    is a place where a handler may raise."""
    on, old = bool(on), LOCAL.grad
    STATE.special += old - on
    LOCAL.grad = on
    return old


def renew() -> None:
    """In the child of a fork: only this thread's mode and switches are left."""
    STATE.special = (LOCAL.mode is not None) + (1 - LOCAL.grad)


# ---- backends
def use_backends(loader: Callable[[str], Any]) -> None:
    """Tell bind where backends come from: a function from device kind to Backend."""
    _LOADER[:] = [loader]


def backend_of(device: Device) -> Any:
    """The backend of a device; raises DeviceError when there is none."""
    if not _LOADER:
        raise DeviceError(f"no backend is loaded for device {device}")
    return _LOADER[0](device.kind)


def aside(function: Callable[..., Any], *args: Any) -> Any:
    """A call of a backend's own code, which is none of the program that a mode looks at."""
    mode = LOCAL.mode
    resume = mode.pause() if mode is not None else None
    try:
        return function(*args)
    finally:
        if resume is not None:
            resume()


def placed(array: np.ndarray, device: Device) -> Any:
    """A host array as a value of a device."""
    return array if device is HOST else aside(backend_of(device).from_numpy, array, device)


def fetched(value: Any, device: Device) -> np.ndarray:
    """A value of a device as a host array, which may share its memory."""
    return value if device is HOST else aside(backend_of(device).to_numpy, value)


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
        "used",
    )

    def __init__(self, op: Op, params: dict[str, Any], ins: tuple[Aval, ...]) -> None:
        self.op, self.params, self.ins = op, params, ins
        self.key = tuple(params.items())
        self.single, self.view = op.nout == 1, op.kind == "view"
        self.used = SIGNATURES.generation
        self.outs = tuple(op.infer(*ins, **params))
        self.out = self.outs[0]
        dev = ins[0].device if ins else params.get("device", HOST)
        self.kernel = backend_of(dev).kernel(op, params, ins, self.outs)
        every = "*" in op.keeps
        self.keep_in = tuple(every or str(i) in op.keeps for i in range(len(ins)))
        self.keep_out = "out" in op.keeps
        self.differentiable = op.vjp is not NO_GRAD and any(dt.is_float(a.dtype) for a in self.outs)


TABLES: dict[Op, dict[Any, Entry]] = {}
FAST: list[dict[Any, Any]] = []  # tables that find entries without `entry_for`
TABLE_LIMIT = 4096  # of each of those


class Signatures:
    """When entries are dropped: those that one whole generation of new ones did not use.

    A generation ends after so many new entries or so much native code.  Then the fast tables are
    emptied, so what is in use passes through `entry_for` once more, which marks it."""

    __slots__ = ("generation", "fresh", "code")
    entries, nbytes = 4096, 64 << 20  # of a generation; two of them are alive

    def __init__(self) -> None:
        self.generation = self.fresh = self.code = 0

    def made(self) -> None:
        """One more entry."""
        self.fresh += 1
        if self.fresh > self.entries or NATIVE.made - self.code > self.nbytes:
            self.sweep()

    def sweep(self) -> None:
        """Drop what was not used since the last sweep."""
        self.fresh, self.code = 0, NATIVE.made
        for fast in FAST:
            fast.clear()
        for table in list(TABLES.values()):
            for key, e in list(table.items()):
                if e.used < self.generation:
                    table.pop(key, None)
        self.generation += 1


SIGNATURES = Signatures()


def _has_zero(params: tuple[Any, ...]) -> bool:
    """Whether some parameter is 0.0 or -0.0, which are equal as keys of a dict."""
    return any(type(v) is tuple and _has_zero(v) or type(v) is float and v == 0 for v in params)


def entry_for(op: Op, ins: tuple[Aval, ...], pkey: tuple[Any, ...]) -> Entry:
    """The entry of a signature; made on first use."""
    table = TABLES.setdefault(op, {})
    key = (param_key(pkey) if _has_zero(pkey) else pkey, ins)
    e = table.get(key)
    if e is None:
        dev = ins[0].device if ins else None
        for a in ins:
            if a.device is not dev:
                raise DeviceError(
                    f"{op.name}: tensors on {dev} and {a.device}; move one with .to(device)"
                )
        with plain_floats():  # kernels hold constants that are computed here
            e = Entry(op, dict(pkey), ins)
        table[key] = e
        SIGNATURES.made()
    e.used = SIGNATURES.generation
    return e


# ---- literals and conversion
_LITERALS: dict[Any, Any] = {}
_NUMBER_LITERALS: dict[Any, Any] = {}  # the same by (type, number, dtype, device)
_JOINER: list[Callable[[Any, np.dtype | None, bool], Any]] = []


def use_joiner(join: Callable[[Any, np.dtype | None, bool], Any]) -> None:
    """Tell bind how a nested sequence with tensors in it becomes one tensor beside a dtype, with
    the gradient of its tensors or cut from the tape."""
    _JOINER[:] = [join]


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
        return _JOINER[0](x, like, cut)
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
        ts = [_JOINER[0](t, d, False) if isinstance(t, list) else t for t in ts]
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
FAST.append(_READY)
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
        and not _has_zero(pkey)
    ):
        if len(_READY) > _READY_LIMIT:
            _READY.clear()
        _READY[key] = e
    return _run(e, ts)


def _same(x: Any, y: Any) -> bool:
    return x is y
