"""The op record: everything hybrid knows about one operation, written in one place.

Invariant: an op is fully described by its record; no other module keeps a list of op names.  A
record is of one of eight final classes, which say what a record of that kind must hold.  It changes
only where `extend` enters what needs later records.
"""

from __future__ import annotations

import dis
import itertools
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from types import CodeType
from typing import Any, Literal, TypedDict, TypeVar, Unpack, final, get_args

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval
from ..core.errors import DTypeError, HybridError
from ..core.shapes import broadcast_shapes
from .algorithm import Algorithm

__all__ = [
    "Op",
    "MapOp",
    "RowOp",
    "ViewOp",
    "PlaceOp",
    "ContractOp",
    "AttendOp",
    "ScatterOp",
    "HostOp",
    "TapeOp",
    "Kind",
    "Fact",
    "Said",
    "OPS",
    "KINDS",
    "NO_GRAD",
    "record_with",
    "register",
    "extend",
    "algorithm_of",
    "map_op",
    "in_words",
    "is_stock",
    "seal",
]

Kind = Literal["map", "row", "view", "place", "contract", "attend", "scatter", "host", "tape"]
Result = Literal["same", "bool", "float", "int"]
Fact = Literal[
    "commutative",  # map: the two inputs may be exchanged
    "idempotent",  # map: f(f(x)) is f(x)
    "involution",  # map: f(f(x)) is x
    "pure_copy",  # map: the elements as they are
    "convert",  # map: to the dtype in its parameters
    "signs_apart",  # map: takes uint64 beside signed integers as they are
    "constant",  # map: one number everywhere
    "copies",  # view: a copy of what does not lie in a base as it needs (reshape)
    "to_pairs",  # view: complex numbers as the pairs of their parts, a last axis of 2
    "of_pairs",  # view: such pairs as complex numbers
    "in_pairs",  # view, place: what another record does with complex numbers, with their pairs
    "truth",  # row: on truth values
    "base",  # place: operand 0 fills the result first (it has no entry in the layout)
    "zeros",  # place, scatter: zeros fill the result first
    "modulus",  # map: two results are parts of a number, whose modulus their error is measured by
    "woven",  # map: the two results of the body lie side by side in one, along a new last axis
    "weaves",  # place: two operands side by side, along a new last axis
    "total",  # host: defined for every input, so an unused one may go
    "draw",  # map: random numbers; element i of any shape is a function of its inputs and i
    "effect",  # must run in the order of the program, and as often
    "optional_grads",  # the vjp takes None for the gradient of an unused output
]
FACTS = frozenset(get_args(Fact))
Infer = Callable[..., tuple[Aval, ...]]
Body = Callable[..., Any]
Layout = Callable[..., Any]
OPS: dict[str, Op] = {}
_STOCK: dict[str, Op] = {}
Record = TypeVar("Record", bound="Op")


class _NoGrad:
    def __repr__(self) -> str:
        return "NO_GRAD"


NO_GRAD = _NoGrad()


