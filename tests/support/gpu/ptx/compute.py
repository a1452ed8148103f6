"""What PTX opcodes that compute become: arithmetic, bits, comparing and choosing.

Invariant: a type or modifier that is not in these tables raises ValueError.
"""

from __future__ import annotations

from .writer import KIND, Writer, opcode

__all__ = ["comparison"]


def _bf16(writer: Writer, parts: list[str], args: tuple[str, ...], text: str) -> None:
    """text over {0}, {1}, {2} in float32, rounded once to bfloat16."""
    wide = [f"from_bf16({writer.value(x, 'u2')})" for x in args[1:]]
    writer.set(args[0], f"to_bf16({text.format(*wide)}, 'rn')", "u2")


def _allowed(parts: list[str], *names: str) -> None:
    extra = [p for p in parts[1:-1] if p not in names]
    if extra:
        raise ValueError(f"modifier .{extra[0]}")


# ---- arithmetic
@opcode("add", "sub", "mul")
def _arithmetic(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    sign = {"add": "+", "sub": "-", "mul": "*"}[parts[0]]
    if parts[-1] == "bf16":
        return _bf16(writer, parts, args, f"{{}} {sign} {{}}")
    if "wide" in parts:
        wide = f"{kind[0]}{2 * int(kind[1])}"
        text = f"{writer.value(args[1], kind)}.astype({wide}) * {writer.value(args[2], kind)}.astype({wide})"
        return writer.set(args[0], text, wide)
    if "hi" in parts:
        return writer.set(
            args[0], f"mul_hi({writer.value(args[1], kind)}, {writer.value(args[2], kind)})", kind
        )
    if "cc" in parts:
        x, y = (
            writer.temporary(writer.value(args[1], f"u{kind[1]}")),
            writer.temporary(writer.value(args[2], f"u{kind[1]}")),
        )
        if sign == "+":
            out = writer.temporary(f"{x} + {y}")
            writer.set("CC", f"{out} < {x}", "?")
        else:
            out = writer.temporary(f"{x} - {y}")
            writer.set("CC", f"{x} < {y}", "?")
        return writer.set(args[0], out, f"u{kind[1]}")
    _allowed(parts, "rn", "lo")
    writer.set(args[0], f"{writer.value(args[1], kind)} {sign} {writer.value(args[2], kind)}", kind)


@opcode("addc", "subc")
def _with_carry(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = f"u{KIND[parts[-1]][1]}"
    x, y = (
        writer.temporary(writer.value(args[1], kind)),
        writer.temporary(writer.value(args[2], kind)),
    )
    carry = writer.temporary(writer.value("CC", "?"))
    if parts[0] == "addc":
        part = writer.temporary(f"{x} + {y}")
        out = writer.temporary(f"{part} + {carry}.astype({kind})")
        flag = f"({part} < {x}) | ({out} < {part})"
    else:
        part = writer.temporary(f"{x} - {y}")
        out = writer.temporary(f"{part} - {carry}.astype({kind})")
        flag = f"({x} < {y}) | ({part} < {carry}.astype({kind}))"
    if "cc" in parts:
        writer.set("CC", flag, "?")
    writer.set(args[0], out, kind)


@opcode("mad")
def _mad(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if kind[0] == "f":
        raise ValueError("mad of floats")
    if "wide" in parts:
        wide = f"{kind[0]}{2 * int(kind[1])}"
        text = f"{writer.value(args[1], kind)}.astype({wide}) * {writer.value(args[2], kind)}.astype({wide})"
        return writer.set(args[0], f"{text} + {writer.value(args[3], wide)}", wide)
    product = f"{writer.value(args[1], kind)} * {writer.value(args[2], kind)}"
    if "hi" in parts:
        product = f"mul_hi({writer.value(args[1], kind)}, {writer.value(args[2], kind)})"
    _allowed(parts, "lo", "hi")
    writer.set(args[0], f"{product} + {writer.value(args[3], kind)}", kind)


@opcode("fma")
def _fma(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    if parts[1:-1] != ["rn"] or parts[-1] not in ("f32", "f64"):
        raise ValueError("fma other than .rn.f32 and .rn.f64")
    kind = KIND[parts[-1]]
    x, y, z = (writer.value(v, kind) for v in args[1:])
    writer.set(args[0], f"fma{8 * int(kind[1])}({x}, {y}, {z})", kind)


@opcode("div", "rem")
def _div(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if kind[0] == "f":
        if "rn" not in parts:
            raise ValueError("a division that is not .rn")
        return writer.set(
            args[0], f"{writer.value(args[1], kind)} / {writer.value(args[2], kind)}", kind
        )
    writer.set(
        args[0],
        f"{parts[0]}_int({writer.value(args[1], kind)}, {writer.value(args[2], kind)})",
        kind,
    )


@opcode("sqrt", "rcp")
def _root(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if "rn" not in parts:
        raise ValueError("not .rn")
    one = writer.constant({"f4": 0x3F800000, "f8": 0x3FF0000000000000}[kind], kind)
    x = writer.value(args[1], kind)
    writer.set(args[0], f"np.sqrt({x})" if parts[0] == "sqrt" else f"{one} / {x}", kind)


@opcode("neg", "abs")
def _sign(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if parts[-1] == "bf16":
        bits = writer.constant(0x8000 if parts[0] == "neg" else 0x7FFF, "u2")
        return writer.set(
            args[0],
            f"{writer.value(args[1], 'u2')} {'^' if parts[0] == 'neg' else '&'} {bits}",
            "u2",
        )
    if kind[0] == "f":
        name = {"neg": "negated", "abs": "absolute"}[parts[0]]
        return writer.set(args[0], f"{name}({writer.value(args[1], kind)})", kind)
    name = {"neg": "np.negative", "abs": "np.abs"}[parts[0]]
    writer.set(args[0], f"{name}({writer.value(args[1], kind)})", kind)


@opcode("copysign")
def _copysign(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    writer.set(
        args[0], f"np.copysign({writer.value(args[2], kind)}, {writer.value(args[1], kind)})", kind
    )


@opcode("min", "max")
def _extreme(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind, least = KIND[parts[-1]], parts[0] == "min"
    if parts[-1] == "bf16":
        return _bf16(writer, parts, args, f"minimum({{}}, {{}}, {least}, {'NaN' in parts})")
    _allowed(parts, "NaN")
    x, y = writer.value(args[1], kind), writer.value(args[2], kind)
    if kind[0] == "f":
        return writer.set(args[0], f"minimum({x}, {y}, {least}, {'NaN' in parts})", kind)
    writer.set(args[0], f"np.{'minimum' if least else 'maximum'}({x}, {y})", kind)


# ---- bits
@opcode("and", "or", "xor")
def _logic(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    sign = {"and": "&", "or": "|", "xor": "^"}[parts[0]]
    writer.set(args[0], f"{writer.value(args[1], kind)} {sign} {writer.value(args[2], kind)}", kind)


@opcode("not")
def _not(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    writer.set(args[0], f"~{writer.value(args[1], kind)}", kind)


@opcode("cnot")
def _cnot(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    writer.set(args[0], f"({writer.value(args[1], kind)} == 0).astype({kind})", kind)


@opcode("shl", "shr")
def _shift(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind, left = KIND[parts[-1]], parts[0] == "shl"
    x = writer.value(args[1], kind)
    if args[2][0].isdigit():
        count, width = int(args[2], 0), 8 * int(kind[1])
        if count < width:
            by = writer.constant(count, kind)
            return writer.set(args[0], f"{x} {'<<' if left else '>>'} {by}", kind)
    writer.set(args[0], f"shift({x}, {writer.value(args[2], 'u4')}, {left})", kind)


@opcode("shf")
def _funnel(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    x, y, n = (writer.value(v, "u4") for v in args[1:])
    writer.set(args[0], f"funnel({x}, {y}, {n}, {'l' in parts}, {'wrap' in parts})", "u4")


@opcode("clz", "popc")
def _count(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    x = writer.value(args[1], KIND[parts[-1]])
    writer.set(
        args[0], f"clz({x})" if parts[0] == "clz" else f"np.bitwise_count({x}).astype(u4)", "u4"
    )


@opcode("brev")
def _brev(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    writer.set(args[0], f"brev({writer.value(args[1], kind)})", kind)


@opcode("bfind")
def _bfind(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    writer.set(
        args[0], f"bfind({writer.value(args[1], KIND[parts[-1]])}, {'shiftamt' in parts})", "u4"
    )


@opcode("bfe")
def _bfe(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    writer.set(
        args[0],
        f"bfe({writer.value(args[1], kind)}, {writer.value(args[2], 'u4')}, {writer.value(args[3], 'u4')})",
        kind,
    )


@opcode("bfi")
def _bfi(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    x, y, s, n = (
        writer.value(args[1], kind),
        writer.value(args[2], kind),
        writer.value(args[3], "u4"),
        writer.value(args[4], "u4"),
    )
    writer.set(args[0], f"bfi({x}, {y}, {s}, {n})", kind)


@opcode("prmt")
def _prmt(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    if parts != ["prmt", "b32"]:
        raise ValueError("a mode of prmt")
    writer.set(args[0], f"prmt({', '.join(writer.value(x, 'u4') for x in args[1:])})", "u4")


@opcode("lop3")
def _lop3(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    x, y, z = (writer.value(v, "u4") for v in args[1:4])
    writer.set(args[0], f"lop3({x}, {y}, {z}, {int(args[4], 0)})", "u4")


# ---- comparing and choosing
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
COMPARE.update({"lo": "<", "ls": "<=", "hi": ">", "hs": ">="})
UNORDERED = {"equ": "!=", "neu": "!=", "ltu": ">=", "leu": ">", "gtu": "<=", "geu": "<"}


def comparison(writer: Writer, how: str, name: str, x: str, y: str) -> str:
    kind = KIND[name]
    left, right = writer.value(x, kind), writer.value(y, kind)
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
def _setp(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    middle = [p for p in parts[1:-1] if p not in ("and", "or", "xor")]
    (how,) = middle
    join = next((p for p in parts[1:-1] if p in ("and", "or", "xor")), None)
    text = comparison(writer, how, parts[-1], args[1], args[2])
    targets = args[0].split("|")
    made = writer.temporary(text) if join or len(targets) > 1 else text
    if join:
        sign, third = {"and": "&", "or": "|", "xor": "^"}[join], writer.value(args[3], "?")
        first, second = f"{made} {sign} {third}", f"~{made} {sign} {third}"
    else:
        first, second = made, f"~{made}"
    if len(targets) > 1:
        second = writer.temporary(second)
    writer.set(targets[0], first, "?")
    if len(targets) > 1:
        writer.set(targets[1], second, "?")


@opcode("selp")
def _selp(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    if args[0] in writer.kinds and writer.kinds[args[0]][1:] == kind[1:]:
        kind = writer.kinds[args[0]]  # bits are moved: as what the register is kept
    writer.set(
        args[0],
        f"np.where({writer.value(args[3], '?')}, {writer.value(args[1], kind)}, {writer.value(args[2], kind)})",
        kind,
    )


@opcode("slct")
def _slct(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind, third = KIND[parts[-2]], KIND[parts[-1]]
    chosen = f"{writer.value(args[3], third)} >= 0"
    writer.set(
        args[0],
        f"np.where({chosen}, {writer.value(args[1], kind)}, {writer.value(args[2], kind)})",
        kind,
    )


@opcode("testp")
def _testp(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    writer.set(args[0], f"testp({writer.value(args[1], KIND[parts[-1]])}, {parts[1]!r})", "?")
