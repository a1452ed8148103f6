"""Code whose callees pass through a function does what the code does."""

import argparse
import ast
import dataclasses
import difflib
import inspect
import sys
import tokenize
import traceback
import types

import pytest

from hybrid.trace.split.assemble import assemble, steps_of
from hybrid.trace.split.linked import CALLS, linked_code

MODULES = [argparse, ast, dataclasses, difflib, inspect, tokenize]


def linked(code, link, done):
    """All code of a module with all callees linked; `done` counts the calls."""
    steps = steps_of(code)
    for step in steps:
        if isinstance(step.arg, types.CodeType):
            step.arg = linked(step.arg, link, done)
    code, _ = assemble(code, steps)
    calls = [step.offset for step in steps_of(code) if step.name in CALLS]
    made = linked_code(code, calls, link, {})
    if made is None:
        return code
    done.append(len(calls))
    again = [step.arg for step in steps_of(made[0]) if step.name == "LOAD_CONST"]
    done.append(-sum(arg is link for arg in again))
    return made[0]


class Linked:
    """A module in linked code; `seen` are the callees."""

    def __init__(self, module):
        self.seen, self.done = [], []

        def link(callee):
            self.seen.append(callee)
            return callee

        code = compile(inspect.getsource(module), module.__file__, "exec")
        self.module = types.ModuleType(module.__name__)
        self.module.__file__ = module.__file__
        self.module.__package__ = module.__package__
        before = sys.modules[module.__name__]
        sys.modules[module.__name__] = self.module  # dataclasses look here
        try:
            exec(linked(code, link, self.done), vars(self.module))
        finally:
            sys.modules[module.__name__] = before


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_a_module_runs(module):
    made = Linked(module)
    calls, links = sum(n for n in made.done if n > 0), -sum(n for n in made.done if n < 0)
    assert calls > 80 and links > 0.8 * calls
    assert made.seen


def test_modules_do_what_they_do():
    one, other = "a b c\nd\ne f".splitlines(), "a c\nd\nd\nf".splitlines()
    made = Linked(difflib).module
    assert list(made.unified_diff(one, other)) == list(difflib.unified_diff(one, other))
    assert made.HtmlDiff().make_table(one, other) == difflib.HtmlDiff().make_table(one, other)
    source = inspect.getsource(difflib.SequenceMatcher)
    made = Linked(ast).module
    assert made.unparse(ast.parse(source)) == ast.unparse(ast.parse(source))
    lines = iter(source.encode().splitlines(True))
    told = list(Linked(tokenize).module.tokenize(lambda: next(lines, b"")))
    lines = iter(source.encode().splitlines(True))
    assert [tuple(t) for t in told] == [
        tuple(t) for t in tokenize.tokenize(lambda: next(lines, b""))
    ]
    texts = []
    for module in (argparse, Linked(argparse).module):
        parser = module.ArgumentParser(prog="p", description="d")
        parser.add_argument("--many", nargs="*", type=int, default=[1])
        parser.add_argument("name", choices=["x", "y"])
        group = parser.add_mutually_exclusive_group()
        group.add_argument("-v", action="store_true")
        texts.append(
            (parser.format_help(), str(vars(parser.parse_args(["x", "--many", "1", "2"]))))
        )
    assert texts[0] == texts[1]


def of(function, calls=None):
    """A function in linked code, and what its callees were."""
    seen = []

    def link(callee):
        seen.append(callee)
        return callee

    code = function.__code__
    places = [step.offset for step in steps_of(code) if step.name in CALLS]
    found = linked_code(code, places if calls is None else calls, link, {})
    assert found is not None
    made = types.FunctionType(
        found[0], function.__globals__, "f", function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made, seen


class Base:
    def __init__(self, n=1):
        self.n = n

    def add(self, k, *more, by=1):
        return self.n + k * by + sum(more)

    @property
    def adder(self):
        return self.add

    @classmethod
    def make(cls, n):
        return cls(n)

    def __call__(self, k):
        return self.n * k


class Derived(Base):
    def add(self, k, *more, by=1):
        return super().add(k, *more, by=by) + 100

    def twice(self):
        return super().add(1) + self.add(2)


def triple(a):
    return 3 * a


def test_callees_of_all_forms():
    def forms(o, d, flag):
        got = [triple(1), o.add(2), o.adder(3), o(4), Base.make(5).n, d.twice(), d.add(1, 2, by=3)]
        got += [o.add(*[1, 2], **{"by": 4}), (triple if flag else o)(6), (lambda a: a + 1)(7)]
        got += [[triple][0](8), d.add(*(triple(k) for k in range(3))), [triple(k) for k in [1, 2]]]
        got.append({"add": [o.add]}["add"][0](*[5]) + [d.add, o.add][1](1, by=2))
        got.append(max([1, 5, 3], key=lambda v: -v))
        got.append((again := o.add)(1) + again(2) + triple(a=triple(triple(2))))
        with open_scope() as scope:
            got.append(scope.add(1))
        try:
            o.missing(1)
        except AttributeError as error:
            got.append(str(error))
        return got

    made, seen = of(forms)
    for flag in (True, False):
        want = forms(Base(), Derived(2), flag)
        assert made(Base(), Derived(2), flag) == want
    bound = [getattr(callee, "__func__", None) for callee in seen]
    # super().add in d.add is code of its own
    assert bound.count(Base.add) == 2 * 8 and bound.count(Derived.add) == 2 * 2
    assert triple in seen and Base.make in seen and max in seen
    assert any(getattr(c, "__func__", None) is Derived.twice for c in seen)


class open_scope:
    def __enter__(self):
        return Base(9)

    def __exit__(self, *error):
        return False


def test_methods_that_call_super():
    for function in (Derived.add, Derived.twice):
        made, seen = of(function)
        assert len(seen) == 0
        want = function(Derived(3), *([7] if function is Derived.add else []))
        assert made(Derived(3), *([7] if function is Derived.add else [])) == want
        assert seen


def test_only_the_calls_that_are_asked_for():
    def two():
        return triple(1) + abs(-2)

    calls = [step.offset for step in steps_of(two.__code__) if step.name in CALLS]
    for call, callee in zip(calls, (triple, abs)):
        made, seen = of(two, [call])
        assert made() == 5 and seen == [callee]


def test_lines_and_names_of_tracebacks_stay():
    def outer(a):
        b = triple(a)
        return inner(
            b,
            triple(None),
        )

    def inner(b, c):
        raise ValueError(b)

    def told(function):
        try:
            function(2)
        except TypeError as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__)][1:]
            return [(f.filename, f.lineno, f.name, f.line) for f in frames]

    made, _ = of(outer)
    assert told(made) == told(outer)


def test_handlers_and_loops():
    def search(values):
        found = []
        for k, value in enumerate(values):
            try:
                if not value:
                    continue
                found.append(triple(value) / (k - 2))
            except ZeroDivisionError:
                found.append(str(k).zfill(3))
            finally:
                found.append(len(found))
        else:
            found.append(sum(map(len, map(str, found))))
        return found

    made, _ = of(search)
    assert made([1, 0, 2, 3, 4]) == search([1, 0, 2, 3, 4])
