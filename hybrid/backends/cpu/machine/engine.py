"""IR text of the native engine: worker threads, claimed chunks, plans, reusable memory blocks.

Invariant: one 64-bit word W = epoch << 20 | chunks not yet claimed says what may run.  A chunk is
claimed by decrementing W with compare-and-swap, so a chunk of an old step can never be claimed (its
epoch is gone), and a step's descriptor is stable as long as a claimed chunk of it is unfinished.
Every address the engine needs (C library, Python) is read from the control block `ctl`.
"""

from __future__ import annotations

from . import host as m
from .asm import UNLIKELY, Fn
from .control import (
    BLOCK_HEADER,
    CHUNK_BITS,
    CTL,
    MASK,
    OOM,
    POOL_SLOTS,
    SERIAL,
    STEP_BYTES,
    W_CTL,
    W_ID,
    W_SCRATCH,
    W_THREAD,
    WORKER_BYTES,
    futex,
    libc,
)

__all__ = ["engine_text", "NAMES"]

NAMES = ("hy_worker", "hy_plan", "hy_limit", "hy_reset", "hy_block_take", "hy_block_put")


def _now() -> Fn:
    """Monotonic nanoseconds."""
    writer = Fn("hy_now", "i64", "noinline", ctl="ptr")
    timespec = writer.var("i64", 2)
    writer.call(
        "i32", libc(writer, "%ctl", "clock_gettime"), f"i32 {m.CLOCK_MONOTONIC}", f"ptr {timespec}"
    )
    writer.ret(
        writer.add(
            writer.op(f"mul i64 {writer.ld(timespec, 0, 'i64')}, 1000000000"),
            writer.ld(timespec, 8, "i64"),
        )
    )
    return writer


def _spin() -> Fn:
    """Poll until `*p != old` (under mask) or spin_ns have passed; 1 when it changed."""
    writer = Fn("hy_spin", "i1", "noinline", ctl="ptr", p="ptr", mask="i64", old="i64")
    start = writer.call("i64", "@hy_now", "ptr %ctl")
    limit = writer.add(start, writer.ld("%ctl", CTL["spin_ns"], "i64"))
    writer.label("again")
    with writer.each(16):
        writer.do("call void @llvm.x86.sse2.pause()")
        current = writer.op(f"and i64 {writer.load_atomic('i64', '%p')}, %mask")
        writer.go_if(writer.cmp("ne", current, "%old"), "changed")
    late = writer.cmp("ugt", writer.call("i64", "@hy_now", "ptr %ctl"), limit)
    writer.branch(late, "out", "again")
    writer.label("out")
    writer.ret("false")
    writer.label("changed")
    writer.ret("true")
    return writer


def _alloc() -> Fn:
    """A block of at least `bytes` usable bytes, 64-byte aligned; null when memory is out."""
    writer = Fn("hy_alloc", "ptr", "noinline", ctl="ptr", bytes="i64")
    want = writer.op(f"and i64 {writer.add('%bytes', BLOCK_HEADER + 63)}, -64")
    huge = writer.cmp("uge", want, 4 << 20)
    align = writer.pick(huge, 2 << 20, 64)
    block = writer.call("ptr", libc(writer, "%ctl", "aligned_alloc"), f"i64 {align}", f"i64 {want}")
    writer.go_if(writer.cmp("eq", block, "null", "ptr"), "out")
    with writer.when(huge):
        writer.call(
            "i32",
            libc(writer, "%ctl", "madvise"),
            f"ptr {block}",
            f"i64 {want}",
            f"i32 {m.MADV_HUGEPAGE}",
        )
    writer.st("i64", writer.add(want, -BLOCK_HEADER), block)
    writer.st("i64", 0, block, 8)
    writer.label("out")
    writer.ret(block)
    return writer


