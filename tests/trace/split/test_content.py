"""Functions whose data is new in each call: they are cut where Python looks at it, and do what the
plain ones do: results, state, output, exceptions, lines."""

from __future__ import annotations

import argparse
import gc
import random
import traceback
import weakref

import numpy as np
import pytest
from ordinary import programs
from ordinary.run import Turns
from worlds import into, played

import hybrid as hb
from hybrid import nn, optim
from hybrid.trace.split import linking
from hybrid.trace.split.content import content_sites
from hybrid.trace.split.places import flow_of
from hybrid.trace.split.splitting import PIECES

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
]
CALLS = 60
ERRORS = LookupError, hb.HybridError, ZeroDivisionError


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(linking, "WORTH", 0.0)
    monkeypatch.setattr(linking, "RENEWED", 0.0)
    before, PIECES[0] = PIECES[0], "always"
    yield
    PIECES[0] = before


PROGRAMS = {}


# `program(n)`: of n pieces operations are in a plan at least
program = into(PROGRAMS)


def vector(k, *shape):
    return hb.tensor(np.random.default_rng(k).standard_normal(shape or (4,)).astype("f4"))


def numbers(k, most=9, count=4):
    pick = random.Random(k)
    return [pick.randrange(most) for _ in range(count)]


@program(1)
def words(function):
    table, ids = nn.Embedding(40, 4), {}

    @function
    def fn(text):
        found = [ids.setdefault(word, len(ids)) for word in text.split()]
        rows = table(hb.tensor(found))
        return (rows * rows).sum(axis=0).tanh() + len(text)

    pool = "the cat sat on a mat while dogs ran".split()
    call = lambda k: fn(" ".join(random.Random(k).choices(pool, k=4)))  # noqa: E731
    return call, fn, lambda: ids


