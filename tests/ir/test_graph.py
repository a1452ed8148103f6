"""The graph's text form, verifier and reference replay."""

from __future__ import annotations

import numpy as np
import pytest
from graph_ops import Build, T, lit, registered
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.core import dtypes as dt
from hybrid.core.aval import aval, device
from hybrid.core.errors import GraphError, Site, UnsupportedError
from hybrid.ir.door.evaluate import evaluate, evaluate_reference
from hybrid.ir.graph.graph import Const, Graph, Node, Value, make_node, param_key
from hybrid.ir.graph.region import Region
from hybrid.ir.graph.rewrite import dependencies, keep_nodes, rewrite
from hybrid.ir.graph.text import parse_graph, print_graph
from hybrid.ir.graph.verify import verify
from hybrid.ir.op import OPS, MapOp

ANY = MapOp(
    "test_any",
    None,
    lambda *a, **p: (a[0] if a else aval((), dt.float32),),
    body=None,
    params=("p", "q"),
)


@pytest.fixture(autouse=True, scope="module")
def _records():
    with registered():
        OPS[ANY.name] = ANY
        yield
        del OPS[ANY.name]


def same_graph(a: Graph, b: Graph) -> None:
    number = {v: k for k, v in enumerate([*a.inputs, *(v for n in a.nodes for v in n.outputs)])}
    other = {v: k for k, v in enumerate([*b.inputs, *(v for n in b.nodes for v in n.outputs)])}

    def key(v: Value, of: dict[Value, int]) -> object:
        return (v.aval, v.data.tobytes()) if isinstance(v, Const) else (v.aval, of[v])

    assert a.names == b.names
    assert [v.aval for v in a.inputs] == [v.aval for v in b.inputs]
    assert [key(v, number) for v in a.outputs] == [key(v, other) for v in b.outputs]
    assert len(a.nodes) == len(b.nodes)
    for n, m in zip(a.nodes, b.nodes):
        assert n.op is m.op and n.site == m.site and list(n.params) == list(m.params)
        assert [param_key(v) for v in n.params.values()] == [
            param_key(v) for v in m.params.values()
        ]
        assert [key(v, number) for v in n.inputs] == [key(v, other) for v in m.inputs]
        assert [v.aval for v in n.outputs] == [v.aval for v in m.outputs]


def round_trip(g: Graph) -> str:
    text = print_graph(g)
    got = parse_graph(text)
    same_graph(g, got)
    assert print_graph(got) == text
    return text


# ---- round trip
params = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.text()
    | st.sampled_from([*dt.ALL, device("cpu"), device("cuda:1")]),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)
literals = st.one_of(
    st.floats(width=32).map(lambda x: lit(x, dt.float32)),
    st.floats().map(lambda x: lit(x, dt.float64)),
    st.integers(0, 65535).map(lambda b: lit(np.uint16(b).view(dt.bfloat16), dt.bfloat16)),
    st.integers(0, 65535).map(lambda b: lit(np.uint16(b).view(dt.float16), dt.float16)),
    st.integers(-128, 127).map(lambda x: lit(x, dt.int8)),
    st.integers(0, 2**64 - 1).map(lambda x: lit(x, dt.uint64)),
    st.booleans().map(lambda x: lit(x, dt.bool_)),
    st.lists(st.floats(width=32), max_size=4).map(lit),
)


@settings(max_examples=60, deadline=None)
@given(params, params, st.lists(literals, max_size=3))
def test_params_and_literals_round_trip(p, q, consts):
    v = Value(aval((3, 0), dt.int16))
    n = Node(ANY, {"p": p, "q": q}, [v, *consts], [v.aval])
    g = Graph([v], [n], [n.outputs[0], *consts], ['a b\n#"\\'])
    assert round_trip(g).count("\n") == 5


def test_every_bit_pattern_of_special_floats():
    bits = [
        0,
        1 << 31,
        1,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0xFFC00001,
        0x7F800001,
        0x00800000,
        0x3F800000,
    ]
    consts = [lit(np.array(b, np.uint32).view(np.float32)) for b in bits]
    got = parse_graph(print_graph(Graph([], [], consts)))
    assert [c.data.tobytes() for c in got.outputs] == [c.data.tobytes() for c in consts]


