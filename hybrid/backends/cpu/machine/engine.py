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
    f = Fn("hy_now", "i64", "noinline", ctl="ptr")
    ts = f.var("i64", 2)
    f.call("i32", libc(f, "%ctl", "clock_gettime"), f"i32 {m.CLOCK_MONOTONIC}", f"ptr {ts}")
    f.ret(f.add(f.op(f"mul i64 {f.ld(ts, 0, 'i64')}, 1000000000"), f.ld(ts, 8, "i64")))
    return f


def _spin() -> Fn:
    """Poll until `*p != old` (under mask) or spin_ns have passed; 1 when it changed."""
    f = Fn("hy_spin", "i1", "noinline", ctl="ptr", p="ptr", mask="i64", old="i64")
    start = f.call("i64", "@hy_now", "ptr %ctl")
    limit = f.add(start, f.ld("%ctl", CTL["spin_ns"], "i64"))
    f.label("again")
    with f.each(16):
        f.do("call void @llvm.x86.sse2.pause()")
        now = f.op(f"and i64 {f.load_atomic('i64', '%p')}, %mask")
        f.go_if(f.cmp("ne", now, "%old"), "changed")
    late = f.cmp("ugt", f.call("i64", "@hy_now", "ptr %ctl"), limit)
    f.branch(late, "out", "again")
    f.label("out")
    f.ret("false")
    f.label("changed")
    f.ret("true")
    return f


def _alloc() -> Fn:
    """A block of at least `bytes` usable bytes, 64-byte aligned; null when memory is out."""
    f = Fn("hy_alloc", "ptr", "noinline", ctl="ptr", bytes="i64")
    want = f.op(f"and i64 {f.add('%bytes', BLOCK_HEADER + 63)}, -64")
    huge = f.cmp("uge", want, 4 << 20)
    align = f.pick(huge, 2 << 20, 64)
    block = f.call("ptr", libc(f, "%ctl", "aligned_alloc"), f"i64 {align}", f"i64 {want}")
    f.go_if(f.cmp("eq", block, "null", "ptr"), "out")
    with f.when(huge):
        f.call(
            "i32",
            libc(f, "%ctl", "madvise"),
            f"ptr {block}",
            f"i64 {want}",
            f"i32 {m.MADV_HUGEPAGE}",
        )
    f.st("i64", f.add(want, -BLOCK_HEADER), block)
    f.st("i64", 0, block, 8)
    f.label("out")
    f.ret(block)
    return f


def _block_take() -> Fn:
    """Take a block from a free list of POOL_SLOTS, or make one (its word 1 is 0 then)."""
    f = Fn("hy_block_take", "ptr", "noinline", ctl="ptr", pool="ptr", bytes="i64")
    with f.each(POOL_SLOTS) as i:
        slot = f.nth("%pool", i)
        with f.when(f.cmp("ne", f.load_atomic("ptr", slot), "null", "ptr")):
            got = f.op(f"atomicrmw xchg ptr {slot}, ptr null seq_cst")
            with f.when(f.cmp("ne", got, "null", "ptr")):
                with f.when(f.cmp("uge", f.ld(got, 0, "i64"), "%bytes")):
                    f.ret(got)
                f.label(f.fresh())
                f.call("void", libc(f, "%ctl", "free"), f"ptr {got}")
    f.ret(f.call("ptr", "@hy_alloc", "ptr %ctl", "i64 %bytes"))
    return f


def _block_put() -> Fn:
    """Give a block back; a full list frees it."""
    f = Fn("hy_block_put", "void", "noinline", ctl="ptr", pool="ptr", block="ptr")
    with f.each(POOL_SLOTS) as i:
        slot = f.nth("%pool", i)
        with f.when(f.cmp("eq", f.load_atomic("ptr", slot), "null", "ptr")):
            f.go_if(f.swap_if("ptr", slot, 0, "null", "%block"), "kept")
    f.call("void", libc(f, "%ctl", "free"), "ptr %block")
    f.label("kept")
    f.ret()
    return f