@dataclass(eq=False, repr=False, slots=True, weakref_slot=True)
class Op:
    """One operation: what records of all kinds may say.  Make one of its final classes.

    name, kind   identity, and how it runs
    nin          number of inputs; None when variable (concat)
    infer        (*avals, **params) -> tuple of output Avals; raises ShapeError/DTypeError
    body         (s, *values, **params) -> Val or tuple of Val, over the algebra of ir/scalar.py.
                 An input listed in `gathers` arrives as an Access (`.at(index)`, `.shape`) instead
                 of a Val
    layout       where operands lie in the result or the result in its operand; see the classes
    vjp          (g, out, *xs, **params) -> tuple of gradients (None: no path); g/out tuples when
                 nout > 1
    reference    NumPy oracle (*arrays, **params) -> array or tuple, at least double precision
                 inside
    check        (s, *values, **params) -> b1 Val, true where an input element is invalid (index
                 range); `check_message` (avals, params) -> text
    join         (parts) -> one tensor that adds up several parts of a gradient that this record's
                 vjp gave (`ops.base.common.Part`), or None where they do not join
    on_complex   (*xs, **params) -> what the op gives for complex tensors, which have one dtype but
                 for inputs in `fixed`, put together from ops on their parts; records of kinds view
                 and place need none: they only say where elements are
    moved        (avals, axes, **params) -> the record, with its parameters, that does the same with
                 int64 operands, behind the others, in the place of begin[a] for each a of `axes`;
                 None where there is none
    batch        (inputs, flags, size, **params) -> outputs: what the record gives for each of
                 `size` rows at once; inputs whose flag is true, and all outputs, have the rows
                 along a first axis.  None as result, or as field: what the kind says, where axis
                 and axes in the parameters count from the front (see transforms/rules.py)
    params       names of the static parameters; values are hashable

    Before a record sees its inputs, `bind` promotes those of kinds map, contract and place to one
    dtype (inputs in `fixed` and all inputs of a record with `gathers` are left alone).
    """

    name: str
    nin: int | None
    infer: Infer
    _: KW_ONLY
    kind: Kind = field(init=False)
    body: Body | None = None
    layout: Layout | None = None
    vjp: Any = NO_GRAD
    reference: Callable[..., Any] | None = None
    check: Callable[..., Any] | None = None
    check_message: Callable[..., str] | None = None
    join: Callable[..., Any] | None = None
    on_complex: Callable[..., Any] | None = None
    moved: Callable[..., tuple[Op, dict[str, Any]] | None] | None = None
    batch: Callable[..., Any] | None = None
    params: tuple[str, ...] = ()
    nout: int = 1
    gathers: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()  # inputs whose dtype takes no part in promotion
    accepts: str = "biuf"  # kinds of dtype of the (promoted) inputs
    facts: frozenset[Fact] = frozenset()
    samples: Callable[..., Any] | None = None  # (rng) -> iterable of (arrays, params), for tests
    ulp: float = 2.0  # bound on the error of float32/float64 results against `reference`
    doc: str = ""
    keeps: frozenset[str] = frozenset()  # 'out' and input numbers as text that vjp reads

    def __post_init__(self) -> None:
        if type(self) is Op:
            raise HybridError(f"op {self.name!r}: make a record of a kind: MapOp, RowOp, ...")
        self.keeps = self.keeps or _kept(self.vjp, self.nin)

    def __repr__(self) -> str:
        return f"Op({self.name})"

    def has(self, fact: Fact) -> bool:
        """Whether the record says a fact."""
        return fact in self.facts


@final
@dataclass(eq=False, repr=False, slots=True)
class MapOp(Op):
    """out[i] = body(inputs broadcast to i); also creation, random numbers and gathers.

    result: what the result's dtype follows from
    unit:   input -> value that makes the op the identity, bit for bit
    domain: where samples are drawn
    """

    kind: Kind = field(default="map", init=False)
    _: KW_ONLY
    body: Body
    result: Result = "same"
    unit: dict[int, Any] = field(default_factory=dict)
    domain: tuple[float, float] = (-3.0, 3.0)


@final
@dataclass(eq=False, repr=False, slots=True)
class RowOp(Op):
    """Reductions over one group of adjacent axes, and bodies that use them (softmax).

    truth: the record that stands for this one on truth values
    """

    kind: Kind = field(default="row", init=False)
    _: KW_ONLY
    body: Body
    truth: RowOp | None = None


@final
@dataclass(eq=False, repr=False, slots=True)
class ViewOp(Op):
    """The same elements at an affine position (reshape, permute_dims, slices).

    layout:     (aval, strides, offset=0, **params) -> (offset, strides) in elements, or None where
                a copy is needed
    write_back: (base, value, **params) -> base with `value` in the place that the view shows; None
                where that place cannot be written (repeated or overlapping elements)
    """

    kind: Kind = field(default="view", init=False)
    _: KW_ONLY
    layout: Layout
    write_back: Callable[..., Any] | None = None


@final
@dataclass(eq=False, repr=False, slots=True)
class PlaceOp(Op):
    """Operands written into regions of a fresh result (concat, pad, writes through a slice).

    layout: (*avals, **params) -> one (offset, shape, strides) per written operand.  Without the
    facts 'base' and 'zeros' the regions cover the result.
    """

    kind: Kind = field(default="place", init=False)
    _: KW_ONLY
    layout: Layout