def _block_take() -> Fn:
    """Take a block from a free list of POOL_SLOTS, or make one (its word 1 is 0 then)."""
    writer = Fn("hy_block_take", "ptr", "noinline", ctl="ptr", pool="ptr", bytes="i64")
    with writer.each(POOL_SLOTS) as index:
        place = writer.nth("%pool", index)
        with writer.when(writer.cmp("ne", writer.load_atomic("ptr", place), "null", "ptr")):
            block = writer.op(f"atomicrmw xchg ptr {place}, ptr null seq_cst")
            with writer.when(writer.cmp("ne", block, "null", "ptr")):
                with writer.when(writer.cmp("uge", writer.ld(block, 0, "i64"), "%bytes")):
                    writer.ret(block)
                writer.label(writer.fresh())
                writer.call("void", libc(writer, "%ctl", "free"), f"ptr {block}")
    writer.ret(writer.call("ptr", "@hy_alloc", "ptr %ctl", "i64 %bytes"))
    return writer


def _block_put() -> Fn:
    """Give a block back; a full list frees it."""
    writer = Fn("hy_block_put", "void", "noinline", ctl="ptr", pool="ptr", block="ptr")
    with writer.each(POOL_SLOTS) as index:
        place = writer.nth("%pool", index)
        with writer.when(writer.cmp("eq", writer.load_atomic("ptr", place), "null", "ptr")):
            writer.go_if(writer.swap_if("ptr", place, 0, "null", "%block"), "kept")
    writer.call("void", libc(writer, "%ctl", "free"), "ptr %block")
    writer.label("kept")
    writer.ret()
    return writer


def _drain() -> Fn:
    """Claim and run chunks of the current step until none is left (for the caller and the workers).

    `scratch` points to (pointer, size) of this thread's scratch memory."""
    writer = Fn("hy_drain", "void", "noinline", ctl="ptr", scratch="ptr")
    writer.label("look")
    claimed = writer.load_atomic("i64", "%ctl")
    left = writer.op(f"and i64 {claimed}, {MASK}")
    writer.go_if(writer.cmp("eq", left, 0), "none", unlikely=False)
    writer.branch(
        writer.swap_if("i64", "%ctl", 0, claimed, writer.add(claimed, -1)), "mine", "look"
    )
    writer.label("mine")
    function, arguments, buffers = (writer.ld("%ctl", CTL[k]) for k in ("fn", "args", "bufs"))
    items, grain, chunks, need = (
        writer.ld("%ctl", CTL[k], "i64") for k in ("items", "grain", "chunks", "scratch")
    )
    begin = writer.op(f"mul i64 {writer.op(f'sub i64 {chunks}, {left}')}, {grain}")
    stop = writer.add(begin, grain)
    stop = writer.pick(writer.cmp("ult", stop, items), stop, items)
    with writer.when(writer.cmp("ugt", need, writer.ld("%scratch", 8, "i64")), unlikely=True):
        writer.call("void", "@hy_grow", "ptr %ctl", "ptr %scratch", f"i64 {need}")
    memory = writer.ld("%scratch")
    short = writer.both(writer.cmp("ugt", need, 0), writer.cmp("eq", memory, "null", "ptr"))
    result = writer.var("i64")
    writer.st("i64", OOM, result)
    with writer.when(writer.op(f"xor i1 {short}, true")):
        given = f"ptr {buffers}", f"ptr {arguments}", f"i64 {begin}", f"i64 {stop}"
        writer.st("i64", writer.call("i64", function, *given, f"ptr {memory}"), result)
    _finish_chunk(writer, result, chunks)
    writer.go("look")
    writer.label("none")
    writer.ret()
    return writer


