"""The table that drives a replay entry: where its words are, for the code that writes it and the
code that reads it.

Invariant: plain numbers only, byte offsets, agreed on by entry.py and entry_ir.py through this file
alone.
"""

from __future__ import annotations

from ..machine.control import POOL_SLOTS

__all__ = [
    "GUARDS_AT_ONCE",
    "TABLE",
    "TABLE_WORDS",
    "INPUT",
    "STATE",
    "OUT",
    "RESULT",
    "CLAMP",
    "RELEASE_GIL",
    "LARGE_STATES",
    "COPIES_FIRST",
    "FORM_SINGLE",
    "FORM_TUPLE",
    "FORM_NONE",
    "FORMS",
]

CLAMP = 0xFFFFFFFE  # largest status in an entry's result; one more means out of memory
RELEASE_GIL = 1  # table flags
LARGE_STATES = 2  # some new state values are allocated by Python code
COPIES_FIRST = 4  # Python code copies inputs that are not contiguous
FORM_SINGLE, FORM_TUPLE, FORM_NONE = 0, 1, 2
FORMS = {"single": FORM_SINGLE, "tuple": FORM_TUPLE, "none": FORM_NONE}

GUARDS_AT_ONCE = 4  # guards come in groups of so many
_TABLE = (
    "api",
    "nargs",
    "inputs_n",
    "inputs",
    "guards_n",  # groups
    "guards",
    "types_n",
    "types",
    "states_n",
    "states",
    "outs_n",
    "outs",
    "results_n",
    "results",
    "steps_n",
    "steps",
    "need",
    "flags",
    "form",
    "block_bytes",
    "owned_n",
    "handles_at",
    "bufs_at",
    "fills_n",
    "fills",
    "distinct_n",
    "places_n",
    "kind",  # type of handles, and of busy ones while the GIL is given up (else 0)
    "busy",
    *(f"pool{i}" for i in range(POOL_SLOTS)),
)
TABLE = {name: 8 * i for i, name in enumerate(_TABLE)}
TABLE_WORDS = len(_TABLE)


def _record(*names: str) -> dict[str, int]:
    return {**{n: 8 * i for i, n in enumerate(names)}, "size": 8 * len(names)}


# Offsets named input, handle, news, source, other, at, word, buf are byte offsets in the block of a
# call. place: address of the PyObject* of the handle (0 for an argument); word: value, then its
# contiguous copy; unread: nothing reads the value, so it is neither looked at nor taken
INPUT = _record("place", "aval", "node", "buf", "state", "plain", "word", "unread")
# news: new array (null: in place), then the handle if `hold` (its place may drop it while we run);
# source/const: where the new value comes from if it is not an array of its own; out: how that is
# allocated; block_type: type that may own the memory; aval: record of the new value
STATE = _record(
    "input",
    "handle",
    "news",
    "buf",
    "source",
    "const",
    "out",
    "in_place",
    "partial",
    "nbytes",
    "block_type",
    "aval",
    "hold",
)
OUT = _record("descr", "ndim", "dims", "maker", "at", "buf")
# handle != 0: the result is that input's handle; else a tensor around const, or the array at
# source, or at other
RESULT = _record("handle", "source", "other", "const", "aval", "type", "at")
