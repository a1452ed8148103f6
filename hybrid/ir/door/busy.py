"""Handles whose next value a replay is making, and reads and writes of many handles at one moment.

Invariant: a busy handle has the type of `busy_class`, no value, and belongs to a replay that has
given up the GIL; whoever reads or writes its value waits, holding nothing, until that replay has
committed.  No Python runs in the replaying thread meanwhile, so no thread waits for itself.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import chain, repeat
from operator import is_
from typing import Any

import numpy as np

from ...core.errors import HybridError
from ..tensor import Handle

__all__ = [
    "busy_class",
    "is_busy",
    "wait",
    "values_of",
    "put_values",
    "GATE",
    "WANTED",
    "FORKING",
    "give_way",
    "close_gate",
    "open_gate",
]

# Replays that give up the GIL start only while this word is 0.  WANTED: a reader waits for a value
# and has to get a turn between two replays; FORKING: the process is about to fork.
GATE = np.zeros(1, np.int64)
WANTED, FORKING = 1, 2
PAUSE = 50e-6  # seconds between two looks at a busy handle
TURN = 200e-6  # seconds that a replay leaves to readers
PATIENCE = 500  # milliseconds that a replay waits for a fork

_KINDS: dict[type, type] = {}  # class of handles -> class of busy ones
_BUSY: set[type] = set()
_FORKER: list[int] = []  # the thread that forks
_slot: Any = vars(Handle)["_v"]
_get, _set = _slot.__get__, _slot.__set__


def busy_class(cls: type) -> type:
    """The class that marks busy handles of `cls`: the same layout, but `_v` waits for the value."""
    busy_kind = _KINDS.get(cls)
    if busy_kind is None:
        body = {
            "__slots__": (),
            "_v": property(_read, _write),
            "__class__": property(lambda tensor: cls),
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
        }
        busy_kind = type(cls.__name__, (cls,), body)
        _BUSY.add(busy_kind)
        busy_kind = _KINDS.setdefault(cls, busy_kind)
    return busy_kind


def is_busy(tensor: Any) -> bool:
    """Whether a replay in another thread is making the next value of a handle."""
    return type(tensor) in _BUSY


def wait(tensor: Any) -> None:
    """Return when the handle has a value; HybridError when the thread that owes it is gone."""
    while type(tensor) in _BUSY:
        if sys.is_finalizing():
            raise HybridError("a tensor is read after the thread that was writing it has ended")
        GATE[0] |= WANTED
        time.sleep(PAUSE)


def _read(tensor: Any) -> Any:
    while True:
        wait(tensor)
        try:
            return _get(tensor)
        except AttributeError:
            if type(tensor) not in _BUSY:
                raise


def _write(tensor: Any, value: Any) -> None:
    wait(tensor)
    _set(tensor, value)


def values_of(handles: Sequence[Any]) -> list[Any]:
    """The values that all handles had at one moment: of one step, when replays write them.

    What is held here is not written in place, so two equal readings prove it."""
    while True:
        first = list(map(getattr, handles, repeat("_v")))
        if all(map(is_, first, map(getattr, handles, repeat("_v")))):
            return first


def put_values(
    handles: Sequence[Any],
    values: Sequence[Any],
    avals: Sequence[Any],
    nodes: Sequence[Any] | None = None,
) -> None:
    """Give all handles their values, records and tape nodes at once: one C call, in which no Python
    runs (`setattr` of a slot takes no other way)."""
    # dropped after all is written: finalisers see the new values
    previous = values_of(handles), [t._node for t in handles]
    fields = [("_v", values), ("_a", avals)] + ([] if nodes is None else [("_node", nodes)])
    deque(chain(*[map(setattr, handles, repeat(k), new) for k, new in fields]), 0)
    del previous


# ---- the gate
def give_way() -> bool:
    """Let readers that wait have their turn; true when no replay may take values for now."""
    for _ in range(PATIENCE):
        if not GATE[0] & FORKING:
            if GATE[0]:
                GATE[0] &= ~WANTED
                time.sleep(TURN)
            return False
        if threading.get_ident() in _FORKER:
            return True
        time.sleep(1e-3)
    return True


def close_gate() -> None:
    """Keep replays that give up the GIL from starting, in the whole process."""
    _FORKER.append(threading.get_ident())
    GATE[0] |= FORKING


def open_gate() -> None:
    """Let them start again."""
    del _FORKER[:]
    GATE[0] &= ~FORKING
