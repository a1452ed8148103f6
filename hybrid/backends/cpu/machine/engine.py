"""IR text of the native engine: worker threads, claimed chunks, the barrier behind a step.

Invariant: one 64-bit word W = epoch, threads, chunks says what may run.  Each thread has a run of
the chunks, the same one in each step that is cut alike, so that what it touched is in its cache;
one that has none left takes those of others.  A claim is a compare-and-swap of the run's own word
from an older epoch or a smaller count: when a step is over all its runs are taken, so a thread that
is late can claim nothing of it, and a step's descriptor is stable as long as a claimed chunk of it
is unfinished.  What it asks of the system goes through the functions of systems/base.py, and every
address is read from the control block `ctl`.
"""

from __future__ import annotations

from .asm import UNLIKELY, Fn
from .blocks import MEMORY
from .control import (
    CHUNK_MASK,
    CLAIM_BYTES,
    CLAIM_DONE,
    CLAIM_MASK,
    CTL,
    EPOCH_SHIFT,
    MAX_WORKERS,
    OOM,
    THREAD_MASK,
    THREAD_SHIFT,
    W_CTL,
    W_ID,
    W_MASK,
    W_SCRATCH,
    WORKER_BYTES,
)
from .plans import PLANS
from .systems import System
from .target import InstructionSet, control_text

__all__ = ["engine_text", "NAMES"]

# looks at the chunks of a thread that has not begun before another one takes them
PATIENCE = 16
NAMES = (
    "hy_worker",
    "hy_plan",
    "hy_gang",
    "hy_finished",
    "hy_limit",
    "hy_reset",
    "hy_block_take",
    "hy_block_put",
)


def _spin() -> Fn:
    """Poll until `*p != old` or spin_ns have passed; 1 when it changed."""
    writer = Fn("hy_spin", "i1", "noinline", ctl="ptr", p="ptr", old="i64")
    limit = writer.var("i64")
    writer.st("i64", 0, limit)  # no clock is read before the first looks
    writer.label("again")
    with writer.each(16):
        current = writer.load_atomic("i64", "%p")
        writer.go_if(writer.cmp("ne", current, "%old"), "changed")
        writer.call("void", "@hy_pause")
    _while_young(writer, limit, "again")
    writer.ret("false")
    writer.label("changed")
    writer.ret("true")
    return writer


def _while_young(writer: Fn, limit: str, again: str) -> None:
    """Go on at a label until spin_ns have passed since this was met first, when `limit` was 0."""
    now, until = writer.call("i64", "@system_now", "ptr %ctl"), writer.ld(limit, 0, "i64")
    with writer.when(writer.cmp("eq", until, 0)):
        writer.st("i64", writer.add(now, writer.ld("%ctl", CTL["spin_ns"], "i64")), limit)
        writer.go(again)
        writer.label(writer.fresh())
    writer.go_if(writer.cmp("ule", now, until), again, unlikely=False)


def _drain() -> Fn:
    """Claim and run chunks of the current step until none is left (for the caller, thread 0, and
    the workers): its word.

    `scratch` points to (pointer, size) of this thread's scratch memory."""
    writer = Fn("hy_drain", "i64", "noinline", ctl="ptr", scratch="ptr", me="i64")
    word = writer.load_atomic("i64", "%ctl")
    chunks = writer.op(f"and i64 {word}, {CHUNK_MASK}")
    writer.go_if(writer.cmp("eq", chunks, 0), "none", unlikely=False)
    shifted = writer.op(f"lshr i64 {word}, {THREAD_SHIFT}")
    threads = writer.add(writer.op(f"and i64 {shifted}, {THREAD_MASK}"), 1)
    epoch = writer.op(f"lshr i64 {word}, {EPOCH_SHIFT}")
    first = writer.op(f"urem i64 %me, {threads}")
    has_own = writer.cmp("ult", "%me", threads)
    patience = writer.var("i64")
    with writer.each(threads) as turn:
        beside = writer.add(first, turn)
        beyond = writer.op(f"sub i64 {beside}, {threads}")
        owner = writer.pick(writer.cmp("uge", beside, threads), beyond, beside)
        mine = writer.both(has_own, writer.cmp("eq", turn, 0))
        at_once = writer.either(mine, writer.cmp("eq", "%me", 0))
        writer.st("i64", writer.pick(at_once, 0, PATIENCE), patience)
        _take_run(writer, (owner, threads, chunks, epoch), patience)
    writer.label("none")
    writer.ret(word)
    return writer


