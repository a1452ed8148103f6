"""Random nests of branches and loops with state and random numbers: plain and recorded, bit for bit."""

import linecache
import random

import numpy as np
import pytest

import hybrid as h

CONSTANTS = ([0.5, -1.25, 2.0], [1.0, 0.0, -0.0], [3.5, -2.0, 0.25])
DEEPEST = 3


class Writer:
    """Writes one program: functions of x, y (three elements) and n (a number of steps)."""

    def __init__(self, seed):
        self.random, self.count = random.Random(seed), 0

    def pick(self, items):
        return self.random.choice(items)

    def fresh(self):
        self.count += 1
        return f"v{self.count}"

    def expression(self, names):
        a, b, w = self.pick(names), self.pick(names), f"W[{self.random.randrange(3)}]"
        forms = f"h.sin({a})|({a} * {b} * 0.5)|({a} + {w})|h.where({a} > 0, {a}, {b} * 0.5)|{a}"
        forms += f"|({a}[::-1] * 0.9)|h.tanh({a} - {b})|({a}.sum() * 0.1 + {b})"
        return self.pick([*forms.split("|"), f"h.concat([{a}[1:], {b}[:1]])"])

    def block(self, names, depth, indent):
        """Lines, and the names that they define or may use."""
        lines, names = [], list(names)
        for _ in range(self.random.randrange(1, 4)):
            kinds = [self.plain] * 3 + [self.state, self.draw]
            if depth < DEEPEST:
                kinds += [self.cond, self.loop, self.scan, self.counted, self.switch]
            made, new = self.pick(kinds)(names, depth, indent)
            lines += made
            names += new
        return lines, names

    def inner(self, head, names, depth, indent, result):
        """A function: its lines, with what `result` makes of its names."""
        lines, inside = self.block(names, depth + 1, indent + 1)
        last = (indent + 1) * " " + f"return {result(inside)}"
        return [indent * " " + f"def {head}:", *lines, last]

    def plain(self, names, depth, indent):
        name = self.fresh()
        return [indent * " " + f"{name} = {self.expression(names)}"], [name]

    def state(self, names, depth, indent):
        name, start = self.fresh(), indent * " "
        written = f"STATE.assign(STATE * 0.5 + {self.pick(names)})"
        return [start + written, start + f"{name} = STATE * 1.0"], [name]

    def draw(self, names, depth, indent):
        name = self.fresh()
        return [indent * " " + f"{name} = h.rand(3, generator=GEN) + {self.pick(names)}"], [name]

    def cond(self, names, depth, indent):
        name = self.fresh()
        lines = []
        for way in "tf":
            both = lambda inside: f"{self.pick(inside)}, {self.pick(inside)}"  # noqa: E731
            lines += self.inner(f"{name}{way}()", names, depth, indent, both)
        test = f"{self.pick(names)}.sum() > {self.pick(['0', 'n * 0.3', '-1'])}"
        lines.append(indent * " " + f"{name}, {name}b = h.cond({test}, {name}t, {name}f)")
        return lines, [name, name + "b"]

    def loop(self, names, depth, indent):
        name, start = self.fresh(), indent * " "
        carry = [self.pick(names) for _ in range(self.random.randrange(1, 4))]
        mine = [f"{name}c{k}" for k in range(len(carry))]
        lines = [start + f"def {name}t(c): return c[0] < {self.pick(['n', 'n', '2', 'n % 3'])}"]
        body = self.inner(
            f"{name}b(c)", names + mine, depth, indent,
            lambda inside: ", ".join(["i + 1", *[self.pick(inside) for _ in carry]]),
        )  # fmt: skip
        body.insert(1, start + f" i, {', '.join(mine)} = c")
        call = f"h.while_loop({name}t, {name}b, (0, {', '.join(carry)}))"
        return [*lines, *body, start + f"_, {', '.join(mine)} = {call}"], mine

    def scan(self, names, depth, indent):
        name, start = self.fresh(), indent * " "
        lines = self.inner(
            f"{name}s({name}c, {name}x)", [*names, name + "c", name + "x"], depth, indent,
            lambda inside: f"{self.pick(inside)}, ({self.pick(inside)}, {name}x)",
        )  # fmt: skip
        rows = f"h.stack([{self.pick(names)}, {self.pick(names)}] * {self.pick([1, 18, 20])})"
        call = f"h.scan({name}s, {self.pick(names)}, {rows}, reverse={self.pick([True, False])})"
        lines.append(start + f"{name}, ({name}y, {name}z) = {call}")
        lines.append(start + f"{name}y = {name}y[{self.pick([0, -1])}] + {name}z[0] * 0.1")
        return lines, [name, name + "y"]

    def counted(self, names, depth, indent):
        name = self.fresh()
        lines = self.inner(
            f"{name}s(i, {name}c)", [*names, name + "c"], depth, indent,
            lambda inside: f"{self.pick(inside)} * 0.7 + i",
        )  # fmt: skip
        bounds = self.pick(["0, n", "0, 34", "n, 4", "2, 5"])
        call = f"{name} = h.fori_loop({bounds}, {name}s, {self.pick(names)})"
        return [*lines, indent * " " + call], [name]

    def switch(self, names, depth, indent):
        name, lines = self.fresh(), []
        for k in range(3):
            lines += self.inner(f"{name}s{k}()", names, depth, indent, self.pick)
        call = f"{name} = h.switch(n, [{name}s0, {name}s1, {name}s2])"
        return [*lines, indent * " " + call], [name]

    def program(self):
        lines, names = self.block(["x", "y"], 0, 1)
        more, names = self.block(names, 0, 1)
        result = f" return {', '.join(self.pick(names) for _ in range(3))}"
        return "\n".join(["def program(x, y, n):", *lines, *more, result, ""])


def left_by(function, state, generator, counts):
    """What calls give and leave: NaN equals NaN, everything else by its bits."""
    state.assign(h.zeros(3))
    generator.manual_seed(0)
    x, y, found = h.tensor([0.3, -0.2, 0.9]), h.tensor([1.0, 0.5, -0.75]), []
    for count in counts:
        values = [np.array(t) for t in (*function(x, y, h.tensor(count)), state)]
        found.append([np.where(np.isnan(v), np.float32(np.nan), v).tobytes() for v in values])
        found.append(generator.get_state().tolist())
    return found


@pytest.mark.parametrize("seed", range(14))
def test_random_programs(seed):
    text, name = Writer(seed).program(), f"/tmp/control_flow_{seed}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    state, generator = h.zeros(3), h.Generator(0)
    space = {"h": h, "W": list(map(h.tensor, CONSTANTS)), "STATE": state, "GEN": generator}
    exec(compile(text, name, "exec"), space)
    program = space["program"]
    counts = [random.Random(seed * 100 + k).randrange(6) for k in range(7)]
    traced = h.function(program)
    expected = left_by(program, state, generator, counts)
    assert left_by(traced, state, generator, counts) == expected, text
    replays, records, eager, *_ = traced.cache_info()  # what is met first may take one more
    assert replays + records == 7 and records <= 3 and not eager, traced.explain()
