"""Complex numbers in plans: every value of complex dtype as the pairs of its parts, and woven
results as parts that are put side by side.

Invariant: kernels see real numbers only; a plan's inputs, outputs and state have the records of the
graph that it was made of, whose memory is that of their pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ...backends.plan import HostStep, Plan
from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import GraphError
from ...ir.graph.graph import Const, Graph, Node, Value
from ...ir.graph.region import Region
from ...ir.op import Fact, Op, record_with

__all__ = ["in_pairs", "labelled"]

_FILLED: tuple[Fact, ...] = ("base", "zeros")  # what a placement does before it places


def _pairs(record: Aval) -> Aval:
    """The record of what complex numbers are in memory; any other record itself."""
    if not dt.is_complex(record.dtype):
        return record
    return record.with_((*record.shape, 2), dt.real_of(record.dtype))


@lru_cache(None)
def _in_parts(op: Op) -> Op:
    """A record of woven results as one whose results are the parts."""
    return replace(op, nout=2, facts=op.facts - {"woven"})


class _InPairs:
    """Builds the graph over pairs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made: dict[Value, Value] = {}
        self.nodes: list[Node] = []

    def run(self) -> Graph:
        inputs = [self._input(value) for value in self.graph.inputs]
        for node in self.graph.nodes:
            self._node(node)
        outputs = self._outputs([self._of(value) for value in self.graph.outputs])
        return Graph(inputs, self.nodes, outputs, self.graph.names)

    def _input(self, value: Value) -> Value:
        if dt.is_complex(value.aval.dtype):
            self.made[value] = Value(_pairs(value.aval))
        return self._of(value)

    def _of(self, value: Value) -> Value:
        if isinstance(value, Const) and dt.is_complex(value.aval.dtype) and value not in self.made:
            record, data = _pairs(value.aval), np.ascontiguousarray(value.data)
            pairs = data.view(record.dtype).reshape(record.shape)
            pairs.flags.writeable = False
            self.made[value] = Const(record, pairs)
        return self.made.get(value, value)

    def _node(self, node: Node) -> None:
        inputs = [self._of(value) for value in node.inputs]
        if node.op.has("woven"):
            self._weave(node, inputs)
            return
        if node.op.has("to_pairs") or node.op.has("of_pairs"):
            self.made[node.outputs[0]] = inputs[0]
            return
        values = (*node.inputs, *node.outputs)
        if any(dt.is_complex(v.aval.dtype) for v in values):
            self._replace(node, inputs)
        elif any(a is not b for a, b in zip(inputs, node.inputs)):
            self._add(node, node.op, node.params, inputs)
        else:
            self.nodes.append(node)

    def _weave(self, node: Node, inputs: Sequence[Value]) -> None:
        """Parts, which may be fused with what takes the pairs apart, and then the pairs."""
        pairs = node.outputs[0].aval
        part = pairs.with_(pairs.shape[:-1])
        parts = Node(_in_parts(node.op), node.params, inputs, [part, part], node.site)
        whole = Node(record_with("place", "weaves"), {}, parts.outputs, [pairs], node.site)
        self.nodes += [parts, whole]
        self.made[node.outputs[0]] = whole.outputs[0]

    def _replace(self, node: Node, inputs: Sequence[Value]) -> None:
        kind = node.op.kind
        if kind == "view" or kind == "place":
            filled = [fact for fact in _FILLED if node.op.has(fact)]
            op = record_with(kind, "in_pairs", *filled)
            params = {"name": node.op.name, "given": tuple(node.params.items())}
            self._add(node, op, params, inputs)
            return
        params = {name: _region_in_pairs(value) for name, value in node.params.items()}
        if all(params[name] is value for name, value in node.params.items()):
            raise GraphError(f"{node.op.name} has no form for complex numbers")
        self._add(node, node.op, params, inputs)

    def _add(self, node: Node, op: Op, params: dict[str, Any], inputs: Sequence[Value]) -> None:
        made = Node(op, params, inputs, [_pairs(v.aval) for v in node.outputs], node.site)
        self.nodes.append(made)
        self.made.update(zip(node.outputs, made.outputs))

    def _outputs(self, values: Sequence[Value]) -> list[Value]:
        """The outputs, each with memory of its own where two records of it are given away."""
        shown = {value: old.aval for old in self.graph.inputs for value in (self._of(old),)}
        outputs = []
        for value, old in zip(values, self.graph.outputs):
            apart = isinstance(value, Const) and value.aval is not old.aval
            if apart or shown.setdefault(value, old.aval) is not old.aval:
                value = self._copied(value)
            outputs.append(value)
        return outputs

    def _copied(self, value: Value) -> Value:
        copy = Node(record_with("map", "pure_copy"), {}, (value,), (value.aval,))
        self.nodes.append(copy)
        return copy.outputs[0]


