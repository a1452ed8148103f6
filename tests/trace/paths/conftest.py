"""What the tests of branches on tensors share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _unhurried(still: None) -> None:
    """The clock stands still in all of them."""
