"""Branches of Python on values read from tensors, as checks in the recorded graph.

Invariant: a term becomes operations that give what Python's own operators gave, for every value a
tensor may hold; what could differ (divisions, integers beyond 64 bits) is not expressed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...control.decisions import EXPECT
from ...control.regions import RecordedOp
from ...core import dtypes as dt
from ...core.aval import Aval, aval
from ...core.errors import Site
from ...ir.door.bind import converter
from ...ir.op import OPS, Op
from ..follow.snapshots import PythonState
from ..follow.terms import CLASSES, Constant, HostRead, Made, Operation, Symbol, Term, parts
from .turns import BranchPoint

__all__ = [
    "EXACT",
    "TRUTH",
    "MAX_BRANCHES",
    "MAX_DECISIONS",
    "Decision",
    "Inexpressible",
    "Lowering",
    "checked",
    "device_of",
    "fits",
    "placed",
    "with_operands",
]

TRUTH = "bool()"  # how a tensor's truth is read
MAX_DECISIONS = 8192  # branches of one call
MAX_BRANCHES = 512  # of those that are left when loops are one node
EXACT = 1 << 53  # integers up to this one are floats without rounding
# operator of a term -> record of an operation that does the same with float64
_RECORDS = {
    **{"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"},
    **{"==": "equal", "!=": "not_equal"},
    **{"+": "add", "-": "subtract", "*": "multiply", "neg": "negative", "abs": "abs"},
}
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
# emit(record, parameters, operands) -> the number of its result
Emit = Callable[[Op, dict[str, Any], Sequence[int]], int]


class Inexpressible(ValueError):
    """A term of which no operations give what Python gave."""


class Given(NamedTuple):
    """A number that a check takes as an operand, by its value number."""

    number: int


class Decision(NamedTuple):
    """A branch that was taken behind so many steps, as a term had this truth; the user's line, and
    Python's state where it is followed."""

    position: int
    term: Term
    truth: bool
    site: Site | None
    state: PythonState | None = None

    def renumbered(self, numbered: Callable[[int], int]) -> Decision:
        """The same where values have other numbers."""
        return self._replace(term=_renumbered(self.term, numbered))


def _renumbered(term: Any, numbered: Callable[[int], int]) -> Any:
    if type(term) is Operation:
        return Operation(term.symbol, tuple([_renumbered(t, numbered) for t in term.operands]))
    if type(term) is Made:
        return term._replace(operands=tuple([_renumbered(t, numbered) for t in term.operands]))
    return term if type(term) is Constant else term._replace(number=numbered(term.number))


