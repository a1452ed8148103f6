"""What schedules are chosen by: sizes, strides and costs of a kernel that is laid out.

Invariant: only sizes and the card are asked; no choice changes a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ....ir.scalar.program import ScalarType
from ...emit.form import Form, Walk, Words
from ...emit.lanes import memory_scalar
from ...emit.loops import Layout
from ...emit.memory import SIZE
from ...emit.programs.analysis import length
from ..function import STATUS
from .access import ACCESS, reach_of
from .body import divisor_words, magic_of

__all__ = [
    "Numbers",
    "extended",
    "operand_types",
    "widest",
    "work_of",
    "signed",
]

_LIMIT = 1 << 31


def signed(word: int) -> int:
    """An argument word as the signed number that it stands for."""
    return word - (1 << 64) if word >> 63 else word


def operand_types(form: Form) -> list[ScalarType]:
    return [operand.type for operand in (*form.reads, *form.writes)]


def widest(form: Form, most: int = 16) -> int:
    """Elements whose widest operand makes one access."""
    sizes = [
        SIZE[memory_scalar(operand.type)]
        for operand in (*form.reads, *form.writes)
        if operand.walk in (Walk.ADJACENT, Walk.RUNS, Walk.TURNED)
    ]
    return min(most, ACCESS // max(sizes, default=ACCESS))


def work_of(form: Form) -> int:
    """A rough count of instructions for an element."""
    program = form.program
    return max(1, length(program, range(len(program.instrs))))


class Numbers:
    """The numbers of a layout, by what they mean."""

    def __init__(self, made: Layout) -> None:
        self.form, self.made = made.form, made
        self.words = Words(made.form)

    def at(self, position: int) -> int:
        return signed(self.made.words[position])

    @property
    def length(self) -> int:
        return self.at(self.words.n)

    @property
    def outer(self) -> int:
        """Rows over the outer axes."""
        return prod(self.at(self.words.dim(axis)) for axis in range(self.form.outer))

    @property
    def depth(self) -> int:
        """Rows that a column kernel reduces."""
        return prod(self.at(self.words.group(axis)) for axis in range(self.form.group))

    def group_strides(self) -> list[list[int]]:
        """Strides of the operands along the axes that a column kernel reduces."""
        axes = range(self.form.outer, self.form.outer + self.form.group)
        return [
            [self.at(self.words.stride(operand, axis)) for axis in axes]
            for operand in range(self.words.ops)
        ]

    def narrow(self) -> bool:
        """Whether numbers of elements and strides are below 2**31."""
        sizes = self.outer * max(self.length, 1) * max(self.depth, 1)
        first = self.words.stride(0, 0)
        strides = (signed(w) for w in self.made.words[first : self.words.temp])
        return sizes < _LIMIT and all(-_LIMIT < stride < _LIMIT for stride in strides)

    def wide_operands(self, count: int) -> tuple[int, ...]:
        """Operands whose spans of `count` elements lie side by side and are aligned if the first
        one is."""
        if count == 1:
            return ()
        types = operand_types(self.form)
        return tuple(
            k for k in range(self.words.ops) if self._is_wide(k, reach_of(types[k], count), count)
        )

    def _is_wide(self, operand: int, reach: int, count: int) -> bool:
        words, form = self.words, self.form
        walk = (*form.reads, *form.writes)[operand].walk
        far = [self.at(words.stride(operand, axis)) for axis in range(form.outer + form.group)]
        if walk is Walk.RUNS:
            if self.at(words.multi(form.multi - 1)) % count:
                return False
            far += [self.at(words.multi_stride(operand, axis)) for axis in range(form.multi - 1)]
        elif walk is not Walk.ADJACENT:
            return False
        return all(stride % reach == 0 for stride in far)


def extended(
    made: Layout, own: Sequence[int] = (), temp_slot: int | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(words with their extension, positions of those that become addresses)."""
    form, words = made.form, Words(made.form)
    base = made.words[: words.temp]
    magic = [magic_of(base[position]) for position in divisor_words(form)]
    slots = [words.slot(operand) for operand in range(words.ops)] + [words.temp]
    if temp_slot is not None:
        slots.append(words.temp + 1)
    numbers = (*base, STATUS, temp_slot or 0, *magic, *own)
    return numbers, tuple(slots)
