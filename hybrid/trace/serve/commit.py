"""The end of a replay that ran in Python: new state, stored tensors, gradients and the result.

Invariant: everything is built before anything is stored, so an error leaves all state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...control.taps import probed
from ...core.signals import finish
from ...ir.door.busy import put_values
from ..host.again import tell
from ..record.outputs import Maker
from ..record.recording import Recording

__all__ = ["commit"]


def commit(
    recording: Recording, values: Sequence[Any], inputs: list[Any], tape: Callable[[int], Any]
) -> Any:
    """Write the new state, store what the call stores, and build what it returns.

    A handler of a signal that raises meanwhile does so after all is done."""
    built: list[Any] = []
    result = finish(_commit, recording, values, inputs, tape, built)
    tell(built[3].told)
    return result


def _commit(
    recording: Recording,
    values: Sequence[Any],
    inputs: list[Any],
    tape: Callable[[int], Any],
    built: list[Any],
) -> Any:
    """May be repeated with the same `built`, which keeps what was built."""
    outcome, holders = recording.outcome, recording.facts.holders
    if not built:
        maker = Maker(list(zip(values, outcome.avals)), inputs, tape)
        result = maker.build(outcome.result)
        stored = [(store, maker.build(store.spec)) for store in outcome.stores]
        gradients = [(host, None if s is None else maker.build(s)) for host, s in outcome.gradients]
        ready = outcome.actions.begin(maker.build)
        maker.link()
        built += result, stored, gradients, ready
    result, stored, gradients, ready = built
    if outcome.writes:
        put_values(
            recording.written(inputs),
            [values[output] for _, output in outcome.writes],
            [outcome.avals[output] for _, output in outcome.writes],
        )
    for host, gradient in gradients:
        inputs[host]._node.grad = gradient
    for store, tensor in stored:
        store.put(holders[store.key].get(), store.key.key, tensor)
    ready.finish()
    probed(recording.taps, lambda output: (values[output], outcome.avals[output]))
    return result
