"""Branches and loops as functions on a card: the host's bits, eager, recorded and with gradients."""

import numpy as np
import pytest

import hybrid as h
from hybrid.backends.cuda.backend import CudaBackend
from hybrid.backends.cuda.executable import PlanInParts, PlanOnCard
from hybrid.ir.algorithm import While

pytestmark = pytest.mark.usefixtures("simulated")


def bits(tree):
    """Everything in a tree of tensors, as bytes of the host."""
    if isinstance(tree, h.Tensor):
        return tree.shape, tree.dtype.name, tree.detach().numpy().tobytes()
    if isinstance(tree, dict):
        return {k: bits(v) for k, v in tree.items()}
    return type(tree)(map(bits, tree)) if isinstance(tree, (list, tuple)) else tree


def on(device, tree):
    """A tree of arrays as tensors of a device."""
    if isinstance(tree, np.ndarray):
        return h.tensor(tree, device=device)
    return type(tree)(on(device, x) for x in tree) if isinstance(tree, (list, tuple)) else tree


def same(program, *calls, replays=True):
    """Each of the calls on the host, on the card, and on the card recorded, several times over;
    `program(device)` makes the function."""
    traced = h.function(program("cuda"))
    plain, there = program("cpu"), program("cuda")
    for arguments in [*calls] * 4:
        wanted = bits(plain(*on("cpu", arguments)))
        assert bits(there(*on("cuda", arguments))) == wanted
        assert bits(traced(*on("cuda", arguments))) == wanted
    if replays:
        before = traced.cache_info().replays
        for arguments in calls:
            traced(*on("cuda", arguments))
        assert traced.cache_info().replays == before + len(calls), traced.explain()
    return traced


X = np.array([0.1, 0.2, 0.3], np.float32)
W = np.array([0.5, 1.5, -1.0], np.float32)
TRIPS = [np.int64(k) for k in (3, 0, 1, 17)]


def over_trips(*more):
    return [(np.asarray(k), *more) for k in TRIPS]


def test_a_while_loop_runs_as_often_as_a_tensor_says():
    def program(device):
        w = h.tensor(W, device=device)

        def call(n, x):
            def body(state):
                i, y = state
                return i + 1, h.sin(y) * w + i

            return h.while_loop(lambda state: state[0] < n, body, (h.zeros_like(n), x))

        return call

    same(program, *over_trips(X))


def test_a_loop_between_bounds_that_are_tensors():
    def program(device):
        return lambda n, x: h.fori_loop(0, n, lambda i, y: y * 1.5 + i, x)

    same(program, *over_trips(X))


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_loop_of_known_length(count):
    def program(device):
        w = h.tensor(W, device=device)
        return lambda x: h.fori_loop(0, count, lambda i, t: h.sin(t) * w + i, x)

    same(program, (X,))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [1, 40])
def test_a_scan_stacks_what_its_steps_give(count, reverse):
    def program(device):
        w = h.tensor(W, device=device)

        def step(carry, row):
            carry = h.tanh(carry * w + row)
            return carry, (carry.sum(), row)

        return lambda x: h.scan(step, h.zeros(3, device=device), x, reverse=reverse)

    same(program, (np.arange(3 * count, dtype=np.float32).reshape(count, 3),))


def test_the_branch_runs_that_a_tensor_says():
    def program(device):
        w = h.tensor(W, device=device)
        ways = [lambda x: (x + w, x.sum()), lambda x: (x * w, x.max()), lambda x: (w, w.min())]
        return lambda i, x: (h.switch(i, ways, x), h.cond(i > 1, ways[0], ways[2], x))

    same(program, *[(np.asarray(k), X) for k in (0, 1, 2, 9, -3)])


def test_a_loop_inside_a_loop_and_operations_around_them():
    def program(device):
        def inner(x):
            return h.while_loop(lambda y: y.sum() < 9, lambda y: y * 2, x)

        def step(carry, row):
            carry = h.cond(row.sum() > 1, inner, lambda y: y + 1, carry + row)
            return carry, carry * 3

        def call(x):
            y = h.exp(x * 0.01) + x
            last, ys = h.scan(step, y[0], y)
            return ys.sum(0) * last, (ys - last).mean()

        return call

    same(program, (np.linspace(0.1, 1.5, 120, dtype=np.float32).reshape(40, 3),))


def test_graphs_run_between_the_decisions_of_the_host(monkeypatch):
    made, compiled = [], CudaBackend.compile

    def compile_plan(self, plan, graph=None):
        made.append(compiled(self, plan, graph))
        return made[-1]

    monkeypatch.setattr(CudaBackend, "compile", compile_plan)

    def program(device):
        def call(x):
            y = h.while_loop(lambda v: v.sum() < 9, lambda v: v * 2 + 1, h.exp(x) * x)
            return h.sin(y) - y

        return call

    same(program, (X,), (X + 1,))
    (plan,) = made
    assert isinstance(plan, PlanInParts)
    before, (loop, step), after = plan.parts
    assert isinstance(step.algorithm, While)
    assert all(isinstance(inner, PlanOnCard) for inner in loop.runs)
    inside = [inner.graphs for inner in loop.runs]
    assert all(graphs.instances for graphs in (before, after, *inside))


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_values_on_two_devices_run_eagerly_for_a_reason():
    @h.function
    def program(i, x):
        return h.switch(i, [lambda y: y + 1, lambda y: y * 2], x)

    for k in (0, 1, 1, 0):
        got = program(h.tensor(k), h.tensor(X, device="cuda"))
        assert bits(got) == bits(h.tensor(X * 2 if k else X + 1))
    assert "computes on several devices" in program.explain()


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_gradients_go_through_the_steps_that_ran():
    def program(device):
        w = h.tensor(W, device=device, requires_grad=True)

        def call(n, x):
            w.grad = None
            y = h.scan(lambda c, r: (h.tanh(c * w + r), c.sum()), x[0], x)
            z = h.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * w), (n * 0, y[0]))
            (h.cond(n > 0, lambda v: v * w, lambda v: v - w, z[1]).sum() + y[1].sum()).backward()
            return w.grad

        return call

    same(program, *over_trips(np.stack([X, X + 1])), replays=False)


def test_states_that_a_loop_writes():
    def program(device):
        total = h.zeros(3, device=device)

        def call(n, x):
            def body(i):
                nonlocal total
                total += x
                return i + 1

            i = h.while_loop(lambda i: i < n, body, n * 0)
            return i, total * 1

        return call

    same(program, *over_trips(X))


def test_an_index_inside_names_its_line():
    table = h.tensor(W, device="cuda")

    @h.function
    def program(n, x):
        return h.while_loop(
            lambda i: i < n, lambda i: i + 1 + 0 * h.take(table, i).astype("int64"), x
        )

    start = h.tensor(0, device="cuda")
    for _ in range(4):
        assert program(h.tensor(3, device="cuda"), start).item() == 3
    assert program.cache_info().replays
    with pytest.raises(h.IndexOutOfRange, match="test_control_on_card.py"):
        program(h.tensor(9, device="cuda"), start).item()
    assert program(h.tensor(3, device="cuda"), start).item() == 3


def test_results_are_apart_from_what_a_loop_was_given():
    x = h.tensor(X, device="cuda")
    made = h.function(lambda y: h.while_loop(lambda z: z.sum() > 9, lambda z: z + 1, y))
    results = [made(x) for _ in range(4)]
    x += 1
    for result in results:
        assert bits(result) == bits(h.tensor(X))
