"""The control block of the engine: what native code reads and writes at which offset.

Invariant: words that different threads write lie in different cache lines; every address that the
engine needs (C library, Python) is read from here.
"""

from __future__ import annotations

__all__ = [
    "CTL",
    "CTL_BYTES",
    "FUNCTIONS",
    "FUNCTION_SLOTS",
    "CHUNK_MASK",
    "THREAD_SHIFT",
    "THREAD_MASK",
    "EPOCH_SHIFT",
    "CLAIM_MASK",
    "CLAIM_BYTES",
    "CLAIM_DONE",
    "MAX_WORKERS",
    "WORKER_BYTES",
    "W_CTL",
    "W_ID",
    "W_SCRATCH",
    "W_THREAD",
    "W_MASK",
    "OOM",
    "STEP_BYTES",
    "SERIAL",
    "GANG_SHIFT",
    "BLOCK_HEADER",
    "POOL_SLOTS",
]

MAX_WORKERS = 255
WORKER_BYTES = 64
# the word of a step: epoch, threads - 1 that have chunks of their own, chunks
CHUNK_MASK = (1 << 12) - 1
THREAD_SHIFT, THREAD_MASK = 12, (1 << 8) - 1
EPOCH_SHIFT = 20
# a thread's line: its claims (epoch, how many of its chunks are taken in that), chunks it has done
CLAIM_MASK = (1 << EPOCH_SHIFT) - 1
CLAIM_BYTES, CLAIM_DONE = 64, 8
OOM = 1 << 62  # status of a step for which there was no scratch memory
STEP_BYTES = 48
SERIAL = 1  # step flag: run on the calling thread
GANG_SHIFT = 8  # flags from here on: so many steps that follow are what this gang runs
BLOCK_HEADER = 64  # a memory block starts with its usable size
POOL_SLOTS = 8  # blocks kept in one free list

FUNCTIONS, FUNCTION_SLOTS = 512, 16  # where addresses of the system's functions are

# byte offsets in the control block; cache lines keep what is written by different threads apart
CTL = {
    "word": 0,
    "fn": 8,
    "args": 16,
    "items": 24,
    "grain": 32,
    "bufs": 48,
    "scratch": 56,
    "status": 64,
    "seq": 128,
    "asleep": 132,
    "limit": 192,
    "waiting": 256,
    "owner": 320,
    "epoch": 328,
    "started": 336,
    "spin_ns": 344,
    "attr": 352,
    "worker": 360,
    "own": 368,
    "told": 376,
    "sigmask": 384,
    "blocks": 640,
    "workers": 1024,
}
CTL["claims"] = CTL["workers"] + WORKER_BYTES * MAX_WORKERS
CTL_BYTES = CTL["claims"] + CLAIM_BYTES * (MAX_WORKERS + 1)
# byte offsets in a worker's record
W_CTL, W_ID, W_SCRATCH, W_SIZE, W_THREAD, W_MASK = 0, 8, 16, 24, 32, 40
