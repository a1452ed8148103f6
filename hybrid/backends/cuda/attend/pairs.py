"""From the product of a query and a key to its score: scale, mask, causality, factor.

Invariant: a score is one chain over features, then times scale, then the mask, in this order; a key
that must not be seen has the score -inf.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....core import dtypes as dt
from ....ir.attend import TILE
from ...plan import Access
from .writer import AttendWriter

__all__ = ["Pairs"]


class Pairs:
    """Mask and factor of one batch position."""

    def __init__(self, writer: AttendWriter, coordinates: Sequence[str]) -> None:
        self.writer = writer
        self.scale = writer.scalar_word("scale", writer.kernel.scale)
        self.starts: dict[str, str] = {
            name: writer.vector(name, writer.reads[name], coordinates)
            for name in ("mask", "factor")
            if name in writer.reads
        }
        code, sizes = writer.code, writer.sizes
        self.last_query = code.op(f"sub i64 {sizes['m']}, 1")
        self.last_key = code.op(f"sub i64 {sizes['n']}, 1")

    def _element(self, name: str, access: Access, query: str, key: str, scalar: str) -> str:
        """An element of the mask or the factor; beyond the last one, that."""
        writer, code = self.writer, self.writer.code
        row = code.mul(code.smin(query, self.last_query), writer.step(name, access))
        column = code.mul(code.smin(key, self.last_key), writer.step(name, access, 1))
        pointer = writer.beyond(self.starts[name], code.add(row, column))
        return writer.load_global(pointer, scalar=scalar)

    def score(self, product: str, query: str, key: str) -> str:
        writer, code = self.writer, self.writer.code
        value = writer.apply("fmul", product, self.scale)
        access = writer.reads.get("mask")
        if access is not None and access.dtype is dt.bool_:
            seen = code.op(f"icmp ne i8 {self._element('mask', access, query, key, 'i8')}, 0")
            value = writer.pick(seen, value, writer.number(float("-inf")))
        elif access is not None:
            mask = self._element("mask", access, query, key, writer.element.scalar)
            value = writer.apply("fadd", value, mask)
        if writer.kernel.causal:
            ahead = code.op(f"icmp sgt i64 {key}, {query}")
            value = writer.pick(ahead, writer.number(float("-inf")), value)
        return value

    def times_factor(self, value: str, query: str, key: str) -> str:
        writer, access = self.writer, self.writer.reads.get("factor")
        if access is None:
            return value
        factor = self._element("factor", access, query, key, writer.element.scalar)
        return writer.apply("fmul", value, factor)

    def stop_key(self, first_query: str, queries: int) -> str:
        """Past the last key that takes part for any of so many queries."""
        writer, code = self.writer, self.writer.code
        if not writer.kernel.causal:
            return writer.sizes["n"]
        stop = code.op(f"and i64 {code.add(first_query, str(queries + TILE - 1))}, -{TILE}")
        return code.smin(writer.sizes["n"], stop)
