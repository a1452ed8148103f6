"""Instruction sets: what generated code needs to know of one, and the text that differs by it.

Invariant: no other file names an intrinsic of one instruction set.  Kernels are the same text on
all of them; modules around kernels paste `control_text` in and call what it defines.
"""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm

__all__ = [
    "AARCH64",
    "INSTRUCTION_SETS",
    "X86_64",
    "InstructionSet",
    "Processor",
    "control_text",
    "instruction_set",
    "native_set",
]


class InstructionSet(NamedTuple):
    """Vectors and registers every processor of a set has (or the least this backend works with),
    and how its control word of floating-point arithmetic is set.

    `enter`: LLVM text that leaves the old word in i32 %old and sets the default: nearest, nothing
    flushed to zero, no exception raised.  `leave`: sets i32 %word.  `pause`: for loops that poll.
    `ticks`: i64 %now, some 0.4 to 16 of it in a nanosecond.  `settle`: nothing behind it begins
    before what stands in front of it is done; `settling`: what that declares."""

    name: str
    machines: tuple[str, ...]  # as `platform.machine()` calls it
    triple: str
    vector_bytes: int
    registers: int
    declared: str
    enter: str
    leave: str
    pause: str
    ticks: str
    settle: str
    settling: str


X86_64 = InstructionSet(
    "x86-64",
    ("x86_64", "AMD64"),
    "x86_64-unknown-linux-gnu",
    32,
    16,
    """declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse2.pause()
declare i64 @llvm.readcyclecounter()
""",
    """  %place = alloca i32, align 4
  %fresh = alloca i32, align 4
  store i32 8064, ptr %fresh
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  call void @llvm.x86.sse.ldmxcsr(ptr %fresh)
  %old = load i32, ptr %place
""",
    """  %place = alloca i32, align 4
  store i32 %word, ptr %place
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
""",
    "  call void @llvm.x86.sse2.pause()\n",
    "  %now = call i64 @llvm.readcyclecounter()\n",
    "  call void @llvm.x86.sse2.lfence()\n",
    "declare void @llvm.x86.sse2.lfence()\n",
)

# FPCR has 64 bits, of which the upper half means nothing.  `yield` is no wait at all on most cores;
# the barrier `isb` (15: of the whole system) takes about as long as a pause of x86-64.  LLVM reads
# the timer, which has 24 MHz to 1 GHz, where it is asked for cycles.
AARCH64 = InstructionSet(
    "AArch64",
    ("aarch64", "arm64"),
    "aarch64-unknown-linux-gnu",
    16,
    32,
    """declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare void @llvm.aarch64.isb(i32)
declare i64 @llvm.readcyclecounter()
""",
    """  %wide = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 0)
  %old = trunc i64 %wide to i32
""",
    """  %wide = zext i32 %word to i64
  call void @llvm.aarch64.set.fpcr(i64 %wide)
""",
    "  call void @llvm.aarch64.isb(i32 15)\n",
    """  %timer = call i64 @llvm.readcyclecounter()
  %now = shl i64 %timer, 4
""",
    "  call void @llvm.aarch64.isb(i32 15)\n",
    "",
)

INSTRUCTION_SETS = (X86_64, AARCH64)


def instruction_set(machine: str) -> InstructionSet | None:
    """The set of a machine of that name; None of one that no code is generated for."""
    return next((each for each in INSTRUCTION_SETS if machine in each.machines), None)


@lru_cache(1)
def native_set() -> InstructionSet:
    """The set of this machine (x86-64 where there is none: its texts are only looked at)."""
    return instruction_set(platform.machine()) or X86_64


# The control word is a thread's: a kernel under a foreign one (flush to zero, another rounding)
# would give other bits, and one that left its own would change what the caller computes afterwards.
def control_text(target: InstructionSet | None = None) -> str:
    """Declarations and four helpers that a native module which calls kernels pastes in."""
    target = target or native_set()
    return f"""
{target.declared}define internal i32 @hy_fp_enter() alwaysinline {{
{target.enter}  ret i32 %old
}}
define internal void @hy_fp_leave(i32 %word) alwaysinline {{
{target.leave}  ret void
}}
define internal void @hy_pause() alwaysinline {{
{target.pause}  ret void
}}
define internal i64 @hy_ticks() alwaysinline {{
{target.ticks}  ret i64 %now
}}
"""


_DEFINED = re.compile(r"^(define .*) \{$", re.M)


class Processor(NamedTuple):
    """What LLVM generates code for: a triple, its name of the processor, its feature string.

    `scalable`: bytes of a scalable vector (SVE) that code may count on; 0: none are used."""

    triple: str
    name: str
    features: str = ""
    scalable: int = 0

    @classmethod
    def native(cls) -> Processor:
        """This one."""
        features = llvm.get_host_cpu_features().flatten()
        return cls(llvm.get_default_triple(), llvm.get_host_cpu_name(), features)

    def fitted(self, text: str) -> str:
        """A module whose functions know how long scalable vectors are: LLVM then uses them as it
        uses any others, with instructions that read and write under a mask."""
        if not self.scalable:
            return text
        times = self.scalable // 16
        return _DEFINED.sub(rf"\1 vscale_range({times},{times}) {{", text)

    def machine(self, level: int, jit: bool = True) -> Any:
        """LLVM's generator of code for it."""
        if self.triple == llvm.get_default_triple():
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
        else:
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        # small + pic: constants are read relative to the instruction pointer, without a register;
        # the memory manager of the engine keeps code and constants of an object together
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.name,
            features=self.features,
            opt=level,
            reloc="pic",
            codemodel="small",
            jit=jit,
        )
