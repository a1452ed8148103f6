"""Memory of replays and of eager calls: results stay as they were, inputs may be anywhere, and a
thousand replays take nothing."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from gpu_device import DEVICE, IS_CUDA, SIMULATED, here, same, there
from test_gpu_training import made

import hybrid

only_cuda = pytest.mark.skipif(not IS_CUDA, reason="asks hybrid.cuda for its memory")
REPLAYS = 20 if SIMULATED else 1000


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def replayed(function: Any, *operands: Any) -> Any:
    """A decorated function that replays for these operands."""
    traced = hybrid.function(function)
    for _ in range(3):
        traced(*operands)
    assert traced.cache_info().replays, traced.explain()
    return traced


def program(x: Any, y: Any) -> tuple[Any, Any]:
    middle = hybrid.tanh(x @ y) + x
    return middle * 2, middle.sum(0)


def test_results_are_kept_across_replays() -> None:
    """What a replay returned is not written by later ones."""
    operands = there(draw(33, 33)), there(draw(33, 33, seed=1))
    traced = replayed(program, *operands)
    kept = []
    for seed in range(30):
        arrays = draw(33, 33, seed=seed), draw(33, 33, seed=seed + 100)
        kept.append((arrays, traced(*map(there, arrays))))
    for arrays, found in kept:
        for left, right in zip(found, program(*map(hybrid.tensor, arrays)), strict=True):
            same(left, right)


def test_some_results_are_dropped_and_their_memory_used_again() -> None:
    traced = replayed(lambda x: (x * 2, x + 1), there(draw(64, 64)))
    kept = []
    for seed in range(40):
        array = draw(64, 64, seed=seed)
        doubled, _ = traced(there(array))
        kept = [*kept[-3:], (array, doubled)]
        for older, result in kept:
            np.testing.assert_array_equal(here(result), older * np.float32(2))


def test_inputs_may_lie_anywhere() -> None:
    """Other tensors, views with odd starts, the same tensor twice, a result of the call before."""
    traced = replayed(program, there(draw(33, 33)), there(draw(33, 33, seed=1)))
    wide = there(draw(70, 80, seed=2))
    views = [wide[i : i + 33, i + 1 : i + 34] for i in range(5)]
    flat = there(draw(1 + 33 * 33, seed=3))[1:].reshape(33, 33)
    pairs = [*zip(views, views[1:]), (flat, flat), (flat.T, views[0]), (wide[:33, :33].T, flat)]
    for left, right in pairs:
        wanted = program(*(hybrid.tensor(here(t)) for t in (left, right)))
        for found, expected in zip(traced(left, right), wanted, strict=True):
            same(found, expected)
    again, _ = traced(flat, flat)
    for _ in range(5):
        wanted = program(hybrid.tensor(here(again)), hybrid.tensor(here(flat)))
        again, total = traced(again, flat)
        same(again, wanted[0])
        same(total, wanted[1])


def test_eager_work_between_replays() -> None:
    """Allocations, frees and kernels between replays touch nothing of theirs, nor they of them."""
    x, y = draw(50, 50), draw(50, 50, seed=1)
    traced = replayed(program, there(x), there(y))
    wanted = [here(t) for t in program(hybrid.tensor(x), hybrid.tensor(y))]
    left, right, kept = there(x), there(y), []
    for turn in range(60):
        found = traced(left, right)
        kept.append(hybrid.full((1 + turn * 37 % 91, 50), float(turn), device=DEVICE) * 2)
        if turn % 3 == 0:
            kept = kept[-2:]
        for result, expected in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(here(result), expected)
    assert all((here(t) == here(t)[0, 0]).all() for t in kept)


def test_a_step_that_changes_its_state_in_place() -> None:
    """Who holds the old value of a parameter keeps it."""
    training = made("mlp_small", True, DEVICE)
    for _ in range(4):
        training.step(*training.batch())
    parameter = next(iter(training.model.parameters()))
    before, old = here(parameter), parameter.detach().clone()
    alias = parameter.detach()
    training.step(*training.batch())
    np.testing.assert_array_equal(here(old), before)
    same(alias, parameter) if alias.tolist() != old.tolist() else same(alias, old)
    assert (here(parameter) != before).any()


@only_cuda
def test_a_thousand_replays_take_no_memory_and_give_the_losses_of_the_eager_run() -> None:
    training, plain = made("mlp_small", True, DEVICE), made("mlp_small", False, DEVICE)
    batch, other = training.batch(), plain.batch()
    for _ in range(5):
        assert training.step(*batch).item() == plain.step(*other).item()
    gc.collect()
    held, taken = hybrid.cuda.memory_allocated(), hybrid.cuda.memory_reserved()
    losses = [training.step(*batch).item() for _ in range(REPLAYS)]
    gc.collect()
    assert hybrid.cuda.memory_allocated() == held
    assert hybrid.cuda.memory_reserved() == taken
    wanted = [plain.step(*other).item() for _ in range(REPLAYS)]
    assert losses == wanted
    assert training.step.cache_info().replays >= REPLAYS


@only_cuda
def test_a_steady_replay_asks_the_driver_for_nothing() -> None:
    from hybrid.backends.cuda.machine.driver import driver

    training = made("mlp_small", True, DEVICE)
    batch = training.batch()
    for _ in range(5):
        training.step(*batch)
    hybrid.cuda.synchronize()
    used, asked = driver(), []
    kept = {name: getattr(used, name) for name in ("allocate", "free", "load", "instantiate")}

    def noted(name: str) -> Any:
        return lambda *given: asked.append(name) or kept[name](*given)

    try:
        for name in kept:
            setattr(used, name, noted(name))
        for _ in range(20):
            training.step(*batch)
        hybrid.cuda.synchronize()
    finally:
        for name in kept:
            delattr(used, name)
    assert asked == []


@only_cuda
def test_memory_counts_and_goes_back() -> None:
    hybrid.cuda.empty_cache()
    gc.collect()
    before = hybrid.cuda.memory_allocated()
    held = hybrid.zeros(1 << 20, device=DEVICE)
    assert hybrid.cuda.memory_allocated() - before >= 4 << 20
    assert hybrid.cuda.max_memory_allocated() >= hybrid.cuda.memory_allocated()
    del held
    gc.collect()
    assert hybrid.cuda.memory_allocated() == before
    hybrid.cuda.empty_cache()
    assert hybrid.cuda.memory_reserved() >= hybrid.cuda.memory_allocated()


@only_cuda
def test_functions_that_are_dropped_give_their_memory_back() -> None:
    gc.collect()
    x = there(draw(256, 256))
    hybrid.cuda.synchronize()
    held = []
    for _ in range(6):
        traced = replayed(lambda t: hybrid.exp(t * 0.5) @ t, x)
        del traced
        gc.collect()
        hybrid.cuda.synchronize()
        held.append(hybrid.cuda.memory_allocated())
    assert held[-1] == held[1], held
