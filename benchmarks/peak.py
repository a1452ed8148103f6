"""What this machine can give: `python -m benchmarks.peak`.

Prints the rate of fused multiply-adds by dtype and width of vectors, the bandwidth of loads, stores
and copies in each cache and in memory, on one core and on all, and what a step of a plan costs the
threads: their start, and the barrier between two steps.  Invariant: every loop is generated, and
its text is what a test counts; a figure is the best of many short runs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from hybrid.backends.cpu.machine.host import machine
from hybrid.backends.cpu.machine.jit import NativeModule, compile_ir
from hybrid.backends.cpu.machine.pool import get_num_threads, num_threads, run_steps
from hybrid.backends.cpu.python.runtime import launch

__all__ = ["FMA", "TRAFFIC", "barrier", "bandwidth", "chains", "fma_text", "gflops", "traffic_text"]

TRIPS = 20_000
SHARE = 0.01  # seconds of one run
LINES = 4  # of 64 bytes, between two jumps
FMA = {"float32": ("float", 4, "f32"), "float64": ("double", 8, "f64")}
TRAFFIC = ("load", "store", "copy")
ATTRIBUTES = '"prefer-vector-width"="512" "min-legal-vector-width"="512"'
KERNEL = """
define i64 @peak(ptr %bufs, ptr %args, i64 %begin, i64 %end, ptr %scratch) {attributes} {{
entry:
{setup}
  br label %item
item:
  %n = phi i64 [%begin, %entry], [%n1, %done]
{start}
  br label %{head}
{head}:
  %k = phi i64 [0, %item], [%k1, %{latch}]
{body}
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, %trips
  br i1 %more, label %{head}, label %done
done:
{finish}
  %n1 = add i64 %n, 1
  %again = icmp ult i64 %n1, %end
  br i1 %again, label %item, label %out
out:
  ret i64 0
}}
"""
READS = """  %base = load ptr, ptr %bufs
  %trips = load i64, ptr %args
  %at.span = getelementptr i64, ptr %args, i64 1
  %span = load i64, ptr %at.span"""


# ---- arithmetic
def chains(width: int) -> int:
    """Independent sums of `width` bytes that the vector registers hold beside a factor: more would
    spill, and be a measure of the stack."""
    return min(machine().vector_registers - 2, 24) if width <= machine().vector_bytes else 0


def fma_text(dtype: str, width: int) -> str:
    """A kernel whose every item runs `trips` times so many chains of fmas of `width` bytes."""
    scalar, size, suffix = FMA[dtype]
    lanes, count = width // size, chains(width)
    vector, name = f"<{lanes} x {scalar}>", f"@llvm.fma.v{lanes}{suffix}"
    ones = "<" + ", ".join([f"{scalar} 1.0"] * lanes) + ">"
    body = [f"  %a{i} = phi {vector} [{ones}, %item], [%b{i}, %loop]" for i in range(count)]
    operands = "{v} %a{i}, {v} %x, {v} %a{i}"
    body += [
        f"  %b{i} = call {vector} {name}({operands.format(v=vector, i=i)})" for i in range(count)
    ]
    # the sums keep every chain alive: nothing of them can be left out
    sums = [f"  %s0 = fadd {vector} %b0, %b1"]
    sums += [f"  %s{i - 1} = fadd {vector} %s{i - 2}, %b{i}" for i in range(2, count)]
    store = [
        f"  %to = getelementptr i8, ptr %base, i64 {width}",
        f"  store {vector} %s{count - 2}, ptr %to, align {size}",
    ]
    setup = f"{READS}\n  %x = load {vector}, ptr %base, align {size}"
    declared = f"declare {vector} {name}({vector}, {vector}, {vector})"
    return declared + KERNEL.format(
        attributes=ATTRIBUTES,
        setup=setup,
        start="",
        head="loop",
        latch="loop",
        body="\n".join(body),
        finish="\n".join(sums + store),
    )


def _best(run: Callable[[], object], seconds: float = 10 * SHARE) -> float:
    """Seconds of the shortest of many runs."""
    least, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least


def gflops(dtype: str, width: int, threads: int) -> float:
    """Best rate with an item for each thread."""
    module = compile_ir(fma_text(dtype, width), ["peak"])
    vectors, words = np.zeros(64, np.float32), np.array([TRIPS, 0], np.int64)
    with num_threads(threads):
        least = _best(lambda: launch(module.address("peak"), words, threads, 1, 0, (vectors,)))
    lanes = width // FMA[dtype][1]
    return 2 * threads * TRIPS * chains(width) * lanes / least / 1e9


# ---- memory
def _line_text(kind: str, line: int, own: str) -> list[str]:
    """One line of 64 bytes, and the sum that it changes."""
    vector, at = "<16 x i32>", f"%at{line}"
    text = [
        f"  {at} = add i64 %i, {64 * line}",
        f"  {at}.from = getelementptr i8, ptr %own, i64 {at}",
        f"  {at}.to = getelementptr i8, ptr %other, i64 {at}",
    ]
    if kind == "store":
        text += [f"  store {vector} {own}, ptr {at}.from, align 64"]
        return [*text, f"  {own}x = add {vector} {own}, %none"]
    text += [f"  {at}.v = load {vector}, ptr {at}.from, align 64"]
    text += [f"  {own}x = xor {vector} {own}, {at}.v"]
    if kind == "copy":
        text += [f"  store {vector} {at}.v, ptr {at}.to, align 64"]
    return text


def traffic_text(kind: str) -> str:
    """A kernel whose every item goes `trips` times over its own `span` bytes, LINES lines of 64 at
    a time; a copy reads the first half of them and writes the second."""
    vector = "<16 x i32>"
    sums = [f"%s{line}" for line in range(LINES)]
    body = ["  br label %line", "line:", "  %i = phi i64 [0, %pass], [%i1, %line]"]
    body += [f"  {s} = phi {vector} [zeroinitializer, %pass], [{s}x, %line]" for s in sums]
    for line, own in enumerate(sums):
        body += _line_text(kind, line, own)
    last = "%span" if kind != "copy" else "%half"
    body += [
        f"  %i1 = add i64 %i, {64 * LINES}",
        f"  %inside = icmp ult i64 %i1, {last}",
        "  br i1 %inside, label %line, label %passed",
        "passed:",
        *[
            f"  store volatile {vector} {own}x, ptr %scratch, align 64" for own in sums
        ],  # or the loads would be left out
    ]
    # the loop over lines stands inside of the one over passes
    return KERNEL.format(
        head="pass",
        latch="passed",
        attributes=ATTRIBUTES,
        setup=f"{READS}\n  %half = lshr i64 %span, 1\n  %none = load {vector}, ptr %scratch",
        start="  %place = mul i64 %n, %span\n"
        "  %own = getelementptr i8, ptr %base, i64 %place\n"
        "  %other = getelementptr i8, ptr %own, i64 %half",
        body="\n".join(body),
        finish="",
    )


def bandwidth(module: NativeModule, span: int, threads: int) -> float:
    """GB/s with a region of `span` bytes for each thread."""
    memory = np.ones(span * threads + 64, np.uint8)  # pages of its own, not the one of zeros
    offset = -memory.ctypes.data % 64
    region = memory[offset : offset + span * threads]
    passes = max(int(SHARE * 2e10 / span), 1)
    words = np.array([passes, span], np.int64)
    with num_threads(threads):
        least = _best(
            lambda: launch(module.address("peak"), words, threads, 1, 64, (region,)), 20 * SHARE
        )
    return span * threads * passes / least / 1e9


def levels() -> Iterator[tuple[str, int]]:
    """(name, bytes for a thread, whole turns of a copy's loop): half of each cache, so that it
    holds them, and several times the last one, within reason."""
    here = machine()
    spans = [("first cache", here.first.size // 2), ("second cache", here.second.size // 2)]
    last = min(here.third.size // (2 * here.cores), 8 << 20)
    if last > here.second.size:
        spans.append(("third cache", last))
    spans.append(("memory", min(4 * here.third.size, 256 << 20)))
    for name, span in spans:
        yield name, span - span % (2 * 64 * LINES)


# ---- threads
def barrier(threads: int, steps: int = 200) -> float:
    """Seconds between two steps of a plan that do nothing but wait for each other."""
    module = compile_ir(fma_text("float32", 32), ["peak"])
    vectors, words = np.zeros(64, np.float32), np.array([1, 0], np.int64)
    step = (module.address("peak"), words.ctypes.data, threads, 1, 0, 0)
    with num_threads(threads):
        many = _best(lambda: run_steps([step] * steps, [vectors.ctypes.data]))
        one = _best(lambda: run_steps([step], [vectors.ctypes.data]))
    return (many - one) / (steps - 1)


_FIRST = """
import time
import numpy as np
from benchmarks.peak import compile_ir, fma_text, launch, get_num_threads
module = compile_ir(fma_text("float32", 32), ["peak"])
threads = get_num_threads()
vectors, words = np.zeros(64, np.float32), np.array([1, 0], np.int64)
launch(module.address("peak"), words, 1, 1, 0, (vectors,))
start = time.perf_counter()
launch(module.address("peak"), words, threads, 1, 0, (vectors,))
print(time.perf_counter() - start)
"""


def start_up() -> float:
    """Seconds of the first step that needs all threads, in a process of its own."""
    command = [sys.executable, "-c", _FIRST]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print all figures."""
    here, cores = machine(), get_num_threads()
    print(f"{here.name}, {cores} threads")
    for dtype in FMA:
        for width in (16, 32, 64):
            if width <= here.vector_bytes:
                one, every = gflops(dtype, width, 1), gflops(dtype, width, cores)
                print(f"{dtype} fma, {8 * width:3} bit   {one:7.1f} {every:7.1f} GFLOP/s")
    modules = {kind: compile_ir(traffic_text(kind), ["peak"]) for kind in TRAFFIC}
    for name, span in levels():
        for kind, module in modules.items():
            one, every = bandwidth(module, span, 1), bandwidth(module, span, cores)
            print(f"{name:12} {kind:5} {span >> 10:7} KiB {one:7.1f} {every:7.1f} GB/s")
    print(f"first step on {cores} threads {start_up() * 1e6:.1f} us")
    print(f"barrier between steps {barrier(cores) * 1e6:.2f} us")


if __name__ == "__main__":
    main()
