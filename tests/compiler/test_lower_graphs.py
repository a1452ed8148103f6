"""Lowering whole graphs: every shape, random graphs, long ones, and the records of the package."""

from __future__ import annotations

import random

import pytest
from backend_kinds import arrays, graph_on, sampled, values
from generate import SHAPES, Random, graphs
from graph_ops import Build, T, random_inputs, registered
from hypothesis import given, settings
from lower_harness import DTYPES, check, embedding_step, kinds, same, well_formed

import hybrid.control  # noqa: F401  (its records are picked, too)
from hybrid import ops  # noqa: F401  (registers the records)
from hybrid.backends.api import backend
from hybrid.backends.interpret import node_kernel, run_kernel, run_plan
from hybrid.compiler.lower.fuse import fuse
from hybrid.compiler.pipeline import build, lower
from hybrid.core import dtypes as dt
from hybrid.core.errors import HybridError
from hybrid.ir.door.evaluate import evaluate, evaluate_eager, host_kernel
from hybrid.ir.graph.graph import Graph
from hybrid.ir.graph.verify import verify
from hybrid.ir.op import OPS, HostOp, Op


@pytest.fixture(autouse=True, scope="module")
def _records():
    with registered():
        yield


# ---- everything at once
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape):
    b = Build()
    x = b.input(*shape, d=dt.bfloat16)
    h = b(T.relu, b(T.add, x, -0.0))
    flat = b(T.reshape, h, shape=(x.aval.size,))
    s = b(T.sum, flat, axes=(0, 1))
    out = [
        h,
        s,
        b(T.mul, b(T.spread, s, shape=(2, 3)), 2.0),
        b(T.concat, flat, b(T.neg, flat), axis=0),
    ]
    if shape:
        out.append(b(T.sum, b(T.root, h), axes=(0, 1)))
    check(b.graph(*out))


def fuzz(g: Graph, states, seed: int) -> None:
    verify(g)
    xs = random_inputs(g, seed)
    try:
        want = evaluate(g, xs, node_kernel)
    except HybridError:
        return
    for plan in (lower(g, states), build(g, states, node_kernel, check=True).plan):
        well_formed(plan)
        for k, (a, b) in enumerate(zip(want, run_plan(plan, xs, run_kernel), strict=True)):
            assert same(a, b), f"output {k}: {b} instead of {a}"


def test_chained_column_reductions_stay_apart():
    b = Build()
    x = b.input(5, 4)
    m = b(T.max, x, axes=(0, 1))
    s = b(T.sum, b(T.sub, x, m), axes=(0, 1))
    assert kinds(check(b.graph(s, m))) == "cc"


def test_lstm_cell_is_two_kernels():
    b = Build()
    x, h, c, w, u = b.input(6, 5), b.input(6, 4), b.input(6, 4), b.input(16, 5), b.input(16, 4)
    z = b(T.permute, b(T.add, b(T.linear, x, w), b(T.linear, h, u)), axes=(1, 0))
    i, f, g, o = (
        b(T.permute, b(T.rows, z, begin=4 * k, size=4, step=1), axes=(1, 0)) for k in range(4)
    )
    new = b(T.add, b(T.mul, b(T.root, f), c), b(T.mul, b(T.root, i), b(T.relu, g)))
    plan = check(b.graph(b(T.mul, b(T.root, o), b(T.relu, new)), new))
    assert kinds(plan) == "ggm"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(graphs(list(T.values())))
def test_random_graphs(case):
    fuzz(*case, seed=1)


@pytest.mark.parametrize("seed", range(200))
def test_random_graphs_by_seed(seed):
    r = Random(random.Random(seed).randrange, list(T.values()), DTYPES[seed % len(DTYPES)])
    for _ in range(3):
        r.input(r.pick(SHAPES), r.pick(r.dtypes))
    for _ in range(24):
        r.step()
    g = r.graph()
    fuzz(g, r.states(g), seed)


def test_compile_time_is_linear():
    def nodes(n: int) -> int:
        b = Build()
        x, w = b.input(8, 8), b.input(8, 8)
        for k in range(n):
            x = b(T.relu, b(T.linear, x, w)) if k % 3 else b(T.softmax, x, axes=(1, 2))
        calls = 0
        real = T.linear.layout

        def counted(*args, **params):
            nonlocal calls
            calls += 1
            return real(*args, **params)

        object.__setattr__(T.linear, "layout", counted)
        try:
            lower(b.graph(x))
        finally:
            object.__setattr__(T.linear, "layout", real)
        return calls

    assert nodes(120) <= 2 * nodes(60)


@pytest.mark.parametrize("last", ["sum", "relu"])
def test_long_chains_do_not_recurse(last):
    b = Build()
    x = y = b.input(4, 3)
    for k in range(1500):
        y = b(T.mul, b(T.add, y, x if k % 2 else float(k)), 0.5)
    y = b(T.sum, y, axes=(0, 1)) if last == "sum" else b(T.relu, y)
    assert len(lower(b.graph(y)).steps) < 40
    b = Build()
    x = y = b.input(1, 2)
    for _ in range(1200):
        y = b(T.embed, b(T.concat, y, x, axis=1), begin=0, size=1)
        y = (
            b(T.rows, y, begin=0, size=1, step=1)
            if y.aval.size < 40
            else b(T.reshape, x, shape=(1, 2))
        )
    lower(b.graph(y))


def test_regions_are_in_a_valid_order():
    g, _ = embedding_step()
    done = set(g.inputs)
    regions = fuse(g)
    for r in regions.order:
        for op in r.all_reads():
            assert op.value in done or op.value.node is None
        done |= set(r.env) | set(r.head.outputs if r.head else ())


# ---- the records of the package
def answers(op: Op) -> bool:
    """Whether a record has a result for all numbers; a program with one that has not ends there."""
    return not isinstance(op, HostOp) or op.has("total") or op.algorithm is not None


def package_graph(seed: int) -> tuple[Graph, list[tuple[int, int]]]:
    records = [op for name, op in OPS.items() if not name.startswith("test_") and answers(op)]
    r = Random(random.Random(seed).randrange, records, DTYPES[seed % len(DTYPES)])
    for _ in range(3):
        r.input(r.pick(SHAPES), r.pick(r.dtypes))
    for _ in range(20):
        r.step()
    g = r.graph()
    return g, r.states(g)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_package_records_fuse_with_the_same_bits(seed):
    fuzz(*package_graph(seed), seed)


@pytest.mark.parametrize("seed", range(100, 140))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_replays_have_the_bits_of_eager_kernels(seed, backend_kind):
    """Nodes one by one against what the backend makes of the optimised graph and its plan."""
    if seed not in sampled(range(100, 140), backend_kind, 8):
        pytest.skip("HYBRID_BACKENDS=all runs every seed on every backend")
    g, states = package_graph(seed)
    g = graph_on(g, backend_kind)
    xs = random_inputs(g, seed, 0.05)
    try:
        want = evaluate_eager(g, values(xs, backend_kind))
    except HybridError:
        return
    made = build(g, states, host_kernel)
    got = backend(backend_kind).compile(made.plan, made.graph)(values(xs, backend_kind))
    results = [arrays(outs, backend_kind) for outs in (want, got)]
    for k, (a, b) in enumerate(zip(*results, strict=True)):
        assert same(a, b), f"output {k}: {b} instead of {a}"
