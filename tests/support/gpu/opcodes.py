"""What each PTX opcode becomes: a line of NumPy over the active threads.

Invariant: an opcode, type or modifier that is not in these tables raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .text import Entry

__all__ = ["OPCODES", "Writer"]

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


def _bf16(w: Writer, parts: list[str], a: tuple[str, ...], text: str) -> None:
    """text over {0}, {1}, {2} in float32, rounded once to bfloat16."""
    wide = [f"from_bf16({w.value(x, 'u2')})" for x in a[1:]]
    w.set(a[0], f"to_bf16({text.format(*wide)}, 'rn')", "u2")


def _allowed(parts: list[str], *names: str) -> None:
    extra = [p for p in parts[1:-1] if p not in names]
    if extra:
        raise ValueError(f"modifier .{extra[0]}")


# ---- arithmetic
@opcode("add", "sub", "mul")
def _arithmetic(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    sign = {"add": "+", "sub": "-", "mul": "*"}[parts[0]]
    if parts[-1] == "bf16":
        return _bf16(w, parts, a, f"{{}} {sign} {{}}")
    if "wide" in parts:
        wide = f"{kind[0]}{2 * int(kind[1])}"
        text = f"{w.value(a[1], kind)}.astype({wide}) * {w.value(a[2], kind)}.astype({wide})"
        return w.set(a[0], text, wide)
    if "hi" in parts:
        return w.set(a[0], f"mul_hi({w.value(a[1], kind)}, {w.value(a[2], kind)})", kind)
    if "cc" in parts:
        x, y = w.temporary(w.value(a[1], f"u{kind[1]}")), w.temporary(w.value(a[2], f"u{kind[1]}"))
        if sign == "+":
            out = w.temporary(f"{x} + {y}")
            w.set("CC", f"{out} < {x}", "?")
        else:
            out = w.temporary(f"{x} - {y}")
            w.set("CC", f"{x} < {y}", "?")
        return w.set(a[0], out, f"u{kind[1]}")
    _allowed(parts, "rn", "lo")
    w.set(a[0], f"{w.value(a[1], kind)} {sign} {w.value(a[2], kind)}", kind)


@opcode("addc", "subc")
def _with_carry(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = f"u{KIND[parts[-1]][1]}"
    x, y = w.temporary(w.value(a[1], kind)), w.temporary(w.value(a[2], kind))
    carry = w.temporary(w.value("CC", "?"))
    if parts[0] == "addc":
        part = w.temporary(f"{x} + {y}")
        out = w.temporary(f"{part} + {carry}.astype({kind})")
        flag = f"({part} < {x}) | ({out} < {part})"
    else:
        part = w.temporary(f"{x} - {y}")
        out = w.temporary(f"{part} - {carry}.astype({kind})")
        flag = f"({x} < {y}) | ({part} < {carry}.astype({kind}))"
    if "cc" in parts:
        w.set("CC", flag, "?")
    w.set(a[0], out, kind)


@opcode("mad")
def _mad(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if kind[0] == "f":
        raise ValueError("mad of floats")
    if "wide" in parts:
        wide = f"{kind[0]}{2 * int(kind[1])}"
        text = f"{w.value(a[1], kind)}.astype({wide}) * {w.value(a[2], kind)}.astype({wide})"
        return w.set(a[0], f"{text} + {w.value(a[3], wide)}", wide)
    product = f"{w.value(a[1], kind)} * {w.value(a[2], kind)}"
    if "hi" in parts:
        product = f"mul_hi({w.value(a[1], kind)}, {w.value(a[2], kind)})"
    _allowed(parts, "lo", "hi")
    w.set(a[0], f"{product} + {w.value(a[3], kind)}", kind)


@opcode("fma")
def _fma(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    if parts[1:-1] != ["rn"] or parts[-1] not in ("f32", "f64"):
        raise ValueError("fma other than .rn.f32 and .rn.f64")
    kind = KIND[parts[-1]]
    x, y, z = (w.value(v, kind) for v in a[1:])
    w.set(a[0], f"fma{8 * int(kind[1])}({x}, {y}, {z})", kind)


@opcode("div", "rem")
def _div(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if kind[0] == "f":
        if "rn" not in parts:
            raise ValueError("a division that is not .rn")
        return w.set(a[0], f"{w.value(a[1], kind)} / {w.value(a[2], kind)}", kind)
    w.set(a[0], f"{parts[0]}_int({w.value(a[1], kind)}, {w.value(a[2], kind)})", kind)


@opcode("sqrt", "rcp")
def _root(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if "rn" not in parts:
        raise ValueError("not .rn")
    one = w.constant({"f4": 0x3F800000, "f8": 0x3FF0000000000000}[kind], kind)
    x = w.value(a[1], kind)
    w.set(a[0], f"np.sqrt({x})" if parts[0] == "sqrt" else f"{one} / {x}", kind)


@opcode("neg", "abs")
def _sign(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if parts[-1] == "bf16":
        bits = w.constant(0x8000 if parts[0] == "neg" else 0x7FFF, "u2")
        return w.set(
            a[0], f"{w.value(a[1], 'u2')} {'^' if parts[0] == 'neg' else '&'} {bits}", "u2"
        )
    if kind[0] == "f":
        name = {"neg": "negated", "abs": "absolute"}[parts[0]]
        return w.set(a[0], f"{name}({w.value(a[1], kind)})", kind)
    name = {"neg": "np.negative", "abs": "np.abs"}[parts[0]]
    w.set(a[0], f"{name}({w.value(a[1], kind)})", kind)


@opcode("copysign")
def _copysign(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    w.set(a[0], f"np.copysign({w.value(a[2], kind)}, {w.value(a[1], kind)})", kind)


@opcode("min", "max")
def _extreme(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind, least = KIND[parts[-1]], parts[0] == "min"
    if parts[-1] == "bf16":
        return _bf16(w, parts, a, f"minimum({{}}, {{}}, {least}, {'NaN' in parts})")
    _allowed(parts, "NaN")
    x, y = w.value(a[1], kind), w.value(a[2], kind)
    if kind[0] == "f":
        return w.set(a[0], f"minimum({x}, {y}, {least}, {'NaN' in parts})", kind)
    w.set(a[0], f"np.{'minimum' if least else 'maximum'}({x}, {y})", kind)


# ---- bits
@opcode("and", "or", "xor")
def _logic(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    sign = {"and": "&", "or": "|", "xor": "^"}[parts[0]]
    w.set(a[0], f"{w.value(a[1], kind)} {sign} {w.value(a[2], kind)}", kind)


@opcode("not")
def _not(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    w.set(a[0], f"~{w.value(a[1], kind)}", kind)


@opcode("cnot")
def _cnot(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    w.set(a[0], f"({w.value(a[1], kind)} == 0).astype({kind})", kind)


@opcode("shl", "shr")
def _shift(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind, left = KIND[parts[-1]], parts[0] == "shl"
    x = w.value(a[1], kind)
    if a[2][0].isdigit():
        count, width = int(a[2], 0), 8 * int(kind[1])
        if count < width:
            by = w.constant(count, kind)
            return w.set(a[0], f"{x} {'<<' if left else '>>'} {by}", kind)
    w.set(a[0], f"shift({x}, {w.value(a[2], 'u4')}, {left})", kind)


@opcode("shf")
def _funnel(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    x, y, n = (w.value(v, "u4") for v in a[1:])
    w.set(a[0], f"funnel({x}, {y}, {n}, {'l' in parts}, {'wrap' in parts})", "u4")


@opcode("clz", "popc")
def _count(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    x = w.value(a[1], KIND[parts[-1]])
    w.set(a[0], f"clz({x})" if parts[0] == "clz" else f"np.bitwise_count({x}).astype(u4)", "u4")


@opcode("brev")
def _brev(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    w.set(a[0], f"brev({w.value(a[1], kind)})", kind)


@opcode("bfind")
def _bfind(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    w.set(a[0], f"bfind({w.value(a[1], KIND[parts[-1]])}, {'shiftamt' in parts})", "u4")


@opcode("bfe")
def _bfe(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    w.set(a[0], f"bfe({w.value(a[1], kind)}, {w.value(a[2], 'u4')}, {w.value(a[3], 'u4')})", kind)


@opcode("bfi")
def _bfi(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    x, y, s, n = w.value(a[1], kind), w.value(a[2], kind), w.value(a[3], "u4"), w.value(a[4], "u4")
    w.set(a[0], f"bfi({x}, {y}, {s}, {n})", kind)


@opcode("prmt")
def _prmt(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    if parts != ["prmt", "b32"]:
        raise ValueError("a mode of prmt")
    w.set(a[0], f"prmt({', '.join(w.value(x, 'u4') for x in a[1:])})", "u4")


@opcode("lop3")
def _lop3(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    x, y, z = (w.value(v, "u4") for v in a[1:4])
    w.set(a[0], f"lop3({x}, {y}, {z}, {int(a[4], 0)})", "u4")


# ---- comparing and choosing
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
COMPARE.update({"lo": "<", "ls": "<=", "hi": ">", "hs": ">="})
UNORDERED = {"equ": "!=", "neu": "!=", "ltu": ">=", "leu": ">", "gtu": "<=", "geu": "<"}


def _comparison(w: Writer, how: str, name: str, x: str, y: str) -> str:
    kind = KIND[name]
    left, right = w.value(x, kind), w.value(y, kind)
    if name == "bf16":
        kind, left, right = "f4", f"from_bf16({left})", f"from_bf16({right})"
    if kind[0] != "f" or how in ("eq", "lt", "le", "gt", "ge"):
        return f"{left} {COMPARE[how]} {right}"
    if how == "neu":
        return f"{left} != {right}"
    if how == "ne":
        return f"({left} < {right}) | ({left} > {right})"
    if how == "equ":
        return f"~(({left} < {right}) | ({left} > {right}))"
    if how in ("num", "nan"):
        left = f"np.isnan({left})" if x == y else f"(np.isnan({left}) | np.isnan({right}))"
        return f"~{left}" if how == "num" else left
    return f"~({left} {UNORDERED[how]} {right})"


@opcode("setp")
def _setp(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    middle = [p for p in parts[1:-1] if p not in ("and", "or", "xor")]
    (how,) = middle
    join = next((p for p in parts[1:-1] if p in ("and", "or", "xor")), None)
    text = _comparison(w, how, parts[-1], a[1], a[2])
    targets = a[0].split("|")
    made = w.temporary(text) if join or len(targets) > 1 else text
    if join:
        sign, third = {"and": "&", "or": "|", "xor": "^"}[join], w.value(a[3], "?")
        first, second = f"{made} {sign} {third}", f"~{made} {sign} {third}"
    else:
        first, second = made, f"~{made}"
    if len(targets) > 1:
        second = w.temporary(second)
    w.set(targets[0], first, "?")
    if len(targets) > 1:
        w.set(targets[1], second, "?")


@opcode("selp")
def _selp(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if a[0] in w.kinds and w.kinds[a[0]][1:] == kind[1:]:
        kind = w.kinds[a[0]]  # bits are moved: as what the register is kept
    w.set(
        a[0], f"np.where({w.value(a[3], '?')}, {w.value(a[1], kind)}, {w.value(a[2], kind)})", kind
    )


@opcode("slct")
def _slct(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind, third = KIND[parts[-2]], KIND[parts[-1]]
    chosen = f"{w.value(a[3], third)} >= 0"
    w.set(a[0], f"np.where({chosen}, {w.value(a[1], kind)}, {w.value(a[2], kind)})", kind)


@opcode("testp")
def _testp(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    w.set(a[0], f"testp({w.value(a[1], KIND[parts[-1]])}, {parts[1]!r})", "?")


# ---- moving and converting
@opcode("mov")
def _mov(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]] if parts[-1] != "b128" else "b128"
    if a[0].startswith("{"):
        return _unpack(w, kind, a)
    if a[1].startswith("{"):
        names = elements(a[1])
        size = int(kind[1]) // len(names)
        made = f"np.zeros(1, {kind})"
        for at, name in enumerate(names):
            part = f"{w.value(name, f'u{size}')}.astype({kind})"
            moved = f"({part} << {w.constant(8 * size * at, kind)})" if at else part
            made = moved if not at else f"{made} | {moved}"
        return w.set(a[0], made, kind)
    if a[0] in w.kinds and kind != "?" and w.kinds[a[0]][1:] == kind[1:]:
        kind = w.kinds[a[0]]
    w.set(a[0], w.value(a[1], kind), kind)


def _unpack(w: Writer, kind: str, a: tuple[str, ...]) -> None:
    names = elements(a[0])
    size = int(kind[1]) // len(names)
    whole = w.temporary(w.value(a[1], kind))
    for at, name in enumerate(names):
        if name != "_":
            moved = f"({whole} >> {w.constant(8 * size * at, kind)})" if at else whole
            w.set(name, f"{moved}.astype(u{size})", f"u{size}")


@opcode("cvt")
def _cvt(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    target, source = parts[-2], parts[-1]
    modifiers = [p for p in parts[1:-2]]
    rounding = next((p for p in modifiers if p in ROUNDINGS), "")
    saturated = "sat" in modifiers
    if set(modifiers) - {rounding, "sat"}:
        raise ValueError("modifiers of cvt")
    if source.startswith("bf16"):
        text, have = f"from_bf16({w.value(a[1], 'u2')})", "f4"
    else:
        have = KIND[source]
        text = w.value(a[1], have)
    want = KIND[target]
    if target == "bf16":
        if saturated:
            raise ValueError("cvt.sat.bf16")
        if have == "f2":
            text = f"{text}.astype(f4)"
        elif have[0] != "f":
            raise ValueError("integer to bf16")
        return w.set(a[0], f"to_bf16({text}, {rounding!r})", "u2")
    if target == "bf16x2" or target == "f16x2":
        raise ValueError("packed conversion")
    w.set(a[0], _converted(text, have, want, rounding, saturated), want)


def _converted(text: str, have: str, want: str, rounding: str, saturated: bool) -> str:
    if have[0] != "f" and want[0] != "f":
        if saturated:
            return f"saturated({text}, {want})"
        return text if have == want else f"({text}).astype({want})"
    if saturated:
        raise ValueError("cvt.sat of floats")
    if have[0] == "f" and want[0] != "f":
        return f"to_int({text}, {rounding!r}, {want})"
    if have[0] == "f" and rounding.endswith("i"):
        return f"integral({text}, {rounding!r}).astype({want})"
    if rounding in ("rn", "") or have == want:
        return text if have == want else f"({text}).astype({want})"
    return f"to_float({text}, {rounding!r}, {want})"


@opcode("cvta")
def _cvta(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    space = next(p.split("::")[0] for p in parts if p.split("::")[0] in SPACES)
    window = WINDOW.get(space, 0)
    text = w.value(a[1], "u8")
    if not window:
        return w.set(a[0], text, "u8")
    sign = "-" if "to" in parts else "+"
    w.set(a[0], f"{text} {sign} {w.constant(window, 'u8')}", "u8")


@opcode("isspacep")
def _isspacep(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    number = {"global": 0, "shared": 1, "local": 2, "param": 3}[parts[1].split("::")[0]]
    text = f"({w.value(a[1], 'u8')} >> {w.constant(60, 'u8')}) == {w.constant(number, 'u8')}"
    w.set(a[0], text, "?")


# ---- memory
def _space(parts: list[str]) -> str:
    return next((p.split("::")[0] for p in parts if p.split("::")[0] in SPACES), "generic")


def _width(parts: list[str]) -> int:
    return next((int(p[1:]) for p in parts if p in ("v2", "v4", "v8")), 1)


def _memory_kind(w: Writer, name: str, kind: str) -> str:
    """Bits are moved as what the register is kept."""
    have = w.kinds.get(name)
    return have if have is not None and have[1:] == kind[1:] and have != "?" else kind


@opcode("ld", "ldu")
def _ld(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind, count = KIND[parts[-1]], _width(parts)
    base, offset, space = w.address(a[1], _space(parts))
    names = elements(a[0]) if count > 1 else [a[0]]
    kinds = [_memory_kind(w, name, kind) for name in names]
    if space == "param" and base.startswith("K"):
        start = int(w.namespace[base][0]) + offset
        for at, name in enumerate(names):
            w.set(name, f"m.parameter({start + at * int(kind[1])}, {kinds[at]!r})", kinds[at])
        return
    made = f"m.load({w.at}, idx, {space!r}, {base}, {offset}, {tuple(kinds)!r})"
    if count == 1:
        return w.set(names[0], f"{made}[0]", kinds[0])
    loaded = w.temporary(made)
    for at, name in enumerate(names):
        if name != "_":
            w.set(name, f"{loaded}[{at}]", kinds[at])


@opcode("st")
def _st(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind, count = KIND[parts[-1]], _width(parts)
    base, offset, space = w.address(a[0], _space(parts))
    names = elements(a[1]) if count > 1 else [a[1]]
    kinds = [_memory_kind(w, name, kind) for name in names]
    values = ", ".join(w.value(n, k) for n, k in zip(names, kinds))
    w.lines.append(
        f"m.store({w.at}, idx, {space!r}, {base}, {offset}, {tuple(kinds)!r}, ({values},))"
    )


@opcode("atom", "red")
def _atom(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    what = next(p for p in parts if p in ATOMICS)
    red = parts[0] == "red"
    base, offset, space = w.address(a[0] if red else a[1], _space(parts))
    values = ", ".join(w.value(x, kind) for x in a[1 if red else 2 :])
    made = f"m.atomic({w.at}, idx, {space!r}, {base}, {offset}, {kind!r}, {what!r}, ({values},))"
    w.set("_" if red else a[0], made, kind)


ATOMICS = ("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")


@opcode("cp")
def _cp(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    if parts[1] != "async" or "bulk" in parts or "mbarrier" in parts:
        raise ValueError("cp other than cp.async")
    if "commit_group" in parts:
        w.lines.append("m.commit_copies(idx)")
    elif "wait_group" in parts:
        w.lines.append(f"m.wait_copies(idx, {int(a[0], 0)})")
    elif "wait_all" in parts:
        w.lines.append("m.commit_copies(idx); m.wait_copies(idx, 0)")
    else:
        target, into, _ = w.address(a[0], "shared")
        source, start, _ = w.address(a[1], "global")
        size = w.value(a[3], "u4") if len(a) > 3 else "None"
        given = f"{target}, {into}, {source}, {start}, {int(a[2], 0)}, {size}"
        w.lines.append(f"m.copy_async({w.at}, idx, {given})")


@opcode(
    "prefetch", "prefetchu", "applypriority", "discard", "membar", "fence", "nanosleep", "pmevent"
)
def _nothing(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    w.lines.append("pass")


# ---- control
@opcode("bra")
def _bra(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    target = w.labels[a[0]]
    if not w.guard:
        w.end.append(f"return {target}")
        return
    yes, no = target, w.at + 1
    name = w.guard
    if name.startswith("!"):
        name, yes, no = name[1:], no, yes
    flag = w.value(name, "?")
    w.end += [f"n = count({flag})", f"if n == {flag}.size: return {yes}"]
    w.end += [f"if not n: return {no}", f"return ({flag}, {yes}, {no})"]


@opcode("brx")
def _brx(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    targets = tuple(w.labels[name] for name in w.entry.tables[a[-1]])
    w.end.append(f"return ({w.value(a[0], 'u4')}, {targets!r})")


@opcode("ret", "exit")
def _ret(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    w.end.append("return -1")


@opcode("trap")
def _trap(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    w.end.append(f"return m.trap({w.at}, idx)")


@opcode("bar", "barrier")
def _bar(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    if "warp" in parts:
        w.lines.append("m.warp_step(idx)")
        return
    if "red" in parts:
        raise ValueError("bar.red")
    kind = "arrive" if "arrive" in parts else "sync"
    number = w.value(a[0], "u4") if a else w.constant(0, "u4")
    count = w.value(a[1], "u4") if len(a) > 1 else "None"
    w.end.append(f"return ({kind!r}, {number}, {count}, {w.at + 1})")


# ---- warps
@opcode("shfl")
def _shfl(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    if parts[1] != "sync":
        raise ValueError("shfl without .sync")
    names = a[0].split("|")
    kind = _memory_kind(w, names[0], "u4")
    given = f"{w.value(a[1], kind)}, {w.value(a[2], 'u4')}, {w.value(a[3], 'u4')}"
    made = w.temporary(f"m.shuffle(idx, {parts[2]!r}, {given})")
    w.set(names[0], f"{made}[0]", kind)
    if len(names) > 1:
        w.set(names[1], f"{made}[1]", "?")


@opcode("vote")
def _vote(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = "u4" if "ballot" in parts else "?"
    w.set(a[0], f"m.vote(idx, {parts[2]!r}, {w.value(a[1], '?')})", kind)


@opcode("redux")
def _redux(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    w.set(a[0], f"m.warp_reduce(idx, {parts[2]!r}, {w.value(a[1], kind)})", kind)


@opcode("activemask")
def _activemask(w: Writer, parts: list[str], a: tuple[str, ...]) -> None:
    w.set(a[0], "m.active_mask(idx)", "u4")
