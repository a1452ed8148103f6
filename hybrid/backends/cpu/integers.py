"""Bits of bytes, and common divisors of whole numbers.

Invariant: inputs and outputs are contiguous, operands of divisors of one shape.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

from ..emit.code import Code, finish_module
from ..emit.loops import SIGNATURE
from ..generated import Generated, pack_words
from ..plan import HostStep
from .gemm.pack import each
from .words import address, argument

__all__ = ["divisors", "spread_bits", "together_bits"]

_CHUNK = 1 << 14  # elements that make a sensible chunk of work


def _finished(builder: Code, name: str) -> tuple[str, str]:
    builder.do("ret i64 0")
    return finish_module(builder, SIGNATURE, name)


# ---- divisors
def _magnitude(builder: Code, place: str, element: str, signed: bool) -> str:
    """The absolute value of an element, in 64 bits."""
    value = builder.op(f"load {element}, ptr {place}")
    if element != "i64":
        value = builder.op(f"{'sext' if signed else 'zext'} {element} {value} to i64")
    if not signed:
        return value
    return builder.call("llvm.abs.i64", "i64", f"i64 {value}", "i1 false")


def _divisor(builder: Code, left: str, right: str) -> str:
    """Of two numbers that are not 0, by halves and differences."""

    def halved(value: str) -> str:
        zeros = builder.call("llvm.cttz.i64", "i64", f"i64 {value}", "i1 false")
        return builder.op(f"lshr i64 {value}, {zeros}")

    both = builder.op(f"or i64 {left}, {right}")
    shared = builder.call("llvm.cttz.i64", "i64", f"i64 {both}", "i1 false")
    before, again, done = builder.block, builder.label("again"), builder.label("found")
    start = halved(left)
    builder.jump(again)
    builder.start(again)
    number = builder.count
    odd, rest = f"%odd{number}", f"%rest{number}"
    reserved = len(builder.lines)
    builder.lines += ["", ""]
    other = halved(rest)
    least, most = [
        builder.call(f"llvm.{which}.i64", "i64", f"i64 {odd}", f"i64 {other}")
        for which in ("umin", "umax")
    ]
    further = builder.op(f"sub i64 {most}, {least}")
    builder.branch(builder.op(f"icmp eq i64 {further}, 0"), done, again)
    for line, (name, first, later) in enumerate(
        ((odd, start, least), (rest, right, further)), reserved
    ):
        builder.lines[line] = f"  {name} = phi i64 [{first}, %{before}], [{later}, %{again}]"
    builder.start(done)
    return builder.op(f"shl i64 {least}, {shared}")


@lru_cache(None)
def _divisors(element: str, signed: bool, multiple: bool) -> tuple[str, str]:
    """An item is an element."""
    builder = Code()
    left, right, target = [address(builder, offset) for offset in (0, 16, 32)]

    def item(index: str) -> None:
        values = [
            _magnitude(builder, builder.at(element, base, index), element, signed)
            for base in (left, right)
        ]
        found, target_place = builder.alloca("i64"), builder.at(element, target, index)
        either = builder.op(f"or i64 {values[0]}, {values[1]}")
        builder.do(f"store i64 {'0' if multiple else either}, ptr {found}")
        none = [builder.op(f"icmp eq i64 {value}, 0") for value in values]
        some = builder.op(f"xor i1 {builder.op(f'or i1 {none[0]}, {none[1]}')}, true")

        def compute() -> None:
            result = _divisor(builder, *values)
            if multiple:
                quotient = builder.op(f"udiv i64 {values[0]}, {result}")
                result = builder.op(f"mul i64 {quotient}, {values[1]}")
            builder.do(f"store i64 {result}, ptr {found}")

        builder.when(some, compute)
        result = builder.op(f"load i64, ptr {found}")
        if element != "i64":
            result = builder.op(f"trunc i64 {result} to {element}")
        builder.do(f"store {element} {result}, ptr {target_place}")

    each(builder, "%begin", "%end", "1", item)
    return _finished(builder, "divisors")


def divisors(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function of a `Divisor`."""
    algorithm: Any = step.algorithm
    out = step.avals[2]
    words = pack_words([w for slot in (*step.inputs, *step.outputs) for w in (slot, 0)], {})
    element = f"i{8 * out.dtype.itemsize}"
    made = _divisors(element, out.dtype.kind == "i", algorithm.multiple)
    return [Generated(*made, words, out.size, _CHUNK // 16, 0)]


# ---- bits
def _in_order(builder: Code, bits: str, big_first: bool) -> str:
    """64 bits of eight bytes, whose first element is the lowest or the highest bit of a byte."""
    if not big_first:
        return bits
    turned = builder.call("llvm.bitreverse.i64", "i64", f"i64 {bits}")
    return builder.call("llvm.bswap.i64", "i64", f"i64 {turned}")


@lru_cache(None)
def _together(element: str, big_first: bool) -> tuple[str, str]:
    """An item is 64 elements of a line, or what is left of it."""
    builder = Code()
    source, target = address(builder, 0), address(builder, 16)
    extent, made, groups = [argument(builder, offset) for offset in (32, 40, 48)]

    def item(number: str) -> None:
        line = builder.op(f"udiv i64 {number}, {groups}")
        group = builder.op(f"sub i64 {number}, {builder.mul(line, groups)}")
        first = builder.mul(group, "64")
        begin = builder.at(element, source, builder.add(builder.mul(line, extent), first))
        place = builder.at(
            "i8", target, builder.add(builder.mul(line, made), builder.mul(group, "8"))
        )
        left = builder.op(f"sub i64 {extent}, {first}")
        whole, parted, done = map(builder.label, ("whole", "parted", "done"))
        builder.branch(builder.op(f"icmp sge i64 {left}, 64"), whole, parted)
        builder.start(whole)
        given = builder.op(f"load <64 x {element}>, ptr {begin}, align 1")
        truths = builder.op(f"icmp ne <64 x {element}> {given}, zeroinitializer")
        bits = builder.op(f"bitcast <64 x i1> {truths} to i64")
        builder.do(f"store i64 {_in_order(builder, bits, big_first)}, ptr {place}, align 1")
        builder.jump(done)
        builder.start(parted)
        _last_bits(builder, (begin, place), (element, left), big_first)
        builder.jump(done)
        builder.start(done)

    each(builder, "%begin", "%end", "1", item)
    return _finished(builder, "together_bits")


def _last_bits(
    builder: Code, places: tuple[str, str], given: tuple[str, str], big_first: bool
) -> None:
    """Fewer than 64 elements of an LLVM type, one by one."""
    (begin, place), (element, left) = places, given

    def one(index: str, bits: list[str]) -> list[str]:
        value = builder.op(f"load {element}, ptr {builder.at(element, begin, index)}")
        truth = builder.op(f"zext i1 {builder.op(f'icmp ne {element} {value}, 0')} to i64")
        return [builder.op(f"or i64 {bits[0]}, {builder.op(f'shl i64 {truth}, {index}')}")]

    _, (bits,) = builder.loop("0", left, "1", [("i64", "0")], one)
    bits = _in_order(builder, bits, big_first)

    def byte(index: str) -> None:
        moved = builder.op(f"lshr i64 {bits}, {builder.mul(index, '8')}")
        value = builder.op(f"trunc i64 {moved} to i8")
        builder.do(f"store i8 {value}, ptr {builder.at('i8', place, index)}")

    count = builder.op(f"lshr i64 {builder.add(left, '7')}, 3")
    each(builder, "0", count, "1", byte)


def together_bits(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that makes bytes of truths."""
    algorithm: Any = step.algorithm
    given, out = step.avals
    extent = given.shape[-1]
    groups = -(-extent // 64)
    operands = step.inputs[0], 0, step.outputs[0], 0
    words = pack_words((*operands, extent, out.shape[-1], groups), {})
    made = _together(f"i{8 * given.dtype.itemsize}", algorithm.big)
    return [Generated(*made, words, prod(given.shape[:-1]) * groups, _CHUNK // 64, 0)]


@lru_cache(None)
def _spread(big_first: bool) -> tuple[str, str]:
    """An item is eight bytes, or those that are left."""
    builder = Code()
    source, target, count = address(builder, 0), address(builder, 16), argument(builder, 32)

    def bits_of(bits: str, lanes: int, place: str) -> None:
        truths = builder.op(f"bitcast i{lanes} {bits} to <{lanes} x i1>")
        made = builder.op(f"zext <{lanes} x i1> {truths} to <{lanes} x i8>")
        builder.do(f"store <{lanes} x i8> {made}, ptr {place}, align 1")

    def alone(index: str) -> None:
        bits = builder.op(f"load i8, ptr {builder.at('i8', source, index)}")
        if big_first:
            bits = builder.call("llvm.bitreverse.i8", "i8", f"i8 {bits}")
        bits_of(bits, 8, builder.at("i8", target, builder.mul(index, "8")))

    def item(number: str) -> None:
        first = builder.mul(number, "8")
        whole, parted, done = map(builder.label, ("whole", "parted", "done"))
        stop = builder.add(first, "8")
        builder.branch(builder.op(f"icmp sle i64 {stop}, {count}"), whole, parted)
        builder.start(whole)
        bits = builder.op(f"load i64, ptr {builder.at('i8', source, first)}, align 1")
        place = builder.at("i8", target, builder.mul(number, "64"))
        bits_of(_in_order(builder, bits, big_first), 64, place)
        builder.jump(done)
        builder.start(parted)
        each(builder, first, count, "1", alone)
        builder.jump(done)
        builder.start(done)

    each(builder, "%begin", "%end", "1", item)
    return _finished(builder, "spread_bits")


def spread_bits(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that makes an element of each bit."""
    algorithm: Any = step.algorithm
    given = step.avals[0]
    words = pack_words((step.inputs[0], 0, step.outputs[0], 0, given.size), {})
    return [Generated(*_spread(algorithm.big), words, -(-given.size // 8), _CHUNK // 64, 0)]
