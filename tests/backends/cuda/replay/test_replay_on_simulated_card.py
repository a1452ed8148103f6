"""Training steps traced on a simulated card, kernels and all, against the CPU's bits."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from card_programs import (
    PROGRAMS,
    forget_generators,
    on,
    trained_with_the_bits_of_the_cpu,
    training,
)
from gpu import SimulatedDriver

import hybrid
from hybrid.backends.cuda.machine import driver as door
from hybrid.core.errors import IndexOutOfRange


@pytest.fixture(scope="module", params=[0, 2])
def card(request: pytest.FixtureRequest) -> Iterator[SimulatedDriver]:
    """A simulated card; the parameter is the order in which its threads and nodes run."""
    made = SimulatedDriver(order=request.param)
    before = door.use(made)
    yield made
    gc.collect()
    forget_generators()
    door.use(before)


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_training_has_the_bits_of_the_cpu(name: str, card: SimulatedDriver) -> None:
    traced = trained_with_the_bits_of_the_cpu(name, 5)
    assert traced.cache_info().replays >= 2, traced.explain()


def test_a_failed_check_leaves_the_model(card: SimulatedDriver) -> None:
    build, batch = PROGRAMS["lstm"]
    model, step = training(build, "cuda")
    traced = hybrid.function(step)
    good, labels = on("cuda", *batch())
    bad = hybrid.tensor(np.array([[0, 1, 2, 3], [4, 5, 6, 7]]), device="cuda")  # 7 is out of range
    for _ in range(4):
        traced(good, labels)
    before = [p.numpy() for p in model.parameters()]
    lost = traced(bad, labels)
    again = traced(good, labels)  # does nothing, either, until somebody has been told
    with pytest.raises(IndexOutOfRange, match="card_programs.py"):
        lost.numpy()
    for kept, wanted in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(kept.numpy(), wanted)
    again = traced(good, labels)
    assert np.isfinite(again.item()) and (model.out.bias.numpy() != before[-1]).any()
