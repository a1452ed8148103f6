"""Ordinary programs, decorated: the results, output, exceptions and state of plain Python, and how
each is served, which may only get better.

`python tests/trace/test_ordinary_programs.py` prints the table of ordinary_states.txt anew.  Where
it depends on when the garbage collector runs a row has both states, as "deferred/recording"; a
fourth column is for CPython 3.12 and later, where it is served otherwise.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / "support")]

from ordinary import CALLS, programs
from ordinary.run import SETTLED, STATES, Turns, deferring, state_of

from hybrid.trace.bytecode.opcodes import SUPPORTED
from hybrid.trace.fallback import budget

ALL = os.environ.get("HYBRID_ORDINARY") == "all"
FEW, END = 30, 8  # calls of a short run, and the last ones that say how it ends
TABLE = Path(__file__).with_name("ordinary_states.txt")


def served(name: str, every: bool) -> tuple[str, str]:
    """(what is wrong, how the last calls were served) of a program."""
    turns, readings = Turns(programs()[name]), itertools.count()

    def seconds() -> float:
        """A clock by which a call takes ten microseconds and a recording four milliseconds."""
        recordings = sum(function.cache_info().records for function in turns.traced.functions)
        return recordings * 4e-3 + next(readings) * 1e-5

    clock, budget.CLOCK[0] = budget.CLOCK[0], seconds
    try:
        with deferring("always"):  # no choice by the clock
            wrong = turns.play(CALLS if every else FEW)
    finally:
        budget.CLOCK[0] = clock
    state = state_of(turns.traced.counts, SETTLED if every else END)
    return wrong, state


def expected(every: bool) -> dict[str, str]:
    """How each program is served at least, by name."""
    found = {}
    for row in TABLE.read_text().splitlines():
        name, few, all_calls, *later = row.split()
        found[name] = all_calls if every else few
        if later and sys.version_info >= (3, 12):
            found[name] = later[0]
    return found


@pytest.mark.parametrize("name", list(programs()))
def test_the_same_as_plain_python(name: str) -> None:
    wrong, state = served(name, ALL)
    known = expected(ALL)[name]
    assert not wrong, wrong
    if not SUPPORTED:
        return
    places = [STATES.index(word) for word in known.split("/")]
    place = STATES.index(state)
    assert place <= max(places), f"{name} is {state} now and was {known}"
    assert place >= min(places), f"{name} is {state}, better than {known}: say so in {TABLE.name}"


def test_the_table_names_every_program() -> None:
    assert list(expected(False)) == list(programs())


if __name__ == "__main__":
    for each in programs():
        print(f"{each:28} {served(each, False)[1]:10} {served(each, True)[1]}", flush=True)
