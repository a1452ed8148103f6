"""A core as far as the shapes of generated loops depend on it: caches, their ways, and what a byte
from beyond the second one costs.

Invariant: nothing here can change a bit of a result.  Sizes are the system's own figures; what no
system tells is in a table of known cores, with an ordinary value for all others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .host import Cache, machine

__all__ = ["LINE", "PAGE", "Core", "core", "usable"]

LINE = 64  # bytes of a cache line
PAGE = 4096  # bytes of a page, unless memory is asked for in larger ones

# Cycles for a byte that one core streams from its third cache while it copies.  Meshes of servers
# (measured on Emerald Rapids: 15 GB/s at 2.8 GHz) are slower than the rings of a few cores.
BEYOND = {
    "skylake-avx512": 0.15,
    "cascadelake": 0.15,
    "cooperlake": 0.15,
    "icelake-server": 0.17,
    "sapphirerapids": 0.17,
    "emeraldrapids": 0.17,
    "graniterapids": 0.17,
    "znver2": 0.06,
    "znver3": 0.06,
    "znver4": 0.06,
    "znver5": 0.05,
}
ORDINARY = 0.1


class Core(NamedTuple):
    """Caches of one core."""

    first: Cache = Cache(32 << 10, 8)
    second: Cache = Cache(512 << 10, 8)
    beyond: float = ORDINARY  # cycles for a byte from beyond the second cache


@lru_cache(None)
def core() -> Core:
    """The core this process runs on."""
    here = machine()
    return Core(here.first, here.second, BEYOND.get(here.name, ORDINARY))


def usable(cache: Cache, stride: int, width: int) -> int:
    """Bytes of a cache that rows of `width` bytes can lie in together, when they begin `stride`
    bytes apart: multiples of a power of two fall into few sets."""
    sets = max(cache.size // (cache.ways * LINE), 1)
    lines = -(-width // LINE)
    if not stride or stride % LINE:
        return cache.size
    step = abs(stride) // LINE
    places = max(sets // (step & -step), 1)
    return min(places * lines, sets) * cache.ways * LINE
