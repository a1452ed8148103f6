"""Programs whose data is new in each call, and that call functions again and again."""

from __future__ import annotations

import functools
import random

from worlds import into

import hybrid as hb
from hybrid import nn, optim

CALLS = 60


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


PROGRAMS = {}


def noted(call, fn):
    """A call of a program, with the function that it calls."""
    call.fn = fn
    return call


# `program(native)`: whether its calls end as replays
program = into(PROGRAMS)


def cell_of(size=6):
    layer = nn.Linear(2 * size, 3 * size)

    def cell(lc, lh, rc, rh):
        i, f, o = hb.split(layer(hb.concat([lh, rh])), 3)
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
    return noted(call, fn), model.state_dict


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
    return noted(call, encode), dict


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

    return noted(call, fn), dict


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

    holder, space, code = Holder(), {"cell": one}, one.__code__

    def run(items):
        total = w
        for item in items:
            total = space["cell"](total, w * item) + holder.step(total, w)
        return total

    fn = function(lambda items: run(items))

    def call(k):
        if k == 20:
            space["cell"] = other
        if k == 25:
            holder.step = lambda a, b: one(b, a) - 1
        if k == 30:
            vars(holder).clear()
            Holder.step = lambda self, a, b: other(a, b) * 3 + w
        if k == 35:
            space["cell"], one.__defaults__ = one, (0.5,)
        if k == 40:
            one.__code__ = other.__code__
        if k == 45:
            one.__code__ = code
        return fn([0.1 * j * k for j in range(k % 7 + 1)])

    return noted(call, fn), dict


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
    return noted(call, fn), lambda: (counts, log)


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
    return noted(call, fn), dict


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
    return noted(call, fn), dict


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
    return noted(call, fn), dict


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
    return noted(call, fn), dict


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
    return noted(call, step), model.state_dict


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

    return noted(call, fn), lambda: (seen, model.state_dict())
