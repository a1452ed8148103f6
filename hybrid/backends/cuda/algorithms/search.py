"""Positions of values in a sorted row: a binary search for each.

Invariant: values and the row are compared by keys of one dtype, so NaN is the largest of all.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ....core import dtypes as dt
from ....ir.algorithm import Search
from ...plan import HostStep
from ..function import Card, GpuFunction
from .values import key_dtype, keys, plain
from .writer import AlgorithmWriter, Memory, Text, Workspace, blocks_for

__all__ = ["generate", "rank"]


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


@lru_cache(None)
def _text(kind: str, right: bool, guarded: bool) -> Text:
    writer = AlgorithmWriter(guarded)

    def element(number: str) -> None:
        key = writer.load(kind, "x", number)
        found = rank(writer, kind, "row", ("0", writer.number("extent")), key, right)
        writer.store("i64", "out", number, found)

    writer.each(writer.number("count"), element)
    return writer.finish("search")


def common_dtype(row: np.dtype, values: np.dtype) -> np.dtype:
    """The dtype that both are compared in: NumPy's."""
    return dt.canonical(np.result_type(plain(row), plain(values)))


def generate(
    search: Search, step: HostStep, card: Card, temp_slot: int, guarded: bool
) -> list[GpuFunction]:
    """Functions that are a search: keys of both operands, then a thread for each value."""
    row, values, _ = step.avals
    if not values.size:
        return []
    common, space = common_dtype(row.dtype, values.dtype), Workspace(temp_slot)
    size = key_dtype(common).itemsize
    given = {"row": space.take(row.size * size), "x": space.take(values.size * size)}
    functions = list[GpuFunction]()
    for aval, slot, target in zip((row, values), step.inputs, given.values()):
        functions += keys((aval.size,), (Memory(slot), aval.dtype), common, target, card, guarded)
    text = _text(f"i{8 * size}", search.right, guarded)
    sizes = {"count": values.size, "extent": row.size}
    launched = text.launch(
        blocks_for(values.size), space.size, **given, **sizes, out=Memory(step.outputs[0])
    )
    return [*functions, launched]
