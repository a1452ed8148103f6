"""Programs in threads of a card: operands by address, groups of adjacent elements, divisions by
multiplication.

Invariant: every element is computed by the scalar instructions of the program, whatever a schedule
gives a thread to do, so all schedules have the bits of the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ....ir.scalar.program import ScalarType
from ...emit.body import Body
from ...emit.code import Code
from ...emit.form import Form, Walk, Words
from ...emit.lanes import Lanes, memory_scalar
from ...emit.memory import Position, load_scalar, store_scalar
from ...emit.programs.spacing import running_values
from .access import Span, all_aligned, load_spans, store_spans

__all__ = [
    "Threads",
    "ThreadBody",
    "Row",
    "Group",
    "register",
    "barrier",
    "pointer",
    "guard",
    "return_unless",
    "grid_loop",
    "divisor_words",
    "magic_of",
]


def register(code: Code, name: str) -> str:
    """A special register of the thread, as i64."""
    full = f"llvm.nvvm.read.ptx.sreg.{name}"
    code.declare(full, "i32", ())
    return code.once(f"zext i32 {code.once(f'call i32 @{full}()')} to i64")


def barrier(code: Code) -> None:
    """All threads of the block arrive here before one goes on."""
    code.call("llvm.nvvm.barrier0", "void")


def pointer(code: Code, word: int) -> str:
    """The buffer whose address is an argument word."""
    spot = code.once(f"getelementptr i64, ptr %args, i64 {word}")
    address = code.once(f"load ptr addrspace(1), ptr {spot}, align 8")
    return code.once(f"addrspacecast ptr addrspace(1) {address} to ptr")


def return_unless(code: Code, condition: str) -> None:
    """Threads for which the condition does not hold are done."""
    stop, start = code.label("stop"), code.label("start")
    code.branch(condition, start, stop)
    code.start(stop)
    code.do("ret void")
    code.start(start)


def guard(code: Code, status: int) -> None:
    """Return at once when an earlier check has failed; `status` is the word with its address."""
    failed = code.op(f"load i64, ptr {pointer(code, status)}, align 8")
    return_unless(code, code.op(f"icmp eq i64 {failed}, 0"))


def grid_loop(code: Code, total: str, visit: Callable[[str], None], first: str = "0") -> None:
    """visit(item) for every item from `first` below total, spread over all threads of the grid."""
    tid, cta = register(code, "tid.x"), register(code, "ctaid.x")
    ntid, ncta = register(code, "ntid.x"), register(code, "nctaid.x")
    start = code.once(f"add i64 {code.once(f'mul i64 {cta}, {ntid}')}, {tid}")
    step = code.once(f"mul i64 {ncta}, {ntid}")

    def one(item: str, _: list[str]) -> list[str]:
        visit(item)
        return []

    code.loop(code.add(first, start), total, step, [], one)


# ---- divisions
def divisor_words(form: Form) -> list[int]:
    """Words that elements' numbers are divided by; each has a magic word in the extension."""
    words = Words(form)
    return [
        *(words.dim(axis) for axis in range(1, form.outer)),
        *(words.multi(axis) for axis in range(1, form.multi)),
        *(words.group(axis) for axis in range(1, form.group)),
        words.n,
    ]


def magic_of(divisor: int) -> int:
    """(factor, shift) as one word: x // divisor == x * factor >> shift for 0 <= x < 2**31."""
    divisor = max(divisor, 1)
    if divisor >= 1 << 31:
        return 63 << 32  # no such x reaches it
    shift = 31 + (divisor - 1).bit_length()
    return (1 << shift) // divisor + 1 | shift << 32


class Row(NamedTuple):
    """Where a body stands: bases of operands, starts of affine values, what is known there."""

    base: list[str]
    start: list[str]
    known: dict[int, str]
    splats: dict[int, str]


class Group(NamedTuple):
    """Adjacent elements of one row that a thread computes together."""

    row: Row
    positions: list[Position]


