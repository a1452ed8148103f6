"""Programs of thousands of operations: right, replayed, and compiled in time linear in them."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

import hybrid
from hybrid import function
from hybrid.compiler import pipeline
from hybrid.compiler.lower.assignment import MAX_EXTRA
from hybrid.compiler.lower.regions import MAX_COST, MAX_PATH, MAX_READS, MAX_WRITES, Region
from hybrid.ir.graph.graph import Graph
from hybrid.ir.graph.rewrite import dependencies, rewrite
from hybrid.ir.graph.text import parse_graph, print_graph
from hybrid.ir.graph.verify import verify
from hybrid.trace.serve import prepare as preparing

X = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]


def data():
    return hybrid.asarray(X)


def bits(tree):
    found = tree if isinstance(tree, (list, tuple)) else [tree]
    return [np.asarray(t).tobytes() for t in found]


# ---- shapes of programs: each returns a function of one tensor that runs about n operations
def chain(n):
    def fn(x):
        for _ in range(n // 2):
            x = x * 1.0001 + 0.5
        return x

    return fn


def cheap(n):
    """Nothing but operations that cost next to nothing."""

    def fn(x):
        for k in range(n):
            x = -x if k % 2 else abs(x)
        return x

    return fn


def losses(n):
    def fn(x):
        total = (x * 0.5).sum()
        for k in range(n // 3):
            total = total + (x * (k + 0.5)).sum()
        return total

    return fn


def maxima(n):
    """One reduction and a long row of scalars behind it."""

    def fn(x):
        total = x.sum()
        for _ in range(n // 2):
            total = total * 0.5 + (x * 2.0 + 1.0).max()
        return total

    return fn


def wide(n):
    def fn(x):
        parts = [x * float(k) for k in range(n // 2)]
        total = parts[0]
        for p in parts[1:]:
            total = total + p
        return total

    return fn


def kernels(n):
    def fn(x):
        y = x @ x.T
        for _ in range(n // 3):
            y = y @ y
            y = y / y.max()
        return y

    return fn


def fibonacci(n):
    """Each value is read twice: a tree of them would have 2 ** n leaves."""

    def fn(x):
        a, b = x, x + 1
        for _ in range(n):
            a, b = b, a - b
        return a + b

    return fn


def slices(n):
    def fn(x):
        y = (hybrid.arange(2 * n).astype("float32") * x[0, 0]).clone()
        for _ in range(n):
            y = y[1:]
        return y + 1

    return fn


def turns(n):
    def fn(x):
        for k in range(n):
            x = hybrid.flip(x, axis=k % 2) if k % 3 else x.T
        return x + 1

    return fn


def writes(n):
    def fn(x):
        y = x * 1.0
        for k in range(n // 3):
            y[k % 2, k % 4] = y[(k + 1) % 2, k % 3] * 1.01
        return y

    return fn


def joins(n):
    def fn(x):
        y = x
        for _ in range(n // 4):
            y = hybrid.concat([y[:, 1:], x[:, :1] * 1.5], axis=1)
        return y

    return fn


def pieces(n):
    def fn(x):
        return hybrid.concat([x * float(k) for k in range(n)], axis=0)

    return fn


def pieces_read_apart(n):
    """Many kernels write one value that many kernels read."""

    def fn(x):
        sums = hybrid.stack([(x * float(k)).sum() for k in range(n // 6)])
        total = x.sum()
        for k in range(n // 6):
            total = total + (x * sums[k]).max()
        return total

    return fn


def padded(n):
    def fn(x):
        y = x
        for _ in range(n // 3):
            y = hybrid.pad(y[:1, :3], ((0, 1), (0, 1))) + x
        return y

    return fn


def results(n):
    def fn(x):
        return [x * float(k) for k in range(n)]

    return fn


def softmaxes(n):
    def fn(x):
        for _ in range(n):
            x = hybrid.softmax(x, axis=-1)
        return x

    return fn


def rows(n):
    index = hybrid.asarray([1, 0])

    def fn(x):
        for _ in range(n // 3):
            x = hybrid.take(x, index, axis=0)
        return x

    return fn


def backward(n):
    w = hybrid.ones((4,))
    w.requires_grad_()

    def fn(x):
        y = x
        for _ in range(n // 8):
            y = (y * w).tanh()
        y.sum().backward()
        g, w.grad = w.grad, None
        return g

    return fn


SHAPES = [
    chain,
    cheap,
    losses,
    maxima,
    wide,
    kernels,
    fibonacci,
    slices,
    turns,
    writes,
    joins,
    pieces,
    pieces_read_apart,
    padded,
    results,
    softmaxes,
    rows,
    backward,
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_deep_programs_are_right_and_replay(shape):
    plain = shape(1500)
    want = bits(plain(data()))
    fn = function(plain)
    for _ in range(4):
        assert bits(fn(data())) == want
    assert fn.cache_info().replays == 2, fn.explain()


# ---- linear
def counted(monkeypatch, make, n: int) -> tuple[int, int]:
    """(Python and C calls that compiling takes, nodes of the graph)."""
    seen = {}
    old = preparing.Prepared.__init__

    def prepare(self, recording):
        calls = 0

        def count(frame, event, arg):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            old(self, recording)
        finally:
            sys.setprofile(None)
            seen["calls"], seen["nodes"] = calls, len(recording.graph.nodes)

    with monkeypatch.context() as m:
        m.setattr(preparing.Prepared, "__init__", prepare)
        fn = function(make(n))
        for _ in range(3):
            fn(data())
    assert fn.cache_info().replays == 1, fn.explain()
    return seen["calls"], seen["nodes"]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_compiling_takes_calls_in_proportion_to_nodes(monkeypatch, shape):
    counted(monkeypatch, shape, 400)  # tables of ops and dtypes are filled once
    small, nodes = counted(monkeypatch, shape, 400)
    large, more = counted(monkeypatch, shape, 1600)
    assert 3 < more / nodes < 5
    assert large / more < 1.25 * small / nodes


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_kernels_are_bounded(shape):
    """However long the program: what one kernel reads, stores and computes."""
    fn = function(shape(3000))
    for _ in range(2):
        fn(data())
    prepared, why = fn.prepared(data())
    assert prepared is not None, why
    forms = dict(prepared.forms)
    for r in forms["fuse"].order:
        assert isinstance(r, Region) and r.cost <= MAX_COST + 64 and len(r.reads) <= MAX_READS
        assert r.stored <= MAX_WRITES
    for k in prepared.result.plan.steps:
        stores = len(getattr(k, "writes", ()))
        assert stores <= MAX_COST
    assert all(len(path) <= MAX_PATH + 1 for _, path in forms["fuse"].roots.paths.values())
    assert all(len(h) <= MAX_EXTRA for h in forms["assign"].extra.values())


# ---- the cases of the field
def test_a_penalty_over_many_parameters_and_its_update():
    def train(decorate):
        model = hybrid.nn.Module()
        for k in range(300):
            p = hybrid.nn.Parameter(hybrid.ones((3,)) * float(k % 7))
            setattr(model, f"p{k}", p)
        opt = hybrid.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            loss = x.sum()
            for p in model.parameters():
                loss = loss + (p * p).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss.detach()

        fn = decorate(step)
        out = [fn(data()).item() for _ in range(5)]
        return out, [p.tolist() for p in model.parameters()], fn

    want, state, _ = train(lambda f: f)
    got, after, fn = train(function)
    assert (got, after) == (want, state)
    assert fn.cache_info().replays == 3, fn.explain()


@pytest.mark.parametrize("n", [500, 20_000])
def test_writes_through_views_of_views(n):
    def plain(x):
        base = x * 1.0
        view = base
        for k in range(n):
            view = view.T if k % 3 else view.reshape((4, 2) if view.shape == (2, 4) else (2, 4))
        view.assign(view * 2)
        view += 1
        return base, view

    base, view = plain(data())
    assert base.tolist() == [[2 * v + 1 for v in row] for row in X]
    if n < 1000:
        want, fn = bits(plain(data())), function(plain)
        for _ in range(4):
            assert bits(fn(data())) == want
        assert fn.cache_info().replays == 2, fn.explain()


def test_deep_tapes():
    w = hybrid.ones((4,))
    w.requires_grad_()

    def deep(n):
        t = w
        for _ in range(n):
            t = t * 1.0 + 0.0
        return t

    deep(60_000)  # let go at once: 120,000 entries deep
    t = deep(10_000)
    t.sum().backward()
    assert w.grad.tolist() == [1.0] * 4
    (g,) = hybrid.autograd.backward.gradients(deep(2000).sum(), w, create_graph=True)
    assert g.tolist() == [1.0] * 4
    step = function(lambda x: x * 1.0 + 0.0)
    t = w
    for _ in range(5000):  # a tape of recorded calls
        t = step(t)
    w.grad = None
    t.sum().backward()
    assert w.grad.tolist() == [1.0] * 4
    t = None


def test_results_nested_too_deep_run_eagerly():
    def nest(x):
        out = [x * 2.0]
        for _ in range(300):
            out = [out]
        return out

    fn = function(nest)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(4):
            got = fn(data())
    while isinstance(got, list):
        (got,) = got
    assert got.tolist() == (data() * 2.0).tolist()
    assert len(said) == 1 and "nested more than" in str(said[0].message)


# ---- graphs as text, checked, drawn, rebuilt
def recorded(make, n: int) -> Graph:
    fn = function(make(n))
    for _ in range(2):
        fn(data())
    prepared, why = fn.prepared(data())
    assert prepared is not None, why
    return prepared.forms[0][1]


@pytest.mark.parametrize("make", [chain, fibonacci, pieces, slices], ids=lambda f: f.__name__)
def test_graphs_of_many_nodes_print_parse_verify_and_draw(make):
    g = recorded(make, 4000)
    text = print_graph(g)
    h = parse_graph(text)
    assert print_graph(h) == text and len(h.nodes) == len(g.nodes)
    assert verify(g) is g and rewrite(g, lambda n, ins: None) is g
    assert len(list(dependencies(g.outputs))) == len(g.nodes)
    shown = pipeline.optimize(g)[0]
    assert verify(shown) is shown
    assert len(hybrid.ir.graph.draw.Shown.of(g)._repr_html_()) < 40 * len(text)
