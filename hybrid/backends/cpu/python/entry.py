"""The native replay entry: one call checks what it was specialised on, runs its kernels and commits
its state, or does nothing.

Invariant: `entry(*tensors)` returns NotImplemented without side effects when anything it was
specialised on does not hold; an int (step << 32 | status) when a kernel failed, with every handle
as before the call; else the result, with all new state committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ....core.aval import Aval
from ....ir.door.busy import busy_class
from ...api import CHECKED, Entry, Held, Replay
from ...plan import Plan
from ..machine.alloc import LARGE, empty, maker
from ..machine.control import BLOCK_HEADER, POOL_SLOTS
from ..machine.host import free_memory
from ..machine.pool import OUT_OF_MEMORY
from . import abi, runtime
from .entry_table import (
    COPIES_FIRST,
    FORMS,
    GUARDS_AT_ONCE,
    LARGE_STATES,
    OUT,
    RELEASE_GIL,
    STATE,
    TABLE,
    TABLE_WORDS,
)
from .replay import OUT_OF_MEMORY_STATUS, NativeReplay, PythonEntry, decode_failure, native_replay
from .resized import BuiltTable, resized_table
from .runtime import Owner

__all__ = ["native_entry", "entry_of", "build_entry", "EntryMemory", "HOST"]


class EntryMemory(Protocol):
    """Where the values of a replay lie."""

    def api(self) -> int:
        """The API block of native code that works on such values."""

    def maker(self, aval: Aval) -> Callable[[], np.ndarray] | None:
        """What makes fresh values of a record; None: NumPy itself."""

    def owner(self, aval: Aval) -> type | None:
        """The class of objects that own the memory of one value; None: values own it."""

    def copies(self) -> bool:
        """Whether Python code (`copier` of the API block) copies values."""


class _Host:
    """NumPy's arrays; large ones own their memory through a block."""

    def api(self) -> int:
        native = runtime.native()
        assert native is not None
        return native.api

    def maker(self, aval: Aval) -> Callable[[], np.ndarray] | None:
        return maker(aval) if aval.nbytes >= LARGE else None

    def owner(self, aval: Aval) -> type | None:
        return type(empty(aval).base) if aval.nbytes >= LARGE else None

    def copies(self) -> bool:
        return False


HOST = _Host()


def native_entry(
    plan: Plan,
    replay: Replay,
    segment: Any,
    temp: int,
    error: Callable[[int, int], Exception],
    like: Entry | None = None,
) -> Entry | None:
    """The entry that serves calls of a plan; None where native code cannot read Python objects.
    `like`: that of a plan which may differ from it in sizes only."""
    if not abi.available():
        return None
    owners = segment.owners if segment is not None else []

    def failed(step: int, status: int) -> Exception:
        return error(owners[step], OUT_OF_MEMORY if status == OUT_OF_MEMORY_STATUS else status)

    made = None if like is None else like.made
    return entry_of(native_replay(plan, replay, segment, temp), HOST, failed, made)


def entry_of(
    spec: NativeReplay,
    memory: EntryMemory,
    error: Callable[[int, int], Exception],
    like: BuiltTable | None = None,
) -> Entry:
    """The native entry of a spec over values in that memory; `error(step, status)` is what is
    raised where a step failed; `like`: a table on the host that may differ in sizes only."""
    built = None if like is None else resized_table(spec, like)
    if built is None:
        spec.validate()
        built = _Builder(spec, memory).built()
    native = runtime.native()
    assert native is not None
    owner = _ReplayOwner(built.table, built)
    entry, of_tuple = native.function("hy_entry", owner), native.function("hy_entry_of", owner)

    def failed(got: int) -> Exception:
        return error(*decode_failure(got))

    def checked(*tensors: Any) -> Any:
        got = entry(*tensors)
        if type(got) is int:
            raise failed(got)
        return got

    return Entry(checked, entry, Items(of_tuple), failed, built if memory is HOST else None)


