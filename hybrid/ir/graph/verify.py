"""The verifier: raises GraphError on the first thing wrong with a graph.

Invariant: a graph that passes can be printed, parsed, evaluated and lowered: shapes and dtypes are
those the op's own rule gives, every value is defined before it is used, and parameters are plain
hashable data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval, Device, aval
from ...core.errors import GraphError, HybridError
from ..op import OPS
from .graph import Const, Graph, Node, Value

__all__ = ["verify", "plain"]

MAX_DEPTH = 32


def plain(value: Any, depth: int = 0) -> bool:
    """Whether a parameter value is data that the text form can carry."""
    if isinstance(value, tuple) and type(value) is tuple:
        return depth < MAX_DEPTH and all(plain(v, depth + 1) for v in value)
    if isinstance(value, np.dtype):
        return value in dt.ALL
    return value is None or type(value) in (bool, int, float, str, Device)


def _check_aval(v: Value, what: str) -> None:
    a = v.aval
    if not isinstance(a, Aval) or aval(a.shape, a.dtype, a.device) is not a:
        raise GraphError(f"{what}: {a!r} is not an interned aval")


def _check_literal(c: Const, what: str) -> None:
    if c.data.shape != c.aval.shape or c.data.dtype != c.aval.dtype:
        raise GraphError(f"{what}: literal {c.data.dtype}{c.data.shape} does not fit {c.aval}")
    if c.data.flags.writeable:
        raise GraphError(f"{what}: the array of a literal must be read-only")


def _check_use(v: Value, defined: set[Value], what: str) -> None:
    if isinstance(v, Const):
        _check_literal(v, what)
    elif v not in defined:
        raise GraphError(f"{what}: uses {v!r}, which is not defined before it")


def _check_params(n: Node, what: str) -> None:
    unknown = set(n.params) - set(n.op.params)
    if unknown or len(n.params) != len(n.op.params):
        raise GraphError(f"{what}: parameters {sorted(n.params)}, the op has {sorted(n.op.params)}")
    for name, value in n.params.items():
        if not plain(value) and n.op.kind != "host":
            raise GraphError(
                f"{what}: parameter {name}={value!r} is not plain data (None, bool, int, float, "
                "str, dtype, device or tuples of these)"
            )
        try:
            hash(value)
        except TypeError:
            raise GraphError(
                f"{what}: parameter {name}={value!r} is not hashable; use a tuple"
            ) from None


def _check_node(n: Node, what: str) -> None:
    op = n.op
    if OPS.get(op.name) is not op:
        raise GraphError(f"{what}: {op!r} is not a registered op")
    if op.nin is not None and len(n.inputs) != op.nin:
        raise GraphError(f"{what}: {len(n.inputs)} inputs, {op.name} takes {op.nin}")
    _check_params(n, what)
    devices = {v.aval.device for v in n.inputs}
    if len(devices) > 1:
        raise GraphError(
            f"{what}: inputs on different devices: {', '.join(sorted(map(str, devices)))}"
        )
    try:
        want = tuple(op.infer(*[v.aval for v in n.inputs], **n.params))
    except HybridError as e:
        raise GraphError(f"{what}: {e}") from e
    except Exception as e:  # a rule met inputs or parameters it was not written for
        raise GraphError(f"{what}: the op's rule failed: {type(e).__name__}: {e}") from e
    got = tuple(v.aval for v in n.outputs)
    if want != got:
        raise GraphError(f"{what}: results are {list(got)}, the op's rule gives {list(want)}")


def verify(graph: Graph) -> Graph:
    """The graph itself, checked; raises GraphError naming the node."""
    if len(set(graph.inputs)) != len(graph.inputs):
        raise GraphError("an input is listed twice")
    if len(graph.names) != len(graph.inputs):
        raise GraphError(f"{len(graph.names)} names for {len(graph.inputs)} inputs")
    defined: set[Value] = set()
    for k, v in enumerate(graph.inputs):
        _check_aval(v, f"input {k}")
        if v.node is not None or isinstance(v, Const):
            raise GraphError(
                f"input {k} is {'a literal' if isinstance(v, Const) else 'the result of a node'}"
            )
        defined.add(v)
    for k, n in enumerate(graph.nodes):
        what = f"node {k} ({n.op.name}" + (f", {n.site.file}:{n.site.line})" if n.site else ")")
        for v in n.inputs:
            _check_use(v, defined, what)
        for i, v in enumerate(n.outputs):
            _check_aval(v, what)
            if v.node is not n or v.index != i or v in defined:
                raise GraphError(f"{what}: result {i} does not belong to the node")
            defined.add(v)
        _check_node(n, what)
    for k, v in enumerate(graph.outputs):
        _check_use(v, defined, f"output {k}")
    return graph
