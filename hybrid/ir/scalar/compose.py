"""Op records -> scalar programs: one op at a time, or several fused into one.

Invariant: what an op computes does not depend on what it is fused with; half values are rounded
after every op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import BackendError
from ...core.shapes import contiguous_strides
from ..op import Op
from . import half
from .program import TYPE, Builder, Program, ScalarType, Val

__all__ = [
    "Gathered",
    "Composer",
    "given_by",
    "op_program",
    "check_program",
    "conversion",
    "operand_type",
]


def operand_type(dtype: np.dtype) -> ScalarType:
    """Type of an operand of that dtype in a composed program (half types: their 16-bit pattern)."""
    return "u16" if dt.is_half(dtype) else TYPE[dtype]


class Gathered:
    """An operand read anywhere: `shape`, `dtype`, `at(linear index)`, `at_coords(i, j, ...)`."""

    __slots__ = ("s", "operand", "shape", "dtype")

    def __init__(
        self, builder: Builder, operand: int, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.s, self.operand, self.shape, self.dtype = builder, operand, shape, dtype

    def at(self, index: Val) -> Val:
        """The element with that row-major linear index (i64), which must be in range."""
        loaded = self.s.load(self.operand, index)
        return half.unpack(self.s, loaded, self.dtype) if dt.is_half(self.dtype) else loaded

    def at_coords(self, *coords: Any) -> Val:
        """The element with those coordinates (i64 values or Python ints)."""
        if len(coords) != len(self.shape):
            raise BackendError(
                f"{len(coords)} coordinates given for an operand of shape {self.shape}"
            )
        total: Any = 0
        for coord, stride in zip(coords, contiguous_strides(self.shape)):
            term = coord if stride == 1 else coord * stride
            total = term if isinstance(total, int) and total == 0 else total + term
        return self.at(total if isinstance(total, Val) else self.s.const("i64", total))


@lru_cache(1024)
def _recorded(
    body: Any, types: tuple[ScalarType, ...], params: tuple[tuple[str, Any], ...], exact: str
) -> Any:
    """(instructions, numbers of the results) of a body, operands first; TypeError if a result is no
    value. `exact` tells 0.0 from -0.0 and 1 from True."""
    builder = Builder()
    operands = [builder.arg(t) for t in types]
    returned = body(builder, *operands, **dict(params))
    outputs = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
    if not all(isinstance(v, Val) for v in outputs):
        raise TypeError("a body that gives a number")
    return tuple(builder.instrs), tuple([v.id for v in outputs])


class Composer:
    """Builds the program of a fused region; values are Vals (Gathered: operands read anywhere)."""

    def __init__(self) -> None:
        self.s = Builder()
        self._packed: dict[tuple[int, np.dtype], Val] = {}

    def arg(self, dtype: np.dtype) -> Val:
        """A new operand, read at the current position."""
        return self.carried(self.s.arg(operand_type(dtype)), dtype)

    def gather(self, aval: Aval) -> Gathered:
        """A new contiguous operand, read anywhere."""
        return Gathered(self.s, self.s.operand(operand_type(aval.dtype)), aval.shape, aval.dtype)

    def param(self, dtype: np.dtype) -> Val:
        """A new run-time scalar of that dtype (of half types its 16-bit pattern)."""
        return self.carried(self.s.param(operand_type(dtype)), dtype)

    def carried(self, stored: Val, dtype: np.dtype) -> Val:
        """A stored value as ops see it: half types as f32."""
        if not dt.is_half(dtype):
            return stored
        value = half.unpack(self.s, stored, dtype)
        self._packed[value.id, dtype] = stored
        return value

    def _run(self, body: Any, values: Sequence[Any], params: Mapping[str, Any]) -> tuple[Val, ...]:
        returned = body(self.s, *values, **params)
        return tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)

    def _repeat(
        self, record: Op, params: Mapping[str, Any], values: Sequence[Any]
    ) -> tuple[Val, ...] | None:
        """Results of a body from its recorded instructions; None if more than types may matter."""
        if not all(isinstance(v, Val) for v in values):
            return None
        try:
            given = tuple(params.items())
            instrs, outputs = _recorded(
                record.body, tuple([v.type for v in values]), given, repr(given)
            )
        except TypeError:
            # a parameter that cannot be a key, or a result that is a number: let the body run
            return None
        return self.s.repeat(instrs, values, outputs)

    def apply(
        self,
        record: Op,
        params: Mapping[str, Any],
        values: Sequence[Any],
        in_avals: Sequence[Aval],
        out_avals: Sequence[Aval],
    ) -> list[Val]:
        """The results of an op, each rounded to its dtype."""
        if record.body is None:
            raise BackendError(f"op {record.name} has no body; it cannot be part of a loop")
        outputs = self._repeat(record, params, values)
        if outputs is None:
            outputs = self._run(record.body, values, params)
        if len(outputs) != len(out_avals):
            raise BackendError(
                f"the body of {record.name} gives {len(outputs)} results "
                f"instead of {len(out_avals)}"
            )
        return [self._round(record, v, a.dtype) for v, a in zip(outputs, out_avals)]

    def _round(self, record: Op, result: Any, dtype: np.dtype) -> Val:
        value = result if isinstance(result, Val) else self.s.const(TYPE[dtype], result)
        if value.type != TYPE[dtype]:
            raise BackendError(
                f"the body of {record.name} gives {value.type} for a result of dtype {dtype.name} "
                f"({TYPE[dtype]})"
            )
        if not dt.is_half(dtype) or (value.id, dtype) in self._packed:
            return value
        return self.carried(half.pack(self.s, value, dtype), dtype)

    def check(self, record: Op, params: Mapping[str, Any], values: Sequence[Any]) -> Val:
        """True where the op's inputs are invalid."""
        if record.check is None:
            raise BackendError(f"op {record.name} has nothing to check")
        return self._run(record.check, values, params)[0]

    def finish(self, values: Sequence[Val], dtypes: Sequence[np.dtype]) -> Program:
        """The program whose results are these values, stored with these dtypes."""
        outputs = []
        for value, dtype in zip(values, dtypes, strict=True):
            if dt.is_half(dtype):
                kept = self._packed.get((value.id, dtype))
                value = kept if kept is not None else half.pack(self.s, value, dtype)
            outputs.append(value)
        return self.s.program(*outputs)


