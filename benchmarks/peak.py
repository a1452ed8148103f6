"""Peak rate of fused multiply-adds on one core and on all: `python -m benchmarks.peak`.

Invariant: a loop of independent register fmas, no memory traffic; the best of many short runs.
"""

from __future__ import annotations

import time

from hybrid.backends.cpu.machine.host import machine
from hybrid.backends.cpu.machine.jit import compile_ir
from hybrid.backends.cpu.machine.pool import get_num_threads, num_threads
from hybrid.backends.cpu.python.runtime import launch

TRIPS = 20_000
ARGUMENTS = "ptr %bufs, ptr %args, i64 %begin, i64 %end, ptr %scratch"
KERNEL = """
declare {lanes} @llvm.fma.v16f32({lanes}, {lanes}, {lanes})
define i64 @peak({arguments}) "prefer-vector-width"="512" {{
entry:
  %base = load ptr, ptr %bufs
  %x = load {lanes}, ptr %base, align 4
  br label %item
item:
  %n = phi i64 [%begin, %entry], [%n1, %done]
  br label %loop
loop:
  %k = phi i64 [0, %item], [%k1, %loop]
{merged}
{products}
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {trips}
  br i1 %more, label %loop, label %done
done:
{sums}
  %at = getelementptr float, ptr %base, i64 16
  %to = getelementptr {lanes}, ptr %at, i64 %n
  store {lanes} %s{last}, ptr %to, align 4
  %n1 = add i64 %n, 1
  %again = icmp ult i64 %n1, %end
  br i1 %again, label %item, label %out
out:
  ret i64 0
}}
"""


def chains() -> int:
    """Chains of 16 floats that the vector registers hold beside a factor: more would spill, and be
    a measure of the stack."""
    here = machine()
    return min((here.vector_registers - 2) * here.vector_bytes // 64, 24)


def kernel_text(count: int) -> str:
    """A kernel whose every item runs TRIPS times so many chains of fmas of 16 floats."""
    lanes = "<16 x float>"
    ones = "<" + ", ".join(["float 1.0"] * 16) + ">"
    merged = [f"  %a{i} = phi {lanes} [{ones}, %item], [%b{i}, %loop]" for i in range(count)]
    products = [
        f"  %b{i} = call {lanes} @llvm.fma.v16f32({lanes} %a{i}, {lanes} %x, {lanes} %a{i})"
        for i in range(count)
    ]
    # the sums keep every chain alive: nothing of them can be left out
    sums = [f"  %s0 = fadd {lanes} %b0, %b1"]
    sums += [f"  %s{i - 1} = fadd {lanes} %s{i - 2}, %b{i}" for i in range(2, count)]
    return KERNEL.format(
        lanes=lanes,
        arguments=ARGUMENTS,
        merged="\n".join(merged),
        products="\n".join(products),
        sums="\n".join(sums),
        trips=TRIPS,
        last=count - 2,
    )


def gflops(threads: int, launches: int = 30) -> float:
    """Best rate over `launches` launches of one item per thread."""
    import numpy as np

    count = chains()
    module = compile_ir(kernel_text(count), ["peak"])
    vectors = np.zeros(16 * (threads + 1), np.float32)
    words = np.zeros(1, np.int64)
    least = float("inf")
    with num_threads(threads):
        for _ in range(launches):
            start = time.perf_counter()
            launch(module.address("peak"), words, threads, 1, 0, (vectors,))
            least = min(least, time.perf_counter() - start)
    return threads * TRIPS * count * 32 / least / 1e9


if __name__ == "__main__":
    print(
        f"{machine().name}: one core {gflops(1):.0f} GFLOP/s, "
        f"{get_num_threads()} cores {gflops(get_num_threads()):.0f} GFLOP/s"
    )