def _drain() -> Fn:
    """Claim and run chunks of the current step until none is left (for the caller and the workers).

    `scratch` points to (pointer, size) of this thread's scratch memory."""
    f = Fn("hy_drain", "void", "noinline", ctl="ptr", scratch="ptr")
    f.label("look")
    w = f.load_atomic("i64", "%ctl")
    left = f.op(f"and i64 {w}, {MASK}")
    f.go_if(f.cmp("eq", left, 0), "none", unlikely=False)
    f.branch(f.swap_if("i64", "%ctl", 0, w, f.add(w, -1)), "mine", "look")
    f.label("mine")
    fn, args, bufs = (f.ld("%ctl", CTL[k]) for k in ("fn", "args", "bufs"))
    items, grain, chunks, need = (
        f.ld("%ctl", CTL[k], "i64") for k in ("items", "grain", "chunks", "scratch")
    )
    begin = f.op(f"mul i64 {f.op(f'sub i64 {chunks}, {left}')}, {grain}")
    stop = f.add(begin, grain)
    stop = f.pick(f.cmp("ult", stop, items), stop, items)
    with f.when(f.cmp("ugt", need, f.ld("%scratch", 8, "i64")), unlikely=True):
        f.call("void", "@hy_grow", "ptr %ctl", "ptr %scratch", f"i64 {need}")
    mem = f.ld("%scratch")
    short = f.both(f.cmp("ugt", need, 0), f.cmp("eq", mem, "null", "ptr"))
    result = f.var("i64")
    f.st("i64", OOM, result)
    with f.when(f.op(f"xor i1 {short}, true")):
        got = f.call(
            "i64", fn, f"ptr {bufs}", f"ptr {args}", f"i64 {begin}", f"i64 {stop}", f"ptr {mem}"
        )
        f.st("i64", got, result)
    _finish_chunk(f, result, chunks)
    f.go("look")
    f.label("none")
    f.ret()
    return f


def _finish_chunk(f: Fn, result: str, chunks: str) -> None:
    """Note a chunk's status, and wake the caller after the last one."""
    status = f.ld(result, 0, "i64")
    with f.when(f.cmp("ne", status, 0), unlikely=True):
        f.atomic("umin", "i64", "%ctl", CTL["status"], status)
    done = f.add(f.atomic("add", "i64", "%ctl", CTL["done"], 1), 1)
    with f.when(f.cmp("eq", done, chunks)):
        waiting = f.load_atomic("i32", "%ctl", CTL["waiting"])
        with f.when(f.cmp("ne", waiting, 0, "i32"), unlikely=True):
            f.atomic("xchg", "i32", "%ctl", CTL["waiting"], 0)
            futex(f, "%ctl", "waiting", m.FUTEX_WAKE, "1")


def _grow() -> Fn:
    """Replace a thread's scratch (pointer, size) by a larger one; null when memory is out."""
    f = Fn("hy_grow", "void", "noinline", ctl="ptr", scratch="ptr", bytes="i64")
    old = f.ld("%scratch")
    with f.when(f.cmp("ne", old, "null", "ptr")):
        f.call("void", libc(f, "%ctl", "free"), f"ptr {f.at(old, -BLOCK_HEADER)}")
    f.st("ptr", "null", "%scratch")
    f.st("i64", 0, "%scratch", 8)
    block = f.call("ptr", "@hy_alloc", "ptr %ctl", "i64 %bytes")
    f.go_if(f.cmp("eq", block, "null", "ptr"), "out")
    f.st("ptr", f.at(block, BLOCK_HEADER), "%scratch")
    f.st("i64", f.ld(block, 0, "i64"), "%scratch", 8)
    f.label("out")
    f.ret()
    return f


