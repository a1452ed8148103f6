"""State that a step looks at and changes in the same call: windows, queues, rings, phases; and
containers that other code makes anew for each call.

Each program runs decorated and plain, with the same changes from outside between calls; results,
their bits and all Python state must agree, and what can be is replayed.
"""

from __future__ import annotations

from typing import Any

import pytest
from actions import aliases, listed, lookups, turns, walks, windows
from actions.harness import both, box, data

from hybrid.decorator import function
from hybrid.trace.fallback.budget import GIVE_UP
from hybrid.trace.follow.rows import SUPPORTED
from hybrid.trace.serve.paths import MAX_BEGINS

pytestmark = pytest.mark.skipif(
    not SUPPORTED, reason="no table of instructions for this interpreter"
)
PROGRAMS = {
    **aliases.PROGRAMS,
    **listed.PROGRAMS,
    **windows.PROGRAMS,
    **turns.PROGRAMS,
    **walks.PROGRAMS,
}
ATTACKS = {
    **aliases.ATTACKS,
    **listed.ATTACKS,
    **lookups.ATTACKS,
    **windows.ATTACKS,
    **turns.ATTACKS,
    **walks.ATTACKS,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_read_and_changed_is_replayed(name: str) -> None:
    made = both(PROGRAMS[name], 30)
    assert all(f.cache_info().replays >= 15 for f in made), [f.explain() for f in made]


@pytest.mark.parametrize("name", ATTACKS)
def test_what_no_replay_can_do_runs_as_it_is(name: str) -> None:
    both(ATTACKS[name], 24)


def test_a_number_that_python_looks_at_stops_being_recorded() -> None:
    s = box(n=0)

    @function
    def f(x: Any) -> Any:
        s.n += 1
        return x * len(str(s.n))

    with pytest.warns(UserWarning, match="never does the same twice"):
        for k in range(60):
            f(data(k))
    assert f.cache_info().records <= MAX_BEGINS + GIVE_UP


def test_a_long_window_is_replayed_once_it_is_full() -> None:
    made = both(windows.long_window, 1200)
    assert made[0].cache_info().replays > 100, made[0].explain()
