"""What tests of deferred calls ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hybrid.ir.door import bind as door
from hybrid.ir.door.pending import COLLECTING
from hybrid.ir.door.resolved import Signatures
from hybrid.trace.fallback.deferred import CHOICE


@pytest.fixture
def always() -> Iterator[None]:
    """Calls are deferred however long they take, and leave nothing behind."""
    before, CHOICE[0] = CHOICE[0], "always"
    special = door.STATE.special
    yield
    CHOICE[0] = before
    assert not COLLECTING and door.STATE.special == special and door.current_mode() is None


@pytest.fixture(autouse=True)
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is replayed does not depend on what tests before resolved: a sweep in the middle of a
    program has bundles learnt again."""
    monkeypatch.setattr(Signatures, "most", 1 << 40)
    monkeypatch.setattr(Signatures, "nbytes", 1 << 60)
