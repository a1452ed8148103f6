"""Loads and stores of several adjacent elements by one thread, in accesses of up to 16 bytes.

Invariant: an access that may be misaligned has a branch to loads or stores element by element, so
any address is right and aligned ones are fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ....ir.scalar.program import ScalarType
from ...emit.code import Code
from ...emit.lanes import Lanes, memory_scalar
from ...emit.memory import SIZE, from_memory, to_memory

__all__ = ["Span", "load_spans", "store_spans", "all_aligned", "reach_of", "ACCESS"]

ACCESS = 16  # bytes of the widest access


class Span(NamedTuple):
    """`size` adjacent elements from an address on."""

    type: ScalarType
    address: str
    size: int


def reach_of(scalar_type: ScalarType, count: int) -> int:
    """Bytes that addresses of such spans must be multiples of."""
    return min(ACCESS, count * SIZE[memory_scalar(scalar_type)])


def all_aligned(code: Code, spans: Sequence[Span]) -> str:
    """i1: all addresses are multiples of what their accesses take."""
    total = "0"
    for span in spans:
        address = code.op(f"ptrtoint ptr {span.address} to i64")
        rest = code.op(f"and i64 {address}, {reach_of(span.type, span.size) - 1}")
        total = rest if total == "0" else code.op(f"or i64 {total}, {rest}")
    return "true" if total == "0" else code.op(f"icmp eq i64 {total}, 0")


def _pieces(span: Span) -> tuple[str, int, int]:
    """Memory type, elements of one access, accesses."""
    memory_type = memory_scalar(span.type)
    each = min(span.size, ACCESS // SIZE[memory_type])
    return memory_type, each, span.size // each


def _load_wide(code: Code, span: Span) -> list[str]:
    memory_type, each, pieces = _pieces(span)
    vector, reach = f"<{each} x {memory_type}>", each * SIZE[memory_type]
    values = []
    for piece in range(pieces):
        address = code.at(memory_type, span.address, str(piece * each))
        loaded = code.op(f"load {vector}, ptr {address}, align {reach}")
        values += [code.op(f"extractelement {vector} {loaded}, i64 {k}") for k in range(each)]
    return values


def _load_narrow(code: Code, span: Span) -> list[str]:
    memory_type = memory_scalar(span.type)
    return [
        code.op(
            f"load {memory_type}, ptr {code.at(memory_type, span.address, str(k))}, "
            f"align {SIZE[memory_type]}"
        )
        for k in range(span.size)
    ]


def load_spans(code: Code, spans: Sequence[Span], aligned: str | None) -> list[list[str]]:
    """Elements of all spans; `aligned` is "true", an i1 that is the same in most threads, or None
    where only single elements can be read."""
    single = all(span.size == 1 for span in spans)
    if single or aligned is None or aligned == "true":
        load = _load_narrow if single or aligned is None else _load_wide
        loaded = [load(code, span) for span in spans]
    else:
        loaded = _load_either(code, spans, aligned)
    scalar = Lanes(1, code)
    return [
        [from_memory(scalar, span.type, x) for x in values] for span, values in zip(spans, loaded)
    ]


def _load_either(code: Code, spans: Sequence[Span], aligned: str) -> list[list[str]]:
    wide, narrow, after = code.label("wide"), code.label("narrow"), code.label("loaded")
    code.branch(aligned, wide, narrow)
    code.start(wide)
    first = [_load_wide(code, span) for span in spans]
    code.jump(after)
    code.start(narrow)
    second = [_load_narrow(code, span) for span in spans]
    code.jump(after)
    code.start(after)
    return [
        [
            code.op(f"phi {memory_scalar(span.type)} [{x}, %{wide}], [{y}, %{narrow}]")
            for x, y in zip(xs, ys)
        ]
        for span, xs, ys in zip(spans, first, second)
    ]


def _store_wide(code: Code, span: Span, values: Sequence[str]) -> None:
    memory_type, each, pieces = _pieces(span)
    vector, reach = f"<{each} x {memory_type}>", each * SIZE[memory_type]
    for piece in range(pieces):
        packed = "poison"
        for k in range(each):
            value = values[piece * each + k]
            packed = code.op(f"insertelement {vector} {packed}, {memory_type} {value}, i64 {k}")
        address = code.at(memory_type, span.address, str(piece * each))
        code.do(f"store {vector} {packed}, ptr {address}, align {reach}")


def _store_narrow(code: Code, span: Span, values: Sequence[str]) -> None:
    memory_type = memory_scalar(span.type)
    for k, value in enumerate(values):
        address = code.at(memory_type, span.address, str(k))
        code.do(f"store {memory_type} {value}, ptr {address}, align {SIZE[memory_type]}")


def store_spans(
    code: Code, spans: Sequence[Span], values: Sequence[Sequence[str]], aligned: str | None
) -> None:
    """Write all spans; `aligned` as for `load_spans`."""
    scalar = Lanes(1, code)
    stored = [[to_memory(scalar, s.type, x) for x in xs] for s, xs in zip(spans, values)]
    single = all(span.size == 1 for span in spans)
    if single or aligned is None or aligned == "true":
        store = _store_narrow if single or aligned is None else _store_wide
        for span, memory_values in zip(spans, stored):
            store(code, span, memory_values)
        return
    wide, narrow, after = code.label("wide"), code.label("narrow"), code.label("stored")
    code.branch(aligned, wide, narrow)
    for label, store in ((wide, _store_wide), (narrow, _store_narrow)):
        code.start(label)
        for span, memory_values in zip(spans, stored):
            store(code, span, memory_values)
        code.jump(after)
    code.start(after)
