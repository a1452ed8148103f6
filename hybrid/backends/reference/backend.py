"""The reference backend: host arrays, and the interpreter for eager calls and replays.

Invariant: nothing here computes; its bits are those of the numerics contract in both modes, slowly.
"""

from __future__ import annotations

import numpy as np

from ...core.aval import Device
from ..api import Backend

__all__ = ["ReferenceBackend", "BACKEND"]


class ReferenceBackend(Backend):
    """Everything interpreted with NumPy, for comparing other backends with."""

    kind = "reference"

    def from_numpy(self, array: np.ndarray, device: Device | None = None) -> np.ndarray:
        return np.array(array, order="C")

    def to_numpy(self, value: np.ndarray) -> np.ndarray:
        return value


BACKEND = ReferenceBackend
