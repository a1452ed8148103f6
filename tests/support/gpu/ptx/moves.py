"""What PTX opcodes that move data or control become: conversions, memory, branches, warps.

Invariant: a type or modifier that is not in these tables raises ValueError.
"""

from __future__ import annotations

from .writer import KIND, ROUNDINGS, SPACES, WINDOW, Writer, elements, opcode

__all__ = ["ATOMICS"]


# ---- moving and converting
@opcode("mov")
def _mov(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]] if parts[-1] != "b128" else "b128"
    if args[0].startswith("{"):
        return _unpack(writer, kind, args)
    if args[1].startswith("{"):
        names = elements(args[1])
        size = int(kind[1]) // len(names)
        made = f"np.zeros(1, {kind})"
        for at, name in enumerate(names):
            part = f"{writer.value(name, f'u{size}')}.astype({kind})"
            moved = f"({part} << {writer.constant(8 * size * at, kind)})" if at else part
            made = moved if not at else f"{made} | {moved}"
        return writer.set(args[0], made, kind)
    if args[0] in writer.kinds and kind != "?" and writer.kinds[args[0]][1:] == kind[1:]:
        kind = writer.kinds[args[0]]
    writer.set(args[0], writer.value(args[1], kind), kind)


def _unpack(writer: Writer, kind: str, args: tuple[str, ...]) -> None:
    names = elements(args[0])
    size = int(kind[1]) // len(names)
    whole = writer.temporary(writer.value(args[1], kind))
    for at, name in enumerate(names):
        if name != "_":
            moved = f"({whole} >> {writer.constant(8 * size * at, kind)})" if at else whole
            writer.set(name, f"{moved}.astype(u{size})", f"u{size}")


