"""Vector loads and stores along a row: unit stride, any stride, computed positions; whole or with a
tail mask.

Invariant: no lane that the mask switches off touches memory.
"""

from __future__ import annotations

from typing import NamedTuple

from ...ir.scalar.program import ScalarType
from .code import Code
from .lanes import Lanes, memory_scalar

__all__ = [
    "Position",
    "LaneSteps",
    "Anchor",
    "load_row",
    "load_spaced",
    "store_row",
    "store_woven",
    "load_scalar",
    "store_scalar",
    "gather",
    "scatter",
    "SIZE",
    "tail_mask",
]

SIZE = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}


class Position(NamedTuple):
    """A vector of elements j, j + 1, ... of a row; with `mask`, only the first `live` of them."""

    j: str
    mask: str | None = None
    live: str | None = None


class LaneSteps(NamedTuple):
    """Lane k is `step` * k elements from lane 0; with `shift`, `step` * (k + phase >> shift).
    Without it `phase` is what is known of lane 0 itself: its rest by 16."""

    step: int
    shift: int = 0
    phase: int | None = None

    def distance(self, lane: int) -> int:
        return self.step * (lane + (self.phase or 0) >> self.shift if self.shift else lane)

    def reach(self, code: Code, live: str) -> str:
        """Elements from lane 0 to the last of `live` lanes, both included."""
        last = code.op(f"sub i64 {live}, 1")
        if self.shift:
            last = code.op(f"lshr i64 {code.add(last, str(self.phase or 0))}, {self.shift}")
        if self.step != 1:
            last = code.op(f"mul i64 {last}, {self.step}")
        return code.op(f"add i64 {last}, 1")


class Anchor(NamedTuple):
    """Element `first` of an operand whose element 0 is at `base`."""

    base: str
    first: str


def tail_mask(lanes: Lanes, count: str) -> str:
    """Lanes below `count` (i64, may exceed the width).

    The last vector of a row is computed whole and loaded and stored under this mask: a scalar loop
    for the rest would double the code, and reading past the end may touch another page."""
    code, width = lanes.code, lanes.width
    few = code.op(f"trunc i64 {code.smin(count, str(width))} to i32")
    numbers = "<" + ", ".join(f"i32 {k}" for k in range(width)) + ">"
    return code.op(f"icmp ugt <{width} x i32> {lanes.splat('i32', few)}, {numbers}")


def _name(memory_type: str) -> str:
    return {"float": "f32", "double": "f64"}.get(memory_type, memory_type)


def _suffix(lanes: Lanes, memory_type: str) -> str:
    return f"v{lanes.width}{_name(memory_type)}"


def from_memory(lanes: Lanes, scalar_type: ScalarType, value: str) -> str:
    """A value as programs see it: truth values are stored as bytes."""
    return (
        value
        if scalar_type != "b1"
        else lanes.code.op(f"icmp ne {lanes.raw('i8')} {value}, {lanes.const('u8', 0)}")
    )


def to_memory(lanes: Lanes, scalar_type: ScalarType, value: str) -> str:
    return value if scalar_type != "b1" else lanes.cast("zext", value, "i1", "i8")


def load_scalar(code: Code, scalar_type: ScalarType, pointer: str) -> str:
    """One element at an address."""
    memory_type = memory_scalar(scalar_type)
    return from_memory(
        Lanes(1, code),
        scalar_type,
        code.op(f"load {memory_type}, ptr {pointer}, align {SIZE[memory_type]}"),
    )


def store_scalar(code: Code, scalar_type: ScalarType, value: str, pointer: str) -> None:
    memory_type = memory_scalar(scalar_type)
    stored = to_memory(Lanes(1, code), scalar_type, value)
    code.do(f"store {memory_type} {stored}, ptr {pointer}, align {SIZE[memory_type]}")


# ---- lane by lane
def _lane_pointers(lanes: Lanes, base: str, stride: str) -> list[str]:
    """base + k * stride (bytes) for each lane, in a form that folds into addressing modes."""
    code, out = lanes.code, []
    twice = code.op(f"shl i64 {stride}, 1")
    thrice, four = code.op(f"add i64 {stride}, {twice}"), code.op(f"shl i64 {stride}, 2")
    for lane in range(lanes.width):
        if lane % 4 == 0:
            base = base if lane == 0 else code.at("i8", base, four)
            out.append(base)
        else:
            out.append(code.at("i8", base, (stride, twice, thrice)[lane % 4 - 1]))
    return out


