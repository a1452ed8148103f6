"""The op record: everything hybrid knows about one operation, written in one place.

Invariant: an op is fully described by its record; no other module keeps a list of op names.
The kinds (what each gives is in docs/architecture.md):
  map       out[i] = body(inputs broadcast to i); also creation, random numbers and gathers
  row       reductions over one group of adjacent axes, and bodies that use them (softmax,
            layer_norm)
  view      the same elements at an affine position (reshape, permute_dims, slices)
  place     operands written into regions of a fresh output (concat, pad, writes through a slice)
  contract  sums of products (matmul, linear, conv2d)
  attend    attention in blocks, and its gradients
  scatter   indexed accumulation
  host      a NumPy function called from Python; never part of native code
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval
from ..core.errors import DTypeError, HybridError
from ..core.shapes import broadcast_shapes

__all__ = ["Op", "OPS", "register", "extend", "map_op", "KINDS", "NO_GRAD"]

KINDS = ("map", "row", "view", "place", "contract", "attend", "scatter", "host")
OPS: dict[str, Op] = {}


class _NoGrad:
    def __repr__(self) -> str:
        return "NO_GRAD"


NO_GRAD = _NoGrad()


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

    name, kind   identity, and how it runs
    nin          number of inputs; None when variable (concat)
    infer        (*avals, **params) -> tuple of output Avals; raises ShapeError/DTypeError
    body         (s, *values, **params) -> Val or tuple of Val, over the algebra of ir/scalar.py.
                 An input listed in `gathers` arrives as an Access (`.at(index)`, `.shape`) instead
                 of a Val
    layout       view: (aval, strides, offset=0, **params) -> (offset, strides) in elements or None
                 when a copy is needed; place: (*avals, **params) -> one (offset, shape, strides)
                 per written operand.  Fact 'base': operand 0 fills the result first (it has no
                 entry); fact 'zeros': zeros do; otherwise the regions cover the result.  scatter:
                 inputs (index[count] in range, update[count, inner]), zeros of the output's shape
                 [rows, inner] take out[index[i]] += update[i] in order; contract, attend: see
                 ir/contract.py and ir/attend.py
    vjp          (g, out, *xs, **params) -> tuple of gradients (None: no path); g/out tuples when
                 nout > 1
    reference    NumPy oracle (*arrays, **params) -> array or tuple, at least double precision
                 inside
    check        (s, *values, **params) -> b1 Val, true where an input element is invalid (index
                 range); `check_message` (avals, params) -> text
    write_back   view: (base, value, **params) -> base with `value` in the place that the view
                 shows; None where that place cannot be written (repeated or overlapping elements)
    join         (parts) -> one tensor that adds up several parts of a gradient that this record's
                 vjp gave (`ops.base.common.Part`), or None where they do not join
    truth        the record that stands for this one on truth values
    params       names of the static parameters; values are hashable

    Before a record sees its inputs, `bind` promotes those of kinds map, contract and place to one
    dtype (inputs in `fixed` and all inputs of a record with `gathers` are left alone).
    """

    name: str
    kind: str
    nin: int | None
    infer: Callable[..., tuple[Aval, ...]]
    body: Callable[..., Any] | None = None
    layout: Callable[..., Any] | None = None
    vjp: Any = NO_GRAD
    reference: Callable[..., Any] | None = None
    check: Callable[..., Any] | None = None
    check_message: Callable[..., str] | None = None
    write_back: Callable[..., Any] | None = None
    join: Callable[..., Any] | None = None
    truth: Op | None = None
    params: tuple[str, ...] = ()
    nout: int = 1
    gathers: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()  # inputs whose dtype takes no part in promotion
    accepts: str = "biuf"  # kinds of dtype of the (promoted) inputs
    result: str = "same"  # map: same | bool | float | int
    facts: frozenset[str] = (
        frozenset()
    )  # commutative, idempotent, involution, identity, pure_copy, ...
    unit: dict[int, Any] = field(
        default_factory=dict
    )  # input -> value that makes the op the identity, bit for bit
    domain: tuple[float, float] = (-3.0, 3.0)  # where samples are drawn
    samples: Callable[..., Any] | None = None  # (rng) -> iterable of (arrays, params), for tests
    ulp: float = 2.0  # bound on the error of float32/float64 results against `reference`
    doc: str = ""
    keeps: frozenset[str] = frozenset()  # 'out' and input numbers as text that vjp reads

    def __repr__(self) -> str:
        return f"Op({self.name})"

    def has(self, fact: str) -> bool:
        return fact in self.facts


