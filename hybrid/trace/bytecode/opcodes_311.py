"""Opcode effects of CPython 3.11.  Invariant: see opcodes_common."""

from __future__ import annotations

from .opcodes_common import COMMON, HOST_COMMON

__all__ = ["TABLE", "HOST_TABLE"]

TABLE: dict[str, str] = COMMON | {
    "PRECALL": "nothing",
    "KW_NAMES": "nothing",
    "LIST_TO_TUPLE": "to_tuple",
    "UNARY_POSITIVE": "unary",
    "ASYNC_GEN_WRAP": "defer",
    "PREP_RERAISE_STAR": "defer",
    "PRINT_EXPR": "defer",
    "IMPORT_STAR": "defer",
    "LOAD_METHOD": "load_method",
    "LOAD_CLASSDEREF": "unseen",
    "FORMAT_VALUE": "format_value",
    "JUMP_IF_FALSE_OR_POP": "jump_or_pop",
    "JUMP_IF_TRUE_OR_POP": "jump_or_pop",
    **dict.fromkeys(("FOR_ITER",), "for_iter_popping"),
    **{
        f"POP_JUMP_{way}_IF_{what}": "pop_jump"
        for way in ("FORWARD", "BACKWARD")
        for what in ("FALSE", "TRUE", "NONE", "NOT_NONE")
    },
    "SEND": "send_popping",
}

HOST_TABLE: dict[str, str] = HOST_COMMON | {
    "PRECALL": "nothing",
    "KW_NAMES": "nothing",
    "LOAD_ATTR": "look_at_one",
    "LOAD_METHOD": "load_method",
}
