"""A small writer of LLVM IR text for control code: loads, stores, calls, counted loops,
conditionals.

Invariant: what is written is plain text with no absolute address, valid as it stands (SSA, every
block ends once), so that it needs no IR pass before code generation.  Arithmetic kernels do not use
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Fn", "UNLIKELY"]

# module footer for the branch weights of `unlikely` conditions
UNLIKELY = '!0 = !{!"branch_weights", i32 1, i32 2000}\n'

Num = str | int


class Fn:
    """One function under construction: `Fn("f", "i64", p="ptr")`; the parameter is %p."""

    def __init__(self, name: str, result: str, attributes: str = "", **params: str) -> None:
        self.name, self.ret_type, self.attrs, self.params = name, result, attributes, params
        self.head: list[str] = []
        self.lines: list[str] = []
        self.count = 0
        self.block = "entry"
        self.ended = False

    # ---- instructions
    def op(self, text: str) -> str:
        """Append `%t = text` and return %t."""
        self.count += 1
        self.lines.append(f"  %t{self.count} = {text}")
        return f"%t{self.count}"

    def do(self, text: str) -> None:
        self.lines.append("  " + text)

    def var(self, kind: str, count: int = 1) -> str:
        """Stack memory of the function (allocated once, in the entry block)."""
        self.count += 1
        self.head.append(f"  %v{self.count} = alloca [{count} x {kind}], align 16")
        return f"%v{self.count}"

    def at(self, base: str, offset: Num = 0) -> str:
        """Pointer base + offset bytes."""
        return base if offset == 0 else self.op(f"getelementptr i8, ptr {base}, i64 {offset}")

    def nth(self, base: str, index: Num, size: int = 8) -> str:
        """Pointer to record `index` of `size` bytes."""
        return self.op(f"getelementptr [{size} x i8], ptr {base}, i64 {index}")

    def ld(self, base: str, offset: Num = 0, kind: str = "ptr") -> str:
        return self.op(f"load {kind}, ptr {self.at(base, offset)}")

    def st(self, kind: str, value: Num, base: str, offset: Num = 0) -> None:
        address = self.at(base, offset)
        self.do(f"store {kind} {value}, ptr {address}")

    def add(self, left: Num, right: Num, kind: str = "i64") -> str:
        return self.op(f"add {kind} {left}, {right}")

    def cmp(self, predicate: str, left: Num, right: Num, kind: str = "i64") -> str:
        return self.op(f"icmp {predicate} {kind} {left}, {right}")

    def both(self, a: str, b: str) -> str:
        return self.op(f"and i1 {a}, {b}")

    def either(self, left: str, right: str) -> str:
        return self.op(f"or i1 {left}, {right}")

    def pick(self, condition: str, left: Num, right: Num, kind: str = "i64") -> str:
        return self.op(f"select i1 {condition}, {kind} {left}, {kind} {right}")

    def call(self, result: str, target: str, *arguments: str, variadic: str = "") -> str:
        """Call @name or a %pointer; args are "type value" texts."""
        text = f"call {variadic or result} {target}({', '.join(arguments)})"
        if result == "void":
            self.do(text)
            return ""
        return self.op(text)

    def atomic(self, operation: str, kind: str, base: str, offset: int, value: Num) -> str:
        return self.op(f"atomicrmw {operation} ptr {self.at(base, offset)}, {kind} {value} seq_cst")

    def load_atomic(self, kind: str, base: str, offset: int = 0) -> str:
        align = 8 if kind in ("i64", "ptr") else 4
        return self.op(f"load atomic {kind}, ptr {self.at(base, offset)} seq_cst, align {align}")

    def swap_if(self, kind: str, base: str, offset: int, expected: Num, desired: Num) -> str:
        """Compare and swap; i1 success."""
        values = f"{kind} {expected}, {kind} {desired}"
        pair = self.op(f"cmpxchg ptr {self.at(base, offset)}, {values} seq_cst seq_cst")
        return self.op(f"extractvalue {{ {kind}, i1 }} {pair}, 1")

    # ---- control
    def fresh(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def label(self, name: str) -> None:
        """Start block `name`; falls through from an open block."""
        if not self.ended:
            self.go(name)
        self.lines.append(f"{name}:")
        self.block, self.ended = name, False

    def go(self, name: str) -> None:
        if not self.ended:
            self.do(f"br label %{name}")
            self.ended = True

    def branch(self, condition: str, target: str, otherwise: str, unlikely: bool = False) -> None:
        self.do(
            f"br i1 {condition}, label %{target}, label %{otherwise}"
            + (", !prof !0" if unlikely else "")
        )
        self.ended = True

    def go_if(self, condition: str, target: str, unlikely: bool = True) -> None:
        """Jump to `target` when cond holds, else go on."""
        behind = self.fresh()
        self.branch(condition, target, behind, unlikely)
        self.label(behind)

    def ret(self, value: Num | None = None) -> None:
        self.do("ret void" if value is None else f"ret {self.ret_type} {value}")
        self.ended = True

    @contextmanager
    def when(self, condition: str, unlikely: bool = False) -> Iterator[None]:
        inside, behind = self.fresh(), self.fresh()
        self.branch(condition, inside, behind, unlikely)
        self.label(inside)
        yield
        self.go(behind)
        self.label(behind)

    @contextmanager
    def each(self, count: Num, start: Num = 0) -> Iterator[str]:
        """for i in start..count-1; yields the i64 counter."""
        head, inside, behind = self.fresh(), self.fresh(), self.fresh()
        before = self.block
        self.label(head)
        self.count += 1
        counter = f"%i{self.count}"
        where = len(self.lines)
        self.lines.append("")
        self.branch(self.cmp("ult", counter, count), inside, behind)
        self.label(inside)
        yield counter
        after = self.add(counter, 1)
        self.lines[where] = f"  {counter} = phi i64 [{start}, %{before}], [{after}, %{self.block}]"
        self.go(head)
        self.label(behind)

    def text(self) -> str:
        params = ", ".join(f"{t} %{n}" for n, t in self.params.items())
        return "\n".join(
            [
                f"define {self.ret_type} @{self.name}({params}) {self.attrs} {{",
                "entry:",
                *self.head,
                *self.lines,
                "}",
                "",
            ]
        )
