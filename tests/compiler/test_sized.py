"""Plans for many sizes: what is filled in is what the pipeline makes of the graph of that size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lower_harness import graph_of

import hybrid as hb
from hybrid import nn
from hybrid.backends.cpu.executable import PlanRunner, program_of
from hybrid.compiler.pipeline import build
from hybrid.compiler.sized import SizedPlan, numbers_of
from hybrid.core.extents import Unsized
from hybrid.ir.door.bind import bind
from hybrid.ir.door.evaluate import evaluate_eager, host_kernel
from hybrid.ir.graph.graph import Graph
from hybrid.ops.products.conv_records import CONV_WEIGHT, unpadded

F = nn.functional
SIZES = (2, 3, 7, 15, 16, 17, 33, 40, 48, 63, 64, 65, 97, 128, 200, 255, 256, 257)


def made(graph: Graph) -> Any:
    plan = build(graph, kernel=host_kernel).plan
    return plan, program_of(plan)


def differs(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)):
        same = type(one) is type(other) and len(one) == len(other)
        return not same or any(map(differs, one, other))
    if isinstance(one, np.ndarray):
        return one.tobytes() != other.tobytes()
    return not (one is other or one == other)


def data(*shape: int) -> Any:
    return hb.tensor(np.random.default_rng(sum(shape)).normal(size=shape).astype("f4"))


ELEMENTWISE: dict[str, Any] = {
    "map": lambda x: (x * 2 + 1).exp(),
    "rows": lambda x: (x.softmax(axis=-1), x.sum(axis=1)),
    "columns": lambda x: (x.sum(axis=0), x.max(axis=0), x.mean(axis=0)),
    "views": lambda x: (x[1:] + x[:-1], x.T * 1.0, x.reshape(-1, 2) * 2),
    "joined": lambda x: hb.concat([x, x * 2, x[:1]], axis=0),
    "normal": lambda x: F.layer_norm(x, (24,)),
    "all": lambda x: (x.sum(), x.mean(), (x * x).sum(axis=0, keepdims=True) / x.size**0.5),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_plan_of_the_pipeline(name):
    function = ELEMENTWISE[name]
    sized = SizedPlan(graph_of(function, data(33, 24)), graph_of(function, data(41, 24)), made)
    assert sized.general
    filled = 0
    for size in SIZES:
        graph = graph_of(function, data(size, 24))
        got = sized.fill(graph)
        if got is not None:
            filled += 1
            assert not differs(got, made(graph)), size
    assert filled >= 6, filled


def taps(grad: Any, images: Any, kernel: tuple[int, ...]) -> Any:
    """The gradient of a convolution's weight."""
    settings = unpadded((1,) * len(kernel), (1,) * len(kernel), 1)
    del settings["border"]
    return bind(CONV_WEIGHT, grad, images, kernel=kernel, **settings)


PRODUCTS: dict[str, Any] = {
    "lines": lambda x, w: x @ w,
    "columns": lambda x, w: w.T @ x.T,
    "sums": lambda x, w: x.T @ x,
    "squares": lambda x, w: x @ x.T,
    "layer": lambda x, w: (x @ w).tanh() @ w.T + x,
    "batch": lambda x, w: x.reshape(-1, 4, 6).swapaxes(0, 1) @ w[:6],
    "images": lambda x, w: F.conv2d(x.reshape(-1, 2, 3, 4), w.reshape(30, 2, 2, 2)),
    "padded images": lambda x, w: F.conv2d(
        x.reshape(-1, 2, 3, 4), w.reshape(30, 2, 2, 2), None, 1, 1
    ),
    "height": lambda x, w: F.conv2d(x.reshape(2, 4, -1, 3), w.reshape(15, 4, 2, 2), None, 2, 1),
    "taps": lambda x, w: taps(x.reshape(-1, 4, 2, 3), x.reshape(-1, 2, 3, 4), (2, 2)),
    "volumes": lambda x, w: F.conv3d(
        x.reshape(-1, 1, 2, 3, 4), w.reshape(30, 1, 2, 2, 2), None, 1, 1
    ),
    "depth": lambda x, w: F.conv3d(
        x.reshape(1, 2, -1, 3, 4), w.reshape(15, 2, 2, 2, 2), None, 1, 1
    ),
    "taps of volumes": lambda x, w: taps(
        x.reshape(-1, 4, 1, 2, 3), x.reshape(-1, 1, 2, 3, 4), (2, 2, 2)
    ),
    "transposed": lambda x, w: F.conv_transpose2d(x.reshape(-1, 2, 3, 4), w.reshape(2, 30, 2, 2)),
    "attention": lambda x, w: F.scaled_dot_product_attention(x[None], x[None], x[None]),
}

# sums over images are walked by a table, and few lines of a volume are cut by their number
OF_ONE_SIZE = ("taps", "taps of volumes", "depth")


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_bits_of_products(name):
    """Where sizes vary products are cut in other ways: the bits are the same."""
    function, weight = PRODUCTS[name], data(24, 10)
    plans: list[SizedPlan] = []
    filled = 0
    for size in SIZES:
        x = data(size, 24)
        graph = graph_of(function, x, weight)
        values = [x._v, weight._v]
        want = evaluate_eager(graph, values)
        found = next((got for plan in plans if (got := plan.fill(graph)) is not None), None)
        if found is None:
            other = graph_of(function, data(size + 3, 24), weight)
            plans.append(SizedPlan(other, graph, made))
            found = plans[-1].fill(graph)
        else:
            filled += 1
        assert found is not None
        got = PlanRunner(*found)(values)
        assert [v.tobytes() for v in got] == [v.tobytes() for v in want], size
    if name not in OF_ONE_SIZE:
        assert filled >= 4, filled


def test_other_graphs_are_not_filled():
    first, second = (graph_of(lambda x: x * 2, data(n, 4)) for n in (33, 40))
    sized = SizedPlan(first, second, made)
    assert sized.fill(graph_of(lambda x: x * 2, data(50, 5))) is None
    assert sized.fill(graph_of(lambda x: x * 2, data(1, 4))) is None
    assert sized.fill(graph_of(lambda x: x * 3, data(50, 4))) is None
    assert sized.holds([data(70, 4)._a]) and not sized.holds([data(70, 5)._a])
    with pytest.raises(Unsized):
        SizedPlan(first, graph_of(lambda x: x[1:] * 2, data(40, 4)), made)


def test_two_sizes_that_vary_by_themselves():
    def function(x: Any, y: Any) -> Any:
        return (x @ y).sum(axis=0) + y.sum(axis=0)

    graphs = [graph_of(function, data(a, 8), data(8, b)) for a, b in ((33, 21), (41, 30))]
    sized = SizedPlan(*graphs, made)
    for a, b in ((50, 19), (43, 43), (90, 27)):
        inputs = data(a, 8), data(8, b)
        graph = graph_of(function, *inputs)
        found = sized.fill(graph)
        if found is not None:
            values = [x._v for x in inputs]
            assert [v.tobytes() for v in PlanRunner(*found)(values)] == [
                v.tobytes() for v in evaluate_eager(graph, values)
            ]
    assert len(numbers_of(graphs[0])) == len(numbers_of(graphs[1]))
