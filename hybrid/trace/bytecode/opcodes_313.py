"""Opcode effects of CPython 3.13.  Invariant: see opcodes_common."""

from __future__ import annotations

from .opcodes_312 import HOST_TABLE as HOST_312
from .opcodes_312 import TABLE as TABLE_312

__all__ = ["TABLE", "HOST_TABLE"]

GONE = ("KW_NAMES", "FORMAT_VALUE", "LOAD_CLOSURE")

TABLE: dict[str, str] = {name: effect for name, effect in TABLE_312.items() if name not in GONE} | {
    "CALL_KW": "call_kw",
    "CONVERT_VALUE": "convert_value",
    "FORMAT_SIMPLE": "format_simple",
    "FORMAT_WITH_SPEC": "format_spec",
    "END_FOR": "drop",
    "TO_BOOL": "unary",
    "ENTER_EXECUTOR": "defer",
    "EXIT_INIT_CHECK": "defer",
    "LOAD_FAST_LOAD_FAST": "load_two",
    "STORE_FAST_STORE_FAST": "store_two",
    "STORE_FAST_LOAD_FAST": "store_load",
    "MAKE_FUNCTION": "make_function_plain",
    "SET_FUNCTION_ATTRIBUTE": "set_function_attribute",
}

HOST_TABLE: dict[str, str] = {
    name: effect for name, effect in HOST_312.items() if name not in GONE
} | {
    "CALL_KW": "call_kw",
    "LOAD_FAST_LOAD_FAST": "load_two",
    "STORE_FAST_LOAD_FAST": "store_load",
}
