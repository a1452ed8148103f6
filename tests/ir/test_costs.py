"""One table says what a primitive costs; the profile counts operations as often as they run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hybrid
from hybrid.backends.cpu.profile import operations, summary
from hybrid.backends.emit.programs.analysis import cost
from hybrid.compiler.lower.regions import traits
from hybrid.ir.graph.graph import Value, make_node
from hybrid.ir.op import OPS
from hybrid.ir.scalar.program import FREE, PRIMS, REDUCTIONS, SLOW, Builder

ROOT = Path(hybrid.__file__).parent


# ---- the table
def test_reductions_are_derived():
    assert REDUCTIONS == {p for p in PRIMS if PRIMS[p].reduces}
    assert {"rsum", "rargmin", "rall"} <= REDUCTIONS and "rlen" not in REDUCTIONS


def test_columns_agree():
    for name, p in PRIMS.items():
        assert p.cost in (FREE, 1, SLOW) and p.ops in (0, 1, 2), name
        assert p.cost > FREE or p.ops == 0, f"{name} computes for nothing"
    assert PRIMS["index"].cost == PRIMS["coord"].cost == PRIMS["bitcast"].cost == FREE
    assert PRIMS["clz"].cost == PRIMS["popcount"].cost == SLOW


def test_no_other_list_of_primitives():
    """No module but the table's own collects names of primitives that are free or slow."""
    marks = {"div", "rem", "sqrt", "mulhi", "bitcast", "rlen"}
    for path in ROOT.rglob("*.py"):
        if path == ROOT / "ir" / "scalar" / "program.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Set, ast.Tuple, ast.List)):
                names = {e.value for e in node.elts if isinstance(e, ast.Constant)}
                assert len(names & marks) < 3, f"{path}:{node.lineno} lists primitives"


def _aval(*shape, dtype="float32"):
    return hybrid.zeros(shape, dtype=dtype)._a


@pytest.mark.parametrize("name", ["add", "divide", "sqrt", "exp", "bitwise_left_shift"])
def test_fusion_and_chunks_weigh_alike(name):
    op = OPS.get(name)
    if op is None:
        pytest.skip(f"no record {name}")
    a = _aval(3, dtype="int32" if "bit" in name else "float32")
    node = make_node(op, {}, [Value(a)] * op.nin)
    from hybrid.ir.scalar.compose import op_program

    program = op_program(op, [a] * op.nin, {}, [v.aval for v in node.outputs])
    costs = [PRIMS[i.prim].cost for i in program.instrs]
    assert traits(node).cost == sum(c > 0 for c in costs)
    assert traits(node).cheap == all(c < SLOW for c in costs)
    assert cost(program, range(len(costs))) == sum(costs)


# ---- the profile
def rows(fn, *args):
    """(kind, operations) of every kernel of a recorded call."""
    f = hybrid.function(fn)
    for _ in range(3):
        f(*args)
    prepared, why = f.prepared(*args)
    assert prepared is not None, why
    plan = prepared.result.plan
    return [(s[0], s[3]) for s in (summary(k, plan.slots) for k in plan.steps)]


def test_product_with_bias_and_activation():
    x, w, b = hybrid.ones((10, 300)), hybrid.ones((300, 20)), hybrid.ones((20,))
    assert rows(lambda x, w: x @ w, x, w) == [("product", 2 * 10 * 300 * 20)]
    # bias and relu: one operation each per element of the result
    got = rows(lambda x, w, b: hybrid.maximum(x @ w + b, 0), x, w, b)
    assert got == [("product", 2 * 10 * 300 * 20 + 2 * 10 * 20)]
    linear = hybrid.nn.functional.linear
    got = rows(lambda x, w, b: linear(x, w, b) * 3, x, w.T.clone(), b)
    assert got == [("product", 2 * 10 * 300 * 20 + 2 * 10 * 20)]


def test_gelu_behind_a_product():
    """However many instructions gelu has, they run once per element of the result."""
    gelu = hybrid.nn.functional.gelu
    x, w = hybrid.ones((64, 512)), hybrid.ones((512, 32))
    ((_, alone),) = rows(gelu, hybrid.ones((64, 32)))
    ((_, both),) = rows(lambda x, w: gelu(x @ w), x, w)
    assert both == 2 * 64 * 512 * 32 + alone
    assert 64 * 32 * 20 < alone < 64 * 32 * 120 and alone % (64 * 32) == 0


def test_reductions_with_epilogues():
    x = hybrid.ones((10, 300))
    # (x * 2 + 1): two per element, the sum one; the division and the product one per row
    assert rows(lambda x: (x * 2 + 1).mean(axis=1) * 3, x) == [("row", 3 * 3000 + 2 * 10)]
    assert rows(lambda x: (x * x).sum(axis=0).sqrt(), x) == [("column", 2 * 3000 + 300)]
    # one reduction to one element
    assert rows(lambda x: x.sum() * 2 + 1, x) == [("row", 3000 + 2)]
    # the quotient is taken in every element, its divisor once per row
    assert rows(lambda x: x / (x.sum(axis=1, keepdims=True) + 1), x) == [("row", 2 * 3000 + 10)]


def test_elementwise_with_operands_that_stand_still():
    x, s, r = hybrid.ones((10, 300)), hybrid.ones(()), hybrid.ones((10, 1))
    assert rows(lambda x: x * 2 + 1, x) == [("map", 2 * 3000)]
    assert rows(lambda x, s: x * (s + 1), x, s) == [("map", 3000 + 1)]
    assert rows(lambda x, r: x * (r + 1), x, r) == [("map", 3000 + 10)]
    ((_, got),) = rows(lambda x: hybrid.softmax(x), x)
    ((_, exp),) = rows(hybrid.exp, x)
    assert exp + 3 * 3000 <= got <= exp + 6 * 3000


def test_convolution():
    x, w = hybrid.ones((2, 3, 8, 8)), hybrid.ones((5, 3, 3, 3))
    got = rows(lambda x, w: hybrid.nn.functional.conv2d(x, w) * 2, x, w)
    out = 2 * 5 * 6 * 6
    assert got == [("product", 2 * out * 27 + out)]


def test_fused_multiply_add_is_two():
    s = Builder()
    x = s.arg("f32")
    p = s.program(s.fma(x, x, x))
    assert operations(p, [frozenset((0,))], (7,), None) == 14
