"""Graph passes: valid in, valid out, the same bits, the same object when nothing changes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from graph_ops import SPECIAL, Build, T, lit, random_inputs, registered

from hybrid import compiler
from hybrid.backends.interpret import node_kernel
from hybrid.compiler.passes import Context, cse, dce, fold, simplify
from hybrid.compiler.pipeline import LOWERING, PASSES, build, optimize
from hybrid.core import dtypes as dt
from hybrid.ir.door.evaluate import evaluate
from hybrid.ir.graph.graph import Const, Graph, Value
from hybrid.ir.graph.text import print_graph
from hybrid.ir.graph.verify import verify

CONTEXT = Context(node_kernel)


@pytest.fixture(autouse=True, scope="module")
def _records():
    with registered():
        yield


def apply(p, g: Graph, seed: int = 0) -> Graph:
    """Run one pass and compare all outputs bit for bit (NaNs as NaNs)."""
    h = verify(p.PASS.run(verify(g), CONTEXT))
    assert p.PASS.run(h, CONTEXT) is h, "a second run must change nothing"
    for s in range(2):
        xs = random_inputs(g, seed + s, 0.3)
        for a, b in zip(evaluate(g, xs, node_kernel), evaluate(h, xs, node_kernel), strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            nan = (
                np.isnan(a) & np.isnan(b)
                if dt.is_float(dt.canonical(a.dtype))
                else np.zeros(a.shape, bool)
            )
            assert np.where(nan, 0, a).tobytes() == np.where(nan, 0, b).tobytes()
    return h


def ops(g: Graph) -> list[str]:
    return [n.op.name.removeprefix("test_") for n in g.nodes]


# ---- fold
def test_fold_uses_the_eager_bits_and_cascades():
    b = Build()
    x = b.input(3)
    c = b(T.root, b(T.mul, lit(3.0), 0.1))
    v = b(T.sum, lit([0.1, 0.2, np.inf]), axes=(0, 1))
    h = apply(fold, b.graph(b(T.add, x, c), v, b(T.less, c, v)))
    assert ops(h) == ["add"]
    c2 = h.nodes[0].inputs[1]
    assert isinstance(c2, Const) and not c2.data.flags.writeable
    assert all(isinstance(v, Const) for v in h.outputs[1:])


def test_fold_leaves_what_is_large_may_fail_or_has_no_kernel():
    b = Build()
    big = b(T.full, shape=(4,), dtype=dt.float32, bits=0)
    one = b(T.full, shape=(), dtype=dt.bfloat16, bits=0x3F800000)
    i = b(T.checked, lit([7], dt.int64), n=5)
    wide = b(T.neg, lit(np.zeros(1 << 14)))
    g = b.graph(big, i, wide, b(T.sort, lit([2.0, 1.0])), one)
    h = fold.PASS.run(g, CONTEXT)
    assert ops(h) == ["full", "checked", "neg", "sort"] and isinstance(h.outputs[4], Const)
    assert fold.PASS.run(g, Context()) is g


# ---- cse, dce
def test_cse_merges_equal_nodes_only():
    b = Build()
    x = b.input(2)
    zeros = [b(T.value, shape=(2,), value=v) for v in (0.0, -0.0, 0.0)]
    p, q = b(T.root, x), b(T.root, x)
    r, s = b(T.add, p, 1.0), b(T.add, q, 1.0)
    t, u = b(T.add, x, lit(0.0)), b(T.add, x, lit(-0.0))
    h = apply(cse, b.graph(*zeros, r, s, t, u))
    assert ops(h) == ["value", "value", "root", "add", "add", "add"]
    assert h.outputs[0] is h.outputs[2] is not h.outputs[1] and h.outputs[3] is h.outputs[4]


def test_dce_keeps_checks_and_host_calls():
    b = Build()
    x, i = b.input(2), b.input(2, d=dt.int64)
    b(T.root, b(T.neg, x))
    b(T.checked, i, n=3)
    b(T.sort, b(T.relu, x))
    p, _ = b(T.center, x, lit([1.0]), axes=(0, 1))
    h = verify(dce.PASS.run(b.graph(p), CONTEXT))
    assert ops(h) == ["checked", "relu", "sort", "center"] and dce.PASS.run(h, CONTEXT) is h


# ---- simplify
def test_simplify_unit_only_with_the_right_bits():
    b = Build()
    x, n = b.input(5), b.input(5, d=dt.int32)
    keep = [
        b(T.add, x, 0.0),
        b(T.sub, x, -0.0),
        b(T.mul, x, lit([1.0, 2, 1, 1, 1])),
        b(T.mul, lit(1.0), b.input()),
    ]
    gone = [
        b(T.add, x, -0.0),
        b(T.sub, x, 0.0),
        b(T.mul, x, 1.0),
        b(T.mul, x, lit(np.ones(5))),
        b(T.mul, n, 1),
        b(T.mul, x, b(T.full, shape=(5,), dtype=dt.float32, bits=0x3F800000)),
        b(T.add, -0.0, x),
    ]
    grown = b(T.mul, b.input(), lit([1.0, 1.0]))
    h = apply(simplify, b.graph(*keep, *gone, grown))
    assert [v is b.inputs[0] or v is n for v in h.outputs] == [False] * 3 + [True] + [True] * 7 + [
        False
    ] or [v in b.inputs for v in h.outputs] == [False] * 3 + [True] + [True] * 7 + [False]


def test_simplify_unary_facts_and_views():
    b = Build()
    x = b.input(2, 3)
    y = b(T.floor, b(T.floor, x))
    r = b(T.reshape, b(T.reshape, x, shape=(6,)), shape=(2, 3))
    t = b(T.permute, b(T.permute, x, axes=(1, 0)), axes=(1, 0))
    other = b(T.reshape, b(T.permute, x, axes=(1, 0)), shape=(2, 3))
    part = b(T.rows, x, begin=0, size=2, step=1)
    h = apply(simplify, b.graph(b(T.neg, b(T.neg, x)), b(T.same, x), y, r, t, other, part))
    assert [v is x for v in h.outputs] == [True, True, False, True, True, False, True]
    assert h.outputs[2].node is not None and h.outputs[2].node.inputs[0] is x


@pytest.mark.parametrize(
    "src, mid, out, want",
    [
        ("float32", "float64", "float32", 0),
        ("bfloat16", "float32", "bfloat16", 0),
        ("bfloat16", "float32", "float64", 1),
        ("float32", "float16", "float32", 2),
        ("int8", "float32", "int8", 0),
        ("int8", "float32", "uint8", 2),
        ("int8", "int32", "uint8", 1),
        ("int32", "float32", "int32", 2),
        ("int32", "float64", "int32", 0),
        ("bool", "int8", "float32", 1),
        ("bool", "float32", "bool", 0),
        ("uint8", "int16", "int8", 1),
        ("float16", "bfloat16", "float16", 2),
        ("int16", "bfloat16", "int16", 2),
        ("float16", "float32", "int8", 1),
        ("uint64", "int64", "uint64", 2),
        ("float32", "float32", "int32", 1),
    ],
)
def test_simplify_convert_chains(src, mid, out, want):
    b = Build()
    x = b.input(40, d=dt.canonical(src))
    h = apply(
        simplify,
        b.graph(b(T.convert, b(T.convert, x, dtype=dt.canonical(mid)), dtype=dt.canonical(out))),
    )
    live = dce.PASS.run(h, CONTEXT)
    assert len(live.nodes) == want


def test_simplify_puts_commutative_operands_in_order():
    b = Build()
    x, y = b.input(2), b.input(2)
    g = b.graph(b(T.add, lit(2.0), x), b(T.mul, b(T.neg, x), y), b(T.mul, y, b(T.neg, x)))
    h = apply(simplify, g)
    assert isinstance(h.nodes[0].inputs[1], Const) and h.nodes[2].inputs[0] is y
    assert len(apply(cse, h).nodes) == 3


def test_simplify_on_special_values():
    b = Build()
    x = b.input(len(SPECIAL))
    g = b.graph(b(T.mul, x, 1.0), b(T.add, x, -0.0), b(T.sub, x, 0.0))
    h = simplify.PASS.run(g, CONTEXT)
    xs = [np.array(SPECIAL, np.float32)]
    for a, c in zip(evaluate(g, xs, node_kernel), evaluate(h, xs, node_kernel)):
        np.testing.assert_array_equal(a, c)
        assert np.array_equal(np.signbit(a)[~np.isnan(a)], np.signbit(c)[~np.isnan(c)])


# ---- pipeline
def training_step() -> tuple[Graph, list[tuple[int, int]]]:
    """Two layers, a loss, gradients and updates, as a recorder would leave them."""
    b = Build()
    w1, m1, b1, mb = b.input(6, 4), b.input(6, 4), b.input(6), b.input(6)
    w2, m2, x, y = b.input(3, 6), b.input(3, 6), b.input(5, 4), b.input(5, 3)
    z = b(T.linear, x, w1, b1)
    h = b(T.relu, z)
    d = b(T.sub, b(T.linear, h, w2), y)
    loss = b(T.mul, b(T.sum, b(T.mul, d, d), axes=(0, 2)), b(T.div, lit(1.0), 15.0))
    g = b(T.mul, b(T.mul, d, 2.0), lit(1.0))
    gw2 = b(T.matmul, b(T.permute, g, axes=(1, 0)), h)
    gh = b(T.where, b(T.less, lit(0.0), h), b(T.matmul, g, w2), lit(0.0))
    gw1 = b(T.matmul, b(T.permute, gh, axes=(1, 0)), x)
    news = [
        *b(T.adam, w1, gw1, m1),
        *b(T.adam, b1, b(T.sum, gh, axes=(0, 1)), mb),
        *b(T.adam, w2, gw2, m2),
    ]
    g = Graph(b.inputs, b.nodes, [loss, *news], ["w1", "m1", "b1", "mb", "w2", "m2", "x", "y"])
    return verify(g), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5)]


def test_pipeline_steps_are_named_and_seen():
    g, states = training_step()
    seen = []
    result = build(g, states, node_kernel, hook=lambda name, x: seen.append(name), check=True)
    assert seen == [p.name for p in PASSES] + list(LOWERING) == [s.name for s in result.steps]
    assert all(s.seconds >= 0 and s.size > 0 for s in result.steps) and "fuse" in str(result)
    h, _ = optimize(g)
    assert optimize(h)[0] is h


def test_pipeline_golden(golden):
    g, states = training_step()
    texts = []
    result = build(
        g,
        states,
        node_kernel,
        hook=lambda name, x: texts.append(
            f"---- {name}\n{print_graph(x)}" if isinstance(x, Graph) else ""
        ),
    )
    lines = [
        f"{type(k).__name__} {getattr(k, 'shape', '')} {getattr(k, 'group', '')}".rstrip()
        for k in result.plan.steps
    ]
    got = (
        f"---- recorded\n{print_graph(g)}"
        + "".join(texts)
        + "---- plan\n"
        + "\n".join(lines)
        + "\n"
    )
    golden("training_step.txt", got)


# ---- layering
def test_no_pass_asks_for_an_op_by_name():
    for path in Path(compiler.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for bad in (
            r"import.*\bOPS\b",
            r"from \.+ops",
            r"op\.name\s*(==|!=|in\b|not\b)",
            r"\bcpu\b",
            r"\bcuda\b",
        ):
            assert not re.search(bad, text), f"{path.name} matches {bad}"


def test_values_are_not_shared_between_graphs_by_accident():
    b = Build()
    x = b.input(2)
    g = b.graph(b(T.neg, b(T.neg, x)))
    h = simplify.PASS.run(g, CONTEXT)
    assert h.outputs[0] is x and isinstance(x, Value) and g.outputs[0] is not x