@program(1)
def trained_on_lists(function):
    model = nn.Linear(4, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.05)

    @function
    def fn(rewards, x):
        returns, running = [], 0.0
        for reward in reversed(rewards):
            running = reward + 0.9 * running
            returns.insert(0, running)
        advantage = hb.tensor(returns)
        loss = (model(x).tanh().sum(axis=1) * (advantage - advantage.mean())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    call = lambda k: fn([v / 7 for v in numbers(k)], vector(k, 4, 4))  # noqa: E731
    return call, fn, model.state_dict


@program(2)
def options(function):
    w = vector(0)

    @function
    def fn(given, x):
        names = sorted(vars(given))
        y = (x * hb.tensor([given.gamma**k for k in range(4)]) + w).tanh()
        z = y * len(names) / given.temperature
        return (z.sigmoid() + w).exp()

    def call(k):
        pick = random.Random(k)
        given = argparse.Namespace(gamma=pick.random(), temperature=1 + pick.random())
        return fn(given, vector(k))

    return call, fn, dict


@program(1)
def arguments_that_are_changed(function):
    w = vector(0)

    @function
    def fn(items, table, x):
        items.append(len(items))
        table["seen"] = sorted(items)
        y = (x * sum(items) + w).tanh() * w
        items.append(table.pop("last"))
        x += y
        table["after"] = items[::-1]
        return y.exp() + x

    def call(k):
        items, table, x = numbers(k), {"last": k}, vector(k)
        result = fn(items, table, x)
        return result, items, table, x, table["seen"] is items

    return call, fn, dict


@program(1)
def one_object_in_two_places(function):
    w = vector(0)

    @function
    def fn(left, right, x, y):
        left.append(7)
        same = len(right), sum(left)
        z = (x + w) * y
        x *= 2.0
        total = (z + y).tanh() * w
        right.append(8)
        return total, same, list(left), y

    def call(k):
        items, x = numbers(k), vector(k)
        if k % 3:
            return fn(items, items, x, x)
        return fn(items, numbers(k + 1), x, vector(k + 1))

    return call, fn, dict


@program(1)
def loops_over_records(function):
    w, log = vector(0), []

    @function
    def fn(records):
        total = w * 2
        for record in records:
            if record["kind"] == "stop":
                break
            log.append(record["kind"])
            scale = float(record["by"]) * 0.5
            total = (total * scale + w).tanh()
        return total.sum(), len(log)

    def call(k):
        pick = random.Random(k)
        kinds = ["plus", "minus", "stop"]
        return fn([{"kind": pick.choice(kinds), "by": str(pick.random())} for _ in range(4)])

    return call, fn, lambda: log


@program(0)  # a function inside shares what it counts
def iterators_and_closures(function):
    w = vector(0)

    @function
    def fn(items, x):
        count = 0

        def bump(by):
            nonlocal count
            count += by
            return count

        head = [bump(next(items)) for _ in range(2)]
        y = (x * w + hb.tensor(head).sum()).tanh()
        rest = sorted(items)
        return (y + w).exp() * w, rest, bump(len(rest))

    return lambda k: fn(iter(numbers(k)), vector(k)), fn, dict


@program(1)
def errors_of_data_and_of_operations(function):
    w = vector(0)

    @function
    def fn(text, x):
        size = {"a": 4, "b": 4, "c": 3}[text[0]]
        y = (x[:size] + w).tanh() * w
        return (y.exp() + w) * (6 / len(text[1:]))

    return lambda k: fn("abcd"[numbers(k, 4)[0]] + "x" * numbers(k, 5)[1], vector(k)), fn, dict


@program(1)
def read_and_put_into_text(function):
    model = nn.Linear(4, 3)

    @function
    def fn(days, sales):
        x = hb.tensor(np.array([[len(d), sum(map(ord, d)) / 99, 0.0, 1.0] for d in days], "f4"))
        predicted = model(x).sum(axis=1)
        late = max(days)
        error = (predicted - hb.tensor(sales)).abs()
        return f"{late}: {error.mean().item():.4f}", predicted

    def call(k):
        days = ["x" * n + str(k) for n in numbers(k)]
        return fn(days, [v / 3 for v in numbers(k + 1)])

    return call, fn, dict


@program(1)
def arguments_in_all_forms(function):
    w = vector(0)

    @function
    def fn(name, *more, by=1.0, **named):
        size = len(name) + len(more) + len(named)
        y = (w * size + hb.tensor([float(len(key)) for key in sorted(named)] or [0.0]).sum()).tanh()
        return y * by + w, sorted(named), more

    def call(k):
        named = {f"key{n}": n for n in numbers(k)}
        return fn(str(k), *numbers(k, count=k % 3), by=k / 7, **named)

    return call, fn, dict


@program(1)
def iterators_that_are_used_up(function):
    w = vector(0)

    @function
    def fn(items, x):
        head = [next(items) for _ in range(2)]
        y = (x * w + hb.tensor(head).sum()).tanh()
        rest = sorted(items)
        return (y * len(rest) + w).exp() * w, rest

    return lambda k: fn(iter(numbers(k, count=3 + k % 3)), vector(k)), fn, dict


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, grad):
    make, pieces = PROGRAMS[name]
    if name == "trained_on_lists" and not grad:
        return
    kept = []

    def noted(function):
        call, fn, state = make(function)
        kept.append(fn)
        return call, state

    played(noted, CALLS, grad)
    told = kept[-1].explain().splitlines()
    plans = [t for t in told if "operations in a plan" in t and "0 operations" not in t]
    assert len([t for t in plans if t.strip().startswith("from ")]) >= pieces, kept[-1].explain()
    assert not pieces or kept[-1].cache_info().replays > CALLS // 3


def test_errors_are_told_on_the_lines_of_the_program():
    told = []
    for function in (lambda fn: fn, hb.function):
        call, fn, _ = errors_of_data_and_of_operations(function)
        for k in range(CALLS):
            try:
                call(k)
            except ERRORS:
                pass
        for text in ("zzz", "cxx", "a", ""):
            with pytest.raises(ERRORS) as caught:
                fn(text, vector(1))
            frames = traceback.extract_tb(caught.value.__traceback__)
            inside = [(f.lineno, f.name) for f in frames if f.filename == __file__]
            told.append((text, type(caught.value), str(caught.value), inside))
    assert told[:4] == told[4:]


