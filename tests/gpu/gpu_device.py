"""The device that these tests run on, and why they do not where there is none.

Without a GPU the tests themselves can be tried: HYBRID_GPU_DEVICE names another kind in the place of
CUDA, HYBRID_GPU_SIMULATED=1 puts the simulated card of tests/support/gpu in the place of a real one.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np

import hybrid
from hybrid.backends.api import backend
from hybrid.core.aval import HOST
from hybrid.core.errors import HybridError

__all__ = [
    "DEVICE",
    "IS_CUDA",
    "SIMULATED",
    "HOST",
    "missing",
    "there",
    "here",
    "same",
    "differences",
]

DEVICE = os.environ.get("HYBRID_GPU_DEVICE", "cuda")
IS_CUDA = DEVICE.startswith("cuda")
SIMULATED = os.environ.get("HYBRID_GPU_SIMULATED") == "1"


def simulate() -> None:
    """Use the simulated card from now on."""
    from gpu import SimulatedDriver

    from hybrid.backends.cuda.machine import driver

    driver.use(SimulatedDriver())


if SIMULATED and IS_CUDA:
    simulate()


@lru_cache(1)
def missing() -> str:
    """Why there is no device to test; empty where there is one."""
    try:
        backend(DEVICE.split(":")[0])
        hybrid.ones(1, device=DEVICE)
    except (HybridError, ImportError, OSError) as error:
        return f"no {DEVICE} device here: {error}".splitlines()[0]
    return ""


def there(value: Any, **more: Any) -> Any:
    """A tensor of a host array on the device under test."""
    return hybrid.tensor(value, device=DEVICE, **more)


def here(value: Any) -> np.ndarray:
    """What a tensor holds, copied to the host."""
    return np.asarray(value.detach().to(HOST)).copy()


def words(array: np.ndarray) -> np.ndarray:
    """Bit patterns, every NaN the same one."""
    array = np.asarray(array, order="C")
    if array.dtype.kind in "fV" and array.size:
        nan = np.isnan(array.astype(np.float64))
        if nan.any():
            array = np.where(nan, np.asarray(np.nan, array.dtype), array)
    width = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[array.itemsize]
    return np.ascontiguousarray(array).view(width)


def differences(found: np.ndarray, wanted: np.ndarray) -> str:
    """In what `found` is not `wanted` bit for bit; empty when in nothing."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype}{found.shape} in the place of {wanted.dtype}{wanted.shape}"
    where = np.argwhere(words(found) != words(wanted))
    if not len(where):
        return ""
    first = tuple(map(int, where[0]))
    return (
        f"{len(where)} of {wanted.size} differ, first at {first}: {found[first]} in the place of "
        f"{wanted[first]}"
    )


def same(found: Any, wanted: Any, what: str = "") -> None:
    """Two tensors or arrays hold the same bits."""
    left, right = [x if isinstance(x, np.ndarray) else here(x) for x in (found, wanted)]
    told = differences(left, right)
    assert not told, f"{what}: {told}"
