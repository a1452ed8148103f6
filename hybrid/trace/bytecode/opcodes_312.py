"""Opcode effects of CPython 3.12.  Invariant: see opcodes_common."""

from __future__ import annotations

from .opcodes_common import COMMON, HOST_COMMON

__all__ = ["TABLE", "HOST_TABLE"]

TABLE: dict[str, str] = COMMON | {
    "KW_NAMES": "nothing",
    "FORMAT_VALUE": "format_value",
    "BINARY_SLICE": "binary_slice",
    "STORE_SLICE": "store_slice",
    "CALL_INTRINSIC_1": "intrinsic",
    "CALL_INTRINSIC_2": "defer",
    "CLEANUP_THROW": "cleanup_throw",
    "END_FOR": "drop_two",
    "END_SEND": "end_send",
    "INTERPRETER_EXIT": "leave",
    "RETURN_CONST": "leave",
    "RESERVED": "defer",
    "LOAD_FAST_CHECK": "load_fast",
    "LOAD_FAST_AND_CLEAR": "load_fast",
    "LOAD_LOCALS": "unseen",
    "LOAD_SUPER_ATTR": "load_super_attr",
    "LOAD_FROM_DICT_OR_GLOBALS": "defer",
    "LOAD_FROM_DICT_OR_DEREF": "defer",
    **{f"POP_JUMP_IF_{what}": "pop_jump" for what in ("FALSE", "TRUE", "NONE", "NOT_NONE")},
}

HOST_TABLE: dict[str, str] = HOST_COMMON | {
    "KW_NAMES": "nothing",
    "LOAD_FAST_CHECK": "load_local",
    "LOAD_ATTR": "load_attr",
    "BINARY_SLICE": "look_at_three",
}