def _finish_chunk(writer: Fn, result: str, chunks: str) -> None:
    """Note a chunk's status, and wake the caller after the last one."""
    status = writer.ld(result, 0, "i64")
    with writer.when(writer.cmp("ne", status, 0), unlikely=True):
        writer.atomic("umin", "i64", "%ctl", CTL["status"], status)
    done = writer.add(writer.atomic("add", "i64", "%ctl", CTL["done"], 1), 1)
    with writer.when(writer.cmp("eq", done, chunks)):
        waiting = writer.load_atomic("i32", "%ctl", CTL["waiting"])
        with writer.when(writer.cmp("ne", waiting, 0, "i32"), unlikely=True):
            writer.atomic("xchg", "i32", "%ctl", CTL["waiting"], 0)
            futex(writer, "%ctl", "waiting", m.FUTEX_WAKE, "1")


def _grow() -> Fn:
    """Replace a thread's scratch (pointer, size) by a larger one; null when memory is out."""
    writer = Fn("hy_grow", "void", "noinline", ctl="ptr", scratch="ptr", bytes="i64")
    previous = writer.ld("%scratch")
    with writer.when(writer.cmp("ne", previous, "null", "ptr")):
        writer.call(
            "void", libc(writer, "%ctl", "free"), f"ptr {writer.at(previous, -BLOCK_HEADER)}"
        )
    writer.st("ptr", "null", "%scratch")
    writer.st("i64", 0, "%scratch", 8)
    block = writer.call("ptr", "@hy_alloc", "ptr %ctl", "i64 %bytes")
    writer.go_if(writer.cmp("eq", block, "null", "ptr"), "out")
    writer.st("ptr", writer.at(block, BLOCK_HEADER), "%scratch")
    writer.st("i64", writer.ld(block, 0, "i64"), "%scratch", 8)
    writer.label("out")
    writer.ret()
    return writer


def _worker() -> Fn:
    """A worker thread: drain, spin for a while, sleep on `seq`; park on `limit` when not wanted."""
    writer = Fn("hy_worker", "ptr", w="ptr")
    control = writer.ld("%w", W_CTL)
    number = writer.op(f"trunc i64 {writer.ld('%w', W_ID, 'i64')} to i32")
    scratch = writer.at("%w", W_SCRATCH)
    writer.call("i32", "@hy_fp_enter")
    writer.label("loop")
    limit = writer.load_atomic("i32", control, CTL["limit"])
    with writer.when(writer.cmp("sge", number, limit, "i32"), unlikely=True):
        extended = writer.op(f"zext i32 {limit} to i64")
        futex(writer, control, "limit", m.FUTEX_WAIT, extended)
        writer.go("loop")
        writer.label(writer.fresh())
    writer.call("void", "@hy_drain", f"ptr {control}", f"ptr {scratch}")
    some = writer.call("i1", "@hy_spin", f"ptr {control}", f"ptr {control}", f"i64 {MASK}", "i64 0")
    writer.go_if(some, "loop", unlikely=False)
    seen = writer.op(f"zext i32 {writer.load_atomic('i32', control, CTL['seq'])} to i64")
    writer.atomic("xchg", "i32", control, CTL["asleep"], 1)
    left = writer.op(f"and i64 {writer.load_atomic('i64', control)}, {MASK}")
    writer.go_if(writer.cmp("ne", left, 0), "loop", unlikely=False)
    futex(writer, control, "seq", m.FUTEX_WAIT, seen)
    writer.go("loop")
    return writer