def _take_run(writer: Fn, step: tuple[str, str, str, str], patience: str) -> None:
    """Claim and run what is left of the chunks of `owner`; where it has not begun with them, after
    a while."""
    owner, threads, chunks, epoch = step
    count = writer.var("i64")
    writer.st("i64", 0, count)
    begin = writer.op(f"udiv i64 {writer.op(f'mul i64 {owner}, {chunks}')}, {threads}")
    end = writer.op(f"mul i64 {writer.add(owner, 1)}, {chunks}")
    size = writer.op(f"sub i64 {writer.op(f'udiv i64 {end}, {threads}')}, {begin}")
    claims = _claims(writer, owner)
    look, passed = writer.fresh(), writer.fresh()
    writer.label(look)
    current = writer.load_atomic("i64", claims)
    begun = writer.op(f"lshr i64 {current}, {EPOCH_SHIFT}")
    writer.go_if(writer.cmp("ugt", begun, epoch), passed)  # this thread is late
    same = writer.cmp("eq", begun, epoch)
    taken = writer.pick(same, writer.op(f"and i64 {current}, {CLAIM_MASK}"), 0)
    writer.go_if(writer.cmp("uge", taken, size), passed, unlikely=False)
    left = writer.ld(patience, 0, "i64")
    wait = writer.both(writer.op(f"xor i1 {same}, true"), writer.cmp("ne", left, 0))
    with writer.when(wait, unlikely=True):
        writer.call("void", "@hy_pause")
        writer.st("i64", writer.add(left, -1), patience)
        writer.go(look)
        writer.label(writer.fresh())
    number = writer.add(writer.op(f"shl i64 {epoch}, {EPOCH_SHIFT}"), writer.add(taken, 1))
    claimed = writer.fresh()
    writer.branch(writer.swap_if("i64", claims, 0, current, number), claimed, look)
    writer.label(claimed)
    _run_chunk(writer, writer.add(begin, taken))
    writer.st("i64", writer.add(writer.ld(count, 0, "i64"), 1), count)
    writer.go(look)
    writer.label(passed)
    with writer.when(writer.cmp("ne", writer.ld(count, 0, "i64"), 0)):
        _tell(writer, writer.ld(count, 0, "i64"))


def _claims(writer: Fn, thread: str) -> str:
    """The line of a thread: its claims, and how many chunks it has done."""
    return writer.nth(writer.at("%ctl", CTL["claims"]), thread, CLAIM_BYTES)


def _run_chunk(writer: Fn, number: str) -> None:
    """A claimed chunk of the current step."""
    function, arguments, buffers = (writer.ld("%ctl", CTL[k]) for k in ("fn", "args", "bufs"))
    items, grain, need = (writer.ld("%ctl", CTL[k], "i64") for k in ("items", "grain", "scratch"))
    begin = writer.op(f"mul i64 {number}, {grain}")
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
    status = writer.ld(result, 0, "i64")
    with writer.when(writer.cmp("ne", status, 0), unlikely=True):
        writer.atomic("umin", "i64", "%ctl", CTL["status"], status)


