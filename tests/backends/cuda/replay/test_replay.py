"""Plans on a card as CUDA graphs, with the CPU's kernels in the place of the card's."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from card_programs import (
    PROGRAMS,
    RNG,
    executable_of,
    floats,
    forget_generators,
    on,
    perceptron,
    trained_with_the_bits_of_the_cpu,
    training,
)
from host_kernels import HostDriver, host_cards

import hybrid
from hybrid import optim
from hybrid.backends.api import Interpreted
from hybrid.backends.cpu.machine.jit import compile_ir
from hybrid.backends.cuda import executable
from hybrid.backends.cuda.graphs import drop_dead
from hybrid.backends.cuda.machine.devices import device_state
from hybrid.core.errors import BackendError, DeviceError, IndexOutOfRange
from hybrid.nn import functional as F


@pytest.fixture(scope="module")
def cards() -> Iterator[HostDriver]:
    with pytest.MonkeyPatch.context() as patch, host_cards(patch) as made:
        yield made
        gc.collect()
        forget_generators()


@pytest.fixture
def card(cards: HostDriver) -> HostDriver:
    cards.counts = dict.fromkeys(cards.counts, 0)
    cards.fail.clear()
    return cards


@lru_cache(1)
def nothing() -> Any:
    """Native code that outlives every card that was told its address."""
    return compile_ir("define i32 @nothing() { ret i32 0 }", ["nothing"])


@pytest.fixture
def card_in_native_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostDriver]:
    """A card of the test's own that does nothing: native code keeps the GIL, so a driver in Python
    cannot be called from there by several threads."""
    with host_cards(monkeypatch) as made:
        monkeypatch.setattr(made, "address", lambda name: nothing().address("nothing"))
        yield made


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_training_has_the_bits_of_the_cpu(name: str, card: HostDriver) -> None:
    traced = trained_with_the_bits_of_the_cpu(name, 7)
    assert traced.cache_info().replays >= 4, traced.explain()
    assert card.counts["graph"] == traced.cache_info().replays


@pytest.mark.parametrize("most", [0, 1 << 20])
def test_temporaries_share_memory_where_they_take_much(
    most: int, card: HostDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they share none, no step waits for a reader of what was there before."""
    monkeypatch.setattr(executable, "MOST_SPREAD", most)
    made = executable_of(trained_with_the_bits_of_the_cpu("gpt", 5))
    lying = sorted((s.index, s.aval.nbytes) for s in made.plan.slots if s.kind == "arena")
    apart = all(here + size <= there for (here, size), (there, _) in zip(lying, lying[1:]))
    assert apart == bool(most)
    assert all(here % 64 == 0 and here + size <= made.plan.arena_bytes for here, size in lying)


def test_a_steady_replay_allocates_and_updates_nothing(card: HostDriver) -> None:
    _, step = training(perceptron, "cuda")
    traced, batch = hybrid.function(step), on("cuda", *floats(6, 8))
    for _ in range(8):
        loss = traced(*batch)
    state = device_state()
    allocated, calls = state.pool.stats().allocated, len(card.calls)
    card.counts = dict.fromkeys(card.counts, 0)
    for _ in range(20):
        loss = traced(*batch)
    assert card.counts == {"launch": 0, "graph": 20, "update": 0, "copy": 0}
    assert state.pool.stats().allocated == allocated and len(card.calls) == calls
    assert np.isfinite(loss.item())


