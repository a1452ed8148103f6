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

__all__ = ["Gathered", "Composer", "op_program", "check_program", "operand_type"]


def operand_type(dtype: np.dtype) -> ScalarType:
    """Type of an operand of dtype d in a composed program (half types: their 16-bit pattern)."""
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
    outs = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
    if not all(isinstance(v, Val) for v in outs):
        raise TypeError("a body that gives a number")
    return tuple(builder.instrs), tuple([v.id for v in outs])


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
        """A new run-time scalar of dtype d (of half types the parameter is the 16-bit pattern)."""
        return self.carried(self.s.param(operand_type(dtype)), dtype)

    def carried(self, x: Val, dtype: np.dtype) -> Val:
        """A stored value as ops see it: half types as f32."""
        if not dt.is_half(dtype):
            return x
        value = half.unpack(self.s, x, dtype)
        self._packed[value.id, dtype] = x
        return value

    def _run(self, body: Any, values: Sequence[Any], params: Mapping[str, Any]) -> tuple[Val, ...]:
        returned = body(self.s, *values, **params)
        return tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)

    def _repeat(
        self, op: Op, params: Mapping[str, Any], values: Sequence[Any]
    ) -> tuple[Val, ...] | None:
        """Results of a body from its recorded instructions; None if more than types may matter."""
        if not all(isinstance(v, Val) for v in values):
            return None
        try:
            given = tuple(params.items())
            instrs, outs = _recorded(op.body, tuple([v.type for v in values]), given, repr(given))
        except TypeError:
            # a parameter that cannot be a key, or a result that is a number: let the body run
            return None
        emit, here = self.s.emit, list(values)
        for prim, scalar_type, args, attr in instrs[len(values) :]:
            here.append(emit(prim, scalar_type, tuple([here[a].id for a in args]), attr))
        return tuple([here[k] for k in outs])

    def apply(
        self,
        op: Op,
        params: Mapping[str, Any],
        values: Sequence[Any],
        in_avals: Sequence[Aval],
        out_avals: Sequence[Aval],
    ) -> list[Val]:
        """The results of an op, each rounded to its dtype."""
        if op.body is None:
            raise BackendError(f"op {op.name} has no body; it cannot be part of a loop")
        outs = self._repeat(op, params, values)
        if outs is None:
            outs = self._run(op.body, values, params)
        if len(outs) != len(out_avals):
            raise BackendError(
                f"the body of {op.name} gives {len(outs)} results instead of {len(out_avals)}"
            )
        return [self._round(op, v, a.dtype) for v, a in zip(outs, out_avals)]

    def _round(self, op: Op, v: Any, dtype: np.dtype) -> Val:
        value: Val = v if isinstance(v, Val) else self.s.const(TYPE[dtype], v)
        if value.type != TYPE[dtype]:
            raise BackendError(
                f"the body of {op.name} gives {value.type} for a result of dtype {dtype.name} "
                f"({TYPE[dtype]})"
            )
        if not dt.is_half(dtype) or (value.id, dtype) in self._packed:
            return value
        return self.carried(half.pack(self.s, value, dtype), dtype)

    def check(self, op: Op, params: Mapping[str, Any], values: Sequence[Any]) -> Val:
        """True where the op's inputs are invalid."""
        if op.check is None:
            raise BackendError(f"op {op.name} has nothing to check")
        return self._run(op.check, values, params)[0]

    def finish(self, values: Sequence[Val], dtypes: Sequence[np.dtype]) -> Program:
        """The program whose results are these values, stored with these dtypes."""
        outs = []
        for value, dtype in zip(values, dtypes, strict=True):
            if dt.is_half(dtype):
                kept = self._packed.get((value.id, dtype))
                value = kept if kept is not None else half.pack(self.s, value, dtype)
            outs.append(value)
        return self.s.program(*outs)


def _operands(composer: Composer, op: Op, in_avals: Sequence[Aval]) -> list[Any]:
    return [
        composer.gather(a) if i in op.gathers else composer.arg(a.dtype)
        for i, a in enumerate(in_avals)
    ]


def op_program(
    op: Op, in_avals: Sequence[Aval], params: Mapping[str, Any], out_avals: Sequence[Aval]
) -> Program:
    """The program of a single map or row op: operand k is input k."""
    composer = Composer()
    outs = composer.apply(op, params, _operands(composer, op, in_avals), in_avals, out_avals)
    return composer.finish(outs, [a.dtype for a in out_avals])


def check_program(op: Op, in_avals: Sequence[Aval], params: Mapping[str, Any]) -> Program:
    """The program of an op's check: one b1 result, true where an input element is invalid."""
    composer = Composer()
    return composer.s.program(composer.check(op, params, _operands(composer, op, in_avals)))
