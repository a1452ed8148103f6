"""What tests of deferred calls ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hybrid.ir.door import bind as door
from hybrid.ir.door.pending import COLLECTING
from hybrid.trace.fallback.deferred import CHOICE


@pytest.fixture
def always() -> Iterator[None]:
    """Calls are deferred however long they take, and leave nothing behind."""
    before, CHOICE[0] = CHOICE[0], "always"
    special = door.STATE.special
    yield
    CHOICE[0] = before
    assert not COLLECTING and door.STATE.special == special and door.current_mode() is None
