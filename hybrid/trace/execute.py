"""From an accepted recording to native code: passes, plan, executable, and the function that serves calls.

Invariant: what is prepared here gives the bits of the recorded graph run node by node, and commits state only
after every kernel has succeeded.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ..backends.api import Replay
from ..core.aval import CPU
from ..ir.bind import backend_of, entry_for
from ..ir.graph import Graph, Node
from ..ir.tensor import TENSOR, Leaf
from .guards import FactGuard, Ref
from .history import SPENT
from .outputs import Known, Maker, New, Plain
from .pipeline import Result, build
from .recording import Recording, store
from .replay import MISS, run_graph

__all__ = ["NativeExecutor", "Prepared", "Served", "eager_kernel"]


def eager_kernel(node: Node, values: Sequence[Any]) -> tuple[Any, ...]:
    """The outputs of one node from the kernels of eager mode."""
    key = tuple([(k, node.params[k]) for k in node.op.params if k in node.params])
    got = entry_for(node.op, tuple([v.aval for v in node.inputs]), key).kernel(*values)
    return (got,) if len(node.outputs) == 1 else tuple(got)


def device_of(graph: Graph) -> Any:
    """The device a graph runs on."""
    for v in (*graph.inputs, *graph.outputs):
        return v.aval.device
    return CPU


class Prepared:
    """Native code of one recording, with the intermediate forms for people to look at."""

    def __init__(self, recording: Recording) -> None:
        start = perf_counter()
        self.recording = recording
        self.states = [(i, _input(recording, role)) for role, i in recording.writes]
        self.forms: list[tuple[str, Any]] = [("recorded", recording.graph)]
        self.result: Result = build(recording.graph, self.states, kernel=eager_kernel,
                                    hook=lambda name, form: self.forms.append((name, form)))
        lowered = perf_counter()
        self.executable = backend_of(device_of(recording.graph)).compile(self.result.plan)
        self.lower_seconds, self.compile_seconds = lowered - start, perf_counter() - lowered

        served = Served(self)
        self.served = served if served.entry is not None else None

    def __call__(self, args: list[Any], caps: tuple[Any, ...]) -> list[np.ndarray]:
        """Values of the graph's outputs; nothing else changes."""
        return self.executable([t._v for t in args] + [t._v for t in caps])


def _input(r: Recording, role: Ref) -> int:
    """The number of the graph input that an argument or capture is."""
    return role.number + (r.args if role.kind == "cap" else 0)


def spent(number: int) -> Any:
    """The tape of results whose gradients have been used."""
    return SPENT


class Served:
    """Serves calls of one recording through the backend's entry: facts in Python, everything else natively.

    `serve(tensors)` takes the distinct tensors among the arguments and returns the result or MISS.  `bare`: calls
    may pass the arguments as they are, because the entry itself checks all that a signature says."""

    def __init__(self, prepared: Prepared) -> None:
        r = prepared.recording
        held = {r.args + k: p.what.get() for k, p in enumerate(r.places) if p.kind == "held"}
        grads = {r.args + k: _input(r, p.what) for k, p in enumerate(r.places) if p.kind == "grad"}
        self.recording, self.held = r, held
        self.entry: Callable[..., Any] | None = None
        if any(host not in held for host in grads.values()) or not self._simple(r, held):
            return
        self.numbers = self._wanted(r)
        kinds = [*r.arg_nodes, *r.cap_nodes]
        loose = frozenset(k for k, kind in enumerate(kinds) if kind is not type(None) and k not in held)
        nodes = {k: t._node for k, t in held.items() if t._node is not None}
        none = tuple(_input(r, host) for host, first in r.grad_reads if first is None and _input(r, host) in held)
        single = type(r.out) is New and not r.stores and not self.grads and r.out.view is None
        self.guard = FactGuard(r, held)
        self.single, self.plain = single, single and r.out.node == "plain"
        self.bare = not any(k < r.args for k in loose)
        self.entry = prepared.executable.entry(Replay(
            tuple(v.aval for v in r.graph.inputs), held, grads, nodes, loose, none, tuple(prepared.states),
            tuple(self.numbers), single, TENSOR[0]))

    def _simple(self, r: Recording, held: dict[int, Any]) -> bool:
        """Whether every effect of the recording can be served here; notes the gradients that change."""
        first = dict(r.grad_reads)
        self.grads = [(host, spec) for host, spec in r.grad_writes
                      if not (spec is None and host in first and first[host] is None)]
        return all(_input(r, host) in held for host, _ in self.grads)

    def _wanted(self, r: Recording) -> list[int]:
        """Output numbers of the tensors that a call makes."""
        found: dict[int, None] = {}

        def visit(s: Any) -> None:
            if type(s) is New:
                found[r.numbers.index(s.number)] = None
            elif not isinstance(s, (Known, Plain)) and s is not None:
                for v in s.items:
                    visit(v)
        visit(r.out)
        for s in r.stores:
            visit(s.spec)
        for _, spec in self.grads:
            visit(spec)
        return list(found)

    def serve(self, tensors: Sequence[Any]) -> Any:
        """One call, or MISS with nothing changed."""
        loaded = self.guard.function(tensors)
        if loaded is None:
            return MISS
        assert self.entry is not None
        got = self.entry(*tensors, *loaded)
        if got is NotImplemented:
            return MISS
        if self.single:
            if not self.plain:
                got._node = Leaf(got) if self.recording.out.node == "leaf" else self._tape(tensors, loaded)
            return got
        return self._finish(got, tensors, loaded)

    def _tape(self, tensors: Sequence[Any], loaded: tuple[Any, ...]) -> Any:
        """The tape node of a single result."""
        history = self.recording.history
        if history is None:
            return SPENT
        return history.start(list(tensors), self._captures(loaded), run_graph)(self.recording.out.number)

    def _finish(self, made: Any, tensors: Sequence[Any], loaded: tuple[Any, ...]) -> Any:
        """Build the result around the tensors that the entry made, and store what the call stores."""
        r = self.recording
        values = {r.numbers[i]: (t._v, t._a) for i, t in zip(self.numbers, made or ())}
        caps = self._captures(loaded)
        tape = spent if r.history is None else r.history.start(list(tensors), caps, run_graph)
        maker = Maker(values, list(tensors), caps, tape)
        out = maker.build(r.out)
        stores = [(s.key, maker.build(s.spec)) for s in r.stores]
        grads = [(host, None if spec is None else maker.build(spec)) for host, spec in self.grads]
        maker.link()
        for host, grad in grads:
            self.held[_input(r, host)]._node.grad = grad
        for key, t in stores:
            store(key, r.holders[key].get(), t)
        return out

    def _captures(self, loaded: tuple[Any, ...]) -> tuple[Any, ...]:
        """Handles of all captures, in order."""
        r, rest = self.recording, iter(loaded)
        out: list[Any] = []
        for k, p in enumerate(r.places):
            if p.kind == "held":
                out.append(self.held[r.args + k])
            elif p.kind == "grad":
                out.append(self.held[_input(r, p.what)]._node.grad)
            else:
                out.append(next(rest))
        return tuple(out)


class NativeExecutor:
    """The executor of @function: a backend's native code."""

    def prepare(self, recording: Recording) -> Prepared:
        """Compile a recording; the result can be called, and `served` is the fast way where there is one."""
        return Prepared(recording)
