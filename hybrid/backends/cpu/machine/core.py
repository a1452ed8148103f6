"""A core as far as the shapes of generated loops depend on it: ports, caches and their ways, and
what memory and other cores cost it.

Invariant: nothing here can change a bit of a result.  Sizes are the system's own figures; what no
system tells is in a table of known cores, with an ordinary value for all others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .host import Cache, machine
from .target import AARCH64

__all__ = ["KNOWN", "LINE", "PAGE", "Core", "Measured", "core", "usable"]

LINE = 64  # bytes of a cache line
PAGE = 4096  # bytes of a page, unless memory is asked for in larger ones


class Measured(NamedTuple):
    """What belongs to a machine and can be measured on it; the defaults are the model's.  All are
    cycles of one core, but where a field says otherwise.

    `cycle`: nanoseconds of a cycle; no plan depends on it.
    `fma`: for a multiply-add of a whole register, where many are at hand.
    `beyond`: for a byte that one core streams from its third cache while it packs; meshes of
    servers are slower than the rings of a few cores (Emerald Rapids: 22 GB/s at 2.8 GHz).
    `barrier`: between two steps of a plan that threads share.
    `waited`: for a line that another core has written, where the next thing waits for it.
    `streamed`: for one of a long stream of such lines."""

    cycle: float = 0.35
    fma: float = 0.5
    beyond: float = 0.075
    barrier: float = 2500.0
    waited: float = 160.0
    streamed: float = 9.6


class Core(NamedTuple):
    """What one core does in a cycle, and its caches.

    `loads`: vectors of `vector_bytes` in a cycle.  `width`: instructions that leave the front end.
    `masked`: cycles for 16 lanes that are read under a mask, where no instruction does that and
    each lane is a branch.  `latency`: cycles of a multiply-add.  `nearby`: cycles for a register
    from the second cache.  `translation`: cycles of an access to a page that the first table of
    translations does not hold."""

    first: Cache = Cache(32 << 10, 8)
    second: Cache = Cache(512 << 10, 8)
    measured: Measured = Measured()
    vector_bytes: int = 32
    registers: int = 16
    loads: int = 2
    width: int = 4
    masked: float = 0.0
    latency: float = 4.0
    nearby: float = 2.0
    translation: float = 7.0

    @property
    def fma(self) -> float:
        """Multiply-adds of vectors in a cycle."""
        return 1 / self.measured.fma


def _old(second: Cache, beyond: float, width: int) -> Core:
    return Core(_OLD, second, Measured(beyond=beyond), width=width)


def _avx512(first: Cache, second: Cache, beyond: float, fma: int, *rates: int) -> Core:
    return Core(first, second, Measured(fma=1 / fma, beyond=beyond), 64, 32, *rates)


def _neon(first: Cache, second: Cache, beyond: float, fma: int, *rates: int) -> Core:
    vectors = AARCH64.vector_bytes, AARCH64.registers
    return Core(first, second, Measured(fma=1 / fma, beyond=beyond), *vectors, *rates)._replace(
        masked=20.0
    )


_OLD, _WIDE = Cache(32 << 10, 8), Cache(48 << 10, 12)
_GOLDEN = _avx512(_WIDE, Cache(2 << 20, 16), 0.1275, 2, 2, 6)
_SKYLAKE = _avx512(_OLD, Cache(1 << 20, 16), 0.1125, 2, 2, 4)

# By LLVM's names; rates from the makers' optimization guides.  A core of this table is generated
# for and looked at without one (benchmarks/kernels/cores.py).
KNOWN = {
    "haswell": Core(_OLD, Cache(256 << 10, 8)),
    "skylake": Core(_OLD, Cache(256 << 10, 4)),
    "skylake-avx512": _SKYLAKE,
    "cascadelake": _SKYLAKE,
    "cooperlake": _SKYLAKE,
    "icelake-server": _avx512(_WIDE, Cache(1280 << 10, 20), 0.1275, 2, 2, 5),
    "sapphirerapids": _GOLDEN,
    "emeraldrapids": _GOLDEN,
    "graniterapids": _GOLDEN,
    "znver2": _old(Cache(512 << 10, 8), 0.045, 5),
    "znver3": _old(Cache(512 << 10, 8), 0.045, 6),
    "znver4": _avx512(_OLD, Cache(1 << 20, 8), 0.045, 1, 1, 6),  # 512 bits in two halves
    "znver5": _avx512(_WIDE, Cache(1 << 20, 16), 0.0375, 2, 2, 8),
    "neoverse-n1": _neon(Cache(64 << 10, 4), Cache(1 << 20, 8), 0.075, 2, 2, 4),
    "neoverse-v1": _neon(Cache(64 << 10, 4), Cache(1 << 20, 8), 0.075, 4, 3, 8),
    "neoverse-v2": _neon(Cache(64 << 10, 4), Cache(2 << 20, 8), 0.075, 4, 3, 8),
    "apple-m1": _neon(Cache(128 << 10, 8), Cache(12 << 20, 12), 0.0375, 4, 3, 8),
}


@lru_cache(None)
def core() -> Core:
    """The core this process runs on: known rates, the system's own caches and vectors."""
    here = machine()
    known = KNOWN.get(here.name, Core())
    return known._replace(
        first=here.first,
        second=here.second,
        vector_bytes=here.vector_bytes,
        registers=here.vector_registers,
    )


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
