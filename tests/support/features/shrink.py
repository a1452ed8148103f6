"""Makes a failing program small: statements, calls, changes and pieces of the world go as long as
the program still fails.

Invariant: what is left differs from plain Python, and plain Python knows all its names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from .make import Block, Case
from .play import OUTSIDE, REFUSED, failure_of

__all__ = ["shrunk"]

MISSING = ("NameError", "UnboundLocalError", "SyntaxError", "AttributeError")


def _lists(blocks: list[Block]) -> Iterator[list[Block]]:
    yield blocks
    for block in blocks:
        yield from _lists(block.inside)
        for part in block.parts:
            yield from _lists(part.inside)


def _smaller(case: Case) -> Iterator[Case]:
    """Programs with one thing less."""
    yield from _fewer_calls(case)
    yield from _fewer_blocks(case)
    yield from _fewer_lines(case)
    if case.result != "x":
        made = copy.deepcopy(case)
        made.result = "x"
        yield made
    for name in reversed(case.pieces):
        made = copy.deepcopy(case)
        del made.pieces[name]
        yield made
    yield from _plainer_arguments(case)


def _fewer_calls(case: Case) -> Iterator[Case]:
    """One call less, then one line less between two calls."""
    for number in reversed(range(len(case.calls))):
        made = copy.deepcopy(case)
        del made.calls[number]
        yield made
    for number, (change, arguments) in enumerate(case.calls):
        lines = change.split("\n") if change else []
        for gone in range(len(lines)):
            made = copy.deepcopy(case)
            made.calls[number] = ("\n".join(lines[:gone] + lines[gone + 1 :]), arguments)
            yield made


def _fewer_blocks(case: Case) -> Iterator[Case]:
    """One statement less, or what it holds in its place, or one of its parts less."""
    for which, blocks in enumerate(list(_lists(case.body))):
        for place in reversed(range(len(blocks))):
            for way in ("gone", "inside", "parts"):
                made = copy.deepcopy(case)
                found = list(_lists(made.body))[which]
                block = found[place]
                if way == "gone":
                    del found[place]
                elif way == "inside" and block.inside:
                    found[place : place + 1] = block.inside
                elif way == "parts" and block.parts and not block.line.startswith("try"):
                    block.parts.pop()
                else:
                    continue
                yield made


def _fewer_lines(case: Case) -> Iterator[Case]:
    """One line less of a statement of several."""
    for blocks, which in [(b, w) for w, b in enumerate(list(_lists(case.body)))]:
        for place, block in enumerate(blocks):
            lines = block.line.split("\n")
            for gone in range(len(lines) if len(lines) > 1 else 0):
                made = copy.deepcopy(case)
                kept = "\n".join(lines[:gone] + lines[gone + 1 :])
                list(_lists(made.body))[which][place].line = kept
                yield made


def _plainer_arguments(case: Case) -> Iterator[Case]:
    """One argument less, or a plain first one."""
    for number, (change, arguments) in enumerate(case.calls):
        for gone in range(1, len(arguments)):
            made = copy.deepcopy(case)
            made.calls[number] = (change, arguments[:gone] + arguments[gone + 1 :])
            yield made
        if arguments[0] != f"T({number})":
            made = copy.deepcopy(case)
            made.calls[number] = (change, [f"T({number})", *arguments[1:]])
            yield made


def _fails(case: Case, outside: bool) -> str:
    try:
        failure, error = failure_of(case)
    except Exception:
        return ""
    other = any(name in error for name in MISSING) or (OUTSIDE in failure) != outside
    other = other or failure.startswith(REFUSED)
    return "" if other else failure


def shrunk(case: Case, tries: int = 600) -> tuple[Case, str]:
    """A smaller program that fails, and how."""
    failure = failure_of(case)[0]
    going = True
    while going and tries > 0:
        going = False
        for smaller in _smaller(case):
            tries -= 1
            if tries <= 0:
                break
            found = _fails(smaller, OUTSIDE in failure)
            if found:
                case, failure, going = smaller, found, True
                break
    return case, failure
