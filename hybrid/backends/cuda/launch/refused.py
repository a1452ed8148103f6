"""What a call does when the driver refused to start one of its kernels.

Invariant: a thread's first launch makes the device's context its own and tries again, once; every
other refusal is a DeviceError.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

import numpy as np

from ....core.errors import DeviceError
from ..machine.devices import DeviceState

__all__ = ["RefusedLaunch"]

# CUDA_ERROR_NOT_INITIALIZED, INVALID_CONTEXT, INVALID_HANDLE: the first launch of a thread
_NO_CONTEXT = (3, 201, 400)


class RefusedLaunch:
    """What a call does when the driver refused one of its launches."""

    def __init__(self, name: str, state: DeviceState, call: Callable[..., Any]) -> None:
        self.name, self.state, self.call = name, state, call
        self.trying = set[int]()  # threads in their second try

    def __call__(self, *arrays: np.ndarray) -> Any:
        number, thread = self.state.record["failed"], get_ident()
        if number not in _NO_CONTEXT or thread in self.trying:
            raise DeviceError(
                f"{self.name}: the CUDA driver refused to start a kernel (error {number}); an "
                "error in a kernel that was started before may be the reason"
            )
        self.trying.add(thread)
        try:
            self.state.enter()
            return self.call(*arrays)
        finally:
            self.trying.discard(thread)