def test_golden_text():
    b = Build()
    x, w = b.input(3, 4), b.input(5, 4)
    h = b(T.linear, x, w, site=Site("model.py", 12, "Net.forward"))
    p, m = b(T.center, h, lit([1.0, 2, 3, -0.0, np.nan]), axes=(1, 2))
    g = Graph(b.inputs, b.nodes, [b(T.mul, p, 0.5), m, x], ["x", "net.weight"])
    g = Graph(g.inputs, b.nodes, g.outputs, g.names)
    assert (
        round_trip(g)
        == """graph {
  input %x0 : float32[3x4] "x"
  input %x1 : float32[5x4] "net.weight"
  %0 : float32[3x5] = test_linear(%x0, %x1)  # model.py:12 in Net.forward
  %1 : float32[3x5], %2 : float32[3x1] = test_center(%0, float32[5] #0000803f0000004000004040000000800000c07f) {axes=(1, 2)}
  %3 : float32[3x5] = test_mul(%1, float32[] 0x1.0000000000000p-1)
  return %3, %2, %x0
}
"""
    )


def test_large_literals_may_be_elided():
    g = Graph([], [], [lit(np.zeros(100))])
    assert "..." in print_graph(g, elide=64)
    with pytest.raises(GraphError, match="line 2"):
        parse_graph(print_graph(g, elide=64))


# ---- hostile text
GOOD = "graph {\n  input %a : float32[2]\n  %b : float32[2] = test_add(%a, float32[] 0x1.8p+0)\n  return %b\n}\n"


def test_good_text_parses():
    assert len(parse_graph(GOOD).nodes) == 1


@pytest.mark.parametrize(
    "old, new, line",
    [
        ("graph {", "graph", 1),
        ("}\n", "", 4),
        ("return %b", "return %c", 4),
        ("  return %b\n", "", 4),
        ("test_add", "os.system", 3),
        ("test_add", "nothing", 3),
        ("%a,", "%b,", 3),
        ("float32[2] =", "float33[2] =", 3),
        ("0x1.8p+0", "0x1.8p+99999", 3),
        ("0x1.8p+0", "#00", 3),
        ("0x1.8p+0", "1e5", 3),
        ("0x1.8p+0", "True", 3),
        ("float32[2]\n", "float32[99999999999999999999]\n", 2),
        ("float32[2]\n", "float32[2x]\n", 2),
        ("float32[2]\n", "float32[999999999x999999999x999]\n", 2),
        ("%b :", "%a :", 3),
        ("return %b", "return %b %b", 4),
        ("p+0)", "p+0) {p=" + "(" * 500 + ")", 3),
        ("p+0)", "p+0) {p=1, p=2}", 3),
        ("p+0)", 'p+0) {p="\\x"}', 3),
        ("p+0)", "p+0) {p=lambda}", 3),
        ("p+0)", "p+0) {p=" + "9" * 5000 + "}", 3),
        ("return %b", "return %b\n  return %b", 5),
        ("  input", "  return\n  input", 3),
        ("%a :", "%a\x00:", 2),
        ("[2]\n", "[2]@elsewhere:0\n", 2),
    ],
)
def test_bad_text_names_the_line(old, new, line):
    with pytest.raises(GraphError, match=f"line {line}:"):
        parse_graph(GOOD.replace(old, new, 1))


@settings(max_examples=200, deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from(list('graph{}return input%x0:=(), \n#"\\[]float32@p+-1')),
        max_size=80,
    ),
    st.integers(0, len(GOOD)),
)
def test_any_damage_is_a_graph_error(noise, at):
    for text in (noise, GOOD[:at] + noise + GOOD[at:], GOOD[:at]):
        try:
            parse_graph(text)
        except GraphError:
            pass


# ---- verifier
def graph_of(*nodes: Node, inputs=(), outputs=()) -> Graph:
    return Graph(inputs, nodes, outputs)


def test_verifier_accepts_and_returns_the_graph():
    b = Build()
    g = b.graph(b(T.add, b.input(2), 1.0))
    assert verify(g) is g


