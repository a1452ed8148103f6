"""The tape of results that a replay returns: their gradient, should anyone ask for it later.

Invariant: nothing is kept on the replay path but the input values.  When a gradient is asked for,
the recorded tape is rebuilt around values computed again by the same graph (the same bits) and
differentiated like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...autograd.tape import PseudoEntry, order, owner
from ...core.errors import HybridError
from ...ir.door.evaluate import evaluate_eager
from ...ir.graph.graph import Graph
from ...ir.tensor import Handle, Leaf
from .guards import Ref
from .outputs import Unfit
from .recorder import Recorder

__all__ = ["History", "SPENT", "spent"]


def _spent(gs: list[Any]) -> Any:
    raise HybridError(
        "this result comes from a recorded function that also writes state, so what its gradient "
        "needs was not kept; call backward inside that function, or compute the result outside"
    )


SPENT = (PseudoEntry("recorded call", _spent, (None,)), (), (), None)


def spent(number: int) -> Any:
    """The tape of results whose gradients have been used, by value number."""
    return SPENT


class _Entry(NamedTuple):
    """A tape entry; a parent is ('in', input position), (entry position, slot or None) or None."""

    entry: Any
    parents: tuple[Any, ...]
    saved: tuple[int | None, ...]
    outs: tuple[int, ...] | None


class History:
    """Template of the tape above the results `numbers` (value number -> recorded handle)."""

    def __init__(self, rec: Recorder, roles: dict[int, Ref], results: dict[int, Handle]) -> None:
        self.results = list(results)
        self._number_of: dict[Ref, int] = {}  # of the inputs with a tape, in order of use
        self.entries: list[_Entry] = []
        self.need: dict[int, int] = {}
        self._rec, self._roles = rec, roles
        self._starts = {
            id(owner(t._node)): roles[id(t)]
            for t in [*rec.args, *rec.captures]
            if t._node is not None
        }
        roots = [t._node for t in results.values()]
        position: dict[int, int] = {}
        for n in reversed(order(roots, set(self._starts))):
            if id(n) not in self._starts:
                entry = self._entry(n, position)
                position[id(n)] = len(self.entries)
                self.entries.append(entry)
        self.roots = [self._parent(r, position) for r in roots]
        self.inputs: list[Ref] = list(self._number_of)
        self.avals = tuple(t._a for t in results.values())
        for n in self.results:
            self._number(n)
        self.graph: Graph = rec.graph(list(self.need))
        self.out_avals = [rec.avals[n] for n in self.need]
        self.nargs = len(rec.args)
        del self._rec, self._roles, self._starts, self._number_of

    def _number(self, n: int) -> int:
        return self.need.setdefault(n, len(self.need))

    def _parent(self, node: Any, position: dict[int, int]) -> Any:
        if node is None:
            return None
        who = owner(node)
        role = self._starts.get(id(who))
        if role is not None:
            return "in", self._number_of.setdefault(role, len(self._number_of))
        return position[id(who)], node[0] if who is not node else None

    def _entry(self, n: Any, position: dict[int, int]) -> _Entry:
        if isinstance(n, Leaf):
            raise Unfit("returns a result that depends on a leaf made inside the call")
        e, parents, saved, outs = n
        if isinstance(e, PseudoEntry) and e.name != "alias":
            raise Unfit("returns a differentiable result of a function with a gradient of its own")
        return _Entry(
            e,
            tuple([self._parent(p, position) for p in parents]),
            tuple(map(self._saved, saved)),
            None if outs is None else tuple([self._saved(o) for o in outs]),  # type: ignore[misc]
        )

    def _saved(self, s: Any) -> int | None:
        if s is None:
            return None
        number = self._rec.handles.get(id(s)) if isinstance(s, Handle) else None
        if number is None:
            raise Unfit("returns a differentiable result of values from before the call")
        return self._number(number)

    def start(self, args: list[Any], caps: tuple[Any, ...]) -> Callable[[int], Any]:
        """Tape nodes for the results of one replay, by value number."""
        handles = [*args, *caps]
        values = [t._v for t in handles]
        nodes = [
            handles[r.number + (self.nargs if r.kind == "cap" else 0)]._node for r in self.inputs
        ]

        def inner(parents: Sequence[Any]) -> list[Any]:
            return self._inner(parents, values)

        node = (PseudoEntry("recorded call", None, self.avals, inner), tuple(nodes), (), None)
        index = {n: i for i, n in enumerate(self.results)}
        return lambda number: node if len(index) == 1 else (index[number], node)

    def _inner(self, parents: Sequence[Any], values: list[Any]) -> list[Any]:
        """Nodes of the results, from the nodes that the inputs have now."""
        got = evaluate_eager(self.graph, values)
        made: list[Any] = []

        def resolve(p: Any) -> Any:
            if p is None:
                return None
            if p[0] == "in":
                return parents[p[1]]
            return made[p[0]] if p[1] is None else (p[1], made[p[0]])

        for e in self.entries:
            saved = tuple([None if k is None else got[k] for k in e.saved])
            results = None if e.outs is None else tuple([got[k] for k in e.outs])
            made.append((e.entry, tuple(map(resolve, e.parents)), saved, results))
        return [resolve(r) for r in self.roots]
