"""Marks what is here, skips it without a device, and shares the workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gpu_device import missing
from gpu_workers import Workers

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in Path(item.path).parents]
    for item in mine:
        item.add_marker(pytest.mark.gpu)
    if mine and missing():
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=missing()))


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Processes that run tasks of gpu_tasks.py beside each other."""
    pool = Workers()
    yield pool
    pool.close()