@final
@dataclass(eq=False, repr=False, slots=True)
class ContractOp(Op):
    """Sums of products (matmul, linear, conv); layout: see ir/contract.py."""

    kind: Kind = field(default="contract", init=False)
    _: KW_ONLY
    layout: Layout


@final
@dataclass(eq=False, repr=False, slots=True)
class AttendOp(Op):
    """Attention in blocks, and its gradients; layout: see ir/attend.py; body: (s, score, base) ->
    the weight of a pair."""

    kind: Kind = field(default="attend", init=False)
    _: KW_ONLY
    body: Body
    layout: Layout


@final
@dataclass(eq=False, repr=False, slots=True)
class ScatterOp(Op):
    """Indexed accumulation: inputs (index[count] in range, update[count, inner]); zeros of the
    output's shape [rows, inner] take out[index[i]] += update[i] in order."""

    kind: Kind = field(default="scatter", init=False)


@final
@dataclass(eq=False, repr=False, slots=True)
class HostOp(Op):
    """A function over whole arrays; body: (*arrays, **params) -> what NumPy computes.  algorithm:
    (**params) -> what that is, where a device may have kernels for it (see ir/algorithm.py); a
    record without one is called from Python."""

    kind: Kind = field(default="host", init=False)
    _: KW_ONLY
    body: Body
    algorithm: Callable[..., Algorithm] | None = None


@final
@dataclass(eq=False, repr=False, slots=True)
class TapeOp(Op):
    """What stands on the tape for the work of several records, and says their gradient (see
    `stands_for` in door/bind.py).  It never runs, so it is not registered, and in no graph."""

    kind: Kind = field(default="tape", init=False)


def algorithm_of(op: Op, params: dict[str, Any]) -> Algorithm | None:
    """What a record of kind host computes, where it says so."""
    return op.algorithm(**params) if isinstance(op, HostOp) and op.algorithm else None


KINDS: dict[Kind, type[Op]] = {
    "map": MapOp,
    "row": RowOp,
    "view": ViewOp,
    "place": PlaceOp,
    "contract": ContractOp,
    "attend": AttendOp,
    "scatter": ScatterOp,
    "host": HostOp,
}


def _kept(vjp: Any, inputs: int | None) -> frozenset[str]:
    """Which of out and inputs a vjp function reads, from its code: the others need not be saved."""
    everything = frozenset(["out", "*"] + [str(i) for i in range(inputs or 0)])
    if vjp is NO_GRAD or vjp is None:
        return frozenset()
    vjp_code = getattr(vjp, "__code__", None)
    if vjp_code is None or inputs is None or vjp_code.co_flags & 0x04:
        return everything
    numbers = _locals_read(vjp_code)
    names = enumerate(vjp_code.co_varnames[: vjp_code.co_argcount])
    read = [n in numbers or name in vjp_code.co_cellvars for n, name in names]
    roles = ["out"] + [str(i) for i in range(inputs)]  # the first argument is the gradient
    return frozenset(itertools.compress(roles, read[1:]))


# instructions that read a local variable, and those of CPython 3.13 that stand for two of them
_READS = {n: name.count("_FAST") > 1 for name, n in dis.opmap.items() if "LOAD_FAST" in name}


def _locals_read(code: CodeType) -> set[int]:
    """Numbers of the local variables that code reads (or more), from its bytes: `dis` would take a
    tenth of the time that `import hybrid` has."""
    found: set[int] = set()
    for opcode, argument in zip(code.co_code[::2], code.co_code[1::2]):
        if opcode in _READS:
            found.update(divmod(argument, 16) if _READS[opcode] else (argument,))
    return found


def register(op: Record) -> Record:
    """Enter a record: its name must be new, its facts known, and what tests ask for must be there
    (types see to the rest)."""
    if op.name in OPS:
        raise HybridError(f"op {op.name!r} is already registered")
    if unknown := op.facts - FACTS:
        known = ", ".join(sorted(FACTS))
        raise HybridError(f"op {op.name!r} says {', '.join(sorted(unknown))}; facts are {known}")
    if op.reference is None or (op.samples is None and op.kind != "map"):
        missing = "reference" if op.reference is None else "samples"
        raise HybridError(f"op {op.name!r} has no {missing}")
    OPS[op.name] = op
    return op