def _operands(composer: Composer, record: Op, in_avals: Sequence[Aval]) -> list[Any]:
    return [
        composer.gather(a) if i in record.gathers else composer.arg(a.dtype)
        for i, a in enumerate(in_avals)
    ]


def given_by(record: Op, out_avals: Sequence[Aval]) -> tuple[Aval, ...]:
    """What the body of a record gives: the parts of woven results, else the results."""
    if not record.has("woven"):
        return tuple(out_avals)
    return (out_avals[0].with_(out_avals[0].shape[:-1]),) * 2


def op_program(
    record: Op, in_avals: Sequence[Aval], params: Mapping[str, Any], out_avals: Sequence[Aval]
) -> Program:
    """The program of a single map or row op: operand k is input k, result k what the body gives."""
    composer, out_avals = Composer(), given_by(record, out_avals)
    outputs = composer.apply(
        record, params, _operands(composer, record, in_avals), in_avals, out_avals
    )
    return composer.finish(outputs, [a.dtype for a in out_avals])


@lru_cache(None)
def conversion(source: np.dtype, target: np.dtype) -> Program:
    """Elements of one dtype as another."""
    composer = Composer()
    value = composer.s.convert(composer.arg(source), TYPE[target])
    return composer.finish([value], [target])


def check_program(record: Op, in_avals: Sequence[Aval], params: Mapping[str, Any]) -> Program:
    """The program of an op's check: one b1 result, true where an input element is invalid."""
    composer = Composer()
    return composer.s.program(composer.check(record, params, _operands(composer, record, in_avals)))