def _tell(writer: Fn, count: str) -> None:
    """Count chunks that are done, and wake the caller where it sleeps; what the caller has done
    itself it need not be told of."""
    own = writer.cmp("eq", "%me", 0)
    mine, others, after = writer.fresh(), writer.fresh(), writer.fresh()
    writer.branch(own, mine, others)
    writer.label(mine)
    writer.st("i64", writer.add(writer.ld("%ctl", CTL["own"], "i64"), count), "%ctl", CTL["own"])
    writer.go(after)
    writer.label(others)
    writer.atomic("add", "i64", _claims(writer, "%me"), CLAIM_DONE, count)
    waiting = writer.load_atomic("i32", "%ctl", CTL["waiting"])
    with writer.when(writer.cmp("ne", waiting, 0, "i32"), unlikely=True):
        writer.atomic("xchg", "i32", "%ctl", CTL["waiting"], 0)
        _wake_up(writer, "waiting", 1)
    writer.label(after)


def _worker() -> Fn:
    """A worker thread: drain, spin for a while, sleep on `seq`; park on `limit` when not wanted."""
    writer = Fn("hy_worker", "ptr", w="ptr")
    control = writer.ld("%w", W_CTL)
    number = writer.op(f"trunc i64 {writer.ld('%w', W_ID, 'i64')} to i32")
    scratch, me = writer.at("%w", W_SCRATCH), writer.add(writer.ld("%w", W_ID, "i64"), 1)
    writer.call("i32", "@hy_fp_enter")
    mask = writer.ld("%w", W_MASK)
    with writer.when(writer.cmp("ne", mask, "null", "ptr")):
        writer.call("void", "@system_bind", f"ptr {control}", f"ptr {mask}")
    writer.label("loop")
    limit = writer.load_atomic("i32", control, CTL["limit"])
    with writer.when(writer.cmp("sge", number, limit, "i32"), unlikely=True):
        _sleep(writer, control, "limit", limit)
        writer.go("loop")
        writer.label(writer.fresh())
    word = writer.call("i64", "@hy_drain", f"ptr {control}", f"ptr {scratch}", f"i64 {me}")
    given = f"ptr {control}", f"ptr {control}", f"i64 {word}"
    writer.go_if(writer.call("i1", "@hy_spin", *given), "loop", unlikely=False)
    seen = writer.load_atomic("i32", control, CTL["seq"])
    writer.atomic("xchg", "i32", control, CTL["asleep"], 1)
    moved = writer.cmp("ne", writer.load_atomic("i64", control), word)
    writer.go_if(moved, "loop", unlikely=False)
    _sleep(writer, control, "seq", seen)
    writer.go("loop")
    return writer


def _sleep(writer: Fn, control: str, word: str, seen: str | int) -> None:
    """Sleep while a word of the control block has that value; may end early."""
    place = f"ptr {writer.at(control, CTL[word])}"
    writer.call("void", "@system_wait", f"ptr {control}", place, f"i32 {seen}")


def _wake_up(writer: Fn, word: str, count: str | int = MAX_WORKERS) -> None:
    """Wake so many that sleep on a word; MAX_WORKERS: all."""
    place = f"ptr {writer.at('%ctl', CTL[word])}"
    writer.call("void", "@system_wake", "ptr %ctl", place, f"i64 {count}")


def _start() -> Fn:
    """Make the missing worker threads, all signals blocked; called by the pool's owner."""
    writer = Fn("hy_start", "void", "noinline", ctl="ptr")
    old = f"ptr {writer.var('i64', 16)}"  # what was blocked before
    writer.call("void", "@system_block", "ptr %ctl", old)
    limit = writer.op(f"zext i32 {writer.load_atomic('i32', '%ctl', CTL['limit'])} to i64")
    workers = writer.at("%ctl", CTL["workers"])
    with writer.each(limit, writer.ld("%ctl", CTL["started"], "i64")) as index:
        worker = writer.nth(workers, index, WORKER_BYTES)
        writer.st("ptr", "%ctl", worker, W_CTL)
        writer.st("i64", index, worker, W_ID)
        writer.st("i64", 0, _claims(writer, writer.add(index, 1)), CLAIM_DONE)
        started = writer.call("i1", "@system_start", "ptr %ctl", f"ptr {worker}")
        with writer.when(writer.op(f"xor i1 {started}, true"), unlikely=True):
            # no more threads to be had: go on with those that run
            running = writer.op(f"trunc i64 {index} to i32")
            place = writer.at("%ctl", CTL["limit"])
            writer.do(f"store atomic i32 {running}, ptr {place} seq_cst, align 4")
            writer.go("out")
            writer.label(writer.fresh())
        writer.st("i64", writer.add(index, 1), "%ctl", CTL["started"])
    writer.label("out")
    writer.call("void", "@system_unblock", "ptr %ctl", old)
    writer.ret()
    return writer


