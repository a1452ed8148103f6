"""One backward pass: from outputs and their gradients to the gradients of leaves or other nodes.

Invariant: gradients are computed by the public functions that vjp rules call, in one order; what a
floor above computes as a whole (`plan_passes`) has the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any, NamedTuple

from ..core import dtypes as dt
from ..core.errors import HybridError, ShapeError
from ..ir.door import bind as door
from ..ir.tensor import Handle, Leaf, new_handle
from ..ops.axes.reduce import sum_like
from ..ops.build.create import ones_like, zeros_like
from .sums import GradientSums
from .tape import PseudoOp, holds_call, order, owner, saved_inputs, saved_outputs, unfold

__all__ = [
    "BackwardPass",
    "Gradients",
    "Owned",
    "gathered",
    "perform",
    "plan_passes",
    "pull",
    "seed",
    "takes",
    "under",
    "fit",
    "zeros",
]

Gradients = list[tuple[Any, Any]]


class Owned(Gradients):
    """Gradients that nobody else holds."""


class BackwardPass(NamedTuple):
    """What a backward pass is to do: it begins at `outputs` with the gradients `seeds` (None: 1),
    goes no further than the owners `stop` (ids), and gives the gradients of the nodes `sources`
    (None: of all leaves that it reaches)."""

    outputs: list[Any]
    seeds: list[Any]
    stop: Set[int] = frozenset()
    sources: list[Any] | None = None


class _Planner:
    """What computes whole passes over recorded calls: given by a floor above, once, at import.
    None: it leaves that pass to `perform`."""

    __slots__ = ("gathered",)

    def __init__(self) -> None:
        self.gathered: Callable[[BackwardPass, list[Any]], Gradients | None] | None = None


_PLANNER = _Planner()


def plan_passes(planned: Callable[[BackwardPass, list[Any]], Gradients | None]) -> None:
    """Have `planned(task, nodes)` asked for passes over recorded calls first."""
    _PLANNER.gathered = planned


def gathered(task: BackwardPass) -> Gradients:
    """(node, gradient) of the sources, in order (None: it was not reached), or of leaves."""
    observer = door.current_mode()
    if observer is not None:
        observer.on_backward(task.outputs)
        if observer.defers and not door.grad_enabled():
            found = observer.gradients(task)
            if found is not None:
                return found  # type: ignore[no-any-return]
    nodes = order([output._node for output in task.outputs], task.stop)
    planned = _PLANNER.gathered
    if planned is not None and observer is None and not door.grad_enabled():
        if holds_call(nodes):
            found = planned(task, nodes)
            if found is not None:
                return found
    return perform(task, nodes)


def perform(task: BackwardPass, nodes: list[Any]) -> Gradients:
    """The same, operation by operation; `nodes`: what the outputs are reached from, users first."""
    nodes, roots, renewed = unfold(nodes, [output._node for output in task.outputs], task.stop)
    wanted = [] if task.sources is None else [renewed(node) for node in task.sources]
    targets: Set[int] = frozenset()
    if task.stop:
        nodes = [node for node in nodes if id(node) not in task.stop]
    elif task.sources is not None:
        targets = {id(owner(node)) for node in wanted}
    starts = list(map(seed, task.outputs, task.seeds))
    found = _run(roots, starts, under(nodes, targets) if targets else nodes, targets)
    if task.sources is None:
        leaves = [node for node in nodes if type(node) is Leaf and id(node) in found]
        return [(leaf, found[id(leaf)][0]) for leaf in leaves]
    return [(node, _stored(found, renewal)) for node, renewal in zip(task.sources, wanted)]


def _stored(found: dict[int, list[Any]], node: Any) -> Any:
    """The gradient of a node among those of its owner, or None."""
    grads = found.get(id(owner(node)))
    if grads is None:
        return None
    return grads[node[0] if owner(node) is not node else 0]


def pull(node: Any, grads: list[Any]) -> Sequence[Any]:
    """Gradients of a node's inputs from the gradients of its outputs."""
    resolved = node[0]
    if isinstance(resolved, PseudoOp):
        return resolved.pull(grads)
    if len(resolved.outs) == 1:
        given = grads[0]
    elif resolved.op.has("optional_grads"):
        given = tuple(grads)
    else:
        given = tuple(g if g is not None else zeros(aval) for g, aval in zip(grads, resolved.outs))
    return resolved.op.vjp(given, saved_outputs(node), *saved_inputs(node), **resolved.params)


def takes(node: Any) -> Sequence[Any]:
    """The records that gradients of a node's inputs are brought to; None: they fit."""
    resolved = node[0]
    return resolved.ins if not isinstance(resolved, PseudoOp) else [None] * len(node[1])


def zeros(aval: Any) -> Any:
    return zeros_like(new_handle(None, aval))


def _run(
    roots: list[Any],
    seeds: list[Any],
    nodes: list[Any],
    targets: Set[int] = frozenset(),
) -> dict[int, list[Any]]:
    """Gradients of leaves and targets by id of owner;
    `nodes` are the owners to visit, users first."""
    sums = GradientSums(nodes, fit)
    for root, given in zip(roots, seeds):
        sums.add(root, given)
    for node in nodes:
        if type(node) is not tuple:
            continue
        grads = sums.take(node, id(node) in targets)
        if grads is None:
            continue
        for parent, gradient, aval in zip(node[1], pull(node, grads), takes(node)):
            if parent is not None and gradient is not None:
                sums.give(parent, gradient, aval)
    return sums.finish()


def under(nodes: list[Any], targets: Set[int]) -> list[Any]:
    """Those of the nodes that have a target among their inputs, at any depth."""
    wanted, above = set(targets), []
    for node in reversed(nodes):
        if type(node) is not tuple:
            continue
        if any(parent is not None and id(owner(parent)) in wanted for parent in node[1]):
            wanted.add(id(node))
            above.append(node)
    above.reverse()
    return above


def fit(grad: Any, aval: Any) -> Any:
    """Bring a gradient to the shape and dtype of the input it belongs to."""
    if grad._a is aval:
        return grad
    grad = sum_like(grad, aval.shape)
    return grad if grad._a.dtype is aval.dtype else door.convert(grad, aval.dtype)


def seed(tensor: Any, gradient: Any) -> Any:
    """The gradient that a pass from this tensor begins with."""
    aval = tensor._a
    if gradient is None:
        if aval.size != 1:
            raise ShapeError(
                f"backward of a tensor of shape {aval.shape} needs an explicit "
                "gradient; reduce it to one element (.sum(), .mean()) or pass gradient="
            )
        if dt.is_complex(aval.dtype):
            raise HybridError(
                "backward of a complex number needs an explicit gradient; take a real function of "
                "it (.real, .imag, abs) or pass gradient="
            )
        return ones_like(tensor)
    if not isinstance(gradient, Handle):
        gradient = door.store(gradient, aval.dtype, aval.device)
    if gradient._a.shape != aval.shape:
        raise ShapeError(
            f"gradient of shape {gradient._a.shape} does not fit a result of shape {aval.shape}"
        )
    return gradient if gradient._a.dtype is aval.dtype else door.convert(gradient, aval.dtype)