def _start() -> Fn:
    """Make the missing worker threads, all signals blocked; called by the pool's owner."""
    writer = Fn("hy_start", "void", "noinline", ctl="ptr")
    old_mask = writer.var("i64", 16)
    mask = writer.at("%ctl", CTL["sigmask"])
    sigmask = libc(writer, "%ctl", "pthread_sigmask")
    writer.call("i32", sigmask, f"i32 {m.SIG_SETMASK}", f"ptr {mask}", f"ptr {old_mask}")
    limit = writer.op(f"zext i32 {writer.load_atomic('i32', '%ctl', CTL['limit'])} to i64")
    workers = writer.at("%ctl", CTL["workers"])
    with writer.each(limit, writer.ld("%ctl", CTL["started"], "i64")) as index:
        worker = writer.nth(workers, index, WORKER_BYTES)
        writer.st("ptr", "%ctl", worker, W_CTL)
        writer.st("i64", index, worker, W_ID)
        code = writer.call(
            "i32",
            libc(writer, "%ctl", "pthread_create"),
            f"ptr {writer.at(worker, W_THREAD)}",
            f"ptr {writer.ld('%ctl', CTL['attr'])}",
            f"ptr {writer.ld('%ctl', CTL['worker'])}",
            f"ptr {worker}",
        )
        with writer.when(writer.cmp("ne", code, 0, "i32"), unlikely=True):
            # no more threads to be had: go on with those that run
            running = writer.op(f"trunc i64 {index} to i32")
            place = writer.at("%ctl", CTL["limit"])
            writer.do(f"store atomic i32 {running}, ptr {place} seq_cst, align 4")
            writer.go("out")
            writer.label(writer.fresh())
        writer.st("i64", writer.add(index, 1), "%ctl", CTL["started"])
    writer.label("out")
    writer.call("i32", sigmask, f"i32 {m.SIG_SETMASK}", f"ptr {old_mask}", "ptr null")
    writer.ret()
    return writer


def _parallel() -> Fn:
    """One step on all threads, by the pool's owner: the smallest nonzero status, or 0."""
    writer = Fn("hy_parallel", "i64", "noinline", ctl="ptr", step="ptr", bufs="ptr", scratch="ptr")
    items, given_grain = writer.ld("%step", 16, "i64"), writer.ld("%step", 24, "i64")
    # keeps the number of chunks within its field
    least = writer.add(writer.op(f"udiv i64 {items}, {MASK}"), 1)
    grain = writer.pick(writer.cmp("ugt", least, given_grain), least, given_grain)
    chunks = writer.op(f"udiv i64 {writer.add(items, writer.add(grain, -1))}, {grain}")
    for word, kind, value in (
        ("fn", "ptr", writer.ld("%step")),
        ("args", "ptr", writer.ld("%step", 8)),
        ("items", "i64", items),
        ("grain", "i64", grain),
        ("chunks", "i64", chunks),
        ("bufs", "ptr", "%bufs"),
        ("scratch", "i64", writer.ld("%step", 32, "i64")),
        ("done", "i64", "0"),
        ("status", "i64", "-1"),
    ):
        writer.st(kind, value, "%ctl", CTL[word])
    epoch = writer.add(writer.ld("%ctl", CTL["epoch"], "i64"), 1)
    writer.st("i64", epoch, "%ctl", CTL["epoch"])
    writer.atomic(
        "xchg",
        "i64",
        "%ctl",
        0,
        writer.op(f"or i64 {writer.op(f'shl i64 {epoch}, {CHUNK_BITS}')}, {chunks}"),
    )
    with writer.when(writer.cmp("ne", writer.load_atomic("i32", "%ctl", CTL["asleep"]), 0, "i32")):
        writer.call("void", "@hy_wake", "ptr %ctl", f"i64 {writer.add(chunks, -1)}")
    writer.call("void", "@hy_drain", "ptr %ctl", "ptr %scratch")
    _await(writer, chunks)
    status = writer.load_atomic("i64", "%ctl", CTL["status"])
    writer.ret(writer.pick(writer.cmp("eq", status, -1), 0, status))
    return writer


def _await(writer: Fn, chunks: str) -> None:
    """Wait until all chunks are done: look again for a while, then sleep on `waiting`."""
    writer.label("wait")
    done = writer.load_atomic("i64", "%ctl", CTL["done"])
    writer.go_if(writer.cmp("eq", done, chunks), "out", unlikely=False)
    moved = writer.call(
        "i1",
        "@hy_spin",
        "ptr %ctl",
        f"ptr {writer.at('%ctl', CTL['done'])}",
        "i64 -1",
        f"i64 {done}",
    )
    writer.go_if(moved, "wait", unlikely=False)
    writer.atomic("xchg", "i32", "%ctl", CTL["waiting"], 1)
    writer.go_if(
        writer.cmp("eq", writer.load_atomic("i64", "%ctl", CTL["done"]), chunks),
        "out",
        unlikely=False,
    )
    futex(writer, "%ctl", "waiting", m.FUTEX_WAIT, "1")
    writer.go("wait")
    writer.label("out")
    writer.do(f"store atomic i32 0, ptr {writer.at('%ctl', CTL['waiting'])} monotonic, align 4")


