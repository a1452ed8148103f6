"""Adversarial programs: recorded or not, @function gives the bits of plain Python."""

from __future__ import annotations

import pytest
from adversary import common
from adversary.mixed import CASES


@pytest.mark.parametrize("name", list(CASES))
def test_same_as_python(name: str) -> None:
    common.check(CASES[name])
