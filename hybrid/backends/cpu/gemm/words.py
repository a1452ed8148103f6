"""The args words of a generated product: what differs between kernels of one text.

Invariant: the position of a word depends on the structure of the kernel only (the order in which
the generator asks), so equal structures give equal texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...emit.code import Code
from ...generated import SlotRef, Word
from .factors import Factor, Runs
from .pack import IndexWalk, offset_of

__all__ = ["Loader", "GemmWords"]


class GemmWords:
    """Collects the words of all functions of one kernel."""

    def __init__(self) -> None:
        self.values: list[Word] = []
        self.names: dict[str, int] = {}
        self.tables: list[tuple[int, Sequence[int]]] = []

    def index(self, name: str, value: Word) -> int:
        """Number of the word called `name`, which is `value` when it is new."""
        number = self.names.get(name)
        if number is None:
            number = self.names[name] = len(self.values)
            self.values.append(value)
        return number

    def add_table(self, name: str, values: Sequence[int]) -> None:
        """Have the word called `name` say where a table of words starts."""
        if name not in self.names:
            self.tables.append((self.index(name, 0), values))

    def finish(self) -> tuple[Word, ...]:
        """All words: scalars in the order they were asked for, then the tables."""
        values = list(self.values)
        for number, table in self.tables:
            values[number] = len(values)
            values.extend(table)
        return tuple(values)


class Loader(NamedTuple):
    """Words as values of one function; loads stand in its entry block, each once."""

    code: Code
    words: GemmWords

    def word(self, name: str, value: Word) -> str:
        """The i64 word called `name`."""
        number = self.words.index(name, value)
        pointer = self.code.once(f"getelementptr i64, ptr %args, i64 {number}")
        return self.code.once(f"load i64, ptr {pointer}")

    def table(self, name: str, values: Sequence[int]) -> str:
        """Pointer to words holding `values`."""
        self.words.add_table(name, values)
        return self.code.once(f"getelementptr i64, ptr %args, i64 {self.word(name, 0)}")

    def walk(self, name: str, runs: Runs, itemsize: int) -> IndexWalk:
        """An index space.  Unit and zero strides are part of the text: code for adjacent and for
        repeated elements differs from that for strides of any other size."""
        if runs.stride in (0, itemsize):
            stride = str(runs.stride)
        else:
            stride = self.word(name + ".stride", runs.stride)
        if runs.starts is None:
            return IndexWalk(None, "0", stride)
        length = self.word(name + ".length", runs.length)
        return IndexWalk(self.table(name + ".starts", runs.starts), length, stride)

    def base(self, name: str, offset: Word, operand: str = "") -> str:
        """Pointer to the buffer of an operand (called `name` if nothing else is said) plus its
        constant byte offset."""
        slot = self.word(name + ".slot", SlotRef(operand or name))
        place = self.code.once(f"getelementptr ptr, ptr %bufs, i64 {slot}")
        buffer = self.code.once(f"load ptr, ptr {place}")
        start = self.word(name + ".offset", offset)
        return self.code.once(f"getelementptr i8, ptr {buffer}, i64 {start}")

    def workspace(self) -> str:
        """Pointer to the workspace."""
        return self.base("temp", 0)

    def factor(self, name: str, factor: Factor, batch: str) -> str:
        """Pointer to a factor of one product of the batch."""
        itemsize = factor.storage.size
        base = self.base(name, factor.operand.offset * itemsize, factor.name)
        walk = self.walk(name + ".batch", factor.batch, itemsize)
        return self.code.at("i8", base, offset_of(self.code, walk, batch))
