"""Decorated functions whose data is new in each call: the functions that they call are replayed,
and they do what the plain ones do: results, state, exceptions, gradients."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import random
import sys
import threading
import traceback
import weakref
from contextlib import redirect_stdout

import pytest
from frozen import difference, frozen

import hybrid as hb
from hybrid import nn, optim
from hybrid.trace.split.splitting import PIECES

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
]
CALLS = 60


@pytest.fixture(autouse=True)
def always():
    before, PIECES[0] = PIECES[0], "always"
    yield
    PIECES[0] = before


class Node:
    def __init__(self, word=None, children=()):
        self.word, self.children = word, children


def grown(k, least=2, most=9):
    pick = random.Random(k)

    def grow(leaves):
        if leaves == 1:
            return Node(pick.randrange(10))
        left = pick.randrange(1, leaves)
        return Node(None, (grow(left), grow(leaves - left)))

    return grow(pick.randrange(least, most))


def played(program, calls=CALLS, grad=True):
    """The decorated function of a program, which did in each call what the plain one did."""
    worlds = []
    for decorate in (lambda fn: fn, hb.function):
        hb.manual_seed(0)
        random.seed(0)
        call, state = program(decorate)
        seen = []
        for k in range(calls):
            scope = contextlib.nullcontext() if grad else hb.no_grad()
            with scope, redirect_stdout(io.StringIO()) as text:
                try:
                    result = call(k)
                except Exception as error:
                    result = type(error), str(error)
            seen.append((frozen(result), text.getvalue(), frozen(state())))
        worlds.append((call, seen))
    (_, plain), (made, other) = worlds
    for k, (one, two) in enumerate(zip(plain, other)):
        assert not difference(one, two), f"call {k}: {difference(one, two)}"
    return made


PROGRAMS = {}


def program(native):
    """Note a program: a function of what decorates; `native`: whether its calls end as replays."""

    def note(make):
        PROGRAMS[make.__name__] = make, native
        return make

    return note


def cell_of(size=6):
    layer = nn.Linear(2 * size, 3 * size)

    def cell(lc, lh, rc, rh):
        i, f, o = hb.split(layer(hb.concat([lh, rh])), size)
        c = i.sigmoid() * (lc + rc) + f.sigmoid() * lc
        return c, o.sigmoid() * c.tanh()

    return cell


@program(True)
def cells_of_a_recursive_function(function):
    table, cell = nn.Embedding(10, 6), cell_of()

    def leaf(word):
        x = table(word)
        return x.tanh(), x.sigmoid() * x

    def node(tree):
        if not tree.children:
            return leaf(hb.tensor(tree.word))
        left, right = tree.children
        return cell(*node(left), *node(right))

    fn = function(lambda tree: node(tree)[1])
    fn_of = lambda k: fn(grown(k))  # noqa: E731
    fn_of.fn = fn
    return fn_of, dict


@program(True)
def a_module_that_calls_itself(function):
    class Tree(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.join = nn.Embedding(10, 6), nn.Linear(12, 6)

        def forward(self, tree):
            if not tree.children:
                return self.table(hb.tensor(tree.word)).tanh() * 2
            return self.join(hb.concat([self(child) for child in tree.children])).tanh()

    model = Tree()
    fn = function(lambda tree: model(tree))
    call = lambda k: fn(grown(k))  # noqa: E731
    call.fn = fn
    return call, model.state_dict


@program(True)
def decorated_recursion(function):
    table, join = nn.Embedding(10, 6), nn.Linear(12, 6)

    @function
    def encode(tree):
        if isinstance(tree, int):
            return table(hb.tensor(tree)).tanh()
        left, right = map(encode, tree)
        return join(hb.concat([left, right])).tanh()

    def grow(pick, depth):
        if not depth or pick.random() < 0.2:
            return pick.randrange(10)
        return grow(pick, depth - 1), grow(pick, depth - 1)

    call = lambda k: encode((grow(random.Random(k), 3), k % 10))  # noqa: E731
    call.fn = encode
    return call, dict


@program(None)
def an_interpreter_of_methods_and_handlers(function):
    w = hb.tensor([0.5, -0.25, 1.0])

    class Machine:
        scale = 2.0

        def __init__(self):
            self.known = {"add": self.add, "mul": self.mul, "act": act}

        def add(self, a, b, *, by=1.0):
            return (a + b) * by + w

        def mul(self, a, b):
            return (a * b - w).tanh() * self.scale

        def run(self, expr):
            if isinstance(expr, float):
                return w * expr
            name, *args = expr
            given = [self.run(arg) for arg in args]
            return self.known[name](*given)

    def act(a):
        return (a.sigmoid() + w).exp()

    machine = Machine()
    fn = function(lambda expr: machine.run(expr))

    def grow(pick, depth):
        if not depth:
            return pick.choice([0.5, 1.5, 2.5])
        name = pick.choice(["add", "mul", "act"])
        return (name, *[grow(pick, depth - 1) for _ in range(1 + (name != "act"))])

    def call(k):
        Machine.scale = 2.0 if k < 40 else 3.0
        return fn(grow(random.Random(k), 1 + k % 4))

    call.fn = fn
    return call, dict


@program(None)
def cells_that_are_replaced(function):
    w = hb.tensor([0.5, -0.25, 1.0])

    def one(a, b, by=1.0):
        return (a * b + w).tanh() * by

    def other(a, b, by=1.0):
        return (a - b * w).sigmoid() - by

    class Holder:
        def step(self, a, b):
            return one(a, b) * 2 + w

    holder, space = Holder(), {"cell": one}

    def run(items):
        total = w
        for item in items:
            total = space["cell"](total, w * item) + holder.step(total, w)
        return total

    fn = function(lambda items: run(items))
    code = one.__code__

    def call(k):
        if k == 20:
            space["cell"] = other
        if k == 25:
            holder.step = lambda a, b: one(b, a) - 1
        if k == 30:
            del holder.step
            Holder.step = lambda self, a, b: other(a, b) * 3 + w
        if k == 35:
            space["cell"] = one
            one.__defaults__ = (0.5,)
        if k == 40:
            one.__code__ = other.__code__
        if k == 45:
            one.__code__ = code
            one.__kwdefaults__ = None
        return fn([0.1 * j * k for j in range(k % 7 + 1)])

    call.fn = fn
    return call, dict


@program(None)
def a_cell_with_state(function):
    w, log = hb.tensor([0.5, -0.25, 1.0]), []
    counts = {"calls": 0}

    def cell(a, b):
        counts["calls"] += 1
        return (a * b + w).tanh() + (a - b).sigmoid() * counts["calls"]

    def run(items):
        total = w
        for item in items:
            total = cell(total, item)
        log.append(len(items))
        return total

    fn = function(lambda items: run(items))
    call = lambda k: fn([w * (0.1 * j + k) for j in range(k % 6 + 1)])  # noqa: E731
    call.fn = fn
    return call, lambda: (counts, log)


@program(None)
def errors_out_of_cells(function):
    w = hb.tensor([0.5, -0.25, 1.0])

    def cell(a, b):
        c = (a * b + w).tanh() + (a - b).sigmoid()
        return c + hb.ones(4) if b.shape == (1,) else c

    def run(items):
        total = w
        try:
            for item in items:
                if item == 13:
                    raise KeyError(item)
                total = cell(total, w * item if item != 7 else hb.ones(1))
        except KeyError as error:
            total = total * len(str(error))
        finally:
            total = total + 1
        return total

    fn = function(lambda items: run(items))
    pick = random.Random(3)
    call = lambda k: fn([pick.randrange(20) for j in range(k % 5 + 1)])  # noqa: E731
    call.fn = fn
    return call, dict


@program(None)
def effects_in_cells(function):
    w = hb.tensor([0.5, -0.25, 1.0])

    def shown(a):
        b = (a * w).tanh()
        print(f"{float(b.sum()):.3f}")
        return b + (b * 2).sigmoid() * w

    def inner(a, b):
        return (a * b + w).tanh() + (a - b).sigmoid()

    def outer(a, b):
        print("outer")
        return inner(a, b) * inner(b, a)

    def run(items):
        total = w
        for item in items:
            total = outer(shown(total), w * item)
        return total

    fn = function(lambda items: run(items))
    call = lambda k: fn([0.1 * j * k for j in range(k % 5 + 1)])  # noqa: E731
    call.fn = fn
    return call, dict


@program(None)
def generators_closures_and_partials(function):
    w = hb.tensor([0.5, -0.25, 1.0])

    def cell(a, b, by):
        return (a * b + w).tanh() + (a - b).sigmoid() * by

    def fresh(by):
        return lambda a, b: cell(a, b, by) * 2 + (a * w).exp()

    def each(items, make):
        for item in items:
            yield make(w, w * item)

    def run(items):
        made, total = fresh(len(items)), w
        part, counted = functools.partial(cell, w), 0

        def note(a):
            nonlocal counted, total
            counted += 1
            total = total + a
            return total

        for value in each(items, made):
            note(value)
        note(part(total, counted))
        return total, counted, sum(cell(total, w, j).sum() for j in range(len(items)))

    fn = function(lambda items: run(items))
    call = lambda k: fn([0.1 * j * k for j in range(k % 5 + 1)])  # noqa: E731
    call.fn = fn
    return call, dict


@program(None)
def inheritance_properties_and_decorated_callees(function):
    w = hb.tensor([0.5, -0.25, 1.0])

    class Base:
        def __init__(self, depth):
            self.depth = depth

        def __call__(self, x):
            return self.encode(x) + (x * w).tanh() * self.depth

        def encode(self, x):
            return (x * w).tanh() + (x - w).sigmoid()

        @property
        def child(self):
            return type(self)(self.depth - 1)

        @classmethod
        def made(cls, depth):
            return cls(depth)

        @staticmethod
        def mixed(a, b):
            return (a * b + w).tanh() - (a + b).sigmoid()

    class Derived(Base):
        def encode(self, x):
            own = super().encode(x) * 2
            return own if not self.depth else self.mixed(own, self.child(x))

    helper = function(lambda a: (a * a + w).tanh() - w)
    fn = function(lambda item, x: helper(Derived.made(len(item))(x)) + len(item))
    call = lambda k: fn("x" * (k % 4) + str(k), w * (k % 9))  # noqa: E731
    call.fn = fn
    return call, dict


@program(None)
def trained(function):
    class Tree(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.cell, self.out = nn.Embedding(10, 6), nn.Linear(12, 6), nn.Linear(6, 2)

        def node(self, tree):
            if not tree.children:
                return self.table(hb.tensor(tree.word)).tanh()
            return self.joined(*map(self.node, tree.children))

        def joined(self, left, right):
            x = self.cell(hb.concat([left, right]))
            return x.tanh() * x.sigmoid() + left * right

        def forward(self, tree):
            return self.out(self.node(tree))

    model = Tree()
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(tree, label):
        loss = nn.functional.cross_entropy(model(tree), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    call = lambda k: step(grown(k), hb.tensor(k % 2))  # noqa: E731
    call.fn = step
    return call, model.state_dict


@program(None)
def hooks_and_modes(function):
    first, second = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    seen = []

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.drop = first, second, nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.second(self.first(x).tanh()) + x)

    model = Model()

    def run(items):
        total = hb.zeros(3)
        for item in items:
            total = model(total + item)
        return total

    fn = function(lambda items: run(items))

    def call(k):
        if k == 30:
            first.register_forward_hook(lambda m, args, out: out * 2)
        if k == 40:
            model.register_forward_hook(lambda m, args, out: seen.append(len(args)))
        model.train(k % 3 == 0)
        return fn([0.1 * j * k for j in range(k % 5 + 1)])

    call.fn = fn
    return call, lambda: (seen, model.state_dict())


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, grad):
    make, native = PROGRAMS[name]
    if name == "trained" and not grad:
        return
    call = played(make, grad=grad)
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
        told.append([(f.lineno, f.name) for f in frames if f.filename == __file__][1:])
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
