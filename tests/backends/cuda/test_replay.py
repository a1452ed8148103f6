"""Plans on a card as CUDA graphs, with the CPU's kernels in the place of the card's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from host_kernels import HostDriver, host_cards

import hybrid
from hybrid import nn, optim
from hybrid.backends.cuda.executable import PlanOnCard
from hybrid.core.aval import HOST
from hybrid.ir.mode import ROOTS
from hybrid.ops.indexing import random


@pytest.fixture(scope="module")
def card() -> Iterator[HostDriver]:
    with pytest.MonkeyPatch.context() as patch, host_cards(patch) as made:
        yield made
        for device in [device for device in random._DEFAULT if device is not HOST]:
            del random._DEFAULT[device]
        ROOTS[:] = [root for root in ROOTS if getattr(root, "device", HOST) is HOST]


def executable_of(function: Any) -> PlanOnCard:
    """What the only plan of a function runs on."""
    (state,) = function._signatures.values()
    (plan,) = state.plans
    return plan.run.executable


def mlp(kind: str) -> Any:
    hybrid.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(kind)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    def step(x: Any, y: Any) -> Any:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return model, step


def batches(kind: str, count: int) -> list[Any]:
    values = np.random.default_rng(0)
    return [
        (
            hybrid.tensor(values.standard_normal((6, 8)).astype("f4"), device=kind),
            hybrid.tensor(values.integers(0, 4, 6), device=kind),
        )
        for _ in range(count)
    ]


def test_a_training_step(card: HostDriver) -> None:
    model, step = mlp("cpu")
    want = [step(*batch).numpy() for batch in batches("cpu", 8)]
    state = [p.numpy() for p in model.parameters()]
    model, step = mlp("cuda")
    step = hybrid.function(step)
    losses = [step(*batch) for batch in batches("cuda", 8)]
    assert step.cache_info().replays == 6, step.explain()
    assert isinstance(executable_of(step), PlanOnCard)
    for got, wanted in zip(losses, want):
        np.testing.assert_array_equal(got.numpy(), wanted)
    for got, wanted in zip(model.parameters(), state):
        np.testing.assert_array_equal(got.numpy(), wanted)
    print(card.counts)