def _kept(vjp: Any, nin: int | None) -> frozenset[str]:
    """Which of out and inputs a vjp function reads, from its code: the others need not be saved."""
    everything = frozenset(["out", "*"] + [str(i) for i in range(nin or 0)])
    if vjp is NO_GRAD or vjp is None:
        return frozenset()
    code = getattr(vjp, "__code__", None)
    if code is None or nin is None or code.co_flags & 0x04:
        return everything
    names = code.co_varnames[: code.co_argcount]
    used: set[str] = set(code.co_cellvars)
    for ins in dis.get_instructions(code):
        if ins.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE")):
            arg = ins.argval
            used.update(arg if isinstance(arg, tuple) else (arg,))
    roles = ["g", "out"] + [str(i) for i in range(nin)]
    return frozenset(r for r, n in zip(roles, names) if n in used and r != "g")


def register(op: Op) -> Op:
    """Enter a record; its name must be new and its kind known."""
    if op.name in OPS:
        raise HybridError(f"op {op.name!r} is already registered")
    if op.kind not in KINDS:
        raise HybridError(
            f"op {op.name!r} has unknown kind {op.kind!r}; kinds are {', '.join(KINDS)}"
        )
    object.__setattr__(op, "keeps", op.keeps or _kept(op.vjp, op.nin))
    OPS[op.name] = op
    return op


def extend(op: Op, **fields: Any) -> None:
    """Enter fields of a record that need records made after it; each once."""
    for name, value in fields.items():
        if getattr(op, name) not in (None, NO_GRAD):
            raise HybridError(f"op {op.name!r} already says {name}")
        object.__setattr__(op, name, value)


def common_dtype(op: Op, avals: tuple[Aval, ...]) -> np.dtype:
    """The dtype the inputs of a map op are converted to."""
    free = [a for i, a in enumerate(avals) if i not in op.fixed]
    d = free[0].dtype
    for a in free[1:]:
        d = dt.promote(d, a.dtype)
    if op.result == "float" and not dt.is_float(d):
        d = dt.default_float
    if dt.kind(d) not in op.accepts:
        if d is dt.bool_ and "i" in op.accepts:
            return dt.default_int
        names = ", ".join(dict.fromkeys(a.dtype.name for a in avals))
        raise DTypeError(f"{op.name} does not take {names}")
    return d


def map_infer(op_name: str, result: str) -> Callable[..., tuple[Aval, ...]]:
    """The default rule of map ops: shapes broadcast; inputs have one dtype already."""

    def infer(*avals: Aval, **params: Any) -> tuple[Aval, ...]:
        shape = broadcast_shapes(op_name, *[a.shape for a in avals])
        d = avals[-1].dtype
        out = {"bool": dt.bool_, "int": dt.default_int}.get(result, d)
        return (avals[0].with_(shape, out),)

    return infer


def map_op(
    name: str,
    nin: int,
    body: Callable[..., Any],
    *,
    vjp: Any,
    reference: Any,
    result: str = "same",
    **more: Any,
) -> Op:
    """An elementwise record with the default type rule: a newcomer's whole job for a new op.

    >>> # softplus = map_op(
    >>> #     "softplus", 1, lambda s, x: ..., vjp=lambda g, out, x: (g * sigmoid(x),), ...
    >>> # )
    """
    infer = more.pop("infer", None) or map_infer(name, result)
    return register(
        Op(name, "map", nin, infer, body=body, vjp=vjp, reference=reference, result=result, **more)
    )