def _load_lanes(lanes: Lanes, memory_type: str, pointers: list[str]) -> str:
    code, loaded = lanes.code, "poison"
    for lane, pointer in enumerate(pointers):
        element = code.op(f"load {memory_type}, ptr {pointer}, align 1")
        loaded = code.op(
            f"insertelement {lanes.raw(memory_type)} {loaded}, {memory_type} {element}, i64 {lane}"
        )
    return loaded


def _store_lanes(lanes: Lanes, memory_type: str, stored: str, pointers: list[str]) -> None:
    code = lanes.code
    for lane, pointer in enumerate(pointers):
        element = code.op(f"extractelement {lanes.raw(memory_type)} {stored}, i64 {lane}")
        code.do(f"store {memory_type} {element}, ptr {pointer}, align 1")


def _strided_tail(
    lanes: Lanes, memory_type: str, base: str, stride: str, count: str, stored: str | None
) -> str:
    """Move `count` (at most the width) elements to or from a vector on the stack, one at a time."""
    code = lanes.code
    box = code.alloca(lanes.raw(memory_type))
    to_row = stored is not None
    initial = stored if to_row else "zeroinitializer"
    code.do(f"store {lanes.raw(memory_type)} {initial}, ptr {box}, align 64")
    stop = code.smin(count, str(lanes.width))

    def move(k: str, _: list[str]) -> list[str]:
        inside = code.at(memory_type, box, k)
        outside = code.at("i8", base, code.mul(k, stride))
        source, target = (inside, outside) if to_row else (outside, inside)
        element = code.op(f"load {memory_type}, ptr {source}, align 1")
        code.do(f"store {memory_type} {element}, ptr {target}, align 1")
        return []

    code.loop("0", stop, "1", [], move)
    return "" if to_row else code.op(f"load {lanes.raw(memory_type)}, ptr {box}, align 64")


def _spot(code: Code, memory_type: str, base: str, stride: str | None, element: str) -> str:
    return (
        code.at(memory_type, base, element)
        if stride is None
        else code.at("i8", base, code.mul(element, stride))
    )


# ---- rows
def load_row(
    lanes: Lanes, scalar_type: ScalarType, base: str, stride: str | None, position: Position
) -> str:
    """Elements of the row at base; stride in bytes, None for unit stride."""
    code, memory_type = lanes.code, memory_scalar(scalar_type)
    vector = lanes.raw(memory_type)
    if lanes.width == 1:
        return load_scalar(code, scalar_type, _spot(code, memory_type, base, stride, position.j))
    if stride is None:
        pointer = code.at(memory_type, base, position.j)
        if position.mask is None:
            loaded = code.op(f"load {vector}, ptr {pointer}, align 1")
        else:
            loaded = _masked_load(lanes, memory_type, pointer, position.mask)
    else:
        pointer = code.at("i8", base, code.mul(position.j, stride))
        if position.mask is None:
            loaded = _load_lanes(lanes, memory_type, _lane_pointers(lanes, pointer, stride))
        else:
            assert position.live is not None
            loaded = _strided_tail(lanes, memory_type, pointer, stride, position.live, None)
    return from_memory(lanes, scalar_type, loaded)