def _worker() -> Fn:
    """A worker thread: drain, spin for a while, sleep on `seq`; park on `limit` when not wanted."""
    f = Fn("hy_worker", "ptr", w="ptr")
    ctl = f.ld("%w", W_CTL)
    number = f.op(f"trunc i64 {f.ld('%w', W_ID, 'i64')} to i32")
    scratch = f.at("%w", W_SCRATCH)
    f.call("i32", "@hy_fp_enter")
    f.label("loop")
    limit = f.load_atomic("i32", ctl, CTL["limit"])
    with f.when(f.cmp("sge", number, limit, "i32"), unlikely=True):
        wide = f.op(f"zext i32 {limit} to i64")
        futex(f, ctl, "limit", m.FUTEX_WAIT, wide)
        f.go("loop")
        f.label(f.fresh())
    f.call("void", "@hy_drain", f"ptr {ctl}", f"ptr {scratch}")
    some = f.call("i1", "@hy_spin", f"ptr {ctl}", f"ptr {ctl}", f"i64 {MASK}", "i64 0")
    f.go_if(some, "loop", unlikely=False)
    seen = f.op(f"zext i32 {f.load_atomic('i32', ctl, CTL['seq'])} to i64")
    f.atomic("xchg", "i32", ctl, CTL["asleep"], 1)
    left = f.op(f"and i64 {f.load_atomic('i64', ctl)}, {MASK}")
    f.go_if(f.cmp("ne", left, 0), "loop", unlikely=False)
    futex(f, ctl, "seq", m.FUTEX_WAIT, seen)
    f.go("loop")
    return f


def _start() -> Fn:
    """Make the missing worker threads, all signals blocked; called by the pool's owner."""
    f = Fn("hy_start", "void", "noinline", ctl="ptr")
    old = f.var("i64", 16)
    mask = f.at("%ctl", CTL["sigmask"])
    sigmask = libc(f, "%ctl", "pthread_sigmask")
    f.call("i32", sigmask, f"i32 {m.SIG_SETMASK}", f"ptr {mask}", f"ptr {old}")
    limit = f.op(f"zext i32 {f.load_atomic('i32', '%ctl', CTL['limit'])} to i64")
    workers = f.at("%ctl", CTL["workers"])
    with f.each(limit, f.ld("%ctl", CTL["started"], "i64")) as i:
        w = f.nth(workers, i, WORKER_BYTES)
        f.st("ptr", "%ctl", w, W_CTL)
        f.st("i64", i, w, W_ID)
        code = f.call(
            "i32",
            libc(f, "%ctl", "pthread_create"),
            f"ptr {f.at(w, W_THREAD)}",
            f"ptr {f.ld('%ctl', CTL['attr'])}",
            f"ptr {f.ld('%ctl', CTL['worker'])}",
            f"ptr {w}",
        )
        with f.when(f.cmp("ne", code, 0, "i32"), unlikely=True):
            # no more threads to be had: go on with those that run
            running = f.op(f"trunc i64 {i} to i32")
            f.do(f"store atomic i32 {running}, ptr {f.at('%ctl', CTL['limit'])} seq_cst, align 4")
            f.go("out")
            f.label(f.fresh())
        f.st("i64", f.add(i, 1), "%ctl", CTL["started"])
    f.label("out")
    f.call("i32", sigmask, f"i32 {m.SIG_SETMASK}", f"ptr {old}", "ptr null")
    f.ret()
    return f


def _parallel() -> Fn:
    """One step on all threads, by the pool's owner: the smallest nonzero status, or 0."""
    f = Fn("hy_parallel", "i64", "noinline", ctl="ptr", step="ptr", bufs="ptr", scratch="ptr")
    items, grain0 = f.ld("%step", 16, "i64"), f.ld("%step", 24, "i64")
    # keeps the number of chunks within its field
    least = f.add(f.op(f"udiv i64 {items}, {MASK}"), 1)
    grain = f.pick(f.cmp("ugt", least, grain0), least, grain0)
    chunks = f.op(f"udiv i64 {f.add(items, f.add(grain, -1))}, {grain}")
    for key, ty, value in (
        ("fn", "ptr", f.ld("%step")),
        ("args", "ptr", f.ld("%step", 8)),
        ("items", "i64", items),
        ("grain", "i64", grain),
        ("chunks", "i64", chunks),
        ("bufs", "ptr", "%bufs"),
        ("scratch", "i64", f.ld("%step", 32, "i64")),
        ("done", "i64", "0"),
        ("status", "i64", "-1"),
    ):
        f.st(ty, value, "%ctl", CTL[key])
    epoch = f.add(f.ld("%ctl", CTL["epoch"], "i64"), 1)
    f.st("i64", epoch, "%ctl", CTL["epoch"])
    f.atomic(
        "xchg", "i64", "%ctl", 0, f.op(f"or i64 {f.op(f'shl i64 {epoch}, {CHUNK_BITS}')}, {chunks}")
    )
    with f.when(f.cmp("ne", f.load_atomic("i32", "%ctl", CTL["asleep"]), 0, "i32")):
        f.call("void", "@hy_wake", "ptr %ctl", f"i64 {f.add(chunks, -1)}")
    f.call("void", "@hy_drain", "ptr %ctl", "ptr %scratch")
    _await(f, chunks)
    status = f.load_atomic("i64", "%ctl", CTL["status"])
    f.ret(f.pick(f.cmp("eq", status, -1), 0, status))
    return f


