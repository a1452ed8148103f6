"""Branches and loops as functions inside recorded functions: the eager bits, and what is native."""

import subprocess
import sys

import numpy as np
import pytest

import hybrid as h
from hybrid.backends.cpu.backend import CpuBackend
from hybrid.backends.interpret import run_plan
from hybrid.compiler.pipeline import build
from hybrid.core.errors import GraphError
from hybrid.ir.door.evaluate import evaluate_eager
from hybrid.ir.graph.text import parse_graph, print_graph
from hybrid.trace.record.recorder import Recorder


def bits(tree):
    """Everything in a tree of tensors, as bytes."""
    if isinstance(tree, h.Tensor):
        return tree.shape, tree.dtype.name, tree.detach().numpy().tobytes()
    if isinstance(tree, dict):
        return {k: bits(v) for k, v in tree.items()}
    return type(tree)(map(bits, tree)) if isinstance(tree, (list, tuple)) else tree


def same(program, *calls, replays=True):
    """Call a program plain and recorded with each of the arguments, several times over."""
    traced = h.function(program)
    for arguments in [*calls] * 4:
        assert bits(traced(*arguments)) == bits(program(*arguments))
    if replays:
        before = traced.cache_info().replays
        for arguments in calls:
            traced(*arguments)
        assert traced.cache_info().replays == before + len(calls), traced.explain()
    return traced


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_loop_of_known_length_replays(count):
    w = h.tensor([0.5, 0.75])
    same(lambda x: h.fori_loop(0, count, lambda i, t: h.sin(t) * w + i, x), (h.ones(2),))
    same(lambda x: h.scan(lambda c, y: (c * w + y, c), h.zeros(2), x), (h.ones((count, 2)),))


def test_a_step_with_a_scan_is_trained_with_the_same_bits():
    def steps(decorate):
        h.manual_seed(0)
        w = h.randn(8, 8, requires_grad=True)
        optimizer = h.optim.Adam([w], lr=0.1)

        def step(x):
            def cell(carry, y):
                carry = h.tanh(carry @ w + y)
                return carry, carry

            optimizer.zero_grad()
            last, ys = h.scan(cell, h.zeros(8), x)
            loss = (ys * ys).mean() + last.sum()
            loss.backward()
            optimizer.step()
            return loss

        step = decorate(step)
        losses = [step(h.ones((6, 8)) * k) for k in range(5)]
        return bits(losses), bits(w), step

    assert steps(lambda f: f)[:2] == steps(h.function)[:2]
    assert steps(h.function)[2].cache_info().replays == 3


# ---- nodes with graphs inside
TRIPS = [h.tensor(k) for k in (3, 0, 1, 2, 17)]
X = h.tensor([0.1, 0.2, 0.3])
W = h.tensor([0.5, 1.5, -1.0])


def over_trips(*more):
    return [(X, n, *more) for n in TRIPS]


def nested(x, n):
    def body(carry):
        i, v = carry
        v = h.cond(
            v.sum() > 0,
            lambda u: h.scan(lambda a, b: (a * 0.5 + b, a), u, h.ones((40, 3)))[0],
            lambda u: h.fori_loop(0, i, lambda j, z: h.cos(z) + j, u),
            v - 0.7,
        )
        return i + 1, v

    return h.while_loop(lambda c: c[0] < n, body, (0, x))


def written_through(x, n):
    def body(carry):
        i, v = carry
        v[0:2] = i
        v[i % 3] = 7.0
        return i + 1, v

    return h.while_loop(lambda c: c[0] < n, body, (0, x))


