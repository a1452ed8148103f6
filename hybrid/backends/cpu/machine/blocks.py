"""IR text of the engine's memory: blocks that are kept for the next plan, scratch that grows.

Invariant: a block starts with its usable size, and nothing here waits for another thread.
"""

from __future__ import annotations

from .asm import Fn
from .control import BLOCK_HEADER, POOL_SLOTS

__all__ = ["MEMORY"]


def _alloc() -> Fn:
    """A block of at least `bytes` usable bytes, 64-byte aligned; null when memory is out."""
    writer = Fn("hy_alloc", "ptr", "noinline", ctl="ptr", bytes="i64")
    want = writer.op(f"and i64 {writer.add('%bytes', BLOCK_HEADER + 63)}, -64")
    block = writer.call("ptr", "@system_take", "ptr %ctl", f"i64 {want}")
    writer.go_if(writer.cmp("eq", block, "null", "ptr"), "out")
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
                writer.call("void", "@system_free", "ptr %ctl", f"ptr {block}")
    writer.ret(writer.call("ptr", "@hy_alloc", "ptr %ctl", "i64 %bytes"))
    return writer


def _block_put() -> Fn:
    """Give a block back; a full list frees it."""
    writer = Fn("hy_block_put", "void", "noinline", ctl="ptr", pool="ptr", block="ptr")
    with writer.each(POOL_SLOTS) as index:
        place = writer.nth("%pool", index)
        with writer.when(writer.cmp("eq", writer.load_atomic("ptr", place), "null", "ptr")):
            writer.go_if(writer.swap_if("ptr", place, 0, "null", "%block"), "kept")
    writer.call("void", "@system_free", "ptr %ctl", "ptr %block")
    writer.label("kept")
    writer.ret()
    return writer


def _grow() -> Fn:
    """Replace a thread's scratch (pointer, size) by a larger one; null when memory is out."""
    writer = Fn("hy_grow", "void", "noinline", ctl="ptr", scratch="ptr", bytes="i64")
    previous = writer.ld("%scratch")
    with writer.when(writer.cmp("ne", previous, "null", "ptr")):
        block = writer.at(previous, -BLOCK_HEADER)
        writer.call("void", "@system_free", "ptr %ctl", f"ptr {block}")
    writer.st("ptr", "null", "%scratch")
    writer.st("i64", 0, "%scratch", 8)
    block = writer.call("ptr", "@hy_alloc", "ptr %ctl", "i64 %bytes")
    writer.go_if(writer.cmp("eq", block, "null", "ptr"), "out")
    writer.st("ptr", writer.at(block, BLOCK_HEADER), "%scratch")
    writer.st("i64", writer.ld(block, 0, "i64"), "%scratch", 8)
    writer.label("out")
    writer.ret()
    return writer


MEMORY = (_alloc, _grow, _block_take, _block_put)
