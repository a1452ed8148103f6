"""What a kernel reads of its argument words: numbers, and where its operands begin.

Invariant: an operand is two words, the number of its slot and a byte offset.
"""

from __future__ import annotations

from ..emit.code import Code

__all__ = ["address", "argument"]


def argument(code: Code, offset: int) -> str:
    """The word at a byte offset."""
    return code.op(f"load i64, ptr {code.at('i8', '%args', str(offset))}")


def address(code: Code, offset: int) -> str:
    """Where the operand begins whose words are there."""
    slot = code.at("ptr", "%bufs", argument(code, offset))
    return code.at("i8", code.op(f"load ptr, ptr {slot}"), argument(code, offset + 8))
