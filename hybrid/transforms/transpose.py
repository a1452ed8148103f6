"""Linear maps that were run on the tape, applied backwards.

Invariant: only what lies between the ends of the map is visited, so the transpose of one step
costs what the step costs, however long the tape is that it stands on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

from ..autograd.passes import fit, pull, takes, under, zeros
from ..autograd.scopes import enable_grad, no_grad
from ..autograd.sums import GradientSums
from ..autograd.tape import order, owner, unfold
from ..ir.tensor import Handle, Leaf

__all__ = ["on_tape", "origin", "pulled", "transposed"]

Tensor = Any


def on_tape(enabled: bool) -> Any:
    """A scope in which ops are put on the tape, or not."""
    return enable_grad() if enabled else no_grad()


def origin(aval: Any) -> Tensor:
    """A leaf of zeros: where a linear map begins."""
    with on_tape(False):
        tensor = zeros(aval)
    tensor._node = Leaf(tensor)
    return tensor


def pulled(
    results: Sequence[Tensor | None],
    given: Sequence[Tensor | None],
    origins: Sequence[Tensor],
    stop: Set[int] = frozenset(),
) -> list[Tensor | None]:
    """Gradients of origins from those `given` for results that were computed from them; `stop`:
    ids of owners below which no origin is."""
    pairs = [
        (result, gradient)
        for result, gradient in zip(results, given)
        if isinstance(result, Handle) and result._node is not None and gradient is not None
    ]
    ends = {id(tensor._node) for tensor in origins}
    stop = stop | ends
    roots = [result._node for result, _ in pairs]
    nodes, roots, _ = unfold(order(roots, stop), roots, stop)
    live = under(nodes, ends)
    reached = {id(node) for node in live} | ends
    sums = GradientSums(live, fit)
    for root, (result, gradient) in zip(roots, pairs):
        if id(owner(root)) in reached:
            sums.add(root, fit(gradient, result._a))
    for node in live:
        grads = sums.take(node, False)
        if grads is None:
            continue
        for parent, gradient, aval in zip(node[1], pull(node, grads), takes(node)):
            if parent is not None and gradient is not None and id(owner(parent)) in reached:
                sums.give(parent, gradient, aval)
    found = sums.finish()
    return [found[id(t._node)][0] if id(t._node) in found else None for t in origins]


def transposed(
    linear: Callable[[list[Tensor]], Sequence[Any]],
    avals: Sequence[Any],
    given: Sequence[Tensor | None],
    fits: Sequence[Any],
    stop: Set[int] = frozenset(),
) -> list[Tensor | None]:
    """The transpose of `linear` (tensors of these avals -> tensors, functions that make them, or
    None), applied to `given`, one for each of its results, which are brought to the records
    `fits` (None: they fit)."""
    origins = [origin(aval) for aval in avals]
    with on_tape(True):
        made = list(linear(origins))
        results: list[Any] = []
        for result, gradient, aval in zip(made, given, fits):
            if gradient is None or result is None:
                results.append(None)
                continue
            tensor = result if isinstance(result, Handle) else result()
            results.append(tensor if aval is None else fit(tensor, aval))
    return pulled(results, given, origins, stop)
