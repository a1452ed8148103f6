"""Lines of NumPy for one piece of a kernel: operands, constants, registers, temporaries.

Invariant: a register that is read before the piece writes it is one of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .text import Entry

__all__ = ["KIND", "OPCODES", "ROUNDINGS", "SPACES", "WINDOW", "Writer", "elements", "opcode"]

KIND = {
    **{
        f"{a}{8 * n}": f"{b}{n}"
        for a, b in (("s", "i"), ("u", "u"), ("b", "u"))
        for n in (1, 2, 4, 8)
    },
    "f16": "f2",
    "f32": "f4",
    "f64": "f8",
    "bf16": "u2",
    "pred": "?",
}
WINDOW = {"shared": 1 << 60, "local": 2 << 60, "param": 3 << 60}
SPACES = ("global", "shared", "local", "param", "const")
ROUNDINGS = ("rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi")


class Writer:
    """The lines of one piece of code."""

    def __init__(
        self,
        entry: Entry,
        numbers: dict[str, int],
        kinds: dict[str, str],
        labels: dict[str, int],
        namespace: dict[str, Any],
        symbols: dict[str, int],
    ) -> None:
        self.entry, self.numbers, self.kinds, self.labels = entry, numbers, kinds, labels
        self.namespace, self.symbols = namespace, symbols
        self.lines: list[str] = []
        self.end: list[str] = []
        self.reads: set[int] = set()
        self.writes: set[int] = set()
        self.guard, self.at, self.temporaries = "", 0, 0

    # ---- operands
    def constant(self, value: int, kind: str) -> str:
        """A name for an array of one element with these bits."""
        size = np.dtype(kind).itemsize
        bits = value & ((1 << (8 * size)) - 1)
        name = f"K{kind.replace('?', 'p')}_{bits:x}"
        if name not in self.namespace:
            if kind == "?":
                made = np.array([bool(value)])
            else:
                made = np.array([bits], f"u{size}").view(kind)
            made.flags.writeable = False
            self.namespace[name] = made
        return name

    def symbol(self, name: str) -> tuple[str, int] | None:
        """(space, offset or address) of a variable or parameter."""
        if name in self.entry.variables:
            found = self.entry.variables[name]
            return found.space, found.offset
        if name in self.entry.parameters:
            return "param", self.entry.parameters[name].offset
        if name in self.symbols:
            return "global", self.symbols[name]
        return None

    def register(self, name: str) -> str:
        number = self.numbers[name]
        if number not in self.writes:
            self.reads.add(number)
        return f"r{number}"

    def value(self, text: str, kind: str) -> str:
        """An operand as an array of this element type."""
        if text.startswith("!"):
            return f"~{self.value(text[1:], kind)}"
        if text in self.numbers:
            have = self.kinds[text]
            return self.cast(self.register(text), have, kind)
        if text.startswith("%"):
            made = f"m.special({text!r}, idx)"
            size = 8 if text.startswith(("%clock64", "%globaltimer", "%gridid")) else 4
            return self.cast(made, f"u{size}", kind)
        if text[:2] in ("0f", "0F", "0d", "0D"):
            return self.constant(int(text[2:], 16), kind)
        if text[0].isdigit() or text[0] == "-":
            return self.constant(int(text.rstrip("U"), 0), kind)
        if "+" in text:
            base, _, add = text.partition("+")
            found = self.symbol(base.strip())
            if found:
                return self.constant(found[1] + int(add, 0), kind)
        found = self.symbol(text)
        if found is None:
            raise KeyError(text)
        return self.constant(found[1], kind)

    @staticmethod
    def cast(text: str, have: str, want: str) -> str:
        if have == want:
            return text
        if have == "?" or want == "?":
            return f"{text}.astype({'bool' if want == '?' else want})"
        if have[1] == want[1]:
            return f"{text}.view({want})"
        unsigned = f"u{want[1]}"
        narrowed = (
            f"{text}.view(u{have[1]}).astype({unsigned})"
            if have[0] != "u"
            else (f"{text}.astype({unsigned})")
        )
        return narrowed if want == unsigned else f"{narrowed}.view({want})"

    def set(self, name: str, text: str, kind: str) -> None:
        """Put a value of this element type into a register."""
        if name == "_":
            self.lines.append(text)
            return
        want = self.kinds[name]
        if want != kind:
            simple = text if text.isidentifier() else f"({text})"
            if want[1:] != kind[1:] and "?" not in (want, kind):  # widened by its own sign
                if kind[0] == "f":
                    kind, simple = f"u{kind[1]}", f"{simple}.view(u{kind[1]})"
                wide = f"{kind[0]}{want[1]}"
                text = f"{simple}.astype({wide})"
                text = text if wide == want else f"{text}.view({want})"
            else:
                text = self.cast(simple, kind, want)
        self.writes.add(self.numbers[name])
        self.lines.append(f"r{self.numbers[name]} = {text}")

    def temporary(self, text: str) -> str:
        self.temporaries += 1
        self.lines.append(f"t{self.temporaries} = {text}")
        return f"t{self.temporaries}"

    def address(self, text: str, space: str) -> tuple[str, int, str]:
        """[operand] -> (base as u8 array, constant offset, space)."""
        inner = text.strip()[1:-1].strip()
        base, offset = inner, 0
        for sign in ("+", "-"):
            left, found, right = inner.rpartition(sign)
            if found and left.strip() and not left.strip().endswith("+"):
                base, offset = left.strip(), int(right, 0) * (1 if sign == "+" else -1)
                break
            if found and left.strip().endswith("+"):
                base, offset = left.strip()[:-1].strip(), -int(right.strip(), 0)
                break
        if base in self.numbers:
            return self.value(base, "u8"), offset, space
        if base[0].isdigit():
            return self.constant(int(base, 0), "u8"), offset, space
        found_symbol = self.symbol(base)
        if found_symbol is None:
            raise KeyError(base)
        where, place = found_symbol
        return self.constant(place, "u8"), offset, where if space == "generic" else space


Make = Callable[[Writer, list[str], tuple[str, ...]], None]
OPCODES: dict[str, Make] = {}


def opcode(*names: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        for name in names:
            OPCODES[name] = make
        return make

    return add


def elements(text: str) -> list[str]:
    return [part.strip() for part in text.strip().strip("{}").split(",")]