LOOPS = {
    "while": lambda x, n: h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, h.sin(c[1]) * W), (0, x)),
    "bounds are tensors": lambda x, n: h.fori_loop(0, n, lambda i, v: h.sin(v) + i * W, x),
    "exchanged": lambda x, n: h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[2], c[1]), (0, x, x * 2)),
    "kept, literal, twice": lambda x, n: h.while_loop(
        lambda c: c[0] < n, lambda c: (c[0] + 1, c[1], h.ones(3), c[1]), (0, x, x * 2, x * 3)
    ),
    "carried and captured": lambda x, n: h.while_loop(
        lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + x, c[2] * x), (0, x, x)
    ),
    "a tree": lambda x, n: h.while_loop(
        lambda c: c["i"] < n, lambda c: {"i": c["i"] + 1, "v": [c["v"][0] * 2]}, {"i": 0, "v": [x]}
    ),
    "gradient inside": lambda x, n: h.while_loop(
        lambda c: c[0] < n,
        lambda c: (c[0] + 1, c[1] - 0.1 * h.grad(lambda u: (u**2 * x).sum())(c[1])),
        (0, x),
    ),
    "nested": nested,
    "written through": written_through,
    "cond": lambda x, n: h.cond(n > 1, lambda a: h.sin(a) + W, lambda a: a, x),
    "switch": lambda x, n: h.switch(n, [h.sin, lambda a: a, lambda a: h.ones(3), lambda a: W], x),
    "float predicate": lambda x, n: h.while_loop(lambda c: c, lambda c: c - 1, n * 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_one_compilation_serves_every_trip_count(name):
    traced = same(LOOPS[name], *over_trips())
    assert traced.cache_info()[1:5] == (2, 0, 1, 1)  # records, eager, signatures, plans
    assert traced(X, h.tensor(40)) is not None and traced.cache_info().records == 2


def test_predicates_and_positions():
    same(
        lambda p: h.cond(p, lambda: 1, lambda: 2),
        *[(h.tensor(v),) for v in (np.nan, 0.0, -0.0, 2.0)],
    )
    branches = [lambda: 0, lambda: 1, lambda: 2]
    calls = [(h.tensor(v, dtype=h.int8),) for v in (-100, -1, 0, 1, 2, 3, 100)]
    same(lambda i: h.switch(i, branches), *calls)


@pytest.mark.parametrize("dtype", [h.bool_, h.int8, h.uint64, h.float16, h.bfloat16, h.float64])
def test_dtypes_of_what_a_loop_carries(dtype):
    def program(x, n):
        return h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[2], c[1]), (0, x, x[::-1]))

    same(program, *[(h.tensor([0, 1, 1]).astype(dtype), n) for n in TRIPS])


def test_long_scans_are_one_node():
    def program(x):
        return h.scan(lambda c, y: (c * 0.5 + y, (c, y, h.ones(2))), h.tensor([0.0, 1.0]), x)

    def backwards(x):
        return h.scan(lambda c, y: (c * 0.5 + y, c), h.tensor([0.0, 1.0]), x, reverse=True)

    for f in (program, backwards, lambda x: h.scan(lambda c, y: ((), y * 2), (), x)):
        traced = same(f, (h.randn(100, 2),))
        assert len(traced.graph(h.randn(100, 2)).nodes) < 10
    same(lambda x: (h.fori_loop(0, 50, lambda i, c: c, ()), x + 1), (X,))


def test_random_numbers_and_state_advance_per_step():
    generator, state = h.Generator(3), h.zeros(3)

    def program(x, n):
        def body(c):
            state.assign(state * 1.25 + c[0])
            return c[0] + 1, c[1] + h.rand(3, generator=generator)

        def yes():
            state.assign(state + 1)
            return h.rand(3, generator=generator)

        return h.while_loop(lambda c: c[0] < n, body, (0, x)), h.cond(n > 1, yes, lambda: x)

    def left_by(f):
        generator.manual_seed(0)
        state.assign(h.zeros(3))
        return [(bits(f(X, n)), bits(state), bits(generator.get_state())) for n in TRIPS * 3]

    traced = h.function(program)
    assert left_by(traced) == left_by(program)
    assert traced.cache_info().replays == 13


def test_errors_inside_name_the_line_and_leave_the_state():
    table, state = h.arange(5) * 1.0, h.zeros(1)

    def program(n):
        state.assign(state + 1)
        return h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + table[c[0]]), (0, 0.0))

    traced = h.function(program)
    for k in (1, 2, 3):
        traced(h.tensor(k))
    for _ in range(2):
        with pytest.raises(IndexError, match=r"axis 0 has size 5.*table\[c\[0\]\]"):
            traced(h.tensor(9))
    assert state.item() == 3.0 and traced(h.tensor(3))[1].item() == 3.0
    assert traced.cache_info()[1:3] == (2, 0)


def test_parameters_may_be_captured_where_no_gradient_is_asked_for():
    model = h.nn.Sequential(h.nn.Linear(8, 8), h.nn.Dropout(0.5))

    def decode(x, n):
        def body(c):
            hidden = h.tanh(model(c[1]))
            return c[0] + 1, hidden, hidden.argmax()

        return h.while_loop(lambda c: c[0] < n, body, (0, x, 0))[2]

    def left_by(f):
        h.manual_seed(0)
        return [bits(f(h.ones((1, 8)), n)) for n in TRIPS * 3]

    traced = h.function(decode)
    assert left_by(traced) == left_by(decode) and traced.cache_info().replays == 13