def _wake() -> Fn:
    """Wake up to `count` sleeping workers; the flag stays up while some may still sleep."""
    writer = Fn("hy_wake", "void", "noinline", ctl="ptr", count="i64")
    enough = writer.cmp("uge", "%count", writer.ld("%ctl", CTL["started"], "i64"))
    with writer.when(enough):
        writer.atomic("xchg", "i32", "%ctl", CTL["asleep"], 0)
    writer.atomic("add", "i32", "%ctl", CTL["seq"], 1)
    futex(writer, "%ctl", "seq", m.FUTEX_WAKE, writer.pick(enough, 2**31 - 1, "%count"))
    writer.ret()
    return writer


def _own() -> Fn:
    """Try to become the one who hands out work: true when the pool is ours and has workers."""
    writer = Fn("hy_own", "i1", "noinline", ctl="ptr")
    limit = writer.load_atomic("i32", "%ctl", CTL["limit"])
    writer.go_if(writer.cmp("sle", limit, 0, "i32"), "no", unlikely=False)
    writer.go_if(
        writer.op(f"xor i1 {writer.swap_if('i32', '%ctl', CTL['owner'], 0, 1)}, true"),
        "no",
        unlikely=False,
    )
    started = writer.op(f"trunc i64 {writer.ld('%ctl', CTL['started'], 'i64')} to i32")
    with writer.when(writer.cmp("slt", started, limit, "i32"), unlikely=True):
        writer.call("void", "@hy_start", "ptr %ctl")
    writer.ret("true")
    writer.label("no")
    writer.ret("false")
    return writer


def _step() -> Fn:
    """One step of a plan, spread over the pool if it is large and the pool is free; its status."""
    writer = Fn(
        "hy_step", "i64", "noinline", ctl="ptr", step="ptr", bufs="ptr", scratch="ptr", owned="ptr"
    )
    items = writer.ld("%step", 16, "i64")
    serial = writer.op(f"and i64 {writer.ld('%step', 40, 'i64')}, {SERIAL}")
    many = writer.both(
        writer.cmp("ugt", items, writer.ld("%step", 24, "i64")), writer.cmp("eq", serial, 0)
    )
    with writer.when(many):
        with writer.when(writer.cmp("eq", writer.ld("%owned", 0, "i32"), 0, "i32")):
            writer.st(
                "i32", writer.pick(writer.call("i1", "@hy_own", "ptr %ctl"), 1, 2, "i32"), "%owned"
            )
        with writer.when(writer.cmp("eq", writer.ld("%owned", 0, "i32"), 1, "i32")):
            writer.ret(
                writer.call(
                    "i64", "@hy_parallel", "ptr %ctl", "ptr %step", "ptr %bufs", "ptr %scratch"
                )
            )
        writer.label(writer.fresh())
    writer.ret(
        writer.call(
            "i64",
            writer.ld("%step"),
            "ptr %bufs",
            f"ptr {writer.ld('%step', 8)}",
            "i64 0",
            f"i64 {items}",
            f"ptr {writer.ld('%scratch')}",
        )
    )
    return writer


