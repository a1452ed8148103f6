"""Walks over the blocks of masks, in groups of elements whose truths are the bits of a number.

Invariant: a block knows from the counts ahead of it where its true elements go, so who walks which
block changes nothing; what is read and written lies inside of the operands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ....ir.algorithm import MASK_BLOCK
from ...emit.code import Code, finish_module
from ...emit.loops import SIGNATURE
from ...generated import Generated, pack_words
from ...plan import HostStep
from ..gemm.pack import each
from ..words import address, argument

__all__ = [
    "BASE",
    "COUNTS",
    "FURTHER",
    "GROUP",
    "MASK",
    "OUT",
    "VALUES",
    "MaskWalk",
    "TrueGroup",
    "counted",
    "each_true",
    "group_at",
    "over_blocks",
    "part_at",
    "words_of_mask",
]

GROUP = 64  # elements of a mask that are looked at together
_FEW = 6  # true ones of a group that are sooner moved one by one
_CHUNK = 1 << 15  # elements that make a sensible chunk of work
# argument words: operands (slot, byte offset), then sizes; what else a function takes is behind
MASK, COUNTS, OUT, VALUES, BASE, _SIZE, _LIMIT, FURTHER = *range(0, 80, 16), 80, 88, 96

Put = Callable[[str, str], None]  # (number of a true element, its place among them)


class TrueGroup(NamedTuple):
    """Elements of a mask side by side: the number of the first one, a bit for each, how many are
    true, and how many are ahead of them."""

    first: str
    bits: str
    true_count: str
    ahead: str


def group_at(builder: Code, mask: str, index: str) -> str:
    """The bits of a whole group."""
    place = builder.at("i8", mask, index)
    given = builder.op(f"load <{GROUP} x i8>, ptr {place}, align 1")
    truths = builder.op(f"icmp ne <{GROUP} x i8> {given}, zeroinitializer")
    return builder.op(f"bitcast <{GROUP} x i1> {truths} to i64")


def part_at(builder: Code, mask: str, index: str, stop: str) -> str:
    """The bits of what is left behind whole groups."""

    def one(number: str, bits: list[str]) -> list[str]:
        given = builder.op(f"load i8, ptr {builder.at('i8', mask, number)}")
        truth = builder.op(f"zext i1 {builder.op(f'icmp ne i8 {given}, 0')} to i64")
        shifted = builder.op(f"shl i64 {truth}, {builder.op(f'sub i64 {number}, {index}')}")
        return [builder.op(f"or i64 {bits[0]}, {shifted}")]

    return builder.loop(index, stop, "1", [("i64", "0")], one)[1][0]


def counted(builder: Code, bits: str) -> str:
    return builder.call("llvm.ctpop.i64", "i64", f"i64 {bits}")


def each_true(builder: Code, group: TrueGroup, put_element: Put) -> None:
    """One after the other."""

    def one(number: str, bits: list[str]) -> list[str]:
        lane = builder.call("llvm.cttz.i64", "i64", f"i64 {bits[0]}", "i1 false")
        put_element(builder.add(group.first, lane), builder.add(group.ahead, number))
        return [builder.op(f"and i64 {bits[0]}, {builder.op(f'sub i64 {bits[0]}, 1')}")]

    builder.loop("0", group.true_count, "1", [("i64", group.bits)], one)


class MaskWalk:
    """A function whose items are blocks of a mask."""

    def __init__(self, name: str) -> None:
        self.name, self.code = name, Code()
        self.mask, self.counts, self.target = [address(self.code, at) for at in (MASK, COUNTS, OUT)]
        self.size, self.limit = argument(self.code, _SIZE), argument(self.code, _LIMIT)

    def ends(self, block: str) -> tuple[str, str]:
        """The first element of a block, and the one behind its last."""
        first = self.code.mul(block, str(MASK_BLOCK))
        return first, self.code.smin(self.code.add(first, str(MASK_BLOCK)), self.size)

    def ahead(self, block: str) -> str:
        return self.code.op(f"load i64, ptr {self.code.at('i64', self.counts, block)}")

    def room(self, block: str) -> tuple[str, str]:
        """The first place of a block's true elements, and the one behind their last, as the counts
        say; -1 behind a first one where these lie outside of what there is."""
        builder = self.code
        start, after = self.ahead(block), self.ahead(builder.add(block, "1"))
        least = builder.op(f"icmp sge i64 {start}, 0")
        most = builder.op(f"icmp sle i64 {after}, {self.limit}")
        inside = builder.op(f"and i1 {least}, {most}")
        start = builder.op(f"select i1 {inside}, i64 {start}, i64 0")
        return start, builder.op(f"select i1 {inside}, i64 {after}, i64 -1")

    def groups(
        self,
        block: str,
        whole_group: Callable[[TrueGroup], None],
        partial_group: Callable[[TrueGroup, str], None],
    ) -> None:
        """whole_group(group) for all groups of a block; partial_group(group, stop) for what is
        left.  A block is left alone where the counts place its true elements outside of what there
        is, a group has none where the counts leave no room for all of its own."""
        builder = self.code
        first, stop = self.ends(block)
        start, after = self.room(block)
        fits = builder.op(f"icmp sle i64 {start}, {after}")
        stop = builder.op(f"select i1 {fits}, i64 {stop}, i64 {first}")

        def group_of(index: str, bits: str, ahead: str) -> TrueGroup:
            """Nothing in it is true where there is no room for all that is."""
            count = counted(builder, bits)
            fits = builder.op(f"icmp sle i64 {builder.add(ahead, count)}, {after}")
            bits = builder.op(f"select i1 {fits}, i64 {bits}, i64 0")
            return TrueGroup(
                index, bits, builder.op(f"select i1 {fits}, i64 {count}, i64 0"), ahead
            )

        def one(index: str, ahead: list[str]) -> list[str]:
            group = group_of(index, group_at(builder, self.mask, index), ahead[0])
            whole_group(group)
            return [builder.add(ahead[0], group.true_count)]

        initial = [("i64", start)]
        index, (ahead,) = builder.loop(first, stop, str(GROUP), initial, one, full=GROUP)
        partial_group(group_of(index, part_at(builder, self.mask, index, stop), ahead), stop)

    def either(
        self, group: TrueGroup, many_elements: Callable[[], None], few_elements: Callable[[], None]
    ) -> None:
        """What is done with a group of many, or of few true elements."""
        builder = self.code
        dense, sparse, after = map(builder.label, ("dense", "sparse", "after"))
        builder.branch(builder.op(f"icmp sgt i64 {group.true_count}, {_FEW}"), dense, sparse)
        for label, act in ((dense, many_elements), (sparse, few_elements)):
            builder.start(label)
            act()
            builder.jump(after)
        builder.start(after)

    def masks(self, group: TrueGroup, lanes: int) -> list[tuple[str, str]]:
        """For each of the vectors of a group its first element and the mask of its lanes."""
        builder, made = self.code, list[tuple[str, str]]()
        for start in range(0, GROUP, lanes):
            bits = builder.op(f"lshr i64 {group.bits}, {start}")
            short = builder.op(f"trunc i64 {bits} to i{lanes}")
            mask = builder.op(f"bitcast i{lanes} {short} to <{lanes} x i1>")
            made.append((builder.add(group.first, str(start)), mask))
        return made

    def finish(self, item: Callable[[str], None], head: str = "") -> tuple[str, str]:
        each(self.code, "%begin", "%end", "1", item)
        self.code.do("ret i64 0")
        text, symbol = finish_module(self.code, SIGNATURE, f"mask_{self.name}")
        return head + text, symbol


def words_of_mask(step: HostStep, order: dict[int, int], size: int, limit: int, *more: int) -> Any:
    """Argument words; `order`: the offset of an operand's words -> its number among inputs and
    outputs."""
    slots = (*step.inputs, *step.outputs)
    words = [0] * (_SIZE // 8)
    for offset, number in order.items():
        words[offset // 8] = slots[number]
    return pack_words((*words, size, limit, *more), {})


def over_blocks(text: tuple[str, str], words: Any, size: int, scratch: int = 0) -> Generated:
    return Generated(*text, words, -(-size // MASK_BLOCK), _CHUNK // MASK_BLOCK, scratch)
