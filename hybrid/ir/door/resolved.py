"""What an op does for one signature, resolved on first use and dropped when long unused.

Invariant: the kernel of a signature is the one that the device's backend gave for exactly its
avals and parameters; every table that finds signatures is bounded or emptied by `Signatures.sweep`.
"""

from __future__ import annotations

from time import thread_time
from typing import Any

from ...core import dtypes as dt
from ...core.aval import HOST, Aval
from ...core.cache import NATIVE
from ...core.errors import DeviceError, HybridError
from ...core.floating import plainly
from ...core.precision import MATMUL
from ..graph.graph import param_key
from ..op import NO_GRAD, HostOp, Op
from ..tensor import Handle, new_handle
from .context import LOCAL, backend_of
from .pending import COLLECTING, Pending, shared

__all__ = [
    "Resolved",
    "resolved_for",
    "put_on_tape",
    "has_zero",
    "signature_beside_numbers",
    "MAKING",
    "Signatures",
    "SIGNATURES",
    "TABLES",
    "FAST",
    "TABLE_LIMIT",
]


class KernelCost:
    """Seconds that kernels of each kind take to make, usually: those that have to be compiled count
    for little; `total`: what all took so far."""

    __slots__ = ("seconds", "total")

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.total = 0.0

    def made(self, kind: str, seconds: float) -> None:
        """One was made."""
        self.total += seconds
        usual = self.seconds.get(kind, seconds)
        share = 0.5 if seconds < usual / 2 else 0.1
        self.seconds[kind] = usual + share * (min(seconds, 2 * usual) - usual)


MAKING = KernelCost()


class Resolved:
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
        "pure",
        "used",
    )

    def __init__(self, op: Op, params: dict[str, Any], inputs: tuple[Aval, ...]) -> None:
        self.op, self.params, self.ins = op, params, inputs
        self.key = tuple(params.items())
        self.view = op.kind == "view"
        # it cannot fail on values, and may run later
        kernel = op.kind not in ("host", "control") or (
            isinstance(op, HostOp) and op.algorithm is not None and op.has("total")
        )
        self.pure = op.check is None and kernel and not op.has("effect")
        self.used = SIGNATURES.generation
        self.outs = tuple(op.infer(*inputs, **params))
        self.single = len(self.outs) == 1
        self.out = self.outs[0]
        device = inputs[0].device if inputs else params.get("device", HOST)
        mode = LOCAL.mode
        if op.kind == "tape":
            self.kernel = _never
        elif mode is not None and mode.late and device is HOST:
            self.kernel = _made_late(self, MATMUL.fast)
            mode.on_late(op.kind)
        else:
            start = thread_time()
            self.kernel = backend_of(device).kernel(op, params, inputs, self.outs)
            MAKING.made(op.kind, thread_time() - start)
        every = "*" in op.keeps
        self.keep_in = tuple(every or str(i) in op.keeps for i in range(len(inputs)))
        self.keep_out = "out" in op.keeps
        self.differentiable = op.vjp is not NO_GRAD and any(
            dt.is_inexact(a.dtype) for a in self.outs
        )


def _never(*values: Any) -> Any:
    """In place of the kernel of a record that stands on the tape."""
    raise HybridError("a record of kind 'tape' does not run")


def _made_late(resolved: Resolved, fast: bool) -> Any:
    """The kernel of a signature that may never run: made by the first call, for the precision of
    products that the signature was resolved under."""

    def kernel(*values: Any) -> Any:
        before, MATMUL.fast = MATMUL.fast, fast
        try:
            make = backend_of(resolved.outs[0].device).kernel
            made = plainly(make, resolved.op, resolved.params, resolved.ins, resolved.outs)
        finally:
            MATMUL.fast = before
        resolved.kernel = made
        return made(*values)

    return kernel


def _snapshot(tensor: Any, mode: Any) -> Any:
    """What the tape saves of a tensor:
    its value, or while a mode watches a handle that the mode knows."""
    if mode is None or mode.defers:
        value = tensor._v
        if mode is not None and type(value) is Pending and value.segment is mode.segment:
            return value
        return shared(value)
    copied = new_handle(tensor._v, tensor._a)
    mode.on_alias(copied, tensor)
    return copied


