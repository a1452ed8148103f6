"""Kernels whose argument words have names: written once, launched over any memory and sizes.

Invariant: the text depends on how it is written only; what `launch` is given are words: a number is
one, memory is two, the address of its slot and an offset in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ...emit.code import Code, check_externals, finish_module
from ...generated import WORD_MASK
from ..emit.body import grid_loop, guard, pointer, register
from ..function import STATUS, GpuFunction, signature

__all__ = ["Memory", "Workspace", "Text", "AlgorithmWriter", "THREADS", "blocks_for"]

THREADS = 256
_ALIGN = 256


class Memory(NamedTuple):
    """Memory of a slot from an offset in bytes on."""

    slot: int
    offset: int = 0


class Workspace:
    """Memory of the workspace slot, given out from its start."""

    def __init__(self, slot: int) -> None:
        self.slot, self.size = slot, 0

    def take(self, nbytes: int) -> Memory:
        memory = Memory(self.slot, self.size)
        self.size += -(-nbytes // _ALIGN) * _ALIGN
        return memory


class Text(NamedTuple):
    """A written kernel: where its words are, by name."""

    text: str
    symbol: str
    positions: Mapping[str, int]
    words: int
    threads: int

    def launch(self, blocks: int, temp: int = 0, /, **values: Memory | int) -> GpuFunction:
        """Over this memory and these numbers; names that the text does not use are left out."""
        words, slots = [0] * self.words, []
        given = {**values, "status": Memory(STATUS)}
        for name, position in self.positions.items():
            value = given[name]
            if isinstance(value, Memory):
                words[position : position + 2] = value.slot, value.offset & WORD_MASK
                slots.append(position)
            else:
                words[position] = value & WORD_MASK
        parts = self.text, self.symbol, tuple(words), tuple(slots), blocks, self.threads
        return GpuFunction(*parts, temp=temp)


def blocks_for(items: int, threads: int = THREADS) -> int:
    """Blocks of threads that take an item each."""
    return -(-items // threads)


class AlgorithmWriter:
    """Writes one kernel; `guarded`: it does nothing after a failed check."""

    def __init__(self, guarded: bool, threads: int = THREADS, scratch: Sequence[str] = ()) -> None:
        self.code, self.threads, self.scratch = Code(), threads, tuple(scratch)
        self.positions: dict[str, int] = {}
        self.words = 0
        if guarded:
            guard(self.code, self._position("status", 2))

    def _position(self, name: str, size: int) -> int:
        position = self.positions.get(name)
        if position is None:
            position = self.positions[name] = self.words
            self.words += size
        return position

    # ---- what the kernel is told
    def number(self, name: str) -> str:
        """An i64 word."""
        spot = f"getelementptr i64, ptr %args, i64 {self._position(name, 1)}"
        return self.code.once(f"load i64, ptr {self.code.once(spot)}, align 8")

    def base(self, name: str) -> str:
        """The first byte of some memory."""
        position = self._position(name, 2)
        start = pointer(self.code, position)
        spot = self.code.once(f"getelementptr i64, ptr %args, i64 {position + 1}")
        offset = self.code.once(f"load i64, ptr {spot}, align 8")
        return self.code.once(f"getelementptr i8, ptr {start}, i64 {offset}")

    def thread(self) -> str:
        return register(self.code, "tid.x")

    def block(self) -> str:
        return register(self.code, "ctaid.x")

    # ---- memory
    def load(self, kind: str, name: str, index: str) -> str:
        """Element `index` of memory that holds such elements."""
        spot = self.code.at(kind, self.base(name), index)
        return self.code.op(f"load {kind}, ptr {spot}, align {int(kind[1:]) // 8}")

    def store(self, kind: str, name: str, index: str, value: str) -> None:
        spot = self.code.at(kind, self.base(name), index)
        self.code.do(f"store {kind} {value}, ptr {spot}, align {int(kind[1:]) // 8}")

    # ---- control
    def each(self, total: str, visit: Callable[[str], None]) -> None:
        """visit(item) for every item below total, spread over the threads of all blocks."""
        grid_loop(self.code, total, visit)

    def split(self, number: str, size: str) -> tuple[str, str]:
        """(number // size, number % size)"""
        code = self.code
        whole = code.op(f"udiv i64 {number}, {size}")
        return whole, code.op(f"sub i64 {number}, {code.mul(whole, size)}")

    def finish(self, prefix: str) -> Text:
        code = self.code
        code.do("ret void")
        attributes = f'nounwind "nvvm.maxntid"="{self.threads}"'
        text, symbol = finish_module(code, signature(self.words), prefix, attributes)
        text = "\n".join([*self.scratch, text])
        check_externals(text)
        return Text(text, symbol, dict(self.positions), self.words, self.threads)
