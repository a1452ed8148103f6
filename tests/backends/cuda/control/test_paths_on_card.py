"""Programs that branch on values of tensors, with tensors of a card: plain Python's results, bits
and state, and as many replays as on the host."""

from __future__ import annotations

import pytest
from actions.harness import both
from paths.moved import programs_on

from hybrid.trace.follow.rows import SUPPORTED

MODULES = programs_on(
    "cuda",
    "paths.guards",
    *("paths.loops", "paths.steps", "paths.attacks", "paths.outside", "paths.meetings"),
)
GUARDS, LOOPS, STEPS, ATTACKS, OUTSIDE, MEETINGS = (module.PROGRAMS for module in MODULES)
ROLLED = MODULES[1].ROLLED
LONG = ("decodes", "bounded", "mutates_what_it_reads", "iterator_from_before")  # on a slow card
ERRORS = ("assertion", "raises_after_a_write")

pytestmark = pytest.mark.usefixtures("simulated", "still")


def calls(name: str) -> int:
    return 7 if name in LONG else 18


@pytest.mark.parametrize("name", [*GUARDS, *STEPS])
def test_every_way_is_replayed(name: str) -> None:
    for f in both((GUARDS | STEPS)[name], calls(name)):
        if SUPPORTED:
            info = f.cache_info()
            assert info.replays and (info.eager == 0 or name in ERRORS), f.explain()


@pytest.mark.parametrize("name", ROLLED)
def test_a_loop_is_one_node_whatever_the_number_of_turns(name: str) -> None:
    (f,) = both(ROLLED[name], calls(name))
    if SUPPORTED:
        assert f.cache_info().plans == 1 and f.cache_info().eager == 0, f.explain()


OTHERS = LOOPS | ATTACKS | OUTSIDE | MEETINGS


@pytest.mark.parametrize("name", OTHERS)
def test_others_give_what_plain_python_gives(name: str) -> None:
    both(OTHERS[name], calls(name))
