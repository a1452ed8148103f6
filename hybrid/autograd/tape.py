"""Reading the tape: saved values back as tensors, and nodes in the order a backward pass needs.

A node is None, a Leaf, an entry (Entry, parents, saved inputs, saved outputs), or (i, entry) for
output i of
an op with several.  Invariant: entries are never changed; what they saved are values, so handles
may be
assigned after the fact without touching a gradient.
"""
from __future__ import annotations

from typing import Any

from ..ir import bind as door
from ..ir.tensor import Handle, Leaf, new_handle

__all__ = ["owner", "order", "saved_inputs", "saved_outputs", "alias", "PseudoEntry"]


class PseudoEntry:
    """A tape entry that no op stands behind: an alias, or a user's gradient function.

    `pull` maps a list of output gradients (or None) to a list of input gradients (or None)."""

    __slots__ = ("pull", "outs", "name")

    def __init__(self, name: str, pull: Any, outs: tuple[Any, ...]) -> None:
        self.name, self.pull, self.outs = name, pull, outs


_ALIAS_PULL = list


def alias(t: Any) -> Any:
    """A fresh handle on t's value whose gradient also flows to t; it has a tape node of its own."""
    new = new_handle(t._v, t._a)
    mode = door.current_mode()
    if mode is not None:
        mode.on_alias(new, t)
    if t._node is None:
        new._node = Leaf(new)
    else:
        new._node = (PseudoEntry("alias", _ALIAS_PULL, (t._a,)), (t._node,), (), None)
    return new


def owner(node: Any) -> Any:
    """The entry or Leaf that a node stands for."""
    return node[1] if type(node) is tuple and type(node[0]) is int else node


def order(roots: list[Any], stop: set[int]) -> list[Any]:
    """Entries and leaves reachable from the roots, users before producers; `stop` holds ids of
    owners
    whose parents are not visited."""
    seen: set[int] = set()
    out: list[Any] = []
    stack: list[tuple[Any, bool]] = [(owner(r), False) for r in roots if r is not None]
    while stack:
        n, done = stack.pop()
        if done:
            out.append(n)
            continue
        if id(n) in seen:
            continue
        seen.add(id(n))
        stack.append((n, True))
        if type(n) is tuple and id(n) not in stop:
            for p in n[1]:
                if p is not None and id(owner(p)) not in seen:
                    stack.append((owner(p), False))
    out.reverse()
    return out


def _restore(saved: Any, a: Any, node: Any) -> Any:
    """A tensor for something the tape saved."""
    mode = door.current_mode()
    if isinstance(saved, Handle):
        t = new_handle(saved._v, a, node)
        if mode is not None:
            mode.on_alias(t, saved)
        return t
    if mode is not None:
        mode.on_effect("differentiates a result that was computed before the call")
    return new_handle(saved, a, node)


def saved_inputs(entry: Any) -> list[Any]:
    """Inputs of an entry as tensors; one that was not kept has shape and dtype only."""
    e, parents, values, _ = entry
    return [new_handle(None, a) if v is None else _restore(v, a, p) for v, a,
            p in zip(values, e.ins, parents)]


def saved_outputs(entry: Any) -> Any:
    """The output (or tuple of outputs) of an entry; shape and dtype only when not kept."""
    e, _, _, values = entry
    if values is None:
        ghosts = tuple(new_handle(None, a) for a in e.outs)
        return ghosts[0] if len(ghosts) == 1 else ghosts
    if len(e.outs) == 1:
        return _restore(values[0], e.outs[0], entry)
    return tuple(_restore(v, a, (i, entry)) for i, (v, a) in enumerate(zip(values, e.outs)))
