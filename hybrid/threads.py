"""The number of threads that kernels on the CPU use.

Invariant: no result depends on it; HYBRID_NUM_THREADS sets it before the first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .backends.api import backend

__all__ = ["get_num_threads", "set_num_threads", "num_threads"]


def get_num_threads() -> int:
    """How many threads large kernels use: by default the cores this process may run on."""
    return backend("cpu").get_num_threads()


def set_num_threads(n: int) -> None:
    """Use n threads from now on; ValueError below 1.

    >>> import hybrid
    >>> hybrid.set_num_threads(hybrid.get_num_threads())
    """
    backend("cpu").set_num_threads(n)


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Scope in which kernels use n threads.

    >>> import hybrid
    >>> with hybrid.num_threads(1):
    ...     hybrid.get_num_threads()
    1
    """
    old = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(old)
