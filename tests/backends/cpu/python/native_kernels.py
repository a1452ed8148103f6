"""Small hand-written kernels of the kernel ABI for the tests of the pool and the entry.

Invariant: operands are (slot, byte offset) pairs in the argument words, as generated kernels have
them.
"""

from __future__ import annotations

from functools import lru_cache

from hybrid.backends.cpu.machine.jit import compile_ir

_BASE = """
define internal ptr @base(ptr %bufs, ptr %args, i64 %k) {
  %w = mul i64 %k, 2
  %a = getelementptr i64, ptr %args, i64 %w
  %s = load i64, ptr %a
  %b = getelementptr i64, ptr %a, i64 1
  %o = load i64, ptr %b
  %p = getelementptr ptr, ptr %bufs, i64 %s
  %q = load ptr, ptr %p
  %r = getelementptr i8, ptr %q, i64 %o
  ret ptr %r
}
"""


def _loop(name: str, count: int, body: str, result: str = "ret i64 0") -> str:
    bases = "\n".join(
        f"  %p{k} = call ptr @base(ptr %bufs, ptr %args, i64 {k})" for k in range(count)
    )
    return f"""
define i64 @{name}(ptr %bufs, ptr %args, i64 %begin, i64 %end, ptr %scratch) {{
entry:
{bases}
  br label %head
head:
  %i = phi i64 [%begin, %entry], [%next, %latch]
  %more = icmp ult i64 %i, %end
  br i1 %more, label %body, label %out
body:
{body}
  br label %latch
latch:
  %next = add i64 %i, 1
  br label %head
out:
  {result}
}}
"""


# out[i] = a[i] op b[i], float32
_ARITH = """  %a = getelementptr float, ptr %p0, i64 %i
  %b = getelementptr float, ptr %p1, i64 %i
  %o = getelementptr float, ptr %p2, i64 %i
  %x = load float, ptr %a
  %y = load float, ptr %b
  %z = {op} float %x, %y
  store float %z, ptr %o"""
# out[i] += 1, int64, atomically: shows chunks that ran twice (even at the same time) or never
_COUNT = """  %a = getelementptr i64, ptr %p0, i64 %i
  %x = atomicrmw add ptr %a, i64 1 monotonic"""
# the same, slowly
_SLOW = (
    """  br label %spin
spin:
  %k = phi i64 [0, %body], [%k1, %spin]
  call void @llvm.x86.sse2.pause()
  %k1 = add i64 %k, 1
  %go = icmp ult i64 %k1, 200
  br i1 %go, label %spin, label %do
do:
"""
    + _COUNT
)
# fails where a[i] is not 0 (float32), at that position
_CHECK = """  %a = getelementptr float, ptr %p0, i64 %i
  %x = load float, ptr %a
  %bad = fcmp une float %x, 0.0
  %s = add i64 %i, 1
  br i1 %bad, label %fail, label %latch
fail:
  ret i64 %s
dead:"""
# writes the number of the chunk's first item over its scratch and reads it back into out[i]
_SCRATCH = """  store i64 %begin, ptr %scratch
  %far = getelementptr i64, ptr %scratch, i64 1000
  store i64 %i, ptr %far
  %x = load i64, ptr %far
  %o = getelementptr i64, ptr %p0, i64 %i
  store i64 %x, ptr %o"""

# out[i] = address of the executing thread's scratch memory, slowly
_WHO = """  br label %spin
spin:
  %k = phi i64 [0, %body], [%k1, %spin]
  call void @llvm.x86.sse2.pause()
  %k1 = add i64 %k, 1
  %go = icmp ult i64 %k1, 200
  br i1 %go, label %spin, label %do
do:
  %o = getelementptr i64, ptr %p0, i64 %i
  %x = ptrtoint ptr %scratch to i64
  store i64 %x, ptr %o"""

TEXT = (
    _BASE
    + "".join(
        [
            _loop("add", 3, _ARITH.format(op="fadd")),
            _loop("mul", 3, _ARITH.format(op="fmul")),
            _loop("count", 1, _COUNT),
            _loop("slow", 1, _SLOW),
            _loop("check", 1, _CHECK),
            _loop("scratch", 1, _SCRATCH),
            _loop("who", 1, _WHO),
        ]
    )
    + """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse2.pause()
define i64 @csr(i64 %new) {
  %p = alloca i32
  %q = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  %n = trunc i64 %new to i32
  store i32 %n, ptr %q
  %old = load i32, ptr %p
  call void @llvm.x86.sse.ldmxcsr(ptr %q)
  %r = zext i32 %old to i64
  ret i64 %r
}
"""
)
NAMES = ("add", "mul", "count", "slow", "check", "scratch", "who", "csr")


@lru_cache(None)
def module():
    return compile_ir(TEXT, NAMES)


def code(name: str) -> int:
    """Address of a kernel."""
    return module().address(name)
