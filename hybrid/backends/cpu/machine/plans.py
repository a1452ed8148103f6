"""IR text of what runs a plan: its steps one after the other, gangs of steps as one.

Invariant: a gang is a step of its own in front of its members.  Where the pool is ours it runs and
its members are passed over; elsewhere it is passed over, and they run as the steps that they are.
"""

from __future__ import annotations

from .asm import Fn
from .control import BLOCK_HEADER, CTL, GANG_SHIFT, OOM, SERIAL, STEP_BYTES

__all__ = ["PLANS"]


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


def _ours() -> Fn:
    """Whether a plan has the pool; asked for once."""
    writer = Fn("hy_ours", "i1", "noinline", ctl="ptr", owned="ptr")
    with writer.when(writer.cmp("eq", writer.ld("%owned", 0, "i32"), 0, "i32")):
        found = writer.call("i1", "@hy_own", "ptr %ctl")
        writer.st("i32", writer.pick(found, 1, 2, "i32"), "%owned")
    writer.ret(writer.cmp("eq", writer.ld("%owned", 0, "i32"), 1, "i32"))
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
        with writer.when(writer.call("i1", "@hy_ours", "ptr %ctl", "ptr %owned")):
            given = "ptr %ctl", "ptr %step", "ptr %bufs", "ptr %scratch"
            writer.ret(writer.call("i64", "@hy_parallel", *given))
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
    blocks, result, number = writer.at("%ctl", CTL["blocks"]), writer.var("i64"), writer.var("i64")
    writer.st("i32", 0, owned)  # 0 not tried, 1 the pool is ours, 2 it is somebody else's
    writer.st("ptr", "null", scratch)
    for zero in ((scratch, 8), (result,), (number,)):
        writer.st("i64", 0, *zero)
    control_word = writer.call("i32", "@hy_fp_enter")
    _take_scratch(writer, blocks, scratch, result)
    writer.label("next")
    index = writer.ld(number, 0, "i64")
    writer.go_if(writer.cmp("uge", index, "%count"), "out", unlikely=False)
    step = writer.nth("%steps", index, STEP_BYTES)
    following = writer.add(index, 1)
    members = writer.op(f"lshr i64 {writer.ld(step, 40, 'i64')}, {GANG_SHIFT}")
    writer.st("i64", following, number)
    with writer.when(writer.cmp("ne", members, 0)):
        others = writer.op(
            f"xor i1 {writer.call('i1', '@hy_ours', 'ptr %ctl', f'ptr {owned}')}, true"
        )
        writer.go_if(others, "next", unlikely=False)
        writer.st("i64", writer.add(following, members), number)
    given = "ptr %ctl", f"ptr {step}", "ptr %bufs", f"ptr {scratch}", f"ptr {owned}"
    found = writer.call("i64", "@hy_step", *given)
    with writer.when(writer.cmp("ne", found, 0), unlikely=True):
        writer.st("i64", found, result)
        writer.st("i64", index, "%failed")
        writer.go("out")
        writer.label(writer.fresh())
    writer.go("next")
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


def _gang() -> Fn:
    """A kernel whose items are chunks of other kernels.  Words: how many chunks, the number of the
    first piece of each and of what is behind the last, then the pieces: code, words, begin, end."""
    writer = Fn("hy_gang", "i64", bufs="ptr", args="ptr", begin="i64", end="i64", scratch="ptr")
    starts = writer.at("%args", 8)
    behind = writer.add(writer.ld("%args", 0, "i64"), 1)
    pieces = writer.nth(starts, behind)
    first, last = (writer.ld(writer.nth(starts, k), 0, "i64") for k in ("%begin", "%end"))
    with writer.each(last, first) as number:
        piece = writer.nth(pieces, number, 32)
        status = writer.call(
            "i64",
            writer.ld(piece),
            "ptr %bufs",
            f"ptr {writer.ld(piece, 8)}",
            f"i64 {writer.ld(piece, 16, 'i64')}",
            f"i64 {writer.ld(piece, 24, 'i64')}",
            "ptr %scratch",
        )
        with writer.when(writer.cmp("ne", status, 0), unlikely=True):
            writer.ret(status)
        writer.label(writer.fresh())
    writer.ret(0)
    return writer


PLANS = (_own, _ours, _step, _plan, _gang)