def test_gradients_that_stay_take_turns_in_the_graphs(card: HostDriver) -> None:
    model = training(perceptron, "cuda")[0]
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    @hybrid.function
    def step(inputs: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss

    batch = on("cuda", *floats(6, 8))
    for _ in range(12):
        loss = step(*batch)
    card.counts = dict.fromkeys(card.counts, 0)
    for _ in range(12):
        loss = step(*batch)
    assert card.counts == {"launch": 0, "graph": 12, "update": 0, "copy": 0}
    assert np.isfinite(loss.item()) and all(p.grad is not None for p in model.parameters())


def test_memory_is_flat_over_many_steps(card: HostDriver) -> None:
    _, step = training(perceptron, "cuda")
    traced, batches = hybrid.function(step), [floats(6, 8) for _ in range(4)]
    reserved = []
    for number in range(90):
        loss = traced(*on("cuda", *batches[number % 4]))
        if number % 30 == 20:
            gc.collect()
            stats = device_state().pool.stats()
            reserved.append((stats.allocated, stats.reserved, len(card.instances)))
    assert np.isfinite(loss.item()) and len(set(reserved)) == 1


def test_work_goes_to_the_current_stream(card: HostDriver) -> None:
    @hybrid.function
    def step(x: Any) -> Any:
        return x.exp() + 1

    x = hybrid.ones(3, device="cuda")
    for _ in range(3):
        want = step(x).tolist()
    stream = hybrid.cuda.Stream()
    card.started_on.clear()
    with hybrid.cuda.stream(stream):
        made = step(x)
    step(x)
    assert made.tolist() == want and len(card.started_on) == 2
    assert card.started_on[0] and not card.started_on[1]


def test_threads_share_a_function(card_in_native_code: HostDriver) -> None:
    total = hybrid.zeros(3, device="cuda")

    @hybrid.function
    def step(x: Any) -> Any:
        total.add_(x)
        return x * 2

    x, wrong = hybrid.ones(3, device="cuda"), list[BaseException]()

    def work() -> None:
        try:
            for _ in range(300):
                step(x)
        except BaseException as error:
            wrong.append(error)

    step(x), step(x), step(x)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and step.cache_info().replays >= 1000, step.explain()


def test_results_are_fresh_and_nodes_follow_them(card: HostDriver) -> None:
    @hybrid.function
    def step(x: Any, y: Any) -> Any:
        return x * 2 + y, (x + y).sum()

    arrays = [RNG.standard_normal((2, 5)).astype("f4") for _ in range(12)]
    y = hybrid.tensor(arrays[0][0], device="cuda")
    kept = [step(hybrid.tensor(a[1], device="cuda"), y) for a in arrays]
    assert step.cache_info().replays == 10 and card.counts["graph"] == 10
    assert card.counts["update"] >= 10
    assert len({id(made._v.base) for pair in kept for made in pair}) == 24
    for array, (first, second) in zip(arrays, kept):
        np.testing.assert_array_equal(first.numpy(), array[1] * 2 + arrays[0][0])
        want = (hybrid.tensor(array[1]) + hybrid.tensor(arrays[0][0])).sum()
        np.testing.assert_array_equal(second.numpy(), want.numpy())


def test_states_in_place_only_where_nobody_else_holds_the_value(card: HostDriver) -> None:
    total = hybrid.zeros(4, device="cuda")

    @hybrid.function
    def step(x: Any) -> Any:
        total.add_(x)
        return total * 1

    x = hybrid.ones(4, device="cuda")
    for _ in range(4):
        step(x)
    place = total._v.__array_interface__["data"][0]
    step(x)
    assert total._v.__array_interface__["data"][0] == place
    held = total._v
    step(x)
    assert total._v.__array_interface__["data"][0] != place
    there = hybrid.backends.api.backend("cuda")
    assert there.to_numpy(held).tolist() == [5.0] * 4 and total.tolist() == [6.0] * 4


def test_nothing_to_run(card: HostDriver) -> None:
    @hybrid.function
    def step(x: Any, y: Any) -> Any:
        return x, hybrid.full((2,), 3.0, device=y.device)

    for kind in ("cuda", "cpu"):  # the first argument is not used
        x, y = hybrid.ones(2, device=kind), hybrid.ones(2, device="cuda")
        for _ in range(4):
            same, full = step(x, y)
            assert same is x and full.tolist() == [3.0, 3.0] and full.device == "cuda"
    assert step.cache_info().replays == 4, step.explain()


def test_inputs_that_are_not_contiguous_are_copied(card: HostDriver) -> None:
    @hybrid.function
    def step(x: Any) -> Any:
        return x + 1

    array = RNG.standard_normal((3, 4)).astype("f4")
    whole = hybrid.tensor(array, device="cuda")
    for _ in range(5):
        np.testing.assert_array_equal(step(whole.T).numpy(), array.T + 1)
    assert step.cache_info().replays == 3 and card.counts["graph"] == 3
    (plan,) = next(iter(step._signatures.values())).plans
    assert plan.attempts.refreshes == 0


# ---- errors
def lookups() -> tuple[Any, Any, Any]:
    table, count = hybrid.ones(5, 2, device="cuda"), hybrid.zeros(2, device="cuda")

    @hybrid.function
    def step(index: Any) -> Any:
        rows = table[index]
        count.add_(rows.sum(0))
        return rows * 2

    return table, count, step


def test_a_failed_check_names_the_line_and_leaves_state(card: HostDriver) -> None:
    _, count, step = lookups()
    good, bad = (hybrid.tensor(np.array(i), device="cuda") for i in ([0, 4], [0, 5]))
    for _ in range(4):
        step(good)
    assert step.cache_info().replays == 2
    held = count._v  # the new value is in memory of its own
    made = step(bad)
    with pytest.raises(IndexOutOfRange, match="test_replay.py"):
        made.numpy()
    assert held is not count._v and count.tolist() == [8.0, 8.0]
    assert step(good).tolist() == [[2.0, 2.0]] * 2 and count.tolist() == [10.0, 10.0]


def test_a_failed_check_is_raised_by_the_call_where_that_is_asked_for(card: HostDriver) -> None:
    _, count, step = lookups()
    good, bad = (hybrid.tensor(np.array(i), device="cuda") for i in ([0, 4], [0, 5]))
    for _ in range(4):
        step(good)
    with hybrid.debug(sync=True):
        step(good)
        with pytest.raises(IndexOutOfRange, match="test_replay.py"):
            step(bad)
        assert step(good).tolist() == [[2.0, 2.0]] * 2
    assert step.cache_info().replays == 4 and count.tolist() == [12.0, 12.0]
    made = step(bad)
    with pytest.raises(IndexOutOfRange):
        made.numpy()


def test_a_refused_launch_leaves_everything(card: HostDriver) -> None:
    total = hybrid.zeros(3, device="cuda")

    @hybrid.function
    def step(x: Any) -> Any:
        total.add_(x)

    x = hybrid.ones(3, device="cuda")
    for _ in range(4):
        step(x)
    for name in ("cuGraphLaunch", "cuCtxSetCurrent"):
        card.fail[name] = 700
        with pytest.raises(DeviceError, match="700"):
            step(x)
        card.fail.clear()
        assert total.tolist() == [4.0] * 3
    card.fail["cuGraphExecKernelNodeSetParams_v2"] = 1
    other = hybrid.ones(3, device="cuda")
    with pytest.raises(DeviceError):
        step(other)
    card.fail.clear()
    step(x)
    step(other)
    assert total.tolist() == [6.0] * 3


# ---- without the native entry
def test_plans_run_from_python(card: HostDriver) -> None:
    _, step = training(perceptron, "cuda")
    traced, batch = hybrid.function(step), on("cuda", *floats(6, 8))
    traced(*batch), traced(*batch), traced(*batch)
    runner = executable_of(traced)
    (state,) = traced._signatures.values()
    (plan,) = state.plans
    captures = plan.guard(list(batch))
    inputs = [tensor._v for tensor in [*batch, *captures]]
    before = [hybrid.backends.api.backend("cuda").to_numpy(v) for v in inputs]
    first = runner(inputs)
    second = runner(inputs)
    after = [hybrid.backends.api.backend("cuda").to_numpy(v) for v in inputs]
    for one, other in zip(before, after):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(first, second):
        assert one is not other or runner.plan.slots  # constants may be shared
        np.testing.assert_array_equal(
            *map(hybrid.backends.api.backend("cuda").to_numpy, (one, other))
        )


def test_kernels_are_timed(card: HostDriver) -> None:
    _, step = training(perceptron, "cuda")
    traced, batch = hybrid.function(step), on("cuda", *floats(6, 8))
    for _ in range(3):
        traced(*batch)
    rows = hybrid.profile(traced, *batch)
    assert len(rows) == len(executable_of(traced).plan.steps)
    assert all(row.seconds > 0 and row.nbytes > 0 and 0 < row.bound < 1 for row in rows)
    assert "of the bound" in str(rows)


def test_what_has_no_kernel_goes_node_by_node(
    card: HostDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> Any:
        raise BackendError("has no functions for a card")

    @hybrid.function
    def step(x: Any) -> Any:
        return x.exp() + 1

    x = hybrid.ones(3, device="cuda")
    want = step(x)
    monkeypatch.setattr(executable, "steps", refuse)
    for _ in range(3):
        assert step(x).tolist() == want.tolist()
    assert step.cache_info().replays == 2
    (state,) = step._signatures.values()
    assert all(isinstance(p.run.executable, Interpreted) for p in state.plans), step.explain()


def test_a_second_card(monkeypatch: pytest.MonkeyPatch, cards: HostDriver) -> None:
    def program(kind: str) -> list[Any]:
        total = hybrid.zeros(3, device=kind)

        @hybrid.function
        def step(x: Any) -> Any:
            total.add_(x)
            return (x + total).sum()

        made = [step(hybrid.ones(3, device=kind)) for _ in range(5)]
        assert step.cache_info().replays == 3, step.explain()
        assert all(loss.device == kind for loss in made)
        return [loss.item() for loss in made]

    with host_cards(monkeypatch, cards=2) as card:
        want = program("cuda:0")
        assert program("cuda:1") == want and program("cuda:0") == want
        assert card.counts["graph"] == 9
        gc.collect()
        forget_generators()


def test_graphs_and_arenas_go_with_the_function(card: HostDriver) -> None:
    graphs = []

    def program() -> None:
        _, step = training(perceptron, "cuda")
        traced, batch = hybrid.function(step), on("cuda", *floats(6, 8))
        for _ in range(6):
            traced(*batch)
        graphs.append(len(card.graphs))

    program()  # leaves literals and generators
    gc.collect()
    drop_dead()
    before = len(card.graphs), len(card.instances), device_state().pool.stats().allocated
    program()
    gc.collect()
    drop_dead()
    assert graphs == [before[0] + 1] * 2
    assert (len(card.graphs), len(card.instances)) == before[:2]
    assert device_state().pool.stats().allocated <= before[2]