class Lowering:
    """Operations of one term: values are bool, or float64, or int64 (`small`: no more than 32 bits
    wide, which a float64 holds exactly)."""

    def __init__(
        self, aval_of: Callable[[int], Aval], emit: Emit, literal: Callable[[Any], int]
    ) -> None:
        self.aval_of, self.emit, self.literal = aval_of, emit, literal

    def convert(self, number: int, dtype: np.dtype) -> int:
        if self.aval_of(number).dtype is dtype:
            return number
        return self.emit(converter(), {"dtype": dtype}, (number,))

    def truth(self, term: Any) -> int:
        """What `bool(term)` is."""
        if type(term) is HostRead and self.keeps_truth(term):
            return self.convert(term.number, dt.bool_)
        if type(term) is Operation and term.symbol == "not":
            return self.emit(OPS["logical_not"], {}, (self.truth(term.operands[0]),))
        if type(term) is Operation and term.symbol == "bool":
            return self.truth(term.operands[0])
        if type(term) is Operation and term.symbol in _COMPARISONS:
            return self.comparison(*term)
        if type(term) is Operation and term.symbol in CLASSES:
            return self.classified(term.symbol, term.operands[0])
        if type(term) is Made and term.function is np.bool_:
            return self.truth(term.operands[0])
        return self.convert(self.number(term), dt.bool_)

    def keeps_truth(self, term: HostRead) -> bool:
        """Whether the number that was read is 0 where the value is."""
        whole = term.how == "int()" and not dt.is_float(self.aval_of(term.number).dtype)
        return whole or term.how in (TRUTH, ".item()", "float()")

    def comparison(self, symbol: str, operands: Sequence[Any]) -> int:
        whole = all(map(self.is_whole, operands))
        values = [self.whole(t) if whole else self.number(t) for t in operands]
        return self.emit(OPS[_RECORDS[symbol]], {}, values)

    def classified(self, symbol: Symbol, operand: Any) -> int:
        """Whether a float is finite, whole, ..."""
        if not self.is_float(operand):
            raise Inexpressible(f"{symbol} of an int")
        value = self.number(operand)
        if symbol != "is_integer":
            return self.emit(OPS[symbol], {}, (value,))
        rounded = self.emit(OPS["floor"], {}, (value,))
        whole = self.emit(OPS["equal"], {}, (rounded, value))
        finite = self.emit(OPS["isfinite"], {}, (value,))
        return self.emit(OPS["logical_and"], {}, (whole, finite))

    def is_whole(self, term: Any) -> bool:
        """Whether a term is an int read from a tensor, or one that is as small."""
        if type(term) is Constant:
            return type(term.value) is int and -(1 << 63) <= term.value < 1 << 63
        if type(term) is Given:
            return dt.is_int(self.aval_of(term.number).dtype)
        if type(term) is not HostRead or term.how not in (".item()", "int()"):
            return False
        dtype = self.aval_of(term.number).dtype
        return dt.is_int(dtype) and dtype is not dt.uint64

    def whole(self, term: Any) -> int:
        if type(term) is Constant:
            return self.literal(np.asarray(term.value, np.int64))
        return self.convert(term.number, dt.int64)

    def number(self, term: Any) -> int:
        """A term as float64, where that is what Python has, or as good in a comparison."""
        if type(term) is Constant:
            if type(term.value) is int and abs(term.value) > EXACT:
                raise Inexpressible("a large int")
            return self.literal(np.asarray(float(term.value), np.float64))
        if type(term) is Given:
            return self.convert(term.number, dt.float64)
        if type(term) is HostRead:
            return self.read(term)
        if type(term) is not Operation:
            raise Inexpressible(type(term).__name__)
        symbol, operands = term.symbol, term.operands
        if symbol == "float":
            return self.number(operands[0])
        if not any(map(self.is_float, operands)):
            raise Inexpressible("arithmetic of ints")
        if symbol in ("min", "max") and len(operands) == 2:
            return self.chosen("<" if symbol == "min" else ">", *operands)
        if symbol == "/" and self.divides(operands[1]):
            return self.emit(OPS["divide"], {}, [self.number(t) for t in operands])
        if symbol not in _RECORDS or symbol in _COMPARISONS:
            raise Inexpressible(symbol)
        return self.emit(OPS[_RECORDS[symbol]], {}, [self.number(t) for t in operands])

    def chosen(self, symbol: str, first: Any, second: Any) -> int:
        """Python's min and max: the first one, unless the second one is less, or more."""
        if not (self.is_float(first) and self.is_float(second)):
            raise Inexpressible("min or max of unlike numbers")
        values = self.number(first), self.number(second)
        other = self.emit(OPS[_RECORDS[symbol]], {}, (values[1], values[0]))
        return self.emit(OPS["where"], {}, (other, values[1], values[0]))

    @staticmethod
    def divides(term: Any) -> bool:
        """Whether dividing by a term cannot fail; what is given is seen to."""
        if type(term) is Given:
            return True
        return type(term) is Constant and term.value != 0 and math.isfinite(term.value)

    def is_float(self, term: Any) -> bool:
        """Whether Python has a float for a term."""
        if type(term) is Constant:
            return type(term.value) is float
        if type(term) is Given:
            return dt.is_float(self.aval_of(term.number).dtype)
        if type(term) is HostRead:
            return term.how == "float()" or dt.is_float(self.aval_of(term.number).dtype)
        if type(term) is not Operation or term.symbol in (*_COMPARISONS, *CLASSES, "not", "bool"):
            return False
        if term.symbol in ("float", "/"):
            return True
        every = term.symbol in ("min", "max")
        return (all if every else any)(map(self.is_float, term.operands))

    def read(self, term: HostRead) -> int:
        dtype = self.aval_of(term.number).dtype
        exact = dt.is_float(dtype) and term.how in (".item()", "float()")
        if not exact and not (
            dtype.kind in "biu" and (dtype.itemsize < 8 or term.how == "float()")
        ):
            raise Inexpressible(f"a {dtype.name} read with {term.how}")
        return self.convert(term.number, dt.float64)


