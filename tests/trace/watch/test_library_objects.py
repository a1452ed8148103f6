"""Objects and functions of the standard library in a recorded function: those whose work depends on
their arguments alone are replayed, and a change of what they read is noticed.

Each program runs decorated and plain, with the same changes from outside between calls; results,
their bits and all Python state must agree.
"""

from __future__ import annotations

import pytest
from actions.harness import both
from actions.library import objects, texts

from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.usefixtures("whole_calls"),
]

PROGRAMS = {**objects.PROGRAMS, **texts.PROGRAMS}
REFUSED = {**objects.REFUSED, **texts.REFUSED}


@pytest.mark.parametrize("name", PROGRAMS)
def test_library_objects_are_replayed(name: str) -> None:
    made = both(PROGRAMS[name], 30)
    assert all(f.cache_info().replays >= 15 for f in made), [f.explain() for f in made]


@pytest.mark.parametrize("name", REFUSED)
def test_library_objects_with_state_run_as_they_are(name: str) -> None:
    made = both(REFUSED[name])
    assert all(f.cache_info().replays == 0 for f in made), [f.explain() for f in made]
