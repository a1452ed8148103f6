"""The tables of coefficients are what their program makes."""

from __future__ import annotations

import sys
from pathlib import Path

import mpmath as mp
import pytest

from hybrid.ops.formulas.special.tables import gamma, modified, normal

ROOT = Path(__file__).resolve().parents[3]
ROWS = [
    (normal, "normal", "CENTRAL"),
    (gamma, "gamma", "STIRLING"),
    (modified, "modified", "I0_NEAR"),
]


@pytest.mark.parametrize(("module", "file", "name"), ROWS, ids=lambda v: str(v))
def test_coefficients_come_from_the_program(
    module: object, file: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tests" / "support" / "fits"), *sys.path])
    from functions import FILES
    from make import text_of

    with mp.workdps(50):
        made: dict[str, object] = {}
        exec(text_of(name, FILES[file][name]), made)
    assert made[name] == getattr(module, name)