def lowered(
    term: Term, aval_of: Callable[[int], Aval], emit: Emit, literal: Callable[[Any], int]
) -> int:
    """The number of the truth of a term, after the operations that give it; Inexpressible."""
    return Lowering(aval_of, emit, literal).truth(term)


def device_of(term: Term, aval_of: Callable[[int], Aval]) -> Any:
    """Where the values are that a term was read from."""
    return next(aval_of(leaf.number).device for leaf in parts(term) if type(leaf) is HostRead)


def fits(term: Term, aval_of: Callable[[int], Aval]) -> bool:
    """Whether a term can be expressed."""
    made: dict[int, Aval] = {}

    def known(number: int) -> Aval:
        return aval_of(number) if number >= 0 else made[number]

    def new(record: Aval) -> int:
        made[-1 - len(made)] = record
        return -len(made)

    def emit(record: Op, params: dict[str, Any], operands: Sequence[int]) -> int:
        return new(record.infer(*map(known, operands), **params)[0])

    def literal(data: Any) -> int:
        return new(aval((), data.dtype, device_of(term, aval_of)))

    try:
        lowered(term, known, emit, literal)
    except Inexpressible:
        return False
    return True


def with_operands(term: Any, operand: Callable[[Term, bool], int], divisor: bool = False) -> Any:
    """A term in which each part that no tensor has to do with is an operand of that number; the
    second argument says that it divides."""
    reads = any(type(leaf) is HostRead for leaf in parts(term))
    if reads and type(term) is Made:
        inside = [with_operands(part, operand) for part in term.operands]
        return term._replace(operands=tuple(inside))
    if reads and type(term) is Operation:
        inside = [
            with_operands(part, operand, term.symbol == "/" and index == 1)
            for index, part in enumerate(term.operands)
        ]
        return Operation(term.symbol, tuple(inside))
    return term if type(term) in (Constant, HostRead) else Given(operand(term, divisor))


def placed(
    steps: Sequence[RecordedOp],
    decisions: Sequence[Decision],
    avals: list[Aval],
    constants: dict[int, np.ndarray],
) -> tuple[list[RecordedOp], list[BranchPoint]]:
    """The steps of a call with what the branches depend on, and the branches behind them; new
    values get new numbers, literals go to the constants.  Inexpressible where a term cannot be
    checked."""
    out: list[RecordedOp] = []
    branches: list[BranchPoint] = []
    done, site = 0, None

    def emit(record: Op, params: dict[str, Any], operands: Sequence[int]) -> int:
        made = record.infer(*[avals[number] for number in operands], **params)
        avals.append(made[0])
        number = len(avals) - 1
        step = RecordedOp(record, tuple(params.items()), tuple(operands), (number,), made, site)
        out.append(step)
        return number

    for decision in decisions:
        out += steps[done : decision.position]
        done, site = decision.position, decision.site
        device = device_of(decision.term, avals.__getitem__)

        def literal(data: np.ndarray, device: Any = device) -> int:
            avals.append(aval((), data.dtype, device))
            constants[len(avals) - 1] = data
            return len(avals) - 1

        found = lowered(decision.term, avals.__getitem__, emit, literal)
        branches.append(BranchPoint(len(out), found, decision.truth, decision.state, site))
    return [*out, *steps[done:]], branches


def checked(
    steps: Sequence[RecordedOp], branches: Sequence[BranchPoint], avals: list[Aval]
) -> list[RecordedOp]:
    """The steps with a check at each branch."""
    out: list[RecordedOp] = []
    done = 0
    for count, branch in enumerate(branches):
        out += steps[done : branch.position]
        done = branch.position
        made = (avals[branch.number],)
        avals.append(made[0])
        params = (("truth", branch.truth), ("number", count))
        out.append(
            RecordedOp(EXPECT, params, (branch.number,), (len(avals) - 1,), made, branch.site)
        )
    return [*out, *steps[done:]]
