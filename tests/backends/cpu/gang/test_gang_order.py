"""Gangs of compiled programs: members are apart, and every kernel reads what it reads in order."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from gang_harness import Step, followed, groups_of, keen  # noqa: F401  (a fixture)
from generate import Random, graphs
from graph_ops import T, random_inputs, registered
from hypothesis import HealthCheck, given, settings

import hybrid as hb
from hybrid import nn, optim
from hybrid.backends.cpu.executable import PlanRunner
from hybrid.backends.cpu.gang import arranged
from hybrid.backends.cpu.gang.units import Unit, WrittenBox, conflict
from hybrid.backends.cpu.python.caller import NativeStep
from hybrid.backends.interpret import run_kernel, run_plan
from hybrid.backends.plan import HostStep, LoopKernel, Plan
from hybrid.compiler.pipeline import build
from hybrid.core import dtypes as dt
from hybrid.core.errors import HybridError
from hybrid.ir.door.evaluate import host_kernel

F = nn.functional
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return hb.tensor(RNG.standard_normal(shape).astype("f4"))


# ---- real programs
def mlp(width: int = 96) -> tuple[Any, tuple[Any, ...]]:
    net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 32), nn.Linear(32, 10))
    return net, (floats(48, 64), hb.tensor(RNG.integers(0, 10, 48)))


def convolutions() -> tuple[Any, tuple[Any, ...]]:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, stride=2),
        nn.Flatten(), nn.Linear(8 * 9, 10),
    )  # fmt: skip
    return net, (floats(6, 3, 14, 14), hb.tensor(RNG.integers(0, 10, 6)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(20, 32), nn.LayerNorm(32)
        self.queries, self.keys, self.out = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, words: Any) -> Any:
        hidden = self.norm(self.words(words))
        parts = [
            part.reshape(4, 12, 2, 16).swapaxes(1, 2)
            for part in (self.queries(hidden), self.keys(hidden), hidden)
        ]
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        return self.out(mixed.swapaxes(1, 2).reshape(48, 32))


def attention() -> tuple[Any, tuple[Any, ...]]:
    return Attention(), (
        hb.tensor(RNG.integers(0, 20, (4, 12))),
        hb.tensor(RNG.integers(0, 10, 48)),
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.stay, self.out = nn.Linear(12, 32), nn.Linear(16, 32), nn.Linear(16, 10)

    def forward(self, rows: Any) -> Any:
        hidden, made = hb.zeros(4, 16), []
        for step in range(5):
            gate, new = (self.enter(rows[:, step]) + self.stay(hidden)).chunk(2, 1)
            hidden = hidden + hb.sigmoid(gate) * (hb.tanh(new) - hidden)
            made.append(hidden)
        return self.out(hb.stack(made, 1).reshape(-1, 16))


def recurrent() -> tuple[Any, tuple[Any, ...]]:
    return Recurrent(), (floats(4, 5, 12), hb.tensor(RNG.integers(0, 10, 20)))


PROGRAMS = {
    "mlp": mlp,
    "convolutions": convolutions,
    "attention": attention,
    "recurrent": recurrent,
}


def trained(name: str, steps: int = 4) -> tuple[list[Any], list[bytes], Any]:
    """The runners that a training step made, and the losses and parameters behind it."""
    hb.manual_seed(0)
    global RNG
    RNG = np.random.default_rng(0)
    net, batch = PROGRAMS[name]()
    optimizer, runners = optim.Adam(net.parameters(), lr=1e-2), []
    made = PlanRunner.__init__

    def kept(self: Any, plan: Plan, *args: Any) -> None:
        made(self, plan, *args)
        runners.append((plan, self))

    def step(inputs: Any, labels: Any) -> Any:
        loss = F.cross_entropy(net(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    traced = hb.function(step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlanRunner, "__init__", kept)
        losses = [traced(*batch).numpy().tobytes() for _ in range(steps)]
    return runners, losses + [p.numpy().tobytes() for p in net.parameters()], traced


def checked(plan: Plan, runner: Any) -> int:
    """Follow the runner's order; how many gangs it has."""
    groups = groups_of(runner)
    order = [[step] for step in sorted(step for group in groups for step in group)]
    assert [k for k, piece, _ in sum(order, []) if piece == 0] == list(range(len(plan.steps)))
    assert followed(runner.plan, groups) == followed(plan, order)
    fences = [k for k, kernel in enumerate(plan.steps) if is_fence(kernel)]
    for fence in fences:  # nothing passes what may fail
        at = next(k for k, group in enumerate(groups) if group[0][0] == fence)
        assert len(groups[at]) == 1
        assert all(step[0] < fence for group in groups[:at] for step in group)
    return sum(len(group) > 1 for group in groups)


