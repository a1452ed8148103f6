"""Steps of a scatter kernel of some thousand updates: a table whose buckets hold the updates of
their rows.

Invariant: a bucket has every update of its row while they are few; else the block of the row looks
for them among all, in order.
"""

from __future__ import annotations

from collections.abc import Callable

from ..emit.body import return_unless
from .code import LONG_LIST, Scatter, Table, WordIndex

__all__ = ["SlotSteps", "slots_nbytes"]

_SLOTS = 8  # updates in a bucket
_SHARE = 4  # updates that a thread looks at together


def slots_nbytes(table: Table, count: int) -> int:
    """Bytes of the workspace: per bucket its row (i64), how many updates that has (i32) and their
    slots (i32 each), then the bucket of each update (i32)."""
    return (12 + 4 * _SLOTS) * table.buckets + 4 * count


class SlotSteps(Scatter):
    """Writes the steps `clear`, `insert` and `add` of this table."""

    def listed(self, number: str) -> str:
        """Address of a slot; those of bucket b start at b * _SLOTS."""
        start = self.code.once(f"mul i64 {self.buckets()}, 12")
        return self.code.at("i32", self.workspace(start), number)

    def bucket_of(self, update: str) -> str:
        """Address of the number of the bucket of an update."""
        start = self.code.once(f"mul i64 {self.buckets()}, {12 + 4 * _SLOTS}")
        return self.code.at("i32", self.workspace(start), update)

    def clear(self) -> None:
        code = self.code

        def bucket(number: str) -> None:
            spot = code.at("i64", self.workspace("0"), number)
            code.do(f"store i64 -1, ptr {spot}, align 8")
            self.store32("0", self.column_of(0, number))

        self.each(self.buckets(), bucket)

    def found(self, number: str, bucket: str) -> None:
        """Count an update in the bucket of its row, and put it there if there is room."""
        code = self.code
        place = self.counted(self.column_of(0, bucket))
        spot = self.listed(code.add(code.mul(bucket, str(_SLOTS)), place))
        code.when(
            code.op(f"icmp slt i64 {place}, {_SLOTS}"),
            lambda: self.store32(number, spot),
        )

    def add(self) -> None:
        """A block per update, which adds all those of its row if it was the first in the bucket."""
        code, update, inner = self.code, self.cta, self.word(WordIndex.INNER)
        row, bucket = self.row_of(update), self.load32(self.bucket_of(update))
        start = code.op(f"mul i64 {bucket}, {_SLOTS}")
        many, first = self.load32(self.column_of(0, bucket)), self.load32(self.listed(start))
        return_unless(code, code.op(f"icmp eq i64 {first}, {update}"))
        labels = [code.label(name) for name in ("one", "more", "short", "long", "added")]
        one, more, short, long, after = labels
        code.branch(code.op(f"icmp eq i64 {many}, 1"), one, more)
        code.start(one)
        self.add_listed(row, "0", inner, "1", lambda _: update)
        code.jump(after)
        code.start(more)
        code.branch(code.op(f"icmp sle i64 {many}, {_SLOTS}"), short, long)
        code.start(short)
        self.sort(start, many)
        self.add_listed(row, "0", inner, many)
        code.jump(after)
        code.start(long)
        self.look_through(bucket, lambda some: self.add_listed(row, "0", inner, some))
        code.jump(after)
        code.start(after)

    def look_through(self, bucket: str, visit: Callable[[str], None]) -> None:
        """Updates of a bucket in order, as many at a time as the list holds: visit(how many)."""
        code, count = self.code, self.word(WordIndex.COUNT)
        step = self.threads * _SHARE

        def some(first: str, carried: list[str]) -> list[str]:
            mine = code.op(f"add i64 {first}, {self.tid}")
            updates = [code.add(mine, str(self.threads * k)) for k in range(_SHARE)]
            there = [code.op(f"icmp slt i64 {x}, {count}") for x in updates]
            inside = [code.op(f"select i1 {t}, i64 {x}, i64 0") for t, x in zip(there, updates)]
            theirs = [self.load32(self.bucket_of(x)) for x in inside]
            same = [code.op(f"icmp eq i64 {x}, {bucket}") for x in theirs]
            wanted = [code.op(f"and i1 {t}, {s}") for t, s in zip(there, same)]
            many = self.enlist_those(wanted, updates, carried[0])
            full = code.op(f"icmp sgt i64 {many}, {LONG_LIST - step}")
            code.when(full, lambda: visit(many))
            return [code.op(f"select i1 {full}, i64 0, i64 {many}")]

        rest = code.loop("0", count, str(step), [("i64", "0")], some)[1][0]
        code.when(code.op(f"icmp sgt i64 {rest}, 0"), lambda: visit(rest))
