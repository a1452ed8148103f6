"""Tensors of other devices that a recorded call has in hand but does not use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import pytest
import toy_backend  # noqa: F401  (registers the kind "toy")

import hybrid
from hybrid.core.aval import HOST
from hybrid.ir.mode import ROOTS
from hybrid.ops.indexing.generators import _DEFAULT


@runtime_checkable
class Runs(Protocol):
    def run(self) -> int: ...


class Box:
    """What `isinstance` looks through, as it has no method of the protocol's name."""

    def __init__(self) -> None:
        self.kept: Any = None

    def run(self) -> int:
        return 1


@pytest.fixture
def generators() -> Iterator[None]:
    """Default generators of two more devices."""
    hybrid.rand(1, device="toy")
    hybrid.rand(1, device="boxes")
    yield
    for device in [device for device in _DEFAULT if device is not HOST]:
        del _DEFAULT[device]
    ROOTS[:] = [root for root in ROOTS if getattr(root, "device", HOST) is HOST]


@pytest.mark.parametrize("kind", ["cpu", "toy", "boxes"])
def test_generators_of_other_devices_do_not_count(kind: str, generators: None) -> None:
    box = Box()

    @hybrid.function
    def step(x: Any) -> Any:
        return x * 2 if isinstance(box, Runs) else x * 3

    x = hybrid.ones(3, device=kind)
    assert [step(x).tolist() for _ in range(5)] == [[2.0, 2.0, 2.0]] * 5
    info = step.cache_info()
    assert info.replays >= 2, step.explain()


def test_an_argument_of_another_device_that_is_not_used() -> None:
    @hybrid.function
    def step(x: Any, other: Any) -> Any:
        return x.exp(), other

    for kind in ("cpu", "toy"):
        x, other = hybrid.ones(3, device=kind), hybrid.ones(2, device="boxes")
        for _ in range(5):
            made, same = step(x, other)
            assert same is other and made.device.kind == kind
    assert step.cache_info().replays == 6, step.explain()
    assert step(hybrid.ones(3), hybrid.ones(2))[0].device is HOST


def test_devices_that_are_used_together_are_both_named() -> None:
    there = hybrid.ones(3, device="toy")

    @hybrid.function
    def step(x: Any) -> Any:
        return x * 2, there * 3

    with pytest.warns(hybrid.RunsEagerly, match="cpu and toy"):
        for _ in range(4):
            step(hybrid.ones(3))