def is_fence(kernel: Any) -> bool:
    return isinstance(kernel, HostStep) or (isinstance(kernel, LoopKernel) and kernel.check)


@pytest.mark.parametrize("threads", [2, 5, 16])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gangs_of_training_steps(name, threads, keen):  # noqa: F811
    with hb.num_threads(threads):
        runners, _, _ = trained(name)
    assert sum(checked(plan, runner) for plan, runner in runners) > 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_model_makes_legal_gangs(name):
    with hb.num_threads(4):
        for plan, runner in trained(name)[0]:
            checked(plan, runner)


@pytest.mark.parametrize("name", PROGRAMS)
def test_bits_at_every_number_of_threads(name, keen):  # noqa: F811
    with hb.num_threads(1):
        runners, want, _ = trained(name)
        assert all(runner.plan is plan for plan, runner in runners)  # one thread: as it was
    for threads in (2, 4, 8):
        with hb.num_threads(threads):
            _, got, traced = trained(name)
        assert got == want, threads


def test_a_gang_made_for_some_threads_runs_on_others(keen):  # noqa: F811
    before, now = hb.get_num_threads(), []
    try:
        hb.set_num_threads(8)
        hb.manual_seed(0)
        runners, _, traced = trained("mlp", 3)
        plan, runner = max(runners, key=lambda pair: len(pair[0].steps))
        assert any(len(group) > 1 for group in groups_of(runner))
        values = [(3 * RNG.random(s.aval.shape)).astype(s.aval.dtype) for s in inputs_of(plan)]
        for threads in (8, 1, 3, 40, 2):
            hb.set_num_threads(threads)
            now.append([out.tobytes() for out in runner(values)])
    finally:
        hb.set_num_threads(before)
    assert all(one == now[0] for one in now)


def inputs_of(plan: Plan) -> list[Any]:
    """A slot for each input, by number."""
    found = {slot.index: slot for slot in plan.slots if slot.kind in ("input", "state")}
    return [found[k] for k in range(max(found) + 1)]


# ---- random programs, by the interpreter
@pytest.fixture(autouse=True, scope="module")
def _records():
    with registered():
        yield


def fake_steps(plan: Plan, choose: random.Random) -> list[list[NativeStep]]:
    """Steps of many shapes in the place of kernels that need not be compiled here."""
    made = []
    for kernel in plan.steps:
        items, grain = choose.choice([(1, 1), (16, 1), (100, 7), (3, 50)])
        count, temp = choose.choice([(1, 0), (1, 0), (1, 0), (1, 64), (2, 64)])
        step = NativeStep(None, (), items, grain, 0, temp)
        made.append([] if isinstance(kernel, HostStep) else [step] * count)
    return made


def numbered(groups: list[list[Unit]], steps: list[list[NativeStep]]) -> list[list[Step]]:
    """The groups with the number of each unit among those of its kernel."""
    met = [0] * len(steps)
    found = []
    for group in groups:
        found.append([])
        for unit in group:
            met[unit.owner] += 1
            last = met[unit.owner] >= len(steps[unit.owner])
            found[-1].append((unit.owner, met[unit.owner] - 1, last))
    return found


