"""The text of one LLVM function while it is being written: names, blocks, loops, declarations.

Invariant: lines are only ever appended (or filled in where a place was reserved), `entry` lines
come before all others, and every external name used is an `llvm.*` intrinsic that is declared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from ...core.errors import BackendError

__all__ = ["Code", "finish_module", "check_externals"]


class Code:
    """One function: `op` appends an instruction and returns the name of its value."""

    __slots__ = ("lines", "entry", "declared", "block", "count", "known")

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.declared: dict[str, str] = {}
        self.block = "entry"
        self.count = 0
        self.known: dict[str, str] = {}

    # ---- instructions
    def op(self, text: str) -> str:
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        self.lines.append("  " + text)

    def once(self, text: str) -> str:
        """A value made in the entry block; asking again gives the same name."""
        name = self.known.get(text)
        if name is None:
            self.count += 1
            name = self.known[text] = f"%e{self.count}"
            self.entry.append(f"  {name} = {text}")
        return name

    def alloca(self, text: str) -> str:
        """A new stack object (entry block, 64-byte aligned)."""
        self.count += 1
        self.entry.append(f"  %s{self.count} = alloca {text}, align 64")
        return f"%s{self.count}"

    def call(self, name: str, result: str, *args: str) -> str:
        """Call an intrinsic; each argument is 'type value'."""
        self.declare(name, result, args)
        text = f"call {result} @{name}({', '.join(args)})"
        if result == "void":
            self.do(text)
            return ""
        return self.op(text)

    def declare(self, name: str, result: str, args: Sequence[str]) -> None:
        if name not in self.declared:
            types = ", ".join(_type_of(a) for a in args)
            self.declared[name] = f"declare {result} @{name}({types})"

    # ---- blocks
    def label(self, hint: str = "b") -> str:
        self.count += 1
        return f"{hint}{self.count}"

    def start(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.do(f"br label %{label}")

    def branch(self, condition: str, then_label: str, else_label: str) -> None:
        self.do(f"br i1 {condition}, label %{then_label}, label %{else_label}")

    def when(self, condition: str, then: Callable[[], None]) -> None:
        """if condition: then()"""
        inside, after = self.label("if"), self.label("fi")
        self.branch(condition, inside, after)
        self.start(inside)
        then()
        self.jump(after)
        self.start(after)

    def loop(
        self,
        start: str,
        stop: str,
        step: str | None,
        carried: Sequence[tuple[str, str]],
        body: Callable[[str, list[str]], Sequence[str]],
        full: int = 1,
    ) -> tuple[str, list[str]]:
        """i = start; while i + full <= stop: carried = body(i, carried); i += step.

        `carried` holds (type, initial value); returns the last i and the last carried values.
        Without a step, body returns the next i as one more value.
        """
        head, inside, after = self.label("head"), self.label("body"), self.label("done")
        before = self.block
        self.jump(head)
        self.start(head)
        # the phis name what only the end of the body knows: their lines are filled in later
        reserved = len(self.lines)
        index = f"%i{self.count}"
        names = [f"%c{self.count}_{k}" for k in range(len(carried))]
        self.lines += [""] * (1 + len(carried))
        if full == 1:
            condition = self.op(f"icmp slt i64 {index}, {stop}")
        else:
            condition = self.op(f"icmp sle i64 {self.op(f'add i64 {index}, {full}')}, {stop}")
        self.branch(condition, inside, after)
        self.start(inside)
        changed = list(body(index, names))
        following = self.op(f"add i64 {index}, {step}") if step is not None else changed.pop()
        last = self.block
        self.jump(head)
        phis = [(index, "i64", start, following)]
        phis += [(name, ty, init, x) for name, (ty, init), x in zip(names, carried, changed)]
        for line, (name, llvm_type, initial, later) in enumerate(phis, reserved):
            values = f"[{initial}, %{before}], [{later}, %{last}]"
            self.lines[line] = f"  {name} = phi {llvm_type} {values}"
        self.start(after)
        return index, names

    def turns(
        self,
        start: str,
        stop: str,
        carried: Sequence[tuple[str, str]],
        body: Callable[[str, list[str]], tuple[str, list[str]]],
    ) -> tuple[str, list[str]]:
        """`loop` with its test behind the body, one jump a turn: i = start; while i < stop: i,
        carried = body(i, carried).  The body is one block."""
        before, inside, after = self.block, self.label("turn"), self.label("done")
        self.branch(self.op(f"icmp slt i64 {start}, {stop}"), inside, after)
        self.start(inside)
        typed = [("i64", start), *carried]
        names = [f"%t{self.count}_{k}" for k in range(len(typed))]
        # the phis name what only the end of the body knows: their lines are filled in later
        reserved = len(self.lines)
        self.lines += [""] * len(typed)
        following, changed = body(names[0], names[1:])
        self.branch(self.op(f"icmp slt i64 {following}, {stop}"), inside, after)
        self.start(after)
        merged = []
        rows = zip(names, typed, [following, *changed])
        for line, (name, (llvm_type, initial), later) in enumerate(rows, reserved):
            values = f"phi {llvm_type} [{initial}, %{before}], [{later}, %{inside}]"
            self.lines[line] = f"  {name} = {values}"
            merged.append(self.op(values))
        return merged[0], merged[1:]

    # ---- integer helpers (i64)
    def add(self, left: str, right: str) -> str:
        if right == "0":
            return left
        return right if left == "0" else self.op(f"add i64 {left}, {right}")

    def mul(self, left: str, right: str) -> str:
        if "0" in (left, right):
            return "0"
        if right == "1":
            return left
        return right if left == "1" else self.op(f"mul i64 {left}, {right}")

    def smin(self, left: str, right: str) -> str:
        return self.call("llvm.smin.i64", "i64", f"i64 {left}", f"i64 {right}")

    def smax(self, left: str, right: str) -> str:
        return self.call("llvm.smax.i64", "i64", f"i64 {left}", f"i64 {right}")

    def at(self, llvm_type: str, base: str, index: str) -> str:
        """Address of element `index` (of type ty; i8 for bytes) from base."""
        return (
            base if index == "0" else self.op(f"getelementptr {llvm_type}, ptr {base}, i64 {index}")
        )


_SPLIT = re.compile(r"^(<[^>]*>|\S+)")


def _type_of(argument: str) -> str:
    match = _SPLIT.match(argument)
    assert match is not None
    immediate = (
        " immarg"
        if argument in ("i1 true", "i1 false") or argument.startswith("i32 align ")
        else ""
    )
    return match.group(1) + immediate


def finish_module(
    code: Code, signature: str, prefix: str, attributes: str = "nounwind"
) -> tuple[str, str]:
    """(module text, symbol): the symbol is derived from the text, so equal code has one name.

    `signature` is like ``define i64 @NAME(ptr %bufs)``; the last block must already be terminated.
    """
    head = sorted(code.declared.values())
    body = [f"{signature} {attributes} {{", "entry:", *code.entry, *code.lines, "}", ""]
    if any(line.endswith("!nontemporal !0") for line in code.lines):
        body.append("!0 = !{i32 1}\n")
    text = "\n".join(head + body)
    symbol = f"{prefix}_{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
    return text.replace("@NAME", f"@{symbol}", 1), symbol


def check_externals(text: str) -> None:
    """Raise unless every global name used is defined in the text or an llvm intrinsic."""
    defined = set(re.findall(r"^define [^@\n]*@([\w.]+)", text, re.M))
    foreign = {n for n in re.findall(r"@([\w.]+)", text) if not n.startswith("llvm.")} - defined
    foreign -= set(re.findall(r"^@([\w.]+) =", text, re.M))
    if foreign:
        raise BackendError(
            f"generated code refers to unknown symbols: {', '.join(sorted(foreign))}"
        )
