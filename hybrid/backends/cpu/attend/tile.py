"""The inner functions of attention: a tile of fma chains, and rows turned into columns.

Invariant: every output of `tile` is one fma chain in increasing k, from +0.0 or going on from what
is there; rows past the last are copies of it and lanes past the count are zero, in memory of ours.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ....ir.attend import TILE
from ...emit.code import Code
from ..gemm.geometry import Target
from ..gemm.micro import Element, load, mask_of, multiply_add, splat, store

__all__ = ["Shape", "tile_shape", "tile_function", "turn_function", "copy_function"]

TILE_SIGNATURE = (
    "define internal void @NAME.tile(ptr %a, i64 %as, i64 %ak, i64 %last, ptr %b, i64 %bk, "
    "i64 %cnt, i64 %kc, ptr %c, i64 %ldc, i1 %more)"
)
TURN_SIGNATURE = (
    "define internal void @NAME.turn(ptr %src, i64 %step, i64 %rows, i64 %cols, ptr %dst)"
)
COPY_SIGNATURE = (
    "define internal void @NAME.copy(ptr %src, i64 %step, i64 %next, i64 %rows, i64 %cols, "
    "ptr %dst)"
)


class Shape(NamedTuple):
    """Rows and vectors of 16 columns of one tile."""

    rows: int
    vecs: int

    @property
    def width(self) -> int:
        return 16 * self.vecs


def tile_shape(elem: Element, target: Target, most: int, few: bool) -> Shape:
    """What the registers hold, of at most so many vectors (`few`: for two rows); any shape gives
    the same bits."""
    if few:
        return Shape(2, 2)
    each = max(16 * elem.size // target.vector_bytes, 1)  # registers of a vector of 16
    if target.registers >= 32:
        return Shape(8, min(max(2 // each, 1), max(most, 1)))
    return Shape(4, 1)


@lru_cache(16)
def tile_function(elem: Element, shape: Shape) -> tuple[str, Code]:
    """c[i, :] = (c[i, :] when %more) + sum over k of a[min(i, last), k] * b[k, :]; strides in
    bytes; of b's columns the first %cnt are read."""
    code = Code()
    tiles = [(i, j) for i in range(shape.rows) for j in range(shape.vecs)]
    masks = [mask_of(code, code.op(f"sub i64 %cnt, {16 * j}")) for j in range(shape.vecs)]
    starts, outs = ["%a"], ["%c"]
    for i in range(1, shape.rows):
        row = code.smin(str(i), "%last")
        starts.append(code.at("i8", "%a", code.op(f"mul i64 {row}, %as")))
        outs.append(code.at("i8", outs[-1], "%ldc"))
    places = {(i, j): code.at(elem.vec, outs[i], str(j)) for i, j in tiles}
    code.branch("%more", "go.on", "zero")
    code.start("go.on")
    before = {t: load(code, elem, p, None) for t, p in places.items()}
    code.jump("begin")
    code.start("zero")
    code.jump("begin")
    code.start("begin")
    for t in tiles:
        i, j = t
        code.do(f"%b{i}_{j} = phi {elem.vec} [{before[t]}, %go.on], [zeroinitializer, %zero]")
    code.branch(code.op("icmp sgt i64 %kc, 0"), "loop", "done")
    code.start("loop")
    code.do("%k = phi i64 [0, %begin], [%k1, %loop]")
    code.do("%at = phi i64 [0, %begin], [%at1, %loop]")
    code.do("%pb = phi ptr [%b, %begin], [%pb1, %loop]")
    for i, j in tiles:
        code.do(f"%c{i}_{j} = phi {elem.vec} [%b{i}_{j}, %begin], [%n{i}_{j}, %loop]")
    bs = [load(code, elem, code.at(elem.vec, "%pb", str(j)), m) for j, m in enumerate(masks)]
    for i in range(shape.rows):
        one = code.op(f"load {elem.scalar}, ptr {code.at('i8', starts[i], '%at')}")
        a = splat(code, elem, one)
        for j in range(shape.vecs):
            last = multiply_add(code, elem, a, bs[j], f"%c{i}_{j}")
            code.lines[-1] = code.lines[-1].replace(f"{last} =", f"%n{i}_{j} =", 1)
    code.do("%k1 = add i64 %k, 1")
    code.do("%at1 = add i64 %at, %ak")
    code.do("%pb1 = getelementptr i8, ptr %pb, i64 %bk")
    code.branch(code.op("icmp slt i64 %k1, %kc"), "loop", "done")
    code.start("done")
    for i, j in tiles:
        code.do(f"%s{i}_{j} = phi {elem.vec} [%b{i}_{j}, %begin], [%n{i}_{j}, %loop]")
    for i, j in tiles:
        store(code, elem, f"%s{i}_{j}", places[i, j], None)
    code.do("ret void")
    return TILE_SIGNATURE, code


