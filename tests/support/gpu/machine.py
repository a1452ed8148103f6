"""Blocks of threads that run a kernel, many at once.

Invariant: threads of a cohort run in lock step, the lowest position first, until all wait at a
barrier or have ended; `order` 0 makes one cohort of all warps, other orders one for every warp and
run them backwards or shuffled, so that work which is not fenced by a barrier is seen too early or
too late.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .access import Access
from .memory import Arena, Array, Space, aligned_bytes
from .ptx.lower import Code, pick
from .races import Watch

__all__ = ["Deadlock", "Trap", "launch"]

_LANES = 32
_TOGETHER = {0: 8192, 1: 65536}  # threads of the blocks that run at once
_STEPS = 20_000_000
_BARRIER = 40  # bit of a mark that counts barriers (see `races`)


class Deadlock(RuntimeError):
    """Threads wait for others that never come."""


class Trap(RuntimeError):
    """A kernel ran a trap instruction."""


def _parts(kind: str, word: Array, warps: Array) -> list[Array]:
    """The factors in a register: one of TF32, whose last bits do not count, or two of bfloat16."""
    bits = np.broadcast_to(word, warps.shape).astype(np.uint32)
    found = [bits & np.uint32(0xFFFFE000)]
    if kind == "bf16":
        found = [bits << np.uint32(16), bits & np.uint32(0xFFFF0000)]
    return [x.view(np.float32).astype(np.float64) for x in found]


class Cohort(Access):
    """Threads in lock step: the same warps of several blocks."""

    def __init__(self, chunk: Chunk, lanes: Array) -> None:
        self.chunk, self.arena, self.reverse = chunk, chunk.arena, chunk.order != 0
        blocks = len(chunk.blocks)
        self.threads = blocks * len(lanes)
        self.lanes = len(lanes)
        self.slot = np.repeat(np.arange(blocks), len(lanes))
        self.thread = np.tile(lanes, blocks)
        self.shared_base = self.slot * chunk.stride if blocks > 1 else np.zeros(1, np.int64)
        self.registers = list(chunk.code.registers)
        nbytes = -(-chunk.code.entry.space_bytes("local") // 16) * 16
        self.local = Space(aligned_bytes(nbytes * self.threads, chunk.fill))
        self.local_base = np.arange(self.threads, dtype=np.int64) * nbytes
        warps = -(-int(lanes[-1] + 1) // _LANES)
        self.warp = self.slot * warps + self.thread // _LANES
        self.number = (chunk.blocks[self.slot] << 10 | self.thread).astype(np.int32)
        self.mark = np.zeros(self.threads, np.int64)
        self.lane = (self.thread % _LANES).astype(np.uint32)
        self.present = np.zeros(blocks * warps, np.uint32)
        np.bitwise_or.at(self.present, self.warp, np.uint32(1) << self.lane)
        self.groups: dict[int, Array | None] = {0: None}
        self.parked: dict[int, Array] = {}
        self.waiting: list[tuple[int, int, int | None, Array]] = []  # barrier, position, count
        self._special: dict[str, Array] = {}
        self._start()

    def who(self, thread: int) -> str:
        block = int(self.chunk.blocks[self.slot[thread]])
        return f"thread {int(self.thread[thread])} of block {block}"

    # ---- registers
    def merge(self, old: Array, new: Array, idx: Array) -> Array:
        out = np.empty(self.threads, old.dtype)
        out[:] = old
        out[idx] = new
        return out

    def special(self, name: str, idx: Array | None) -> Array:
        value = self._special.get(name)
        if value is None:
            value = self._special[name] = self._make_special(name[1:])
        return value if idx is None else pick(value, idx)

    def _make_special(self, name: str) -> Array:
        chunk = self.chunk
        one = np.uint32(1) << self.lane
        few: dict[str, Any] = {
            "tid.x": self.thread,
            "ctaid.x": chunk.blocks[self.slot] if len(chunk.blocks) > 1 else chunk.blocks,
            "ntid.x": chunk.size,
            "nctaid.x": chunk.grid,
            "laneid": self.lane,
            "warpid": self.thread // _LANES,
            "nwarpid": 64,
            "smid": 0,
            "nsmid": 132,
            "lanemask_eq": one,
            "lanemask_lt": one - np.uint32(1),
            "lanemask_le": one | (one - np.uint32(1)),
            "lanemask_gt": ~(one | (one - np.uint32(1))),
            "lanemask_ge": ~(one - np.uint32(1)),
            "dynamic_smem_size": chunk.dynamic,
            "total_smem_size": chunk.shared_bytes,
            "clock": 0,
        }
        if name in ("tid.y", "tid.z", "ctaid.y", "ctaid.z"):
            return np.zeros(1, np.uint32)
        if name in ("ntid.y", "ntid.z", "nctaid.y", "nctaid.z"):
            return np.ones(1, np.uint32)
        if name in ("clock64", "globaltimer", "gridid"):
            return np.zeros(1, np.uint64)
        if name not in few:
            raise NotImplementedError(f"PTX register %{name}")
        return np.atleast_1d(np.asarray(few[name])).astype(np.uint32)

    # ---- running
    def _add(self, position: int, idx: Array | None) -> None:
        parked = self.parked.pop(position, None)
        if parked is not None and idx is not None:
            idx = np.sort(np.concatenate([parked, idx]), kind="stable")
        if position in self.groups:
            other = self.groups[position]
            assert other is not None and idx is not None
            idx = np.sort(np.concatenate([other, idx]), kind="stable")
        if idx is not None and len(idx) == self.threads:
            idx = None
        self.groups[position] = idx

    def run(self) -> None:
        """Until nothing can go on."""
        pieces, groups = self.chunk.code.pieces, self.groups
        steps = 0
        while groups:
            position = min(groups)
            idx = groups.pop(position)
            while True:
                piece = pieces[position]
                if piece.sync is not None and idx is not None:
                    idx = self._together(position, idx, piece.sync)
                    if idx is None:
                        break
                after = piece.run(self, idx)
                steps += 1
                if type(after) is not int:
                    self._leave(after, idx)
                    break
                if after < 0:
                    self._end(idx)
                    break
                position = after
                if position in self.parked or (groups and position >= min(groups)):
                    self._add(position, idx)
                    break
            if steps > _STEPS:
                raise Deadlock(f"{self.chunk.code.entry.name}: no end after {steps} steps")

    def _leave(self, after: tuple[Any, ...], idx: Array | None) -> None:
        if len(after) == 3:
            flag, yes, no = after
            everyone = np.arange(self.threads) if idx is None else idx
            self._add(yes, everyone[flag])
            self._add(no, everyone[~flag])
        elif len(after) == 2:
            everyone = np.arange(self.threads) if idx is None else idx
            choice, targets = np.broadcast_to(after[0], everyone.shape), after[1]
            for number, target in enumerate(targets):
                some = everyone[choice == number]
                if len(some):
                    self._add(target, some)
        else:
            self._wait(after, idx)

    def _wait(self, after: tuple[Any, ...], idx: Array | None) -> None:
        kind, number, count, position = after
        everyone = np.arange(self.threads) if idx is None else idx
        bars = np.unique(number)
        if len(bars) > 1:  # groups of threads, each with a barrier of its own
            numbers = np.broadcast_to(number, everyone.shape)
            for one in bars:
                self._wait((kind, one, count, position), everyone[numbers == one])
            return
        bar = int(bars[0])
        expected = None if count is None else int(count[0])
        if idx is None and self.chunk.alone and kind == "sync" and expected in (None, self.lanes):
            self._step_up(None, self._latest(np.arange(self.threads)))
            self._add(position, None)
            return
        if kind == "arrive":
            self.waiting.append((bar, -1, expected, everyone))
            self._add(position, idx)
            return
        self.waiting.append((bar, position, expected, everyone))

    def _latest(self, idx: Array) -> Array:
        """The most barriers that one of these threads has passed, in each block: groups of threads
        pass several alone, and are in step again after a barrier of all."""
        tops = np.zeros(len(self.chunk.blocks), self.mark.dtype)
        np.maximum.at(tops, self.slot[idx], self.mark[idx] >> _BARRIER)
        return tops

    def _step_up(self, idx: Array | None, latest: Array) -> None:
        """Those threads pass one barrier more than the latest of their blocks."""
        slots, marks = (self.slot, self.mark) if idx is None else (self.slot[idx], self.mark[idx])
        self._pass(idx, (latest[slots] + 1 - (marks >> _BARRIER)) << _BARRIER)

    def _end(self, idx: Array | None) -> None:
        slots = self.slot if idx is None else self.slot[idx]
        self.chunk.live -= np.bincount(slots, minlength=len(self.chunk.blocks))

    def trap(self, at: int, idx: Array | None) -> int:
        thread = 0 if idx is None else int(idx[0])
        raise Trap(f"{self.chunk.code.entry.name}: trap by {self.who(thread)}")

    # ---- warps
    def _together(self, position: int, idx: Array, mask_of: Any) -> Array | None:
        """Those of `idx` whose warps have all the threads that the mask names; others wait."""
        mask = np.broadcast_to(mask_of(self, idx), idx.shape)
        warps = self.warp[idx]
        here = np.zeros(len(self.present), np.uint32)
        np.bitwise_or.at(here, warps, np.uint32(1) << self.lane[idx])
        missing = (mask & self.present[warps] & ~here[warps]) != 0
        if missing.any():
            stay = idx[missing]
            old = self.parked.get(position)
            self.parked[position] = stay if old is None else np.sort(np.concatenate([old, stay]))
            idx = idx[~missing]
        return idx if len(idx) else None

    def _spread(self, idx: Array | None, value: Array) -> Array:
        """(warps, 32) of a value: what no active thread has is poison."""
        count = self.threads if idx is None else len(idx)
        out = np.full((len(self.present), _LANES), 0, value.dtype)
        out.view(f"u{value.dtype.itemsize}" if value.dtype != bool else "u1")[...] = (
            0 if value.dtype == bool else 0xA5
        )
        warps = self.warp if idx is None else self.warp[idx]
        lanes = self.lane if idx is None else self.lane[idx]
        out[warps, lanes] = np.broadcast_to(value, (count,))
        return out

    def shuffle(
        self, idx: Array | None, how: str, value: Array, by: Array, clamp: Array
    ) -> tuple[Array, Array]:
        self.warp_step(idx)
        lane = (self.lane if idx is None else self.lane[idx]).astype(np.int64)
        warps = self.warp if idx is None else self.warp[idx]
        step = by.astype(np.int64) & 31
        segment = (clamp.astype(np.int64) >> 8) & 31
        most = clamp.astype(np.int64) & 31
        last, first = (lane & segment) | (most & ~segment), lane & segment
        if how == "up":
            source = lane - step
            inside = source >= last
        elif how == "down":
            source = lane + step
            inside = source <= last
        elif how == "bfly":
            source = lane ^ step
            inside = source <= last
        else:
            source = first | (step & ~segment)
            inside = source <= last
        source = np.where(inside, source, lane)
        if len(value) == 1 and idx is None and self.threads % _LANES == 0:
            return value, inside
        return self._spread(idx, value)[warps, source], inside

    def multiply(
        self,
        idx: Array | None,
        kind: str,
        left: list[Array],
        right: list[Array],
        total: list[Array],
    ) -> list[Array]:
        """mma.m16n8k8 of TF32 and m16n8k16 of bfloat16; the order of the card's sums is not known."""
        self.warp_step(idx)
        warps = self.warp if idx is None else self.warp[idx]
        lanes = (self.lane if idx is None else self.lane[idx]).astype(np.int64)
        group, member, count = lanes >> 2, lanes & 3, len(self.present)
        wide = 2 if kind == "bf16" else 1  # elements of a register
        one, two = np.zeros((count, 16, 8 * wide)), np.zeros((count, 8 * wide, 8))
        for i, word in enumerate(left):
            for part, values in enumerate(_parts(kind, word, warps)):
                step = wide * (member + 4 * (i // 2)) + part
                one[warps, group + 8 * (i % 2), step] = values
        for i, word in enumerate(right):
            for part, values in enumerate(_parts(kind, word, warps)):
                two[warps, wide * (member + 4 * i) + part, group] = values
        made = one @ two
        places = [(group + 8 * (i // 2), 2 * member + i % 2) for i in range(4)]
        return [
            (made[warps, row, column] + np.broadcast_to(total[i], warps.shape)).astype(np.float32)
            for i, (row, column) in enumerate(places)
        ]

    def vote(self, idx: Array | None, how: str, flag: Array) -> Array:
        self.warp_step(idx)
        warps = self.warp if idx is None else self.warp[idx]
        lanes = self.lane if idx is None else self.lane[idx]
        flag = np.broadcast_to(flag, warps.shape)
        yes, every = np.zeros((2, len(self.present)), np.uint32)
        np.bitwise_or.at(every, warps, np.uint32(1) << lanes)
        np.bitwise_or.at(yes, warps[flag], np.uint32(1) << lanes[flag])
        if how == "ballot":
            return yes[warps]
        if how == "any":
            return (yes != 0)[warps]
        if how == "all":
            return (yes == every)[warps]
        if how == "uni":
            return ((yes == every) | (yes == 0))[warps]
        raise NotImplementedError(f"vote.sync.{how}")

    def active_mask(self, idx: Array | None) -> Array:
        warps = self.warp if idx is None else self.warp[idx]
        every = np.zeros(len(self.present), np.uint32)
        np.bitwise_or.at(
            every, warps, np.uint32(1) << (self.lane if idx is None else self.lane[idx])
        )
        return every[warps]

    def warp_reduce(self, idx: Array | None, how: str, value: Array) -> Array:
        self.warp_step(idx)
        warps = self.warp if idx is None else self.warp[idx]
        value = np.broadcast_to(value, warps.shape)
        joined = {
            "add": (np.add, 0),
            "min": (np.minimum, np.iinfo(value.dtype).max),
            "max": (np.maximum, np.iinfo(value.dtype).min),
            "and": (np.bitwise_and, -1 if value.dtype.kind == "i" else np.iinfo(value.dtype).max),
            "or": (np.bitwise_or, 0),
            "xor": (np.bitwise_xor, 0),
        }
        function, start = joined[how]
        out = np.full(len(self.present), start, value.dtype)
        function.at(out, warps, value)
        return out[warps]


class Chunk:
    """Blocks that run at once, with their shared memory."""

    def __init__(
        self,
        code: Code,
        arena: Arena,
        parameters: bytes,
        blocks: Array,
        grid: int,
        size: int,
        dynamic: int,
        order: int,
        watch: Watch | None,
    ) -> None:
        self.code, self.arena, self.blocks, self.grid, self.size = code, arena, blocks, grid, size
        self.order, self.dynamic = order, dynamic
        self.fill = 0xFF if order % 2 == 0 else 0xA5
        fixed = code.entry.space_bytes("shared")
        self.shared_bytes = (-(-fixed // 16) * 16 if dynamic else fixed) + dynamic
        self.stride = -(-max(self.shared_bytes, 1) // 16) * 16
        self.shared = Space(aligned_bytes(self.stride * len(blocks), self.fill))
        content = aligned_bytes(len(parameters) + 16, 0)
        content[: len(parameters)] = np.frombuffer(parameters, np.uint8)
        self.parameters, self.parameter_bytes = Space(content), len(parameters)
        self._parameter: dict[tuple[int, str], Array] = {}
        self.live = np.full(len(blocks), size, np.int64)
        self.watch = watch
        if watch is not None:
            watch.begin(len(self.shared.bytes))
        lanes = np.arange(size)
        self.alone = order == 0
        if order == 0:
            self.cohorts = [Cohort(self, lanes)]
        else:
            cuts = [lanes[k : k + _LANES] for k in range(0, size, _LANES)]
            self.cohorts = [Cohort(self, cut) for cut in cuts]
            self._shuffle()

    def _shuffle(self) -> None:
        if self.order == 1:
            self.cohorts.reverse()
        elif self.order > 1:
            rng = np.random.default_rng(self.order)
            self.cohorts = [self.cohorts[k] for k in rng.permutation(len(self.cohorts))]

    def parameter(self, place: int, kind: str) -> Array:
        made = self._parameter.get((place, kind))
        if made is None:
            size = int(kind[1])
            if place + size > self.parameter_bytes:
                raise ValueError(f"{self.code.entry.name}: parameters end before {place + size}")
            made = self.parameters.bytes[place : place + size].copy().view(kind)
            self._parameter[place, kind] = made
        return made

    def run(self) -> None:
        while True:
            for cohort in self.cohorts:
                cohort.run()
            if not any(c.waiting or c.parked for c in self.cohorts):
                return
            if not self._release():
                raise Deadlock(f"{self.code.entry.name}: {self._stuck()}")

    def _release(self) -> bool:
        """Let go the blocks all of whose threads have come to a barrier."""
        count = len(self.blocks)
        arrived: dict[int, Array] = {}
        wanted: dict[int, Array] = {}
        for cohort in self.cohorts:
            for bar, _, expected, idx in cohort.waiting:
                come = np.bincount(cohort.slot[idx], minlength=count)
                arrived[bar] = arrived.get(bar, 0) + come
                if expected is not None:
                    wanted[bar] = np.full(count, expected)
        done = False
        for bar, come in arrived.items():
            full = (come >= np.minimum(wanted.get(bar, self.live), self.live)) & (come > 0)
            if full.any():
                done = True
                self._let_go(bar, full)
        return done

    def _let_go(self, bar: int, full: Array) -> None:
        latest = np.zeros(len(self.blocks), self.cohorts[0].mark.dtype)
        for cohort in self.cohorts:
            for number, _, _, idx in cohort.waiting:
                if number == bar:
                    latest = np.maximum(latest, cohort._latest(idx))
        for cohort in self.cohorts:
            kept = []
            for number, position, expected, idx in cohort.waiting:
                free = full[cohort.slot[idx]] if number == bar else np.zeros(len(idx), bool)
                if free.any() and position >= 0:
                    cohort._step_up(idx[free], latest)
                    cohort._add(position, idx[free])
                if not free.all():
                    kept.append((number, position, expected, idx[~free]))
            cohort.waiting = kept

    def _stuck(self) -> str:
        for cohort in self.cohorts:
            for position, idx in cohort.parked.items():
                line = self.code.lines[position]
                return f"{cohort.who(int(idx[0]))} waits at `{line}` for the rest of its warp"
            for bar, position, _, idx in cohort.waiting:
                return f"{cohort.who(int(idx[0]))} waits at barrier {bar} before {position}"
        return "nothing can go on"


def launch(
    code: Code,
    arena: Arena,
    parameters: bytes,
    blocks: int,
    threads: int,
    dynamic: int = 0,
    order: int = 0,
    watch: Watch | None = None,
) -> None:
    """Run a kernel over a grid of one dimension."""
    if not 1 <= threads <= code.entry.most_threads:
        raise ValueError(
            f"{code.entry.name}: {threads} threads a block, made for {code.entry.most_threads}"
        )
    together = max(1, _TOGETHER[min(order, 1)] // threads)
    starts = list(range(0, blocks, together))
    if order:
        starts.reverse()
    with np.errstate(all="ignore"):
        for start in starts:
            numbers = np.arange(start, min(start + together, blocks))
            Chunk(code, arena, parameters, numbers, blocks, threads, dynamic, order, watch).run()