def _parallel() -> Fn:
    """One step on all threads, by the pool's owner: the smallest nonzero status, or 0."""
    writer = Fn("hy_parallel", "i64", "noinline", ctl="ptr", step="ptr", bufs="ptr", scratch="ptr")
    items, given = writer.ld("%step", 16, "i64"), writer.ld("%step", 24, "i64")
    others, chunks, grain = _cut(writer, items, given)
    for word, kind, value in (
        ("fn", "ptr", writer.ld("%step")),
        ("args", "ptr", writer.ld("%step", 8)),
        ("items", "i64", items),
        ("grain", "i64", grain),
        ("bufs", "ptr", "%bufs"),
        ("scratch", "i64", writer.ld("%step", 32, "i64")),
        ("own", "i64", "0"),
    ):
        writer.st(kind, value, "%ctl", CTL[word])
    epoch = writer.add(writer.ld("%ctl", CTL["epoch"], "i64"), 1)
    writer.st("i64", epoch, "%ctl", CTL["epoch"])
    word = writer.op(f"shl i64 {epoch}, {EPOCH_SHIFT}")
    word = writer.op(f"or i64 {word}, {writer.op(f'shl i64 {others}, {THREAD_SHIFT}')}")
    writer.atomic("xchg", "i64", "%ctl", 0, writer.op(f"or i64 {word}, {chunks}"))
    with writer.when(writer.cmp("ne", writer.load_atomic("i32", "%ctl", CTL["asleep"]), 0, "i32")):
        writer.call("void", "@hy_wake", "ptr %ctl", f"i64 {writer.add(chunks, -1)}")
    writer.call("i64", "@hy_drain", "ptr %ctl", "ptr %scratch", "i64 0")
    _await(writer, chunks)
    # what other threads write is written here only after a failure: its line would come and go
    status = writer.load_atomic("i64", "%ctl", CTL["status"])
    with writer.when(writer.cmp("ne", status, -1), unlikely=True):
        writer.atomic("xchg", "i64", "%ctl", CTL["status"], -1)
        writer.ret(status)
    writer.label(writer.fresh())
    writer.ret(0)
    return writer


def _cut(writer: Fn, items: str, given: str) -> tuple[str, str, str]:
    """(threads besides the caller, chunks, items of a chunk) of a step with that grain."""
    # keeps the number of chunks within its field
    least = writer.add(writer.op(f"udiv i64 {items}, {CHUNK_MASK - THREAD_MASK}"), 1)
    wanted = _ceil(writer, items, writer.pick(writer.cmp("ugt", least, given), least, given))
    limit = writer.op(f"zext i32 {writer.load_atomic('i32', '%ctl', CTL['limit'])} to i64")
    threads = writer.add(limit, 1)
    threads = writer.pick(writer.cmp("ult", threads, wanted), threads, wanted)
    # as many of one size for each thread
    even = writer.op(f"mul i64 {_ceil(writer, wanted, threads)}, {threads}")
    grain = _ceil(writer, items, even)
    chunks = _ceil(writer, items, grain)
    others = writer.add(writer.pick(writer.cmp("ult", threads, chunks), threads, chunks), -1)
    return others, chunks, grain


def _ceil(writer: Fn, count: str, size: str) -> str:
    return writer.op(f"udiv i64 {writer.add(count, writer.add(size, -1))}, {size}")


