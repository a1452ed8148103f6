"""The args words of a generated product: what differs between kernels of one text.

Invariant: the position of a word depends on the structure of the kernel only (the order in which
the generator asks), so equal structures give equal texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...emit.code import Code
from ...emit.generated import SlotRef, Word
from .geometry import Factor, Runs
from .pack import Walk, offset_of

__all__ = ["Words"]


class Words:
    """Collects words and emits their loads."""

    def __init__(self) -> None:
        self.values: list[Word] = []
        self.names: dict[str, int] = {}
        self.tables: list[tuple[int, Sequence[int]]] = []

    def index(self, name: str, value: Word) -> int:
        """Number of the word called `name`."""
        at = self.names.get(name)
        if at is None:
            at = self.names[name] = len(self.values)
            self.values.append(value)
        return at

    def word(self, code: Code, name: str, value: Word) -> str:
        """The i64 word called `name`, loaded at the entry of the function."""
        at = self.index(name, value)
        return code.once(f"load i64, ptr {code.once(f'getelementptr i64, ptr %args, i64 {at}')}")

    def table(self, code: Code, name: str, values: Sequence[int]) -> str:
        """Pointer to words holding `values` (they follow the scalar words)."""
        if name not in self.names:
            self.tables.append((self.index(name, 0), values))
        start = self.word(code, name, 0)
        return code.once(f"getelementptr i64, ptr %args, i64 {start}")

    def walk(self, code: Code, name: str, runs: Runs, itemsize: int) -> Walk:
        """An index space; unit and zero strides are part of the text."""
        if runs.stride in (0, itemsize):
            stride = str(runs.stride)
        else:
            stride = self.word(code, name + ".stride", runs.stride)
        if runs.starts is None:
            return Walk(None, "0", stride)
        length = self.word(code, name + ".length", runs.length)
        return Walk(self.table(code, name + ".starts", runs.starts), length, stride)

    def base(self, code: Code, name: str, offset: Word, operand: str = "") -> str:
        """Pointer to the buffer of an operand (called `name` if nothing else is said) plus its
        constant byte offset."""
        slot = self.word(code, name + ".slot", SlotRef(operand or name))
        at = code.once(f"getelementptr ptr, ptr %bufs, i64 {slot}")
        buf = code.once(f"load ptr, ptr {at}")
        return code.once(
            f"getelementptr i8, ptr {buf}, i64 {self.word(code, name + '.offset', offset)}"
        )

    def temp(self, code: Code) -> str:
        """Pointer to the workspace."""
        return self.base(code, "temp", 0)

    def factor(self, code: Code, name: str, factor: Factor, batch: str) -> str:
        """Pointer to a factor of one product of the batch."""
        op, size = factor.operand, factor.storage.size
        base = self.base(code, name, op.offset * size, factor.name)
        walk = self.walk(code, name + ".batch", factor.batch, size)
        return code.at("i8", base, offset_of(code, walk, batch))

    def finish(self) -> tuple[Word, ...]:
        """All words: scalars in the order they were asked for, then the tables."""
        values = list(self.values)
        for at, table in self.tables:
            values[at] = len(values)
            values.extend(table)
        return tuple(values)
