"""The number of threads that kernels of a device use (default: those of the default device).

Invariant: no result depends on it; HYBRID_NUM_THREADS sets it before the first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .backends.api import Backend, backend
from .core.aval import Device
from .core.aval import device as to_device

__all__ = ["get_num_threads", "set_num_threads", "num_threads"]


def _backend(device: str | Device | None) -> Backend:
    return backend(to_device(device).kind)


def get_num_threads(*, device: str | Device | None = None) -> int:
    """How many threads large kernels use: by default the cores this process may run on.

    >>> import hybrid
    >>> with hybrid.num_threads(2): hybrid.get_num_threads()
    2
    """
    return _backend(device).get_num_threads()


def set_num_threads(n: int, *, device: str | Device | None = None) -> None:
    """Use n threads from now on, at most one for each core that the system grants this process;
    ValueError below 1, UnsupportedError for a device whose threads cannot be counted.

    >>> import hybrid
    >>> before = hybrid.get_num_threads()
    >>> hybrid.set_num_threads(1); hybrid.get_num_threads()
    1
    >>> hybrid.set_num_threads(before)
    """
    _backend(device).set_num_threads(n)


@contextmanager
def num_threads(n: int, *, device: str | Device | None = None) -> Iterator[None]:
    """Scope in which kernels use n threads; raises as `set_num_threads` does.

    >>> import hybrid
    >>> with hybrid.num_threads(1):
    ...     hybrid.get_num_threads()
    1
    """
    before = get_num_threads(device=device)
    set_num_threads(n, device=device)
    try:
        yield
    finally:
        set_num_threads(before, device=device)
