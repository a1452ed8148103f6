"""Programs of many sizes have the host's bits: every schedule of rows, columns, maps, products,
convolutions, attention and gathers, eagerly and replayed."""

from __future__ import annotations

from typing import Any

import gpu_shapes
import pytest
from gpu_workers import told


@pytest.fixture(scope="module")
def started(workers: Any, request: pytest.FixtureRequest) -> Any:
    """All cases of the tests that will run are given out at once."""
    items = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    workers.start("shape", [params["case"] for params in items if "case" in params])
    return workers


@pytest.mark.parametrize("case", gpu_shapes.NAMES)
def test_a_program_has_the_bits_of_the_host(started: Any, case: str) -> None:
    result = started.result("shape", case)
    told(result)
