"""Code of the steps of a scatter kernel.

Invariant: a block adds the updates of one row in increasing order; rows differ between blocks, and
a thread owns its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from ....ir.scalar.program import ScalarType
from ...emit.code import Code
from ...emit.lanes import memory_scalar
from ...emit.memory import SIZE
from ..emit.access import Span, load_spans, store_spans
from ..emit.body import barrier, grid_loop, guard, pointer, register, return_unless

__all__ = ["WordIndex", "Table", "Scatter", "SCRATCH", "LIST", "LONG_LIST"]

LIST = 512  # updates of a row that a block puts in order at once
LONG_LIST = 4 * LIST  # those that are found in order
_AHEAD = 6  # updates whose elements are asked for together; more take registers of other blocks
SCRATCH = (
    f"@list = internal addrspace(3) global [{LONG_LIST} x i32] poison, align 16\n"
    "@counts = internal addrspace(3) global [32 x i32] poison, align 16"
)


UpdateAt = Callable[[str], str]  # the number of the k-th update


class WordIndex(IntEnum):
    """Positions of the argument words; an operand has its address and a byte offset."""

    OUT = 0
    INDEX = 2
    UPDATE = 4
    COUNT = 6
    INNER = 7
    OUT_STEP = 8
    INDEX_STEP = 9
    UPDATE_STEP = 10
    STATUS = 11
    WORKSPACE = 12
    BITS = 13  # of the numbers of buckets
    CHUNK = 14  # columns of a block
    CHUNKS = 15
    OUT_OFFSET = 1
    INDEX_OFFSET = 3
    UPDATE_OFFSET = 5


class Table(NamedTuple):
    """The table of rows in the workspace: per bucket its row (i64), then how many updates it has,
    where their list starts, how many are in it (i32 each); then a cursor (i64: elements of the
    lists, and rows, that are given out), the records of the rows, the bucket of each update and the
    lists (i32)."""

    bits: int

    @staticmethod
    def of(count: int) -> Table:
        return Table(max(5, (2 * count - 1).bit_length()))

    @property
    def buckets(self) -> int:
        return 1 << self.bits

    def nbytes(self, count: int) -> int:
        return 20 * self.buckets + 16 + 24 * count


class RowUpdates(NamedTuple):
    """A row that has updates: (i64 row, i32 start of its list, i32 updates) in 16 bytes."""

    row: str
    start: str
    many: str


class Scatter:
    """Writes the steps."""

    def __init__(self, code: Code, kind: ScalarType, vector: int, threads: int) -> None:
        self.code, self.kind, self.vector, self.threads = code, kind, vector, threads
        self.tid, self.cta = register(code, "tid.x"), register(code, "ctaid.x")

    def guard(self) -> None:
        guard(self.code, WordIndex.STATUS)

    # ---- words and addresses
    def word(self, index: int) -> str:
        spot = self.code.once(f"getelementptr i64, ptr %args, i64 {int(index)}")
        return self.code.once(f"load i64, ptr {spot}, align 8")

    def base(self, operand: int) -> str:
        start = pointer(self.code, int(operand))
        return self.code.once(f"getelementptr i8, ptr {start}, i64 {self.word(operand + 1)}")

    def row_of(self, update: str) -> str:
        """The row that an update goes to."""
        far = self.code.mul(update, self.word(WordIndex.INDEX_STEP))
        spot = self.code.at("i8", self.base(WordIndex.INDEX), far)
        return self.code.op(f"load i64, ptr {spot}, align 8")

    def span(self, operand: int, step: int, row: str, column: str) -> Span:
        far = self.code.mul(row, self.word(step))
        start = self.code.at("i8", self.base(operand), far)
        return Span(self.kind, self.code.at(memory_scalar(self.kind), start, column), self.vector)

    def buckets(self) -> str:
        return self.code.once(f"shl i64 1, {self.word(WordIndex.BITS)}")

    def workspace(self, offset: str) -> str:
        return self.code.at("i8", pointer(self.code, int(WordIndex.WORKSPACE)), offset)

    def column_of(self, part: int, number: str) -> str:
        """Address of an i32 of a bucket: 0 updates, 1 start, 2 enlisted."""
        start = self.code.once(f"mul i64 {self.buckets()}, {8 + 4 * part}")
        return self.code.at("i32", self.workspace(start), number)

    def cursor(self) -> str:
        return self.workspace(self.code.once(f"mul i64 {self.buckets()}, 20"))

    def record_at(self, number: str) -> str:
        first = self.code.at("i8", self.cursor(), "16")
        return self.code.at("[16 x i8]", first, number)

    def bucket_of(self, update: str) -> str:
        """Address of the number of the bucket of an update."""
        return self.code.at("i32", self.record_at(self.word(WordIndex.COUNT)), update)

    def listed(self, number: str) -> str:
        """Address of an element of the lists."""
        return self.code.at("i32", self.bucket_of(self.word(WordIndex.COUNT)), number)

    def load32(self, address: str) -> str:
        loaded = self.code.op(f"load i32, ptr {address}, align 4")
        return self.code.op(f"zext i32 {loaded} to i64")

    def store32(self, value: str, address: str) -> None:
        short = self.code.op(f"trunc i64 {value} to i32")
        self.code.do(f"store i32 {short}, ptr {address}, align 4")

    def shared(self, name: str, number: str) -> str:
        base = self.code.once(f"addrspacecast ptr addrspace(3) @{name} to ptr")
        return self.code.at("i32", base, number)

    def counted(self, address: str) -> str:
        """What an i32 was before 1 was added, as one step."""
        old = self.code.op(
            f'atomicrmw add ptr {address}, i32 1 syncscope("device") monotonic, align 4'
        )
        return self.code.op(f"zext i32 {old} to i64")

    def each(self, total: str, visit: Callable[[str], None]) -> None:
        grid_loop(self.code, total, visit)

    # ---- adding
    def add_listed(
        self, row: str, first: str, stop: str, many: str, update_at: UpdateAt | None = None
    ) -> None:
        """Columns first..stop of a row take the `many` updates of the list, in its order."""
        if update_at is None:
            update_at = self.in_list
        code, step = self.code, self.threads * self.vector
        mine = code.add(first, code.once(f"mul i64 {self.tid}, {self.vector}"))

        def columns(column: str, _: list[str]) -> list[str]:
            target = self.span(WordIndex.OUT, WordIndex.OUT_STEP, row, column)
            values = load_spans(code, [target], self.aligned())[0]
            number, kind = "0", memory_scalar(self.kind)
            for ahead in (1,) if many == "1" else (_AHEAD, 1):

                def some(k: str, now: list[str], ahead: int = ahead) -> list[str]:
                    updates = [update_at(code.add(k, str(number))) for number in range(ahead)]
                    return self.add_some(column, updates, now)

                number, values = code.loop(
                    number, many, str(ahead), [(kind, x) for x in values], some, full=ahead
                )
            store_spans(code, [target], [values], self.aligned())
            return []

        code.loop(mine, stop, str(step), [], columns)

    def in_list(self, number: str) -> str:
        return self.load32(self.shared("list", number))

    def add_some(self, column: str, updates: list[str], values: list[str]) -> list[str]:
        """Values of some columns after these updates, whose elements are asked for together."""
        code, operation = self.code, "fadd" if self.kind[0] == "f" else "add"
        spans = [self.span(WordIndex.UPDATE, WordIndex.UPDATE_STEP, x, column) for x in updates]
        kind = memory_scalar(self.kind)
        for added in load_spans(code, spans, self.aligned()):
            values = [code.op(f"{operation} {kind} {x}, {y}") for x, y in zip(values, added)]
        return values

    def aligned(self) -> str | None:
        """i1: rows of both operands are aligned; rows are a multiple of an access apart."""
        if self.vector == 1:
            return None
        reach = self.vector * SIZE[memory_scalar(self.kind)]
        total = "0"
        for operand in (WordIndex.OUT, WordIndex.UPDATE):
            address = self.code.once(f"ptrtoint ptr {self.base(operand)} to i64")
            rest = self.code.once(f"and i64 {address}, {reach - 1}")
            total = rest if total == "0" else self.code.once(f"or i64 {total}, {rest}")
        return self.code.once(f"icmp eq i64 {total}, 0")

    def columns(self) -> None:
        """A thread per column walks all updates."""
        code, scalar = self.code, Scatter(self.code, self.kind, 1, self.threads)

        def column(number: str) -> None:
            def one(update: str, _: list[str]) -> list[str]:
                target = scalar.span(WordIndex.OUT, WordIndex.OUT_STEP, self.row_of(update), number)
                source = scalar.span(WordIndex.UPDATE, WordIndex.UPDATE_STEP, update, number)
                old, added = load_spans(code, [target, source], None)
                operation = "fadd" if self.kind[0] == "f" else "add"
                total = code.op(f"{operation} {memory_scalar(self.kind)} {old[0]}, {added[0]}")
                store_spans(code, [target], [[total]], None)
                return []

            code.loop("0", self.word(WordIndex.COUNT), "1", [], one)

        self.each(self.word(WordIndex.INNER), column)

    # ---- looking through all updates
    def scan(self, row: str, begin: str, visit: Callable[[str], None]) -> None:
        """Updates of a row from `begin` on, in order, some at a time in the list:
        visit(how many)."""
        code, count = self.code, self.word(WordIndex.COUNT)

        def some(first: str, _: list[str]) -> list[str]:
            update = code.op(f"add i64 {first}, {self.tid}")
            there = code.op(f"icmp slt i64 {update}, {count}")
            inside = code.op(f"select i1 {there}, i64 {update}, i64 {begin}")
            same = code.op(f"icmp eq i64 {self.row_of(inside)}, {row}")
            many = self.enlist_those([code.op(f"and i1 {there}, {same}")], [update])
            code.when(code.op(f"icmp sgt i64 {many}, 0"), lambda: visit(many))
            barrier(code)
            return []

        code.loop(begin, count, str(self.threads), [], some)

    def enlist_those(self, wanted: Sequence[str], updates: Sequence[str], listed: str = "0") -> str:
        """Put the updates that are wanted into the list behind those `listed`, the first of all
        threads before the second ones; gives how many there are."""
        code, warps = self.code, self.threads // 32
        lane = code.once(f"trunc i64 {code.once(f'and i64 {self.tid}, 31')} to i32")
        warp = code.once(f"lshr i64 {self.tid}, 5")
        below = code.once(f"sub i32 {code.once(f'shl i32 1, {lane}')}, 1")
        before = []
        for number, one in enumerate(wanted):
            votes = code.call("llvm.nvvm.vote.ballot.sync", "i32", "i32 -1", f"i1 {one}")
            before.append(self._population(code.op(f"and i32 {votes}, {below}")))
            total = self._population(votes)
            cell = self.shared("counts", code.add(warp, str(warps * number)))
            code.when(code.op(f"icmp eq i32 {lane}, 0"), partial(self.store32, total, cell))
        barrier(code)
        starts, every = [], listed
        for number in range(len(wanted)):
            start = every
            for other in range(warps):
                many = self.load32(self.shared("counts", str(warps * number + other)))
                earlier = code.op(f"icmp ult i64 {other}, {warp}")
                start = code.add(start, code.op(f"select i1 {earlier}, i64 {many}, i64 0"))
                every = code.add(every, many)
            starts.append(start)
        for one, update, start, mine in zip(wanted, updates, starts, before):
            spot = self.shared("list", code.add(start, mine))
            code.when(one, partial(self.store32, update, spot))
        barrier(code)
        return every

    def _population(self, votes: str) -> str:
        number = self.code.call("llvm.ctpop.i32", "i32", f"i32 {votes}")
        return self.code.op(f"zext i32 {number} to i64")

    def few(self) -> None:
        """A block per update and chunk of columns: the first update of a row does all of it."""
        code = self.code
        chunks = self.word(WordIndex.CHUNKS)
        update = code.op(f"udiv i64 {self.cta}, {chunks}")
        chunk = code.op(f"sub i64 {self.cta}, {code.op(f'mul i64 {update}, {chunks}')}")
        row = self.row_of(update)

        def look(other: str, found: list[str]) -> list[str]:
            same = code.op(f"icmp eq i64 {self.row_of(other)}, {row}")
            return [code.op(f"or i1 {found[0]}, {same}")]

        carried = [("i1", "false")]
        earlier = code.loop(self.tid, update, str(self.threads), carried, look)[1][0]
        return_unless(code, code.op(f"icmp eq i64 {self.enlist_those([earlier], [update])}, 0"))
        first = code.op(f"mul i64 {chunk}, {self.word(WordIndex.CHUNK)}")
        stop = code.smin(code.add(first, self.word(WordIndex.CHUNK)), self.word(WordIndex.INNER))
        self.scan(row, update, lambda many: self.add_listed(row, first, stop, many))

    # ---- the table
    def clear(self) -> None:
        code = self.code

        def bucket(number: str) -> None:
            spot = code.at("i64", self.workspace("0"), number)
            code.do(f"store i64 -1, ptr {spot}, align 8")
            for part in (0, 2):  # the start is set where there are updates
                code.do(f"store i32 0, ptr {self.column_of(part, number)}, align 4")

        self.each(self.buckets(), bucket)
        first = code.op(f"icmp eq i64 {code.op(f'or i64 {self.tid}, {self.cta}')}, 0")
        code.when(first, lambda: code.do(f"store i64 0, ptr {self.cursor()}, align 8"))

    def insert(self) -> None:
        """Find or make the bucket of each update's row, and count it there."""
        code = self.code
        mask = code.once(f"sub i64 {self.buckets()}, 1")
        shift = code.once(f"sub i64 64, {self.word(WordIndex.BITS)}")

        def update(number: str) -> None:
            row = self.row_of(number)
            mixed = code.op(f"mul i64 {row}, -7046029254386353131")
            bucket = self.find(row, code.op(f"lshr i64 {mixed}, {shift}"), mask)
            self.store32(bucket, self.bucket_of(number))
            self.found(number, bucket)

        self.each(self.word(WordIndex.COUNT), update)

    def found(self, number: str, bucket: str) -> None:
        """Count an update in the bucket of its row."""
        self.counted(self.column_of(0, bucket))

    def find(self, row: str, first: str, mask: str) -> str:
        """The bucket of a row: the first from `first` on that is free or has it."""
        code = self.code
        head, after, before = code.label("look"), code.label("found"), code.block
        code.jump(head)
        code.start(head)
        bucket, following = f"%n{code.count}", code.label("next")
        reserved = len(code.lines)
        code.lines.append("")
        spot = code.at("i64", self.workspace("0"), bucket)
        seen, trial = code.op(f"load volatile i64, ptr {spot}, align 8"), code.label("try")
        code.branch(code.op(f"icmp eq i64 {seen}, {row}"), after, trial)
        code.start(trial)
        pair = code.op(
            f'cmpxchg ptr {spot}, i64 -1, i64 {row} syncscope("device") monotonic monotonic'
        )
        old = code.op(f"extractvalue {{ i64, i1 }} {pair}, 0")
        free, same = code.op(f"icmp eq i64 {old}, -1"), code.op(f"icmp eq i64 {old}, {row}")
        code.branch(code.op(f"or i1 {free}, {same}"), after, following)
        code.start(following)
        later = code.op(f"and i64 {code.op(f'add i64 {bucket}, 1')}, {mask}")
        code.jump(head)
        values = f"[{first}, %{before}], [{later}, %{following}]"
        code.lines[reserved] = f"  {bucket} = phi i64 {values}"
        code.start(after)
        return bucket

    def allot(self) -> None:
        """Give each bucket a part of the lists, and a record."""
        code = self.code

        def bucket(number: str) -> None:
            many = self.load32(self.column_of(0, number))

            def take() -> None:
                both = code.op(f"or i64 {code.op(f'shl i64 {many}, 32')}, 1")
                old = code.op(
                    f"atomicrmw add ptr {self.cursor()}, i64 {both} "
                    'syncscope("device") monotonic, align 8'
                )
                start = code.op(f"lshr i64 {old}, 32")
                self.store32(start, self.column_of(1, number))
                spot = code.at("i64", self.workspace("0"), number)
                row = code.op(f"load i64, ptr {spot}, align 8")
                rest = code.op(f"or i64 {code.op(f'shl i64 {many}, 32')}, {start}")
                record = self.record_at(code.op(f"and i64 {old}, {(1 << 32) - 1}"))
                pair = code.op(f"insertelement <2 x i64> poison, i64 {row}, i64 0")
                pair = code.op(f"insertelement <2 x i64> {pair}, i64 {rest}, i64 1")
                code.do(f"store <2 x i64> {pair}, ptr {record}, align 16")

            code.when(code.op(f"icmp ne i64 {many}, 0"), take)

        self.each(self.buckets(), bucket)

    def enlist(self) -> None:
        """Put each update into the list of its bucket, in any order."""

        def update(number: str) -> None:
            bucket = self.load32(self.bucket_of(number))
            position = self.counted(self.column_of(2, bucket))
            start = self.load32(self.column_of(1, bucket))
            self.store32(number, self.listed(self.code.add(start, position)))

        self.each(self.word(WordIndex.COUNT), update)

    def record(self) -> RowUpdates:
        """That of this block; blocks without one are done."""
        code = self.code
        given = code.op(f"load i64, ptr {self.cursor()}, align 8")
        rows = code.op(f"and i64 {given}, {(1 << 32) - 1}")
        pair = code.op(f"load <2 x i64>, ptr {self.record_at(self.cta)}, align 16")
        return_unless(code, code.op(f"icmp slt i64 {self.cta}, {rows}"))
        row, rest = (code.op(f"extractelement <2 x i64> {pair}, i64 {k}") for k in range(2))
        start = code.op(f"and i64 {rest}, {(1 << 32) - 1}")
        return RowUpdates(row, start, code.op(f"lshr i64 {rest}, 32"))

    def add(self) -> None:
        """A block per row: its only update, its list in order, or all updates looked through
        where that is long."""
        code, record, inner = self.code, self.record(), self.word(WordIndex.INNER)
        labels = [code.label(name) for name in ("one", "more", "short", "long", "added")]
        one, more, short, long, after = labels
        code.branch(code.op(f"icmp eq i64 {record.many}, 1"), one, more)
        code.start(one)
        update = self.load32(self.listed(record.start))
        self.add_listed(record.row, "0", inner, "1", lambda _: update)
        code.jump(after)
        code.start(more)
        code.branch(code.op(f"icmp sle i64 {record.many}, {LIST}"), short, long)
        code.start(short)
        self.sort(record.start, record.many)
        self.add_listed(record.row, "0", inner, record.many)
        code.jump(after)
        code.start(long)
        self.scan(record.row, "0", lambda some: self.add_listed(record.row, "0", inner, some))
        code.jump(after)
        code.start(after)

    def sort(self, start: str, many: str) -> None:
        """The list of a bucket in increasing order: each number goes where as many are less."""
        code = self.code

        def fetch(number: str, _: list[str]) -> list[str]:
            update = self.load32(self.listed(code.add(start, number)))
            self.store32(update, self.shared("list", code.add(number, str(LIST))))
            return []

        code.loop(self.tid, many, str(self.threads), [], fetch)
        barrier(code)

        def put(number: str, _: list[str]) -> list[str]:
            update = self.load32(self.shared("list", code.add(number, str(LIST))))

            def less(other: str, rank: list[str]) -> list[str]:
                value = self.load32(self.shared("list", code.add(other, str(LIST))))
                one = code.op(f"zext i1 {code.op(f'icmp ult i64 {value}, {update}')} to i64")
                return [code.op(f"add i64 {rank[0]}, {one}")]

            rank = code.loop("0", many, "1", [("i64", "0")], less)[1][0]
            self.store32(update, self.shared("list", rank))
            return []

        code.loop(self.tid, many, str(self.threads), [], put)
        barrier(code)
