"""Decorated functions whose data is new in each call: the functions that they call are replayed,
and they do what the plain ones do: results, state, exceptions, gradients."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import threading
import traceback
import weakref

import linked_programs
import pytest
from linked_programs import (
    CALLS,
    PROGRAMS,
    Node,
    cells_of_a_recursive_function,
    errors_out_of_cells,
    grown,
)
from worlds import played

import hybrid as hb
from hybrid import nn
from hybrid.trace.split import inner, linking
from hybrid.trace.split.splitting import PIECES

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
]


@pytest.fixture(autouse=True)
def always():
    before, PIECES[0] = PIECES[0], "always"
    yield
    PIECES[0] = before


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, grad):
    make, native = PROGRAMS[name]
    if name == "trained" and not grad:
        return
    call = played(make, CALLS, grad)
    linked = call.fn._linked
    if native:
        assert linked.native, call.fn.explain()
        info = call.fn.cache_info()
        assert info.replays > CALLS // 3 and "with replays of functions" in call.fn.explain()


def test_gradients_of_results_are_those_of_plain_calls():
    plain = lambda fn: fn  # noqa: E731
    results = []
    for function in (plain, hb.function):
        hb.manual_seed(0)
        table, cell = nn.Embedding(10, 6), nn.Linear(12, 6)

        def joined(a, b, cell=cell):
            x = cell(hb.concat([a, b]))
            return x.tanh() * x.sigmoid() + a

        def node(tree, table=table, joined=joined):
            if not tree.children:
                return table(hb.tensor(tree.word))
            left, right = tree.children
            return joined(node(left), node(right))

        fn, seen = function(lambda tree, node=node: node(tree).sum()), []
        for k in range(40):
            loss = fn(grown(k))
            loss.backward()
            grads = [p.grad.numpy().tobytes() for p in (*table.parameters(), *cell.parameters())]
            seen.append((loss.item(), grads))
        results.append(seen)
    assert results[0] == results[1]


def deep(depth):
    tree = Node(1)
    for k in range(depth):
        tree = Node(None, (tree, Node(k % 10)))
    return tree


@pytest.mark.parametrize("name", ["cells_of_a_recursive_function", "a_module_that_calls_itself"])
def test_recursion_reaches_as_deep_as_python_allows(name):
    assert sys.getrecursionlimit() <= 1000
    hb.manual_seed(0)
    plain = PROGRAMS[name][0](lambda fn: fn)[0]
    hb.manual_seed(0)
    call = PROGRAMS[name][0](hb.function)[0]
    for k in range(CALLS):
        call(k)
    assert call.fn._linked.native
    tree = deep(200)
    assert call.fn(tree).tolist() == plain.fn(tree).tolist()


def test_tracebacks_show_the_frames_of_the_program():
    call, _ = errors_out_of_cells(hb.function)
    plain, _ = errors_out_of_cells(lambda fn: fn)
    for _ in range(CALLS):
        with contextlib.suppress(Exception):
            call(4)
    told = []
    for fn in (call.fn, plain.fn):
        with pytest.raises(hb.HybridError) as caught:
            fn([1, 2, 7])
        frames = traceback.extract_tb(caught.value.__traceback__)
        told.append([(f.lineno, f.name) for f in frames if f.filename == linked_programs.__file__])
    assert told[0] == told[1] and len(told[0]) == 3


def test_threads():
    call, _ = cells_of_a_recursive_function(hb.function)
    for k in range(CALLS):
        call(k)
    want = [call.fn.fn(grown(k)).tolist() for k in range(30)]
    got = [[None] * 30 for _ in range(4)]

    def work(mine):
        for k in range(30):
            mine[k] = call(k).tolist()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == want for mine in got)


def test_functions_and_what_they_hold_go():
    call, _ = cells_of_a_recursive_function(hb.function)
    for k in range(CALLS):
        call(k)
    held = weakref.ref(call.fn)
    del call
    gc.collect()
    assert held() is None


def test_a_function_made_in_each_call_goes_with_it():
    w, alive = hb.tensor([0.5, -0.25, 1.0]), []

    class Held:
        pass

    def run(items):
        held = Held()
        alive.append(weakref.ref(held))

        def go(k):
            mine = held
            x = (w * k).tanh() + (w - k).sigmoid()
            return x + go(k - 1) if k and mine is not None else x

        return go(len(items))

    fn = hb.function(lambda items: run(items))
    for k in range(CALLS):
        fn("x" * (k % 5) + str(k))
    gc.collect()
    assert sum(reference() is not None for reference in alive[:-1]) <= 1


def test_inside_of_a_recorded_function_it_is_part_of_that():
    call, _ = cells_of_a_recursive_function(hb.function)
    for k in range(CALLS):
        call(k)
    tree = grown(3)
    around = hb.function(lambda x: call.fn(tree) * x)
    x = hb.ones(6)
    want = (call.fn.fn(tree) * x).tolist()
    for _ in range(6):
        assert around(x).tolist() == want
    assert around.cache_info().replays == 4


def test_an_error_of_hybrid_s_own_work_does_not_reach_the_call(monkeypatch):
    def broken(*given):
        raise RuntimeError("no code")

    plain, _ = cells_of_a_recursive_function(lambda fn: fn)
    want = [plain(k).shape for k in range(CALLS)]
    for name in ("link_code", "ran", "settle"):
        with monkeypatch.context() as patch:
            patch.setattr(inner.InnerFunctions, name, broken)
            call, _ = cells_of_a_recursive_function(hb.function)
            assert [call(k).shape for k in range(CALLS)] == want


def test_a_debugger_in_a_callee_sees_the_function_itself():
    w, seen = hb.tensor([0.5, -0.25, 1.0]), []

    def look():
        seen.append(sys._getframe(1).f_code)

    def cell(a, b):
        return (a * b + w).tanh() + (a - b).sigmoid()

    def run(item):
        look()
        return cell(w, w * len(item)) if len(item) > 2 else run(item + "x")

    fn = hb.function(lambda item: run(item))
    for k in range(CALLS):
        fn(str(k))
    assert {id(code) for code in seen} == {id(run.__code__)}


class _Settled:
    """Inner functions of which nothing more is recorded."""

    news, hopeful, recursive = 0, True, False

    def settle(self):
        pass

    relink = settle


@pytest.mark.parametrize(
    "factor, least, most", [(0.35, 19, 20), (0.8, 5, 20), (1.0, 0, 6), (1.3, 0, 1)]
)
def test_sizes_that_vary_do_not_make_linked_code_faster(factor, least, most):
    """Calls of any size, some ten times as long as others: it is faster, or it was chance."""
    PIECES[0], won = "auto", 0
    for seed in range(20):
        sizes, linked = random.Random(seed), linking.Linked(_Settled())
        turns = []
        while not linked.verdict:
            turns.append(linked.turn())
            linked.ended(turns[-1], sizes.uniform(1, 10) * (factor if turns[-1] == "linked" else 1))
        assert turns.count("eager") <= linking.MOST_TURNS
        won += linked.verdict == "linked"
    assert least <= won <= most


def test_linked_code_that_was_faster_is_compared_again():
    PIECES[0] = "auto"
    linked, factor = linking.Linked(_Settled()), 0.3
    verdicts = []
    for _ in range(40 * linking.OFTEN):
        turn = linked.turn()
        linked.calls += turn != "eager"
        linked.ended(turn, factor if turn == "linked" else 1.0)
        verdicts.append(linked.verdict)
        factor = 1.2 if "linked" in verdicts else factor
    assert "linked" in verdicts
    assert linked.verdict == "whole"
