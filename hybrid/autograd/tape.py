"""Reading the tape: saved values back as tensors, and nodes in the order a backward pass needs.

A node is None, a Leaf, an entry (Entry, parents, saved inputs, saved outputs), or (i, entry) for
output i of an op with several.  Invariant: entries are never changed; what they saved are values,
so handles may be assigned after the fact without touching a gradient.
"""

from __future__ import annotations

from typing import Any

from ..ir.door import bind as door
from ..ir.tensor import Handle, Leaf, new_handle

__all__ = ["owner", "order", "unfold", "saved_inputs", "saved_outputs", "alias", "PseudoEntry"]


class PseudoEntry:
    """A tape entry that no op stands behind: an alias, a user's gradient function, a recorded call.

    `pull` maps a list of output gradients (or None) to a list of input gradients (or None).  A
    recorded call has `inner` instead: from the nodes of its inputs it makes those of its outputs,
    entry by entry as eager code would have made them."""

    __slots__ = ("pull", "outs", "name", "inner")

    def __init__(self, name: str, pull: Any, outs: tuple[Any, ...], inner: Any = None) -> None:
        self.name, self.pull, self.outs, self.inner = name, pull, outs, inner


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
    owners whose parents are not visited."""
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


def unfold(roots: list[Any], stop: set[int]) -> tuple[list[Any], list[Any], Any]:
    """(`order(roots, stop)`, the roots, what any other node became) once recorded calls have given
    way to the entries they stand for: gradients then add up in the order of eager code."""
    nodes = order(roots, stop)
    if not any(
        type(n) is tuple and type(n[0]) is PseudoEntry and n[0].inner is not None for n in nodes
    ):
        return nodes, roots, lambda node: node
    new: dict[int, Any] = {}

    def now(node: Any) -> Any:
        who = owner(node)
        got = new.get(id(who))
        if got is None:
            return node
        if type(got) is list:
            return got[0 if who is node else node[0]]
        return got if who is node else (node[0], got)

    for n in reversed(nodes):
        if type(n) is not tuple or id(n) in stop:
            continue
        e, parents, saved, outs = n
        mine = tuple([now(p) for p in parents])
        if type(e) is PseudoEntry and e.inner is not None:
            new[id(n)] = e.inner(mine)
        elif any(p is not q for p, q in zip(mine, parents)):
            new[id(n)] = (e, mine, saved, outs)
    roots = [now(r) for r in roots]
    return order(roots, stop), roots, now


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
    return [
        new_handle(None, a) if v is None else _restore(v, a, p)
        for v, a, p in zip(values, e.ins, parents)
    ]


def saved_outputs(entry: Any) -> Any:
    """The output (or tuple of outputs) of an entry; shape and dtype only when not kept."""
    e, _, _, values = entry
    if values is None:
        ghosts = tuple(new_handle(None, a) for a in e.outs)
        return ghosts[0] if len(ghosts) == 1 else ghosts
    if len(e.outs) == 1:
        return _restore(values[0], e.outs[0], entry)
    return tuple(_restore(v, a, (i, entry)) for i, (v, a) in enumerate(zip(values, e.outs)))
