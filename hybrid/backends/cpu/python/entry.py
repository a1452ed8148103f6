"""The replay entry: one call checks a specialisation, runs its kernels and commits its state, or
does nothing.

Invariant: `entry(*tensors)` returns NotImplemented without side effects when anything it was
specialised on does not hold; an int (step << 32 | status) when a kernel failed, with every handle
as before the call; else the result, with all new state committed.  PythonEntry is the same in
Python: the fallback, and the tests' oracle.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....core.aval import Aval
from ....ir.door.busy import busy_class, put_values, values_of
from ....ir.tensor import Handle
from ...plan import Slot
from ..machine.alloc import LARGE, empty, maker
from ..machine.control import BLOCK_HEADER, POOL_SLOTS
from ..machine.host import free_memory
from ..machine.pool import OUT_OF_MEMORY, run_steps
from . import runtime
from .entry_table import (
    CLAMP,
    FORM_NONE,
    FORM_SINGLE,
    FORM_TUPLE,
    GUARDS_AT_ONCE,
    LARGE_STATES,
    OUT,
    RELEASE_GIL,
    STATE,
    TABLE,
    TABLE_WORDS,
)
from .native import Owner

__all__ = [
    "ReplaySpec",
    "build_entry",
    "build_entries",
    "PythonEntry",
    "decode_failure",
    "OUT_OF_MEMORY_STATUS",
]

OUT_OF_MEMORY_STATUS = CLAMP + 1
_FORMS = {"single": FORM_SINGLE, "tuple": FORM_TUPLE, "none": FORM_NONE}
Step = Sequence[int]


@dataclass(frozen=True, eq=False)
class ReplaySpec:
    """What an entry is specialised on, and what it does.

    Inputs are numbered: arguments first, then `captures`, then `places`.

    tensor_types  exact types accepted for a tensor; the first one is the type of results
    arg_avals     the interned record each argument must have
    captures      (tensor, its record): a handle known by identity
    places        (address of a PyObject* that holds a tensor, its record); addresses must stay
                  valid
    guards        (address, 8-byte word that must be there)
    tracked       inputs whose `_node` is not looked at (else it must be None)
    nodes         input -> object that `_node` must be (instead of None)
    linked        inputs with a new value whose `_x` is not looked at (else it must be unset)
    slots         one per base pointer: input k, output, arena (byte offset), const, state (input k)
    steps         descriptors (function, args, items, grain, scratch bytes, flags)
    states        (input k, slot that holds its new value)
    partial       state slots whose kernels write only a part, so that the old contents must be
                  there first
    outputs       a slot number, or ~k for the handle of input k itself
    form          'single', 'tuple' or 'none'
    release_gil   for plans longer than about 20 microseconds
    keep          objects that own what steps, guards and places point to
    """

    tensor_types: tuple[type, ...]
    arg_avals: tuple[Aval, ...]
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...] = ()
    captures: tuple[tuple[Any, Aval], ...] = ()
    places: tuple[tuple[int, Aval], ...] = ()
    guards: tuple[tuple[int, int], ...] = ()
    tracked: frozenset[int] = frozenset()
    nodes: dict[int, Any] = field(default_factory=dict)
    linked: frozenset[int] = frozenset()
    consts: tuple[np.ndarray, ...] = ()
    arena_bytes: int = 0
    states: tuple[tuple[int, int], ...] = ()
    partial: frozenset[int] = frozenset()
    form: str = "single"
    release_gil: bool = False
    keep: Any = None

    @property
    def avals(self) -> tuple[Aval, ...]:
        """The record of every input."""
        return (*self.arg_avals, *(a for _, a in self.captures), *(a for _, a in self.places))

    def validate(self) -> None:
        """ValueError for a spec that no entry can run safely."""
        avals, given, states = self.avals, [k for k, _ in self.states], set(self.states)
        aliased = {s.index for i, s in enumerate(self.slots) if s.kind == "state" and s.in_place}
        inputs = [s.index for s in self.slots if s.kind == "input"]
        used = [o for o in self.outputs if o >= 0] + [s for _, s in self.states]
        problems = [
            (self.form not in _FORMS, f"form {self.form!r} is none of {', '.join(_FORMS)}"),
            (
                self.form == "single" and len(self.outputs) != 1,
                "form 'single' needs exactly one output",
            ),
            (self.form == "none" and bool(self.outputs), "form 'none' has no outputs"),
            (len(set(given)) < len(given), "an input has two new values"),
            (len(set(inputs)) < len(inputs), "an input has two slots"),
            (
                any(not issubclass(t, Handle) for t in self.tensor_types) or not self.tensor_types,
                "tensor types must be classes of tensors",
            ),
            (
                any(self.slots[s].kind == "arena" for s in used),
                "an arena slot cannot leave the plan",
            ),
            (
                any(
                    s.kind == "state" and (s.index, i) not in states
                    for i, s in enumerate(self.slots)
                ),
                "a state slot is not the new value of its input",
            ),
            (
                any(self.slots[s].kind == "input" and self.slots[s].index in aliased for s in used),
                "the old value of an input that is written in place cannot leave the plan",
            ),
            (
                any(
                    s.in_place and s.aval is not avals[s.index]
                    for s in self.slots
                    if s.kind == "state"
                ),
                "a state with another shape or dtype cannot be written in place",
            ),
            (
                any(
                    s.index % 64 or s.index + s.aval.nbytes > self.arena_bytes
                    for s in self.slots
                    if s.kind == "arena"
                ),
                "an arena slot lies outside the arena or is not 64-byte aligned",
            ),
            (any(not _plain(c) for c in self.consts), "constants must be contiguous arrays"),
        ]
        for wrong, text in problems:
            if wrong:
                raise ValueError(f"replay spec: {text}")


def _plain(a: np.ndarray) -> bool:
    return type(a) is np.ndarray and a.flags.c_contiguous and a.flags.aligned


def decode_failure(result: int) -> tuple[int, int]:
    """(step, status) of an int result; 1 + position, at most CLAMP, or OUT_OF_MEMORY_STATUS."""
    return result >> 32, result & 0xFFFFFFFF


def build_entry(spec: ReplaySpec) -> Callable[..., Any]:
    """The native entry of a spec, or a PythonEntry where native code cannot read Python objects."""
    spec.validate()
    native = runtime.native()
    if native is None:
        return PythonEntry(spec)
    return native.function("hy_entry", _Builder(spec, native.api).owner())


def build_entries(spec: ReplaySpec) -> tuple[Callable[..., Any], Callable[[tuple[Any, ...]], Any]]:
    """The native entry of a spec, of tensors and of a tuple of tensors."""
    spec.validate()
    native = runtime.native()
    assert native is not None
    owner = _Builder(spec, native.api).owner()
    return native.function("hy_entry", owner), native.function("hy_entry_of", owner)


class _ReplayOwner(Owner):
    """Owns a replay's table and the blocks of its free list (a running call would hold us)."""

    __slots__ = ()

    def __del__(
        self, free: Any = free_memory, first: int = TABLE["pool0"] // 8, count: int = POOL_SLOTS
    ) -> None:
        for word in self.table[first : first + count].tolist():
            if word:
                free(word)


