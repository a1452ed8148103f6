"""A PTX kernel as Python functions over NumPy arrays, one for each straight piece of code.

Invariant: a piece reads registers when it starts and writes them when it ends; in between values
are arrays over the active threads, or of one element where all threads have the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import arith, compute, moves
from .text import Entry, Instruction, Module
from .writer import OPCODES, Writer

__all__ = ["Code", "Piece", "lower"]

TABLES = compute, moves  # they fill OPCODES
WARP_SYNC = ("shfl", "vote", "match", "redux", "mma")


class Piece(NamedTuple):
    """Straight code: `run(cohort, active)` gives the next position, or a tuple (see `machine`).
    `sync`: threads of a warp must come together before it: the operand with their mask."""

    run: Callable[[Any, Any], Any]
    sync: Callable[[Any, Any], Any] | None


class Code(NamedTuple):
    """A kernel ready to run: pieces by position, registers at the start, source lines."""

    entry: Entry
    pieces: dict[int, Piece]
    registers: tuple[Any, ...]
    lines: tuple[str, ...]


def _split_guards(entry: Entry) -> tuple[list[Instruction], dict[str, int]]:
    """Every guarded instruction but a branch becomes a branch around it."""
    out: list[Instruction] = []
    moved, labels = {}, {}
    for at, instruction in enumerate(entry.instructions):
        moved[at] = len(out)
        guard = instruction.guard
        if guard and not instruction.opcode.startswith("bra"):
            opposite = guard[1:] if guard.startswith("!") else f"!{guard}"
            out.append(Instruction(opposite, "bra", (f"$skip{at}",)))
            out.append(instruction._replace(guard=""))
            labels[f"$skip{at}"] = len(out)
        else:
            out.append(instruction)
    moved[len(entry.instructions)] = len(out)
    labels.update({name: moved[place] for name, place in entry.labels.items()})
    return out, labels


def _base(instruction: Instruction) -> str:
    return instruction.opcode.split(".", 1)[0]


def _is_sync(instruction: Instruction) -> bool:
    return _base(instruction) in WARP_SYNC or instruction.opcode.startswith("bar.warp")


def _mask(instruction: Instruction) -> str:
    """The operand that names the threads of a warp that execute an instruction together."""
    return "-1" if _base(instruction) == "mma" else instruction.operands[-1]


def _leaders(code: list[Instruction], labels: dict[str, int]) -> list[int]:
    leaders = {0, *labels.values()}
    synced: str | None = None
    for at, instruction in enumerate(code):
        base = _base(instruction)
        if at in leaders:
            synced = None
        if _is_sync(instruction):
            mask = _mask(instruction)
            if synced != mask:
                leaders.add(at)
                synced = mask
        if base in ("bra", "ret", "exit", "brx", "trap"):
            leaders.add(at + 1)
        if base in ("bar", "barrier") and not instruction.opcode.startswith("bar.warp"):
            leaders.add(at + 1)
    return sorted(x for x in leaders if x < len(code))


def _spans(code: list[Instruction], labels: dict[str, int]) -> list[tuple[int, int]]:
    leaders = _leaders(code, labels)
    return list(zip(leaders, [*leaders[1:], len(code)]))


def _successors(
    code: list[Instruction], labels: dict[str, int], entry: Entry, stop: int
) -> list[int]:
    last = code[stop - 1]
    base = _base(last)
    if base in ("ret", "exit", "trap"):
        return []
    if base == "brx":
        return [labels[name] for name in entry.tables[last.operands[-1]]]
    if base == "bra":
        target = labels[last.operands[0]]
        return [target, stop] if last.guard else [target]
    return [stop]


class _Flow:
    """Which registers are alive where a piece ends."""

    def __init__(self, writers: dict[int, Writer], after: dict[int, list[int]]) -> None:
        self.alive_in = {at: set(w.reads) for at, w in writers.items()}
        changed = True
        while changed:
            changed = False
            for at in sorted(writers, reverse=True):
                out = self.alive_out(after[at])
                now = set(writers[at].reads) | (out - writers[at].writes)
                if now != self.alive_in[at]:
                    self.alive_in[at], changed = now, True

    def alive_out(self, after: list[int]) -> set[int]:
        return set().union(*(self.alive_in.get(at, set()) for at in after)) if after else set()


def _function(name: str, writer: Writer, alive: set[int]) -> str:
    reads, writes = sorted(writer.reads), sorted(writer.writes & alive)
    lines = [f"def {name}(m, idx):", " R = m.registers"]
    if reads:
        lines.append(" if idx is None:")
        lines += [f"  r{k} = R[{k}]" for k in reads]
        lines.append(" else:")
        lines += [f"  r{k} = pick(R[{k}], idx)" for k in reads]
    lines += [f" {line}" for line in writer.lines]
    if writes:
        lines.append(" if idx is None:")
        lines += [f"  R[{k}] = r{k}" for k in writes]
        lines.append(" else:")
        lines += [f"  R[{k}] = m.merge(R[{k}], r{k}, idx)" for k in writes]
    lines += [f" {line}" for line in writer.end]
    return "\n".join(lines)


def pick(value: Any, idx: Any) -> Any:
    """The active threads' part of a register."""
    return value if len(value) == 1 else value[idx]


