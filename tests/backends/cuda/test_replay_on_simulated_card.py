"""Training steps traced on a simulated card, kernels and all, against the CPU's bits."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from gpu import SimulatedDriver
from test_replay import PROGRAMS, executable_of, forget_generators, on, training

import hybrid
from hybrid.backends.cuda.machine import driver as door


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
    build, batch = PROGRAMS[name]
    batches = [batch() for _ in range(5)]
    model, step = training(build, "cpu")
    want = [step(*on("cpu", *arrays)).numpy() for arrays in batches]
    state = [p.numpy() for p in model.parameters()]
    model, step = training(build, "cuda")
    traced = hybrid.function(step)
    losses = [traced(*on("cuda", *arrays)) for arrays in batches]
    assert traced.cache_info().replays >= 2, traced.explain()
    executable_of(traced)
    for got, wanted in zip([*losses, *model.parameters()], [*want, *state], strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted)