class _Builder:
    """Lays out the block of a call and writes the table."""

    def __init__(self, spec: ReplaySpec, api: int) -> None:
        self.spec, self.api = spec, api
        self.sections: dict[str, list[list[int]]] = {}
        self.keep: list[Any] = [
            spec.keep,
            spec.captures,
            spec.consts,
            spec.tensor_types,
            spec.avals,
            spec.nodes,
            [s.aval for s in spec.slots],
        ]
        # record, word, shape: set at the end
        self.dims: list[tuple[list[int], int, tuple[int, ...]]] = []
        n, self.outs = len(spec.avals), [i for i, s in enumerate(spec.slots) if s.kind == "output"]
        at = BLOCK_HEADER + 8  # the result tuple is the first owned word
        self.vals, at = at, at + 16 * n
        self.news, at = at, at + 16 * len(spec.states)
        self.out_at, at = at, at + 8 * len(self.outs)
        self.results, at = at, at + 8 * len(spec.outputs)
        self.owned = (at - BLOCK_HEADER) // 8
        self.handles, at = at, at + 8 * n
        self.number_of = {slot: k for k, slot in enumerate(self.outs)}
        # the last one takes pointers nobody reads
        self.bufs, at = (at, at + 8 * (len(spec.slots) + 1))
        self.arena = -(-at // 64) * 64
        self.state_of = {k: j for j, (k, _) in enumerate(spec.states)}

    def buf(self, slot: int) -> int:
        return self.bufs + 8 * slot

    def alloc_record(self, aval: Aval, at: int, buf: int) -> list[int]:
        make = maker(aval) if aval.nbytes >= LARGE else None
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
        spec, rows, nargs = self.spec, [], len(self.spec.arg_avals)
        slot_of = {s.index: i for i, s in enumerate(spec.slots) if s.kind == "input"}
        self.captured = np.array([id(t) for t, _ in spec.captures], np.uint64)
        for k, a in enumerate(spec.avals):
            place = 0
            if nargs <= k < nargs + len(spec.captures):
                place = self.captured.ctypes.data + 8 * (k - nargs)
            elif k >= nargs:
                place = spec.places[k - nargs - len(spec.captures)][0]
            node = 0 if k in spec.tracked else id(spec.nodes.get(k))
            state = k in self.state_of
            rows.append(
                [
                    place,
                    id(a),
                    node,
                    self.buf(slot_of.get(k, len(spec.slots))),
                    int(state),
                    int(state and k not in spec.linked),
                    self.vals + 16 * k,
                ]
            )
        return rows

    def source(self, slot: int) -> tuple[int, int]:
        """(block offset of the array of a slot, or 0; address of a constant, or 0)."""
        s = self.spec.slots[slot]
        if s.kind == "const":
            return 0, id(self.spec.consts[s.index])
        if s.kind == "input":
            return self.vals + 16 * s.index, 0
        if s.kind == "output":
            return self.out_at + 8 * self.number_of[slot], 0
        return 0, 0

    def states(self) -> list[list[int]]:
        spec, rows = self.spec, []
        for j, (k, slot) in enumerate(spec.states):
            s = spec.slots[slot]
            own = s.kind == "state"
            source, const = self.source(slot)
            owner = (
                type(empty(s.aval).base) if own and s.in_place and s.aval.nbytes >= LARGE else None
            )
            self.keep.append(owner)
            record = self.alloc_record(s.aval, 0, 0)
            self.sections.setdefault("state_outs", []).append(record)
            rows.append(
                [
                    self.vals + 16 * k,
                    self.handles + 8 * k,
                    self.news + 16 * j,
                    self.buf(slot),
                    source,
                    const,
                    0,
                    int(own and s.in_place),
                    int(slot in spec.partial),
                    s.aval.nbytes,
                    id(owner) if owner else 0,
                    id(s.aval),
                    int(k >= len(spec.arg_avals) + len(spec.captures)),
                ]
            )
        return rows

    def results_rows(self) -> list[list[int]]:
        spec, rows = self.spec, []
        for i, o in enumerate(spec.outputs):
            at = self.results + 8 * i
            if o < 0:
                rows.append([self.handles + 8 * ~o, 0, 0, 0, 0, 0, at])
                continue
            s = spec.slots[o]
            source, const = self.source(o)
            other = source
            if s.kind == "state":
                source, other = self.news + 16 * self.state_of[s.index], self.vals + 16 * s.index
            rows.append([0, source, other, const, id(s.aval), id(spec.tensor_types[0]), at])
        return rows

    def fills(self) -> list[list[int]]:
        rows = []
        for i, s in enumerate(self.spec.slots):
            if s.kind == "const":
                rows.append([self.buf(i), self.spec.consts[s.index].ctypes.data, 0])
            elif s.kind == "arena":
                rows.append([self.buf(i), 0, self.arena + s.index])
        return rows

    def guards(self) -> list[list[int]]:
        """Groups of pairs; the last pair is repeated where a group is not full."""
        words = [w for g in self.spec.guards for w in g]
        size = 2 * GUARDS_AT_ONCE
        while len(words) % size:
            words += words[-2:]
        return [words[k : k + size] for k in range(0, len(words), size)]

    def owner(self) -> Owner:
        """The finished table, with everything it points to."""
        spec = self.spec
        self.sections = {
            "inputs": self.inputs(),
            "guards": self.guards(),
            "types": [[id(t)] for t in spec.tensor_types],
            "states": self.states(),
            "outs": [
                self.alloc_record(spec.slots[s].aval, self.out_at + 8 * i, self.buf(s))
                for i, s in enumerate(self.outs)
            ],
            "results": self.results_rows(),
            "steps": [list(s) for s in spec.steps],
            "fills": self.fills(),
            "state_outs": self.sections.get("state_outs", []),
        }
        starts, total = {}, TABLE_WORDS
        for name, rows in self.sections.items():
            starts[name] = total
            total += sum(map(len, rows))
        shapes = total
        total += sum(len(shape) for _, _, shape in self.dims)
        table = np.zeros(total, np.uint64)
        base = table.ctypes.data
        for record, word, shape in self.dims:
            record[word] = base + 8 * shapes
            table[shapes : shapes + len(shape)] = shape
            shapes += len(shape)
        for j, row in enumerate(self.sections["states"]):
            row[STATE["out"] // 8] = base + 8 * starts["state_outs"] + j * OUT["size"]
        self._fill(table, base, starts)
        return _ReplayOwner(table, (self.keep, self.captured))

    def flags(self) -> int:
        """RELEASE_GIL and LARGE_STATES, as they apply."""
        large = any(record[OUT["maker"] // 8] for record in self.sections["state_outs"])
        return (RELEASE_GIL if self.spec.release_gil else 0) | (LARGE_STATES if large else 0)

    def _fill(self, table: np.ndarray, base: int, starts: dict[str, int]) -> None:
        spec = self.spec
        for name, rows in self.sections.items():
            flat = [w for row in rows for w in row]
            table[starts[name] : starts[name] + len(flat)] = flat
            if name in TABLE:
                table[TABLE[name] // 8] = base + 8 * starts[name]
                if name + "_n" in TABLE:
                    table[TABLE[name + "_n"] // 8] = len(rows)
        for name, word in (
            ("api", self.api),
            ("nargs", len(spec.arg_avals)),
            ("form", _FORMS[spec.form]),
            ("need", max((s[4] for s in spec.steps), default=0)),
            ("owned_n", self.owned),
            ("flags", self.flags()),
            ("kind", id(spec.tensor_types[0])),
            ("busy", id(busy_class(spec.tensor_types[0])) if spec.release_gil else 0),
            ("handles_at", self.handles),
            ("bufs_at", self.bufs),
            ("distinct_n", 0 if spec.places else len(spec.arg_avals)),
            ("places_n", len(spec.places)),
            ("block_bytes", self.arena + spec.arena_bytes - BLOCK_HEADER),
        ):
            table[TABLE[name] // 8] = word


class PythonEntry:
    """The same as the native entry, in Python; never writes a value in place."""

    def __init__(self, spec: ReplaySpec) -> None:
        spec.validate()
        self.spec = spec

    def handles(self, args: tuple[Any, ...]) -> list[Any] | None:
        """The handles of all inputs, or None when something does not fit."""
        spec = self.spec
        if len(args) != len(spec.arg_avals):
            return None
        if any(ctypes.c_uint64.from_address(at).value != word for at, word in spec.guards):
            return None
        found = [*args, *(t for t, _ in spec.captures)]
        for at, _ in spec.places:
            if not ctypes.c_uint64.from_address(at).value:
                return None
            found.append(ctypes.py_object.from_address(at).value)
        for k, (h, a) in enumerate(zip(found, spec.avals)):
            if type(h) not in spec.tensor_types or h._a is not a:
                return None
            if k not in spec.tracked and h._node is not spec.nodes.get(k):
                return None
            if type(getattr(h, "_v", None)) is not np.ndarray:
                return None
        ids, states = [id(h) for h in found], [k for k, _ in spec.states]
        rows = ids if spec.places else ids[: len(args)]
        aliased = any(i in ids[k + 1 :] for k, i in enumerate(rows))
        aliased = aliased or any(ids.count(ids[k]) > 1 for k in states)
        linked = any(hasattr(found[k], "_x") for k in states if k not in spec.linked)
        return None if aliased or linked else found

    def __call__(self, *args: Any) -> Any:
        spec = self.spec
        found = self.handles(args)
        if found is None:
            return NotImplemented
        taken = values_of(found)
        values = [v if _plain(v) else v.copy("C") for v in taken]
        arena = np.empty(spec.arena_bytes + 64, np.uint8)
        skip = -arena.ctypes.data % 64
        arrays: list[Any] = []
        for i, s in enumerate(spec.slots):
            if s.kind in ("output", "state"):
                fresh = empty(s.aval)
                if i in spec.partial:
                    fresh[...] = values[s.index]
                arrays.append(fresh)
            else:
                arrays.append(
                    values[s.index]
                    if s.kind == "input"
                    else spec.consts[s.index]
                    if s.kind == "const"
                    else arena[skip + s.index :]
                )
        step, status = run_steps(spec.steps, [a.ctypes.data for a in arrays])
        if status:
            return step << 32 | (
                OUT_OF_MEMORY_STATUS if status == OUT_OF_MEMORY else min(status, CLAMP)
            )
        old = {i: taken[s.index] for i, s in enumerate(spec.slots) if s.kind == "input"}
        outs = [
            found[~o] if o < 0 else self._tensor(old.get(o, arrays[o]), spec.slots[o].aval)
            for o in spec.outputs
        ]
        put_values(
            [found[k] for k, _ in spec.states],
            [old.get(slot, arrays[slot]) for _, slot in spec.states],
            [spec.slots[slot].aval for _, slot in spec.states],
        )
        return outs[0] if spec.form == "single" else tuple(outs) if spec.form == "tuple" else None

    def _tensor(self, value: np.ndarray, a: Aval) -> Any:
        kind: Any = self.spec.tensor_types[0]
        t = kind.__new__(kind)
        t._v, t._a, t._node = value, a, None
        return t
