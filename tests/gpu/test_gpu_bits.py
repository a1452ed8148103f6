"""Every op record on the device has the host's bits: eagerly, replayed, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
from gpu_workers import told
from record_cases import NAMES

TASKS = ("eager", "traced", "gradients")


@pytest.fixture(scope="module")
def started(workers: Any, request: pytest.FixtureRequest) -> Any:
    """All tasks of the tests that will run are given out at once."""
    wanted = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    for task in TASKS:
        workers.start(task, [p["name"] for p in wanted if p.get("task") == task])
    return workers


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_a_record_has_the_bits_of_the_host(started: Any, task: str, name: str) -> None:
    result = started.result(task, name)
    told(result)