def test_verifier_finds_what_is_wrong():
    x, y = Value(aval((2,), dt.float32)), Value(aval((3,), dt.float32))
    n = make_node(T.add, {}, [x, x])
    m = make_node(T.relu, {}, n.outputs)
    wrong = Node(T.add, {}, [x, x], [y.aval])
    loose = Const.__new__(Const)
    Value.__init__(loose, aval((2,), dt.float32))
    loose.data = np.zeros(2, np.float32)
    cases = [
        (graph_of(m, n, inputs=[x]), "not defined before"),
        (graph_of(m, inputs=[x]), "not defined before"),
        (graph_of(n, n, inputs=[x]), "does not belong"),
        (graph_of(wrong, inputs=[x]), "the op's rule gives"),
        (graph_of(n, inputs=[x, x]), "listed twice"),
        (graph_of(n, inputs=[x], outputs=[y]), "output 0"),
        (graph_of(inputs=[n.outputs[0]]), "result of a node"),
        (graph_of(inputs=[lit(1.0)]), "a literal"),
        (graph_of(Node(T.add, {}, [x], [x.aval]), inputs=[x]), "takes 2"),
        (graph_of(Node(T.add, {"k": 1}, [x, x], [x.aval]), inputs=[x]), "parameters"),
        (graph_of(Node(ANY, {"p": [1], "q": 1}, [x], [x.aval]), inputs=[x]), "not plain"),
        (graph_of(Node(T.sum, {"axes": 5}, [x], [x.aval]), inputs=[x]), "rule failed"),
        (graph_of(Node(T.add, {}, [x, loose], [x.aval]), inputs=[x]), "read-only"),
        (graph_of(n, wrong, inputs=[x]), "node 1"),
    ]
    for g, text in cases:
        with pytest.raises(GraphError, match=text):
            verify(g)


def test_parameters_are_told_apart_by_type_and_bits():
    values = [0, 0.0, -0.0, False, 1, 1.0, True, (0.0,), (-0.0,), float("nan"), None, "0", dt.int8]
    assert len({param_key(v) for v in values}) == len(values)
    a, b = (make_node(T.value, {"shape": (2,), "value": v}, []) for v in (0.0, -0.0))
    assert (
        a.key() != b.key()
        and a.key() == make_node(T.value, {"shape": (2,), "value": 0.0}, []).key()
    )


# ---- rewriting and evaluation
def test_rewrite_keeps_what_did_not_change():
    b = Build()
    x = b.input(2)
    y = b(T.neg, x)
    z = b(T.relu, b(T.root, x))
    g = b.graph(b(T.add, y, z), z)
    assert rewrite(g, lambda n, ins: None) is g and keep_nodes(g, lambda n: True) is g
    h = rewrite(g, lambda n, ins: ins if n.op is T.neg else None)
    assert [n.op for n in h.nodes] == [T.root, T.relu, T.add] and h.nodes[:2] == g.nodes[1:3]
    assert h.nodes[2].inputs == (x, z) and verify(h)
    assert list(dependencies(g.outputs)) == list(g.nodes) and list(dependencies([z])) == list(
        g.nodes[1:3]
    )


def test_reference_evaluation():
    b = Build()
    x = b.input(3)
    g = b.graph(b(T.relu, b(T.add, x, -1.0)), x, lit(2.0))
    got = evaluate_reference(g, [np.array([0, 2, np.nan], np.float32)])
    np.testing.assert_array_equal(got[0], np.array([0, 1, np.nan], np.float32))
    assert got[2] == 2
    with pytest.raises(GraphError, match="1 graph inputs"):
        evaluate(g, [], lambda n, xs: xs)
    with pytest.raises(UnsupportedError, match="no reference"):
        evaluate_reference(b.graph(b(T.root, x)), [np.zeros(3, np.float32)])


def test_a_region_is_of_the_host():
    place = aval((2,), np.dtype("float32"), device("reference"))
    value = Value(place)
    with pytest.raises(GraphError, match="not of the host"):
        Region(Graph([value], [], [value]))
