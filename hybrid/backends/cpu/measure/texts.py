"""IR text of loops that show one property of a machine each: its clock, multiply-adds, traffic to
and from memory, lines that another core has written.

Invariant: a text does what it says on every machine; a test counts its instructions.  They are
kernels as all others: (bufs, args, begin, end, scratch), argument words first, then memory.
"""

from __future__ import annotations

from typing import Literal

from ..machine.host import machine
from ..machine.target import control_text, native_set

__all__ = [
    "CHAIN",
    "FMA",
    "LINES",
    "NEAR",
    "PASSED",
    "TICKS",
    "TRAFFIC",
    "Traffic",
    "chains",
    "clock_text",
    "fma_text",
    "handed_text",
    "traffic_text",
]

LINES = 4  # of 64 bytes, between two jumps
NEAR = 64 << 10  # bytes that the second cache holds
CHAIN = 32  # operations of one cycle, each waiting for the one before, between two jumps
FMA = {"float32": ("float", 4, "f32"), "float64": ("double", 8, "f64")}
Traffic = Literal["load", "store", "copy", "pack"]
TRAFFIC: tuple[Traffic, ...] = ("load", "store", "copy")
TICKS, PASSED = 384, 256  # where the text of handed lines leaves its figures, in bytes
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


def _settled(text: str) -> str:
    """A text that may call @hy_ticks, and @settle around it, so that nothing overlaps."""
    target = native_set()
    settle = f"define internal void @settle() alwaysinline {{\n{target.settle}  ret void\n}}\n"
    return control_text(target) + target.settling + settle + text


def clock_text() -> str:
    """A kernel of `trips` times CHAIN cycles, which leaves the ticks they took in the second word
    of its memory."""
    names = ["%v", *[f"%v{i}" for i in range(1, CHAIN + 1)]]
    # two kinds in turns, which cannot be joined
    body = [f"  %v = phi i64 [1, %item], [{names[-1]}, %loop]"]
    body += [
        f"  {new} = {'add' if i % 2 else 'xor'} i64 {old}, %with"
        for i, (old, new) in enumerate(zip(names, names[1:]))
    ]
    measured = KERNEL.format(
        attributes="",
        setup=f"{READS}\n  %with = load i64, ptr %base",
        start="  call void @settle()\n  %from = call i64 @hy_ticks()\n  call void @settle()",
        head="loop",
        latch="loop",
        body="\n".join(body),
        finish=f"""  call void @settle()
  %until = call i64 @hy_ticks()
  store volatile i64 {names[-1]}, ptr %scratch
  %took = sub i64 %until, %from
  %to = getelementptr i64, ptr %base, i64 1
  store i64 %took, ptr %to""",
    )
    return _settled(measured)


# ---- memory
def _line_text(kind: Traffic, line: int, own: str) -> list[str]:
    """One line of 64 bytes, and the sum that it changes."""
    vector, at = "<16 x i32>", f"%at{line}"
    instructions = [
        f"  {at} = add i64 %i, {64 * line}",
        f"  {at}.from = getelementptr i8, ptr %own, i64 {at}",
        f"  {at}.to = getelementptr i8, ptr %other, i64 {at}",
    ]
    if kind == "store":
        instructions += [f"  store {vector} {own}, ptr {at}.from, align 64"]
        return [*instructions, f"  {own}x = add {vector} {own}, %none"]
    instructions += [f"  {at}.v = load {vector}, ptr {at}.from, align 64"]
    instructions += [f"  {own}x = xor {vector} {own}, {at}.v"]
    if kind == "pack":
        instructions[2:3] = [
            f"  {at}.near = and i64 {at}, {NEAR - 1}",
            f"  {at}.to = getelementptr i8, ptr %other, i64 {at}.near",
        ]
    if kind in ("copy", "pack"):
        instructions += [f"  store {vector} {at}.v, ptr {at}.to, align 64"]
    return instructions


def traffic_text(kind: Traffic) -> str:
    """A kernel whose every item goes `trips` times over its own `span` bytes, LINES lines of 64 at
    a time; a copy reads the first half of them and writes the second, packing (of one item) reads
    all of them and writes the NEAR bytes behind them over and over."""
    vector = "<16 x i32>"
    sums = [f"%s{line}" for line in range(LINES)]
    body = ["  br label %line", "line:", "  %i = phi i64 [0, %pass], [%i1, %line]"]
    body += [f"  {s} = phi {vector} [zeroinitializer, %pass], [{s}x, %line]" for s in sums]
    for line, own in enumerate(sums):
        body += _line_text(kind, line, own)
    last, other = ("%half", "%half") if kind == "copy" else ("%span", "%span")
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
        f"  %other = getelementptr i8, ptr %own, i64 {other}",
        body="\n".join(body),
        finish="",
    )


