"""Code that is taken apart and put together again is the code it was."""

import argparse
import ast
import dataclasses
import difflib
import inspect
import tokenize
import types

import pytest
from pieces_harness import in_pieces, places_of

from hybrid.trace.split.assemble import assemble, steps_of
from hybrid.trace.split.places import flow_of

MODULES = [argparse, ast, dataclasses, difflib, inspect, tokenize]


def codes_of(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


def seen(steps):
    """What steps say, with numbers in the place of other steps."""
    numbers = {id(step): number for number, step in enumerate(steps)}
    for step in steps:
        arg = step.arg if step.goal is None else numbers[id(step.goal)]
        handler = step.handler and (numbers[id(step.handler.goal)], *step.handler[1:])
        yield step.name, arg, step.position, handler


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_steps_of_a_module_are_the_same_again(module):
    for code in codes_of(compile(inspect.getsource(module), module.__file__, "exec")):
        steps = steps_of(code)
        made, origin = assemble(code, steps)
        assert list(seen(steps_of(made))) == list(seen(steps)), code
        assert set(origin.values()) == {step.offset for step in steps}


def test_jumps_over_more_than_a_byte_tells():
    lines = "\n".join(f"        total += {n} * a - b" for n in range(400))
    space = {}
    exec(f"def long(a, b, total=0):\n    for _ in range(2):\n{lines}\n    return total", space)
    long = space["long"]
    for places in (places_of(long)[40:42], places_of(long)[::500]):
        assert in_pieces(long, places)(3, 5) == long(3, 5)


def test_a_constant_stays_what_it_is_beside_an_equal_one():
    def equals(a):
        return [a and 0, a and False, a and 0.0, a and -0.0, a and 1, a and True]

    for place in places_of(equals):
        assert list(map(repr, in_pieces(equals, [place])(3))) == list(map(repr, equals(3)))


def late(a):
    if a:
        b = a
    c = [a]
    return b, c  # noqa: F821


def test_a_variable_that_is_not_bound_is_not_bound_in_the_next_piece():
    reads = [step.offset for step in flow_of(late.__code__).steps if step.arg == "b"][-1]
    assert reads in places_of(late)
    for place in places_of(late):
        assert in_pieces(late, [place])(1) == (1, [1])
        with pytest.raises(UnboundLocalError, match="'b'"):
            in_pieces(late, [place])(0)


def test_a_function_that_shares_what_is_bound_later_is_not_cut_before_that():
    def shares(a):
        def again(n):
            return again(n - 1) + 1 if n else a

        made = again(3)
        return made

    bound = next(s.offset for s in flow_of(shares.__code__).steps if s.name == "STORE_DEREF")
    assert bound not in places_of(shares)
    for place in places_of(shares):
        assert in_pieces(shares, [place])(2) == 5