def _votes(code: list[Instruction], entry: Entry) -> dict[str, str]:
    """The element type that each register is kept as: float where it mostly is one."""
    kinds = {}
    score: dict[str, int] = dict.fromkeys(entry.registers, 0)
    for instruction in code:
        parts = instruction.opcode.split(".")
        floats = parts[-1] in ("f32", "f64") and parts[0] not in ("ld", "st", "cvt", "selp", "mov")
        for operand in instruction.operands:
            if operand in score:
                score[operand] += 1 if floats else -1 if parts[-1][0] in "us" else 0
    for name, kind in entry.registers.items():
        size = kind[1:]
        if kind == "pred":
            kinds[name] = "?"
        elif size in ("32", "64") and (kind[0] == "f" or score[name] > 0):
            kinds[name] = {"32": "f4", "64": "f8"}[size]
        else:
            kinds[name] = {"8": "u1", "16": "u2", "32": "u4", "64": "u8"}[size]
    return kinds


def lower(module: Module, name: str, symbols: tuple[tuple[str, int], ...] = ()) -> Code:
    """The kernel of a module; `symbols`: addresses of its global variables."""
    return _lower(_Key(module, name, symbols))


class _Key:
    """A key by identity of the module, which `parse` keeps."""

    def __init__(self, module: Module, name: str, symbols: tuple[tuple[str, int], ...]) -> None:
        self.module, self.name, self.symbols = module, name, symbols

    def __hash__(self) -> int:
        return hash((id(self.module), self.name, self.symbols))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (
            self.module is other.module
            and self.name == other.name
            and self.symbols == other.symbols
        )


@lru_cache(2048)
def _lower(key: _Key) -> Code:
    entry = key.module.entries[key.name]
    code, labels = _split_guards(entry)
    ends = not code or _base(code[-1]) not in ("ret", "exit", "bra", "trap", "brx")
    if ends or len(code) in labels.values():
        code.append(Instruction("", "ret", ()))
    kinds = _votes(code, entry)
    numbers = {name: k for k, name in enumerate(["CC", *entry.registers])}
    kinds = {"CC": "?", **kinds}
    namespace: dict[str, Any] = {n: getattr(arith, n) for n in arith.__all__}
    namespace.update(np=np, pick=pick, count=np.count_nonzero)
    writers: dict[int, Writer] = {}
    after: dict[int, list[int]] = {}
    syncs: dict[int, Writer] = {}
    for start, stop in _spans(code, labels):
        writer = Writer(entry, numbers, kinds, labels, namespace, dict(key.symbols))
        for at in range(start, stop):
            _instruction(writer, code[at], at)
        if not writer.end:
            writer.end.append(f"return {stop}")
        writers[start] = writer
        after[start] = _successors(code, labels, entry, stop)
        if _is_sync(code[start]):
            mask = Writer(entry, numbers, kinds, labels, namespace, {})
            mask.end.append(f"return {mask.value(_mask(code[start]), 'u4')}")
            syncs[start] = mask
    flow = _Flow(writers, after)
    texts = [_function(f"piece{at}", w, flow.alive_out(after[at])) for at, w in writers.items()]
    texts += [_function(f"sync{at}", w, set()) for at, w in syncs.items()]
    exec(compile("\n".join(texts), f"<{key.name}>", "exec"), namespace)
    pieces = {at: Piece(namespace[f"piece{at}"], namespace.get(f"sync{at}")) for at in writers}
    start_values = tuple(np.zeros(1, np.dtype(kind)) for kind in kinds.values())
    lines = tuple(f"{i.opcode} {', '.join(i.operands)}" for i in code)
    return Code(entry, pieces, start_values, lines)


def _instruction(writer: Writer, instruction: Instruction, at: int) -> None:
    parts = instruction.opcode.split(".")
    writer.at = at
    make = OPCODES.get(parts[0])
    if make is None or "approx" in parts or "ftz" in parts or "full" in parts:
        raise NotImplementedError(f"PTX instruction {instruction.opcode}")
    writer.guard = instruction.guard
    try:
        make(writer, parts, instruction.operands)
    except (KeyError, IndexError, ValueError) as error:
        said = f"{instruction.opcode} {', '.join(instruction.operands)}"
        raise NotImplementedError(f"PTX instruction {said} ({error!r})") from error
