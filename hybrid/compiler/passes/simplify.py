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
from ...core.floating import plain_floats
from ...core.shapes import contiguous_strides, is_contiguous
from ...ir.graph.graph import Const, Graph, Node, Value, param_key
from ...ir.graph.rewrite import rewrite
from . import Context, Pass

__all__ = ["PASS", "exact"]

Found = Value | Node | None


def exact(a: np.dtype, b: np.dtype) -> bool:
    """Whether every value of dtype a is a value of dtype b.

    >>> exact(dt.bfloat16, dt.float32), exact(dt.int32, dt.float32), exact(dt.bool_, dt.int8)
    (True, False, True)
    """
    if a is b or a is dt.bool_:
        return True
    ka, kb = dt.kind(a), dt.kind(b)
    if ka == "f":
        return kb == "f" and not dt.is_half(b) and b.itemsize > a.itemsize
    bits = 8 * a.itemsize - (ka == "i")
    if kb == "f":
        return bits <= {dt.float16: 11, dt.bfloat16: 8, dt.float32: 24, dt.float64: 53}[b]
    return kb != "b" and not (ka == "i" and kb == "u") and 8 * b.itemsize - (kb == "i") >= bits


def _same_bits(v: Value, value: Any) -> bool:
    """Whether v is known to hold `value` everywhere, to the bit: a literal, or a fill."""
    d = v.aval.dtype
    with plain_floats():
        one = np.array(value).astype(d)
    if v.aval.size == 0 or (dt.kind(d) in "iub" and float(one) != float(value)):
        return False
    if isinstance(v, Const):
        return v.data.tobytes() == one.tobytes() * v.aval.size
    if v.node is None or not v.node.op.has("constant"):
        return False
    carried = one.astype(dt.compute_type(d))
    return bool(v.node.params["bits"] == int(carried.reshape(1).view(f"u{carried.itemsize}")[0]))


def _unit(n: Node, ins: Sequence[Value]) -> Found:
    if len(ins) != 2 or len(n.outputs) != 1:
        return None
    for i, value in n.op.unit.items():
        c, other = ins[i], ins[1 - i]
        if other.aval is n.outputs[0].aval and _same_bits(c, value):
            return other
    return None


def _unary(n: Node, ins: Sequence[Value]) -> Found:
    if len(ins) != 1 or len(n.outputs) != 1:
        return None
    x, out = ins[0], n.outputs[0]
    if n.op.has("pure_copy") and x.aval is out.aval:
        return x
    inner = x.node
    if inner is None or inner.op is not n.op or _params(inner) != _params(n):
        return None
    if n.op.has("involution") and inner.inputs[0].aval is out.aval:
        return inner.inputs[0]
    return x if n.op.has("idempotent") and x.aval is out.aval else None


def _params(n: Node) -> Any:
    return [(k, param_key(n.params[k])) for k in sorted(n.params)]


def _view(n: Node, ins: Sequence[Value]) -> Found:
    """The ancestor that a chain of views arrives back at."""
    if n.op.kind != "view":
        return None
    out = n.outputs[0]
    chain, x = [n], ins[0]
    found: Value | None = None
    while True:
        if x.aval is out.aval and _identity(chain[::-1], x):
            found = x
        if x.node is None or x.node.op.kind != "view" or len(chain) >= 8:
            return found
        chain.append(x.node)
        x = x.node.inputs[0]


def _identity(chain: Sequence[Node], x: Value) -> bool:
    strides: Any = contiguous_strides(x.aval.shape)
    offset, a = 0, x.aval
    for n in chain:
        assert n.op.layout is not None
        got = n.op.layout(a, strides, offset, **n.params)
        if got is None:
            return False
        (offset, strides), a = got, n.outputs[0].aval
    return offset == 0 and is_contiguous(a.shape, strides)


def _convert(n: Node, ins: Sequence[Value]) -> Found:
    if not n.op.has("convert"):
        return None
    x, out = ins[0], n.outputs[0]
    if x.aval is out.aval:
        return x
    inner = x.node
    if inner is None or inner.op is not n.op:
        return None
    src = inner.inputs[0]
    a, mid, b = src.aval.dtype, x.aval.dtype, out.aval.dtype
    if not exact(a, mid):
        return None
    if a is b:
        return src
    # an integer read as a float saturates where integers wrap
    if dt.is_int(a) and dt.is_float(mid) and dt.is_int(b):
        return None
    return Node(n.op, n.params, (src,), (out.aval,), n.site)


def run(graph: Graph, context: Context) -> Graph:
    number: dict[Value, int] = {v: k for k, v in enumerate(graph.inputs)}

    def order(v: Value) -> tuple[int, int]:
        return (1, 0) if isinstance(v, Const) else (0, number[v])

    def visit(n: Node, ins: tuple[Value, ...]) -> Sequence[Value] | Node | None:
        got = _unit(n, ins) or _unary(n, ins) or _view(n, ins) or _convert(n, ins)
        if isinstance(got, Value):
            return [got]
        if got is None:
            if n.op.has("commutative") and len(ins) == 2 and order(ins[0]) > order(ins[1]):
                ins = ins[::-1]
            changed = any(a is not b for a, b in zip(ins, n.inputs))
            got = (
                Node(n.op, n.params, ins, [v.aval for v in n.outputs], n.site) if changed else None
            )
        for v in n.outputs if got is None else got.outputs:
            number[v] = len(number)
        return got

    return rewrite(graph, visit)


PASS = Pass("simplify", run)
