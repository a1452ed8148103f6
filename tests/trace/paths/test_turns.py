"""Loops with numbers of Python in their turns, and numbers that are read and taken by operations.

Each program runs decorated and plain; results, bits and all state must agree.
"""

from __future__ import annotations

import pytest
from actions.harness import both
from paths import turns

from hybrid.trace.follow.rows import SUPPORTED

NATIVE = (  # numbers that are read and taken: no call but the first few runs Python
    *("normed_by_a_number", "extreme_numbers", "the_loss_scales_the_step", "the_same_number_twice"),
)


@pytest.mark.parametrize("name", turns.FEW)
def test_numbers_of_turns_are_computed_in_the_loop(name: str) -> None:
    (f,) = both(turns.FEW[name], 70)
    info = f.cache_info()
    if SUPPORTED:
        assert info.plans <= 4 and info.records <= 9 and info.eager == 0, (info, f.explain())


@pytest.mark.parametrize("name", turns.PROGRAMS)
def test_what_comes_after_a_loop_and_what_operations_take_is_right(name: str) -> None:
    (f,) = both(turns.PROGRAMS[name], 60)
    info = f.cache_info()
    if SUPPORTED and name in NATIVE:
        assert info.eager == info.deferred == 0 and info.records <= 5, (info, f.explain())
