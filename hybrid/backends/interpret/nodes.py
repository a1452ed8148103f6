"""One op by itself: the kernels of its record, run by the interpreter.

Invariant: the kernels are those that a plan of this one node would hold, so that op calls and
replays have the same bits; inputs are read only and results are fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.errors import BackendError
from ...core.floating import in_plain_floats
from ...core.shapes import broadcast_shapes, contiguous_strides
from ...ir.graph.graph import Node
from ...ir.op import Op
from ...ir.scalar.compose import check_program
from ..op_kernels import check_failure, kernels_of, used_operands
from ..plan import Kernel, LoopKernel
from .kernels import patterns, run_kernel, walked
from .program import run_program

__all__ = ["interpreted", "checker", "node_kernel"]

Arrays = Sequence[np.ndarray]
Avals = tuple[Aval, ...]
Run = Callable[[Arrays], list[np.ndarray]]


def interpreted(op: Op, params: dict[str, Any], ins: Sequence[Aval], outs: Sequence[Aval]) -> Run:
    """A function from host arrays of an op's inputs to fresh host arrays of its results."""
    return in_plain_floats(_KINDS[op.kind](op, params, tuple(ins), tuple(outs)))


def node_kernel(node: Node, arrays: Arrays) -> list[np.ndarray]:
    """The results of one node, its check included: a kernel function for `ir.evaluate`."""
    ins, outs = [v.aval for v in node.inputs], [v.aval for v in node.outputs]
    arrays = [np.ascontiguousarray(x).reshape(a.shape) for x, a in zip(arrays, ins)]
    check = checker(node.op, node.params, ins)
    if check is not None:
        check(arrays)
    return interpreted(node.op, node.params, ins, outs)(arrays)


def checker(op: Op, params: dict[str, Any], ins: Sequence[Aval]) -> Callable[[Arrays], None] | None:
    """A function of host arrays that raises IndexOutOfRange where the op's record finds a wrong
    element; None for an op without such a check."""
    if op.check is None:
        return None
    program = check_program(op, ins, params)
    used = used_operands(program)
    shape = broadcast_shapes(op.name, *[ins[i].shape for i in sorted(used) if i not in op.gathers])

    @in_plain_floats
    def check(arrays: Arrays) -> None:
        given = [x if i in used else np.zeros((), x.dtype) for i, x in enumerate(arrays)]
        if bool(np.any(run_program(program, list(map(patterns, given)), (), shape)[0])):
            raise check_failure(op, params, ins)

    return check


def _stepper(kernels: Sequence[Kernel], outs: Avals) -> Run:
    """Kernels over slots: inputs, then outputs, all contiguous; outputs start as zeros."""

    def run(arrays: Arrays) -> list[np.ndarray]:
        made = [np.zeros(a.shape, a.dtype) for a in outs]
        buffers = [np.ascontiguousarray(x).reshape(-1) for x in (*arrays, *made)]
        for kernel in kernels:
            run_kernel(kernel, buffers.__getitem__)
        return made

    return run


def _kernels(op: Op, params: dict[str, Any], ins: Avals, outs: Avals) -> Run:
    """Kinds that are kernels; the check of an op is not one of them here (`checker`)."""
    kernels = kernels_of(op, params, ins, outs).kernels([contiguous_strides(a.shape) for a in ins])
    return _stepper([k for k in kernels if not (isinstance(k, LoopKernel) and k.check)], outs)


def _view(op: Op, params: dict[str, Any], ins: Avals, outs: Avals) -> Run:
    source, out = ins[0], outs[0]
    found = op.layout(source, contiguous_strides(source.shape), 0, **params)  # type: ignore[misc]
    if found is None:
        raise BackendError(f"view op {op.name} has no layout even for contiguous elements")
    offset, strides = found

    def run(arrays: Arrays) -> list[np.ndarray]:
        flat = np.ascontiguousarray(arrays[0]).reshape(-1).view(out.dtype)
        return [walked(flat, offset, out.shape, strides).copy()]

    return run


def _place(op: Op, params: dict[str, Any], ins: Avals, outs: Avals) -> Run:
    """Operands copied into regions of a fresh result, over the first operand or over zeros."""
    out, first = outs[0], int(op.has("base"))
    regions = op.layout(*ins, **params)  # type: ignore[misc]

    def run(arrays: Arrays) -> list[np.ndarray]:
        made = arrays[0].copy() if first else np.zeros(out.shape, out.dtype)
        flat = made.reshape(-1)
        for values, (offset, shape, strides) in zip(arrays[first:], regions, strict=True):
            walked(flat, offset, shape, strides)[...] = values
        return [flat.reshape(out.shape)]

    return run


def _host(op: Op, params: dict[str, Any], ins: Avals, outs: Avals) -> Run:
    function = op.body
    if function is None:
        raise BackendError(f"host op {op.name} has no function")

    def run(arrays: Arrays) -> list[np.ndarray]:
        got = function(*arrays, **params)
        results = got if isinstance(got, (tuple, list)) else (got,)
        return [np.array(x, a.dtype).reshape(a.shape) for x, a in zip(results, outs, strict=True)]

    return run


_KINDS: dict[str, Callable[..., Run]] = {
    "map": _kernels,
    "row": _kernels,
    "view": _view,
    "place": _place,
    "contract": _kernels,
    "attend": _kernels,
    "scatter": _kernels,
    "host": _host,
}
