"""How an op call on one row becomes one on all rows: by its record's rule, its kind, or a loop.

Invariant: outputs have the batch axis first and are, row by row, what the record gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..core.cache import keep
from ..core.errors import HybridError
from ..core.shapes import broadcast_shapes
from ..core.sites import user_site
from ..ir.door.bind import FAST, bind, resolved_for, run
from ..ir.door.resolved import Resolved, has_zero
from ..ir.op import MapOp, Op
from ..ir.scalar.compose import op_program
from ..ir.scalar.program import POSITIONS
from ..ops.batched.tools import aligned, every, inner_rank
from ..ops.build.create import zeros
from ..ops.build.join import stack
from ..ops.indexing.getitem import getitem

__all__ = ["batched"]

Tensor = Any
Flags = Sequence[bool]
Params = dict[str, Any]


# maps whose rows need no alignment: what they resolve to, by op, parameters, records and flags
_PLAIN: dict[Any, Resolved] = {}
FAST.append(_PLAIN)


def batched(
    op: Op,
    ordered: tuple[tuple[str, Any], ...],
    inputs: tuple[Tensor, ...],
    flags: tuple[bool, ...],
    size: int,
    rows: Sequence[Any],
) -> tuple[Tensor, ...]:
    """The outputs of an op for all rows; `rows`: the records of those of one row."""
    key = op, ordered, flags, *[x._a for x in inputs]
    plain = _PLAIN.get(key)
    if plain is not None:
        found = run(plain, inputs)
        return (found,) if plain.single else found
    made, params = None, dict(ordered)
    if op.batch is not None:
        made = op.batch(inputs, flags, size, **params)
    elif op.has("draw"):
        made = _draw(op, params, inputs, flags, size)
    elif op.kind in _KINDS:
        made = _KINDS[op.kind](op, params, inputs, flags, size)
    outputs = made if isinstance(made, tuple) else (made,)
    if made is not None and all(map(_fits, outputs, rows, [size] * len(rows))):
        if op.kind == "map" and op.batch is None and not op.has("draw"):
            _learn(key, op, ordered, inputs, flags)
        return outputs
    return _one_by_one(op, params, inputs, flags, size)


def _fits(output: Tensor, row: Any, size: int) -> bool:
    return bool(output._a.shape == (size, *row.shape) and output._a.dtype is row.dtype)


def _learn(
    key: Any, op: Op, ordered: Any, inputs: tuple[Tensor, ...], flags: tuple[bool, ...]
) -> None:
    """Remember a map that was called with its inputs as they are."""
    ranks = list(map(inner_rank, inputs, flags))
    as_given = all(rank == max(ranks) for rank, flag in zip(ranks, flags) if flag)
    params = tuple([value for _, value in ordered])
    if as_given and not has_zero(params) and not _moved(op, dict(ordered), inputs):
        avals = tuple([x._a for x in inputs])
        keep(_PLAIN, key, resolved_for(op, avals, ordered), 4096)


def _moved(op: Op, params: Params, inputs: Sequence[Tensor]) -> bool:
    return not isinstance(op, MapOp) or bool(op.gathers) or _tells_positions(op, params, inputs)


# ---- by kind
def _map(op: Op, params: Params, inputs: Sequence[Tensor], flags: Flags, size: int) -> Any:
    """Elements alone: the rows of all inputs get one rank."""
    if not isinstance(op, MapOp) or op.gathers:
        return None
    rank = max(map(inner_rank, inputs, flags))
    ranked = [aligned(x, flag, rank) for x, flag in zip(inputs, flags)]
    if _tells_positions(op, params, ranked):
        return _further(op, params, inputs, flags, size)
    return bind(op, *ranked, **params)


_POSITIONS: dict[Any, bool] = {}
FAST.append(_POSITIONS)


def _tells_positions(op: Op, params: Params, inputs: Sequence[Tensor]) -> bool:
    """Whether the body of a map looks at where an element is."""
    key = op, tuple(params.items()), tuple([x._a for x in inputs])
    found = _POSITIONS.get(key)
    if found is None:
        avals = [x._a for x in inputs]
        shape = broadcast_shapes(op.name, *[aval.shape for aval in avals])
        ranked = [aval.with_((1,) * (len(shape) - aval.ndim) + aval.shape) for aval in avals]
        outs = op.infer(*ranked, **params)
        program = op_program(op, ranked, params, outs)
        found = any(instruction.prim in POSITIONS for instruction in program.instrs)
        keep(_POSITIONS, key, found, 4096)
    return found


def _further(op: Op, params: Params, inputs: Sequence[Tensor], flags: Flags, size: int) -> Any:
    """Records that work along axes: these are one further on; others say nothing."""
    moved: Params = {}
    known = False
    for name, value in params.items():
        if name == "axis" and type(value) is int:
            moved[name], known = value + 1, True
        elif name == "axes" and isinstance(value, tuple):
            moved[name], known = tuple([axis + 1 for axis in value]), True
        elif isinstance(value, tuple):
            return None
        else:
            moved[name] = value
    if not known:
        return None
    try:
        return bind(op, *every(inputs, flags, size), **moved)
    except HybridError:  # its operands are not all rows of one rank
        return None


def _draw(op: Op, params: Params, inputs: Sequence[Tensor], flags: Flags, size: int) -> Any:
    """One draw for all rows: each takes the elements that follow those of the row before it."""
    shape = params["shape"]
    given = [aligned(x, flag, len(shape)) for x, flag in zip(inputs, flags)]
    return bind(op, *given, **{**params, "shape": (size, *shape)})


_KINDS: dict[str, Callable[..., Any]] = {
    "map": _map,
    "row": _further,
    "place": _further,
    "host": _further,
}


# ---- a loop
_SAID: set[str] = set()


def _one_by_one(
    op: Op, params: Params, inputs: Sequence[Tensor], flags: Flags, size: int
) -> tuple[Tensor, ...]:
    """Row by row, stacked; said once for a record."""
    if op.name not in _SAID:
        _SAID.add(op.name)
        site = user_site()
        where = ("<unknown>", 0) if site is None else (site.file, site.line)
        text = f"vmap runs {op.name} row by row: its record has no rule for a batch"
        warnings.warn_explicit(text, UserWarning, *where)
    count = max(size, 1)  # of no rows one is made up, for the shapes of its outputs
    given = [x if size or not flag else _made_up(x) for x, flag in zip(inputs, flags)]
    rows = []
    for number in range(count):
        picked = [getitem(x, number) if flag else x for x, flag in zip(given, flags)]
        made = bind(op, *picked, **params)
        rows.append(made if isinstance(made, tuple) else (made,))
    stacked = [stack(list(column)) for column in zip(*rows)]
    return tuple([out if size else out[:0] for out in stacked])


def _made_up(tensor: Tensor) -> Tensor:
    """A row of zeros in the place of no rows."""
    aval = tensor._a
    return zeros((1, *aval.shape[1:]), dtype=aval.dtype, device=aval.device)