def _region_in_pairs(value: Any) -> Any:
    """A parameter with the graphs in it over pairs."""
    if isinstance(value, tuple):
        made = tuple(map(_region_in_pairs, value))
        return value if all(a is b for a, b in zip(made, value)) else made
    if not isinstance(value, Region):
        return value
    graph = in_pairs(value.graph)
    return value if graph is value.graph else Region(graph)


def in_pairs(graph: Graph) -> Graph:
    """The graph with every complex value as pairs."""
    made = [v for node in graph.nodes for v in (*node.inputs, *node.outputs)]
    listed = (*graph.inputs, *made, *graph.outputs)
    woven = any(node.op.has("woven") for node in graph.nodes)
    if not woven and not any(dt.is_complex(value.aval.dtype) for value in listed):
        return graph
    return _InPairs(graph).run()


def labelled(plan: Plan, graph: Graph) -> Plan:
    """The plan of a graph over pairs with the records of the graph itself at its borders."""
    boundary = (*graph.inputs, *graph.outputs)
    if not any(dt.is_complex(value.aval.dtype) for value in boundary):
        return plan
    slots = list(plan.slots)
    for number, slot in enumerate(slots):
        if slot.kind == "input":
            slots[number] = slot._replace(aval=graph.inputs[slot.index].aval)
    for value, number in zip(graph.outputs, plan.outputs):
        slots[number] = slots[number]._replace(aval=value.aval)
    other = frozenset(k for k, (new, old) in enumerate(zip(slots, plan.slots)) if new is not old)

    def shown(step: Any) -> Any:
        if not isinstance(step, HostStep) or other.isdisjoint((*step.inputs, *step.outputs)):
            return step
        records = [slots[k].aval for k in step.outputs]
        return step._replace(function=_Viewed(step.function, step.avals, records))

    return plan._replace(slots=tuple(slots), steps=tuple(map(shown, plan.steps)))


class _Viewed:
    """The function of a host step over pairs, some of whose arrays come and go as complex ones."""

    def __init__(self, function: Any, avals: Sequence[Aval], outs: Sequence[Aval]) -> None:
        self.function, self.avals, self.outs = function, avals, outs
        self.keywords: dict[str, Any] = getattr(function, "keywords", {})

    def __call__(self, *arrays: np.ndarray) -> Any:
        got = self.function(*map(_seen_as, arrays, self.avals))
        results = got if isinstance(got, (tuple, list)) else (got,)
        own = self.avals[len(arrays) :]
        made = [np.asarray(x, a.dtype).reshape(a.shape) for x, a in zip(results, own)]
        return tuple(map(_seen_as, made, self.outs))


def _seen_as(array: np.ndarray, record: Aval) -> np.ndarray:
    """The same memory by a record: pairs as complex numbers, or the other way round."""
    if array.dtype == record.dtype:
        return array
    return np.ascontiguousarray(array).view(record.dtype).reshape(record.shape)
