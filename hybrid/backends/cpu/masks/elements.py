"""Elements where a mask is true: taken one after the other, and put back.

Invariant: elements are bits of their width, whatever they stand for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...emit.code import Code
from ...generated import Generated
from ...plan import HostStep
from ..gemm.pack import each
from ..order import values as sorting
from ..order.values import Registers
from ..order.vectors import Vectors
from ..words import address
from .walks import (
    BASE,
    COUNTS,
    GROUP,
    MASK,
    OUT,
    VALUES,
    MaskWalk,
    TrueGroup,
    each_true,
    over_blocks,
    words_of_mask,
)

__all__ = ["replaced", "taken"]


class _Form(NamedTuple):
    """Elements as they lie in memory, and as vectors of them move by lanes; `moves`: whether these
    do."""

    stored: Vectors
    moved: Vectors
    moves: bool

    def widened(self, vector: str) -> str:
        return self._converted("zext", vector, self.stored, self.moved)

    def narrowed(self, vector: str) -> str:
        return self._converted("trunc", vector, self.moved, self.stored)

    def _converted(self, how: str, vector: str, source: Vectors, target: Vectors) -> str:
        if source.bits == target.bits:
            return vector
        return source.code.op(f"{how} {source.type} {vector} to {target.type}")

    def copy(self, source: str, target: str) -> None:
        """An element."""
        key = self.stored.key
        value = self.stored.code.op(f"load {key}, ptr {source}")
        self.stored.code.do(f"store {key} {value}, ptr {target}")


def _form(builder: Code, bits: int, given: Registers) -> _Form:
    wide = max(bits, 16 if given.narrow else 32)
    lanes = 8 * given.size // wide
    moved = Vectors(builder, wide, lanes)
    return _Form(Vectors(builder, bits, lanes), moved, given.size == 64 or bits >= 32)


@lru_cache(None)
def _taking(bits: int, given: Registers) -> tuple[str, str]:
    mask_walk = MaskWalk("taken")
    builder = mask_walk.code
    values, form = address(builder, VALUES), _form(builder, bits, given)

    def put_element(number: str, ahead: str) -> None:
        form.copy(form.stored.at(values, number), form.stored.at(mask_walk.target, ahead))

    def many_elements(group: TrueGroup) -> None:
        ahead = group.ahead
        for first, mask in mask_walk.masks(group, form.moved.lanes):
            found = form.widened(form.stored.load(values, first))
            count = form.moved.count(mask)
            moved = form.narrowed(form.moved.compressed(found, mask))
            place = form.stored.at(mask_walk.target, ahead)
            form.stored.store_some(moved, place, form.moved.front(count))
            ahead = builder.add(ahead, count)

    def whole_group(group: TrueGroup) -> None:
        if form.moves:
            mask_walk.either(
                group, lambda: many_elements(group), lambda: each_true(builder, group, put_element)
            )
        else:
            each_true(builder, group, put_element)

    def item(block: str) -> None:
        mask_walk.groups(
            block, whole_group, lambda group, stop: each_true(builder, group, put_element)
        )

    return mask_walk.finish(item, form.moved.table())


def taken(step: HostStep, temp_slot: int) -> list[Generated]:
    operand, mask, _, out = step.avals
    words = words_of_mask(step, {VALUES: 0, MASK: 1, COUNTS: 2, OUT: 3}, mask.size, out.size)
    return [over_blocks(_taking(8 * operand.dtype.itemsize, sorting.registers()), words, mask.size)]


class _Replacement(NamedTuple):
    """A walk that writes a result: its base (None: zeros) but for the values that are put in."""

    mask_walk: MaskWalk
    form: _Form
    values: str
    base: str | None

    def around(self, index: str) -> str:
        """A vector of the base."""
        return "zeroinitializer" if self.base is None else self.form.stored.load(self.base, index)

    def put_element(self, number: str, ahead: str) -> None:
        stored = self.form.stored
        self.form.copy(stored.at(self.values, ahead), stored.at(self.mask_walk.target, number))

    def few_elements(self, group: TrueGroup) -> None:
        """The base is copied ahead of them."""
        builder, stored = self.mask_walk.code, self.form.stored
        for start in range(0, GROUP, stored.lanes):
            index = builder.add(group.first, str(start))
            stored.store(self.around(index), self.mask_walk.target, index)
        each_true(builder, group, self.put_element)

    def many_elements(self, group: TrueGroup) -> None:
        builder, form, ahead = self.mask_walk.code, self.form, group.ahead
        for first, mask in self.mask_walk.masks(group, form.moved.lanes):
            count = form.moved.count(mask)
            place = form.stored.at(self.values, ahead)
            found = _some(form.stored, place, form.moved.front(count))
            around = self.around(first)
            around = around if self.base is None else form.widened(around)
            spread = _expanded(form.moved, form.widened(found), around, mask)
            form.stored.store(form.narrowed(spread), self.mask_walk.target, first)
            ahead = builder.add(ahead, count)

    def partial_group(self, group: TrueGroup, stop: str) -> None:
        builder, stored = self.mask_walk.code, self.form.stored

        def around(index: str) -> None:
            target = stored.at(self.mask_walk.target, index)
            if self.base is None:
                builder.do(f"store {stored.key} 0, ptr {target}")
            else:
                self.form.copy(stored.at(self.base, index), target)

        each(builder, group.first, stop, "1", around)
        each_true(builder, group, self.put_element)


@lru_cache(None)
def _replacing(bits: int, based: bool, given: Registers) -> tuple[str, str]:
    """Lanes spread with AVX-512 only."""
    mask_walk = MaskWalk("replaced")
    base = address(mask_walk.code, BASE) if based else None
    form, values = _form(mask_walk.code, bits, given), address(mask_walk.code, VALUES)
    made = _Replacement(mask_walk, form, values, base)

    def whole_group(group: TrueGroup) -> None:
        if given.size == 64:
            mask_walk.either(
                group, lambda: made.many_elements(group), lambda: made.few_elements(group)
            )
        else:
            made.few_elements(group)

    return mask_walk.finish(lambda block: mask_walk.groups(block, whole_group, made.partial_group))


def _some(vectors: Vectors, place: str, mask: str) -> str:
    """The lanes of a vector that a mask has, zeros in the others."""
    name, of = f"llvm.masked.load.{vectors.name}.p0", vectors.type
    vectors.code.declared[name] = f"declare {of} @{name}(ptr, i32 immarg, {vectors.mask}, {of})"
    given = f"ptr {place}, i32 {vectors.bits // 8}, {vectors.mask} {mask}, {of} zeroinitializer"
    return vectors.code.op(f"call {of} @{name}({given})")


def _expanded(vectors: Vectors, front: str, around: str, mask: str) -> str:
    """The first lanes of a vector, one after the other, in the lanes that a mask has."""
    name, of = f"llvm.x86.avx512.mask.expand.{vectors.name}", vectors.type
    given = f"{of} {front}", f"{of} {around}", f"{vectors.mask} {mask}"
    return vectors.code.call(name, of, *given)


def replaced(step: HostStep, temp_slot: int) -> list[Generated]:
    values, mask, *_ = step.avals
    based = len(step.inputs) == 4
    order = {VALUES: 0, MASK: 1, COUNTS: 2, OUT: len(step.inputs)}
    if based:
        order[BASE] = 3
    words = words_of_mask(step, order, mask.size, values.size)
    made = _replacing(8 * values.dtype.itemsize, based, sorting.registers())
    return [over_blocks(made, words, mask.size)]
