"""Recomputation: a function whose intermediate values are computed again in the backward pass.

Invariant: the second run sees every tensor that the first one assigned (generators, running
statistics) as the first one did, so it has its bits, and it leaves them as it found them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..autograd.backward import stop_gradient
from ..autograd.passes import BackwardPass, gathered
from ..autograd.scopes import enable_grad, need_callable
from ..autograd.tape import PseudoOp, alias, link, owner, place
from ..core import trees
from ..ir.door import bind as door
from ..ir.tensor import Handle
from ..ops.elementwise.arithmetic import afresh
from .layer import Layer

__all__ = ["checkpoint"]

Tensor = Any


class _Uses(Layer):
    """What a function uses that was there before: tensors on the tape, and the tensors that it
    assigns, with what they held."""

    __slots__ = ("own", "used", "assigned")

    def __init__(self, inner: Sequence[Tensor]) -> None:
        super().__init__()
        self.own: dict[int, Tensor] = {id(t): t for t in inner}  # made inside, kept for their ids
        self.used: dict[tuple[int, int], Tensor] = {}  # by what they are on the tape
        self.assigned: dict[int, tuple[Tensor, Tensor]] = {}

    def _uses(self, tensor: Tensor) -> None:
        if id(tensor) not in self.own and tensor._node is not None:
            self.used.setdefault(place(tensor._node), tensor)

    def on_op(self, op: Any, params: Any, xs: Any, outs: Any) -> None:
        for tensor in xs:
            self._uses(tensor)
        self.own.update({id(tensor): tensor for tensor in outs})
        self.below.on_op(op, params, xs, outs)

    def on_alias(self, new: Any, old: Any) -> None:
        self._uses(old)
        self.own[id(new)] = new
        self.below.on_alias(new, old)

    def on_assign(self, handle: Any, value: Any) -> None:
        self._uses(value)
        if id(handle) not in self.own and id(handle) not in self.assigned:
            self.assigned[id(handle)] = handle, _held(handle)
        self.below.on_assign(handle, value)


def _held(handle: Tensor) -> Tensor:
    """What a tensor holds now, as another one."""
    held = stop_gradient(handle)
    held._node = None
    return held


@contextmanager
def _as_before(assigned: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """The scope of a second run: tensors hold what they held before the first."""
    now = [(handle, _held(handle)) for handle, _ in assigned]
    for handle, before in assigned:
        handle.assign(before)
    try:
        yield
    finally:
        for handle, value in now:
            handle.assign(value)


class _Again:
    """A run of a function that can be repeated: its pull does so, and goes backward through it."""

    def __init__(self, fun: Callable[..., Any], structure: Any, leaves: list[Any]) -> None:
        self.fun, self.structure, self.leaves = fun, structure, leaves
        self.places = [k for k, leaf in enumerate(leaves) if _on_tape(leaf)]
        self.inputs = [leaves[k] for k in self.places]
        self.parents: list[Any] = []  # nodes of the inputs, then of those outside
        self.outside: list[Tensor] = []
        self.assigned: list[tuple[Tensor, Tensor]] = []

    def given(self) -> list[Any]:
        """The leaves, those on the tape as other tensors with nodes of their own."""
        given = list(self.leaves)
        for k in self.places:
            given[k] = alias(given[k])
        return given

    def run(self, given: list[Any]) -> Any:
        args, kwargs = trees.unflatten(self.structure, given)
        return self.fun(*args, **kwargs)

    def first(self) -> tuple[list[Any], Any]:
        """The leaves and the structure of the result of the first run."""
        given = self.given()
        uses = _Uses([given[k] for k in self.places])
        with uses.on():
            value = self.run(given)
        self.outside = list(uses.used.values())
        self.parents = [leaf._node for leaf in (*self.inputs, *self.outside)]
        self.assigned = list(uses.assigned.values())
        return trees.flatten(value)

    def pull(self, grads: list[Any]) -> list[Any]:
        """Gradients of the inputs and of what the function uses beside them."""
        create = door.grad_enabled()
        with _as_before(self.assigned), enable_grad():
            given = self.given()
            ends = [given[k]._node for k in self.places]
            if door.current_mode() is not None:  # a plan would take what it has computed
                for k in self.places:
                    given[k] = afresh(given[k])
            value = self.run(given)
        results = [result for result in trees.leaves(value) if _on_tape(result)]
        pairs = [(r, g) for r, g in zip(results, grads) if g is not None]
        wanted = [*ends, *self.parents[len(ends) :]]
        stop = frozenset([id(owner(node)) for node in wanted])
        enabled = door.set_grad(create)
        try:
            task = BackwardPass([r for r, _ in pairs], [g for _, g in pairs], stop, wanted)
            return [gradient for _, gradient in gathered(task)]
        finally:
            door.set_grad(enabled)


def _on_tape(leaf: Any) -> bool:
    return isinstance(leaf, Handle) and leaf._node is not None


def checkpoint(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose intermediate values are not kept for the backward pass but computed
    again in it, with the same bits (jax.checkpoint).

    Arguments and results may be trees.  Gradients reach the tensors that fun uses beside its
    arguments, too.  Random numbers are the same in the second run, and what fun assigns (running
    statistics, say) is assigned once.  It saves memory in recorded functions as it does eagerly.
    Raises ArgumentError for what is no function.

    >>> import hybrid
    >>> @hybrid.checkpoint
    ... def block(x):
    ...     return hybrid.tanh(hybrid.exp(x))
    >>> hybrid.grad(block)(hybrid.tensor(0.0))
    tensor(0.42)
    """
    need_callable("checkpoint", fun)

    @functools.wraps(fun, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not door.grad_enabled():
            return fun(*args, **kwargs)
        leaves, structure = trees.flatten((args, kwargs))
        again = _Again(fun, structure, leaves)
        results, shape = again.first()
        if not any(map(_on_tape, results)) or not again.parents:
            return trees.unflatten(shape, results)
        shown = [stop_gradient(r) if _on_tape(r) else r for r in results]
        outputs = [new for new, old in zip(shown, results) if _on_tape(old)]
        resolved = PseudoOp("checkpoint", again.pull, tuple([t._a for t in outputs]))
        link(resolved, again.parents, outputs, [*again.inputs, *again.outside])
        return trees.unflatten(shape, shown)

    return wrapped
