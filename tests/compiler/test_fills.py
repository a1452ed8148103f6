"""Placements over zeros: what their boxes leave is filled, and no more than that."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from lower_harness import graph_of

import hybrid as hb
from hybrid import nn
from hybrid.backends.cpu.executable import PlanRunner
from hybrid.backends.plan import LoopKernel
from hybrid.compiler.lower import assignment
from hybrid.compiler.pipeline import build
from hybrid.ir.door import bind as door
from hybrid.ir.door.evaluate import evaluate_eager, host_kernel

F = nn.functional


@pytest.fixture(autouse=True)
def worth(monkeypatch):
    """Placements need not be as large as they are where this pays."""
    monkeypatch.setattr(assignment, "WORTH", 1 << 17)


def filled(function: Any, *inputs: Any) -> list[tuple[int, ...]]:
    """The shapes of the fills in the plan of a function, whose results are the eager ones."""
    graph = graph_of(function, *inputs)
    plan = build(graph, kernel=host_kernel).plan
    values = [x._v for x in inputs]
    memory = door.backend_of(graph.outputs[0].aval.device).outline(plan)
    for _ in range(2):  # the second time in memory that is not new
        got = PlanRunner(plan, memory)(values)
        for mine, wanted in zip(got, evaluate_eager(graph, values)):
            assert mine.tobytes() == wanted.tobytes()
    kernels = [kernel for kernel in plan.steps if isinstance(kernel, LoopKernel)]
    return [kernel.shape for kernel in kernels if not kernel.reads]


def noise(*shape: int) -> Any:
    return hb.tensor(np.random.default_rng(len(shape)).standard_normal(shape), dtype="float32")


@pytest.mark.parametrize(
    "pads",
    [
        ((0, 0), (0, 0), (1, 1), (1, 1)),
        ((0, 0), (1, 0), (0, 2), (3, 0)),
        ((1, 2), (0, 0), (0, 0), (0, 1)),
        ((0, 0), (0, 0), (0, 0), (0, 0)),
    ],
)
def test_what_lies_around_a_box(pads):
    x = noise(4, 16, 50, 40)
    found = filled(lambda x: hb.pad(hb.tanh(x), pads), x)
    whole = prod(n + sum(p) for n, p in zip(x.shape, pads))
    assert sum(map(prod, found)) == whole - prod(x.shape)
    assert len(found) == sum(n > 0 for p in pads for n in p)


def test_small_ones_and_mostly_empty_ones_are_filled_whole():
    assert filled(lambda x: hb.pad(hb.tanh(x), ((1, 1), (1, 1))), noise(8, 8)) == [(10, 10)]
    shape = (300, 400)
    found = filled(lambda x: hb.pad(hb.tanh(x), ((100, 160), (300, 80))), noise(40, 20))
    assert found == [shape]


def test_boxes_that_cover_the_whole_leave_nothing():
    """The phases of a transposed convolution."""
    x, weight = noise(2, 8, 20, 20), noise(8, 16, 4, 2)
    found = filled(lambda x, w: F.conv_transpose2d(x, w, stride=(2, 1), padding=(1, 1)), x, weight)
    assert (2, 16, 40, 19) not in found


def test_boxes_inside_of_boxes(monkeypatch):
    monkeypatch.setattr(assignment, "WORTH", 0)

    def function(x):
        inner = hb.pad(hb.tanh(x), ((1, 0), (0, 2)))
        outer = hb.pad(inner, ((2, 2), (1, 1)))
        return outer, inner * 2

    found = filled(function, noise(12, 9))
    assert sum(map(prod, found)) >= 17 * 13 - 12 * 9


def test_strided_boxes_and_writes_are_over_a_whole_fill():
    def function(x):
        padded = hb.zeros(200, 300)
        padded[::2, 1::3] = hb.tanh(x)
        return padded

    x = noise(100, 100)
    assert hb.function(function)(x).tolist() == function(x).tolist()
    filled(function, x)