def _plan() -> Fn:
    """Run steps in order; the status of the first that fails (its number goes to *failed), or 0.

    `need` is the largest scratch size of the steps."""
    writer = Fn(
        "hy_plan", "i64", ctl="ptr", steps="ptr", count="i64", bufs="ptr", need="i64", failed="ptr"
    )
    scratch, owned = writer.var("ptr", 2), writer.var("i32")
    writer.st("i32", 0, owned)  # 0 not tried, 1 the pool is ours, 2 it is somebody else's
    writer.st("ptr", "null", scratch)
    writer.st("i64", 0, scratch, 8)
    blocks, result = writer.at("%ctl", CTL["blocks"]), writer.var("i64")
    writer.st("i64", 0, result)
    control_word = writer.call("i32", "@hy_fp_enter")
    _take_scratch(writer, blocks, scratch, result)
    with writer.each("%count") as index:
        step = writer.nth("%steps", index, STEP_BYTES)
        status = writer.call(
            "i64",
            "@hy_step",
            "ptr %ctl",
            f"ptr {step}",
            "ptr %bufs",
            f"ptr {scratch}",
            f"ptr {owned}",
        )
        with writer.when(writer.cmp("ne", status, 0), unlikely=True):
            writer.st("i64", status, result)
            writer.st("i64", index, "%failed")
            writer.go("out")
            writer.label(writer.fresh())
    writer.label("out")
    with writer.when(writer.cmp("eq", writer.ld(owned, 0, "i32"), 1, "i32")):
        writer.atomic("xchg", "i32", "%ctl", CTL["owner"], 0)
    _put_scratch(writer, blocks, scratch)
    writer.call("void", "@hy_fp_leave", f"i32 {control_word}")
    writer.ret(writer.ld(result, 0, "i64"))
    return writer


def _take_scratch(writer: Fn, blocks: str, scratch: str, result: str) -> None:
    """(pointer, size) of scratch memory for a plan that needs some; to `out` without any."""
    with writer.when(writer.cmp("ne", "%need", 0)):
        block = writer.call("ptr", "@hy_block_take", "ptr %ctl", f"ptr {blocks}", "i64 %need")
        with writer.when(writer.cmp("eq", block, "null", "ptr"), unlikely=True):
            writer.st("i64", OOM, result)
            writer.st("i64", 0, "%failed")
            writer.go("out")
            writer.label(writer.fresh())
        writer.st("ptr", writer.at(block, BLOCK_HEADER), scratch)
        writer.st("i64", writer.ld(block, 0, "i64"), scratch, 8)


def _put_scratch(writer: Fn, blocks: str, scratch: str) -> None:
    """Give the scratch memory of a plan back."""
    memory = writer.ld(scratch)
    with writer.when(writer.cmp("ne", memory, "null", "ptr")):
        block = writer.at(memory, -BLOCK_HEADER)
        writer.call("void", "@hy_block_put", "ptr %ctl", f"ptr {blocks}", f"ptr {block}")


def _limit() -> Fn:
    """Set how many workers may take part, and wake those parked on the old number."""
    writer = Fn("hy_limit", "void", ctl="ptr", count="i64")
    writer.atomic("xchg", "i32", "%ctl", CTL["limit"], writer.op("trunc i64 %count to i32"))
    futex(writer, "%ctl", "limit", m.FUTEX_WAKE, str(2**31 - 1))
    writer.ret()
    return writer


def _reset() -> Fn:
    """In the child of a fork: forget threads that do not exist here."""
    writer = Fn("hy_reset", "void", ctl="ptr")
    for word in ("owner", "asleep", "waiting"):
        writer.st("i32", 0, "%ctl", CTL[word])
    writer.st("i64", 0, "%ctl", CTL["started"])
    writer.st("i64", writer.op(f"and i64 {writer.ld('%ctl', 0, 'i64')}, {~MASK}"), "%ctl")
    writer.ret()
    return writer


def engine_text() -> str:
    """The whole module."""
    parts = (
        _now,
        _spin,
        _alloc,
        _grow,
        _block_take,
        _block_put,
        _drain,
        _worker,
        _start,
        _wake,
        _own,
        _parallel,
        _step,
        _plan,
        _limit,
        _reset,
    )
    return m.INTRINSICS + "".join(p().text() for p in parts) + UNLIKELY
