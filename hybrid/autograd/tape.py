"""Reading the tape: saved values back as tensors, and nodes in the order a backward pass needs.

A node is None, a Leaf, the node of an op (Resolved, parents, saved inputs, saved outputs), or
(i, node) for output i of an op with several.  Invariant: nodes are never changed; what they saved
are values, so handles may be assigned after the fact without touching a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, Protocol

from ..ir.door import bind as door
from ..ir.door.pending import Pending, shared
from ..ir.tensor import Handle, Leaf, new_handle

__all__ = [
    "owner",
    "place",
    "order",
    "above",
    "unfold",
    "saved_inputs",
    "saved_outputs",
    "alias",
    "link",
    "is_alias",
    "is_call",
    "holds_call",
    "PseudoOp",
]


class RecordedCall(Protocol):
    """What is known of a call whose operations have no tape nodes of their own."""

    def nodes(self, parents: Sequence[Any]) -> list[Any]:
        """The nodes of its outputs, made from those of its inputs as eager code would have."""

    def reached(self, output: int, parents: Sequence[Any]) -> Sequence[Any]:
        """Those of the nodes of its inputs that an output depends on."""


class PseudoOp:
    """What stands in a tape node where no op does: an alias, a user's gradient function, a
    recorded call.

    `pull` maps a list of output gradients (or None) to a list of input gradients (or None), `push`,
    where there is one, tangents of inputs (or None) to those of outputs.  A recorded call has a
    `RecordedCall` as `inner` instead."""

    __slots__ = ("pull", "outs", "name", "inner", "push")

    def __init__(
        self,
        name: str,
        pull: Any,
        outs: tuple[Any, ...],
        inner: RecordedCall | None = None,
        push: Any = None,
    ) -> None:
        self.name, self.pull, self.outs, self.inner = name, pull, outs, inner
        self.push = push


_ALIAS_PULL = list


def alias(tensor: Any) -> Any:
    """A fresh handle on a tensor's value whose gradient also flows to the tensor; it has a tape
    node of its own."""
    aliased = new_handle(shared(tensor._v), tensor._a)
    observer = door.current_mode()
    if observer is not None:
        observer.on_alias(aliased, tensor)
    if tensor._node is None:
        aliased._node = Leaf(aliased)
    else:
        resolved = PseudoOp("alias", _ALIAS_PULL, (tensor._a,))
        aliased._node = (resolved, (tensor._node,), (), None)
    return aliased


def link(
    resolved: PseudoOp, parents: Sequence[Any], outputs: Sequence[Any], inputs: Sequence[Any]
) -> None:
    """Hang results that no op made on the nodes of what they depend on: `parents`, of which the
    first are those of the tensors `inputs`.  A mode is told, as the results are new to it."""
    node = (resolved, tuple(parents), (), None)
    for place, output in enumerate(outputs):
        output._node = node if len(outputs) == 1 else (place, node)
    observer = door.current_mode()
    if observer is not None:
        observer.on_custom(resolved, inputs, outputs)


def is_alias(resolved: Any) -> bool:
    """Whether a tape node stands for a second handle on a value."""
    return type(resolved) is PseudoOp and resolved.pull is _ALIAS_PULL


def is_call(node: Any) -> bool:
    """Whether a tape node stands for a recorded call."""
    return type(node) is tuple and type(node[0]) is PseudoOp and node[0].inner is not None


def holds_call(nodes: list[Any]) -> bool:
    """Whether one of the owners stands for a recorded call."""
    for node in nodes:
        if type(node) is tuple and type(node[0]) is PseudoOp and node[0].inner is not None:
            return True
    return False


def owner(node: Any) -> Any:
    """The node of an op, or the Leaf, that a node stands for."""
    return node[1] if type(node) is tuple and type(node[0]) is int else node


def place(node: Any) -> tuple[int, int]:
    """Which output of which owner, by its id, a node is."""
    if type(node) is tuple and type(node[0]) is int:
        return id(node[1]), node[0]
    return id(node), 0


def order(roots: list[Any], stop: Set[int] = frozenset()) -> list[Any]:
    """Entries and leaves reachable from the roots, users before producers, else the last operand
    first: what is made just before it is used is pulled just after that.  `stop` holds ids of
    owners whose parents are not visited."""
    reached: set[int] = set()
    visited: list[Any] = []
    # a stack of our own, as tapes are deep; None above a node: its parents have been visited
    stack: list[Any] = [owner(root) for root in roots if root is not None]
    while stack:
        node = stack.pop()
        if node is None:
            visited.append(stack.pop())
            continue
        if id(node) in reached:
            continue
        reached.add(id(node))
        if type(node) is not tuple or id(node) in stop:
            visited.append(node)
            continue
        stack.append(node)
        stack.append(None)
        for parent in reversed(node[1]):
            if parent is not None:
                if type(parent) is tuple and type(parent[0]) is int:
                    parent = parent[1]
                if id(parent) not in reached:
                    stack.append(parent)
    visited.reverse()
    return visited


def above(roots: list[Any]) -> Iterator[Any]:
    """Owners that the roots depend on; of a recorded call only what their outputs do."""
    met: set[tuple[int, int]] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        holder = owner(node)
        call = is_call(holder)
        mark = id(holder), node[0] if call and holder is not node else 0
        if node is None or mark in met:
            continue
        met.add(mark)
        yield holder
        if type(holder) is tuple:
            inputs = holder[0].inner.reached(mark[1], holder[1]) if call else holder[1]
            stack += [parent for parent in inputs if parent is not None]


def unfold(
    nodes: list[Any], roots: list[Any], stop: Set[int]
) -> tuple[list[Any], list[Any], Callable[[Any], Any]]:
    """(`nodes` = `order(roots, stop)`, the roots, what any other node became) once recorded calls
    have given way to the nodes they stand for: gradients then add up in the order of eager code."""
    if not holds_call(nodes):
        return nodes, roots, lambda node: node
    renewals: dict[int, Any] = {}  # id of an owner -> its new node, or those of its outputs

    def renewed(node: Any) -> Any:
        producer = owner(node)
        renewal = renewals.get(id(producer))
        if renewal is None:
            return node
        if type(renewal) is list:
            return renewal[0 if producer is node else node[0]]
        return renewal if producer is node else (node[0], renewal)

    for node in reversed(nodes):
        if type(node) is not tuple or id(node) in stop:
            continue
        resolved, parents, saved, results = node
        ancestors = tuple([renewed(parent) for parent in parents])
        if is_call(node):
            renewals[id(node)] = resolved.inner.nodes(ancestors)
        elif any(parent is not old for parent, old in zip(ancestors, parents)):
            renewals[id(node)] = (resolved, ancestors, saved, results)
    roots = [renewed(root) for root in roots]
    return order(roots, stop), roots, renewed


_HELD = Handle, Pending  # what stands for a value that a node saved


def _restore(saved: Any, aval: Any, node: Any) -> Any:
    """A tensor for something the tape saved."""
    observer = door.current_mode()
    if isinstance(saved, Handle):
        tensor = new_handle(shared(saved._v), aval, node)
        if observer is not None:
            observer.on_alias(tensor, saved)
        return tensor
    if observer is not None:
        observer.on_effect("differentiates a result that was computed before the call")
    tensor = new_handle(shared(saved), aval, node)
    if type(tensor._v) is Pending and observer is not None:
        observer.on_alias(tensor, tensor)
    return tensor


def _restore_unseen(saved: Any, aval: Any, node: Any) -> Any:
    """The same where no mode is there to hear of it."""
    held = isinstance(saved, _HELD)
    return _restore(saved, aval, node) if held else new_handle(saved, aval, node)


def saved_inputs(node: Any) -> list[Any]:
    """Inputs of a tape node as tensors; one that was not kept has shape and dtype only."""
    resolved, parents, values, _ = node
    restore = _restore if door.current_mode() is not None else _restore_unseen
    return [
        new_handle(None, aval) if value is None else restore(value, aval, parent)
        for value, aval, parent in zip(values, resolved.ins, parents)
    ]


def saved_outputs(node: Any) -> Any:
    """The output (or tuple of outputs) of a tape node; shape and dtype only when not kept."""
    resolved, _, _, values = node
    if values is None:
        ghosts = tuple(new_handle(None, aval) for aval in resolved.outs)
        return ghosts[0] if len(ghosts) == 1 else ghosts
    if len(resolved.outs) == 1:
        return _restore(values[0], resolved.outs[0], node)
    pairs = enumerate(zip(values, resolved.outs))
    return tuple(_restore(value, aval, (i, node)) for i, (value, aval) in pairs)