# ---- what is not recorded as a node, and why
def mutates_a_closure(x, n):
    count = [0]

    def body(c):
        count[0] += 1
        return c[0] + 1, c[1] * count[0]

    return h.while_loop(lambda c: c[0] < n, body, (0, x))[1], count[0]


def mutates_in_a_branch(x, n):
    box = [0]

    def yes():
        box[0] = 5
        return x

    return h.cond(n > 1, yes, lambda: x) * box[0], box[0]


def leaks_a_tensor(x, n):
    kept = []
    result = h.while_loop(
        lambda c: c[0] < n, lambda c: (kept.append(c[1] * 2), (c[0] + 1, c[1] + 1))[1], (0, x)
    )
    return result, kept[-1] if kept else x


def steps_an_iterator(x, n):
    numbers = iter(range(100))
    return h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * next(numbers)), (0, x))


def goes_backward(x, n):
    w = h.ones(3, requires_grad=True)
    h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * w), (0, x))[1].sum().backward()
    return w.grad if w.grad is not None else x


REFUSED = {
    "changes Python objects inside": mutates_a_closure,
    "has a cond that changes Python objects inside": mutates_in_a_branch,
    "has a while_loop that changes Python objects inside": leaks_a_tensor,
    "cannot be compared, such as iterators": steps_an_iterator,
    "other structures, shapes or dtypes": lambda x, n: h.cond(n > 2, lambda: x, lambda: x.sum()),
    "cannot see what its branch 1 does: ZeroDivisionError": lambda x, n: h.cond(
        n > 100, lambda: 1 // 0, lambda: 1
    ),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("first", [(0, 0), (1, 1), (3, 3), (0, 5)])
@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_what_does_not_fit_a_node_runs_eagerly(why, first):
    calls = [(X, h.tensor(k)) for k in (*first, 0, 1, 2, 7)]
    traced = same(REFUSED[why], *calls, replays=False)
    assert why in traced.explain()


@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_gradients_of_steps_that_values_decide_are_eager():
    traced = same(goes_backward, *[(X, h.tensor(k)) for k in (3, 1, 2, 7)], replays=False)
    assert "gradient of a while_loop" in traced.explain()


@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_what_ran_only_to_be_seen_leaves_nothing_behind():
    class Holder:
        pass

    state, held, generator = h.zeros(2), Holder(), h.Generator(0)
    held.count, held.log, held.fields = 0, [], {}

    def never():
        state.assign(state + 1)
        held.count += 1
        held.log.append(held.count)
        held.fields["a"] = 1
        h.rand(2, generator=generator)
        return 1

    def program(n):
        return h.cond(n > 100, never, lambda: 0), h.while_loop(
            lambda c: c > n, lambda c: never(), 0
        )

    before = bits(generator.get_state())
    traced = h.function(program)
    for k in (3, 4, 5):
        traced(h.tensor(k))
    assert state.tolist() == [0.0, 0.0] and bits(generator.get_state()) == before
    assert vars(held) == {"count": 0, "log": [], "fields": {}}


def test_a_look_at_single_ops_sees_the_steps():
    found = h.intermediates(lambda: h.while_loop(lambda c: c < 3, lambda c: c + 1, 0))
    assert [i.op for i in found].count("add") == 3


# ---- the text form, other ways to run, bounds
def test_regions_print_parse_and_verify():
    traced = same(nested, *over_trips())
    graph = traced.graph(X, TRIPS[0])
    text = print_graph(graph)
    again = parse_graph(text)
    assert print_graph(again) == text and "region" in text
    inner = next(n for n in again.nodes if n.op.name == "while_loop")
    mine = next(n for n in graph.nodes if n.op.name == "while_loop")
    assert inner.params["body"] == mine.params["body"] != mine.params["test"]
    with pytest.raises(GraphError, match="region"):
        parse_graph(text.replace("cos(", "cosine("))


def test_the_interpreter_of_plans_gives_the_same_bits():
    for name in ("while", "kept, literal, twice", "nested", "switch"):
        traced = same(LOOPS[name], *over_trips())
        graph = traced.graph(X, TRIPS[0])
        plan = build(graph).plan
        for number in (0, 1, 5):
            values = {h.int64: np.array(number), h.float32: np.asarray(X)}
            inputs = [
                values[v.aval.dtype] if v.aval.shape in ((), (3,)) else None for v in graph.inputs
            ]
            inputs = [np.asarray(W) if k > 1 else x for k, x in enumerate(inputs)]
            native = [x.tobytes() for x in CpuBackend().compile(plan)(inputs)]
            assert native == [x.tobytes() for x in run_plan(plan, inputs)], name
            assert native == [x.tobytes() for x in evaluate_eager(graph, inputs)], name


def test_large_steps_are_spread_over_the_threads():
    model = h.nn.Linear(64, 64)

    @h.no_grad()
    def program(x, n):
        return h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, h.tanh(model(c[1]))), (0, x))

    same(program, *[(h.randn(512, 64), n) for n in TRIPS])


