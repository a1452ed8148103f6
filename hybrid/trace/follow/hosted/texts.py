"""Texts that user code makes of followed numbers, and what a value on the stack is as a term.

Invariant: a text is followed only where each of its parts is a term or a value that facts decide.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Sequence
from typing import Any

from ....ir.tensor import Handle
from ...heap.allowlist import is_a
from ..machine import UNKNOWN, UNSEEN, StackSlot, Stepper, value_of
from ..terms import (
    MAX_TERM,
    Collection,
    Constant,
    HostRead,
    Live,
    Made,
    Term,
    parts,
    size,
)
from .recall import decided, recalled

__all__ = ["term_of", "format_value", "build_string", "text_of"]
__all__ += ["of_tensor", "shown", "computed_text", "format_with", "convert_value"]


def formatted(value: Any, specification: str) -> str:
    """What an f-string makes of a value."""
    return format(value, specification)


def ended(shown: str, tail: str) -> str:
    """What is shown of a tensor, with what is said of its gradient."""
    return shown[:-1] + tail


def percent(pattern: str, *values: Any) -> str:
    """What `pattern % values` makes of a tuple."""
    return pattern % values


def joined(*parts: str) -> str:
    """What an f-string makes of its parts."""
    return "".join(parts)


def text(function: Callable[..., str], *operands: Any) -> Made:
    """The text that a function makes of terms."""
    return Made(function, operands, str)


def _whole(term: Any) -> bool:
    """Whether a term says everything of a value."""
    if type(term) is Collection:
        if not any(term.type is known for known in (list, tuple, dict, slice)):
            return False
        named = term.type is not dict or len(term.keys) == len(term.items)
        return named and all(item is not None and _whole(item) for item in term.items)
    return term is not None


def term_of(frame: types.FrameType, slot: StackSlot) -> Term | None:
    """What an argument is; None where that is not known."""
    if slot.term is not None:
        return slot.term if _whole(slot.term) and size(slot.term) <= MAX_TERM else None
    value = value_of(frame, slot)
    if type(value) is slice and decided(value):  # slices cannot be hashed
        ends = value.start, value.stop, value.step
        return Made(slice, tuple(map(Constant, ends)), slice)
    return Constant(value) if value is not UNKNOWN and decided(value) else None


def _filled(function: Callable[..., str], terms: Sequence[Any], values: Sequence[Any]) -> StackSlot:
    """The text that a function makes."""
    value: Any = UNKNOWN
    if all(v is not UNKNOWN for v in values):
        try:
            value = function(*values)
        except Exception:
            return UNSEEN
    followed = any(type(term) is not Constant for term in terms)
    return StackSlot(value, text(function, *terms)) if followed else StackSlot(value)


def _parts(
    follow: Any, frame: types.FrameType, slots: Sequence[StackSlot]
) -> tuple[list[Any], list[Any]] | None:
    """Terms and values of what goes into a text, some of which is followed; None where that is not
    known: it is looked at."""
    terms = [term_of(frame, slot) for slot in slots]
    if None in terms:
        follow.escape(slots)
        return None
    return terms, [value_of(frame, slot) for slot in slots]


_GRADIENT = re.compile(r", (requires_grad=True|grad_fn=<[^>]*>)\)$")


def shown(machine: Stepper, count: int) -> list[Any] | None:
    """The texts of so many tensors that an instruction has shown whole, as terms; nothing else has
    looked at them.  None: it has shown others, or some in part."""
    reads, texts = machine.reads, machine.returned
    plainly = len(reads) == len(texts) == count and not machine.entered
    if not plainly or any(how != "repr()" for _, how, _ in reads):
        return None
    if any(type(value) is not str or ", shape=" in value for value in texts):
        return None
    machine.reads, tails = [], [_GRADIENT.search(value) for value in texts]
    return [
        Made(ended, (HostRead(*read), Constant(tail.group(0) if tail else ")")), str)
        for read, tail in zip(reads, tails)
    ]


def of_tensor(machine: Stepper, spec: StackSlot) -> StackSlot:
    """What an f-string or `str` has made of a tensor."""
    text = machine.returned[-1] if len(machine.returned) == 1 else UNKNOWN
    if type(text) is not str or len(machine.reads) != 1 or machine.entered:
        return UNSEEN
    if type(spec.value) is not str or spec.term is not None:
        return UNSEEN
    if machine.reads[0][1] == "repr()":
        terms = None if spec.value else shown(machine, 1)  # else it was padded after that
        return UNSEEN if terms is None else StackSlot(text, terms[0])
    if machine.reads[0][1] != ".item()":
        return UNSEEN
    read, machine.reads = HostRead(*machine.reads[0]), []
    if spec.value:
        return StackSlot(text, Made(formatted, (read, Constant(spec.value)), str))
    return StackSlot(text, Made(str, (read,), str))


def format_value(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    """`{value!r:spec}` in an f-string; up to 3.12 one instruction."""
    flags = instruction.arg or 0
    spec = machine.stack.pop() if flags & 4 else StackSlot("")
    if flags & 3:
        convert(follow, machine, frame, flags & 3)
        _format(follow, machine, frame, machine.stack.pop(), spec)
    else:
        _format(follow, machine, frame, _top(follow, machine, frame), spec)


def _still(follow: Any, slot: StackSlot) -> StackSlot:
    """A container as it is now; of an iterator nothing is known."""
    if not isinstance(slot.term, Live):
        return slot
    term = None if slot.term.lost else slot.term.frozen()
    follow.escape([slot] if term is None else ())
    return slot._replace(term=term)


def _top(follow: Any, machine: Stepper, frame: Any) -> StackSlot:
    """Take what lies on the stack of the machine, and of the frame below a format."""
    slot = _still(follow, machine.stack.pop())
    return recalled(machine, frame, [slot], len(machine.stack))[0]


def convert(follow: Any, machine: Stepper, frame: Any, how: int) -> None:
    """`!s`, `!r` or `!a` (0: none of them)."""
    if how:
        function: Any = (str, repr, ascii)[how - 1]
        parts = _parts(follow, frame, [_top(follow, machine, frame)])
        machine.stack.append(UNSEEN if parts is None else _filled(function, *parts))


def _format(follow: Any, machine: Stepper, frame: Any, slot: StackSlot, spec: StackSlot) -> None:
    held = value_of(frame, slot)
    if slot.term is None and (held is UNKNOWN or is_a(held, Handle)):
        machine.stack.append(UNSEEN)

        def finish(follow: Any, offset: int) -> None:
            machine.stack[-1] = of_tensor(machine, spec)
            follow.escape([spec])

        machine.finish = finish
        return
    parts = _parts(follow, frame, [slot, spec])
    machine.stack.append(UNSEEN if parts is None else _filled(formatted, *parts))


def format_with(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    """FORMAT_SIMPLE and FORMAT_WITH_SPEC."""
    spec = machine.stack.pop() if instruction.opname == "FORMAT_WITH_SPEC" else StackSlot("")
    _format(follow, machine, frame, _top(follow, machine, frame), spec)


def convert_value(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    convert(follow, machine, frame, instruction.arg or 0)


def build_string(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    count = instruction.arg or 0
    first = len(machine.stack) - count
    slots = recalled(machine, frame, machine.stack[first:], first)
    del machine.stack[first:]
    parts = _parts(follow, frame, slots)
    machine.stack.append(UNSEEN if parts is None else _filled(joined, *parts))


_MAKERS: tuple[Any, ...] = (str, repr, format, str.format, str.join, json.dumps)


def text_of(frame: types.FrameType, function: Any, given: list[StackSlot]) -> StackSlot | None:
    """A call that makes a text of followed values; None: it is none."""
    if not any(slot.term is not None for slot in given):
        return None
    if not any(function is maker for maker in _MAKERS):
        return None
    terms = [term_of(frame, slot) for slot in given]
    if None in terms:
        return None
    values = [value_of(frame, slot) for slot in given]
    values = [UNKNOWN if type(t) is Collection else v for t, v in zip(terms, values)]
    return _filled(function, terms, values)


_CONVERSION = re.compile(r"%([^%a-zA-Z]*)([a-zA-Z%])")
_OF_INTS = frozenset("diouxXc")  # conversions that raise for some floats


def _fits(pattern: str, terms: Sequence[Any]) -> bool:
    """Whether no float that is read from a tensor may be one that a conversion raises for."""
    found = [match.groups() for match in _CONVERSION.finditer(pattern)]
    kinds = [kind for flags, kind in found if kind != "%"]
    if len(kinds) != len(terms) or any("*" in flags or "(" in flags for flags, _ in found):
        return False
    leaves = [leaf for k, term in zip(kinds, terms) if k in _OF_INTS for leaf in parts(term)]
    return all(type(leaf) is not HostRead or leaf.how == "int()" for leaf in leaves)


def _percent(frame: types.FrameType, left: StackSlot, right: StackSlot) -> StackSlot | None:
    """`pattern % values`; None where the left is no text."""
    pattern = value_of(frame, left)
    if type(pattern) is not str or right.term is None:
        return None
    several = type(right.term) is Collection and right.term.type is tuple
    terms = [Constant(pattern), *(right.term.items if several else (right.term,))]  # type: ignore[union-attr]
    if not all(map(_whole, terms)) or not _fits(pattern, terms[1:]):
        return None
    slots = [StackSlot(value_of(frame, right), right.term)]
    values = [pattern, *(UNKNOWN if several else s.value for s in slots)]
    return _filled(percent, terms, values)


def computed_text(
    frame: types.FrameType, symbol: str, left: StackSlot, right: StackSlot
) -> StackSlot | None:
    """`pattern % values`, or a sum of texts; None: it is no such operation."""
    if symbol == "%":
        return _percent(frame, left, right)
    slots = [left, right]
    if symbol != "+" or not any(type(s.term) is Made and s.term.type is str for s in slots):
        return None
    terms = [term_of(frame, slot) for slot in slots]
    values = [value_of(frame, slot) for slot in slots]
    if None in terms or not all(value is UNKNOWN or type(value) is str for value in values):
        return None
    return _filled(joined, terms, values)
