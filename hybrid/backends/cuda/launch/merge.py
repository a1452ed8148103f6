"""Launches of one function over many buffers as one launch: what an optimizer does to parameters.

Invariant: every block of threads of the merged kernel runs the text of the function, with the words
and the block number it would have had in a launch of its own, so the bits are the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from ....core.cache import Bounded
from ..function import GpuFunction

__all__ = ["merged"]

_WORDS = 512  # of a launch: what every driver takes
_MOST = 64  # launches that one becomes
_ARGUMENT = re.compile(r"getelementptr i64, ptr %args, i64 (\d+)\b")
_TEXTS = Bounded[tuple[str, str] | None](256, 4 << 20, lambda made: len(made[0]) if made else 1)


def merged(functions: Sequence[GpuFunction]) -> list[GpuFunction]:
    """The same work in fewer launches, for functions that do not depend on each other."""
    groups: dict[tuple[str, int, int], list[GpuFunction]] = {}
    for function in functions:
        key = function.symbol, function.threads, function.shared
        groups.setdefault(key, []).append(function)
    return [made for each in groups.values() for made in _together(each)]


def _together(functions: list[GpuFunction]) -> list[GpuFunction]:
    first = functions[0]
    if len(functions) == 1 or first.check >= 0 or first.temp:
        return functions
    columns = list(zip(*(function.words for function in functions)))
    own = [position for position, words in enumerate(columns) if len(set(words)) > 1]
    common = len(first.words) - len(own)
    most = min((_WORDS - 1 - common) // (len(own) + 1), _MOST)
    made = _TEXTS.of((first.symbol, tuple(own)), lambda: _merged_text(first, own))
    if made is None or most < 2:
        return functions
    parts = [functions[i : i + most] for i in range(0, len(functions), most)]
    return [_merged(part, own, made) if len(part) > 1 else part[0] for part in parts]


def _merged(
    functions: Sequence[GpuFunction], own: Sequence[int], made: tuple[str, str]
) -> GpuFunction:
    """One launch: the number of parts, the common words, then for each part the number of its first
    block and its own words."""
    first, slots = functions[0], set(functions[0].slots)
    mine = set(own)
    common = [position for position in range(len(first.words)) if position not in mine]
    words = [len(functions), *(first.words[position] for position in common)]
    positions = [1 + k for k, position in enumerate(common) if position in slots]
    block = 0
    for function in functions:
        start = len(words)
        words += [block, *(function.words[position] for position in own)]
        positions += [start + 1 + k for k, position in enumerate(own) if position in slots]
        block += function.blocks
    words += [0] * (_WORDS - len(words))
    text, symbol = made
    return GpuFunction(text, symbol, tuple(words), tuple(positions), block, first.threads)


def _merged_text(function: GpuFunction, own: Sequence[int]) -> tuple[str, str] | None:
    """(text, symbol) of a kernel for launches that differ in the words `own`; None where the text
    of the function does more with its words than to read them one by one."""
    mine = {position: 1 + k for k, position in enumerate(own)}
    common = [position for position in range(len(function.words)) if position not in mine]
    positions = {position: 1 + k for k, position in enumerate(common)}

    def word(found: re.Match[str]) -> str:
        position = int(found[1])
        if position in mine:
            return f"getelementptr i64, ptr %own.words, i64 {mine[position]}"
        return f"getelementptr i64, ptr %all.words, i64 {positions[position]}"

    head, _, body = function.text.partition("entry:\n")
    body = _ARGUMENT.sub(word, body)
    for register, value in (("ctaid", "%own.block"), ("nctaid", "%own.blocks")):
        name = f"call i32 @llvm.nvvm.read.ptx.sreg.{register}.x()"
        body = body.replace(name, f"add i32 {value}, 0")
    if "%args" in body or head.count("define") != 1:
        return None
    head = re.sub(r"\[\d+ x i64\]", f"[{_WORDS} x i64]", head)
    for register in ("ctaid", "nctaid"):
        declared = f"declare i32 @llvm.nvvm.read.ptx.sreg.{register}.x()\n"
        head = head if declared in head else declared + head
    start = 1 + len(common)
    text = f"{head}entry:\n{_find_part(start, len(own) + 1)}{body}"
    symbol = "many_" + hashlib.sha256(text.encode()).hexdigest()[:20]
    return text.replace(f"@{function.symbol}(", f"@{symbol}("), symbol


def _find_part(start: int, size: int) -> str:
    """Which part a block belongs to: the last one whose first block is not behind it."""
    lines = [
        "%all.words = getelementptr i64, ptr %args, i64 0",
        "%all.block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()",
        "%all.blocks = call i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()",
        "%all.here = zext i32 %all.block to i64",
        "%all.parts = load i64, ptr %args, align 8",
        "%all.last = sub i64 %all.parts, 1",
        "%part.64 = add i64 0, 0",
    ]
    step = _MOST
    while step > 1:
        now, half = f"%part.{step}", step // 2
        lines += [
            f"%next.{half} = add i64 {now}, {half}",
            f"%inside.{half} = icmp sle i64 %next.{half}, %all.last",
            f"%look.{half} = select i1 %inside.{half}, i64 %next.{half}, i64 %all.last",
            *_first_block(f"{half}", f"%look.{half}", start, size),
            f"%reached.{half} = icmp sle i64 %first.{half}, %all.here",
            f"%both.{half} = and i1 %inside.{half}, %reached.{half}",
            f"%part.{half} = select i1 %both.{half}, i64 %next.{half}, i64 {now}",
        ]
        step = half
    lines += [
        *_first_block("own", "%part.1", start, size),
        "%own.words = getelementptr i64, ptr %args, i64 %at.own",
        "%behind = add i64 %part.1, 1",
        "%ends = icmp sgt i64 %behind, %all.last",
        "%behind.look = select i1 %ends, i64 %all.last, i64 %behind",
        *_first_block("behind", "%behind.look", start, size),
        "%all.total = zext i32 %all.blocks to i64",
        "%stop = select i1 %ends, i64 %all.total, i64 %first.behind",
        "%own.count = sub i64 %stop, %first.own",
        "%own.blocks = trunc i64 %own.count to i32",
        "%own.number = sub i64 %all.here, %first.own",
        "%own.block = trunc i64 %own.number to i32",
    ]
    return "".join(f"  {line}\n" for line in lines)


def _first_block(name: str, part: str, start: int, size: int) -> list[str]:
    """The number of a part's first block."""
    return [
        f"%skip.{name} = mul i64 {part}, {size}",
        f"%at.{name} = add i64 %skip.{name}, {start}",
        f"%spot.{name} = getelementptr i64, ptr %args, i64 %at.{name}",
        f"%first.{name} = load i64, ptr %spot.{name}, align 8",
    ]
