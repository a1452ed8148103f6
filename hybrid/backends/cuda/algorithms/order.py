"""Stable order of lines: tiles sorted in shared memory, then merged two by two.

Invariant: elements are ordered by (key, position), of which no two are equal, so every sorting
network and every merge gives the one stable order.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from ....ir.algorithm import Order
from ...plan import HostStep
from ..emit.body import barrier
from ..function import Card, GpuFunction
from .values import key_dtype, keys, moved, plain
from .writer import AlgorithmWriter, Memory, Text, Workspace, blocks_for

__all__ = ["generate"]

_TILES = (32, 256, 1024)  # elements that are sorted at once
_LEAST = 256  # elements of a block, which are several tiles where those are small


def rank(
    writer: AlgorithmWriter, kind: str, name: str, ends: tuple[str, str], key: str, equal: bool
) -> str:
    """The position behind those of the sorted keys between two positions that are less than a key,
    or (`equal`) not greater."""
    code = writer.code
    head, inside, after = code.label("search"), code.label("half"), code.label("found")
    before = code.block
    code.jump(head)
    code.start(head)
    reserved = len(code.lines)
    code.lines += ["", ""]
    first, last = f"%a{code.count}", f"%b{code.count}"
    code.branch(code.op(f"icmp slt i64 {first}, {last}"), inside, after)
    code.start(inside)
    middle = code.op(f"lshr i64 {code.op(f'add i64 {first}, {last}')}, 1")
    value = writer.load(kind, name, middle)
    left = code.op(f"icmp {'ule' if equal else 'ult'} {kind} {value}, {key}")
    behind = code.op(f"add i64 {middle}, 1")
    first_next = code.op(f"select i1 {left}, i64 {behind}, i64 {first}")
    last_next = code.op(f"select i1 {left}, i64 {last}, i64 {middle}")
    code.jump(head)
    borders = (first, ends[0], first_next), (last, ends[1], last_next)
    for line, (border, start, later) in enumerate(borders, reserved):
        code.lines[line] = f"  {border} = phi i64 [{start}, %{before}], [{later}, %{inside}]"
    code.start(after)
    return first


class _Tiles(AlgorithmWriter):
    """Writes the kernel that sorts tiles: two elements a thread, a network of compare and swap."""

    def __init__(self, guarded: bool, kind: str, tile: int, last: bool) -> None:
        self.size = max(tile, _LEAST)
        spaces = ("keys", kind), ("places", "i64")
        super().__init__(
            guarded,
            self.size // 2,
            [
                f"@{name} = internal addrspace(3) global [{self.size} x {each}] poison, align 16"
                for name, each in spaces
            ],
        )
        self.kind, self.tile, self.last = kind, tile, last
        self.types = dict(spaces)

    def spot(self, name: str, index: str) -> str:
        base = self.code.once(f"addrspacecast ptr addrspace(3) @{name} to ptr")
        return self.code.at(self.types[name], base, index)

    def fetch(self, name: str, index: str) -> str:
        kind = self.types[name]
        return self.code.op(
            f"load {kind}, ptr {self.spot(name, index)}, align {int(kind[1:]) // 8}"
        )

    def keep(self, name: str, index: str, value: str) -> None:
        kind = self.types[name]
        self.code.do(
            f"store {kind} {value}, ptr {self.spot(name, index)}, align {int(kind[1:]) // 8}"
        )

    def position_of(self, local: str) -> tuple[str, str, str]:
        """(position in the line, number of the element, i1: whether it is one)"""
        code = self.code
        number = code.op(f"lshr i64 {local}, {self.tile.bit_length() - 1}")
        first = code.once(f"mul i64 {self.block()}, {self.size // self.tile}")
        line, part = self.split(code.op(f"add i64 {first}, {number}"), self.number("tiles"))
        inside = code.op(f"and i64 {local}, {self.tile - 1}")
        position = code.op(f"add i64 {code.op(f'mul i64 {part}, {self.tile}')}, {inside}")
        extent = self.number("extent")
        there = code.op(f"icmp slt i64 {line}, {self.number('lines')}")
        there = code.op(f"and i1 {there}, {code.op(f'icmp slt i64 {position}, {extent}')}")
        return position, code.add(code.op(f"mul i64 {line}, {extent}"), position), there

    def sort(self) -> None:
        code, threads = self.code, self.size // 2
        mine = [code.op(f"add i64 {self.thread()}, {k * threads}") for k in range(2)]
        positions = [self.position_of(local) for local in mine]
        for local, (position, element, there) in zip(mine, positions):
            # what is no element is behind all others: the largest key, and a larger position
            self.keep("keys", local, "-1")
            self.keep("places", local, position)

            def read(local: str = local, element: str = element) -> None:
                self.keep("keys", local, self.load(self.kind, "keys", element))

            code.when(there, read)
        barrier(code)
        self.network()
        for local, (_, element, there) in zip(mine, positions):

            def out(local: str = local, element: str = element) -> None:
                self.store("i64", "places", element, self.fetch("places", local))
                if not self.last:
                    self.store(self.kind, "sorted", element, self.fetch("keys", local))

            code.when(there, out)

    def network(self) -> None:
        """Bitonic: runs of both directions are merged until a tile is one that ascends."""
        size = 2
        while size <= self.tile:
            step = size // 2
            while step:
                self.exchange(size, step)
                step //= 2
            size *= 2

    def exchange(self, size: int, step: int) -> None:
        code, thread = self.code, self.thread()
        low = code.op(f"and i64 {thread}, {step - 1}")
        high = code.op(f"shl i64 {code.op(f'and i64 {thread}, {-step}')}, 1")
        one = code.op(f"or i64 {high}, {low}")
        other = code.op(f"or i64 {one}, {step}")
        first, second = ([self.fetch(n, at) for n in ("keys", "places")] for at in (one, other))
        above = code.op(f"icmp ugt {self.kind} {first[0]}, {second[0]}")
        same = code.op(f"icmp eq {self.kind} {first[0]}, {second[0]}")
        later = code.op(f"icmp sgt i64 {first[1]}, {second[1]}")
        greater = code.op(f"or i1 {above}, {code.op(f'and i1 {same}, {later}')}")
        if size < self.tile:
            turned = code.op(f"icmp ne i64 {code.op(f'and i64 {one}, {size}')}, 0")
            greater = code.op(f"xor i1 {greater}, {turned}")

        def swap() -> None:
            for name, left, right in zip(("keys", "places"), first, second):
                self.keep(name, one, right)
                self.keep(name, other, left)

        code.when(greater, swap)
        barrier(code)


@lru_cache(None)
def _sorted(guarded: bool, kind: str, tile: int, last: bool) -> Text:
    writer = _Tiles(guarded, kind, tile, last)
    writer.sort()
    return writer.finish("order_tiles")


@lru_cache(None)
def _merged(guarded: bool, kind: str, last: bool) -> Text:
    """Two adjacent runs of `width` become one: each element goes behind those of its own run before
    it and those of the other that come first."""
    writer = AlgorithmWriter(guarded)
    code, extent, width = writer.code, writer.number("extent"), writer.number("width")

    def element(number: str) -> None:
        line, position = writer.split(number, extent)
        row = code.op(f"mul i64 {line}, {extent}")
        low = code.op(f"and i64 {position}, {code.op(f'mul i64 {width}, -2')}")
        middle = code.smin(code.op(f"add i64 {low}, {width}"), extent)
        high = code.smin(code.op(f"add i64 {middle}, {width}"), extent)
        key = writer.load(kind, "keys", number)
        origin = writer.load("i64", "places", number)
        left = code.op(f"icmp slt i64 {position}, {middle}")

        def put(target: str) -> None:
            writer.store("i64", "target", target, origin)
            if not last:
                writer.store(kind, "sorted", target, key)

        def of_left() -> None:
            ends = code.op(f"add i64 {row}, {middle}"), code.op(f"add i64 {row}, {high}")
            found = rank(writer, kind, "keys", ends, key, False)
            put(code.op(f"sub i64 {code.op(f'add i64 {found}, {position}')}, {middle}"))

        def of_right() -> None:
            ends = code.op(f"add i64 {row}, {low}"), code.op(f"add i64 {row}, {middle}")
            found = rank(writer, kind, "keys", ends, key, True)
            put(code.op(f"sub i64 {code.op(f'add i64 {found}, {position}')}, {middle}"))

        code.when(left, of_left)
        code.when(code.op(f"xor i1 {left}, true"), of_right)

    writer.each(writer.number("count"), element)
    return writer.finish("order_merge")


def _passes(extent: int, tile: int) -> list[int]:
    """Widths of the runs that are merged."""
    widths = []
    while tile < extent:
        widths.append(tile)
        tile *= 2
    return widths


def generate(
    order: Order, step: HostStep, card: Card, temp_slot: int, guarded: bool
) -> list[GpuFunction]:
    """Functions that are an order: keys with the axis last, sorted tiles, merges, and the positions
    moved to where the axis is."""
    given = step.avals[0]
    if not given.size:
        return []
    head, extent = prod(given.shape[: order.axis]), given.shape[order.axis]
    tail, common = prod(given.shape[order.axis + 1 :]), plain(given.dtype)
    size, space, count = key_dtype(common).itemsize, Workspace(temp_slot), given.size
    out = Memory(step.outputs[0])
    final = out if tail == 1 else space.take(8 * count)
    lines = [space.take(count * size)]
    steps = extent * tail, 1, extent
    functions = keys(
        (head, extent, tail),
        (Memory(step.inputs[0]), given.dtype),
        common,
        lines[0],
        card,
        guarded,
        steps,
        order.descending,
    )
    functions += _order(guarded, f"i{8 * size}", head * tail, extent, lines[0], final, space)
    if tail > 1:
        shape = head, tail, extent
        functions += moved(shape, final, out, (extent * tail, 1, tail), card, guarded)
    return functions


def _order(
    guarded: bool, kind: str, lines: int, extent: int, given: Memory, out: Memory, space: Workspace
) -> list[GpuFunction]:
    """Positions that sort contiguous lines of keys, which may be written over."""
    tile = next((tile for tile in _TILES if tile >= extent), _TILES[-1])
    widths, count = _passes(extent, tile), lines * extent
    other_keys, other = given, out
    if widths:
        other_keys = space.take(count * int(kind[1:]) // 8)
        other = space.take(8 * count)
    turns = [out, other]  # positions of the last pass, of the one before it, ...
    tiles = -(-extent // tile)
    text = _sorted(guarded, kind, tile, not widths)
    functions = [
        text.launch(
            -(-lines * tiles // (2 * text.threads // tile)),
            keys=given,
            sorted=given,
            places=turns[len(widths) % 2],
            extent=extent,
            tiles=tiles,
            lines=lines,
        )
    ]
    for number, width in enumerate(widths):
        remaining = len(widths) - number
        source, target = (given, other_keys)[:: 1 - 2 * (number % 2)]
        functions.append(
            _merged(guarded, kind, remaining == 1).launch(
                blocks_for(count),
                keys=source,
                sorted=target,
                places=turns[remaining % 2],
                target=turns[(remaining - 1) % 2],
                extent=extent,
                width=width,
                count=count,
            )
        )
    return [function._replace(temp=space.size) for function in functions]
