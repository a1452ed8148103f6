"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from backend_kinds import KINDS

# the third call of a function is the first replay, here and in processes that tests start
os.environ.setdefault("HYBRID_WAIT", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: the text is that of `golden/<name>` beside the test."""
    folder = Path(request.path).parent / "golden"

    def same(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert text == path.read_text(), (
            f"{path.name} is not what is made now; where the new text is right, write it with "
            "--update-golden"
        )

    return same


@pytest.fixture(params=KINDS)
def backend_kind(request: pytest.FixtureRequest) -> str:
    """Every kind of device that works here, one after the other."""
    return request.param
