"""Loads, stores, atomics and asynchronous copies of a cohort of threads.

Invariant: every address is checked before it is used; where several threads write one place, the
last of the schedule's order wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .memory import SHIFT, Arena, Array, MemoryFault, Space

if TYPE_CHECKING:
    from .machine import Chunk

__all__ = ["Access"]

_SPACES = ("global", "shared", "local", "param")
_LOW = np.array([(1 << 60) - 1], np.uint64)
_TOP = np.array([60], np.uint64)


class Access:
    """What a cohort does to memory."""

    chunk: Chunk
    arena: Arena
    threads: int
    shared_base: Array
    local_base: Array
    local: Space
    reverse: bool
    registers: list[Array]
    number: Array
    mark: Array

    def _start(self) -> None:
        self.pending: list[tuple[Array, Array, Any, Any, int, Array]] = []
        self.committed = np.zeros(self.threads, np.int64)

    def fault(self, at: int, idx: Array | None, position: int, words: str) -> MemoryFault:
        thread = int(idx[position]) if idx is not None and len(idx) > position else position
        return MemoryFault(
            f"{self.chunk.code.entry.name}: `{self.chunk.code.lines[at]}` by {self.who(thread)}: {words}"
        )

    def who(self, thread: int) -> str:
        raise NotImplementedError

    def stamp(self, idx: Array | None) -> tuple[Array, Array]:
        """Of threads: who they are in the grid, and marks of what they have waited for together
        (see `races`)."""
        return (self.number, self.mark) if idx is None else (self.number[idx], self.mark[idx])

    def warp_step(self, idx: Array | None) -> None:
        """Threads of warps did something together."""
        self._pass(idx, 1 << 20)

    def _pass(self, idx: Array | None, more: int | Array) -> None:
        if idx is None:
            self.mark += more
        else:
            self.mark[idx] += more

    # ---- addresses
    def _place(
        self, at: int, idx: Array | None, space: str, base: Array, offset: int, nbytes: int
    ) -> tuple[Space, Array]:
        """(memory, byte offsets into it) of addresses in one space."""
        addresses = base + np.uint64(offset & 0xFFFFFFFFFFFFFFFF) if offset else base
        if space == "const":
            space = "global"
        mask = nbytes - 1
        if int(np.bitwise_or.reduce(addresses)) & mask:
            bad = int(np.flatnonzero(addresses & np.uint64(mask))[0])
            raise self.fault(
                at, idx, bad, f"address {int(addresses[bad]):#x} is not a multiple of {nbytes}"
            )
        if space == "global":
            wrong = self.arena.wrong(addresses, nbytes)
            if wrong is not None:
                place = int(addresses[wrong])
                raise self.fault(
                    at, idx, wrong, f"{nbytes} bytes at {place:#x}: {self.arena.near(place)}"
                )
            return self.arena, (addresses - np.uint64(self.arena.base)).view(np.int64)
        places = addresses.view(np.int64)
        memory, room, bases = {
            "shared": (self.chunk.shared, self.chunk.shared_bytes, self.shared_base),
            "local": (self.local, self.chunk.code.entry.space_bytes("local"), self.local_base),
            "param": (self.chunk.parameters, self.chunk.parameter_bytes, _ZERO),
        }[space]
        if int(places.min()) < 0 or int(places.max()) + nbytes > room:
            bad = int(np.flatnonzero((places < 0) | (places + nbytes > room))[0])
            words = f"{nbytes} bytes at {int(places[bad])} of {room} bytes of {space} memory"
            raise self.fault(at, idx, bad, words)
        if len(bases) > 1:
            places = places + (bases if idx is None else bases[idx])
        return memory, places

    def _generic(self, base: Array, offset: int) -> tuple[Array, list[int]]:
        """Addresses, and the spaces they are in."""
        addresses = base + np.uint64(offset & 0xFFFFFFFFFFFFFFFF) if offset else base
        spaces = addresses >> _TOP
        low, high = int(spaces.min()), int(spaces.max())
        if high > 3:
            high = low = 0
        if low == high:
            return addresses, [low]
        return addresses, sorted(int(s) for s in np.unique(spaces))

    def _parts(
        self, idx: Array | None, addresses: Array, spaces: list[int]
    ) -> list[tuple[int, Array, Array]]:
        """(space, positions, threads) of a mixed access."""
        everyone = np.arange(self.threads) if idx is None else idx
        addresses = np.broadcast_to(addresses, everyone.shape)
        out = []
        for space in spaces:
            positions = np.flatnonzero((addresses >> _TOP) == space)
            out.append((space, positions, everyone[positions]))
        return out

    # ---- loads and stores
    def load(
        self,
        at: int,
        idx: Array | None,
        space: str,
        base: Array,
        offset: int,
        kinds: tuple[str, ...],
    ) -> list[Array]:
        size = int(kinds[0][1])
        if space == "generic":
            addresses, spaces = self._generic(base, offset)
            if len(spaces) > 1:
                return self._load_mixed(at, idx, addresses, spaces, kinds)
            if spaces[0]:
                addresses = addresses & _LOW
            return self.load(at, idx, _SPACES[spaces[0]], addresses, 0, kinds)
        memory, places = self._place(at, idx, space, base, offset, size * len(kinds))
        if self.chunk.watch is not None:
            self.chunk.watch.read(self, at, idx, space, places, size * len(kinds))
        if size > 1:
            places = places >> SHIFT[size]
        views = memory.views
        return [
            (views[kind][number:] if number else views[kind]).take(places)
            for number, kind in enumerate(kinds)
        ]

    def _load_mixed(
        self,
        at: int,
        idx: Array | None,
        addresses: Array,
        spaces: list[int],
        kinds: tuple[str, ...],
    ) -> list[Array]:
        count = self.threads if idx is None else len(idx)
        out = [np.zeros(count, kind) for kind in kinds]
        addresses = np.broadcast_to(addresses, (count,))
        for space, positions, threads in self._parts(idx, addresses, spaces):
            some = addresses[positions] & _LOW
            for into, part in zip(out, self.load(at, threads, _SPACES[space], some, 0, kinds)):
                into[positions] = part
        return out

    def store(
        self,
        at: int,
        idx: Array | None,
        space: str,
        base: Array,
        offset: int,
        kinds: tuple[str, ...],
        values: tuple[Array, ...],
    ) -> None:
        size = int(kinds[0][1])
        if space == "generic":
            addresses, spaces = self._generic(base, offset)
            if len(spaces) > 1:
                count = self.threads if idx is None else len(idx)
                addresses = np.broadcast_to(addresses, (count,))
                for number, positions, threads in self._parts(idx, addresses, spaces):
                    some = addresses[positions] & _LOW
                    part = tuple(np.broadcast_to(v, (count,))[positions] for v in values)
                    self.store(at, threads, _SPACES[number], some, 0, kinds, part)
                return
            if spaces[0]:
                addresses = addresses & _LOW
            space, base, offset = _SPACES[spaces[0]], addresses, 0
        memory, places = self._place(at, idx, space, base, offset, size * len(kinds))
        offsets = places
        if size > 1:
            places = places >> SHIFT[size]
        if self.chunk.watch is not None:
            before = [memory.views[kind][number:].take(places) for number, kind in enumerate(kinds)]
            nbytes = size * len(kinds)
            self.chunk.watch.write(self, at, idx, space, offsets, nbytes, values, before)
        for number, (kind, value) in enumerate(zip(kinds, values)):
            view = memory.views[kind][number:] if number else memory.views[kind]
            if len(places) == 1 and len(value) > 1:
                view[places[0]] = value[0] if self.reverse else value[-1]
            elif self.reverse and len(places) > 1:
                view[places[::-1]] = value[::-1]
            else:
                view[places] = value

    def parameter(self, place: int, kind: str) -> Array:
        return self.chunk.parameter(place, kind)

    # ---- atomics
    def atomic(
        self,
        at: int,
        idx: Array | None,
        space: str,
        base: Array,
        offset: int,
        kind: str,
        what: str,
        values: tuple[Array, ...],
    ) -> Array:
        """One thread after the other."""
        if space == "generic":
            addresses, spaces = self._generic(base, offset)
            if len(spaces) > 1:
                raise NotImplementedError("an atomic on several spaces at once")
            space, base, offset = _SPACES[spaces[0]], addresses & _LOW, 0
        count = self.threads if idx is None else len(idx)
        memory, places = self._place(at, idx, space, base, offset, int(kind[1]))
        if self.chunk.watch is not None:
            self.chunk.watch.atomic(self, idx)
        places = np.broadcast_to(places >> SHIFT[int(kind[1])], (count,))
        given = [np.broadcast_to(v, (count,)) for v in values]
        view = memory.views[kind]
        old = np.empty(count, kind)
        order = range(count - 1, -1, -1) if self.reverse else range(count)
        for thread in order:
            place = places[thread]
            before = view[place]
            old[thread] = before
            view[place] = _combined(what, before, [v[thread] for v in given])
        return old

    # ---- asynchronous copies: they happen when they are waited for
    def copy_async(
        self,
        at: int,
        idx: Array | None,
        target: Array,
        into: int,
        source: Array,
        start: int,
        nbytes: int,
        size: Array | None,
    ) -> None:
        threads = np.arange(self.threads) if idx is None else idx
        shape = threads.shape
        put = np.broadcast_to(target + np.uint64(into & 0xFFFFFFFFFFFFFFFF), shape)
        get = np.broadcast_to(source + np.uint64(start & 0xFFFFFFFFFFFFFFFF), shape)
        taken = np.broadcast_to(
            np.array([nbytes]) if size is None else size.astype(np.int64), shape
        )
        self.pending.append((threads, self.committed[threads], put, get, nbytes, taken, at))  # type: ignore[arg-type]

    def commit_copies(self, idx: Array | None) -> None:
        if idx is None:
            self.committed += 1
        else:
            self.committed[idx] += 1

    def wait_copies(self, idx: Array | None, behind: int) -> None:
        """All but the last `behind` groups of these threads are done."""
        left = []
        waiting = np.ones(self.threads, bool)
        if idx is not None:
            waiting[:] = False
            waiting[idx] = True
        for threads, group, put, get, nbytes, taken, at in self.pending:  # type: ignore[misc]
            done = waiting[threads] & (group < self.committed[threads] - behind)
            if done.any():
                self._copy(at, threads[done], put[done], get[done], nbytes, taken[done])
            if not done.all():
                rest = ~done
                left.append(
                    (threads[rest], group[rest], put[rest], get[rest], nbytes, taken[rest], at)
                )
        self.pending = left  # type: ignore[assignment]

    def _copy(
        self, at: int, threads: Array, put: Array, get: Array, nbytes: int, taken: Array
    ) -> None:
        kinds = ("u4",) * (nbytes // 4)
        whole = taken == nbytes
        parts = [np.zeros(len(threads), "u4") for _ in kinds]
        if whole.any():
            for into, part in zip(
                parts, self.load(at, threads[whole], "global", get[whole], 0, kinds)
            ):
                into[whole] = part
        for position in np.flatnonzero(~whole).tolist():
            count = int(taken[position])
            content = np.zeros(nbytes, np.uint8)
            if count:
                wrong = self.arena.wrong(get[position : position + 1], count)
                if wrong is not None:
                    raise self.fault(
                        at, threads, position, "a copy from memory that is not allocated"
                    )
                start = int(get[position]) - self.arena.base
                content[:count] = self.arena.bytes[start : start + count]
            for number, into in enumerate(parts):
                into[position] = content.view("u4")[number]
        self.store(at, threads, "shared", put, 0, kinds, tuple(parts))


_ZERO = np.zeros(1, np.int64)


def _combined(what: str, old: Any, given: list[Any]) -> Any:
    first = given[0]
    with np.errstate(all="ignore"):
        if what == "cas":
            return given[1] if old == first else old
        if what == "inc":
            return old.dtype.type(0) if old >= first else old + old.dtype.type(1)
        if what == "dec":
            return first if old == 0 or old > first else old - old.dtype.type(1)
        joined = {
            "exch": lambda: first,
            "add": lambda: old + first,
            "min": lambda: min(old, first),
            "max": lambda: max(old, first),
            "and": lambda: old & first,
            "or": lambda: old | first,
            "xor": lambda: old ^ first,
        }
        return joined[what]()
