"""Programs in threads of a card: operands by address, thread numbers, the status word.

Invariant: every element is computed by the scalar instructions of the program, whatever a schedule
gives a thread to do, so all schedules have the bits of the contract.
"""

from __future__ import annotations

from collections.abc import Callable

from ...emit.body import Body
from ...emit.code import Code
from ...emit.form import Form

__all__ = ["Threads", "register", "barrier", "pointer", "guard", "grid_loop"]


def register(code: Code, name: str) -> str:
    """A special register of the thread, as i64."""
    full = f"llvm.nvvm.read.ptx.sreg.{name}"
    code.declare(full, "i32", ())
    return code.once(f"zext i32 {code.once(f'call i32 @{full}()')} to i64")


def barrier(code: Code) -> None:
    """All threads of the block arrive here before one goes on."""
    code.call("llvm.nvvm.barrier0", "void")


def pointer(code: Code, word: int) -> str:
    """The buffer whose address is an argument word."""
    spot = code.once(f"getelementptr i64, ptr %args, i64 {word}")
    address = code.once(f"load ptr addrspace(1), ptr {spot}, align 8")
    return code.once(f"addrspacecast ptr addrspace(1) {address} to ptr")


def guard(code: Code, status: int) -> None:
    """Return at once when an earlier check has failed; `status` is the word with its address."""
    stop, start = code.label("stop"), code.label("start")
    failed = code.op(f"load i64, ptr {pointer(code, status)}, align 8")
    code.branch(code.op(f"icmp ne i64 {failed}, 0"), stop, start)
    code.start(stop)
    code.do("ret void")
    code.start(start)


def grid_loop(code: Code, total: str, visit: Callable[[str], None]) -> None:
    """visit(item) for every item below total, spread over all threads of the grid."""
    tid, cta = register(code, "tid.x"), register(code, "ctaid.x")
    ntid, ncta = register(code, "ntid.x"), register(code, "nctaid.x")
    first = code.once(f"add i64 {code.once(f'mul i64 {cta}, {ntid}')}, {tid}")
    step = code.once(f"mul i64 {ncta}, {ntid}")

    def one(item: str, _: list[str]) -> list[str]:
        visit(item)
        return []

    code.loop(first, total, step, [], one)


class _Body(Body):
    def operand(self, operand: int) -> str:
        base, slot = pointer(self.code, self.words.slot(operand)), self.words.slot(operand)
        return self.code.once(f"getelementptr i8, ptr {base}, i64 {self.word(slot + 1)}")


class Threads:
    """What all kinds of kernel share; `status` is the word with the status address, `guarded`
    kernels return at once when an earlier check has failed."""

    def __init__(self, form: Form, status: int, guarded: bool) -> None:
        self.code = Code()
        self.form, self.program = form, form.program
        self.body = _Body(self.code, form, 1)
        self.status = status
        self.tid, self.cta = register(self.code, "tid.x"), register(self.code, "ctaid.x")
        self.ncta = register(self.code, "nctaid.x")
        if guarded:
            guard(self.code, status)

    def fail(self, position: str) -> None:
        """Report a failed check at a position; the first report stays."""
        code, status = self.code, pointer(self.code, self.status)
        report = code.op(f"add i64 {position}, 1")
        code.op(f"cmpxchg ptr {status}, i64 0, i64 {report} monotonic monotonic")

    def grid_loop(self, total: str, visit: Callable[[str], None]) -> None:
        """visit(item) for every item below total, spread over all threads of the grid."""
        grid_loop(self.code, total, visit)

    def rows(self) -> str:
        total = "1"
        for axis in range(self.form.outer):
            total = self.code.once(f"mul i64 {total}, {self.body.word(self.body.words.dim(axis))}")
        return total

    def divide(self, item: str, size: str) -> tuple[str, str]:
        quotient = self.code.op(f"udiv i64 {item}, {size}")
        return quotient, self.code.op(
            f"sub i64 {item}, {self.code.op(f'mul i64 {quotient}, {size}')}"
        )
