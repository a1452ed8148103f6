"""Examples of docstrings that do something only where there is a card, on the simulated one."""

from __future__ import annotations

import doctest
import gc
from collections.abc import Iterator
from types import ModuleType

import pytest
from card_programs import forget_generators
from gpu import SimulatedDriver

import hybrid
from hybrid.backends.cuda.machine import driver
from hybrid.cuda import devices, memory, streams
from hybrid.eager import transfer
from hybrid.nn import module

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def examples() -> list[doctest.DocTest]:
    """Those that ask whether there is a card."""
    finder = doctest.DocTestFinder()
    rooms: list[ModuleType] = [devices, memory, streams, transfer, module]
    found = [test for room in rooms for test in finder.find(room)]
    return [test for test in found if "is_available" in test.docstring]


@pytest.fixture
def card() -> Iterator[SimulatedDriver]:
    made = SimulatedDriver(memory=2 << 30)
    before = driver.use(made)
    yield made
    gc.collect()
    forget_generators()
    driver.use(before)


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_examples_run_on_a_card(example: doctest.DocTest, card: SimulatedDriver) -> None:
    assert hybrid.cuda.is_available()
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example)
    assert not result.failed, example.name
