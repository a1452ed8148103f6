"""Memory of eager results: blocks of large arrays are used again instead of being returned to the
system.

Invariant: a block is handed to at most one array at a time; the array (and every view of it) keeps
the OwnedBlock object alive, and the memory comes back only when that object dies.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import count
from typing import Any

import numpy as np

from ....core.aval import Aval
from .systems import system

__all__ = ["empty", "maker", "trim", "cached_bytes", "is_block", "kept_bytes", "LARGE"]

LARGE = 1 << 20  # arrays from this size on come from blocks; malloc is good below, once it is warm
LIMIT = 1 << 30  # bytes kept for later use in any case
SHARE = 8  # part of the machine's memory that may be kept
_CHECK = 1 << 24  # blocks from this size on are counted at once, smaller ones every 16 releases
_HUGE = 1 << 21


class OwnedBlock:
    """Mixin of the ctypes array types that own one block each; `base` of large result arrays."""

    __slots__ = ()


# glibc returns the top of its heap to the system as soon as 128 KB are free, so that a program with
# a megabyte of small arrays faults its pages in again and again.  Freeing one large chunk makes it
# raise that threshold by itself (mallopt(3), M_MMAP_THRESHOLD); the chunk is never touched and
# costs nothing.
np.empty((1 << 25) - (1 << 16), np.uint8)

_FREE: dict[int, list[int]] = {}  # size class -> addresses of unused blocks
_MAPS: dict[int, mmap.mmap] = {}  # address -> mapping, of every block
_CLASSES: dict[int, type] = {}  # size class -> ctypes type
_RELEASES = count(1)


def size_class(nbytes: int) -> int:
    """The block size that holds nbytes: four classes to each power of two.

    >>> size_class(1 << 18), size_class((1 << 18) + 1)
    (262144, 327680)
    """
    step = 1 << max((max(nbytes, 1) - 1).bit_length() - 3, 12)
    return -(-nbytes // step) * step


def _block_type(size: int) -> type:
    blocks = _FREE.setdefault(size, [])

    def release(
        self: Any,
        append: Any = blocks.append,
        address: Any = ctypes.addressof,
        counter: Any = _RELEASES.__next__,
        trim: Any = None,
    ) -> None:
        append(address(self))
        if size >= _CHECK or not counter() & 15:
            _bound()

    kind = type(
        "ArrayBlock", (OwnedBlock, ctypes.c_char * size), {"__del__": release, "__slots__": ()}
    )
    return _CLASSES.setdefault(size, kind)


def _map(size: int) -> int:
    # the default would be memory that a forked child shares, which has no huge pages either
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            block.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    _MAPS[address] = block
    return address


def _take(size: int, blocks: list[int]) -> int:
    try:
        return blocks.pop()
    except IndexError:
        pass
    try:
        return _map(size)
    except (OSError, ValueError):
        trim(0)
    try:
        return _map(size)
    except (OSError, ValueError):
        raise MemoryError(f"cannot allocate {size} bytes for an array") from None


def cached_bytes() -> int:
    """Bytes of unused blocks that are kept."""
    return sum(size * len(free) for size, free in list(_FREE.items()))


def trim(limit: int = 0) -> None:
    """Return unused blocks to the system until at most `limit` bytes are kept, largest first."""
    excess = cached_bytes() - limit
    for size in sorted(_FREE, reverse=True):
        blocks = _FREE[size]
        while excess > 0:
            try:
                address = blocks.pop(0)
            except IndexError:
                break
            _MAPS.pop(address, None)
            excess -= size


@lru_cache(1)
def kept_bytes() -> int:
    """How much is kept whatever arrays hold: what a step needs between its start and its end is
    needed in the next one, and fresh pages cost more than what is computed in them."""
    return max(LIMIT, system().memory() // SHARE)


def _bound() -> None:
    """Keep so many bytes, or as many as live arrays hold: a training step that replaces gigabytes
    of parameters needs the blocks of this turn in the next one."""
    cached, limit = cached_bytes(), kept_bytes()
    if cached > limit:
        live = sum(map(len, list(_MAPS.values()))) - cached
        if cached > live:
            trim(max(limit * 3 // 4, live))


def maker(aval: Aval) -> Callable[[], np.ndarray]:
    """A function that gives a fresh contiguous array of that shape and dtype, undefined inside."""
    shape, dtype = aval.shape, aval.dtype
    if aval.nbytes < LARGE:
        return partial(np.empty, shape, dtype)
    size = size_class(aval.nbytes)
    kind: Any = _CLASSES.get(size) or _block_type(size)
    blocks, from_address, array, take = _FREE[size], kind.from_address, np.ndarray, _take

    def fresh() -> np.ndarray:
        return array(shape, dtype, from_address(blocks.pop() if blocks else take(size, blocks)))

    return fresh


def empty(aval: Aval) -> np.ndarray:
    """One fresh contiguous array."""
    return maker(aval)()


def is_block(base: Any) -> bool:
    """Whether `array.base` is a block of this module, so that the array owns its memory."""
    return isinstance(base, OwnedBlock)
