"""A driver without a card for every test that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fake_driver import FakeDriver
from gpu import SimulatedDriver

from hybrid.backends.cuda.blas.library import use_library
from hybrid.backends.cuda.machine import driver


@pytest.fixture(autouse=True, scope="session")
def no_library() -> None:
    """Products are hybrid's own kernels, whatever is installed."""
    use_library(None)


@pytest.fixture
def fake() -> Iterator[FakeDriver]:
    """A driver in the place of NVIDIA's."""
    made = FakeDriver()
    before = driver.use(made)
    yield made
    driver.use(before)


@pytest.fixture
def simulated() -> Iterator[SimulatedDriver]:
    """A card that runs kernels, in the place of NVIDIA's."""
    made = SimulatedDriver()
    before = driver.use(made)
    yield made
    driver.use(before)


@pytest.fixture
def faked() -> Iterator[Callable[..., FakeDriver]]:
    """`faked(...)` puts such a driver in the place of NVIDIA's."""
    before = driver.use(None)

    def use(**more: int) -> FakeDriver:
        made = FakeDriver(**more)
        driver.use(made)
        return made

    yield use
    driver.use(before)
