"""Training steps traced on a simulated card, kernels and all, against the CPU's bits."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

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
from hybrid.trace.fallback.deferred import CHOICE


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


@pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
def test_deferred_training_has_the_bits_of_the_cpu(card: SimulatedDriver) -> None:
    """Backward passes and steps of the optimizer as bundles of ops, in plans on the card."""
    build, batch = PROGRAMS["mlp"]
    arrays = batch()
    model, step = training(build, "cpu")
    want = [step(*on("cpu", *arrays)).item() for _ in range(8)]
    state = [p.numpy() for p in model.parameters()]
    model, step = training(build, "cuda")

    @hybrid.function
    def clocked(inputs: Any, labels: Any) -> Any:
        os.times()
        return step(inputs, labels).item()

    before, CHOICE[0] = CHOICE[0], "always"
    try:
        found = [clocked(*on("cuda", *arrays)) for _ in range(8)]
    finally:
        CHOICE[0] = before
    assert found == want and clocked.cache_info().deferred == 6
    assert clocked._segments.bundles.replayed == 8 and clocked._segments.native > 0
    for parameter, wanted in zip(model.parameters(), state, strict=True):
        np.testing.assert_array_equal(parameter.numpy(), wanted)


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


def test_results_differentiated_outside_have_the_bits_of_the_cpu(card: SimulatedDriver) -> None:
    """Dropout and a running mean in the call, backward and the update outside of it."""

    def train(device: str, decorate: Callable[[Any], Any]) -> list[bytes]:
        hybrid.manual_seed(3)
        if device == "cuda":
            hybrid.cuda.manual_seed(3)
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(s).astype("f") for s in ((8, 4), (4, 4), (4,))]
        x, w, mean = (hybrid.tensor(array, device=device) for array in arrays)
        w.requires_grad_()

        def forward(x: Any) -> Any:
            y = hybrid.nn.functional.dropout(hybrid.tanh(x @ w), 0.5) - mean
            with hybrid.no_grad():
                mean.mul_(0.9).add_(y.detach().mean(0) * 0.1)
            return hybrid.tap(y * y, "square").sum()

        fn, out = decorate(forward), []
        for _ in range(5):
            w.grad = None
            loss = fn(x)
            loss.backward()
            with hybrid.no_grad():
                w.sub_(w.grad * 0.1)
            out += [t.numpy().tobytes() for t in (loss, w, mean, w.grad)]
        if decorate is not plain:
            assert fn.cache_info().replays == 3, fn.explain()
            out.append(fn.probe("square")[0].numpy().tobytes())
        return out

    def plain(fn: Any) -> Any:
        return fn

    traced = train("cuda", hybrid.function)
    assert traced[:-1] == train("cuda", plain)
    assert traced == train("cpu", hybrid.function)