def _await(f: Fn, chunks: str) -> None:
    """Wait until all chunks are done: look again for a while, then sleep on `waiting`."""
    f.label("wait")
    done = f.load_atomic("i64", "%ctl", CTL["done"])
    f.go_if(f.cmp("eq", done, chunks), "out", unlikely=False)
    moved = f.call(
        "i1", "@hy_spin", "ptr %ctl", f"ptr {f.at('%ctl', CTL['done'])}", "i64 -1", f"i64 {done}"
    )
    f.go_if(moved, "wait", unlikely=False)
    f.atomic("xchg", "i32", "%ctl", CTL["waiting"], 1)
    f.go_if(f.cmp("eq", f.load_atomic("i64", "%ctl", CTL["done"]), chunks), "out", unlikely=False)
    futex(f, "%ctl", "waiting", m.FUTEX_WAIT, "1")
    f.go("wait")
    f.label("out")
    f.do(f"store atomic i32 0, ptr {f.at('%ctl', CTL['waiting'])} monotonic, align 4")


def _wake() -> Fn:
    """Wake up to `count` sleeping workers; the flag stays up while some may still sleep."""
    f = Fn("hy_wake", "void", "noinline", ctl="ptr", count="i64")
    enough = f.cmp("uge", "%count", f.ld("%ctl", CTL["started"], "i64"))
    with f.when(enough):
        f.atomic("xchg", "i32", "%ctl", CTL["asleep"], 0)
    f.atomic("add", "i32", "%ctl", CTL["seq"], 1)
    futex(f, "%ctl", "seq", m.FUTEX_WAKE, f.pick(enough, 2**31 - 1, "%count"))
    f.ret()
    return f


def _own() -> Fn:
    """Try to become the one who hands out work: true when the pool is ours and has workers."""
    f = Fn("hy_own", "i1", "noinline", ctl="ptr")
    limit = f.load_atomic("i32", "%ctl", CTL["limit"])
    f.go_if(f.cmp("sle", limit, 0, "i32"), "no", unlikely=False)
    f.go_if(
        f.op(f"xor i1 {f.swap_if('i32', '%ctl', CTL['owner'], 0, 1)}, true"), "no", unlikely=False
    )
    started = f.op(f"trunc i64 {f.ld('%ctl', CTL['started'], 'i64')} to i32")
    with f.when(f.cmp("slt", started, limit, "i32"), unlikely=True):
        f.call("void", "@hy_start", "ptr %ctl")
    f.ret("true")
    f.label("no")
    f.ret("false")
    return f


def _step() -> Fn:
    """One step of a plan, spread over the pool if it is large and the pool is free; its status."""
    f = Fn(
        "hy_step", "i64", "noinline", ctl="ptr", step="ptr", bufs="ptr", scratch="ptr", owned="ptr"
    )
    items = f.ld("%step", 16, "i64")
    serial = f.op(f"and i64 {f.ld('%step', 40, 'i64')}, {SERIAL}")
    many = f.both(f.cmp("ugt", items, f.ld("%step", 24, "i64")), f.cmp("eq", serial, 0))
    with f.when(many):
        with f.when(f.cmp("eq", f.ld("%owned", 0, "i32"), 0, "i32")):
            f.st("i32", f.pick(f.call("i1", "@hy_own", "ptr %ctl"), 1, 2, "i32"), "%owned")
        with f.when(f.cmp("eq", f.ld("%owned", 0, "i32"), 1, "i32")):
            f.ret(
                f.call("i64", "@hy_parallel", "ptr %ctl", "ptr %step", "ptr %bufs", "ptr %scratch")
            )
        f.label(f.fresh())
    f.ret(
        f.call(
            "i64",
            f.ld("%step"),
            "ptr %bufs",
            f"ptr {f.ld('%step', 8)}",
            "i64 0",
            f"i64 {items}",
            f"ptr {f.ld('%scratch')}",
        )
    )
    return f


