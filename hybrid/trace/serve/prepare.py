"""From an accepted recording to native code: passes, plan, executable; the protocol of executors.

Invariant: what is prepared here gives the bits of the recorded graph run node by node, and changes
nothing: committing the values is the caller's last step, so an error leaves all state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from ...compiler.identity import identity_of, placed, unplaced
from ...compiler.pipeline import Built, build
from ...core.aval import HOST, Device
from ...core.errors import UnsupportedError, blame
from ...ir.door.bind import backend_of
from ...ir.door.busy import values_of
from ...ir.door.evaluate import host_kernel
from ...ir.door.pending import known
from ...ir.graph.graph import Graph
from ..record.recording import Recording

__all__ = ["CHOICE", "MISS", "Executor", "NativeExecutor", "Prepared", "Run", "set_executor"]

LARGE = 1 << 24  # bytes of recorded results that are worth returning to the system


class _Miss:
    def __repr__(self) -> str:
        return "MISS"


MISS = _Miss()
Run = Callable[[Sequence[Any]], Any]


class Executor(Protocol):
    """Turns a recording into `run(inputs) -> values of graph.outputs, or MISS`."""

    def prepare(self, recording: Recording) -> Run: ...


def device_of(graph: Graph) -> Device:
    """The device a graph runs on; UnsupportedError where it is more than one.  An input that
    nothing uses, such as a generator that Python only looked at, may be anywhere."""
    values = [v for n in graph.nodes for v in (*n.inputs, *n.outputs)]
    found = {v.aval.device: None for v in (*values, *graph.outputs)}
    if len(found) > 1:
        names = " and ".join(d.name for d in found)
        raise UnsupportedError(f"computes on {names}; a plan runs on one device")
    return next(iter(found), HOST)


class Prepared:
    """Native code of one recording; `made`: its plan and what the backend needs beside that, filled
    in for its sizes."""

    def __init__(self, recording: Recording, made: Any = None) -> None:
        start = perf_counter()
        self.recording, self.filled = recording, made is not None
        # (output, the input whose new value it is)
        self.states = recording.outcome.states
        self._result: Built | None = None
        lowered = start
        backend = backend_of(device_of(recording.graph))
        if made is not None:
            self.executable = backend.assemble(*made)
        else:
            lowered, self.executable = self._compiled(backend)
        if recording.path:
            self.executable.settle_checks()
        # whether a result may share memory with data among the arguments, or needs it later
        self.keeps_data = bool(recording.data) and (
            recording.tape is not None or self.executable.keeps_inputs()
        )
        self.lower_seconds, self.compile_seconds = lowered - start, perf_counter() - lowered

    def _compiled(self, backend: Any) -> tuple[float, Any]:
        """When the plan was made, and what runs it: a plan that another process made, or one of
        the pipeline."""
        graph = self.recording.graph
        identity = identity_of(graph, self.states)
        known = None if identity is None else backend.recall(identity)
        if known is not None:
            plan, pieces = known
            return perf_counter(), backend.assemble(placed(plan, graph), pieces)
        result = self.result
        lowered = perf_counter()
        try:
            executable = backend.compile(result.plan, result.graph)
        except Exception as e:
            blame(e, step="compile", plan=result.plan)
            raise
        plan = None if identity is None else unplaced(result.plan, graph)
        if identity is not None and plan is not None:
            backend.remember(identity, plan, executable)
        return lowered, executable

    def first(self) -> None:
        """Before the first replay: what the recorded calls left is not used again, and replays have
        memory of their own."""
        graph = self.recording.graph
        if sum([value.aval.nbytes for node in graph.nodes for value in node.outputs]) > LARGE:
            backend_of(device_of(graph)).trim()

    @property
    def result(self) -> Built:
        """What the pipeline makes of the recording; made when somebody looks where the plan was
        filled in or another process made it."""
        if self._result is None:
            self._result = build(self.recording.graph, self.states, kernel=host_kernel)
        return self._result

    @property
    def forms(self) -> list[tuple[str, Any]]:
        """The intermediate forms, for people to look at: made again, as they would take more memory
        than the code."""
        graph = self.recording.graph
        forms: list[tuple[str, Any]] = [("recorded", graph)]
        build(graph, self.states, host_kernel, hook=lambda *form: forms.append(form))
        return forms

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Values of the graph's outputs; nothing else changes."""
        values: list[Any] = self.executable(known(values_of(inputs)))
        return values


class NativeExecutor:
    """The executor of @function: a backend's native code."""

    def prepare(self, recording: Recording) -> Prepared:
        """Compile a recording; the result can be called."""
        return Prepared(recording)

    def fill(self, recording: Recording, made: Any) -> Prepared:
        """The same of a plan that was filled in for the sizes of a recording."""
        return Prepared(recording, made)


class Choice:
    """What runs the recordings that are accepted from now on."""

    __slots__ = ("executor",)

    def __init__(self) -> None:
        self.executor: Executor = NativeExecutor()


CHOICE = Choice()


def set_executor(executor: Executor) -> Executor:
    """Choose what runs recordings accepted from now on; returns the previous choice."""
    previous, CHOICE.executor = CHOICE.executor, executor
    return previous
