"""Tables that stay small and what is called when an object dies."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from hybrid.core.cache import until_exit


def test_callbacks_do_nothing_when_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, ends = list[Any](), [False]
    monkeypatch.setattr(sys, "is_finalizing", lambda: ends[0])
    call = until_exit(seen.append)
    call(1)
    ends[0] = True
    call(2)
    assert seen == [1]
