"""DLPack capsules of values in the host's memory.

Invariant: whoever is given one without a copy is told that its values do not change.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.aval import Device
from ..core.errors import ArgumentError, ExchangeError

__all__ = ["host_capsule"]


def host_capsule(
    value: np.ndarray,
    device: Device,
    here: tuple[int, int],
    stream: int | None = None,
    max_version: tuple[int, int] = (0, 0),
    dl_device: tuple[int, int] | None = None,
    copy: bool = True,
) -> Any:
    """The capsule of an array; `here`: its device in DLPack's terms."""
    if stream is not None:
        raise ArgumentError(f"a tensor on {device} has no streams: stream has to be None")
    if dl_device not in (None, here):
        raise ExchangeError(
            f"a tensor on {device} goes to DLPack's device {here} only, not to {dl_device}; move "
            "it with .to(device) first"
        )
    if value.dtype.isbuiltin != 1:
        raise ExchangeError(f"NumPy has no {value.dtype} in DLPack: hand over x.astype('float32')")
    # before version 1 DLPack cannot say that values do not change
    if copy or max_version < (1, 0):
        return value.copy().__dlpack__(max_version=max_version)
    value = value.view()
    value.flags.writeable = False
    return value.__dlpack__(max_version=max_version)