def _row(code: Code, i: str) -> str:
    """Byte offset of row i, or of the last."""
    return code.mul(code.smin(i, code.once("sub i64 %rows, 1")), "%step")


@lru_cache(16)
def turn_function(elem: Element) -> tuple[str, Code]:
    """dst[j, i] = src[min(i, rows - 1), j] for i < TILE, j < cols; columns of src are adjacent.
    Groups of 16 rows past the last are left as they are."""
    code = Code()
    line = TILE * elem.size

    def group(first: str, _: list[str]) -> list[str]:
        left = code.op(f"sub i64 %rows, {first}")
        whole = code.op(f"icmp sge i64 {left}, 16")
        even = code.op(f"select i1 {whole}, i64 {code.op('and i64 %cols, -16')}, i64 0")
        src = code.at("i8", "%src", code.mul(first, "%step"))
        dst = code.at(elem.scalar, "%dst", first)

        def block(j: str, _: list[str]) -> list[str]:
            at = code.at(elem.scalar, src, j)
            to = code.at("i8", dst, code.mul(j, str(line)))
            code.do(f"call void @NAME.transpose(ptr {at}, i64 %step, ptr {to}, i64 {line})")
            return []

        code.loop("0", even, "16", [], block)

        def column(j: str, _: list[str]) -> list[str]:
            at, to = code.at(elem.scalar, "%src", j), code.at("i8", dst, code.mul(j, str(line)))

            def lane(i: str, _: list[str]) -> list[str]:
                p = code.at("i8", at, _row(code, code.add(first, i)))
                x = code.op(f"load {elem.scalar}, ptr {p}")
                code.do(f"store {elem.scalar} {x}, ptr {code.at(elem.scalar, to, i)}")
                return []

            code.loop("0", "16", "1", [], lane)
            return []

        code.loop(even, "%cols", "1", [], column)
        return []

    code.loop("0", code.smin("%rows", str(TILE)), "16", [], group)
    code.do("ret void")
    return TURN_SIGNATURE, code


@lru_cache(16)
def copy_function(elem: Element, truth: bool) -> tuple[str, Code]:
    """`turn` for any column stride (%next); `truth`: bytes become 0 and 1."""
    code = Code()

    def column(j: str, _: list[str]) -> list[str]:
        at = code.at("i8", "%src", code.mul(j, "%next"))
        to = code.at("i8", "%dst", code.mul(j, str(TILE * elem.size)))

        def lane(i: str, _: list[str]) -> list[str]:
            p = code.at("i8", at, _row(code, i))
            if truth:
                x = code.op(f"uitofp i8 {code.op(f'load i8, ptr {p}')} to {elem.scalar}")
            else:
                x = code.op(f"load {elem.scalar}, ptr {p}")
            code.do(f"store {elem.scalar} {x}, ptr {code.at(elem.scalar, to, i)}")
            return []

        code.loop("0", str(TILE), "1", [], lane)
        return []

    code.loop("0", "%cols", "1", [], column)
    code.do("ret void")
    return COPY_SIGNATURE, code
