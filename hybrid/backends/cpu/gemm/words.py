"""The args words of a generated product: what differs between kernels of one text.

Invariant: the position of a word depends on the structure of the kernel only (the order in which
the generator asks), so equal structures give equal texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...emit.code import Code
from .geometry import Factor, Runs
from .pack import Walk, offset_of

__all__ = ["Generated", "Words"]


class Generated(NamedTuple):
    """One kernel-ABI function and how to launch it.  `text` defines `symbol` (equal texts, equal
    symbols); `words` are the args (unsigned); items are split freely in chunks of `grain`;
    `scratch` bytes per thread; `temp` bytes of the workspace slot that the kernels of one
    `generate` call share."""

    text: str
    symbol: str
    key: str
    words: tuple[int, ...]
    items: int
    grain: int
    scratch: int
    temp: int = 0


class Words:
    """Collects words and emits their loads."""

    def __init__(self, temp_slot: int) -> None:
        self.temp_slot = temp_slot
        self.values: list[int] = []
        self.names: dict[str, int] = {}
        self.tables: list[tuple[int, Sequence[int]]] = []

    def index(self, name: str, value: int) -> int:
        """Number of the word called `name`."""
        at = self.names.get(name)
        if at is None:
            at = self.names[name] = len(self.values)
            self.values.append(value)
        return at

    def word(self, code: Code, name: str, value: int) -> str:
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

    def base(self, code: Code, name: str, slot: int, offset: int) -> str:
        """Pointer to a buffer plus its constant byte offset."""
        at = code.once(f"getelementptr ptr, ptr %bufs, i64 {self.word(code, name + '.slot', slot)}")
        buf = code.once(f"load ptr, ptr {at}")
        return code.once(
            f"getelementptr i8, ptr {buf}, i64 {self.word(code, name + '.offset', offset)}"
        )

    def temp(self, code: Code) -> str:
        """Pointer to the workspace."""
        return self.base(code, "temp", self.temp_slot, 0)

    def factor(self, code: Code, name: str, factor: Factor, batch: str) -> str:
        """Pointer to a factor of one product of the batch."""
        op, size = factor.operand, factor.storage.size
        base = self.base(code, name, op.slot, op.offset * size)
        walk = self.walk(code, name + ".batch", factor.batch, size)
        return code.at("i8", base, offset_of(code, walk, batch))

    def finish(self) -> tuple[int, ...]:
        values = list(self.values)
        for at, table in self.tables:
            values[at] = len(values)
            values.extend(table)
        return tuple(v & (1 << 64) - 1 for v in values)