def seal() -> None:
    """Note that all records of this package are there: later ones are a program's."""
    _STOCK.update(OPS)


def is_stock(op: Op) -> bool:
    """Whether a record is of this package, whose version says what it does."""
    return _STOCK.get(op.name) is op


def extend(op: Op, **late: Any) -> None:
    """Enter fields of a record that need records made after it; each once."""
    for name, value in late.items():
        if getattr(op, name) not in (None, NO_GRAD):
            raise HybridError(f"op {op.name!r} already says {name}")
        setattr(op, name, value)


def record_with(kind: Kind, *facts: Fact) -> Op:
    """The first record of a kind that says exactly these facts."""
    for op in list(OPS.values()):
        if op.kind == kind and op.facts == frozenset(facts):
            return op
    raise HybridError(f"no record of kind {kind} says {', '.join(facts)} and nothing else")


def common_dtype(op: Op, avals: tuple[Aval, ...]) -> np.dtype:
    """The dtype the inputs of an op are converted to."""
    promoted = [a for i, a in enumerate(avals) if i not in op.fixed]
    dtype = promoted[0].dtype
    for aval in promoted[1:]:
        dtype = dt.promote(dtype, aval.dtype)
    if isinstance(op, MapOp) and op.result == "float" and not dt.is_float(dtype):
        dtype = dt.default_float
    if dt.kind(dtype) not in op.accepts and not (dt.is_complex(dtype) and op.kind == "place"):
        if dtype is dt.bool_ and "i" in op.accepts:
            return dt.default_int
        names = ", ".join(dict.fromkeys(a.dtype.name for a in avals))
        raise DTypeError(f"{op.name} does not take {names}")
    return dtype


def in_words(op: Op) -> str:
    """What `common_dtype` and `map_infer` do for a map record, for its function's docstring."""
    if not isinstance(op, MapOp) or op.gathers or not op.nin:
        return ""
    said = ["Shapes broadcast, or ShapeError; dtypes promote."] if op.nin > 1 else []
    if op.result == "float":
        said.append("Integers and bools are computed as float32.")
    elif "i" not in op.accepts:
        said.append("DTypeError for integers and bools.")
    elif "b" not in op.accepts:
        said.append("Bools are taken as int64.")
    if "f" not in op.accepts:
        said.append("DTypeError for floating tensors.")
    if op.result == "bool":
        said.append("The result is bool.")
    return "  ".join(said)


def map_infer(op_name: str, result: Result) -> Callable[..., tuple[Aval, ...]]:
    """The default rule of map ops: shapes broadcast; inputs have one dtype already."""

    def infer(*avals: Aval, **params: Any) -> tuple[Aval, ...]:
        broadcast = broadcast_shapes(op_name, *[a.shape for a in avals])
        dtype = avals[-1].dtype
        given = {"bool": dt.bool_, "int": dt.default_int}.get(result, dtype)
        return (avals[0].with_(broadcast, given),)

    return infer


class Said(TypedDict, total=False):
    """What else a map record may say."""

    check: Callable[..., Any]
    check_message: Callable[..., str]
    params: tuple[str, ...]
    nout: int
    gathers: tuple[int, ...]
    fixed: tuple[int, ...]
    facts: frozenset[Fact]
    unit: dict[int, Any]
    domain: tuple[float, float]
    samples: Callable[..., Any] | None
    ulp: float
    keeps: frozenset[str]


def map_op(
    name: str,
    nin: int,
    body: Body,
    *,
    vjp: Any,
    reference: Any,
    result: Result = "same",
    accepts: str = "biuf",
    infer: Infer | None = None,
    doc: str = "",
    **more: Unpack[Said],
) -> MapOp:
    """An elementwise record with the default type rule: a newcomer's whole job for a new op.

    >>> # softplus = map_op(
    >>> #     "softplus", 1, lambda s, x: ..., vjp=lambda g, out, x: (g * sigmoid(x),), ...
    >>> # )
    """
    return register(
        MapOp(
            name,
            nin,
            infer or map_infer(name, result),
            body=body,
            vjp=vjp,
            reference=reference,
            result=result,
            accepts=accepts,
            doc=doc,
            **more,
        )
    )