def load_spaced(
    lanes: Lanes,
    scalar_type: ScalarType,
    spot: Anchor,
    spacing: LaneSteps,
    position: Position,
    guard: str | None = None,
) -> str:
    """Lanes from the spot on, each `spacing` after the other, by loads of whole vectors, none past
    the last element.  Lanes that the guard switches off are element 0 of the operand."""
    code, memory_type, width = lanes.code, memory_scalar(scalar_type), lanes.width
    mask = _both(lanes, position.mask, guard)
    distances = [spacing.distance(lane) for lane in range(width)]
    adjacent = guard is None and spacing.step == 1 and not spacing.shift
    if mask is not None and SIZE[memory_type] < 4 and not adjacent:
        return _gather_spaced(lanes, scalar_type, spot, distances, mask)
    other = None
    if guard is not None:
        zero = code.op(f"load {memory_type}, ptr {spot.base}, align 1")
        other = lanes.splat(scalar_type, zero)
    pointer, span = code.at(memory_type, spot.base, spot.first), distances[-1] + 1
    order = list(range(width))
    loaded, picks = "", [d if d < width else 0 for d in distances]
    for number, start in enumerate(range(0, span, width)):
        start = min(start, max(span - width, 0))
        mine = {k: d - start for k, d in enumerate(distances) if d // width == number}
        on = _elements_on(lanes, mine, start, spacing, position, guard and mask)
        here = code.at(memory_type, pointer, str(start))
        part = _load_part(lanes, memory_type, here, min(span, width), on, other)
        if not number:
            loaded = part
            continue
        picks = [width + mine[k] if k in mine else p for k, p in enumerate(picks)]
        loaded, picks = _shuffled(lanes, memory_type, loaded, part, picks), order
    if picks != order:
        loaded = _shuffled(lanes, memory_type, loaded, loaded, picks)
    if other is not None and mask is not None and spacing.shift:
        loaded = lanes.pick(scalar_type, mask, loaded, other)
    return from_memory(lanes, scalar_type, loaded)


def _gather_spaced(
    lanes: Lanes, scalar_type: ScalarType, spot: Anchor, distances: list[int], mask: str
) -> str:
    """Element by element: a masked load of bytes or halves would be a branch for each."""
    offsets = f"<{', '.join(f'i64 {d}' for d in distances)}>"
    index = lanes.binary("add", "i64", lanes.splat("i64", spot.first), offsets)
    return gather(lanes, scalar_type, spot.base, index, mask)


def _elements_on(
    lanes: Lanes,
    wanted: dict[int, int],
    start: int,
    spacing: LaneSteps,
    position: Position,
    guarded: str | None,
) -> str | None:
    """Which elements from `start` on may be read, None for all: those `wanted` by lanes that are
    `guarded`, or those up to the last live lane's."""
    if guarded is not None:
        return _spread_mask(lanes, guarded, wanted)
    if position.live is None:
        return None
    code = lanes.code
    left = code.op(f"sub i64 {spacing.reach(code, position.live)}, {start}")
    return tail_mask(lanes, code.smax(left, "0"))


def _both(lanes: Lanes, mask: str | None, guard: str | None) -> str | None:
    if mask is None or guard is None:
        return mask or guard
    return lanes.binary("and", "b1", mask, guard)


def _load_part(
    lanes: Lanes, memory_type: str, pointer: str, count: int, mask: str | None, other: str | None
) -> str:
    """`count` elements at an address; where the mask is off, `other`."""
    code, vector = lanes.code, lanes.raw(memory_type)
    if mask is None and count == lanes.width:
        return code.op(f"load {vector}, ptr {pointer}, align 1")
    if mask is None:
        mask = "<" + ", ".join(f"i1 {int(k < count)}" for k in range(lanes.width)) + ">"
    return _masked_load(lanes, memory_type, pointer, mask, other or "zeroinitializer")


def _spread_mask(lanes: Lanes, mask: str, elements: dict[int, int]) -> str:
    """Which elements lanes want that are on: those of `elements`, by lane."""
    if all(lane == element for lane, element in elements.items()) and len(elements) == lanes.width:
        return mask
    spread, left = "", dict(elements)
    while left:
        first = {element: lane for lane, element in reversed(left.items())}
        left = {lane: element for lane, element in left.items() if first[element] != lane}
        picks = ", ".join(f"i32 {first.get(k, lanes.width)}" for k in range(lanes.width))
        vector = lanes.ty("b1")
        part = lanes.code.op(
            f"shufflevector {vector} {mask}, {vector} zeroinitializer, "
            f"<{lanes.width} x i32> <{picks}>"
        )
        spread = lanes.binary("or", "b1", spread, part) if spread else part
    return spread


def store_woven(
    lanes: Lanes, scalar_type: ScalarType, even: str, odd: str, base: str, element: str
) -> None:
    """Two vectors, element by element in turns, from twice `element` on."""
    code, memory_type, width = lanes.code, memory_scalar(scalar_type), lanes.width
    spot = code.at(memory_type, base, code.op(f"shl i64 {element}, 1"))
    even, odd = (to_memory(lanes, scalar_type, value) for value in (even, odd))
    turns = [lane + width * part for lane in range(width) for part in range(2)]
    both = _shuffled(lanes, memory_type, even, odd, turns)
    code.do(f"store <{2 * width} x {memory_type}> {both}, ptr {spot}, align 1")


def _shuffled(lanes: Lanes, memory_type: str, low: str, high: str, picks: list[int]) -> str:
    vector = lanes.raw(memory_type)
    numbers = ", ".join(f"i32 {k}" for k in picks)
    return lanes.code.op(
        f"shufflevector {vector} {low}, {vector} {high}, <{len(picks)} x i32> <{numbers}>"
    )


def store_row(
    lanes: Lanes,
    scalar_type: ScalarType,
    value: str,
    base: str,
    stride: str | None,
    position: Position,
    stream: bool = False,
) -> None:
    """Write elements of the row at base; `stream`: past the caches, to an aligned address."""
    code, memory_type = lanes.code, memory_scalar(scalar_type)
    if lanes.width == 1:
        return store_scalar(
            code, scalar_type, value, _spot(code, memory_type, base, stride, position.j)
        )
    vector, stored = lanes.raw(memory_type), to_memory(lanes, scalar_type, value)
    if stride is None:
        pointer = code.at(memory_type, base, position.j)
        if stream:
            align = min(64, SIZE[memory_type] * lanes.width)
            code.do(f"store {vector} {stored}, ptr {pointer}, align {align}, !nontemporal !0")
        elif position.mask is None:
            code.do(f"store {vector} {stored}, ptr {pointer}, align 1")
        else:
            _masked_store(lanes, memory_type, stored, pointer, position.mask)
        return None
    pointer = code.at("i8", base, code.mul(position.j, stride))
    if position.mask is None:
        _store_lanes(lanes, memory_type, stored, _lane_pointers(lanes, pointer, stride))
    else:
        assert position.live is not None
        _strided_tail(lanes, memory_type, pointer, stride, position.live, stored)
    return None


def _masked_load(
    lanes: Lanes, memory_type: str, pointer: str, mask: str, other: str = "zeroinitializer"
) -> str:
    vector = lanes.raw(memory_type)
    return lanes.code.call(
        f"llvm.masked.load.{_suffix(lanes, memory_type)}.p0",
        vector,
        f"ptr {pointer}",
        "i32 1",
        f"{lanes.ty('b1')} {mask}",
        f"{vector} {other}",
    )


def _masked_store(lanes: Lanes, memory_type: str, stored: str, pointer: str, mask: str) -> None:
    lanes.code.call(
        f"llvm.masked.store.{_suffix(lanes, memory_type)}.p0",
        "void",
        f"{lanes.raw(memory_type)} {stored}",
        f"ptr {pointer}",
        "i32 1",
        f"{lanes.ty('b1')} {mask}",
    )


# ---- computed positions
def _element_pointers(
    lanes: Lanes, memory_type: str, base: str, index: str, mask: str | None
) -> list[str]:
    code = lanes.code
    # switched-off lanes read element 0: some lane is on, so the operand is not empty
    if mask is not None:
        index = lanes.pick("i64", mask, index, lanes.const("i64", 0))
    picks = [
        code.op(f"extractelement {lanes.ty('i64')} {index}, i64 {k}") for k in range(lanes.width)
    ]
    return [code.at(memory_type, base, k) for k in picks]


def gather(
    lanes: Lanes,
    scalar_type: ScalarType,
    base: str,
    index: str,
    mask: str | None,
    unit: str | None = None,
) -> str:
    """Elements at base + index (i64 lanes, counted in elements, or in bytes with unit 'i8')."""
    code, memory_type = lanes.code, memory_scalar(scalar_type)
    unit = unit or memory_type
    if lanes.width == 1:
        return load_scalar(code, scalar_type, code.at(unit, base, index))
    if SIZE[memory_type] < 4:
        loaded = _load_lanes(lanes, memory_type, _element_pointers(lanes, unit, base, index, mask))
        return from_memory(lanes, scalar_type, loaded)
    pointers = code.op(f"getelementptr {unit}, ptr {base}, {lanes.ty('i64')} {index}")
    mask = mask or lanes.const("b1", 1)
    return code.call(
        f"llvm.masked.gather.{_suffix(lanes, memory_type)}.v{lanes.width}p0",
        lanes.raw(memory_type),
        f"{lanes.raw('ptr')} {pointers}",
        "i32 1",
        f"{lanes.ty('b1')} {mask}",
        f"{lanes.raw(memory_type)} zeroinitializer",
    )


def scatter(
    lanes: Lanes, scalar_type: ScalarType, value: str, base: str, offset: str, position: Position
) -> None:
    """Write lanes to base + offset (bytes, i64 lanes), in lane order."""
    code, memory_type = lanes.code, memory_scalar(scalar_type)
    if lanes.width == 1:
        return store_scalar(code, scalar_type, value, code.at("i8", base, offset))
    box = code.alloca(lanes.raw(memory_type))
    spots = code.alloca(lanes.ty("i64"))
    stored = to_memory(lanes, scalar_type, value)
    code.do(f"store {lanes.raw(memory_type)} {stored}, ptr {box}, align 64")
    code.do(f"store {lanes.ty('i64')} {offset}, ptr {spots}, align 64")
    stop = str(lanes.width) if position.live is None else code.smin(position.live, str(lanes.width))

    def move(k: str, _: list[str]) -> list[str]:
        element = code.op(f"load {memory_type}, ptr {code.at(memory_type, box, k)}, align 1")
        distance = code.op(f"load i64, ptr {code.at('i64', spots, k)}, align 8")
        code.do(f"store {memory_type} {element}, ptr {code.at('i8', base, distance)}, align 1")
        return []

    code.loop("0", stop, "1", [], move)
    return None
