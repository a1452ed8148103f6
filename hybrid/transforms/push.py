"""Tangents carried along the tape, from where a function began to its results.

Invariant: what a node applies to tangents is the transpose of its vjp, or what its kind of record
says is the same; tangents are computed by calls of public ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..autograd.passes import pull, takes, under, zeros
from ..autograd.tape import PseudoOp, is_alias, order, owner, saved_inputs, saved_outputs, unfold
from ..core import dtypes as dt
from ..ir.door import bind as door
from ..ir.op import MapOp, Op
from ..ir.tensor import Handle
from ..ops.axes.views import broadcast_to
from ..ops.elementwise.arithmetic import add
from .transpose import transposed

__all__ = ["Tape", "tape_of"]

Tensor = Any
Tangents = list[Any]  # one per input or output of a node; None where it is zero


class Tape(NamedTuple):
    """What lies between the nodes where a function began and its results, producers first.
    `renewed`: what a node became once recorded calls were unfolded; `needed`: ids of owners ->
    outputs of them that are used."""

    nodes: list[Any]
    roots: list[Any]
    starts: list[Any]
    needed: dict[int, set[int]]

    def push(self, tangents: Sequence[Tensor | None]) -> Tangents:
        """The tangents of the results, from those at the starts."""
        known: dict[int, Tangents] = {}
        for start, tangent in zip(self.starts, tangents):
            known[id(owner(start))] = [tangent]
        for node in self.nodes:
            given = [_look(known, parent) for parent in node[1]]
            if any(tangent is not None for tangent in given):
                known[id(node)] = _applied(node, given, self.needed[id(node)])
        return [_look(known, root) for root in self.roots]


def tape_of(results: Sequence[Any], starts: Sequence[Any]) -> Tape:
    """The tape between these nodes; results that are no tensors on it have no tangent."""
    roots = [r._node if isinstance(r, Handle) else None for r in results]
    mode = door.current_mode()
    if mode is not None:
        mode.on_backward([r for r, node in zip(results, roots) if node is not None])
    stop = frozenset([id(owner(start)) for start in starts])
    found = [root for root in roots if root is not None]
    nodes, found, renewed = unfold(order(found, stop), found, stop)
    fresh = iter(found)
    roots = [None if root is None else next(fresh) for root in roots]
    nodes = [node for node in under(nodes, stop) if id(node) not in stop]
    nodes.reverse()
    needed: dict[int, set[int]] = {id(node): set() for node in nodes}
    for used in [*roots, *[parent for node in nodes for parent in node[1]]]:
        producer = owner(used)
        if id(producer) in needed:
            needed[id(producer)].add(0 if producer is used else used[0])
    return Tape(nodes, roots, list(starts), needed)


def _look(known: dict[int, Tangents], node: Any) -> Tensor | None:
    """The tangent of what a node stands for."""
    producer = owner(node)
    found = None if node is None else known.get(id(producer))
    if found is None:
        return None
    return found[0 if producer is node else node[0]]


def _applied(node: Any, given: Tangents, needed: set[int]) -> Tangents:
    """Tangents of the outputs of a node from those of its inputs."""
    resolved = node[0]
    if isinstance(resolved, PseudoOp):
        if is_alias(resolved):
            return given[:1]
        if resolved.push is not None:
            return list(resolved.push(given))
        return _by_transpose(node, given, needed)
    rule = _RULES.get(resolved.op.kind)
    made = None if rule is None else rule(resolved.op, node, given)
    if made is None:
        return _by_transpose(node, given, needed)
    tangent = made if made._a is resolved.out else _fitted(made, resolved.out)
    return [tangent, *[None] * (len(resolved.outs) - 1)]


def _fitted(tangent: Tensor, aval: Any) -> Tensor:
    """A tangent in the shape and dtype of what it belongs to."""
    if tangent._a.shape != aval.shape:
        tangent = broadcast_to(tangent, aval.shape)
    return tangent if tangent._a.dtype is aval.dtype else door.convert(tangent, aval.dtype)


def _total(parts: list[Tensor]) -> Tensor | None:
    total = None
    for part in parts:
        total = part if total is None else add(total, part)
    return total


# ---- the transpose of a vjp
def _by_transpose(node: Any, given: Tangents, needed: set[int]) -> Tangents:
    """Any node: its vjp, which is linear in the gradients, transposed."""
    outs = node[0].outs
    places = [k for k in sorted(needed) if dt.is_float(outs[k].dtype)]

    def linear(grads: list[Tensor]) -> Sequence[Any]:
        full: list[Any] = [None] * len(outs)
        for place, gradient in zip(places, grads):
            full[place] = gradient
        return pull(node, full)

    stop = frozenset([id(owner(p)) for p in (*node[1], node) if p is not None])
    made = transposed(linear, [outs[k] for k in places], given, takes(node), stop)
    tangents: Tangents = [None] * len(outs)
    for place, tangent in zip(places, made):
        tangents[place] = tangent
    return tangents


# ---- what the kind of a record says; None: nothing
def _diagonal(op: Op, node: Any, given: Tangents) -> Tensor | None:
    """A map acts on elements alone: its vjp of a tangent is its derivative."""
    resolved = node[0]
    if not isinstance(op, MapOp) or op.gathers or not resolved.single or op.has("woven"):
        return None
    out, inputs, parts = saved_outputs(node), saved_inputs(node), []
    for place, tangent in enumerate(given):
        if tangent is None:
            continue
        part = op.vjp(_fitted(tangent, resolved.out), out, *inputs, **resolved.params)[place]
        part = part() if callable(part) else part
        if part is None:
            continue
        if part._a.shape != resolved.out.shape:
            return None
        parts.append(_fitted(part, resolved.out))
    return _total(parts) if parts else zeros(resolved.out)


def _linear(op: Op, node: Any, given: Tangents) -> Tensor:
    """Views and placings are linear in all of their operands."""
    resolved = node[0]
    full = [zeros(a) if t is None else t for t, a in zip(given, resolved.ins)]
    return door.run(door.resolved_for(op, resolved.ins, resolved.key), tuple(full), link=False)


def _scatter(op: Op, node: Any, given: Tangents) -> Tensor:
    """A scatter is linear in its updates, the only operand that has a tangent."""
    return door.bind(op, saved_inputs(node)[0], given[1], **node[0].params)


def _contraction(op: Op, node: Any, given: Tangents) -> Tensor | None:
    """A contraction is linear in each factor, and a third operand is added to it."""
    resolved = node[0]
    kept = [value is not None for value in node[2]]
    needs = {k for k in (0, 1) if given[1 - k] is not None}
    if not needs or any(not kept[k] for k in needs):
        return None
    inputs, parts = saved_inputs(node), []
    added = given[2:3] if len(given) > 2 and given[2] is not None else []
    for place in (0, 1):
        if given[place] is not None:
            factors = [given[0], inputs[1]] if place == 0 else [inputs[0], given[1]]
            parts.append(door.bind(op, *factors, *added, **resolved.params))
            added = []
    return _total(parts)


_RULES: dict[str, Callable[[Op, Any, Tangents], Tensor | None]] = {
    "map": _diagonal,
    "view": _linear,
    "place": _linear,
    "contract": _contraction,
    "scatter": _scatter,
}
