"""The graph: SSA nodes over values with shape, dtype and device.

Invariant: Value, Node and Graph never change after construction; a pass builds new ones and returns
the same object when it changed nothing.  Node order is a valid execution order and the program
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.errors import GraphError, Site
from ..op import Op

__all__ = ["Value", "Const", "Node", "Graph", "make_node", "literal_key", "param_key"]


class Value:
    """One result: of `node` (output number `index`), or an input of the graph when node is None."""

    __slots__ = ("aval", "node", "index")

    def __init__(self, aval: Aval, node: Node | None = None, index: int = 0) -> None:
        self.aval, self.node, self.index = aval, node, index

    def __repr__(self) -> str:
        return f"Value({self.aval}, {self.node.op.name if self.node else 'input'})"


class Const(Value):
    """A literal known at record time: `data` is a read-only NumPy array of the
    aval's shape and dtype."""

    __slots__ = ("data",)
    known = True  # whether passes may look at the data

    def __init__(self, aval: Aval, data: np.ndarray) -> None:
        super().__init__(aval)
        self.data = data
        if data.shape != aval.shape or data.dtype != aval.dtype:
            raise GraphError(f"literal {data.dtype}{data.shape} does not fit {aval}")

    def bits(self) -> int:
        """The bit pattern of the first number."""
        raw = np.ascontiguousarray(self.data).reshape(-1)[:1].tobytes()
        return int.from_bytes(raw, "little")

    def content(self) -> Any:
        """What equal literals have in common."""
        return self.data.tobytes()


def literal_key(literal: Const) -> tuple[Any, ...]:
    """Equal keys mean equal bits."""
    return literal.aval, literal.content()


def param_key(value: Any) -> Any:
    """A key that tells parameters apart exactly: 0.0 from -0.0, and 1 from 1.0 and True."""
    if isinstance(value, tuple):
        return tuple(map(param_key, value))
    if isinstance(value, float):
        return float, value.hex()
    return type(value), value


class Node:
    """One op applied: `params` maps names to hashable values; `site` is the user's line."""

    __slots__ = ("op", "params", "inputs", "outputs", "site")

    def __init__(
        self,
        op: Op,
        params: dict[str, Any],
        inputs: Sequence[Value],
        out_avals: Sequence[Aval],
        site: Site | None = None,
    ) -> None:
        self.op, self.params, self.inputs, self.site = op, params, tuple(inputs), site
        self.outputs = tuple(Value(a, self, i) for i, a in enumerate(out_avals))

    def key(self) -> tuple[Any, ...]:
        """What decides the results: op, params, inputs (literals by content)."""
        return (
            self.op,
            tuple((k, param_key(self.params[k])) for k in sorted(self.params)),
            tuple(literal_key(v) if isinstance(v, Const) else v for v in self.inputs),
        )

    def __repr__(self) -> str:
        return f"Node({self.op.name})"


def make_node(
    op: Op, params: dict[str, Any], inputs: Sequence[Value], site: Site | None = None
) -> Node:
    """A node whose output avals come from the op's own rule."""
    return Node(op, params, inputs, op.infer(*[v.aval for v in inputs], **params), site)


class Graph:
    """Inputs, nodes in order, outputs.  Outputs may repeat, and may be inputs or literals."""

    __slots__ = ("inputs", "nodes", "outputs", "names")

    def __init__(
        self,
        inputs: Sequence[Value],
        nodes: Sequence[Node],
        outputs: Sequence[Value],
        names: Sequence[str] = (),
    ) -> None:
        self.inputs, self.nodes, self.outputs = tuple(inputs), tuple(nodes), tuple(outputs)
        self.names = tuple(names) or tuple(f"x{i}" for i in range(len(self.inputs)))

    def users(self) -> dict[Value, list[Node]]:
        """Nodes that read each value, in order; outputs of the graph are not users."""
        users: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                users.setdefault(value, []).append(node)
        return users
