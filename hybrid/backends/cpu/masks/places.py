"""How many elements of a mask are true, and where they are.

Invariant: numbers are found in row-major order of the mask; coordinates are computed from them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from ....ir.algorithm import MASK_BLOCK
from ...generated import Generated
from ...plan import HostStep
from ..gemm.pack import each
from ..order import values as sorting
from ..order.values import Registers
from ..order.vectors import Vectors
from ..words import address, argument
from .walks import (
    COUNTS,
    FURTHER,
    GROUP,
    MASK,
    OUT,
    VALUES,
    MaskWalk,
    TrueGroup,
    counted,
    each_true,
    group_at,
    over_blocks,
    part_at,
    words_of_mask,
)

__all__ = ["counts", "places"]


# ---- counts
@lru_cache(None)
def _counting() -> tuple[str, str]:
    """The count of a block is stored behind it."""
    mask_walk = MaskWalk("counts")
    builder = mask_walk.code

    def item(block: str) -> None:
        first, stop = mask_walk.ends(block)

        def more(index: str, counts: list[str]) -> list[str]:
            return [
                builder.add(counts[0], counted(builder, group_at(builder, mask_walk.mask, index)))
            ]

        index, (count,) = builder.loop(first, stop, str(GROUP), [("i64", "0")], more, full=GROUP)
        rest = counted(builder, part_at(builder, mask_walk.mask, index, stop))
        place = builder.at("i64", mask_walk.target, builder.add(block, "1"))
        builder.do(f"store i64 {builder.add(count, rest)}, ptr {place}")

    return mask_walk.finish(item)


@lru_cache(None)
def _adding() -> tuple[str, str]:
    """The counts of all blocks are added up, in one item."""
    mask_walk = MaskWalk("added")
    builder = mask_walk.code

    def item(_: str) -> None:
        builder.do(f"store i64 0, ptr {mask_walk.target}")

        def one(block: str, before: list[str]) -> list[str]:
            place = builder.at("i64", mask_walk.target, block)
            total = builder.add(before[0], builder.op(f"load i64, ptr {place}"))
            builder.do(f"store i64 {total}, ptr {place}")
            return [total]

        builder.loop("1", mask_walk.limit, "1", [("i64", "0")], one)

    return mask_walk.finish(item)


def counts(step: HostStep, temp_slot: int) -> list[Generated]:
    size, made = step.avals[0].size, step.avals[1].size
    words = words_of_mask(step, {MASK: 0, OUT: 1}, size, made)
    return [over_blocks(_counting(), words, size), Generated(*_adding(), words, 1, 1, 0)]


# ---- places
class _Axis(NamedTuple):
    """Whether a coordinate is a quotient, and what is left of one."""

    divides: bool
    remains: bool


def _quotient(vectors: Vectors, number: str, at: int) -> tuple[str, str]:
    """Of whole numbers below 2**53 by one whose words (itself, its reciprocal as a double) are
    there, and what is left: a product that is off by one at most is put right."""
    builder, many = vectors.code, vectors.type
    doubles = f"<{vectors.lanes} x double>"
    factor = builder.op(f"bitcast i64 {argument(builder, at + 8)} to double")
    one = builder.op(f"insertelement {doubles} poison, double {factor}, i64 0")
    zeros = f"<{vectors.lanes} x i32> zeroinitializer"
    factor = builder.op(f"shufflevector {doubles} {one}, {doubles} poison, {zeros}")
    divisor = vectors.spread(argument(builder, at))
    near = builder.op(f"sitofp {many} {number} to {doubles}")
    near = builder.op(f"fmul {doubles} {near}, {factor}")
    quotient = builder.op(f"fptosi {doubles} {near} to {many}")
    rest = builder.op(f"sub {many} {number}, {builder.op(f'mul {many} {quotient}, {divisor}')}")
    over = builder.op(f"icmp slt {many} {rest}, zeroinitializer")
    under = builder.op(f"icmp sge {many} {rest}, {divisor}")
    for sign, truth in (("sub", over), ("add", under)):
        step = builder.op(f"zext {vectors.mask} {truth} to {many}")
        quotient = builder.op(f"{sign} {many} {quotient}, {step}")
    rest = builder.op(f"sub {many} {number}, {builder.op(f'mul {many} {quotient}, {divisor}')}")
    return quotient, rest


@lru_cache(None)
def _placing(axes: tuple[_Axis, ...], given: Registers) -> tuple[str, str]:
    """Row-major numbers, which become coordinates where there are axes."""
    mask_walk = MaskWalk("places")
    builder, vectors = mask_walk.code, Vectors(mask_walk.code, 64, given.size // 8)

    def item(block: str) -> None:
        start, after = mask_walk.room(block)
        target = mask_walk.target if not axes else "%scratch"
        shift = start if axes else "0"

        def place(ahead: str) -> str:
            return vectors.at(target, builder.op(f"sub i64 {ahead}, {shift}") if axes else ahead)

        def put_element(number: str, ahead: str) -> None:
            builder.do(f"store i64 {number}, ptr {place(ahead)}")

        def whole_group(group: TrueGroup) -> None:
            mask_walk.either(
                group,
                lambda: _numbers(mask_walk, vectors, group, place),
                lambda: each_true(builder, group, put_element),
            )

        mask_walk.groups(
            block, whole_group, lambda group, stop: each_true(builder, group, put_element)
        )
        if axes:
            count = builder.smin(builder.op(f"sub i64 {after}, {start}"), str(MASK_BLOCK))
            _coordinates(mask_walk, vectors, axes, start, count)

    return mask_walk.finish(item, vectors.table())


def _numbers(
    mask_walk: MaskWalk, vectors: Vectors, group: TrueGroup, place: Callable[[str], str]
) -> None:
    """Those of the true elements of a group, vectors at a time."""
    builder, ahead = mask_walk.code, group.ahead
    steps = "<" + ", ".join(f"i64 {lane}" for lane in range(vectors.lanes)) + ">"
    for first, mask in mask_walk.masks(group, vectors.lanes):
        numbers = builder.op(f"add {vectors.type} {vectors.spread(first)}, {steps}")
        count = vectors.count(mask)
        moved = vectors.compressed(numbers, mask)
        vectors.store_some(moved, place(ahead), vectors.front(count))
        ahead = builder.add(ahead, count)


def _coordinates(
    mask_walk: MaskWalk, vectors: Vectors, axes: tuple[_Axis, ...], start: str, count: str
) -> None:
    """Of the numbers in scratch memory, to the rows of the result from one on."""
    builder = mask_walk.code
    row_start = builder.at("i64", mask_walk.target, builder.mul(start, str(len(axes))))

    def some(index: str) -> None:
        number = vectors.load("%scratch", index)
        left = builder.op(f"sub i64 {count}, {index}")
        for column, axis in enumerate(axes):
            made, at = number, FURTHER + 32 * column
            if axis.divides:
                made = _quotient(vectors, made, at)[0]
            if axis.remains:
                made = _quotient(vectors, made, at + 16)[1]
            if len(axes) == 1:
                vectors.store_some(made, vectors.at(row_start, index), vectors.first(left))
                continue
            for lane in range(vectors.lanes):
                value = builder.op(f"extractelement {vectors.type} {made}, i64 {lane}")
                ahead = builder.mul(builder.add(index, str(lane)), str(len(axes)))
                place = builder.at("i64", row_start, builder.add(ahead, str(column)))
                inside = builder.op(f"icmp slt i64 {lane}, {left}")
                builder.when(inside, lambda: builder.do(f"store i64 {value}, ptr {place}"))  # noqa: B023

    each(builder, "0", count, str(vectors.lanes), some)


def places(step: HostStep, temp_slot: int) -> list[Generated]:
    algorithm: Any = step.algorithm
    mask, _, out = step.avals
    if algorithm.gaps:
        return _far_apart(step, temp_slot)
    axes, more = list[_Axis](), list[int]()
    for axis in algorithm.axes or ():
        inner, extent = prod(mask.shape[axis + 1 :]), mask.shape[axis]
        axes.append(_Axis(inner != 1, axis != 0))
        for number in (max(inner, 1), max(extent, 1)):
            more += [number, _bits(1.0 / number)]
    words = words_of_mask(step, {MASK: 0, COUNTS: 1, OUT: 2}, mask.size, out.shape[0], *more)
    scratch = 8 * (MASK_BLOCK + 8) if axes else 0
    return [over_blocks(_placing(tuple(axes), sorting.registers()), words, mask.size, scratch)]


def _bits(number: float) -> int:
    return int.from_bytes(struct.pack("<d", number), "little")


# ---- gaps
@lru_cache(None)
def _parting() -> tuple[str, str]:
    """An item is the numbers of a block; how many blocks there are is a further word."""
    mask_walk = MaskWalk("gaps")
    builder, numbers = mask_walk.code, address(mask_walk.code, VALUES)
    total = builder.smin(mask_walk.ahead(argument(builder, FURTHER)), mask_walk.limit)

    def block_item(block: str) -> None:
        start, stop = mask_walk.room(block)

        def number_at(index: str) -> str:
            return builder.op(f"load i64, ptr {builder.at('i64', numbers, index)}")

        def store_gap(index: str) -> None:
            following = builder.smin(builder.add(index, "1"), builder.op(f"sub i64 {total}, 1"))
            last = builder.op(f"icmp eq i64 {following}, {index}")
            end = builder.op(f"select i1 {last}, i64 {mask_walk.size}, i64 {number_at(following)}")
            gap = builder.op(f"sub i64 {end}, {number_at(index)}")
            builder.do(f"store i64 {gap}, ptr {builder.at('i64', mask_walk.target, index)}")

        each(builder, start, stop, "1", store_gap)

    return mask_walk.finish(block_item)


def _far_apart(step: HostStep, temp_slot: int) -> list[Generated]:
    """Numbers go to the workspace, then the gaps between them to the result."""
    mask, _, out = step.avals
    placed = step._replace(outputs=(temp_slot,))
    words = words_of_mask(placed, {MASK: 0, COUNTS: 1, OUT: 2}, mask.size, out.shape[0])
    first = over_blocks(_placing((), sorting.registers()), words, mask.size)
    apart = step._replace(inputs=(*step.inputs, temp_slot))
    order = {MASK: 0, COUNTS: 1, VALUES: 2, OUT: 3}
    blocks = -(-mask.size // MASK_BLOCK)
    words = words_of_mask(apart, order, mask.size, out.shape[0], blocks)
    return [first._replace(temp=8 * mask.size), over_blocks(_parting(), words, mask.size)]