def _plan() -> Fn:
    """Run steps in order; the status of the first that fails (its number goes to *failed), or 0.

    `need` is the largest scratch size of the steps."""
    f = Fn(
        "hy_plan", "i64", ctl="ptr", steps="ptr", count="i64", bufs="ptr", need="i64", failed="ptr"
    )
    scratch, owned = f.var("ptr", 2), f.var("i32")  # owned: 0 not tried, 1 ours, 2 somebody else's
    f.st("i32", 0, owned)
    f.st("ptr", "null", scratch)
    f.st("i64", 0, scratch, 8)
    blocks, result = f.at("%ctl", CTL["blocks"]), f.var("i64")
    f.st("i64", 0, result)
    csr = f.call("i32", "@hy_fp_enter")
    _take_scratch(f, blocks, scratch, result)
    with f.each("%count") as i:
        step = f.nth("%steps", i, STEP_BYTES)
        status = f.call(
            "i64",
            "@hy_step",
            "ptr %ctl",
            f"ptr {step}",
            "ptr %bufs",
            f"ptr {scratch}",
            f"ptr {owned}",
        )
        with f.when(f.cmp("ne", status, 0), unlikely=True):
            f.st("i64", status, result)
            f.st("i64", i, "%failed")
            f.go("out")
            f.label(f.fresh())
    f.label("out")
    with f.when(f.cmp("eq", f.ld(owned, 0, "i32"), 1, "i32")):
        f.atomic("xchg", "i32", "%ctl", CTL["owner"], 0)
    _put_scratch(f, blocks, scratch)
    f.call("void", "@hy_fp_leave", f"i32 {csr}")
    f.ret(f.ld(result, 0, "i64"))
    return f


def _take_scratch(f: Fn, blocks: str, scratch: str, result: str) -> None:
    """(pointer, size) of scratch memory for a plan that needs some; to `out` without any."""
    with f.when(f.cmp("ne", "%need", 0)):
        block = f.call("ptr", "@hy_block_take", "ptr %ctl", f"ptr {blocks}", "i64 %need")
        with f.when(f.cmp("eq", block, "null", "ptr"), unlikely=True):
            f.st("i64", OOM, result)
            f.st("i64", 0, "%failed")
            f.go("out")
            f.label(f.fresh())
        f.st("ptr", f.at(block, BLOCK_HEADER), scratch)
        f.st("i64", f.ld(block, 0, "i64"), scratch, 8)


def _put_scratch(f: Fn, blocks: str, scratch: str) -> None:
    """Give the scratch memory of a plan back."""
    mem = f.ld(scratch)
    with f.when(f.cmp("ne", mem, "null", "ptr")):
        block = f.at(mem, -BLOCK_HEADER)
        f.call("void", "@hy_block_put", "ptr %ctl", f"ptr {blocks}", f"ptr {block}")


def _limit() -> Fn:
    """Set how many workers may take part, and wake those parked on the old number."""
    f = Fn("hy_limit", "void", ctl="ptr", count="i64")
    f.atomic("xchg", "i32", "%ctl", CTL["limit"], f.op("trunc i64 %count to i32"))
    futex(f, "%ctl", "limit", m.FUTEX_WAKE, str(2**31 - 1))
    f.ret()
    return f


def _reset() -> Fn:
    """In the child of a fork: forget threads that do not exist here."""
    f = Fn("hy_reset", "void", ctl="ptr")
    for key in ("owner", "asleep", "waiting"):
        f.st("i32", 0, "%ctl", CTL[key])
    f.st("i64", 0, "%ctl", CTL["started"])
    f.st("i64", f.op(f"and i64 {f.ld('%ctl', 0, 'i64')}, {~MASK}"), "%ctl")
    f.ret()
    return f


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