class ThreadBody(Body):
    """The program of a form for one thread.

    `vector` operands are read and written in spans where they are adjacent.  `narrow`: all numbers
    of elements and strides are below 2**31.  The extension of the words: the addresses of the
    status word and of the workspace, magic numbers, then words of a schedule's own (`own`)."""

    def __init__(self, code: Code, form: Form, vector: Iterable[int], narrow: bool) -> None:
        super().__init__(code, form, 1)
        self.narrow, self.wide_operands = narrow, frozenset(vector)
        self.running = running_values(form)
        self.status = self.words.temp
        divisors = divisor_words(form)
        self.magic = {word: self.status + 2 + k for k, word in enumerate(divisors)}
        self._own = self.status + 2 + len(divisors)

    # ---- words
    def operand(self, operand: int) -> str:
        slot = self.words.slot(operand)
        base = pointer(self.code, slot)
        return self.code.once(f"getelementptr i8, ptr {base}, i64 {self.word(slot + 1)}")

    def own(self, number: int) -> int:
        """Position of a word of the schedule."""
        return self._own + number

    def workspace(self) -> str:
        return pointer(self.code, self.status + 1)

    # ---- integers
    def divide(self, number: str, size: str, magic: int) -> tuple[str, str]:
        """(number // size, number % size) of a number that is not negative."""
        code = self.code
        if not self.narrow:
            quotient = code.op(f"udiv i64 {number}, {size}")
            return quotient, code.op(f"sub i64 {number}, {code.op(f'mul i64 {quotient}, {size}')}")
        factor, shift = self.half_word(2 * magic), self.half_word(2 * magic + 1)
        short = code.op(f"trunc i64 {number} to i32")
        pair = [code.op(f"zext i32 {x} to i64") for x in (short, factor, shift)]
        product = code.op(f"mul i64 {pair[0]}, {pair[1]}")
        quotient = code.op(f"trunc i64 {code.op(f'lshr i64 {product}, {pair[2]}')} to i32")
        divisor = code.once(f"trunc i64 {size} to i32")
        rest = code.op(f"sub i32 {short}, {code.op(f'mul i32 {quotient}, {divisor}')}")
        return code.op(f"zext i32 {quotient} to i64"), code.op(f"zext i32 {rest} to i64")

    def divide_by_word(self, number: str, word: int) -> tuple[str, str]:
        return self.divide(number, self.word(word), self.magic[word])

    def _divide(self, lanes: Lanes, number: str, size: str) -> tuple[str, str]:
        word = next(word for word in self.magic if self.word(word) == size)
        return self.divide(number, size, self.magic[word])

    def half_word(self, number: int) -> str:
        """One half of a word as i32, counted in halves."""
        spot = self.code.once(f"getelementptr i32, ptr %args, i64 {number}")
        return self.code.once(f"load i32, ptr {spot}, align 4")

    def times_word(self, number: str, word: int) -> str:
        """number * word; both are below 2**31 where the body is narrow."""
        code = self.code
        if number == "0":
            return number
        if not self.narrow:
            return code.mul(number, self.word(word))
        factors = (code.op(f"trunc i64 {number} to i32"), self.half_word(2 * word))
        pair = [code.op(f"sext i32 {x} to i64") for x in factors]
        return code.op(f"mul i64 {pair[0]}, {pair[1]}")

    # ---- rows
    def row(self) -> Row:
        """Where the body stands."""
        return Row(self.base, self.start, self.known, self.splats)

    def enter(self, row: Row) -> None:
        self.base, self.start, self.known, self.splats = row
        self.coords = ("", [], "")

    # ---- single elements
    def address(self, operand: int, position: Position) -> str:
        """Of an element of an operand that walks along the row."""
        code, walk = self.code, self.walk(operand)
        if walk.several_axes:
            return code.at("i8", self.base[operand], self.spread(operand, position))
        if walk in (Walk.SAME, Walk.ONCE):
            return self.base[operand]
        if walk is Walk.ADJACENT:
            kind = (*self.form.reads, *self.form.writes)[operand].type
            return code.at(memory_scalar(kind), self.base[operand], position.j)
        return code.at(
            "i8",
            self.base[operand],
            self.times_word(position.j, self.words.stride(operand, self.words.rank - 1)),
        )

    def _read(self, operand: int, scalar_type: ScalarType, position: Position) -> str:
        return load_scalar(self.code, scalar_type, self.address(operand, position))

    def write(self, operand: int, value: str, position: Position, stream: bool = False) -> None:
        spot = self.address(self.nreads + operand, position)
        store_scalar(self.code, self.form.writes[operand].type, value, spot)

    # ---- groups
    def aligned(self, count: int) -> str:
        """i1: spans of so many elements of all wide operands are aligned in row 0, so in all."""
        kinds = (*self.form.reads, *self.form.writes)
        spans = [Span(kinds[k].type, self.operand(k), count) for k in sorted(self.wide_operands)]
        return all_aligned(self.code, spans)

    def evaluate(
        self,
        numbers: Sequence[int],
        groups: Sequence[Group],
        aligned: str | None,
        known: Callable[[int, int, int], str | None] = lambda number, group, lane: None,
    ) -> list[list[dict[int, str]]]:
        """Values of elements (as `prepare` gave them) by group and element; `known(number, group,
        element)` names those that are there already."""
        values: list[list[dict[int, str]]] = [[{} for _ in g.positions] for g in groups]
        there = [n for n in numbers for g in range(len(groups)) if known(n, g, 0) is not None]
        for number in set(there):
            for group_number, lanes in enumerate(values):
                for lane, names in enumerate(lanes):
                    name = known(number, group_number, lane)
                    assert name is not None
                    names[number] = name
        todo = [n for n in numbers if n not in set(there)]
        self._read_spans([n for n in todo if self._is_span(n)], groups, values, aligned)
        for step in self._steps(todo):
            if isinstance(step, int) and self._is_span(step):
                continue
            if isinstance(step, int) and self._is_running(step):
                self._load_running(step, groups, values)
                continue
            for group, lanes in zip(groups, values):
                self.enter(group.row)
                self._evaluate([step], group.positions, lanes)
        return values

    def _is_span(self, number: int) -> bool:
        instr = self.program.instrs[number]
        return instr.prim == "arg" and instr.attr in self.wide_operands

    def _is_running(self, number: int) -> bool:
        instr = self.program.instrs[number]
        return instr.prim == "load" and self.running[instr.args[0]]

    def _span(self, operand: int, group: Group) -> Span:
        self.enter(group.row)
        kinds = (*self.form.reads, *self.form.writes)
        return Span(
            kinds[operand].type, self.address(operand, group.positions[0]), len(group.positions)
        )

    def _read_spans(
        self,
        numbers: Sequence[int],
        groups: Sequence[Group],
        values: list[list[dict[int, str]]],
        aligned: str | None,
    ) -> None:
        wanted = [(n, g) for n in numbers for g in range(len(groups))]
        spans = [self._span(self.program.instrs[n].attr, groups[g]) for n, g in wanted]
        loaded = load_spans(self.code, spans, aligned) if spans else []
        for (number, group), elements in zip(wanted, loaded):
            for names, element in zip(values[group], elements):
                names[number] = element

    def _load_running(
        self, number: int, groups: Sequence[Group], values: list[list[dict[int, str]]]
    ) -> None:
        """A gather whose index grows by one from element to element."""
        instr, spans = self.program.instrs[number], []
        for group, lanes in zip(groups, values):
            index = self._operand_name(instr.args[0], group, lanes[0])
            address = self.code.at(memory_scalar(instr.type), group.row.base[instr.attr], index)
            spans.append(Span(instr.type, address, len(group.positions)))
        single = all(span.size == 1 for span in spans)
        loaded = load_spans(self.code, spans, None if single else all_aligned(self.code, spans))
        for lanes, elements in zip(values, loaded):
            for names, element in zip(lanes, elements):
                names[number] = element

    def _operand_name(self, number: int, group: Group, names: Mapping[int, str]) -> str:
        self.enter(group.row)
        return self.splat(number) if self.uniform[number] else names[number]

    def value_of(self, number: int, group: Group, names: Mapping[int, str]) -> str:
        """A value of an element of a group."""
        return self._operand_name(number, group, names)

    def store(
        self,
        writes: Iterable[int],
        groups: Sequence[Group],
        values: Sequence[Sequence[Mapping[int, str]]],
        aligned: str | None,
    ) -> None:
        """Store results of groups."""
        spans, stored = [], []
        for write in writes:
            number = self.program.outs[write]
            for group, lanes in zip(groups, values):
                elements = [self.value_of(number, group, names) for names in lanes]
                if self.nreads + write in self.wide_operands:
                    spans.append(self._span(self.nreads + write, group))
                    stored.append(elements)
                    continue
                self.enter(group.row)
                for position, element in zip(group.positions, elements):
                    self.write(write, element, position)
        if spans:
            store_spans(self.code, spans, stored, aligned)