def test_arguments_live_no_longer_than_in_plain_calls():
    class Item:
        pass

    w, alive = vector(0), []

    @hb.function
    def fn(items, x):
        size = len(items)
        return (x * size + w).tanh() * w

    for k in range(CALLS):
        items = [Item() for _ in range(k % 5 + 1)]
        alive.append(weakref.ref(items[0]))
        fn(items, vector(k))
        del items
        assert alive[-1]() is None, k


def test_a_function_that_is_dropped_is_freed():
    call, fn, _ = words(hb.function)
    for k in range(CALLS):
        call(k)
    assert fn._linked is not None and fn._linked.verdict == "linked"
    pieces = [weakref.ref(f) for f in fn._linked.inner.decorated()]
    assert pieces
    del call, fn
    gc.collect()
    assert not [1 for piece in pieces if piece() is not None]


def first_cuts(fn):
    """What is put before the operation `op` of a function, in its first piece."""
    code = fn.__code__
    calls = [s.offset for s in flow_of(code).steps if s.name == "CALL" and op_line(code, s)]
    found = content_sites(code, dict.fromkeys(calls, "operation"))
    return sorted(line(code, at) for at, kind in found.items() if kind == "read")


def line(code, at):
    return list(code.co_positions())[at // 2][0] - code.co_firstlineno


def op_line(code, step):
    return line(code, step.offset) in (3, 5)


def test_operations_begin_behind_the_last_look_at_data():
    def one(text, op):
        found = [ord(c) for c in text]
        if found:
            return op(found)
        text = text.upper()
        return op(text)

    assert first_cuts(one) == [2, 4]


def test_names_that_look_at_an_argument_are_no_frames():
    def attributes(given, x):
        return sorted(vars(given)), x

    def bound(given):
        return vars()

    def handed(given):
        return list(map(vars, given))

    assert not isinstance(flow_of(attributes.__code__), str)
    assert flow_of(bound.__code__) == flow_of(handed.__code__) == "calls vars"


ORDINARY = (
    *("padded_to_longest", "policy_gradient", "tokenizer_and_model", "collated_samples"),
    *("padded_with_mask", "recall_at_five", "observation_normalizer", "windows_of_a_series"),
    *("dropped_words", "namespace_of_options", "losses_weighted_by_config", "overlap_of_tags"),
    *("records_of_people", "sorted_vocabulary", "request_in_json", "packets_of_bytes"),
)


@pytest.mark.parametrize("name", ORDINARY)
def test_operations_of_ordinary_programs_are_in_plans(name):
    turns = Turns(programs()[name])
    assert not turns.play(CALLS)
    (fn,) = turns.traced.functions
    # no clock chose: what is left is whether each operation is replayed
    assert fn._linked is not None and fn._linked.verdict == "linked", fn.explain()
    ran = fn._linked.calls
    turns.play(CALLS + 10)
    inside = [s for inner in fn._linked.inner.codes.values() for s in inner.splits.values()]
    plans = [step for split in inside for step in split.steps.values() if not step.plain]
    assert plans and all(step.standing.replays > ran // 4 for step in plans), fn.explain()


def test_signatures_that_come_again_are_left_to_replays(monkeypatch):
    """Only functions whose data is new in each call are cut for that."""
    monkeypatch.setattr(linking, "RENEWED", 0.9)
    PIECES[0] = "auto"
    w = vector(0)
    fn = hb.function(lambda key, x: (x * len(key) + w).tanh() * w)
    for k in range(60):
        fn("ab" * (1 + k % 7), vector(k))
    assert fn._linked is None or not fn._linked.inner.content
    assert fn.cache_info().replays > 20
