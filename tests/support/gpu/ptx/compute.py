"""What PTX opcodes that compute become: arithmetic, bits, comparing and choosing.

Invariant: a type or modifier that is not in these tables raises ValueError.
"""

from __future__ import annotations

from .writer import KIND, Writer, opcode

__all__ = ["comparison"]


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


def comparison(w: Writer, how: str, name: str, x: str, y: str) -> str:
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
    text = comparison(w, how, parts[-1], a[1], a[2])
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