# ---- other cores
_WAIT = """
define internal i1 @met(ptr %word, i64 %wanted, i64 %looks) noinline {
entry:
  br label %look
look:
  %n = phi i64 [0, %entry], [%n1, %again]
  %seen = load atomic i64, ptr %word seq_cst, align 8
  %there = icmp uge i64 %seen, %wanted
  br i1 %there, label %yes, label %again
again:
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, %looks
  br i1 %more, label %look, label %no
yes:
  ret i1 true
no:
  ret i1 false
}
"""
_HANDED = """
define i64 @handed(ptr %bufs, ptr %args, i64 %begin, i64 %end, ptr %scratch) {
entry:
  %base = load ptr, ptr %bufs
  %lines = load i64, ptr %args
  %at.rounds = getelementptr i64, ptr %args, i64 1
  %rounds = load i64, ptr %at.rounds
  %at.step = getelementptr i64, ptr %args, i64 2
  %step = load i64, ptr %at.step
  %at.follow = getelementptr i64, ptr %args, i64 3
  %follow = load i64, ptr %at.follow
  %at.first = getelementptr i64, ptr %args, i64 4
  %first = load i64, ptr %at.first
  %at.later = getelementptr i64, ptr %args, i64 5
  %later = load i64, ptr %at.later
  %told = getelementptr i8, ptr %base, i64 128
  %heard = getelementptr i8, ptr %base, i64 {PASSED}
  %least = getelementptr i8, ptr %base, i64 {TICKS}
  %region = getelementptr i8, ptr %base, i64 4096
  %mask = sub i64 %lines, 1
  %count = sub i64 %end, %begin
  %one = icmp eq i64 %count, 1
  br i1 %one, label %meet, label %out
meet:
  %other = xor i64 %begin, 1
  %mine.at = mul i64 %begin, 512
  %mine.from = getelementptr i8, ptr %base, i64 %mine.at
  %mine = getelementptr i8, ptr %mine.from, i64 1024
  %theirs.at = mul i64 %other, 512
  %theirs.from = getelementptr i8, ptr %base, i64 %theirs.at
  %theirs = getelementptr i8, ptr %theirs.from, i64 1024
  store atomic i64 1, ptr %mine seq_cst, align 8
  %both = call i1 @met(ptr %theirs, i64 1, i64 %first)
  br i1 %both, label %begun, label %out
begun:
  %reads = icmp eq i64 %begin, 0
  br i1 %reads, label %reader, label %writer
writer:
  %w = phi i64 [1, %begun], [%w1, %taken]
  br label %write
write:
  %i = phi i64 [0, %writer], [%i1, %write]
  %at = shl i64 %i, 6
  %place = getelementptr i8, ptr %region, i64 %at
  %next = add i64 %i, %step
  %next.in = and i64 %next, %mask
  %next.at = shl i64 %next.in, 6
  store volatile i64 %next.at, ptr %place
  %i1 = add i64 %i, 1
  %unwritten = icmp ult i64 %i1, %lines
  br i1 %unwritten, label %write, label %written
written:
  store atomic i64 %w, ptr %told seq_cst, align 8
  %read = call i1 @met(ptr %heard, i64 %w, i64 %later)
  br i1 %read, label %taken, label %out
taken:
  %w1 = add i64 %w, 1
  %w.more = icmp ule i64 %w1, %rounds
  br i1 %w.more, label %writer, label %out
reader:
  %r = phi i64 [1, %begun], [%r1, %known]
  %ready = call i1 @met(ptr %told, i64 %r, i64 %later)
  br i1 %ready, label %go, label %out
go:
  call void @settle()
  %from = call i64 @hy_ticks()
  call void @settle()
  %follows = icmp ne i64 %follow, 0
  br i1 %follows, label %chain, label %stream
stream:
  %j = phi i64 [0, %go], [%j1, %stream]
  %sum = phi i64 [0, %go], [%sum1, %stream]
  %j.at = shl i64 %j, 6
  %j.place = getelementptr i8, ptr %region, i64 %j.at
  %value = load volatile i64, ptr %j.place
  %sum1 = add i64 %sum, %value
  %j1 = add i64 %j, 1
  %j.more = icmp ult i64 %j1, %lines
  br i1 %j.more, label %stream, label %end.of
chain:
  %c = phi i64 [0, %go], [%c1, %chain]
  %where = phi i64 [0, %go], [%where1, %chain]
  %c.place = getelementptr i8, ptr %region, i64 %where
  %where1 = load volatile i64, ptr %c.place
  %c1 = add i64 %c, 1
  %c.more = icmp ult i64 %c1, %lines
  br i1 %c.more, label %chain, label %end.of
end.of:
  %got = phi i64 [%sum1, %stream], [%where1, %chain]
  call void @settle()
  %until = call i64 @hy_ticks()
  store volatile i64 %got, ptr %scratch
  %took = sub i64 %until, %from
  %best = load i64, ptr %least
  %none = icmp eq i64 %best, 0
  %less = icmp ult i64 %took, %best
  %better = or i1 %none, %less
  br i1 %better, label %keep, label %known
keep:
  store i64 %took, ptr %least
  br label %known
known:
  store atomic i64 %r, ptr %heard seq_cst, align 8
  %r1 = add i64 %r, 1
  %r.more = icmp ule i64 %r1, %rounds
  br i1 %r.more, label %reader, label %out
out:
  ret i64 0
}
"""


def handed_text() -> str:
    """A kernel of two items for two threads: item 1 writes `lines` lines of 64 bytes (a power of
    two), item 0 then reads them, one after the other or (`follow`) each where the one before says,
    `step` lines on; `rounds` times.  The ticks of the fastest reading are left at TICKS, the rounds
    that were done at PASSED: fewer where the threads did not meet within so many looks at a word
    (`first`: before the first round, `later`: in each), as where they share one core.

    Words: lines, rounds, step, follow, first, later; memory begins with 4096 bytes of zeros."""
    named = _HANDED.replace("{PASSED}", str(PASSED)).replace("{TICKS}", str(TICKS))
    return _settled(_WAIT + named)