@opcode("cvt")
def _cvt(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    target, source = parts[-2], parts[-1]
    modifiers = [p for p in parts[1:-2]]
    if target == "tf32":  # ties away from zero
        if modifiers != ["rna"] or source != "f32":
            raise ValueError("modifiers of cvt.tf32")
        return writer.set(
            args[0],
            f"({writer.value(args[1], 'u4')} + np.uint32(0x1000)) & np.uint32(0xFFFFE000)",
            "u4",
        )
    if target == "bf16x2" and modifiers == ["rn"] and len(args) == 3:
        high, low = (f"to_bf16({writer.value(x, 'f4')}, 'rn').astype(u4)" for x in args[1:])
        return writer.set(args[0], f"({high} << np.uint32(16)) | {low}", "u4")
    rounding = next((p for p in modifiers if p in ROUNDINGS), "")
    saturated = "sat" in modifiers
    if set(modifiers) - {rounding, "sat"}:
        raise ValueError("modifiers of cvt")
    if source.startswith("bf16"):
        text, have = f"from_bf16({writer.value(args[1], 'u2')})", "f4"
    else:
        have = KIND[source]
        text = writer.value(args[1], have)
    want = KIND[target]
    if target == "bf16":
        if saturated:
            raise ValueError("cvt.sat.bf16")
        if have == "f2":
            text = f"{text}.astype(f4)"
        elif have[0] != "f":
            raise ValueError("integer to bf16")
        return writer.set(args[0], f"to_bf16({text}, {rounding!r})", "u2")
    if target == "bf16x2" or target == "f16x2":
        raise ValueError("packed conversion")
    writer.set(args[0], _converted(text, have, want, rounding, saturated), want)


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
def _cvta(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    space = next(p.split("::")[0] for p in parts if p.split("::")[0] in SPACES)
    window = WINDOW.get(space, 0)
    text = writer.value(args[1], "u8")
    if not window:
        return writer.set(args[0], text, "u8")
    sign = "-" if "to" in parts else "+"
    writer.set(args[0], f"{text} {sign} {writer.constant(window, 'u8')}", "u8")


@opcode("isspacep")
def _isspacep(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    number = {"global": 0, "shared": 1, "local": 2, "param": 3}[parts[1].split("::")[0]]
    text = f"({writer.value(args[1], 'u8')} >> {writer.constant(60, 'u8')}) == {writer.constant(number, 'u8')}"
    writer.set(args[0], text, "?")


# ---- memory
def _space(parts: list[str]) -> str:
    return next((p.split("::")[0] for p in parts if p.split("::")[0] in SPACES), "generic")


def _width(parts: list[str]) -> int:
    return next((int(p[1:]) for p in parts if p in ("v2", "v4", "v8")), 1)


def _memory_kind(writer: Writer, name: str, kind: str) -> str:
    """Bits are moved as what the register is kept."""
    have = writer.kinds.get(name)
    return have if have is not None and have[1:] == kind[1:] and have != "?" else kind


@opcode("ld", "ldu")
def _ld(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind, count = KIND[parts[-1]], _width(parts)
    base, offset, space = writer.address(args[1], _space(parts))
    names = elements(args[0]) if count > 1 else [args[0]]
    kinds = [_memory_kind(writer, name, kind) for name in names]
    if space == "param" and base.startswith("K"):
        start = int(writer.namespace[base][0]) + offset
        for at, name in enumerate(names):
            writer.set(name, f"m.parameter({start + at * int(kind[1])}, {kinds[at]!r})", kinds[at])
        return
    made = f"m.load({writer.at}, idx, {space!r}, {base}, {offset}, {tuple(kinds)!r})"
    if count == 1:
        return writer.set(names[0], f"{made}[0]", kinds[0])
    loaded = writer.temporary(made)
    for at, name in enumerate(names):
        if name != "_":
            writer.set(name, f"{loaded}[{at}]", kinds[at])


@opcode("st")
def _st(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind, count = KIND[parts[-1]], _width(parts)
    base, offset, space = writer.address(args[0], _space(parts))
    names = elements(args[1]) if count > 1 else [args[1]]
    kinds = [_memory_kind(writer, name, kind) for name in names]
    values = ", ".join(writer.value(n, k) for n, k in zip(names, kinds))
    writer.lines.append(
        f"m.store({writer.at}, idx, {space!r}, {base}, {offset}, {tuple(kinds)!r}, ({values},))"
    )


@opcode("atom", "red")
def _atom(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    what = next(p for p in parts if p in ATOMICS)
    red = parts[0] == "red"
    base, offset, space = writer.address(args[0] if red else args[1], _space(parts))
    values = ", ".join(writer.value(x, kind) for x in args[1 if red else 2 :])
    made = (
        f"m.atomic({writer.at}, idx, {space!r}, {base}, {offset}, {kind!r}, {what!r}, ({values},))"
    )
    writer.set("_" if red else args[0], made, kind)


ATOMICS = ("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")


@opcode("cp")
def _cp(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    if parts[1] != "async" or "bulk" in parts or "mbarrier" in parts:
        raise ValueError("cp other than cp.async")
    if "commit_group" in parts:
        writer.lines.append("m.commit_copies(idx)")
    elif "wait_group" in parts:
        writer.lines.append(f"m.wait_copies(idx, {int(args[0], 0)})")
    elif "wait_all" in parts:
        writer.lines.append("m.commit_copies(idx); m.wait_copies(idx, 0)")
    else:
        target, into, _ = writer.address(args[0], "shared")
        source, start, _ = writer.address(args[1], "global")
        size = writer.value(args[3], "u4") if len(args) > 3 else "None"
        given = f"{target}, {into}, {source}, {start}, {int(args[2], 0)}, {size}"
        writer.lines.append(f"m.copy_async({writer.at}, idx, {given})")


@opcode(
    "prefetch", "prefetchu", "applypriority", "discard", "membar", "fence", "nanosleep", "pmevent"
)
def _nothing(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    writer.lines.append("pass")


# ---- control
@opcode("bra")
def _bra(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    target = writer.labels[args[0]]
    if not writer.guard:
        writer.end.append(f"return {target}")
        return
    yes, no = target, writer.at + 1
    name = writer.guard
    if name.startswith("!"):
        name, yes, no = name[1:], no, yes
    flag = writer.value(name, "?")
    writer.end += [f"n = count({flag})", f"if n == {flag}.size: return {yes}"]
    writer.end += [f"if not n: return {no}", f"return ({flag}, {yes}, {no})"]


@opcode("brx")
def _brx(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    targets = tuple(writer.labels[name] for name in writer.entry.tables[args[-1]])
    writer.end.append(f"return ({writer.value(args[0], 'u4')}, {targets!r})")


@opcode("ret", "exit")
def _ret(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    writer.end.append("return -1")


@opcode("trap")
def _trap(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    writer.end.append(f"return m.trap({writer.at}, idx)")


@opcode("bar", "barrier")
def _bar(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    if "warp" in parts:
        writer.lines.append("m.warp_step(idx)")
        return
    if "red" in parts:
        raise ValueError("bar.red")
    kind = "arrive" if "arrive" in parts else "sync"
    number = writer.value(args[0], "u4") if args else writer.constant(0, "u4")
    count = writer.value(args[1], "u4") if len(args) > 1 else "None"
    writer.end.append(f"return ({kind!r}, {number}, {count}, {writer.at + 1})")


# ---- warps
@opcode("shfl")
def _shfl(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    if parts[1] != "sync":
        raise ValueError("shfl without .sync")
    names = args[0].split("|")
    kind = _memory_kind(writer, names[0], "u4")
    given = f"{writer.value(args[1], kind)}, {writer.value(args[2], 'u4')}, {writer.value(args[3], 'u4')}"
    made = writer.temporary(f"m.shuffle(idx, {parts[2]!r}, {given})")
    writer.set(names[0], f"{made}[0]", kind)
    if len(names) > 1:
        writer.set(names[1], f"{made}[1]", "?")


@opcode("vote")
def _vote(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = "u4" if "ballot" in parts else "?"
    writer.set(args[0], f"m.vote(idx, {parts[2]!r}, {writer.value(args[1], '?')})", kind)


_MMA = {"tf32": "m16n8k8", "bf16": "m16n8k16"}


@opcode("mma")
def _mma(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = parts[7]
    if parts[1:] != ["sync", "aligned", _MMA.get(kind), "row", "col", "f32", kind, kind, "f32"]:
        raise ValueError("shape of mma")
    names, left, right, total = ([x.strip() for x in one.strip("{} ").split(",")] for one in args)
    registers = (left, "u4"), (right, "u4"), (total, "f4")
    given = [f"[{', '.join(writer.value(x, have) for x in one)}]" for one, have in registers]
    made = writer.temporary(f"m.multiply(idx, {kind!r}, {', '.join(given)})")
    for number, name in enumerate(names):
        writer.set(name, f"{made}[{number}]", "f4")


@opcode("redux")
def _redux(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    kind = KIND[parts[-1]]
    writer.set(args[0], f"m.warp_reduce(idx, {parts[2]!r}, {writer.value(args[1], kind)})", kind)


@opcode("activemask")
def _activemask(writer: Writer, parts: list[str], args: tuple[str, ...]) -> None:
    writer.set(args[0], "m.active_mask(idx)", "u4")