def _finished() -> Fn:
    """How many chunks all workers have done.  Each counts in a line of its own: one counter would
    go from core to core once for each thread, these lines come to the caller side by side."""
    writer = Fn("hy_finished", "i64", ctl="ptr")
    total = writer.var("i64")
    writer.st("i64", 0, total)
    behind = writer.add(writer.ld("%ctl", CTL["started"], "i64"), 1)
    with writer.each(behind, 1) as thread:
        done = writer.load_atomic("i64", _claims(writer, thread), CLAIM_DONE)
        writer.st("i64", writer.add(writer.ld(total, 0, "i64"), done), total)
    writer.ret(writer.ld(total, 0, "i64"))
    return writer


def _await(writer: Fn, chunks: str) -> None:
    """Wait until the others' chunks are done: look again for a while, then sleep on `waiting`."""
    theirs = writer.op(f"sub i64 {chunks}, {writer.ld('%ctl', CTL['own'], 'i64')}")
    theirs = writer.add(writer.ld("%ctl", CTL["told"], "i64"), theirs)
    writer.st("i64", theirs, "%ctl", CTL["told"])
    limit = writer.var("i64")
    writer.label("wait")
    writer.st("i64", 0, limit)
    writer.label("look")
    with writer.each(16):
        writer.go_if(_all_done(writer, theirs), "out", unlikely=False)
        writer.call("void", "@hy_pause")
    _while_young(writer, limit, "look")
    writer.atomic("xchg", "i32", "%ctl", CTL["waiting"], 1)
    writer.go_if(_all_done(writer, theirs), "out", unlikely=False)
    _sleep(writer, "%ctl", "waiting", 1)
    writer.go("wait")
    writer.label("out")
    writer.do(f"store atomic i32 0, ptr {writer.at('%ctl', CTL['waiting'])} monotonic, align 4")


def _all_done(writer: Fn, wanted: str) -> str:
    return writer.cmp("eq", writer.call("i64", "@hy_finished", "ptr %ctl"), wanted)


def _wake() -> Fn:
    """Wake up to `count` sleeping workers; the flag stays up while some may still sleep."""
    writer = Fn("hy_wake", "void", "noinline", ctl="ptr", count="i64")
    enough = writer.cmp("uge", "%count", writer.ld("%ctl", CTL["started"], "i64"))
    with writer.when(enough):
        writer.atomic("xchg", "i32", "%ctl", CTL["asleep"], 0)
    writer.atomic("add", "i32", "%ctl", CTL["seq"], 1)
    _wake_up(writer, "seq", writer.pick(enough, MAX_WORKERS, "%count"))
    writer.ret()
    return writer


def _limit() -> Fn:
    """Set how many workers may take part, and wake those parked on the old number."""
    writer = Fn("hy_limit", "void", ctl="ptr", count="i64")
    writer.atomic("xchg", "i32", "%ctl", CTL["limit"], writer.op("trunc i64 %count to i32"))
    _wake_up(writer, "limit")
    writer.ret()
    return writer


def _reset() -> Fn:
    """In the child of a fork: forget threads that do not exist here."""
    writer = Fn("hy_reset", "void", ctl="ptr")
    for word in ("owner", "asleep", "waiting"):
        writer.st("i32", 0, "%ctl", CTL[word])
    writer.st("i64", 0, "%ctl", CTL["started"])
    writer.st("i64", 0, "%ctl", CTL["told"])
    writer.st("i64", -1, "%ctl", CTL["status"])
    writer.st("i64", writer.op(f"and i64 {writer.ld('%ctl', 0, 'i64')}, {~CHUNK_MASK}"), "%ctl")
    writer.ret()
    return writer


def engine_text(system: System, target: InstructionSet | None = None) -> str:
    """The whole module for a system, and for this instruction set or another one."""
    parts = (
        _spin,
        *MEMORY,
        _drain,
        _worker,
        _start,
        _wake,
        _finished,
        _parallel,
        *PLANS,
        _limit,
        _reset,
    )
    return control_text(target) + system.text() + "".join(p().text() for p in parts) + UNLIKELY
