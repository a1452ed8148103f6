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
from .region import regions_in

__all__ = ["verify", "plain"]

MAX_DEPTH = 32


def plain(value: Any, depth: int = 0) -> bool:
    """Whether a parameter value is data that the text form can carry."""
    if isinstance(value, tuple) and type(value) is tuple:
        return depth < MAX_DEPTH and all(plain(v, depth + 1) for v in value)
    if isinstance(value, np.dtype):
        return value in dt.ALL
    return value is None or type(value) in (bool, int, float, str, Device)


def _check_aval(value: Value, context: str) -> None:
    aval_given = value.aval
    if (
        not isinstance(aval_given, Aval)
        or aval(aval_given.shape, aval_given.dtype, aval_given.device) is not aval_given
    ):
        raise GraphError(f"{context}: {aval_given!r} is not an interned aval")


def _check_literal(literal: Const, context: str) -> None:
    if literal.data.shape != literal.aval.shape or literal.data.dtype != literal.aval.dtype:
        raise GraphError(
            f"{context}: literal {literal.data.dtype}{literal.data.shape} does not fit "
            f"{literal.aval}"
        )
    if literal.data.flags.writeable:
        raise GraphError(f"{context}: the array of a literal must be read-only")


def _check_use(value: Value, defined: set[Value], context: str) -> None:
    if isinstance(value, Const):
        _check_literal(value, context)
    elif value not in defined:
        raise GraphError(f"{context}: uses {value!r}, which is not defined before it")


def _check_params(node: Node, context: str) -> None:
    unknown = set(node.params) - set(node.op.params)
    if unknown or len(node.params) != len(node.op.params):
        raise GraphError(
            f"{context}: parameters {sorted(node.params)}, the op has {sorted(node.op.params)}"
        )
    for name, value in node.params.items():
        if not plain(value) and node.op.kind != "host":
            raise GraphError(
                f"{context}: parameter {name}={value!r} is not plain data (None, bool, int, float, "
                "str, dtype, device or tuples of these)"
            )
        try:
            hash(value)
        except TypeError:
            raise GraphError(
                f"{context}: parameter {name}={value!r} is not hashable; use a tuple"
            ) from None
    for number, region in enumerate(regions_in(node.params)):
        try:
            verify(region.graph)
        except GraphError as error:
            raise GraphError(f"{context}: region {number}: {error}") from None


def _check_node(node: Node, context: str) -> None:
    op = node.op
    if OPS.get(op.name) is not op:
        raise GraphError(f"{context}: {op!r} is not a registered op")
    if op.nin is not None and len(node.inputs) != op.nin:
        raise GraphError(f"{context}: {len(node.inputs)} inputs, {op.name} takes {op.nin}")
    _check_params(node, context)
    devices = {v.aval.device for v in node.inputs}
    if len(devices) > 1:
        raise GraphError(
            f"{context}: inputs on different devices: {', '.join(sorted(map(str, devices)))}"
        )
    try:
        expected = tuple(op.infer(*[v.aval for v in node.inputs], **node.params))
    except HybridError as error:
        raise GraphError(f"{context}: {error}") from error
    except Exception as error:  # a rule met inputs or parameters it was not written for
        raise GraphError(
            f"{context}: the op's rule failed: {type(error).__name__}: {error}"
        ) from error
    actual = tuple(v.aval for v in node.outputs)
    if expected != actual:
        raise GraphError(
            f"{context}: results are {list(actual)}, the op's rule gives {list(expected)}"
        )


def verify(graph: Graph) -> Graph:
    """The graph itself, checked; raises GraphError naming the node."""
    if len(set(graph.inputs)) != len(graph.inputs):
        raise GraphError("an input is listed twice")
    if len(graph.names) != len(graph.inputs):
        raise GraphError(f"{len(graph.names)} names for {len(graph.inputs)} inputs")
    defined: set[Value] = set()
    for number, value in enumerate(graph.inputs):
        _check_aval(value, f"input {number}")
        if value.node is not None or isinstance(value, Const):
            what = "a literal" if isinstance(value, Const) else "the result of a node"
            raise GraphError(f"input {number} is {what}")
        defined.add(value)
    for number, node in enumerate(graph.nodes):
        context = f"node {number} ({node.op.name}" + (
            f", {node.site.file}:{node.site.line})" if node.site else ")"
        )
        for value in node.inputs:
            _check_use(value, defined, context)
        for result, value in enumerate(node.outputs):
            _check_aval(value, context)
            if value.node is not node or value.index != result or value in defined:
                raise GraphError(f"{context}: result {result} does not belong to the node")
            defined.add(value)
        _check_node(node, context)
    for number, value in enumerate(graph.outputs):
        _check_use(value, defined, f"output {number}")
    return graph