def in_order(plan: Plan, groups: list[list[Step]], backwards: bool) -> Plan:
    """The plan with its kernels where their last steps are."""
    turned = [group[::-1] if backwards else group for group in groups]
    order = [owner for group in turned for owner, _, last in group if last]
    assert sorted(order) == list(range(len(plan.steps)))
    steps, sites = [plan.steps[k] for k in order], [plan.sites[k] for k in order]
    messages = [plan.messages[k] for k in order]
    return plan._replace(steps=tuple(steps), sites=tuple(sites), messages=tuple(messages))


def workspace_is_one_kernels(groups: list[list[Unit]], steps: list[list[NativeStep]]) -> None:
    """Nobody else works in the workspace between the first and the last step of a kernel."""
    users = [[u.owner for u in group if u.step is not None and u.step.temp] for group in groups]
    assert all(len(group) <= 1 for group in users)
    line = [owner for group in users for owner in group]
    for owner in line:
        first = line.index(owner)
        assert line[first : first + len(steps[owner])] == [owner] * len(steps[owner])


def fuzz(graph: Any, states: Any, seed: int) -> int:
    choose, values = random.Random(seed), random_inputs(graph, seed)
    plan = build(graph, states, host_kernel).plan
    steps = fake_steps(plan, choose)
    moved, groups = arranged(plan, steps, choose.choice([2, 4, 16]))
    workspace_is_one_kernels(groups, steps)
    named = numbered(groups, steps)
    order = [
        [(k, piece, piece + 1 >= len(own))]
        for k, own in enumerate(steps)
        for piece in range(max(len(own), 1))
    ]
    assert followed(moved, named) == followed(plan, order)
    try:
        want = run_plan(plan, values, run_kernel)
    except HybridError:
        return 0
    for backwards in (False, True):
        got = run_plan(in_order(moved, named, backwards), values, run_kernel)
        assert [x.tobytes() for x in got] == [x.tobytes() for x in want]
    return sum(len(group) > 1 for group in groups)


def test_boxes_of_one_slot():
    """Parts of a slot without a common element do not conflict; anything else does."""

    def writer(slot: int, low: tuple[int, ...], high: tuple[int, ...]) -> Unit:
        return Unit(0, None, 0, 2, 1.0, False, (WrittenBox(2, slot, low, high),))

    one = writer(1, (0, 2), (4, 5))
    apart = [writer(1, (0, 5), (4, 6)), writer(1, (0, 0), (4, 2)), writer(1, (4, 0), (5, 9))]
    assert not any(conflict(one, other) or conflict(other, one) for other in apart)
    meet = [writer(1, (0, 4), (4, 6)), writer(1, (3, 0), (4, 3)), writer(2, (0, 5), (4, 6))]
    meet += [Unit(0, None, 0, 2, 1.0, False), Unit(0, None, 2, 0, 1.0, False)]
    assert all(conflict(one, other) and conflict(other, one) for other in meet)


DTYPES = [(dt.float32,), (dt.bfloat16, dt.float32), (dt.float64,), (dt.int32, dt.float32)]


def test_gangs_of_random_graphs(keen):  # noqa: F811
    gangs = 0
    for seed in range(120):
        made = Random(random.Random(seed).randrange, list(T.values()), DTYPES[seed % len(DTYPES)])
        for _ in range(3):
            made.input(made.pick(((3, 4), (4, 3), (2, 3, 4), (0, 4))), made.pick(made.dtypes))
        for _ in range(20):
            made.step()
        graph = made.graph()
        gangs += fuzz(graph, made.states(graph), seed)
    assert gangs > 50


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(pair=graphs(list(T.values()), DTYPES[0]))
def test_gangs_of_any_graph(pair, keen):  # noqa: F811
    graph, states = pair
    fuzz(graph, states, len(graph.nodes))
