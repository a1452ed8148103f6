"""Who holds a device's memory, for the error when there is none left.

Invariant: looking runs no code of a user and never fails the program: it is called where memory is
short.
"""

from __future__ import annotations

import gc
import sys
from collections import defaultdict
from types import FrameType
from typing import Any

import numpy as np

from ....core.errors import Site
from ....core.sites import user_site
from ....ir.op import Op
from ....ir.tensor import Handle
from .blocks import block_bytes, is_block
from .memory import MemoryPool

__all__ = ["out_of_memory", "holders", "size_text"]


def size_text(nbytes: int) -> str:
    """A number of bytes for people.

    >>> size_text(512), size_text(3 << 20), size_text(5 << 30)
    ('512 bytes', '3.0 MB', '5.0 GB')
    """
    for unit, shift in (("GB", 30), ("MB", 20), ("KB", 10)):
        if nbytes >= 1 << shift:
            return f"{nbytes / (1 << shift):.1f} {unit}"
    return f"{nbytes} bytes"


def holders(pool: MemoryPool, most: int = 5) -> list[tuple[int, str]]:
    """(bytes, what) of the tensors that hold most of a pool, by shape, and of the rest."""
    groups: dict[str, list[Handle]] = defaultdict(list)
    seen: set[int] = set()
    nbytes: dict[str, int] = defaultdict(int)
    for found in gc.get_objects():
        if not issubclass(type(found), Handle):
            continue
        block = _block(getattr(found, "_v", None))
        if block is None or id(block) in seen or block not in pool:
            continue
        seen.add(id(block))
        what = f"{found._a.dtype.name} {found._a.shape}"
        groups[what].append(found)
        nbytes[what] += block_bytes(block)
    rows = [(nbytes[what], _row(group, what)) for what, group in groups.items()]
    rest = pool.stats().allocated - sum(nbytes.values())
    if rest > 0:
        rows.append((rest, "values kept for gradients, arenas of traced functions and others"))
    return sorted(rows, reverse=True)[:most]


def _row(group: list[Handle], what: str) -> str:
    count = "1 tensor" if len(group) == 1 else f"{len(group)} tensors"
    return f"{count} of {what}{_name(group[0])}"


def _name(tensor: Handle) -> str:
    """How a dictionary calls a tensor, where one holds it."""
    for holder in gc.get_referrers(tensor):
        if type(holder) is dict:
            for name, value in list(holder.items()):
                if value is tensor and type(name) is str:
                    return f", such as {name!r}"
    return ""


def _block(value: Any) -> Any:
    """The block that an array shows a part of, or None."""
    while isinstance(value, np.ndarray):
        value = value.base
    return value if is_block(value) else None


def _op_at_work() -> str:
    """The name of the op that the innermost frame with one works for."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        for found in (frame.f_locals.get("op"), getattr(frame.f_locals.get("self"), "op", None)):
            if isinstance(found, Op):
                return found.name
        frame = frame.f_back
    return ""


def _at(site: Site | None) -> str:
    return f" at {site}" if site is not None else ""


def out_of_memory(nbytes: int, name: str, left: tuple[int, int], pool: MemoryPool) -> str:
    """What the error says: who asks for how much, what there is, who holds it, what to do."""
    stats, (free, total) = pool.stats(), left
    op = _op_at_work()
    rows = "".join(f"\n  {size_text(held):>10}  {what}" for held, what in holders(pool))
    cached = stats.reserved - stats.allocated
    return (
        f"{op + ': ' if op else ''}{name} has no memory for {size_text(nbytes)}{_at(user_site())}. "
        f"Of {size_text(total)}, {size_text(free)} are free; hybrid holds "
        f"{size_text(stats.reserved)}, {size_text(stats.allocated)} of it in tensors and "
        f"{size_text(cached)} in pieces that do not fit; other programs hold "
        f"{size_text(max(total - free - stats.reserved, 0))}. What holds most:{rows}\n"
        "Use smaller batches or half types, let go of tensors that are not needed (losses kept "
        "with their graph: use .item() or .detach()), or trace the step with @hybrid.function, "
        "which reuses memory inside it"
    )