class Threads:
    """What all kinds of kernel share: thread numbers, the body, the status word."""

    def __init__(
        self,
        form: Form,
        guarded: bool,
        vector: Iterable[int] = (),
        narrow: bool = False,
    ) -> None:
        self.code = Code()
        self.form, self.program = form, form.program
        self.body = ThreadBody(self.code, form, vector, narrow)
        self.tid, self.cta = register(self.code, "tid.x"), register(self.code, "ctaid.x")
        self.ncta = register(self.code, "nctaid.x")
        if guarded:
            guard(self.code, self.body.status)

    def finish_row(
        self, row: Row, once: Sequence[int], thread: str, meet: Callable[[], None] | None
    ) -> None:
        """Thread 0 of a row stores its results that have one value per row, after the threads have
        met where others may still read what is overwritten."""
        code, body = self.code, self.body
        body.enter(row)
        values = [body.scalar_value(self.program.outs[k]) for k in once]
        if not values:
            return
        if meet is not None:
            meet()

        def write() -> None:
            for number, value in zip(once, values):
                body.write_once(number, value)

        code.when(code.op(f"icmp eq i64 {thread}, 0"), write)

    def fail(self, position: str, check: str) -> None:
        """Report a failed check at a position, with the number of the check; the first report
        stays, and is told to the host."""
        code, status = self.code, pointer(self.code, self.body.status)
        report = code.op(f"add i64 {code.op(f'add i64 {position}, 1')}, {check}")
        pair = code.op(f"cmpxchg ptr {status}, i64 0, i64 {report} monotonic monotonic")
        second = code.op(f"getelementptr i64, ptr {status}, i64 1")
        host = code.op(f"load i64, ptr {second}, align 8")
        first = code.op(f"extractvalue {{ i64, i1 }} {pair}, 1")
        known = code.op(f"icmp ne i64 {host}, 0")

        def tell() -> None:
            address = code.op(f"inttoptr i64 {host} to ptr")
            code.do(f"store volatile i64 {report}, ptr {address}, align 8")

        code.when(code.op(f"and i1 {first}, {known}"), tell)
