"""The operating system: the one place that names its calls and files, chosen by `system()`.

Invariant: a system that nobody has run is used only where the user asks for it (UNTESTED_SWITCH).
"""

from __future__ import annotations

import os
import sys
import warnings
from functools import lru_cache

from .....core.errors import BackendError
from .base import Cache, System
from .linux import Linux
from .macos import MacOS
from .windows import Windows

__all__ = ["Cache", "System", "Linux", "MacOS", "Windows", "system", "kind_of_system"]

UNTESTED_SWITCH = "HYBRID_UNTESTED_SYSTEM"
_KINDS: dict[str, type[System]] = {"linux": Linux, "darwin": MacOS, "win32": Windows}


def kind_of_system() -> type[System]:
    """The class of this system; BackendError where native code must not run."""
    kind = _KINDS.get(sys.platform)
    if kind is None or sys.maxsize < 2**32:
        raise BackendError(
            f"the native CPU backend runs on 64-bit Linux; this is {sys.platform}. "
            "Select the reference backend instead"
        )
    if not kind.tested and os.environ.get(UNTESTED_SWITCH) != "1":
        raise BackendError(
            f"the native CPU backend runs on 64-bit Linux; its code for {kind.name} is written "
            "against documentation and nobody has run it. Select the reference backend instead, "
            f"or set {UNTESTED_SWITCH}=1 to try"
        )
    return kind


@lru_cache(1)
def system() -> System:
    """The system of this process; warns once of one that nobody has run."""
    kind = kind_of_system()
    if not kind.tested:
        warnings.warn(
            f"hybrid's native code for {kind.name} has not been run by anyone; "
            "compare results with the reference backend",
            stacklevel=2,
        )
    return kind()
