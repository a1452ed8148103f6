"""Simplify: rules that leave every bit as it is, driven by the facts of op records.

  unit         an operand that makes the op the identity        multiply(x, 1.0)        -> x
  pure_copy    same elements, same aval                         positive(x)             -> x
  idempotent   applied to its own result                        floor(floor(x))         -> floor(x)
  involution   undoes itself                                    negative(negative(x))   -> x
  views        a chain of views that ends where it began        transpose(transpose(x)) -> x
  convert      to the same dtype, or through an exact one       f32(f64(x: f32))        -> x
  commutative  operands in program order, literals last         add(1.0, x)             -> add(x,
               1.0)

A rule applies only where the result has the aval of what replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.floating import in_plain_floats
from ...core.shapes import contiguous_strides, is_contiguous
from ...ir.graph.graph import Const, Graph, Node, Value, param_key
from ...ir.graph.rewrite import rewrite
from ...ir.op import MapOp
from . import Context, Pass

__all__ = ["PASS", "exact"]

Found = Value | Node | None


def exact(source: np.dtype, target: np.dtype) -> bool:
    """Whether every value of dtype a is a value of dtype b.

    >>> exact(dt.bfloat16, dt.float32), exact(dt.int32, dt.float32), exact(dt.bool_, dt.int8)
    (True, False, True)
    """
    if source is target or source is dt.bool_:
        return True
    source_kind, target_kind = dt.kind(source), dt.kind(target)
    if source_kind == "f":
        return target_kind == "f" and not dt.is_half(target) and target.itemsize > source.itemsize
    bits = 8 * source.itemsize - (source_kind == "i")
    if target_kind == "f":
        return bits <= {dt.float16: 11, dt.bfloat16: 8, dt.float32: 24, dt.float64: 53}[target]
    return (
        target_kind != "b"
        and not (source_kind == "i" and target_kind == "u")
        and 8 * target.itemsize - (target_kind == "i") >= bits
    )


@in_plain_floats
def _same_bits(operand: Value, number: Any) -> bool:
    """Whether the operand is `number` everywhere, to the bit: a literal, or a fill."""
    dtype = operand.aval.dtype
    wanted = np.array(number).astype(dtype)
    if operand.aval.size == 0 or (dt.kind(dtype) in "iub" and float(wanted) != float(number)):
        return False
    if isinstance(operand, Const) and not operand.known:
        return operand.bits() == int.from_bytes(wanted.tobytes(), "little")
    if isinstance(operand, Const):
        return operand.data.tobytes() == wanted.tobytes() * operand.aval.size
    if operand.node is None or not operand.node.op.has("constant"):
        return False
    carried = wanted.astype(dt.compute_type(dtype))
    return bool(
        operand.node.params["bits"] == int(carried.reshape(1).view(f"u{carried.itemsize}")[0])
    )


def _unit(node: Node, inputs: Sequence[Value]) -> Found:
    if len(inputs) != 2 or len(node.outputs) != 1 or not isinstance(node.op, MapOp):
        return None
    for position, value in node.op.unit.items():
        operand, other = inputs[position], inputs[1 - position]
        if other.aval is node.outputs[0].aval and _same_bits(operand, value):
            return other
    return None


def _unary(node: Node, inputs: Sequence[Value]) -> Found:
    if len(inputs) != 1 or len(node.outputs) != 1:
        return None
    source, result = inputs[0], node.outputs[0]
    if node.op.has("pure_copy") and source.aval is result.aval:
        return source
    inner = source.node
    if inner is None or inner.op is not node.op or _params(inner) != _params(node):
        return None
    if node.op.has("involution") and inner.inputs[0].aval is result.aval:
        return inner.inputs[0]
    return source if node.op.has("idempotent") and source.aval is result.aval else None


def _params(node: Node) -> Any:
    return [(k, param_key(node.params[k])) for k in sorted(node.params)]


def _view(node: Node, inputs: Sequence[Value]) -> Found:
    """The ancestor that a chain of views arrives back at."""
    if node.op.kind != "view":
        return None
    result = node.outputs[0]
    chain, source = [node], inputs[0]
    found: Value | None = None
    while True:
        if source.aval is result.aval and _identity(chain[::-1], source):
            found = source
        if source.node is None or source.node.op.kind != "view" or len(chain) >= 8:
            return found
        chain.append(source.node)
        source = source.node.inputs[0]


def _identity(chain: Sequence[Node], start: Value) -> bool:
    strides: Any = contiguous_strides(start.aval.shape)
    offset, aval = 0, start.aval
    for view in chain:
        assert view.op.layout is not None
        layout = view.op.layout(aval, strides, offset, **view.params)
        if layout is None:
            return False
        (offset, strides), aval = layout, view.outputs[0].aval
    return offset == 0 and is_contiguous(aval.shape, strides)


def _convert(node: Node, inputs: Sequence[Value]) -> Found:
    if not node.op.has("convert"):
        return None
    middle, result = inputs[0], node.outputs[0]
    if middle.aval is result.aval:
        return middle
    inner = middle.node
    if inner is None or inner.op is not node.op:
        return None
    source = inner.inputs[0]
    from_dtype, through, to_dtype = source.aval.dtype, middle.aval.dtype, result.aval.dtype
    if not exact(from_dtype, through):
        return None
    if from_dtype is to_dtype:
        return source
    # an integer read as a float saturates where integers wrap
    if dt.is_int(from_dtype) and dt.is_float(through) and dt.is_int(to_dtype):
        return None
    return Node(node.op, node.params, (source,), (result.aval,), node.site)


def run(graph: Graph, context: Context) -> Graph:
    number: dict[Value, int] = {v: k for k, v in enumerate(graph.inputs)}

    def order(value: Value) -> tuple[int, int]:
        return (1, 0) if isinstance(value, Const) else (0, number[value])

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | Node | None:
        found = (
            _unit(node, inputs)
            or _unary(node, inputs)
            or _view(node, inputs)
            or _convert(node, inputs)
        )
        if isinstance(found, Value):
            return [found]
        if found is None:
            if (
                node.op.has("commutative")
                and len(inputs) == 2
                and order(inputs[0]) > order(inputs[1])
            ):
                inputs = inputs[::-1]
            changed = any(a is not b for a, b in zip(inputs, node.inputs))
            found = (
                Node(node.op, node.params, inputs, [v.aval for v in node.outputs], node.site)
                if changed
                else None
            )
        for value in node.outputs if found is None else found.outputs:
            number[value] = len(number)
        return found

    return rewrite(graph, visit)


PASS = Pass("simplify", run)
