"""Numbers of Python that a graph computes: variables that differ from turn to turn of a loop, and
what operations take of numbers that were read from tensors.

Invariant: a value of the graph that stands for a number has its bits for every value that a tensor
may hold; what cannot be computed so stays a number of Python.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...control.regions import OpenRegions, RecordedOp
from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device, aval
from ...core.sites import user_site
from ...ir.door.bind import converter, literal
from ...ir.mode import Mode
from ...ir.op import OPS, Op
from ..follow.operands import operand_of
from ..follow.terms import Constant, HostRead, Operation, Term, parts
from ..watch.events import Watch
from .decided import EXACT, Inexpressible, Lowering, device_of, with_operands

__all__ = ["ComputedNumbers", "Counter"]


def _small(value: Any) -> bool:
    """Whether sums of such ints stay far from the bounds of 64 bits."""
    return type(value) is int and abs(value) < 1 << 31


class Counter(NamedTuple):
    """A variable that is a number of a turn of a loop: its code, where what ends the loop is."""

    code: types.CodeType
    device: Device


class ComputedNumbers(Mode):
    """The part of a recorder that computes numbers in the graph."""

    avals: list[Any]
    args: list[Any]
    consts: dict[int, np.ndarray]
    regions: list[OpenRegions]
    steps: list[RecordedOp]
    watch: Watch | None
    ref: Any
    aval_of: Any

    def _operand(self, device: Device, term: Term, divisor: bool) -> int:
        """The number of an operand that a number is which meets values of tensors; Inexpressible
        where another such number might not be taken in the same way."""
        follow = None if self.watch is None else self.watch.follow
        if follow is None:
            raise Inexpressible("a number")
        value = follow.value_of(term, self.args)
        unfit = type(value) is int and abs(value) > EXACT
        if type(value) not in (int, float) or unfit or (divisor and value == 0):
            raise Inexpressible("a large int or a bool")
        if type(value) is int:
            size = Operation("abs", (term,))
            follow.condition(Operation("<=", (size, Constant(EXACT))), True)
        if divisor:
            follow.condition(Operation("==", (term, Constant(0))), False)
        dtype = dt.float64 if type(value) is float else dt.int64
        tensor = literal(value, dtype, device)
        return operand_of(follow, term, value, tensor, self.ref(tensor))

    def compute_number(self, term: Term, value: Any) -> int | None:
        """The number of an int or float that the graph computes, as int64 or float64; None for
        what it cannot."""
        if self.regions:
            return None
        if type(term) is Constant:
            return self._constant(term.value, self._counting_on())
        return self._whole(term) if type(value) is int else self._float(term)

    def compute_operand(self, term: Term, value: Any, record: Aval) -> int | None:
        """The number of what an operation takes of a number with reads of tensors in it, as this
        record; None where that is not the literal of the number for each value."""
        known = record.dtype in (dt.float32, dt.float64) and record.shape == ()
        if self.regions or not known or type(value) not in (int, float):
            return None
        reads = [leaf for leaf in parts(term) if type(leaf) is HostRead]
        device = self.aval_of(reads[0].number).device
        if type(value) is float:
            found = self._float(term)
        elif all(map(self._narrow, reads)) and (whole := self._whole(term)) is not None:
            found = self._convert(whole, dt.float64)
        else:
            found = None
        if found is None or device is not record.device:
            return None
        return self._convert(found, record.dtype)

    def _narrow(self, read: HostRead) -> bool:
        """Whether an int that was read is a float64 without rounding."""
        follow = None if self.watch is None else self.watch.follow
        dtype = self.aval_of(read.number).dtype
        counts = follow is not None and read in follow.virtual
        return counts or (dt.is_int(dtype) and dtype.itemsize < 8 and read.how != "float()")

    def _whole(self, term: Any) -> int | None:
        whole = type(term) is Operation and term.symbol in ("+", "-")
        first, second = term.operands if whole else (None, None)
        if type(first) is not HostRead or type(second) is not Constant or not _small(second.value):
            return term.number if type(term) is HostRead else None
        other = self._constant(second.value, self.aval_of(first.number).device)
        name = "add" if term.symbol == "+" else "subtract"
        return self._emit(OPS[name], {}, (first.number, other or 0))

    def _float(self, term: Term) -> int | None:
        reads = any(type(leaf) is HostRead for leaf in parts(term))
        device = device_of(term, self.aval_of) if reads else self._counting_on()
        given = functools.partial(self._operand, device)

        def constant(data: Any) -> int:
            return self._constant(data.item(), device) or 0

        lowering = Lowering(self.aval_of, self._emit, constant)
        try:
            term = with_operands(term, given) if reads else term
            if not reads or not lowering.is_float(term):
                return None
            return lowering.number(term)
        except Inexpressible:
            return None

    def _emit(self, record: Op, params: dict[str, Any], operands: Sequence[int]) -> int:
        """A step of the graph that no operation of the user's made."""
        made = record.infer(*map(self.aval_of, operands), **params)
        self.avals.append(made[0])
        number = len(self.avals) - 1
        listed = tuple(params.items())
        step = RecordedOp(record, listed, tuple(operands), (number,), made, user_site())
        self.steps.append(step)
        return number

    def _convert(self, number: int, dtype: np.dtype) -> int:
        if self.aval_of(number).dtype is dtype:
            return number
        return self._emit(converter(), {"dtype": dtype}, (number,))

    def _counting_on(self) -> Device:
        """Where the numbers of a loop are kept: beside what its branches were read from before."""
        follow = None if self.watch is None else self.watch.follow
        counters = [] if follow is None else list(follow.counters.values())
        return counters[-1].device if counters else HOST

    def _constant(self, value: Any, device: Device) -> int | None:
        if type(value) is not float and not _small(value):
            return None
        dtype = dt.float64 if type(value) is float else dt.int64
        self.avals.append(aval((), dtype, device))
        self.consts[len(self.avals) - 1] = np.asarray(value, dtype)
        return len(self.avals) - 1