def put_on_tape(
    resolved: Resolved, tensors: tuple[Any, ...], results: tuple[Any, ...], mode: Any
) -> None:
    """Tape node: (Resolved, parent nodes, saved inputs, saved outputs); several outputs share it
    through (index, node) pairs."""
    node = (
        resolved,
        tuple([t._node for t in tensors]),
        tuple([_snapshot(t, mode) if k else None for t, k in zip(tensors, resolved.keep_in)]),
        tuple([_snapshot(t, mode) for t in results]) if resolved.keep_out else None,
    )
    if len(results) == 1:
        results[0]._node = node
        return
    for index, tensor in enumerate(results):
        if dt.is_inexact(tensor._a.dtype):
            tensor._node = (index, node)


TABLES: dict[Op, dict[Any, Resolved]] = {}
FAST: list[dict[Any, Any]] = []  # tables that find signatures without `resolved_for`
TABLE_LIMIT = 4096  # of each of those


class Signatures:
    """When signatures are dropped: those that one whole generation of new ones did not use.

    A generation ends after so many new ones or so much native code.  Then the fast tables are
    emptied, so what is in use passes through `resolved_for` once more, which marks it."""

    __slots__ = ("generation", "fresh", "code")
    most, nbytes = 4096, 64 << 20  # of a generation; two of them are alive

    def __init__(self) -> None:
        self.generation = self.fresh = self.code = 0

    def made(self) -> None:
        """One more signature."""
        self.fresh += 1
        if self.fresh > self.most or NATIVE.made - self.code > self.nbytes:
            self.sweep()

    def sweep(self) -> None:
        """Drop what was not used since the last sweep."""
        self.fresh, self.code = 0, NATIVE.made
        for fast in FAST:
            fast.clear()
        for table in list(TABLES.values()):
            for signature, resolved in list(table.items()):
                if resolved.used < self.generation:
                    table.pop(signature, None)
        self.generation += 1


SIGNATURES = Signatures()


def _forget() -> None:
    """Have every call pass through `resolved_for` once more."""
    for fast in FAST:
        fast.clear()


MATMUL.listeners.append(_forget)


def has_zero(params: tuple[Any, ...]) -> bool:
    """Whether some parameter is 0.0 or -0.0, which are equal as keys of a dict."""
    return any((type(v) is tuple and has_zero(v)) or (type(v) is float and v == 0) for v in params)


_NUMBERS = frozenset([bool, int, float])


def signature_beside_numbers(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """That of a call of tensors and Python numbers; None for others, and where a mode hears of
    calls."""
    if LOCAL.mode is not None or COLLECTING or tuple(params) != op.params:
        return None
    found: list[Any] = [op, *params.values()]
    for given in inputs:
        if isinstance(given, Handle):
            found.append(given._a)
        elif type(given) in _NUMBERS:  # 0.0 and -0.0 are one key
            found.append((type(given), given or repr(given)))
        else:
            return None
    signature = tuple(found)
    try:
        hash(signature)
    except TypeError:
        return None
    return None if has_zero(signature) else signature


def resolved_for(op: Op, inputs: tuple[Aval, ...], ordered: tuple[Any, ...]) -> Resolved:
    """What a signature resolves to; made on first use."""
    table = TABLES.setdefault(op, {})
    signature: Any = (param_key(ordered) if has_zero(ordered) else ordered, inputs)
    if MATMUL.fast:
        signature = (*signature, MATMUL.fast)
    resolved = table.get(signature)
    if resolved is None:
        device = inputs[0].device if inputs else None
        for aval in inputs:
            if aval.device is not device:
                raise DeviceError(
                    f"{op.name}: tensors on {device} and {aval.device}; move one with .to(device)"
                )
        # kernels hold constants that are computed here
        resolved = plainly(Resolved, op, dict(ordered), inputs)
        table[signature] = resolved
        SIGNATURES.made()
    resolved.used = SIGNATURES.generation
    return resolved