def test_many_calls_with_varying_trip_counts_keep_memory_flat():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    traced = same(LOOPS["while"], *over_trips())
    counts = [h.tensor(k) for k in range(50)]
    for k in range(2000):
        traced(X, counts[k * 7 % 50])
    before = resident()
    for k in range(10_000):
        traced(X, counts[k * 7 % 50])
    assert resident() - before < 2 << 20
    assert traced.cache_info()[1:5] == (2, 0, 1, 1)


def test_an_endless_loop_can_be_interrupted():
    program = """
import os, signal, threading, time
import hybrid as h
state = h.zeros(1)
@h.function
def endless(n):
    state.assign(state + 1)
    return h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, h.sin(c[1])), (0, h.ones(3)))[1]
for k in (1, 2, 3):
    endless(h.tensor(k))
assert endless.cache_info().replays == 1
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    endless(h.tensor(1 << 60))
except KeyboardInterrupt:
    print("interrupted", state.item(), endless(h.tensor(0)).tolist(), state.item())
seen = []
signal.signal(signal.SIGALRM, lambda *a: seen.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.1)
endless(h.tensor(3_000_000))
print(len(seen))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert ran.stdout.split("\n")[:2] == ["interrupted 3.0 [1.0, 1.0, 1.0] 4.0", "1"], ran.stderr


def leaves_by_an_exception(x, n):
    def body(c):
        if c[0].shape == ():
            x.sum().item() if False else None
        if len(steps) > 2:
            raise ValueError
        steps.append(c)
        return c[0] + 1, c[1] * 2

    steps = []
    try:
        return h.while_loop(lambda c: c[0] < n, body, (0, x))
    except ValueError:
        return steps[-1]


@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_a_loop_left_by_an_exception_is_not_recorded():
    traced = same(leaves_by_an_exception, *over_trips(), replays=False)
    assert traced.cache_info().replays == 0


def test_a_loop_in_a_branch_that_is_not_taken_may_have_no_end():
    def program(x, n):
        doubled = lambda: h.while_loop(lambda t: t < n, lambda t: t * 2, x)  # noqa: E731
        return h.cond(x > 0, doubled, lambda: x)

    traced = same(program, *[(h.tensor(x), h.tensor(9)) for x in (0, 1, -3, 7)])
    assert traced.cache_info()[1:3] == (2, 0)


def test_reports_know_loops():
    traced = same(LOOPS["nested"], *over_trips())
    rows = str(h.profile(traced, X, TRIPS[0]))
    assert "while" in rows
    assert h.compare(LOOPS["nested"], X, TRIPS[0])
    assert "while_loop" in str(h.inspect(traced, X, TRIPS[0]))


def test_a_long_loop_is_recorded_in_bounded_steps():
    """Later steps of a loop that is recorded cost what they cost eagerly, and nothing is kept."""

    def program(x, n):
        last = h.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, h.sin(c[1]) * W), (0, x))
        return last, h.scan(lambda c, y: (h.cos(c) + y, c), x, h.ones((n_rows, 3)))

    n_rows, seen = 300, []
    original = Recorder.on_op
    text = "lambda self, *given: (seen.append(given[0].name), original(self, *given))[1]"
    Recorder.on_op = eval(compile(text, "<hybrid test>", "eval"), locals())
    try:
        traced = same(program, (X, h.tensor(500)), (X, h.tensor(2)))
    finally:
        Recorder.on_op = original
    assert seen.count("sin") <= 2 * 3 and seen.count("cos") <= 2 * 3
    assert traced.cache_info()[1:3] == (2, 0)


@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
@pytest.mark.parametrize("late", [2, 5, 30])
def test_python_state_that_changes_in_a_late_step_is_seen(late):
    def program(x, n):
        seen = []

        def step(c, y):
            if len(seen) > late:
                c = c * 2
            seen.append(None)
            return c + y, c

        first = h.scan(step, x, h.ones((50, 3)))
        return first, h.while_loop(
            lambda c: c[0] < n, lambda c: (c[0] + 1, step(c[1], x)[0]), (0, x)
        )

    same(program, (X, h.tensor(9)), (X, h.tensor(60)), replays=False)
