"""Facts of many tensors are checked together: each of them still counts, and is checked at its
place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.trace.record.expected import Ref
from hybrid.trace.record.guards import MANY, Guard


class Deep:
    """A traced training step of many equal layers, and its plan."""

    def __init__(self, layers: int = 12) -> None:
        self.layers = [hb.nn.Linear(4, 4) for _ in range(layers)]
        self.model = hb.nn.Sequential(*self.layers)
        self.optimizer = hb.optim.SGD(self.model.parameters(), lr=0.125)
        self.scales = [hb.tensor(np.float32(k)) for k in range(layers)]
        self.x = hb.ones((2, 4))

        def step(x: Any) -> Any:
            loss = self.model(x).sum()
            for scale in self.scales:
                loss = loss * scale
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            return loss

        self.step = hb.function(step)
        for _ in range(3):
            self.step(self.x)
        (state,) = self.step._signatures.values()
        (self.plan,) = state.plans

    def captures(self) -> Any:
        return self.plan.guard([self.x])


@pytest.fixture(scope="module")
def deep() -> Deep:
    return Deep()


def test_captures_come_in_the_order_of_the_inputs(deep):
    found = deep.captures()
    inputs = deep.plan.recording.inputs[1:]
    assert len(found) == len(inputs) and [t._a for t in found] == [i.aval for i in inputs]
    assert {id(p) for p in deep.model.parameters()} < {id(t) for t in found}


def inside(deep: Deep) -> list[Any]:
    """The places in containers where the guard looks for tensors that it has."""
    guard = Guard(deep.plan.recording)
    facts = guard.facts.items()
    return [k for k, want in facts if type(want) is Ref and guard._inside(k, want.number)]


@pytest.mark.parametrize("number", [0, 7, -1])
def test_another_tensor_in_a_container_is_a_miss(deep, number):
    places = inside(deep)
    assert len(places) >= MANY
    key = places[number]
    box = deep.plan.recording.facts.holders[key].strong
    kept, box[key.key] = box[key.key], hb.nn.Parameter(hb.zeros((4, 4)))
    assert deep.captures() is None
    box[key.key] = kept
    assert deep.captures() is not None


@pytest.mark.parametrize("number", [0, 7, -1])
@pytest.mark.parametrize("what", ["_a", "_node"])
def test_another_record_or_tape_is_a_miss(deep, number, what):
    held = Guard(deep.plan.recording).held
    assert len(held) >= MANY
    order = list(held)[number] - deep.plan.recording.arguments
    tensor = deep.captures()[order]
    kept = getattr(tensor, what)
    setattr(tensor, what, hb.ones(3)._a if what == "_a" else ("a", "node"))
    assert deep.captures() is None
    setattr(tensor, what, kept)
    assert deep.captures() is not None


@pytest.mark.parametrize("number", [0, 5, 11])
def test_a_gradient_is_a_miss(number):
    deep = Deep()
    deep.optimizer.zero_grad()
    assert deep.captures() is not None
    deep.layers[number].bias.grad = hb.ones(4)
    assert deep.captures() is None
    deep.layers[number].bias.grad = None
    assert deep.captures() is not None


def test_terms_of_parameters_do_not_grow_with_layers():
    few, many = (Guard(Deep(layers).plan.recording) for layers in (10, 30))
    assert few.source.count("issubclass") == 10  # each scale is loaded from its place
    assert many.source.count("issubclass") == 30
    assert few.source.count("_node") == 10 and many.source.count("_node") == 30
    assert many.count > 2 * few.count
