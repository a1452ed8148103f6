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

    def __init__(self, name: str, ret: str, attrs: str = "", **params: str) -> None:
        self.name, self.ret_type, self.attrs, self.params = name, ret, attrs, params
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

    def var(self, ty: str, count: int = 1) -> str:
        """Stack memory of the function (allocated once, in the entry block)."""
        self.count += 1
        self.head.append(f"  %v{self.count} = alloca [{count} x {ty}], align 16")
        return f"%v{self.count}"

    def at(self, base: str, offset: Num = 0) -> str:
        """Pointer base + offset bytes."""
        return base if offset == 0 else self.op(f"getelementptr i8, ptr {base}, i64 {offset}")

    def nth(self, base: str, index: Num, size: int = 8) -> str:
        """Pointer to record `index` of `size` bytes."""
        return self.op(f"getelementptr [{size} x i8], ptr {base}, i64 {index}")

    def ld(self, base: str, offset: Num = 0, ty: str = "ptr") -> str:
        return self.op(f"load {ty}, ptr {self.at(base, offset)}")

    def st(self, ty: str, value: Num, base: str, offset: Num = 0) -> None:
        address = self.at(base, offset)
        self.do(f"store {ty} {value}, ptr {address}")

    def add(self, a: Num, b: Num, ty: str = "i64") -> str:
        return self.op(f"add {ty} {a}, {b}")

    def cmp(self, how: str, a: Num, b: Num, ty: str = "i64") -> str:
        return self.op(f"icmp {how} {ty} {a}, {b}")

    def both(self, a: str, b: str) -> str:
        return self.op(f"and i1 {a}, {b}")

    def either(self, a: str, b: str) -> str:
        return self.op(f"or i1 {a}, {b}")

    def pick(self, cond: str, a: Num, b: Num, ty: str = "i64") -> str:
        return self.op(f"select i1 {cond}, {ty} {a}, {ty} {b}")

    def call(self, ret: str, target: str, *args: str, variadic: str = "") -> str:
        """Call @name or a %pointer; args are "type value" texts."""
        text = f"call {variadic or ret} {target}({', '.join(args)})"
        if ret == "void":
            self.do(text)
            return ""
        return self.op(text)

    def atomic(self, rmw: str, ty: str, base: str, offset: int, value: Num) -> str:
        return self.op(f"atomicrmw {rmw} ptr {self.at(base, offset)}, {ty} {value} seq_cst")

    def load_atomic(self, ty: str, base: str, offset: int = 0) -> str:
        align = 8 if ty in ("i64", "ptr") else 4
        return self.op(f"load atomic {ty}, ptr {self.at(base, offset)} seq_cst, align {align}")

    def swap_if(self, ty: str, base: str, offset: int, expected: Num, new: Num) -> str:
        """Compare and swap; i1 success."""
        pair = self.op(
            f"cmpxchg ptr {self.at(base, offset)}, {ty} {expected}, {ty} {new} seq_cst seq_cst"
        )
        return self.op(f"extractvalue {{ {ty}, i1 }} {pair}, 1")

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

    def branch(self, cond: str, yes: str, no: str, unlikely: bool = False) -> None:
        self.do(f"br i1 {cond}, label %{yes}, label %{no}" + (", !prof !0" if unlikely else ""))
        self.ended = True

    def go_if(self, cond: str, target: str, unlikely: bool = True) -> None:
        """Jump to `target` when cond holds, else go on."""
        rest = self.fresh()
        self.branch(cond, target, rest, unlikely)
        self.label(rest)

    def ret(self, value: Num | None = None) -> None:
        self.do("ret void" if value is None else f"ret {self.ret_type} {value}")
        self.ended = True

    @contextmanager
    def when(self, cond: str, unlikely: bool = False) -> Iterator[None]:
        yes, rest = self.fresh(), self.fresh()
        self.branch(cond, yes, rest, unlikely)
        self.label(yes)
        yield
        self.go(rest)
        self.label(rest)

    @contextmanager
    def each(self, count: Num, start: Num = 0) -> Iterator[str]:
        """for i in start..count-1; yields the i64 counter."""
        head, body, rest = self.fresh(), self.fresh(), self.fresh()
        before = self.block
        self.label(head)
        self.count += 1
        i = f"%i{self.count}"
        where = len(self.lines)
        self.lines.append("")
        self.branch(self.cmp("ult", i, count), body, rest)
        self.label(body)
        yield i
        after = self.add(i, 1)
        self.lines[where] = f"  {i} = phi i64 [{start}, %{before}], [{after}, %{self.block}]"
        self.go(head)
        self.label(rest)

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
