"""What replays of a recording need beside the plan, and the one description a backend gets of them.

Invariant: everything is by the number that the recording gave an input or an output; nothing is
numbered again on the way to the native entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ....backends.api import CHECKED, Form, Held, HeldGradient, Pointer, Replay, ReplayInput, Source
from ....ir.tensor import RUNTIME
from ...follow.terms import parts as leaves
from ...record.inputs import AsGradient, ByIdentity
from ...record.outputs import Box, Computed, HostValue, Known, MovedStep, New, Spec
from ...record.recording import Recording
from ..prepare import Prepared
from .facts import NativeFacts

__all__ = ["Needs", "needs_of", "Finding", "replay_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """`held`: captures known by identity, by input; `hosts`: captures that are the gradient of
    another input, and which; `gradients`: (held input, recipe of the `.grad` it is left with or
    None); `results`: outputs to make tensors of, in this `form`; `captures`: whether the result
    asks for captured tensors themselves."""

    held: dict[int, Any]
    hosts: dict[int, int]
    gradients: tuple[tuple[int, Spec | None], ...]
    results: tuple[int, ...]
    form: Form
    captures: bool


def needs_of(recording: Recording) -> Needs | None:
    """What replays need; None where a gradient is used in a way that no native entry knows: of a
    tensor that is not held, on a tape, or found in another place, too."""
    outcome, held, hosts = recording.outcome, dict[int, Any](), dict[int, int]()
    for number in range(recording.arguments, len(recording.inputs)):
        location = recording.inputs[number].location
        if isinstance(location, ByIdentity):
            held[number] = location.holder.get()
        elif isinstance(location, AsGradient):
            hosts[number] = location.host
    gradients = _left(recording)
    used = {*hosts.values(), *(host for host, _ in gradients)}
    plain = all(recording.inputs[number].node is type(None) for number in hosts)
    elsewhere = any(
        first is not None and recording.inputs[first].location != AsGradient(host)
        for host, first in recording.gradients
    )
    if not used <= set(held) or not plain or elsewhere:
        return None
    actions = outcome.actions
    left = [spec for _, spec in gradients if spec is not None]
    specs = [outcome.result, *(s.spec for s in outcome.stores), *actions.specs(), *left]
    parts = [part for spec in specs for part in _parts(spec)]
    kept = [*recording.kept, *[tap.output for tap in recording.taps]]
    results = tuple(dict.fromkeys([*[p.output for p in parts if isinstance(p, New)], *kept]))
    more = bool(kept or outcome.stores or gradients) or actions.commits
    inputs = [part.number for part in parts if isinstance(part, Known)]
    inputs += [] if recording.tape is None else [*recording.tape.needed, *recording.tape.inputs]
    return Needs(
        held,
        hosts,
        gradients,
        results,
        _form(outcome.result, results, more),
        max(inputs, default=-1) >= recording.arguments,
    )


def _left(recording: Recording) -> tuple[tuple[int, Spec | None], ...]:
    """Inputs whose `.grad` the call leaves, with the recipes, but for those that stay None."""
    reads = dict(recording.gradients)
    return tuple(
        (host, spec)
        for host, spec in recording.outcome.gradients
        if not (spec is None and host in reads and reads[host] is None)
    )


def _form(result: Spec, results: tuple[int, ...], more: bool) -> Form:
    """'single' where the one result needs next to nothing beside the entry."""
    if type(result) is New and result.view is None and not more:
        return "single"
    return "tuple" if results else "none"


def _parts(spec: Spec) -> Iterator[New | Known]:
    """The tensors of a recipe, with those that they are views of."""
    if isinstance(spec, New):
        yield spec
        if spec.view is not None and isinstance(spec.view[2], MovedStep):
            yield from map(Known, spec.view[2].numbers)
        if spec.view is not None and not isinstance(spec.view[0], int):
            yield from _parts(spec.view[0])
    elif isinstance(spec, Known):
        yield spec
    elif isinstance(spec, (Box, HostValue)):
        for item in spec.items:
            yield from _parts(item)
    elif isinstance(spec, Computed):
        for leaf in leaves(spec.term):
            if isinstance(leaf, HostValue):
                yield from _parts(leaf)


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """How native code finds the captures of the next calls.  `pointers`: input -> address of the
    pointer that leads to it; `leaves`: tape nodes of such inputs, compared by identity; `loaded`:
    inputs that the Python guard loads; `ungraded`: inputs whose `.grad` must be None."""

    pointers: dict[int, int]
    leaves: dict[int, Any]
    loaded: tuple[int, ...]
    ungraded: set[int]

    @classmethod
    def of(cls, recording: Recording, facts: NativeFacts | None, pinned: dict[int, Any]) -> Finding:
        """From the native facts, and from the leaves that never changed so far."""
        inputs, first = recording.inputs, recording.arguments
        ungraded = {host for host, grad in recording.gradients if grad is None}
        plain = {k for k in range(first, len(inputs)) if inputs[k].node is type(None)}
        seen = (plain | set(pinned)) - ungraded  # Python looks at a gradient that must be None
        found = {} if facts is None else facts.pointers
        pointers = {number: at for number, at in found.items() if number in seen}
        known = (ByIdentity, AsGradient)
        loaded = tuple(
            number
            for number in range(first, len(inputs))
            if number not in pointers and not isinstance(inputs[number].location, known)
        )
        leaves = {number: node for number, node in pinned.items() if number in pointers}
        return cls(pointers, leaves, loaded, ungraded)


def replay_of(
    prepared: Prepared, needs: Needs, finding: Finding, facts: NativeFacts | None
) -> Replay:
    """What the backend has to know to serve calls of a recording."""
    recording = prepared.recording
    nodes = {k: tensor._node for k, tensor in needs.held.items() if tensor._node is not None}
    nodes |= finding.leaves

    def source(number: int) -> Source:
        if number in needs.held:
            return Held(needs.held[number])
        if number in needs.hosts:
            return HeldGradient(needs.hosts[number])
        return Pointer(finding.pointers[number]) if number in finding.pointers else None

    def node(number: int, kind: type) -> Any:
        plain = kind is type(None) or number in needs.held
        return nodes.get(number) if plain or number in nodes else CHECKED

    inputs = tuple(
        ReplayInput(aval, source(number), node(number, kind))
        for number, (aval, kind, _) in enumerate(recording.inputs)
    )
    return Replay(
        inputs=inputs,
        states=tuple(prepared.states),
        results=needs.results,
        form=needs.form,
        tensor_types=(RUNTIME.tensor,),
        no_grad=tuple(number for number in finding.ungraded if number in needs.held),
        guards=() if facts is None else facts.guards,
        keep=(recording, facts, list(nodes.values())),
    )
