"""From an accepted recording to native code: passes, plan, executable; the protocol of executors.

Invariant: what is prepared here gives the bits of the recorded graph run node by node, and changes
nothing: committing the values is the caller's last step, so an error leaves all state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

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
    """Native code of one recording."""

    def __init__(self, recording: Recording) -> None:
        start = perf_counter()
        self.recording = recording
        # (output, the input whose new value it is)
        self.states = [(output, number) for number, output in recording.outcome.writes]
        self.result: Built = build(recording.graph, self.states, kernel=host_kernel)
        lowered = perf_counter()
        try:
            backend = backend_of(device_of(recording.graph))
            self.executable = backend.compile(self.result.plan, self.result.graph)
        except Exception as e:
            blame(e, step="compile", plan=self.result.plan)
            raise
        if recording.path:
            self.executable.settle_checks()
        # whether a result may share memory with data among the arguments, or needs it later
        self.keeps_data = bool(recording.data) and (
            recording.tape is not None or self.executable.keeps_inputs()
        )
        self.lower_seconds, self.compile_seconds = lowered - start, perf_counter() - lowered

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
