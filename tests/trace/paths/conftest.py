"""What the tests of branches on tensors share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hybrid.trace.fallback import budget


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    """A clock that stands still: what is recorded depends on no load of the machine."""
    before, budget.CLOCK[0] = budget.CLOCK[0], lambda: 0.0
    yield
    budget.CLOCK[0] = before
