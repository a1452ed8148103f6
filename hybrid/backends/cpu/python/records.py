"""Records of the table in generated code: loops over a section, words of a record by name.

Invariant: what is written here reads the table as entry_table.py lays it out, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..machine.asm import Fn
from .entry_table import INPUT, OUT, RESULT, STATE, TABLE

__all__ = ["TableRecord", "Section"]

SECTIONS = {"inputs": INPUT, "states": STATE, "outs": OUT, "results": RESULT}


class TableRecord:
    """One record at an address; each method writes the loads that it needs where it is called."""

    def __init__(self, writer: Fn, address: str, words: Mapping[str, int]) -> None:
        self.asm, self.address, self.words = writer, address, words

    def pointer(self, name: str) -> str:
        """A word that is an address."""
        return self.asm.ld(self.address, self.words[name])

    def number(self, name: str) -> str:
        """A word that is a number."""
        return self.asm.ld(self.address, self.words[name], "i64")

    def spot(self, name: str) -> str:
        """The address that a word gives as an offset in the block of the call."""
        return self.asm.at("%block", self.number(name))

    def is_set(self, name: str) -> str:
        """Whether a number is not 0."""
        return self.asm.cmp("ne", self.number(name), 0)


class Section:
    """The records of one kind; its address is loaded where it is made."""

    def __init__(self, writer: Fn, name: str, table: str = "%table") -> None:
        self.asm, self.name, self.table = writer, name, table
        self.words = SECTIONS[name]
        self.start = writer.ld(table, TABLE[name])

    def count(self) -> str:
        """The number of records."""
        return self.asm.ld(self.table, TABLE[self.name + "_n"], "i64")

    def record(self, index: str) -> TableRecord:
        """The record of that number."""
        return TableRecord(
            self.asm, self.asm.nth(self.start, index, self.words["size"]), self.words
        )

    @contextmanager
    def each(self) -> Iterator[TableRecord]:
        """For each record, in order."""
        with self.asm.each(self.count()) as index:
            yield self.record(index)
