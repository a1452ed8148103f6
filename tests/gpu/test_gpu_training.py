"""Four training steps, 20 steps each: eager and traced, on the host and on the device, one run of
bits in losses, weights and optimizer state; a model saved on one device goes on on the other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from gpu_device import DEVICE, HOST, differences, here

import hybrid
from benchmarks import sizes, workloads

STEPS = 20
NAMES = ("mlp_mid", "cnn", "lstm", "gpt")


def made(name: str, traced: bool, device: str) -> Any:
    """A training step whose weights and samples are the same wherever it is made."""
    sizes.generator.bit_generator.state = np.random.default_rng(5).bit_generator.state
    hybrid.manual_seed(3)
    return workloads.training(name, traced, device)


def held(training: Any) -> dict[str, np.ndarray]:
    """Weights and the state of the optimizer."""
    found = {f"weight {name}": here(t) for name, t in training.model.state_dict().items()}
    for key, value in training.optimizer.state_dict().items():
        for path, tensor in _tensors(value, key):
            found[path] = here(tensor)
    return found


def _tensors(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, hybrid.Tensor):
        return [(path, value)]
    if isinstance(value, dict):
        return [found for k, v in value.items() for found in _tensors(v, f"{path}.{k}")]
    if isinstance(value, list | tuple):
        return [found for k, v in enumerate(value) for found in _tensors(v, f"{path}.{k}")]
    return []


def trained(name: str, traced: bool, device: str) -> dict[str, np.ndarray]:
    """The losses of all steps, and what is held after the last."""
    training = made(name, traced, device)
    losses = [here(training.step(*training.batch())) for _ in range(STEPS)]
    if traced:
        info = training.step.cache_info()
        assert info.replays == STEPS - 2, training.step.explain()
    return {"losses": np.stack(losses), **held(training)}


@lru_cache(4)
def on_host(name: str) -> dict[str, np.ndarray]:
    """The eager run on the host: what every other one is compared with."""
    return trained(name, False, HOST)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device, traced", [(HOST, True), (DEVICE, False), (DEVICE, True)])
def test_one_run_of_bits(name: str, device: str, traced: bool) -> None:
    wanted, found = on_host(name), trained(name, traced, device)
    assert wanted.keys() == found.keys() and len(wanted) > 3
    losses = wanted["losses"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    wrong = [(key, differences(found[key], wanted[key])) for key in wanted]
    told = [f"{key}: {text}" for key, text in wrong if text]
    if told:
        pytest.fail("\n".join([f"{len(told)} of {len(wanted)} differ", *told[:8]]), pytrace=False)


@pytest.mark.parametrize("there", [DEVICE, HOST], ids=["to_device", "to_host"])
def test_training_goes_on_on_the_other_device(there: str) -> None:
    """Half of the steps on one device, the state moved, half on the other."""
    first, second = made("cnn", True, HOST if there == DEVICE else DEVICE), made("cnn", True, there)
    for _ in range(5):
        first.step(*first.batch())
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    for _ in range(5):
        second.step(*second.batch())
    straight = made("cnn", False, HOST)
    for _ in range(10):
        straight.step(*straight.batch())
    wanted, found = held(straight), held(second)
    told = [f"{k}: {t}" for k in wanted if (t := differences(found[k], wanted[k]))]
    assert not told, "\n".join(told)
    assert {t.device.type for t in second.model.parameters()} == {second.batch()[0].device.type}