class Items:
    """``items[key]`` is what a function gives for one key: a C function called by a subscript,
    after which Python does not look for signals."""

    __slots__ = ("__getitem__",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.__getitem__ = function


def build_entry(spec: NativeReplay) -> Callable[..., Any]:
    """The native entry of a spec, or a PythonEntry where native code cannot read Python objects."""
    spec.validate()
    native = runtime.native()
    if native is None:
        return PythonEntry(spec)
    built = _Builder(spec, HOST).built()
    return native.function("hy_entry", _ReplayOwner(built.table, built))


class _ReplayOwner(Owner):
    """Owns a replay's table and the blocks of its free list (a running call would hold us)."""

    __slots__ = ()

    def __del__(
        self, free: Any = free_memory, first: int = TABLE["pool0"] // 8, count: int = POOL_SLOTS
    ) -> None:
        for word in self.table[first : first + count].tolist():
            if word:
                free(word)


class _BlockLayout(NamedTuple):
    """Where everything is in the block of a call, in bytes from its start; `owned` counts words."""

    vals: int
    news: int
    outs: int
    results: int
    owned: int
    handles: int
    bufs: int
    arena: int


def _lay_out(spec: NativeReplay, inputs: int, outs: int) -> _BlockLayout:
    """The block of a call with so many inputs and outputs."""
    vals = BLOCK_HEADER + 8  # the result tuple is the first owned word
    news = vals + 16 * inputs
    out_at = news + 16 * len(spec.states)
    results = out_at + 8 * outs
    handles = results + 8 * len(spec.results)
    bufs = handles + 8 * inputs
    # the last one takes pointers nobody reads
    stop = bufs + 8 * (len(spec.slots) + 1)
    owned = (handles - BLOCK_HEADER) // 8
    return _BlockLayout(vals, news, out_at, results, owned, handles, bufs, -(-stop // 64) * 64)


Sections = dict[str, list[list[int]]]  # of the table: name -> rows of words


class _Builder:
    """Writes the table of a spec."""

    def __init__(self, spec: NativeReplay, memory: EntryMemory) -> None:
        self.spec, self.replay, self.memory = spec, spec.replay, memory
        self.keep: list[Any] = []  # what rows of state point to
        # record, word, shape: set at the end
        self.dims: list[tuple[list[int], int, tuple[int, ...]]] = []
        # native code walks inputs by where they come from, so a row is not the input's number
        self.rows = spec.rows()
        self.row_of = {number: row for row, number in enumerate(self.rows)}
        sources = [found.source for found in self.replay.inputs]
        self.passed = sources.count(None)
        held = [sources[number] for number in self.rows]
        self.captured = np.array([id(s.tensor) for s in held if isinstance(s, Held)], np.uint64)
        self.outs = [i for i, s in enumerate(spec.slots) if s.kind == "output"]
        self.number_of = {slot: k for k, slot in enumerate(self.outs)}
        self.state_of = {number: j for j, (number, _) in enumerate(spec.states)}
        self.layout = _lay_out(spec, len(self.rows), len(self.outs))

    def value(self, number: int) -> int:
        """Block offset of the value of an input."""
        return self.layout.vals + 16 * self.row_of[number]

    def buf(self, slot: int) -> int:
        return self.layout.bufs + 8 * slot

    def alloc_record(self, aval: Aval, at: int, buf: int) -> list[int]:
        make = self.memory.maker(aval)
        self.keep.append((make, aval))
        record = [0] * (OUT["size"] // 8)
        words = {
            "descr": id(aval.dtype),
            "ndim": aval.ndim,
            "maker": id(make) if make else 0,
            "at": at,
            "buf": buf,
        }
        for name, word in words.items():
            record[OUT[name] // 8] = word
        self.dims.append((record, OUT["dims"] // 8, aval.shape))
        return record

    def inputs(self) -> list[list[int]]:
        spec, out = self.spec, []
        slot_of = {s.index: i for i, s in enumerate(spec.slots) if s.kind == "input"}
        for row, number in enumerate(self.rows):
            found = self.replay.inputs[number]
            pointer = spec.address(number)
            if isinstance(found.source, Held):
                # held tensors have no pointer of their own: ours lie side by side, in row order
                pointer = self.captured.ctypes.data + 8 * (row - self.passed)
            state = int(number in self.state_of)
            out.append(
                [
                    pointer,
                    id(found.aval),
                    0 if found.node is CHECKED else id(found.node),
                    self.buf(slot_of.get(number, len(spec.slots))),
                    state,
                    state,
                    self.layout.vals + 16 * row,
                    int(number in spec.unread),
                ]
            )
        return out

    def source(self, slot: int) -> tuple[int, int]:
        """(block offset of the array of a slot, or 0; address of a constant, or 0)."""
        s = self.spec.slots[slot]
        if s.kind == "const":
            return 0, id(self.spec.consts[s.index])
        if s.kind == "input":
            return self.value(s.index), 0
        if s.kind == "output":
            return self.layout.outs + 8 * self.number_of[slot], 0
        return 0, 0

    def states(self) -> tuple[list[list[int]], list[list[int]]]:
        """(rows of the states, what their new values are made from)."""
        spec, layout, rows, made = self.spec, self.layout, [], []
        for j, (number, slot) in enumerate(spec.states):
            s = spec.slots[slot]
            own = s.kind == "state"
            source, const = self.source(slot)
            owner = self.memory.owner(s.aval) if own and s.in_place else None
            self.keep.append(owner)
            made.append(self.alloc_record(s.aval, 0, 0))
            rows.append(
                [
                    self.value(number),
                    layout.handles + 8 * self.row_of[number],
                    layout.news + 16 * j,
                    self.buf(slot),
                    source,
                    const,
                    0,
                    int(own and s.in_place),
                    int(slot in spec.partial),
                    s.aval.nbytes,
                    id(owner) if owner else 0,
                    id(s.aval),
                    int(spec.address(number) != 0),
                ]
            )
        return rows, made

    def results_rows(self) -> list[list[int]]:
        spec, layout, rows = self.spec, self.layout, []
        for i, o in enumerate(spec.results):
            at = layout.results + 8 * i
            if o < 0:
                rows.append([layout.handles + 8 * self.row_of[~o], 0, 0, 0, 0, 0, at])
                continue
            s = spec.slots[o]
            source, const = self.source(o)
            other = source
            if s.kind == "state":
                source, other = layout.news + 16 * self.state_of[s.index], self.value(s.index)
            kind = self.replay.tensor_types[0]
            rows.append([0, source, other, const, id(s.aval), id(kind), at])
        return rows

    def fills(self) -> list[list[int]]:
        rows, base = [], self.spec.arena_base
        for i, s in enumerate(self.spec.slots):
            if s.kind == "const":
                rows.append([self.buf(i), abi.pointer(self.spec.consts[s.index]), 0])
            elif s.kind == "arena":
                rows.append([self.buf(i), base, s.index if base else self.layout.arena + s.index])
        return rows

    def guards(self) -> list[list[int]]:
        """Groups of pairs; the last pair is repeated where a group is not full."""
        words = [w for g in self.replay.guards for w in g]
        size = 2 * GUARDS_AT_ONCE
        while len(words) % size:
            words += words[-2:]
        return [words[k : k + size] for k in range(0, len(words), size)]

    def sections(self) -> Sections:
        spec = self.spec
        states, made = self.states()
        return {
            "inputs": self.inputs(),
            "guards": self.guards(),
            "types": [[id(t)] for t in self.replay.tensor_types],
            "states": states,
            "outs": [
                self.alloc_record(spec.slots[s].aval, self.layout.outs + 8 * i, self.buf(s))
                for i, s in enumerate(self.outs)
            ],
            "results": self.results_rows(),
            "steps": [list(s) for s in spec.steps],
            "fills": self.fills(),
            "state_outs": made,
        }

    def built(self) -> BuiltTable:
        """The finished table, with everything it points to."""
        sections = self.sections()
        starts, total = {}, TABLE_WORDS
        for name, rows in sections.items():
            starts[name] = total
            total += sum(map(len, rows))
        shapes, dims, inside = total, list[int](), list[int]()
        table = np.empty(total + sum(len(shape) for _, _, shape in self.dims), np.uint64)
        base = table.ctypes.data
        for record, word, shape in self.dims:
            record[word] = base + 8 * (shapes + len(dims))
            dims += shape
        for j, row in enumerate(sections["states"]):
            row[STATE["out"] // 8] = base + 8 * starts["state_outs"] + j * OUT["size"]
            inside.append(starts["states"] + j * (STATE["size"] // 8) + STATE["out"] // 8)
        words = self._head(base, sections, starts)
        for rows in sections.values():
            for row in rows:
                words += row
        table[:] = np.array([*words, *dims], np.uint64)  # at once: faster than piece by piece
        inside += [TABLE[name] // 8 for name in starts if name in TABLE]
        for name in ("state_outs", "outs"):
            size = OUT["size"] // 8
            count = len(sections[name])
            inside += [starts[name] + k * size + OUT["dims"] // 8 for k in range(count)]
        return BuiltTable(
            table,
            self.spec,
            starts,
            np.array(inside, np.intp),
            self.rows,
            self.outs,
            len(table) - sum(self.spec.slots[slot].aval.ndim for slot in self.outs),
            self.layout.arena,
            (self.keep, self.captured),
        )

    def flags(self, sections: Sections) -> int:
        """RELEASE_GIL, LARGE_STATES and COPIES_FIRST, as they apply."""
        applies = {
            RELEASE_GIL: self.spec.release_gil,
            LARGE_STATES: any(r[OUT["maker"] // 8] for r in sections["state_outs"]),
            COPIES_FIRST: self.memory.copies(),
        }
        return sum(flag for flag, does in applies.items() if does)

    def _head(self, base: int, sections: Sections, starts: dict[str, int]) -> list[int]:
        """The words before the sections."""
        spec, kind, head = self.spec, self.replay.tensor_types[0], [0] * TABLE_WORDS
        pointers = len(self.rows) - self.passed - len(self.captured)
        inside = 0 if spec.arena_base else spec.arena_bytes
        words = {
            "api": self.memory.api(),
            "nargs": self.passed,
            "form": FORMS[self.replay.form],
            "need": max((s[4] for s in spec.steps), default=0),
            "owned_n": self.layout.owned,
            "flags": self.flags(sections),
            "kind": id(kind),
            "busy": id(busy_class(kind)) if spec.release_gil else 0,
            "handles_at": self.layout.handles,
            "bufs_at": self.layout.bufs,
            "distinct_n": 0 if pointers else self.passed,
            "places_n": pointers,
            "block_bytes": self.layout.arena + inside - BLOCK_HEADER,
        }
        for name, rows in sections.items():
            if name in TABLE:
                words[name] = base + 8 * starts[name]
                if name + "_n" in TABLE:
                    words[name + "_n"] = len(rows)
        for name, word in words.items():
            head[TABLE[name] // 8] = word
        return head
