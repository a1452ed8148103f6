"""compare, inspect, drawings and describe_system tell the truth and change nothing."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ET

import ml_dtypes
import numpy as np
import pytest
import toy_backend  # noqa: F401  (registers the kinds "toy" and "boxes")

import hybrid
from hybrid import nn, optim
from hybrid.comparison import _differences, _times, same_bits
from hybrid.ir.graph.draw import MAX_BOXES, Box, svg

pytestmark = pytest.mark.usefixtures("whole_calls")

SVG = "{http://www.w3.org/2000/svg}"


def training_step():
    hybrid.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return model, step


def batch():
    return hybrid.tensor(np.linspace(-1, 1, 24, dtype="f4").reshape(4, 6)), hybrid.tensor(
        [0, 2, 1, 1]
    )


def values(model):
    return {k: v.numpy().copy() for k, v in model.state_dict().items()}


# ---- compare
def test_compare_a_training_step_leaves_its_state():
    model, step = training_step()
    x, y = batch()
    step(x, y)
    before, grads = values(model), [p.grad.numpy().copy() for p in model.parameters()]
    report = hybrid.compare(step, x, y, repeat=2)
    assert report.same_bits and report.replays and report.differences == () and report.reason == ""
    assert report.nodes_before >= report.nodes_after > 0 and report.kernels["product"] >= 2
    assert (
        report.arena_bytes > 0
        and report.compile_seconds > 0
        and report.eager_us > 0 < report.traced_us
    )
    assert all(same_bits(before[k], v) for k, v in values(model).items())
    assert all(same_bits(g, p.grad.numpy()) for g, p in zip(grads, model.parameters()))
    again = step(x, y).item()  # the generator is where it was as well
    other, other_step = training_step()
    other_step(x, y)
    assert other_step(x, y).item() == again


def test_compare_on_two_devices():
    """A step with dropout and an optimizer gives one run of bits; all is put back where it was."""
    model, step = training_step()
    x, y = batch()
    step(x, y)
    before, grads = values(model), [p.grad.numpy().copy() for p in model.parameters()]
    report = hybrid.compare(step, x, y, repeat=2, devices=("cpu", "boxes"))
    assert report.same_bits and report.device_bits == () and report.replays
    assert list(report.device_us) == ["cpu", "boxes"] and "the same bits" in str(report)
    assert all(same_bits(before[k], v) for k, v in values(model).items())
    assert all(same_bits(g, p.grad.numpy()) for g, p in zip(grads, model.parameters()))
    assert {t.device.name for t in (x, y, *model.parameters())} == {"cpu"}
    again = step(x, y).item()
    other, other_step = training_step()
    other_step(x, y)
    assert other_step(x, y).item() == again


def test_compare_says_where_devices_differ():
    x = hybrid.tensor(np.random.default_rng(0).standard_normal((3, 999)).astype("f4"))
    report = hybrid.compare(lambda t: (t * 2, t.sum(1)), x, repeat=2, devices=("cpu", "toy"))
    assert len(report.device_bits) == 6  # three calls, eager and traced
    assert report.device_bits[0].startswith("output 1 of call 0 float32(3,)")
    assert "on cpu" in report.device_bits[0] and "on toy" in report.device_bits[0]
    assert "devices   DIFFERENT: output 1" in str(report)


def test_compare_restores_gradients_that_were_none():
    w = hybrid.tensor([1.0, 2.0], requires_grad=True)

    def f(x):
        (w * x).sum().backward()
        return w.grad * 1

    report = hybrid.compare(f, hybrid.ones(2), repeat=2)
    assert report.same_bits and w.grad is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: (lambda x: x * 2, hybrid.ones(3)),
        lambda: (lambda x: (x.softmax(-1), {"s": x.sum()}), hybrid.tensor([[1.0, np.nan, np.inf]])),
        lambda: (lambda x: x + 1, hybrid.zeros(0, 4)),
        lambda: (lambda x: -x, hybrid.tensor(0.0)),
        lambda: (lambda x: x.T @ x, hybrid.ones(5, 7)),
        lambda: (lambda x: x // 2, hybrid.arange(5)),
        lambda: (lambda x: hybrid.tensor(x.tolist()) * 2, hybrid.ones(2)),
    ],
)
def test_compare_finds_no_difference(make):
    fn, x = make()
    report = hybrid.compare(fn, x, repeat=1, steps=2)
    assert report.same_bits, str(report)


def test_compare_of_what_does_not_replay():
    def f(x):
        return x / len(str(float(x.max())))

    # no warning: the report tells it
    report = hybrid.compare(f, hybrid.tensor([1.0, 4.0]), repeat=1)
    assert report.same_bits and not report.replays and "reads a tensor" in report.reason
    assert "return x / len(str(float(x.max())))" in str(report) and report.kernels == {}
    with pytest.warns(hybrid.RunsEagerly):
        hybrid.compare(hybrid.function(f), hybrid.tensor([1.0, 4.0]), repeat=1)


def test_compare_tells_when_the_function_itself_varies():
    report = hybrid.compare(lambda x: x * random.random(), hybrid.ones(3), repeat=1)
    assert not report.same_bits and "two eager runs differ" in report.differences[0]
    assert "DIFFERENT" in str(report)


def test_report_forms():
    report = hybrid.compare(training_step()[1], *batch(), repeat=1)
    assert json.loads(json.dumps(report.to_dict()))["speedup"] == report.speedup
    assert "bits      the same" in repr(report) and "recorded" in str(report)
    page = report._repr_html_()
    assert "training_step.&lt;locals&gt;.step" in page and "<table>" in page
    ET.fromstring(f"<x>{page.replace(' colspan=2', '')}</x>")


def test_keyword_arguments():
    def f(x, *, scale=1.0):
        return x * scale

    assert hybrid.compare(f, hybrid.ones(2), scale=3.0, repeat=1).same_bits


# ---- what counts as equal
def test_same_bits():
    nan = np.array([np.nan, 1], "f4")
    other = np.array([0xFFC00001, 0x3F800000], "u4").view("f4")
    assert same_bits(nan, other)
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    assert not same_bits(np.zeros(2), np.zeros(2, "f4")) and not same_bits(
        np.zeros(2), np.zeros((2, 1))
    )
    assert same_bits(np.arange(6.0).reshape(2, 3)[:, ::2], np.array([[0.0, 2], [3, 5]]))
    assert same_bits(np.zeros((0, 3)), np.zeros((0, 3))) and same_bits(
        np.float64(2).reshape(()), np.array(2.0)
    )
    assert not same_bits(np.array([2**62]), np.array([2**62 + 1]))
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16):
        a = np.array([1, -0.0, np.nan], dtype)
        assert same_bits(a, a.copy()) and not same_bits(a, -a)
    assert not same_bits(np.array([True]), np.array([False]))


def test_differences_say_where():
    a = np.arange(6, dtype="f4").reshape(2, 3)
    b = a.copy()
    b[1, 2] = -1
    assert _differences([("output 0", a)], [("output 0", b)]) == [
        "output 0 float32(2, 3): 1 element(s) differ, first at (1, 2): 5.0 eagerly, -1.0 traced"
    ]
    assert _differences([("s", np.array(0.0))], [("s", np.array(-0.0))]) == [
        "s float64(): 1 element(s) differ, first at (): 0.0 eagerly, -0.0 traced"
    ]
    assert (
        _differences([("o", a)], [("o", a.T)])[0]
        == "o is float32(2, 3) eagerly, float32(3, 2) traced"
    )
    assert _differences([("o", a)], []) == [
        "a call eagerly and one traced return or write different tensors"
    ]


def test_times_take_turns():
    order = []
    times = _times((lambda: order.append(0), lambda: order.append(1)), 3)
    turns = [v for i, v in enumerate(order) if i == 0 or order[i - 1] != v]
    assert turns == [0, 1] * 4 and all(t > 0 for t in times)


# ---- inspect
def inspected():
    _, step = training_step()
    fn, x, y = hybrid.function(step), *batch()
    for _ in range(4):
        fn(x, y)
    return fn, x, y


def pictures(page):
    """Every drawing in a page, parsed."""
    parts = page.split("<svg ")[1:]
    return [ET.fromstring("<svg " + p.split("</svg>")[0] + "</svg>") for p in parts]


def test_inspect_shows_every_pass_and_the_plan():
    fn, x, y = inspected()
    shown = hybrid.inspect(fn, x, y)
    text = str(shown)
    assert text == str(hybrid.inspect(fn)) and "recorded: " in text and "plan: " in text
    assert "loss.backward()" in text and __file__ in text
    assert len(shown.graph("recorded").nodes) >= len(shown.graph().nodes) > 5
    with pytest.raises(hybrid.HybridError, match="steps with graphs are recorded"):
        shown.graph("nonsense")
    page = shown._repr_html_()
    drawn = pictures(page)
    assert len(drawn) >= 2 and page.count("<details") == page.count("</details>")
    assert any("optimizer.step()" in t.text for t in drawn[0].iter(f"{SVG}title"))
    assert any("product" in t.text for t in drawn[-1].iter(f"{SVG}title"))


def test_graph_of_a_function_prints_and_draws():
    fn, x, y = inspected()
    graph = fn.graph(x, y)
    assert (
        str(graph).startswith("graph {")
        and "optimizer.step()" in str(graph)
        and "nodes" in repr(graph)
    )
    (picture,) = pictures(graph._repr_html_())
    boxes = [g for g in picture.iter(f"{SVG}g") if g.find(f"{SVG}rect") is not None]
    assert len(boxes) == len(graph.nodes)


def test_inspect_says_why_there_is_nothing():
    with pytest.raises(TypeError, match="@hybrid.function"):
        hybrid.inspect(lambda x: x)
    fn = hybrid.function(lambda x: x * 2)
    with pytest.raises(hybrid.HybridError, match="at least twice"):
        hybrid.inspect(fn, hybrid.ones(2))
    with pytest.raises(hybrid.HybridError, match="at least twice"):
        fn.graph(hybrid.ones(2))


# ---- drawings
def test_drawings_are_bounded_and_well_formed():
    chain = [
        Box(f"op{i}<&>", "x" * 90, "hover \"<&>'", "map", (i - 1,) if i else ())
        for i in range(1000)
    ]
    (picture,) = pictures(svg(chain))
    assert len(list(picture.iter(f"{SVG}g"))) == MAX_BOXES
    assert any(t.text == f"and {1000 - MAX_BOXES} more" for t in picture.iter(f"{SVG}text"))
    wide = [Box("root", "", "", "row", ())] + [
        Box("leaf", "", "", "newkind", (0,)) for _ in range(60)
    ]
    (picture,) = pictures(svg(wide))
    assert float(picture.get("viewBox").split()[2]) < 1000
    assert pictures(svg([]))


def test_boxes_do_not_overlap():
    fn, x, y = inspected()
    (picture,) = pictures(fn.graph(x, y)._repr_html_())
    at = [
        tuple(float(g.find(f"{SVG}rect").get(k)) for k in ("x", "y", "width", "height"))
        for g in picture.iter(f"{SVG}g")
    ]
    for i, (x0, y0, w0, h0) in enumerate(at):
        for x1, y1, w1, h1 in at[:i]:
            assert x0 >= x1 + w1 or x1 >= x0 + w0 or y0 >= y1 + h1 or y1 >= y0 + h0


def test_describe_system():
    lines = hybrid.describe_system().splitlines()
    assert lines[0].startswith("hybrid ") and any(
        line.startswith("cpu threads") and "usable" in line for line in lines
    )
    assert f"numpy        {np.__version__}" in lines
