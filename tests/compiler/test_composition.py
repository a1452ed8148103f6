"""Programs of equal regions are put together once, and never shared by regions that differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lower_harness import DTYPES, graph_of

import hybrid as hb
from hybrid.compiler.lower import composition
from hybrid.compiler.lower.assignment import assign
from hybrid.compiler.lower.fuse import fuse
from hybrid.compiler.lower.kernels import _Drafter
from hybrid.compiler.pipeline import optimize
from hybrid.ir.graph.graph import Graph
from hybrid.ir.graph.text import parse_graph


def drafted(graph: Graph) -> tuple[int, int, list[Any]]:
    """Programs put together, kernels, and the kernels themselves."""
    regions = fuse(optimize(graph)[0])
    drafter = _Drafter(regions, assign(regions, ()))
    steps = [step.kernel for step in drafter.run().steps]
    return drafter.programs.made, len(steps), steps


def perceptron(layers: int, slopes: Any = (0.1,), width: int = 8) -> Graph:
    """A training graph of equal layers, but for their slopes."""
    rng = np.random.default_rng(0)
    weights = [hb.tensor(rng.normal(size=(width, width)).astype("f")) for _ in range(layers)]

    def step(x, *weights):
        for number, weight in enumerate(weights):
            x = hb.nn.functional.leaky_relu(hb.linear(x, weight), slopes[number % len(slopes)])
            x = (x - x.mean(axis=-1, keepdims=True)) * hb.rsqrt(x.var(axis=-1, keepdims=True) + 1)
        return x.sum()

    return graph_of(step, hb.ones((40, width)), *weights)


def test_deeper_equal_layers_need_no_more_programs():
    few, kernels, _ = drafted(perceptron(4))
    many, more_kernels, _ = drafted(perceptron(16))
    assert more_kernels >= 3 * kernels and many == few


@pytest.mark.parametrize(
    "slopes", [(0.1, 0.2), (0.0, -0.0), (0.1, 0.2, 0.1, 0.3)], ids=["two", "zeros", "four"]
)
def test_layers_that_differ_share_nothing_wrongly(monkeypatch: pytest.MonkeyPatch, slopes):
    graph = perceptron(8, slopes)
    made, _, shared = drafted(graph)
    monkeypatch.setattr(composition.Programs, "of", composition.Programs._made)
    apart, _, single = drafted(graph)
    assert shared == single and repr(shared) == repr(single) and made < apart


def all_dtypes(count: int) -> Graph:
    """The same regions on inputs of several dtypes and shapes."""
    lines, results = ["graph {"], []
    cases = [(d, shape) for (d, *_) in DTYPES for shape in ("50x33", "1x330", "330x1")] * count
    for number, (dtype, shape) in enumerate(cases):
        lines.append(f"  input %x{number} : {dtype.name}[{shape}]")
    for number, (dtype, shape) in enumerate(cases):
        lines.append(f"  %{2 * number} : {dtype.name}[{shape}] = multiply(%x{number}, %x{number})")
        lines.append(f"  %{2 * number + 1} : {dtype.name}[{shape}] = negative(%{2 * number})")
        results.append(f"%{2 * number + 1}")
    return parse_graph("\n".join([*lines, f"  return {', '.join(results)}", "}"]))


def test_dtypes_and_shapes(monkeypatch: pytest.MonkeyPatch):
    graph = all_dtypes(2)
    made, _, shared = drafted(graph)
    monkeypatch.setattr(composition.Programs, "of", composition.Programs._made)
    _, count, single = drafted(graph)
    assert shared == single
    assert made == len(DTYPES) and count == 2 * 3 * made  # strides and shapes are no part of them


def test_a_parameter_that_is_no_key_is_composed_each_time(monkeypatch: pytest.MonkeyPatch):
    graph = perceptron(6)
    monkeypatch.setattr(composition, "param_key", lambda value: [value])
    made, kernels, _ = drafted(graph)
    assert made > drafted(perceptron(3))[0] > 0 and kernels >= made
