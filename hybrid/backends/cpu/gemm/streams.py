"""Vectors of the operands of an epilogue: 16 lanes of one line, loaded and stored in any layout.

Invariant: adjacent lanes are one masked access, equal lanes one element, all others are visited one
by one; nothing outside the lanes of a tile is touched.
"""

from __future__ import annotations

from typing import NamedTuple

from ...emit.code import Code
from ...emit.lanes import memory_scalar
from .epilogue import EpilogueOperand, Finish
from .factors import Runs
from .micro import masked_load, masked_store, spread
from .pack import IndexWalk, each, offset_of
from .words import Loader

__all__ = ["Walked", "Spot", "walk_streams", "first_lane", "line_of", "load_lanes", "store_lanes"]


class Walked(NamedTuple):
    """A stream in one function: where its product starts, and the walks from line to line and from
    lane to lane, which is along the tile's lines where results are transposed."""

    stream: EpilogueOperand
    start: str
    lines: IndexWalk
    lanes: IndexWalk
    runs: Runs  # of the lanes

    @property
    def adjacent(self) -> bool:
        return self.runs.uniform and self.runs.unit(self.stream.size)


class Spot(NamedTuple):
    """Lanes of one line of a stream."""

    pointer: str  # of the first lane where lanes are uniform, else of lane 0 of the product
    start: str  # number of the first lane
    lanes: str  # how many
    mask: str | None
    buffer: str  # 16 elements, for lanes that are visited one by one


def walk_streams(
    finish: Finish, loader: Loader, streams: tuple[EpilogueOperand, ...]
) -> dict[str, Walked]:
    """Streams of a function over product `%b` of the batch, by name."""
    starts = [stream_start(loader, stream, "%b") for stream in streams]
    found = {}
    for stream, start in zip(streams, starts):
        lines = loader.walk(stream.name + ".lines", stream.lines, stream.size)
        columns = loader.walk(stream.name + ".cols", stream.columns, stream.size)
        if finish.transposed:
            found[stream.name] = Walked(stream, start, columns, lines, stream.lines)
        else:
            found[stream.name] = Walked(stream, start, lines, columns, stream.columns)
    return found


def stream_start(loader: Loader, stream: EpilogueOperand, batch: str) -> str:
    """Where the elements of one product of the batch start."""
    base = loader.base(stream.name, stream.offset)
    walk = loader.walk(stream.name + ".batch", stream.batch, stream.size)
    return loader.code.at("i8", base, offset_of(loader.code, walk, batch))


def first_lane(code: Code, walked: Walked, start: str) -> str:
    """Pointer to lane `start` of line 0; of lane 0 where the lanes have no one stride."""
    if not walked.runs.uniform:
        return walked.start
    return code.at("i8", walked.start, offset_of(code, walked.lanes, start))


def line_of(code: Code, walked: Walked, base: str, line: str) -> str:
    """Pointer to a line, from the pointer to line 0."""
    return code.at("i8", base, offset_of(code, walked.lines, line))


def load_lanes(code: Code, walked: Walked, spot: Spot) -> str:
    """16 lanes as values of the epilogue."""
    stream, scalar = walked.stream, memory_scalar(walked.stream.type)
    vector = f"<16 x {scalar}>"
    if walked.runs.uniform and walked.runs.stride == 0:
        lanes = spread(code, scalar, code.op(f"load {scalar}, ptr {spot.pointer}"))
    elif walked.adjacent and spot.mask is None:
        lanes = code.op(f"load {vector}, ptr {spot.pointer}, align {stream.size}")
    elif walked.adjacent:
        lanes = masked_load(code, scalar, stream.size, spot.pointer, spot.mask)
    else:

        def one(lane: str) -> None:
            source = code.at("i8", spot.pointer, _lane_offset(code, walked, spot, lane))
            value = code.op(f"load {scalar}, ptr {source}")
            code.do(f"store {scalar} {value}, ptr {code.at(scalar, spot.buffer, lane)}")

        each(code, "0", spot.lanes, "1", one)
        lanes = code.op(f"load {vector}, ptr {spot.buffer}, align {stream.size}")
    if stream.type == "b1":
        return code.op(f"icmp ne {vector} {lanes}, zeroinitializer")
    return lanes


def store_lanes(code: Code, walked: Walked, spot: Spot, value: str) -> None:
    """Store the first lanes of a vector of values of the epilogue."""
    stream, scalar = walked.stream, memory_scalar(walked.stream.type)
    vector = f"<16 x {scalar}>"
    if stream.type == "b1":
        value = code.op(f"zext <16 x i1> {value} to {vector}")
    if walked.adjacent and spot.mask is None:
        code.do(f"store {vector} {value}, ptr {spot.pointer}, align {stream.size}")
        return
    if walked.adjacent:
        masked_store(code, scalar, stream.size, value, spot.pointer, spot.mask)
        return
    code.do(f"store {vector} {value}, ptr {spot.buffer}, align {stream.size}")

    def one(lane: str) -> None:
        own = code.op(f"load {scalar}, ptr {code.at(scalar, spot.buffer, lane)}")
        target = code.at("i8", spot.pointer, _lane_offset(code, walked, spot, lane))
        code.do(f"store {scalar} {own}, ptr {target}")

    each(code, "0", spot.lanes, "1", one)


def _lane_offset(code: Code, walked: Walked, spot: Spot, lane: str) -> str:
    """Byte offset of a lane from the pointer that `first_lane` gave."""
    if walked.runs.uniform:
        return code.mul(lane, walked.lanes.stride)
    return offset_of(code, walked.lanes, code.add(spot.start, lane))
